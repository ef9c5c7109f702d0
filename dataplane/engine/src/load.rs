//! What a choice may look at beside the tables (FS-9, FS-34).

use crate::tables::{ServiceTable, Tables};
use crate::{Counters, MemberCounters};
use dataplane_flow::{Shard, TargetId};
use dataplane_port::WorkerId;

/// The load of servers over all workers: this one's as it is, the others' as they have put it, at most
/// 10 ms ago.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load<'a> {
    pub(crate) tables: &'a Tables,
    pub(crate) shard: &'a Shard,
    pub(crate) counters: &'a [Counters],
    pub(crate) me: WorkerId,
}

impl Load<'_> {
    /// A server's open flows.
    pub(crate) fn open(&self, id: TargetId) -> u64 {
        let others = self.counters.iter().enumerate().filter(|(worker, _)| *worker != self.me.index());
        others.map(|(_, c)| c.target(id).flows_open.read()).sum::<u64>() + u64::from(self.shard.open(id))
    }

    /// Whether the server may have one more (FS-34).
    #[inline(always)]
    pub(crate) fn has_room(&self, id: TargetId) -> bool {
        self.tables.target(id).is_none_or(|target| match target.connections_max {
            0 => true,
            max => self.is_open_below(id, max),
        })
    }

    #[inline(never)]
    fn is_open_below(&self, id: TargetId, max: u32) -> bool {
        self.open(id) < u64::from(max)
    }

    /// A server's response time in this service in microseconds, else the time it takes to accept a
    /// connection, else 0.
    pub(crate) fn time(&self, service: &ServiceTable, id: TargetId) -> u64 {
        let Some(place) = service.member(id).map(|m| m.counter) else { return 0 };
        let mean = |of: &dyn Fn(&MemberCounters) -> u64| {
            let times = || self.counters.iter().filter_map(|c| c.member(place)).map(of).filter(|us| *us > 0);
            times().sum::<u64>().checked_div(times().count() as u64).unwrap_or(0)
        };
        match mean(&|m| m.response_us.read()) {
            0 => mean(&|m| m.connect_us.read()),
            us => us,
        }
    }
}
