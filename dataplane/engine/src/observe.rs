//! Outbound: what servers send is looked at and left alone (FS-11).
//!
//! It restores entries (FS-7a), opens them for connections that servers make (FS-25), and tells what
//! became of a flow. Only two frames are taken out of the stream: a reset from a server that was
//! tried in vain, and the second opening of a connection that another server has.

use crate::Engine;
use crate::classify::{Meta, addresses};
use crate::icmp::quotes_probe;
use crate::outbox::Event;
use crate::signs::{self, carries_data};
use crate::steer::{answered, martian};
use crate::tables::address_words;
use crate::tcp::{self, Change};
use dataplane_flow::{Entry, Instant, KeyKind, Slot, State, TargetId};
use dataplane_message::{AlarmKind, UdpMode, probe_port};
use dataplane_port::{DropReason, Head, PuntReason, Verdict};
use dataplane_wire::{MacAddr, icmp, icmpv6, protocol, tcp as wire_tcp};
use std::sync::Arc;

/// From this port on, a server's UDP packet in a cluster that balances UDP by packet opens a flow of
/// its own rather than answering a client (RFC 6056 and Linux's range begin at or above it).
const EPHEMERAL: u16 = 32_768;

/// In place of a port: not known yet.
pub(crate) const NO_PORT: u8 = u8::MAX;

impl Engine {
    /// Whether it answers a probe of control: to the cluster's probe address, and the port, echo identifier
    /// or quoted port that is this server's (FS-30). Asked only of packets whose flow has no entry, and of ICMP.
    fn answers_probe(&self, data: &[u8], meta: &Meta) -> bool {
        let Some(cluster) = self.tables.cluster(meta.cluster) else { return false };
        let probe = address_words(cluster.probe);
        let layers = &meta.layers;
        let to = addresses(data, layers.network, usize::from(layers.l3));
        if to.is_none_or(|to| to.destination != probe || to.v6 != cluster.probe.is_ipv6()) {
            return false;
        }
        let port = probe_port(meta.sender);
        match layers.protocol {
            protocol::TCP | protocol::UDP => layers.destination == port,
            protocol::ICMP if layers.flags == icmp::kind::ECHO_REPLY => layers.source == port,
            protocol::ICMPV6 if layers.flags == icmpv6::kind::ECHO_REPLY => layers.source == port,
            // "Port unreachable" and the like.
            _ if layers.is_icmp_error() => quotes_probe(data, layers, probe, port),
            _ => false,
        }
    }

    #[inline(always)]
    fn count_sender(&self, head: &Head<'_>, meta: &Meta) {
        let counters = self.counters().target(meta.sender);
        counters.out_frames.add(1);
        counters.out_bytes.add(u64::from(head.len));
    }

    /// Looks at a server's packet; a verdict only if it must not go on. `slot`: its flow's.
    pub(crate) fn observe(
        &mut self,
        head: &Head<'_>,
        meta: &Meta,
        slot: Option<Slot>,
        now: Instant,
    ) -> Option<Verdict> {
        // What a server pings may have a probe's identifier: that entry is not to hide the probe's answers.
        let echo = matches!(meta.layers.protocol, protocol::ICMP | protocol::ICMPV6);
        if (slot.is_none() || echo) && self.answers_probe(head.data, meta) {
            // No load, and no flow: control has asked (FS-30).
            self.counters().target(meta.sender).heard.add(1);
            return Some(Verdict::Punt(PuntReason::Probe));
        }
        self.count_sender(head, meta);
        if meta.is_group() || meta.layers.is_icmp_error() {
            return None;
        }
        if meta.layers.protocol == protocol::UDP && self.tables.cluster(meta.cluster).is_some_and(|c| c.quic)
        {
            self.note_connection_id(head.data, meta);
        }
        let Some(mut slot) = slot else {
            self.open(head, meta);
            return None;
        };
        let entry = self.shard.entry(slot);
        let stale = entry.is_due(self.shard.tick(), true);
        if stale && self.shard.is_expired(entry, &self.tables.timeouts) {
            self.shard.remove(slot);
            self.open(head, meta);
            return None;
        }
        let tcp = meta.layers.protocol == protocol::TCP;
        if entry.target() != meta.sender {
            return self.contend(head, meta, slot, entry, now);
        }
        if tcp && entry.state() == State::MidFlow && meta.layers.flags & tcp::RST != 0 {
            return self.refused_by(meta, slot, entry);
        }
        let quiet = entry.state() == State::Established
            && tcp
            && meta.layers.flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0;
        if !quiet {
            let change = if tcp {
                tcp::from_server(entry, meta.layers.flags, carries_data(head.data, meta))
            } else if entry.flags() & Entry::FROM_SERVER == 0 {
                answered(entry)
            } else {
                Change::None
            };
            let at = self.change_outbound(head, meta, slot, change);
            if tcp && let Some(sign) = signs::from_server(entry, meta.layers.flags, change) {
                self.sign(meta, at, entry, sign, now);
            }
            match at {
                Some(at) => slot = at,
                None => return None,
            }
        }
        if tcp {
            self.note_sequence(head.data, meta, slot);
            if entry.flags() & Entry::RESPONDED == 0 {
                self.await_no_more(head.data, meta, slot, now);
            }
        }
        if stale {
            let entry = self.shard.entry(slot);
            self.shard.touch(slot, entry);
        }
        None
    }

