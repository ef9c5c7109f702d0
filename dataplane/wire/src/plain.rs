//! A shortcut of the one parser, for the frames that nearly all traffic is made of.
//!
//! Read first: `layers.rs`. Where [`Plain::read`] gives an answer, [`crate::Layers::parse`] gives the same
//! one with more words and no flaw; a property test holds them together. What it does not know it leaves
//! to that pass: options, extension headers, first fragments, ICMP, second tags, anything malformed.

use crate::layers::{Layers, Network, protocol, sums_to_zero};

/// FIN, SYN and RST: what begins or ends a connection.
const CONTROLS: u8 = 0x07;

/// Bytes of Ethernet's, IPv4's and TCP's headers without options.
const HEADERS: usize = 54;

/// See [`PlainTcp::checksum_residue`].
const CHECKSUM_GOOD: u64 = u64::MAX / 0xffff;

/// Nearly the same, and a power of two: where residues of many headers are all below it, as bits, all checksums are
/// right. Of 65,536 right ones one is not.
pub const CHECKSUM_GOOD_BELOW: u64 = 1 << 48;
const _: () = assert!(CHECKSUM_GOOD_BELOW <= CHECKSUM_GOOD + 1);

/// The plainest of all: TCP in IPv4 without options, untagged, whole. It may begin or end a connection.
#[derive(Clone, Copy, Debug)]
pub struct PlainTcp<'a> {
    frame: &'a [u8; HEADERS],
}

impl<'a> PlainTcp<'a> {
    /// The headers without options: no such frame is shorter.
    pub const LEN: usize = HEADERS;

