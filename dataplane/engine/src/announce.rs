//! Announcements of VIPs (FS-2), and reports of their groups.
//!
//! Three at start, takeover, change and link up, a second apart; then one every
//! `announce_interval_s`, below the ageing time of the neighbours' MAC tables, or an upstream switch
//! forgets the VMAC and floods all inbound traffic. Only worker 0 announces. At most
//! [`PER_TICK`] clusters are looked at in a turn; there it is found which have changed, too: to compare all of
//! them when the tables are swapped would hold up the packets, with 256 clusters for some 30 us (P13).

use crate::outbox::Outbox;
use crate::tables::{ClusterTable, Tables};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use dataplane_flow::{ClusterId, Instant};
use dataplane_port::{PortId, PortSet, VlanId};
use dataplane_wire::nd::{Advertisement, Solicitation};
use dataplane_wire::{arp, ethernet, mld, multicast};

const BURST: u8 = 3;
const BURST_GAP_NS: u64 = 1_000_000_000;
const ASSERT_GAP_NS: u64 = 1_000_000_000;
const ASK_GAP_NS: u64 = 500_000_000;
const PER_TICK: usize = 4;
const QUERIES: usize = 8;
/// Frames that one cluster can cause in a turn: an announcement and a report, or a question, on every
/// port.
const CLUSTER_FRAMES_MAX: usize = 2 * dataplane_port::PORTS_MAX;

/// The IPv4 dummy address (RFC 7600 §4.8): asks in nobody's name.
const DUMMY: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

#[derive(Clone, Copy, Debug)]
struct Row {
    next: Instant,
    left: u8,
    asserted: Instant,
    asked: Instant,
    /// What was announced, and of which `links`.
    told: Option<(Told, u32)>,
}

/// What an announcement says, and whether there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    vip: [u64; 2],
    vmac: u64,
    vlan: VlanId,
    answers: bool,
}

impl Told {
    fn of(cluster: &ClusterTable) -> Self {
        let ClusterTable { vip_words, vmac, vlan, answers, .. } = *cluster;
        Self { vip: vip_words, vmac, vlan, answers }
    }
}

#[derive(Clone, Copy, Debug)]
struct Query {
    port: PortId,
    vlan: VlanId,
    group: Option<Ipv6Addr>,
    version: mld::Version,
    at: usize,
}

/// When which VIP is announced next.
#[derive(Debug)]
pub(crate) struct Announcer {
    rows: Vec<Row>,
    cursor: usize,
    queries: Vec<Query>,
    /// How often some link has come up.
    links: u32,
}

impl Row {
    fn forget(&mut self) {
        self.next = Instant(u64::MAX);
        self.told = None;
    }

    fn follow(&mut self, told: (Told, u32), now: Instant) {
        if self.told != Some(told) {
            *self = Self { next: now, left: BURST, told: Some(told), ..*self };
        }
    }
}

impl Default for Announcer {
    fn default() -> Self {
        Self {
            rows: vec![
                Row {
                    next: Instant(u64::MAX),
                    left: 0,
                    asserted: Instant(0),
                    asked: Instant(0),
                    told: None
                };
                dataplane_flow::CLUSTERS_MAX
            ],
            cursor: 0,
            queries: Vec::with_capacity(QUERIES),
            links: 0,
        }
    }
}

impl Announcer {
    /// New or changed VIPs, and all when a link has come up, begin anew, as soon as it is their turn.
    pub(crate) fn tables_changed(&mut self, old: &Tables, new: &Tables) {
        let link_up = new.ports.iter().zip(old.ports.iter()).any(|(new, old)| new.up && !old.up);
        self.links = self.links.wrapping_add(u32::from(link_up));
        let (from, to) = (new.clusters.len(), old.clusters.len().min(self.rows.len()));
        // Their turn does not come any more.
        self.rows.get_mut(from..to).into_iter().flatten().for_each(Row::forget);
    }

    /// Somebody else claims the VIP: it is asserted at once, but at most once a second (A2).
    pub(crate) fn assert_anew(&mut self, cluster: ClusterId, now: Instant) {
        if let Some(row) = self.rows.get_mut(usize::from(cluster.0))
            && (now.since(row.asserted) >= ASSERT_GAP_NS || row.asserted == Instant(0))
        {
            row.asserted = now;
            row.next = now;
        }
    }

    /// An MLD query came in on a port.
    pub(crate) fn asked(
        &mut self,
        port: PortId,
        vlan: VlanId,
        group: Option<Ipv6Addr>,
        version: mld::Version,
        _now: Instant,
    ) {
        let same = |q: &Query| (q.port, q.vlan, q.group) == (port, vlan, group);
        if self.queries.len() < QUERIES && !self.queries.iter().any(same) {
            self.queries.push(Query { port, vlan, group, version, at: 0 });
        }
    }

    /// Sends what is due.
    pub(crate) fn tick(&mut self, tables: &Tables, outbox: &mut Outbox, now: Instant) {
        self.answer_queries(tables, outbox);
        let count = tables.clusters.len().min(self.rows.len());
        for _ in 0..count.min(PER_TICK) {
            // The rest comes in the next turn: nothing is lost where many VIPs leave by many ports.
            if outbox.room() < CLUSTER_FRAMES_MAX {
                return;
            }
            self.cursor = if self.cursor + 1 < count { self.cursor + 1 } else { 0 };
            let row = &mut self.rows[self.cursor];
            let Some(cluster) = tables.cluster(ClusterId(self.cursor as u16)) else {
                row.forget();
                continue;
            };
            row.follow((Told::of(cluster), self.links), now);
            if cluster.learning && now.since(row.asked) >= ASK_GAP_NS {
                row.asked = now;
                ask_for_servers(tables, cluster, outbox);
            }
            if row.next > now {
                continue;
            }
            row.left = row.left.saturating_sub(1);
            let gap = if row.left > 0 {
                BURST_GAP_NS
            } else {
                u64::from(cluster.announce_interval_s.max(1)) * 1_000_000_000
            };
            row.next = Instant(now.0 + gap);
            if cluster.answers {
                announce(tables, cluster, outbox);
            }
        }
    }

