//! The first stage: what a frame is, and what it is looked up by.
//!
//! Nothing here looks at a flow; the line that the look-up needs is asked for at the end.

use crate::tables::{ClusterTable, Station, Tables};
use dataplane_flow::{ClusterId, FlowKey, HashKey, KeyKind, RouterId, TargetId};
use dataplane_message::{PortRole, Stp};
use dataplane_port::{DropReason, Head, PuntReason, VlanId};
use dataplane_wire::{Flaw, Layers, Network, Part, protocol};

/// What a frame is to the switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Dropped already.
    Drop(DropReason),
    /// To the control core.
    Punt(PuntReason),
    /// To the control core; of no VLAN, so nothing is learned from it.
    PuntUnlearned(PuntReason),
    /// ARP, or ND: to be answered, guarded or bridged.
    Neighbour,
    /// To a VIP (FS-6).
    Inbound,
    /// A later fragment to a VIP, or a first one that its keeper has to see (FS-20).
    InboundFragment,
    /// From a server in its VIP's name (FS-11), to be bridged and learned from.
    Outbound,
    /// From one VIP to another: both of these (FS-4).
    Between,
    /// Everything else (FS-5).
    Bridge,
}

/// What the first stage finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) way: Way,
    pub(crate) vlan: VlanId,
    /// The frame carries its VLAN's tag.
    pub(crate) tagged: bool,
    pub(crate) layers: Layers,
    /// There is a trail, so its sender was learned: the router that it is, or [`NO_ROUTER`].
    pub(crate) known: Option<RouterId>,
    /// Destination and source address as numbers.
    pub(crate) to: u64,
    pub(crate) from: u64,
    /// Inbound: the VIP's cluster. Outbound: the cluster that the server speaks for.
    pub(crate) cluster: ClusterId,
    /// Outbound and between: the sender.
    pub(crate) sender: TargetId,
    /// Between: the cluster that the sender speaks for.
    pub(crate) sender_cluster: ClusterId,
    pub(crate) key: FlowKey,
    pub(crate) hash: u64,
    /// Fragments: the hash of (source, VIP, protocol, identification).
    pub(crate) datagram: u64,
}

impl Default for Meta {
    fn default() -> Self {
        Self {
            way: Way::Bridge,
            vlan: VlanId(0),
            tagged: false,
            layers: Layers::default(),
            known: None,
            to: 0,
            from: 0,
            cluster: ClusterId(0),
            sender: TargetId::NONE,
            sender_cluster: ClusterId(0),
            key: FlowKey::default(),
            hash: 0,
            datagram: 0,
        }
    }
}

const GROUP: u64 = 1 << 40;
const LINK_LOCAL: u64 = 0x0180_c200_0000;
const LLDP: u16 = 0x88cc;
/// UDP ports of IPsec (FS-22).
pub(crate) const IKE: [u16; 2] = [500, 4500];

impl Meta {
    /// Whether the destination is a group address, broadcast included.
    #[inline(always)]
    pub(crate) fn is_group(&self) -> bool {
        self.to & GROUP != 0
    }
}

/// The drop reason of a flaw.
pub(crate) fn reason(flaw: Flaw) -> DropReason {
    match flaw {
        Flaw::Runt => DropReason::Runt,
        Flaw::TagDepth => DropReason::TagDepth,
        Flaw::IpHeader => DropReason::IpHeader,
        Flaw::IpChecksum => DropReason::IpChecksum,
        Flaw::SourceRoute => DropReason::SourceRoute,
        Flaw::ExtensionHeaders => DropReason::ExtensionHeaders,
        Flaw::L4Header => DropReason::L4Header,
        Flaw::BadFragment => DropReason::BadFragment,
    }
}

/// Source and destination address of an IP packet, as words of a flow key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) v6: bool,
    pub(crate) source: [u64; 2],
    pub(crate) destination: [u64; 2],
}

/// The addresses, if the packet is long enough to have them.
#[inline(always)]
pub(crate) fn addresses(data: &[u8], network: Network, l3: usize) -> Option<Addresses> {
    let word = |b: &[u8]| u64::from_be_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
    match network {
        Network::V4 => {
            let pair = word(data.get(l3 + 12..l3 + 20)?);
            Some(Addresses { v6: false, source: [0, pair >> 32], destination: [0, pair & 0xffff_ffff] })
        }
        Network::V6 => {
            let all = data.get(l3 + 8..l3 + 40)?;
            Some(Addresses {
                v6: true,
                source: [word(&all[..8]), word(&all[8..16])],
                destination: [word(&all[16..24]), word(&all[24..32])],
            })
        }
        _ => None,
    }
}

