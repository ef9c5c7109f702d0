//! What `Care` knows, with names.

use super::*;
use control_health as care;
use control_health::{
    AssignmentView, CheckView, DrainView, Finding, FindingKind, MemberView, Reason, Role, RoleView,
    RouterView, TargetView,
};
use control_show::{HealthQuery, HealthRow, LoadRow, Order, PoolRow, RefusalKind, RouterRow};
use dataplane_flow::{PoolId, RouterId};
use dataplane_message::{Admin, Health, Histogram, MemberReport, MemberSigns, RouterReport};

fn pooled() -> Plan {
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
[routers.r2]
port = "up1"
address = "10.9.0.2"
[pools.out]
address = "10.9.0.9"
routers = ["r2", "r1"]
[servers.web-2]
port = "s2"
[servers.web-1]
port = "s1"
mac = "02:00:00:00:00:11"
[clusters.web]
vip = "10.9.0.100"
servers = ["web-1", { name = "web-2", weight = 3, backup = true }]
[[clusters.web.services]]
name = "https"
protocol = "tcp"
ports = 443
[clusters.db]
vip = "10.9.0.101"
mode = "availability"
servers = ["web-1", "web-2"]
"#;
    Config::parse(text).expect("the file is good").plan(None)
}

fn target(id: u16, health: Health, reason: Option<Reason>) -> TargetView {
    TargetView {
        id: TargetId(id),
        health,
        reason,
        since: Instant::from_secs(95),
        presumed: false,
        admin: Admin::Enabled,
        flows_open: 5,
        drain: None,
        passive: true,
        hold_down_ms: 0,
    }
}

/// `Care` at second 100 of its clock.
fn known(targets: Vec<TargetView>) -> Known {
    Known { targets, now: Instant::from_secs(100), unix_ms: 1_763_665_023_120, ..Known::default() }
}

fn model() -> Model {
    let mut model = Model::default();
    let mut first = report(10);
    first.targets[0].up = true;
    first.targets[0].mac = Some(MacAddr([2, 0, 0, 0, 0, 0x12]));
    model.handle_report(1, first, Instant::from_secs(10), 0);
    model
}

fn health(known: &Known) -> Vec<HealthRow> {
    match model().view(&What::Health(HealthQuery::default()), &pooled(), known) {
        View::Health(rows) => rows,
        other => panic!("asked for health, got {other:?}"),
    }
}

#[test]
fn fs10_a_servers_state_is_the_operators_will_then_its_health_then_the_data_paths_word() {
    use ServerState::{Dead, Disabled, Down, Drained, Draining, Learning, Unknown, Up};
    let plan = pooled();
    let server = &plan.targets[1];
    let seen = |up: bool, flows_open: u64, mac: bool| TargetReport {
        id: server.id,
        up,
        mac: mac.then_some(MacAddr([2, 0, 0, 0, 0, 0x11])),
        counts: TargetCounts { flows_open, ..TargetCounts::default() },
        ..TargetReport::default()
    };
    let table = [
        (Admin::Enabled, Health::Up, Some(seen(true, 1, true)), Up),
        (Admin::Enabled, Health::Up, Some(seen(false, 1, true)), Down),
        (Admin::Enabled, Health::Down, Some(seen(true, 1, true)), Down),
        (Admin::Enabled, Health::Dead, Some(seen(true, 1, true)), Dead),
        (Admin::Enabled, Health::Dead, Some(seen(false, 1, true)), Dead),
        (Admin::Enabled, Health::Up, None, Unknown),
        (Admin::Drain, Health::Up, Some(seen(true, 1, true)), Draining),
        (Admin::Drain, Health::Dead, Some(seen(false, 1, true)), Draining),
        (Admin::Drain, Health::Up, Some(seen(true, 0, true)), Drained),
        (Admin::Disabled, Health::Dead, Some(seen(false, 0, true)), Disabled),
        (Admin::Disabled, Health::Up, None, Disabled),
    ];
    for (admin, health, report, expected) in table {
        let view = TargetView { admin, ..target(server.id.0, health, None) };
        assert_eq!(
            super::super::health::state(server, report.as_ref(), Some(&view)),
            expected,
            "{admin:?} {health:?} {report:?}"
        );
    }
    let learning = &plan.targets[0];
    assert_eq!(super::super::health::state(learning, Some(&seen(false, 0, false)), None), Learning);
}

