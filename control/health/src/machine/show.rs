//! What `show` shows, and events in words.

use super::judge::name;
use super::{Core, MemberKey};
use crate::doctor::Finding;
use crate::event::{CareEvent, Reason};
use crate::roles::Role;
use crate::view::{AssignmentView, CheckView, MemberView, RoleView, RouterView, TargetView};
use core::fmt::Write;
use dataplane_flow::{ClusterId, RouterId, TargetId};
use dataplane_message::Health;

impl Core {
    pub(crate) fn targets(&self) -> Vec<TargetView> {
        self.plan.targets.iter().filter_map(|plan| self.target(plan.id)).collect()
    }

    fn target(&self, id: TargetId) -> Option<TargetView> {
        let server = self.servers.get(&id)?;
        let timeouts = self.plan.clusters.iter().find(|c| c.servers.contains(&id)).map(|c| &c.timeouts);
        let held = server.members.iter().filter_map(|key| self.members.get(key));
        Some(TargetView {
            id,
            health: server.health,
            reason: server.reason.clone(),
            since: server.since,
            presumed: server
                .watches
                .iter()
                .filter_map(|id| self.watches.get(id))
                .all(|slot| slot.watch.is_presumed()),
            admin: server.admin.unwrap_or(server.plan.admin),
            flows_open: server.flows.unwrap_or(0),
            drain: server.drain.as_ref().map(|drain| drain.view(timeouts, self.now)),
            passive: server.bypassed.is_none()
                && server.members.iter().any(|(cluster, service, _)| {
                    self.care(*cluster)
                        .and_then(|c| c.services.get(usize::from(*service)))
                        .is_some_and(|s| s.passive)
                }),
            hold_down_ms: held.map(|m| m.damper.left_ms(self.now)).max().unwrap_or(0),
        })
    }

    pub(crate) fn members(&self) -> Vec<MemberView> {
        let mut views = Vec::new();
        for plan in &self.plan.clusters {
            for (place, service) in plan.services.iter().enumerate() {
                let place = place as u16;
                let wanted = self.wants_backups(plan.id, place);
                for (planned, (target, weight)) in
                    service.members.iter().zip(self.weights(plan.id, place, self.now))
                {
                    let key: MemberKey = (plan.id, place, target);
                    let Some(member) = self.members.get(&key) else { continue };
                    let checks = self.watches_of(key).map(|slot| CheckView {
                        check: name(&slot.what),
                        good: slot.watch.is_good(),
                        failure: slot.watch.failure().map(ToString::to_string),
                        took_us: slot.watch.took_us(),
                    });
                    views.push(MemberView {
                        cluster: plan.id,
                        service: place,
                        target,
                        open: member.damper.is_open() && (!planned.backup || wanted),
                        reason: member.reason.clone(),
                        weight,
                        full_weight: member.full_weight(),
                        backup: planned.backup,
                        slow_start_percent: self.slow_percent(plan.id, member, self.now),
                        checks: checks.collect(),
                    });
                }
            }
        }
        views
    }

    pub(crate) fn roles(&self) -> Vec<RoleView> {
        self.clusters
            .iter()
            .filter_map(|(id, cluster)| Some((*id, cluster.roles.as_ref()?)))
            .flat_map(|(cluster, roles)| {
                roles.iter().map(move |(target, role)| RoleView { cluster, target, role })
            })
            .collect()
    }

    pub(crate) fn routers(&self) -> Vec<RouterView> {
        self.plan
            .routers
            .iter()
            .filter_map(|plan| {
                let state = self.routers.get(&plan.id)?;
                Some(RouterView {
                    id: plan.id,
                    up: state.up,
                    reason: state.reason.clone(),
                    since: state.since,
                    mac: plan.mac.or(state.mac),
                })
            })
            .collect()
    }

    pub(crate) fn assignments(&self) -> Vec<AssignmentView> {
        self.pools
            .iter()
            .flat_map(|(pool, state)| {
                state.iter().map(|(target, router)| AssignmentView {
                    pool: *pool,
                    target,
                    router,
                    bytes_per_s: self.servers.get(&target).map_or(0, |s| s.out_rate as u64),
                })
            })
            .collect()
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.examine()
    }

