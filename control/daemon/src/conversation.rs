//! The conversation with the data path, without a socket and without a clock.

use control_config::Config;
use dataplane_flow::{Instant, TargetId};
use dataplane_message::{
    Conditions, FlowFilter, FlowRow, Plan, Report, Signs, Step, ToControl, ToDataPath, VERSION,
};
use dataplane_port::PortId;
use dataplane_wire::MacAddr;
use std::collections::VecDeque;
use std::sync::Arc;

/// The control core's side of the conversation.
///
/// ```text
///            deadline            connected            Snapshot, differs
///  Offline ───────────▶ Connecting ──────▶ Greeting ───────────────────▶ Applying
///     ▲                                       │ Snapshot, the same          │ Ack, Refused
///     │                                       ▼                             ▼
///     └── disconnected, deadline, version ── Settled ◀──────────────────────┘
///                                             └── another configuration ──▶ Applying
/// ```
///
/// It owns what should be in force ([`Conversation::handle_config`]) and knows what is. The caller does
/// what [`Conversation::poll_event`] and [`Conversation::poll_transmit`] say, and calls
/// [`Conversation::handle_deadline`] at [`Conversation::next_deadline`].
#[derive(Debug)]
pub struct Conversation {
    sender: u64,
    state: State,
    wanted: Arc<Config>,
    /// The last configuration that a data path has carried out: what a refused one yields to.
    proven: Option<Arc<Config>>,
    in_force: Option<InForce>,
    retry_ms: u64,
    queries: u32,
    transmit: VecDeque<ToDataPath>,
    events: VecDeque<Event>,
}

/// What the data path works by, as far as is known. Outlives the connection.
#[derive(Clone, PartialEq, Debug)]
pub struct InForce {
    /// The data path's random number of its start.
    pub boot_id: u64,
    /// The plan's number.
    pub epoch: u64,
    /// The plan.
    pub plan: Plan,
}

#[derive(Debug)]
enum State {
    /// Not connected; the next attempt comes at `retry_at`.
    Offline { retry_at: Instant },
    /// The caller has been asked to connect.
    Connecting,
    /// Hello was sent.
    Greeting { until: Instant },
    /// Apply was sent.
    Applying { epoch: u64, plan: Box<Plan>, steps: Vec<Step>, config: Arc<Config>, until: Instant },
    /// The plan in force is the one that should be, or the best there is.
    Settled { silent_at: Instant },
}

/// What the caller should do or know.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// Try to connect, then call `handle_connected` or `handle_disconnected`.
    Connect,
    /// Close the connection; there is no need to say so.
    Close(CloseReason),
    /// The plan in force is the configuration's.
    Settled {
        /// Its number.
        epoch: u64,
        /// The plan before.
        before: Box<Plan>,
        /// What was changed to get there; empty: it was so already.
        steps: Vec<Step>,
    },
    /// The data path refused the plan; what was in force before stays.
    Refused {
        /// The number that it would have had.
        epoch: u64,
        /// The data path's words.
        reason: String,
    },
    /// A data path was found, with what was decided last.
    Adopted {
        /// Its random number.
        boot_id: u64,
        /// It has a plan: it has not just started.
        running: bool,
        /// What was decided beside the plan.
        conditions: Box<Conditions>,
    },
    /// What is seen and counted.
    Report(Box<Report>),
    /// What the traffic shows of servers.
    Signs(Box<Signs>),
    /// A frame for the control core.
    Punt {
        /// The port it came from.
        port: PortId,
        /// Its bytes.
        frame: Vec<u8>,
    },
    /// Flows that were asked for.
    Flows {
        /// The number of the question.
        query: u32,
        /// Some rows.
        rows: Vec<FlowRow>,
        /// No more follow.
        last: bool,
    },
}

/// Why a connection is closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// The data path speaks another version of the messages.
    Version {
        /// Which one.
        theirs: u16,
    },
    /// It did not answer, or said nothing for a long time.
    Silent,
    /// It refused the greeting; an [`Event::Refused`] with its words came before.
    Unwelcome,
}

