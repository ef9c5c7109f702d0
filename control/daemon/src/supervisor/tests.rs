use super::*;

/// A supervisor and what it has asked for.
struct Watch {
    supervisor: Supervisor,
    now: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum In {
    Starting,
    Running,
    Waiting,
    Ending,
    Killed,
    Gone,
}

impl Watch {
    fn new(adopted: bool) -> Self {
        Self { supervisor: Supervisor::new(adopted, Instant::default()), now: Instant::default() }
    }

    /// Both run and the switch has been ready.
    fn ready() -> Self {
        let mut watch = Self::new(false);
        assert_eq!(watch.asked(), "start dp, start control");
        for child in Child::ALL {
            watch.supervisor.handle_started(child, watch.now);
        }
        watch.supervisor.handle_ready();
        watch
    }

    /// With control in the given state.
    fn with_control(state: In) -> Self {
        let mut watch = Self::ready();
        match state {
            In::Running => {}
            In::Starting => drop(watch.give("control dies")),
            In::Waiting => {
                for input in ["control dies", "control starts", "control dies"] {
                    watch.give(input);
                }
            }
            In::Ending => drop(watch.give("stop")),
            In::Killed => {
                watch.give("stop");
                watch.give("deadline");
            }
            In::Gone => {
                watch.give("stop");
                watch.give("control dies");
            }
        }
        assert_eq!(watch.control(), state);
        watch
    }

    fn control(&self) -> In {
        match self.supervisor.control.state {
            State::Starting => In::Starting,
            State::Running { .. } => In::Running,
            State::Waiting { .. } => In::Waiting,
            State::Ending { .. } => In::Ending,
            State::Killed => In::Killed,
            State::Gone => In::Gone,
        }
    }

    fn give(&mut self, input: &str) -> String {
        let now = self.now;
        let s = &mut self.supervisor;
        match input {
            "dp starts" => s.handle_started(Child::DataPath, now),
            "control starts" => s.handle_started(Child::Control, now),
            "dp dies" => s.handle_ended(Child::DataPath, End::Signal(9), now),
            "control dies" => s.handle_ended(Child::Control, End::Signal(9), now),
            "dp gives up" => s.handle_ended(Child::DataPath, End::Code(1), now),
            "control gives up" => s.handle_ended(Child::Control, End::Code(1), now),
            "ready" => s.handle_ready(),
            "stop" => s.handle_stop(now),
            "deadline" => {
                self.now = self.supervisor.next_deadline().unwrap_or(now);
                self.supervisor.handle_deadline(self.now);
            }
            other => panic!("no input {other}"),
        }
        self.asked()
    }

