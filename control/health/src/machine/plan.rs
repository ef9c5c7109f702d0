//! A plan comes into force; what was decided before comes back.

use super::{Core, Member, OrderedWeight, Out, Rising, RouterState, Server, Slot, Subject, timing};
use crate::damper::Damper;
use crate::drain::Drain;
use crate::event::Sign;
use crate::monitor::{Life, Monitor, Seen};
use crate::pool::Pool;
use crate::probing::{WatchId, What};
use crate::quorum::Quorum;
use crate::roles::{Role, Roles};
use crate::saved::{Saved, SavedRoles, SavedServer, SavedWeight};
use crate::settings::{ServiceCare, Settings};
use crate::watch::{Timing, Watch};
use control_probe::{Check, Kind, RouterKind};
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{ClusterMode, Conditions, Health, MacPlan, Plan};
use dataplane_port::PortSet;
use std::collections::{BTreeMap, BTreeSet};

/// Milliseconds that a server has to stay good after a fall that was seen by samples: ten a second, of something
/// that flaps ten times a second, look good for up to a second.
pub(super) const HOLD_MS: u64 = 1500;

/// The same after a link's fall, which is seen exactly.
pub(super) const HOLD_LINK_MS: u64 = 1000;

/// How long a data path that has just started is given to attach its ports: it knows itself which links are
/// down.
const LINKS_MS: u64 = 1000;

/// How often the doctor asks about packet sizes. Two questions in a row without an answer are a finding.
const SIZE: Timing = Timing { interval_ms: 10_000, timeout_ms: 1_000, rise: 1, fall: 2 };

/// How long the links of a data path that has just started may take.
const RISING_MS: u64 = 10_000;

impl Core {
    pub(crate) fn restore(&mut self, saved: Saved) {
        self.saved = saved;
    }

    pub(crate) fn handle_plan(&mut self, plan: &Plan, settings: &Settings, now: Instant) {
        let now = self.at(now);
        let is_first = !self.has_plan;
        self.plan = plan.clone();
        self.plan.clusters.sort_by_key(|c| c.id);
        self.settings = settings.clone();
        self.has_plan = true;
        // A data path that has just taken its first plan may have forgotten what it was told before.
        self.told = None;
        self.plan_servers(now);
        self.plan_members(is_first, now);
        self.plan_routers(now);
        self.plan_watches(now);
        let known: BTreeMap<ClusterId, usize> =
            self.plan.clusters.iter().map(|c| (c.id, c.services.len())).collect();
        self.clusters.retain(|id, _| known.contains_key(id));
        for (id, services) in known {
            let cluster = self.clusters.entry(id).or_default();
            cluster.quorums.resize(services, Quorum::Shut);
            cluster.balances.resize_with(services, Default::default);
        }
        let pools: BTreeSet<_> = self.plan.pools.iter().map(|p| p.id).collect();
        self.pools.retain(|id, _| pools.contains(id));
        for id in pools {
            self.pools.entry(id).or_default();
        }
        let adopted = self.adopted.take();
        if let Some(conditions) = &adopted {
            self.take_over(conditions, now);
        }
        if is_first {
            self.take_saved(adopted.is_some_and(|conditions| conditions.serial > 0), now);
        }
        self.plan_roles();
        self.dirty.extend(self.servers.keys());
        self.changed = true;
        self.assign(now);
        self.judge_quorums(now);
        self.settle(now);
    }

    pub(crate) fn handle_adopted(
        &mut self,
        boot_id: u64,
        running: bool,
        conditions: Conditions,
        now: Instant,
    ) {
        let now = self.at(now);
        self.hear(now);
        self.serial = self.serial.max(conditions.serial);
        let is_first = self.boot_id.is_none();
        if self.boot_id != Some(boot_id) && !running {
            let until = now.plus_millis(RISING_MS);
            self.rising = Some(Rising { until, seen: PortSet::EMPTY, up: None });
        }
        if self.boot_id != Some(boot_id) {
            // Its counters begin anew.
            for server in self.servers.values_mut() {
                server.out_frames = None;
                server.out_bytes = None;
                server.flows = None;
            }
            for member in self.members.values_mut() {
                member.passive.forget();
            }
            if !running {
                self.links_from = now.plus_millis(LINKS_MS);
            }
        }
        self.boot_id = Some(boot_id);
        if is_first && running {
            if self.has_plan {
                self.take_over(&conditions, now);
                self.plan_roles();
                self.dirty.extend(self.servers.keys());
            } else {
                self.adopted = Some(conditions);
            }
        }
        // Whatever it has, it is told what holds.
        self.told = None;
        self.changed = true;
        self.settle(now);
    }

