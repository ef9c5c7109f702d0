//! What the watches, the links and the traffic add up to.

use super::plan::{HOLD_LINK_MS, HOLD_MS};
use super::{Core, MemberKey, Out, Slot, Subject, is_routed};
use crate::event::{CareEvent, Reason};
use crate::monitor::Life;
use crate::passive::alone_max;
use crate::probing::What;
use control_probe::{Failure, Kind};
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{Admin, Health};
use std::collections::BTreeSet;

/// What is against a server in a service, and since when.
type Evidence = (Reason, Instant);

impl Core {
    /// Everything that is dirty is judged again; what differs is decided.
    pub(super) fn settle(&mut self, now: Instant) {
        if !self.has_plan {
            return;
        }
        // Judging one may free, or bind, another one: nobody else is there. Twice around is enough.
        for _ in 0..3 {
            let dirty = core::mem::take(&mut self.dirty);
            if dirty.is_empty() {
                break;
            }
            for target in dirty {
                self.judge(target, now);
            }
            self.judge_quorums(now);
        }
        self.dirty.clear();
        self.decide(now);
    }

    fn judge(&mut self, target: TargetId, now: Instant) {
        let Some(server) = self.servers.get(&target) else { return };
        let members = server.members.clone();
        let dead = server.monitor.reason();
        let is_unplugged = server.monitor.life() == Life::Unplugged;
        let mut first_reason: Option<Evidence> = None;
        self.excused.remove(&target);
        if members.iter().flat_map(|key| self.watches_of(*key)).any(|slot| !slot.watch.is_good()) {
            self.excused.insert(target);
        }
        for key in &members {
            self.end_out(*key, now);
            let evidence = dead.clone().or_else(|| self.evidence(*key, now));
            let urgent = evidence.is_none() && !self.has_other(*key);
            let base = self.hold_ms(*key, is_unplugged);
            let slow = self.care(key.0).map_or(0, |c| c.slow_start_ms);
            let Some(member) = self.members.get_mut(key) else { continue };
            if member.damper.is_open() && evidence.is_some() {
                member.damper.set_base(base);
            }
            let turn = member.damper.handle(evidence.is_none(), urgent, now);
            let reason = match &evidence {
                Some((reason, _)) => Some(reason.clone()),
                None if member.damper.is_held() => Some(Reason::HeldDown { ms: member.damper.left_ms(now) }),
                None => None,
            };
            if first_reason.is_none() {
                first_reason = reason.clone().map(|r| (r, evidence.as_ref().map_or(now, |(_, at)| *at)));
            }
            member.reason = reason;
            if let Some(open) = turn {
                if open {
                    member.passive.clear();
                    member.came_back = (slow > 0).then_some(now);
                } else {
                    member.came_back = None;
                }
                self.changed = true;
                if dead.is_none() && members.len() > 1 {
                    let took_us = evidence.as_ref().map_or(0, |(_, at)| now.since(*at) / 1000);
                    let reason = evidence.map(|(reason, _)| reason);
                    let (cluster, service, target) = *key;
                    self.events.push_back(CareEvent::Member {
                        cluster,
                        service,
                        target,
                        open,
                        reason,
                        took_us,
                    });
                }
            }
        }
        self.judge_health(target, &members, first_reason, now);
    }

    fn judge_health(
        &mut self,
        target: TargetId,
        members: &[MemberKey],
        first_reason: Option<Evidence>,
        now: Instant,
    ) {
        let is_open = |key: &MemberKey| self.members.get(key).is_some_and(|m| m.damper.is_open());
        let all_closed = !members.is_empty() && !members.iter().any(is_open);
        let failed_in: BTreeSet<ClusterId> =
            members.iter().filter(|key| !is_open(key)).map(|key| key.0).collect();
        let Some(server) = self.servers.get_mut(&target) else { return };
        let dead = server.monitor.reason();
        let health = match (&dead, all_closed) {
            (Some(_), _) => Health::Dead,
            (None, true) => Health::Down,
            (None, false) => Health::Up,
        };
        let why = dead.or(first_reason);
        server.reason =
            if health == Health::Up { None } else { why.as_ref().map(|(reason, _)| reason.clone()) };
        let before = server.health;
        if before != health {
            server.health = health;
            server.since = now;
            self.changed = true;
            self.events.push_back(CareEvent::Health {
                target,
                before,
                now: health,
                reason: server.reason.clone(),
                took_us: why.map_or(0, |(_, at)| now.since(at) / 1000),
            });
        }
        let out = server.admin.unwrap_or(server.plan.admin) != Admin::Enabled;
        let ids: Vec<ClusterId> =
            self.clusters.iter().filter(|(_, c)| c.roles.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            let operational = health != Health::Dead && !failed_in.contains(&id) && !out;
            self.change_roles(id, false, |roles| roles.handle_health(target, operational));
        }
    }

