//! The frames that change nothing but their destination: nearly all.
//!
//! A plain packet (no beginning and no end of anything) of a kind that is known (a trail), in a flow that has
//! its stamp or only needs one, is settled here: two passes over the burst, straight on, one cache line of the
//! table for a packet. Everything else is left, a bit for each frame, to [`Engine::decide`], which needs nothing
//! of this file: it comes to the same verdict for every frame that is settled here.

use crate::alike::Tried;
use crate::classify::Meta;
use crate::counters::Counting;
use crate::door::{Door, Doors};
use crate::engine::worker_of;
use crate::opening::ahead_of;
use crate::read::{Firsts, Found, Lanes, NO_FLOW, Reader};
use crate::trail::{self, Course, Last, TRAILS, Trail, Trails};
use crate::{Counters, Engine, OwnTables};
use dataplane_cpu::{Instructions, Work, equal32};
use dataplane_flow::{Entry, Instant, Known, Place, Resting, Shard, TargetId, Timeouts};
use dataplane_port::{BURST, Frames, Head, PortId, Verdict, Verdicts, origin};
use dataplane_wire::{Outline, PlainTcp, Tagged, UntaggedV4, UntaggedV6};

/// The second pass over a frame: where it goes, given its flow's entry.
#[derive(Clone, Copy)]
struct Settler<'a> {
    doors: &'a Doors,
    trails: &'a [Trail; TRAILS],
    counters: Counting<'a>,
    tick: u16,
    /// What a flow's entry is that nothing is to be done with.
    settled: Resting,
    timeouts: &'a Timeouts,
    shard: &'a Shard,
}

impl<'a> Settler<'a> {
    fn of<const SERVES: bool>(
        tables: &'a OwnTables,
        trails: &'a Trails,
        counters: &'a Counters,
        shard: &'a Shard,
    ) -> Self {
        Self {
            doors: &tables.doors,
            trails: trails.all(),
            counters: counters.counting(),
            tick: shard.tick(),
            settled: Resting::new(shard.tick(), SERVES),
            timeouts: &tables.timeouts,
            shard,
        }
    }

