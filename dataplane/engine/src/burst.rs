//! The frames that change nothing but their destination: nearly all.
//!
//! A plain packet (no beginning and no end of anything) of a kind that is known (a trail), in a flow that has
//! been seen in this second already, or only needs its stamp, is settled here: two passes over the burst, straight on, one cache line
//! of the table for a packet. Everything else is left, a bit for each frame, to [`Engine::decide`], which
//! needs nothing of this file: it comes to the same verdict for every frame that is settled here.
//!
//! TCP in untagged IPv4 is read in line, all else that is plain by a call; both come to the same lane.

use crate::Engine;
use crate::classify::{IKE, Meta};
use crate::counters::Counting;
use crate::engine::worker_of;
use crate::trail::{self, Sides, TRAILS, Trail, Trails};
use dataplane_flow::{Entry, HashKey, Instant, KeyKind, Known, Shard, Slot, TARGETS_MAX, TargetId, Timeouts};
use dataplane_port::{BURST, Frames, Head, Look, PortId, Verdict, origin};
use dataplane_wire::{Plain, PlainTcp, protocol};

/// No server has this port, so no trail leads there.
pub(crate) const NO_DOOR: u64 = 63 << 48;

/// The hash of no flow: they are odd, and 0 is an empty place of the table.
const NO_FLOW: u64 = 2;

/// What the first pass leaves to the second of one frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    /// Of the flow, odd; or [`NO_FLOW`].
    hash: u64,
    /// Of the datagram that it is a later fragment of; or of the flow whose beginning or end it is.
    apart: u64,
    /// A server's data: the sequence number behind it.
    next: u32,
    /// Its trail's place.
    trail: u16,
    /// A server's segment with data: how far it has come is remembered (FS-10).
    data: bool,
}

/// What the first pass makes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    /// Its lane is filled, by its flow.
    Flow,
    /// Its lane is filled, by its datagram: a later fragment.
    Fragment,
    /// It is plain, and of a kind that has no trail.
    Untrodden,
    /// It is not plain.
    Peculiar,
}

/// What the first pass found that is out of the ordinary, a bit for each frame.
#[derive(Clone, Copy, Default, Debug)]
struct Found {
    /// Not TCP in untagged IPv4 along a trail.
    peculiar: u32,
    fragments: u32,
    untrodden: u32,
    /// Of another origin.
    others: u32,
}

/// What the plainest read of a frame came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ReadTcp {
    /// Its lane is filled.
    Flow,
    /// Its lane is filled, but it begins or ends a connection.
    Control,
    /// Its kind has no trail.
    Untrodden,
    /// It is something else.
    Other,
}

/// The first pass over a frame: what it is looked up by. `SERVES`: servers are behind the port.
#[derive(Clone, Copy, Debug)]
struct Reader<'a, const SERVES: bool> {
    trails: &'a Trails,
    /// [`Trails::origin`] of the frames.
    origin: u64,
    table_key: &'a HashKey,
    shard: &'a Shard,
}

