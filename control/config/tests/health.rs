//! Checks, roles, backups and router pools: what the file means, and every mistake in it (FS-10 to FS-15,
//! FS-30 to FS-34).

#![allow(clippy::unwrap_used)] // free in tests

use control_config::{Caution, Config, Mistake};
use control_health::{RouterCheck, Settings};
use control_probe::{Check, Dns, Http, Kind, StatusRange};
use core::net::IpAddr;
use dataplane_flow::{PoolId, RouterId};
use dataplane_message::{ClusterMode, DeadFlows, Plan, Redirect, Spread};

/// A file without mistakes; `{}` marks what a test puts in.
fn file(cluster: &str, rest: &str) -> String {
    format!(
        r#"
[ports.up1]
interface = "p0"
[ports.s1]
interface = "p1"
role = "server"
[ports.s2]
interface = "p2"
role = "server"
[routers.r1]
port = "up1"
address = "10.9.0.1"
[routers.r2]
port = "up1"
address = "10.9.0.2"
[routers.six]
port = "up1"
address = "2001:db8::1"
[servers.web-1]
port = "s1"
[servers.web-2]
port = "s2"
[clusters.web]
vip = "10.9.0.100"
{cluster}
{rest}
"#
    )
}

const SERVERS: &str = "servers = [\"web-1\", \"web-2\"]";

fn good(cluster: &str, rest: &str) -> (Config, Plan, Settings) {
    let config = Config::parse(&file(cluster, rest)).unwrap_or_else(|errors| panic!("{errors}"));
    let plan = config.plan(None);
    let settings = config.settings(&plan);
    (config, plan, settings)
}

/// The one message that this file brings.
fn bad(cluster: &str, rest: &str) -> String {
    let errors = Config::parse(&file(cluster, rest)).expect_err("the file has a mistake").errors;
    assert_eq!(errors.len(), 1, "one mistake, one message: {errors:#?}");
    assert!(errors[0].line > 0, "no line for {}", errors[0]);
    errors[0].to_string()
}

/// The one message that a check of the cluster brings.
fn bad_check(fields: &str) -> String {
    bad(SERVERS, &format!("[[clusters.web.checks]]\n{fields}"))
}

fn warnings(cluster: &str, rest: &str) -> Vec<String> {
    good(cluster, rest).0.warnings().iter().map(ToString::to_string).collect()
}

/// The first cluster's checks.
fn checks(fields: &str) -> Vec<Check> {
    good(SERVERS, fields).2.clusters[0].checks.clone()
}

#[test]
fn without_a_word_each_server_is_asked_by_arp_each_second() {
    let (_, plan, settings) = good(SERVERS, "");
    let cluster = &settings.clusters[0];
    let arp = Check { kind: Kind::Neighbour, interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3 };
    assert_eq!(cluster.checks, core::slice::from_ref(&arp));
    assert_eq!((cluster.dead_after_ms, cluster.slow_start_ms), (3000, 0));
    assert!(cluster.services[0].passive && cluster.services[0].quorum == 0);
    let plan = &plan.clusters[0];
    assert_eq!(
        (plan.mode, plan.dead_tcp, plan.dead_other),
        (ClusterMode::LoadSharing, DeadFlows::Reset, DeadFlows::Move)
    );
    let router = RouterCheck { interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3, through: None };
    assert_eq!(settings.routers[0].check, Some(router));
    // It stays beside others, unless the list says that there is none.
    let with_tcp = checks("[[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\n");
    assert_eq!(with_tcp[0], arp);
    assert_eq!(with_tcp[1].kind, Kind::Tcp { port: 80 });
    assert_eq!(checks("checks = []"), []);
    // Down before dead, whatever `dead_after_ms` is.
    let quick = good(&format!("{SERVERS}\ndead_after_ms = 600"), "").2.clusters[0].checks[0].clone();
    assert_eq!((quick.interval_ms, quick.timeout_ms), (200, 100));
}

