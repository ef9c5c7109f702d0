//! Turning a plan, and what is known of links and addresses, into tables.

use super::{
    ClusterTable, PortTable, ServiceTable, Station, Stations, Tables, TargetTable, Vips, VlanTable,
    address_words, prefix_mask,
};
use core::net::{IpAddr, Ipv4Addr};
use dataplane_balance::{
    Balancer, Candidate, Chooser as Compiled, LeastConnections, Maglev, RoundRobin, name_hash,
};
use dataplane_flow::{CLUSTERS_MAX, ClusterId, HashKey, STATES, State, TARGETS_MAX, TargetId, fold};
use dataplane_message::{
    Admin, Chooser, ClusterPlan, Conditions, Fail, MacPlan, Plan, PortRole, ServicePlan, Stp, Timeouts,
    UdpMode,
};
use dataplane_port::{PORTS_MAX, PortId, PortSet, VlanId};
use dataplane_wire::MacAddr;
use std::sync::Arc;

/// How long it is remembered which servers have refused a mid-flow segment (FS-7a): longer than a
/// client waits before its next one. Retransmissions are up to 120 s apart (RFC 6298 §2.5 allows no
/// less than 60 s), Linux's keep-alive probes 75 s.
const MID_FLOW_S: u16 = 130;

/// A learned address.
pub type LearnedStation = (VlanId, MacAddr, PortId);

/// What tables are made of.
#[allow(missing_debug_implementations)]
pub struct Inputs<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its number.
    pub epoch: u64,
    /// What control has decided beside it.
    pub conditions: &'a Conditions,
    /// Ports whose link is up.
    pub up: PortSet,
    /// The MAC of each server, where it was learned.
    pub server_macs: &'a dyn Fn(TargetId) -> Option<MacAddr>,
    /// The ports' own addresses, where their devices have one.
    pub port_macs: &'a [MacAddr],
    /// The bridge's learned addresses.
    pub learned: &'a [LearnedStation],
    /// The tables in force: what has not changed is shared with them.
    pub previous: Option<&'a Tables>,
}

impl Tables {
    /// Tables of a switch without a plan: nothing is forwarded.
    pub fn empty() -> Self {
        Self::build(&Inputs {
            plan: &Plan::default(),
            epoch: 0,
            conditions: &Conditions::default(),
            up: PortSet::EMPTY,
            server_macs: &|_| None,
            port_macs: &[],
            learned: &[],
            previous: None,
        })
    }

    /// Makes the tables. Off the packet path; some 2 ms for each service whose servers have changed.
    pub fn build(inputs: &Inputs<'_>) -> Self {
        let plan = inputs.plan;
        let (vlans, vlan_index) = vlans(plan);
        let targets = targets(inputs);
        let mut cursor = 0;
        let mut clusters = vec![
            ClusterTable::missing();
            plan.clusters.iter().map(|c| usize::from(c.id.0) + 1).max().unwrap_or(0)
        ];
        for cluster in plan.clusters.iter().filter(|c| usize::from(c.id.0) < CLUSTERS_MAX) {
            clusters[usize::from(cluster.id.0)] = build_cluster(inputs, cluster, &targets, &mut cursor);
        }
        let vips: Vec<_> =
            plan.clusters.iter().map(|c| (c.vlan, address_words(c.vip), c.vip.is_ipv6(), c.id)).collect();
        Self {
            epoch: inputs.epoch,
            choice_key: HashKey::new(plan.choice_key),
            ports: ports(inputs, &targets),
            vlans,
            vlan_index,
            stations: Arc::new(stations(inputs, &targets)),
            vips: Vips::new(&vips),
            timeouts: timeouts(inputs),
            clusters: clusters.into_boxed_slice(),
            targets,
            own_macs: inputs.port_macs.iter().map(|mac| mac.to_u64()).filter(|mac| *mac != 0).collect(),
            guard: plan.bridge.guard,
            routers: plan.routers.iter().map(|r| (r.vlan, r.address)).collect(),
        }
    }
}

impl ClusterTable {
    fn missing() -> Self {
        Self {
            exists: false,
            id: ClusterId(0),
            vlan: VlanId(0),
            vip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            vip_words: [0; 2],
            vmac: 0,
            carriers: PortSet::EMPTY,
            by_client: false,
            quic: false,
            client_mask: [u64::MAX; 2],
            udp: UdpMode::Flow,
            fail: Fail::Closed,
            answers: false,
            learning: false,
            announce_interval_s: 60,
            services: Box::default(),
        }
    }
}

