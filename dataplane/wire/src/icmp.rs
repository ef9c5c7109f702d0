//! ICMP messages.
//!
//! Read first: RFC 792, RFC 1122 §3.2.2, RFC 1812 §4.3.2 (errors: which packets get none, how much
//! is quoted).

use crate::bytes::{put, u16_in};
use crate::malformed::require;
use crate::{Malformed, checksum, ethernet, ipv4, protocol};
use core::fmt;
use core::net::Ipv4Addr;

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 8;

/// The most bytes of a packet that an error of ours quotes: with its headers a packet of 576 bytes,
/// which every path takes (RFC 1812 §4.3.2.3).
pub const QUOTE_MAX: usize = 548;

mod field {
    use crate::bytes::Field;

    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Field = 2..4;
    pub(super) const ECHO_IDENT: Field = 4..6;
    pub(super) const ECHO_SEQ: Field = 6..8;
    pub(super) const PAYLOAD: usize = 8;
}

/// Types of messages.
pub mod kind {
    /// Answer to an echo request.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable: an error.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench: an error.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect: an error.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded: an error.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem: an error.
    pub const PARAMETER_PROBLEM: u8 = 12;
}

/// An ICMP message.
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
    pub fn has_good_checksum(&self) -> bool {
        checksum::is_good(0, self.buffer.as_ref())
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

    /// Whether this reports an error, and so quotes a packet. Redirects count.
    pub fn is_error(&self) -> bool {
        matches!(
            self.kind(),
            kind::UNREACHABLE
                | kind::SOURCE_QUENCH
                | kind::REDIRECT
                | kind::TIME_EXCEEDED
                | kind::PARAMETER_PROBLEM
        )
    }

    /// What an error quotes: the beginning of an IPv4 packet, checked by nobody yet (FS-21).
    pub fn quoted(&self) -> Option<&[u8]> {
        self.is_error().then(|| self.payload())
    }

    /// What follows the header.
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
    pub fn fill_checksum(&mut self) {
        put(self.buffer.as_mut(), field::CHECKSUM, [0, 0]);
        let sum = checksum::of(0, self.buffer.as_ref());
        put(self.buffer.as_mut(), field::CHECKSUM, sum.to_be_bytes());
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind(), self.echo_ident(), self.echo_seq()) {
            (kind::ECHO_REQUEST, Some(ident), Some(seq)) => write!(f, "icmp echo request {ident} {seq}"),
            (_, Some(ident), Some(seq)) => write!(f, "icmp echo reply {ident} {seq}"),
            (kind, ..) => write!(f, "icmp type {kind} code {}", self.code()),
        }
    }
}

/// Destination unreachable, in answer to a packet that finds no server (FS-10a).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreachable<'a> {
    /// From whom: the address that cannot be reached.
    pub src: Ipv4Addr,
    /// To whom: the packet's source.
    pub dst: Ipv4Addr,
    /// Why: 1 host, 2 protocol, 3 port, 13 administratively prohibited.
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
        link.frame_len(ipv4::HEADER_LEN + self.message_len())
    }

    /// Writes a whole frame: head, IPv4 header, message with its checksum, zeros.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::frame_len`].
    pub fn emit_frame(&self, link: &ethernet::Repr, frame: &mut [u8]) {
        let (src, dst, payload_len) = (self.src, self.dst, self.message_len() as u16);
        let ip = ipv4::Repr { src, dst, protocol: protocol::ICMP, ttl: 64, payload_len };
        let rest = ip.emit(link.emit(ethernet::EtherType::IPV4, frame));
        let (message, padding) = rest.split_at_mut(self.message_len());
        message[..HEADER_LEN].fill(0);
        message[field::TYPE] = kind::UNREACHABLE;
        message[field::CODE] = self.code;
        let quote = &mut message[field::PAYLOAD..];
        quote.copy_from_slice(&self.packet[..quote.len()]);
        let sum = checksum::of(0, message);
        put(message, field::CHECKSUM, sum.to_be_bytes());
        padding.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MacAddr;
    use crate::bytes::hex;

    // An echo request; "port unreachable" in answer to UDP from 10.40.2.3 to 10.50.4.4.
    const ECHO: &str = "08004d5a00010001 6162636465666768696a6b6c6d6e6f7071727374757677616263646566676869";
    const ERROR: &str = "0301fcfe00000000 45000030047740003f011cf60a2802030a320404 08002fd2c82d0000
        00000000 00000000 00000000 00000000 00000000";

    #[test]
    fn real_bytes() {
        let echo = Packet::new_checked(hex(ECHO)).expect("whole");
        assert_eq!((echo.kind(), echo.code(), echo.checksum()), (8, 0, 0x4d5a));
        assert_eq!((echo.echo_ident(), echo.echo_seq()), (Some(1), Some(1)));
        assert!(echo.has_good_checksum() && echo.is_echo() && !echo.is_error());
        assert_eq!((echo.quoted(), echo.payload().len()), (None, 32));
        assert_eq!(echo.to_string(), "icmp echo request 1 1");

        let error = Packet::new_checked(hex(ERROR)).expect("whole");
        assert_eq!(error.to_string(), "icmp type 3 code 1");
        assert!(error.is_error() && !error.is_echo());
        let quoted = ipv4::Packet::new_head(error.quoted().expect("an error")).expect("a header");
        assert_eq!(quoted.src_addr(), Ipv4Addr::new(10, 40, 2, 3)); // FS-21
        assert_eq!(error.echo_ident(), None);
    }

    #[test]
    fn wrong_length() {
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::new_checked(&hex(ECHO)[..len]), Err(Malformed));
        }
        assert!(Packet::new_checked(&hex(ERROR)[..HEADER_LEN]).expect("8 bytes").quoted().is_some());
    }

    #[test]
    fn an_echo_becomes_its_answer() {
        let mut echo = Packet::new_checked(hex(ECHO)).expect("whole");
        echo.set_kind(kind::ECHO_REPLY);
        assert!(!echo.has_good_checksum());
        echo.fill_checksum();
        assert!(echo.has_good_checksum());
        assert_eq!(echo.to_string(), "icmp echo reply 1 1");
    }

    #[test]
    fn unreachable_quotes_the_packet() {
        let link = ethernet::Repr { src: MacAddr([2; 6]), dst: MacAddr([4; 6]), tci: None };
        let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        for len in [0, 5, 28, 548, 549, 1500] {
            let packet = vec![0x5a; len];
            let error = Unreachable { src, dst, code: 1, packet: &packet };
            let mut frame = vec![0xff; error.frame_len(&link)];
            error.emit_frame(&link, &mut frame);
            let ip = ipv4::Packet::new_checked(&frame[14..]).expect("whole");
            assert_eq!((ip.src_addr(), ip.dst_addr(), ip.protocol()), (src, dst, 1));
            let message = Packet::new_checked(ip.payload()).expect("whole");
            assert!(message.has_good_checksum());
            assert_eq!(message.quoted(), Some(&packet[..len.min(QUOTE_MAX)]));
            assert!(ip.total_len() <= 576);
        }
    }
}
