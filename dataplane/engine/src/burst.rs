//! The frames that change nothing but their destination: nearly all.
//!
//! A plain packet (no beginning and no end of anything) of a kind that is known (a trail), in a flow that has
//! its stamp or only needs one, is settled here: two passes over the burst, straight on, one cache line of the
//! table for a packet. Everything else is left, a bit for each frame, to [`Engine::decide`], which needs nothing
//! of this file: it comes to the same verdict for every frame that is settled here.

use crate::Engine;
use crate::classify::Meta;
use crate::counters::Counting;
use crate::engine::worker_of;
use crate::read::{Firsts, Found, Lanes, NO_FLOW, Reader};
use crate::trail::{Course, TRAILS, Trail};
use dataplane_flow::{Entry, Instant, Known, Place, Shard, TARGETS_MAX, TargetId, Timeouts};
use dataplane_port::{BURST, Frames, Head, Look, PortId, Verdict, Verdicts, origin};
use dataplane_wire::PlainTcp;

/// What IPv4's EtherType is above a station's address ([`dataplane_wire::PlainTcp::source_station`]).
const IPV4: u64 = u16::from_le_bytes(0x0800_u16.to_be_bytes()) as u64;

/// No server has this port, so no trail leads there.
pub(crate) const NO_DOOR: u64 = 63 << 48;

/// The second pass over a frame: where it goes, given its flow's entry.
#[derive(Clone, Copy)]
struct Settler<'a, A> {
    doors: &'a [u64; TARGETS_MAX],
    trails: &'a [Trail; TRAILS],
    counters: Counting<'a>,
    tick: u16,
    timeouts: &'a Timeouts,
    /// What [`PlainTcp::source_station`] and a server's door differ in, if the frame is from that server.
    station_to_door: u64,
    along: A,
}

/// Which trail a frame goes along.
trait Along<'a>: Copy {
    /// All frames of the burst along the same one; servers', but for which server has sent each. What is counted for
    /// a router is counted in the end then.
    const TOGETHER: bool;

    /// The trail of a frame whose own is at `place`.
    fn trail(self, trails: &'a [Trail; TRAILS], place: u16) -> &'a Trail;

    /// Its exits.
    #[inline(always)]
    fn exits(self, trails: &'a [Trail; TRAILS], place: u16) -> u64 {
        self.trail(trails, place).exits
    }
}

/// Each frame along its own.
#[derive(Clone, Copy)]
struct Each;

/// All along this one; its exits are at hand.
#[derive(Clone, Copy)]
struct One<'a> {
    trail: &'a Trail,
    exits: u64,
}

impl<'a> Along<'a> for Each {
    const TOGETHER: bool = false;

    #[inline(always)]
    fn trail(self, trails: &'a [Trail; TRAILS], place: u16) -> &'a Trail {
        &trails[usize::from(place) & (TRAILS - 1)]
    }
}

impl<'a> Along<'a> for One<'a> {
    const TOGETHER: bool = true;

