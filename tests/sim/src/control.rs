//! The control process: the production conversation and care, with what a process has around them.

use control_config::Config;
use control_daemon::conversation::Conversation;
use control_health::{Care, CareEvent, Saved};
use dataplane_flow::Instant;
use dataplane_message::{ToControl, ToDataPath};
use std::collections::VecDeque;
use std::sync::Arc;

/// Messages that the socket holds when nobody reads.
const SOCKET: usize = 256;

/// A control process.
#[derive(Debug)]
pub struct Control {
    started: u64,
    /// Nanoseconds by which its clock is ahead: it was suspended, and the clock was not.
    jumped: u64,
    /// It stands still until then.
    pub paused_until: u64,
    /// Rises with each process.
    pub number: u64,
    /// Its connection.
    pub link: Option<u64>,
    /// Its conversation.
    pub conversation: Conversation,
    /// What it decides beside the plan.
    pub care: Care,
    /// What has arrived and is not read.
    pub inbox: VecDeque<ToControl>,
    /// When it is to be woken.
    pub wake: Option<u64>,
    /// The plan it has last seen settled.
    pub settled: Option<u64>,
    /// Refusals of the data path.
    pub refused: Vec<String>,
}

impl Control {
    /// A process that starts now, with what the state file holds. `seed` moves its probes in time.
    pub fn start(number: u64, config: Arc<Config>, seed: u64, saved: Saved, now: u64) -> Self {
        let mut care = Care::new(seed);
        care.restore(saved);
        Self {
            care,
            started: now,
            jumped: 0,
            paused_until: 0,
            number,
            link: None,
            conversation: Conversation::new(number, config, Instant(0)),
            inbox: VecDeque::new(),
            wake: None,
            settled: None,
            refused: Vec::new(),
        }
    }

    /// Its own time.
    pub fn instant(&self, now: u64) -> Instant {
        Instant(now - self.started + self.jumped)
    }

    /// Its clock jumps forward.
    pub fn jump(&mut self, by: u64) {
        self.jumped += by;
    }

    /// It stands still now.
    pub fn is_paused(&self, now: u64) -> bool {
        now < self.paused_until
    }

    /// The socket takes another message.
    pub fn has_room(&self) -> bool {
        self.inbox.len() < SOCKET
    }

    /// When it wants to be called next, in the world's time.
    pub fn next_deadline(&self) -> Option<u64> {
        let at =
            [self.conversation.next_deadline(), self.care.next_deadline()].into_iter().flatten().min()?;
        Some((at.0 + self.started).saturating_sub(self.jumped))
    }

    /// The plan in force, or what it is to be watched by, has changed.
    pub fn care_for_plan(&mut self, now: u64) {
        let now = self.instant(now);
        let Some(in_force) = self.conversation.in_force() else { return };
        let settings = self.conversation.wanted().settings(&in_force.plan);
        self.care.handle_plan(&in_force.plan, &settings, now);
    }

    /// A data path that has just started is about to be told a plan.
    pub fn care_for_coming_plan(&mut self, now: u64) {
        let now = self.instant(now);
        if let Some(plan) = self.conversation.coming() {
            let settings = self.conversation.wanted().settings(plan);
            self.care.handle_plan(plan, &settings, now);
        }
    }

    /// What was decided goes to the data path; whether there was anything, and what is for the log.
    pub fn follow_care(&mut self) -> (bool, Vec<CareEvent>) {
        let mut any = false;
        while let Some((port, frame)) = self.care.poll_inject() {
            any |= self.conversation.inject(port, frame);
        }
        while let Some(conditions) = self.care.poll_conditions() {
            any |= self.conversation.send_conditions(conditions);
        }
        (any, core::iter::from_fn(|| self.care.poll_event()).collect())
    }

    /// The next message to the data path.
    pub fn poll_transmit(&mut self) -> Option<ToDataPath> {
        self.conversation.poll_transmit()
    }
}
