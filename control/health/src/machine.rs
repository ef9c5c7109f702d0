//! The machine without its probers: what is asked, what answers mean, what is decided.

mod conditions;
mod examine;
mod judge;
mod orders;
mod plan;
mod routers;
mod scale;
mod show;

use crate::damper::Damper;
use crate::doctor::Doctor;
use crate::drain::Drain;
use crate::event::{CareEvent, Reason, Sign};
use crate::monitor::{Monitor, Seen};
use crate::passive::{Passive, Rush};
use crate::pool::Pool;
use crate::probing::{Ask, Seat, WatchId, What, Who};
use crate::quorum::Quorum;
use crate::roles::Roles;
use crate::saved::Saved;
use crate::settings::{ClusterCare, Settings};
use crate::watch::{Timing, Watch};
use crate::weights::Balance;
use control_probe::{Check, Failure, Kind, Local, Outcome, Peer, Router, RouterKind};
use core::net::IpAddr;
use dataplane_flow::{ClusterId, Instant, PoolId, RouterId, TargetId};
use dataplane_message::{
    Admin, ClusterPlan, Conditions, Health, Histogram, MacPlan, MemberReport, PROBE_PORT_FIRST, Plan, Report,
    Signs, TargetPlan, probe_port,
};
use dataplane_port::{PortId, PortSet, VlanId};
use dataplane_wire::MacAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How often everything is looked at that has no moment of its own.
const TICK_MS: u64 = 100;

/// So long after the last word of the data path its silence is not the servers'.
const HEARD_NS: u64 = 1_500_000_000;

/// A server in a service.
pub(crate) type MemberKey = (ClusterId, u16, TargetId);

#[derive(Debug, Default)]
pub(crate) struct Core {
    random: u64,
    now: Instant,
    plan: Plan,
    settings: Settings,
    has_plan: bool,
    boot_id: Option<u64>,
    /// A data path that has just started may not have attached its ports yet.
    links_from: Instant,
    heard: Option<Instant>,
    up: Option<PortSet>,
    /// While a data path that has just started brings its links up.
    rising: Option<Rising>,
    adopted: Option<Conditions>,
    saved: Saved,
    servers: BTreeMap<TargetId, Server>,
    members: BTreeMap<MemberKey, Member>,
    routers: BTreeMap<RouterId, RouterState>,
    clusters: BTreeMap<ClusterId, Cluster>,
    pools: BTreeMap<PoolId, Pool>,
    watches: BTreeMap<WatchId, Slot>,
    watch_count: u32,
    schedule: BTreeSet<(Instant, WatchId)>,
    dirty: BTreeSet<TargetId>,
    /// Servers with a failed check that is not held against them now.
    excused: BTreeSet<TargetId>,
    suspects: BTreeSet<MemberKey>,
    tick: Option<Instant>,
    second: Option<Instant>,
    doctor: Doctor,
    serial: u64,
    told: Option<Conditions>,
    changed: bool,
    conditions: Option<Conditions>,
    events: VecDeque<CareEvent>,
    asks: VecDeque<(Ask, Seat)>,
    frames: VecDeque<(PortId, Vec<u8>)>,
}

/// A data path has just started: a port that has had no carrier yet is coming up, and nobody behind it has
/// failed for that (FS-14: roles survive a restart of the switch).
#[derive(Debug)]
struct Rising {
    until: Instant,
    /// Ports that have had carrier.
    seen: PortSet,
    /// Ports that have it now, as far as was told.
    up: Option<PortSet>,
}

#[derive(Debug)]
struct Server {
    plan: TargetPlan,
    mac: Option<MacAddr>,
    dead_after_ms: u32,
    monitor: Monitor,
    admin: Option<Admin>,
    gentle: bool,
    drain: Option<Drain>,
    /// Its flows are to be closed until then (FS-15, switchover with reset).
    closing: Option<Instant>,
    health: Health,
    reason: Option<Reason>,
    since: Instant,
    flows: Option<u64>,
    out_frames: Option<u64>,
    bypassed: Option<Instant>,
    /// Its clients' handshakes were completed then.
    served: Option<Instant>,
    out_bytes: Option<(u64, Instant)>,
    out_rate: f64,
    members: Vec<MemberKey>,
    watches: Vec<WatchId>,
}

