//! What the traffic shows of servers, told to control as it changes (FS-31).

use super::Publisher;
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{MemberReport, MemberSigns, Plan, Signs, TargetSigns, ToControl};
use dataplane_port::PortSet;
use std::collections::HashMap;

/// Between two messages.
const SIGNS_NS: u64 = 20_000_000;

/// Messages for control beyond which a link's change waits for the next time.
const SIGNS_MAX: usize = 4096;

/// What control was told on this connection.
#[derive(Debug, Default)]
pub(super) struct Told {
    next: Instant,
    begun: bool,
    up: PortSet,
    targets: HashMap<TargetId, TargetSigns>,
    members: HashMap<(ClusterId, u16, TargetId), MemberSigns>,
}

impl Told {
    /// Forgets rows that are no longer in the plan.
    pub(super) fn follow(&mut self, plan: &Plan) {
        self.targets.retain(|id, _| plan.targets.iter().any(|t| t.id == *id));
        self.members.retain(|(cluster, service, target), _| {
            let cluster = plan.clusters.iter().find(|c| c.id == *cluster);
            let service = cluster.and_then(|c| c.services.get(usize::from(*service)));
            service.is_some_and(|s| s.members.iter().any(|m| m.target == *target))
        });
    }
}

impl Publisher {
    /// Tells what has changed, every 20 ms, or now when a link has changed. Nothing to a control core
    /// that does not listen: what has changed meanwhile is told when it does.
    pub(super) fn tell_signs(&mut self, now: Instant, at_once: bool) {
        let waits = || self.out.iter().any(|message| matches!(message, ToControl::Signs(_)));
        let due = now >= self.told.next && !waits();
        // A link that flaps while control does not listen is told as it is when it does: memory is bounded.
        if !self.connected || !due && !at_once || self.out.len() >= SIGNS_MAX {
            return;
        }
        let up = self.up();
        let mut told = core::mem::take(&mut self.told);
        let mut signs = Signs { uptime_us: now.since(self.started) / 1000, up, ..Signs::default() };
        for target in &self.plan.targets {
            let row = self.target_signs(target.id);
            if told.targets.insert(row.id, row) != Some(row) {
                signs.targets.push(row);
            }
        }
        for row in self.members.signs(&self.plan, &self.counters) {
            if told.members.insert((row.cluster, row.service, row.target), row) != Some(row) {
                signs.members.push(row);
            }
        }
        let changed = up != told.up || !signs.targets.is_empty() || !signs.members.is_empty();
        if changed || !told.begun {
            self.out.push_back(ToControl::Signs(Box::new(signs)));
        }
        self.told = Told { next: Instant(now.0 + SIGNS_NS), begun: true, up, ..told };
    }

    fn target_signs(&self, id: TargetId) -> TargetSigns {
        let mut row = TargetSigns { id, ..TargetSigns::default() };
        for counters in self.counters.iter().map(|c| c.target(id)) {
            row.in_frames += counters.in_frames.read();
            row.out_frames += counters.out_frames.read() + counters.heard.read();
            row.flows_open += counters.flows_open.read();
        }
        row
    }

    pub(super) fn member_reports(&self) -> Vec<MemberReport> {
        self.members.reports(&self.plan, &self.counters)
    }
}
