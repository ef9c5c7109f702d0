//! Bursts whose frames all go along one trail, as nearly all do: TCP in untagged IPv4, no frame apart from the
//! others until its flow is known.
//!
//! Three passes, each straight on: the frames are lent and compared with what the trail asks for, their flows are
//! hashed and asked for, and they go where the flows' entries lead. What is wrong with any frame shows at the end of
//! a pass; the burst is then left to [`crate::burst`], which looks at each. Flows that begin are opened then
//! ([`crate::opening`]), and handshakes go on ([`crate::shaking`]).

use crate::Engine;
use crate::burst::{Exits, Left, all, bits};
use crate::counters::Counting;
use crate::door::{Door, Doors};
use crate::opening::{Sent, ahead_of};
use crate::read::{Found, Lanes, NO_FLOW, Reader};
use crate::trail::Trail;
use dataplane_cpu::{Differences, Instructions, Work, by_twos};
use dataplane_flow::{CLUSTERS_MAX, Entry, Instant, Line, Place, Resting, Shard, State};
use dataplane_port::{BURST, Frames, PortId, Verdicts, Whole};
use dataplane_wire::{CHECKSUM_GOOD_BELOW, PlainTcp, TcpLengths};

/// What became of a burst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tried {
    /// It is settled, but for what is left.
    Settled,
    /// Its frames are not alike. They are admitted.
    Admitted,
    /// It is nothing for this file.
    Not,
}

/// Where a frame goes, given its flow's entry.
#[derive(Clone, Copy)]
struct Together<'a> {
    doors: &'a Doors,
    counters: Counting<'a>,
    /// The frames' trail.
    trail: &'a Trail,
    /// A server's frames: where they leave.
    exit: PortId,
    /// A client's: where they can.
    exits: u64,
    tick: u16,
    /// What an entry is that nothing is to be done with,
    settled: Resting,
    /// and one that only has to be stamped, if it has not been idle for longer than this, in seconds.
    resting: Resting,
    timeout_s: u16,
    /// What [`PlainTcp::source_station`] and a server's door differ in, if the frame is from that server.
    station_to_door: u64,
    /// A client's frames: what [`Door::write_before`] wants.
    source: u64,
}

impl Together<'_> {
    /// Sends a frame of `len` bytes where its entry leads, if nothing else is to be done but to stamp that. `note` is
    /// told where a client's leaves.
    #[inline(always)]
    fn settle<const SERVES: bool>(
        &self,
        (at, entry): (Place<'_>, Entry),
        start: &mut [u8; PlainTcp::LEN],
        len: u16,
        note: impl FnOnce(PortId),
    ) -> Option<()> {
        let door = self.doors.of(entry.target());
        let exit = self.goes::<SERVES>(door, start)?;
        if SERVES && cfg!(flowswitch_unobserved) {
            // A build for comparison alone: what looking at servers' packets costs (P4).
            return Some(());
        }
        if !entry.is_at(self.settled) {
            if !entry.is_at(self.resting) || entry.idle(self.tick) > self.timeout_s {
                core::hint::cold_path();
                return None;
            }
            at.stamp(entry, self.tick);
        }
        let counters = self.counters;
        if SERVES {
            counters.server_out(entry.target(), len.into());
        } else {
            // Before the others: it is in the register that the door is in.
            note(exit);
            door.write_before(self.source, start.first_chunk_mut()?);
            counters.server_in(entry.target(), len.into());
        }
        Some(())
    }

    /// Where a frame leaves, if it is from the server of this door, or can go there.
    #[inline(always)]
    fn goes<const SERVES: bool>(&self, door: Door, start: &[u8; PlainTcp::LEN]) -> Option<PortId> {
        if SERVES {
            // One that flows do not go to has no door, and this is not it: `decide` knows more.
            let is_sender = door.bits() ^ PlainTcp::of(start).source_station() == self.station_to_door;
            is_sender.then_some(self.exit)
        } else {
            door.leads_out(self.exits)
        }
    }
}

/// What the passes have come to: sets of frames, a bit for each.
#[derive(Debug)]
struct Passed {
    count: usize,
    /// Not settled.
    left: u32,
    /// Bytes of these.
    left_bytes: u64,
    /// Where the others leave.
    exits: Exits,
}

