//! What the publisher computes and the workers read: immutable, replaced as a whole.

mod build;
mod order;
mod pools;
mod services;
mod stations;
mod vips;

pub use build::{Inputs, LearnedStation, NO_MEMBER};
pub(crate) use pools::{Hop, HopWay, Told};
pub use pools::{Pools, RouterTable};
pub use stations::{Station, Stations};
pub(crate) use vips::Vips;

use crate::door::Doors;
use core::net::IpAddr;
use dataplane_balance::{Balancer, Candidate};
use dataplane_flow::{ClusterId, HashKey, STATES, TargetId};
use dataplane_message::{Affinity, Chooser, DeadFlows, Fail, PROBE_PORT_FIRST, PortRole, Stp, UdpMode};
use dataplane_port::{PORTS_MAX, PortId, PortSet, TagEdit, VlanId};
use dataplane_wire::MacAddr;
use std::sync::Arc;

/// Everything a worker looks things up in. What has not changed is shared with the tables before: it is in the
/// workers' caches, and that it is the same is seen by where it is.
#[derive(Debug)]
pub struct Tables {
    /// The plan's number.
    pub epoch: u64,
    /// The key of choices.
    pub choice_key: HashKey,
    /// Ports by number.
    pub ports: Arc<[PortTable; PORTS_MAX]>,
    /// VLANs by number.
    vlans: Arc<[VlanTable]>,
    /// Place of each VLAN in `vlans`; 0 is the VLAN with no ports.
    vlan_index: Arc<[u16]>,
    /// Addresses and where they are.
    pub stations: Arc<Stations>,
    /// VIPs.
    pub(crate) vips: Arc<Vips>,
    /// Clusters by number.
    pub clusters: Box<[ClusterTable]>,
    /// What of them the way of a kind of frames hangs on.
    kinds: Arc<[Kind]>,
    /// Servers by number.
    pub targets: Arc<[TargetTable]>,
    /// What a frame to each of them needs.
    pub(crate) doors: Arc<Doors>,
    /// Ports with servers behind them.
    pub(crate) server_ports: PortSet,
    /// Time-outs by cluster number and state.
    pub timeouts: Arc<[[u16; STATES]]>,
    /// The ports' own addresses (F6).
    pub own_macs: Arc<[u64]>,
    /// Drop DHCP server answers and router advertisements from server ports.
    pub guard: bool,
    /// Routers and pools.
    pub pools: Arc<Pools>,
    /// Servers that are dead (FS-10).
    pub dead: Box<[TargetId]>,
}

/// One worker's hold on tables. It counts its own references: what all workers count together, all would write
/// for every new flow. What most frames need is at hand here, and mostly shared with the tables before: the first
/// burst by new tables then waits for one new line, not for one behind the other.
#[derive(Debug)]
pub struct OwnTables {
    pub(crate) server_ports: PortSet,
    pub(crate) doors: Arc<Doors>,
    pub(crate) timeouts: Arc<[[u16; STATES]]>,
    tables: Arc<Tables>,
}

impl OwnTables {
    /// For one worker, and no other.
    pub fn new(tables: Arc<Tables>) -> Arc<Self> {
        let (doors, timeouts) = (Arc::clone(&tables.doors), Arc::clone(&tables.timeouts));
        Arc::new(Self { server_ports: tables.server_ports, doors, timeouts, tables })
    }
}

impl core::ops::Deref for OwnTables {
    type Target = Tables;

    #[inline(always)]
    fn deref(&self) -> &Tables {
        &self.tables
    }
}

/// What [`Tables::treat_alike`] asks of a cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Kind {
    id: ClusterId,
    vmac: u64,
    by_client: bool,
    quic: bool,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortTable {
    /// It is part of the switch.
    pub exists: bool,
    /// Its link is up.
    pub up: bool,
    /// What is behind it.
    pub role: PortRole,
    /// VLAN of untagged frames.
    pub untagged: Option<VlanId>,
    /// VLANs of tagged frames, a bit each.
    pub tagged: Box<[u64; 64]>,
    /// BPDUs.
    pub stp: Stp,
    /// Limit of flooded frames a second.
    pub storm_pps: u32,
    /// The servers behind it, by their MACs (VLANs are in their clusters).
    pub servers: Box<[(u64, TargetId)]>,
    /// Servers behind it whose MAC is not known yet.
    pub learning: Box<[TargetId]>,
}

impl PortTable {
    /// The VLAN of a frame that names VLAN `vid` (0: none), if the port takes it.
    #[inline(always)]
    pub fn vlan(&self, vid: u16) -> Option<VlanId> {
        if vid == 0 {
            return self.untagged;
        }
        let member = self.tagged[usize::from(vid >> 6) & 63] >> (vid & 63) & 1 != 0;
        member.then_some(VlanId(vid))
    }

