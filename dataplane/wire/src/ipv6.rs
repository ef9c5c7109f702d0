//! IPv6 packets and the walk over their extension headers.
//!
//! Read first: RFC 8200 §3, §4, RFC 7045 §1.1 (which headers there are), RFC 6946 (atomic fragments).

use crate::Malformed;
use crate::bytes::{array, put, u16_in, u32_in};
use crate::malformed::require;
use core::fmt;
use core::net::Ipv6Addr;

/// Length of the fixed header in bytes.
pub const HEADER_LEN: usize = 40;

/// The most extension headers that are walked over (F15).
pub const EXTENSIONS_MAX: usize = 8;

/// The most bytes of extension headers that are walked over (F15).
pub const EXTENSIONS_LEN_MAX: usize = 256;

mod field {
    use crate::bytes::Field;

    pub(super) const VERSION_CLASS_LABEL: Field = 0..4;
    pub(super) const PAYLOAD_LEN: Field = 4..6;
    pub(super) const NEXT_HEADER: usize = 6;
    pub(super) const HOP_LIMIT: usize = 7;
    pub(super) const SRC: Field = 8..24;
    pub(super) const DST: Field = 24..40;
}

/// An IPv6 packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, which must hold the whole packet; what follows its payload is padding. No
    /// getter or setter panics afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let packet = Self::new_head(buffer)?;
        require(HEADER_LEN + packet.payload_len() <= packet.buffer.as_ref().len())?;
        Ok(packet)
    }

    /// A view of the beginning of a packet, which must hold the fixed header: a first segment, or
    /// what an ICMPv6 error quotes. No getter or setter panics afterwards.
    pub fn new_head(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        require(bytes.len() >= HEADER_LEN && bytes[0] >> 4 == 6)?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// DSCP and ECN.
    pub fn traffic_class(&self) -> u8 {
        (u32_in(self.buffer.as_ref(), field::VERSION_CLASS_LABEL) >> 20) as u8
    }

    /// Flow label, 20 bits.
    pub fn flow_label(&self) -> u32 {
        u32_in(self.buffer.as_ref(), field::VERSION_CLASS_LABEL) & 0x000f_ffff
    }

    /// Bytes behind the fixed header, extension headers included, whether they are all there or not.
    pub fn payload_len(&self) -> usize {
        usize::from(u16_in(self.buffer.as_ref(), field::PAYLOAD_LEN))
    }

    /// What follows the fixed header: an IP protocol number or an extension header's.
    pub fn next_header(&self) -> u8 {
        self.buffer.as_ref()[field::NEXT_HEADER]
    }

    /// Hop limit.
    pub fn hop_limit(&self) -> u8 {
        self.buffer.as_ref()[field::HOP_LIMIT]
    }

    /// Source address.
    pub fn src_addr(&self) -> Ipv6Addr {
        array::<16>(self.buffer.as_ref(), field::SRC).into()
    }

    /// Destination address.
    pub fn dst_addr(&self) -> Ipv6Addr {
        array::<16>(self.buffer.as_ref(), field::DST).into()
    }

    /// What follows the fixed header, without padding; of a head only what is there.
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        &bytes[HEADER_LEN..(HEADER_LEN + self.payload_len()).min(bytes.len())]
    }

    /// Walks over the extension headers.
    pub fn upper_layer(&self) -> Result<UpperLayer<'_>, Malformed> {
        UpperLayer::walk(self.next_header(), self.payload())
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Packet<T> {
    /// Writes the source address. No checksum of an upper layer is changed.
    pub fn set_src_addr(&mut self, addr: Ipv6Addr) {
        put(self.buffer.as_mut(), field::SRC, addr.octets());
    }

    /// Writes the destination address. No checksum of an upper layer is changed.
    pub fn set_dst_addr(&mut self, addr: Ipv6Addr) {
        put(self.buffer.as_mut(), field::DST, addr.octets());
    }

    /// Writes the hop limit.
    pub fn set_hop_limit(&mut self, hop_limit: u8) {
        self.buffer.as_mut()[field::HOP_LIMIT] = hop_limit;
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} next {}", self.src_addr(), self.dst_addr(), self.next_header())?;
        write!(f, " hops {} length {}", self.hop_limit(), self.payload_len())
    }
}

