//! What is known of the switch: the last reports, read with the plan's names.
//!
//! Every output reads this model; none has figures of its own.

mod health;
mod order;

pub(crate) use health::{Known, findings};
pub(crate) use order::resolved;

use crate::wall::rfc3339;
use control_config::protocol_name;
use control_show::{
    AffinityRow, AlarmRow, BridgeRow, ClusterRow, DropRow, FlowRow, Membership, PortRow, Rate, ServerRow,
    ServerState, ServiceRow, ServiceWeight, Traffic, View, What, WorkerRow,
};

use core::ops::RangeInclusive;
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{
    AlarmKind, Chooser, ClusterMode, ClusterPlan, Fail, MacPlan, MemberReport, Plan, PortRole, Report,
    ServicePlan, TargetPlan, TargetReport,
};
use dataplane_port::PortId;
use dataplane_wire::MacAddr;
use std::collections::VecDeque;

/// The last reports of one start of the data path.
#[derive(Debug, Default)]
pub(crate) struct Model {
    boot_id: u64,
    latest: Option<Latest>,
    /// A report at least [`RATE_MS`] before the latest, to count rates from.
    base: Option<Box<Report>>,
    /// Counts of servers in services every ten seconds of the last minute, to tell times of late.
    past: VecDeque<(u64, Vec<MemberReport>)>,
}

#[derive(Debug)]
struct Latest {
    report: Box<Report>,
    at: Instant,
    /// When the data path started, in milliseconds since 1970.
    started_ms: u64,
}

/// The shortest time that a rate is counted over: reports also come at once when a link changes.
const RATE_MS: u64 = 500;

/// Times of late are those of so many milliseconds.
const LATE_MS: u64 = 60_000;

/// Milliseconds between counts that are kept for that.
const PAST_MS: u64 = 10_000;

impl Model {
    /// Takes a report; `unix_ms` is the wall clock.
    pub(crate) fn handle_report(&mut self, boot_id: u64, report: Box<Report>, now: Instant, unix_ms: u64) {
        let latest = self
            .latest
            .take()
            .filter(|latest| boot_id == self.boot_id && latest.report.uptime_ms <= report.uptime_ms);
        match latest {
            None => {
                self.base = None;
                self.past.clear();
            }
            Some(latest) if report.uptime_ms - latest.report.uptime_ms >= RATE_MS => {
                self.base = Some(latest.report);
            }
            Some(_) => {}
        }
        let age = |at: u64| report.uptime_ms.saturating_sub(at);
        if self.past.back().is_none_or(|(at, _)| age(*at) >= PAST_MS) {
            self.past.push_back((report.uptime_ms, report.members.clone()));
        }
        while self.past.get(1).is_some_and(|(at, _)| age(*at) >= LATE_MS) {
            self.past.pop_front();
        }
        self.boot_id = boot_id;
        let started_ms = unix_ms.saturating_sub(report.uptime_ms);
        self.latest = Some(Latest { report, at: now, started_ms });
    }

    /// Milliseconds since the latest report.
    pub(crate) fn report_age_ms(&self, now: Instant) -> Option<u64> {
        self.latest.as_ref().map(|latest| now.since(latest.at) / 1_000_000)
    }

    /// Milliseconds since the data path's start, by its latest report.
    pub(crate) fn uptime_ms(&self) -> Option<u64> {
        self.latest.as_ref().map(|latest| latest.report.uptime_ms)
    }

    /// The MAC that claims to be a server's and is not the one in use.
    pub(crate) fn contender(&self, target: TargetId) -> Option<MacAddr> {
        self.latest.as_ref()?.report.targets.iter().find(|report| report.id == target)?.contender
    }