    /// The server behind this port with that MAC. At most 12 steps.
    #[inline(always)]
    pub fn server(&self, mac: u64) -> Option<TargetId> {
        self.servers.binary_search_by_key(&mac, |(of, _)| *of).ok().map(|at| self.servers[at].1)
    }
}

/// A VLAN's ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VlanTable {
    /// Ports that carry it untagged.
    pub untagged: PortSet,
    /// Ports that carry it tagged.
    pub tagged: PortSet,
}

impl VlanTable {
    /// How a frame is changed on its way out of `port`: `in_tag` tells whether it has the VLAN's tag.
    #[inline(always)]
    pub fn edit(&self, port: PortId, vlan: VlanId, in_tag: bool) -> TagEdit {
        match (in_tag, self.tagged.contains(port)) {
            (false, true) => TagEdit::Push(vlan.0),
            (true, false) => TagEdit::Pop,
            _ => TagEdit::None,
        }
    }

    /// All its ports.
    pub fn ports(&self) -> PortSet {
        self.untagged.or(self.tagged)
    }
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetTable {
    /// Its MAC as a number; 0 while unknown.
    pub mac: u64,
    /// Its port.
    pub port: PortId,
    /// Its flows go to it.
    pub alive: bool,
    /// It takes new flows.
    pub takes: bool,
    /// Its link is down, or control has found it dead, and nobody has taken it out of service: its flows
    /// are reset, moved or kept (FS-10).
    pub dead: bool,
    /// It is up, drains, and keeps its clients' bindings meanwhile (FS-33).
    pub gentle: bool,
    /// The most flows it may have open; 0: no limit (FS-34).
    pub connections_max: u32,
    /// The clusters it carries the VIP of.
    pub clusters: Box<[ClusterId]>,
}

impl TargetTable {
    /// Whether it carries the VIP of `cluster`.
    #[inline]
    pub fn carries(&self, cluster: ClusterId) -> bool {
        self.clusters.contains(&cluster)
    }
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct ClusterTable {
    /// It exists.
    pub exists: bool,
    /// Its number.
    pub id: ClusterId,
    /// Its VLAN.
    pub vlan: VlanId,
    /// Its VIP.
    pub vip: IpAddr,
    /// Its VIP as the words of a flow key.
    pub vip_words: [u64; 2],
    /// Its VMAC as a number.
    pub vmac: u64,
    /// Ports with servers that carry the VIP (FS-3).
    pub carriers: PortSet,
    /// Some service binds clients: one worker owns all flows of a client.
    pub by_client: bool,
    /// Some service is QUIC: one worker owns all UDP of the cluster, since a connection's address may
    /// change and its connection ID must be known to whoever then gets the packet.
    pub quic: bool,
    /// The bits of a client's address that its owner goes by (the shortest affinity prefix).
    pub client_mask: [u64; 2],
    /// UDP by flow or by packet.
    pub udp: UdpMode,
    /// With no server up.
    pub fail: Fail,
    /// What becomes of a dead server's TCP flows (FS-10).
    pub dead_tcp: DeadFlows,
    /// What becomes of its other flows.
    pub dead_other: DeadFlows,
    /// The address that probes to its servers come from (FS-30).
    pub probe: IpAddr,
    /// Some server's MAC is not known yet.
    pub learning: bool,
    /// ARP and ND for the VIP are answered (FS-10a).
    pub answers: bool,
    /// Seconds between announcements.
    pub announce_interval_s: u16,
    /// Its services; the last one matches everything.
    pub services: Box<[ServiceTable]>,
}

impl ClusterTable {
    /// The service of a flow.
    #[inline]
    pub fn service(&self, protocol: u8, vip_port: u16) -> (usize, &ServiceTable) {
        let last = self.services.len() - 1;
        self.services
            .iter()
            .enumerate()
            .find(|(i, s)| *i == last || s.matches(protocol, vip_port))
            .expect("the last service matches everything")
    }

    /// Whether a packet from there would be taken for one of control's probes, or what is sent there for an answer
    /// to it (FS-30).
    #[inline(always)]
    pub(crate) fn is_probe(&self, address: [u64; 2], port: u16) -> bool {
        port >= PROBE_PORT_FIRST && address_words(self.probe) == address
    }

