//! Packets of our own that `wire` has no emitter for: echo requests and datagrams.

use dataplane_wire::{AddressPair, checksum, ethernet, icmp, icmpv6, protocol};

/// Hop limit of what we send to hosts on our own link and, through a router, beyond.
const HOPS: u8 = 64;

/// Bytes that an ordinary echo request carries: half of them random, so that no late answer is taken for it.
pub(crate) const ECHO_DATA_LEN: u16 = 16;

/// An echo request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EchoRequest {
    pub(crate) addresses: AddressPair,
    pub(crate) id: u16,
    pub(crate) sequence: u16,
    pub(crate) nonce: u64,
    /// Bytes that it carries, at least 8.
    pub(crate) data_len: u16,
}

impl EchoRequest {
    /// What it carries, and what its answer must carry.
    pub(crate) fn data(&self) -> Vec<u8> {
        let head = self.nonce.to_be_bytes().into_iter();
        head.chain(b"flowswch".iter().copied().cycle()).take(usize::from(self.data_len)).collect()
    }

    /// The whole frame.
    pub(crate) fn frame(&self, link: &ethernet::Repr) -> Vec<u8> {
        let (protocol, kind) = match self.addresses {
            AddressPair::V4 { .. } => (protocol::ICMP, icmp::kind::ECHO_REQUEST),
            AddressPair::V6 { .. } => (protocol::ICMPV6, icmpv6::kind::ECHO_REQUEST),
        };
        frame(link, self.addresses, protocol, icmp::HEADER_LEN + usize::from(self.data_len), |message| {
            message[0] = kind;
            message[4..6].copy_from_slice(&self.id.to_be_bytes());
            message[6..8].copy_from_slice(&self.sequence.to_be_bytes());
            message[8..].copy_from_slice(&self.data());
            let pseudo = match self.addresses {
                AddressPair::V4 { .. } => 0,
                AddressPair::V6 { .. } => self.addresses.pseudo_sum(protocol, message.len() as u16),
            };
            let sum = checksum::of(pseudo, message);
            message[2..4].copy_from_slice(&sum.to_be_bytes());
        })
    }
}

/// A whole frame with a UDP datagram; `payload` has at most 512 bytes.
pub(crate) fn datagram(
    link: &ethernet::Repr,
    addresses: AddressPair,
    source: u16,
    destination: u16,
    payload: &[u8],
) -> Vec<u8> {
    frame(link, addresses, protocol::UDP, 8 + payload.len(), |datagram| {
        let len = datagram.len() as u16;
        datagram[0..2].copy_from_slice(&source.to_be_bytes());
        datagram[2..4].copy_from_slice(&destination.to_be_bytes());
        datagram[4..6].copy_from_slice(&len.to_be_bytes());
        datagram[8..].copy_from_slice(payload);
        // A sum of 0 means "none" (RFC 768); IPv6 forbids that.
        let sum = match checksum::of(addresses.pseudo_sum(protocol::UDP, len), datagram) {
            0 => 0xffff,
            sum => sum,
        };
        datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    })
}

fn frame(
    link: &ethernet::Repr,
    addresses: AddressPair,
    protocol: u8,
    len: usize,
    fill: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let mut frame = vec![0; link.frame_len(addresses.header_len() + len)];
    let packet = link.emit(addresses.ethertype(), &mut frame);
    let rest = addresses.emit(protocol, HOPS, len as u16, packet);
    fill(&mut rest[..len]);
    frame
}