#[derive(Debug)]
struct Member {
    weight: u16,
    backup: bool,
    ordered: Option<OrderedWeight>,
    damper: Damper,
    reason: Option<Reason>,
    passive: Passive,
    out: Option<Out>,
    relapses: u32,
    came_back: Option<Instant>,
    report: MemberReport,
    histogram: Histogram,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct OrderedWeight {
    weight: u16,
    planned: u16,
}

/// Taken out by signs in the traffic.
#[derive(Clone, Copy, Debug)]
struct Out {
    sign: Sign,
    first: Instant,
    /// An active check says the same.
    agreed: bool,
    /// Good answers of its checks in a row since.
    goods: u32,
    /// Without checks: when it may try again.
    until: Instant,
}

#[derive(Debug, Default)]
struct Cluster {
    roles: Option<Roles>,
    rush: Rush,
    quorums: Vec<Quorum>,
    balances: Vec<Balance<TargetId>>,
    suspended: bool,
}

#[derive(Debug)]
struct RouterState {
    up: bool,
    damper: Damper,
    reason: Option<Reason>,
    since: Instant,
    mac: Option<MacAddr>,
    watches: Vec<WatchId>,
}

#[derive(Debug)]
struct Slot {
    subject: Subject,
    what: What,
    watch: Watch<Failure>,
}

/// What a watch is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Subject {
    /// ARP or ND of the switch itself, for life.
    Life(TargetId, ClusterId),
    /// Small and large packets, for the doctor: nothing is held against a server.
    Size(TargetId, ClusterId),
    /// A check of a cluster.
    Cluster(TargetId, ClusterId),
    /// A check of a service.
    Service(TargetId, ClusterId, u16),
    Router(RouterId),
}

impl Subject {
    fn target(self) -> Option<TargetId> {
        match self {
            Self::Life(target, _)
            | Self::Size(target, _)
            | Self::Cluster(target, _)
            | Self::Service(target, _, _) => Some(target),
            Self::Router(_) => None,
        }
    }

    /// Its results count for that member.
    fn is_of(self, (cluster, service, target): MemberKey) -> bool {
        match self {
            Self::Cluster(t, c) => (t, c) == (target, cluster),
            Self::Service(t, c, s) => (t, c, s) == (target, cluster, service),
            Self::Life(..) | Self::Size(..) | Self::Router(_) => false,
        }
    }
}

