//! Health, roles, load and router pools: what [`Care`] knows, with the plan's names.

use super::{Reader, by_name, server_name};
use crate::wall::rfc3339;
use control_health::{AssignmentView, Settings};
use control_health::{
    Care, DrainView, Finding, FindingKind, MemberView, Role, RoleView, RouterView, TargetView,
};
use control_show::{
    AssignmentRow, CheckRow, DrainRow, FindingRow, HealthRow, LoadRow, PoolRouterRow, PoolRow, Rate, RoleRow,
    RouterRow, ServerState, ServiceHealth,
};
use dataplane_flow::{ClusterId, Instant, PoolId, RouterId, TargetId};
use dataplane_message::{
    Admin, ClusterPlan, Health, Histogram, MacPlan, MemberReport, Plan, PoolPlan, Redirect, RouterPlan,
    RouterReport, Spread, TargetPlan, TargetReport,
};

/// What [`Care`] knows, and what time it was when it was asked.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) targets: Vec<TargetView>,
    pub(crate) members: Vec<MemberView>,
    pub(crate) roles: Vec<RoleView>,
    pub(crate) routers: Vec<RouterView>,
    pub(crate) assignments: Vec<AssignmentView>,
    pub(crate) findings: Vec<Finding>,
    /// Pools that are balanced by load.
    pub(crate) by_load: Vec<PoolId>,
    /// By the clock of [`Care`].
    pub(crate) now: Instant,
    /// By the wall clock, in milliseconds since 1970.
    pub(crate) unix_ms: u64,
}

impl Known {
    /// All that `care` knows at `now`, which is `unix_ms` by the wall clock.
    pub(crate) fn of(care: &Care, settings: &Settings, now: Instant, unix_ms: u64) -> Self {
        Self {
            targets: care.targets(),
            members: care.members(),
            roles: care.roles(),
            routers: care.routers(),
            assignments: care.assignments(),
            findings: care.findings(),
            by_load: settings.pools.iter().filter(|pool| pool.by_load).map(|pool| pool.id).collect(),
            now,
            unix_ms,
        }
    }

    pub(super) fn target(&self, id: TargetId) -> Option<&TargetView> {
        self.targets.iter().find(|view| view.id == id)
    }

    fn router(&self, id: RouterId) -> Option<&RouterView> {
        self.routers.iter().find(|view| view.id == id)
    }

    pub(super) fn member(&self, cluster: ClusterId, service: usize, target: TargetId) -> Option<&MemberView> {
        self.members.iter().find(|view| {
            view.cluster == cluster && usize::from(view.service) == service && view.target == target
        })
    }

    /// The wall clock at a moment of the past.
    fn time(&self, at: Instant) -> String {
        rfc3339(self.unix_ms.saturating_sub(self.now.since(at) / 1_000_000))
    }

    fn seconds_since(&self, at: Instant) -> u64 {
        self.now.since(at) / 1_000_000_000
    }

    fn drain(&self, drain: &DrainView) -> DrainRow {
        DrainRow {
            since_s: self.seconds_since(drain.since),
            flows_first: drain.flows_first,
            flows_open: drain.flows_open,
            // To the next whole second, so that it says 0 only when it is over.
            deadline_s: drain.deadline.map(|at| at.since(self.now).div_ceil(1_000_000_000)),
            gentle: drain.gentle,
            ends_in_s: drain.ends_in_ms.map(|ms| ms.div_ceil(1000)),
            waits_for: drain.waits_for.clone(),
            done: drain.done,
        }
    }
}

