//! Every mistake is reported, all of a file at once, with path and remedy.

#![allow(clippy::unwrap_used)] // free in tests

use control_config::{Caution, Config, ConfigErrors, Mistake};

/// A file without mistakes, to be spoiled.
const GOOD: &str = r#"
[switch]
name = "fs1"
mode = "trial"
[ports.up1]
interface = "p0"
[ports.s1]
interface = "p1"
role = "server"
[ports.s2]
interface = "p2"
role = "server"
[ports.trunk]
interface = "p3"
tagged = [10, 20]
[routers.r1]
port = "up1"
address = "10.9.0.1"
[servers.web-1]
port = "s1"
mac = "02:00:00:00:00:11"
[servers.web-2]
port = "s2"
[clusters.web]
vip = "10.9.0.100"
servers = ["web-1", { name = "web-2", weight = 3 }]
"#;

fn mistakes(text: &str) -> ConfigErrors {
    Config::parse(text).expect_err("the file has a mistake")
}

/// The one mistake that appears when `from` is replaced by `to`: its path and itself.
fn spoiled(from: &str, to: &str) -> (String, Mistake) {
    assert!(GOOD.contains(from), "nothing to replace: {from}");
    let errors = mistakes(&GOOD.replacen(from, to, 1)).errors;
    assert_eq!(errors.len(), 1, "one mistake, one message: {errors:#?}");
    let error = &errors[0];
    assert!(error.line > 0, "no line for {error}");
    (error.path.clone(), error.mistake.clone())
}

/// The one message that appears when `text` is added at the end.
fn added(text: &str) -> String {
    let errors = mistakes(&format!("{GOOD}{text}")).errors;
    assert_eq!(errors.len(), 1, "one mistake, one message: {errors:#?}");
    errors[0].to_string()
}

#[test]
fn the_good_file_is_good() {
    let config = Config::parse(GOOD).expect("no mistake");
    assert!(config.warnings().is_empty(), "{:?}", config.warnings());
}

#[test]
fn twelve_mistakes_are_twelve_messages() {
    let text = include_str!("files/twelve.toml");
    let errors = mistakes(text).errors;
    let found: Vec<String> = errors.iter().map(|error| format!("{}: {error}", error.line)).collect();
    let expected = [
        "3: switch.worker_cores: mode \"appliance\" needs cores of its own for the workers; add a line like `worker_cores = [2, 3]`, or use mode = \"trial\"",
        "5: switch.wrokers: unknown key `wrokers`; did you mean `workers`?",
        "9: ports.up1.untagged: 5000 is out of range; write a number from 1 to 4094",
        "12: ports.s1.interface: eth0 already carries port up1; give each port a device of its own",
        "20: routers.r1.port: there is no port up9; did you mean \"up1\"?",
        "29: servers.web-2.mac: 01:00:00:00:00:12 is a multicast or zero address, which no station may have; use the station's own address, whose first byte is even",
        "33: servers.web-3.mac: 02:00:00:00:00:11 already belongs to server web-1; give each its own address",
        "36: clusters.web.vip: 127.0.0.1 is a loopback address, which no station may have; use an ordinary unicast address of the servers' network",
        "37: clusters.web.servers[2]: port s1 already carries a server of this cluster; mark the port shared (FS-3)",
        "41: clusters.mail.chooser: `best` is not known here; write one of \"round-robin\", \"weighted-round-robin\", \"least-connections\", \"source-affinity\", \"maglev\", \"dynamic\", \"two-choices\"",
        "42: clusters.mail.servers[1]: there is no server web-4; did you mean \"web-1\"?",
        "44: clusters.dns.servers: there are no servers; add a line like `servers = [\"web-1\", \"web-2\"]`",
    ];
    assert_eq!(found, expected);
}