    /// What tells such a frame from others, but for its lengths and its checksum: in its first sixteen bytes
    /// EtherType, version and header length, in those from [`Self::SECOND`] on "more fragments", the
    /// fragment's offset and the protocol. As they lie in the frame.
    pub const SHAPE: [u128; 2] = [
        u128::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x08, 0x00, 0x45, 0]),
        u128::from_ne_bytes([0, 0, 0, 0, 0, protocol::TCP, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    /// Which bits of them are asked for that.
    pub const SHAPE_MASK: [u128; 2] = [
        u128::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0]),
        u128::from_ne_bytes([0, 0, 0x3f, 0xff, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    ];
    /// Where the second sixteen bytes begin. Both addresses are in them, from the ninth on.
    pub const SECOND: usize = 18;

    /// Reads a frame of `len` bytes of which `data` is the first segment, if it is such a one.
    #[inline(always)]
    pub fn read(data: &'a [u8], len: u32) -> Option<Self> {
        let frame: &[u8; HEADERS] = data.first_chunk()?;
        let (first, second) = (frame.first_chunk()?, frame.get(Self::SECOND..)?.first_chunk()?);
        let agrees =
            |bytes: &[u8; 16], i: usize| u128::from_ne_bytes(*bytes) & Self::SHAPE_MASK[i] == Self::SHAPE[i];
        // Most others are IPv4 as well: protocol and fragment's offset first.
        if !agrees(second, 1) || !agrees(first, 0) {
            return None;
        }
        Self::read_shaped(frame, len)
    }

    /// The same of a frame that has the shape. Its checksum is always summed up, whatever the device has
    /// found: 12 instructions, where to ask is 4 and then mostly to sum up as well.
    #[inline(always)]
    pub fn read_shaped(frame: &'a [u8; HEADERS], len: u32) -> Option<Self> {
        let total = u32::from((word(frame, 16) as u16).swap_bytes());
        let offset = u32::from(frame[46] >> 4) * 4;
        if 14 + total > len || offset < 20 || total < 20 + offset {
            return None;
        }
        let tcp = Self { frame };
        (tcp.checksum_residue() <= CHECKSUM_GOOD).then_some(tcp)
    }

    /// A frame that was found to be such a one, or is going to be.
    #[inline(always)]
    pub fn of(frame: &'a [u8; HEADERS]) -> Self {
        Self { frame }
    }

    /// At most 2^64 / 65,535 if the header's checksum is right.
    ///
    /// RFC 1071: the sum is all ones, that is 0 modulo 2^16 - 1; it is not 0, as its first byte is not.
    /// So is the sum of longer words, with their carries: 2^64 is 1 modulo 2^16 - 1.
    #[inline(always)]
    pub fn checksum_residue(&self) -> u64 {
        self.checksum_residue_to(self.destination())
    }

    /// The same of a packet of which this is known to be the destination.
    #[inline(always)]
    pub fn checksum_residue_to(&self, destination: u32) -> u64 {
        let (sum, carry) = long(self.frame, 14).overflowing_add(long(self.frame, 22));
        let (sum, again) = sum.carrying_add(u64::from(destination), carry);
        residue(sum.wrapping_add(u64::from(again)))
    }

    /// Bytes of data.
    #[inline(always)]
    pub fn data_len(&self) -> u32 {
        let total = u32::from((self.word(16) as u16).swap_bytes());
        total.wrapping_sub(20 + u32::from(self.frame[46] >> 4) * 4)
    }

    /// Four bytes as they lie in the frame.
    #[inline(always)]
    fn word(&self, at: usize) -> u32 {
        word(self.frame, at)
    }

    /// Its flags, a bit each.
    #[inline(always)]
    pub fn flags(&self) -> u8 {
        self.frame[47]
    }

    /// Whether it has SYN, FIN or RST.
    #[inline(always)]
    pub fn is_control(&self) -> bool {
        self.flags() & CONTROLS != 0
    }

    /// What [`Layers::parse`] finds in it.
    pub fn layers(&self) -> Layers {
        let ports = self.ports();
        let header_len = u32::from(self.frame[46] >> 4) * 4;
        Layers {
            network: Network::V4,
            protocol: protocol::TCP,
            flags: self.flags(),
            l3: 14,
            ethertype: 0x0800,
            l4: 34,
            end: (34 + header_len + self.data_len()) as u16,
            source: (ports >> 16) as u16,
            destination: ports as u16,
            ..Layers::default()
        }
    }

    /// The source station's address, and below it the end of the destination station's (16 bits), as they lie in the
    /// frame.
    #[inline(always)]
    pub fn source_station(&self) -> u64 {
        long(self.frame, 4)
    }

    /// Where the source station's address begins (16 bits), above zeros, as it lies behind the destination station's.
    #[inline(always)]
    pub fn source_start(&self) -> u64 {
        long(self.frame, 0) >> 48 << 48
    }

    /// The source station's address as a number.
    #[inline(always)]
    pub fn from(&self) -> u64 {
        self.source_station().swap_bytes() << 16 >> 16
    }

    /// The destination station's address as a number.
    #[inline(always)]
    pub fn to(&self) -> u64 {
        long(self.frame, 0).swap_bytes() >> 16
    }

    /// The destination address (low half) and both ports behind it, as they lie in the frame.
    #[inline(always)]
    pub fn destination_and_ports(&self) -> u64 {
        long(self.frame, 30)
    }

    /// Both ports, as they lie in the frame.
    #[inline(always)]
    pub fn raw_ports(&self) -> u32 {
        self.word(34)
    }

    /// The source address, as it lies in the frame (`u32::from_be` makes a number of it).
    #[inline(always)]
    pub fn source(&self) -> u32 {
        self.word(26)
    }

    /// The destination address, as it lies in the frame.
    #[inline(always)]
    pub fn destination(&self) -> u32 {
        self.word(30)
    }

    /// Source port (high half) and destination port.
    #[inline(always)]
    pub fn ports(&self) -> u32 {
        u32::from_be(self.word(34))
    }

    /// The sequence number.
    #[inline(always)]
    pub fn sequence(&self) -> u32 {
        u32::from_be(self.word(38))
    }

    /// The sequence number behind its data.
    #[inline(always)]
    pub fn next_sequence(&self) -> u32 {
        self.sequence().wrapping_add(self.data_len())
    }

    /// The sequence number that its sender awaits, if it has ACK.
    #[inline(always)]
    pub fn acknowledgement(&self) -> u32 {
        u32::from_be(self.word(42))
    }
}

/// What `N` frames of the shape of [`PlainTcp`] say of their lengths, to be checked all at once.
#[derive(Clone, Copy, Debug)]
pub struct TcpLengths<const N: usize> {
    /// The packets' lengths, as they lie in the frames.
    total: [u16; N],
    /// Header lengths and flags, as they lie in the frames.
    offset: [u16; N],
}

impl<const N: usize> Default for TcpLengths<N> {
    /// Of none: there is nothing wrong with it.
    #[inline(always)]
    fn default() -> Self {
        Self { total: [40_u16.to_be(); N], offset: [u16::from_le_bytes([0x50, 0]); N] }
    }
}

impl<const N: usize> TcpLengths<N> {
    /// Writes down what frame `i` says; `i` is below `N`.
    #[inline(always)]
    pub fn note(&mut self, i: usize, frame: &[u8; PlainTcp::LEN]) {
        self.total[i] = word(frame, 16) as u16;
        self.offset[i] = word(frame, 46) as u16;
    }

    /// Whether all is well, where frames have these lengths: what [`PlainTcp::read`] asks for.
    #[inline(always)]
    pub fn are_good(&self, lens: &[u16; N]) -> bool {
        let mut wrong = 0;
        for ((total, offset), len) in self.total.iter().zip(&self.offset).zip(lens) {
            let (total, header) = (total.swap_bytes(), header_len(*offset));
            wrong |= total.saturating_sub(len.saturating_sub(14));
            wrong |= 20_u16.saturating_sub(header) | (20 + header).saturating_sub(total);
        }
        wrong == 0
    }

    /// Whether any has SYN, FIN or RST.
    #[inline(always)]
    pub fn has_control(&self) -> bool {
        let all = self.offset.iter().fold(0, |all, offset| all | offset);
        all.to_le_bytes()[1] & CONTROLS != 0
    }

    /// Bytes of data.
    #[inline(always)]
    pub fn data_lens(&self) -> [u16; N] {
        core::array::from_fn(|i| {
            self.total[i].swap_bytes().wrapping_sub(20).wrapping_sub(header_len(self.offset[i]))
        })
    }
}

/// Bytes of a TCP header.
#[inline(always)]
fn header_len(offset: u16) -> u16 {
    (offset.to_le() >> 4 & 15) * 4
}

/// What a frame holds that carries an IP packet without any peculiarity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Plain {
    /// The VLAN that its tag names; 0 without tag, or with a priority tag.
    pub vid: u16,
    /// Offset of the network header: 14 or 18.
    pub l3: usize,
    /// IPv6.
    pub v6: bool,
    /// IP protocol number. TCP has neither SYN nor FIN nor RST. Never ICMP.
    pub protocol: u8,
    /// A later fragment: it has no ports.
    pub later: bool,
    /// Source port (high half) and destination port; 0 where there are none.
    pub ports: u32,
    /// IPv4: source (high half) and destination address, as numbers.
    pub pair: u64,
    /// A later fragment's identification.
    pub id: u16,
    /// TCP: bytes of data.
    pub data_len: u32,
}

