//! Weights as they are told (FS-9, FS-33).

use super::{Core, Member};
use crate::weights::{Measured, Times, ramp};
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::Chooser;

/// The largest weight that slow start tells.
const WEIGHT_MAX: f64 = 1000.0;

/// What weights that are measured add up to: as many turns as the data path compiles, so that a percent of a small
/// share can be said.
const TURNS: f64 = 8000.0;

impl Member {
    pub(super) fn full_weight(&self) -> u16 {
        self.ordered.map_or(self.weight, |ordered| ordered.weight)
    }
}

impl Core {
    /// The weights of a service's members, in order: (target, weight to tell).
    ///
    /// Where weights may change by slow start or measurement, all of a service are told on a scale of their own,
    /// so that a tenth of a weight of 1 can be said; the scale does not change while the full weights do not.
    pub(super) fn weights(&self, cluster: ClusterId, service: u16, now: Instant) -> Vec<(TargetId, u16)> {
        let Some(plan) = self.cluster_plan(cluster) else { return Vec::new() };
        let Some(planned) = plan.services.get(usize::from(service)) else { return Vec::new() };
        let slow = self.care(cluster).map_or(0, |c| c.slow_start_ms);
        let is_dynamic = planned.chooser == Chooser::Dynamic;
        let members: Vec<(TargetId, &Member)> = planned
            .members
            .iter()
            .filter_map(|m| Some((m.target, self.members.get(&(cluster, service, m.target))?)))
            .collect();
        let largest = members.iter().map(|(_, m)| m.full_weight()).max().unwrap_or(0);
        if slow == 0 && !is_dynamic || largest == 0 {
            return members.iter().map(|(id, m)| (*id, m.full_weight())).collect();
        }
        let balance = self.clusters.get(&cluster).and_then(|c| c.balances.get(usize::from(service)));
        let (scale, most) = if is_dynamic {
            let all: f64 = members.iter().map(|(_, m)| f64::from(m.full_weight())).sum();
            (TURNS / all, TURNS)
        } else {
            ((WEIGHT_MAX / f64::from(largest)).floor(), WEIGHT_MAX)
        };
        members
            .iter()
            .map(|(id, m)| {
                let full = m.full_weight();
                if full == 0 {
                    return (*id, 0);
                }
                let factor = if is_dynamic { balance.map_or(1.0, |b| b.factor(*id)) } else { 1.0 };
                let weight = f64::from(full) * scale * factor * ramp(m.came_back, slow, now);
                (*id, weight.round().clamp(1.0, most) as u16)
            })
            .collect()
    }

    /// The percentage that slow start gives a member.
    pub(super) fn slow_percent(&self, cluster: ClusterId, member: &Member, now: Instant) -> u8 {
        let slow = self.care(cluster).map_or(0, |c| c.slow_start_ms);
        (ramp(member.came_back, slow, now) * 100.0).round() as u8
    }

    pub(super) fn end_ramps(&mut self, now: Instant) {
        for ((cluster, _, _), member) in &mut self.members {
            let slow =
                self.settings.clusters.iter().find(|c| c.id == *cluster).map_or(0, |c| c.slow_start_ms);
            if member.came_back.is_some_and(|at| now.since(at) >= u64::from(slow) * 1_000_000) {
                member.came_back = None;
            }
        }
    }

    /// Each second: weights follow what was measured.
    pub(super) fn balance(&mut self, now: Instant) {
        for plan in &self.plan.clusters {
            let Some(cluster) = self.clusters.get_mut(&plan.id) else { continue };
            for (place, service) in plan.services.iter().enumerate() {
                if service.chooser != Chooser::Dynamic {
                    continue;
                }
                let mut measured = Vec::new();
                for planned in &service.members {
                    let Some(member) = self.members.get_mut(&(plan.id, place as u16, planned.target)) else {
                        continue;
                    };
                    let times = Times::between(&member.report.response, &member.histogram);
                    member.histogram = member.report.response.clone();
                    // A server that comes back is left out until its share is whole.
                    if member.damper.is_open() && member.came_back.is_none() && member.full_weight() > 0 {
                        let weight = f64::from(member.full_weight());
                        measured.push(Measured { key: planned.target, times, weight });
                    }
                }
                if let Some(balance) = cluster.balances.get_mut(place) {
                    self.changed |= balance.handle(&measured, now);
                }
            }
        }
    }
}
