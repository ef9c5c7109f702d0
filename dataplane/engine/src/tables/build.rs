//! Turning a plan, and what is known of links and addresses, into tables.

use super::services::{Known, build_cluster};
use super::{
    ClusterTable, Kind, Pools, PortTable, Station, Stations, Tables, TargetTable, Vips, VlanTable,
    address_words,
};
use crate::door::{Door, Doors};
use core::net::{IpAddr, Ipv4Addr};
use dataplane_flow::{CLUSTERS_MAX, ClusterId, HashKey, STATES, State, TARGETS_MAX, TargetId};
use dataplane_message::{
    Admin, Conditions, DeadFlows, Fail, Health, MacPlan, Plan, PortRole, ServicePlan, Stp, Timeouts, UdpMode,
};
use dataplane_port::{PORTS_MAX, PortId, PortSet, VlanId};
use dataplane_wire::MacAddr;
use std::sync::Arc;

/// How long it is remembered which servers have refused a mid-flow segment (FS-7a): longer than a
/// client waits before its next one. Retransmissions are up to 120 s apart (RFC 6298 §2.5 allows no
/// less than 60 s), Linux's keep-alive probes 75 s.
const MID_FLOW_S: u16 = 130;

/// No place among the workers' counters of members.
pub const NO_MEMBER: u16 = u16::MAX;

/// A learned address.
pub type LearnedStation = (VlanId, MacAddr, PortId);

