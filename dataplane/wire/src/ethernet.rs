//! Ethernet frames.
//!
//! Read first: IEEE 802.3 §3.2 (the frame), RFC 894, RFC 7042 §2.1 (addresses).

use crate::bytes::{array, put, u16_in};
use crate::malformed::require;
use crate::{MacAddr, Malformed};
use core::fmt;

/// Length of the header in bytes, without tags.
pub const HEADER_LEN: usize = 14;

/// Length of a tag in bytes.
pub const TAG_LEN: usize = 4;

/// The shortest frame in bytes, without FCS.
pub const FRAME_MIN: usize = 60;

mod field {
    use crate::bytes::Field;

    pub(super) const DST: Field = 0..6;
    pub(super) const SRC: Field = 6..12;
    pub(super) const TYPE: Field = 12..14;
    pub(super) const PAYLOAD: usize = 14;
}

/// What a frame carries. Values up to 1500 are a length (802.3 with LLC).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct EtherType(pub u16);

impl EtherType {
    /// IPv4.
    pub const IPV4: Self = Self(0x0800);
    /// ARP.
    pub const ARP: Self = Self(0x0806);
    /// 802.1Q customer tag.
    pub const VLAN: Self = Self(0x8100);
    /// 802.1ad service tag.
    pub const SERVICE_VLAN: Self = Self(0x88a8);
    /// IPv6.
    pub const IPV6: Self = Self(0x86dd);
    /// MAC control: PAUSE.
    pub const MAC_CONTROL: Self = Self(0x8808);
    /// Slow protocols: LACP, marker.
    pub const SLOW: Self = Self(0x8809);
    /// 802.1X.
    pub const EAPOL: Self = Self(0x888e);
    /// LLDP.
    pub const LLDP: Self = Self(0x88cc);

    /// Whether this is a tag, so that another type follows.
    pub const fn is_tag(self) -> bool {
        matches!(self, Self::VLAN | Self::SERVICE_VLAN)
    }
}

impl fmt::Display for EtherType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IPV4 => f.write_str("IPv4"),
            Self::ARP => f.write_str("ARP"),
            Self::VLAN => f.write_str("802.1Q"),
            Self::SERVICE_VLAN => f.write_str("802.1ad"),
            Self::IPV6 => f.write_str("IPv6"),
            Self::LLDP => f.write_str("LLDP"),
            Self(length @ ..=1500) => write!(f, "length {length}"),
            Self(other) => write!(f, "{other:#06x}"),
        }
    }
}

/// A frame, without FCS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Frame<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Frame<T> {
    /// A view of `buffer`, which must hold a header. No getter or setter panics afterwards.
    #[inline]
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        require(buffer.as_ref().len() >= HEADER_LEN)?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Destination address.
    #[inline]
    pub fn dst_addr(&self) -> MacAddr {
        MacAddr(array(self.buffer.as_ref(), field::DST))
    }

    /// Source address.
    #[inline]
    pub fn src_addr(&self) -> MacAddr {
        MacAddr(array(self.buffer.as_ref(), field::SRC))
    }

    /// Type, or length, or the first tag's type.
    #[inline]
    pub fn ethertype(&self) -> EtherType {
        EtherType(u16_in(self.buffer.as_ref(), field::TYPE))
    }

    /// What follows the header, padding included.
    #[inline]
    pub fn payload(&self) -> &[u8] {
        &self.buffer.as_ref()[field::PAYLOAD..]
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Frame<T> {
    /// Writes the destination address: bytes 0 to 5 and no other. This is all of inbound steering
    /// (FS-6).
    #[inline]
    pub fn set_dst_addr(&mut self, addr: MacAddr) {
        put(self.buffer.as_mut(), field::DST, addr.0);
    }

    /// Writes the source address.
    #[inline]
    pub fn set_src_addr(&mut self, addr: MacAddr) {
        put(self.buffer.as_mut(), field::SRC, addr.0);
    }

    /// Writes the type.
    #[inline]
    pub fn set_ethertype(&mut self, ethertype: EtherType) {
        put(self.buffer.as_mut(), field::TYPE, ethertype.0.to_be_bytes());
    }

    /// What follows the header.
    #[inline]
    pub fn payload_mut(&mut self) -> &mut [u8] {
        &mut self.buffer.as_mut()[field::PAYLOAD..]
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Frame<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} > {} {}", self.src_addr(), self.dst_addr(), self.ethertype())
    }
}