    pub(super) fn server_name(&self, id: TargetId) -> String {
        self.servers.get(&id).map_or_else(|| format!("server {}", id.0), |s| s.plan.name.clone())
    }

    pub(super) fn router_name(&self, id: RouterId) -> String {
        let plan = self.plan.routers.iter().find(|r| r.id == id);
        plan.map_or_else(|| format!("router {}", id.0), |r| r.name.clone())
    }

    pub(super) fn cluster_name(&self, id: ClusterId) -> String {
        self.cluster_plan(id).map_or_else(|| format!("cluster {}", id.0), |c| c.name.clone())
    }

    fn service_name(&self, id: ClusterId, service: u16) -> String {
        let plan = self.cluster_plan(id).and_then(|c| c.services.get(usize::from(service)));
        format!("{}/{}", self.cluster_name(id), plan.map_or("?", |s| s.name.as_str()))
    }

    pub(crate) fn describe(&self, event: &CareEvent) -> String {
        let because = |reason: &Option<Reason>, took_us: u64| {
            let mut text = String::new();
            if let Some(reason) = reason {
                let _ = write!(text, ": {reason}");
                if took_us > 0 {
                    let _ = write!(text, " ({} ms after the first sign)", took_us / 1000);
                }
            }
            text
        };
        match event {
            CareEvent::Health { target, now, reason, took_us, .. } => {
                let health = match now {
                    Health::Up => "up",
                    Health::Down => "down",
                    Health::Dead => "dead",
                };
                format!("server {} is {health}{}", self.server_name(*target), because(reason, *took_us))
            }
            CareEvent::Member { cluster, service, target, open, reason, took_us } => {
                let takes = if *open { "takes new flows of" } else { "takes no new flows of" };
                let (server, service) = (self.server_name(*target), self.service_name(*cluster, *service));
                format!("server {server} {takes} {service}{}", because(reason, *took_us))
            }
            CareEvent::Role { cluster, target, role, ordered } => {
                let role = match role {
                    Role::Primary => "primary",
                    Role::SecondaryOperational => "secondary-operational",
                    Role::SecondaryFailed => "secondary-failed",
                };
                let how = if *ordered { ", by order" } else { "" };
                let (server, cluster) = (self.server_name(*target), self.cluster_name(*cluster));
                format!("server {server} is {role} of {cluster}{how}")
            }
            CareEvent::Backups { cluster, service, open } => {
                let service = self.service_name(*cluster, *service);
                if *open {
                    format!("backups of {service} are taken: too few of the others are up")
                } else {
                    format!("backups of {service} are left again: enough of the others are up")
                }
            }
            CareEvent::Router { router, up, reason, took_us } => {
                let up = if *up { "up" } else { "down" };
                format!("router {} is {up}{}", self.router_name(*router), because(reason, *took_us))
            }
            CareEvent::Push { pool, target, router } => {
                let pool = self.plan.pools.iter().find(|p| p.id == *pool).map_or("?", |p| p.name.as_str());
                let (server, router) = (self.server_name(*target), self.router_name(*router));
                format!("server {server} was told router {router} of pool {pool}")
            }
            CareEvent::Drained { target, closed: 0 } => {
                format!("server {} is drained: its last flow has ended", self.server_name(*target))
            }
            CareEvent::Drained { target, closed } => format!(
                "server {} is drained: {closed} flows were closed when the deadline had passed",
                self.server_name(*target)
            ),
            CareEvent::PassiveOff { target, off: true } => format!(
                "server {} answers past this switch; signs in its traffic do not count",
                self.server_name(*target)
            ),
            CareEvent::PassiveOff { target, off: false } => {
                format!("signs in the traffic of server {} count again", self.server_name(*target))
            }
            CareEvent::Suspended { cluster, suspended: true } => format!(
                "routed checks of {} fail on all servers while no router is up; they do not count",
                self.cluster_name(*cluster)
            ),
            CareEvent::Suspended { cluster, suspended: false } => {
                format!("a router is up again; routed checks of {} count", self.cluster_name(*cluster))
            }
        }
    }
}
