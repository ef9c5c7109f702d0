//! Inbound: to exactly one server, by writing its MAC over the destination (FS-6).

use crate::Engine;
use crate::classify::{Meta, Way};
use crate::dead::Fate;
use crate::load::Load;
use crate::signs;
use crate::tables::{ClusterTable, ServiceTable, Tables, prefix_mask};
use crate::tcp::{self, Change};
use dataplane_flow::{Beginning, Entry, FlowKey, Instant, KeyKind, Shard, Slot, State, TargetId};
use dataplane_message::{PortRole, UdpMode};
use dataplane_port::{DropReason, Head, PortId, Verdict};
use dataplane_wire::{MacAddr, icmp, icmpv6, protocol, tcp as wire_tcp};
use std::sync::Arc;

/// Fill of the provisional part (of 255) from which a new handshake is placed by hash and leaves an
/// entry only where one is free: the flood guard (E1, E2).
const GUARD_AT: u8 = 200;

/// Where a packet's entry leads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Followed {
    /// To this server.
    To(TargetId),
    /// It has none, or one that does not hold: it is placed.
    Nowhere,
    /// It is dropped.
    Dropped(DropReason),
}

impl Engine {
    /// Sends the frame to its flow's server, or to one that is chosen for it. `slot`: its flow's;
    /// `tables`: the engine's.
    #[inline]
    pub(crate) fn steer(
        &mut self,
        tables: &Tables,
        head: &mut Head<'_>,
        meta: &Meta,
        slot: Option<Slot>,
        now: Instant,
    ) -> Verdict {
        if meta.layers.is_icmp_error() {
            // F17: whether it finds a flow or not.
            if let Err(reason) = self.examine(head, meta, now) {
                return Verdict::Drop(reason);
            }
        }
        if self.answers_router_probe(meta, head.port) {
            return self.take_router_answer(head, meta, slot, now);
        }
        match self.follow(head, meta, slot, now) {
            Followed::To(target) => self.send_to(target, head, meta),
            Followed::Dropped(reason) => Verdict::Drop(reason),
            Followed::Nowhere => self.place(tables, head, meta, now),
        }
    }

    /// Where the flow's entry leads, if it has one that holds.
    fn follow(&mut self, head: &Head<'_>, meta: &Meta, slot: Option<Slot>, now: Instant) -> Followed {
        let data: &[u8] = head.data;
        let Some(mut slot) = slot else { return Followed::Nowhere };
        let entry = self.shard.entry(slot);
        let target = entry.target();
        let alive = self.tables.target(target).is_some_and(|t| t.alive);
        let fate = if alive { Fate::Stays } else { self.fate(slot, entry) };
        let stale = entry.is_due(self.shard.tick(), false);
        if fate == Fate::Moves || stale && self.shard.is_expired(entry, &self.tables.timeouts) {
            self.shard.remove(slot);
            return Followed::Nowhere;
        }
        if fate == Fate::Reset {
            return self.answer_for_the_dead(head, meta, slot, entry, now);
        }
        // An ICMP error changes nothing (F18); it only goes where its flow goes.
        if meta.layers.is_icmp_error() {
            return Followed::To(target);
        }
        let layers = &meta.layers;
        let quiet = entry.state() == State::Established
            && layers.protocol == protocol::TCP
            && layers.flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0;
        if !quiet {
            let (change, at) = self.advance(data, meta, slot, entry, now);
            match (change, at) {
                (Change::Anew, _) => return Followed::Nowhere,
                (_, Some(at)) => slot = at,
                (_, None) => return Followed::To(target),
            }
        }
        if layers.protocol == protocol::TCP && entry.flags() & Entry::REQUESTED == 0 {
            self.await_answer(data, meta, slot, now);
        }
        if stale {
            self.touch(data, meta, slot);
        }
        Followed::To(target)
    }

