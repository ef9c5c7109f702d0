//! Who asks, and who is asked.

use dataplane_port::PortId;
use dataplane_wire::{AddressPair, MacAddr, ethernet};
use std::net::{IpAddr, Ipv4Addr};

/// A server of a cluster, as a prober sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its MAC: where probes go, and the only one from which answers are taken.
    pub mac: MacAddr,
    /// The VIP, which all servers of the cluster have.
    pub address: IpAddr,
    /// The tag of frames on its port, if they have one: all 16 bits of the TCI.
    pub tci: Option<u16>,
    /// The port behind which it is. The prober only remembers it for its owner.
    pub port: PortId,
}

/// A router, as a prober sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Router {
    /// Its MAC; `None` until it has told it.
    pub mac: Option<MacAddr>,
    /// Its own address.
    pub address: IpAddr,
    /// The tag of frames on its port, if they have one.
    pub tci: Option<u16>,
    /// The port behind which it is. The prober only remembers it for its owner.
    pub port: PortId,
}

/// In whose name is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local {
    /// Source MAC of probes: the cluster's VMAC; to servers that of their router, where [`Self::address`] is its
    /// own, since who is asked by ARP keeps both in its cache.
    pub mac: MacAddr,
    /// Source address: to servers `ClusterPlan::probe`, never the VIP nor none; to routers the VIP.
    pub address: IpAddr,
    /// Source port and echo identifier: to servers `probe_port(target)`, to routers 61,440 and the router's
    /// number.
    pub id: u16,
}

/// Why nobody can be asked so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotUsable {
    /// IPv4 here, IPv6 there.
    #[error(
        "the probe address and the address asked are not of one family; set probe_address to one of the VIP's"
    )]
    Family,
    /// The source would be nobody, a group, or the server itself (FS-30).
    #[error("probes cannot come from {0}: choose a unicast address that no server has")]
    Source(IpAddr),
}

/// Frames that were handed in and not taken for an answer, by reason. Counts never wrap in practice: 64 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ignored {
    /// Another MAC, VLAN, address or port than was asked, or nothing that answers a probe at all.
    pub not_ours: u64,
    /// Headers that contradict themselves, a fragment, or a wrong checksum.
    pub damaged: u64,
    /// From the right sender, and nothing such was asked, or is asked any more.
    pub unexpected: u64,
}

/// The addresses of packets from `local` to `address`, if they can be.
pub(crate) fn addresses(local: &Local, address: IpAddr) -> Result<AddressPair, NotUsable> {
    let from = local.address;
    let is_broadcast = from == IpAddr::V4(Ipv4Addr::BROADCAST);
    if from.is_unspecified() || from.is_multicast() || is_broadcast || from == address {
        return Err(NotUsable::Source(from));
    }
    AddressPair::new(from, address).ok_or(NotUsable::Family)
}

/// The head of frames from `local` to `mac`.
pub(crate) fn link(local: &Local, mac: MacAddr, tci: Option<u16>) -> ethernet::Repr {
    ethernet::Repr { src: local.mac, dst: mac, tci }
}

/// The VLAN that a tag names; 0 for none.
pub(crate) fn vid(tci: Option<u16>) -> u16 {
    tci.unwrap_or(0) & dataplane_wire::vlan::VID_MASK
}