#[test]
fn fs30_health_has_reasons_times_and_checks() {
    let mut known = known(vec![
        target(0, Health::Down, Some(Reason::Check { check: "tcp 443".into(), failure: "refused".into() })),
        target(1, Health::Up, None),
    ]);
    known.members.push(MemberView {
        cluster: ClusterId(0),
        service: 0,
        target: TargetId(0),
        open: false,
        reason: Some(Reason::LinkDown),
        weight: 1,
        full_weight: 3,
        backup: true,
        slow_start_percent: 33,
        checks: vec![CheckView {
            check: "tcp 443".into(),
            good: false,
            failure: Some("refused".into()),
            took_us: 0,
        }],
    });
    let rows = health(&known);
    assert_eq!(rows.iter().map(|row| row.server.as_str()).collect::<Vec<_>>(), ["web-1", "web-2"]);
    let row = &rows[1];
    assert_eq!(row.state, ServerState::Down);
    assert_eq!(row.reason.as_deref(), Some("check tcp 443: refused"));
    assert_eq!((row.since.as_deref(), row.since_s), (Some("2025-11-20T18:56:58.120Z"), Some(5)));
    let service = &row.services[0];
    assert_eq!((service.cluster.as_str(), service.service.as_str()), ("web", "https"));
    assert_eq!((service.weight, service.full_weight, service.slow_start_percent), (1, 3, 33));
    assert!(!service.open && service.backup);
    assert_eq!(service.checks[0].failure.as_deref(), Some("refused"));
    assert_eq!(service.checks[0].took_us, None);
    // What nothing is known of is as planned: a backup stands by.
    assert!(!row.services[1].open && rows[0].services[0].open);
    // The reason is in `show servers` too, and the weight in force.
    let View::Servers(servers) = model().view(&What::Servers, &pooled(), &known) else { panic!("servers") };
    assert_eq!(servers[1].reason.as_deref(), Some("check tcp 443: refused"));
    assert_eq!(servers[1].clusters[0].services, [ServiceWeight { service: "https".into(), weight: 1 }]);
}

#[test]
fn fs33_a_drain_counts_down() {
    let mut view = target(1, Health::Up, None);
    view.admin = Admin::Drain;
    view.drain = Some(DrainView {
        since: Instant::from_secs(88),
        flows_first: 500,
        flows_open: 37,
        deadline: Some(Instant(119_500_000_000)),
        gentle: true,
        ends_in_ms: Some(4_200),
        waits_for: Some("established, 7440 s".into()),
        done: false,
    });
    let rows = health(&known(vec![view]));
    assert_eq!(rows[0].state, ServerState::Draining);
    let drain = rows[0].drain.as_ref().expect("it drains");
    assert_eq!((drain.since_s, drain.flows_first, drain.flows_open), (12, 500, 37));
    assert_eq!((drain.deadline_s, drain.ends_in_s), (Some(20), Some(5)));
}

#[test]
fn fs14_clusters_tell_roles_and_backups() {
    let mut known = known(Vec::new());
    let role = |target, role| RoleView { cluster: ClusterId(1), target: TargetId(target), role };
    known.roles = vec![role(1, Role::SecondaryFailed), role(0, Role::Primary)];
    let clusters = |known: &Known| match model().view(&What::Clusters, &pooled(), known) {
        View::Clusters(rows) => rows,
        other => panic!("asked for clusters, got {other:?}"),
    };
    let rows = clusters(&known);
    assert_eq!((rows[0].name.as_str(), rows[0].mode.as_str()), ("db", "availability"));
    let roles: Vec<_> = rows[0].roles.iter().map(|row| (row.server.as_str(), row.role.as_str())).collect();
    assert_eq!(roles, [("web-1", "secondary-failed"), ("web-2", "primary")]);
    let web = &rows[1];
    assert_eq!((web.mode.as_str(), web.roles.len()), ("load-sharing", 0));
    assert_eq!(
        (web.services[0].backups.as_slice(), web.services[0].backups_taken),
        (&["web-2".into()][..], false)
    );
    known.members.push(MemberView {
        cluster: ClusterId(0),
        service: 0,
        target: TargetId(0),
        open: true,
        reason: None,
        weight: 3,
        full_weight: 3,
        backup: true,
        slow_start_percent: 100,
        checks: Vec::new(),
    });
    let rows = clusters(&known);
    assert!(rows[1].services[0].backups_taken && !rows[1].services[1].backups_taken);
}