    /// Sends frame `i` where its entry leads, if nothing else is to be done; a client's may have to be stamped first.
    #[inline(always)]
    fn settle<F: Frames + ?Sized, const SERVES: bool>(
        &self,
        lanes: &Lanes,
        (at, entry): (Place<'_>, Entry),
        frames: &mut F,
        i: usize,
    ) -> Option<PortId> {
        let i = i & (BURST - 1);
        if SERVES && cfg!(flowswitch_unobserved) {
            // A build for comparison alone: what looking at servers' packets costs (P4).
            return self.goes::<SERVES>(lanes, entry, i).then_some(lanes.course[i].exit());
        }
        if !entry.is_at(self.settled) && (SERVES || !self.stamp_lane::<SERVES>(lanes, at, entry, i)) {
            return None;
        }
        if SERVES { self.pass(lanes, entry, i) } else { self.send(lanes, entry.target(), frames, i) }
    }

    /// Whether frame `i` is from the server that its flow is with, or can go there.
    fn goes<const SERVES: bool>(&self, lanes: &Lanes, entry: Entry, i: usize) -> bool {
        if SERVES {
            entry.target() == lanes.course[i].sender()
        } else {
            self.door(lanes, entry.target(), i).is_some()
        }
    }

    /// From a server, as it is.
    #[inline(always)]
    fn pass(&self, lanes: &Lanes, entry: Entry, i: usize) -> Option<PortId> {
        let (course, len) = (lanes.course[i], lanes.len[i]);
        if entry.target() != course.sender() {
            return None;
        }
        self.counters.server_out(entry.target(), len);
        self.counters.router_out(course.router(), 1, u64::from(len));
        Some(course.exit())
    }

    /// The port of a server that frame `i` may go to, and its door.
    #[inline(always)]
    fn door(&self, lanes: &Lanes, target: TargetId, i: usize) -> Option<(PortId, Door)> {
        let door = self.doors.of(target);
        let exits = trail::at(self.trails, lanes.trail[i]).exits;
        door.leads_out(exits).map(|port| (port, door))
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
        door.write_to(frame.data)?;
        self.counters.server_in(target, frame.len);
        self.counters.router_in(lanes.course[i].router(), 1, u64::from(frame.len));
        Some(port)
    }

    /// Stamps the flow of frame `i` where that is due.
    #[inline(always)]
    fn stamp_lane<const SERVES: bool>(&self, lanes: &Lanes, at: Place<'_>, entry: Entry, i: usize) -> bool {
        self.stamp::<SERVES>(at, entry, lanes.course[i], || self.goes::<SERVES>(lanes, entry, i))
    }

    /// Stamps a flow where that is due, nothing else hangs on it, and the frame `goes` where it leads. A call, so
    /// that the pass over flows that are stamped already is straight.
    #[cold]
    #[inline(never)]
    fn stamp<const SERVES: bool>(
        &self,
        at: Place<'_>,
        entry: Entry,
        course: Course,
        goes: impl FnOnce() -> bool,
    ) -> bool {
        let stamps = entry.is_due(self.tick, SERVES)
            && course.stamps()
            && entry.rests(SERVES)
            && goes()
            && !self.shard.is_expired(entry, self.timeouts);
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
    /// Frame `i`, whose entry is there, is sent; `data`: it is a server's data.
    #[inline(always)]
    fn note(&mut self, i: usize, exit: PortId, at: Place<'_>, data: bool, lanes: &mut Lanes, shard: &Shard) {
        self.exits.note(i, exit);
        if data && !cfg!(flowswitch_unobserved) {
            let slot = shard.view().slot(at);
            shard.prefetch_cold(slot);
            lanes.slot[i & (BURST - 1)] = slot;
            self.data |= 1 << i;
        }
    }
}

/// The ports that settled frames leave by, a number for each frame.
#[derive(Debug)]
pub(crate) struct Exits([u8; BURST]);

impl Default for Exits {
    /// None leaves.
    #[inline(always)]
    fn default() -> Self {
        Self([Self::NONE; BURST])
    }
}

impl Exits {
    /// No port.
    const NONE: u8 = 0xff;

    /// Whatever leaves does so by this port.
    #[inline(always)]
    pub(crate) fn all_by(exit: PortId) -> Self {
        Self([exit.0; BURST])
    }

    #[inline(always)]
    pub(crate) fn note(&mut self, i: usize, exit: PortId) {
        self.0[i & (BURST - 1)] = exit.0;
    }

    /// Frames that are `settled`, a bit for each, are sent out of their ports; the `count` of the burst at
    /// once, where that comes to the same.
    #[inline(always)]
    pub(crate) fn tell(&self, settled: u32, count: usize, verdicts: &mut Verdicts) {
        let [first, ..] = self.0;
        if equal32(&self.0, first) & settled == all(count) {
            verdicts.send_all_to(PortId(first));
        } else {
            self.tell_each(settled, verdicts);
        }
    }

    #[inline(never)]
    fn tell_each(&self, settled: u32, verdicts: &mut Verdicts) {
        let of_each = verdicts.of_each();
        for i in bits(settled) {
            of_each[i & (BURST - 1)] = Verdict::Forward(PortId(self.0[i & (BURST - 1)]));
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
pub(crate) fn all(count: usize) -> u32 {
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
        let Some(tcp) = head.data.first_chunk().map(PlainTcp::of) else { return false };
        let trail = self.trails.at(lanes.trail[i]);
        trail.meta(&tcp, lanes.hash_of(i), meta);
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
        if let Some(port) = frames.origin() {
            return if self.tables.server_ports.contains(port) {
                self.settle_burst::<F, true>(origin(port, false), now, frames, verdicts)
            } else {
                self.settle_burst::<F, false>(origin(port, false), now, frames, verdicts)
            };
        }
        admit_all(frames, count);
        // Handed over by others: a round for each port that they came in by.
        let mut left = Left::default();
        let mut to_do = all(count);
        while to_do != 0 {
            let first = frames.head(to_do.trailing_zeros() as usize);
            let (origin, serves) = (first.origin(), self.tables.server_ports.contains(first.port));
            let mut round = Left::default();
            let others = if serves {
                self.settle_from::<F, true, true>((origin, true), now, frames, verdicts, &mut round)
            } else {
                self.settle_from::<F, false, true>((origin, true), now, frames, verdicts, &mut round)
            };
            left.frames |= round.frames & to_do;
            left.untrodden |= round.untrodden & to_do;
            left.known |= round.known & to_do;
            to_do &= others;
        }
        left
    }

    /// The same for a burst that came in by one port.
    #[inline(always)]
    fn settle_burst<F: Frames + ?Sized, const SERVES: bool>(
        &mut self,
        origin: u16,
        now: Instant,
        frames: &mut F,
        verdicts: &mut Verdicts,
    ) -> Left {
        let mut left = Left::default();
        let tried = self.settle_alike::<F, SERVES>(origin, now, frames, verdicts, &mut left);
        if tried != Tried::Settled {
            let ready = tried == Tried::Admitted;
            self.settle_from::<F, SERVES, false>((origin, ready), now, frames, verdicts, &mut left);
        }
        left
    }

    /// The same for the frames of one origin, which are `ready` (admitted) or not. `MIXED`: there are others; which
    /// they are, a bit for each.
    #[inline(never)]
    fn settle_from<F: Frames + ?Sized, const SERVES: bool, const MIXED: bool>(
        &mut self,
        (origin, ready): (u16, bool),
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
            fragments: &self.fragments,
            lines: shard.view(),
            machine: self.machine,
        };
        let found = if MIXED {
            read_mixed::<F, SERVES>(&reader, origin, (lanes, &mut firsts), frames, count)
        } else {
            read_all::<F, SERVES>(&reader, (lanes, &mut firsts), frames, count, ready)
        };
        let settler =
            Settler::of::<SERVES>(&self.tables, &self.trails, &self.counters[self.worker.index()], shard);
        let others = found.others;
        let mut settled = if found.apart == all(count) {
            // A burst of SYNs, or of fragments.
            Settled { left: found.apart, ..Settled::default() }
        } else {
            let settler = &settler;
            let pass =
                SettleAll::<F, SERVES, MIXED> { settler, lanes, firsts: &firsts, frames, count, others };
            let mut settled = self.machine.run(pass);
            if settled.second | settled.stale != 0 {
                settled.left |= settled.second & found.apart;
                settled.second &= !found.apart;
                settle_late::<F, SERVES>(settler, lanes, frames, &mut settled);
            }
            settled
        };
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
        // Frames of several origins would overtake each other.
        if settled.left != 0 && others == 0 {
            self.go_on::<F, SERVES>(origin, now, frames, &found, &mut settled);
        }
        let left_over = settled.left;
        settled.exits.tell(all(count) & !others & !left_over, count, verdicts);
        *left = Left { frames: left_over, untrodden: found.untrodden, known: left_over & !found.peculiar };
        others
    }

    /// The next steps of handshakes, and flows that are opened, among what is left of frames of one origin.
    #[inline(always)]
    fn go_on<F: Frames + ?Sized, const SERVES: bool>(
        &mut self,
        origin: u16,
        now: Instant,
        frames: &mut F,
        found: &Found,
        settled: &mut Settled,
    ) {
        let ahead = ahead_of(found.peculiar, settled.left);
        if ahead == 0 {
            return;
        }
        let how = (PortId(origin as u8), !SERVES && found.apart & ahead != 0);
        let sent = self.proceed::<F, SERVES>(now, how, frames, ahead, &mut settled.exits);
        settled.left &= !sent.frames;
        let counters = self.counters[self.worker.index()].counting();
        for i in bits(sent.frames).map(|i| i & (BURST - 1)) {
            let (router, bytes) = (self.lanes.course[i].router(), u64::from(frames.look(i).len));
            if SERVES {
                counters.router_out(router, 1, bytes);
            } else {
                counters.router_in(router, 1, bytes);
            }
        }
    }
}

/// The first look at each frame.
fn admit_all<F: Frames + ?Sized>(frames: &mut F, count: usize) {
    for i in 0..count {
        frames.admit(i);
    }
}

/// The first pass over frames of one origin.
#[inline(always)]
fn read_all<'a, F: Frames + ?Sized, const SERVES: bool>(
    reader: &Reader<'a, SERVES>,
    (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
    frames: &mut F,
    count: usize,
    ready: bool,
) -> Found {
    // The others are mostly as the first is: that is read in line, and what is not by a call.
    let first = frames.look(0);
    if PlainTcp::read(first.data, first.len).is_none() {
        let lanes = (lanes, firsts);
        return if UntaggedV4::is(first.data) {
            read_others::<F, UntaggedV4, SERVES>(reader, lanes, frames, count, ready)
        } else if UntaggedV6::is(first.data) {
            read_others::<F, UntaggedV6, SERVES>(reader, lanes, frames, count, ready)
        } else {
            read_others::<F, Tagged, SERVES>(reader, lanes, frames, count, ready)
        };
    }
    let (mut found, mut last) = (Found::default(), Last::default());
    for i in 0..count {
        let frame = if ready { frames.look(i) } else { frames.admit(i) };
        if !reader.read(&frame, (lanes, firsts), i, &mut found) {
            reader.read_on(frame, (lanes, firsts), i, &mut found, &mut last);
        }
    }
    found
}

/// The same where the first is of another kind than the plainest, but of this outline.
#[inline(always)]
fn read_others<'a, F: Frames + ?Sized, O: Outline, const SERVES: bool>(
    reader: &Reader<'a, SERVES>,
    (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
    frames: &mut F,
    count: usize,
    ready: bool,
) -> Found {
    let outline = core::marker::PhantomData::<O>;
    reader.machine.run(ReadOthers { reader, lanes, firsts, frames, count, ready, outline })
}

/// See [`read_others`].
struct ReadOthers<'r, 'a, F: ?Sized, O, const SERVES: bool> {
    reader: &'r Reader<'a, SERVES>,
    lanes: &'r mut Lanes,
    firsts: &'r mut Firsts<'a>,
    frames: &'r mut F,
    count: usize,
    ready: bool,
    outline: core::marker::PhantomData<O>,
}

impl<F: Frames + ?Sized, O: Outline, const SERVES: bool> Work for ReadOthers<'_, '_, F, O, SERVES> {
    type Done = Found;

    #[inline(always)]
    fn run(self, _: impl Instructions) -> Found {
        let Self { reader, lanes, firsts, frames, count, ready, .. } = self;
        let mut found = Found { peculiar: all(count), ..Found::default() };
        let mut last = Last::default();
        for i in 0..count {
            let frame = if ready { frames.look(i) } else { frames.admit(i) };
            if !reader.read_other::<O>(&frame, (lanes, firsts), i, &mut found, &mut last) {
                reader.read_on(frame, (lanes, firsts), i, &mut found, &mut last);
            }
        }
        found
    }
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
    let (mut found, mut last) = (Found::default(), Last::default());
    for i in 0..count {
        if frames.head(i).origin() != origin {
            found.others |= 1 << i;
            continue;
        }
        let frame = frames.look(i);
        if !reader.read(&frame, (lanes, firsts), i, &mut found) {
            reader.read_on(frame, (lanes, firsts), i, &mut found, &mut last);
        }
    }
    found
}

/// The second pass, by what flows' first lines know of them; not over the frames of `others`.
struct SettleAll<'r, 'a, F: ?Sized, const SERVES: bool, const MIXED: bool> {
    settler: &'r Settler<'a>,
    lanes: &'r mut Lanes,
    firsts: &'r Firsts<'a>,
    frames: &'r mut F,
    count: usize,
    others: u32,
}

impl<F: Frames + ?Sized, const SERVES: bool, const MIXED: bool> Work for SettleAll<'_, '_, F, SERVES, MIXED> {
    type Done = Settled;

    #[inline(always)]
    fn run(self, instructions: impl Instructions) -> Settled {
        let Self { settler, lanes, firsts, frames, count, others } = self;
        let (settler, mut settled) = (*settler, Settled::default());
        for (i, first) in firsts[..count.min(BURST)].iter().enumerate() {
            if MIXED && others >> i & 1 != 0 {
                continue;
            }
            let Some((at, entry)) = first.look_by(instructions, &lanes.hash[i]) else {
                settler.shard.view().second(lanes.hash[i]).prefetch();
                put_aside(&mut settled.second, i);
                continue;
            };
            let Some(exit) = settler.settle::<F, SERVES>(lanes, (at, entry), frames, i) else {
                put_aside(if SERVES { &mut settled.stale } else { &mut settled.left }, i);
                continue;
            };
            settled.note(i, exit, at, SERVES && lanes.data_len[i] != 0, lanes, settler.shard);
        }
        settled
    }
}

/// Frame `i` is not settled by what the second pass sees of it at once. A call, so that the sets stay out of
/// the registers, of which the pass has none to spare.
#[cold]
#[inline(never)]
fn put_aside(set: &mut u32, i: usize) {
    *set |= 1 << i;
}

/// What is in its second line, or a server's that is to be stamped first.
#[inline(always)]
fn settle_late<F: Frames + ?Sized, const SERVES: bool>(
    settler: &Settler<'_>,
    lanes: &mut Lanes,
    frames: &mut F,
    settled: &mut Settled,
) {
    let shard = settler.shard;
    let (second, mut stale) = (settled.second, settled.stale);
    for i in bits(second).map(|i| i & (BURST - 1)) {
        match shard.view().second(lanes.hash[i]).look(&lanes.hash[i]) {
            Some((at, entry)) => match settler.settle::<F, SERVES>(lanes, (at, entry), frames, i) {
                Some(exit) => settled.note(i, exit, at, SERVES && lanes.data_len[i] != 0, lanes, shard),
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
        if let Some((at, entry)) = shard.view().look_for(lanes.hash[i])
            && settler.stamp_lane::<SERVES>(lanes, at, entry, i)
            && let stamped = (at, entry.at(settler.tick))
            && let Some(exit) = settler.settle::<F, SERVES>(lanes, stamped, frames, i)
        {
            settled.note(i, exit, at, SERVES && lanes.data_len[i] != 0, lanes, shard);
        } else {
            settled.left |= 1 << i;
        }
    }
}
