//! What may become of a frame, by the specification.

use crate::neighbour;
use crate::parse::{Ip, Link, link, network};
use crate::table::{Cluster, Role, Table};
use core::net::IpAddr;

/// What may become of a frame: the outcome, or one of the drops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// What happens to it.
    pub outcome: Outcome,
    /// Drops that are right instead.
    pub or_drop: Vec<&'static str>,
}

/// What happens to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// FS-6: to exactly one of these servers, all but the destination address untouched. A fragment
    /// may be held before.
    Steer {
        /// The VIP's VLAN.
        vlan: u16,
        /// Those who may get it.
        servers: Vec<usize>,
        /// It may be held for its first fragment.
        may_wait: bool,
    },
    /// FS-5, FS-11: out of some ports of the VLAN, untouched; never back, never to `except`.
    Bridge {
        /// The VLAN.
        vlan: u16,
        /// Ports that must not see it (FS-3).
        except: Vec<usize>,
    },
    /// FS-2: answered by the switch, on the port it came from, in the name of this cluster.
    Answer {
        /// The cluster's number.
        cluster: usize,
    },
    /// FS-2a: bridged with the VMAC in place of the server's MAC; never to a carrier.
    Relay {
        /// The cluster's number.
        cluster: usize,
    },
    /// FS-2a: an answer for the VIP, to those of its servers that asked, with their MAC as target.
    Deliver {
        /// The cluster's number.
        cluster: usize,
    },
    /// Taken to the control core.
    Punt,
    /// Dropped, for one of the reasons in `or_drop`.
    Drop,
}

impl Expected {
    pub(crate) fn drop(reasons: impl IntoIterator<Item = &'static str>) -> Self {
        Self::only(Outcome::Drop).or(reasons)
    }

    pub(crate) fn only(outcome: Outcome) -> Self {
        Self { outcome, or_drop: Vec::new() }
    }

    pub(crate) fn or(mut self, reasons: impl IntoIterator<Item = &'static str>) -> Self {
        for reason in reasons {
            if !self.or_drop.contains(&reason) {
                self.or_drop.push(reason);
            }
        }
        self
    }
}

/// Drops that may befall anything that is bridged: nowhere to go, or a limit.
const BRIDGE_DROPS: [&str; 3] = ["no-egress", "storm", "port-down"];

/// What may become of `frame`, received on `port`.
pub fn expect(table: &Table, port: usize, frame: &[u8]) -> Expected {
    let expected = by_link(table, port, frame);
    // F1. No wire carries them; a header without a word behind it may be read or not.
    if frame.len() < 16 { expected.or(["runt"]) } else { expected }
}

fn by_link(table: &Table, port: usize, frame: &[u8]) -> Expected {
    let head = match link(frame) {
        Ok(head) => head,
        Err(reason) => return Expected::drop([reason]),
    };
    let place = &table.ports[port];
    let vlan = match head.vid {
        0 => place.untagged,
        vid => place.tagged.contains(&vid).then_some(vid),
    };
    let Some(vlan) = vlan else {
        let lldp = head.vid == 0 && head.ethertype == 0x88cc && head.dst[..5] == [0x01, 0x80, 0xc2, 0, 0];
        let refused = Expected::drop(["vlan-not-member"]); // F5
        // Between neighbours, whatever VLANs the link carries.
        return if lldp {
            Expected::only(Outcome::Punt).or(["vlan-not-member", "punt-rate", "source-mac"])
        } else {
            refused
        };
    };
    if head.src[0] & 1 != 0 || head.src == [0; 6] {
        return Expected::drop(["source-mac"]); // F6
    }
    if table.vmac(vlan, head.src).is_some() {
        // F6, FS-1. What else is wrong with it may be named instead.
        return Expected::drop(["foreign-vmac", "link-local", "bpdu", "vmac-not-vip", "arp-malformed"]);
    }
    if let [0x01, 0x80, 0xc2, 0, 0, last @ 0..=0x0f] = head.dst {
        return match last {
            _ if head.ethertype == 0x88cc => Expected::only(Outcome::Punt).or(["punt-rate"]), // A5
            0 if !place.drops_bpdus => bridge(vlan, Vec::new()),
            0 => Expected::drop(["bpdu"]),
            _ => Expected::drop(["link-local"]),
        };
    }
    if head.nested {
        return other(table, vlan, &head, &[]);
    }
    match head.ethertype {
        0x0806 => neighbour::arp(table, port, vlan, &head),
        0x0800 | 0x86dd => match network(head.ethertype, head.payload) {
            Some(ip) => internet(table, port, vlan, &head, &ip),
            None => other(table, vlan, &head, &["ip-header"]),
        },
        _ => other(table, vlan, &head, &[]),
    }
}

pub(crate) fn bridge(vlan: u16, except: Vec<usize>) -> Expected {
    Expected::only(Outcome::Bridge { vlan, except }).or(BRIDGE_DROPS)
}

