//! Frames built from their headers down, independent of the product's own code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A MAC address.
pub type Mac = [u8; 6];

/// The broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// EtherType of IPv4.
pub const IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const IPV6: u16 = 0x86dd;
/// EtherType of an 802.1Q tag.
pub const VLAN: u16 = 0x8100;

/// IP protocol numbers.
pub mod protocol {
    #![allow(missing_docs)] // the names are the registry's
    pub const ICMP: u8 = 1;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const ESP: u8 = 50;
    pub const AH: u8 = 51;
    pub const ICMPV6: u8 = 58;
    pub const SCTP: u8 = 132;
}

/// TCP flags.
pub mod flag {
    #![allow(missing_docs)] // the names are the standard's
    pub const FIN: u8 = 1;
    pub const SYN: u8 = 2;
    pub const RST: u8 = 4;
    pub const PSH: u8 = 8;
    pub const ACK: u8 = 16;
}

/// An Ethernet frame.
pub fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&ethertype.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The same frame with an 802.1Q tag.
pub fn tagged(mut frame: Vec<u8>, vlan: u16) -> Vec<u8> {
    let [a, b] = VLAN.to_be_bytes();
    let [c, d] = vlan.to_be_bytes();
    frame.splice(12..12, [a, b, c, d]);
    frame
}

/// An IP packet of either family, of one piece.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => ipv4(s, d, protocol, 0x4000, 1, payload),
        (IpAddr::V6(s), IpAddr::V6(d)) => ipv6(s, d, protocol, payload),
        _ => panic!("one family in one packet"),
    }
}

/// The EtherType of an IP address's family.
pub fn ethertype(address: IpAddr) -> u16 {
    if address.is_ipv4() { IPV4 } else { IPV6 }
}

/// An IPv4 packet; `fragment` is the field of flags and offset.
pub fn ipv4(s: Ipv4Addr, d: Ipv4Addr, protocol: u8, fragment: u16, id: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("fits an IPv4 packet");
    let mut p = vec![0x45, 0];
    p.extend_from_slice(&length.to_be_bytes());
    p.extend_from_slice(&id.to_be_bytes());
    p.extend_from_slice(&fragment.to_be_bytes());
    p.extend_from_slice(&[64, protocol, 0, 0]);
    p.extend_from_slice(&s.octets());
    p.extend_from_slice(&d.octets());
    let sum = checksum(&p, 0);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend_from_slice(payload);
    p
}

/// An IPv6 packet. Neighbour discovery has the hop limit 255, all else 64.
pub fn ipv6(s: Ipv6Addr, d: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let discovery = next == protocol::ICMPV6 && matches!(payload.first(), Some(133..=137));
    let length = u16::try_from(payload.len()).expect("fits an IPv6 packet");
    let mut p = vec![0x60, 0, 0, 0];
    p.extend_from_slice(&length.to_be_bytes());
    p.extend_from_slice(&[next, if discovery { 255 } else { 64 }]);
    p.extend_from_slice(&s.octets());
    p.extend_from_slice(&d.octets());
    p.extend_from_slice(payload);
    p
}

/// A UDP packet with its IP header.
pub fn udp(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    ip(source.ip(), destination.ip(), protocol::UDP, &udp_datagram(source, destination, payload))
}

/// A UDP header with its payload.
pub fn udp_datagram(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("fits a datagram");
    let mut d = Vec::with_capacity(usize::from(length));
    d.extend_from_slice(&source.port().to_be_bytes());
    d.extend_from_slice(&destination.port().to_be_bytes());
    d.extend_from_slice(&length.to_be_bytes());
    d.extend_from_slice(&[0, 0]);
    d.extend_from_slice(payload);
    finish(&mut d, 6, source.ip(), destination.ip(), protocol::UDP);
    d
}

