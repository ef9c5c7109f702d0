use super::*;
use control_show::{
    AffinityRow, AssignmentRow, CheckRow, DataPath, DrainRow, FindingRow, HealthRow, LoadRow, PoolRouterRow,
    PoolRow, RoleRow, ServerState, ServiceHealth, ServiceRow, ServiceWeight, Traffic,
};
use dataplane_wire::MacAddr;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn server(name: &str, state: ServerState) -> ServerRow {
    ServerRow {
        name: name.into(),
        state,
        reason: None,
        mac: Some(mac(0x11)),
        mac_learned: false,
        contender: None,
        port: "s1".into(),
        clusters: vec![Membership { cluster: "web".into(), weight: 3, services: Vec::new() }],
        flows_open: 5,
        flows_new: 1_000_000,
        flows_new_per_s: Some(12.5),
        inbound: Traffic { frames: 123, bytes: 45_678, frames_per_s: Some(1.0), bytes_per_s: None },
        outbound: Traffic { frames: 1_234_567, bytes: 9_876_543_210, frames_per_s: None, bytes_per_s: None },
    }
}

#[test]
fn servers_in_columns() {
    let mut learned = server("mail-1", ServerState::Draining);
    learned.mac_learned = true;
    learned.contender = Some(mac(0x99));
    learned.clusters[0].services = vec![
        ServiceWeight { service: "https".into(), weight: 7 },
        ServiceWeight { service: "http".into(), weight: 3 },
    ];
    let mut unknown = server("x", ServerState::Learning);
    unknown.reason = Some("its link is down".into());
    unknown.mac = None;
    unknown.clusters.clear();
    assert_eq!(
        servers(&[server("web-1", ServerState::Up), learned, unknown]),
        "\
SERVER  STATE     MAC                          PORT  WEIGHT          FLOWS  NEW/S  IN-FRAMES  IN-BYTES  IN/S  OUT-FRAMES  OUT-BYTES  OUT/S
web-1   up        02:00:00:00:00:11            s1    web:3               5   12.5        123    45.7kB     1       1.23M     9.88GB      -
mail-1  draining  02:00:00:00:00:11 (learned)  s1    web:3(https:7)      5   12.5        123    45.7kB     1       1.23M     9.88GB      -
x       learning  -                            s1                        5   12.5        123    45.7kB     1       1.23M     9.88GB      -
mail-1: 02:00:00:00:00:99 claims to be this server too
x: its link is down
"
    );
}

#[test]
fn clusters_with_a_line_for_each_service() {
    let service = |name: &str, affinity| ServiceRow {
        name: name.into(),
        protocol: "tcp".into(),
        ports: "443".into(),
        chooser: "maglev".into(),
        backups: if name == "https" { vec!["sorry".into()] } else { Vec::new() },
        backups_taken: false,
        affinity,
        flows_new: 10,
        flows_new_per_s: Some(0.5),
    };
    let affinity = AffinityRow { prefix_v4: 24, prefix_v6: 64, idle_s: 600 };
    let row = ClusterRow {
        name: "web".into(),
        vlan: 1,
        vip: "10.9.0.100".parse().unwrap(),
        vmac: mac(0xaa),
        mode: "load-sharing".into(),
        roles: Vec::new(),
        servers: 3,
        servers_up: 2,
        flows_new: 20,
        flows_new_per_s: None,
        flows_server: 4,
        hashed: 0,
        answered: 7,
        fail: "closed".into(),
        services: vec![service("https", Some(affinity)), service("default", None)],
    };
    assert_eq!(
        clusters(&[row]),
        "\
CLUSTER  VLAN  VIP         VMAC               MODE           UP  SERVICE  PROTOCOL  PORTS  CHOOSER  AFFINITY        NEW  NEW/S  OPENED  HASHED
web         1  10.9.0.100  02:00:00:00:00:aa  load-sharing  2/3  https    tcp       443    maglev   /24 /64 10m00s   10    0.5       4       0
                                                                 default  tcp       443    maglev   -                10    0.5
web/https: backup sorry standing by
"
    );
}