#[test]
fn unknown_keys_and_tables_are_named() {
    assert_eq!(added("[clutsers.a]\n"), "clutsers: unknown key `clutsers`; did you mean `clusters`?");
    let (path, mistake) = spoiled("address = \"10.9.0.1\"", "address = \"10.9.0.1\"\ncolour = 1");
    assert_eq!(path, "routers.r1.colour");
    assert_eq!(mistake.remedy(), "remove it; known here: port, vlan, address, mac, check");
    let (path, mistake) = spoiled("vip = ", "vpi = ");
    assert_eq!((path.as_str(), mistake.remedy().as_str()), ("clusters.web.vpi", "did you mean `vip`?"));
    let (path, _) = spoiled("weight = 3", "wieght = 3");
    assert_eq!(path, "clusters.web.servers[1].wieght");
}

#[test]
fn types_and_ranges() {
    use Mistake::{NotOneOf, OutOfRange, WrongType};
    let whole = |found| WrongType { found, expected: "a whole number" };
    assert_eq!(spoiled("mode = \"trial\"", "workers = \"1\""), ("switch.workers".into(), whole("a text")));
    assert_eq!(spoiled("mode = \"trial\"", "workers = 1.5").1, whole("a number with a fraction"));
    let out = |value: &str, min, max| OutOfRange { value: value.into(), min, max };
    assert_eq!(spoiled("mode = \"trial\"", "workers = 33").1, out("33", 1, 32));
    assert_eq!(spoiled("mode = \"trial\"", "flows_max = 1000").1, out("1000", 1024, 67_108_864));
    assert_eq!(
        spoiled("mode = \"trial\"", "workers = 99999999999999999999").1,
        out("99999999999999999999", 1, 32)
    );
    assert_eq!(spoiled("tagged = [10, 20]", "mtu = 9217").1, out("9217", 576, 9216));
    assert_eq!(spoiled("weight = 3", "weight = 1001").1, out("1001", 0, 1000));
    assert!(matches!(spoiled("mode = \"trial\"", "mode = \"laptop\"").1, NotOneOf { .. }));
    assert!(matches!(
        spoiled("[ports.trunk]\ninterface = \"p3\"\ntagged = [10, 20]", "[ports]\ntrunk = 3").1,
        WrongType { .. }
    ));
    assert_eq!(spoiled("tagged = [10, 20]", "tagged = [10, 4095]").0, "ports.trunk.tagged[1]");
    assert_eq!(spoiled("servers = [\"web-1\"", "servers = [1").0, "clusters.web.servers[0]");
}

#[test]
fn what_is_broken_is_reported_once() {
    // The port's table is wrong; the server on it and the cluster are not.
    assert_eq!(spoiled("role = \"server\"", "role = \"servers\"").0, "ports.s1.role");
    assert_eq!(spoiled("port = \"s1\"", "port = 1").0, "servers.web-1.port");
    assert_eq!(
        spoiled("vip = \"10.9.0.100\"", "").1,
        Mistake::Missing { key: "vip", example: "vip = \"10.9.0.100\"" }
    );
}

#[test]
fn addresses() {
    for (text, kind) in [
        ("0.0.0.0", "an address of \"this network\""),
        ("127.1.2.3", "a loopback address"),
        ("224.0.0.1", "a multicast address"),
        ("250.0.0.1", "a reserved address"),
        ("255.255.255.255", "the broadcast address"),
        ("::", "the unspecified address"),
        ("::1", "the loopback address"),
        ("ff02::1", "a multicast address"),
        ("::ffff:10.9.0.1", "an IPv4 address in IPv6 form"),
    ] {
        let expected = Mistake::AddressNotUnicast { text: text.into(), kind };
        assert_eq!(spoiled("10.9.0.100", text), ("clusters.web.vip".into(), expected));
    }
    assert!(matches!(spoiled("10.9.0.100", "10.9.0.100/24").1, Mistake::BadAddress { .. }));
    assert!(matches!(spoiled("02:00:00:00:00:11", "02:00:00:00:00").1, Mistake::BadMac { .. }));
    assert!(matches!(spoiled("02:00:00:00:00:11", "00:00:00:00:00:00").1, Mistake::MacNotUnicast { .. }));
    assert!(matches!(spoiled("02:00:00:00:00:11", "ff:ff:ff:ff:ff:ff").1, Mistake::MacNotUnicast { .. }));
}

