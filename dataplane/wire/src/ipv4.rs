//! IPv4 packets.
//!
//! Read first: RFC 791 §3.1, RFC 1122 §3.2.1, RFC 6864 (identification).

use crate::bytes::{array, put, u16_in};
use crate::malformed::require;
use crate::{Malformed, checksum};
use core::fmt;
use core::net::Ipv4Addr;

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

mod field {
    use crate::bytes::Field;

    pub(super) const VERSION_IHL: usize = 0;
    pub(super) const TRAFFIC_CLASS: usize = 1;
    pub(super) const TOTAL_LEN: Field = 2..4;
    pub(super) const IDENT: Field = 4..6;
    pub(super) const FRAGMENT: Field = 6..8;
    pub(super) const TTL: usize = 8;
    pub(super) const PROTOCOL: usize = 9;
    pub(super) const CHECKSUM: Field = 10..12;
    pub(super) const SRC: Field = 12..16;
    pub(super) const DST: Field = 16..20;
    pub(super) const OPTIONS: usize = 20;
}

/// An IPv4 packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, which must hold the whole packet; what follows its total length is
    /// padding. No getter or setter panics afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self::new_head(buffer)?;
        require(usize::from(packet.total_len()) <= packet.buffer.as_ref().len())?;
        Ok(packet)
    }

    /// A view of the beginning of a packet, which must hold the whole header: a first segment, or
    /// what an ICMP error quotes. No getter or setter panics afterwards.
    pub fn new_head(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        require(bytes.len() >= HEADER_LEN && bytes[field::VERSION_IHL] >> 4 == 4)?;
        let header_len = usize::from(bytes[field::VERSION_IHL] & 15) * 4;
        require(header_len >= HEADER_LEN && header_len <= bytes.len())?;
        require(usize::from(u16_in(bytes, field::TOTAL_LEN)) >= header_len)?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Length of the header with its options, in bytes, `20..=60`.
    pub fn header_len(&self) -> usize {
        usize::from(self.buffer.as_ref()[field::VERSION_IHL] & 15) * 4
    }

    /// DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        self.buffer.as_ref()[field::TRAFFIC_CLASS]
    }

    /// Length of the packet in bytes, header included.
    pub fn total_len(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::TOTAL_LEN)
    }

    /// Identification: equal in all fragments of a datagram.
    pub fn ident(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::IDENT)
    }

    /// The packet may not be fragmented.
    pub fn dont_fragment(&self) -> bool {
        u16_in(self.buffer.as_ref(), field::FRAGMENT) & 0x4000 != 0
    }

    /// Fragments follow this one.
    pub fn more_fragments(&self) -> bool {
        u16_in(self.buffer.as_ref(), field::FRAGMENT) & 0x2000 != 0
    }

    /// Where in the datagram this fragment belongs, in bytes, `0..=65_528`.
    pub fn fragment_offset(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::FRAGMENT) << 3
    }

    /// Whether this is a fragment: the first, a middle one or the last.
    pub fn is_fragment(&self) -> bool {
        u16_in(self.buffer.as_ref(), field::FRAGMENT) & 0x3fff != 0
    }

    /// Time to live.
    pub fn ttl(&self) -> u8 {
        self.buffer.as_ref()[field::TTL]
    }

    /// IP protocol number.
    pub fn protocol(&self) -> u8 {
        self.buffer.as_ref()[field::PROTOCOL]
    }

    /// Header checksum.
    pub fn checksum(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the header's checksum is good.
    pub fn has_good_checksum(&self) -> bool {
        checksum::is_good(0, &self.buffer.as_ref()[..self.header_len()])
    }

    /// Source address.
    pub fn src_addr(&self) -> Ipv4Addr {
        array::<4>(self.buffer.as_ref(), field::SRC).into()
    }

    /// Destination address.
    pub fn dst_addr(&self) -> Ipv4Addr {
        array::<4>(self.buffer.as_ref(), field::DST).into()
    }

    /// The options, `0..=40` bytes.
    pub fn options(&self) -> &[u8] {
        &self.buffer.as_ref()[field::OPTIONS..self.header_len()]
    }

    /// What the packet carries, without padding; of a head only what is there.
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        &bytes[self.header_len()..usize::from(self.total_len()).min(bytes.len())]
    }

    /// Length of what the packet carries, in bytes, whether it is all there or not.
    pub fn payload_len(&self) -> usize {
        usize::from(self.total_len()) - self.header_len()
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes the source address, and the checksum for it.
    pub fn set_src_addr(&mut self, addr: Ipv4Addr) {
        self.replace(field::SRC, addr.octets());
    }

    /// Writes the destination address, and the checksum for it.
    pub fn set_dst_addr(&mut self, addr: Ipv4Addr) {
        self.replace(field::DST, addr.octets());
    }

    /// Writes the time to live, and the checksum for it.
    pub fn set_ttl(&mut self, ttl: u8) {
        let protocol = self.protocol();
        self.replace(field::TTL..field::PROTOCOL + 1, [ttl, protocol]);
    }

    /// Writes the checksum of the header as it is.
    pub fn fill_checksum(&mut self) {
        put(self.buffer.as_mut(), field::CHECKSUM, [0, 0]);
        let header_len = self.header_len();
        let sum = checksum::of(0, &self.buffer.as_ref()[..header_len]);
        put(self.buffer.as_mut(), field::CHECKSUM, sum.to_be_bytes());
    }

    fn replace<const N: usize>(&mut self, place: crate::bytes::Field, new: [u8; N]) {
        let old = array::<N>(self.buffer.as_ref(), place.clone());
        let sum = checksum::update(self.checksum(), &old, &new);
        put(self.buffer.as_mut(), place, new);
        put(self.buffer.as_mut(), field::CHECKSUM, sum.to_be_bytes());
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} protocol {}", self.src_addr(), self.dst_addr(), self.protocol())?;
        if self.is_fragment() {
            let more = if self.more_fragments() { "+" } else { "" };
            write!(f, " fragment {:#06x}@{}{more}", self.ident(), self.fragment_offset())?;
        }
        write!(f, " ttl {} length {}", self.ttl(), self.total_len())
    }
}

