//! The frames that change nothing but their destination: nearly all.
//!
//! A plain packet (no beginning and no end of anything) of a kind that is known (a trail), in a flow that has
//! its stamp or only needs one, is settled here: two passes over the burst, straight
//! on, one cache line of the table for a packet. Everything else is left, a bit for each frame, to
//! [`Engine::decide`], which needs nothing of this file: it comes to the same verdict for every frame that is
//! settled here.

use crate::Engine;
use crate::classify::Meta;
use crate::counters::Counting;
use crate::engine::worker_of;
use crate::read::{Firsts, Found, Lanes, NO_FLOW, Reader};
use crate::trail::{Course, TRAILS, Trail};
use dataplane_flow::{Entry, Instant, Known, Place, Shard, TARGETS_MAX, TargetId, Timeouts};
use dataplane_port::{BURST, Frames, Head, PortId, Verdict, Verdicts, origin};
use dataplane_wire::PlainTcp;

/// No server has this port, so no trail leads there.
pub(crate) const NO_DOOR: u64 = 63 << 48;

/// The second pass over a frame: where it goes, given its flow's entry.
#[derive(Clone, Copy)]
struct Settler<'a> {
    doors: &'a [u64; TARGETS_MAX],
    trails: &'a [Trail; TRAILS],
    counters: Counting<'a>,
    tick: u16,
    timeouts: &'a Timeouts,
    alike: Alike<'a>,
}

/// What all frames of a burst have in common. What is counted for a router is counted in the end then.
#[derive(Clone, Copy)]
enum Alike<'a> {
    Nothing,
    /// From outside, they go along this trail.
    Trail(&'a Trail),
    /// Servers', they leave by one port for one router.
    Course(Course),
}