/// A server's state: the operator's will, then its health, then what the data path says.
pub(super) fn state(
    target: &TargetPlan,
    report: Option<&TargetReport>,
    view: Option<&TargetView>,
) -> ServerState {
    let admin = view.map_or(target.admin, |view| view.admin);
    let Some(report) = report else {
        return if admin == Admin::Disabled { ServerState::Disabled } else { ServerState::Unknown };
    };
    let health = view.map_or(Health::Up, |view| view.health);
    match (admin, health) {
        (Admin::Disabled, _) => ServerState::Disabled,
        (Admin::Drain, _) if report.counts.flows_open == 0 => ServerState::Drained,
        (Admin::Drain, _) => ServerState::Draining,
        (Admin::Enabled, _) if target.mac == MacPlan::Learn && report.mac.is_none() => ServerState::Learning,
        (Admin::Enabled, Health::Dead) => ServerState::Dead,
        (Admin::Enabled, Health::Down) => ServerState::Down,
        (Admin::Enabled, Health::Up) if report.up => ServerState::Up,
        (Admin::Enabled, Health::Up) => ServerState::Down,
    }
}

/// Roles of an availability cluster's servers.
pub(super) fn roles(cluster: &ClusterPlan, plan: &Plan, known: &Known) -> Vec<RoleRow> {
    let row = |view: &RoleView| RoleRow {
        server: server_name(plan, view.target),
        role: match view.role {
            Role::Primary => "primary".into(),
            Role::SecondaryOperational => "secondary-operational".into(),
            Role::SecondaryFailed => "secondary-failed".into(),
        },
    };
    known.roles.iter().filter(|view| view.cluster == cluster.id).map(row).collect()
}

/// What is set up wrong.
pub(crate) fn findings(plan: &Plan, known: &Known) -> Vec<FindingRow> {
    let row = |finding: &Finding| FindingRow {
        kind: finding_name(finding.kind).into(),
        cluster: finding.cluster.and_then(|id| {
            plan.clusters.iter().find(|cluster| cluster.id == id).map(|cluster| cluster.name.clone())
        }),
        server: finding.target.map(|id| server_name(plan, id)),
        router: finding.router.map(|id| router_name(plan, id)),
        pool: finding
            .pool
            .and_then(|id| plan.pools.iter().find(|pool| pool.id == id).map(|pool| pool.name.clone())),
        problem: finding.text.clone(),
        fix: finding.fix.clone(),
    };
    known.findings.iter().map(row).collect()
}

fn finding_name(kind: FindingKind) -> &'static str {
    match kind {
        FindingKind::VipNotBound => "vip-not-bound",
        FindingKind::WrongMac => "wrong-mac",
        FindingKind::VipClaimed => "vip-claimed",
        FindingKind::NoReturn => "no-return",
        FindingKind::Bypassed => "bypassed",
        FindingKind::ReversePathFilter => "reverse-path-filter",
        FindingKind::Mtu => "mtu",
        FindingKind::NotListening => "not-listening",
        FindingKind::PortTaken => "port-taken",
        FindingKind::PoolDown => "pool-down",
        FindingKind::RouterDown => "router-down",
        FindingKind::Suspended => "suspended",
    }
}

fn router_name(plan: &Plan, id: RouterId) -> String {
    let router = plan.routers.iter().find(|router| router.id == id);
    router.map_or_else(|| format!("#{}", id.0), |router| router.name.clone())
}