    /// Whether a flow keeps its server although that is out of service: what the server itself has
    /// opened is nobody else's (FS-25), and where all are taken as if they were up (FS-10a).
    #[cold]
    pub(crate) fn outlives(&self, slot: Slot, entry: Entry) -> bool {
        let Some(target) = self.tables.target(entry.target()) else { return false };
        let Some(cluster) = self.tables.cluster(entry.cluster()) else { return false };
        let key = self.shard.key(slot);
        let open = cluster.service(key.protocol(), key.vip_port()).1.open;
        let own = entry.flags() & Entry::FROM_SERVER != 0;
        (own || open) && self.tables.ports[target.port.index() & 31].up
    }

    /// Brings the entry's state on: what it did, [`Change::Anew`] when the frame opens a flow of its own;
    /// and where the entry is now.
    fn advance(
        &mut self,
        data: &[u8],
        meta: &Meta,
        slot: Slot,
        entry: Entry,
        now: Instant,
    ) -> (Change, Option<Slot>) {
        let change = match meta.layers.protocol {
            protocol::TCP => {
                let ack = acknowledged(data, usize::from(meta.layers.l4));
                let expected = self.shard.expected_ack(slot);
                tcp::from_client(entry, meta.layers.flags, ack == Some(expected))
            }
            _ if entry.flags() & Entry::FROM_SERVER != 0 => answered(entry),
            _ => Change::None,
        };
        let at = self.change(slot, change);
        if meta.layers.protocol == protocol::TCP
            && let Some(sign) = signs::from_client(entry, meta.layers.flags, change)
        {
            self.sign(meta, at, entry, sign, now);
        }
        (change, at)
    }

    /// Carries a change out; where the entry is now.
    pub(crate) fn change(&mut self, slot: Slot, change: Change) -> Option<Slot> {
        match change {
            Change::None => {}
            Change::Set(entry) | Change::Await(entry) => self.shard.set(slot, entry),
            Change::Promote(entry) => {
                // A full main part leaves the entry where it is, for as long as its time-out; but with
                // the server that has shown to know the flow.
                let promoted = self.shard.promote(slot, entry, &self.tables.timeouts);
                if promoted.is_none() {
                    let kept = self.shard.entry(slot).to(entry.target());
                    self.shard.set(slot, kept);
                }
                return promoted.or(Some(slot));
            }
            Change::Forget | Change::Anew => {
                self.shard.remove(slot);
                return None;
            }
        }
        Some(slot)
    }

    /// Stamps the entry, where that is due; the client's binding with it, so that it does not run out
    /// under a flow that lives (FS-24).
    #[cold]
    fn touch(&mut self, data: &[u8], meta: &Meta, slot: Slot) {
        let entry = self.shard.entry(slot);
        self.shard.touch(slot, entry);
        let tables = Arc::clone(&self.tables);
        let Some(cluster) = tables.cluster(meta.cluster).filter(|c| c.by_client || c.quic) else { return };
        let (_, service) = cluster.service(meta.key.protocol(), meta.key.vip_port());
        self.by_connection_id(data, meta, service);
        if let Some(key) = affinity_key(cluster, service, &meta.key)
            && let Some(slot) = self.shard.find(key.hash(&self.table_key))
        {
            let entry = self.shard.entry(slot);
            self.shard.touch(slot, entry);
        }
    }

    /// Writes the server's MAC and sends the frame out of its port.
    #[inline(always)]
    pub(crate) fn send_to(&mut self, id: TargetId, head: &mut Head<'_>, meta: &Meta) -> Verdict {
        let Some(target) = self.tables.target(id) else {
            return Verdict::Drop(DropReason::NoServer);
        };
        let verdict = self.exit(target.port, meta);
        let mac = MacAddr::from_u64(target.mac);
        if let Some(destination) = head.data.first_chunk_mut::<6>() {
            *destination = mac.0;
        }
        let counters = self.counters().target(id);
        counters.in_frames.add(1);
        counters.in_bytes.add(u64::from(head.len));
        verdict
    }