    /// Changes the roles of a cluster, and tells what has changed.
    pub(super) fn change_roles<T>(
        &mut self,
        id: ClusterId,
        ordered: bool,
        change: impl FnOnce(&mut crate::roles::Roles) -> T,
    ) -> Option<T> {
        let roles = self.clusters.get_mut(&id)?.roles.as_mut()?;
        let before = roles.clone();
        let result = change(roles);
        if before != *roles {
            for (target, role) in roles.iter() {
                if before.role(target) != Some(role) {
                    self.events.push_back(CareEvent::Role { cluster: id, target, role, ordered });
                }
            }
            self.changed = true;
        }
        Some(result)
    }

    /// Another server of the service takes flows.
    fn has_other(&self, (cluster, service, target): MemberKey) -> bool {
        let Some(plan) = self.cluster_plan(cluster).and_then(|c| c.services.get(usize::from(service))) else {
            return false;
        };
        plan.members.iter().any(|m| {
            m.target != target
                && self.members.get(&(cluster, service, m.target)).is_some_and(|m| m.damper.is_open())
        })
    }

    /// How long it has to stay good. After a link's fall, which is seen exactly, checks need not tell how often
    /// something comes and goes between two of them: in service within 2 s of a link that comes back.
    fn hold_ms(&self, key: MemberKey, is_unplugged: bool) -> u64 {
        if is_unplugged {
            return HOLD_LINK_MS;
        }
        let rise = self
            .watches_of(key)
            .map(|slot| slot.watch.timing())
            .map(|t| u64::from(t.rise) * u64::from(t.interval_ms))
            .max()
            .unwrap_or(0);
        rise.clamp(HOLD_MS, crate::damper::HOLD_MAX_MS)
    }

    /// All that watches a server.
    pub(super) fn watches_at(&self, target: TargetId) -> impl Iterator<Item = &Slot> {
        let server = self.servers.get(&target).into_iter();
        server.flat_map(|server| &server.watches).filter_map(|id| self.watches.get(id))
    }

    pub(super) fn watches_of(&self, key: MemberKey) -> impl Iterator<Item = &Slot> {
        self.watches_at(key.2).filter(move |slot| slot.subject.is_of(key))
    }

    /// It answers ARP or ND.
    pub(super) fn is_neighbour(&self, target: TargetId) -> bool {
        self.watches_at(target)
            .filter(|slot| matches!(slot.what, What::Server(Kind::Neighbour)))
            .any(|slot| slot.watch.is_good() && !slot.watch.is_failing() && slot.watch.was_ever_good())
    }