/// Frames that are the same from the outside. Where it is certain what one is, less has to be asked for.
pub trait Outline {
    /// Which bits of a packet's first sixteen bytes, as they lie in memory, are the same for all that are sent from one
    /// station to another in one VLAN, and for no others of this outline and IP version: stations, EtherType, VLAN.
    const BEGINNING: u128;

    /// Reads a frame as [`Plain::read`] does, if it is of this outline.
    fn read(data: &[u8], len: u32, checksum_good: bool) -> Option<Plain>;
}

/// IPv4 without tag and options.
#[derive(Clone, Copy, Debug)]
pub struct UntaggedV4;

/// IPv6 without tag.
#[derive(Clone, Copy, Debug)]
pub struct UntaggedV6;

/// With a tag.
#[derive(Clone, Copy, Debug)]
pub struct Tagged;

impl UntaggedV4 {
    /// Whether a frame is such a one.
    #[inline(always)]
    pub fn is(data: &[u8]) -> bool {
        data.get(12..15) == Some(&[0x08, 0x00, 0x45])
    }
}

impl UntaggedV6 {
    /// Whether a frame is such a one.
    #[inline(always)]
    pub fn is(data: &[u8]) -> bool {
        data.get(12..14) == Some(&[0x86, 0xdd])
    }
}

