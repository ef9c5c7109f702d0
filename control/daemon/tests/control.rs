//! The control core over its real sockets, against a data path that makes the impossible happen.

#![allow(clippy::unwrap_used)] // free in tests

mod fake;

use control_daemon::control::{ControlError, ControlOptions, control};
use control_daemon::orders::{Commander, Order, wired};
use control_show::{
    Accepted, Answer, AskError, FLOWS_MAX, FlowQuery, HealthQuery, Order as Wish, REQUEST_MAX, Refusal,
    RefusalKind, Reloaded, Request, SOCKET, ServerState, Shown, View, What, ask,
};
use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{Admin, Conditions, FlowFilter, FlowRow, Plan, Step, ToControl, ToDataPath, VERSION};
use dataplane_wire::MacAddr;
use fake::{FakeDataPath, report, snapshot};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

const GOOD: &str = r#"
[switch]
name = "fs1"
[ports.up1]
vdev = "net_null0"
[ports.s1]
vdev = "net_null1"
role = "server"
[ports.s2]
vdev = "net_null2"
role = "server"
[servers.web-1]
port = "s1"
mac = "02:00:00:00:00:11"
[servers.web-2]
port = "s2"
mac = "02:00:00:00:00:12"
[clusters.web]
vip = "10.9.0.100"
servers = ["web-1", { name = "web-2", weight = 3 }]
"#;

/// A folder with a configuration, and a control core that works in it.
struct Lab {
    folder: PathBuf,
    commander: Option<Commander>,
    thread: Option<JoinHandle<Result<(), ControlError>>>,
}

impl Lab {
    /// A folder; nothing runs yet.
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("fs-control-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let lab = Self { folder, commander: None, thread: None };
        lab.write(GOOD);
        lab
    }

    /// A folder with a control core in it.
    fn started() -> (Self, FakeDataPath) {
        let mut lab = Self::new();
        let data_path = FakeDataPath::listen(&lab.folder);
        lab.start();
        (lab, data_path)
    }

    fn options(&self) -> ControlOptions {
        ControlOptions {
            config: self.folder.join("switch.toml"),
            runtime_dir: self.folder.clone(),
            state_dir: self.folder.clone(),
        }
    }

    fn start(&mut self) {
        let options = self.options();
        let (commander, mut orders) = wired().unwrap();
        self.commander = Some(commander);
        self.thread = Some(std::thread::spawn(move || control(&options, &mut orders)));
    }

    /// Stops the control core and returns how it ended.
    fn stop(&mut self) -> Result<(), ControlError> {
        drop(self.commander.take());
        self.thread.take().expect("it was started").join().expect("it does not panic")
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.join("switch.toml"), text).unwrap();
    }

    fn order(&mut self, order: Order) {
        self.commander.as_mut().expect("it was started").give(order).unwrap();
    }

    fn ask(&self, request: &Request) -> Answer {
        ask(&self.folder, request).unwrap()
    }

    fn show(&self, what: What) -> Shown {
        match self.ask(&Request::Show(what)) {
            Answer::Shown(shown) => *shown,
            other => panic!("asked to show, got {other:?}"),
        }
    }

    /// Asks in another thread, since the test has to play the data path meanwhile.
    fn ask_meanwhile(&self, request: Request) -> JoinHandle<Answer> {
        let folder = self.folder.clone();
        std::thread::spawn(move || ask(&folder, &request).unwrap())
    }

    fn socket(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.join(SOCKET)).unwrap();
        stream.set_read_timeout(Some(fake::PATIENCE)).unwrap();
        stream
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.commander.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn reloaded(answer: Answer) -> Reloaded {
    match answer {
        Answer::Reloaded(reloaded) => reloaded,
        other => panic!("not reloaded: {other:?}"),
    }
}