    /// Carries a change out; where the entry is now, unless it is another flow's.
    fn change_outbound(&mut self, head: &Head<'_>, meta: &Meta, slot: Slot, change: Change) -> Option<Slot> {
        let slot = self.change(slot, change);
        match (change, slot) {
            (Change::Await(_), Some(slot)) => self.await_ack(head.data, meta, slot),
            (Change::Anew, _) => self.open(head, meta),
            _ => {}
        }
        slot
    }

    /// Remembers how far a flow's server has come, for the reset that its client is sent should it die
    /// (FS-10); SYN and FIN count one.
    fn note_sequence(&mut self, data: &[u8], meta: &Meta, slot: Slot) {
        if meta.layers.flags & tcp::RST != 0 {
            return;
        }
        if let Some(segment) = segment(data, meta) {
            let l4 = usize::from(meta.layers.l4) + segment.header_len();
            let len = usize::from(meta.layers.end).saturating_sub(l4) as u32;
            let controls = (meta.layers.flags & (tcp::SYN | tcp::FIN)).count_ones();
            self.shard.note_sequence(slot, segment.seq().wrapping_add(len).wrapping_add(controls));
        }
    }

    /// The other side will acknowledge this segment's SYN.
    fn await_ack(&mut self, data: &[u8], meta: &Meta, slot: Slot) {
        if let Some(segment) = segment(data, meta) {
            self.shard.set_expected_ack(slot, segment.seq().wrapping_add(1));
        }
    }

    /// A server's packet in a flow that has no entry: it makes one (FS-7a, FS-25).
    #[cold]
    fn open(&mut self, head: &Head<'_>, meta: &Meta) {
        let data: &[u8] = head.data;
        let layers = &meta.layers;
        let tables = Arc::clone(&self.tables);
        let Some(cluster) = tables.cluster(meta.cluster) else { return };
        if martian(meta.key.client_words(), meta.key.is_v6()) {
            return; // F11: or what comes from there would find an entry.
        }
        // FS-30: to a probe's port, but another server's: an entry would hide that one's answers. What comes
        // from there is dropped anyway.
        let ports = matches!(layers.protocol, protocol::TCP | protocol::UDP);
        if ports && cluster.is_probe(meta.key.client_words(), meta.key.client_port()) {
            return;
        }
        let (state, flags) = match (meta.key.kind(), layers.protocol) {
            (KeyKind::Ipsec, _) => (State::Ipsec, 0),
            (_, protocol::TCP) => match layers.flags & (tcp::SYN | tcp::ACK | tcp::RST) {
                tcp::SYN => (State::SynSent, Entry::FROM_SERVER),
                flags if flags & tcp::RST != 0 => return,
                flags if flags & tcp::SYN != 0 => (State::SynAck, 0),
                _ if layers.flags & tcp::FIN != 0 => (State::HalfClosed, Entry::FIN_SERVER),
                _ => (State::Established, 0),
            },
            (_, protocol::UDP) if cluster.udp == UdpMode::Packet && layers.source < EPHEMERAL => return,
            (_, protocol::UDP) => (State::UdpOneWay, Entry::FROM_SERVER),
            (_, protocol::ICMP | protocol::ICMPV6) => (State::Icmp, Entry::FROM_SERVER),
            _ => (State::OtherOneWay, Entry::FROM_SERVER),
        };
        // What began unseen, or from this side, has no first answer to wait for (FS-31).
        let entry = Entry::new(meta.sender, meta.cluster, state, flags | Entry::ANSWERED, 0);
        let Some(slot) = self.shard.insert(meta.hash, &meta.key, entry, &tables.timeouts, false) else {
            return;
        };
        if matches!(state, State::SynSent | State::SynAck) {
            self.await_ack(data, meta, slot);
        }
        if layers.protocol == protocol::TCP {
            self.note_sequence(data, meta, slot);
            // The client is where this goes to; its port is looked up when it is needed.
            self.shard.set_via(slot, meta.to, NO_PORT);
        }
        if flags & Entry::FROM_SERVER != 0 {
            self.counters().cluster(meta.cluster).flows_server.add(1);
        }
    }