    /// What checks and traffic say against a living server in a service.
    fn evidence(&self, key: MemberKey, now: Instant) -> Option<Evidence> {
        let (cluster, _, target) = key;
        let member = self.members.get(&key)?;
        // What is held down has to stay good: there one failure counts.
        let is_held = !member.damper.is_open();
        let failing: Vec<&Slot> = self
            .watches_of(key)
            .filter(|slot| !slot.watch.is_good() || is_held && slot.watch.is_failing())
            .collect();
        if !failing.is_empty() {
            let is_neighbour = self.is_neighbour(target);
            let is_served = self.servers.get(&target).is_some_and(|s| {
                let recent = |at: Option<Instant>| at.is_some_and(|at| now.since(at) < 60_000_000_000);
                recent(s.served) || recent(s.bypassed)
            });
            let is_way = |slot: &Slot| {
                is_routed(&slot.what)
                    && is_neighbour
                    && matches!(slot.watch.failure(), Some(Failure::Timeout) | None)
            };
            // Nothing routed has ever come back from it: its way back leads elsewhere.
            let never = self
                .watches_of(key)
                .filter(|slot| is_routed(&slot.what))
                .all(|slot| !slot.watch.was_ever_good());
            let counts = |slot: &&&Slot| {
                // A failure may be the routers' until one of them has answered since it began.
                let since = slot.watch.failure().map(|_| slot.watch.row_began());
                let gone = || self.routers_are_gone(cluster, since);
                !(is_way(slot) && (never && is_served && slot.watch.is_failing() || gone()))
            };
            if let Some(slot) = failing.iter().find(counts) {
                let at = slot.watch.row_began();
                if never && is_way(slot) && slot.watch.is_failing() {
                    return Some((Reason::NoReturn, at));
                }
                let failure = slot
                    .watch
                    .failure()
                    .map_or_else(|| "it has not risen yet".to_owned(), |failure| failure.to_string());
                return Some((Reason::Check { check: name(&slot.what), failure }, at));
            }
        }
        member.out.map(|out| (Reason::Traffic(out.sign), out.first))
    }

    /// The routers of the cluster's network are all down or about to be: what is routed is not asked of servers.
    /// `since`: not one of them has answered what it was asked from then on.
    pub(super) fn routers_are_gone(&self, cluster: ClusterId, since: Option<Instant>) -> bool {
        let Some(plan) = self.cluster_plan(cluster) else { return false };
        let mut any = false;
        for router in &self.plan.routers {
            if router.vlan != plan.vlan || router.address.is_ipv6() != plan.vip.is_ipv6() {
                continue;
            }
            any = true;
            let Some(state) = self.routers.get(&router.id) else { continue };
            let suspect = state.watches.iter().filter_map(|id| self.watches.get(id)).any(|slot| {
                slot.watch.is_failing()
                    || !slot.watch.is_good()
                    || since.is_some_and(|since| !slot.watch.was_good_since(since))
            });
            if state.up && !suspect {
                return false;
            }
        }
        any
    }

    /// The routers of a cluster are asked at once: what fails may be theirs.
    pub(super) fn ask_routers(&mut self, cluster: ClusterId, since: Instant, now: Instant) {
        let Some(plan) = self.cluster_plan(cluster) else { return };
        let ids: Vec<_> = self
            .plan
            .routers
            .iter()
            .filter(|r| r.vlan == plan.vlan && r.address.is_ipv6() == plan.vip.is_ipv6())
            .filter_map(|r| self.routers.get(&r.id))
            .flat_map(|r| r.watches.iter().copied())
            .filter(|id| self.watches.get(id).is_some_and(|slot| !slot.watch.was_good_since(since)))
            .collect();
        for id in ids {
            self.hurry(id, now);
        }
    }

    /// Suspension begins and ends; what was counted meanwhile is not held against anybody.
    pub(super) fn judge_suspension(&mut self) {
        let ids: Vec<ClusterId> = self.clusters.keys().copied().collect();
        for id in ids {
            let Some(plan) = self.cluster_plan(id) else { continue };
            let servers = plan.servers.clone();
            let gone = self.routers_are_gone(id, None);
            let failing = |target: &TargetId| {
                self.watches_on(*target, id)
                    .any(|slot| is_routed(&slot.what) && slot.watch.is_failing() && !slot.watch.is_good())
            };
            let all = gone && !servers.is_empty() && servers.iter().all(failing);
            let Some(cluster) = self.clusters.get_mut(&id) else { continue };
            let was = cluster.suspended;
            // It ends with the routers' return, not with a single answer.
            cluster.suspended = all || was && gone;
            if cluster.suspended != was {
                self.events.push_back(CareEvent::Suspended { cluster: id, suspended: !was });
            }
        }
    }