#[test]
fn fs30_every_kind_of_check_has_its_meaning() {
    let check = |fields: &str| checks(&format!("[[clusters.web.checks]]\n{fields}")).pop().unwrap();
    let status = |first, last| StatusRange { first, last };
    let http =
        |port, tls| Http { port, tls, path: "/".into(), host: None, status: status(200, 200), body: None };
    let table = [
        ("kind = \"arp\"", Kind::Neighbour),
        ("kind = \"ping\"", Kind::Echo),
        ("kind = \"tcp\"\nport = 65535", Kind::Tcp { port: 65_535 }),
        ("kind = \"http\"", Kind::Http(http(80, false))),
        ("kind = \"https\"", Kind::Http(http(443, true))),
        (
            "kind = \"https\"\nport = 8443\npath = \"/h?a=b\"\nhost = \"a.b\"\nstatus = \"200-299\"\nbody = \"ok\"",
            Kind::Http(Http {
                path: "/h?a=b".into(),
                host: Some("a.b".into()),
                status: status(200, 299),
                body: Some("ok".into()),
                ..http(8443, true)
            }),
        ),
        ("kind = \"http\"\nstatus = 204", Kind::Http(Http { status: status(204, 204), ..http(80, false) })),
        ("kind = \"udp\"\nport = 9", Kind::Udp { port: 9, send: vec![], expect: vec![] }),
        (
            "kind = \"udp\"\nport = 9\nsend = \"0x00fF\"\nexpect = \"pong\"",
            Kind::Udp { port: 9, send: vec![0, 0xff], expect: b"pong".to_vec() },
        ),
        ("kind = \"dns\"\nname = \"a.example\"", Kind::Dns(Dns { port: 53, name: "a.example".into() })),
    ];
    for (fields, kind) in table {
        assert_eq!(check(fields).kind, kind, "{fields}");
    }
    let paced = check("kind = \"ping\"\ninterval_ms = 200\nrise = 1\nfall = 5");
    assert_eq!((paced.interval_ms, paced.timeout_ms, paced.rise, paced.fall), (200, 200, 1, 5));
}

#[test]
fn a_services_check_asks_the_services_port() {
    let (_, _, settings) = good(
        SERVERS,
        "[[clusters.web.services]]\nname = \"a\"\nprotocol = \"tcp\"\nports = 8080\npassive = false\n\
         [[clusters.web.services.checks]]\nkind = \"http\"\n\
         [[clusters.web.services]]\nname = \"b\"\nprotocol = \"tcp\"\nports = \"90-99\"\n\
         [[clusters.web.services.checks]]\nkind = \"tcp\"\nport = 91\n",
    );
    let services = &settings.clusters[0].services;
    assert!(matches!(&services[0].checks[0].kind, Kind::Http(http) if http.port == 8080 && !http.tls));
    assert_eq!(services[1].checks[0].kind, Kind::Tcp { port: 91 });
    assert_eq!(services.iter().map(|s| s.passive).collect::<Vec<_>>(), [false, true, true]);
    assert!(services[2].checks.is_empty());
}

