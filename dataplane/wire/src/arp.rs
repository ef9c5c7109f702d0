//! ARP for IPv4 over Ethernet, and nothing else.
//!
//! Read first: RFC 826, RFC 5227 §1.1 (probe and announcement).

use crate::bytes::{array, put, u16_in};
use crate::ethernet::{self, EtherType};
use crate::malformed::require;
use crate::{MacAddr, Malformed};
use core::fmt;
use core::net::Ipv4Addr;

/// Length of a packet in bytes.
pub const PACKET_LEN: usize = 28;

/// Length in bytes of a frame with an ARP packet, with a tag or without: the shortest there is.
pub const FRAME_LEN: usize = ethernet::FRAME_MIN;

mod field {
    use crate::bytes::Field;

    pub(super) const HTYPE: Field = 0..2;
    pub(super) const PTYPE: Field = 2..4;
    pub(super) const HLEN: usize = 4;
    pub(super) const PLEN: usize = 5;
    pub(super) const OPERATION: Field = 6..8;
    pub(super) const SENDER_MAC: Field = 8..14;
    pub(super) const SENDER_IP: Field = 14..18;
    pub(super) const TARGET_MAC: Field = 18..24;
    pub(super) const TARGET_IP: Field = 24..28;
}

/// What the sender wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// To know the target's address (or to announce its own).
    Request,
    /// To answer (or to announce).
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, which must hold a request or reply for IPv4 over Ethernet (A4): hardware
    /// type 1, protocol type 0x0800, lengths 6 and 4. Bytes behind it are padding. No getter or
    /// setter panics afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        require(bytes.len() >= PACKET_LEN)?;
        require(u16_in(bytes, field::HTYPE) == 1 && u16_in(bytes, field::PTYPE) == EtherType::IPV4.0)?;
        require(bytes[field::HLEN] == 6 && bytes[field::PLEN] == 4)?;
        require(matches!(u16_in(bytes, field::OPERATION), 1 | 2))?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Request or reply.
    pub fn operation(&self) -> Operation {
        match u16_in(self.buffer.as_ref(), field::OPERATION) {
            1 => Operation::Request,
            _ => Operation::Reply,
        }
    }

    /// Sender's Ethernet address.
    pub fn sender_mac(&self) -> MacAddr {
        MacAddr(array(self.buffer.as_ref(), field::SENDER_MAC))
    }

    /// Sender's IPv4 address.
    pub fn sender_ip(&self) -> Ipv4Addr {
        array::<4>(self.buffer.as_ref(), field::SENDER_IP).into()
    }

    /// Target's Ethernet address.
    pub fn target_mac(&self) -> MacAddr {
        MacAddr(array(self.buffer.as_ref(), field::TARGET_MAC))
    }

    /// Target's IPv4 address.
    pub fn target_ip(&self) -> Ipv4Addr {
        array::<4>(self.buffer.as_ref(), field::TARGET_IP).into()
    }

    /// Whether this asks if anybody has the address, before it is taken (RFC 5227).
    pub fn is_probe(&self) -> bool {
        self.operation() == Operation::Request && self.sender_ip().is_unspecified()
    }

    /// Whether this tells everybody who has the address (gratuitous ARP).
    pub fn is_announcement(&self) -> bool {
        self.sender_ip() == self.target_ip()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes the operation.
    pub fn set_operation(&mut self, operation: Operation) {
        put(self.buffer.as_mut(), field::OPERATION, operation.number().to_be_bytes());
    }

    /// Writes the sender's Ethernet address.
    pub fn set_sender_mac(&mut self, addr: MacAddr) {
        put(self.buffer.as_mut(), field::SENDER_MAC, addr.0);
    }

    /// Writes the sender's IPv4 address.
    pub fn set_sender_ip(&mut self, addr: Ipv4Addr) {
        put(self.buffer.as_mut(), field::SENDER_IP, addr.octets());
    }

    /// Writes the target's Ethernet address.
    pub fn set_target_mac(&mut self, addr: MacAddr) {
        put(self.buffer.as_mut(), field::TARGET_MAC, addr.0);
    }

    /// Writes the target's IPv4 address.
    pub fn set_target_ip(&mut self, addr: Ipv4Addr) {
        put(self.buffer.as_mut(), field::TARGET_IP, addr.octets());
    }
}

