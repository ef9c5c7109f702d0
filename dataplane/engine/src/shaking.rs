//! The rest of handshakes: servers' SYN+ACKs, and the ACKs of clients, of TCP in untagged IPv4 along a trail.
//!
//! As [`crate::opening`] does with SYNs: what those along one trail have in common is looked up once, what their entries
//! need is asked for before the first of them is looked at, and each goes on by the parts that `observe.rs` and `steer.rs` use.
//! What is not just the next step of a handshake is left, and with it what comes behind it of (perhaps) its own flow.

use crate::Engine;
use crate::burst::{Exits, bits};
use crate::door::Door;
use crate::engine::worker_of;
use crate::opening::{Sent, Services, mark_of};
use crate::signs;
use crate::tables::ClusterTable;
use crate::tcp::{self, ACK, Change, FIN, RST, SYN};
use crate::trail::Trail;
use dataplane_flow::{Entry, Instant, Slot, State};
use dataplane_port::{BURST, Frames, PortId};
use dataplane_wire::PlainTcp;
use std::sync::Arc;

/// What a segment does to its flow.
struct Step {
    slot: Slot,
    entry: Entry,
    change: Change,
    exit: PortId,
    /// A client's: the server's door.
    door: Door,
}

impl Engine {
    /// Takes the next step of handshakes with those of the frames that are `left` and one, and sends them.
    pub(crate) fn shake_all<F: Frames + ?Sized, const SERVES: bool>(
        &mut self,
        now: Instant,
        frames: &mut F,
        mut left: u32,
        exits: &mut Exits,
        sent: &mut Sent,
    ) {
        let candidates = self.candidates::<F, SERVES>(frames, left);
        if candidates == 0 {
            return;
        }
        let tables = Arc::clone(&self.tables);
        while left != 0 {
            let (place, along) = self.lanes.along_one(left);
            left &= !along;
            let trail = *self.trails.at(place);
            // Along other trails a client may have to be bound, or all its flows are another worker's.
            if along & candidates != 0
                && trail.course.stamps()
                && let Some(cluster) = tables.cluster(trail.cluster())
            {
                self.shake::<F, SERVES>(now, (&trail, cluster), frames, (along, candidates), exits, sent);
            }
        }
    }

    /// The same with the frames `along` this trail, of which `candidates` may be one.
    #[inline(always)]
    fn shake<F: Frames + ?Sized, const SERVES: bool>(
        &mut self,
        now: Instant,
        (trail, cluster): (&Trail, &ClusterTable),
        frames: &mut F,
        (along, candidates): (u32, u32),
        exits: &mut Exits,
        sent: &mut Sent,
    ) {
        let mut services = Services::new(cluster);
        // A step behind a frame that is left, of what may be its own flow, is left as well.
        let mut before = 0_u64;
        for i in bits(along) {
            let hash = self.lanes.hash_of(i);
            let mark = mark_of(hash);
            let frame = frames.look(i);
            let Some(start) = frame.data.first_chunk_mut() else { continue };
            let tcp = PlainTcp::of(start);
            let is_one = candidates >> i & 1 != 0 && before & mark == 0;
            let Some(step) = self.step::<SERVES>(trail, &tcp, i).filter(|_| is_one) else {
                before |= mark;
                continue;
            };
            let at = self.change(step.slot, step.change);
            let (target, flags) = (step.entry.target(), tcp.flags());
            let (sign, port) = if SERVES {
                (signs::from_server(step.entry, flags, step.change), tcp.ports() >> 16)
            } else {
                (signs::from_client(step.entry, flags, step.change), tcp.ports())
            };
            let counters = &self.counters[self.worker.index()];
            if let Some(sign) = sign
                && let Some(member) = services.of(port as u16).1.member(target)
                && let Some(member) = counters.member(member.counter)
            {
                self.sign_of(member, at, sign, now);
            }
            if SERVES {
                counters.counting().server_out(target, frame.len);
                if let Some(at) = at {
                    // A SYN counts one.
                    let next = tcp.sequence().wrapping_add(1);
                    self.shard.set_expected_ack(at, next);
                    self.shard.note_sequence(at, next);
                }
            } else {
                counters.counting().server_in(target, frame.len);
                step.door.write_to(start);
            }
            exits.note(i, step.exit);
            sent.frames |= 1 << i;
            sent.bytes += u64::from(frame.len);
        }
    }

    /// The first round: those of the frames that may be the next step of a handshake. What their entries need is asked
    /// for.
    #[inline(always)]
    fn candidates<F: Frames + ?Sized, const SERVES: bool>(&self, frames: &mut F, left: u32) -> u32 {
        let wanted = if SERVES { SYN | ACK } else { ACK };
        let mut candidates = 0;
        for i in bits(left) {
            let Some(tcp) = frames.look(i).data.first_chunk().map(PlainTcp::of) else { continue };
            let hash = self.lanes.hash_of(i);
            // What carries data tells more than that; another worker's flow would be looked for in vain.
            let may_be = tcp.flags() & (SYN | ACK | FIN | RST) == wanted && tcp.data_len() == 0;
            if may_be && worker_of(hash, self.workers) == self.worker {
                self.shard.prefetch_rest(hash, false);
                candidates |= 1 << i;
            }
        }
        candidates
    }

    /// The step that frame `i` takes, if it is one, and can go where its flow goes.
    #[inline(always)]
    fn step<const SERVES: bool>(&self, trail: &Trail, tcp: &PlainTcp<'_>, i: usize) -> Option<Step> {
        let slot = self.shard.find(self.lanes.hash_of(i))?;
        let entry = self.shard.entry(slot);
        let state = if SERVES { State::SynSent } else { State::SynAck };
        if entry.state() != state || self.shard.is_expired(entry, &self.tables.timeouts) {
            return None;
        }
        if SERVES {
            let course = self.lanes.course[i & (BURST - 1)];
            let change = tcp::from_server(entry, tcp.flags(), false);
            let is_its = entry.target() == course.sender();
            return is_its.then_some(Step { slot, entry, change, exit: course.exit(), door: Door::NONE });
        }
        let acknowledges = tcp.acknowledgement() == self.shard.expected_ack(slot);
        let door = self.tables.doors.of(entry.target());
        let exit = door.leads_out(trail.exits).filter(|_| acknowledges)?;
        let change = tcp::from_client(entry, tcp.flags(), true);
        Some(Step { slot, entry, change, exit, door })
    }
}