    /// The rows of a view. Flows and versions are not known here and give an empty one.
    pub(crate) fn view(&self, what: &What, plan: &Plan, known: &Known) -> View {
        let nothing = Report::default();
        let report = self.latest.as_ref().map_or(&nothing, |latest| &*latest.report);
        // The first report of all is at the data path's start, or as near as can be.
        let whole = self.past.front().is_none_or(|(at, _)| *at == report.uptime_ms);
        let past = self.past.front().filter(|_| !whole).map_or(&[][..], |(_, members)| members);
        let view = Reader { plan, report, base: self.base.as_deref(), past, known };
        match what {
            What::Clusters => View::Clusters(by_name(&plan.clusters, |c| &c.name, |c| view.cluster(c))),
            What::Servers => View::Servers(by_name(&plan.targets, |t| &t.name, |t| view.server(t))),
            What::Ports => View::Ports((0..plan.ports.len()).map(|place| view.port(place)).collect()),
            What::Workers => View::Workers(view.workers()),
            What::Drops => View::Drops(view.drops()),
            What::Routers => View::Routers(plan.routers.iter().map(|router| view.router(router)).collect()),
            What::Health(query) => View::Health(view.health(query.server.as_deref())),
            What::Pools => View::Pools(plan.pools.iter().map(|pool| view.pool(pool)).collect()),
            What::Load => View::Load(view.load()),
            What::Bridge => View::Bridge(view.bridge()),
            What::Alarms => {
                View::Alarms(view.alarms(self.latest.as_ref().map_or(0, |latest| latest.started_ms)))
            }
            What::Flows(_) | What::Version => View::Flows(Vec::new()),
        }
    }
}

/// A flow as the data path tells it, with names.
pub(crate) fn flow_row(plan: &Plan, row: dataplane_message::FlowRow) -> FlowRow {
    let cluster = plan.clusters.iter().find(|cluster| cluster.id == row.cluster);
    FlowRow {
        cluster: cluster.map_or_else(|| format!("#{}", row.cluster.0), |cluster| cluster.name.clone()),
        protocol: protocol(Some(row.protocol)),
        kind: row.kind,
        client: row.client,
        client_port: row.client_port,
        vip_port: row.vip_port,
        server: server_name(plan, row.target),
        state: row.state,
        from_server: row.from_server,
        idle_s: row.idle_s,
        age_s: row.age_s,
        worker: row.worker,
    }
}

/// The number of the cluster of that name.
pub(crate) fn cluster_id(plan: &Plan, name: &str) -> Option<ClusterId> {
    plan.clusters.iter().find(|cluster| cluster.name == name).map(|cluster| cluster.id)
}

/// The number of the server of that name.
pub(crate) fn target_id(plan: &Plan, name: &str) -> Option<TargetId> {
    plan.targets.iter().find(|target| target.name == name).map(|target| target.id)
}

/// One report with the plan it belongs to.
struct Reader<'a> {
    plan: &'a Plan,
    report: &'a Report,
    base: Option<&'a Report>,
    /// Counts of a minute ago; empty: the counters began since.
    past: &'a [MemberReport],
    known: &'a Known,
}

