//! Whom a punted frame is for.

use dataplane_wire::{Layers, MacAddr, Network, Part, arp, icmp, icmpv6, ipv4, ipv6, nd, protocol};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame that may answer a probe, by its headers: checksums are looked at by the prober.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Who has sent it.
    pub source_mac: MacAddr,
    /// The VLAN that its tag names; 0 if there is none.
    pub vid: u16,
    /// Who answers: the packet's source; of ARP and ND the address whose MAC is told; of an ICMP error the
    /// destination of the packet that it quotes.
    pub source: IpAddr,
    /// Who had asked: the packet's destination; of an ICMP error the source of the packet that it quotes.
    pub destination: IpAddr,
    /// Which kind of answer it is.
    pub kind: AnswerKind,
}

/// Kinds of answers. The id is the port, or the echo identifier, of who had asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerKind {
    /// An ARP reply or a neighbour advertisement: it has no id.
    Neighbour,
    /// An echo reply.
    Echo {
        /// Its identifier.
        id: u16,
    },
    /// A TCP segment.
    Tcp {
        /// Its destination port.
        id: u16,
        /// Its source port.
        from: u16,
    },
    /// A UDP datagram.
    Udp {
        /// Its destination port.
        id: u16,
        /// Its source port.
        from: u16,
    },
    /// ICMP "destination unreachable".
    Unreachable {
        /// Its code, as in ICMP of that version.
        code: u8,
        /// The protocol of what it quotes.
        protocol: u8,
        /// The source port, or echo identifier, of what it quotes.
        id: u16,
        /// The destination port of what it quotes; 0 for an echo.
        from: u16,
    },
}

impl AnswerKind {
    /// The port, or the echo identifier, of who had asked; `None` for ARP and ND.
    pub fn id(self) -> Option<u16> {
        match self {
            Self::Neighbour => None,
            Self::Echo { id }
            | Self::Tcp { id, .. }
            | Self::Udp { id, .. }
            | Self::Unreachable { id, .. } => Some(id),
        }
    }
}

/// What a frame would answer; `None` for what answers no probe: requests, fragments, other protocols, headers
/// that contradict themselves. Costs one pass over the headers; nothing is allocated.
pub fn classify(frame: &[u8]) -> Option<Answer> {
    read(frame).ok().map(|(answer, _)| answer)
}

/// Why a frame is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NoAnswer {
    /// Its headers contradict themselves, or it is a fragment.
    Damaged,
    /// It is something else.
    Other,
}

/// What a frame would answer, and where its headers are.
pub(crate) fn read(frame: &[u8]) -> Result<(Answer, Layers), NoAnswer> {
    let layers = Layers::parse(frame, frame.len() as u32, false);
    if layers.flaw.is_some() || layers.part != Part::Whole {
        return Err(NoAnswer::Damaged);
    }
    let head: [u8; 6] = frame.get(6..12).and_then(|mac| mac.try_into().ok()).ok_or(NoAnswer::Damaged)?;
    let packet = &frame[usize::from(layers.l3)..];
    let upper = frame.get(usize::from(layers.l4)..usize::from(layers.end)).unwrap_or_default();
    let (source, destination, kind) = match layers.network {
        Network::Arp => neighbour_v4(packet),
        Network::V4 => {
            let ip = ipv4::Packet::new_head(packet).map_err(|_| NoAnswer::Damaged)?;
            let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
            match (layers.protocol, layers.flags) {
                (protocol::ICMP, icmp::kind::UNREACHABLE) => unreachable_v4(layers.code, upper),
                (protocol::ICMP, icmp::kind::ECHO_REPLY) => Some((source, destination, echo(&layers))),
                _ => ports(&layers).map(|kind| (source, destination, kind)),
            }
        }
        Network::V6 => {
            let ip = ipv6::Packet::new_head(packet).map_err(|_| NoAnswer::Damaged)?;
            let (source, destination) = (ip.src_addr().into(), ip.dst_addr().into());
            match (layers.protocol, layers.flags) {
                (protocol::ICMPV6, icmpv6::kind::UNREACHABLE) => unreachable_v6(layers.code, upper),
                (protocol::ICMPV6, icmpv6::kind::ECHO_REPLY) => Some((source, destination, echo(&layers))),
                (protocol::ICMPV6, icmpv6::kind::NEIGHBOUR_ADVERTISEMENT) => nd::Message::new_checked(upper)
                    .ok()
                    .and_then(|message| message.target())
                    .map(|target| (target.into(), destination, AnswerKind::Neighbour)),
                _ => ports(&layers).map(|kind| (source, destination, kind)),
            }
        }
        Network::Other => None,
    }
    .ok_or(NoAnswer::Other)?;
    Ok((Answer { source_mac: MacAddr(head), vid: layers.vid, source, destination, kind }, layers))
}

type Found = Option<(IpAddr, IpAddr, AnswerKind)>;

fn neighbour_v4(packet: &[u8]) -> Found {
    let reply = arp::Packet::new_checked(packet).ok()?;
    (reply.operation() == arp::Operation::Reply)
        .then(|| (IpAddr::V4(reply.sender_ip()), IpAddr::V4(reply.target_ip()), AnswerKind::Neighbour))
}

fn echo(layers: &Layers) -> AnswerKind {
    AnswerKind::Echo { id: layers.source }
}

fn ports(layers: &Layers) -> Option<AnswerKind> {
    let (id, from) = (layers.destination, layers.source);
    match layers.protocol {
        protocol::TCP => Some(AnswerKind::Tcp { id, from }),
        protocol::UDP => Some(AnswerKind::Udp { id, from }),
        _ => None,
    }
}

fn unreachable_v4(code: u8, upper: &[u8]) -> Found {
    let error = icmp::Packet::new_checked(upper).ok()?;
    let quoted = ipv4::Packet::new_head(error.quoted()?).ok()?;
    let (source, destination): (Ipv4Addr, Ipv4Addr) = (quoted.src_addr(), quoted.dst_addr());
    let kind = quoted_kind(code, quoted.protocol(), quoted.payload())?;
    Some((destination.into(), source.into(), kind))
}

fn unreachable_v6(code: u8, upper: &[u8]) -> Found {
    let error = icmpv6::Packet::new_checked(upper).ok()?;
    let quoted = ipv6::Packet::new_head(error.quoted()?).ok()?;
    let (source, destination): (Ipv6Addr, Ipv6Addr) = (quoted.src_addr(), quoted.dst_addr());
    let kind = quoted_kind(code, quoted.next_header(), quoted.payload())?;
    Some((destination.into(), source.into(), kind))
}

fn quoted_kind(code: u8, protocol: u8, upper: &[u8]) -> Option<AnswerKind> {
    let word = |at: usize| upper.get(at..at + 2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    let (id, from) = match protocol {
        protocol::TCP | protocol::UDP => (word(0)?, word(2)?),
        protocol::ICMP | protocol::ICMPV6 => (word(4)?, 0),
        _ => return None,
    };
    Some(AnswerKind::Unreachable { code, protocol, id, from })
}