/// The head of a frame of our own: addresses and at most one 802.1Q tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Repr {
    /// Source address.
    pub src: MacAddr,
    /// Destination address.
    pub dst: MacAddr,
    /// TCI of the tag (PCP, DEI, VID), if the frame is to have one.
    pub tci: Option<u16>,
}

impl Repr {
    /// Bytes in front of the payload: 14 or 18.
    pub const fn header_len(&self) -> usize {
        match self.tci {
            Some(_) => HEADER_LEN + TAG_LEN,
            None => HEADER_LEN,
        }
    }

    /// Length in bytes of a frame with `payload` bytes, padded to the shortest that may be sent.
    pub const fn frame_len(&self, payload: usize) -> usize {
        let len = self.header_len() + payload;
        if len < FRAME_MIN { FRAME_MIN } else { len }
    }

    /// Writes addresses, tag and type; what follows is returned.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::header_len`].
    pub fn emit<'a>(&self, ethertype: EtherType, frame: &'a mut [u8]) -> &'a mut [u8] {
        let (header, payload) = frame.split_at_mut(self.header_len());
        put(header, field::DST, self.dst.0);
        put(header, field::SRC, self.src.0);
        if let Some(tci) = self.tci {
            put(header, field::TYPE, EtherType::VLAN.0.to_be_bytes());
            put(header, 14..16, tci.to_be_bytes());
        }
        let end = header.len();
        put(header, end - 2..end, ethertype.0.to_be_bytes());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    const ARP: &str = "ffffffffffff 001f29da2d79 0806 0001 0800";

    #[test]
    fn real_bytes() {
        let bytes = hex(ARP);
        let frame = Frame::new_checked(&bytes).expect("whole");
        assert_eq!(frame.dst_addr(), MacAddr::BROADCAST);
        assert_eq!(frame.src_addr().to_string(), "00:1f:29:da:2d:79");
        assert_eq!(frame.ethertype(), EtherType::ARP);
        assert_eq!(frame.payload(), hex("00010800"));
        assert_eq!(frame.to_string(), "00:1f:29:da:2d:79 > ff:ff:ff:ff:ff:ff ARP");
        assert_eq!(frame.into_inner(), &bytes);
    }

    #[test]
    fn wrong_length() {
        for len in 0..HEADER_LEN {
            assert_eq!(Frame::new_checked(&hex(ARP)[..len]), Err(Malformed));
        }
        assert!(Frame::new_checked(&hex(ARP)[..HEADER_LEN]).is_ok());
    }

    #[test]
    fn setters_write_their_field_only() {
        let mut frame = Frame::new_checked(hex(ARP)).expect("whole");
        frame.set_dst_addr(MacAddr([2, 0, 0, 0, 0, 7]));
        assert_eq!(frame.buffer, hex("020000000007 001f29da2d79 0806 0001 0800"));
        frame.set_src_addr(MacAddr([2, 0, 0, 0, 0, 8]));
        frame.set_ethertype(EtherType::IPV6);
        frame.payload_mut()[0] = 9;
        assert_eq!(frame.buffer, hex("020000000007 020000000008 86dd 0901 0800"));
    }

    #[test]
    fn heads_with_and_without_a_tag() {
        let (src, dst) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));
        let mut frame = [0; 20];
        let payload = Repr { src, dst, tci: None }.emit(EtherType::IPV4, &mut frame);
        assert_eq!(payload.len(), 6);
        assert_eq!(frame[..14], hex("020000000002 020000000001 0800"));
        let payload = Repr { src, dst, tci: Some(0x2005) }.emit(EtherType::IPV4, &mut frame);
        assert_eq!(payload.len(), 2);
        assert_eq!(frame[..18], hex("020000000002 020000000001 8100 2005 0800"));
        assert_eq!(Repr { src, dst, tci: None }.frame_len(28), FRAME_MIN);
        assert_eq!(Repr { src, dst, tci: Some(5) }.frame_len(100), 118);
    }
}
