use super::*;

mod health;

use control_config::Config;
use core::net::IpAddr;
use dataplane_message::{Admin, ClusterCounts, PortReport, ServiceCounts, TargetCounts, WorkerReport};
use dataplane_wire::MacAddr;

fn plan() -> Plan {
    let text = r#"
[ports.up1]
vdev = "net_null0"
[ports.s1]
vdev = "net_null1"
role = "server"
[ports.s2]
vdev = "net_null2"
role = "server"
[routers.r1]
port = "up1"
address = "10.9.0.1"
[servers.web-2]
port = "s2"
[servers.web-1]
port = "s1"
mac = "02:00:00:00:00:11"
[clusters.web]
vip = "10.9.0.100"
servers = ["web-2", { name = "web-1", weight = 3 }]
[[clusters.web.services]]
name = "https"
protocol = "tcp"
ports = 443
servers = [{ name = "web-1", weight = 7 }]
"#;
    Config::parse(text).expect("the file is good").plan(None)
}

/// What a data path reports after `seconds`, with counters that rise by `seconds` times something.
fn report(seconds: u64) -> Box<Report> {
    let target = |id: u16, up: bool, mac: Option<MacAddr>| TargetReport {
        id: TargetId(id),
        mac,
        contender: None,
        up,
        counts: TargetCounts {
            in_frames: 10 * seconds,
            in_bytes: 1000 * seconds,
            out_frames: 20 * seconds,
            out_bytes: 2000 * seconds,
            flows_new: 3 * seconds,
            flows_open: 5,
            ..TargetCounts::default()
        },
    };
    let port = |id: u8, up: bool, attached: bool| PortReport {
        id: PortId(id),
        up,
        attached,
        ..PortReport::default()
    };
    Box::new(Report {
        serial: 0,
        orders: Vec::new(),
        uptime_ms: seconds * 1000,
        ports: vec![port(0, true, true), port(1, false, true), port(2, false, false)],
        targets: vec![target(0, false, None), target(1, true, Some(MacAddr([2, 0, 0, 0, 0, 0x11])))],
        clusters: vec![ClusterCounts {
            id: ClusterId(0),
            flows_new: 6 * seconds,
            services: vec![
                ServiceCounts { flows_new: 2 * seconds },
                ServiceCounts { flows_new: 4 * seconds },
            ],
            ..ClusterCounts::default()
        }],
        members: Vec::new(),
        routers: Vec::new(),
        workers: vec![WorkerReport {
            id: 0,
            frames: 80 * seconds,
            bursts: 10 * seconds,
            idle: 30 * seconds,
            ..WorkerReport::default()
        }],
        drops: vec![("runt".into(), seconds), ("martian".into(), 9 * seconds)],
        alarms: Vec::new(),
        bridge: Vec::new(),
    })
}

fn servers(model: &Model, plan: &Plan) -> Vec<ServerRow> {
    match model.view(&What::Servers, plan, &Known::default()) {
        View::Servers(rows) => rows,
        other => panic!("asked for servers, got {other:?}"),
    }
}

#[test]
fn before_the_first_report_there_are_names_and_no_figures() {
    let rows = servers(&Model::default(), &plan());
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["web-1", "web-2"]);
    assert!(rows.iter().all(|row| row.state == ServerState::Unknown && row.flows_new_per_s.is_none()));
    assert_eq!(rows[0].mac, Some(MacAddr([2, 0, 0, 0, 0, 0x11])), "as configured");
}

#[test]
fn names_states_and_weights() {
    let (mut model, mut plan) = (Model::default(), plan());
    model.handle_report(1, report(1), Instant::from_secs(1), 0);
    let rows = servers(&model, &plan);
    assert_eq!(rows[0].state, ServerState::Up);
    assert_eq!(rows[1].state, ServerState::Learning);
    assert_eq!(rows[0].port, "s1");
    assert_eq!(rows[0].clusters[0].weight, 3);
    assert_eq!(rows[0].clusters[0].services, [ServiceWeight { service: "https".into(), weight: 7 }]);
    assert_eq!(rows[1].clusters[0].services, []);
    for (admin, state) in [(Admin::Drain, ServerState::Draining), (Admin::Disabled, ServerState::Disabled)] {
        plan.targets[1].admin = admin;
        assert_eq!(servers(&model, &plan)[0].state, state);
    }
    let View::Ports(ports) = model.view(&What::Ports, &plan, &Known::default()) else { panic!("ports") };
    assert_eq!(ports.iter().map(|p| p.state.as_str()).collect::<Vec<_>>(), ["up", "down", "detached"]);
}

