use super::*;
use control_show::{AffinityRow, DataPath, ServerState, ServiceRow, ServiceWeight, Traffic};
use dataplane_wire::MacAddr;

fn mac(last: u8) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, last])
}

fn server(name: &str, state: ServerState) -> ServerRow {
    ServerRow {
        name: name.into(),
        state,
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
CLUSTER  VLAN  VIP         VMAC                UP  SERVICE  PROTOCOL  PORTS  CHOOSER  AFFINITY        NEW  NEW/S  OPENED  HASHED
web         1  10.9.0.100  02:00:00:00:00:aa  2/3  https    tcp       443    maglev   /24 /64 10m00s   10    0.5       4       0
                                                   default  tcp       443    maglev   -                10    0.5
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
        View::Routers(vec![]),
        View::Bridge(vec![]),
        View::Alarms(vec![]),
    ] {
        assert_eq!(text(&shown(view)).lines().count(), 1);
    }
}
