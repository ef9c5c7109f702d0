//! Flows of a dead server: reset, moved or kept (FS-10).
//!
//! Read first: RFC 9293 §3.10.7 (which resets are believed), RFC 5961 §3 (a reset must carry exactly the
//! next sequence number, any other one in the window is challenged).
//!
//! A client that sends is answered: its acknowledgement number is what it expects next. One that only
//! waits is found by a walk over the shard and sent the sequence number behind all that its server has sent;
//! should that be wrong, its challenge is answered exactly.

use crate::Engine;
use crate::classify::Meta;
use crate::limit::Bucket;
use crate::observe::{NO_PORT, segment};
use crate::steer::Followed;
use crate::tables::{ClusterTable, HopWay, Station};
use crate::tcp;
use dataplane_flow::{Entry, FlowKey, Instant, KeyKind, Slot, State};
use dataplane_message::DeadFlows;
use dataplane_port::{DropReason, Head, PortId};
use dataplane_wire::{AddressPair, MacAddr, ethernet, protocol, tcp as wire_tcp};
use std::sync::Arc;

/// Resets a second to clients of dead servers, over all workers.
const RESETS_PPS: u32 = 10_000;

/// Resets to a client that only waits, a second apart.
const RESETS_EACH: u8 = 3;

/// The walk comes by every entry once in this time.
const ROUND_NS: u64 = 1_000_000_000;

/// A turn looks at no more than this part of the lines: at 100 turns a second the round still ends in time.
const PART: usize = 64;

/// What becomes of a flow whose server is out of service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    /// It stays bound.
    Stays,
    /// Its next packet is placed anew.
    Moves,
    /// Its client is sent a reset.
    Reset,
}

/// The walk over the shard while a server is dead.
#[derive(Debug)]
pub(crate) struct Walk {
    line: usize,
    last: Instant,
    walks: bool,
    limit: Bucket,
    /// Of these the part that answers segments: who sends without end leaves those that wait their half.
    answers: Bucket,
}

impl Walk {
    pub(crate) fn new(workers: u8) -> Self {
        let share = (RESETS_PPS / u32::from(workers.max(1))).max(1);
        let bucket = |rate: u32| Bucket::new(rate, (rate / 100).max(8));
        let (limit, answers) = (bucket(share), bucket((share / 2).max(1)));
        Self { line: 0, last: Instant(0), walks: false, limit, answers }
    }

    /// The lines that are due: in time for the round, and no more than a part of them at once.
    fn due(&mut self, lines: usize, now: Instant) -> usize {
        let line_ns = (ROUND_NS / lines as u64).max(1);
        let due = now.since(self.last) / line_ns;
        let done = due.min((lines / PART).max(64) as u64);
        // What is left over is caught up with by the next turns, but never more than one round.
        self.last.0 = (self.last.0 + done * line_ns).max(now.0.saturating_sub(ROUND_NS));
        done as usize
    }
}

/// By the kind of flow, and what the cluster says; `opened`: a server opened it, `up`: its port is up.
fn fate(cluster: &ClusterTable, key: &FlowKey, state: State, opened: bool, up: bool) -> Fate {
    let is_tcp = key.kind() == KeyKind::Flow && key.protocol() == protocol::TCP;
    let open = cluster.service(key.protocol(), key.vip_port()).1.open;
    match if is_tcp { cluster.dead_tcp } else { cluster.dead_other } {
        // All are taken as if they were up (FS-10a).
        _ if open && up => Fate::Stays,
        // No server has said that it knows it.
        _ if state == State::MidFlow => Fate::Moves,
        DeadFlows::Keep => Fate::Stays,
        DeadFlows::Reset if is_tcp => Fate::Reset,
        // What the server itself has opened is nobody else's (FS-25).
        _ if opened && up => Fate::Stays,
        _ => Fate::Moves,
    }
}

impl Engine {
    /// What becomes of an entry whose server is not alive.
    #[cold]
    pub(crate) fn fate(&self, slot: Slot, entry: Entry) -> Fate {
        let Some(target) = self.tables.target(entry.target()) else { return Fate::Moves };
        if !target.dead {
            // The operator has taken it out.
            return if self.outlives(slot, entry) { Fate::Stays } else { Fate::Moves };
        }
        let Some(cluster) = self.tables.cluster(entry.cluster()) else { return Fate::Moves };
        let opened = entry.flags() & Entry::FROM_SERVER != 0;
        let up = self.tables.ports[target.port.index() & 31].up;
        fate(cluster, &self.shard.key(slot), entry.state(), opened, up)
    }

    /// A client's packet in a flow that is reset: a SYN opens another one, anything else is answered.
    #[cold]
    pub(crate) fn answer_for_the_dead(
        &mut self,
        head: &Head<'_>,
        meta: &Meta,
        slot: Slot,
        entry: Entry,
        now: Instant,
    ) -> Followed {
        let dropped = Followed::Dropped(DropReason::ServerDead);
        // A reset is not answered; nor does it close the entry, since anybody may send one.
        if meta.layers.is_icmp_error() || meta.layers.flags & tcp::RST != 0 {
            return dropped;
        }
        if meta.layers.flags & (tcp::SYN | tcp::ACK) == tcp::SYN {
            self.shard.remove(slot);
            return Followed::Nowhere;
        }
        let Some(vmac) = self.tables.cluster(entry.cluster()).map(ClusterTable::vmac) else { return dropped };
        if self.walk.answers.take(now) && self.walk.limit.take(now) && self.reset(head, meta, vmac) {
            self.counters().target(entry.target()).resets.add(1);
            // From the client itself, which is where its server left it: it needs no other one.
            let expects = segment(head.data, meta).map(|segment| segment.ack());
            if expects == self.shard.sequence(slot) {
                self.close(slot, entry);
            }
        }
        dropped
    }