impl Core {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: seed | 1, serial: 0, ..Self::default() }
    }

    /// Time never goes back, whatever the caller says.
    fn at(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn is_heard(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| now.since(heard) < HEARD_NS)
    }

    pub(crate) fn handle_lost(&mut self, now: Instant) {
        let now = self.at(now);
        self.heard = None;
        self.asks.clear();
        self.frames.clear();
        let ids: Vec<WatchId> = self.watches.keys().copied().collect();
        for id in ids {
            if let Some(slot) = self.watches.get_mut(&id) {
                let before = slot.watch.deadline();
                slot.watch.forget(now);
                self.schedule.remove(&(before, id));
                self.schedule.insert((slot.watch.deadline(), id));
            }
        }
    }

    /// Somebody spoke. After a silence nothing is held against servers that happened, or did not, in it.
    fn hear(&mut self, now: Instant) {
        if !self.is_heard(now) {
            for server in self.servers.values_mut() {
                server.monitor.excuse(now);
            }
        }
        self.heard = Some(now);
    }

    pub(crate) fn handle_signs(&mut self, signs: &Signs, now: Instant) {
        let now = self.at(now);
        self.hear(now);
        self.handle_links(signs.up, now);
        for row in &signs.targets {
            let Some(server) = self.servers.get_mut(&row.id) else { continue };
            if server.out_frames.is_some_and(|before| row.out_frames > before)
                && server.monitor.handle(Seen::Sign, now)
            {
                self.dirty.insert(row.id);
            }
            server.out_frames = Some(row.out_frames);
            server.flows = Some(row.flows_open);
            if let Some(drain) = &mut server.drain {
                drain.handle_flows(row.flows_open, now);
                self.end_drain(row.id, now);
            }
        }
        for row in &signs.members {
            let key = (row.cluster, row.service, row.target);
            let Some(plan) = self.cluster_plan(row.cluster) else { continue };
            let last = plan.services.len().saturating_sub(1);
            // What no service names is refused for good reason (row n).
            let refusals = usize::from(row.service) < last || last == 0;
            let Some(member) = self.members.get_mut(&key) else { continue };
            let delta = member.passive.handle(row, refusals, now);
            if member.passive.deadline().is_some() {
                self.suspects.insert(key);
            }
            if let Some(server) = self.servers.get_mut(&row.target) {
                if delta.completed > 0 {
                    server.served = Some(now);
                }
                if delta.bypassed > 0 {
                    if server.bypassed.is_none() {
                        self.events.push_back(CareEvent::PassiveOff { target: row.target, off: true });
                    }
                    server.bypassed = Some(now);
                }
            }
            if let Some(cluster) = self.clusters.get_mut(&row.cluster) {
                cluster.rush.handle(delta, now);
            }
        }
        self.judge_suspects(now);
        self.settle(now);
    }

    pub(crate) fn handle_report(&mut self, report: &Report, now: Instant) {
        let now = self.at(now);
        self.hear(now);
        if !report.ports.is_empty() {
            let up: PortSet = report.ports.iter().filter(|p| p.up && p.attached).map(|p| p.id).collect();
            self.handle_links(up, now);
        }
        for row in &report.targets {
            let Some(server) = self.servers.get_mut(&row.id) else { continue };
            if server.mac.is_none() && row.mac.is_some() {
                for id in &server.watches {
                    if let Some(slot) = self.watches.get_mut(id) {
                        self.schedule.remove(&(slot.watch.deadline(), *id));
                        slot.watch.hurry(now);
                        self.schedule.insert((slot.watch.deadline(), *id));
                    }
                }
            }
            server.mac = match server.plan.mac {
                MacPlan::Fixed(mac) => Some(mac),
                MacPlan::Learn => row.mac.or(server.mac),
            };
            server.flows = Some(row.counts.flows_open);
            if let Some((bytes, at)) = server.out_bytes {
                let seconds = now.since(at) as f64 / 1e9;
                if seconds > 0.2 {
                    let rate = row.counts.out_bytes.saturating_sub(bytes) as f64 / seconds;
                    server.out_rate += (rate - server.out_rate) * (1.0 - (-seconds / 5.0).exp());
                    server.out_bytes = Some((row.counts.out_bytes, now));
                }
            } else {
                server.out_bytes = Some((row.counts.out_bytes, now));
            }
            if let Some(drain) = &mut server.drain {
                drain.handle_flows(row.counts.flows_open, now);
                self.end_drain(row.id, now);
            }
        }
        for row in &report.members {
            let key = (row.signs.cluster, row.signs.service, row.signs.target);
            if let Some(member) = self.members.get_mut(&key) {
                member.report = row.clone();
            }
        }
        for row in &report.routers {
            if let Some(router) = self.routers.get_mut(&row.id)
                && router.mac.is_none()
            {
                router.mac = row.mac;
            }
        }
        self.doctor.handle_alarms(&report.alarms);
        self.follow_orders(report);
        self.settle(now);
    }

    /// FS-15: the data path has been told the newest conditions and holds to another primary, which has followed
    /// one that died unseen here: while control was away, or in the moment before it was told.
    fn follow_orders(&mut self, report: &Report) {
        if report.serial == 0 || report.serial != self.serial || self.conditions.is_some() {
            return;
        }
        for (id, order) in &report.orders {
            let Some(roles) = self.clusters.get(id).and_then(|c| c.roles.as_ref()) else { continue };
            let told = self.told.as_ref().and_then(|told| told.orders.iter().find(|(of, _)| of == id));
            let primary = roles.primary();
            if primary.is_none() || told.and_then(|(_, order)| order.first().copied()) != primary {
                continue;
            }
            let Some(first) = order.first().copied().filter(|first| Some(*first) != primary) else {
                continue;
            };
            if roles.role(first) == Some(crate::roles::Role::SecondaryOperational) {
                self.change_roles(*id, false, |roles| roles.switch_over(Some(first)));
                self.dirty.extend(primary);
            }
        }
    }

    /// A server has answered something.
    pub(crate) fn handle_answer(&mut self, who: Who, now: Instant) {
        let now = self.at(now);
        self.hear(now);
        if let Who::Server(target, _) = who
            && let Some(server) = self.servers.get_mut(&target)
            && server.monitor.handle(Seen::Sign, now)
        {
            self.dirty.insert(target);
            self.settle(now);
        }
    }

    pub(crate) fn handle_outcome(
        &mut self,
        id: WatchId,
        outcome: Outcome,
        mac: Option<MacAddr>,
        now: Instant,
    ) {
        let now = self.at(now);
        let random = self.draw();
        let heard = self.is_heard(now);
        let Some(slot) = self.watches.get_mut(&id) else { return };
        self.schedule.remove(&(slot.watch.deadline(), id));
        let subject = slot.subject;
        if !heard && outcome.result.is_err() {
            slot.watch.forget(now);
            self.schedule.insert((slot.watch.deadline().max(now.plus_millis(TICK_MS)), id));
            return;
        }
        let was_failing = slot.watch.is_failing();
        let turn = slot.watch.handle_outcome(outcome.result.map(|()| outcome.took_us), now, random);
        let row_began = slot.watch.row_began();
        let routed = is_routed(&slot.what);
        let has_flipped = slot.watch.is_failing() != was_failing;
        self.schedule.insert((slot.watch.deadline(), id));
        match subject {
            Subject::Router(router) => {
                if let (Some(mac), Some(state)) = (mac, self.routers.get_mut(&router))
                    && state.mac != Some(mac)
                {
                    state.mac = Some(mac);
                    self.changed = true;
                }
                if turn.is_some() || has_flipped {
                    self.judge_router(router, now);
                }
                // Whoever was excused for its routers' sake is looked at again.
                self.dirty.append(&mut self.excused.clone());
            }
            Subject::Size(..) => {}
            Subject::Life(target, _) | Subject::Cluster(target, _) | Subject::Service(target, _, _) => {
                let answered = outcome.result.is_ok()
                    || matches!(outcome.result, Err(Failure::Refused | Failure::Closed | Failure::Stalled));
                if let Some(server) = self.servers.get_mut(&target)
                    && answered
                    && server.monitor.handle(Seen::Sign, now)
                {
                    self.dirty.insert(target);
                }
                self.count_for_out(subject, outcome.result.is_ok());
                if turn.is_some() || has_flipped {
                    self.dirty.insert(target);
                }
                if has_flipped && routed && outcome.result == Err(Failure::Timeout) {
                    let cluster = match subject {
                        Subject::Cluster(_, id) | Subject::Service(_, id, _) | Subject::Life(_, id) => id,
                        Subject::Size(..) | Subject::Router(_) => return,
                    };
                    self.ask_routers(cluster, row_began, now);
                }
            }
        }
        self.settle(now);
    }

    pub(crate) fn handle_deadline(&mut self, now: Instant) {
        let now = self.at(now);
        while let Some((at, id)) = self.schedule.first().copied()
            && at <= now
        {
            self.schedule.remove(&(at, id));
            self.ask(id, now);
        }
        if self
            .suspects
            .iter()
            .any(|key| self.members.get(key).and_then(|m| m.passive.deadline()).is_some_and(|at| at <= now))
        {
            self.judge_suspects(now);
        }
        if self.has_plan && self.tick.is_none_or(|tick| tick <= now) {
            self.tick = Some(now.plus_millis(TICK_MS));
            self.look_at_all(now);
            if self.second.is_none_or(|second| second <= now) {
                self.second = Some(now.plus_millis(1000));
                self.look_each_second(now);
            }
        }
        self.settle(now);
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let suspects = self
            .suspects
            .iter()
            .filter_map(|key| self.members.get(key)?.passive.deadline())
            .filter(|at| *at > self.now)
            .min();
        let tick = self.has_plan.then(|| self.tick.unwrap_or(self.now));
        [self.schedule.first().map(|(at, _)| *at), suspects, tick].into_iter().flatten().min()
    }

    /// Sends a probe, where there is somebody to send it to.
    fn ask(&mut self, id: WatchId, now: Instant) {
        let random = self.draw();
        let heard = self.is_heard(now);
        let Some(slot) = self.watches.get_mut(&id) else { return };
        let subject = slot.subject;
        let what = slot.what.clone();
        let timeout = slot.watch.handle_deadline(now);
        let seat = self.seat(subject, &what).filter(|_| heard);
        let Some(slot) = self.watches.get_mut(&id) else { return };
        match (timeout, seat) {
            (Some(timeout_ms), Some((who, seat))) => {
                self.schedule.insert((slot.watch.deadline(), id));
                self.asks.push_back((Ask { watch: id, who, what, timeout_ms, random }, seat));
            }
            _ => {
                // Nobody to ask yet, or nobody to carry it: that is no result, and no silence either.
                if let Some(server) = subject.target().and_then(|id| self.servers.get_mut(&id)) {
                    server.monitor.excuse(now);
                }
                slot.watch.postpone(now);
                self.schedule.insert((slot.watch.deadline(), id));
            }
        }
    }

    fn seat(&self, subject: Subject, what: &What) -> Option<(Who, Seat)> {
        match subject {
            Subject::Life(target, cluster)
            | Subject::Size(target, cluster)
            | Subject::Cluster(target, cluster)
            | Subject::Service(target, cluster, _) => {
                let server = self.servers.get(&target)?;
                let plan = self.cluster_plan(cluster)?;
                let port = server.plan.port;
                if self.is_rising(port) {
                    return None;
                }
                let peer =
                    Peer { mac: server.mac?, address: plan.vip, tci: self.tci(port, plan.vlan)?, port };
                let mac = self.probe_mac(plan, target)?;
                let local = Local { mac, address: plan.probe, id: probe_port(target) };
                Some((Who::Server(target, cluster), Seat::Server(peer, local)))
            }
            Subject::Router(id) => {
                let plan = self.plan.routers.iter().find(|r| r.id == id)?;
                if self.is_rising(plan.port) {
                    return None;
                }
                let cluster = self.near(plan.vlan, plan.address)?;
                let state = self.routers.get(&id)?;
                let mac = plan.mac.or(state.mac);
                // Through it only once it is known where it is.
                if mac.is_none() && !matches!(what, What::Router(RouterKind::Neighbour)) {
                    return None;
                }
                // One that is gone may be back with another card: all are asked, until one answers.
                let is_lost = plan.mac.is_none() && !state.up;
                let mac = mac.filter(|_| !(is_lost && matches!(what, What::Router(RouterKind::Neighbour))));
                let tci = self.tci(plan.port, plan.vlan)?;
                let router = Router { mac, address: plan.address, tci, port: plan.port };
                let number = PROBE_PORT_FIRST + (id.0 & 0x0fff);
                let local = Local { mac: cluster.vmac, address: cluster.vip, id: number };
                Some((Who::Router(id), Seat::Router(router, local)))
            }
        }
    }

    /// Nothing reaches that port yet, and nothing is made of it.
    fn is_rising(&self, port: PortId) -> bool {
        let awaited = |rising: &Rising| rising.up.is_some() && !rising.seen.contains(port);
        self.rising.as_ref().is_some_and(awaited)
    }

    /// The tag of a VLAN's frames on a port; `None`: the port is not in it.
    fn tci(&self, port: PortId, vlan: VlanId) -> Option<Option<u16>> {
        let port = self.plan.ports.iter().find(|p| p.id == port)?;
        if port.untagged == Some(vlan) {
            return Some(None);
        }
        port.tagged.contains(&vlan).then_some(Some(vlan.0))
    }

    /// A cluster in whose name somebody in that VLAN can be asked.
    fn near(&self, vlan: VlanId, address: IpAddr) -> Option<&ClusterPlan> {
        self.plan.clusters.iter().find(|c| c.vlan == vlan && c.vip.is_ipv6() == address.is_ipv6())
    }

    fn cluster_plan(&self, id: ClusterId) -> Option<&ClusterPlan> {
        self.plan.clusters.binary_search_by_key(&id, |c| c.id).ok().map(|at| &self.plan.clusters[at])
    }

    fn care(&self, id: ClusterId) -> Option<&ClusterCare> {
        self.settings.clusters.iter().find(|c| c.id == id)
    }

    /// Every 100 ms: silence, holds, probations, ramps, drains, quorums.
    fn look_at_all(&mut self, now: Instant) {
        if self.rising.as_ref().is_some_and(|rising| rising.until <= now)
            && let Some(up) = self.rising.take().and_then(|rising| rising.up)
        {
            self.handle_links(up, now);
        }
        if self.is_heard(now) {
            for (id, server) in &mut self.servers {
                let dead_after_ms = server.dead_after_ms;
                if server.monitor.handle(Seen::Time { dead_after_ms }, now) {
                    self.dirty.insert(*id);
                }
            }
        }
        let waiting = self
            .members
            .iter()
            .filter(|(_, m)| m.damper.deadline().is_some() || !m.damper.is_open() || m.out.is_some());
        self.dirty.extend(waiting.map(|((_, _, target), _)| *target));
        self.dirty.extend(&self.excused);
        let ids: Vec<TargetId> = self
            .servers
            .iter()
            .filter(|(_, s)| s.drain.is_some() || s.closing.is_some())
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.end_drain(id, now);
            if let Some(server) = self.servers.get_mut(&id)
                && server.closing.is_some_and(|until| until <= now)
            {
                server.closing = None;
                self.changed = true;
            }
        }
        let routers: Vec<RouterId> = self.routers.keys().copied().collect();
        for id in routers {
            self.judge_router(id, now);
        }
        self.judge_quorums(now);
        if self.members.values().any(|m| m.came_back.is_some()) {
            self.changed = true;
            self.end_ramps(now);
        }
    }

    fn look_each_second(&mut self, now: Instant) {
        for (id, server) in &mut self.servers {
            if server.bypassed.is_some_and(|at| now.since(at) > 600_000_000_000) {
                server.bypassed = None;
                self.events.push_back(CareEvent::PassiveOff { target: *id, off: false });
            }
        }
        self.balance(now);
        self.assign(now);
        self.judge_suspension();
    }

    pub(crate) fn poll_ask(&mut self) -> Option<(Ask, Seat)> {
        self.asks.pop_front()
    }

    pub(crate) fn poll_frame(&mut self) -> Option<(PortId, Vec<u8>)> {
        self.frames.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<CareEvent> {
        self.events.pop_front()
    }

    pub(crate) fn poll_conditions(&mut self) -> Option<Conditions> {
        self.conditions.take()
    }

    /// Whether somebody is asked still.
    pub(crate) fn is_asked(&self, who: Who) -> bool {
        match who {
            Who::Server(target, cluster) => {
                self.cluster_plan(cluster).is_some_and(|c| c.servers.contains(&target))
            }
            Who::Router(router) => self.routers.contains_key(&router),
        }
    }
}

fn timing(check: &Check) -> Timing {
    Timing {
        interval_ms: check.interval_ms.max(10),
        timeout_ms: check.timeout_ms.max(10),
        rise: check.rise.max(1),
        fall: check.fall.max(1),
    }
}

/// A probe whose answer is routed: it may fail because the way is broken and not the server.
fn is_routed(what: &What) -> bool {
    !matches!(what, What::Server(Kind::Neighbour) | What::Router(RouterKind::Neighbour))
}

#[cfg(test)]
pub(crate) mod tests;