    /// A packet of one server in a flow that is bound to another.
    #[cold]
    fn contend(
        &mut self,
        head: &Head<'_>,
        meta: &Meta,
        slot: Slot,
        entry: Entry,
        now: Instant,
    ) -> Option<Verdict> {
        let layers = &meta.layers;
        let tcp = layers.protocol == protocol::TCP;
        let holder_gone =
            !self.tables.target(entry.target()).is_some_and(|t| t.alive) && !self.outlives(slot, entry);
        if tcp && layers.flags & tcp::RST != 0 && !holder_gone {
            // The answer to a segment that was tried here and has gone on to another server since, which
            // may have taken it by now: the client would believe it.
            return Some(Verdict::Drop(DropReason::ResetWithheld));
        }
        if tcp && entry.state() == State::MidFlow {
            let change = tcp::from_server(entry.to(meta.sender), layers.flags, carries_data(head.data, meta));
            if let Some(slot) = self.change_outbound(head, meta, slot, change) {
                self.note_sequence(head.data, meta, slot);
                self.await_no_more(head.data, meta, slot, now);
            }
            return None;
        }
        if holder_gone || entry.state() == State::Closed {
            if !tcp || layers.flags & tcp::RST == 0 {
                self.shard.remove(slot);
                self.open(head, meta);
            }
            return None;
        }
        // FS-25: two servers use the same key.
        let opened = entry.flags() & Entry::FROM_SERVER != 0;
        if !tcp {
            if opened {
                self.alarm(head, meta, AlarmKind::PortTaken);
                self.shard.set(slot, entry.to(meta.sender));
            }
            return None;
        }
        if layers.flags & (tcp::SYN | tcp::ACK | tcp::RST) != tcp::SYN {
            return None;
        }
        if !opened && entry.state() == State::SynSent {
            // A SYN from outside that nobody has answered keeps no server from its port.
            self.shard.remove(slot);
            self.open(head, meta);
            return None;
        }
        self.alarm(head, meta, AlarmKind::PortTaken);
        self.reset_sender(head, meta);
        Some(Verdict::Drop(DropReason::PortTaken))
    }

    /// The server that a mid-flow segment was tried on does not know the flow: the next segment tries
    /// the next one; when all have refused, the reset passes (FS-7a).
    #[cold]
    fn refused_by(&mut self, meta: &Meta, slot: Slot, entry: Entry) -> Option<Verdict> {
        let tables = Arc::clone(&self.tables);
        let cluster = tables.cluster(meta.cluster)?;
        let (_, service) = cluster.service(meta.key.protocol(), meta.key.vip_port());
        let attempts = self.shard.attempts(slot) + 1;
        let choice = self.choice(service, meta);
        // FS-4: a flow between VIPs never tries a server that carries its source.
        let source = tables.vips.find(meta.vlan, meta.key.client_words(), meta.key.is_v6());
        let allowed =
            |id: TargetId| source.is_none_or(|vip| !tables.target(id).is_some_and(|t| t.carries(vip)));
        // Those that take no new flows have old ones (FS-33): they come last.
        let mut rest = (0..tables.targets.len() as u16).map(TargetId).filter(|id| {
            tables.target(*id).is_some_and(|t| t.alive && !t.takes && t.carries(cluster.id)) && allowed(*id)
        });
        let next = service.balancer.by_hash(choice, attempts, allowed).or_else(|| {
            let takers = service.balancer.count(allowed);
            rest.nth(attempts.saturating_sub(takers) as usize)
        });
        match next {
            Some(next) if next != entry.target() => {
                self.shard.set_attempts(slot, attempts);
                self.shard.set(slot, entry.to(next));
                Some(Verdict::Drop(DropReason::ResetWithheld))
            }
            _ => {
                self.shard.remove(slot);
                None
            }
        }
    }

    pub(crate) fn alarm(&mut self, head: &Head<'_>, meta: &Meta, kind: AlarmKind) {
        let address = self.tables.cluster(meta.cluster).map(|c| c.vip);
        self.outbox.event(Event::Alarm {
            kind,
            port: head.port,
            vlan: meta.vlan,
            mac: MacAddr::from_u64(meta.from),
            address,
        });
    }
}

/// The TCP segment of a frame.
pub(crate) fn segment<'a>(data: &'a [u8], meta: &Meta) -> Option<wire_tcp::Segment<&'a [u8]>> {
    wire_tcp::Segment::new_head(data.get(usize::from(meta.layers.l4)..)?).ok()
}