    /// Its VMAC.
    pub fn vmac(&self) -> MacAddr {
        MacAddr::from_u64(self.vmac)
    }
}

/// A service.
#[derive(Clone, Debug)]
pub struct ServiceTable {
    /// Protocol; `None`: all.
    pub protocol: Option<u8>,
    /// First port of the VIP's side.
    pub port_first: u16,
    /// Last port of the VIP's side.
    pub port_last: u16,
    /// Its place among all services: the worker's round robin cursor.
    pub cursor: u16,
    /// No server is up, and all are taken as if they were (`fail = "open"`).
    pub open: bool,
    /// Binding of clients.
    pub affinity: Option<Affinity>,
    /// UDP is QUIC.
    pub quic: bool,
    /// Its members, by number.
    pub members: Box<[MemberTable]>,
    /// The compiled choice, and what it was compiled from.
    pub balancer: Arc<Balancer>,
    pub(crate) compiled: Arc<(Chooser, [u64; 2], Vec<Candidate>)>,
}

/// A server in a service.
#[derive(Clone, Copy, Debug)]
pub struct MemberTable {
    /// The server.
    pub target: TargetId,
    /// Its place among the workers' counters, or [`NO_MEMBER`].
    pub counter: u16,
    /// It takes new flows of this service.
    pub takes: bool,
    /// Clients that are bound to it stay so (FS-24): it takes new flows, or drains gently (FS-33).
    pub binds: bool,
}

impl ServiceTable {
    fn bind(&mut self, target: TargetId) {
        if let Ok(place) = self.members.binary_search_by_key(&target, |m| m.target) {
            self.members[place].binds = true;
        }
    }

    /// A member. Mostly at once: servers of a service have numbers in a row; else at most 12 steps.
    #[inline(always)]
    pub fn member(&self, target: TargetId) -> Option<&MemberTable> {
        let first = self.members.first()?.target;
        let guess = self.members.get(usize::from(target.0.wrapping_sub(first.0)));
        guess.filter(|member| member.target == target).or_else(|| self.search(target))
    }

    fn search(&self, target: TargetId) -> Option<&MemberTable> {
        self.members.binary_search_by_key(&target, |m| m.target).ok().map(|place| &self.members[place])
    }

    fn matches(&self, protocol: u8, vip_port: u16) -> bool {
        self.protocol.is_none_or(|p| p == protocol) && (self.port_first..=self.port_last).contains(&vip_port)
    }
}

impl Tables {
    /// Whether frames of a kind (from one station to another, to or from one VIP) are treated by both as by one,
    /// but for which server a flow goes to: what workers remember of kinds holds. `false` where it is not known.
    pub(crate) fn treat_alike(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ports, &other.ports)
            && Arc::ptr_eq(&self.vlans, &other.vlans)
            && Arc::ptr_eq(&self.vlan_index, &other.vlan_index)
            && Arc::ptr_eq(&self.stations, &other.stations)
            && Arc::ptr_eq(&self.vips, &other.vips)
            && Arc::ptr_eq(&self.kinds, &other.kinds)
            && Arc::ptr_eq(&self.targets, &other.targets)
            && Arc::ptr_eq(&self.pools, &other.pools)
            && Arc::ptr_eq(&self.own_macs, &other.own_macs)
            && self.guard == other.guard
    }

    /// A VLAN's ports.
    #[inline(always)]
    pub fn vlan(&self, vlan: VlanId) -> &VlanTable {
        &self.vlans[usize::from(self.vlan_index[usize::from(vlan.0) & 0xfff])]
    }

    /// A cluster that exists.
    #[inline(always)]
    pub fn cluster(&self, id: ClusterId) -> Option<&ClusterTable> {
        self.clusters.get(usize::from(id.0)).filter(|c| c.exists)
    }

    /// A server that exists.
    #[inline(always)]
    pub fn target(&self, id: TargetId) -> Option<&TargetTable> {
        self.targets.get(id.index()).filter(|t| t.mac != 0)
    }

    /// The cluster whose VIP this is in that VLAN.
    #[inline]
    pub fn vip(&self, vlan: VlanId, address: IpAddr) -> Option<&ClusterTable> {
        self.vips.find(vlan, address_words(address), address.is_ipv6()).and_then(|id| self.cluster(id))
    }
}

/// The bits that a prefix leaves of an address's words.
pub(crate) fn prefix_mask(prefix: u8, v6: bool) -> [u64; 2] {
    if v6 {
        let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
        [(mask >> 64) as u64, mask as u64]
    } else {
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
        [0, u64::from(mask)]
    }
}

/// An address as the words of a flow key: (0, IPv4) or the halves of IPv6.
#[inline(always)]
pub fn address_words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => [0, u64::from(v4.to_bits())],
        IpAddr::V6(v6) => [(v6.to_bits() >> 64) as u64, v6.to_bits() as u64],
    }
}
