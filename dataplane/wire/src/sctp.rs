//! SCTP packets, as far as a flow key needs them.
//!
//! Read first: RFC 9260 §3.1.

use crate::Malformed;
use crate::bytes::{u16_in, u32_in};
use crate::malformed::require;
use core::fmt;

/// Length of the common header in bytes.
pub const HEADER_LEN: usize = 12;

mod field {
    use crate::bytes::Field;

    pub(super) const SRC_PORT: Field = 0..2;
    pub(super) const DST_PORT: Field = 2..4;
    pub(super) const VERIFICATION_TAG: Field = 4..8;
    pub(super) const FIRST_CHUNK: usize = 12;
}

/// An SCTP packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Packet<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Packet<T> {
    /// A view of `buffer`, which must hold the common header. No getter panics afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        require(buffer.as_ref().len() >= HEADER_LEN)?;
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

    /// Verification tag; 0 in an INIT.
    pub fn verification_tag(&self) -> u32 {
        u32_in(self.buffer.as_ref(), field::VERIFICATION_TAG)
    }

    /// Type of the first chunk, if there is one: 1 is INIT, 6 ABORT, 14 SHUTDOWN COMPLETE.
    pub fn first_chunk(&self) -> Option<u8> {
        self.buffer.as_ref().get(field::FIRST_CHUNK).copied()
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Packet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sctp {} > {} tag {:#010x}", self.src_port(), self.dst_port(), self.verification_tag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    const SACK: &str = "0b590b597df33f4909720ae1 0003002c";

    #[test]
    fn real_bytes() {
        let packet = Packet::new_checked(hex(SACK)).expect("whole");
        assert_eq!((packet.src_port(), packet.dst_port()), (2905, 2905));
        assert_eq!((packet.verification_tag(), packet.first_chunk()), (0x7df3_3f49, Some(0)));
        assert_eq!(packet.to_string(), "sctp 2905 > 2905 tag 0x7df33f49");
    }

    #[test]
    fn wrong_length() {
        for len in 0..HEADER_LEN {
            assert_eq!(Packet::new_checked(&hex(SACK)[..len]), Err(Malformed));
        }
        let no_chunk = Packet::new_checked(hex(SACK)[..HEADER_LEN].to_vec()).expect("a header");
        assert_eq!(no_chunk.first_chunk(), None);
    }
}