/// What tables are made of.
#[allow(missing_debug_implementations)]
pub struct Inputs<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its number.
    pub epoch: u64,
    /// What control has decided beside it. Numbers that the plan does not have are ignored.
    pub conditions: &'a Conditions,
    /// The place of (cluster, service, server) among the workers' counters; [`NO_MEMBER`]: none is left,
    /// and it is not counted.
    pub members: &'a dyn Fn(ClusterId, u16, TargetId) -> u16,
    /// Ports whose link is up.
    pub up: PortSet,
    /// The MAC of each server, where it was learned.
    pub server_macs: &'a dyn Fn(TargetId) -> Option<MacAddr>,
    /// The ports' own addresses, where their devices have one.
    pub port_macs: &'a [MacAddr],
    /// The bridge's learned addresses.
    pub learned: &'a [LearnedStation],
    /// Some address was learned, or learned elsewhere, since the tables in force were made. It may be where it
    /// was before by now; workers do not know that.
    pub moved: bool,
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
            members: &|_, _, _| NO_MEMBER,
            up: PortSet::EMPTY,
            server_macs: &|_| None,
            port_macs: &[],
            learned: &[],
            moved: false,
            previous: None,
        })
    }

    /// Makes the tables. Off the packet path; some 2 ms for each service whose servers have changed.
    pub fn build(inputs: &Inputs<'_>) -> Self {
        let plan = inputs.plan;
        let previous = inputs.previous;
        let (vlans, vlan_index) = vlans(plan);
        let known = Known::new(inputs);
        let targets = kept(targets(inputs, &known).into(), previous.map(|p| &p.targets));
        let pools = kept(Arc::new(Pools::build(inputs, &targets)), previous.map(|p| &p.pools));
        // A link that was gone may have brought stations that are in no table yet, and workers took for
        // known: they are to tell them anew.
        let same_links = |p: &&Self| {
            (0..PORTS_MAX as u8).all(|i| p.ports[usize::from(i)].up == inputs.up.contains(PortId(i)))
        };
        let before = previous.filter(same_links).filter(|_| !inputs.moved);
        let mut cursor = 0;
        let mut clusters = vec![
            ClusterTable::missing();
            plan.clusters.iter().map(|c| usize::from(c.id.0) + 1).max().unwrap_or(0)
        ];
        for cluster in plan.clusters.iter().filter(|c| usize::from(c.id.0) < CLUSTERS_MAX) {
            clusters[usize::from(cluster.id.0)] =
                build_cluster(inputs, &known, cluster, &targets, &mut cursor);
        }
        let vips: Vec<_> =
            plan.clusters.iter().map(|c| (c.vlan, address_words(c.vip), c.vip.is_ipv6(), c.id)).collect();
        Self {
            epoch: inputs.epoch,
            choice_key: HashKey::new(plan.choice_key),
            ports: kept(ports(inputs, &targets).into(), previous.map(|p| &p.ports)),
            vlans: kept(vlans.into(), previous.map(|p| &p.vlans)),
            vlan_index: kept(vlan_index.into(), previous.map(|p| &p.vlan_index)),
            stations: kept(stations(inputs, &targets, &pools).into(), before.map(|p| &p.stations)),
            vips: kept(Arc::new(Vips::new(&vips)), previous.map(|p| &p.vips)),
            kinds: kept(clusters.iter().map(kind).collect(), previous.map(|p| &p.kinds)),
            timeouts: kept(timeouts(inputs), previous.map(|p| &p.timeouts)),
            dead: dead(&targets),
            clusters: clusters.into_boxed_slice(),
            doors: kept(Doors::new(targets.iter().map(door)).into(), previous.map(|p| &p.doors)),
            server_ports: plan.ports.iter().filter(|p| p.role == PortRole::Server).map(|p| p.id).collect(),
            targets,
            own_macs: kept(own_macs(inputs), previous.map(|p| &p.own_macs)),
            guard: plan.bridge.guard,
            pools,
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
            dead_tcp: DeadFlows::Move,
            dead_other: DeadFlows::Move,
            answers: false,
            probe: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
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

/// What is equal to what was there is shared with it: workers then know that nothing has changed.
fn kept<T: PartialEq + ?Sized>(new: Arc<T>, previous: Option<&Arc<T>>) -> Arc<T> {
    previous.filter(|previous| **previous == new).map_or(new, Arc::clone)
}

fn own_macs(inputs: &Inputs<'_>) -> Arc<[u64]> {
    inputs.port_macs.iter().map(|mac| mac.to_u64()).filter(|mac| *mac != 0).collect()
}

/// Its VLAN and its VIP are among the VIPs.
fn kind(cluster: &ClusterTable) -> Kind {
    let ClusterTable { id, vmac, by_client, quic, .. } = *cluster;
    Kind { id, vmac, by_client, quic }
}

fn dead(targets: &[TargetTable]) -> Box<[TargetId]> {
    (0_u16..).zip(targets).filter(|(_, target)| target.dead).map(|(id, _)| TargetId(id)).collect()
}

fn targets(inputs: &Inputs<'_>, known: &Known<'_>) -> Box<[TargetTable]> {
    let plan = inputs.plan;
    let missing = TargetTable {
        mac: 0,
        port: PortId(0),
        alive: false,
        takes: false,
        dead: false,
        gentle: false,
        connections_max: 0,
        clusters: Box::default(),
    };
    let mut tables = vec![missing; plan.targets.iter().map(|t| t.id.index() + 1).max().unwrap_or(0)];
    for target in plan.targets.iter().filter(|t| t.id.index() < TARGETS_MAX) {
        let mac = match target.mac {
            MacPlan::Fixed(mac) => Some(mac),
            MacPlan::Learn => (inputs.server_macs)(target.id),
        };
        let condition = known.target(target.id);
        let admin = condition.and_then(|c| c.admin).unwrap_or(target.admin);
        let health = condition.map_or(Health::Up, |c| c.health);
        let wanted = mac.is_some() && admin != Admin::Disabled;
        let dead = wanted && (health == Health::Dead || !inputs.up.contains(target.port));
        let alive = wanted && !dead;
        tables[target.id.index()] = TargetTable {
            mac: mac.map_or(0, MacAddr::to_u64),
            port: target.port,
            alive,
            takes: alive && admin == Admin::Enabled && health == Health::Up,
            dead,
            gentle: alive
                && admin == Admin::Drain
                && health == Health::Up
                && condition.is_some_and(|c| c.gentle),
            connections_max: target.connections_max,
            clusters: plan.clusters.iter().filter(|c| c.servers.contains(&target.id)).map(|c| c.id).collect(),
        };
    }
    tables.into_boxed_slice()
}

fn door(target: &TargetTable) -> Door {
    if target.alive && target.mac != 0 {
        Door::new(MacAddr::from_u64(target.mac), target.port)
    } else {
        Door::NONE
    }
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
        let mut servers: Vec<_> = behind().map(|t| (mac(t.id), t.id)).filter(|(mac, _)| *mac != 0).collect();
        servers.sort_by_key(|(mac, _)| *mac);
        port.servers = servers.into_boxed_slice();
        // A learning server goes on being looked at: a change of its MAC is an alarm.
        port.learning = behind().filter(|t| t.mac == MacPlan::Learn).map(|t| t.id).collect();
    }
    ports
}

fn stations(inputs: &Inputs<'_>, targets: &[TargetTable], pools: &Pools) -> Stations {
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
    for (id, router) in pools.routers().filter(|(_, r)| r.mac != 0) {
        stations.insert(router.vlan, router.mac, Station::Router(id, router.port));
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
