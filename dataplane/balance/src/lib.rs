//! Choice of a target.
//!
//! Weights and health are compiled into arrays by the publisher; choosing is one index, or one pass
//! over the members for the chooser that compares counts. A chooser per file, all with the same two
//! parts: `new` (off the packet path) and `choose`.
//!
//! Every service has a [`Maglev`] array beside its chooser, since that is where packets go that may
//! leave no entry: full table, flood, mid-flow segments (FS-7a).

mod least_connections;
mod maglev;
mod round_robin;
mod two_choices;

pub use least_connections::LeastConnections;
pub use maglev::{MAGLEV_SIZE, Maglev};
pub use round_robin::RoundRobin;
pub use two_choices::TwoChoices;

use dataplane_flow::TargetId;

/// A server that takes new flows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The server.
    pub target: TargetId,
    /// A hash of its name: equal in every switch of a site, whatever its number is there.
    pub name_hash: u64,
    /// Its weight, at least 1.
    pub weight: u16,
}

/// FNV-1a of a server's name, for [`Candidate::name_hash`].
pub fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// How a service chooses (FS-9).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Chooser {
    /// In turn, weighted or not.
    RoundRobin(RoundRobin),
    /// Fewest open flows for its weight.
    LeastConnections(LeastConnections),
    /// The better of two drawn from the Maglev array.
    TwoChoices(TwoChoices),
    /// By the client's address, over the Maglev array.
    SourceAffinity,
    /// By the flow, over the Maglev array.
    Maglev,
}

/// A service's compiled choice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Balancer {
    chooser: Chooser,
    maglev: Maglev,
}

impl Balancer {
    /// Joins a chooser and the array that hashing falls back on.
    pub fn new(chooser: Chooser, maglev: Maglev) -> Self {
        Self { chooser, maglev }
    }

    /// Asks for what [`Self::choose`] looks at first. A hint.
    #[inline(always)]
    pub fn prefetch(&self, choice: u64) {
        self.maglev.prefetch(choice);
    }

    /// Chooses for a new flow. `choice` is the flow's hash, or its client's where [`Self::is_by_client`];
    /// `cursor` is this worker's place in the round; `open` tells a server's open flows in all workers, `time` its
    /// response time in microseconds, 0 where none is known; `allowed` leaves servers out (FS-4, FS-34). `None`:
    /// there is none.
    #[inline]
    pub fn choose(
        &self,
        choice: u64,
        cursor: &mut u32,
        open: impl Fn(TargetId) -> u64,
        time: impl Fn(TargetId) -> u64,
        allowed: impl Fn(TargetId) -> bool,
    ) -> Option<TargetId> {
        match &self.chooser {
            Chooser::RoundRobin(round) => round.choose(cursor, allowed),
            Chooser::LeastConnections(least) => least.choose(choice, open, allowed),
            Chooser::TwoChoices(two) => two.choose(choice, &self.maglev, open, time, allowed),
            Chooser::SourceAffinity | Chooser::Maglev => self.by_hash(choice, 0, allowed),
        }
    }

    /// Chooses without state: the same for the same flow while the servers stay. `nth` counts the
    /// servers that have refused the flow already (FS-7a); `None` when that is all of them.
    #[inline]
    pub fn by_hash(&self, choice: u64, nth: u32, allowed: impl Fn(TargetId) -> bool) -> Option<TargetId> {
        self.maglev.choose(choice, nth, allowed)
    }

    /// How many allowed servers it chooses among.
    pub fn count(&self, allowed: impl Fn(TargetId) -> bool) -> u32 {
        self.maglev.count(allowed)
    }

    /// Whether flows of one client must go to one server, so one worker must own them all.
    pub fn is_by_client(&self) -> bool {
        matches!(self.chooser, Chooser::SourceAffinity)
    }
}
