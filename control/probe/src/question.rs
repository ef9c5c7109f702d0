//! Questions of one frame, and when they are asked again.

use crate::classify::Answer;
use crate::packet::{ECHO_DATA_LEN, EchoRequest};
use crate::{Failure, dns};
use dataplane_flow::Instant;
use dataplane_wire::{
    AddressPair, Layers, MacAddr, arp, ethernet, icmp, icmpv6, multicast, nd, protocol, udp,
};
use std::net::IpAddr;

/// A lost frame is sent again after a third of the time-out, and after two: a probe survives the loss of two.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Repeat {
    next: Instant,
    step_ns: u64,
    left: u8,
}

impl Repeat {
    pub(crate) fn new(now: Instant, timeout_ns: u64) -> Self {
        let step_ns = (timeout_ns / 3).max(1);
        Self { next: Instant(now.0 + step_ns), step_ns, left: 2 }
    }

    /// When the next one is due.
    pub(crate) fn at(&self) -> Option<Instant> {
        (self.left > 0).then_some(self.next)
    }

    /// Whether one is due; counts it as sent.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let due = self.left > 0 && self.next <= now;
        if due {
            self.left -= 1;
            self.next = Instant(now.0 + self.step_ns);
        }
        due
    }
}

/// A question of one frame.
#[derive(Debug)]
pub(crate) struct Question {
    /// The frame, as it is sent and sent again.
    pub(crate) frame: Vec<u8>,
    pub(crate) repeat: Repeat,
    wanted: Wanted,
}

/// What the answer must be.
#[derive(Debug)]
enum Wanted {
    /// ARP or ND: `address` is at `mac`, or anywhere if that is not known.
    Neighbour { mac: Option<MacAddr>, target: IpAddr },
    /// The echo of that request.
    Echo(EchoRequest),
    /// A datagram that begins with that.
    Datagram(Vec<u8>),
    /// The answer to that query.
    Dns(dns::Query),
}

/// What an answer means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// It is good, and was told by that MAC (which matters for ARP and ND).
    Good(MacAddr),
    /// It shows that the check is not met.
    Bad(Failure),
    /// Its checksum is wrong.
    Damaged,
    /// It answers something else: an earlier question, or nobody's.
    Unexpected,
}

impl Question {
    /// Where `target` is: asked of `mac` alone if it is known, else of all (ARP), or of those that might have
    /// the address (ND).
    pub(crate) fn neighbour(
        link: &ethernet::Repr,
        addresses: AddressPair,
        mac: Option<MacAddr>,
        repeat: Repeat,
    ) -> Self {
        let (frame, target) = match addresses {
            AddressPair::V4 { src, dst } => {
                let link = ethernet::Repr { dst: mac.unwrap_or(MacAddr::BROADCAST), ..*link };
                let request = arp::Repr {
                    operation: arp::Operation::Request,
                    sender_mac: link.src,
                    sender_ip: src,
                    target_mac: MacAddr::ZERO,
                    target_ip: dst,
                };
                let mut frame = vec![0; arp::FRAME_LEN];
                request.emit_frame(&link, &mut frame);
                (frame, IpAddr::V4(dst))
            }
            AddressPair::V6 { src, dst } => {
                let group = multicast::solicited_node(dst);
                let link = ethernet::Repr { dst: mac.unwrap_or(multicast::mac_v6(group)), ..*link };
                let solicitation = nd::Solicitation {
                    src,
                    dst: if mac.is_some() { dst } else { group },
                    target: dst,
                    source_link_layer: Some(link.src),
                    nonce: None,
                };
                let mut frame = vec![0; solicitation.frame_len(&link)];
                solicitation.emit_frame(&link, &mut frame);
                (frame, IpAddr::V6(dst))
            }
        };
        Self { frame, repeat, wanted: Wanted::Neighbour { mac, target } }
    }

    /// An echo request.
    pub(crate) fn echo(
        link: &ethernet::Repr,
        addresses: AddressPair,
        id: u16,
        random: u64,
        repeat: Repeat,
    ) -> Self {
        Self::echo_of(link, addresses, id, random, ECHO_DATA_LEN, repeat)
    }