impl Reader<'_> {
    fn cluster(&self, cluster: &ClusterPlan) -> ClusterRow {
        let counts = self.report.clusters.iter().find(|counts| counts.id == cluster.id);
        let before = self.base.and_then(|base| base.clusters.iter().find(|counts| counts.id == cluster.id));
        let service = |place: usize| counts.and_then(|counts| counts.services.get(place));
        let service_before = |place: usize| before.and_then(|counts| counts.services.get(place));
        let counted = counts.cloned().unwrap_or_default();
        ClusterRow {
            name: cluster.name.clone(),
            vlan: cluster.vlan.0,
            vip: cluster.vip,
            vmac: cluster.vmac,
            mode: match cluster.mode {
                ClusterMode::LoadSharing => "load-sharing".into(),
                ClusterMode::Availability => "availability".into(),
            },
            roles: health::roles(cluster, self.plan, self.known),
            servers: cluster.servers.len(),
            servers_up: cluster.servers.iter().filter(|id| self.takes_flows(**id)).count(),
            flows_new: counted.flows_new,
            flows_new_per_s: self.rate(counts.map(|c| c.flows_new), before.map(|c| c.flows_new)),
            flows_server: counted.flows_server,
            hashed: counted.hashed,
            answered: counted.answered,
            fail: match cluster.fail {
                Fail::Closed => "closed".into(),
                Fail::Open => "open".into(),
            },
            services: cluster
                .services
                .iter()
                .enumerate()
                .map(|(place, plan)| {
                    let (now, before) = (service(place), service_before(place));
                    let rate = self.rate(now.map(|s| s.flows_new), before.map(|s| s.flows_new));
                    let row = service_row(plan, now.map_or(0, |s| s.flows_new), rate);
                    self.with_backups(row, cluster, place)
                })
                .collect(),
        }
    }

    /// Backups of a service, and whether they are taken (FS-34).
    fn with_backups(&self, row: ServiceRow, cluster: &ClusterPlan, place: usize) -> ServiceRow {
        let backups: Vec<TargetId> = cluster.services[place]
            .members
            .iter()
            .filter(|member| member.backup)
            .map(|member| member.target)
            .collect();
        let taken = |target: &TargetId| {
            self.known.member(cluster.id, place, *target).is_some_and(|member| member.open)
        };
        ServiceRow {
            backups_taken: backups.iter().any(taken),
            backups: backups.iter().map(|target| server_name(self.plan, *target)).collect(),
            ..row
        }
    }

    fn server(&self, target: &TargetPlan) -> ServerRow {
        let report = self.target(target.id);
        let view = self.known.target(target.id);
        let counts = report.map(|report| report.counts);
        let before = self
            .base
            .and_then(|base| base.targets.iter().find(|report| report.id == target.id))
            .map(|report| report.counts);
        let counted = counts.unwrap_or_default();
        let fixed = match target.mac {
            MacPlan::Fixed(mac) => Some(mac),
            MacPlan::Learn => None,
        };
        let rate = |of: fn(&dataplane_message::TargetCounts) -> u64| {
            self.rate(counts.as_ref().map(of), before.as_ref().map(of))
        };
        ServerRow {
            name: target.name.clone(),
            state: health::state(target, report, view),
            reason: health::reason(view),
            mac: report.and_then(|report| report.mac).or(fixed),
            mac_learned: target.mac == MacPlan::Learn,
            contender: report.and_then(|report| report.contender),
            port: self.port_name(target.port),
            clusters: self
                .plan
                .clusters
                .iter()
                .filter(|cluster| cluster.servers.contains(&target.id))
                .map(|cluster| self.membership(cluster, target.id))
                .collect(),
            flows_open: counted.flows_open,
            flows_new: counted.flows_new,
            flows_new_per_s: rate(|counts| counts.flows_new),
            inbound: self.traffic(
                counts.as_ref(),
                before.as_ref(),
                |counts| counts.in_frames,
                |counts| counts.in_bytes,
            ),
            outbound: self.traffic(
                counts.as_ref(),
                before.as_ref(),
                |counts| counts.out_frames,
                |counts| counts.out_bytes,
            ),
        }
    }

    /// The weights in force.
    fn membership(&self, cluster: &ClusterPlan, target: TargetId) -> Membership {
        let weight = |place: usize, service: &ServicePlan| {
            let planned = service.members.iter().find(|member| member.target == target)?;
            let view = self.known.member(cluster.id, place, target);
            Some(view.map_or(planned.weight, |view| view.weight))
        };
        let (default, named) = match cluster.services.split_last() {
            Some((default, named)) => (weight(named.len(), default).unwrap_or(0), named),
            None => (0, &[][..]),
        };
        let services = named
            .iter()
            .enumerate()
            .filter_map(|(place, service)| {
                Some(ServiceWeight { service: service.name.clone(), weight: weight(place, service)? })
            })
            .collect();
        Membership { cluster: cluster.name.clone(), weight: default, services }
    }

    fn port(&self, place: usize) -> PortRow {
        let port = &self.plan.ports[place];
        let report = self.report.ports.iter().find(|report| report.id == port.id);
        let counts = report.map(|report| report.counts);
        let before = self
            .base
            .and_then(|base| base.ports.iter().find(|report| report.id == port.id))
            .map(|report| report.counts);
        let counted = counts.unwrap_or_default();
        PortRow {
            number: port.id.0,
            name: port.name.clone(),
            role: match port.role {
                PortRole::Outside => "outside".into(),
                PortRole::Server => "server".into(),
            },
            state: self.port_state(port.id).into(),
            attached: report.is_some_and(|report| report.attached),
            device: report.map(|report| report.device.clone()).unwrap_or_default(),
            mac: report.map(|report| report.mac),
            untagged: port.untagged.map(|vlan| vlan.0),
            tagged: port.tagged.iter().map(|vlan| vlan.0).collect(),
            rx: self.traffic(
                counts.as_ref(),
                before.as_ref(),
                |counts| counts.rx_frames,
                |counts| counts.rx_bytes,
            ),
            tx: self.traffic(
                counts.as_ref(),
                before.as_ref(),
                |counts| counts.tx_frames,
                |counts| counts.tx_bytes,
            ),
            errors: counted.errors,
            neighbour: report.and_then(|report| report.neighbour.clone()),
            note: report.and_then(|report| report.note.clone()),
        }
    }

    fn workers(&self) -> Vec<WorkerRow> {
        let row = |worker: &dataplane_message::WorkerReport| {
            let before = self.base.and_then(|base| base.workers.iter().find(|w| w.id == worker.id));
            let busy = before.and_then(|before| {
                let bursts = worker.bursts.checked_sub(before.bursts)?;
                let turns = bursts + worker.idle.checked_sub(before.idle)?;
                (turns > 0).then(|| tenths(bursts as f64 * 100.0 / turns as f64))
            });
            WorkerRow {
                number: worker.id,
                frames: worker.frames,
                frames_per_s: self.rate(Some(worker.frames), before.map(|before| before.frames)),
                frames_per_burst: (worker.bursts > 0)
                    .then(|| tenths(worker.frames as f64 / worker.bursts as f64)),
                busy_percent: busy,
                handed: worker.handed,
                flows: worker.flows,
                flows_max: worker.flows_max,
                evicted: worker.evicted,
                held: worker.held,
                plan: worker.epoch,
            }
        };
        self.report.workers.iter().map(row).collect()
    }

    fn drops(&self) -> Vec<DropRow> {
        let mut rows: Vec<DropRow> = self
            .report
            .drops
            .iter()
            .map(|(reason, frames)| {
                // A reason that was not there before had no frames.
                let before = self.base.map(|base| {
                    base.drops.iter().find(|(name, _)| name == reason).map_or(0, |(_, frames)| *frames)
                });
                let rate = self.rate(Some(*frames), before);
                DropRow { reason: reason.clone(), frames: *frames, frames_per_s: rate }
            })
            .collect();
        rows.sort_by(|a, b| b.frames.cmp(&a.frames).then_with(|| a.reason.cmp(&b.reason)));
        rows
    }

    fn bridge(&self) -> Vec<BridgeRow> {
        let mut rows: Vec<BridgeRow> = self
            .report
            .bridge
            .iter()
            .map(|row| BridgeRow {
                vlan: row.vlan.0,
                mac: row.mac,
                port: self.port_name(row.port),
                pinned: row.pinned,
            })
            .collect();
        // What is pinned is often learned as well.
        rows.sort_by(|a, b| {
            let key = |row: &BridgeRow| (row.vlan, row.mac, !row.pinned);
            key(a).cmp(&key(b)).then_with(|| a.port.cmp(&b.port))
        });
        rows.dedup_by(|b, a| (a.vlan, a.mac, &a.port) == (b.vlan, b.mac, &b.port));
        rows
    }

    fn alarms(&self, started_ms: u64) -> Vec<AlarmRow> {
        self.report
            .alarms
            .iter()
            .map(|alarm| AlarmRow {
                at: rfc3339(started_ms + alarm.at_ms),
                count: alarm.count,
                kind: alarm_name(alarm.kind).into(),
                port: self.port_name(alarm.port),
                vlan: alarm.vlan.0,
                mac: alarm.mac,
                address: alarm.address,
            })
            .collect()
    }

    fn target(&self, id: TargetId) -> Option<&TargetReport> {
        self.report.targets.iter().find(|report| report.id == id)
    }

    fn takes_flows(&self, id: TargetId) -> bool {
        let target = self.plan.targets.iter().find(|target| target.id == id);
        target.is_some_and(|target| {
            health::state(target, self.target(id), self.known.target(id)) == ServerState::Up
        })
    }

    fn port_name(&self, id: PortId) -> String {
        self.plan.ports.get(id.index()).map_or_else(|| format!("#{}", id.0), |port| port.name.clone())
    }

    fn port_state(&self, id: PortId) -> &'static str {
        match self.report.ports.iter().find(|report| report.id == id) {
            None => "unknown",
            Some(report) if !report.attached => "detached",
            Some(report) if report.up => "up",
            Some(_) => "down",
        }
    }

    /// How much a counter rises in a second.
    /// Frames and bytes one way, and how fast they rise.
    fn traffic<T>(
        &self,
        now: Option<&T>,
        before: Option<&T>,
        frames: fn(&T) -> u64,
        bytes: fn(&T) -> u64,
    ) -> Traffic {
        Traffic {
            frames: now.map_or(0, frames),
            bytes: now.map_or(0, bytes),
            frames_per_s: self.rate(now.map(frames), before.map(frames)),
            bytes_per_s: self.rate(now.map(bytes), before.map(bytes)),
        }
    }

    fn rate(&self, now: Option<u64>, before: Option<u64>) -> Rate {
        let elapsed_ms = self.report.uptime_ms.checked_sub(self.base?.uptime_ms)?;
        let risen = now?.checked_sub(before?)?;
        (elapsed_ms > 0).then(|| tenths(risen as f64 * 1000.0 / elapsed_ms as f64))
    }
}