#[test]
fn flows_with_both_kinds_of_addresses() {
    let row = |client: &str, port| FlowRow {
        cluster: "web".into(),
        protocol: "tcp".into(),
        kind: "flow".into(),
        client: client.parse().unwrap(),
        client_port: port,
        vip_port: 80,
        server: "web-1".into(),
        state: "established".into(),
        from_server: port == 0,
        idle_s: 3,
        age_s: 3700,
        worker: 0,
    };
    assert_eq!(
        flows(&[row("198.51.100.7", 4000), row("2001:db8::7", 4000), row("198.51.100.8", 0)]),
        "\
CLUSTER  PROTOCOL  CLIENT              VIP-PORT  SERVER  STATE        OPENED-BY  KEY   IDLE    AGE  WORKER
web      tcp       198.51.100.7:4000         80  web-1   established  client     flow    3s  1h01m       0
web      tcp       [2001:db8::7]:4000        80  web-1   established  client     flow    3s  1h01m       0
web      tcp       198.51.100.8              80  web-1   established  server     flow    3s  1h01m       0
"
    );
}

#[test]
fn vlans_of_a_port() {
    assert_eq!(vlans(Some(1), &[]), "1");
    assert_eq!(vlans(Some(1), &[10, 20]), "1 +10,20");
    assert_eq!(vlans(None, &[10]), "+10");
}

#[test]
fn every_view_has_words_for_nothing() {
    let shown =
        |view| Shown { switch: "fs1".into(), at: String::new(), data_path: DataPath::default(), view };
    for view in [
        View::Clusters(vec![]),
        View::Servers(vec![]),
        View::Flows(vec![]),
        View::Ports(vec![]),
        View::Workers(vec![]),
        View::Drops(vec![]),
        View::Bridge(vec![]),
        View::Alarms(vec![]),
        View::Routers(vec![]),
        View::Health(vec![]),
        View::Pools(vec![]),
        View::Load(vec![]),
        View::Findings(vec![]),
    ] {
        assert_eq!(text(&shown(view)).lines().count(), 1);
    }
}

#[test]
fn fs14_roles_stand_below_the_clusters() {
    let role = |server: &str, role: &str| RoleRow { server: server.into(), role: role.into() };
    let row = ClusterRow {
        name: "db".into(),
        vlan: 1,
        vip: "10.9.0.50".parse().unwrap(),
        vmac: mac(0xab),
        mode: "availability".into(),
        roles: vec![role("db-1", "secondary-failed"), role("db-2", "primary")],
        servers: 2,
        servers_up: 1,
        flows_new: 0,
        flows_new_per_s: None,
        flows_server: 0,
        hashed: 0,
        answered: 0,
        fail: "closed".into(),
        services: Vec::new(),
    };
    assert!(clusters(&[row]).ends_with("db: db-1 secondary-failed, db-2 primary\n"));
}

#[test]
fn fs30_health_with_a_line_for_each_check() {
    let check = |check: &str, failure: Option<&str>| CheckRow {
        check: check.into(),
        good: failure.is_none(),
        failure: failure.map(str::to_owned),
        took_us: Some(420),
    };
    let service = |service: &str, checks| ServiceHealth {
        cluster: "web".into(),
        service: service.into(),
        open: true,
        reason: None,
        weight: 1,
        full_weight: 3,
        slow_start_percent: 33,
        backup: false,
        checks,
    };
    let row = |server: &str, state| HealthRow {
        server: server.into(),
        state,
        since: Some("2026-11-20T12:00:00.000Z".into()),
        since_s: Some(65),
        reason: None,
        presumed: false,
        passive: true,
        hold_down_ms: 0,
        flows_open: 7,
        drain: None,
        services: vec![
            service("http", vec![check("tcp 80", None), check("arp", Some("no answer within 500 ms"))]),
            service("default", Vec::new()),
        ],
    };
    let mut down = row("web-2", ServerState::Dead);
    down.reason = Some("its link is down".into());
    down.passive = false;
    down.services.clear();
    down.drain = Some(DrainRow {
        since_s: 5,
        flows_first: 9,
        flows_open: 7,
        deadline_s: None,
        gentle: false,
        ends_in_s: None,
        waits_for: Some("established, 7440 s".into()),
        done: false,
    });
    assert_eq!(
        health::health(&[row("web-1", ServerState::Up), down]),
        "\
SERVER  STATE    FOR  FLOWS  SIGNS  SERVICE      NEW-FLOWS                   WEIGHT  CHECK   RESULT
web-1   up     1m05s      7  on     web/http     yes        1 of 3 (slow start 33%)  tcp 80  good, 420us
                                                                                     arp     FAILS: no answer within 500 ms
                                    web/default  yes        1 of 3 (slow start 33%)  -       -
web-2   dead   1m05s      7  off    -            -                                -  -       -
web-2: its link is down
web-2: drains: 7 of 9 flows open; waits for the time-out established, 7440 s
"
    );
}