    /// An echo request whose IP packet has `mtu` bytes, at most 1,500, and at least what an ordinary one has.
    pub(crate) fn large_echo(
        link: &ethernet::Repr,
        addresses: AddressPair,
        id: u16,
        random: u64,
        mtu: u16,
        repeat: Repeat,
    ) -> Self {
        let headers = (addresses.header_len() + icmp::HEADER_LEN) as u16;
        let data_len = mtu.min(1500).saturating_sub(headers).max(ECHO_DATA_LEN);
        Self::echo_of(link, addresses, id, random, data_len, repeat)
    }

    fn echo_of(
        link: &ethernet::Repr,
        addresses: AddressPair,
        id: u16,
        random: u64,
        data_len: u16,
        repeat: Repeat,
    ) -> Self {
        let sequence = (random >> 48) as u16;
        let request = EchoRequest { addresses, id, sequence, nonce: random, data_len };
        Self { frame: request.frame(link), repeat, wanted: Wanted::Echo(request) }
    }

    /// A datagram whose answer begins with `expect`.
    pub(crate) fn datagram(frame: Vec<u8>, expect: &[u8], repeat: Repeat) -> Self {
        Self { frame, repeat, wanted: Wanted::Datagram(expect.to_vec()) }
    }

    /// A DNS query.
    pub(crate) fn dns(frame: Vec<u8>, query: dns::Query, repeat: Repeat) -> Self {
        Self { frame, repeat, wanted: Wanted::Dns(query) }
    }

    /// What fails when nothing comes.
    pub(crate) fn silence(&self) -> Failure {
        match self.wanted {
            Wanted::Neighbour { .. } => Failure::NoNeighbour,
            _ => Failure::Timeout,
        }
    }

    /// What `frame` means; its addresses and ports are those of an answer to this question.
    pub(crate) fn read(&self, answer: &Answer, layers: &Layers, frame: &[u8]) -> Meaning {
        let upper = frame.get(usize::from(layers.l4)..usize::from(layers.end)).unwrap_or_default();
        let Some(addresses) = packet_addresses(layers, frame) else {
            return match self.wanted {
                Wanted::Neighbour { mac, .. } => read_arp(mac, &frame[usize::from(layers.l3)..]),
                _ => Meaning::Unexpected,
            };
        };
        match &self.wanted {
            Wanted::Neighbour { mac, target } => read_nd(*mac, *target, answer, addresses, layers, frame),
            Wanted::Echo(request) => read_echo(request, answer, addresses, upper),
            Wanted::Datagram(expect) => match payload(addresses, upper) {
                None => Meaning::Damaged,
                Some(payload) if payload.starts_with(expect) => Meaning::Good(answer.source_mac),
                Some(_) => Meaning::Bad(Failure::Unexpected),
            },
            Wanted::Dns(query) => match payload(addresses, upper).map(|payload| query.read(payload)) {
                None => Meaning::Damaged,
                Some(dns::Reply::Good) => Meaning::Good(answer.source_mac),
                Some(dns::Reply::Bad(failure)) => Meaning::Bad(failure),
                Some(dns::Reply::Foreign) => Meaning::Unexpected,
            },
        }
    }
}

fn read_arp(mac: Option<MacAddr>, packet: &[u8]) -> Meaning {
    let Ok(reply) = arp::Packet::new_checked(packet) else { return Meaning::Damaged };
    told(mac, reply.sender_mac())
}

fn read_nd(
    mac: Option<MacAddr>,
    target: IpAddr,
    answer: &Answer,
    addresses: AddressPair,
    layers: &Layers,
    frame: &[u8],
) -> Meaning {
    let AddressPair::V6 { src, dst } = addresses else { return Meaning::Unexpected };
    let upper = &frame[usize::from(layers.l4)..usize::from(layers.end)];
    let hops = frame[usize::from(layers.l3) + 7];
    match nd::Message::new_checked(upper) {
        Ok(message) if !message.is_valid(src, dst, hops) => Meaning::Damaged,
        Ok(message) if message.target().map(IpAddr::V6) == Some(target) => {
            told(mac, message.target_link_layer().unwrap_or(answer.source_mac))
        }
        Ok(_) => Meaning::Unexpected,
        Err(_) => Meaning::Damaged,
    }
}