fn service_row(plan: &ServicePlan, flows_new: u64, flows_new_per_s: Rate) -> ServiceRow {
    ServiceRow {
        name: plan.name.clone(),
        protocol: protocol(plan.protocol),
        ports: ports(&plan.ports),
        chooser: chooser(plan.chooser).into(),
        backups: Vec::new(),
        backups_taken: false,
        affinity: plan.affinity.map(|affinity| AffinityRow {
            prefix_v4: affinity.prefix_v4,
            prefix_v6: affinity.prefix_v6,
            idle_s: affinity.idle_s,
        }),
        flows_new,
        flows_new_per_s,
    }
}

fn server_name(plan: &Plan, id: TargetId) -> String {
    let target = plan.targets.iter().find(|target| target.id == id);
    target.map_or_else(|| format!("#{}", id.0), |target| target.name.clone())
}

fn protocol(protocol: Option<u8>) -> String {
    match protocol {
        None => "any".into(),
        Some(number) => protocol_name(number).map_or_else(|| number.to_string(), str::to_owned),
    }
}

fn ports(ports: &RangeInclusive<u16>) -> String {
    match (*ports.start(), *ports.end()) {
        (0, u16::MAX) => "any".into(),
        (from, to) if from == to => from.to_string(),
        (from, to) => format!("{from}-{to}"),
    }
}