/// What lies behind the extension headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UpperLayer<'a> {
    /// IP protocol number. ESP and AH count as protocols, since they are keyed as such (FS-22).
    pub protocol: u8,
    /// Bytes of extension headers in front of it.
    pub offset: usize,
    /// The fragment header, if there is one.
    pub fragment: Option<Fragment>,
    /// Its bytes; of a later fragment, the middle of something.
    pub payload: &'a [u8],
}

/// A fragment header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Equal in all fragments of a datagram.
    pub ident: u32,
    /// Where in the datagram this fragment belongs, in bytes, `0..=65_528`.
    pub offset: u16,
    /// Fragments follow this one.
    pub more: bool,
}

impl Fragment {
    /// Whether this is a whole datagram nevertheless (RFC 6946).
    pub fn is_atomic(self) -> bool {
        self.offset == 0 && !self.more
    }
}

impl<'a> UpperLayer<'a> {
    /// Walks over at most [`EXTENSIONS_MAX`] headers and [`EXTENSIONS_LEN_MAX`] bytes, and ends at the
    /// first protocol, at no next header (59), or behind the fragment header of a later fragment.
    pub fn walk(next_header: u8, payload: &'a [u8]) -> Result<Self, Malformed> {
        let mut found = Self { protocol: next_header, offset: 0, fragment: None, payload };
        for _ in 0..=EXTENSIONS_MAX {
            let len = match (found.protocol, found.payload) {
                (0 | 43 | 60 | 135 | 139 | 140, [_, words, ..]) => 8 + 8 * usize::from(*words),
                (44, [_, _, rest @ ..]) if rest.len() >= 6 => {
                    let place = u16_in(rest, 0..2);
                    found.fragment = Some(Fragment {
                        ident: u32_in(rest, 2..6),
                        offset: place & 0xfff8,
                        more: place & 1 != 0,
                    });
                    8
                }
                (0 | 43 | 44 | 60 | 135 | 139 | 140, _) => return Err(Malformed),
                _ => return Ok(found),
            };
            found.offset += len;
            require(len <= found.payload.len() && found.offset <= EXTENSIONS_LEN_MAX)?;
            found.protocol = found.payload[0];
            found.payload = &found.payload[len..];
            if found.fragment.is_some_and(|fragment| fragment.offset != 0) {
                return Ok(found);
            }
        }
        Err(Malformed)
    }
}

/// The fixed header of a packet of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Repr {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address.
    pub dst: Ipv6Addr,
    /// What follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Bytes behind the header.
    pub payload_len: u16,
}