/// The header of a packet of our own: no options, not to be fragmented.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repr {
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// IP protocol number.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// Bytes behind the header, at most 65,515.
    pub payload_len: u16,
}

impl Repr {
    /// Writes the header with its checksum; what follows is returned.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than [`HEADER_LEN`].
    pub fn emit<'a>(&self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        let (header, payload) = bytes.split_at_mut(HEADER_LEN);
        header.fill(0);
        header[field::VERSION_IHL] = 0x45;
        let total = self.payload_len.saturating_add(HEADER_LEN as u16);
        put(header, field::TOTAL_LEN, total.to_be_bytes());
        put(header, field::FRAGMENT, 0x4000_u16.to_be_bytes());
        header[field::TTL] = self.ttl;
        header[field::PROTOCOL] = self.protocol;
        put(header, field::SRC, self.src.octets());
        put(header, field::DST, self.dst.octets());
        let sum = checksum::of(0, header);
        put(header, field::CHECKSUM, sum.to_be_bytes());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    // An answer of DNS, a membership report with a router alert option, the last of four fragments.
    const UDP: &str = "45000037f83b40004011be85c0a80101c0a801a3 0035ce3f00235d627e5181830001000000000000
        03687462056c6f63616c0000010001";
    const OPTION: &str = "46000020000102000102 723d0a00c897e0000001 94040000 1100eeffe0000001 00000000";