    /// The routers of a cluster are back: failures of routed checks in the meantime are forgotten.
    pub(super) fn forgive_routed(&mut self, cluster: ClusterId, now: Instant) {
        let neighbours: Vec<TargetId> = self
            .cluster_plan(cluster)
            .into_iter()
            .flat_map(|c| &c.servers)
            .copied()
            .filter(|id| self.is_neighbour(*id))
            .collect();
        for target in neighbours {
            let is_open = self.servers.get(&target).is_some_and(|s| s.health == Health::Up);
            let ids = self.servers.get(&target).map_or_else(Vec::new, |s| s.watches.clone());
            for id in ids.into_iter().filter(|_| is_open) {
                if let Some(slot) = self.watches.get_mut(&id)
                    && is_routed(&slot.what)
                    && matches!(slot.watch.failure(), Some(Failure::Timeout) | None)
                {
                    slot.watch.presume(true, now);
                }
            }
            self.dirty.insert(target);
        }
    }

    pub(super) fn watches_on(&self, target: TargetId, cluster: ClusterId) -> impl Iterator<Item = &Slot> {
        self.watches_at(target).filter(move |slot| match slot.subject {
            Subject::Cluster(_, of) | Subject::Service(_, of, _) => of == cluster,
            Subject::Life(..) | Subject::Size(..) | Subject::Router(_) => false,
        })
    }

    /// Members whose traffic looks bad are taken out, where that may be (FS-31).
    pub(super) fn judge_suspects(&mut self, now: Instant) {
        for key in core::mem::take(&mut self.suspects) {
            let (cluster, service, target) = key;
            let Some(member) = self.members.get(&key) else { continue };
            if member.passive.deadline().is_none() || member.out.is_some() {
                continue;
            }
            self.suspects.insert(key);
            let is_on = self
                .care(cluster)
                .and_then(|c| c.services.get(usize::from(service)))
                .is_some_and(|s| s.passive);
            let is_bypassed = self.servers.get(&target).is_none_or(|s| s.bypassed.is_some());
            let is_rush = self.clusters.get(&cluster).is_none_or(|c| c.rush.is_on(now));
            if !is_on || is_bypassed || is_rush || !member.damper.is_open() {
                continue;
            }
            let Some(plan) = self.cluster_plan(cluster) else { continue };
            let peers = plan
                .services
                .get(usize::from(service))
                .into_iter()
                .flat_map(|s| &s.members)
                .filter(|m| m.target != target)
                .filter_map(|m| self.members.get(&(cluster, service, m.target)))
                .filter(|m| m.damper.is_open())
                .map(|m| &m.passive);
            let Some((sign, first)) = member.passive.verdict(peers, now) else { continue };
            let alone: BTreeSet<TargetId> = self
                .members
                .range((cluster, 0, TargetId(0))..=(cluster, u16::MAX, TargetId(u16::MAX)))
                .filter(|(_, m)| m.out.is_some_and(|out| !out.agreed))
                .map(|((_, _, id), _)| *id)
                .collect();
            let agreed = self.watches_of(key).any(|slot| slot.watch.is_failing());
            let may = alone.contains(&target) || alone.len() < alone_max(plan.servers.len());
            if agreed || may {
                let relapses = member.relapses;
                let until = now.plus_millis((5000 << relapses.min(4)).min(60_000));
                if let Some(member) = self.members.get_mut(&key) {
                    member.out = Some(Out { sign, first, agreed, goods: 0, until });
                    member.relapses = relapses.saturating_add(1);
                    member.passive.clear();
                }
                self.suspects.remove(&key);
                self.dirty.insert(target);
            }
            // An active check is asked at once, to agree or not.
            let ids: Vec<_> = self.servers.get(&target).map_or_else(Vec::new, |s| s.watches.clone());
            for id in ids {
                self.hurry(id, now);
            }
        }
    }

    /// Good answers bring a server back that the traffic took out.
    pub(super) fn count_for_out(&mut self, subject: Subject, good: bool) {
        let Some(server) = subject.target().and_then(|t| self.servers.get(&t)) else { return };
        for key in &server.members {
            if subject.is_of(*key)
                && let Some(out) = self.members.get_mut(key).and_then(|m| m.out.as_mut())
            {
                out.agreed |= !good;
                out.goods = if good { out.goods + 1 } else { 0 };
                self.dirty.insert(key.2);
            }
        }
    }