    pub(super) fn handle_links(&mut self, up: PortSet, now: Instant) {
        let up = match &mut self.rising {
            Some(rising) => {
                rising.seen = rising.seen.or(up);
                rising.up = Some(up);
                let seen = rising.seen;
                let awaited = self.plan.ports.iter().map(|p| p.id).filter(|port| !seen.contains(*port));
                up.or(awaited.collect())
            }
            None => up,
        };
        if self.up == Some(up) || now < self.links_from && self.plan.ports.iter().any(|p| !up.contains(p.id))
        {
            return;
        }
        let before = self.up.replace(up);
        for (id, server) in &mut self.servers {
            let is_up = up.contains(server.plan.port);
            if before.is_some_and(|before| before.contains(server.plan.port) == is_up) {
                continue;
            }
            let seen = if is_up { Seen::Carrier } else { Seen::NoCarrier };
            if server.monitor.handle(seen, now) {
                self.dirty.insert(*id);
            }
            for watch in &server.watches {
                let Some(slot) = self.watches.get_mut(watch) else { continue };
                self.schedule.remove(&(slot.watch.deadline(), *watch));
                if is_up {
                    slot.watch.hurry(now);
                } else if before.is_some() {
                    slot.watch.presume(false, now);
                }
                self.schedule.insert((slot.watch.deadline(), *watch));
            }
        }
        let ids: Vec<_> = self.routers.keys().copied().collect();
        for id in ids {
            if let Some(router) = self.routers.get(&id) {
                for watch in router.watches.clone() {
                    self.hurry(watch, now);
                }
            }
            self.judge_router(id, now);
        }
    }

    pub(super) fn hurry(&mut self, id: WatchId, now: Instant) {
        if let Some(slot) = self.watches.get_mut(&id) {
            self.schedule.remove(&(slot.watch.deadline(), id));
            slot.watch.hurry(now);
            self.schedule.insert((slot.watch.deadline(), id));
        }
    }

    fn plan_servers(&mut self, now: Instant) {
        let up = self.up;
        let mut before = core::mem::take(&mut self.servers);
        for plan in &self.plan.targets {
            let life = match up {
                Some(up) if !up.contains(plan.port) => Life::Unplugged,
                _ => Life::Alive,
            };
            let dead_after_ms = self
                .plan
                .clusters
                .iter()
                .filter(|c| c.servers.contains(&plan.id))
                .filter_map(|c| self.settings.clusters.iter().find(|care| care.id == c.id))
                .map(|care| care.dead_after_ms)
                .max()
                .unwrap_or(3000)
                .max(100);
            let mut server = before.remove(&plan.id).unwrap_or_else(|| Server {
                plan: plan.clone(),
                mac: None,
                dead_after_ms,
                monitor: Monitor::new(life, now),
                admin: None,
                gentle: false,
                drain: None,
                closing: None,
                health: Health::Up,
                reason: None,
                since: now,
                flows: None,
                out_frames: None,
                bypassed: None,
                served: None,
                out_bytes: None,
                out_rate: 0.0,
                members: Vec::new(),
                watches: Vec::new(),
            });
            server.dead_after_ms = dead_after_ms;
            if server.plan.admin != plan.admin {
                // The file has spoken since; that is the newer will.
                server.admin = None;
                server.drain = None;
                server.gentle = false;
            }
            if server.plan.port != plan.port
                && let Some(up) = up
            {
                // It was put elsewhere: what its old port said is not said of it any more.
                let seen = if up.contains(plan.port) { Seen::Carrier } else { Seen::NoCarrier };
                server.monitor.handle(seen, now);
            }
            server.plan = plan.clone();
            if let MacPlan::Fixed(mac) = plan.mac {
                server.mac = Some(mac);
            }
            server.members.clear();
            server.watches.clear();
            self.servers.insert(plan.id, server);
        }
    }

    fn plan_members(&mut self, is_first: bool, now: Instant) {
        let mut before = core::mem::take(&mut self.members);
        for cluster in &self.plan.clusters {
            let slow =
                self.settings.clusters.iter().find(|c| c.id == cluster.id).map_or(0, |c| c.slow_start_ms);
            for (place, service) in cluster.services.iter().enumerate() {
                for planned in &service.members {
                    let key = (cluster.id, place as u16, planned.target);
                    let Some(server) = self.servers.get_mut(&planned.target) else { continue };
                    server.members.push(key);
                    let mut member = before.remove(&key).unwrap_or_else(|| Member {
                        weight: planned.weight,
                        backup: planned.backup,
                        ordered: None,
                        damper: Damper::new(true, HOLD_MS),
                        reason: None,
                        passive: Default::default(),
                        out: None,
                        relapses: 0,
                        came_back: (!is_first && slow > 0).then_some(now),
                        report: Default::default(),
                        histogram: Default::default(),
                    });
                    if member.ordered.is_some_and(|o| o.planned != planned.weight) {
                        member.ordered = None;
                    }
                    member.weight = planned.weight;
                    member.backup = planned.backup;
                    self.members.insert(key, member);
                }
            }
        }
        self.suspects.retain(|key| self.members.contains_key(key));
    }

