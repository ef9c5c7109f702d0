//! New flows: the SYNs of a burst, TCP in untagged IPv4 along a trail, of flows that have no entry.
//!
//! A server is chosen, an entry is left, six bytes are written: by the same parts that [`Engine::steer`] does it by,
//! but with what those along one trail have in common looked up once, and in three rounds over them: what they are
//! looked up by, what that shows to be needed besides, and the choice; each asks for what the next one reads. In a flood a
//! SYN may take the place of one that has expired, or go on without an entry. What more is to be thought of is left: to
//! drop a frame, to follow a flow that is known, to displace an entry that lives, to bind a client.
//!
//! SYNs are opened before what else is left of the burst, but not before a frame of their own flow. So a frame of
//! another flow may find one flow more at a server, or one place less, than if it had been first.

use crate::Engine;
use crate::burst::{Exits, bits};
use crate::engine::worker_of;
use crate::load::Load;
use crate::read::Lanes;
use crate::signs;
use crate::steer::{choose, cursor_of, is_impossible, is_pressed, martian, opens};
use crate::tables::{ClusterTable, ServiceTable};
use crate::trail::Trail;
use dataplane_flow::{Beginning, Entry, Instant, State, TargetId};
use dataplane_port::{BURST, Frames, PortId};
use dataplane_wire::{PlainTcp, protocol};

/// The frames that were sent.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Sent {
    /// A bit for each.
    pub(crate) frames: u32,
    /// Bytes of these.
    pub(crate) bytes: u64,
}

/// One of 64 marks, by a flow's hash.
#[inline(always)]
pub(crate) fn mark_of(hash: u64) -> u64 {
    1 << (hash >> 32 & 63)
}

/// The service that the packets before went to, most likely this one's.
pub(crate) struct Services<'a> {
    cluster: &'a ClusterTable,
    port: u16,
    found: (usize, &'a ServiceTable),
}

impl<'a> Services<'a> {
    /// Port 0 stands for none before: nothing goes there.
    pub(crate) fn new(cluster: &'a ClusterTable) -> Self {
        Self { cluster, port: 0, found: cluster.service(protocol::TCP, 0) }
    }

    #[inline(always)]
    pub(crate) fn of(&mut self, port: u16) -> (usize, &'a ServiceTable) {
        if port != self.port {
            *self = Self { port, found: self.cluster.service(protocol::TCP, port), ..*self };
        }
        self.found
    }
}

/// Those among the frames that are `left` which come before the first of `others`: nothing is to overtake that.
pub(crate) fn ahead_of(others: u32, left: u32) -> u32 {
    let others = left & others;
    left & (others & others.wrapping_neg()).wrapping_sub(1)
}

/// Those of the frames in `set` that are the first of their flow there, and now and then one less: 1,024 flows are told
/// apart.
fn first_of_flows(set: u32, lanes: &Lanes) -> u32 {
    let mut seen = [0_u64; 16];
    let mut firsts = 0;
    for i in bits(set) {
        let hash = lanes.hash_of(i);
        let (seen, mark) = (&mut seen[(hash >> 38 & 15) as usize], mark_of(hash));
        firsts |= u32::from(*seen & mark == 0) << i;
        *seen |= mark;
    }
    firsts
}

impl Engine {
    /// Goes on with frames that came in by `port`, are read and are `left` over, a bit for each, TCP in untagged IPv4 along
    /// trails: opens flows, where any of them `may_open` one, and takes the next steps of handshakes. What was sent.
    #[inline(always)]
    pub(crate) fn proceed<F: Frames + ?Sized, const SERVES: bool>(
        &mut self,
        now: Instant,
        (port, may_open): (PortId, bool),
        frames: &mut F,
        mut left: u32,
        exits: &mut Exits,
    ) -> Sent {
        // Trails are taken one after the other, and a flow may have several: its client's packets come by two routers.
        if left != 0 && self.lanes.along_one(left).1 != left {
            left = first_of_flows(left, &self.lanes);
        }
        self.proceed_with::<F, SERVES>(now, (port, may_open), frames, left, exits)
    }

    /// The same where no two trails have a flow in common.
    #[inline(never)]
    fn proceed_with<F: Frames + ?Sized, const SERVES: bool>(
        &mut self,
        now: Instant,
        (port, may_open): (PortId, bool),
        frames: &mut F,
        left: u32,
        exits: &mut Exits,
    ) -> Sent {
        let mut sent = Sent::default();
        if may_open {
            self.open_all(now, port, frames, left, exits, &mut sent);
        }
        self.shake_all::<F, SERVES>(now, frames, left & !sent.frames, exits, &mut sent);
        sent
    }

    /// Opens flows, as far as they open any.
    fn open_all<F: Frames + ?Sized>(
        &mut self,
        now: Instant,
        port: PortId,
        frames: &mut F,
        left: u32,
        exits: &mut Exits,
        sent: &mut Sent,
    ) {
        let (mut rest, mut openers) = (left, 0);
        while rest != 0 {
            let (place, along) = self.lanes.along_one(rest);
            rest &= !along;
            let trail = *self.trails.at(place);
            // Along other trails a client may have to be bound, or all its flows are another worker's.
            if trail.course.stamps() {
                openers |= self.openers(&trail, frames, along);
            }
        }
        for i in bits(openers) {
            self.shard.prefetch_rest(self.lanes.hash_of(i), true);
        }
        while openers != 0 {
            let (place, along) = self.lanes.along_one(openers);
            openers &= !along;
            let trail = *self.trails.at(place);
            self.open_each(now, (port, &trail), frames, along, exits, sent);
        }
    }