fn chooser(chooser: Chooser) -> &'static str {
    match chooser {
        Chooser::RoundRobin => "round-robin",
        Chooser::WeightedRoundRobin => "weighted-round-robin",
        Chooser::LeastConnections => "least-connections",
        Chooser::SourceAffinity => "source-affinity",
        Chooser::Maglev => "maglev",
        Chooser::Dynamic => "dynamic",
        Chooser::TwoChoices => "two-choices",
    }
}

fn alarm_name(kind: AlarmKind) -> &'static str {
    match kind {
        AlarmKind::VipClaimed => "vip-claimed",
        AlarmKind::ForeignVmac => "foreign-vmac",
        AlarmKind::RouterClaimed => "router-claimed",
        AlarmKind::ServerMacChanged => "server-mac-changed",
        AlarmKind::ServerWrongMac => "server-wrong-mac",
        AlarmKind::Flapping => "flapping",
        AlarmKind::PortTaken => "port-taken",
    }
}

fn by_name<'a, T, R>(items: &'a [T], name: impl Fn(&'a T) -> &'a str, row: impl Fn(&'a T) -> R) -> Vec<R> {
    let mut items: Vec<&T> = items.iter().collect();
    items.sort_by_key(|item| name(item));
    items.into_iter().map(row).collect()
}

/// To one decimal place.
fn tenths(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests;