/// A TCP packet with its IP header.
pub fn tcp(
    source: SocketAddr,
    destination: SocketAddr,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut s = Vec::with_capacity(20 + payload.len());
    s.extend_from_slice(&source.port().to_be_bytes());
    s.extend_from_slice(&destination.port().to_be_bytes());
    s.extend_from_slice(&seq.to_be_bytes());
    s.extend_from_slice(&ack.to_be_bytes());
    s.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    s.extend_from_slice(payload);
    finish(&mut s, 16, source.ip(), destination.ip(), protocol::TCP);
    ip(source.ip(), destination.ip(), protocol::TCP, &s)
}

/// An ICMP or ICMPv6 message with its IP header; `rest` is the second word of the header.
pub fn icmp(
    source: IpAddr,
    destination: IpAddr,
    kind: u8,
    code: u8,
    rest: [u8; 4],
    payload: &[u8],
) -> Vec<u8> {
    let mut m = vec![kind, code, 0, 0];
    m.extend_from_slice(&rest);
    m.extend_from_slice(payload);
    if source.is_ipv4() {
        let sum = checksum(&m, 0);
        m[2..4].copy_from_slice(&sum.to_be_bytes());
        ip(source, destination, protocol::ICMP, &m)
    } else {
        finish(&mut m, 2, source, destination, protocol::ICMPV6);
        ip(source, destination, protocol::ICMPV6, &m)
    }
}

/// An echo request of either family.
pub fn echo(source: IpAddr, destination: IpAddr, id: u16, payload: &[u8]) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    icmp(source, destination, if source.is_ipv4() { 8 } else { 128 }, 0, [a, b, 0, 1], payload)
}

/// A whole ARP frame: opcode 1 asks, 2 answers.
pub fn arp(ether: (Mac, Mac), opcode: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut p = vec![0, 1, 8, 0, 6, 4, 0, opcode];
    p.extend_from_slice(&sender.0);
    p.extend_from_slice(&sender.1.octets());
    p.extend_from_slice(&target.0);
    p.extend_from_slice(&target.1.octets());
    ethernet(ether.0, ether.1, ARP, &p)
}

/// The multicast address and MAC that ask for an IPv6 address.
pub fn solicited_node(address: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    (group, [0x33, 0x33, 0xff, a, b, c])
}

/// A whole neighbour solicitation; unicast where `to` is given.
pub fn neighbour_solicitation(to: Option<Mac>, sender: (Mac, Ipv6Addr), target: Ipv6Addr) -> Vec<u8> {
    let (group, group_mac) = solicited_node(target);
    let mut body = target.octets().to_vec();
    body.extend_from_slice(&[1, 1]);
    body.extend_from_slice(&sender.0);
    let destination = if to.is_some() { target } else { group };
    let packet = icmp(sender.1.into(), destination.into(), 135, 0, [0; 4], &body);
    ethernet(to.unwrap_or(group_mac), sender.0, IPV6, &packet)
}

/// A frame taken apart as far as its IP header.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Destination.
    pub destination: Mac,
    /// Source.
    pub source: Mac,
    /// VLAN of the outer tag.
    pub vlan: Option<u16>,
    /// EtherType behind the tag.
    pub ethertype: u16,
    /// What follows.
    pub payload: &'a [u8],
}

/// Takes a frame apart.
pub fn parts(frame: &[u8]) -> Option<Parts<'_>> {
    let destination = frame.get(..6)?.try_into().ok()?;
    let source = frame.get(6..12)?.try_into().ok()?;
    let half = |at: usize| Some(u16::from_be_bytes(frame.get(at..at + 2)?.try_into().ok()?));
    let (vlan, ethertype, payload) = match half(12)? {
        VLAN => (Some(half(14)? & 0xfff), half(16)?, frame.get(18..)?),
        other => (None, other, frame.get(14..)?),
    };
    Some(Parts { destination, source, vlan, ethertype, payload })
}

/// An ARP frame: (opcode, sender MAC, sender address, target MAC, target address).
pub fn parse_arp(frame: &[u8]) -> Option<(u8, Mac, Ipv4Addr, Mac, Ipv4Addr)> {
    let parts = parts(frame).filter(|p| p.ethertype == ARP)?;
    let p = parts.payload.get(..28)?;
    let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(p.get(at..at + 4)?).ok()?));
    Some((p[7], p[8..14].try_into().ok()?, address(14)?, p[18..24].try_into().ok()?, address(24)?))
}