#[test]
fn devices() {
    use Mistake::{
        BadInterface, BadPci, BadVdev, DeviceTaken, DriverWithoutInterface, ManyDevices, NoDevice,
    };
    assert_eq!(spoiled("interface = \"p0\"", ""), ("ports.up1".into(), NoDevice));
    assert_eq!(spoiled("interface = \"p0\"", "interface = \"p0\"\nvdev = \"net_null0\"").1, ManyDevices);
    assert!(matches!(spoiled("interface = \"p0\"", "interface = \"p1\"").1, DeviceTaken { .. }));
    assert!(matches!(
        spoiled("interface = \"p0\"", "interface = \"a-name-too-long-\"").1,
        BadInterface { .. }
    ));
    assert!(matches!(spoiled("interface = \"p0\"", "interface = \"p0,iface=p1\"").1, BadInterface { .. }));
    assert!(matches!(spoiled("interface = \"p0\"", "pci = \"1:2\"").1, BadPci { .. }));
    assert!(matches!(spoiled("interface = \"p0\"", "vdev = \"null\"").1, BadVdev { .. }));
    assert_eq!(
        spoiled("interface = \"p0\"", "pci = \"01:00.0\""),
        ("ports.up1.pci".into(), Mistake::PciWithoutHugepages)
    );
    assert_eq!(
        spoiled("interface = \"p0\"", "vdev = \"net_null0\"\ndriver = \"pcap\"").1,
        DriverWithoutInterface
    );
    assert!(
        added("[ports.x]\nvdev=\"net_null0,size=64\"\n[ports.y]\nvdev=\"net_null0\"\n")
            .starts_with("ports.y.vdev: net_null0 already carries port x;")
    );
}

#[test]
fn vlans() {
    assert_eq!(
        spoiled("tagged = [10, 20]", "tagged = [10]\nuntagged = 10").1,
        Mistake::TaggedAndUntagged { vlan: 10 }
    );
    assert_eq!(spoiled("[10, 20]", "[10, 10]").1, Mistake::Twice { value: "VLAN 10".into() });
    assert_eq!(
        spoiled("address = \"10.9.0.1\"", "address = \"10.9.0.1\"\nvlan = 7").1,
        Mistake::PortNotInVlan { port: "up1".into(), vlan: 7 }
    );
    let text = GOOD.replace("vip = ", "vlan = 10\nvip = ");
    let found: Vec<String> = mistakes(&text).errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "clusters.web.servers[0]: port s1 is not in VLAN 10; add 10 to `tagged` (or set `untagged = 10`) in [ports.s1]",
            "clusters.web.servers[1]: port s2 is not in VLAN 10; add 10 to `tagged` (or set `untagged = 10`) in [ports.s2]",
        ]
    );
}

#[test]
fn a_server_outside_and_a_router_inside() {
    assert_eq!(
        spoiled("interface = \"p1\"\nrole = \"server\"", "interface = \"p1\""),
        ("servers.web-1.port".into(), Mistake::ServerOutside { port: "s1".into() })
    );
    assert_eq!(
        spoiled("[routers.r1]\nport = \"up1\"", "[routers.r1]\nport = \"s1\""),
        ("routers.r1.port".into(), Mistake::RouterInside { port: "s1".into() })
    );
}

#[test]
fn clusters() {
    let second = |vip: &str| format!("[clusters.b]\nvip = \"{vip}\"\nservers = [\"web-1\"]\n");
    assert_eq!(
        added(&second("10.9.0.100")),
        "clusters.b.vip: 10.9.0.100 in VLAN 1 already belongs to cluster web; give each its own address in this VLAN"
    );
    assert_eq!(
        added(&second("10.9.0.1")),
        "clusters.b.vip: 10.9.0.1 in VLAN 1 already belongs to router r1; give each its own address in this VLAN"
    );
    let vmac = |mac: &str| format!("{}vmac = \"{mac}\"\n", second("10.9.0.101"));
    assert!(added(&vmac("02:00:00:00:00:11")).contains("already belongs to server web-1"));
    assert!(added(&vmac("03:00:00:00:00:11")).contains("multicast or zero"));
    let web = dataplane_message::vmac(dataplane_port::VlanId(1), "10.9.0.100".parse().unwrap());
    assert!(added(&vmac(&web.to_string())).contains("already belongs to cluster web as its VMAC"));
    assert_eq!(
        spoiled("{ name = \"web-2\", weight = 3 }", "\"web-1\"").1,
        Mistake::Twice { value: "server web-1".into() }
    );
    assert_eq!(spoiled("[\"web-1\", { name = \"web-2\", weight = 3 }]", "[]").1, Mistake::NoServers);
}