impl Conversation {
    /// A conversation that begins with the first [`Conversation::handle_deadline`]. `sender` rises with
    /// each control process.
    pub fn new(sender: u64, config: Arc<Config>, now: Instant) -> Self {
        Self {
            sender,
            state: State::Offline { retry_at: now },
            wanted: config,
            proven: None,
            in_force: None,
            retry_ms: RETRY_MIN_MS,
            queries: 0,
            transmit: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The connection is there.
    pub fn handle_connected(&mut self, now: Instant) {
        if !matches!(self.state, State::Connecting) {
            return;
        }
        self.transmit.push_back(ToDataPath::Hello { version: VERSION, sender: self.sender });
        self.state = State::Greeting { until: now.plus_millis(ANSWER_MS) };
    }

    /// The connection could not be made, or broke, or brought what is no message.
    pub fn handle_disconnected(&mut self, now: Instant) {
        if !matches!(self.state, State::Offline { .. }) {
            self.offline(now);
        }
    }

    /// Something arrived.
    pub fn handle_message(&mut self, message: ToControl, now: Instant) {
        if !self.is_connected() {
            return;
        }
        if let State::Settled { silent_at } = &mut self.state {
            *silent_at = now.plus_millis(SILENT_MS);
        }
        match message {
            ToControl::Snapshot { version, .. } if version != VERSION => {
                self.events.push_back(Event::Close(CloseReason::Version { theirs: version }));
                self.unwelcome(now);
            }
            ToControl::Snapshot { boot_id, epoch, plan, conditions, report, .. } => {
                self.events.push_back(Event::Adopted { boot_id, running: epoch != 0, conditions });
                self.adopt(boot_id, epoch, *plan, now);
                self.events.push_back(Event::Report(report));
            }
            ToControl::Ack { epoch } => self.acknowledged(epoch, now),
            ToControl::Refused { epoch, reason } => self.refused(epoch, reason, now),
            ToControl::Report(report) => {
                if !matches!(self.state, State::Greeting { .. }) {
                    self.events.push_back(Event::Report(report));
                }
            }
            ToControl::Flows { query, rows, last } => {
                self.events.push_back(Event::Flows { query, rows, last });
            }
            // Before the snapshot they are of a plan that is not known here.
            _ if !self.is_answering() => {}
            ToControl::Signs(signs) => self.events.push_back(Event::Signs(signs)),
            ToControl::Punt { port, frame } => self.events.push_back(Event::Punt { port, frame }),
        }
    }

    /// Another configuration should be in force from now on.
    pub fn handle_config(&mut self, config: Arc<Config>, now: Instant) {
        self.wanted = config;
        if matches!(self.state, State::Settled { .. }) {
            self.settle(now);
        }
    }

    /// Time has passed.
    pub fn handle_deadline(&mut self, now: Instant) {
        if self.next_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        if matches!(self.state, State::Offline { .. }) {
            self.state = State::Connecting;
            self.events.push_back(Event::Connect);
        } else {
            self.events.push_back(Event::Close(CloseReason::Silent));
            self.offline(now);
        }
    }

    /// When to call [`Conversation::handle_deadline`].
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Offline { retry_at } => Some(*retry_at),
            State::Connecting => None,
            State::Greeting { until } | State::Applying { until, .. } => Some(*until),
            State::Settled { silent_at } => Some(*silent_at),
        }
    }

    /// What to send next.
    pub fn poll_transmit(&mut self) -> Option<ToDataPath> {
        self.transmit.pop_front()
    }

    /// What to do or know next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Asks for flows; the number of the question, or `None` when there is nobody to ask.
    pub fn list_flows(&mut self, filter: FlowFilter) -> Option<u32> {
        if !self.is_answering() {
            return None;
        }
        self.queries = self.queries.wrapping_add(1);
        self.transmit.push_back(ToDataPath::ListFlows { query: self.queries, filter });
        Some(self.queries)
    }

    /// Has the data path take a contending MAC for a server's own; `false` when there is nobody to tell.
    pub fn accept_mac(&mut self, target: TargetId, mac: MacAddr) -> bool {
        let answering = self.is_answering();
        if answering {
            self.transmit.push_back(ToDataPath::AcceptMac { target, mac });
        }
        answering
    }

    /// Tells the data path what was decided beside the plan; `false` when there is nobody to tell. Before a
    /// plan that waits to be sent: a data path that has just started must not go by that plan alone, not even
    /// for the time of a burst (FS-14).
    pub fn send_conditions(&mut self, conditions: Conditions) -> bool {
        let answering = self.is_answering();
        if answering {
            let is_plan = |message: &ToDataPath| matches!(message, ToDataPath::Apply { .. });
            let at = self.transmit.iter().position(is_plan).unwrap_or(self.transmit.len());
            self.transmit.insert(at, ToDataPath::Conditions(Box::new(conditions)));
        }
        answering
    }

    /// The plan that the data path is being told.
    pub fn coming(&self) -> Option<&Plan> {
        match &self.state {
            State::Applying { plan, .. } => Some(plan),
            _ => None,
        }
    }

    /// Has the data path send a frame; `false` when there is nobody to tell.
    pub fn inject(&mut self, port: PortId, frame: Vec<u8>) -> bool {
        let answering = self.is_answering();
        if answering {
            self.transmit.push_back(ToDataPath::Inject { port, frame });
        }
        answering
    }