/// A neighbour solicitation (135) or advertisement (136).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Discovery {
    /// 135 or 136.
    pub kind: u8,
    /// Source of the packet.
    pub source: Ipv6Addr,
    /// Flags of an advertisement: R, S, O in the upper three bits.
    pub flags: u8,
    /// The address asked for.
    pub target: Ipv6Addr,
    /// The link-layer address in its option.
    pub link: Option<Mac>,
}

/// Takes a neighbour solicitation or advertisement apart.
pub fn parse_discovery(frame: &[u8]) -> Option<Discovery> {
    let parts = parts(frame).filter(|p| p.ethertype == IPV6)?;
    let p = parts.payload;
    if *p.get(6)? != protocol::ICMPV6 || !matches!(p.get(40)?, 135 | 136) {
        return None;
    }
    let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(p.get(at..at + 16)?).ok()?));
    let mut options = p.get(64..)?;
    let mut link = None;
    while let [kind, length, ..] = *options {
        if matches!(kind, 1 | 2) {
            link = options.get(2..8).and_then(|m| m.try_into().ok());
        }
        options = options.get(usize::from(length.max(1)) * 8..).unwrap_or_default();
    }
    Some(Discovery { kind: p[40], source: v6(8)?, flags: *p.get(44)?, target: v6(48)?, link })
}

/// The whole of a frame in hexadecimal, for messages.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
}

/// A MAC address as people write it.
pub fn mac_text(mac: Mac) -> String {
    mac.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":")
}

/// Writes the checksum over the pseudo header and `segment` into `segment[at..at + 2]`.
fn finish(segment: &mut [u8], at: usize, source: IpAddr, destination: IpAddr, protocol: u8) {
    let mut pseudo = Vec::with_capacity(40);
    match (source, destination) {
        (IpAddr::V4(s), IpAddr::V4(d)) => {
            pseudo.extend_from_slice(&s.octets());
            pseudo.extend_from_slice(&d.octets());
        }
        (IpAddr::V6(s), IpAddr::V6(d)) => {
            pseudo.extend_from_slice(&s.octets());
            pseudo.extend_from_slice(&d.octets());
        }
        _ => panic!("one family in one packet"),
    }
    let length = u32::try_from(segment.len()).expect("fits a packet");
    pseudo.extend_from_slice(&length.to_be_bytes());
    pseudo.extend_from_slice(&[0, 0, 0, protocol]);
    let sum = match checksum(segment, sum_of(&pseudo)) {
        0 => 0xffff,
        sum => sum,
    };
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

fn sum_of(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|c| u32::from(c[0]) << 8 | c.get(1).map_or(0, |b| u32::from(*b))).sum()
}

/// The Internet checksum of `bytes` on top of `start`.
pub fn checksum(bytes: &[u8], start: u32) -> u16 {
    let mut sum = start + sum_of(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(u16::try_from(sum).expect("folded"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standards_example() {
        // RFC 1071, section 3.
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7], 0), !0xddf2);
    }

    #[test]
    fn what_is_built_is_taken_apart_again() {
        let sender = ([2, 0, 0, 0, 1, 1], Ipv6Addr::LOCALHOST);
        let target: Ipv6Addr = "fd00:80::100".parse().unwrap();
        let frame = neighbour_solicitation(None, sender, target);
        let seen = parse_discovery(&frame).unwrap();
        assert_eq!((seen.kind, seen.target, seen.link), (135, target, Some(sender.0)));
        assert_eq!(parts(&tagged(frame, 100)).unwrap().vlan, Some(100));
    }

    #[test]
    fn an_arp_frame_is_taken_apart_again() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
        let frame = arp((BROADCAST, [2; 6]), 1, ([2; 6], a), ([0; 6], b));
        assert_eq!(parse_arp(&frame), Some((1, [2; 6], a, [0; 6], b)));
    }
}
