//! Orders of the operator.

use super::{Core, OrderedWeight};
use crate::drain::Drain;
use crate::order::{Order, OrderError};
use dataplane_flow::{Instant, TargetId};
use dataplane_message::Admin;

/// How long a former primary's flows are reset after a switchover that asked for it.
const CLOSING_MS: u64 = 5000;

impl Core {
    pub(crate) fn handle_order(&mut self, order: Order, now: Instant) -> Result<(), OrderError> {
        let now = self.at(now);
        match order {
            Order::Drain { target, deadline_ms, gentle } => {
                let server = self.servers.get_mut(&target).ok_or(OrderError::NoTarget)?;
                server.admin = Some(Admin::Drain);
                server.gentle = gentle;
                server.drain = Some(Drain::new(deadline_ms, gentle, server.flows, now));
                self.dirty.insert(target);
            }
            Order::Enable { target } => {
                let server = self.servers.get_mut(&target).ok_or(OrderError::NoTarget)?;
                let was_out = server.admin.unwrap_or(server.plan.admin) != Admin::Enabled;
                server.admin = (server.plan.admin != Admin::Enabled).then_some(Admin::Enabled);
                server.gentle = false;
                server.drain = None;
                server.closing = None;
                let members = server.members.clone();
                for key in members {
                    let slow = self.care(key.0).map_or(0, |c| c.slow_start_ms);
                    if let Some(member) = self.members.get_mut(&key) {
                        member.damper.forgive();
                        if was_out && slow > 0 {
                            member.came_back = Some(now);
                        }
                    }
                }
                self.dirty.insert(target);
            }
            Order::Disable { target } => {
                let server = self.servers.get_mut(&target).ok_or(OrderError::NoTarget)?;
                server.admin = Some(Admin::Disabled);
                server.gentle = false;
                server.drain = None;
                self.dirty.insert(target);
            }
            Order::Weight { cluster, service, target, weight } => {
                if weight.is_some_and(|weight| weight > 1000) {
                    return Err(OrderError::Weight);
                }
                let plan = self.cluster_plan(cluster).ok_or(OrderError::NoCluster)?;
                let services = 0..plan.services.len() as u16;
                let mut any = false;
                for place in services.filter(|place| service.is_none_or(|wanted| wanted == *place)) {
                    if let Some(member) = self.members.get_mut(&(cluster, place, target)) {
                        any = true;
                        let planned = member.weight;
                        member.ordered = weight.map(|weight| OrderedWeight { weight, planned });
                    }
                }
                if !any {
                    let known = self.servers.contains_key(&target);
                    return Err(if known { OrderError::NoMember } else { OrderError::NoTarget });
                }
            }
            Order::Switchover { cluster, to, reset } => {
                self.cluster_plan(cluster).ok_or(OrderError::NoCluster)?;
                let old: Option<TargetId> = self
                    .change_roles(cluster, true, |roles| roles.switch_over(to))
                    .ok_or(OrderError::NotAvailability)??;
                if reset && let Some(old) = old.and_then(|id| self.servers.get_mut(&id)) {
                    old.closing = Some(now.plus_millis(CLOSING_MS));
                }
            }
        }
        self.changed = true;
        self.settle(now);
        Ok(())
    }
}