/// The key of a flow, given from the client's side.
#[inline(always)]
pub(crate) fn flow_key(
    cluster: ClusterId,
    protocol: u8,
    v6: bool,
    client: [u64; 2],
    client_port: u16,
    vip_port: u16,
) -> FlowKey {
    let ipsec = match protocol {
        protocol::ESP | protocol::AH => true,
        protocol::UDP => IKE.contains(&vip_port),
        _ => false,
    };
    if ipsec {
        // FS-22: one binding for all IPsec of a client.
        return FlowKey::new(KeyKind::Ipsec, cluster, protocol::ESP, v6, client, 0, 0);
    }
    FlowKey::new(KeyKind::Flow, cluster, protocol, v6, client, client_port, vip_port)
}

/// Finds out what the frame is. `table_key` keys the hashes of this process.
#[inline]
pub(crate) fn classify(head: &Head<'_>, tables: &Tables, table_key: &HashKey, meta: &mut Meta) {
    let data: &[u8] = head.data;
    meta.layers.parse_over(data, head.len, head.checksum_good);
    let layers = meta.layers;
    meta.way = Way::Bridge;
    meta.known = None;
    meta.sender = TargetId::NONE;
    if let Some(flaw @ (Flaw::Runt | Flaw::TagDepth)) = layers.flaw {
        meta.way = Way::Drop(reason(flaw));
        return;
    }
    let Some(ends) = data.get(..16) else {
        meta.way = Way::Drop(DropReason::Runt);
        return;
    };
    let word = |at: usize| u64::from_be_bytes(core::array::from_fn(|i| ends[at + i]));
    meta.to = word(0) >> 16;
    meta.from = word(6) >> 16;
    let port = &tables.ports[head.port.index() & 31];
    let Some(vlan) = port.vlan(layers.vid) else {
        meta.way = of_no_vlan(meta, port.exists);
        return;
    };
    meta.vlan = vlan;
    meta.tagged = layers.vid != 0;
    if meta.from & GROUP != 0 || meta.from == 0 {
        meta.way = Way::Drop(DropReason::SourceMac);
        return;
    }
    if meta.to & !0xff == LINK_LOCAL && meta.to & 0xff < 0x30 {
        meta.way = link_local(meta, port.stp);
        return;
    }
    match layers.network {
        Network::V4 | Network::V6 => {}
        Network::Arp => {
            meta.way = Way::Neighbour;
            return;
        }
        Network::Other => return to_vmac_or_bridge(tables, meta),
    }
    if layers.protocol == protocol::ICMPV6
        && (layers.flags == 130 && meta.is_group() || (133..=137).contains(&layers.flags))
    {
        // Nobody may believe one in fragments (RFC 6980), where no guard could read it.
        let whole = layers.part == Part::Whole;
        meta.way = if whole { Way::Neighbour } else { Way::Drop(DropReason::NdMalformed) };
        return;
    }
    let Some(ip) = addresses(data, layers.network, usize::from(layers.l3)) else {
        return to_vmac_or_bridge(tables, meta);
    };
    let vip = tables.vips.find(vlan, ip.destination, ip.v6);
    let sender = if port.role == PortRole::Server { port.server(meta.from) } else { None };
    if let Some(target) = sender {
        let speaks_for = tables.vips.find(vlan, ip.source, ip.v6);
        let carried = |cluster: &ClusterId| tables.target(target).is_some_and(|t| t.carries(*cluster));
        if let Some(cluster) = speaks_for.filter(carried) {
            meta.sender = target;
            meta.sender_cluster = cluster;
            meta.cluster = cluster;
            meta.way = Way::Outbound;
        }
    }
    match vip.and_then(|id| tables.cluster(id)) {
        Some(cluster) => to_vip(data, tables, table_key, cluster, &ip, meta),
        None if meta.way == Way::Outbound => outbound(table_key, &ip, meta),
        None => to_vmac_or_bridge(tables, meta),
    }
}