    /// A packet whose flow has no entry.
    fn place(&mut self, tables: &Tables, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        let Some(cluster) = tables.cluster(meta.cluster) else {
            return Verdict::Drop(DropReason::NoServer);
        };
        let error = meta.layers.is_icmp_error();
        if !error && let Err(reason) = self.examine(head, meta, now) {
            return Verdict::Drop(reason);
        }
        // FS-4: a server that carries the source address would take the packet for its own.
        let source = (meta.way == Way::Between).then_some(meta.sender_cluster);
        let allowed =
            |id: TargetId| source.is_none_or(|vip| !tables.target(id).is_some_and(|t| t.carries(vip)));
        let layers = &meta.layers;
        let (protocol, vip_port) = if error {
            (meta.key.protocol(), meta.key.vip_port())
        } else {
            (layers.protocol, layers.destination)
        };
        let (index, service) = cluster.service(protocol, vip_port);
        let choice = self.choice(service, meta);
        let opens = !error && opens(layers.protocol, layers.flags);
        let target = if let Some(target) = self.by_connection_id(head.data, meta, service) {
            Some(target)
        } else if opens {
            self.bound_or_chosen(cluster, service, meta, choice, &allowed)
        } else {
            service.balancer.by_hash(choice, 0, allowed)
        };
        let Some(target) = target else {
            let reason = if source.is_some() {
                DropReason::NoOtherServer
            } else if opens && service.balancer.by_hash(choice, 0, allowed).is_some() {
                DropReason::ConnectionLimit
            } else {
                DropReason::NoServer
            };
            return self.refuse(head, meta, cluster, reason, now);
        };
        let written = !error && self.remember(head.port, cluster, meta, target, opens, now);
        if opens && written {
            self.counters().opened(cluster.id, (index, service), target, layers.protocol);
        }
        if written || error {
            return self.send_to(target, head, meta);
        }
        let per_packet = layers.protocol == protocol::UDP && cluster.udp == UdpMode::Packet;
        if per_packet {
            return self.send_to(target, head, meta);
        }
        // No entry could be left: by hash, so that the flow's next packet finds the same server.
        self.counters().cluster(cluster.id).hashed.add(1);
        match service.balancer.by_hash(choice, 0, allowed) {
            Some(target) => self.send_to(target, head, meta),
            None => Verdict::Drop(DropReason::NoServer),
        }
    }

    /// What is looked at once per flow, not per packet (but for ICMP errors, which are few): sources that cannot be, ports and flags that
    /// no honest sender uses (F11, F12).
    pub(crate) fn examine(&mut self, head: &Head<'_>, meta: &Meta, now: Instant) -> Result<(), DropReason> {
        let layers = &meta.layers;
        let v6 = meta.key.is_v6();
        let source = if layers.is_icmp_error() {
            // The key is that of the flow that it tells of.
            let ip = crate::classify::addresses(head.data, layers.network, usize::from(layers.l3));
            ip.map_or([0; 2], |ip| ip.source)
        } else {
            meta.key.client_words()
        };
        let is_server = self.tables.ports[head.port.index() & 31].role == PortRole::Server;
        let foreign_vip = meta.way != Way::Between
            && self.tables.vips.find(meta.vlan, source, v6).is_some()
            && !(is_server && meta.sender != TargetId::NONE);
        let own = self.tables.cluster(meta.cluster).is_some_and(|c| c.vip_words == source);
        if martian(source, v6) || own || foreign_vip || self.forges_probe(meta, source) {
            return Err(DropReason::Martian);
        }
        if layers.is_icmp_error() {
            return if self.icmp_senders.take(source[0] ^ source[1], now) {
                Ok(())
            } else {
                Err(DropReason::IcmpRate)
            };
        }
        if is_impossible(layers.protocol, layers.flags, layers.source, layers.destination) {
            return Err(DropReason::L4Header);
        }
        Ok(())
    }