impl<const SERVES: bool> Reader<'_, SERVES> {
    /// The plainest of all, in line.
    #[inline(always)]
    fn read(&self, frame: &Look<'_>, lane: &mut Lane) -> ReadTcp {
        let Some(tcp) = PlainTcp::read(frame.data, frame.len, frame.checksum_good) else {
            return ReadTcp::Other;
        };
        let (client, vip) =
            if SERVES { (tcp.destination(), tcp.source()) } else { (tcp.source(), tcp.destination()) };
        let key = trail::key_v4(tcp.stations(), self.origin, vip);
        let mut place = self.trails.place(&key);
        let mut there = self.trails.at(place, &key);
        if there.is_none() {
            place ^= 1;
            there = self.trails.at(place, &key);
        }
        let Some(trail) = there else { return ReadTcp::Untrodden };
        let ports = client_first::<SERVES>(tcp.ports());
        let word = trail.flow | u64::from(protocol::TCP) << 8 | u64::from(ports) << 32;
        let hash = self.table_key.hash3([0, u64::from(u32::from_be(client)), word]) | 1;
        lane.hash = hash;
        self.shard.prefetch(hash);
        lane.trail = place;
        if SERVES {
            lane.data = tcp.data_len != 0;
            lane.next = tcp.next_sequence();
        }
        if tcp.is_control() { ReadTcp::Control } else { ReadTcp::Flow }
    }

    /// What the plainest read has not come to an end with.
    #[inline(never)]
    fn read_on(&self, read: ReadTcp, head: &Head<'_>, lane: &mut Lane, i: usize, found: &mut Found) {
        let other = match read {
            ReadTcp::Flow => return,
            ReadTcp::Control => {
                self.shard.prefetch_all(lane.hash);
                lane.apart = core::mem::replace(&mut lane.hash, NO_FLOW);
                return;
            }
            ReadTcp::Untrodden => {
                lane.hash = NO_FLOW;
                Read::Untrodden
            }
            ReadTcp::Other => self.read_other(head, lane),
        };
        found.peculiar |= 1 << i;
        match other {
            Read::Flow | Read::Peculiar => {}
            Read::Fragment => found.fragments |= 1 << i,
            Read::Untrodden => found.untrodden |= 1 << i,
        }
    }

    fn read_other(&self, head: &Head<'_>, lane: &mut Lane) -> Read {
        let data: &[u8] = head.data;
        lane.hash = NO_FLOW;
        let Some(plain) = Plain::read(data, head.len, head.checksum_good) else { return Read::Peculiar };
        let (Some(ends), Some(sides)) = (data.first_chunk(), Sides::read(data, &plain, SERVES)) else {
            return Read::Peculiar;
        };
        let key = trail::key(ends, &plain, self.origin, sides.vip[1]);
        let Some((place, trail)) = self.trails.find(&key, sides.vip[0]) else { return Read::Untrodden };
        let [a, b] = sides.client;
        *lane = Lane { hash: NO_FLOW, trail: place, ..Lane::default() };
        if plain.later {
            // A server's is bridged.
            let what = u64::from(plain.id) << 32 | trail.flow & 0xffff_0000 | u64::from(plain.protocol);
            lane.apart = self.table_key.hash3([a, b, what]).max(1);
            return if SERVES { Read::Peculiar } else { Read::Fragment };
        }
        let ports = client_first::<SERVES>(plain.ports);
        let mut word = trail.flow | u64::from(plain.protocol) << 8 | u64::from(ports) << 32;
        match plain.protocol {
            protocol::UDP if trail.reads_udp || IKE.contains(&(ports as u16)) => return Read::Peculiar,
            // One key for all IPsec of a client (FS-22).
            protocol::ESP | protocol::AH => {
                word = trail.flow | u64::from(protocol::ESP) << 8 | KeyKind::Ipsec as u64;
            }
            protocol::TCP if SERVES && plain.data_len != 0 => {
                let at = plain.l3 + if plain.v6 { 44 } else { 24 };
                let Some(sequence) = data.get(at..).and_then(|rest| rest.first_chunk()) else {
                    return Read::Peculiar;
                };
                lane.next = u32::from_be_bytes(*sequence).wrapping_add(plain.data_len);
                lane.data = true;
            }
            _ => {}
        }
        lane.hash = self.table_key.hash3([a, b, word]) | 1;
        self.shard.prefetch(lane.hash);
        Read::Flow
    }
}

/// The client's port in the high half, whoever sends.
#[inline(always)]
fn client_first<const SERVES: bool>(ports: u32) -> u32 {
    if SERVES { ports.rotate_left(16) } else { ports }
}

/// The second pass: where a frame goes whose flow has this entry.
struct Settler<'a> {
    doors: &'a [u64; TARGETS_MAX],
    trails: &'a [Trail; TRAILS],
    counters: Counting<'a>,
    tick: u16,
}

