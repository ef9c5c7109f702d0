//! Multicast Listener Discovery: queries in, reports out.
//!
//! A switch that snoops forwards a group only to those that report it; so the group in which a VIP
//! is asked for has to be reported (FS-2).
//!
//! Read first: RFC 2710 §3 (version 1), RFC 3810 §5, §8.1 (version 2), RFC 2711 (router alert),
//! RFC 3590 (source address).

use crate::bytes::{array, put, u16_in};
use crate::icmpv6::{self, kind};
use crate::malformed::require;
use crate::{AddressPair, MacAddr, Malformed, ethernet, ipv6, multicast, protocol};
use core::fmt;
use core::net::Ipv6Addr;

/// The hop-by-hop header in front of every message: next ICMPv6, router alert (MLD), two bytes of
/// padding.
const ROUTER_ALERT: [u8; 8] = [protocol::ICMPV6, 0, 5, 2, 0, 0, 1, 0];

/// Longest frame of a report in bytes, without a tag.
pub const REPORT_FRAME_MAX: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN + 8 + 28;

mod field {
    use crate::bytes::Field;

    pub(super) const MAX_RESPONSE: Field = 4..6;
    pub(super) const GROUP: Field = 8..24;
    pub(super) const QUERY_V1_LEN: usize = 24;
    pub(super) const QUERY_V2_LEN: usize = 28;
}

/// Versions of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// RFC 2710.
    V1,
    /// RFC 3810.
    V2,
}

/// A query: the ICMPv6 payload of an IPv6 packet, whole and no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query<T> {
    buffer: T,
}

impl<T: AsRef<[u8]>> Query<T> {
    /// A view of `buffer`, which must hold a query of a length that a version knows (RFC 3810 §8.1).
    /// No getter panics afterwards.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        require(bytes.len() == field::QUERY_V1_LEN || bytes.len() >= field::QUERY_V2_LEN)?;
        require(bytes[0] == kind::MLD_QUERY)?;
        Ok(Self { buffer })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// The version by its length.
    pub fn version(&self) -> Version {
        if self.buffer.as_ref().len() == field::QUERY_V1_LEN { Version::V1 } else { Version::V2 }
    }

    /// Milliseconds within which to answer (RFC 3810 §5.1.3).
    pub fn max_response_ms(&self) -> u32 {
        let code = u32::from(u16_in(self.buffer.as_ref(), field::MAX_RESPONSE));
        match self.version() {
            Version::V2 if code >= 0x8000 => (code & 0x0fff | 0x1000) << ((code >> 12 & 7) + 3),
            _ => code,
        }
    }

    /// The group that is asked for; `None` asks for all.
    pub fn group(&self) -> Option<Ipv6Addr> {
        let group = Ipv6Addr::from(array::<16>(self.buffer.as_ref(), field::GROUP));
        (!group.is_unspecified()).then_some(group)
    }

    /// Whether a member of `group` has to answer.
    pub fn asks_for(&self, group: Ipv6Addr) -> bool {
        self.group().is_none_or(|asked| asked == group)
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Query<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group() {
            Some(group) => write!(f, "mld query {group} within {} ms", self.max_response_ms()),
            None => write!(f, "mld query within {} ms", self.max_response_ms()),
        }
    }
}

/// Why a group is reported; version 2 tells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// A query asked.
    Asked,
    /// The group was joined.
    Joined,
}

/// A report of one group, from all sources.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Source address: link-local, or `::` while there is none.
    pub src: Ipv6Addr,
    /// The group.
    pub group: Ipv6Addr,
    /// The version that the querier speaks.
    pub version: Version,
    /// Why.
    pub reason: Reason,
}

impl Report {
    /// Where it goes: the group itself in version 1, all routers in version 2.
    pub fn dst(&self) -> Ipv6Addr {
        match self.version {
            Version::V1 => self.group,
            Version::V2 => multicast::ALL_MLDV2_ROUTERS,
        }
    }

    fn message_len(&self) -> usize {
        match self.version {
            Version::V1 => 24,
            Version::V2 => 28,
        }
    }

    /// The head of its frame.
    pub fn link(&self, src: MacAddr, tci: Option<u16>) -> ethernet::Repr {
        ethernet::Repr { src, dst: multicast::mac_v6(self.dst()), tci }
    }

    /// Length of the frame in bytes.
    pub fn frame_len(&self, link: &ethernet::Repr) -> usize {
        link.frame_len(ipv6::HEADER_LEN + ROUTER_ALERT.len() + self.message_len())
    }

