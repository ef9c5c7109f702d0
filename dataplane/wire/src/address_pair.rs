//! Source and destination of a packet of either family.

use crate::{checksum, ipv4, ipv6};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Source and destination of a packet: never of two families.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressPair {
    /// IPv4.
    V4 {
        /// Source address.
        src: Ipv4Addr,
        /// Destination address.
        dst: Ipv4Addr,
    },
    /// IPv6.
    V6 {
        /// Source address.
        src: Ipv6Addr,
        /// Destination address.
        dst: Ipv6Addr,
    },
}

impl AddressPair {
    /// The pair, if both are of one family.
    pub fn new(src: IpAddr, dst: IpAddr) -> Option<Self> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Some(Self::V4 { src, dst }),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Some(Self::V6 { src, dst }),
            _ => None,
        }
    }

    /// The pair of an answer.
    #[must_use]
    pub const fn reversed(self) -> Self {
        match self {
            Self::V4 { src, dst } => Self::V4 { src: dst, dst: src },
            Self::V6 { src, dst } => Self::V6 { src: dst, dst: src },
        }
    }

    /// Length in bytes of an IP header that [`Self::emit`] writes: 20 or 40.
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 { .. } => ipv4::HEADER_LEN,
            Self::V6 { .. } => ipv6::HEADER_LEN,
        }
    }

    /// The type of a frame that carries such a packet.
    pub const fn ethertype(self) -> crate::ethernet::EtherType {
        match self {
            Self::V4 { .. } => crate::ethernet::EtherType::IPV4,
            Self::V6 { .. } => crate::ethernet::EtherType::IPV6,
        }
    }

    /// The sum of the pseudo-header of an upper layer; `len` in bytes.
    pub fn pseudo_sum(self, protocol: u8, len: u16) -> u16 {
        match self {
            Self::V4 { src, dst } => checksum::pseudo_v4(src, dst, protocol, len),
            Self::V6 { src, dst } => checksum::pseudo_v6(src, dst, protocol, u32::from(len)),
        }
    }

    /// Writes an IP header with the TTL or hop limit `hops`; what follows is returned.
    ///
    /// # Panics
    ///
    /// When `bytes` is shorter than [`Self::header_len`].
    pub fn emit(self, protocol: u8, hops: u8, payload_len: u16, bytes: &mut [u8]) -> &mut [u8] {
        match self {
            Self::V4 { src, dst } => ipv4::Repr { src, dst, protocol, ttl: hops, payload_len }.emit(bytes),
            Self::V6 { src, dst } => {
                ipv6::Repr { src, dst, next_header: protocol, hop_limit: hops, payload_len }.emit(bytes)
            }
        }
    }
}

impl fmt::Display for AddressPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4 { src, dst } => write!(f, "{src} > {dst}"),
            Self::V6 { src, dst } => write!(f, "{src} > {dst}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_one_family() {
        let (v4, v6) = (IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST));
        assert_eq!(AddressPair::new(v4, v6), None);
        let pair = AddressPair::new(v6, Ipv6Addr::UNSPECIFIED.into()).expect("both are IPv6");
        assert_eq!(pair.to_string(), "::1 > ::");
        assert_eq!(pair.reversed().to_string(), ":: > ::1");
        assert_eq!(pair.header_len(), 40);
        assert_eq!(AddressPair::new(v4, v4).expect("both are IPv4").header_len(), 20);
    }
}