impl Settler<'_> {
    /// Sends frame `i` where its entry leads, if nothing else is to be done.
    #[inline(always)]
    fn settle<F: Frames + ?Sized, const SERVES: bool>(
        &self,
        lane: &Lane,
        entry: Entry,
        frames: &mut F,
        i: usize,
    ) -> Option<Verdict> {
        if SERVES && cfg!(flowswitch_unobserved) {
            // A build for comparison alone: what looking at servers' packets costs (P4).
            let trail = &self.trails[usize::from(lane.trail) & (TRAILS - 1)];
            return (entry.target() == trail.sender).then_some(Verdict::Forward(trail.exit));
        }
        if !entry.rests_at(self.tick, SERVES) {
            return None;
        }
        if !SERVES {
            return self.send(lane, entry.target(), frames, i);
        }
        let trail = &self.trails[usize::from(lane.trail) & (TRAILS - 1)];
        if entry.target() != trail.sender {
            return None;
        }
        self.counters.outbound(trail.sender, trail.router, frames.look(i).len);
        Some(Verdict::Forward(trail.exit))
    }

    /// Stamps a flow that is seen for the first time in this second, where nothing else hangs on that.
    #[inline(never)]
    fn stamp<const SERVES: bool>(
        &self,
        shard: &mut Shard,
        slot: Slot,
        lane: &Lane,
        entry: Entry,
        timeouts: &Timeouts,
    ) {
        let trail = &self.trails[usize::from(lane.trail) & (TRAILS - 1)];
        let stamps = entry.tick() != self.tick
            && trail.stamps
            && entry.rests(SERVES)
            && (!SERVES || entry.target() == trail.sender)
            && !shard.is_expired(entry, timeouts);
        if stamps {
            shard.touch(slot, entry);
        }
    }

    /// To a server: six bytes.
    #[inline(always)]
    fn send<F: Frames + ?Sized>(
        &self,
        lane: &Lane,
        target: TargetId,
        frames: &mut F,
        i: usize,
    ) -> Option<Verdict> {
        let trail = &self.trails[usize::from(lane.trail) & (TRAILS - 1)];
        let door = self.doors[target.index() & (TARGETS_MAX - 1)];
        let port = (door >> 48) as u8;
        if trail.exits >> (port & 63) & 1 == 0 {
            return None;
        }
        let frame = frames.look(i);
        let [mac @ .., _, _] = door.to_le_bytes();
        *frame.data.first_chunk_mut::<6>()? = mac;
        self.counters.inbound(target, trail.router, frame.len);
        Some(Verdict::Forward(PortId(port)))
    }
}

/// The numbers of the bits that are set.
#[inline(always)]
pub(crate) fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = set.trailing_zeros();
        (set != 0).then(|| {
            set &= set - 1;
            bit as usize
        })
    })
}

/// The frames of a burst, a bit for each.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Left {
    /// Whose verdict is still to be found.
    pub(crate) frames: u32,
    /// Those among them whose kind has no trail yet.
    pub(crate) untrodden: u32,
    /// Those among them whose kind and flow are known: [`Engine::meta_of_lane`].
    pub(crate) known: u32,
}

impl Engine {
    /// What the first pass knows of a frame that it left, without a second reading of all; `false` when it
    /// must be read again.
    pub(crate) fn meta_of_lane(&self, i: usize, head: &Head<'_>, meta: &mut Meta) -> bool {
        let lane = &self.lanes[i & (BURST - 1)];
        let Some(tcp) = PlainTcp::read(head.data, head.len, head.checksum_good) else { return false };
        let hash = if lane.hash == NO_FLOW { lane.apart } else { lane.hash };
        self.trails.all()[usize::from(lane.trail) & (TRAILS - 1)].meta(&tcp, hash, meta);
        true
    }

    /// Settles what can be; what is left.
    #[inline(always)]
    pub(crate) fn settle<F: Frames + ?Sized>(
        &mut self,
        now: Instant,
        frames: &mut F,
        verdicts: &mut [Verdict; BURST],
    ) -> Left {
        let count = frames.count().min(BURST);
        let mut left = Left::default();
        if let Some(port) = frames.origin() {
            if self.tables.server_ports.contains(port) {
                self.settle_from::<F, true, false>(origin(port, false), now, frames, verdicts, &mut left);
            } else {
                self.settle_from::<F, false, false>(origin(port, false), now, frames, verdicts, &mut left);
            }
            return left;
        }
        for i in 0..count {
            frames.admit(i);
        }
        // Handed over by others: a round for each port that they came in by.
        let mut to_do = if count == 0 { 0 } else { u32::MAX >> (BURST - count) };
        while to_do != 0 {
            let first = frames.head(to_do.trailing_zeros() as usize);
            let (origin, serves) = (first.origin(), self.tables.server_ports.contains(first.port));
            let mut round = Left::default();
            let others = if serves {
                self.settle_from::<F, true, true>(origin, now, frames, verdicts, &mut round)
            } else {
                self.settle_from::<F, false, true>(origin, now, frames, verdicts, &mut round)
            };
            left.frames |= round.frames & to_do;
            left.untrodden |= round.untrodden & to_do;
            left.known |= round.known & to_do;
            to_do &= others;
        }
        left
    }

