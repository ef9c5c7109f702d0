//! Who takes the new flows of a service: the plan's members, as far as links, health, the operator and
//! control let them (FS-9, FS-10, FS-10a, FS-14, FS-33, FS-34).

use super::{
    ClusterTable, Inputs, MemberTable, ServiceTable, TargetTable, address_words, order, prefix_mask,
};
use dataplane_balance::{
    Balancer, Candidate, Chooser as Compiled, LeastConnections, Maglev, RoundRobin, TwoChoices, name_hash,
};
use dataplane_flow::{ClusterId, TargetId, fold};
use dataplane_message::{
    Chooser, ClusterMode, ClusterPlan, Fail, Member, MemberCondition, ServicePlan, TargetCondition,
};
use std::collections::HashMap;
use std::sync::Arc;

/// Names and conditions by number.
pub(super) struct Known<'a> {
    names: HashMap<TargetId, u64>,
    targets: HashMap<TargetId, &'a TargetCondition>,
    members: HashMap<(ClusterId, u16, TargetId), &'a MemberCondition>,
}

impl<'a> Known<'a> {
    pub(super) fn new(inputs: &Inputs<'a>) -> Self {
        let conditions = inputs.conditions;
        Self {
            names: inputs.plan.targets.iter().map(|t| (t.id, name_hash(&t.name))).collect(),
            targets: conditions.targets.iter().map(|c| (c.id, c)).collect(),
            members: conditions.members.iter().map(|c| ((c.cluster, c.service, c.target), c)).collect(),
        }
    }

    pub(super) fn target(&self, id: TargetId) -> Option<&'a TargetCondition> {
        self.targets.get(&id).copied()
    }
}

/// A service's member as it is now.
struct Current {
    candidate: Candidate,
    /// Neither a failed check of the service nor a backup's rest keeps it from new flows.
    open: bool,
    backup: bool,
}

pub(super) fn build_cluster(
    inputs: &Inputs<'_>,
    known: &Known<'_>,
    plan: &ClusterPlan,
    targets: &[TargetTable],
    cursor: &mut u16,
) -> ClusterTable {
    let order = (plan.mode == ClusterMode::Availability).then(|| order::of(plan, inputs.conditions));
    let services: Box<[ServiceTable]> = plan
        .services
        .iter()
        .enumerate()
        .map(|(place, service)| {
            let before = inputs
                .previous
                .and_then(|tables| tables.cluster(plan.id))
                .and_then(|cluster| cluster.services.get(place));
            *cursor = cursor.wrapping_add(1);
            let members = current(known, plan.id, place as u16, service);
            let (takers, open) = takers(inputs, plan, &members, targets, order.as_deref());
            let counter = |target| (inputs.members)(plan.id, place as u16, target);
            let mut table =
                build_service(inputs.plan.choice_key, service, takers, open, before, *cursor, counter);
            let gentle = |id: TargetId| targets.get(id.index()).is_some_and(|t| t.gentle);
            for member in members.iter().filter(|m| m.open && gentle(m.candidate.target)) {
                table.bind(member.candidate.target);
            }
            table
        })
        .collect();
    let some_up = plan.servers.iter().any(|id| targets.get(id.index()).is_some_and(|t| t.alive));
    ClusterTable {
        exists: !services.is_empty(),
        id: plan.id,
        vlan: plan.vlan,
        vip: plan.vip,
        vip_words: address_words(plan.vip),
        vmac: plan.vmac.to_u64(),
        carriers: inputs.plan.carriers(plan),
        by_client: services.iter().any(|s| s.affinity.is_some() || s.balancer.is_by_client()),
        quic: services.iter().any(|s| s.quic),
        client_mask: services
            .iter()
            .filter_map(|s| s.affinity)
            .map(|a| {
                if plan.vip.is_ipv6() {
                    prefix_mask(a.prefix_v6, true)
                } else {
                    prefix_mask(a.prefix_v4, false)
                }
            })
            .fold([u64::MAX; 2], |mask, of| [mask[0] & of[0], mask[1] & of[1]]),
        udp: plan.udp,
        fail: plan.fail,
        dead_tcp: plan.dead_tcp,
        dead_other: plan.dead_other,
        probe: plan.probe,
        learning: plan.servers.iter().any(|id| targets.get(id.index()).is_some_and(|t| t.mac == 0)),
        answers: some_up || !plan.withdraw,
        announce_interval_s: plan.announce_interval_s,
        services,
    }
}

