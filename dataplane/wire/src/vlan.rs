//! VLAN tags.
//!
//! Read first: IEEE 802.1Q §9.6 (tag control information).

use crate::Malformed;
use crate::bytes::{put, u16_in};
use crate::ethernet::EtherType;
use crate::malformed::require;
use core::fmt;

/// Length of a tag in bytes, from its TCI to the type that follows.
pub const TAG_LEN: usize = 4;

/// The VID's bits in a TCI.
pub const VID_MASK: u16 = 0x0fff;

mod field {
    use crate::bytes::Field;

    pub(super) const TCI: Field = 0..2;
    pub(super) const TYPE: Field = 2..4;
    pub(super) const PAYLOAD: usize = 4;
}

/// What follows the type 0x8100 or 0x88a8: a TCI, a type, and so on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tag<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Tag<T> {
    /// A view of `buffer`, which must hold a TCI and a type. No getter or setter panics afterwards.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        require(buffer.as_ref().len() >= TAG_LEN)?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// All 16 bits of tag control information.
    #[inline]
    pub fn tci(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::TCI)
    }

    /// VLAN identifier, `0..=4095`; 0 is a priority tag, which names no VLAN.
    #[inline]
    pub fn vid(&self) -> u16 {
        self.tci() & VID_MASK
    }

    /// Priority code point, `0..=7`.
    #[inline]
    pub fn priority(&self) -> u8 {
        (self.tci() >> 13) as u8
    }

    /// Drop eligible indicator.
    #[inline]
    pub fn drop_eligible(&self) -> bool {
        self.tci() & 0x1000 != 0
    }

    /// The type that follows.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16_in(self.buffer.as_ref(), field::TYPE))
    }

    /// What follows the tag.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Tag<T> {
    /// Writes the tag control information.
    #[inline]
    pub fn set_tci(&mut self, tci: u16) {
        put(self.buffer.as_mut(), field::TCI, tci.to_be_bytes());
    }

    /// Writes the VLAN identifier (its low 12 bits), and leaves priority and DEI as they are.
    #[inline]
    pub fn set_vid(&mut self, vid: u16) {
        self.set_tci(self.tci() & !VID_MASK | vid & VID_MASK);
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Tag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vlan {} p {} {}", self.vid(), self.priority(), self.ethertype())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    // The tags of a frame with two of them: VIDs 118 and 10.
    const STACK: &str = "0076 8100 000a 0800 4500";

    #[test]
    fn real_bytes() {
        let outer = Tag::new_checked(hex(STACK)).expect("whole");
        assert_eq!((outer.vid(), outer.ethertype()), (118, EtherType::VLAN));
        assert!(outer.ethertype().is_tag());
        let inner = Tag::new_checked(outer.payload()).expect("whole");
        assert_eq!((inner.vid(), inner.ethertype()), (10, EtherType::IPV4));
        assert_eq!(inner.payload(), hex("4500"));
        assert_eq!(inner.to_string(), "vlan 10 p 0 IPv4");
        assert_eq!(inner.into_inner().len(), 6);
    }

    #[test]
    fn wrong_length() {
        for len in 0..TAG_LEN {
            assert_eq!(Tag::new_checked(&hex(STACK)[..len]), Err(Malformed));
        }
    }

    #[test]
    fn setters_write_their_bits_only() {
        let mut tag = Tag::new_checked(hex("b076 0800 ff")).expect("whole");
        assert_eq!((tag.priority(), tag.drop_eligible()), (5, true));
        tag.set_vid(0xf005);
        assert_eq!(tag.buffer, hex("b005 0800 ff"));
        tag.set_tci(0x0001);
        assert_eq!((tag.priority(), tag.drop_eligible(), tag.vid()), (0, false, 1));
    }
}
