//! ARP and Neighbour Discovery, by FS-2, FS-2a, FS-3 and part 2.2 of the hazards.

use crate::expect::{Expected, Outcome, bridge};
use crate::parse::{Ip, Link};
use crate::table::{Cluster, Mac, Role, Table};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who says what about whom: ARP and ND alike.
struct Talk {
    /// The sender's address; `None` for probes.
    sender: Option<IpAddr>,
    /// The address asked for, or told about.
    target: IpAddr,
    /// It asks.
    asks: bool,
}

pub(crate) fn arp(table: &Table, port: usize, vlan: u16, head: &Link<'_>) -> Expected {
    let Some(packet) = head.payload.get(..28) else { return Expected::drop(["arp-malformed"]) };
    let fixed = packet[..6] == [0, 1, 8, 0, 6, 4] && packet[6] == 0 && matches!(packet[7], 1 | 2);
    let group = matches!(packet[14..18], [224..=239, ..] | [255, 255, 255, 255]);
    if !fixed || packet[8..14] != head.src || group {
        return Expected::drop(["arp-malformed"]); // A4
    }
    let ip = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
    let sender = Some(ip(14)).filter(|ip| !ip.is_unspecified()).map(IpAddr::V4);
    let talk = Talk { sender, target: IpAddr::V4(ip(24)), asks: packet[7] == 1 };
    judge(table, port, vlan, head.src, &talk).unwrap_or_else(|| {
        if table.vmac(vlan, head.dst).is_some() {
            return Expected::drop(["vmac-not-vip", "unasked"]);
        }
        bridge(vlan, Vec::new())
    })
}

/// `None`: not Neighbour Discovery.
pub(crate) fn discovery(
    table: &Table,
    port: usize,
    vlan: u16,
    head: &Link<'_>,
    ip: &Ip<'_>,
) -> Option<Expected> {
    let kind = *ip.payload.first()?;
    let IpAddr::V6(dst) = ip.dst else { return None };
    if ip.protocol != 58 || !(133..=137).contains(&kind) || ip.fragment.is_some() || !ip.flaws.is_empty() {
        return None;
    }
    if !is_valid(ip, dst, kind) {
        // Which of two faults of a message to a VMAC is named, does not matter.
        return Some(Expected::drop(["nd-malformed", "vmac-not-vip", "l4-header"]));
    }
    let sender = Some(ip.src).filter(|src| !src.is_unspecified());
    let named = |at: usize| {
        let octets: Option<[u8; 16]> = ip.payload.get(at..at + 16).and_then(|b| b.try_into().ok());
        octets.map(|octets| IpAddr::V6(Ipv6Addr::from(octets)))
    };
    let from_server = table.ports[port].role == Role::Server;
    let talk = match kind {
        133 => Talk { sender, target: ip.dst, asks: true },
        134 if from_server => return Some(Expected::drop(["guard"])),
        134 => Talk { sender, target: ip.dst, asks: false },
        135 => Talk { sender, target: named(8)?, asks: true },
        // An advertisement names as its target the address that it claims; it is for its destination.
        136 => Talk { sender: named(8), target: ip.dst, asks: false },
        _ if table.vip(vlan, ip.dst).is_some() => return Some(Expected::drop(["icmp-redirect"])),
        _ => return Some(bridge(vlan, Vec::new())),
    };
    let judged = judge(table, port, vlan, head.src, &talk);
    Some(judged.unwrap_or_else(|| {
        if table.vmac(vlan, head.dst).is_some() {
            return Expected::drop(["vmac-not-vip", "unasked"]);
        }
        bridge(vlan, Vec::new())
    }))
}

/// `None`: no VIP and no router is involved.
fn judge(table: &Table, port: usize, vlan: u16, src: Mac, talk: &Talk) -> Option<Expected> {
    let number = |cluster: &Cluster| table.clusters.iter().position(|c| core::ptr::eq(c, cluster));
    let cluster_of =
        |address: Option<IpAddr>| address.and_then(|address| table.vip(vlan, address)).and_then(number);
    let (says, about) = (cluster_of(talk.sender), cluster_of(Some(talk.target)));
    let server = table.server_at(port, src);
    let carries = |cluster: usize| server.is_some_and(|s| table.clusters[cluster].servers.contains(&s));
    let from_server_port = table.ports[port].role == Role::Server;
    let claims_router =
        from_server_port && talk.sender.is_some_and(|sender| table.routers.contains(&(vlan, sender)));
    let limits = ["answer-rate"];
    let expected = match (says, about) {
        // A2
        (Some(cluster), _) if !carries(cluster) => Expected::drop(["vip-claimed"]),
        // FS-2a: its own announcement, or an answer for the VIP
        (Some(_), _) if !talk.asks || says == about => Expected::drop(["server-announce"]),
        (Some(_), Some(other)) if !carries(other) => {
            Expected::only(Outcome::Answer { cluster: other }).or(limits)
        }
        (Some(_), Some(_)) => Expected::drop(["server-announce"]),
        (Some(cluster), None) => Expected::only(Outcome::Relay { cluster }).or(["no-egress", "storm"]),
        // FS-3: a server's own probe is not answered
        (None, Some(cluster)) if talk.asks && carries(cluster) => Expected::drop(["server-announce"]),
        (None, Some(cluster)) if talk.asks => Expected::only(Outcome::Answer { cluster }).or(limits),
        (None, Some(cluster)) => Expected::only(Outcome::Deliver { cluster }).or(["unasked"]),
        (None, None) if claims_router => Expected::drop(["router-claimed"]), // A3
        (None, None) => return None,
    };
    Some(if claims_router { expected.or(["router-claimed"]) } else { expected })
}

/// RFC 4861: §6.1.1, §6.1.2, §7.1.1, §7.1.2, §8.1.
fn is_valid(ip: &Ip<'_>, dst: Ipv6Addr, kind: u8) -> bool {
    let IpAddr::V6(src) = ip.src else { return false };
    let message = ip.payload;
    let options_at = match kind {
        133 => 8,
        134 => 16,
        135 | 136 => 24,
        _ => 40,
    };
    if message.len() < options_at || message[1] != 0 || ip.hops != 255 || src.is_multicast() {
        return false;
    }
    let mut kinds = Vec::new();
    let mut rest = &message[options_at..];
    while !rest.is_empty() {
        let len = rest.get(1).map_or(0, |octets| usize::from(*octets) * 8);
        if len == 0 || len > rest.len() {
            return false;
        }
        kinds.push(rest[0]);
        rest = &rest[len..];
    }
    let tells_source = kinds.contains(&1);
    let link_local = src.segments()[0] & 0xffc0 == 0xfe80;
    let solicited_node = dst.octets()[..13] == [0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
    let by_kind = match kind {
        133 => !(src.is_unspecified() && tells_source),
        135 => message[8] != 0xff && (!src.is_unspecified() || solicited_node && !tells_source),
        136 => message[8] != 0xff && !(dst.is_multicast() && message[4] & 0x40 != 0),
        _ => link_local,
    };
    by_kind && checksum_is_good(src, dst, message)
}

fn checksum_is_good(src: Ipv6Addr, dst: Ipv6Addr, message: &[u8]) -> bool {
    let mut bytes = [src.octets(), dst.octets()].concat();
    bytes.extend((message.len() as u32).to_be_bytes());
    bytes.extend([0, 0, 0, 58]);
    bytes.extend(message);
    let mut sum: u64 = bytes
        .chunks(2)
        .map(|pair| u64::from(pair[0]) << 8 | u64::from(pair.get(1).copied().unwrap_or(0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}
