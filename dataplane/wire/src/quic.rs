//! QUIC, as far as every version shows it.
//!
//! Read first: RFC 8999 §5 (the invariants); RFC 9000 §5.1 for what connection IDs are for.

use crate::Malformed;
use crate::malformed::require;

/// Bytes of a connection ID that it is told apart by. Shorter ones are not looked at: a packet with a
/// short header does not say how long its connection ID is.
pub const ID_LEN: usize = 8;

/// A packet: the payload of a UDP datagram, or the first packet of several in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet<'a> {
    /// With a long header, as in a handshake: both connection IDs can be read.
    Long {
        /// Destination connection ID, at most 255 bytes.
        destination: &'a [u8],
        /// Source connection ID: what its sender wants to be addressed by.
        source: &'a [u8],
    },
    /// With a short header: the destination connection ID, and more behind it.
    Short {
        /// What begins with the destination connection ID.
        destination: &'a [u8],
    },
}

impl<'a> Packet<'a> {
    /// Reads a packet's invariant part.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Malformed> {
        let (first, rest) = payload.split_first().ok_or(Malformed)?;
        if first & 0x80 == 0 {
            return Ok(Self::Short { destination: rest });
        }
        let rest = rest.get(4..).ok_or(Malformed)?;
        let (destination, rest) = id(rest)?;
        let (source, _) = id(rest)?;
        Ok(Self::Long { destination, source })
    }

    /// The first [`ID_LEN`] bytes of the destination connection ID; `None` when it is shorter.
    pub fn destination(&self) -> Option<u64> {
        match self {
            Self::Long { destination, .. } | Self::Short { destination } => number(destination),
        }
    }

    /// The first [`ID_LEN`] bytes of the source connection ID; `None` when it is shorter or not told.
    pub fn source(&self) -> Option<u64> {
        match self {
            Self::Long { source, .. } => number(source),
            Self::Short { .. } => None,
        }
    }
}

fn id(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (len, rest) = bytes.split_first().ok_or(Malformed)?;
    require(rest.len() >= usize::from(*len))?;
    Ok(rest.split_at(usize::from(*len)))
}

fn number(id: &[u8]) -> Option<u64> {
    id.first_chunk::<ID_LEN>().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    #[test]
    fn the_initial_packet_of_rfc_9001_a_2() {
        let initial = hex("c300000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11");
        let packet = Packet::parse(&initial).unwrap();
        assert_eq!(packet.destination(), Some(0x8394_c8f0_3e51_5708));
        assert_eq!(packet.source(), None, "a client may do without");
    }

    #[test]
    fn the_servers_answer_of_rfc_9001_a_3_tells_its_id() {
        let answer = hex("cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a");
        let packet = Packet::parse(&answer).unwrap();
        assert_eq!((packet.destination(), packet.source()), (None, Some(0xf067_a550_2a42_62b5)));
    }

    #[test]
    fn a_short_header_begins_with_the_id_and_cut_ones_are_refused() {
        let short = hex("41 f067a5502a4262b5 00ff");
        assert_eq!(Packet::parse(&short).unwrap().destination(), Some(0xf067_a550_2a42_62b5));
        assert_eq!(Packet::parse(&short[..8]).unwrap().destination(), None);
        let answer = hex("cf000000010008f067a5502a4262b5");
        for cut in 0..answer.len() {
            assert!(Packet::parse(&answer[..cut]).is_err(), "{cut}");
        }
    }
}