impl Passed {
    /// These are sent.
    fn take(&mut self, sent: Sent) {
        self.left &= !sent.frames;
        self.left_bytes = self.left_bytes.saturating_sub(sent.bytes);
    }
}

impl Engine {
    /// Settles a burst of this origin, if its frames are alike.
    #[inline(never)]
    pub(crate) fn settle_alike<F: Frames + ?Sized, const SERVES: bool>(
        &mut self,
        origin: u16,
        now: Instant,
        frames: &mut F,
        verdicts: &mut Verdicts,
        left: &mut Left,
    ) -> Tried {
        let (lanes, shard) = (&mut *self.lanes, &self.shard);
        let reader = Reader::<'_, SERVES> {
            trails: self.trails.from(origin),
            table_key: self.table_key,
            shard,
            fragments: &self.fragments,
            lines: shard.view(),
            machine: self.machine,
        };
        let first = frames.look(0).data.first_chunk();
        let like = first.and_then(|bytes| {
            reader.trails.find_tcp::<SERVES>(bytes).map(|found| (found, PlainTcp::of(bytes)))
        });
        let Some(((place, trail), tcp)) = like else { return Tried::Not };
        let (below_source, source) = (tcp.source_station() & 0xffff, tcp.source_start());
        if tells_apart::<F, SERVES>(trail, frames) {
            return Tried::Not;
        }
        let counters = self.counters[self.worker.index()].counting();
        let (course, tick) = (trail.course, shard.tick());
        let timeouts = &self.tables.timeouts[usize::from(trail.cluster().0) & (CLUSTERS_MAX - 1)];
        let together = Together {
            doors: &self.tables.doors,
            counters,
            trail,
            exit: course.exit(),
            exits: trail.exits,
            tick,
            settled: Resting::new(tick, SERVES),
            // Where a client's binding is stamped with a flow, that is another one's to do.
            resting: if course.stamps() { Resting::ever(SERVES) } else { Resting::new(tick, SERVES) },
            // TCP that rests is established.
            timeout_s: timeouts[State::Established as usize],
            station_to_door: below_source ^ u64::from(origin as u8),
            source,
        };
        let mut found = Found::default();
        let passes = Passes { reader: &reader, together: &together, lanes, frames, found: &mut found };
        let mut passed = match reader.machine.run(passes) {
            Ok(passed) => passed,
            Err(tried) => return tried,
        };
        if passed.left != 0 {
            for i in bits(passed.left) {
                if SERVES {
                    reader.retrace(&frames.look(i), lanes, i, &mut found);
                } else {
                    lanes.trail[i & (BURST - 1)] = place;
                }
            }
            // What flow untrodden ones are of is not known.
            let ahead = ahead_of(found.untrodden, passed.left);
            let how = (PortId(origin as u8), !SERVES && found.apart != 0);
            let sent = self.proceed::<F, SERVES>(now, how, frames, ahead, &mut passed.exits);
            passed.take(sent);
        }
        let settled = all(passed.count) & !passed.left;
        passed.exits.tell(settled, passed.count, verdicts);
        if cfg!(flowswitch_unobserved) && SERVES {
            // A build for comparison alone, as above.
        } else if settled != 0 {
            let counters = self.counters[self.worker.index()].counting();
            let (sent, bytes) =
                (u64::from(settled.count_ones()), frames.bytes_admitted() - passed.left_bytes);
            if SERVES {
                counters.router_out(course.router(), sent, bytes);
                self.note_data(settled);
            } else {
                counters.router_in(course.router(), sent, bytes);
            }
        }
        let known = passed.left & !found.peculiar;
        *left = Left { frames: passed.left, untrodden: found.untrodden, known };
        Tried::Settled
    }

    /// How far servers' data of `settled` frames (a bit for each) has come.
    #[inline(always)]
    fn note_data(&mut self, settled: u32) {
        let lanes = &self.lanes;
        if lanes.data_len.iter().fold(0, |all, len| all | len) != 0 {
            for i in bits(settled).map(|i| i & (BURST - 1)).filter(|i| lanes.data_len[*i] != 0) {
                self.shard.note_sequence(lanes.slot[i], lanes.next[i]);
            }
        }
    }
}

