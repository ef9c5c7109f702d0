//! ICMPv6 messages. Neighbour Discovery is in [`crate::nd`], multicast listeners in [`crate::mld`].
//!
//! Read first: RFC 4443 §2, §3.

use crate::bytes::{put, u16_in};
use crate::malformed::require;
use crate::{AddressPair, Malformed, checksum, ethernet, ipv6, protocol};
use core::fmt;
use core::net::Ipv6Addr;

/// Length of the header and the four bytes that every message has behind it, in bytes.
pub const HEADER_LEN: usize = 8;

/// The most bytes of a packet that an error of ours quotes: with its headers a packet of 1,280
/// bytes (RFC 4443 §2.4 c).
pub const QUOTE_MAX: usize = 1232;

mod field {
    use crate::bytes::Field;

    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Field = 2..4;
    pub(super) const ECHO_IDENT: Field = 4..6;
    pub(super) const ECHO_SEQ: Field = 6..8;
    pub(super) const PAYLOAD: usize = 8;
}

/// Types of messages. Those below 128 are errors.
pub mod kind {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 129;
    /// Multicast listener query.
    pub const MLD_QUERY: u8 = 130;
    /// Multicast listener report, version 1.
    pub const MLD_REPORT: u8 = 131;
    /// Multicast listener done, version 1.
    pub const MLD_DONE: u8 = 132;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Router advertisement.
    pub const ROUTER_ADVERTISEMENT: u8 = 134;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
    /// Multicast listener report, version 2.
    pub const MLDV2_REPORT: u8 = 143;
}

/// An ICMPv6 message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, which must hold 8 bytes. No getter or setter panics afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        require(buffer.as_ref().len() >= HEADER_LEN)?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Type.
    pub fn kind(&self) -> u8 {
        self.buffer.as_ref()[field::TYPE]
    }

    /// Code.
    pub fn code(&self) -> u8 {
        self.buffer.as_ref()[field::CODE]
    }

    /// Checksum.
    pub fn checksum(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the checksum is good, if the buffer is the whole message and no more.
    pub fn has_good_checksum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        let bytes = self.buffer.as_ref();
        let pseudo = checksum::pseudo_v6(src, dst, protocol::ICMPV6, bytes.len() as u32);
        checksum::is_good(pseudo, bytes)
    }

    /// Whether this is an echo request or the answer to one.
    pub fn is_echo(&self) -> bool {
        matches!(self.kind(), kind::ECHO_REQUEST | kind::ECHO_REPLY)
    }

    /// Identifier of an echo.
    pub fn echo_ident(&self) -> Option<u16> {
        self.is_echo().then(|| u16_in(self.buffer.as_ref(), field::ECHO_IDENT))
    }

    /// Sequence number of an echo.
    pub fn echo_seq(&self) -> Option<u16> {
        self.is_echo().then(|| u16_in(self.buffer.as_ref(), field::ECHO_SEQ))
    }

    /// Whether this reports an error, and so quotes a packet. Redirects are not errors here.
    pub fn is_error(&self) -> bool {
        self.kind() < 128
    }

    /// What an error quotes: the beginning of an IPv6 packet, checked by nobody yet (FS-21).
    pub fn quoted(&self) -> Option<&[u8]> {
        self.is_error().then(|| self.payload())
    }

    /// What follows the first 8 bytes.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes the type.
    pub fn set_kind(&mut self, kind: u8) {
        self.buffer.as_mut()[field::TYPE] = kind;
    }

    /// Writes the checksum of the message, which the buffer must hold whole and no more.
    pub fn fill_checksum(&mut self, src: Ipv6Addr, dst: Ipv6Addr) {
        fill_checksum(AddressPair::V6 { src, dst }, self.buffer.as_mut());
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind(), self.echo_ident(), self.echo_seq()) {
            (kind::ECHO_REQUEST, Some(ident), Some(seq)) => write!(f, "icmpv6 echo request {ident} {seq}"),
            (_, Some(ident), Some(seq)) => write!(f, "icmpv6 echo reply {ident} {seq}"),
            (kind, ..) => write!(f, "icmpv6 type {kind} code {}", self.code()),
        }
    }
}

/// Destination unreachable, in answer to a packet that finds no server (FS-10a).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreachable<'a> {
    /// From whom: the address that cannot be reached.
    pub src: Ipv6Addr,
    /// To whom: the packet's source.
    pub dst: Ipv6Addr,
    /// Why: 1 administratively prohibited, 3 address, 4 port.
    pub code: u8,
    /// The packet from its IP header on; the first [`QUOTE_MAX`] bytes are quoted.
    pub packet: &'a [u8],
}