impl Operation {
    fn number(self) -> u16 {
        match self {
            Self::Request => 1,
            Self::Reply => 2,
        }
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Repr::parse(self).fmt(f)
    }
}

/// An ARP packet's meaning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repr {
    /// Request or reply.
    pub operation: Operation,
    /// Sender's Ethernet address.
    pub sender_mac: MacAddr,
    /// Sender's IPv4 address.
    pub sender_ip: Ipv4Addr,
    /// Target's Ethernet address.
    pub target_mac: MacAddr,
    /// Target's IPv4 address.
    pub target_ip: Ipv4Addr,
}

impl Repr {
    /// What `packet` says.
    pub fn parse<T: AsRef<[u8]>>(packet: &Packet<T>) -> Self {
        Self {
            operation: packet.operation(),
            sender_mac: packet.sender_mac(),
            sender_ip: packet.sender_ip(),
            target_mac: packet.target_mac(),
            target_ip: packet.target_ip(),
        }
    }

    /// The answer to a request: `mac` is where its target address is.
    #[must_use]
    pub fn answer(&self, mac: MacAddr) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_ip: self.target_ip,
            target_mac: self.sender_mac,
            target_ip: self.sender_ip,
        }
    }

    /// The announcement that `ip` is at `mac`, as a request, which every stack takes (RFC 5227 §3).
    pub fn announcement(mac: MacAddr, ip: Ipv4Addr) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: MacAddr::ZERO,
            target_ip: ip,
        }
    }

    /// Writes the packet into the first [`PACKET_LEN`] bytes.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than that.
    pub fn emit(&self, bytes: &mut [u8]) {
        put(bytes, field::HTYPE, 1_u16.to_be_bytes());
        put(bytes, field::PTYPE, EtherType::IPV4.0.to_be_bytes());
        bytes[field::HLEN] = 6;
        bytes[field::PLEN] = 4;
        put(bytes, field::OPERATION, self.operation.number().to_be_bytes());
        put(bytes, field::SENDER_MAC, self.sender_mac.0);
        put(bytes, field::SENDER_IP, self.sender_ip.octets());
        put(bytes, field::TARGET_MAC, self.target_mac.0);
        put(bytes, field::TARGET_IP, self.target_ip.octets());
    }

    /// Writes a whole frame: head, packet, zeros.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`FRAME_LEN`].
    pub fn emit_frame(&self, link: &ethernet::Repr, frame: &mut [u8]) {
        let payload = link.emit(EtherType::ARP, frame);
        self.emit(payload);
        payload[PACKET_LEN..].fill(0);
    }
}

impl fmt::Display for Repr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operation {
            Operation::Request => {
                write!(f, "arp who has {} tell {} at {}", self.target_ip, self.sender_ip, self.sender_mac)
            }
            Operation::Reply => write!(f, "arp {} is at {}", self.sender_ip, self.sender_mac),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    const REQUEST: &str = "0001 0800 06 04 0001 001f29da2d79 c0a80168 000000000000 c0a80101 0000";
    const REPLY: &str = "0001 0800 06 04 0002 30469a23fbfa 0a00008a 6cf049b2de6e 0a000001 742066726f6d20";