#[test]
fn mistakes_in_checks() {
    for (fields, message) in [
        ("port = 80", "clusters.web.checks[0]: `kind` is missing; add a line like `kind = \"tcp\"`"),
        (
            "kind = \"icmp\"",
            "clusters.web.checks[0].kind: `icmp` is not known here; write one of \"arp\", \"ping\", \"tcp\", \"http\", \"https\", \"udp\", \"dns\"",
        ),
        ("kind = \"tcp\"", "clusters.web.checks[0]: `port` is missing; add a line like `port = 80`"),
        (
            "kind = \"tcp\"\nport = 0",
            "clusters.web.checks[0].port: 0 is out of range; write a number from 1 to 65535",
        ),
        (
            "kind = \"tcp\"\nport = 65536",
            "clusters.web.checks[0].port: 65536 is out of range; write a number from 1 to 65535",
        ),
        (
            "kind = \"ping\"\ninterval_ms = 200\ntimeout_ms = 300",
            "clusters.web.checks[0].timeout_ms: a probe may take 300 ms, but the next one goes after 200 ms; lower `timeout_ms`, or raise `interval_ms`",
        ),
        (
            "kind = \"ping\"\nfall = 0",
            "clusters.web.checks[0].fall: 0 is out of range; write a number from 1 to 100",
        ),
        (
            "kind = \"ping\"\nrise = 0",
            "clusters.web.checks[0].rise: 0 is out of range; write a number from 1 to 100",
        ),
        (
            "kind = \"ping\"\ninterval_ms = 9",
            "clusters.web.checks[0].interval_ms: 9 is out of range; write a number from 10 to 600000",
        ),
        (
            "kind = \"http\"\npath = \"health\"",
            "clusters.web.checks[0].path: `health` is not a path; write it from the `/` on, as in \"/health\", without spaces",
        ),
        (
            "kind = \"http\"\npath = \"/ HTTP/1.1\\r\\nX: y\"",
            "clusters.web.checks[0].path: `/ HTTP/1.1\r\nX: y` is not a path; write it from the `/` on, as in \"/health\", without spaces",
        ),
        (
            "kind = \"http\"\nhost = \"a\\r\\nb\"",
            "clusters.web.checks[0].host: `a\r\nb` is not a name; write a name as in \"www.example.org\", or an address",
        ),
        (
            "kind = \"http\"\nstatus = \"299-200\"",
            "clusters.web.checks[0].status: `299-200` is neither a status nor a range of them; write 200, or \"200-299\", within 100 to 599",
        ),
        (
            "kind = \"http\"\nstatus = 99",
            "clusters.web.checks[0].status: `99` is neither a status nor a range of them; write 200, or \"200-299\", within 100 to 599",
        ),
        (
            "kind = \"udp\"\nport = 1\nsend = \"0x0\"",
            "clusters.web.checks[0].send: `0x0` is not a row of bytes; write two hexadecimal digits for each byte, as in \"0x00ff\"",
        ),
        (
            "kind = \"dns\"",
            "clusters.web.checks[0]: `name` is missing; add a line like `name = \"www.example.org\"`",
        ),
        (
            "kind = \"dns\"\nname = \"a..b\"",
            "clusters.web.checks[0].name: `a..b` is not a name; write a name as in \"www.example.org\", or an address",
        ),
        (
            "kind = \"arp\"\nport = 80",
            "clusters.web.checks[0].port: a check of kind \"arp\" has no `port`; remove it, or set `kind` to one that has ports",
        ),
        (
            "kind = \"tcp\"\nport = 80\npath = \"/\"",
            "clusters.web.checks[0].path: a check of kind \"tcp\" has no `path`; remove it, or set `kind` to \"http\" or \"https\"",
        ),
        (
            "kind = \"https\"\nsend = \"x\"",
            "clusters.web.checks[0].send: a check of kind \"https\" has no `send`; remove it, or set `kind` to \"udp\"",
        ),
        (
            "kind = \"http\"\nname = \"x\"",
            "clusters.web.checks[0].name: a check of kind \"http\" has no `name`; remove it, or set `kind` to \"dns\"",
        ),
        (
            "kind = \"ping\"\nintervall_ms = 100",
            "clusters.web.checks[0].intervall_ms: unknown key `intervall_ms`; did you mean `interval_ms`?",
        ),
    ] {
        assert_eq!(bad_check(fields), message);
    }
    let long = |key: &str, kind: &str, bytes: usize| {
        bad_check(&format!("kind = \"{kind}\"\nport = 1\n{key} = \"/{}\"", "x".repeat(bytes - 1)))
    };
    assert!(long("body", "http", 257).ends_with("this has 257 bytes; keep at most 256 bytes"));
    assert!(long("path", "http", 1025).ends_with("this has 1025 bytes; keep at most 1024 bytes"));
    assert!(long("send", "udp", 513).ends_with("this has 513 bytes; keep at most 512 bytes"));
    let many = "[[clusters.web.checks]]\nkind = \"ping\"\n".repeat(17);
    assert_eq!(bad(SERVERS, &many), "clusters.web.checks: there are 17 checks; keep at most 16 checks");
}

