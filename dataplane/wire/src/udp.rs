//! UDP datagrams.
//!
//! Read first: RFC 768.

use crate::bytes::u16_in;
use crate::malformed::require;
use crate::{AddressPair, Malformed, checksum, protocol};
use core::fmt;

/// Length of a header in bytes.
pub const HEADER_LEN: usize = 8;

mod field {
    use crate::bytes::Field;

    pub(super) const SRC_PORT: Field = 0..2;
    pub(super) const DST_PORT: Field = 2..4;
    pub(super) const LENGTH: Field = 4..6;
    pub(super) const CHECKSUM: Field = 6..8;
    pub(super) const PAYLOAD: usize = 8;
}

/// A UDP datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Datagram<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Datagram<T> {
    /// A view of `buffer`, which must hold the whole datagram. No getter panics afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let datagram = Self::new_head(buffer)?;
        require(usize::from(datagram.len()) <= datagram.buffer.as_ref().len())?;
        Ok(datagram)
    }

    /// A view of the beginning of a datagram, which must hold the header: a first fragment or
    /// segment, or what an ICMP error quotes. No getter panics afterwards.
    pub fn new_head(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        require(bytes.len() >= HEADER_LEN)?;
        require(usize::from(u16_in(bytes, field::LENGTH)) >= HEADER_LEN)?;
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

    /// Length of the datagram in bytes, header included; never 0.
    #[expect(clippy::len_without_is_empty, reason = "a datagram with its header is never empty")]
    pub fn len(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::LENGTH)
    }

    /// The checksum; 0 means that there is none.
    pub fn checksum(&self) -> u16 {
        u16_in(self.buffer.as_ref(), field::CHECKSUM)
    }

    /// Whether the checksum is good, or is not there. Of a datagram that is cut off: not.
    pub fn has_good_checksum(&self, addresses: AddressPair) -> bool {
        let pseudo = addresses.pseudo_sum(protocol::UDP, self.len());
        self.checksum() == 0
            || self
                .buffer
                .as_ref()
                .get(..usize::from(self.len()))
                .is_some_and(|datagram| checksum::is_good(pseudo, datagram))
    }

    /// What the datagram carries; of a head only what is there.
    pub fn payload(&self) -> &[u8] {
        let bytes = self.buffer.as_ref();
        &bytes[field::PAYLOAD..usize::from(self.len()).min(bytes.len())]
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Datagram<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "udp {} > {} length {}", self.src_port(), self.dst_port(), self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    // A DNS answer from 192.168.1.1 to 192.168.1.163.
    const DNS: &str = "0035ce3f00235d627e518183000100000000000003687462056c6f63616c0000010001";

    fn addresses() -> AddressPair {
        AddressPair::V4 { src: [192, 168, 1, 1].into(), dst: [192, 168, 1, 163].into() }
    }

    #[test]
    fn real_bytes() {
        let datagram = Datagram::new_checked(hex(DNS)).expect("whole");
        assert_eq!((datagram.src_port(), datagram.dst_port(), datagram.len()), (53, 52_799, 35));
        assert_eq!(datagram.checksum(), 0x5d62);
        assert!(datagram.has_good_checksum(addresses()));
        assert!(datagram.has_good_checksum(addresses().reversed()), "the sum has no order");
        assert_eq!(datagram.payload().len(), 27);
        assert_eq!(datagram.to_string(), "udp 53 > 52799 length 35");
    }

    #[test]
    fn wrong_length() {
        let bytes = hex(DNS);
        for len in 0..bytes.len() {
            assert_eq!(Datagram::new_checked(&bytes[..len]), Err(Malformed));
            assert_eq!(Datagram::new_head(&bytes[..len]).is_ok(), len >= HEADER_LEN);
        }
        let head = Datagram::new_head(&bytes[..12]).expect("a head");
        assert_eq!(head.payload().len(), 4);
        assert!(!head.has_good_checksum(addresses()));
        let mut short = bytes;
        short[5] = 7;
        assert_eq!(Datagram::new_head(&short), Err(Malformed));
    }

    #[test]
    fn no_checksum_is_good() {
        let mut bytes = hex(DNS);
        bytes[20] ^= 1;
        assert!(!Datagram::new_checked(&bytes).expect("whole").has_good_checksum(addresses()));
        bytes[6..8].fill(0);
        assert!(Datagram::new_checked(&bytes).expect("whole").has_good_checksum(addresses()));
    }
}
