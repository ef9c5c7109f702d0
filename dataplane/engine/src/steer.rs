//! Inbound: to exactly one server, by writing its MAC over the destination (FS-6).

use crate::Engine;
use crate::classify::{Meta, Way};
use crate::tables::{ClusterTable, ServiceTable, prefix_mask};
use crate::tcp::{self, Change};
use dataplane_balance::Choice;
use dataplane_flow::{Entry, FlowKey, Instant, KeyKind, Slot, State, TargetId};
use dataplane_message::{PortRole, UdpMode};
use dataplane_port::{DropReason, Head, Verdict};
use dataplane_wire::{MacAddr, protocol, tcp as wire_tcp};
use std::sync::Arc;

/// Fill of the provisional part (of 255) from which a new handshake is placed by hash and leaves an
/// entry only where one is free: the flood guard (E1, E2).
const GUARD_AT: u8 = 200;

impl Engine {
    /// Sends the frame to its flow's server, or to one that is chosen for it.
    #[inline]
    pub(crate) fn steer(
        &mut self,
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
        match self.follow(head.data, meta, slot) {
            Some(target) => self.send_to(target, head, meta),
            None => self.place(head, meta, now),
        }
    }

    /// The commonest frame by far: a quiet segment of an established flow that was seen in this second
    /// already, from a station that is known. Nothing is to be written but its destination; an entry
    /// in this shard is this worker's.
    #[inline(always)]
    pub(crate) fn follow_settled(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        slot: Option<Slot>,
    ) -> Option<Verdict> {
        let quiet = meta.layers.protocol == protocol::TCP
            && meta.layers.flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0;
        let target = self.shard.settled(slot?, meta.hash)?;
        let alive = self.tables.target(target).is_some_and(|t| t.alive);
        (quiet && alive && self.learner.knows(head.port, meta)).then(|| self.send_to(target, head, meta))
    }