#[test]
fn fs30_two_checks_that_could_not_be_told_apart() {
    let service = |name: &str, port: u16, check: &str| {
        format!(
            "[[clusters.web.services]]\nname = \"{name}\"\nprotocol = \"tcp\"\nports = {port}\n\
             [[clusters.web.services.checks]]\n{check}\n"
        )
    };
    let tcp = "[[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\n";
    assert_eq!(
        bad(SERVERS, &format!("{tcp}[[clusters.web.checks]]\nkind = \"http\"\n")),
        "clusters.web.checks[1]: clusters.web.checks[0] asks TCP port 80 too, and answers to the two could not be told apart; remove one; if several services need it, write it once under the cluster (clusters.web.checks[0])"
    );
    // Also between services, since a server has one probe port for all of them.
    assert!(
        bad(SERVERS, &(service("a", 80, "kind = \"http\"") + &service("b", 81, "kind = \"tcp\"\nport = 80")))
            .starts_with(
                "clusters.web.services[1].checks[0]: clusters.web.services[0].checks[0] asks TCP port 80"
            )
    );
    assert!(bad_check("kind = \"ping\"\n[[clusters.web.checks]]\nkind = \"ping\"").contains("ICMP echo"));
    // One port over two protocols, or two ports, are two places.
    good(SERVERS, &format!("{tcp}[[clusters.web.checks]]\nkind = \"udp\"\nport = 80\n"));
    good(SERVERS, &(service("a", 80, "kind = \"tcp\"") + &service("b", 81, "kind = \"tcp\"")));
}

#[test]
fn fs10_a_server_is_down_before_it_is_dead() {
    assert_eq!(
        bad_check("kind = \"arp\"\ninterval_ms = 2000"),
        "clusters.web.checks[0]: this check takes 4500 ms to notice, but a server is dead after 3000 ms; raise `dead_after_ms` to 4500 or more, or lower `interval_ms`, `timeout_ms` or `fall`"
    );
    let slow = "[[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\ninterval_ms = 5000\ntimeout_ms = 2000\n";
    assert_eq!(
        warnings(SERVERS, slow),
        [
            "clusters.web.checks[0]: 3 probes of 2000 ms are longer than dead_after_ms = 3000: a server that answers nothing is dead before this check has failed"
        ]
    );
    assert!(bad(&format!("{SERVERS}\ndead_after_ms = 100"), "").contains("from 500 to 600000"));
}

#[test]
fn fs34_backups_quorum_and_limits() {
    let backup = "servers = [\"web-1\", { name = \"web-2\", backup = true }]";
    let (_, plan, settings) = good(
        &format!("{backup}\nquorum = 1"),
        "[[clusters.web.services]]\nname = \"a\"\nprotocol = \"tcp\"\nports = 80\nservers = [\"web-1\", \"web-2\"]\nquorum = 0\n",
    );
    let services = &plan.clusters[0].services;
    assert!(services.iter().all(|service| !service.members[0].backup && service.members[1].backup));
    let quorums: Vec<u16> = settings.clusters[0].services.iter().map(|service| service.quorum).collect();
    assert_eq!(quorums, [0, 1]);
    assert_eq!(
        bad(&format!("{backup}\nquorum = 2"), ""),
        "clusters.web.quorum: a quorum of 2 can never be up; servers that are no backups: 1; write at most 1"
    );
    let all = "servers = [{ name = \"web-1\", backup = true }, { name = \"web-2\", backup = true }]";
    assert_eq!(
        bad(all, ""),
        "clusters.web.servers: all servers are backups; remove `backup = true` from one of them"
    );
    let service =
        "[[clusters.web.services]]\nname = \"a\"\nprotocol = \"tcp\"\nports = 80\nservers = [\"web-2\"]\n";
    assert!(bad(backup, service).starts_with("clusters.web.services[0].servers: all servers are backups"));
    assert_eq!(good(&format!("{SERVERS}\nquorum = 1"), "").0.warnings()[0].caution, Caution::NoBackups);
    // A service with fewer servers than the cluster's quorum.
    let (_, _, settings) = good(
        "servers = [\"web-1\", { name = \"web-2\", backup = true }]\nquorum = 1",
        "[[clusters.web.services]]\nname = \"a\"\nprotocol = \"tcp\"\nports = 80\nservers = [\"web-1\"]\n",
    );
    assert_eq!(settings.clusters[0].services[0].quorum, 1);
    let limited = file(SERVERS, "").replace("[servers.web-2]", "[servers.web-2]\nconnections_max = 500");
    assert_eq!(Config::parse(&limited).unwrap().plan(None).targets[1].connections_max, 500);
}