    /// What the data path works by, or did when it was last heard of.
    pub fn in_force(&self) -> Option<&InForce> {
        self.in_force.as_ref()
    }

    /// The configuration that should be in force.
    pub fn wanted(&self) -> &Arc<Config> {
        &self.wanted
    }

    /// The data path is connected and has told what it works by.
    pub fn is_answering(&self) -> bool {
        matches!(self.state, State::Applying { .. } | State::Settled { .. })
    }

    fn is_connected(&self) -> bool {
        !matches!(self.state, State::Offline { .. } | State::Connecting)
    }

    fn offline(&mut self, now: Instant) {
        self.transmit.clear();
        self.state = State::Offline { retry_at: now.plus_millis(self.retry_ms) };
        self.retry_ms = (self.retry_ms * 2).min(RETRY_MAX_MS);
    }

    /// Offline for longer: another version does not come by itself.
    fn unwelcome(&mut self, now: Instant) {
        self.offline(now);
        self.state = State::Offline { retry_at: now.plus_millis(ANSWER_MS) };
    }

    /// Takes over what the data path works by. One that has just started has no plan: the numbers of
    /// the last one known are kept then, so that what still names them names the same servers.
    fn adopt(&mut self, boot_id: u64, epoch: u64, plan: Plan, now: Instant) {
        self.retry_ms = RETRY_MIN_MS;
        let numbers = if epoch == 0 { self.in_force.take().map(|known| known.plan) } else { None };
        self.in_force = Some(InForce { boot_id, epoch, plan });
        self.settle_with(numbers.as_ref(), now);
    }

    fn acknowledged(&mut self, acknowledged: u64, now: Instant) {
        let settled = State::Settled { silent_at: now.plus_millis(SILENT_MS) };
        match core::mem::replace(&mut self.state, settled) {
            State::Applying { epoch, plan, steps, config, .. } if epoch == acknowledged => {
                let Some(in_force) = &mut self.in_force else { return };
                in_force.epoch = epoch;
                let before = Box::new(core::mem::replace(&mut in_force.plan, *plan));
                let current = Arc::ptr_eq(&config, &self.wanted);
                self.proven = Some(config);
                if current {
                    self.events.push_back(Event::Settled { epoch, before, steps });
                } else {
                    self.settle(now);
                }
            }
            // For the control process before this one, or for nobody.
            state => self.state = state,
        }
    }

    fn refused(&mut self, refused: u64, reason: String, now: Instant) {
        let settled = State::Settled { silent_at: now.plus_millis(SILENT_MS) };
        match core::mem::replace(&mut self.state, settled) {
            State::Greeting { .. } => {
                self.events.push_back(Event::Refused { epoch: refused, reason });
                self.events.push_back(Event::Close(CloseReason::Unwelcome));
                self.unwelcome(now);
            }
            State::Applying { epoch, config, .. } if epoch == refused => {
                self.events.push_back(Event::Refused { epoch, reason });
                if !Arc::ptr_eq(&config, &self.wanted) {
                    self.settle(now);
                } else if let Some(proven) = &self.proven {
                    self.wanted = Arc::clone(proven);
                }
            }
            state => self.state = state,
        }
    }

    /// Goes from what is in force to what should be.
    fn settle(&mut self, now: Instant) {
        self.settle_with(None, now);
    }

    fn settle_with(&mut self, numbers: Option<&Plan>, now: Instant) {
        let Some(in_force) = &self.in_force else { return };
        let plan = self.wanted.plan(Some(numbers.unwrap_or(&in_force.plan)));
        let steps = Plan::between(&in_force.plan, &plan);
        if steps.is_empty() {
            self.proven = Some(Arc::clone(&self.wanted));
            self.state = State::Settled { silent_at: now.plus_millis(SILENT_MS) };
            let before = Box::new(in_force.plan.clone());
            self.events.push_back(Event::Settled { epoch: in_force.epoch, before, steps });
            return;
        }
        let epoch = in_force.epoch + 1;
        self.transmit.push_back(ToDataPath::Apply { epoch, steps: steps.clone() });
        self.state = State::Applying {
            epoch,
            plan: Box::new(plan),
            steps,
            config: Arc::clone(&self.wanted),
            until: now.plus_millis(APPLY_MS),
        };
    }
}

/// The first wait between two attempts to connect; it doubles.
const RETRY_MIN_MS: u64 = 50;
/// The longest wait between two attempts to connect.
const RETRY_MAX_MS: u64 = 1_000;
/// How long a greeting may take.
const ANSWER_MS: u64 = 5_000;
/// How long every worker may take for a plan.
const APPLY_MS: u64 = 10_000;
/// Ten reports that did not come.
const SILENT_MS: u64 = 10_000;

#[cfg(test)]
mod tests;