/// The bits of the bytes before the network header of an untagged packet.
const UNTAGGED: u128 =
    u128::from_ne_bytes([255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0]);

impl Outline for UntaggedV4 {
    const BEGINNING: u128 = UNTAGGED;

    #[inline(always)]
    fn read(data: &[u8], len: u32, checksum_good: bool) -> Option<Plain> {
        let frame: &[u8; HEADERS] = data.first_chunk()?;
        // EtherType, version, and header length.
        if word(frame, 12) << 8 != u32::from_le_bytes([0, 0x08, 0x00, 0x45]) {
            return None;
        }
        Plain::read_v4(frame[14..].first_chunk()?, 0, 14, len, checksum_good)
    }
}

impl Outline for UntaggedV6 {
    const BEGINNING: u128 = UNTAGGED;

    #[inline(always)]
    fn read(data: &[u8], len: u32, _: bool) -> Option<Plain> {
        if !Self::is(data) {
            return None;
        }
        Plain::read_v6(data.get(14..)?, 0, 14, len)
    }
}

impl Outline for Tagged {
    /// Not the tag's priority.
    const BEGINNING: u128 =
        UNTAGGED | u128::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 255]);

    #[inline(always)]
    fn read(data: &[u8], len: u32, checksum_good: bool) -> Option<Plain> {
        let ends: &[u8; 18] = data.first_chunk()?;
        let packet = data.get(18..)?;
        let [tag, vid, kind] = [12, 14, 16].map(|at| u16::from_be_bytes([ends[at], ends[at + 1]]));
        if tag != 0x8100 {
            return None;
        }
        let vid = vid & 0x0fff;
        match kind {
            0x0800 if packet.first() == Some(&0x45) => {
                Plain::read_v4(packet.first_chunk()?, vid, 18, len, checksum_good)
            }
            0x86dd => Plain::read_v6(packet, vid, 18, len),
            _ => None,
        }
    }
}

impl Plain {
    /// Reads a frame of `len` bytes of which `data` is the first segment, if it is a plain one.
    #[inline(always)]
    pub fn read(data: &[u8], len: u32, checksum_good: bool) -> Option<Self> {
        if UntaggedV4::is(data) {
            UntaggedV4::read(data, len, checksum_good)
        } else if UntaggedV6::is(data) {
            UntaggedV6::read(data, len, checksum_good)
        } else {
            Tagged::read(data, len, checksum_good)
        }
    }