    /// Writes a whole frame: head (see [`Self::link`]), IPv6 header with one hop, router alert,
    /// message with its checksum.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::frame_len`].
    pub fn emit_frame(&self, link: &ethernet::Repr, frame: &mut [u8]) {
        let (src, dst) = (self.src, self.dst());
        let payload_len = (ROUTER_ALERT.len() + self.message_len()) as u16;
        let packet = link.emit(ethernet::EtherType::IPV6, frame);
        let rest = ipv6::Repr { src, dst, next_header: 0, hop_limit: 1, payload_len }.emit(packet);
        let (alert, rest) = rest.split_at_mut(ROUTER_ALERT.len());
        alert.copy_from_slice(&ROUTER_ALERT);
        let (message, padding) = rest.split_at_mut(self.message_len());
        message.fill(0);
        match self.version {
            Version::V1 => {
                message[0] = kind::MLD_REPORT;
                put(message, field::GROUP, self.group.octets());
            }
            Version::V2 => {
                message[0] = kind::MLDV2_REPORT;
                message[7] = 1; // One record, without sources:
                message[8] = match self.reason {
                    Reason::Asked => 2,  // MODE_IS_EXCLUDE
                    Reason::Joined => 4, // CHANGE_TO_EXCLUDE_MODE
                };
                put(message, 12..28, self.group.octets());
            }
        }
        icmpv6::fill_checksum(AddressPair::V6 { src, dst }, message);
        padding.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;

    const QUERY: &str = "8200623a2710000000000000000000000000000000000000023c0000";
    // Reports that a host sent: the whole frame, joining ff02::1:3.
    const REPORT: &str = "333300000016 00123f979201 86dd 6000000000240001
        fe800000000000009c09b4160768ff42 ff020000000000000000000000000016 3a00050200000100
        8f00193c0000000104000000ff020000000000000000000000010003";

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn real_bytes() {
        let query = Query::new_checked(hex(QUERY)).expect("whole");
        assert_eq!((query.version(), query.max_response_ms(), query.group()), (Version::V2, 10_000, None));
        assert!(query.asks_for(v6("ff02::1:ff00:80")));
        assert_eq!(query.to_string(), "mld query within 10000 ms");
    }

    #[test]
    fn wrong_length() {
        let bytes = hex(QUERY);
        for len in 0..bytes.len() {
            assert_eq!(Query::new_checked(&bytes[..len]).is_ok(), len == 24, "{len}");
        }
        let mut report = bytes;
        report[0] = 131;
        assert_eq!(Query::new_checked(&report), Err(Malformed));
    }

    #[test]
    fn queries_of_a_group_and_long_delays() {
        let group = v6("ff02::1:ff00:80");
        let mut bytes = hex(QUERY);
        bytes[8..24].copy_from_slice(&group.octets());
        bytes[4..6].copy_from_slice(&[0x80, 0x01]);
        let query = Query::new_checked(&bytes).expect("whole");
        assert!(query.asks_for(group) && !query.asks_for(multicast::ALL_NODES));
        assert_eq!(query.max_response_ms(), 0x1001 << 3);
        let old = Query::new_checked(&bytes[..24]).expect("whole");
        assert_eq!((old.version(), old.max_response_ms()), (Version::V1, 0x8001));
    }

    #[test]
    fn a_report_is_what_a_host_sends() {
        let report = Report {
            src: v6("fe80::9c09:b416:768:ff42"),
            group: v6("ff02::1:3"),
            version: Version::V2,
            reason: Reason::Joined,
        };
        let link = report.link(MacAddr([0, 0x12, 0x3f, 0x97, 0x92, 0x01]), None);
        let mut frame = vec![0xff; report.frame_len(&link)];
        report.emit_frame(&link, &mut frame);
        assert_eq!(frame.len(), REPORT_FRAME_MAX);
        assert_eq!(frame, hex(REPORT));
    }

    #[test]
    fn reports_of_both_versions() {
        let group = multicast::solicited_node(v6("2001:db8::80"));
        for (version, kind, dst) in
            [(Version::V1, 131, group), (Version::V2, 143, multicast::ALL_MLDV2_ROUTERS)]
        {
            let report = Report { src: v6("fe80::1"), group, version, reason: Reason::Asked };
            assert_eq!(report.dst(), dst);
            let link = report.link(MacAddr([2; 6]), Some(5));
            let mut frame = vec![0xff; report.frame_len(&link)];
            report.emit_frame(&link, &mut frame);
            let ip = ipv6::Packet::new_checked(&frame[18..]).expect("whole");
            assert_eq!((ip.next_header(), ip.hop_limit(), ip.dst_addr()), (0, 1, dst));
            let upper = ip.upper_layer().expect("a router alert");
            let message = icmpv6::Packet::new_checked(upper.payload).expect("whole");
            assert_eq!(message.kind(), kind);
            assert!(message.has_good_checksum(ip.src_addr(), ip.dst_addr()));
        }
    }
}