#[test]
fn fs14_availability_has_no_use_for_weights() {
    let (config, plan, _) = good(&format!("{SERVERS}\nmode = \"availability\""), "");
    assert!(config.warnings().is_empty());
    assert_eq!(plan.clusters[0].mode, ClusterMode::Availability);
    let cluster = "mode = \"availability\"\nchooser = \"maglev\"\nservers = [{ name = \"web-1\", weight = 2 }, { name = \"web-2\", backup = true }]";
    let config = good(cluster, "").0;
    let paths: Vec<&str> = config.warnings().iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(
        paths,
        ["clusters.web.chooser", "clusters.web.servers[0].weight", "clusters.web.servers[1].backup"]
    );
    assert!(config.warnings().iter().all(|warning| warning.caution == Caution::RolesDecide));
    assert!(config.plan(None).clusters[0].services[0].members.iter().all(|member| !member.backup));
}

#[test]
fn fs10_what_becomes_of_a_dead_servers_flows() {
    let (_, plan, settings) =
        good(&format!("{SERVERS}\ndead_tcp = \"keep\"\ndead_other = \"keep\"\nslow_start_s = 30"), "");
    assert_eq!((plan.clusters[0].dead_tcp, plan.clusters[0].dead_other), (DeadFlows::Keep, DeadFlows::Keep));
    assert_eq!(settings.clusters[0].slow_start_ms, 30_000);
    assert!(bad(&format!("{SERVERS}\ndead_other = \"reset\""), "").contains("\"move\", \"keep\""));
}

#[test]
fn fs13_how_a_router_is_watched() {
    let check = |text: &str| {
        let text = file(SERVERS, "").replace("[routers.r2]", &format!("[routers.r2]\n{text}"));
        Config::parse(&text).map(|config| config.settings(&config.plan(None)).routers[1].check.clone())
    };
    assert_eq!(check("check = false").unwrap(), None);
    assert_eq!(
        check("check = { interval_ms = 100, rise = 5, through = \"192.0.2.1\" }").unwrap(),
        Some(RouterCheck {
            interval_ms: 100,
            timeout_ms: 100,
            rise: 5,
            fall: 3,
            through: Some("192.0.2.1".parse().unwrap()),
        })
    );
    for (text, message) in [
        ("check = { timeout_ms = 2000 }", "routers.r2.check.timeout_ms: a probe may take 2000 ms"),
        (
            "check = { through = \"2001:db8::9\" }",
            "routers.r2.check.through: 2001:db8::9 is IPv6, and the router's 10.9.0.2 is IPv4; write an IPv4 address",
        ),
        ("check = { fall = 0 }", "routers.r2.check.fall: 0 is out of range"),
        ("check = 5", "routers.r2.check: this is a whole number; write a table"),
        ("check = { thru = \"192.0.2.1\" }", "routers.r2.check.thru: unknown key `thru`"),
    ] {
        let errors = check(text).expect_err(text).errors;
        assert_eq!(errors.len(), 1, "{errors:#?}");
        assert!(errors[0].to_string().starts_with(message), "{}", errors[0]);
    }
}

/// `[pools.out]` with these fields.
fn pool(fields: &str) -> String {
    format!("[pools.out]\n{fields}\n")
}

