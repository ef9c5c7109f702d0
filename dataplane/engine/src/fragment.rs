//! Fragments to a VIP (FS-20, F13, F14).
//!
//! A datagram's *keeper* is the worker that its (source, VIP, protocol, identification) hashes to.
//! It sees every fragment. When the first one's ports name another worker as the flow's owner, the
//! keeper remembers that and hands all fragments on, the first one first; the owner steers them.

use crate::Engine;
use crate::classify::{Meta, Way};
use crate::outbox::Release;
use dataplane_flow::{Instant, Known, TargetId};
use dataplane_port::{DropReason, Head, SlotId, Verdict, VlanId, WorkerId};
use dataplane_wire::{MacAddr, Part};
use std::sync::Arc;

/// Frames held at once.
const SLOTS: usize = 256;

/// Frames held for one datagram.
const DATAGRAM_MAX: usize = 64;

/// How long a fragment waits for its first one (FS-20).
const WAIT_NS: u64 = 10_000_000;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    /// 0: the slot is free.
    datagram: u64,
    until: Instant,
    vlan: VlanId,
    tagged: bool,
    len: u32,
}

const FREE: Waiting = Waiting { datagram: 0, until: Instant(0), vlan: VlanId(0), tagged: false, len: 0 };

/// What is known of the frames that the worker holds. The frames themselves are the worker's.
#[derive(Debug)]
pub(crate) struct Held {
    slots: Box<[Waiting; SLOTS]>,
    /// Slots given up whose frames the worker has not let go of yet, a bit each.
    leaving: [u64; SLOTS / 64],
    used: u32,
}

impl Default for Held {
    fn default() -> Self {
        Self { slots: Box::new([FREE; SLOTS]), leaving: [0; SLOTS / 64], used: 0 }
    }
}

impl Held {
    pub(crate) fn len(&self) -> u32 {
        self.used
    }

    fn take(&mut self, waiting: Waiting) -> Option<SlotId> {
        let same = self.slots.iter().filter(|slot| slot.datagram == waiting.datagram).count();
        if same >= DATAGRAM_MAX {
            return None;
        }
        let leaving = &self.leaving;
        let is_free =
            |(i, slot): (usize, &Waiting)| slot.datagram == 0 && leaving[i / 64] >> (i % 64) & 1 == 0;
        let free = self.slots.iter().enumerate().position(is_free)?;
        self.slots[free] = waiting;
        self.used += 1;
        Some(SlotId(free as u16))
    }

    fn free(&mut self, slot: usize) -> (SlotId, Waiting) {
        self.used -= 1;
        self.leaving[slot / 64] |= 1 << (slot % 64);
        (SlotId(slot as u16), core::mem::replace(&mut self.slots[slot], FREE))
    }

    /// The worker has done what it was told to: what has left, has left. Until then another frame in the
    /// same slot would take the place of the one that is to go.
    pub(crate) fn carried_out(&mut self) {
        self.leaving = [0; SLOTS / 64];
    }

    fn next(&self, which: impl Fn(&Waiting) -> bool) -> Option<usize> {
        if self.used == 0 {
            return None;
        }
        self.slots.iter().position(|slot| slot.datagram != 0 && which(slot))
    }
}

impl Engine {
    /// How many frames a worker must be able to hold.
    pub const HELD_MAX: usize = SLOTS;

    /// A fragment of a datagram to a VIP.
    pub(crate) fn fragment(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        let keeper = self.workers == 1 || self.worker_of(meta.datagram) == self.worker;
        if meta.layers.part == Part::First {
            return self.first(head, meta, keeper, now);
        }
        match self.fragments.find(meta.datagram, now) {
            Some(Known::Target(target)) => self.send_to(target, head, meta),
            Some(Known::Worker(owner)) if owner != self.worker => Verdict::Hand(owner),
            _ if keeper => self.hold(head, meta, now),
            // The keeper hands fragments on behind their first one: that one was dropped here.
            _ => Verdict::Drop(DropReason::FragmentLost),
        }
    }