/// Whether the second frame shows already that they are not alike: where they are of many kinds, as it mostly does.
#[inline(always)]
fn tells_apart<F: Frames + ?Sized, const SERVES: bool>(trail: &Trail, frames: &mut F) -> bool {
    let mut differences = [Differences::none(); 2];
    if frames.count() > 1
        && let Some(second) = frames.look(1).data.first_chunk()
    {
        trail.compare(second, &mut differences);
    }
    !Trail::are_like::<SERVES>(differences)
}

/// So many flows are asked for into the first-level cache before the first of them is needed, the others into the second
/// level, which takes more at once; these come nearer one by one then. With 16 million flows 84 ticks a packet, and 91
/// where all were asked for into the first level.
const AHEAD: usize = 12;

/// What the second pass leaves to the third, an element for each frame. All of it stands together, and what is wanted
/// of it afterwards is copied to the lanes: the third pass has one register for it.
struct Flows<'f, 'a> {
    whole: Whole<'f, { PlainTcp::LEN }>,
    hash: [u64; BURST],
    /// And then some lines that nobody looks for.
    first: [Line<'a>; BURST + AHEAD],
    exits: Exits,
    /// A server's segments: bytes of data.
    data_len: [u16; BURST],
}

impl Lanes {
    /// Frame `i`, of the flow at this place, goes along; if it is a server's data of `data_len` bytes, how far it has come
    /// is remembered (FS-10).
    #[inline(always)]
    fn note_data<const SERVES: bool>(
        &mut self,
        (i, data_len): (usize, u16),
        at: Place<'_>,
        start: &[u8; PlainTcp::LEN],
        shard: &Shard,
    ) {
        let i = i & (BURST - 1);
        if SERVES && !cfg!(flowswitch_unobserved) && data_len != 0 {
            let slot = shard.view().slot(at);
            shard.prefetch_cold(slot);
            self.slot[i] = slot;
            self.next[i] = PlainTcp::of(start).next_sequence();
        }
    }
}

/// The third pass: frames go where the entries of their flows lead, as far as these are in their first lines, and
/// rest.
///
/// Work of its own, and without a call, even where few frames come: registers are what it is short of.
struct Third<'r, 'f, 'a, const SERVES: bool> {
    together: &'r Together<'r>,
    shard: &'r Shard,
    lanes: &'r mut Lanes,
    flows: &'r mut Flows<'f, 'a>,
}

impl<const SERVES: bool> Work for Third<'_, '_, '_, SERVES> {
    /// The frames that do not go, a bit for each.
    type Done = u32;

    #[inline(always)]
    fn run(self, instructions: impl Instructions) -> u32 {
        let Self { together, shard, lanes, flows } = self;
        let together = *together;
        let mut left = 0;
        let Flows { whole, hash, first, exits, data_len } = flows;
        let count = whole.starts.len().min(BURST);
        let starts = &mut whole.starts[..count];
        by_twos!(i in count, {
            'frame: {
                first[i + AHEAD].prefetch();
                let Some((at, entry)) = first[i].look_by(instructions, &hash[i]) else {
                    leave(&mut left, i);
                    // Not the same hash, which then would be in a register for this alone.
                    shard.view().second(hash[core::hint::black_box(i) & (BURST - 1)]).prefetch();
                    break 'frame;
                };
                let (start, len) = (&mut *starts[i], whole.lens[i]);
                if together.settle::<SERVES>((at, entry), start, len, |to| exits.note(i, to)).is_none() {
                    leave(&mut left, i);
                    break 'frame;
                }
                lanes.note_data::<SERVES>((i, data_len[i]), at, start, shard);
            }
        });
        left
    }
}

/// Frame `i` is left, which is rare. The set stays in memory: of one in a register the compiler makes loops in loops.
#[inline(always)]
fn leave(left: &mut u32, i: usize) {
    core::hint::cold_path();
    *core::hint::black_box(left) |= 1 << i;
}