fn vlans(plan: &Plan) -> (Box<[VlanTable]>, Box<[u16]>) {
    let mut index = vec![0_u16; 4096].into_boxed_slice();
    let mut tables = vec![VlanTable::default()];
    let mut table = |vlan: VlanId, change: &dyn Fn(&mut VlanTable)| {
        let place = &mut index[usize::from(vlan.0) & 0xfff];
        if *place == 0 {
            *place = tables.len() as u16;
            tables.push(VlanTable::default());
        }
        change(&mut tables[usize::from(*place)]);
    };
    for port in &plan.ports {
        if let Some(vlan) = port.untagged {
            table(vlan, &|t| t.untagged = t.untagged.with(port.id));
        }
        for vlan in &port.tagged {
            table(*vlan, &|t| t.tagged = t.tagged.with(port.id));
        }
    }
    (tables.into_boxed_slice(), index)
}

fn targets(inputs: &Inputs<'_>) -> Box<[TargetTable]> {
    let plan = inputs.plan;
    let missing =
        TargetTable { mac: 0, port: PortId(0), alive: false, takes: false, clusters: Box::default() };
    let mut tables = vec![missing; plan.targets.iter().map(|t| t.id.index() + 1).max().unwrap_or(0)];
    for target in plan.targets.iter().filter(|t| t.id.index() < TARGETS_MAX) {
        let mac = match target.mac {
            MacPlan::Fixed(mac) => Some(mac),
            MacPlan::Learn => (inputs.server_macs)(target.id),
        };
        let alive = mac.is_some() && target.admin != Admin::Disabled && inputs.up.contains(target.port);
        tables[target.id.index()] = TargetTable {
            mac: mac.map_or(0, MacAddr::to_u64),
            port: target.port,
            alive,
            takes: alive && target.admin == Admin::Enabled,
            clusters: plan.clusters.iter().filter(|c| c.servers.contains(&target.id)).map(|c| c.id).collect(),
        };
    }
    tables.into_boxed_slice()
}

fn ports(inputs: &Inputs<'_>, targets: &[TargetTable]) -> Box<[PortTable; PORTS_MAX]> {
    let mut ports: Box<[PortTable; PORTS_MAX]> = Box::new(core::array::from_fn(|_| PortTable {
        exists: false,
        up: false,
        role: PortRole::Outside,
        untagged: None,
        tagged: Box::new([0; 64]),
        stp: Stp::Forward,
        storm_pps: 0,
        servers: Box::default(),
        learning: Box::default(),
    }));
    for plan in inputs.plan.ports.iter().filter(|p| p.id.index() < PORTS_MAX) {
        let port = &mut ports[plan.id.index()];
        port.exists = true;
        port.up = inputs.up.contains(plan.id);
        port.role = plan.role;
        port.untagged = plan.untagged;
        for vlan in &plan.tagged {
            port.tagged[usize::from(vlan.0 >> 6) & 63] |= 1 << (vlan.0 & 63);
        }
        port.stp = plan.stp;
        port.storm_pps = plan.storm_pps;
        let behind = || inputs.plan.targets.iter().filter(|t| t.port == plan.id);
        let mac = |id: TargetId| targets.get(id.index()).map_or(0, |t| t.mac);
        port.servers = behind().map(|t| (mac(t.id), t.id)).filter(|(mac, _)| *mac != 0).collect();
        // A learning server goes on being looked at: a change of its MAC is an alarm.
        port.learning = behind().filter(|t| t.mac == MacPlan::Learn).map(|t| t.id).collect();
    }
    ports
}

