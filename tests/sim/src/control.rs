//! The control process: the production conversation, with what a process has around it.

use control_config::Config;
use control_daemon::conversation::Conversation;
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
    /// A process that starts now.
    pub fn start(number: u64, config: Arc<Config>, now: u64) -> Self {
        Self {
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
        let at = self.conversation.next_deadline()?;
        Some((at.0 + self.started).saturating_sub(self.jumped))
    }

    /// The next message to the data path.
    pub fn poll_transmit(&mut self) -> Option<ToDataPath> {
        self.conversation.poll_transmit()
    }
}