    /// Whether it would be answered as if control had asked: from a probe's address and port, and from
    /// outside (FS-30). An echo reply is none: a router answers so, which may have that address.
    fn forges_probe(&self, meta: &Meta, source: [u64; 2]) -> bool {
        let layers = &meta.layers;
        let reply = match layers.protocol {
            protocol::ICMP => layers.flags == icmp::kind::ECHO_REPLY,
            protocol::ICMPV6 => layers.flags == icmpv6::kind::ECHO_REPLY,
            _ => false,
        };
        !reply
            && !layers.is_icmp_error()
            && self.tables.cluster(meta.cluster).is_some_and(|c| c.is_probe(source, layers.source))
    }

    /// What the choice of a server hangs on: the flow, or the client alone.
    pub(crate) fn choice(&self, service: &ServiceTable, meta: &Meta) -> u64 {
        if service.balancer.is_by_client() || meta.key.kind() == KeyKind::Ipsec {
            meta.key.choice_by_client(&self.tables.choice_key)
        } else {
            meta.key.choice(&self.tables.choice_key)
        }
    }

    /// Lent with the tables apart, so that what a choice changes can be borrowed beside it.
    fn load<'a>(&'a self, tables: &'a Tables) -> Load<'a> {
        Load { tables, shard: &self.shard, counters: &self.counters, me: self.worker }
    }

    /// The client's server if it is bound to one (FS-24), else a new choice; no binding is looked for, or made, in
    /// a flood.
    fn bound_or_chosen(
        &mut self,
        cluster: &ClusterTable,
        service: &ServiceTable,
        meta: &Meta,
        choice: u64,
        allowed: &impl Fn(TargetId) -> bool,
    ) -> Option<TargetId> {
        let pressed = is_pressed(&self.shard);
        let affinity = affinity_key(cluster, service, &meta.key).filter(|_| !pressed);
        let bound = affinity.and_then(|key| {
            let slot = self.shard.find(key.hash(&self.table_key))?;
            let entry = self.shard.entry(slot);
            let holds = !self.shard.is_expired(entry, &self.tables.timeouts)
                && service.member(entry.target()).is_some_and(|member| member.binds)
                && self.load(&self.tables).has_room(entry.target())
                && allowed(entry.target());
            if holds {
                self.shard.touch(slot, entry);
                Some(entry.target())
            } else {
                self.shard.remove(slot);
                None
            }
        });
        if bound.is_some() {
            return bound;
        }
        let load =
            Load { tables: &self.tables, shard: &self.shard, counters: &self.counters, me: self.worker };
        let cursor = cursor_of(&mut self.cursors, service);
        let target = choose(&load, service, cursor, choice, pressed, allowed)?;
        if let Some(key) = affinity {
            let entry = Entry::new(target, cluster.id, State::Affinity, 0, 0);
            let hash = key.hash(&self.table_key);
            self.shard.insert(hash, &key, entry, &self.tables.timeouts, false);
        }
        Some(target)
    }

    /// Leaves an entry for the flow, if one is due and there is room.
    fn remember(
        &mut self,
        port: PortId,
        cluster: &ClusterTable,
        meta: &Meta,
        target: TargetId,
        opens: bool,
        now: Instant,
    ) -> bool {
        let layers = &meta.layers;
        let state = match (meta.key.kind(), layers.protocol) {
            (KeyKind::Ipsec, _) => State::Ipsec,
            (_, protocol::TCP) if opens => State::SynSent,
            // A reset opens nothing and is answered by nobody.
            (_, protocol::TCP) if layers.flags & tcp::RST != 0 => return false,
            (_, protocol::TCP) => State::MidFlow,
            (_, protocol::UDP) if cluster.udp == UdpMode::Packet => return false,
            (_, protocol::UDP) => State::UdpOneWay,
            (_, protocol::ICMP | protocol::ICMPV6) => State::Icmp,
            _ => State::OtherOneWay,
        };
        let pressed = state.is_provisional() && is_pressed(&self.shard);
        if pressed && state == State::MidFlow {
            return false;
        }
        // Of what began unseen no first answer is waited for (FS-31).
        let answered = if state == State::MidFlow { Entry::ANSWERED } else { 0 };
        let entry = Entry::new(target, cluster.id, state, answered, 0);
        let beginning = match layers.protocol {
            protocol::TCP => Beginning { via: (meta.from, port.0), at_us: signs::micros(now) },
            _ => Beginning::default(),
        };
        let timeouts = &self.tables.timeouts;
        self.shard.insert_from(meta.hash, &meta.key, entry, beginning, timeouts, pressed).is_some()
    }
}