#[test]
fn fs13_routers_and_pools_tell_state_load_and_assignments() {
    let mut model = model();
    let routers = |seconds: u64| {
        let router = |id: u16, bytes: u64| RouterReport {
            id: RouterId(id),
            up: true,
            out_bytes: bytes * seconds,
            redirected: 4,
            ..RouterReport::default()
        };
        let mut report = report(seconds);
        report.routers = vec![router(0, 3_000), router(1, 1_000)];
        report
    };
    model.handle_report(1, routers(11), Instant::from_secs(11), 0);
    model.handle_report(1, routers(12), Instant::from_secs(12), 0);
    let mut known = known(Vec::new());
    known.by_load = vec![PoolId(0)];
    known.routers = vec![RouterView {
        id: RouterId(1),
        up: false,
        reason: Some(Reason::LinkDown),
        since: Instant::from_secs(40),
        mac: Some(MacAddr([2, 0, 0, 0, 0, 0xaa])),
    }];
    let assignment = |target, router| AssignmentView {
        pool: PoolId(0),
        target: TargetId(target),
        router: RouterId(router),
        bytes_per_s: 7,
    };
    known.assignments = vec![assignment(0, 0), assignment(1, 0)];
    let plan = pooled();
    let View::Routers(rows) = model.view(&What::Routers, &plan, &known) else { panic!("routers") };
    let [r1, r2]: [RouterRow; 2] = rows.try_into().expect("two");
    assert_eq!((r1.state.as_str(), r1.port_state.as_str(), r1.since), ("up", "up", None));
    assert_eq!((r2.state.as_str(), r2.reason.as_deref()), ("down", Some("its link is down")));
    assert_eq!((r2.mac, r1.redirected), (Some(MacAddr([2, 0, 0, 0, 0, 0xaa])), 4));
    let View::Pools(rows) = model.view(&What::Pools, &plan, &known) else { panic!("pools") };
    let PoolRow { balance, spread, redirect, routers, assignments, .. } = &rows[0];
    assert_eq!((balance.as_str(), spread.as_str(), redirect.as_str()), ("load", "server", "all"));
    let shares: Vec<_> = routers
        .iter()
        .map(|row| (row.router.as_str(), row.state.as_str(), row.servers, row.share_percent))
        .collect();
    assert_eq!(shares, [("r2", "down", 0, Some(25.0)), ("r1", "up", 2, Some(75.0))]);
    let servers: Vec<_> = assignments.iter().map(|row| (row.server.as_str(), row.router.as_str())).collect();
    assert_eq!(servers, [("web-1", "r1"), ("web-2", "r1")]);
}

#[test]
fn fs32_times_are_those_of_the_last_minute() {
    let mut model = Model::default();
    // Answers take 1 ms for two minutes, then 100 ms.
    let mut buckets = vec![0; 20];
    for second in 1..=180_u64 {
        buckets[Histogram::bucket(if second <= 120 { 1_000 } else { 100_000 })] += 10;
        let mut report = report(second);
        report.members = vec![MemberReport {
            signs: MemberSigns { opened: 10 * second, target: TargetId(1), ..MemberSigns::default() },
            connect: Histogram { buckets: buckets.clone() },
            response: Histogram::default(),
        }];
        model.handle_report(1, report, Instant::from_secs(second), 0);
    }
    let View::Load(rows) = model.view(&What::Load, &pooled(), &Known::default()) else { panic!("load") };
    let names: Vec<_> = rows.iter().map(|r| format!("{}/{}/{}", r.cluster, r.service, r.server)).collect();
    assert_eq!(
        names,
        [
            "db/default/web-1",
            "db/default/web-2",
            "web/https/web-1",
            "web/https/web-2",
            "web/default/web-1",
            "web/default/web-2"
        ]
    );
    let LoadRow { flows_new_per_s, connect_p50_us, response_p50_us, in_bytes_per_s, .. } = rows[2];
    assert_eq!(flows_new_per_s, Some(10.0));
    assert_eq!(
        (connect_p50_us, response_p50_us),
        (Some(131_072), None),
        "the first two minutes do not count"
    );
    assert_eq!(in_bytes_per_s, Some(1000.0));
}