impl Settler<'_> {
    #[inline(always)]
    fn trail(&self, place: u16) -> &Trail {
        &self.trails[usize::from(place) & (TRAILS - 1)]
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
            let course = lanes.course[i];
            return (entry.target() == course.sender()).then_some(course.exit());
        }
        if !entry.rests_at(self.tick, SERVES)
            && (SERVES || !self.stamp::<SERVES>(shard, lanes.trail[i], at, entry))
        {
            return None;
        }
        if SERVES { self.pass(lanes, entry, i) } else { self.send(lanes.trail[i], entry.target(), frames, i) }
    }

    /// From a server, as it is.
    #[inline(always)]
    fn pass(&self, lanes: &Lanes, entry: Entry, i: usize) -> Option<PortId> {
        let (course, len) = (lanes.course[i], lanes.len[i]);
        if entry.target() != course.sender() {
            return None;
        }
        self.counters.server_out(entry.target(), len);
        if let Alike::Course(of_all) = self.alike {
            return Some(of_all.exit());
        }
        self.counters.router_out(course.router(), 1, u64::from(len));
        Some(course.exit())
    }

    /// The port of a server that a frame of this trail may go to, and in the low bytes its MAC.
    #[inline(always)]
    fn door(&self, place: u16, target: TargetId) -> Option<(PortId, u64)> {
        let door = self.doors[target.index() & (TARGETS_MAX - 1)];
        let port = (door >> 48) as u8;
        let trail = if let Alike::Trail(of_all) = self.alike { of_all } else { self.trail(place) };
        (trail.exits >> (port & 63) & 1 != 0).then_some((PortId(port), door))
    }

    /// To a server: six bytes.
    #[inline(always)]
    fn send<F: Frames + ?Sized>(
        &self,
        place: u16,
        target: TargetId,
        frames: &mut F,
        i: usize,
    ) -> Option<PortId> {
        let (port, door) = self.door(place, target)?;
        let frame = frames.look(i);
        let [mac @ .., _, _] = door.to_le_bytes();
        *frame.data.first_chunk_mut::<6>()? = mac;
        self.counters.server_in(target, frame.len);
        if !matches!(self.alike, Alike::Trail(_)) {
            self.counters.router_in(self.trail(place).course.router(), 1, u64::from(frame.len));
        }
        Some(port)
    }

    /// Stamps a flow where that is due, and nothing else hangs on it. A call, so
    /// that the pass over flows that are stamped already is straight.
    #[inline(never)]
    fn stamp<const SERVES: bool>(&self, shard: &Shard, trail: u16, at: Place<'_>, entry: Entry) -> bool {
        let course = self.trail(trail).course;
        let stamps = entry.is_due(self.tick, SERVES)
            && course.stamps()
            && entry.rests(SERVES)
            && if SERVES {
                entry.target() == course.sender()
            } else {
                self.door(trail, entry.target()).is_some()
            }
            && !shard.is_expired(entry, self.timeouts);
        if stamps {
            at.stamp(entry, self.tick);
        }
        stamps
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
    /// Counts for their router those of `count` frames that were sent without a second look.
    #[inline(always)]
    fn count_at_once<F: Frames + ?Sized>(
        &self,
        settler: &Settler<'_>,
        alike: Alike<'_>,
        frames: &mut F,
        count: usize,
    ) {
        let aside = self.second | self.stale | self.left;
        if matches!(alike, Alike::Nothing) || aside == all(count) {
            return;
        }
        let sent = count as u64 - u64::from(aside.count_ones());
        let bytes = frames.bytes_admitted() - bits(aside).map(|i| u64::from(frames.look(i).len)).sum::<u64>();
        match alike {
            Alike::Trail(trail) => settler.counters.router_in(trail.course.router(), sent, bytes),
            Alike::Course(_) if cfg!(flowswitch_unobserved) => {}
            Alike::Course(course) => settler.counters.router_out(course.router(), sent, bytes),
            Alike::Nothing => {}
        }
    }

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
        let found = read_all::<F, SERVES, MIXED>(&reader, origin, (lanes, &mut firsts), frames, count);
        let settler = Settler {
            doors: self.tables.doors.all(),
            trails: self.trails.all(),
            counters: self.counters[self.worker.index()].counting(),
            tick: shard.tick(),
            timeouts: &self.tables.timeouts,
            alike: Alike::Nothing,
        };
        let others = found.others;
        let alike = if MIXED {
            Alike::Nothing
        } else if SERVES {
            lanes.one_course(count).map_or(Alike::Nothing, Alike::Course)
        } else {
            lanes.one_trail(count).map_or(Alike::Nothing, |place| Alike::Trail(settler.trail(place)))
        };
        let mut settle = |settler: &Settler<'_>| {
            settle_all::<F, SERVES, MIXED>(settler, (lanes, &firsts), shard, frames, count, others)
        };
        // Told apart out here: a pass of its own for each.
        let mut settled = match alike {
            // A burst of SYNs, or of fragments.
            _ if found.apart == all(count) => Settled { left: found.apart, ..Settled::default() },
            Alike::Trail(trail) => settle(&Settler { alike: Alike::Trail(trail), ..settler }),
            Alike::Course(course) => settle(&Settler { alike: Alike::Course(course), ..settler }),
            Alike::Nothing => settle(&settler),
        };
        settled.count_at_once(&settler, alike, frames, count);
        if settled.second | settled.stale != 0 {
            settled.left |= settled.second & found.apart;
            settled.second &= !found.apart;
            settle_late::<F, SERVES>(&settler, lanes, shard, frames, &mut settled);
        }
        for i in bits(found.fragments) {
            let hash = lanes.apart[i & (BURST - 1)];
            let is_mine = MIXED || worker_of(hash, self.workers) == self.worker;
            if is_mine
                && let Some(Known::Target(target)) = self.fragments.find(hash, now)
                && let Some(exit) = settler.send(lanes.trail[i & (BURST - 1)], target, frames, i)
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

/// The first pass.
#[inline(always)]
fn read_all<'a, F: Frames + ?Sized, const SERVES: bool, const MIXED: bool>(
    reader: &Reader<'a, SERVES>,
    origin: u16,
    (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
    frames: &mut F,
    count: usize,
) -> Found {
    let mut found = Found::default();
    for i in 0..count {
        if MIXED && frames.head(i).origin() != origin {
            found.others |= 1 << i;
            continue;
        }
        let frame = if MIXED { frames.look(i) } else { frames.admit(i) };
        if !reader.read(&frame, (lanes, firsts), i, &mut found) {
            reader.read_on(frames.look(i), (lanes, firsts), i, &mut found);
        }
    }
    found
}

/// The second pass, by what flows' first lines know of them. Not over the frames of `others`.
#[inline(always)]
fn settle_all<F: Frames + ?Sized, const SERVES: bool, const MIXED: bool>(
    settler: &Settler<'_>,
    (lanes, firsts): (&mut Lanes, &Firsts<'_>),
    shard: &Shard,
    frames: &mut F,
    count: usize,
    others: u32,
) -> Settled {
    let mut settled = Settled::default();
    if let Alike::Course(course) = settler.alike {
        settled.exits = Exits([course.exit(); BURST]);
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
        if !matches!(settler.alike, Alike::Course(_)) {
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
fn settle_late<F: Frames + ?Sized, const SERVES: bool>(
    settler: &Settler<'_>,
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
        let (trail, hash, lines) = (lanes.trail[i], lanes.hash[i], shard.view());
        let found = lines.first(hash).look(hash).or_else(|| lines.second(hash).look(hash));
        if let Some((at, entry)) = found
            && settler.stamp::<SERVES>(shard, trail, at, entry)
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