    /// The same for the frames of one origin. `MIXED`: there are others; which they are, a bit for each.
    #[inline(never)]
    #[expect(
        clippy::needless_range_loop,
        reason = "several arrays of 32 by one index; zipped ends cost more"
    )]
    fn settle_from<F: Frames + ?Sized, const SERVES: bool, const MIXED: bool>(
        &mut self,
        origin: u16,
        now: Instant,
        frames: &mut F,
        verdicts: &mut [Verdict; BURST],
        left: &mut Left,
    ) -> u32 {
        let count = frames.count().min(BURST);
        let lanes = &mut *self.lanes;
        let shard = &self.shard;
        let trails = &self.trails;
        let reader =
            Reader::<'_, SERVES> { trails, origin: trails.origin(origin), table_key: &self.table_key, shard };
        let mut found = Found::default();
        for i in 0..count {
            let lane = &mut lanes[i];
            if MIXED && frames.head(i).origin() != origin {
                found.others |= 1 << i;
                continue;
            }
            let frame = if MIXED { frames.look(i) } else { frames.admit(i) };
            let read = reader.read(&frame, lane);
            if read != ReadTcp::Flow {
                reader.read_on(read, &frames.head(i), lane, i, &mut found);
            }
        }
        let counters = &self.counters[self.worker.index()];
        let settler = Settler {
            doors: self.tables.doors.all(),
            trails: trails.all(),
            counters: counters.counting(),
            tick: shard.tick(),
        };
        let timeouts = &*self.tables.timeouts;
        let (mut late, mut data, mut unsettled) = (0_u32, 0_u32, 0_u32);
        let mut slots = [Slot::default(); BURST];
        for i in 0..count {
            if MIXED && found.others >> i & 1 != 0 {
                continue;
            }
            let lane = &lanes[i];
            let Some((slot, entry)) = shard.look_first(lane.hash) else {
                shard.prefetch_second(lane.hash);
                late |= 1 << i;
                continue;
            };
            let Some(verdict) = settler.settle::<F, SERVES>(lane, entry, frames, i) else {
                late |= 1 << i;
                continue;
            };
            verdicts[i] = verdict;
            if SERVES && lane.data && !cfg!(flowswitch_unobserved) {
                shard.prefetch_cold(slot);
                slots[i] = slot;
                data |= 1 << i;
            }
        }
        // In the second line, or to be stamped first.
        let shard = &mut self.shard;
        for i in bits(late) {
            let (Some(lane), Some(verdict)) = (lanes.get(i), verdicts.get_mut(i)) else { continue };
            let found = shard.look_first(lane.hash).or_else(|| shard.look_second(lane.hash));
            let settled = found.and_then(|(slot, entry)| {
                settler.stamp::<SERVES>(shard, slot, lane, entry, timeouts);
                Some((slot, settler.settle::<F, SERVES>(lane, shard.entry(slot), frames, i)?))
            });
            match settled {
                Some((slot, settled)) => {
                    *verdict = settled;
                    if SERVES && lane.data {
                        shard.prefetch_cold(slot);
                        slots[i & (BURST - 1)] = slot;
                        data |= 1 << i;
                    }
                }
                None => unsettled |= 1 << i,
            }
        }
        for i in bits(found.fragments) {
            let Some(lane) = lanes.get(i) else { continue };
            let mine = MIXED || worker_of(lane.apart, self.workers) == self.worker;
            if mine
                && let Some(Known::Target(target)) = self.fragments.find(lane.apart, now)
                && let Some(verdict) = settler.send(lane, target, frames, i)
            {
                verdicts[i & (BURST - 1)] = verdict;
                unsettled &= !(1 << i);
            }
        }
        for i in bits(data) {
            self.shard.note_sequence(slots[i & (BURST - 1)], self.lanes[i & (BURST - 1)].next);
        }
        *left = Left { frames: unsettled, untrodden: found.untrodden, known: unsettled & !found.peculiar };
        found.others
    }
}