    fn end_out(&mut self, key: MemberKey, now: Instant) {
        let Some(out) = self.members.get(&key).and_then(|m| m.out) else { return };
        let (checks, rise) = self
            .watches_of(key)
            .filter(|slot| is_routed(&slot.what))
            .fold((0, 0), |(count, rise), slot| (count + 1, rise.max(u32::from(slot.watch.timing().rise))));
        let is_over = if checks > 0 { out.goods >= rise * checks } else { now >= out.until };
        if is_over && let Some(member) = self.members.get_mut(&key) {
            member.out = None;
            if now.since(out.first) > 600_000_000_000 {
                member.relapses = 0;
            }
        }
    }

    /// A service's backups are to take flows (FS-34).
    pub(super) fn wants_backups(&self, cluster: ClusterId, service: u16) -> bool {
        let quorum = self.clusters.get(&cluster).and_then(|c| c.quorums.get(usize::from(service)));
        quorum.is_some_and(|quorum| quorum.is_open())
    }

    /// Backups (FS-34).
    pub(super) fn judge_quorums(&mut self, now: Instant) {
        for plan in &self.plan.clusters {
            let Some(cluster) = self.clusters.get_mut(&plan.id) else { continue };
            let care = self.settings.clusters.iter().find(|c| c.id == plan.id);
            for (place, service) in plan.services.iter().enumerate() {
                if !service.members.iter().any(|m| m.backup) {
                    continue;
                }
                let up = service
                    .members
                    .iter()
                    .filter(|m| !m.backup && m.weight > 0)
                    .filter(|m| {
                        let key = (plan.id, place as u16, m.target);
                        let open = self.members.get(&key).is_some_and(|m| m.damper.is_open());
                        let enabled = self
                            .servers
                            .get(&m.target)
                            .is_some_and(|s| s.admin.unwrap_or(s.plan.admin) == Admin::Enabled);
                        open && enabled
                    })
                    .count();
                let quorum = care.and_then(|c| c.services.get(place)).map_or(0, |s| s.quorum);
                let Some(state) = cluster.quorums.get_mut(place) else { continue };
                if let Some(open) = state.handle(up, quorum, now) {
                    self.changed = true;
                    let (cluster, service) = (plan.id, place as u16);
                    self.events.push_back(CareEvent::Backups { cluster, service, open });
                }
            }
        }
    }

    pub(super) fn end_drain(&mut self, target: TargetId, now: Instant) {
        let Some(server) = self.servers.get_mut(&target) else { return };
        let Some(drain) = &mut server.drain else { return };
        let was_closing = drain.is_closing();
        if let Some(closed) = drain.handle_time(now) {
            self.events.push_back(CareEvent::Drained { target, closed });
            self.changed = true;
        }
        self.changed |= drain.is_closing() != was_closing;
    }
}

/// A check in words.
pub(super) fn name(what: &What) -> String {
    match what {
        What::Server(Kind::Neighbour) => "arp/nd".to_owned(),
        What::Server(Kind::Echo) => "icmp echo".to_owned(),
        What::Server(Kind::LargeEcho { mtu }) => format!("icmp echo of {mtu} bytes"),
        What::Server(Kind::Tcp { port }) => format!("tcp {port}"),
        What::Server(Kind::Http(http)) => {
            format!("{} {}{}", if http.tls { "https" } else { "http" }, http.port, http.path)
        }
        What::Server(Kind::Udp { port, .. }) => format!("udp {port}"),
        What::Server(Kind::Dns(dns)) => format!("dns {} {}", dns.port, dns.name),
        What::Router(control_probe::RouterKind::Neighbour) => "arp/nd".to_owned(),
        What::Router(control_probe::RouterKind::Echo) => "icmp echo".to_owned(),
        What::Router(control_probe::RouterKind::Through(to)) => format!("through it to {to}"),
    }
}
