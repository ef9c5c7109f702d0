//! TCP segments, and the reset that answers one.
//!
//! Read first: RFC 9293 §3.1 (header), §3.5.2 and §3.10.7.1 (resets), RFC 7323 §5.2 (options of a
//! reset: none).

use crate::bytes::{put, u16_in, u32_in};
use crate::malformed::require;
use crate::{AddressPair, Malformed, checksum, ethernet, protocol};
use core::fmt;
use core::ops::BitOr;

/// Length of a header without options, in bytes.
pub const HEADER_LEN: usize = 20;

mod field {
    use crate::bytes::Field;

    pub(super) const SRC_PORT: Field = 0..2;
    pub(super) const DST_PORT: Field = 2..4;
    pub(super) const SEQ: Field = 4..8;
    pub(super) const ACK: Field = 8..12;
    pub(super) const OFFSET: usize = 12;
    pub(super) const FLAGS: usize = 13;
    pub(super) const WINDOW: Field = 14..16;
    pub(super) const CHECKSUM: Field = 16..18;
    pub(super) const OPTIONS: usize = 20;
}

/// The control bits of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment number counts.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer counts.
    pub const URG: Self = Self(0x20);
    /// ECN echo.
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced.
    pub const CWR: Self = Self(0x80);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any bit of `other` is set.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether this opens a connection: SYN, and not ACK.
    pub const fn is_opening(self) -> bool {
        self.0 & (Self::SYN.0 | Self::ACK.0) == Self::SYN.0
    }

    /// Whether no stack ever sends these: none of SYN, ACK, RST, FIN; SYN with FIN or RST; FIN, PSH
    /// and URG without ACK (F12).
    pub const fn is_impossible(self) -> bool {
        let Self(bits) = self;
        let (fin, syn, rst, ack) = (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0, bits & 16 != 0);
        !(fin || syn || rst || ack) || syn && (fin || rst) || bits & 0x39 == 0x29
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in "FSRPAUEC".chars().enumerate() {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// A TCP segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Segment<T> {
    /// A view of `buffer`, which must hold the header with all its options. No getter panics
    /// afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let segment = Self::new_head(buffer)?;
        require(segment.header_len() <= segment.buffer.as_ref().len())?;
        Ok(segment)
    }

    /// A view of the beginning of a segment, which must hold its first 20 bytes: a first fragment.
    /// No getter panics afterwards.
    pub fn new_head(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        require(bytes.len() >= HEADER_LEN && bytes[field::OFFSET] >> 4 >= 5)?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Source port.
    pub fn src_port(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::SRC_PORT)
    }

    /// Destination port.
    pub fn dst_port(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::DST_PORT)
    }

    /// Sequence number of the first byte, or of the SYN.
    pub fn seq(&self) -> u32 {
        u32_in(self.buffer.as_ref(), field::SEQ)
    }

    /// The next sequence number that the sender expects; without meaning unless ACK is set.
    pub fn ack(&self) -> u32 {
        u32_in(self.buffer.as_ref(), field::ACK)
    }

    /// Length of the header with its options, in bytes, `20..=60`.
    pub fn header_len(&self) -> usize {
        usize::from(self.buffer.as_ref()[field::OFFSET] >> 4) * 4
    }

    /// Control bits.
    pub fn flags(&self) -> Flags {
        Flags(self.buffer.as_ref()[field::FLAGS])
    }

    /// Window, not scaled.
    pub fn window(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::WINDOW)
    }

    /// Checksum.
    pub fn checksum(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the checksum is good, if the buffer is the whole segment and no more.
    pub fn has_good_checksum(&self, addresses: AddressPair) -> bool {
        let bytes = self.buffer.as_ref();
        u16::try_from(bytes.len())
            .is_ok_and(|len| checksum::is_good(addresses.pseudo_sum(protocol::TCP, len), bytes))
    }

    /// The options, `0..=40` bytes; of a head only what is there.
    pub fn options(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        &bytes[field::OPTIONS..self.header_len().min(bytes.len())]
    }

    /// What follows the header.
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        &bytes[self.header_len().min(bytes.len())..]
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Segment<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tcp {} > {} {} seq {}", self.src_port(), self.dst_port(), self.flags(), self.seq())?;
        if self.flags().contains(Flags::ACK) {
            write!(f, " ack {}", self.ack())?;
        }
        Ok(())
    }
}

/// A reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reset {
    /// From whom it claims to be, and to whom it goes.
    pub addresses: AddressPair,
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// Sequence number. The receiver takes the reset only when this is what it expects next.
    pub seq: u32,
    /// Acknowledgment number, and the ACK bit.
    pub ack: Option<u32>,
}

impl Reset {
    /// The reset that answers `segment` as if no such connection existed (RFC 9293 §3.10.7.1); `None`
    /// for a reset, which is not answered.
    ///
    /// `addresses` are those of the segment; `len` is its length in bytes by the IP header, TCP
    /// header included, whether it is all there or not.
    pub fn answering<T: AsRef<[u8]>>(
        addresses: AddressPair,
        segment: &Segment<T>,
        len: usize,
    ) -> Option<Self> {
        let flags = segment.flags();
        if flags.contains(Flags::RST) {
            return None;
        }
        let (seq, ack) = if flags.contains(Flags::ACK) {
            (segment.ack(), None)
        } else {
            let phantom = u32::from(flags.contains(Flags::SYN)) + u32::from(flags.contains(Flags::FIN));
            let data = len.saturating_sub(segment.header_len()) as u32;
            (0, Some(segment.seq().wrapping_add(data).wrapping_add(phantom)))
        };
        let addresses = addresses.reversed();
        Some(Self { addresses, src_port: segment.dst_port(), dst_port: segment.src_port(), seq, ack })
    }

    /// Length of the frame in bytes.
    pub fn frame_len(&self, link: &ethernet::Repr) -> usize {
        link.frame_len(self.addresses.header_len() + HEADER_LEN)
    }

    /// Writes a whole frame: head, IP header (64 hops), segment with its checksum, zeros.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::frame_len`].
    pub fn emit_frame(&self, link: &ethernet::Repr, frame: &mut [u8]) {
        let packet = link.emit(self.addresses.ethertype(), frame);
        let rest = self.addresses.emit(protocol::TCP, 64, HEADER_LEN as u16, packet);
        let (segment, padding) = rest.split_at_mut(HEADER_LEN);
        segment.fill(0);
        put(segment, field::SRC_PORT, self.src_port.to_be_bytes());
        put(segment, field::DST_PORT, self.dst_port.to_be_bytes());
        put(segment, field::SEQ, self.seq.to_be_bytes());
        put(segment, field::ACK, self.ack.unwrap_or(0).to_be_bytes());
        segment[field::OFFSET] = 5 << 4;
        let flags = if self.ack.is_some() { Flags::RST | Flags::ACK } else { Flags::RST };
        segment[field::FLAGS] = flags.0;
        let pseudo = self.addresses.pseudo_sum(protocol::TCP, HEADER_LEN as u16);
        let sum = checksum::of(pseudo, segment);
        put(segment, field::CHECKSUM, sum.to_be_bytes());
        padding.fill(0);
    }
}

#[cfg(test)]
mod tests;