/// The three passes.
struct Passes<'r, F: ?Sized, const SERVES: bool> {
    reader: &'r Reader<'r, SERVES>,
    together: &'r Together<'r>,
    lanes: &'r mut Lanes,
    frames: &'r mut F,
    found: &'r mut Found,
}

impl<F: Frames + ?Sized, const SERVES: bool> Work for Passes<'_, F, SERVES> {
    type Done = Result<Passed, Tried>;

    #[inline(always)]
    fn run(self, instructions: impl Instructions) -> Self::Done {
        let Self { reader, together, lanes, frames, found } = self;
        let (trail, shard, lines) = (together.trail, reader.shard, reader.lines);
        let mut flows = Flows {
            whole: Whole::default(),
            hash: [NO_FLOW; BURST],
            first: [lines.first(NO_FLOW); BURST + AHEAD],
            // Servers' frames leave by one port.
            exits: if SERVES { Exits::all_by(together.exit) } else { Exits::default() },
            data_len: [0; BURST],
        };
        let mut differences = [Differences::none(); 2];
        if !frames.whole(&mut flows.whole, |start| trail.compare(start, &mut differences)) {
            return Err(Tried::Not);
        }
        if !Trail::are_like::<SERVES>(differences) {
            return Err(Tried::Admitted);
        }
        let whole = &mut flows.whole;
        let count = whole.starts.len().min(BURST);

        let mut lengths = TcpLengths::<BURST>::default();
        let mut residues = 0;
        // Beside what is written: nothing of it has to be read again.
        let (like, table_key) = (*trail, reader.table_key);
        let vip = whole.starts.first().map_or(0, |start| PlainTcp::of(start).destination());
        let (hash, first) = (&mut flows.hash, &mut flows.first);
        let starts = &whole.starts[..count];
        for i in 0..count {
            let start = &*starts[i];
            lengths.note(i, start);
            let tcp = PlainTcp::of(start);
            residues |= tcp.checksum_residue_to(if SERVES { tcp.destination() } else { vip });
            hash[i] = like.hash::<SERVES>(&tcp, &table_key);
            first[i] = lines.first(hash[i]);
            if i < AHEAD {
                first[i].prefetch();
            } else {
                first[i].prefetch_l2();
            }
        }
        // Of a few good ones the residue is larger: they are looked at one by one.
        if residues >= CHECKSUM_GOOD_BELOW || !lengths.are_good(&whole.lens) {
            return Err(Tried::Admitted);
        }
        if lengths.has_control() {
            for (i, start) in whole.starts.iter().enumerate() {
                if PlainTcp::of(start).is_control() {
                    let i = i & (BURST - 1);
                    lanes.hash[i] = core::mem::replace(&mut flows.hash[i], NO_FLOW);
                    reader.set_apart(lanes, i, found);
                }
            }
        }

        if SERVES {
            flows.data_len = lengths.data_lens();
        }
        let mut left = all(count);
        if found.apart != left {
            left =
                reader.machine.run(Third::<'_, '_, '_, SERVES> { together, shard, lanes, flows: &mut flows });
        }
        // In its second line, or more is to be done.
        for i in bits(left & !found.apart) {
            let Some(start) = flows.whole.starts.get_mut(i) else { continue };
            let i = i & (BURST - 1);
            let hash = flows.hash[i];
            let Some((at, entry)) = lines.second(hash).look_by(instructions, &hash) else {
                shard.prefetch_provisional(hash);
                continue;
            };
            let (len, exits) = (flows.whole.lens[i], &mut flows.exits);
            if together.settle::<SERVES>((at, entry), start, len, |to| exits.note(i, to)).is_none() {
                continue;
            }
            lanes.note_data::<SERVES>((i, flows.data_len[i]), at, start, shard);
            left &= !(1 << i);
        }
        if SERVES {
            lanes.data_len = flows.data_len;
        }
        let mut left_bytes = 0;
        for i in bits(left).map(|i| i & (BURST - 1)) {
            lanes.hash[i] = flows.hash[i];
            left_bytes += u64::from(flows.whole.lens[i]);
        }
        Ok(Passed { count, left, left_bytes, exits: flows.exits })
    }
}
