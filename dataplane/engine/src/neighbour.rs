//! ARP and Neighbour Discovery for VIPs (FS-2, FS-2a, FS-3).
//!
//! Read first: RFC 826, RFC 5227, RFC 4861 §7, RFC 4862 §5.4.
//!
//! ```text
//! from            says                              becomes
//! outside         asks for a VIP                    answered with the VMAC
//! outside         claims a VIP                      dropped, alarm, asserted anew
//! outside         answers a VIP                     to every server that asked; unasked: dropped
//! a server        announces, probes, answers for    swallowed
//!                 its VIP
//! a server        asks for another VIP              answered with that VMAC
//! a server        asks in its VIP's name            leaves with the VMAC; who asked is remembered
//! a server        asks for a pool's address         answered with its router's MAC (FS-12)
//! a server        asks for a router that is gone    answered with that of one that stands in (FS-13)
//! a server        asks for the probes' address      answered with the VMAC (FS-30)
//! a server        answers a probe for its VIP       punted (FS-30)
//! a router        answers a VIP                     to every server that asked, and punted (FS-13)
//! outside         speaks for a pool's address       kept from servers that are told another MAC (FS-12)
//! a server port   claims a router's address         dropped, alarm
//! anybody         anything else                     bridged
//! ```

mod arp;
mod gateway;
mod nd;

use crate::Engine;
use crate::classify::Meta;
use crate::outbox::Event;
use crate::tables::ClusterTable;
use core::net::IpAddr;
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{AlarmKind, PortRole};
use dataplane_port::{DropReason, Head, PortId, PortSet, PuntReason, Verdict, VlanId};
use dataplane_wire::{MacAddr, Network};

/// How long a server's question may be answered (FS-2a).
const ASKED_NS: u64 = 3_000_000_000;

/// Questions under way.
const ASKERS: usize = 512;

#[derive(Clone, Copy, Debug)]
struct Asker {
    vlan: VlanId,
    address: IpAddr,
    cluster: ClusterId,
    target: TargetId,
    until: Instant,
}

/// Which servers have asked for which address.
#[derive(Debug)]
pub(crate) struct Askers {
    rows: Vec<Asker>,
    next: usize,
}

impl Default for Askers {
    fn default() -> Self {
        Self { rows: Vec::with_capacity(ASKERS), next: 0 }
    }
}

impl Askers {
    fn note(&mut self, row: Asker) {
        let same = |r: &&mut Asker| {
            (r.vlan, r.address, r.cluster, r.target) == (row.vlan, row.address, row.cluster, row.target)
        };
        if let Some(known) = self.rows.iter_mut().find(same) {
            known.until = row.until;
        } else if self.rows.len() < ASKERS {
            self.rows.push(row);
        } else {
            self.rows[self.next] = row;
            self.next = (self.next + 1) % ASKERS;
        }
    }

    /// The servers of `cluster` that asked for `address`; the same one once.
    fn of(
        &self,
        vlan: VlanId,
        address: IpAddr,
        cluster: ClusterId,
        now: Instant,
    ) -> impl Iterator<Item = TargetId> {
        self.rows
            .iter()
            .filter(move |r| (r.vlan, r.address, r.cluster) == (vlan, address, cluster) && r.until > now)
            .map(|r| r.target)
    }
}

/// What an ARP packet or an ND message says, in the words that both share.
#[derive(Clone, Copy, Debug)]
struct Says {
    /// The address in whose name it is said; `None`: nobody's yet (a probe, DAD).
    sender: Option<IpAddr>,
    /// The address it is about.
    about: IpAddr,
    what: What,
    /// The MAC at which the sender says to be.
    at: u64,
    /// Whom an answer is for.
    to: Option<IpAddr>,
}

/// What the switch answers.
#[derive(Clone, Copy, Debug)]
struct Answer {
    /// The address is here.
    mac: MacAddr,
    /// It is a router's.
    router: bool,
    /// To the asker alone, even where its address is not known yet.
    alone: bool,
}