/// A server's packet that goes on as it is.
#[inline(always)]
fn outbound(table_key: &HashKey, ip: &Addresses, meta: &mut Meta) {
    let layers = &meta.layers;
    if layers.flaw.is_some() || layers.part == Part::Later {
        meta.way = Way::Bridge;
        return;
    }
    let (port, vip_port) = sides(layers, true);
    meta.key = flow_key(meta.cluster, layers.protocol, ip.v6, ip.destination, port, vip_port);
    meta.hash = meta.key.hash(table_key);
}

/// (client's port, VIP's port) of a packet.
#[inline(always)]
pub(crate) fn sides(layers: &Layers, outbound: bool) -> (u16, u16) {
    let icmp = matches!(layers.protocol, protocol::ICMP | protocol::ICMPV6);
    if outbound && !icmp { (layers.destination, layers.source) } else { (layers.source, layers.destination) }
}

/// FS-6: steered when the destination MAC is the VIP's VMAC or that of a server of the cluster.
#[inline(always)]
fn to_vip(
    data: &[u8],
    tables: &Tables,
    table_key: &HashKey,
    cluster: &ClusterTable,
    ip: &Addresses,
    meta: &mut Meta,
) {
    if meta.to != cluster.vmac {
        if meta.is_group() {
            meta.way = Way::Drop(DropReason::VipNotUnicast);
            return;
        }
        match tables.stations.find(meta.vlan, meta.to) {
            Some(Station::Server(id, _)) if tables.target(id).is_some_and(|t| t.carries(cluster.id)) => {}
            Some(Station::Vmac(_)) => {
                meta.way = Way::Drop(DropReason::VmacNotVip);
                return;
            }
            // Bridged: some other station's MAC, whoever uses the VIP behind it. A server may send it to its
            // router.
            _ if meta.way == Way::Outbound => return outbound(table_key, ip, meta),
            _ => return,
        }
    }
    if let Some(flaw) = meta.layers.flaw {
        meta.way = Way::Drop(reason(flaw));
        return;
    }
    meta.way = if meta.way == Way::Outbound { Way::Between } else { Way::Inbound };
    meta.cluster = cluster.id;
    let layers = &meta.layers;
    if layers.part != Part::Whole {
        meta.way = Way::InboundFragment;
        let what = u64::from(layers.id) << 32 | u64::from(cluster.id.0) << 16 | u64::from(layers.protocol);
        meta.datagram = table_key.hash3([ip.source[0], ip.source[1], what]).max(1);
    }
    if layers.is_icmp_error() {
        return crate::icmp::quoted_key(data, table_key, cluster, meta);
    }
    let (port, vip_port) = sides(layers, false);
    meta.key = flow_key(cluster.id, layers.protocol, ip.v6, ip.source, port, vip_port);
    meta.hash = meta.key.hash(table_key);
}

/// To a VMAC, and not an IP packet to its VIP: never flooded (FS-6, F3).
#[cold]
fn to_vmac_or_bridge(tables: &Tables, meta: &mut Meta) {
    if meta.is_group() {
        return;
    }
    if let Some(Station::Vmac(_)) = tables.stations.find(meta.vlan, meta.to) {
        meta.way = Way::Drop(meta.layers.flaw.map_or(DropReason::VmacNotVip, reason));
    }
}

/// A frame whose VLAN the port does not take. LLDP has none: it is between neighbours, and on a trunk
/// it comes without a tag.
#[cold]
fn of_no_vlan(meta: &Meta, port_exists: bool) -> Way {
    let layers = &meta.layers;
    let lldp = layers.ethertype == LLDP && layers.tags == 0 && meta.to & !0xf == LINK_LOCAL;
    if lldp && port_exists && meta.from & GROUP == 0 && meta.from != 0 {
        return Way::PuntUnlearned(PuntReason::Lldp);
    }
    Way::Drop(DropReason::VlanNotMember)
}

/// The addresses that no bridge forwards (IEEE 802.1Q table 8-1), and BPDUs (FS-5).
#[cold]
fn link_local(meta: &Meta, stp: Stp) -> Way {
    match meta.to & 0xff {
        _ if meta.layers.ethertype == LLDP => Way::Punt(PuntReason::Lldp),
        0 if stp == Stp::Forward => Way::Bridge,
        0 => Way::Drop(DropReason::Bpdu),
        1..=0x0f => Way::Drop(DropReason::LinkLocal),
        // 20..2f: GMRP, GVRP and their like: forwarded by bridges that do not speak them.
        _ => Way::Bridge,
    }
}