    fn plan_routers(&mut self, now: Instant) {
        let mut before = core::mem::take(&mut self.routers);
        for plan in &self.plan.routers {
            let mut router = before.remove(&plan.id).unwrap_or_else(|| RouterState {
                up: true,
                damper: Damper::new(true, 0),
                reason: None,
                since: now,
                mac: None,
                watches: Vec::new(),
            });
            router.watches.clear();
            self.routers.insert(plan.id, router);
        }
    }

    /// Every check has a watch; one that was there before goes on as it is.
    fn plan_watches(&mut self, now: Instant) {
        let mut wanted: Vec<(Subject, What, Timing)> = Vec::new();
        let mtus: BTreeMap<TargetId, u16> = self.settings.servers.iter().map(|s| (s.id, s.mtu)).collect();
        for cluster in &self.plan.clusters {
            let care = self.settings.clusters.iter().find(|c| c.id == cluster.id);
            let none = Vec::new();
            let checks = care.map_or(&none, |c| &c.checks);
            for target in &cluster.servers {
                let dead_after_ms = self.servers.get(target).map_or(3000, |s| s.dead_after_ms);
                let interval_ms = (dead_after_ms / 4).clamp(50, 500);
                let life = Timing { interval_ms, timeout_ms: interval_ms, rise: 1, fall: 2 };
                wanted.push((Subject::Life(*target, cluster.id), What::Server(Kind::Neighbour), life));
                let mtu = mtus.get(target).map_or(1500, |mtu| (*mtu).min(1500));
                for kind in [Kind::Echo, Kind::LargeEcho { mtu }] {
                    wanted.push((Subject::Size(*target, cluster.id), What::Server(kind), SIZE));
                }
                let of = |subject, check: &Check| (subject, What::Server(check.kind.clone()), timing(check));
                wanted.extend(checks.iter().map(|c| of(Subject::Cluster(*target, cluster.id), c)));
                for (place, service) in cluster.services.iter().enumerate() {
                    if !service.members.iter().any(|m| m.target == *target) {
                        continue;
                    }
                    let care: Option<&ServiceCare> = care.and_then(|c| c.services.get(place));
                    let subject = Subject::Service(*target, cluster.id, place as u16);
                    wanted.extend(care.iter().flat_map(|s| &s.checks).map(|c| of(subject, c)));
                }
            }
        }
        for router in &self.plan.routers {
            let Some(check) =
                self.settings.routers.iter().find(|r| r.id == router.id).and_then(|r| r.check.as_ref())
            else {
                continue;
            };
            let timing = Timing {
                interval_ms: check.interval_ms.max(10),
                timeout_ms: check.timeout_ms.max(10),
                rise: check.rise.max(1),
                fall: check.fall.max(1),
            };
            let subject = Subject::Router(router.id);
            wanted.push((subject, What::Router(RouterKind::Neighbour), timing));
            if let Some(through) = check.through {
                wanted.push((subject, What::Router(RouterKind::Through(through)), timing));
            }
        }
        let mut before: BTreeMap<String, Vec<(WatchId, Slot)>> = BTreeMap::new();
        for (id, slot) in core::mem::take(&mut self.watches) {
            before.entry(format!("{:?} {:?}", slot.subject, slot.what)).or_default().push((id, slot));
        }
        self.schedule.clear();
        for (subject, what, timing) in wanted {
            let same = before.get_mut(&format!("{subject:?} {what:?}")).and_then(Vec::pop);
            let (id, slot) = match same {
                Some((id, mut slot)) => {
                    slot.watch.set_timing(timing);
                    (id, slot)
                }
                None => {
                    let id = WatchId(self.watch_count);
                    self.watch_count = self.watch_count.wrapping_add(1);
                    // Spread over the first interval, so that servers are not asked all at once.
                    let spread = self.draw() % (u64::from(timing.interval_ms.min(1000)) * 1_000_000);
                    (id, Slot { subject, what, watch: Watch::new(timing, true, Instant(now.0 + spread)) })
                }
            };
            match subject {
                Subject::Router(router) => {
                    if let Some(router) = self.routers.get_mut(&router) {
                        router.watches.push(id);
                    }
                }
                _ => {
                    if let Some(server) = subject.target().and_then(|t| self.servers.get_mut(&t)) {
                        server.watches.push(id);
                    }
                }
            }
            self.schedule.insert((slot.watch.deadline(), id));
            self.watches.insert(id, slot);
        }
    }