    /// The first round: those of the frames `along` this trail that open a flow, if it has no entry. What choosing a
    /// server for them takes is asked for.
    #[inline(always)]
    fn openers<F: Frames + ?Sized>(&mut self, trail: &Trail, frames: &mut F, along: u32) -> u32 {
        let (tables, lanes) = (&**self.tables, &mut *self.lanes);
        let Some(cluster) = tables.cluster(trail.cluster()) else { return 0 };
        let mut services = Services::new(cluster);
        let mut openers = 0;
        // A SYN behind a frame that is left, of what may be its own flow, is left as well.
        let mut before = 0_u64;
        for i in bits(along) {
            let hash = lanes.hash_of(i);
            // They were asked for into the second-level cache, for all are too many for the first at once.
            self.shard.prefetch_firsts(hash);
            let mark = mark_of(hash);
            let Some(tcp) = frames.look(i).data.first_chunk().map(PlainTcp::of) else { continue };
            let key = trail.key(tcp.source(), tcp.ports());
            let (client, from, to) = (key.client_words(), key.client_port(), key.vip_port());
            let is_one = worker_of(hash, self.workers) == self.worker
                && before & mark == 0
                && opens(protocol::TCP, tcp.flags())
                && !is_impossible(protocol::TCP, tcp.flags(), from, to)
                && !martian(client, false)
                && tables.vips.find(trail.course.vlan(), client, false).is_none()
                && !cluster.is_probe(client, from);
            if !is_one {
                before |= mark;
                continue;
            }
            let choice = key.choice(&tables.choice_key);
            let service = services.of(to).1;
            debug_assert!(service.affinity.is_none() && !service.balancer.is_by_client() && !service.quic);
            service.balancer.prefetch(choice);
            lanes.choice[i & (BURST - 1)] = choice;
            openers |= 1 << i;
        }
        openers
    }

    /// The last round: each that has no entry yet goes to a server that is chosen for it, if there is an empty place for
    /// one; in a flood, whether there is or not.
    #[inline(always)]
    fn open_each<F: Frames + ?Sized>(
        &mut self,
        now: Instant,
        (port, trail): (PortId, &Trail),
        frames: &mut F,
        openers: u32,
        exits: &mut Exits,
        opened: &mut Sent,
    ) {
        let (tables, doors) = (&**self.tables, &*self.tables.doors);
        let Some(cluster) = tables.cluster(trail.cluster()) else { return };
        let mut services = Services::new(cluster);
        let counters = &self.counters[self.worker.index()];
        let like = Entry::new(TargetId::NONE, cluster.id, State::SynSent, 0, 0);
        let at_us = signs::micros(now);
        // Some thirty more or less do not make a flood.
        let pressed = is_pressed(&self.shard);
        let leads = |target: TargetId| {
            let door = doors.of(target);
            door.leads_out(trail.exits).map(|exit| (door, exit))
        };
        for i in bits(openers) {
            let hash = self.lanes.hash_of(i);
            if self.shard.find(hash).is_some() {
                continue;
            }
            let frame = frames.look(i);
            let Some(start) = frame.data.first_chunk_mut() else { continue };
            let tcp = PlainTcp::of(start);
            let key = trail.key(tcp.source(), tcp.ports());
            let service = services.of(key.vip_port());
            let load = Load { tables, shard: &self.shard, counters: &self.counters, me: self.worker };
            let cursor = cursor_of(&mut self.cursors, service.1);
            let turn = *cursor;
            let choice = self.lanes.choice[i & (BURST - 1)];
            // If nobody has room for this one, so it is with the others.
            let Some(target) = choose(&load, service.1, cursor, choice, pressed, |_| true) else { break };
            let beginning = Beginning { via: (tcp.from(), port.0), at_us };
            let mut place = || {
                let way = leads(target)?;
                let entry = like.to(target);
                let mut slot = self.shard.insert_into_vacancy(hash, &key, entry, beginning);
                if pressed && slot.is_none() {
                    slot = self.shard.insert_from(hash, &key, entry, beginning, &tables.timeouts, true);
                }
                if slot.is_some() {
                    counters.opened(cluster.id, service, target, protocol::TCP);
                    return Some((target, way));
                }
                if !pressed {
                    return None;
                }
                // Without an entry, so that the next one finds the same: whether that has room or not.
                let target = service.1.balancer.by_hash(choice, 0, |_| true)?;
                let way = leads(target)?;
                counters.cluster(cluster.id).hashed.add(1);
                Some((target, way))
            };
            let Some((target, (door, exit))) = place() else {
                // It is going to be chosen again.
                *cursor = turn;
                continue;
            };
            counters.counting().server_in(target, frame.len);
            door.write_to(start);
            exits.note(i, exit);
            opened.frames |= 1 << i;
            opened.bytes += u64::from(frame.len);
        }
    }
}