    #[test]
    fn real_bytes() {
        let packet = Packet::new_checked(hex(UDP)).expect("whole");
        assert_eq!((packet.header_len(), packet.total_len(), packet.payload_len()), (20, 55, 35));
        assert_eq!((packet.traffic_class(), packet.ident(), packet.ttl()), (0, 0xf83b, 64));
        assert!(packet.dont_fragment() && !packet.more_fragments() && !packet.is_fragment());
        assert_eq!(packet.protocol(), 17);
        assert_eq!(packet.src_addr(), Ipv4Addr::new(192, 168, 1, 1));
        assert_eq!(packet.dst_addr(), Ipv4Addr::new(192, 168, 1, 163));
        assert!(packet.has_good_checksum());
        assert_eq!(packet.payload().len(), 35);
        assert_eq!(packet.to_string(), "192.168.1.1 > 192.168.1.163 protocol 17 ttl 64 length 55");
    }

    #[test]
    fn options_and_padding() {
        let mut bytes = hex(OPTION);
        bytes.extend([0; 14]);
        bytes[6..8].copy_from_slice(&[0, 0]);
        let mut packet = Packet::new_checked(bytes).expect("whole");
        packet.fill_checksum();
        assert!(packet.has_good_checksum());
        assert_eq!((packet.header_len(), packet.options()), (24, &hex("94040000")[..]));
        assert_eq!(packet.payload(), hex("1100eeffe0000001"));
    }

    #[test]
    fn wrong_length() {
        let bytes = hex(UDP);
        for len in 0..bytes.len() {
            assert_eq!(Packet::new_checked(&bytes[..len]), Err(Malformed));
            assert_eq!(Packet::new_head(&bytes[..len]).is_ok(), len >= HEADER_LEN);
        }
        assert_eq!(Packet::new_head(&bytes[..30]).expect("a head").payload().len(), 10);
    }

    #[test]
    fn headers_that_contradict_themselves() {
        // F7: version, IHL too small and beyond the packet, total length too small and beyond.
        for (at, value) in [(0, 0x55), (0, 0x44), (0, 0x4f), (3, 19), (2, 1)] {
            let mut bytes = hex(UDP);
            bytes[at] = value;
            assert_eq!(Packet::new_checked(&bytes), Err(Malformed), "byte {at} = {value:#x}");
        }
    }

    #[test]
    fn fragments() {
        let mut bytes = hex(UDP);
        bytes[6..8].copy_from_slice(&[0x20, 0xb9]);
        let packet = Packet::new_checked(&bytes).expect("whole");
        assert!(packet.is_fragment() && packet.more_fragments() && !packet.dont_fragment());
        assert_eq!(packet.fragment_offset(), 1480);
        assert!(packet.to_string().contains("fragment 0xf83b@1480+"));
    }

    #[test]
    fn setters_keep_the_checksum_good() {
        let mut packet = Packet::new_checked(hex(UDP)).expect("whole");
        packet.set_src_addr(Ipv4Addr::new(10, 255, 0, 1));
        packet.set_dst_addr(Ipv4Addr::new(203, 0, 113, 80));
        packet.set_ttl(1);
        assert!(packet.has_good_checksum());
        assert_eq!(packet.src_addr(), Ipv4Addr::new(10, 255, 0, 1));
        assert_eq!((packet.ttl(), packet.protocol()), (1, 17));
        assert_eq!(packet.dst_addr(), Ipv4Addr::new(203, 0, 113, 80));
    }

    #[test]
    fn emitted_headers_are_whole() {
        let (src, dst) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
        let mut bytes = [0xff; 28];
        let repr = Repr { src, dst, protocol: 1, ttl: 64, payload_len: 8 };
        assert_eq!(repr.emit(&mut bytes).len(), 8);
        let packet = Packet::new_checked(&bytes).expect("whole");
        assert!(packet.has_good_checksum() && packet.dont_fragment());
        assert_eq!((packet.src_addr(), packet.dst_addr(), packet.ttl()), (src, dst, 64));
        assert_eq!((packet.protocol(), packet.payload_len()), (1, 8));
    }
}
