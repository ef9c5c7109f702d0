use super::*;
use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::Step;

fn config(weight: u16) -> Arc<Config> {
    let text = format!(
        r#"
[ports.up1]
vdev = "net_null0"
[ports.s1]
vdev = "net_null1"
role = "server"
[servers.web-1]
port = "s1"
[clusters.web]
vip = "10.9.0.100"
servers = [{{ name = "web-1", weight = {weight} }}]
"#
    );
    Arc::new(Config::parse(&text).expect("the file is good"))
}

/// A conversation and what it has said, in a form that fits a table.
struct Talk {
    conversation: Conversation,
    now: Instant,
    /// What is wanted at first.
    first: Arc<Config>,
    /// What a reload brings.
    second: Arc<Config>,
}

/// The states of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    Offline,
    Connecting,
    Greeting,
    Applying,
    Settled,
}

const STATES: [In; 5] = [In::Offline, In::Connecting, In::Greeting, In::Applying, In::Settled];

impl Talk {
    fn new() -> Self {
        let (first, second) = (config(1), config(2));
        let conversation = Conversation::new(7, Arc::clone(&first), Instant::default());
        Self { conversation, now: Instant::default(), first, second }
    }

    /// A conversation in the given state, with nothing left to say.
    fn in_state(state: In) -> Self {
        let mut talk = Self::new();
        let steps: &[&str] = match state {
            In::Offline => &[],
            In::Connecting => &["deadline"],
            In::Greeting => &["deadline", "connected"],
            In::Applying => &["deadline", "connected", "snapshot of nothing"],
            In::Settled => &["deadline", "connected", "snapshot of nothing", "ack"],
        };
        for step in steps {
            talk.give(step);
        }
        assert_eq!(talk.state(), state);
        talk
    }

    fn state(&self) -> In {
        match self.conversation.state {
            State::Offline { .. } => In::Offline,
            State::Connecting => In::Connecting,
            State::Greeting { .. } => In::Greeting,
            State::Applying { .. } => In::Applying,
            State::Settled { .. } => In::Settled,
        }
    }

    /// Gives one input; what the conversation says to it.
    fn give(&mut self, input: &str) -> String {
        let (now, first, second) = (self.now, Arc::clone(&self.first), Arc::clone(&self.second));
        let snapshot = |version, epoch, plan: Plan| ToControl::Snapshot {
            version,
            boot_id: 1,
            epoch,
            plan: Box::new(plan),
            conditions: Box::default(),
            report: Box::default(),
        };
        let c = &mut self.conversation;
        match input {
            "connected" => c.handle_connected(now),
            "disconnected" => c.handle_disconnected(now),
            "snapshot of nothing" => c.handle_message(snapshot(VERSION, 0, Plan::default()), now),
            "snapshot, the same" => c.handle_message(snapshot(VERSION, 4, first.plan(None)), now),
            "snapshot, another" => c.handle_message(snapshot(VERSION, 4, second.plan(None)), now),
            "snapshot, version 9" => c.handle_message(snapshot(9, 4, first.plan(None)), now),
            "ack" => c.handle_message(ToControl::Ack { epoch: 1 }, now),
            "ack of another" => c.handle_message(ToControl::Ack { epoch: 9 }, now),
            "refused" => c.handle_message(ToControl::Refused { epoch: 1, reason: "no".into() }, now),
            "refused another" => c.handle_message(ToControl::Refused { epoch: 9, reason: "no".into() }, now),
            "report" => c.handle_message(ToControl::Report(Box::default()), now),
            "signs" => c.handle_message(ToControl::Signs(Box::default()), now),
            "flows" => c.handle_message(ToControl::Flows { query: 3, rows: vec![], last: true }, now),
            "punt" => {
                let port = PortId(0);
                c.handle_message(ToControl::Punt { port, frame: vec![] }, now);
            }
            "config, the same" => c.handle_config(Arc::new((*first).clone()), now),
            "config, another" => c.handle_config(second, now),
            "deadline" => {
                self.now = self.conversation.next_deadline().unwrap_or(now);
                self.conversation.handle_deadline(self.now);
            }
            "early" => c.handle_deadline(now),
            other => panic!("no input {other}"),
        }
        self.said()
    }

    fn said(&mut self) -> String {
        let mut said = Vec::new();
        while let Some(message) = self.conversation.poll_transmit() {
            said.push(match message {
                ToDataPath::Hello { version, sender } => format!("hello {version} {sender}"),
                ToDataPath::Apply { epoch, steps } => format!("apply {epoch} ({} steps)", steps.len()),
                ToDataPath::ListFlows { query, .. } => format!("list {query}"),
                ToDataPath::AcceptMac { mac, .. } => format!("accept {mac}"),
                ToDataPath::Inject { .. } => "inject".into(),
                ToDataPath::Conditions(conditions) => format!("conditions {}", conditions.serial),
            });
        }
        while let Some(event) = self.conversation.poll_event() {
            said.push(match event {
                Event::Connect => "connect!".into(),
                Event::Close(CloseReason::Silent) => "close, silent!".into(),
                Event::Close(CloseReason::Version { theirs }) => format!("close, version {theirs}!"),
                Event::Close(CloseReason::Unwelcome) => "close, unwelcome!".into(),
                Event::Settled { epoch, steps, .. } => format!("settled {epoch} ({} steps)!", steps.len()),
                Event::Refused { epoch, reason } => format!("refused {epoch} {reason}!"),
                Event::Adopted { running, .. } => format!("adopted {running}!"),
                Event::Report(_) => "report!".into(),
                Event::Signs(_) => "signs!".into(),
                Event::Punt { .. } => "punt!".into(),
                Event::Flows { query, .. } => format!("flows {query}!"),
            });
        }
        said.join(", ")
    }
}