    /// `packet` begins with a header of 20 bytes, and goes on beyond the packet's end if that is short.
    #[inline(always)]
    fn read_v4(packet: &[u8; 40], vid: u16, l3: usize, len: u32, checksum_good: bool) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk::<20>()?;
        let rest: &[u8; 20] = rest.first_chunk()?;
        let total = u32::from(u16::from_be_bytes([header[2], header[3]]));
        if !checksum_good && !sums_to_zero(header) {
            return None;
        }
        let payload = total.checked_sub(20)?;
        if l3 as u32 + total > len {
            return None;
        }
        let word =
            |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let mut plain = Self {
            vid,
            l3,
            v6: false,
            protocol: header[9],
            later: false,
            ports: 0,
            pair: u64::from(word(12)) << 32 | u64::from(word(16)),
            id: 0,
            data_len: 0,
        };
        // As it lies there: of single bytes the compiler makes single loads.
        let fragment = u16::from_ne_bytes([header[6], header[7]]) & 0x3fff_u16.to_be();
        if fragment != 0 {
            let fragment = u16::from_be(fragment);
            plain.id = u16::from_be_bytes([header[4], header[5]]);
            return plain.as_later_fragment(fragment, payload);
        }
        plain.with_ports(rest, payload)
    }

    #[inline(always)]
    fn read_v6(packet: &[u8], vid: u16, l3: usize, len: u32) -> Option<Self> {
        let (header, rest) = packet.split_first_chunk::<40>()?;
        let payload = u32::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || l3 as u32 + 40 + payload > len {
            return None;
        }
        let protocol = header[6];
        // RFC 8200 §4: hop-by-hop, routing, fragment, destination options; mobility, HIP, shim6.
        if matches!(protocol, 0 | 43 | 44 | 60 | 135 | 139 | 140 | protocol::ICMPV6) {
            return None;
        }
        let plain = Self { vid, l3, v6: true, protocol, later: false, ports: 0, pair: 0, id: 0, data_len: 0 };
        match rest.first_chunk::<20>() {
            Some(rest) => plain.with_ports(rest, payload),
            // UDP with few bytes in a frame that was not padded, or no packet with ports at all.
            None => {
                let mut some = [0; 20];
                let there = rest.len().min(20);
                some[..there].copy_from_slice(rest.get(..there)?);
                if protocol == protocol::TCP || there < 12 && payload >= there as u32 {
                    return None;
                }
                plain.with_ports(&some, payload)
            }
        }
    }

    /// RFC 791 §3.1; F14. `fragment`: the flag "more" and the offset in units of eight bytes.
    #[inline(always)]
    fn as_later_fragment(mut self, fragment: u16, payload: u32) -> Option<Self> {
        let offset = u32::from(fragment & 0x1fff) * 8;
        let more = fragment & 0x2000 != 0;
        let overwrites = offset == 8 && self.protocol == protocol::TCP;
        if offset == 0 || offset + payload > 65_535 || more && payload == 0 || overwrites {
            return None;
        }
        if self.protocol == protocol::ICMP || self.protocol == protocol::ICMPV6 {
            return None;
        }
        self.later = true;
        Some(self)
    }

    /// `rest` begins the transport packet, which has `payload` bytes.
    #[inline(always)]
    fn with_ports(mut self, rest: &[u8; 20], payload: u32) -> Option<Self> {
        let ports = u32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
        if self.protocol == protocol::UDP {
            self.ports = ports;
            return (payload >= 8).then_some(self);
        }
        match self.protocol {
            protocol::TCP => {
                let header_len = u32::from(rest[12] >> 4) * 4;
                // A header that is longer than the packet, or shorter than 20 bytes.
                self.data_len = payload.checked_sub(header_len)?;
                if header_len < 20 || rest[13] & CONTROLS != 0 {
                    return None;
                }
                self.ports = ports;
            }
            protocol::SCTP if payload >= 12 => self.ports = ports,
            protocol::SCTP | protocol::ICMP | protocol::ICMPV6 => return None,
            _ => {}
        }
        Some(self)
    }
}

/// Four bytes as they lie in the frame. Taken as a whole: of single bytes the compiler makes single loads.
#[inline(always)]
fn word(frame: &[u8; HEADERS], at: usize) -> u32 {
    frame.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

/// Small for multiples of 2^16 - 1, and for no other: it is multiplied by the inverse of that, modulo 2^64.
#[inline(always)]
fn residue(sum: u64) -> u64 {
    const INVERSE: u64 = 0xfffe_fffe_fffe_ffff;
    sum.wrapping_mul(INVERSE)
}

/// Eight bytes as they lie in the frame.
#[inline(always)]
fn long(frame: &[u8; HEADERS], at: usize) -> u64 {
    frame.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