    #[inline(always)]
    fn trail(self, _: &'a [Trail; TRAILS], _: u16) -> &'a Trail {
        self.trail
    }

    #[inline(always)]
    fn exits(self, _: &'a [Trail; TRAILS], _: u16) -> u64 {
        self.exits
    }
}

impl<'a> Settler<'a, Each> {
    /// The same of frames that all go along one trail.
    fn along(self, trail: &'a Trail) -> Settler<'a, One<'a>> {
        let Self { doors, trails, counters, tick, timeouts, station_to_door, along: Each } = self;
        Settler {
            doors,
            trails,
            counters,
            tick,
            timeouts,
            station_to_door,
            along: One { trail, exits: trail.exits },
        }
    }
}

impl<'a, A: Along<'a>> Settler<'a, A> {
    #[inline(always)]
    fn trail(&self, lanes: &Lanes, i: usize) -> &'a Trail {
        self.along.trail(self.trails, lanes.trail[i])
    }

    /// Sends frame `i` where its entry leads, if nothing else is to be done; a client's may have to be stamped first.
    #[inline(always)]
    fn settle<F: Frames + ?Sized, const SERVES: bool>(
        &self,
        lanes: &Lanes,
        shard: &Shard,
        (at, entry): (Place<'_>, Entry),
        frames: &mut F,
        i: usize,
    ) -> Option<PortId> {
        let i = i & (BURST - 1);
        if SERVES && cfg!(flowswitch_unobserved) {
            // A build for comparison alone: what looking at servers' packets costs (P4).
            return self.is_sender(lanes, entry, i).then_some(self.course(lanes, i).exit());
        }
        if !entry.rests_at(self.tick, SERVES) && (SERVES || !self.stamp::<SERVES>(shard, lanes, at, entry, i))
        {
            return None;
        }
        if SERVES { self.pass(lanes, entry, i) } else { self.send(lanes, entry.target(), frames, i) }
    }

    /// Whether frame `i` is from the server that its flow is with.
    #[inline(always)]
    fn is_sender(&self, lanes: &Lanes, entry: Entry, i: usize) -> bool {
        let target = entry.target();
        if A::TOGETHER {
            // One that flows do not go to has no door, and this is not it: `decide` knows more.
            self.doors[target.index() & (TARGETS_MAX - 1)] ^ lanes.sender[i] == self.station_to_door
        } else {
            target == lanes.course[i].sender()
        }
    }

    /// The course of frame `i`, but for its sender.
    #[inline(always)]
    fn course(&self, lanes: &Lanes, i: usize) -> Course {
        if A::TOGETHER { self.trail(lanes, i).course } else { lanes.course[i] }
    }

    /// From a server, as it is.
    #[inline(always)]
    fn pass(&self, lanes: &Lanes, entry: Entry, i: usize) -> Option<PortId> {
        if !self.is_sender(lanes, entry, i) {
            return None;
        }
        let (course, len) = (self.course(lanes, i), lanes.len[i]);
        self.counters.server_out(entry.target(), len);
        if !A::TOGETHER {
            self.counters.router_out(course.router(), 1, u64::from(len));
        }
        Some(course.exit())
    }

    /// The port of a server that frame `i` may go to, and in the low bytes its MAC.
    #[inline(always)]
    fn door(&self, lanes: &Lanes, target: TargetId, i: usize) -> Option<(PortId, u64)> {
        let door = self.doors[target.index() & (TARGETS_MAX - 1)];
        let port = (door >> 48) as u8;
        let exits = self.along.exits(self.trails, lanes.trail[i]);
        (exits >> (port & 63) & 1 != 0).then_some((PortId(port), door))
    }

    /// To a server: six bytes.
    #[inline(always)]
    fn send<F: Frames + ?Sized>(
        &self,
        lanes: &Lanes,
        target: TargetId,
        frames: &mut F,
        i: usize,
    ) -> Option<PortId> {
        let (port, door) = self.door(lanes, target, i)?;
        let frame = frames.look(i);
        let [mac @ .., _, _] = door.to_le_bytes();
        *frame.data.first_chunk_mut::<6>()? = mac;
        self.counters.server_in(target, frame.len);
        if !A::TOGETHER {
            self.counters.router_in(self.trail(lanes, i).course.router(), 1, u64::from(frame.len));
        }
        Some(port)
    }

    /// Stamps a flow where that is due, and nothing else hangs on it. A call, so
    /// that the pass over flows that are stamped already is straight.
    #[inline(never)]
    fn stamp<const SERVES: bool>(
        &self,
        shard: &Shard,
        lanes: &Lanes,
        at: Place<'_>,
        entry: Entry,
        i: usize,
    ) -> bool {
        let stamps = entry.is_due(self.tick, SERVES)
            && self.trail(lanes, i).course.stamps()
            && entry.rests(SERVES)
            && if SERVES {
                self.is_sender(lanes, entry, i)
            } else {
                self.door(lanes, entry.target(), i).is_some()
            }
            && !shard.is_expired(entry, self.timeouts);
        if stamps {
            at.stamp(entry, self.tick);
        }
        stamps
    }
}

impl<'a> Settler<'a, One<'a>> {
    /// Counts the frames of a burst for their router, but for those that are `left`.
    #[inline(always)]
    fn count_together<F: Frames + ?Sized, const SERVES: bool>(
        &self,
        left: u32,
        frames: &mut F,
        count: usize,
    ) {
        if left == all(count) || SERVES && cfg!(flowswitch_unobserved) {
            return;
        }
        let sent = count as u64 - u64::from(left.count_ones());
        let bytes = frames.bytes_admitted() - bits(left).map(|i| u64::from(frames.look(i).len)).sum::<u64>();
        let router = self.along.trail.course.router();
        if SERVES {
            self.counters.router_out(router, sent, bytes);
        } else {
            self.counters.router_in(router, sent, bytes);
        }
    }
}