/// The service's members with what control has decided about them.
fn current(known: &Known<'_>, cluster: ClusterId, place: u16, plan: &ServicePlan) -> Vec<Current> {
    let with = |member: &Member| {
        let condition = known.members.get(&(cluster, place, member.target));
        Current {
            candidate: Candidate {
                target: member.target,
                name_hash: known.names.get(&member.target).copied().unwrap_or_default(),
                weight: condition.map_or(member.weight, |c| c.weight),
            },
            // Of a backup without a condition nobody has said that it is wanted.
            open: condition.map_or(!member.backup, |c| c.open),
            backup: member.backup,
        }
    };
    plan.members.iter().map(with).filter(|m| m.candidate.weight > 0).collect()
}

/// Those that take new flows, and whether that is because none is up and all are taken as if they were
/// (FS-10a). `order`: of an availability cluster, whose only taker is the first that can (FS-14).
fn takers(
    inputs: &Inputs<'_>,
    cluster: &ClusterPlan,
    members: &[Current],
    targets: &[TargetTable],
    order: Option<&[TargetId]>,
) -> (Vec<Candidate>, bool) {
    let of = |wanted: &dyn Fn(&Current, &TargetTable) -> bool| -> Vec<Candidate> {
        let wanted =
            |m: &&Current| targets.get(m.candidate.target.index()).is_some_and(|target| wanted(m, target));
        members.iter().filter(wanted).map(|m| m.candidate).collect()
    };
    let mut takers = match order {
        // The order says who stands behind whom; nobody is a backup beside it.
        Some(_) => of(&|m, t| t.takes && (m.open || m.backup)),
        None => of(&|m, t| t.takes && m.open),
    };
    if takers.is_empty() {
        // FS-34 without control: backups are taken when nobody else is left.
        takers = of(&|m, t| t.takes && m.backup);
    }
    let open = takers.is_empty() && cluster.fail == Fail::Open;
    if open {
        takers = of(&|_, t| t.mac != 0 && inputs.up.contains(t.port));
    }
    if let Some(order) = order {
        let first = order.iter().find_map(|id| takers.iter().find(|c| c.target == *id)).copied();
        takers = first.into_iter().collect();
    }
    (takers, open)
}

fn build_service(
    key: [u64; 2],
    plan: &ServicePlan,
    takers: Vec<Candidate>,
    open: bool,
    before: Option<&ServiceTable>,
    cursor: u16,
    counter: impl Fn(TargetId) -> u16,
) -> ServiceTable {
    let mut members: Box<[MemberTable]> = plan
        .members
        .iter()
        .map(|m| MemberTable { target: m.target, counter: counter(m.target), takes: false, binds: false })
        .collect();
    members.sort_by_key(|m| m.target);
    for taker in &takers {
        if let Ok(place) = members.binary_search_by_key(&taker.target, |m| m.target) {
            (members[place].takes, members[place].binds) = (true, true);
        }
    }
    let (balancer, compiled) = match before {
        Some(before) if *before.compiled == (plan.chooser, key, takers.clone()) => {
            (Arc::clone(&before.balancer), Arc::clone(&before.compiled))
        }
        _ => {
            let balancer = compile(plan.chooser, key, &takers);
            (Arc::new(balancer), Arc::new((plan.chooser, key, takers)))
        }
    };
    ServiceTable {
        protocol: plan.protocol,
        port_first: *plan.ports.start(),
        port_last: *plan.ports.end(),
        cursor,
        open,
        affinity: plan.affinity,
        quic: plan.quic,
        members,
        balancer,
        compiled,
    }
}

fn compile(chooser: Chooser, key: [u64; 2], takers: &[Candidate]) -> Balancer {
    // The places that servers take depend on the site's key too.
    let keyed: Vec<Candidate> = takers
        .iter()
        .map(|c| Candidate { name_hash: fold(c.name_hash ^ key[0], key[1] ^ 0x9e37_79b9_7f4a_7c15), ..*c })
        .collect();
    let compiled = match chooser {
        Chooser::RoundRobin => Compiled::RoundRobin(RoundRobin::new(takers, false)),
        Chooser::WeightedRoundRobin | Chooser::Dynamic => Compiled::RoundRobin(RoundRobin::new(takers, true)),
        Chooser::LeastConnections => Compiled::LeastConnections(LeastConnections::new(takers)),
        Chooser::SourceAffinity => Compiled::SourceAffinity,
        Chooser::Maglev => Compiled::Maglev,
        Chooser::TwoChoices => Compiled::TwoChoices(TwoChoices::new(takers)),
    };
    Balancer::new(compiled, Maglev::new(&keyed))
}