/// An answer that tells another MAC than the one asked is somebody else's.
fn told(asked: Option<MacAddr>, told: MacAddr) -> Meaning {
    let fits = match asked {
        Some(mac) => told == mac,
        None => !told.is_multicast() && told != MacAddr::ZERO,
    };
    if fits { Meaning::Good(told) } else { Meaning::Unexpected }
}

fn read_echo(request: &EchoRequest, answer: &Answer, addresses: AddressPair, upper: &[u8]) -> Meaning {
    let fits = match addresses {
        AddressPair::V4 { .. } => icmp::Packet::new_checked(upper).ok().map(|echo| {
            let same = echo.echo_seq() == Some(request.sequence) && echo.payload() == request.data();
            (echo.has_good_checksum(), same)
        }),
        AddressPair::V6 { src, dst } => icmpv6::Packet::new_checked(upper).ok().map(|echo| {
            let same = echo.echo_seq() == Some(request.sequence) && echo.payload() == request.data();
            (echo.has_good_checksum(src, dst), same)
        }),
    };
    match fits {
        None | Some((false, _)) => Meaning::Damaged,
        Some((true, false)) => Meaning::Unexpected,
        Some((true, true)) => Meaning::Good(answer.source_mac),
    }
}

/// The payload of a datagram with a good checksum. IPv6 has no datagrams without (RFC 8200 §8.1).
fn payload(addresses: AddressPair, upper: &[u8]) -> Option<&[u8]> {
    let datagram = udp::Datagram::new_checked(upper).ok()?;
    let unsummed = matches!(addresses, AddressPair::V6 { .. }) && datagram.checksum() == 0;
    (!unsummed && datagram.has_good_checksum(addresses)).then(|| &upper[8..usize::from(datagram.len())])
}

/// Source and destination of an IP packet.
pub(crate) fn packet_addresses(layers: &Layers, frame: &[u8]) -> Option<AddressPair> {
    let packet = &frame[usize::from(layers.l3)..];
    match layers.network {
        dataplane_wire::Network::V4 => {
            let ip = dataplane_wire::ipv4::Packet::new_head(packet).ok()?;
            Some(AddressPair::V4 { src: ip.src_addr(), dst: ip.dst_addr() })
        }
        dataplane_wire::Network::V6 => {
            let ip = dataplane_wire::ipv6::Packet::new_head(packet).ok()?;
            Some(AddressPair::V6 { src: ip.src_addr(), dst: ip.dst_addr() })
        }
        _ => None,
    }
}

/// What an ICMP error means for who had asked: it ends the probe, or is not about its arrival (`None`).
pub(crate) fn unreachable(v6: bool, code: u8) -> Option<Failure> {
    match (v6, code) {
        // Port unreachable.
        (false, 3) | (true, 4) => Some(Failure::Refused),
        // Fragmentation needed: our packets are small, and Path MTU is not what is asked.
        (false, 4) => None,
        _ => Some(Failure::Unreachable(code)),
    }
}

/// Whether an ICMP message has a good checksum.
pub(crate) fn error_is_whole(addresses: AddressPair, upper: &[u8]) -> bool {
    match addresses {
        AddressPair::V4 { .. } => icmp::Packet::new_checked(upper).is_ok_and(|p| p.has_good_checksum()),
        AddressPair::V6 { src, dst } => {
            icmpv6::Packet::new_checked(upper).is_ok_and(|p| p.has_good_checksum(src, dst))
        }
    }
}

/// The protocol number of ICMP in the addresses' family.
pub(crate) fn icmp_of(addresses: AddressPair) -> u8 {
    match addresses {
        AddressPair::V4 { .. } => protocol::ICMP,
        AddressPair::V6 { .. } => protocol::ICMPV6,
    }
}