/// The whole table: what each input does in each state (Offline, Connecting, Greeting, Applying,
/// Settled), as the state afterwards and what is said.
#[rustfmt::skip]
const TABLE: &[(&str, [(In, &str); 5])] = {
    use In::{Applying as A, Connecting as C, Greeting as G, Offline as O, Settled as S};
    &[
        ("connected",           [(O, ""), (G, "hello 2 7"), (G, ""), (A, ""), (S, "")]),
        ("disconnected",        [(O, ""), (O, ""), (O, ""), (O, ""), (O, "")]),
        ("deadline",            [(C, "connect!"), (C, ""), (O, "close, silent!"), (O, "close, silent!"), (O, "close, silent!")]),
        ("early",               [(C, "connect!"), (C, ""), (G, ""), (A, ""), (S, "")]),
        ("snapshot of nothing", [(O, ""), (C, ""), (A, "apply 1 (4 steps), adopted false!, report!"), (A, "apply 1 (4 steps), adopted false!, report!"), (A, "apply 1 (4 steps), adopted false!, report!")]),
        ("snapshot, the same",  [(O, ""), (C, ""), (S, "adopted true!, settled 4 (0 steps)!, report!"), (S, "adopted true!, settled 4 (0 steps)!, report!"), (S, "adopted true!, settled 4 (0 steps)!, report!")]),
        ("snapshot, another",   [(O, ""), (C, ""), (A, "apply 5 (1 steps), adopted true!, report!"), (A, "apply 5 (1 steps), adopted true!, report!"), (A, "apply 5 (1 steps), adopted true!, report!")]),
        ("snapshot, version 9", [(O, ""), (C, ""), (O, "close, version 9!"), (O, "close, version 9!"), (O, "close, version 9!")]),
        ("ack",                 [(O, ""), (C, ""), (G, ""), (S, "settled 1 (4 steps)!"), (S, "")]),
        ("ack of another",      [(O, ""), (C, ""), (G, ""), (A, ""), (S, "")]),
        ("refused",             [(O, ""), (C, ""), (O, "refused 1 no!, close, unwelcome!"), (S, "refused 1 no!"), (S, "")]),
        ("refused another",     [(O, ""), (C, ""), (O, "refused 9 no!, close, unwelcome!"), (A, ""), (S, "")]),
        ("report",              [(O, ""), (C, ""), (G, ""), (A, "report!"), (S, "report!")]),
        ("flows",               [(O, ""), (C, ""), (G, "flows 3!"), (A, "flows 3!"), (S, "flows 3!")]),
        ("signs",               [(O, ""), (C, ""), (G, ""), (A, "signs!"), (S, "signs!")]),
        ("punt",                [(O, ""), (C, ""), (G, ""), (A, "punt!"), (S, "punt!")]),
        ("config, the same",    [(O, ""), (C, ""), (G, ""), (A, ""), (S, "settled 1 (0 steps)!")]),
        ("config, another",     [(O, ""), (C, ""), (G, ""), (A, ""), (A, "apply 2 (1 steps)")]),
    ]
};

#[test]
fn every_input_in_every_state() {
    for (input, row) in TABLE {
        for (state, (after, said)) in STATES.iter().zip(row) {
            let mut talk = Talk::in_state(*state);
            let found = talk.give(input);
            assert_eq!((talk.state(), found.as_str()), (*after, *said), "{input} in {state:?}");
        }
    }
}

#[test]
fn attempts_to_connect_come_ever_more_slowly_up_to_one_a_second() {
    let mut talk = Talk::new();
    let mut waits = Vec::new();
    for _ in 0..7 {
        let before = talk.now;
        talk.give("deadline");
        waits.push(talk.now.since(before) / 1_000_000);
        talk.give("disconnected");
    }
    assert_eq!(waits, [0, 50, 100, 200, 400, 800, 1000]);
    talk.give("deadline");
    talk.give("connected");
    talk.give("snapshot, the same");
    talk.give("disconnected");
    assert_eq!(talk.conversation.next_deadline(), Some(talk.now.plus_millis(50)), "it was well in between");
}

#[test]
fn a_report_proves_that_the_data_path_lives() {
    let mut talk = Talk::in_state(In::Settled);
    for _ in 0..30 {
        talk.now = talk.now.plus_millis(1_000);
        assert_eq!(talk.give("report"), "report!");
        assert_eq!(talk.give("early"), "");
    }
}