fn stations(inputs: &Inputs<'_>, targets: &[TargetTable]) -> Stations {
    let plan = inputs.plan;
    let pins = plan.clusters.len() + plan.clusters.iter().map(|c| c.servers.len()).sum::<usize>();
    let mut stations = Stations::new(pins + plan.routers.len() + inputs.learned.len());
    for cluster in &plan.clusters {
        stations.insert(cluster.vlan, cluster.vmac.to_u64(), Station::Vmac(cluster.id));
    }
    for cluster in &plan.clusters {
        for id in &cluster.servers {
            if let Some(target) = targets.get(id.index()).filter(|t| t.mac != 0) {
                stations.insert(cluster.vlan, target.mac, Station::Server(*id, target.port));
            }
        }
    }
    for router in &plan.routers {
        if let Some(mac) = router.mac {
            stations.insert(router.vlan, mac.to_u64(), Station::Router(router.port));
        }
    }
    for (vlan, mac, port) in inputs.learned {
        stations.insert(*vlan, mac.to_u64(), Station::Learned(*port));
    }
    stations
}

fn timeouts(inputs: &Inputs<'_>) -> Arc<[[u16; STATES]]> {
    let mut all = vec![states(&Timeouts::default(), &[]); CLUSTERS_MAX];
    for cluster in &inputs.plan.clusters {
        if let Some(of) = all.get_mut(usize::from(cluster.id.0)) {
            *of = states(&cluster.timeouts, &cluster.services);
        }
    }
    all.into()
}

fn states(timeouts: &Timeouts, services: &[ServicePlan]) -> [u16; STATES] {
    let mut of = [0; STATES];
    of[State::SynSent as usize] = timeouts.handshake_s;
    of[State::SynAck as usize] = timeouts.handshake_s;
    of[State::MidFlow as usize] = timeouts.closed_s.max(MID_FLOW_S);
    of[State::Established as usize] = timeouts.established_s;
    of[State::HalfClosed as usize] = timeouts.half_closed_s;
    of[State::Closed as usize] = timeouts.closed_s;
    of[State::UdpOneWay as usize] = timeouts.udp_s;
    of[State::UdpBothWays as usize] = timeouts.udp_s;
    of[State::Icmp as usize] = timeouts.icmp_s;
    of[State::OtherOneWay as usize] = timeouts.other_s;
    of[State::OtherBothWays as usize] = timeouts.other_s;
    of[State::Ipsec as usize] = timeouts.ipsec_s;
    of[State::Quic as usize] = timeouts.udp_s;
    of[State::Affinity as usize] =
        services.iter().filter_map(|s| s.affinity).map(|a| a.idle_s).max().unwrap_or(0);
    of
}

fn build_cluster(
    inputs: &Inputs<'_>,
    plan: &ClusterPlan,
    targets: &[TargetTable],
    cursor: &mut u16,
) -> ClusterTable {
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
            build_service(inputs, plan, service, targets, before, *cursor)
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
        learning: plan.servers.iter().any(|id| targets.get(id.index()).is_some_and(|t| t.mac == 0)),
        answers: some_up || !plan.withdraw,
        announce_interval_s: plan.announce_interval_s,
        services,
    }
}

fn build_service(
    inputs: &Inputs<'_>,
    cluster: &ClusterPlan,
    plan: &ServicePlan,
    targets: &[TargetTable],
    before: Option<&ServiceTable>,
    cursor: u16,
) -> ServiceTable {
    let candidates = |wanted: &dyn Fn(&TargetTable) -> bool| -> Vec<Candidate> {
        plan.members
            .iter()
            .filter(|m| m.weight > 0)
            .filter(|m| targets.get(m.target.index()).is_some_and(wanted))
            .map(|m| {
                let name = inputs.plan.targets.iter().find(|t| t.id == m.target).map_or("", |t| &t.name);
                Candidate { target: m.target, name_hash: name_hash(name), weight: m.weight }
            })
            .collect()
    };
    let mut takers = candidates(&|t| t.takes);
    let open = takers.is_empty() && cluster.fail == Fail::Open;
    if open {
        takers = candidates(&|t| t.mac != 0 && inputs.up.contains(t.port));
    }
    let key = inputs.plan.choice_key;
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
        Chooser::WeightedRoundRobin => Compiled::RoundRobin(RoundRobin::new(takers, true)),
        Chooser::LeastConnections => Compiled::LeastConnections(LeastConnections::new(takers)),
        Chooser::SourceAffinity => Compiled::SourceAffinity,
        Chooser::Maglev => Compiled::Maglev,
        Chooser::Dynamic | Chooser::TwoChoices => Compiled::RoundRobin(RoundRobin::new(takers, true)),
    };
    Balancer::new(compiled, Maglev::new(&keyed))
}