#[test]
fn learned_servers_need_a_port_each() {
    let text = "[servers.web-3]\nport = \"s2\"\n";
    assert_eq!(
        added(text),
        "servers.web-3.mac: server web-2 on port s2 is to be learned too, and the first answer cannot tell them apart; configure the MAC of at least one of them"
    );
}

#[test]
fn a_shared_port_is_a_warning() {
    let text = GOOD
        .replace("[ports.s2]", "[ports.s2]\nshared = true")
        .replace("\"web-1\", {", "\"web-1\", \"web-3\", {")
        + "[servers.web-3]\nport = \"s2\"\nmac = \"02:00:00:00:00:13\"\n";
    let config = Config::parse(&text).expect("a warning is no mistake");
    let warnings: Vec<String> = config.warnings().iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "clusters.web.servers[2]: port s2 is shared with server web-3 of this cluster: steering works, isolation between the two is theirs (FS-3)"
        ]
    );
    let unshared = text.replace("shared = true", "");
    assert!(mistakes(&unshared).to_string().contains("mark the port shared (FS-3)"));
}

#[test]
fn services() {
    let service = |fields: &str| format!("[[clusters.web.services]]\nname = \"https\"\n{fields}");
    assert!(
        added(&service("protocol = \"tcp\"\nports = 0\n"))
            .starts_with("clusters.web.services[0].ports: `0` is")
    );
    assert!(added(&service("protocol = \"tcp\"\nports = \"9-8\"\n")).contains("`9-8` is neither"));
    assert!(added(&service("protocol = \"tcp\"\nports = 70000\n")).contains("`70000` is neither"));
    assert!(added(&service("protocol = \"gre\"\nports = 80\n")).contains("the protocol has none"));
    assert!(added(&service("ports = 80\n")).contains("set protocol to"));
    assert!(added(&service("servers = [\"web-9\"]\n")).contains("did you mean \"web-1\"?"));
    assert!(added(&service("servers = []\n")).contains("there are no servers"));
    assert!(
        added(&format!(
            "{}[servers.web-3]\nport = \"s1\"\nmac = \"02:00:00:00:00:13\"\n",
            service("servers = [\"web-3\"]\n")
        ))
        .contains("add \"web-3\" to the cluster's `servers`")
    );
    let twice = format!("{0}protocol = \"tcp\"\nports = 1\n{0}protocol = \"udp\"\n", service(""));
    assert!(added(&twice).contains("the name `https` is taken"));
    assert!(
        added("[[clusters.web.services]]\nname = \"default\"\nprotocol = 6\n").contains("`default` is taken")
    );
    let group = |idle: u16, name: &str, port: u16| {
        format!(
            "[[clusters.web.services]]\nname = \"{name}\"\nprotocol = \"tcp\"\nports = {port}\naffinity = {{ group = \"g\", idle_s = {idle} }}\n"
        )
    };
    assert!(added(&(group(60, "a", 80) + &group(61, "b", 443))).contains("affinity group `g`"));
}

#[test]
fn services_that_shadow_one_another_are_a_warning() {
    let service = |name: &str, protocol: &str, ports: &str| {
        format!(
            "[[clusters.web.services]]\nname = \"{name}\"\nprotocol = \"{protocol}\"\nports = \"{ports}\"\n"
        )
    };
    let cautions = |text: String| -> Vec<Caution> {
        let config = Config::parse(&(GOOD.to_owned() + &text)).expect("a warning is no mistake");
        config.warnings().iter().map(|warning| warning.caution.clone()).collect()
    };
    let by = |name: &str| name.to_owned();
    assert_eq!(
        cautions(service("wide", "tcp", "80-90") + &service("narrow", "tcp", "85")),
        [Caution::Shadowed { by: by("wide") }]
    );
    assert_eq!(
        cautions(service("a", "tcp", "80-90") + &service("b", "tcp", "85-95")),
        [Caution::Overlaps { by: by("a") }]
    );
    assert_eq!(cautions(service("narrow", "tcp", "85") + &service("wide", "tcp", "80-90")), []);
    assert_eq!(cautions(service("a", "tcp", "80") + &service("b", "udp", "80")), []);
}