    fn plan_roles(&mut self) {
        for plan in &self.plan.clusters {
            let Some(cluster) = self.clusters.get_mut(&plan.id) else { continue };
            if plan.mode != ClusterMode::Availability {
                cluster.roles = None;
                continue;
            }
            let servers = &self.servers;
            let roles = cluster.roles.get_or_insert_default();
            roles
                .handle_servers(&plan.servers, |id| servers.get(&id).is_some_and(|s| s.health == Health::Up));
        }
    }

    /// What a running data path was told in an earlier life of this program: it stays until counted afresh.
    fn take_over(&mut self, conditions: &Conditions, now: Instant) {
        for condition in &conditions.targets {
            let Some(server) = self.servers.get_mut(&condition.id) else { continue };
            server.health = condition.health;
            if condition.admin.is_some_and(|admin| admin != server.plan.admin) {
                server.admin = condition.admin;
                server.gentle = condition.gentle;
                if condition.admin == Some(dataplane_message::Admin::Drain) {
                    server.drain = Some(Drain::new(None, condition.gentle, None, now));
                }
            }
            match condition.health {
                Health::Up => {}
                // The link tells at once whether it is there; the rest is asked.
                Health::Dead => server.monitor = Monitor::new(Life::Silent, now),
                Health::Down => {
                    for key in server.members.clone() {
                        self.presume_closed(key, now);
                    }
                }
            }
            if condition.health == Health::Dead
                && let Some(server) = self.servers.get(&condition.id)
            {
                for key in server.members.clone() {
                    if let Some(member) = self.members.get_mut(&key) {
                        member.damper = Damper::new(false, HOLD_MS);
                    }
                }
            }
        }
        for condition in &conditions.members {
            let key = (condition.cluster, condition.service, condition.target);
            let Some(backup) = self.members.get(&key).map(|m| m.backup) else { continue };
            if !condition.open && !backup {
                self.presume_closed(key, now);
            }
            if condition.open
                && backup
                && let Some(cluster) = self.clusters.get_mut(&condition.cluster)
                && let Some(quorum) = cluster.quorums.get_mut(usize::from(condition.service))
            {
                *quorum = Quorum::Open;
            }
        }
        for (id, order) in &conditions.orders {
            let Some(plan) = self.plan.clusters.iter().find(|c| c.id == *id) else { continue };
            let Some(cluster) = self.clusters.get_mut(id) else { continue };
            if plan.mode != ClusterMode::Availability {
                continue;
            }
            let servers = &self.servers;
            let is_up = |id: TargetId| servers.get(&id).is_some_and(|s| s.health == Health::Up);
            let roles = cluster.roles.get_or_insert_default();
            roles.handle_servers(&plan.servers, is_up);
            // The first one is the primary if it was up; else there was none.
            let primary = order.first().copied().filter(|id| is_up(*id));
            roles.adopt(primary, |id| !is_up(id));
        }
        for condition in &conditions.routers {
            if let Some(router) = self.routers.get_mut(&condition.id) {
                router.mac = condition.mac;
                if !condition.up {
                    router.up = false;
                    router.damper = Damper::new(false, 0);
                    for id in router.watches.clone() {
                        if let Some(slot) = self.watches.get_mut(&id) {
                            slot.watch.presume(false, now);
                        }
                    }
                }
            }
        }
        for assignment in &conditions.assignments {
            let known = self.plan.pools.iter().find(|p| p.id == assignment.pool);
            if known.is_some_and(|p| p.routers.contains(&assignment.router)) {
                let pool: &mut Pool = self.pools.entry(assignment.pool).or_default();
                pool.adopt(assignment.target, assignment.router);
            }
        }
    }

    fn presume_closed(&mut self, key: super::MemberKey, now: Instant) {
        let Some(server) = self.servers.get(&key.2) else { return };
        let mut has_checks = false;
        for id in &server.watches {
            if let Some(slot) = self.watches.get_mut(id)
                && slot.subject.is_of(key)
            {
                has_checks = true;
                slot.watch.presume(false, now);
            }
        }
        if let Some(member) = self.members.get_mut(&key) {
            member.damper = Damper::new(false, HOLD_MS);
            if !has_checks {
                let until = now.plus_millis(5000);
                member.out = Some(Out { sign: Sign::Refused, first: now, agreed: true, goods: 0, until });
            }
        }
    }

