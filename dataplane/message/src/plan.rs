//! What a data path is to do: the configuration after it has been checked and numbered.

use core::net::IpAddr;
use core::ops::RangeInclusive;
use dataplane_flow::{ClusterId, PoolId, RouterId, TargetId};
use dataplane_port::{PortId, PortSet, VlanId};
use dataplane_wire::MacAddr;
use serde::{Deserialize, Serialize};

/// Everything the data path needs to know, complete. Only `control-config` makes one from a file,
/// and it makes only valid ones: references point at what exists, numbers are unique.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Plan {
    /// The key of every choice that must be equal in a whole cluster of switches (Maglev, hashing).
    pub choice_key: [u64; 2],
    /// Bridging.
    pub bridge: BridgePlan,
    /// The ports, in the order of their numbers.
    pub ports: Vec<PortPlan>,
    /// The servers.
    pub targets: Vec<TargetPlan>,
    /// The routers.
    pub routers: Vec<RouterPlan>,
    /// The router pools.
    pub pools: Vec<PoolPlan>,
    /// The clusters.
    pub clusters: Vec<ClusterPlan>,
}

/// A port's part in the switch (FS-5).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortPlan {
    /// Its number.
    pub id: PortId,
    /// Its name.
    pub name: String,
    /// What is behind it.
    pub role: PortRole,
    /// The VLAN of frames without a tag (or with VID 0); `None`: such frames are dropped.
    pub untagged: Option<VlanId>,
    /// The VLANs of frames with a tag.
    pub tagged: Vec<VlanId>,
    /// Several servers of one cluster may be behind it (FS-3).
    pub shared: bool,
    /// What becomes of BPDUs.
    pub stp: Stp,
    /// Broadcast, multicast and unknown unicast frames a second that the port may bring; 0: no limit.
    pub storm_pps: u32,
}

/// What is behind a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PortRole {
    /// Routers, clients, other switches: the outside.
    #[default]
    Outside,
    /// Servers of clusters.
    Server,
}

/// What becomes of BPDUs (FS-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stp {
    /// Flooded within the VLAN.
    #[default]
    Forward,
    /// Dropped.
    Drop,
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TargetPlan {
    /// Its number.
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// The port it is behind.
    pub port: PortId,
    /// Its MAC address.
    pub mac: MacPlan,
    /// Its state by the operator's will.
    pub admin: Admin,
    /// The most flows it may have open; 0: no limit (FS-34). Each worker counts its own and reads the
    /// others' counts, at most 10 ms old: off by the flows made in that time.
    pub connections_max: u32,
}

/// Where a server's MAC address comes from (FS-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum MacPlan {
    /// From the configuration.
    Fixed(MacAddr),
    /// The first MAC on its port that answers ARP or ND for the VIP.
    Learn,
}

/// A server's state by the operator's will.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Admin {
    /// In service.
    #[default]
    Enabled,
    /// No new flows, old ones finish.
    Drain,
    /// Out of service: its flows are moved.
    Disabled,
}

/// A first-hop router.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouterPlan {
    /// Its number.
    pub id: RouterId,
    /// Its name.
    pub name: String,
    /// The port it is behind.
    pub port: PortId,
    /// Its VLAN.
    pub vlan: VlanId,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, where configured.
    pub mac: Option<MacAddr>,
}

/// Routers that stand in for one another (FS-12).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PoolPlan {
    /// Its number.
    pub id: PoolId,
    /// Its name.
    pub name: String,
    /// Its VLAN.
    pub vlan: VlanId,
    /// The default router's address that servers are configured with: a router's own, a VRRP one, or
    /// one that nobody owns. One address family per pool.
    pub address: IpAddr,
    /// Its routers, in the configured order.
    pub routers: Vec<RouterId>,
    /// What a router is chosen for.
    pub spread: Spread,
    /// What is redirected while a router is down (FS-13).
    pub redirect: Redirect,
}

/// What a pool's router is chosen for (FS-12).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Spread {
    /// Each server has one router, told to it by ARP or ND.
    #[default]
    Server,
    /// Each flow of a server has one, by destination MAC.
    Flow,
}

/// What is redirected while a router is down (FS-13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Redirect {
    /// Every packet that is not for the router itself.
    #[default]
    All,
    /// None of established flows: the routers keep state of their own.
    NoEstablished,
}

/// How a cluster uses its servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClusterMode {
    /// New flows go to all that are up.
    #[default]
    LoadSharing,
    /// New flows go to the primary (FS-14).
    Availability,
}

/// What becomes of the flows of a dead server (FS-10).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadFlows {
    /// The client is sent a reset (TCP; anything else is moved).
    #[default]
    Reset,
    /// Each next packet is placed anew.
    Move,
    /// They stay bound to it.
    Keep,
}

/// A cluster: the servers that share one address, the VIP.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ClusterPlan {
    /// Its number.
    pub id: ClusterId,
    /// Its name.
    pub name: String,
    /// The VLAN it lives in; everything is looked up with it (FS-4).
    pub vlan: VlanId,
    /// Its address.
    pub vip: IpAddr,
    /// Its virtual MAC.
    pub vmac: MacAddr,
    /// Load sharing or availability (FS-14).
    pub mode: ClusterMode,
    /// What becomes of a dead server's TCP flows (FS-10).
    pub dead_tcp: DeadFlows,
    /// What becomes of a dead server's other flows: `Move` or `Keep`.
    pub dead_other: DeadFlows,
    /// The source address of probes to its servers (FS-30): of the VIP's family.
    pub probe: IpAddr,
    /// What happens when no server is up (FS-10a).
    pub fail: Fail,
    /// Do not answer ARP or ND while no server is up (FS-10a).
    pub withdraw: bool,
    /// Time-outs of its flows.
    pub timeouts: Timeouts,
    /// UDP is bound by flow or balanced by packet (FS-7).
    pub udp: UdpMode,
    /// Seconds between announcements of the VIP after the first three (FS-2).
    pub announce_interval_s: u16,
    /// Its servers in the configured order: every one that carries the VIP.
    pub servers: Vec<TargetId>,
    /// Its services: the first that matches; the last one is the default and matches everything (FS-4a).
    pub services: Vec<ServicePlan>,
}

