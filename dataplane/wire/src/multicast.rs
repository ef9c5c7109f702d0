//! Multicast addresses and their Ethernet addresses.
//!
//! Read first: RFC 4291 §2.7.1 (solicited-node group), RFC 2464 §7 and RFC 1112 §6.4 (mapping).

use crate::MacAddr;
use core::net::{Ipv4Addr, Ipv6Addr};

/// All nodes of the link, `ff02::1`.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// All routers of the link that listen to MLDv2, `ff02::16`.
pub const ALL_MLDV2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The group in which `address` is asked for: `ff02::1:ffXX:XXXX` with its last 24 bits.
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | a as u16, (b as u16) << 8 | c as u16)
}

/// Whether `group` is some address's solicited-node group.
pub const fn is_solicited_node(group: Ipv6Addr) -> bool {
    matches!(group.octets(), [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, ..])
}

/// The Ethernet address of an IPv6 group: `33:33` and its last 32 bits.
pub const fn mac_v6(group: Ipv6Addr) -> MacAddr {
    let [.., a, b, c, d] = group.octets();
    MacAddr([0x33, 0x33, a, b, c, d])
}

/// The Ethernet address of an IPv4 group: `01:00:5e` and its last 23 bits.
pub const fn mac_v4(group: Ipv4Addr) -> MacAddr {
    let [_, a, b, c] = group.octets();
    MacAddr([0x01, 0x00, 0x5e, a & 0x7f, b, c])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Ipv6Addr {
        text.parse().expect("an address")
    }

    #[test]
    fn rfc_4291_example() {
        let group = solicited_node(v6("4037::01:800:200e:8c6c"));
        assert_eq!(group, v6("ff02::1:ff0e:8c6c"));
        assert!(is_solicited_node(group));
        assert!(!is_solicited_node(ALL_NODES));
        assert_eq!(mac_v6(group).to_string(), "33:33:ff:0e:8c:6c");
    }

    #[test]
    fn mapping_of_groups() {
        assert_eq!(mac_v6(ALL_NODES).to_string(), "33:33:00:00:00:01");
        assert_eq!(mac_v6(ALL_MLDV2_ROUTERS).to_string(), "33:33:00:00:00:16");
        assert_eq!(mac_v4(Ipv4Addr::new(239, 255, 1, 2)).to_string(), "01:00:5e:7f:01:02");
    }
}