#[test]
fn fs12_pools_with_their_routers_and_servers() {
    let router = |router: &str, share| PoolRouterRow {
        router: router.into(),
        state: "up".into(),
        reason: None,
        servers: 1,
        out_bytes_per_s: Some(share * 1000.0),
        share_percent: Some(share),
        redirected: 0,
    };
    let pool = PoolRow {
        name: "out".into(),
        vlan: 1,
        address: "10.9.0.1".parse().unwrap(),
        balance: "load".into(),
        spread: "server".into(),
        redirect: "all".into(),
        routers: vec![router("r1", 60.0), router("r2", 40.0)],
        assignments: vec![AssignmentRow { server: "web-1".into(), router: "r2".into(), bytes_per_s: 40_000 }],
    };
    assert_eq!(
        health::pools(&[pool]),
        "\
POOL  ADDRESS   VLAN  BALANCE  SPREAD  REDIRECT  ROUTER  STATE  SERVERS   OUT/S  SHARE          REDIRECTED
out   10.9.0.1     1  load     server  all       r1      up           1  60.0kB    60%  ██████           0
                                                 r2      up           1  40.0kB    40%  ████             0

POOL  SERVER  ROUTER   OUT/S
out   web-1   r2      40.0kB
"
    );
}

#[test]
fn fs32_load_with_a_bar_for_each_server() {
    let row = |server: &str, rate: f64, open| LoadRow {
        cluster: "web".into(),
        service: "http".into(),
        server: server.into(),
        open,
        weight: 100,
        flows_new_per_s: Some(rate),
        connect_p50_us: Some(64),
        connect_p99_us: Some(1_024),
        response_p50_us: None,
        response_p99_us: None,
        in_bytes_per_s: Some(1_000.0),
        out_bytes_per_s: None,
    };
    assert_eq!(
        health::load(&[row("web-1", 200.0, true), row("web-2", 50.0, false)]),
        "\
CLUSTER  SERVICE  SERVER  WEIGHT  NEW/S              CONNECT-P50     P99  RESPONSE-P50  P99    IN/S  OUT/S
web      http     web-1      100    200  ██████████        <64us  <1.0ms             -    -  1.00kB      -
web      http     web-2    (100)     50  ██▌               <64us  <1.0ms             -    -  1.00kB      -
"
    );
}

#[test]
fn a_finding_says_what_mends_it() {
    let finding = FindingRow {
        kind: "vip-not-bound".into(),
        cluster: Some("web".into()),
        server: Some("web-3".into()),
        router: None,
        pool: None,
        problem: "web-3 answers ARP, but not for 10.9.0.100".into(),
        fix: "on web-3: ip address add 10.9.0.100/24 dev eth0".into(),
    };
    assert_eq!(
        health::findings(&[finding]),
        "\
1. vip-not-bound (cluster web, server web-3)
   web-3 answers ARP, but not for 10.9.0.100
   fix: on web-3: ip address add 10.9.0.100/24 dev eth0
"
    );
}
