//! The frames: 60 bytes, 74 where an IPv6 header is in them, in buffers of one size.

use crate::plan::{ROUTER, VIP, VIP_TAGGED, VIP6, VMAC, VMAC_TAGGED, VMAC6, server_mac};
use dataplane_wire::{MacAddr, checksum};
use etherparse::{PacketBuilder, PacketBuilderStep, VlanHeader, VlanId};

/// Bytes of a frame, padding included.
pub(crate) const FRAME: usize = 80;

/// A frame.
pub(crate) type Frame = [u8; FRAME];

/// What kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// TCP over IPv4.
    Tcp,
    /// UDP over IPv4.
    Udp,
    /// TCP over IPv6.
    Ipv6,
    /// TCP over IPv4 in a VLAN.
    Vlan,
    /// The first fragment of a datagram of UDP.
    FirstFragment,
    /// One in the middle.
    Fragment,
}

impl Kind {
    /// From a client, with these TCP flags.
    pub(crate) fn inbound(self, flow: u32, flags: u8) -> Frame {
        let mut frame = self.frame(ROUTER, self.vmac(), true, flags);
        self.stamp(&mut frame, true, flow);
        self.fix(&mut frame);
        frame
    }

    /// From a server.
    pub(crate) fn outbound(self, flow: u32, server: u16, flags: u8) -> Frame {
        let mut frame = self.frame(server_mac(server), ROUTER, false, flags);
        self.stamp(&mut frame, false, flow);
        self.fix(&mut frame);
        frame
    }

    /// The segment with six bytes of data.
    pub(crate) fn with_data(self, mut frame: Frame) -> Frame {
        match self {
            Self::Tcp => frame[16..18].copy_from_slice(&46_u16.to_be_bytes()),
            Self::Vlan => frame[20..22].copy_from_slice(&46_u16.to_be_bytes()),
            Self::Ipv6 => frame[18..20].copy_from_slice(&26_u16.to_be_bytes()),
            Self::Udp | Self::FirstFragment | Self::Fragment => {}
        }
        self.fix(&mut frame);
        frame
    }

    /// Writes the flow's client into the frame, its low 14 bits in the port, of fragments in the
    /// identification; checksums are left alone: the device is said to have checked them.
    #[inline(always)]
    pub(crate) fn stamp(self, frame: &mut Frame, from_client: bool, flow: u32) {
        let (address, port) = match (self, from_client) {
            (Self::Vlan, true) => (30, 38),
            (Self::Vlan, false) => (34, 40),
            (Self::Ipv6, true) => (34, 54),
            (Self::Ipv6, false) => (50, 56),
            (Self::FirstFragment | Self::Fragment, _) => (26, 18),
            (_, true) => (26, 34),
            (_, false) => (30, 36),
        };
        // A source may have only so many datagrams under way (F14): fragments come from many.
        let fragment = matches!(self, Self::FirstFragment | Self::Fragment);
        let host = 0xc633_0000_u32 | if fragment { flow & 0xffff } else { flow >> 14 };
        frame[address..address + 4].copy_from_slice(&host.to_be_bytes());
        let low = 1024 + (flow & 0x3fff) as u16;
        frame[port..port + 2].copy_from_slice(&low.to_be_bytes());
    }

    fn vmac(self) -> MacAddr {
        match self {
            Self::Ipv6 => VMAC6,
            Self::Vlan => VMAC_TAGGED,
            _ => VMAC,
        }
    }

    fn frame(self, from: MacAddr, to: MacAddr, inbound: bool, flags: u8) -> Frame {
        let ethernet = PacketBuilder::ethernet2(from.0, to.0);
        let client6 = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let vip = if self == Self::Vlan { VIP_TAGGED } else { VIP }.octets();
        let (source, destination) = if inbound { ([0; 4], vip) } else { (vip, [0; 4]) };
        let ip = match self {
            Self::Ipv6 if inbound => ethernet.ipv6(client6, VIP6.octets(), 64),
            Self::Ipv6 => ethernet.ipv6(VIP6.octets(), client6, 64),
            Self::Vlan => {
                let tag = VlanId::try_new(2).expect("2 is a VLAN");
                ethernet.vlan(VlanHeader::Single(single(tag))).ipv4(source, destination, 64)
            }
            _ => ethernet.ipv4(source, destination, 64),
        };
        let (source, destination) = if inbound { (1, 80) } else { (80, 1) };
        let mut bytes = Vec::new();
        match self {
            Self::Udp => ip.udp(source, destination).write(&mut bytes, &[0; 18]).expect("a Vec takes all"),
            Self::FirstFragment | Self::Fragment => {
                ip.udp(source, destination).write(&mut bytes, &[0; 16]).expect("a Vec takes all");
                let offset: u16 = if self == Self::Fragment { 3 } else { 0 };
                bytes[20..22].copy_from_slice(&(0x2000 | offset).to_be_bytes());
            }
            _ => tcp(ip, source, destination, flags).write(&mut bytes, &[]).expect("a Vec takes all"),
        }
        let mut frame = [0; FRAME];
        frame[..bytes.len()].copy_from_slice(&bytes);
        frame
    }

    /// Sets the IPv4 header's checksum.
    fn fix(self, frame: &mut Frame) {
        let l3 = match self {
            Self::Ipv6 => return,
            Self::Vlan => 18,
            _ => 14,
        };
        fix(&mut frame[l3..l3 + 20]);
    }
}

/// A frame from a station behind a server's port that is no server, to the router.
pub(crate) fn stranger() -> Frame {
    let mut frame = Kind::Tcp.outbound(0, 0, 0x10);
    frame[26..30].copy_from_slice(&[10, 9, 0, 7]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 7, 7]);
    fix(&mut frame[14..34]);
    frame
}

fn single(id: VlanId) -> etherparse::SingleVlanHeader {
    etherparse::SingleVlanHeader { vlan_id: id, ..Default::default() }
}

fn tcp(
    ip: PacketBuilderStep<etherparse::IpHeaders>,
    source: u16,
    destination: u16,
    flags: u8,
) -> PacketBuilderStep<etherparse::TcpHeader> {
    let mut segment = ip.tcp(source, destination, 5000, 1000);
    if flags & 2 != 0 {
        segment = segment.syn();
    }
    if flags & 0x10 != 0 {
        segment = segment.ack(5001);
    }
    segment
}

fn fix(header: &mut [u8]) {
    header[10..12].fill(0);
    let sum = checksum::of(0, header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
}