    fn close(&mut self, slot: Slot, entry: Entry) {
        let closed = entry.in_state(State::Closed);
        if self.shard.promote(slot, closed, &self.tables.timeouts).is_none() {
            self.shard.remove(slot);
        }
    }

    /// Goes on with the walk, a few lines of the table per turn; only while a dead server has flows.
    pub(crate) fn reset_waiting(&mut self, now: Instant) {
        if self.tables.dead.is_empty() {
            self.walk.walks = false;
            return;
        }
        if !self.walk.walks || self.walk.line == 0 {
            let some = self.tables.dead.iter().any(|id| self.shard.open(*id) > 0);
            if !some || !self.walk.walks {
                (self.walk.walks, self.walk.line, self.walk.last) = (some, 0, now);
            }
            if !some {
                return;
            }
        }
        let lines = self.shard.lines();
        for _ in 0..self.walk.due(lines, now) {
            for slot in self.shard.line(self.walk.line) {
                if !self.reset_one(slot, now) {
                    return; // No token, or no room: here it goes on.
                }
            }
            self.walk.line = if self.walk.line + 1 == lines { 0 } else { self.walk.line + 1 };
            if self.walk.line == 0 {
                return;
            }
        }
    }

    /// Sends the entry's client a reset if it is due one; `false` when it has to wait.
    fn reset_one(&mut self, slot: Slot, now: Instant) -> bool {
        let entry = self.shard.entry(slot);
        let waits = matches!(entry.state(), State::SynAck | State::Established | State::HalfClosed)
            && entry.flags() & Entry::FROM_SERVER == 0;
        if !waits || !self.tables.target(entry.target()).is_some_and(|t| t.dead) {
            return true;
        }
        let (sent, at) = self.shard.resets(slot);
        if sent > 0 && at == self.shard.tick() || self.fate(slot, entry) != Fate::Reset {
            return true;
        }
        if sent < RESETS_EACH {
            let tables = Arc::clone(&self.tables);
            let reset = tables.cluster(entry.cluster()).and_then(|cluster| self.reset_for(cluster, slot));
            if let Some((reset, link, port)) = reset {
                if self.outbox.room() == 0 || !self.walk.limit.take(now) {
                    return false;
                }
                self.outbox.frame(port, reset.frame_len(&link), |frame| reset.emit_frame(&link, frame));
                self.counters().target(entry.target()).resets.add(1);
            }
            self.shard.set_resets(slot, sent + 1);
        }
        if sent + 1 >= RESETS_EACH {
            self.close(slot, entry);
        }
        true
    }

    /// The reset for a waiting client, its head, and the port it leaves by.
    fn reset_for(
        &self,
        cluster: &ClusterTable,
        slot: Slot,
    ) -> Option<(wire_tcp::Reset, ethernet::Repr, PortId)> {
        let key = self.shard.key(slot);
        let (mac, port) = self.way_back(cluster, slot, key.hash(&self.table_key))?;
        let vlan = self.tables.vlan(cluster.vlan);
        let tci = vlan.tagged.contains(port).then_some(cluster.vlan.0);
        if tci.is_none() && !vlan.untagged.contains(port) {
            return None;
        }
        let reset = wire_tcp::Reset {
            addresses: AddressPair::new(cluster.vip, key.client())?,
            src_port: key.vip_port(),
            dst_port: key.client_port(),
            seq: self.shard.sequence(slot)?,
            ack: None,
        };
        let link = ethernet::Repr { src: cluster.vmac(), dst: MacAddr::from_u64(mac), tci };
        Some((reset, link, port))
    }

    /// The station that the client's frames came from, or the one that takes a router's place while that is
    /// down; and its port, which is up.
    fn way_back(&self, cluster: &ClusterTable, slot: Slot, hash: u64) -> Option<(u64, PortId)> {
        let (mac, port) = self.shard.via(slot);
        let station = self.tables.stations.find(cluster.vlan, mac);
        let (mac, port) = match station {
            Some(Station::Router(id, port)) => {
                let router = self.tables.pools.router(id)?;
                let other = match router.hops[usize::from(cluster.vip.is_ipv6())].way {
                    _ if router.alive => None,
                    HopWay::Straight => None,
                    HopWay::Other(other, _) => Some(other),
                    HopWay::ByFlow(pool) => self.tables.pools.by_flow(pool, hash).map(|(_, other)| other),
                };
                other.and_then(|id| self.tables.pools.router(id)).map_or((mac, port), |r| (r.mac, r.port))
            }
            Some(station) => (mac, station.port()?),
            None if port == NO_PORT => return None,
            None => (mac, PortId(port)),
        };
        (mac != 0 && self.tables.ports[port.index() & 31].up).then_some((mac, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fs_10_the_walk_comes_by_every_line_in_a_second_however_rare_its_turns() {
        for lines in [64, 5_000, 1 << 20] {
            for turn_us in [1, 50, 1_000, 10_000] {
                let mut walk = Walk::new(1);
                let turns = 1_000_000 / turn_us;
                let looked: Vec<usize> =
                    (1..=turns).map(|turn| walk.due(lines, Instant(turn * turn_us * 1000))).collect();
                assert!(looked.iter().sum::<usize>() + 1 >= lines, "{lines} {turn_us}");
                assert!(looked.iter().all(|n| *n <= (lines / PART).max(64)), "{lines} {turn_us}");
            }
        }
    }
}
