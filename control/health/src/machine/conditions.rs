//! What the data path is told.

use super::Core;
use dataplane_flow::{Instant, TargetId};
use dataplane_message::{Assignment, Conditions, Health, MemberCondition, RouterCondition, TargetCondition};

impl Core {
    /// Conditions are made anew when something has changed, and wait to be taken if they differ.
    pub(super) fn decide(&mut self, now: Instant) {
        if !self.changed || !self.has_plan {
            return;
        }
        self.changed = false;
        let fresh = self.make(now);
        if self.told.as_ref() == Some(&fresh) {
            return;
        }
        self.told = Some(fresh.clone());
        self.serial += 1;
        self.conditions = Some(Conditions { serial: self.serial, ..fresh });
    }

    fn is_primary(&self, id: TargetId) -> bool {
        self.clusters.values().any(|c| c.roles.as_ref().is_some_and(|roles| roles.primary() == Some(id)))
    }

    fn make(&self, now: Instant) -> Conditions {
        let targets = self
            .servers
            .iter()
            .map(|(id, server)| {
                // Who is primary again, since the one after it has failed too, is needed (FS-15).
                let is_closing = server.drain.as_ref().is_some_and(|d| d.is_closing())
                    || server.closing.is_some() && !self.is_primary(*id);
                // What is left is closed as the flows of a dead server are: reset where the cluster says so. It
                // is not called disabled, since flows of a disabled server go elsewhere unasked.
                let health = if is_closing { Health::Dead } else { server.health };
                TargetCondition { id: *id, health, admin: server.admin, gentle: server.gentle }
            })
            .filter(|t| t.health != Health::Up || t.admin.is_some() || t.gentle)
            .collect();
        let mut members = Vec::new();
        for plan in &self.plan.clusters {
            for (place, service) in plan.services.iter().enumerate() {
                let place = place as u16;
                let wanted = self.wants_backups(plan.id, place);
                for (planned, (target, weight)) in
                    service.members.iter().zip(self.weights(plan.id, place, now))
                {
                    let key = (plan.id, place, target);
                    let is_open = self.members.get(&key).is_none_or(|m| m.damper.is_open());
                    let open = is_open && (!planned.backup || wanted);
                    if open && weight == planned.weight && !planned.backup {
                        continue;
                    }
                    members.push(MemberCondition { cluster: plan.id, service: place, target, open, weight });
                }
            }
        }
        let orders = self
            .clusters
            .iter()
            .filter_map(|(id, cluster)| Some((*id, cluster.roles.as_ref()?.order())))
            .collect();
        let routers = self
            .plan
            .routers
            .iter()
            .filter_map(|plan| {
                let state = self.routers.get(&plan.id)?;
                let mac = if plan.mac.is_none() { state.mac } else { None };
                (!state.up || mac.is_some()).then_some(RouterCondition { id: plan.id, up: state.up, mac })
            })
            .collect();
        let assignments = self
            .pools
            .iter()
            .flat_map(|(pool, state)| {
                state.iter().map(|(target, router)| Assignment { pool: *pool, target, router })
            })
            .collect();
        Conditions { serial: 0, targets, members, orders, routers, assignments }
    }
}