fn line(stream: &UnixStream) -> Answer {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[test]
fn a_new_data_path_gets_the_whole_plan_and_its_figures_are_shown() {
    let (mut lab, data_path) = Lab::started();
    let (peer, plan) = data_path.settle();
    peer.send(&ToControl::Report(Box::new(report(&plan, 7))));
    let shown = lab.show(What::Servers);
    assert_eq!((shown.switch.as_str(), shown.data_path.connected, shown.data_path.plan), ("fs1", true, 1));
    let View::Servers(servers) = shown.view else { panic!("servers") };
    assert_eq!(servers[1].name, "web-2");
    assert_eq!(
        (servers[1].state, servers[1].flows_open, servers[1].clusters[0].weight),
        (ServerState::Up, 7, 3)
    );
    let View::Clusters(clusters) = lab.show(What::Clusters).view else { panic!("clusters") };
    assert_eq!((clusters[0].servers, clusters[0].servers_up), (2, 2));
    for what in
        [What::Ports, What::Workers, What::Drops, What::Routers, What::Bridge, What::Alarms, What::Version]
    {
        lab.show(what);
    }
    let mode = fs::metadata(lab.folder.join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    lab.stop().unwrap();
    assert!(!lab.folder.join(SOCKET).exists());
    assert!(matches!(ask(&lab.folder, &Request::Reload), Err(AskError::NotRunning { .. })));
}

#[test]
fn a_data_path_that_already_works_by_the_plan_is_sent_nothing() {
    let (lab, data_path) = Lab::started();
    let plan = control_config::Config::parse(GOOD).unwrap().plan(None);
    let mut peer = data_path.greet(41, &plan);
    lab.write(&GOOD.replace("weight = 3", "weight = 4"));
    let answer = lab.ask_meanwhile(Request::Reload);
    // The first thing that comes is the change.
    let (epoch, steps) = peer.apply();
    assert_eq!(epoch, 42);
    assert!(matches!(steps.as_slice(), [Step::SetCluster(_)]));
    peer.send(&ToControl::Ack { epoch });
    let answer = reloaded(answer.join().unwrap());
    assert_eq!((answer.plan, answer.changes), (42, vec!["clusters.web: changed".to_owned()]));
}

#[test]
fn a_signal_reloads_as_well() {
    let (mut lab, data_path) = Lab::started();
    let (mut peer, _) = data_path.settle();
    lab.write(&GOOD.replace("weight = 3", "weight = 4"));
    lab.order(Order::Reload);
    assert_eq!(peer.apply().0, 2);
}

#[test]
fn a_reload_that_changes_nothing_says_so() {
    let (lab, data_path) = Lab::started();
    let _settled = data_path.settle();
    let answer = reloaded(lab.ask(&Request::Reload));
    assert_eq!((answer.plan, answer.changes.len()), (1, 0));
}

#[test]
fn mistakes_are_reported_and_the_old_configuration_stays() {
    let (lab, data_path) = Lab::started();
    let (mut peer, _) = data_path.settle();
    lab.write(&GOOD.replace("weight = 3", "weight = -3").replace("port = \"s1\"", "port = \"s9\""));
    let refusal = refused(lab.ask(&Request::Reload));
    assert_eq!(refusal.kind, RefusalKind::Mistakes);
    let paths: Vec<&str> = refusal.mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
    assert_eq!(paths, ["servers.web-1.port", "clusters.web.servers[1].weight"]);
    let note = lab.show(What::Version).data_path.note.expect("a note");
    assert!(note.contains("2 mistakes") && note.contains("stays in force"), "{note}");
    // A data path that starts anew gets the old configuration.
    drop(peer);
    let (second, plan) = data_path.settle();
    peer = second;
    assert_eq!(plan.clusters[0].services[0].members[1].weight, 3);
    lab.write(GOOD);
    assert_eq!(reloaded(lab.ask(&Request::Reload)).changes.len(), 0);
    assert_eq!(lab.show(What::Version).data_path.note, None);
    drop(peer);
}

#[test]
fn what_needs_a_restart_is_listed_and_not_done() {
    let (lab, data_path) = Lab::started();
    let _settled = data_path.settle();
    let boot = control_config::Config::parse(GOOD).unwrap().boot();
    fs::write(lab.folder.join("boot.json"), serde_json::to_vec(&boot).unwrap()).unwrap();
    lab.write(&GOOD.replace("[switch]", "[switch]\nworkers = 2").replace("net_null2", "net_null3"));
    let refusal = refused(lab.ask(&Request::Reload));
    assert_eq!(refusal.kind, RefusalKind::NeedsRestart);
    assert_eq!(refusal.changes[0], "switch.workers: 1 -> 2");
    assert!(refusal.changes[1].starts_with("ports.s2: "));
}

#[test]
fn a_refused_plan_leaves_the_old_one() {
    let (lab, data_path) = Lab::started();
    let (mut peer, _) = data_path.settle();
    lab.write(&GOOD.replace("weight = 3", "weight = 4"));
    let answer = lab.ask_meanwhile(Request::Reload);
    let (epoch, _) = peer.apply();
    peer.send(&ToControl::Refused { epoch, reason: "no room for a table".into() });
    let refusal = refused(answer.join().unwrap());
    assert_eq!(refusal.kind, RefusalKind::PlanRefused);
    assert!(refusal.message.contains("no room for a table"));
    assert_eq!(lab.show(What::Servers).data_path.plan, 1);
    drop(peer);
    let (_peer, plan) = data_path.settle();
    assert_eq!(plan.clusters[0].services[0].members[1].weight, 3, "what had worked");
}

#[test]
fn a_data_path_that_dies_is_connected_to_again_and_gets_everything() {
    let (_lab, data_path) = Lab::started();
    for _ in 0..3 {
        let (peer, plan) = data_path.settle();
        assert_eq!(plan.targets.len(), 2);
        drop(peer);
    }
}

#[test]
fn while_the_data_path_is_away_names_are_shown_and_flows_are_not() {
    let mut lab = Lab::new();
    {
        let data_path = FakeDataPath::listen(&lab.folder);
        lab.start();
        let _settled = data_path.settle();
    }
    // The listener is gone as well: nobody can be reached.
    let mut shown = lab.show(What::Servers);
    while shown.data_path.connected {
        shown = lab.show(What::Servers);
    }
    let View::Servers(servers) = shown.view else { panic!("servers") };
    assert_eq!(servers.len(), 2);
    let flows = lab.ask(&Request::Show(What::Flows(FlowQuery::default())));
    assert_eq!(refused(flows).kind, RefusalKind::DataPathDown);
    let put_off = reloaded(lab.ask(&Request::Reload));
    assert!(put_off.changes[0].contains("not connected"));
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let (lab, data_path) = Lab::started();
    for garbage in [&b"\x00\xff\xff\xff\xff"[..], b"\x01", b"\x00"] {
        let (mut peer, _) = data_path.settle();
        if garbage == b"\x01" {
            // A message that never ends.
            let part = [&[1][..], &vec![7; 65_000]].concat();
            while peer.send_part(&part) {}
        }
        peer.send_part(garbage);
        assert_eq!(peer.receive(), None, "control hangs up after {garbage:?}");
    }
    lab.show(What::Version);
}

#[test]
fn answers_that_nobody_asked_for_change_nothing() {
    let (lab, data_path) = Lab::started();
    let (peer, plan) = data_path.settle();
    peer.send(&ToControl::Ack { epoch: 77 });
    peer.send(&ToControl::Refused { epoch: 78, reason: "what?".into() });
    peer.send(&ToControl::Flows { query: 99, rows: Vec::new(), last: true });
    peer.send(&ToControl::Punt { port: dataplane_port::PortId(31), frame: vec![0; 2048] });
    peer.send(&ToControl::Report(Box::new(report(&plan, 3))));
    assert_eq!(lab.show(What::Workers).data_path.plan, 1);
}

#[test]
fn another_version_is_not_spoken_to() {
    let (lab, data_path) = Lab::started();
    let mut peer = data_path.accept();
    assert!(matches!(peer.receive(), Some(ToDataPath::Hello { version: VERSION, .. })));
    peer.send(&snapshot(VERSION + 1, 3, &Plan::default()));
    assert_eq!(peer.receive(), None);
    assert!(!lab.show(What::Version).data_path.connected);
}

#[test]
fn flows_come_in_parts_with_names() {
    let (lab, data_path) = Lab::started();
    let (mut peer, plan) = data_path.settle();
    let query = FlowQuery {
        cluster: Some("web".into()),
        server: Some("web-2".into()),
        client: Some("198.51.100.7".parse().unwrap()),
        state: None,
        limit: 3,
    };
    let answer = lab.ask_meanwhile(Request::Show(What::Flows(query)));
    let Some(ToDataPath::ListFlows { query, filter }) = peer.receive() else { panic!("flows") };
    let web_2 = plan.targets.iter().find(|target| target.name == "web-2").unwrap().id;
    let expected = FlowFilter {
        cluster: Some(ClusterId(0)),
        target: Some(web_2),
        client: Some("198.51.100.7".parse().unwrap()),
        limit: 3,
    };
    assert_eq!(filter, expected);
    let row = |port: u16| FlowRow {
        cluster: ClusterId(0),
        protocol: 6,
        kind: "flow".into(),
        client: "198.51.100.7".parse().unwrap(),
        client_port: port,
        vip_port: 80,
        target: TargetId(1),
        state: "established".into(),
        from_server: false,
        idle_s: 1,
        age_s: 2,
        worker: 0,
    };
    peer.send(&ToControl::Flows { query, rows: vec![row(1), row(2)], last: false });
    peer.send(&ToControl::Flows { query, rows: vec![row(3), row(4)], last: true });
    let Answer::Shown(shown) = answer.join().unwrap() else { panic!("shown") };
    let View::Flows(flows) = shown.view else { panic!("flows") };
    assert_eq!(
        flows.iter().map(|flow| flow.client_port).collect::<Vec<_>>(),
        [1, 2, 3],
        "no more than asked"
    );
    assert_eq!((flows[0].server.as_str(), flows[0].protocol.as_str()), ("web-2", "tcp"));
}

#[test]
fn flows_of_one_state_in_the_order_of_their_clients() {
    let (lab, data_path) = Lab::started();
    let (mut peer, _) = data_path.settle();
    let query = FlowQuery { state: Some("closed".into()), limit: 3, ..FlowQuery::default() };
    let answer = lab.ask_meanwhile(Request::Show(What::Flows(query)));
    let Some(ToDataPath::ListFlows { query, filter }) = peer.receive() else { panic!("flows") };
    assert_eq!(filter.limit, FLOWS_MAX, "it does not choose by state");
    let row = |client: &str, client_port: u16, state: &str| FlowRow {
        cluster: ClusterId(0),
        protocol: 6,
        kind: "flow".into(),
        client: client.parse().unwrap(),
        client_port,
        vip_port: 80,
        target: TargetId(1),
        state: state.into(),
        from_server: false,
        idle_s: 1,
        age_s: 2,
        worker: 0,
    };
    let rows = vec![
        row("198.51.100.9", 1, "closed"),
        row("198.51.100.7", 1, "established"),
        row("198.51.100.7", 9, "closed"),
        row("198.51.100.7", 2, "closed"),
        row("198.51.100.1", 1, "closed"),
    ];
    peer.send(&ToControl::Flows { query, rows, last: true });
    let Answer::Shown(shown) = answer.join().unwrap() else { panic!("shown") };
    let View::Flows(flows) = shown.view else { panic!("flows") };
    let found: Vec<_> = flows.iter().map(|flow| (flow.client.to_string(), flow.client_port)).collect();
    let client = |last: u8, port: u16| (format!("198.51.100.{last}"), port);
    assert_eq!(found, [client(7, 2), client(7, 9), client(9, 1)]);
}

#[test]
fn fs33_an_order_is_carried_out_or_refused_by_name() {
    let (lab, data_path) = Lab::started();
    let drain = |server: &str| {
        Request::Order(Wish::Drain { server: server.into(), deadline_ms: None, gentle: false })
    };
    let (mut peer, plan) = data_path.settle();
    peer.send(&ToControl::Report(Box::new(report(&plan, 5))));
    while lab.show(What::Version).data_path.uptime_ms != Some(1000) {}
    let Answer::Ordered(ordered) = lab.ask(&drain("web-2")) else { panic!("ordered") };
    assert_eq!(ordered.text, "server web-2 takes no new flows; those it has finish");
    let web_2 = plan.targets.iter().find(|target| target.name == "web-2").unwrap().id;
    let will = |wanted: Option<Admin>| {
        move |conditions: &Conditions| {
            conditions.targets.iter().find(|target| target.id == web_2).and_then(|target| target.admin)
                == wanted
        }
    };
    peer.conditions(will(Some(Admin::Drain)));
    let health = || {
        let query = HealthQuery { server: Some("web-2".into()) };
        match lab.show(What::Health(query)).view {
            View::Health(rows) => rows[0].clone(),
            other => panic!("asked for health, got {other:?}"),
        }
    };
    let row = health();
    assert_eq!((row.state, row.drain.is_some()), (ServerState::Draining, true));
    let enable = Request::Order(Wish::Enable { server: "web-2".into() });
    let Answer::Ordered(ordered) = lab.ask(&enable) else { panic!("ordered") };
    assert_eq!(ordered.text, "server web-2 is in service");
    peer.conditions(|conditions| !will(Some(Admin::Drain))(conditions));
    assert!(health().drain.is_none());
    let switchover = Wish::Switchover { cluster: "web".into(), to: None, reset: false };
    assert_eq!(refused(lab.ask(&Request::Order(switchover))).kind, RefusalKind::OrderRefused);
    let refusal = refused(lab.ask(&drain("web-9")));
    assert_eq!(refusal.kind, RefusalKind::UnknownName);
    assert_eq!(refusal.message, "there is no server web-9; `flowctl show servers` lists them");
}

#[test]
fn flows_that_cannot_be_listed() {
    let (lab, data_path) = Lab::started();
    let (mut peer, _) = data_path.settle();
    let flows = |query| Request::Show(What::Flows(query));
    let unknown = FlowQuery { cluster: Some("dns".into()), ..FlowQuery::default() };
    let refusal = refused(lab.ask(&flows(unknown)));
    assert_eq!(refusal.kind, RefusalKind::UnknownName);
    assert_eq!(refusal.message, "there is no cluster dns; `flowctl show clusters` lists them");
    let many = FlowQuery { limit: 100_001, ..FlowQuery::default() };
    assert_eq!(refused(lab.ask(&flows(many))).kind, RefusalKind::BadRequest);
    // The data path dies in the middle of it.
    let answer = lab.ask_meanwhile(flows(FlowQuery::default()));
    assert!(matches!(peer.receive(), Some(ToDataPath::ListFlows { .. })));
    drop(peer);
    assert_eq!(refused(answer.join().unwrap()).kind, RefusalKind::DataPathDown);
}

#[test]
fn a_reload_that_the_data_path_does_not_survive_is_put_off() {
    let (lab, data_path) = Lab::started();
    let (mut peer, _) = data_path.settle();
    lab.write(&GOOD.replace("weight = 3", "weight = 4"));
    let answer = lab.ask_meanwhile(Request::Reload);
    peer.apply();
    drop(peer);
    assert!(reloaded(answer.join().unwrap()).changes[0].contains("as soon as it is"));
    let (_peer, plan) = data_path.settle();
    assert_eq!(plan.clusters[0].services[0].members[1].weight, 4);
}

#[test]
fn a_control_core_that_finds_a_broken_file_goes_on_with_what_was_in_force() {
    let (mut lab, data_path) = Lab::started();
    let (peer, plan) = data_path.settle();
    // The acknowledgement has been taken in when something is shown after it.
    assert_eq!(lab.show(What::Version).data_path.plan, 1);
    lab.stop().unwrap();
    drop(peer);
    lab.write("[ports");
    lab.start();
    let mut peer = data_path.greet(1, &plan);
    // It has nothing to change: what comes next is what a test asks for.
    while !lab.folder.join(SOCKET).exists() {
        std::thread::yield_now();
    }
    let mut shown = lab.show(What::Version);
    while !shown.data_path.connected {
        shown = lab.show(What::Version);
    }
    let note = shown.data_path.note.expect("a note");
    assert!(note.contains("last in force"), "{note}");
    let _answer = lab.ask_meanwhile(Request::Show(What::Flows(FlowQuery::default())));
    let Some(ToDataPath::ListFlows { query, .. }) = peer.receive() else { panic!("nothing to change") };
    peer.send(&ToControl::Flows { query, rows: Vec::new(), last: true });
}

#[test]
fn without_anything_to_go_on_with_a_broken_file_is_the_end() {
    let mut lab = Lab::new();
    lab.write("[ports");
    lab.start();
    let ended = lab.thread.take().unwrap().join().unwrap();
    assert!(matches!(ended, Err(ControlError::Load(_))));
}

#[test]
fn a_second_control_core_names_the_first() {
    let (lab, data_path) = Lab::started();
    let _settled = data_path.settle();
    let (_commander, mut orders) = wired().unwrap();
    let error = control(&lab.options(), &mut orders).unwrap_err().to_string();
    assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
    lab.show(What::Version);
}

#[test]
fn clients_that_misbehave_are_let_go_and_the_others_are_served() {
    let (lab, data_path) = Lab::started();
    let _settled = data_path.settle();

    let mut nonsense = lab.socket();
    nonsense.write_all(b"{\"show\":\"secrets\"}\n").unwrap();
    assert_eq!(refused(line(&nonsense)).kind, RefusalKind::BadRequest);

    let mut endless = lab.socket();
    let _ = endless.write_all(&vec![b'x'; REQUEST_MAX + 4096]);
    assert_eq!(refused(line(&endless)).kind, RefusalKind::BadRequest);

    let silent: Vec<UnixStream> = (0..63).map(|_| lab.socket()).collect();
    lab.show(What::Version);
    let more: Vec<UnixStream> = (0..3).map(|_| lab.socket()).collect();
    assert_eq!(refused(line(&more[2])).kind, RefusalKind::Busy);
    drop((silent, more));
    lab.show(What::Version);
}

#[test]
fn several_requests_in_one_packet_are_answered_in_order() {
    let (lab, data_path) = Lab::started();
    let _settled = data_path.settle();
    let mut stream = lab.socket();
    stream.write_all(b"{\"show\":\"drops\"}\n{\"show\":\"ports\"}\n\"reload\"\n").unwrap();
    let mut lines = BufReader::new(&stream).lines().map(|line| line.unwrap());
    assert!(lines.next().unwrap().contains("\"drops\":[]"));
    assert!(lines.next().unwrap().contains("\"ports\":["));
    assert!(lines.next().unwrap().starts_with("{\"reloaded\""));
}

#[test]
fn a_client_that_has_closed_its_half_is_answered() {
    let (lab, data_path) = Lab::started();
    let _settled = data_path.settle();
    let mut stream = lab.socket();
    stream.write_all(b"{\"show\":\"drops\"}\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(line(&stream), Answer::Shown(_)));
}

#[test]
fn the_socket_says_what_to_do_when_nobody_is_there() {
    let error = ask(Path::new("/nonexistent"), &Request::Reload).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/flowctl.sock") && error.contains("flowswitchd run"), "{error}");
}

#[test]
fn fs_1_a_new_mac_is_accepted_by_name_and_only_where_one_contends() {
    let (lab, data_path) = Lab::started();
    let (mut peer, plan) = data_path.settle();
    let accept = |server: &str| Request::Accept { server: server.into() };
    assert_eq!(refused(lab.ask(&accept("web-1"))).kind, RefusalKind::NothingToAccept);
    assert_eq!(refused(lab.ask(&accept("nobody"))).kind, RefusalKind::UnknownName);
    let mac = MacAddr([2, 0, 0, 0, 0, 0x99]);
    let mut contended = report(&plan, 0);
    contended.targets[0].contender = Some(mac);
    contended.uptime_ms += 1;
    peer.send(&ToControl::Report(Box::new(contended)));
    let told = |lab: &Lab| matches!(lab.show(What::Servers).view, View::Servers(rows) if rows[0].contender == Some(mac));
    assert!((0..10_000).any(|_| told(&lab)), "the report arrives");
    let answer = lab.ask(&accept(&plan.targets[0].name));
    assert_eq!(answer, Answer::Accepted(Accepted { server: plan.targets[0].name.clone(), mac }));
    let expected = ToDataPath::AcceptMac { target: plan.targets[0].id, mac };
    assert_eq!(peer.receive(), Some(expected));
}
