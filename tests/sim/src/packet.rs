//! Frames as hosts and checkers see them: read by the model's parser, not by the product's.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tests_model::{Mac, frames, link, network};

pub use tests_model::frames::{ACK, FIN, RST, SYN};

/// The broadcast address.
pub const BROADCAST: Mac = [0xff; 6];

/// ARP: who says what about whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub op: u8,
    /// Sender.
    pub sender: (Mac, Ipv4Addr),
    /// Target.
    pub target: (Mac, Ipv4Addr),
}

/// A TCP segment's head.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<'a> {
    /// Source.
    pub src: (Ipv4Addr, u16),
    /// Destination.
    pub dst: (Ipv4Addr, u16),
    /// Flags.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Its data.
    pub data: &'a [u8],
}

/// An IPv6 packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Six<'a> {
    /// Source.
    pub src: Ipv6Addr,
    /// Destination.
    pub dst: Ipv6Addr,
    /// Protocol.
    pub protocol: u8,
    /// What is behind the headers.
    pub payload: &'a [u8],
}

impl Six<'_> {
    /// Source and destination port of UDP.
    pub fn udp(&self) -> Option<(u16, u16)> {
        let ports: &[u8; 4] = self.payload.first_chunk().filter(|_| self.protocol == 17)?;
        let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
        Some((port(0), port(2)))
    }
}

/// What a frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content<'a> {
    /// ARP.
    Arp(Arp),
    /// TCP.
    Tcp(Segment<'a>),
    /// ICMP echo: the message from its type on.
    Icmp(Ipv4Addr, Ipv4Addr, &'a [u8]),
    /// UDP: the source's and the destination's address and port, the data.
    Udp((Ipv4Addr, u16), (Ipv4Addr, u16), &'a [u8]),
    /// IPv6.
    Six(Six<'a>),
    /// Any other IP packet.
    Ip(Ipv4Addr, Ipv4Addr, u8),
    /// Not IP, not ARP.
    Other(u16),
}

impl Content<'_> {
    /// Source and destination of an IP packet.
    pub fn addresses(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        match self {
            Self::Tcp(segment) => Some((segment.src.0, segment.dst.0)),
            Self::Udp(src, dst, _) => Some((src.0, dst.0)),
            Self::Icmp(src, dst, _) | Self::Ip(src, dst, _) => Some((*src, *dst)),
            Self::Arp(_) | Self::Six(_) | Self::Other(_) => None,
        }
    }
}

/// A frame, read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<'a> {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// What is in it.
    pub content: Content<'a>,
    /// The IP packet's bytes, padding included; empty when it is none.
    pub packet: &'a [u8],
}

/// Reads a frame; `None` when it is none.
pub fn read(bytes: &[u8]) -> Option<Frame<'_>> {
    let head = link(bytes).ok()?;
    let content = match head.ethertype {
        0x0806 => Content::Arp(arp(head.payload)?),
        0x0800 => ip(head.payload)?,
        0x86dd => Content::Six(six(head.payload)?),
        other => Content::Other(other),
    };
    let packet = if head.ethertype == 0x0800 { head.payload } else { &[] };
    Some(Frame { dst: head.dst, src: head.src, content, packet })
}

/// Reads an IP packet.
pub fn ip(packet: &[u8]) -> Option<Content<'_>> {
    let ip = network(0x0800, packet)?;
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (ip.src, ip.dst) else { return None };
    if !ip.flaws.is_empty() {
        return None;
    }
    Some(match ip.protocol {
        6 => Content::Tcp(tcp(src, dst, ip.payload)?),
        17 => {
            let (ports, data) = (ip.payload.first_chunk::<4>()?, ip.payload.get(8..)?);
            let port = |at: usize| u16::from_be_bytes([ports[at], ports[at + 1]]);
            Content::Udp((src, port(0)), (dst, port(2)), data)
        }
        1 => Content::Icmp(src, dst, ip.payload),
        other => Content::Ip(src, dst, other),
    })
}

fn six(packet: &[u8]) -> Option<Six<'_>> {
    let ip = network(0x86dd, packet)?;
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else { return None };
    Some(Six { src, dst, protocol: ip.protocol, payload: ip.payload })
}

fn tcp<'a>(src: Ipv4Addr, dst: Ipv4Addr, bytes: &'a [u8]) -> Option<Segment<'a>> {
    let head: &[u8; 20] = bytes.get(..20)?.try_into().ok()?;
    let port = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let data = bytes.get(usize::from(head[12] >> 4) * 4..)?;
    Some(Segment {
        src: (src, port(0)),
        dst: (dst, port(2)),
        flags: head[13],
        seq: word(4),
        ack: word(8),
        data,
    })
}

fn arp(payload: &[u8]) -> Option<Arp> {
    let bytes: &[u8; 28] = payload.get(..28)?.try_into().ok()?;
    let mac = |at: usize| core::array::from_fn(|i| bytes[at + i]);
    let ip = |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
    Some(Arp { op: bytes[7], sender: (mac(8), ip(14)), target: (mac(18), ip(24)) })
}