#[test]
fn weights_of_zero_and_servers_without_work_are_warnings() {
    let cautions = |text: &str| -> Vec<Caution> {
        let config = Config::parse(text).expect("a warning is no mistake");
        config.warnings().iter().map(|warning| warning.caution.clone()).collect()
    };
    let zero =
        GOOD.replace("\"web-1\", { name = \"web-2\", weight = 3 }", "{ name = \"web-1\", weight = 0 }");
    assert_eq!(cautions(&zero), [Caution::Unused, Caution::AllWeightsZero]);
    let disabled = GOOD.replace("[servers.web-1]", "[servers.web-1]\nadmin = \"drain\"");
    assert_eq!(cautions(&disabled), []);
    let disabled = disabled.replace("[servers.web-2]", "[servers.web-2]\nadmin = \"disabled\"");
    assert_eq!(cautions(&disabled), [Caution::NoneEnabled]);
    let driver = GOOD.replace("interface = \"p0\"", "interface = \"p0\"\ndriver = \"af_packet\"");
    assert_eq!(cautions(&driver), [Caution::Fragments]);
}

#[test]
fn workers_and_cores() {
    let (path, mistake) = spoiled("mode = \"trial\"", "workers = 2\nworker_cores = [3]");
    assert_eq!(path, "switch.worker_cores");
    assert_eq!(mistake, Mistake::WorkersAndCores { workers: 2, cores: 1 });
    assert!(matches!(spoiled("mode = \"trial\"", "worker_cores = [3, 3]").1, Mistake::Twice { .. }));
    assert_eq!(spoiled("mode = \"trial\"", "mode = \"appliance\"").1, Mistake::NoCores);
    let text = GOOD.replace("mode = \"trial\"", "mode = \"appliance\"\nworker_cores = [2, 3, 4]");
    let boot = Config::parse(&text).expect("no mistake").boot();
    assert_eq!((boot.workers, boot.hugepages), (3, true));
}

#[test]
fn malformed_toml_is_reported_with_what_else_is_wrong() {
    let text = GOOD.replace("[ports.s1]", "[ports.s1").replace("weight = 3", "weight = -3");
    let errors = mistakes(&text).errors;
    let found: Vec<(u32, &str)> = errors.iter().map(|error| (error.line, error.path.as_str())).collect();
    assert_eq!(found, [(7, ""), (26, "clusters.web.servers[1].weight")]);
    assert_eq!(mistakes("a = ").errors.len(), 2, "the line, and the key that nobody knows");
    assert_eq!(mistakes("").errors[0].mistake, Mistake::NoPorts);
    for text in [
        "[[ports]]",
        "ports = 1",
        "switch = []",
        "\u{0}",
        "[ports.\"a b\"]\ninterface = \"x\"",
        "[ports.x]\n\"\" = 1",
    ] {
        let _ = mistakes(text);
    }
}

#[test]
fn the_bridge_cannot_hold_less_than_one_of_its_ports() {
    assert!(added("[bridge]\naddresses_max = 100\naddresses_port_max = 200\n").contains("only 100"));
    Config::parse(&format!("{GOOD}[bridge]\naddresses_max = 100\n")).expect("a port then has 100 too");
}

#[test]
fn quic_is_udp() {
    let service = "[[clusters.web.services]]\nname = \"h3\"\nports = 443\nquic = true\nprotocol = ";
    let message = added(&format!("{service}\"tcp\"\n"));
    assert!(message.contains("clusters.web.services[0].quic: QUIC is UDP"), "{message}");
    Config::parse(&format!("{GOOD}{service}\"udp\"\n")).expect("no mistake");
}