/// What the second pass has come to: sets of frames, a bit for each.
#[derive(Default)]
struct Settled {
    exits: Exits,
    /// To be looked for in their second line.
    second: u32,
    /// Found, but more is to be done than to send them: servers' that are to be stamped, perhaps.
    stale: u32,
    /// Servers' data.
    data: u32,
    /// Not to be settled here.
    left: u32,
}

impl Settled {
    /// Frame `i`, whose entry is there, is sent; `data`: it is a server's data.
    #[inline(always)]
    fn note(&mut self, i: usize, at: Place<'_>, data: bool, lanes: &mut Lanes, shard: &Shard) {
        if data && !cfg!(flowswitch_unobserved) {
            let slot = shard.view().slot(at);
            shard.prefetch_cold(slot);
            lanes.slot[i & (BURST - 1)] = slot;
            self.data |= 1 << i;
        }
    }
}

/// The ports that settled frames leave by.
#[derive(Default)]
struct Exits([PortId; BURST]);

impl Exits {
    #[inline(always)]
    fn note(&mut self, i: usize, exit: PortId) {
        self.0[i & (BURST - 1)] = exit;
    }

    /// Frames that are `settled`, a bit for each, are sent out of their ports; the `count` of the burst at
    /// once, where that comes to the same.
    #[inline(always)]
    fn tell(&self, settled: u32, count: usize, verdicts: &mut Verdicts) {
        let [first, ..] = self.0;
        if settled == all(count)
            && let Some(exits) = self.0.get(..count)
            && exits.iter().fold(0, |differs, exit| differs | (exit.0 ^ first.0)) == 0
        {
            verdicts.send_all_to(first);
        } else {
            self.tell_each(settled, verdicts);
        }
    }