impl Answer {
    /// For a VIP, to who asked on `port`. FS-3: where servers that carry the VIP are behind it, to nobody else.
    fn of_vip(cluster: &ClusterTable, port: PortId) -> Self {
        Self { mac: cluster.vmac(), router: false, alone: cluster.carriers.contains(port) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    /// A question for `about`.
    Asks,
    /// An answer or announcement: `about` is here.
    Claims,
    /// An answer that `sender` gives to `about` (ARP names whom it answers; ND's IP destination does).
    Answers,
}

impl Engine {
    /// ARP or ND.
    pub(crate) fn neighbour(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        match meta.layers.network {
            Network::Arp => self.arp(head, meta, now),
            _ => self.nd(head, meta, now),
        }
    }

    /// The server that sent the frame: its MAC, on its port, in a VLAN where it serves.
    fn sending_server(&self, head: &Head<'_>, meta: &Meta) -> Option<TargetId> {
        let port = &self.tables.ports[head.port.index() & 31];
        (port.role == PortRole::Server).then(|| port.server(meta.from)).flatten()
    }

    fn carried(&self, target: TargetId, cluster: ClusterId) -> bool {
        self.tables.target(target).is_some_and(|t| t.carries(cluster))
    }

    /// Applies the table above. `rewrite` puts the VMAC into the packet's own fields.
    fn judge(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        says: Says,
        now: Instant,
        rewrite: impl FnOnce(&mut [u8], MacAddr),
        answer: impl FnOnce(&mut Self, &mut Head<'_>, Answer),
    ) -> Verdict {
        let tables = std::sync::Arc::clone(&self.tables);
        let cluster_of = |address: Option<IpAddr>| address.and_then(|a| tables.vip(meta.vlan, a));
        let speaks_for = cluster_of(says.sender);
        let about = cluster_of(Some(says.about));
        let is_server_port = tables.ports[head.port.index() & 31].role == PortRole::Server;
        let sender = self.sending_server(head, meta);

        if is_server_port {
            let claimed = about.filter(|_| says.what == What::Claims);
            self.learn_server(head, meta, speaks_for.or(claimed), says.what);
        }
        if sender.is_some() && says.at != meta.from && speaks_for.is_some() {
            self.tell(head, meta, AlarmKind::ServerWrongMac, says.sender);
        }
        if let Some(server) = sender.filter(|_| says.what == What::Asks && says.sender.is_some())
            && speaks_for.is_none_or(|c| self.carried(server, c.id))
            && let Some(with) = self.told_to(meta.vlan, server, says.about)
        {
            return self.answer_for(head, meta, with, None, now, answer);
        }
        if let (Some(server), Some(cluster)) = (sender, speaks_for)
            && self.carried(server, cluster.id)
        {
            return self.carrier_speaks(head, meta, says, server, cluster, now, rewrite, answer);
        }
        if let Some(cluster) = speaks_for.or(about.filter(|_| says.what == What::Claims)) {
            let own = sender.is_some_and(|s| self.carried(s, cluster.id))
                || is_server_port && self.may_become(head, cluster);
            if !own && is_server_port && cluster.carriers.contains(head.port) {
                self.tell(head, meta, AlarmKind::ServerWrongMac, Some(cluster.vip));
            }
            return if own {
                swallow()
            } else {
                self.claimed(head, meta, cluster.id, AlarmKind::VipClaimed, now)
            };
        }
        let router = |a: IpAddr| tables.pools.is_gateway(meta.vlan, a);
        if is_server_port && says.sender.is_some_and(router) {
            return self.claimed(head, meta, ClusterId(u16::MAX), AlarmKind::RouterClaimed, now);
        }
        match (says.what, about) {
            (What::Asks, Some(cluster)) => {
                // FS-3: a server's own probe, or its question in another name, for a VIP it carries;
                // a probe also of one whose MAC is not known yet.
                let starts = says.sender.is_none() && is_server_port && self.may_become(head, cluster);
                if starts || sender.is_some_and(|s| self.carried(s, cluster.id)) {
                    return swallow();
                }
                self.answer_for_vip(head, meta, cluster, now, answer)
            }
            (What::Answers, Some(cluster)) => {
                let routers = !is_server_port && says.sender.is_some_and(router);
                let to_us = routers && meta.to == cluster.vmac;
                self.distribute(head, meta, says, cluster.id, to_us, now, rewrite)
            }
            _ => {
                let apart = self.kept_from(head.port, meta, says.sender, says.at);
                self.bridge_apart(head.port, meta, apart, now)
            }
        }
    }

    /// A server speaks in its VIP's name.
    #[allow(clippy::too_many_arguments)]
    fn carrier_speaks(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        says: Says,
        server: TargetId,
        cluster: &ClusterTable,
        now: Instant,
        rewrite: impl FnOnce(&mut [u8], MacAddr),
        answer: impl FnOnce(&mut Self, &mut Head<'_>, Answer),
    ) -> Verdict {
        let about = self.tables.vip(meta.vlan, says.about).map(|c| c.id);
        match (says.what, about) {
            (What::Asks, Some(other)) if self.carried(server, other) => swallow(),
            (What::Asks, Some(other)) => {
                let tables = std::sync::Arc::clone(&self.tables);
                match tables.cluster(other) {
                    Some(other) => self.answer_for_vip(head, meta, other, now, answer),
                    None => swallow(),
                }
            }
            (What::Asks, None) => {
                self.askers.note(Asker {
                    vlan: meta.vlan,
                    address: says.about,
                    cluster: cluster.id,
                    target: server,
                    until: Instant(now.0 + ASKED_NS),
                });
                if let Some(source) = head.data.get_mut(6..12) {
                    source.copy_from_slice(&cluster.vmac().0);
                }
                rewrite(head.data, cluster.vmac());
                self.bridge_to(head.port, meta, cluster.carriers, now)
            }
            // What a server answers to a probe is for the control core (FS-30).
            (What::Claims | What::Answers, _) if says.to == Some(cluster.probe) => {
                Verdict::Punt(PuntReason::Probe)
            }
            (What::Claims | What::Answers, _) => swallow(),
        }
    }

    fn answer_for_vip(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        cluster: &ClusterTable,
        now: Instant,
        answer: impl FnOnce(&mut Self, &mut Head<'_>, Answer),
    ) -> Verdict {
        if !cluster.answers {
            return Verdict::Drop(DropReason::NoServer);
        }
        self.answer_for(head, meta, Answer::of_vip(cluster, head.port), Some(cluster.id), now, answer)
    }

    /// The switch's own answer, within its limits (A1).
    fn answer_for(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        with: Answer,
        counted: Option<ClusterId>,
        now: Instant,
        answer: impl FnOnce(&mut Self, &mut Head<'_>, Answer),
    ) -> Verdict {
        let port = head.port.index() & 31;
        if !self.answer_senders.take(meta.from, now) || !self.answers[port].take(now) {
            return Verdict::Drop(DropReason::AnswerRate);
        }
        answer(self, head, with);
        if let Some(cluster) = counted {
            self.counters().cluster(cluster).answered.add(1);
        }
        Verdict::Consumed
    }

    /// An answer to a VIP goes to every server that asked (FS-2a): the frame itself to the first, copies
    /// to the others. A router's goes to the control core too, which may have asked (FS-13).
    #[allow(clippy::too_many_arguments)]
    fn distribute(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        says: Says,
        cluster: ClusterId,
        punt: bool,
        now: Instant,
        rewrite: impl FnOnce(&mut [u8], MacAddr),
    ) -> Verdict {
        let mut askers = [TargetId::NONE; 64];
        let mut count = 0;
        let mut kept = 0;
        if let Some(answerer) = says.sender {
            for target in self.askers.of(meta.vlan, answerer, cluster, now).take(askers.len()) {
                if self.tables.pools.keeps(meta.vlan, answerer, says.at, target) {
                    kept += 1;
                    continue;
                }
                askers[count] = target;
                count += 1;
            }
        }
        self.counters().drop(DropReason::PoolSender, kept);
        let askers = &askers[..count];
        if punt {
            for target in askers {
                self.copy_to(head.data, meta, *target);
            }
            return Verdict::Punt(PuntReason::Probe);
        }
        let Some((first, others)) = askers.split_first() else {
            return Verdict::Drop(DropReason::Unasked);
        };
        for target in others {
            self.copy_to(head.data, meta, *target);
        }
        let Some(first) = self.tables.target(*first) else {
            return Verdict::Drop(DropReason::NoServer);
        };
        let (mac, port) = (MacAddr::from_u64(first.mac), first.port);
        rewrite(head.data, mac);
        if let Some(destination) = head.data.first_chunk_mut::<6>() {
            *destination = mac.0;
        }
        self.out_of(PortSet::EMPTY.with(port), meta)
    }

    /// A copy of an answer for one more server. Longer than [`crate::OWN_FRAME_MAX`]: none, and counted.
    pub(crate) fn copy_to(&mut self, data: &[u8], meta: &Meta, target: TargetId) {
        let Some(target) = self.tables.target(target) else { return };
        let (mac, port) = (MacAddr::from_u64(target.mac), target.port);
        let l3 = usize::from(meta.layers.l3);
        let arp = meta.layers.network == Network::Arp;
        let end = if arp { l3 + dataplane_wire::arp::PACKET_LEN } else { usize::from(meta.layers.end) };
        let Some(body) = data.get(12..end) else { return };
        let out_tagged = self.tables.vlan(meta.vlan).tagged.contains(port);
        let mut frame = [0; crate::OWN_FRAME_MAX];
        frame[..6].copy_from_slice(&mac.0);
        if let Some(source) = data.get(6..12) {
            frame[6..12].copy_from_slice(source);
        }
        // The tag in the form that the server's port has it.
        let body = if meta.tagged && !out_tagged { body.get(4..).unwrap_or_default() } else { body };
        let mut at = 12;
        if out_tagged && !meta.tagged {
            frame[12..16].copy_from_slice(&[0x81, 0, (meta.vlan.0 >> 8) as u8, meta.vlan.0 as u8]);
            at = 16;
        }
        let len = at + body.len();
        if len > frame.len() {
            self.outbox.refused += 1;
            return;
        }
        frame[at..len].copy_from_slice(body);
        if arp {
            // ARP names its target in the packet; 18 bytes behind the EtherType and 8 bytes of head.
            let target_mac = len - dataplane_wire::arp::PACKET_LEN + 18;
            frame[target_mac..target_mac + 6].copy_from_slice(&mac.0);
        }
        let len = len.max(60);
        self.outbox.frame(port, len, |bytes| bytes.copy_from_slice(&frame[..len]));
    }

    /// Somebody claims what is not theirs.
    fn claimed(
        &mut self,
        head: &Head<'_>,
        meta: &Meta,
        cluster: ClusterId,
        kind: AlarmKind,
        now: Instant,
    ) -> Verdict {
        let address = self.tables.cluster(cluster).map(|c| c.vip);
        self.tell(head, meta, kind, address);
        if kind == AlarmKind::RouterClaimed {
            return Verdict::Drop(DropReason::RouterClaimed);
        }
        self.announcer.assert_anew(cluster, now);
        self.ticked_at = None;
        Verdict::Drop(DropReason::VipClaimed)
    }

    fn tell(&mut self, head: &Head<'_>, meta: &Meta, kind: AlarmKind, address: Option<IpAddr>) {
        let mac = MacAddr::from_u64(meta.from);
        self.outbox.event(Event::Alarm { kind, port: head.port, vlan: meta.vlan, mac, address });
    }

    /// A learning server's port: whoever there answers for the VIP, or speaks in its name, is the server
    /// (FS-1). The publisher keeps the first and reports another.
    fn learn_server(&mut self, head: &Head<'_>, meta: &Meta, cluster: Option<&ClusterTable>, what: What) {
        let Some(cluster) = cluster else { return };
        let port = &self.tables.ports[head.port.index() & 31];
        if what == What::Asks && port.server(meta.from).is_some() {
            return;
        }
        let mac = MacAddr::from_u64(meta.from);
        let learning: [Option<TargetId>; 4] = core::array::from_fn(|i| port.learning.get(i).copied());
        for target in learning.into_iter().flatten() {
            let member = self.tables.targets.get(target.index()).is_some_and(|t| t.carries(cluster.id));
            let known = self.tables.target(target).is_some_and(|t| t.mac == meta.from);
            if member && !known {
                self.outbox.event(Event::ServerMac { target, mac });
            }
        }
    }

    /// Whether the port has a server of the cluster whose MAC is still being learned.
    fn may_become(&self, head: &Head<'_>, cluster: &ClusterTable) -> bool {
        let port = &self.tables.ports[head.port.index() & 31];
        port.learning.iter().any(|id| {
            self.tables.targets.get(id.index()).is_some_and(|t| t.mac == 0 && t.carries(cluster.id))
        })
    }
}

fn swallow() -> Verdict {
    Verdict::Drop(DropReason::ServerAnnounce)
}