#[test]
fn what_is_pinned_and_learned_is_one_line() {
    let mut model = model();
    let mut with_bridge = report(11);
    let row = |port: u8, pinned| dataplane_message::BridgeRow {
        vlan: dataplane_port::VlanId(1),
        mac: MacAddr([2, 0, 0, 0, 0, 0x12]),
        port: PortId(port),
        pinned,
    };
    with_bridge.bridge = vec![row(2, true), row(2, false), row(0, false)];
    model.handle_report(1, with_bridge, Instant::from_secs(11), 0);
    let View::Bridge(rows) = model.view(&What::Bridge, &pooled(), &Known::default()) else {
        panic!("bridge")
    };
    let found: Vec<_> = rows.iter().map(|row| (row.port.as_str(), row.pinned)).collect();
    assert_eq!(found, [("s2", true), ("up1", false)]);
}

#[test]
fn findings_have_names() {
    let mut known = known(Vec::new());
    known.findings = vec![Finding {
        kind: FindingKind::NoReturn,
        target: Some(TargetId(0)),
        router: Some(RouterId(1)),
        cluster: Some(ClusterId(1)),
        pool: Some(PoolId(0)),
        text: "text".into(),
        fix: "fix".into(),
    }];
    let rows = findings(&pooled(), &known);
    let row = &rows[0];
    assert_eq!((row.kind.as_str(), row.problem.as_str(), row.fix.as_str()), ("no-return", "text", "fix"));
    let names = [&row.server, &row.router, &row.cluster, &row.pool].map(Option::as_deref);
    assert_eq!(names, [Some("web-2"), Some("r2"), Some("db"), Some("out")]);
}

#[test]
fn fs33_orders_have_numbers() {
    let plan = pooled();
    let order = |order: Order| resolved(&order, &plan).map(|(order, _)| order);
    let name = |name: &str| name.to_owned();
    assert_eq!(
        order(Order::Drain { server: name("web-1"), deadline_ms: Some(60_000), gentle: true }),
        Ok(care::Order::Drain { target: TargetId(1), deadline_ms: Some(60_000), gentle: true })
    );
    assert_eq!(
        order(Order::Enable { server: name("web-2") }),
        Ok(care::Order::Enable { target: TargetId(0) })
    );
    assert_eq!(
        order(Order::Disable { server: name("web-2") }),
        Ok(care::Order::Disable { target: TargetId(0) })
    );
    let weight = |cluster: Option<&str>, service: Option<&str>| Order::Weight {
        server: name("web-1"),
        weight: Some(5),
        cluster: cluster.map(name),
        service: service.map(name),
    };
    assert_eq!(
        order(weight(Some("web"), Some("default"))),
        Ok(care::Order::Weight {
            cluster: ClusterId(0),
            service: Some(1),
            target: TargetId(1),
            weight: Some(5)
        })
    );
    assert_eq!(
        order(Order::Switchover { cluster: name("db"), to: Some(name("web-2")), reset: true }),
        Ok(care::Order::Switchover { cluster: ClusterId(1), to: Some(TargetId(0)), reset: true })
    );
    for (asked, kind, words) in [
        (weight(None, None), RefusalKind::BadRequest, "several clusters; name one with --cluster: web, db"),
        (weight(Some("wbe"), None), RefusalKind::UnknownName, "there is no cluster wbe"),
        (weight(Some("web"), Some("ftp")), RefusalKind::UnknownName, "no service ftp; it has https, default"),
        (Order::Enable { server: name("web-9") }, RefusalKind::UnknownName, "there is no server web-9"),
    ] {
        let refusal = order(asked).expect_err(words);
        assert_eq!(refusal.kind, kind);
        assert!(refusal.message.contains(words), "{}", refusal.message);
    }
    // Without --cluster where there is no choice.
    let mut plan = plan.clone();
    plan.clusters.truncate(1);
    let (order, text) = resolved(&weight(None, None), &plan).expect("one cluster");
    assert!(matches!(order, care::Order::Weight { cluster: ClusterId(0), service: None, .. }));
    assert_eq!(text, "the weight of server web-1 in cluster web is 5");
}