    fn answer_queries(&mut self, tables: &Tables, outbox: &mut Outbox) {
        let Some(query) = self.queries.last_mut() else { return };
        let ids = query.at..(query.at + PER_TICK).min(tables.clusters.len());
        query.at += PER_TICK;
        for id in ids {
            let Some(cluster) = tables.cluster(ClusterId(id as u16)) else { continue };
            let IpAddr::V6(vip) = cluster.vip else { continue };
            let group = multicast::solicited_node(vip);
            if cluster.vlan == query.vlan && query.group.is_none_or(|asked| asked == group) {
                let ports = PortSet::EMPTY.with(query.port);
                report(tables, cluster, group, query.version, mld::Reason::Asked, ports, outbox);
            }
        }
        if query.at >= tables.clusters.len() {
            self.queries.pop();
        }
    }
}

/// The ports that announcements of the cluster leave by: all of its VLAN but those of servers that
/// carry the VIP.
fn exits(tables: &Tables, cluster: &ClusterTable) -> PortSet {
    let ports = tables.vlan(cluster.vlan).ports().minus(cluster.carriers);
    ports.iter().filter(|port| tables.ports[port.index() & 31].up).collect()
}

fn tci(tables: &Tables, cluster: &ClusterTable, port: PortId) -> Option<u16> {
    tables.vlan(cluster.vlan).tagged.contains(port).then_some(cluster.vlan.0)
}

fn announce(tables: &Tables, cluster: &ClusterTable, outbox: &mut Outbox) {
    let src = cluster.vmac();
    for port in exits(tables, cluster).iter() {
        let tci = tci(tables, cluster, port);
        match cluster.vip {
            IpAddr::V4(vip) => {
                let link = ethernet::Repr { src, dst: dataplane_wire::MacAddr::BROADCAST, tci };
                let packet = arp::Repr::announcement(src, vip);
                outbox.frame(port, link.frame_len(46), |frame| packet.emit_frame(&link, frame));
            }
            IpAddr::V6(vip) => {
                let dst = multicast::mac_v6(multicast::ALL_NODES);
                let link = ethernet::Repr { src, dst, tci };
                let message = Advertisement::unsolicited(vip, src);
                outbox.frame(port, message.frame_len(&link), |frame| message.emit_frame(&link, frame));
            }
        }
    }
    if let IpAddr::V6(vip) = cluster.vip {
        let group = multicast::solicited_node(vip);
        let ports = exits(tables, cluster);
        report(tables, cluster, group, mld::Version::V2, mld::Reason::Joined, ports, outbox);
    }
}

/// Asks, on the ports of servers whose MAC is not known yet, who has the VIP (FS-1). Never as a probe
/// from nobody: a server that is just checking its address would take that for a rival (RFC 5227).
fn ask_for_servers(tables: &Tables, cluster: &ClusterTable, outbox: &mut Outbox) {
    let src = cluster.vmac();
    for port in exits_to_learning(tables, cluster).iter() {
        let tci = tci(tables, cluster, port);
        match cluster.vip {
            IpAddr::V4(vip) => {
                let packet = arp::Repr {
                    operation: arp::Operation::Request,
                    sender_mac: src,
                    sender_ip: DUMMY,
                    target_mac: dataplane_wire::MacAddr::ZERO,
                    target_ip: vip,
                };
                let link = ethernet::Repr { src, dst: dataplane_wire::MacAddr::BROADCAST, tci };
                outbox.frame(port, link.frame_len(46), |frame| packet.emit_frame(&link, frame));
            }
            IpAddr::V6(vip) => {
                let group = multicast::solicited_node(vip);
                let message = Solicitation {
                    src: link_local(src),
                    dst: group,
                    target: vip,
                    source_link_layer: Some(src),
                    nonce: None,
                };
                let link = ethernet::Repr { src, dst: multicast::mac_v6(group), tci };
                outbox.frame(port, message.frame_len(&link), |frame| message.emit_frame(&link, frame));
            }
        }
    }
}

fn exits_to_learning(tables: &Tables, cluster: &ClusterTable) -> PortSet {
    let unknown = |id: &dataplane_flow::TargetId| {
        tables.targets.get(id.index()).is_some_and(|t| t.mac == 0 && t.carries(cluster.id))
    };
    cluster
        .carriers
        .iter()
        .filter(|port| {
            let port = &tables.ports[port.index() & 31];
            port.up && port.learning.iter().any(unknown)
        })
        .collect()
}

/// The link-local address made of a MAC (RFC 4291, appendix A).
fn link_local(mac: dataplane_wire::MacAddr) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let [a, b, c, d, e, f] = [a ^ 2, b, c, d, e, f].map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, a << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
}

fn report(
    tables: &Tables,
    cluster: &ClusterTable,
    group: Ipv6Addr,
    version: mld::Version,
    reason: mld::Reason,
    ports: PortSet,
    outbox: &mut Outbox,
) {
    // RFC 3590: a report may come from `::` while there is no link-local address.
    let report = mld::Report { src: Ipv6Addr::UNSPECIFIED, group, version, reason };
    for port in ports.iter() {
        let link = report.link(cluster.vmac(), tci(tables, cluster, port));
        outbox.frame(port, report.frame_len(&link), |frame| report.emit_frame(&link, frame));
    }
}