impl Repr {
    /// Writes the header; what follows is returned.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than [`HEADER_LEN`].
    pub fn emit<'a>(&self, bytes: &'a mut [u8]) -> &'a mut [u8] {
        let (header, payload) = bytes.split_at_mut(HEADER_LEN);
        put(header, field::VERSION_CLASS_LABEL, [0x60, 0, 0, 0]);
        put(header, field::PAYLOAD_LEN, self.payload_len.to_be_bytes());
        header[field::NEXT_HEADER] = self.next_header;
        header[field::HOP_LIMIT] = self.hop_limit;
        put(header, field::SRC, self.src.octets());
        put(header, field::DST, self.dst.octets());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    // A router advertisement's header with traffic class and label; a hop-by-hop header in front of
    // an MLD query.
    const FIXED: &str = "6009fc7200083afffe80000000000000e01581fffeb4b945ff020000000000000000000000000001
        8600 15e8 50400 1f4";
    const QUERY: &str = "6000000000240001fe80000000000000b2a86efffe0cd4e8ff020000000000000000000000000001
        3a00050200000100 8200623a2710000000000000000000000000000000000000023c0000";

    #[test]
    fn real_bytes() {
        let packet = Packet::new_checked(hex(FIXED)).expect("whole");
        assert_eq!((packet.traffic_class(), packet.flow_label()), (0, 0x9fc72));
        assert_eq!((packet.payload_len(), packet.next_header(), packet.hop_limit()), (8, 58, 255));
        assert_eq!(packet.src_addr().to_string(), "fe80::e015:81ff:feb4:b945");
        assert_eq!(packet.dst_addr().to_string(), "ff02::1");
        assert_eq!(packet.payload(), hex("860015e8504001f4"));
        let upper = packet.upper_layer().expect("no extension headers");
        assert_eq!((upper.protocol, upper.offset, upper.fragment), (58, 0, None));
        assert_eq!(packet.to_string(), "fe80::e015:81ff:feb4:b945 > ff02::1 next 58 hops 255 length 8");
    }

    #[test]
    fn hop_by_hop_header() {
        let packet = Packet::new_checked(hex(QUERY)).expect("whole");
        let upper = packet.upper_layer().expect("one extension header");
        assert_eq!((upper.protocol, upper.offset), (58, 8));
        assert_eq!(upper.payload[0], 130);
        assert_eq!(upper.payload.len(), 28);
    }

    #[test]
    fn wrong_length() {
        let bytes = hex(FIXED);
        for len in 0..bytes.len() {
            assert_eq!(Packet::new_checked(&bytes[..len]), Err(Malformed));
            assert_eq!(Packet::new_head(&bytes[..len]).is_ok(), len >= HEADER_LEN);
        }
        assert_eq!(Packet::new_head(&bytes[..44]).expect("a head").payload().len(), 4);
        let mut other_version = bytes;
        other_version[0] = 0x70;
        assert_eq!(Packet::new_head(&other_version), Err(Malformed));
    }

    #[test]
    fn fragments() {
        let later = hex("1100002c53231 4e9 02e1f77b00000000");
        let upper = UpperLayer::walk(44, &later).expect("a later fragment");
        let fragment = upper.fragment.expect("there is a fragment header");
        assert_eq!((fragment.offset, fragment.more, fragment.ident), (0x28, false, 0x5323_14e9));
        assert_eq!((upper.protocol, upper.offset, upper.payload.len()), (17, 8, 8));
        // Behind a later fragment's header lies data, whatever the protocol number says.
        let options = hex("0000002c532314e9ffff");
        let upper = UpperLayer::walk(44, &options).expect("a later fragment");
        assert_eq!((upper.protocol, upper.payload), (0, &[0xff, 0xff][..]));
        let whole = hex("3a000000532314e98000");
        let atomic = UpperLayer::walk(44, &whole).expect("atomic");
        assert!(atomic.fragment.is_some_and(Fragment::is_atomic));
        assert_eq!(atomic.protocol, 58);
    }

    #[test]
    fn extension_headers_have_bounds() {
        // F15: eight headers pass, nine do not; 256 bytes pass, more do not.
        let chain = |count: usize| -> Vec<u8> {
            let mut bytes = hex("3c00000000000000").repeat(count);
            bytes[8 * (count - 1)] = 17;
            bytes.extend([0; 8]);
            bytes
        };
        assert_eq!(UpperLayer::walk(60, &chain(8)).expect("eight").offset, 64);
        assert_eq!(UpperLayer::walk(60, &chain(9)), Err(Malformed));
        let mut long = vec![0; 600];
        long[..2].copy_from_slice(&[17, 31]);
        assert_eq!(UpperLayer::walk(60, &long).expect("256 bytes").offset, 256);
        long[1] = 32;
        assert_eq!(UpperLayer::walk(60, &long), Err(Malformed));
        for cut in 0..8 {
            assert_eq!(UpperLayer::walk(60, &hex("1100000000000000")[..cut]), Err(Malformed));
            assert_eq!(UpperLayer::walk(44, &hex("1100000000000000")[..cut]), Err(Malformed));
        }
        assert_eq!(UpperLayer::walk(59, &[]).expect("no next header").protocol, 59);
    }

    #[test]
    fn setters_and_emit() {
        let repr = Repr {
            src: Ipv6Addr::LOCALHOST,
            dst: Ipv6Addr::UNSPECIFIED,
            next_header: 6,
            hop_limit: 64,
            payload_len: 2,
        };
        let mut bytes = [0xff; 42];
        assert_eq!(repr.emit(&mut bytes).len(), 2);
        let mut packet = Packet::new_checked(&mut bytes).expect("whole");
        assert_eq!((packet.src_addr(), packet.dst_addr()), (repr.src, repr.dst));
        assert_eq!((packet.next_header(), packet.hop_limit(), packet.payload_len()), (6, 64, 2));
        packet.set_src_addr(repr.dst);
        packet.set_dst_addr(repr.src);
        packet.set_hop_limit(9);
        assert_eq!((packet.src_addr(), packet.dst_addr(), packet.hop_limit()), (repr.dst, repr.src, 9));
    }
}