#[test]
fn fs12_a_pool_of_routers() {
    let text = pool(
        "address = \"10.9.0.9\"\nrouters = [\"r2\", \"r1\"]\nbalance = \"round-robin\"\nspread = \"flow\"\nredirect = \"no-established\"",
    );
    let (config, plan, settings) = good(SERVERS, &text);
    assert!(config.warnings().is_empty());
    assert_eq!(plan.pools[0].routers, [RouterId(1), RouterId(0)]);
    assert_eq!((plan.pools[0].spread, plan.pools[0].redirect), (Spread::Flow, Redirect::NoEstablished));
    assert!(!settings.pools[0].by_load);
    // The address of one of its own routers is as good as one that nobody has.
    let (_, plan, settings) = good(SERVERS, &pool("address = \"10.9.0.1\"\nrouters = [\"r1\", \"r2\"]"));
    assert_eq!((plan.pools[0].spread, plan.pools[0].redirect), (Spread::Server, Redirect::All));
    assert!(settings.pools[0].by_load);
    assert_eq!(
        good(SERVERS, &pool("address = \"10.9.0.9\"\nrouters = [\"r1\"]")).0.warnings()[0].caution,
        Caution::OneRouter
    );
}

#[test]
fn fs12_mistakes_in_pools() {
    for (fields, message) in [
        (
            "address = \"10.9.0.9\"",
            "pools.out.routers: there are no routers; add a line like `routers = [\"r1\", \"r2\"]`",
        ),
        (
            "routers = [\"r1\", \"r2\"]",
            "pools.out: `address` is missing; add a line like `address = \"10.9.0.1\"`",
        ),
        (
            "address = \"10.9.0.9\"\nrouters = [\"r1\", \"r9\"]",
            "pools.out.routers[1]: there is no router r9; did you mean \"r1\"?",
        ),
        (
            "address = \"10.9.0.9\"\nrouters = [\"r1\", \"r1\"]",
            "pools.out.routers[1]: router r1 is listed twice; keep one of the two",
        ),
        (
            "address = \"10.9.0.9\"\nrouters = [\"r1\", \"six\"]",
            "pools.out.routers[1]: 2001:db8::1 is IPv6, and the pool's 10.9.0.9 is IPv4; write an IPv4 address",
        ),
        (
            "address = \"10.9.0.100\"\nrouters = [\"r1\", \"r2\"]",
            "clusters.web.vip: 10.9.0.100 in VLAN 1 already belongs to pool out; give each its own address in this VLAN",
        ),
        (
            "address = \"10.9.0.2\"\nrouters = [\"r1\"]",
            "pools.out.address: 10.9.0.2 in VLAN 1 already belongs to router r2; give each its own address in this VLAN",
        ),
        (
            "address = \"10.9.0.9\"\nrouters = [\"r1\", \"r2\"]\nbalance = \"even\"",
            "pools.out.balance: `even` is not known here; write one of \"load\", \"round-robin\"",
        ),
    ] {
        assert_eq!(bad(SERVERS, &pool(fields)), message);
    }
    let two = pool("address = \"10.9.0.9\"\nrouters = [\"r1\", \"r2\"]")
        + "[pools.more]\naddress = \"10.9.0.8\"\nrouters = [\"r1\", \"r2\"]\n";
    assert_eq!(
        bad(SERVERS, &two),
        "pools.more: pool out is in VLAN 1 for IPv4 too, so a server's default router would be ambiguous; put these routers into pool out, or use another VLAN"
    );
    let elsewhere = pool("address = \"10.9.0.9\"\nvlan = 7\nrouters = [\"r1\", \"r2\"]");
    let errors = Config::parse(&file(SERVERS, &elsewhere)).unwrap_err().errors;
    assert_eq!(errors.len(), 2);
    assert_eq!(errors[0].mistake, Mistake::RouterElsewhere { router: "r1".into(), theirs: 1, vlan: 7 });
    // One pool for each family.
    good(
        SERVERS,
        &(pool("address = \"10.9.0.9\"\nrouters = [\"r1\", \"r2\"]")
            + "[pools.six]\naddress = \"2001:db8::9\"\nrouters = [\"six\"]\n"),
    );
}