    fn asked(&mut self) -> String {
        let name = |child| if child == Child::DataPath { "dp" } else { "control" };
        let mut asked = Vec::new();
        while let Some(action) = self.supervisor.poll_action() {
            asked.push(match action {
                Action::Start(child) => format!("start {}", name(child)),
                Action::Terminate(child) => format!("terminate {}", name(child)),
                Action::Kill(child) => format!("kill {}", name(child)),
                Action::Exit(Outcome::Stopped) => "exit".into(),
                Action::Exit(Outcome::Failed(child)) => format!("exit, {} failed", name(child)),
            });
        }
        asked.join(", ")
    }
}

/// What each input does in a state of control, while the data path runs: the state afterwards and what
/// is asked for.
type Row = (In, [(&'static str, In, &'static str); 5]);

#[rustfmt::skip]
const TABLE: &[Row] = {
    use In::{Ending as E, Gone as G, Killed as K, Running as R, Starting as S, Waiting as W};
    &[
        (S, [("control starts", R, ""), ("control dies", W, ""), ("control gives up", W, ""), ("stop", S, ""), ("deadline", S, "")]),
        (R, [("control starts", R, ""), ("control dies", S, "start control"), ("control gives up", S, "start control"), ("stop", E, "terminate control"), ("deadline", R, "")]),
        (W, [("control starts", W, ""), ("control dies", W, ""), ("control gives up", W, ""), ("stop", G, "terminate dp"), ("deadline", S, "start control")]),
        (E, [("control starts", E, ""), ("control dies", G, "terminate dp"), ("control gives up", G, "terminate dp"), ("stop", E, ""), ("deadline", K, "kill control")]),
        (K, [("control starts", K, ""), ("control dies", G, "terminate dp"), ("control gives up", G, "terminate dp"), ("stop", K, ""), ("deadline", K, "")]),
        (G, [("control starts", G, ""), ("control dies", G, ""), ("control gives up", G, ""), ("stop", G, ""), ("deadline", G, "kill dp")]),
    ]
};

#[test]
fn every_input_in_every_state() {
    for (state, row) in TABLE {
        for (input, after, asked) in row {
            let mut watch = Watch::with_control(*state);
            let found = watch.give(input);
            assert_eq!((watch.control(), found.as_str()), (*after, *asked), "{input} in {state:?}");
        }
    }
}

#[test]
fn quick_ends_are_answered_ever_more_slowly() {
    let mut watch = Watch::ready();
    let mut waits = Vec::new();
    for _ in 0..6 {
        let before = watch.now;
        if watch.give("dp dies").is_empty() {
            assert_eq!(watch.give("deadline"), "start dp");
        }
        waits.push(watch.now.since(before) / 1_000_000);
        watch.give("dp starts");
    }
    assert_eq!(waits, [0, 100, 500, 2000, 2000, 2000]);
    watch.now = watch.now.plus_millis(QUICK_MS);
    assert_eq!(watch.give("dp dies"), "start dp", "it had lived long enough");
    watch.give("dp starts");
    assert_eq!(watch.give("dp dies"), "start dp", "the first quick end");
}

#[test]
fn one_child_that_dies_leaves_the_other_alone() {
    let mut watch = Watch::ready();
    assert_eq!(watch.give("control dies"), "start control");
    watch.give("control starts");
    assert_eq!(watch.give("dp dies"), "start dp");
}

#[test]
fn before_the_first_ready_a_child_that_gives_up_ends_it_all() {
    let mut watch = Watch::new(false);
    watch.asked();
    watch.give("dp starts");
    watch.give("control starts");
    assert_eq!(watch.give("dp gives up"), "terminate control");
    assert_eq!(watch.give("control dies"), "exit, dp failed");

    let mut watch = Watch::new(false);
    watch.asked();
    watch.give("dp starts");
    watch.give("control starts");
    assert_eq!(watch.give("dp dies"), "start dp", "killed by somebody: that is no answer");
    watch.give("dp starts");
    assert_eq!(watch.give("control gives up"), "terminate dp");
    assert_eq!(watch.give("dp dies"), "exit, control failed");
}

#[test]
fn the_stop_takes_control_first_and_less_than_three_seconds() {
    let mut watch = Watch::ready();
    assert_eq!(watch.give("stop"), "terminate control");
    let begin = watch.now;
    assert_eq!(watch.give("deadline"), "kill control");
    assert_eq!(watch.give("control dies"), "terminate dp");
    assert_eq!(watch.give("deadline"), "kill dp");
    assert_eq!(watch.give("dp dies"), "exit");
    assert!(watch.now.since(begin) < 3_000_000_000);
}

#[test]
fn a_data_path_that_runs_already_is_not_started() {
    let mut watch = Watch::new(true);
    assert_eq!(watch.asked(), "start control");
    assert_eq!(watch.give("dp dies"), "start dp");
}

#[test]
fn a_stop_while_a_child_is_being_started_waits_for_it() {
    let mut watch = Watch::ready();
    watch.give("control dies");
    assert_eq!(watch.give("stop"), "");
    assert_eq!(watch.give("control starts"), "terminate control");
}

#[test]
fn a_stop_takes_back_what_was_to_be_started() {
    let mut watch = Watch::ready();
    watch.supervisor.handle_ended(Child::Control, End::Signal(9), watch.now);
    assert_eq!(watch.give("stop"), "terminate dp");
}