/// Whether so many handshakes are under way that new flows are placed by hash, and gently: a flood (E1, E2).
#[inline(always)]
pub(crate) fn is_pressed(shard: &Shard) -> bool {
    shard.presses(GUARD_AT)
}

/// A server for a new flow that no binding holds; `pressed`: in a flood.
#[inline(always)]
pub(crate) fn choose(
    load: &Load<'_>,
    service: &ServiceTable,
    cursor: &mut u32,
    choice: u64,
    pressed: bool,
    allowed: impl Fn(TargetId) -> bool,
) -> Option<TargetId> {
    let allowed = |id| allowed(id) && load.has_room(id);
    if pressed {
        return service.balancer.by_hash(choice, 0, allowed);
    }
    let open = |id| load.open(id);
    service.balancer.choose(choice, cursor, open, |id| load.time(service, id), allowed)
}

/// The service's place in its round.
#[inline(always)]
pub(crate) fn cursor_of<'a>(cursors: &'a mut [u32], service: &ServiceTable) -> &'a mut u32 {
    &mut cursors[usize::from(service.cursor) & (cursors.len() - 1)]
}

/// Whether the packet opens a flow, rather than belonging to one whose entry is gone.
#[inline(always)]
pub(crate) fn opens(protocol: u8, flags: u8) -> bool {
    protocol != protocol::TCP || flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
}

/// Ports and flags that no honest sender uses (F12).
#[inline(always)]
pub(crate) fn is_impossible(protocol: u8, flags: u8, source: u16, destination: u16) -> bool {
    let ports = matches!(protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
    ports && (source == 0 || destination == 0)
        || protocol == protocol::TCP && wire_tcp::Flags(flags).is_impossible()
}

/// The answer to what a server opened, in a protocol without states.
pub(crate) fn answered(entry: Entry) -> Change {
    match entry.state() {
        State::UdpOneWay => Change::Set(entry.in_state(State::UdpBothWays)),
        State::OtherOneWay => Change::Set(entry.in_state(State::OtherBothWays)),
        _ => Change::None,
    }
}

/// The acknowledgement number of the segment at `l4`.
#[inline]
fn acknowledged(data: &[u8], l4: usize) -> Option<u32> {
    wire_tcp::Segment::new_head(data.get(l4..)?).ok().map(|segment| segment.ack())
}

/// The key of the client's binding, where the service binds clients.
fn affinity_key(cluster: &ClusterTable, service: &ServiceTable, key: &FlowKey) -> Option<FlowKey> {
    let affinity = service.affinity?;
    let prefix = if key.is_v6() { affinity.prefix_v6 } else { affinity.prefix_v4 };
    let [a, b] = key.client_words();
    let [x, y] = prefix_mask(prefix, key.is_v6());
    Some(FlowKey::new(KeyKind::Affinity, cluster.id, 0, key.is_v6(), [a & x, b & y], affinity.group, 0))
}

/// Sources that no packet may have: this network, loopback, multicast and beyond (F11).
#[inline(always)]
pub(crate) fn martian(source: [u64; 2], v6: bool) -> bool {
    if v6 {
        let unspecified_or_loopback = source[0] == 0 && source[1] <= 1;
        return unspecified_or_loopback || source[0] >> 56 == 0xff;
    }
    let first = source[1] >> 24;
    first == 0 || first == 127 || first >= 224
}