/// Not an IP packet to a VIP: to a VMAC it is dropped, else bridged.
fn other(table: &Table, vlan: u16, head: &Link<'_>, flaws: &[&'static str]) -> Expected {
    match table.vmac(vlan, head.dst) {
        Some(_) => Expected::drop(["vmac-not-vip"]).or(flaws.iter().copied()),
        None => bridge(vlan, Vec::new()),
    }
}

fn internet(table: &Table, port: usize, vlan: u16, head: &Link<'_>, ip: &Ip<'_>) -> Expected {
    if let Some(expected) = neighbour::discovery(table, port, vlan, head, ip) {
        return expected;
    }
    let sender = table.server_at(port, head.src);
    let from_vip = table.vip(vlan, ip.src);
    if let Some(cluster) = table.vip(vlan, ip.dst) {
        let is_ours = head.dst == cluster.vmac
            || cluster.servers.iter().any(|server| table.servers[*server].mac == head.dst);
        if is_ours {
            return to_vip(table, port, vlan, cluster, sender, ip);
        }
        if head.dst[0] & 1 != 0 {
            return Expected::drop(["vip-not-unicast"]); // FS-6
        }
    }
    let transport = ip.transport();
    let flaws = [&ip.flaws[..], &transport.flaws, &transport.doubts].concat();
    let mut expected = other(table, vlan, head, &flaws);
    if from_vip.is_some() && sender.is_none() && head.dst[0] & 1 != 0 {
        expected = expected.or(["martian"]); // F11, for a group
    }
    if let (Outcome::Bridge { except, .. }, Some(cluster)) = (&mut expected.outcome, from_vip)
        && head.dst[0] & 1 != 0
    {
        except.extend(table.carriers(cluster)); // FS-3
    }
    let speaks_for_vip = sender.is_some_and(|s| from_vip.is_some_and(|c| c.servers.contains(&s)));
    if speaks_for_vip {
        expected = expected.or(["reset-withheld", "port-taken"]); // FS-7a, FS-25
    }
    if table.ports[port].role == Role::Server && matches!((ip.protocol, transport.src), (17, 67 | 547)) {
        expected = expected.or(["guard"]); // FS-5
    }
    expected
}

/// FS-6: everything that can be said against a packet to a VIP, and who may get it.
fn to_vip(
    table: &Table,
    port: usize,
    vlan: u16,
    cluster: &Cluster,
    sender: Option<usize>,
    ip: &Ip<'_>,
) -> Expected {
    let transport = ip.transport();
    let mut wrong = ip.flaws.clone();
    // Behind a broken IP header there is no transport header.
    if wrong.is_empty() {
        wrong.extend(&transport.flaws);
    }
    let martian = is_martian(ip.src)
        || ip.src == ip.dst
        || table.vip(vlan, ip.src).is_some() && table.ports[port].role != Role::Server;
    if martian {
        wrong.push("martian"); // F11
    }
    let mut doubts = transport.doubts.clone();
    if table.vip(vlan, ip.src).is_some() && sender.is_none() {
        doubts.push("martian");
    }
    if is_icmp_error(ip, transport.flags) {
        doubts.extend(["icmp-quote", "icmp-rate"]);
        if matches!((ip.protocol, transport.flags), (1, 5)) {
            wrong.push("icmp-redirect"); // FS-21
        }
        if quoted_source(ip) != Some(cluster.vip) {
            wrong.push("icmp-quote"); // F17
        }
    }
    if !wrong.is_empty() {
        return Expected::drop(wrong).or(doubts);
    }
    let carries = |server: &usize| {
        table.clusters.iter().any(|c| c.vlan == vlan && c.vip == ip.src && c.servers.contains(server))
    };
    // FS-4: the chooser leaves out those whose own address the source is.
    let servers: Vec<usize> = cluster.servers.iter().copied().filter(|s| !carries(s)).collect();
    if servers.is_empty() {
        return Expected::drop(["no-other-server"]).or(doubts);
    }
    let may_wait = ip.fragment.is_some();
    let mut expected = Expected::only(Outcome::Steer { vlan, servers, may_wait }).or(doubts);
    if sender.is_some() {
        // An answer or a connection between two VIPs is an outbound packet too.
        expected = expected.or(["reset-withheld", "port-taken"]);
    }
    expected
}

/// F11.
fn is_martian(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => matches!(v4.octets()[0], 0 | 127 | 224..),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
    }
}

fn is_icmp_error(ip: &Ip<'_>, kind: u8) -> bool {
    let whole = !ip.is_later_fragment() && ip.payload.len() >= 8;
    whole && matches!((ip.protocol, kind), (1, 3 | 4 | 5 | 11 | 12) | (58, 0..128))
}

/// FS-21: the source of what an error quotes.
fn quoted_source(ip: &Ip<'_>) -> Option<IpAddr> {
    let quote = ip.payload.get(8..)?;
    let ethertype = if ip.dst.is_ipv4() { 0x0800 } else { 0x86dd };
    let version = quote.first()? >> 4;
    (version == if ip.dst.is_ipv4() { 4 } else { 6 }).then(|| network(ethertype, quote))?.map(|ip| ip.src)
}