    /// The server that the flow is bound to, if it has an entry that holds.
    fn follow(&mut self, data: &[u8], meta: &Meta, slot: Option<Slot>) -> Option<TargetId> {
        let slot = match slot {
            Some(slot) => slot,
            None => self.shard.find(meta.hash)?,
        };
        let entry = self.shard.entry(slot);
        let target = entry.target();
        let alive = self.tables.target(target).is_some_and(|t| t.alive) || self.outlives(slot, entry);
        let stale = entry.tick() != self.shard.tick();
        if !alive || stale && self.shard.is_expired(entry, &self.tables.timeouts) {
            self.shard.remove(slot);
            return None;
        }
        // An ICMP error changes nothing (F18); it only goes where its flow goes.
        if meta.layers.is_icmp_error() {
            return Some(target);
        }
        let layers = &meta.layers;
        let quiet = entry.state() == State::Established
            && layers.protocol == protocol::TCP
            && layers.flags & (tcp::SYN | tcp::FIN | tcp::RST) == 0;
        if !quiet && self.advance(data, meta, slot, entry) == Change::Anew {
            return None;
        }
        if stale {
            self.touch(data, meta, slot);
        }
        Some(target)
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

    /// Brings the entry's state on; [`Change::Anew`] when the frame opens a flow of its own.
    fn advance(&mut self, data: &[u8], meta: &Meta, slot: Slot, entry: Entry) -> Change {
        let change = match meta.layers.protocol {
            protocol::TCP => {
                let ack = acknowledged(data, usize::from(meta.layers.l4));
                let expected = self.shard.expected_ack(slot);
                tcp::from_client(entry, meta.layers.flags, ack == Some(expected))
            }
            _ if entry.flags() & Entry::FROM_SERVER != 0 => answered(entry),
            _ => Change::None,
        };
        self.change(slot, change);
        change
    }

    /// Carries a change out.
    pub(crate) fn change(&mut self, slot: Slot, change: Change) {
        match change {
            Change::None => {}
            Change::Set(entry) | Change::Await(entry) => self.shard.set(slot, entry),
            Change::Promote(entry) => {
                // A full main part leaves the entry where it is, for as long as its time-out; but with
                // the server that has shown to know the flow.
                if self.shard.promote(slot, entry, &self.tables.timeouts).is_none() {
                    let kept = self.shard.entry(slot).to(entry.target());
                    self.shard.set(slot, kept);
                }
            }
            Change::Forget | Change::Anew => self.shard.remove(slot),
        }
    }

    /// Stamps the entry, once a second; the client's binding with it, so that it does not run out
    /// under a flow that lives (FS-24).
    #[cold]
    fn touch(&mut self, data: &[u8], meta: &Meta, slot: Slot) {
        // The change before may have moved or removed it.
        if self.shard.holds(slot, meta.hash) {
            let entry = self.shard.entry(slot);
            self.shard.touch(slot, entry);
        }
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
    fn place(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        let tables = Arc::clone(&self.tables);
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
        let choice = self.choice(meta);
        let opens = !error && opens(meta);
        let target = if let Some(target) = self.by_connection_id(head.data, meta, service) {
            Some(target)
        } else if opens && self.shard.pressure() < GUARD_AT {
            self.bound_or_chosen(cluster, service, meta, choice, &allowed)
        } else {
            service.balancer.by_hash(choice, 0, allowed)
        };
        let Some(target) = target else {
            return self.refuse(head, meta, cluster, source.is_some(), now);
        };
        let written = !error && self.remember(cluster, meta, target, opens);
        let counters = self.counters().cluster(cluster.id);
        if opens && written {
            counters.flows_new.add(1);
            counters.services[index.min(crate::SERVICES_COUNTED - 1)].add(1);
            self.counters().target(target).flows_new.add(1);
        }
        if written || error {
            return self.send_to(target, head, meta);
        }
        let per_packet = layers.protocol == protocol::UDP && cluster.udp == UdpMode::Packet;
        if per_packet {
            return self.send_to(target, head, meta);
        }
        // No entry could be left: by hash, so that the flow's next packet finds the same server.
        counters.hashed.add(1);
        match service.balancer.by_hash(choice, 0, allowed) {
            Some(target) => self.send_to(target, head, meta),
            None => Verdict::Drop(DropReason::NoServer),
        }
    }

    /// What is looked at once per flow, not per packet (but for ICMP errors, which are few): sources that cannot be, ports and flags that
    /// no honest sender uses (F11, F12).
    fn examine(&mut self, head: &Head<'_>, meta: &Meta, now: Instant) -> Result<(), DropReason> {
        let layers = &meta.layers;
        let ip = crate::classify::addresses(head.data, layers.network, usize::from(layers.l3));
        let source = ip.map_or([0; 2], |ip| ip.source);
        let v6 = meta.key.is_v6();
        let is_server = self.tables.ports[head.port.index() & 31].role == PortRole::Server;
        let foreign_vip = meta.way != Way::Between
            && self.tables.vips.find(meta.vlan, source, v6).is_some()
            && !(is_server && meta.sender != TargetId::NONE);
        let own = self.tables.cluster(meta.cluster).is_some_and(|c| c.vip_words == source);
        if martian(source, v6) || own || foreign_vip {
            return Err(DropReason::Martian);
        }
        if layers.is_icmp_error() {
            return if self.icmp_senders.take(source[0] ^ source[1], now) {
                Ok(())
            } else {
                Err(DropReason::IcmpRate)
            };
        }
        let ports = matches!(layers.protocol, protocol::TCP | protocol::UDP | protocol::SCTP);
        if ports && (layers.source == 0 || layers.destination == 0) {
            return Err(DropReason::L4Header);
        }
        if layers.protocol == protocol::TCP && wire_tcp::Flags(layers.flags).is_impossible() {
            return Err(DropReason::L4Header);
        }
        Ok(())
    }

    pub(crate) fn choice(&self, meta: &Meta) -> Choice {
        let by_client = meta.key.choice_by_client(&self.tables.choice_key);
        let by_flow = match meta.key.kind() {
            KeyKind::Ipsec => by_client,
            _ => meta.key.choice(&self.tables.choice_key),
        };
        Choice { by_flow, by_client }
    }

    /// The client's server if it is bound to one (FS-24), else a new choice.
    fn bound_or_chosen(
        &mut self,
        cluster: &ClusterTable,
        service: &ServiceTable,
        meta: &Meta,
        choice: Choice,
        allowed: &impl Fn(TargetId) -> bool,
    ) -> Option<TargetId> {
        let affinity = affinity_key(cluster, service, &meta.key);
        let bound = affinity.and_then(|key| {
            let slot = self.shard.find(key.hash(&self.table_key))?;
            let entry = self.shard.entry(slot);
            let holds = !self.shard.is_expired(entry, &self.tables.timeouts)
                && self.tables.target(entry.target()).is_some_and(|t| t.takes || service.open)
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
        let cursor = usize::from(service.cursor) & (self.cursors.len() - 1);
        let (shard, counters, me) = (&self.shard, &self.counters, self.worker.index());
        let open = |id: TargetId| {
            let others = counters.iter().enumerate().filter(|(worker, _)| *worker != me);
            others.map(|(_, c)| c.target(id).flows_open.read()).sum::<u64>() + u64::from(shard.open(id))
        };
        let target = service.balancer.choose(choice, &mut self.cursors[cursor], open, allowed)?;
        if let Some(key) = affinity {
            let entry = Entry::new(target, cluster.id, State::Affinity, 0, 0);
            let hash = key.hash(&self.table_key);
            self.shard.insert(hash, &key, entry, &self.tables.timeouts, false);
        }
        Some(target)
    }

    /// Leaves an entry for the flow, if one is due and there is room.
    fn remember(&mut self, cluster: &ClusterTable, meta: &Meta, target: TargetId, opens: bool) -> bool {
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
        let pressed = state.is_provisional() && self.shard.pressure() >= GUARD_AT;
        if pressed && state == State::MidFlow {
            return false;
        }
        let entry = Entry::new(target, cluster.id, state, 0, 0);
        self.shard.insert(meta.hash, &meta.key, entry, &self.tables.timeouts, pressed).is_some()
    }
}

/// Whether the packet opens a flow, rather than belonging to one whose entry is gone.
fn opens(meta: &Meta) -> bool {
    let layers = &meta.layers;
    layers.protocol != protocol::TCP || layers.flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN
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
pub(crate) fn martian(source: [u64; 2], v6: bool) -> bool {
    if v6 {
        let unspecified_or_loopback = source[0] == 0 && source[1] <= 1;
        return unspecified_or_loopback || source[0] >> 56 == 0xff;
    }
    let first = source[1] >> 24;
    first == 0 || first == 127 || first >= 224
}