    fn first(&mut self, head: &mut Head<'_>, meta: &Meta, keeper: bool, now: Instant) -> Verdict {
        // From one VIP to another: as with whole packets, worker 0 has both keys (FS-4).
        let between = meta.sender != TargetId::NONE;
        let owner = if between { WorkerId(0) } else { self.flow_owner(meta.cluster, &meta.key, meta.hash) };
        if keeper && self.workers > 1 && owner != self.worker {
            if !self.fragments.note(meta.datagram, meta.key.client_words()[1], Known::Worker(owner), now) {
                return Verdict::Drop(DropReason::FragmentLost);
            }
            while let Some(slot) = self.held.next(|waiting| waiting.datagram == meta.datagram) {
                let (slot, _) = self.held.free(slot);
                self.outbox.release(Release::Hand(slot, owner));
            }
            return Verdict::Hand(owner);
        }
        let verdict = if between {
            self.between(head, &Meta { way: Way::Between, ..*meta }, now)
        } else {
            self.steer(&Arc::clone(&self.tables), head, meta, self.shard.find(meta.hash), now)
        };
        let Some(target) = self.steered_to(head, meta, &verdict) else {
            return verdict;
        };
        let source = meta.key.client_words()[1];
        if !self.fragments.note(meta.datagram, source, Known::Target(target), now) {
            return Verdict::Drop(DropReason::FragmentLost);
        }
        while let Some(slot) = self.held.next(|waiting| waiting.datagram == meta.datagram) {
            self.release_to(slot, target);
        }
        verdict
    }

    /// The server that a frame was steered to: the flow's, or by its new destination.
    fn steered_to(&self, head: &Head<'_>, meta: &Meta, verdict: &Verdict) -> Option<TargetId> {
        if matches!(verdict, Verdict::Drop(_)) {
            return None;
        }
        if let Some(slot) = self.shard.find(meta.hash) {
            return Some(self.shard.entry(slot).target());
        }
        let to = head.data.first_chunk::<6>().map(|mac| MacAddr(*mac).to_u64())?;
        match self.tables.stations.find(meta.vlan, to)? {
            crate::Station::Server(target, _) => Some(target),
            _ => None,
        }
    }

    fn hold(&mut self, head: &Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        let waiting = Waiting {
            datagram: meta.datagram,
            until: Instant(now.0 + WAIT_NS),
            vlan: meta.vlan,
            tagged: meta.tagged,
            len: head.len,
        };
        match self.held.take(waiting) {
            Some(slot) => Verdict::Hold(slot),
            None => Verdict::Drop(DropReason::FragmentLost),
        }
    }

    fn release_to(&mut self, slot: usize, id: TargetId) {
        let (slot, waiting) = self.held.free(slot);
        let exit =
            self.tables.target(id).filter(|t| self.tables.ports[t.port.index() & 31].up).map(|target| {
                let edit = self.tables.vlan(waiting.vlan).edit(target.port, waiting.vlan, waiting.tagged);
                (target.port, edit, MacAddr::from_u64(target.mac))
            });
        let release = match exit {
            Some((port, edit, mac)) => {
                let counters = self.counters().target(id);
                counters.in_frames.add(1);
                counters.in_bytes.add(u64::from(waiting.len));
                Release::Send(slot, port, edit, mac)
            }
            None => Release::Drop(slot, DropReason::PortDown),
        };
        self.outbox.release(release);
    }

    /// Drops the fragments whose first one has not come in time.
    pub(crate) fn release_late(&mut self, now: Instant) {
        while let Some(slot) = self.held.next(|waiting| waiting.until <= now) {
            let (slot, _) = self.held.free(slot);
            self.outbox.release(Release::Drop(slot, DropReason::FragmentLost));
        }
    }

    /// The worker could not keep the frame after all.
    pub fn not_held(&mut self, slot: SlotId) {
        if self.held.slots[usize::from(slot.0) % SLOTS].datagram != 0 {
            self.held.free(usize::from(slot.0) % SLOTS);
        }
    }
}