/// What happens to new flows when no server is up (FS-10a).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fail {
    /// Refused.
    #[default]
    Closed,
    /// To all servers as if they were up.
    Open,
}

/// How UDP is treated (FS-7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UdpMode {
    /// A flow keeps its server.
    #[default]
    Flow,
    /// Every packet is a choice of its own.
    Packet,
}

/// Seconds without a packet after which a flow's entry may go (FS-7, FS-22).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timeouts {
    /// TCP before the handshake is complete.
    pub handshake_s: u16,
    /// TCP established.
    pub established_s: u16,
    /// One side has closed.
    pub half_closed_s: u16,
    /// Both sides have closed, or one has reset.
    pub closed_s: u16,
    /// UDP.
    pub udp_s: u16,
    /// ICMP echo.
    pub icmp_s: u16,
    /// Every other protocol.
    pub other_s: u16,
    /// IPsec of one client.
    pub ipsec_s: u16,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake_s: 5,
            established_s: 7440,
            half_closed_s: 240,
            closed_s: 60,
            udp_s: 120,
            icmp_s: 60,
            other_s: 600,
            ipsec_s: 3600,
        }
    }
}

/// A service of a cluster (FS-4a).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServicePlan {
    /// Its name; the default service is called `default`.
    pub name: String,
    /// IP protocol number; `None` matches all.
    pub protocol: Option<u8>,
    /// Ports of the VIP's side; `0..=65535` matches all, and protocols without ports.
    pub ports: RangeInclusive<u16>,
    /// How a server is chosen.
    pub chooser: Chooser,
    /// Binding of a client to a server for a time (FS-24).
    pub affinity: Option<Affinity>,
    /// UDP is QUIC: a connection is known by its server's connection ID when its client's address
    /// changes (FS-24).
    pub quic: bool,
    /// The servers, with weights.
    pub members: Vec<Member>,
}

/// How a server is chosen (FS-9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chooser {
    /// In turn, weights ignored.
    RoundRobin,
    /// In turn, in proportion to weights.
    WeightedRoundRobin,
    /// The fewest flows open in proportion to weight. Each worker counts its own: off by at most one
    /// flow per worker and server between two reports (20 ms).
    LeastConnections,
    /// By the client's address alone.
    SourceAffinity,
    /// Consistent hashing of the flow (weighted Maglev).
    #[default]
    Maglev,
    /// In proportion to capacity: weights follow the measured load (FS-9).
    Dynamic,
    /// The better of two by chance: fewer open flows times measured response time.
    TwoChoices,
}

/// Binding of a client to a server for a time (FS-24).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Affinity {
    /// Leading bits of an IPv4 client's address, `1..=32`.
    pub prefix_v4: u8,
    /// Leading bits of an IPv6 client's address, `1..=128`.
    pub prefix_v6: u8,
    /// Seconds without a packet after which the binding ends.
    pub idle_s: u16,
    /// Services with the same group number share their bindings (FS-4a).
    pub group: u16,
}

/// A server in a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The server.
    pub target: TargetId,
    /// Its weight, `0..=1000`; 0 takes no new flows.
    pub weight: u16,
    /// Taken only when fewer than a quorum of the others are up, or none (FS-34).
    pub backup: bool,
}

/// Settings of the bridge (FS-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BridgePlan {
    /// Most learned addresses.
    pub addresses_max: u32,
    /// Most learned addresses on one port.
    pub addresses_port_max: u32,
    /// Seconds after which an address that is not seen is forgotten.
    pub ageing_s: u16,
    /// Drop DHCP server answers and router advertisements from server ports.
    pub guard: bool,
}

impl Default for BridgePlan {
    fn default() -> Self {
        Self { addresses_max: 16_384, addresses_port_max: 8_192, ageing_s: 300, guard: true }
    }
}

/// The first source port, and echo identifier, of probes (FS-30); a server has the one with its number.
/// Above what any common system gives to connections of its own.
pub const PROBE_PORT_FIRST: u16 = 61_440;

/// The source port, and echo identifier, of probes to that server: all servers of a cluster answer from one
/// address, so each has a port of its own (FS-30).
pub fn probe_port(target: TargetId) -> u16 {
    PROBE_PORT_FIRST + target.0 % (u16::MAX - PROBE_PORT_FIRST + 1)
}

impl Plan {
    /// The ports behind which servers are that carry the VIP of `cluster` (FS-3).
    pub fn carriers(&self, cluster: &ClusterPlan) -> PortSet {
        self.targets.iter().filter(|t| cluster.servers.contains(&t.id)).map(|t| t.port).collect()
    }
}

/// The VMAC of a VIP where none is configured (FS-1): unicast, locally administered, derived from
/// (VLAN, VIP), so every switch of a site derives the same one. The hash is FNV-1a, 64 bits.
pub fn vmac(vlan: VlanId, vip: IpAddr) -> MacAddr {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |bytes: &[u8]| {
        for byte in bytes {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    eat(&vlan.0.to_be_bytes());
    match vip {
        IpAddr::V4(v4) => eat(&v4.octets()),
        IpAddr::V6(v6) => eat(&v6.octets()),
    }
    let [a, b, c, d, e, ..] = (hash ^ hash >> 29).to_be_bytes();
    MacAddr([0x02, a, b, c, d, e])
}