#[test]
fn fs30_where_probes_come_from() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let probe = |cluster: &str, rest: &str| {
        let (_, plan, settings) = good(&format!("{SERVERS}\n{cluster}"), rest);
        (plan.clusters[0].probe, settings.servers[0].gateway)
    };
    let out = pool("address = \"10.9.0.9\"\nrouters = [\"r1\", \"r2\"]");
    assert_eq!(probe("", ""), (address("10.9.0.1"), None), "the first router's");
    assert_eq!(probe("", &out), (address("10.9.0.9"), None), "the pool's");
    let own = "probe_address = \"10.9.0.77\"";
    assert_eq!(probe(own, &out), (address("10.9.0.77"), Some(address("10.9.0.9"))));
    assert_eq!(probe("probe_address = \"10.9.0.9\"", &out).0, address("10.9.0.9"), "the gateway is");
    assert_eq!(probe("probe_address = \"10.9.0.2\"", "").0, address("10.9.0.2"), "a router may be");
    // A router whose MAC nobody will ever know: whoever is asked by ARP takes it from the probe.
    let unasked =
        file(SERVERS, "").replace("address = \"10.9.0.1\"", "address = \"10.9.0.1\"\ncheck = false");
    assert_eq!(Config::parse(&unasked).unwrap().plan(None).clusters[0].probe, address("192.0.0.8"));
    let lonely = file(SERVERS, "").replace("address = \"10.9.0.", "vlan = 1\naddress = \"2001:db8::a");
    let plan = Config::parse(&lonely).unwrap().plan(None);
    assert_eq!(plan.clusters[0].probe, address("192.0.0.8"));
    let six = Config::parse(&file(SERVERS, "").replace("10.9.0.100", "2001:db8::100")).unwrap();
    let plan = six.plan(None);
    assert!(matches!(plan.clusters[0].probe, IpAddr::V6(v6) if v6.is_unicast_link_local()));
    assert_eq!(six.settings(&plan).servers[0].gateway, Some(address("2001:db8::1")));

    let taken = |address: &str, owner: &str| {
        format!(
            "clusters.web.probe_address: {address} belongs to {owner}, so answers to probes would go there; use the servers' default router, or an address that nobody has; or remove the line"
        )
    };
    let mistake = |address: &str, rest: &str| bad(&format!("{SERVERS}\nprobe_address = \"{address}\""), rest);
    assert_eq!(mistake("10.9.0.100", ""), taken("10.9.0.100", "cluster web"));
    assert_eq!(mistake("10.9.0.2", &out), taken("10.9.0.2", "router r2"));
    assert_eq!(
        mistake("2001:db8::7", ""),
        "clusters.web.probe_address: 2001:db8::7 is IPv6, and the VIP 10.9.0.100 is IPv4; write an IPv4 address"
    );
}

#[test]
fn routers_and_pools_keep_their_numbers() {
    let out = pool("address = \"10.9.0.9\"\nrouters = [\"r1\", \"r2\"]");
    let (_, first, _) = good(SERVERS, &out);
    let text = file(SERVERS, &out)
        .replace("[routers.r1]", "[routers.r0]\nport = \"up1\"\naddress = \"10.9.0.7\"\n[routers.r1]")
        .replace("[pools.out]", "[pools.six]\naddress = \"2001:db8::9\"\nrouters = [\"six\"]\n[pools.out]");
    let config = Config::parse(&text).unwrap();
    let second = config.plan(Some(&first));
    let number = |plan: &Plan, name: &str| plan.routers.iter().find(|router| router.name == name).unwrap().id;
    for name in ["r1", "r2", "six"] {
        assert_eq!(number(&second, name), number(&first, name));
    }
    assert_eq!(number(&second, "r0"), RouterId(3));
    let pools: Vec<(PoolId, &str)> = second.pools.iter().map(|pool| (pool.id, pool.name.as_str())).collect();
    assert_eq!(pools, [(PoolId(1), "six"), (PoolId(0), "out")]);
    let settings = config.settings(&second);
    assert_eq!(
        settings.routers.iter().map(|router| router.id).collect::<Vec<_>>(),
        [3, 0, 1, 2].map(RouterId)
    );
}