    #[inline(never)]
    fn tell_each(&self, settled: u32, verdicts: &mut Verdicts) {
        let of_each = verdicts.of_each();
        for i in bits(settled) {
            of_each[i & (BURST - 1)] = Verdict::Forward(self.0[i & (BURST - 1)]);
        }
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

/// The first `count` bits.
#[inline(always)]
fn all(count: usize) -> u32 {
    if count == 0 { 0 } else { u32::MAX >> (BURST - count.min(BURST)) }
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
    /// What the first pass knows of frame `i`, which it has read as [`PlainTcp`], without a second reading of all.
    pub(crate) fn meta_of_lane(&self, i: usize, head: &Head<'_>, meta: &mut Meta) -> bool {
        let (lanes, i) = (&self.lanes, i & (BURST - 1));
        let Some(tcp) = PlainTcp::read_again(head.data) else { return false };
        let hash = if lanes.hash[i] == NO_FLOW { lanes.apart[i] } else { lanes.hash[i] };
        self.trails.all()[usize::from(lanes.trail[i]) & (TRAILS - 1)].meta(&tcp, hash, meta);
        true
    }

    /// Settles what can be; what is left.
    #[inline(always)]
    pub(crate) fn settle<F: Frames + ?Sized>(
        &mut self,
        now: Instant,
        frames: &mut F,
        verdicts: &mut Verdicts,
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
        let mut to_do = all(count);
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
    fn settle_from<F: Frames + ?Sized, const SERVES: bool, const MIXED: bool>(
        &mut self,
        origin: u16,
        now: Instant,
        frames: &mut F,
        verdicts: &mut Verdicts,
        left: &mut Left,
    ) -> u32 {
        let count = frames.count().min(BURST);
        let (lanes, shard) = (&mut *self.lanes, &self.shard);
        let mut firsts = [shard.view().first(NO_FLOW); BURST];
        let reader = Reader::<'_, SERVES> {
            trails: self.trails.from(origin),
            table_key: self.table_key,
            shard,
            lines: shard.view(),
        };
        let (mut found, like) = if MIXED {
            (read_mixed::<F, SERVES>(&reader, origin, (lanes, &mut firsts), frames, count), None)
        } else {
            read_all::<F, SERVES>(&reader, (lanes, &mut firsts), frames, count)
        };
        let settler = Settler {
            doors: self.tables.doors.all(),
            trails: self.trails.all(),
            counters: self.counters[self.worker.index()].counting(),
            tick: shard.tick(),
            timeouts: &self.tables.timeouts,
            station_to_door: (u64::from(origin as u8) ^ IPV4) << 48,
            along: Each,
        };
        let others = found.others;
        let table = (&firsts, shard);
        let mut settled = if found.apart == all(count) {
            // A burst of SYNs, or of fragments.
            Settled { left: found.apart, ..Settled::default() }
        } else if let Some(place) = like {
            let settler = settler.along(self.trails.at(place));
            let settled = settle_both::<F, _, SERVES, MIXED>(
                &settler,
                lanes,
                table,
                frames,
                (count, others),
                found.apart,
            );
            settler.count_together::<F, SERVES>(settled.left, frames, count);
            settled
        } else {
            settle_both::<F, _, SERVES, MIXED>(&settler, lanes, table, frames, (count, others), found.apart)
        };
        if let Some(place) = like {
            for i in bits(settled.left).map(|i| i & (BURST - 1)) {
                if SERVES {
                    reader.retrace(&frames.look(i), lanes, i, &mut found);
                } else {
                    lanes.trail[i] = place;
                }
            }
        }
        for i in bits(found.fragments) {
            let hash = lanes.apart[i & (BURST - 1)];
            let is_mine = MIXED || worker_of(hash, self.workers) == self.worker;
            if is_mine
                && let Some(Known::Target(target)) = self.fragments.find(hash, now)
                && let Some(exit) = settler.send(lanes, target, frames, i & (BURST - 1))
            {
                settled.exits.note(i, exit);
                settled.left &= !(1 << i);
            }
        }
        for i in bits(settled.data) {
            self.shard.note_sequence(lanes.slot[i & (BURST - 1)], lanes.next[i & (BURST - 1)]);
        }
        let left_over = settled.left;
        settled.exits.tell(all(count) & !others & !left_over, count, verdicts);
        *left = Left { frames: left_over, untrodden: found.untrodden, known: left_over & !found.peculiar };
        others
    }
}

/// The first pass over frames of one origin; the place of the trail that all go along, of servers' frames but for
/// their senders, if that is one.
///
/// It is hoped that all are like the first one: a trail is not looked for again then. With the first that is not,
/// hope ends for this burst.
#[inline(always)]
fn read_all<'a, F: Frames + ?Sized, const SERVES: bool>(
    reader: &Reader<'a, SERVES>,
    (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
    frames: &mut F,
    count: usize,
) -> (Found, Option<u16>) {
    let mut found = Found::default();
    let like = frames.look(0).data.first_chunk().and_then(|bytes| reader.trails.find_tcp::<SERVES>(bytes));
    if let Some((place, trail)) = like {
        let mut read = 0;
        while read < count && reader.read_like(trail, &frames.admit(read), (lanes, firsts), read, &mut found)
        {
            read += 1;
        }
        if read == count {
            return (found, Some(place));
        }
        for i in 0..read {
            reader.retrace(&frames.look(i), lanes, i, &mut found);
        }
        // The one that ended the hope is admitted already.
        read_one(reader, &frames.look(read), (lanes, firsts), read, &mut found);
        for i in read + 1..count {
            read_one(reader, &frames.admit(i), (lanes, firsts), i, &mut found);
        }
    } else {
        // Where the first is of another kind than the plainest, so are most.
        for i in 0..count {
            reader.read_on(&frames.admit(i), (lanes, firsts), i, &mut found);
        }
    }
    // Servers' are told from one another by their trails then.
    let may_be_one = !SERVES && found.apart != all(count);
    (found, if may_be_one { lanes.one_trail(count) } else { None })
}

/// The first pass over those of the frames that are of this origin.
#[inline(always)]
fn read_mixed<'a, F: Frames + ?Sized, const SERVES: bool>(
    reader: &Reader<'a, SERVES>,
    origin: u16,
    (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
    frames: &mut F,
    count: usize,
) -> Found {
    let mut found = Found::default();
    for i in 0..count {
        if frames.head(i).origin() == origin {
            read_one(reader, &frames.look(i), (lanes, firsts), i, &mut found);
        } else {
            found.others |= 1 << i;
        }
    }
    found
}

#[inline(always)]
fn read_one<'a, const SERVES: bool>(
    reader: &Reader<'a, SERVES>,
    frame: &Look<'_>,
    (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
    i: usize,
    found: &mut Found,
) {
    if !reader.read(frame, (lanes, firsts), i, found) {
        reader.read_on(frame, (lanes, firsts), i, found);
    }
}

/// The second pass, by both lines; not over the frames of `others`. `apart`: no flow is looked for.
#[inline(always)]
fn settle_both<'a, F: Frames + ?Sized, A: Along<'a>, const SERVES: bool, const MIXED: bool>(
    settler: &Settler<'a, A>,
    lanes: &mut Lanes,
    (firsts, shard): (&Firsts<'_>, &Shard),
    frames: &mut F,
    (count, others): (usize, u32),
    apart: u32,
) -> Settled {
    let mut settled =
        settle_all::<F, A, SERVES, MIXED>(settler, lanes, (firsts, shard), frames, (count, others));
    if settled.second | settled.stale != 0 {
        settled.left |= settled.second & apart;
        settled.second &= !apart;
        settle_late::<F, A, SERVES>(settler, lanes, shard, frames, &mut settled);
    }
    settled
}

/// The second pass, by what flows' first lines know of them.
#[inline(always)]
fn settle_all<'a, F: Frames + ?Sized, A: Along<'a>, const SERVES: bool, const MIXED: bool>(
    settler: &Settler<'a, A>,
    lanes: &mut Lanes,
    (firsts, shard): (&Firsts<'_>, &Shard),
    frames: &mut F,
    (count, others): (usize, u32),
) -> Settled {
    let mut settled = Settled::default();
    if SERVES && A::TOGETHER {
        settled.exits = Exits([settler.trail(lanes, 0).course.exit(); BURST]);
    }
    for (i, first) in firsts.iter().enumerate().take(count) {
        if MIXED && others >> i & 1 != 0 {
            continue;
        }
        let Some((at, entry)) = first.look(lanes.hash[i]) else {
            shard.view().second(lanes.hash[i]).prefetch();
            put_aside(&mut settled.second, i);
            continue;
        };
        let Some(exit) = settler.settle::<F, SERVES>(lanes, shard, (at, entry), frames, i) else {
            put_aside(if SERVES { &mut settled.stale } else { &mut settled.left }, i);
            continue;
        };
        if !SERVES || !A::TOGETHER {
            settled.exits.note(i, exit);
        }
        settled.note(i, at, SERVES && lanes.data[i], lanes, shard);
    }
    settled
}

/// Frame `i` is not settled by what the second pass sees of it at once. A call, so that the sets stay out of
/// the registers, of which the pass has none to spare.
#[inline(never)]
fn put_aside(set: &mut u32, i: usize) {
    *set |= 1 << i;
}

/// What is in its second line, or a server's that is to be stamped first.
#[inline(always)]
fn settle_late<'a, F: Frames + ?Sized, A: Along<'a>, const SERVES: bool>(
    settler: &Settler<'a, A>,
    lanes: &mut Lanes,
    shard: &Shard,
    frames: &mut F,
    settled: &mut Settled,
) {
    let (second, mut stale) = (settled.second, settled.stale);
    for i in bits(second).map(|i| i & (BURST - 1)) {
        match shard.view().second(lanes.hash[i]).look(lanes.hash[i]) {
            Some((at, entry)) => match settler.settle::<F, SERVES>(lanes, shard, (at, entry), frames, i) {
                Some(exit) => {
                    settled.exits.note(i, exit);
                    settled.note(i, at, SERVES && lanes.data[i], lanes, shard);
                }
                None if SERVES => stale |= 1 << i,
                None => settled.left |= 1 << i,
            },
            None => {
                settled.left |= 1 << i;
                shard.prefetch_provisional(lanes.hash[i]);
            }
        }
    }
    for i in bits(stale).map(|i| i & (BURST - 1)) {
        let (hash, lines) = (lanes.hash[i], shard.view());
        let found = lines.first(hash).look(hash).or_else(|| lines.second(hash).look(hash));
        if let Some((at, entry)) = found
            && settler.stamp::<SERVES>(shard, lanes, at, entry, i)
            && let stamped = (at, entry.at(settler.tick))
            && let Some(exit) = settler.settle::<F, SERVES>(lanes, shard, stamped, frames, i)
        {
            settled.exits.note(i, exit);
            settled.note(i, at, SERVES && lanes.data[i], lanes, shard);
        } else {
            settled.left |= 1 << i;
        }
    }
}
