//! Frames from their parts, for tests. Only the IPv4 header gets a checksum: the switch looks at no
//! other.

use crate::mutate::fix_v4_checksum;
use crate::table::Mac;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// TCP's SYN flag.
pub const SYN: u8 = 0x02;
/// TCP's ACK flag.
pub const ACK: u8 = 0x10;
/// TCP's RST flag.
pub const RST: u8 = 0x04;
/// TCP's FIN flag.
pub const FIN: u8 = 0x01;

/// A frame, at least 60 bytes long.
pub fn ethernet(dst: Mac, src: Mac, vid: Option<u16>, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [dst, src].concat();
    if let Some(vid) = vid {
        frame.extend([0x81, 0x00]);
        frame.extend(vid.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An IP packet of the family of its addresses.
///
/// # Panics
///
/// When they are of two.
pub fn ip(src: IpAddr, dst: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => v4(src, dst, protocol, 0, 0, payload),
        (IpAddr::V6(src), IpAddr::V6(dst)) => v6(src, dst, protocol, 64, payload),
        _ => panic!("addresses of two families"),
    }
}

/// An IPv4 packet or fragment: `place` is the field with flags and offset.
pub fn v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, id: u16, place: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((20 + payload.len() as u16).to_be_bytes());
    packet.extend(id.to_be_bytes());
    packet.extend(place.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    fix_v4_checksum(&mut packet);
    packet
}

/// An IPv6 packet.
pub fn v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([next_header, hops]);
    packet.extend(src.octets());
    packet.extend(dst.octets());
    packet.extend(payload);
    packet
}

/// A TCP segment.
pub fn tcp(src: u16, dst: u16, flags: u8, seq: u32, ack: u32, payload: &[u8]) -> Vec<u8> {
    let mut segment = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    segment.extend(seq.to_be_bytes());
    segment.extend(ack.to_be_bytes());
    segment.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(payload);
    segment
}

/// A UDP datagram.
pub fn udp(src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = [src.to_be_bytes(), dst.to_be_bytes()].concat();
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

/// An ICMP or ICMPv6 echo request.
pub fn echo(v6: bool, ident: u16) -> Vec<u8> {
    let [high, low] = ident.to_be_bytes();
    vec![if v6 { 128 } else { 8 }, 0, 0, 0, high, low, 0, 1]
}

/// An ARP packet: 1 asks, 2 answers.
pub fn arp(op: u8, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, op];
    packet.extend(sender.0);
    packet.extend(sender.1.octets());
    packet.extend(target.0);
    packet.extend(target.1.octets());
    packet
}
