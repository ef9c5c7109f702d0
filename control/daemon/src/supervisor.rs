//! Who has to run, and when it is started again: without processes and without a clock.

use core::fmt;
use dataplane_flow::Instant;
use std::collections::VecDeque;

/// A child process.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Child {
    /// `flowswitch-dp`.
    DataPath,
    /// `flowswitchd control`.
    Control,
}

impl Child {
    /// Both, in the order in which they are started.
    pub const ALL: [Self; 2] = [Self::DataPath, Self::Control];
}

impl fmt::Display for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DataPath => "flowswitch-dp",
            Self::Control => "flowswitchd control",
        })
    }
}

/// How a child ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal of this number.
    Signal(i32),
    /// Not known: it was not ours.
    Unknown,
}

/// What the caller has to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Start it, then call `handle_started` or `handle_ended`.
    Start(Child),
    /// Ask it to end.
    Terminate(Child),
    /// End it.
    Kill(Child),
    /// All is over.
    Exit(Outcome),
}

/// How all ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// As asked.
    Stopped,
    /// A child ended by itself before the switch had ever been ready: starting it again would only
    /// say the same once more.
    Failed(Child),
}

/// Keeps two children running until it is told to stop.
///
/// ```text
///            started             ended             0, 100, 500, 2000 ms
///  Starting ────────▶ Running ────────▶ Waiting ──────────────────────▶ Starting
///                        │ stop
///                        ▼      deadline           ended
///                     Ending ───────────▶ Killed ────────▶ Gone      (first control, then the data path)
/// ```
///
/// A child that lived for [`QUICK_MS`] is started again at once; one that did not waits a little longer
/// each time.
#[derive(Debug)]
pub struct Supervisor {
    data_path: Slot,
    control: Slot,
    /// The switch has been ready once.
    ready: bool,
    stopping: Option<Outcome>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Slot {
    state: State,
    /// Quick ends in a row.
    quick: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Starting,
    Running { since: Instant },
    Waiting { until: Instant },
    Ending { until: Instant },
    Killed,
    Gone,
}

/// A child that ends before so many milliseconds has ended quickly.
pub const QUICK_MS: u64 = 5_000;
/// How long a child waits after its first, second, .. quick end in a row.
const WAITS_MS: [u64; 4] = [0, 100, 500, 2_000];
/// How long control may take to end.
const CONTROL_END_MS: u64 = 1_000;
/// How long the data path may take to end.
const DATA_PATH_END_MS: u64 = 1_500;

impl Supervisor {
    /// Starts both children; with `adopted` the data path runs already.
    pub fn new(adopted: bool, now: Instant) -> Self {
        let mut supervisor = Self {
            data_path: Slot { state: State::Running { since: now }, quick: 0 },
            control: Slot { state: State::Starting, quick: 0 },
            ready: false,
            stopping: None,
            actions: VecDeque::new(),
        };
        if !adopted {
            supervisor.data_path.state = State::Starting;
            supervisor.actions.push_back(Action::Start(Child::DataPath));
        }
        supervisor.actions.push_back(Action::Start(Child::Control));
        supervisor
    }

    /// The child runs.
    pub fn handle_started(&mut self, child: Child, now: Instant) {
        if self.slot(child).state == State::Starting {
            self.slot(child).state = State::Running { since: now };
            if self.stopping.is_some() {
                self.end_next(now);
            }
        }
    }

    /// The child has ended, or could not be started.
    pub fn handle_ended(&mut self, child: Child, end: End, now: Instant) {
        if self.stopping.is_some() {
            self.slot(child).state = State::Gone;
            return self.end_next(now);
        }
        if !self.ready && matches!(end, End::Code(_)) {
            self.slot(child).state = State::Gone;
            return self.stop(Outcome::Failed(child), now);
        }
        let slot = self.slot(child);
        let lived_ms = match slot.state {
            State::Running { since } => now.since(since) / 1_000_000,
            _ => 0,
        };
        slot.quick = if lived_ms < QUICK_MS { slot.quick + 1 } else { 0 };
        let wait_ms = WAITS_MS[slot.quick.saturating_sub(1).min(WAITS_MS.len() - 1)];
        slot.state = State::Waiting { until: now.plus_millis(wait_ms) };
        self.handle_deadline(now);
    }

    /// The switch is ready.
    pub fn handle_ready(&mut self) {
        self.ready = true;
    }

    /// Everything is to stop.
    pub fn handle_stop(&mut self, now: Instant) {
        if self.stopping.is_none() {
            self.stop(Outcome::Stopped, now);
        }
    }

    /// Time has passed.
    pub fn handle_deadline(&mut self, now: Instant) {
        for child in Child::ALL {
            match self.slot(child).state {
                State::Waiting { until } if until <= now => {
                    self.slot(child).state = State::Starting;
                    self.actions.push_back(Action::Start(child));
                }
                State::Ending { until } if until <= now => {
                    self.slot(child).state = State::Killed;
                    self.actions.push_back(Action::Kill(child));
                }
                _ => {}
            }
        }
    }

    /// When to call [`Supervisor::handle_deadline`].
    pub fn next_deadline(&self) -> Option<Instant> {
        [&self.data_path, &self.control]
            .into_iter()
            .filter_map(|slot| match slot.state {
                State::Waiting { until } | State::Ending { until } => Some(until),
                _ => None,
            })
            .min()
    }

    /// What to do next.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    fn slot(&mut self, child: Child) -> &mut Slot {
        match child {
            Child::DataPath => &mut self.data_path,
            Child::Control => &mut self.control,
        }
    }

    fn stop(&mut self, outcome: Outcome, now: Instant) {
        self.stopping = Some(outcome);
        // What was to be started is not.
        self.actions.retain(|action| match action {
            Action::Start(child) => {
                let slot = match child {
                    Child::DataPath => &mut self.data_path,
                    Child::Control => &mut self.control,
                };
                slot.state = State::Gone;
                false
            }
            _ => true,
        });
        self.end_next(now);
    }

    /// Ends control, and then the data path, so that nobody asks a data path that is going.
    fn end_next(&mut self, now: Instant) {
        let Some(outcome) = self.stopping else { return };
        for (child, ms) in [(Child::Control, CONTROL_END_MS), (Child::DataPath, DATA_PATH_END_MS)] {
            match self.slot(child).state {
                State::Gone => {}
                State::Waiting { .. } => self.slot(child).state = State::Gone,
                State::Running { .. } => {
                    self.slot(child).state = State::Ending { until: now.plus_millis(ms) };
                    return self.actions.push_back(Action::Terminate(child));
                }
                // It has been asked already, or the caller is about to tell that it has started.
                State::Starting | State::Ending { .. } | State::Killed => return,
            }
        }
        self.actions.push_back(Action::Exit(outcome));
    }
}

#[cfg(test)]
mod tests;