/// An ARP frame.
pub fn arp_frame(dst: Mac, arp: &Arp) -> Vec<u8> {
    frames::ethernet(dst, arp.sender.0, None, 0x0806, &frames::arp(arp.op, arp.sender, arp.target))
}

/// The Internet checksum (RFC 1071) over these, and what is added to it.
fn checksum(bytes: &[u8], more: u32) -> [u8; 2] {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut sum: u32 = more + pairs.iter().map(|pair| u32::from(u16::from_be_bytes(*pair))).sum::<u32>();
    sum += rest.first().map_or(0, |last| u32::from(*last) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// The answer to an echo request.
pub fn echo_reply(request: &[u8]) -> Vec<u8> {
    let mut reply = request.to_vec();
    if let Some(head) = reply.first_chunk_mut::<4>() {
        *head = [0; 4];
    }
    let sum = checksum(&reply, 0);
    if let Some(field) = reply.get_mut(2..4) {
        field.copy_from_slice(&sum);
    }
    reply
}

/// An IP packet with a segment in it; `id` makes it unlike any other.
pub fn tcp_packet(segment: &Segment<'_>, id: u16) -> Vec<u8> {
    let mut payload =
        frames::tcp(segment.src.1, segment.dst.1, segment.flags, segment.seq, segment.ack, segment.data);
    let halves = |ip: Ipv4Addr| (u32::from(ip) >> 16) + (u32::from(ip) & 0xffff);
    let pseudo = halves(segment.src.0) + halves(segment.dst.0) + 6 + payload.len() as u32;
    let sum = checksum(&payload, pseudo);
    payload[16..18].copy_from_slice(&sum);
    frames::v4(segment.src.0, segment.dst.0, 6, id, 0, &payload)
}

/// An IP packet with a datagram in it, without a checksum, as IPv4 allows.
pub fn udp_packet(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16), data: &[u8], id: u16) -> Vec<u8> {
    frames::v4(src.0, dst.0, 17, id, 0, &frames::udp(src.1, dst.1, data))
}

/// A frame with an IPv6 packet whose upper layer has its checksum at `place` (RFC 8200, section 8.1).
pub fn six_frame(macs: (Mac, Mac), six: &Six<'_>, hops: u8, place: usize) -> Vec<u8> {
    let mut payload = six.payload.to_vec();
    let words = |address: Ipv6Addr| address.segments().iter().map(|word| u32::from(*word)).sum::<u32>();
    let pseudo = words(six.src) + words(six.dst) + payload.len() as u32 + u32::from(six.protocol);
    if let Some(field) = payload.get_mut(place..place + 2) {
        field.fill(0);
    }
    let sum = checksum(&payload, pseudo);
    if let Some(field) = payload.get_mut(place..place + 2) {
        field.copy_from_slice(&sum);
    }
    let packet = frames::v6(six.src, six.dst, six.protocol, hops, &payload);
    frames::ethernet(macs.0, macs.1, None, 0x86dd, &packet)
}

/// A packet in a frame.
pub fn framed(dst: Mac, src: Mac, packet: &[u8]) -> Vec<u8> {
    frames::ethernet(dst, src, None, 0x0800, packet)
}

/// A frame in a line, for traces.
pub fn describe(bytes: &[u8]) -> String {
    let Some(frame) = read(bytes) else { return format!("{} bytes, unreadable", bytes.len()) };
    let mac = |mac: Mac| mac.map(|b| format!("{b:02x}")).join(":");
    let what = match frame.content {
        Content::Arp(arp) if arp.op == 1 => format!("arp {} asks for {}", arp.sender.1, arp.target.1),
        Content::Arp(arp) => {
            format!("arp {} is at {}, to {}", arp.sender.1, mac(arp.sender.0), arp.target.1)
        }
        Content::Tcp(s) => {
            let names = [(SYN, "S"), (FIN, "F"), (RST, "R"), (ACK, ".")];
            let flags: String = names.iter().filter(|(bit, _)| s.flags & bit != 0).map(|(_, n)| *n).collect();
            format!(
                "tcp {}:{} > {}:{} [{flags}] seq {} ack {} len {}",
                s.src.0,
                s.src.1,
                s.dst.0,
                s.dst.1,
                s.seq,
                s.ack,
                s.data.len()
            )
        }
        Content::Udp(src, dst, data) => {
            format!("udp {}:{} > {}:{} len {}", src.0, src.1, dst.0, dst.1, data.len())
        }
        Content::Icmp(src, dst, message) => format!("icmp {src} > {dst} type {:?}", message.first()),
        Content::Six(six) => format!("ipv6 {} > {} protocol {}", six.src, six.dst, six.protocol),
        Content::Ip(src, dst, protocol) => format!("ip {src} > {dst} protocol {protocol}"),
        Content::Other(kind) => format!("ethertype {kind:04x}"),
    };
    format!("{} > {} {what}", mac(frame.src), mac(frame.dst))
}