impl Reader<'_> {
    pub(super) fn health(&self, server: Option<&str>) -> Vec<HealthRow> {
        let rows = by_name(&self.plan.targets, |target| &target.name, |target| self.target_health(target));
        rows.into_iter().filter(|row| server.is_none_or(|server| row.server == server)).collect()
    }

    fn target_health(&self, target: &TargetPlan) -> HealthRow {
        let report = self.target(target.id);
        let view = self.known.target(target.id);
        let counted = report.map_or(0, |report| report.counts.flows_open);
        let mut services = Vec::new();
        for cluster in &self.plan.clusters {
            for (place, service) in cluster.services.iter().enumerate() {
                let Some(planned) = service.members.iter().find(|member| member.target == target.id) else {
                    continue;
                };
                let view = self.known.member(cluster.id, place, target.id);
                services.push(ServiceHealth {
                    cluster: cluster.name.clone(),
                    service: service.name.clone(),
                    open: view.map_or(!planned.backup, |view| view.open),
                    reason: view.and_then(|view| view.reason.as_ref()).map(ToString::to_string),
                    weight: view.map_or(planned.weight, |view| view.weight),
                    full_weight: view.map_or(planned.weight, |view| view.full_weight),
                    slow_start_percent: view.map_or(100, |view| view.slow_start_percent),
                    backup: planned.backup,
                    checks: view.map(checks).unwrap_or_default(),
                });
            }
        }
        HealthRow {
            server: target.name.clone(),
            state: state(target, report, view),
            since: view.map(|view| self.known.time(view.since)),
            since_s: view.map(|view| self.known.seconds_since(view.since)),
            reason: reason(view),
            presumed: view.is_none_or(|view| view.presumed),
            passive: view.is_some_and(|view| view.passive),
            hold_down_ms: view.map_or(0, |view| view.hold_down_ms),
            flows_open: view.map_or(counted, |view| view.flows_open),
            drain: view.and_then(|view| view.drain.as_ref()).map(|drain| self.known.drain(drain)),
            services,
        }
    }

    pub(super) fn router(&self, router: &RouterPlan) -> RouterRow {
        let view = self.known.router(router.id);
        let of = |report: &RouterReport| report.id == router.id;
        let report = self.report.routers.iter().find(|report| of(report));
        let before = self.base.and_then(|base| base.routers.iter().find(|report| of(report)));
        RouterRow {
            name: router.name.clone(),
            address: router.address,
            mac: view.and_then(|view| view.mac).or(report.and_then(|report| report.mac)).or(router.mac),
            port: self.port_name(router.port),
            vlan: router.vlan.0,
            state: self.router_state(router.id).into(),
            reason: view.and_then(|view| view.reason.as_ref()).map(ToString::to_string),
            since: view.map(|view| self.known.time(view.since)),
            port_state: self.port_state(router.port).into(),
            inbound: self.traffic(report, before, |counts| counts.in_frames, |counts| counts.in_bytes),
            outbound: self.traffic(report, before, |counts| counts.out_frames, |counts| counts.out_bytes),
            redirected: report.map_or(0, |report| report.redirected),
        }
    }

    /// What control has found out; before that, what the data path believes.
    fn router_state(&self, id: RouterId) -> &'static str {
        let seen = self.report.routers.iter().find(|report| report.id == id).map(|report| report.up);
        match self.known.router(id).map(|view| view.up).or(seen) {
            Some(true) => "up",
            Some(false) => "down",
            None => "unknown",
        }
    }

    pub(super) fn pool(&self, pool: &PoolPlan) -> PoolRow {
        let mut assignments: Vec<AssignmentRow> = self
            .known
            .assignments
            .iter()
            .filter(|view| view.pool == pool.id)
            .map(|view| AssignmentRow {
                server: server_name(self.plan, view.target),
                router: router_name(self.plan, view.router),
                bytes_per_s: view.bytes_per_s,
            })
            .collect();
        assignments.sort_by(|a, b| a.server.cmp(&b.server));
        let mut routers: Vec<PoolRouterRow> =
            pool.routers.iter().map(|id| self.pool_router(*id, &assignments)).collect();
        let all: f64 = routers.iter().filter_map(|router| router.out_bytes_per_s).sum();
        if all > 0.0 {
            for router in &mut routers {
                router.share_percent = router.out_bytes_per_s.map(|rate| super::tenths(rate * 100.0 / all));
            }
        }
        PoolRow {
            name: pool.name.clone(),
            vlan: pool.vlan.0,
            address: pool.address,
            balance: if self.known.by_load.contains(&pool.id) { "load" } else { "round-robin" }.into(),
            spread: match pool.spread {
                Spread::Server => "server".into(),
                Spread::Flow => "flow".into(),
            },
            redirect: match pool.redirect {
                Redirect::All => "all".into(),
                Redirect::NoEstablished => "no-established".into(),
            },
            routers,
            assignments,
        }
    }

    fn pool_router(&self, id: RouterId, assignments: &[AssignmentRow]) -> PoolRouterRow {
        let name = router_name(self.plan, id);
        let router =
            self.plan.routers.iter().find(|router| router.id == id).map(|router| self.router(router));
        PoolRouterRow {
            state: self.router_state(id).into(),
            reason: router.as_ref().and_then(|router| router.reason.clone()),
            servers: assignments.iter().filter(|assignment| assignment.router == name).count(),
            out_bytes_per_s: router.as_ref().and_then(|router| router.outbound.bytes_per_s),
            share_percent: None,
            redirected: router.map_or(0, |router| router.redirected),
            router: name,
        }
    }

    pub(super) fn load(&self) -> Vec<LoadRow> {
        let mut rows = Vec::new();
        for cluster in by_name(&self.plan.clusters, |cluster| &cluster.name, |cluster| cluster) {
            for place in 0..cluster.services.len() {
                let mut members: Vec<LoadRow> = cluster.services[place]
                    .members
                    .iter()
                    .map(|member| self.member_load(cluster, place, member))
                    .collect();
                members.sort_by(|a, b| a.server.cmp(&b.server));
                rows.append(&mut members);
            }
        }
        rows
    }

    fn member_load(
        &self,
        cluster: &ClusterPlan,
        place: usize,
        planned: &dataplane_message::Member,
    ) -> LoadRow {
        let of = |report: &&MemberReport| {
            let signs = &report.signs;
            (signs.cluster, usize::from(signs.service), signs.target) == (cluster.id, place, planned.target)
        };
        let report = self.report.members.iter().find(of);
        let before = self.base.and_then(|base| base.members.iter().find(of));
        let past = self.past.iter().find(of);
        let connect = times(report, past, |report| &report.connect);
        let response = times(report, past, |report| &report.response);
        let target = self.target(planned.target).map(|report| report.counts);
        let target_before = self.base.and_then(|base| {
            base.targets.iter().find(|report| report.id == planned.target).map(|report| report.counts)
        });
        let bytes = |of: fn(&dataplane_message::TargetCounts) -> u64| -> Rate {
            self.rate(target.as_ref().map(of), target_before.as_ref().map(of))
        };
        let view = self.known.member(cluster.id, place, planned.target);
        LoadRow {
            cluster: cluster.name.clone(),
            service: cluster.services[place].name.clone(),
            server: server_name(self.plan, planned.target),
            open: view.map_or(!planned.backup, |view| view.open),
            weight: view.map_or(planned.weight, |view| view.weight),
            flows_new_per_s: self
                .rate(report.map(|report| report.signs.opened), before.map(|before| before.signs.opened)),
            connect_p50_us: connect.percentile_us(50),
            connect_p99_us: connect.percentile_us(99),
            response_p50_us: response.percentile_us(50),
            response_p99_us: response.percentile_us(99),
            in_bytes_per_s: bytes(|counts| counts.in_bytes),
            out_bytes_per_s: bytes(|counts| counts.out_bytes),
        }
    }
}

/// Why a server is not up.
pub(super) fn reason(view: Option<&TargetView>) -> Option<String> {
    view?.reason.as_ref().map(ToString::to_string)
}

fn checks(view: &MemberView) -> Vec<CheckRow> {
    let row = |check: &control_health::CheckView| CheckRow {
        check: check.check.clone(),
        good: check.good,
        failure: check.failure.clone(),
        took_us: (check.took_us > 0).then_some(check.took_us),
    };
    view.checks.iter().map(row).collect()
}

/// The times since `past`.
fn times(
    now: Option<&MemberReport>,
    past: Option<&MemberReport>,
    of: fn(&MemberReport) -> &Histogram,
) -> Histogram {
    let Some(now) = now.map(of) else { return Histogram::default() };
    let before = |bucket: usize| past.and_then(|past| of(past).buckets.get(bucket)).copied().unwrap_or(0);
    let risen = |(bucket, count): (usize, &u64)| count.saturating_sub(before(bucket));
    Histogram { buckets: now.buckets.iter().enumerate().map(risen).collect() }
}