    /// What the state file says. `knows`: a running data path has said what the operator wants, and the file is
    /// older than that by up to a second; it adds what the data path is not told.
    fn take_saved(&mut self, knows: bool, now: Instant) {
        let saved = self.saved.clone();
        let by_name: BTreeMap<&str, TargetId> =
            self.plan.targets.iter().map(|t| (t.name.as_str(), t.id)).collect();
        for row in &saved.servers {
            let Some(server) = by_name.get(row.server.as_str()).and_then(|id| self.servers.get_mut(id))
            else {
                continue;
            };
            let holds = if knows { server.admin == Some(row.admin) } else { row.admin != server.plan.admin };
            if holds {
                server.admin = Some(row.admin);
                server.gentle = row.gentle;
                server.drain = (row.admin == dataplane_message::Admin::Drain)
                    .then(|| Drain::new(row.deadline_ms, row.gentle, None, now));
            }
        }
        for row in &saved.weights {
            let Some(cluster) = self.plan.clusters.iter().find(|c| c.name == row.cluster) else { continue };
            let Some(place) = cluster.services.iter().position(|s| s.name == row.service) else { continue };
            let Some(target) = by_name.get(row.server.as_str()) else { continue };
            if let Some(member) = self.members.get_mut(&(cluster.id, place as u16, *target))
                && member.weight == row.planned
            {
                member.ordered = Some(OrderedWeight { weight: row.weight, planned: row.planned });
            }
        }
        let mut failed = Vec::new();
        for row in &saved.roles {
            let Some(plan) = self.plan.clusters.iter().find(|c| c.name == row.cluster) else { continue };
            let Some(cluster) = self.clusters.get_mut(&plan.id) else { continue };
            if plan.mode != ClusterMode::Availability || cluster.roles.is_some() {
                continue;
            }
            let name = |id: TargetId| self.servers.get(&id).map_or("", |s| s.plan.name.as_str());
            let primary = row.primary.as_deref().and_then(|name| by_name.get(name)).copied();
            let roles = cluster.roles.insert(Roles::default());
            roles.handle_servers(&plan.servers, |_| true);
            roles.adopt(primary, |id| row.failed.iter().any(|failed| failed == name(id)));
            // They have to rise again before they count.
            for id in plan.servers.iter().filter(|id| row.failed.iter().any(|failed| failed == name(**id))) {
                failed.push((plan.id, *id));
            }
        }
        for (cluster, target) in failed {
            let members = self.servers.get(&target).map_or_else(Vec::new, |s| s.members.clone());
            for key in members.into_iter().filter(|key| key.0 == cluster) {
                self.presume_closed(key, now);
            }
        }
    }

    pub(crate) fn saved(&self) -> Saved {
        if !self.has_plan {
            return self.saved.clone();
        }
        let name = |id: &TargetId| self.servers.get(id).map_or_else(String::new, |s| s.plan.name.clone());
        let mut saved = Saved::default();
        for (id, cluster) in &self.clusters {
            let (Some(roles), Some(plan)) = (&cluster.roles, self.cluster_plan(*id)) else { continue };
            saved.roles.push(SavedRoles {
                cluster: plan.name.clone(),
                primary: roles.primary().as_ref().map(name),
                failed: roles
                    .iter()
                    .filter(|(_, role)| *role == Role::SecondaryFailed)
                    .map(|(id, _)| name(&id))
                    .collect(),
            });
        }
        for (id, server) in &self.servers {
            if let Some(admin) = server.admin {
                let left = server.drain.as_ref().and_then(|d| d.deadline()).map(|at| at.since(self.now));
                saved.servers.push(SavedServer {
                    server: name(id),
                    admin,
                    gentle: server.gentle,
                    deadline_ms: left.map(|ns| rounded_up(ns / 1_000_000)),
                });
            }
        }
        for ((cluster, service, target), member) in &self.members {
            let Some(ordered) = member.ordered else { continue };
            let Some(plan) = self.cluster_plan(*cluster) else { continue };
            let Some(service) = plan.services.get(usize::from(*service)) else { continue };
            saved.weights.push(SavedWeight {
                cluster: plan.name.clone(),
                service: service.name.clone(),
                server: name(target),
                weight: ordered.weight,
                planned: ordered.planned,
            });
        }
        saved
    }
}

/// What is left of a time, to within an eighth and never less than it is, so that the file is not written for every
/// second that passes.
fn rounded_up(ms: u64) -> u64 {
    let step = (ms / 16).max(500).next_power_of_two();
    (ms / step + 1) * step
}