#[test]
fn a_configuration_that_comes_while_another_is_applied_is_applied_after_it() {
    let mut talk = Talk::in_state(In::Applying);
    assert_eq!(talk.give("config, another"), "");
    assert_eq!(talk.give("ack"), "apply 2 (1 steps)");
    talk.conversation.handle_message(ToControl::Ack { epoch: 2 }, talk.now);
    assert_eq!(talk.said(), "settled 2 (1 steps)!");
}

#[test]
fn a_refused_configuration_yields_to_the_last_one_that_worked() {
    let mut talk = Talk::in_state(In::Settled);
    assert_eq!(talk.give("config, another"), "apply 2 (1 steps)");
    talk.conversation.handle_message(ToControl::Refused { epoch: 2, reason: "no room".into() }, talk.now);
    assert_eq!(talk.said(), "refused 2 no room!");
    assert_eq!(talk.conversation.wanted(), &talk.first);
    // The data path starts anew and gets what worked.
    talk.give("disconnected");
    talk.give("deadline");
    talk.give("connected");
    assert_eq!(talk.give("snapshot of nothing"), "apply 1 (4 steps), adopted false!, report!");
    talk.give("ack");
    let plan = &talk.conversation.in_force().expect("in force").plan;
    assert_eq!(plan, &talk.first.plan(None));
}

#[test]
fn the_first_configuration_may_be_refused_too() {
    let mut talk = Talk::in_state(In::Applying);
    assert_eq!(talk.give("refused"), "refused 1 no!");
    assert_eq!(talk.give("config, another"), "apply 1 (4 steps)", "the next one gets its chance");
}

#[test]
fn a_data_path_that_starts_anew_gets_the_numbers_of_before() {
    let mut talk = Talk::in_state(In::Greeting);
    let mut plan = talk.first.plan(None);
    plan.targets[0].id = TargetId(40);
    plan.clusters[0].id = ClusterId(50);
    plan.clusters[0].servers[0] = TargetId(40);
    plan.clusters[0].services[0].members[0].target = TargetId(40);
    let adopted = ToControl::Snapshot {
        version: VERSION,
        boot_id: 1,
        epoch: 3,
        plan: Box::new(plan.clone()),
        conditions: Box::default(),
        report: Box::default(),
    };
    talk.conversation.handle_message(adopted, talk.now);
    assert_eq!(talk.said(), "adopted true!, settled 3 (0 steps)!, report!");
    talk.give("disconnected");
    talk.give("deadline");
    talk.give("connected");
    let nothing = ToControl::Snapshot {
        version: VERSION,
        boot_id: 2,
        epoch: 0,
        plan: Box::default(),
        conditions: Box::default(),
        report: Box::default(),
    };
    talk.conversation.handle_message(nothing, talk.now);
    let Some(ToDataPath::Apply { epoch: 1, steps }) = talk.conversation.poll_transmit() else {
        panic!("the plan is sent")
    };
    let mut applied = Plan::default();
    steps.into_iter().for_each(|step| applied.apply(step));
    assert_eq!(applied, plan);
}

#[test]
fn flows_are_asked_for_only_where_somebody_can_answer() {
    for state in STATES {
        let mut talk = Talk::in_state(state);
        let query = talk.conversation.list_flows(FlowFilter::default());
        assert_eq!(query.is_some(), matches!(state, In::Applying | In::Settled), "{state:?}");
    }
}

#[test]
fn what_was_not_sent_before_the_connection_broke_is_not_sent_after_it() {
    let mut talk = Talk::in_state(In::Settled);
    talk.conversation.list_flows(FlowFilter::default());
    talk.give("disconnected");
    talk.give("deadline");
    assert_eq!(talk.give("connected"), "hello 2 7");
}

#[test]
fn the_steps_of_a_new_weight_are_one() {
    let mut talk = Talk::in_state(In::Settled);
    talk.conversation.handle_config(Arc::clone(&talk.second), talk.now);
    let Some(ToDataPath::Apply { steps, .. }) = talk.conversation.poll_transmit() else {
        panic!("the plan is sent")
    };
    assert!(matches!(steps.as_slice(), [Step::SetCluster(_)]));
}

#[test]
fn fs14_what_was_decided_goes_before_a_plan_that_waits() {
    let mut talk = Talk::in_state(In::Greeting);
    let snapshot = ToControl::Snapshot {
        version: VERSION,
        boot_id: 1,
        epoch: 0,
        plan: Box::default(),
        conditions: Box::default(),
        report: Box::default(),
    };
    talk.conversation.handle_message(snapshot, talk.now);
    assert!(talk.conversation.coming().is_some_and(|plan| !plan.clusters.is_empty()));
    assert!(talk.conversation.send_conditions(Conditions { serial: 7, ..Conditions::default() }));
    let said = talk.said();
    assert!(said.starts_with("conditions 7, apply 1 "), "{said}");
    talk.give("ack");
    assert!(talk.conversation.coming().is_none());
}