    #[test]
    fn real_bytes() {
        let request = Packet::new_checked(hex(REQUEST)).expect("whole");
        assert_eq!(request.operation(), Operation::Request);
        assert_eq!(request.sender_mac().to_string(), "00:1f:29:da:2d:79");
        assert_eq!(request.sender_ip(), Ipv4Addr::new(192, 168, 1, 104));
        assert_eq!(request.target_mac(), MacAddr::ZERO);
        assert_eq!(request.target_ip(), Ipv4Addr::new(192, 168, 1, 1));
        assert!(!request.is_probe() && !request.is_announcement());
        assert_eq!(request.to_string(), "arp who has 192.168.1.1 tell 192.168.1.104 at 00:1f:29:da:2d:79");
        let reply = Packet::new_checked(hex(REPLY)).expect("whole");
        assert_eq!(reply.operation(), Operation::Reply);
        assert_eq!(reply.to_string(), "arp 10.0.0.138 is at 30:46:9a:23:fb:fa");
        assert_eq!(reply.into_inner().len(), 35);
    }

    #[test]
    fn wrong_length() {
        for len in 0..PACKET_LEN {
            assert_eq!(Packet::new_checked(&hex(REQUEST)[..len]), Err(Malformed));
        }
        assert!(Packet::new_checked(&hex(REQUEST)[..PACKET_LEN]).is_ok());
    }

    #[test]
    fn anything_but_ipv4_over_ethernet_is_malformed() {
        // A4: hardware type, protocol type, lengths, operation.
        for at in 0..8 {
            for bit in 0..8 {
                let mut bytes = hex(REQUEST);
                bytes[at] ^= 1 << bit;
                assert_eq!(Packet::new_checked(&bytes), Err(Malformed), "byte {at} bit {bit}");
            }
        }
        let mut reverse_request = hex(REQUEST);
        reverse_request[7] = 3;
        assert_eq!(Packet::new_checked(&reverse_request), Err(Malformed));
    }

    #[test]
    fn setters_and_round_trip() {
        let repr = Repr::parse(&Packet::new_checked(hex(REPLY)).expect("whole"));
        let mut bytes = hex(REQUEST);
        let mut packet = Packet::new_checked(&mut bytes).expect("whole");
        packet.set_operation(repr.operation);
        packet.set_sender_mac(repr.sender_mac);
        packet.set_sender_ip(repr.sender_ip);
        packet.set_target_mac(repr.target_mac);
        packet.set_target_ip(repr.target_ip);
        assert_eq!(Repr::parse(&packet), repr);
        assert_eq!(bytes[..PACKET_LEN], hex(REPLY)[..PACKET_LEN]);
    }

    #[test]
    fn a_request_is_answered() {
        // FS-2
        let vmac = MacAddr([2, 0, 0x5e, 0x10, 0, 1]);
        let request = Repr::parse(&Packet::new_checked(hex(REQUEST)).expect("whole"));
        let link = ethernet::Repr { src: vmac, dst: request.sender_mac, tci: None };
        let mut frame = [0xff; FRAME_LEN];
        request.answer(vmac).emit_frame(&link, &mut frame);
        let wanted = "001f29da2d79 02005e100001 0806 0001 0800 06 04 0002 02005e100001 c0a80101
            001f29da2d79 c0a80168 000000000000000000000000000000000000";
        assert_eq!(frame[..], hex(wanted));
        let link = ethernet::Repr { tci: Some(5), ..link };
        request.answer(vmac).emit_frame(&link, &mut frame);
        assert_eq!(frame[12..20], hex("8100 0005 0806 0001"));
        assert_eq!(frame[46..], [0; 14]);
    }

    #[test]
    fn announcements_and_probes() {
        let ip = Ipv4Addr::new(192, 0, 2, 1);
        let mut bytes = [0; PACKET_LEN];
        Repr::announcement(MacAddr([2; 6]), ip).emit(&mut bytes);
        let mut packet = Packet::new_checked(&mut bytes).expect("whole");
        assert!(packet.is_announcement() && !packet.is_probe());
        packet.set_sender_ip(Ipv4Addr::UNSPECIFIED);
        assert!(packet.is_probe() && !packet.is_announcement());
    }
}