impl Unreachable<'_> {
    fn message_len(&self) -> usize {
        HEADER_LEN + self.packet.len().min(QUOTE_MAX)
    }

    /// Length of the frame in bytes.
    pub fn frame_len(&self, link: &ethernet::Repr) -> usize {
        link.frame_len(ipv6::HEADER_LEN + self.message_len())
    }

    /// Writes a whole frame: head, IPv6 header, message with its checksum, zeros.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::frame_len`].
    pub fn emit_frame(&self, link: &ethernet::Repr, frame: &mut [u8]) {
        let addresses = AddressPair::V6 { src: self.src, dst: self.dst };
        let packet = link.emit(ethernet::EtherType::IPV6, frame);
        let rest = addresses.emit(protocol::ICMPV6, 64, self.message_len() as u16, packet);
        let (message, padding) = rest.split_at_mut(self.message_len());
        message[..HEADER_LEN].fill(0);
        message[field::TYPE] = kind::UNREACHABLE;
        message[field::CODE] = self.code;
        let quote = &mut message[field::PAYLOAD..];
        quote.copy_from_slice(&self.packet[..quote.len()]);
        fill_checksum(addresses, message);
        padding.fill(0);
    }
}

/// Writes the checksum of a message of at least 4 bytes.
pub(crate) fn fill_checksum(addresses: AddressPair, message: &mut [u8]) {
    put(message, field::CHECKSUM, [0, 0]);
    let pseudo = addresses.pseudo_sum(protocol::ICMPV6, message.len() as u16);
    let sum = checksum::of(pseudo, message);
    put(message, field::CHECKSUM, sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacAddr;
    use crate::bytes::hex;

    // "Parameter problem" with the first bytes of what it quotes.
    const ERROR: &str = "0403994c00000306 000000000182c402001063000420110ae1f6bfffe469eda2";
    // An MLD query from fe80::b2a8:6eff:fe0c:d4e8 to ff02::1.
    const QUERY: &str = "8200623a2710000000000000000000000000000000000000023c0000";

    #[test]
    fn real_bytes() {
        let error = Packet::new_checked(hex(ERROR)).expect("whole");
        assert_eq!((error.kind(), error.code(), error.checksum()), (4, 3, 0x994c));
        assert!(error.is_error() && !error.is_echo());
        assert_eq!(error.quoted(), Some(&hex(ERROR)[8..]));
        assert_eq!(error.to_string(), "icmpv6 type 4 code 3");
        let query = Packet::new_checked(hex(QUERY)).expect("whole");
        let src = "fe80::b2a8:6eff:fe0c:d4e8".parse().expect("an address");
        let dst = crate::multicast::ALL_NODES;
        assert!(query.has_good_checksum(src, dst));
        assert!(!query.has_good_checksum(src, src));
        assert_eq!((query.quoted(), query.payload().len()), (None, 20));
    }

    #[test]
    fn wrong_length() {
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::new_checked(&hex(QUERY)[..len]), Err(Malformed));
        }
    }

    #[test]
    fn an_echo_becomes_its_answer() {
        let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        let mut echo = Packet::new_checked(hex("80000000 0007 0009 6162")).expect("whole");
        echo.fill_checksum(src, dst);
        assert!(echo.has_good_checksum(src, dst));
        assert_eq!((echo.echo_ident(), echo.echo_seq()), (Some(7), Some(9)));
        assert_eq!(echo.to_string(), "icmpv6 echo request 7 9");
        echo.set_kind(kind::ECHO_REPLY);
        assert_eq!(echo.to_string(), "icmpv6 echo reply 7 9");
    }

    #[test]
    fn unreachable_quotes_the_packet() {
        let link = ethernet::Repr { src: MacAddr([2; 6]), dst: MacAddr([4; 6]), tci: Some(7) };
        let (src, dst) = (Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED);
        for len in [0, 5, 48, 1232, 1233, 1500] {
            let packet = vec![0x5a; len];
            let error = Unreachable { src, dst, code: 3, packet: &packet };
            let mut frame = vec![0xff; error.frame_len(&link)];
            error.emit_frame(&link, &mut frame);
            let ip = ipv6::Packet::new_checked(&frame[18..]).expect("whole");
            assert_eq!((ip.src_addr(), ip.dst_addr(), ip.next_header()), (src, dst, 58));
            let message = Packet::new_checked(ip.payload()).expect("whole");
            assert!(message.has_good_checksum(src, dst));
            assert_eq!(message.quoted(), Some(&packet[..len.min(QUOTE_MAX)]));
            assert!(ip.payload_len() <= 1240);
        }
    }
}