#[test]
fn rates_are_differences_between_reports_of_one_start() {
    let (mut model, plan) = (Model::default(), plan());
    model.handle_report(1, report(10), Instant::from_secs(10), 0);
    assert_eq!(servers(&model, &plan)[0].flows_new_per_s, None);
    model.handle_report(1, report(12), Instant::from_secs(12), 0);
    let row = &servers(&model, &plan)[0];
    assert_eq!((row.flows_new, row.flows_new_per_s), (36, Some(3.0)));
    assert_eq!((row.inbound.frames_per_s, row.outbound.bytes_per_s), (Some(10.0), Some(2000.0)));
    let View::Clusters(clusters) = model.view(&What::Clusters, &plan, &Known::default()) else {
        panic!("clusters")
    };
    assert_eq!((clusters[0].flows_new_per_s, clusters[0].servers, clusters[0].servers_up), (Some(6.0), 2, 1));
    assert_eq!(clusters[0].services[0].flows_new_per_s, Some(2.0));
    let View::Workers(workers) = model.view(&What::Workers, &plan, &Known::default()) else {
        panic!("workers")
    };
    assert_eq!((workers[0].busy_percent, workers[0].frames_per_burst), (Some(25.0), Some(8.0)));
    let View::Drops(drops) = model.view(&What::Drops, &plan, &Known::default()) else { panic!("drops") };
    assert_eq!((drops[0].reason.as_str(), drops[0].frames_per_s), ("martian", Some(9.0)));
    // Another start: its counters began at 0.
    model.handle_report(2, report(1), Instant::from_secs(13), 0);
    assert_eq!(servers(&model, &plan)[0].flows_new_per_s, None);
}

#[test]
fn a_report_that_a_link_brought_early_does_not_blur_the_rates() {
    let (mut model, plan) = (Model::default(), plan());
    model.handle_report(1, report(10), Instant::from_secs(10), 0);
    model.handle_report(1, report(11), Instant::from_secs(11), 0);
    let mut early = report(11);
    early.uptime_ms += 3;
    early.targets[1].counts.flows_new += 1;
    model.handle_report(1, early, Instant::from_secs(11), 0);
    let rate = servers(&model, &plan)[0].flows_new_per_s.expect("two reports");
    assert!((3.0..5.0).contains(&rate), "{rate}: over a second, not over 3 ms");
}

#[test]
fn flows_have_names() {
    let plan = plan();
    let row = dataplane_message::FlowRow {
        cluster: ClusterId(0),
        protocol: 6,
        kind: "flow".into(),
        client: IpAddr::from([198, 51, 100, 7]),
        client_port: 4000,
        vip_port: 443,
        target: TargetId(1),
        state: "established".into(),
        from_server: false,
        idle_s: 1,
        age_s: 2,
        worker: 0,
    };
    let shown = flow_row(&plan, row.clone());
    assert_eq!(
        (shown.cluster.as_str(), shown.server.as_str(), shown.protocol.as_str()),
        ("web", "web-1", "tcp")
    );
    let gone = flow_row(&plan, dataplane_message::FlowRow { target: TargetId(9), protocol: 99, ..row });
    assert_eq!((gone.server.as_str(), gone.protocol.as_str()), ("#9", "99"));
}

#[test]
fn an_alarm_tells_the_time() {
    let (mut model, plan) = (Model::default(), plan());
    let mut with_alarm = report(10);
    with_alarm.alarms.push(dataplane_message::Alarm {
        at_ms: 4_000,
        count: 2,
        kind: AlarmKind::VipClaimed,
        port: PortId(0),
        vlan: dataplane_port::VlanId(1),
        mac: MacAddr::ZERO,
        address: None,
    });
    model.handle_report(1, with_alarm, Instant::from_secs(1), 1_763_665_023_120);
    let View::Alarms(alarms) = model.view(&What::Alarms, &plan, &Known::default()) else { panic!("alarms") };
    assert_eq!((alarms[0].at.as_str(), alarms[0].port.as_str()), ("2025-11-20T18:56:57.120Z", "up1"));
}
