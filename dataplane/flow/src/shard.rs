//! One worker's flows.

use crate::table::{Cold, Lines, Table};
use crate::{CLUSTERS_MAX, Entry, FlowKey, Instant, STATES, State, TARGETS_MAX, TargetId};
use core::time::Duration;
use dataplane_cpu::NoMemory;

/// Time-outs in seconds, by cluster number and state.
pub type Timeouts = [[u16; STATES]];

/// A flow's place in the shard. Valid until the next insertion, promotion or ageing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Slot(pub(crate) u32);

const PROVISIONAL: u32 = 1 << 31;

/// In the cold half's sixth word: the sequence number is known; above it the resets sent, and when.
const SEQUENCE_KNOWN: u64 = 1 << 32;
const RESETS_AT: u32 = 33;
const RESET_SECOND_AT: u32 = 48;

/// An entry that is idle for this long may make room for one of equal worth.
const IDLE_YIELDS_S: u16 = 60;

/// Every entry is looked at once in this many seconds: with what a stamp leaves open, none is kept for more than ten
/// seconds after its time-out.
const SWEEP_S: u64 = 7;

/// The longest pause between two calls of [`Shard::age`], where a worker has nothing to do, with which all lines are looked at
/// in 10 s: 0.5 to 8 ms.
pub fn pause_max(flows_max: u32) -> Duration {
    // At most a line for each flow: there are four places in one. What else is due in a turn is so every 10 ms.
    let pause = Duration::from_secs(10) * Shard::AGED_MAX as u32 / flows_max.max(1);
    pause.clamp(Duration::from_micros(500), Duration::from_millis(8))
}

/// Where and when a flow began.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Beginning {
    /// What [`Shard::via`] gives.
    pub via: (u64, u8),
    /// What [`Shard::stamp`] gives.
    pub at_us: u32,
}

/// One worker's flows: a main part, and a small provisional part for handshakes and for mid-flow
/// segments that no server has answered. Memory: 80 bytes a place, of which there are 1.25 for each flow
/// (100 bytes a flow, 20 of them hot), and an eighth of that again.
#[derive(Debug)]
pub struct Shard {
    main: Table,
    provisional: Table,
    open: Box<[u32]>,
    sweep_at: usize,
    sweep_last: Instant,
    tick: u16,
    seconds: u32,
    evicted: u64,
}

impl Shard {
    /// Lines that one call of [`Shard::age`] looks at, at most.
    pub const AGED_MAX: usize = 512;

    /// Room for `flows_max` flows, and an eighth of that (at least 1,024) for provisional ones.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn new(flows_max: usize) -> Result<Self, NoMemory> {
        Ok(Self {
            main: Table::new(flows_max)?,
            provisional: Table::new((flows_max / 8).max(1024))?,
            open: vec![0; TARGETS_MAX].into_boxed_slice(),
            sweep_at: 0,
            sweep_last: Instant::default(),
            tick: 0,
            seconds: 0,
            evicted: 0,
        })
    }

    /// Sets the second that entries are stamped with. Once per burst.
    #[inline]
    pub fn set_now(&mut self, now: Instant) {
        self.seconds = (now.0 / 1_000_000_000) as u32;
        self.tick = self.seconds as u16;
    }

    /// The current second, modulo 2^16.
    #[inline(always)]
    pub fn tick(&self) -> u16 {
        self.tick
    }

    /// The main part's lines, for look-ups of whole bursts.
    #[inline(always)]
    pub fn view(&self) -> Lines<'_> {
        self.main.view()
    }

    /// Asks for the lines that `hash` is looked for in first, in either part.
    pub fn prefetch_firsts(&self, hash: u64) {
        self.main.view().first(hash).prefetch();
        self.provisional.view().first(hash).prefetch();
    }

    /// Asks for the line that `hash` is looked for in first in the provisional part.
    #[inline(always)]
    pub fn prefetch_provisional(&self, hash: u64) {
        self.provisional.view().first(hash).prefetch();
    }

    /// The same, into the second-level cache.
    #[inline(always)]
    pub fn prefetch_provisional_l2(&self, hash: u64) {
        self.provisional.view().first(hash).prefetch_l2();
    }

    /// Asks for what these lines, having come, show to be needed besides: of a segment that `opens` a flow, or
    /// of any other packet.
    #[inline(always)]
    pub fn prefetch_rest(&self, hash: u64, opens: bool) {
        self.main.view().prefetch_rest(hash);
        if opens {
            self.provisional.prefetch_vacancy(hash);
        } else if let Some((place, _)) = self.provisional.view().first(hash).look(&hash) {
            // It is going to leave, mostly.
            self.provisional.prefetch_cold(self.provisional.view().slot(place).0 as usize);
            self.main.prefetch_vacancy(hash);
        }
    }

    /// Asks for the cold half of an entry of the main part.
    #[inline(always)]
    pub fn prefetch_cold(&self, slot: Slot) {
        self.main.prefetch_cold(slot.0 as usize);
    }

    /// Looks everywhere.
    #[inline]
    pub fn find(&self, hash: u64) -> Option<Slot> {
        let main = self.main.view().look(hash);
        main.or_else(|| self.provisional.view().look(hash).map(|slot| Slot(slot.0 | PROVISIONAL)))
    }

    #[inline(always)]
    fn part(&self, slot: Slot) -> (&Table, usize) {
        let index = (slot.0 & !PROVISIONAL) as usize;
        if slot.0 & PROVISIONAL == 0 { (&self.main, index) } else { (&self.provisional, index) }
    }

    #[inline(always)]
    fn part_mut(&mut self, slot: Slot) -> (&mut Table, usize) {
        let index = (slot.0 & !PROVISIONAL) as usize;
        if slot.0 & PROVISIONAL == 0 { (&mut self.main, index) } else { (&mut self.provisional, index) }
    }

    /// The entry.
    #[inline(always)]
    pub fn entry(&self, slot: Slot) -> Entry {
        let (table, index) = self.part(slot);
        table.entry(index)
    }

    /// Whether nothing has been seen of the entry for longer than its state allows.
    #[inline]
    pub fn is_expired(&self, entry: Entry, timeouts: &Timeouts) -> bool {
        // Most were stamped in this second: their time-outs are not looked up.
        if entry.tick() == self.tick {
            return false;
        }
        let timeout = timeouts[usize::from(entry.cluster().0) & (CLUSTERS_MAX - 1)][entry.state() as usize];
        entry.idle(self.tick) > timeout
    }

    /// Stamps the entry with the current second.
    #[inline(always)]
    pub fn touch(&mut self, slot: Slot, entry: Entry) {
        let tick = self.tick;
        let (table, index) = self.part_mut(slot);
        table.set(index, entry.at(tick));
    }

    fn count(&mut self, entry: Entry, by: u32) {
        if entry.state().is_open()
            && let Some(open) = self.open.get_mut(entry.target().index())
        {
            *open = open.wrapping_add(by);
        }
    }

    /// Replaces the entry by one that belongs into the same part, stamped with the current second.
    pub fn set(&mut self, slot: Slot, entry: Entry) {
        self.count(self.entry(slot), u32::MAX);
        self.count(entry, 1);
        self.touch(slot, entry);
    }

    /// Forgets the entry.
    pub fn remove(&mut self, slot: Slot) {
        self.count(self.entry(slot), u32::MAX);
        let (table, index) = self.part_mut(slot);
        table.remove(index);
    }

    /// Writes a new entry, whose `hash` must not be in the shard. It goes into the part that its state
    /// belongs to. `None` when that is full of entries that are worth more: the caller then goes by
    /// hash. `gently`: only into an empty or expired place.
    pub fn insert(
        &mut self,
        hash: u64,
        key: &FlowKey,
        entry: Entry,
        timeouts: &Timeouts,
        gently: bool,
    ) -> Option<Slot> {
        self.insert_from(hash, key, entry, Beginning::default(), timeouts, gently)
    }

    /// The same with what is known of the flow's beginning.
    pub fn insert_from(
        &mut self,
        hash: u64,
        key: &FlowKey,
        entry: Entry,
        beginning: Beginning,
        timeouts: &Timeouts,
        gently: bool,
    ) -> Option<Slot> {
        self.place(hash, entry.at(self.tick), self.cold(key, beginning), timeouts, gently)
    }

    /// The same where there is an empty place, and else nothing. `hash` must not be in the shard.
    #[inline(always)]
    pub fn insert_into_vacancy(
        &mut self,
        hash: u64,
        key: &FlowKey,
        entry: Entry,
        beginning: Beginning,
    ) -> Option<Slot> {
        let mark = mark_of(entry);
        let index = self.part(Slot(mark)).0.vacancy(hash)?;
        let cold = self.cold(key, beginning);
        Some(self.fill(mark, index, hash, entry.at(self.tick), cold))
    }

    #[inline(always)]
    fn cold(&self, key: &FlowKey, Beginning { via: (mac, port), at_us }: Beginning) -> Cold {
        let [a, b, c] = key.words();
        [a, b, c, u64::from(self.seconds), u64::from(at_us) << 32, 0, via_word(mac, port), 0]
    }

    /// Writes an entry to a place that is empty.
    #[inline(always)]
    fn fill(&mut self, mark: u32, index: usize, hash: u64, entry: Entry, cold: Cold) -> Slot {
        self.count(entry, 1);
        self.part_mut(Slot(mark)).0.fill(index, hash, entry, cold);
        Slot(index as u32 | mark)
    }

    fn place(
        &mut self,
        hash: u64,
        entry: Entry,
        cold: Cold,
        timeouts: &Timeouts,
        gently: bool,
    ) -> Option<Slot> {
        let mark = mark_of(entry);
        let part = self.part_mut(Slot(mark)).0;
        // Handshakes come and go: no work is done to pack them closely, least of all in a flood.
        let free = part.vacancy(hash).or_else(|| if mark == 0 { part.make_room(hash) } else { None });
        let index = match free {
            Some(index) => index,
            None => {
                let part = self.part(Slot(mark)).0;
                let (victim, worth) = if gently {
                    (part.first_of(hash, |other| self.is_expired(other, timeouts))?, 0)
                } else {
                    part.victim(hash, |other| self.worth(other, timeouts))
                };
                if worth >= self.limit(entry) {
                    return None;
                }
                self.evicted += u64::from(worth > 0);
                self.remove(Slot(victim as u32 | mark));
                victim
            }
        };
        Some(self.fill(mark, index, hash, entry, cold))
    }

    /// Expired: 0. Else by worth, and among equals the one that is idle longest is worth least.
    #[inline(always)]
    fn worth(&self, entry: Entry, timeouts: &Timeouts) -> u32 {
        if self.is_expired(entry, timeouts) {
            return 0;
        }
        let idle = entry.idle(self.tick);
        (u32::from(entry.state().worth()) + 1) << 16 | u32::from(u16::MAX - idle)
    }

    /// What a victim must be worth less than to make room for `entry`: less in kind, or equal in
    /// kind and idle. Handshakes among themselves yield at once, or a flood would keep them out.
    fn limit(&self, entry: Entry) -> u32 {
        let idle = if entry.state().is_provisional() { 0 } else { IDLE_YIELDS_S };
        (u32::from(entry.state().worth()) + 1) << 16 | u32::from(u16::MAX - idle)
    }

    /// Moves an entry from the provisional to the main part in the given (not provisional) state, or
    /// changes it in place when it is there already. `None` when the main part is full of entries
    /// that are worth more; the provisional entry then stays as it was.
    pub fn promote(&mut self, slot: Slot, entry: Entry, timeouts: &Timeouts) -> Option<Slot> {
        if slot.0 & PROVISIONAL == 0 {
            self.set(slot, entry);
            return Some(slot);
        }
        let (table, index) = self.part(slot);
        let (hash, cold) = (table.hash(index), *table.cold(index));
        let placed = self.place(hash, entry.at(self.tick), cold, timeouts, false)?;
        self.remove(slot);
        Some(placed)
    }

    /// The key.
    pub fn key(&self, slot: Slot) -> FlowKey {
        let (table, index) = self.part(slot);
        let cold = table.cold(index);
        FlowKey::from_words([cold[0], cold[1], cold[2]])
    }

    /// The sequence number that the client acknowledges the server's SYN+ACK with (E1).
    pub fn expected_ack(&self, slot: Slot) -> u32 {
        let (table, index) = self.part(slot);
        (table.cold(index)[3] >> 32) as u32
    }

    /// Remembers what [`Self::expected_ack`] gives.
    pub fn set_expected_ack(&mut self, slot: Slot, ack: u32) {
        let (table, index) = self.part_mut(slot);
        let word = &mut table.cold_mut(index)[3];
        *word = *word & 0xffff_ffff | u64::from(ack) << 32;
    }

    /// How many servers have refused the mid-flow segment (FS-7a).
    pub fn attempts(&self, slot: Slot) -> u32 {
        let (table, index) = self.part(slot);
        table.cold(index)[4] as u32
    }

    /// Remembers what [`Self::attempts`] gives.
    pub fn set_attempts(&mut self, slot: Slot, attempts: u32) {
        let (table, index) = self.part_mut(slot);
        let word = &mut table.cold_mut(index)[4];
        *word = *word & !0xffff_ffff | u64::from(attempts);
    }

    /// When the flow's SYN was seen, then its request: microseconds, modulo 2^32 (71 minutes).
    pub fn stamp(&self, slot: Slot) -> u32 {
        let (table, index) = self.part(slot);
        (table.cold(index)[4] >> 32) as u32
    }

    /// Remembers what [`Self::stamp`] gives.
    pub fn set_stamp(&mut self, slot: Slot, us: u32) {
        let (table, index) = self.part_mut(slot);
        let word = &mut table.cold_mut(index)[4];
        *word = *word & 0xffff_ffff | u64::from(us) << 32;
    }

    /// The sequence number behind all that the server has sent, if it has sent anything.
    pub fn sequence(&self, slot: Slot) -> Option<u32> {
        let (table, index) = self.part(slot);
        let word = table.cold(index)[5];
        (word & SEQUENCE_KNOWN != 0).then_some(word as u32)
    }

    /// The server has sent what `next` comes behind; what is not later than the latest changes nothing
    /// (compared as RFC 1982 §3.2 does).
    #[inline(always)]
    pub fn note_sequence(&mut self, slot: Slot, next: u32) {
        let (table, index) = self.part_mut(slot);
        let word = &mut table.cold_mut(index)[5];
        if *word & SEQUENCE_KNOWN == 0 || (next.wrapping_sub(*word as u32) as i32) > 0 {
            *word = *word & !0xffff_ffff | SEQUENCE_KNOWN | u64::from(next);
        }
    }

    /// How many resets the client was sent for its dead server, at most 3 (FS-10), and the second, modulo
    /// 2^16, of the last one.
    pub fn resets(&self, slot: Slot) -> (u8, u16) {
        let (table, index) = self.part(slot);
        let word = table.cold(index)[5];
        ((word >> RESETS_AT) as u8 & 3, (word >> RESET_SECOND_AT) as u16)
    }

    /// Remembers what [`Self::resets`] gives, in this second.
    pub fn set_resets(&mut self, slot: Slot, resets: u8) {
        let second = u64::from(self.tick) << RESET_SECOND_AT;
        let (table, index) = self.part_mut(slot);
        let word = &mut table.cold_mut(index)[5];
        *word = *word & ((1 << RESETS_AT) - 1) | u64::from(resets.min(3)) << RESETS_AT | second;
    }

    /// Where the client's frames come from: (MAC as a number, port); a MAC of 0: unknown.
    pub fn via(&self, slot: Slot) -> (u64, u8) {
        let (table, index) = self.part(slot);
        let word = table.cold(index)[6];
        (word & 0xffff_ffff_ffff, (word >> 48) as u8)
    }

    /// Remembers what [`Self::via`] gives.
    pub fn set_via(&mut self, slot: Slot, mac: u64, port: u8) {
        let (table, index) = self.part_mut(slot);
        table.cold_mut(index)[6] = via_word(mac, port);
    }

    /// Open flows of a target in this shard.
    #[inline]
    pub fn open(&self, target: TargetId) -> u32 {
        self.open.get(target.index()).copied().unwrap_or(0)
    }

    /// Entries in use.
    pub fn used(&self) -> usize {
        self.main.used() + self.provisional.used()
    }

    /// Entries there is room for.
    pub fn capacity(&self) -> usize {
        self.main.capacity() + self.provisional.capacity()
    }

    /// Whether handshakes press: the provisional part is full to `fill` of 255.
    pub fn presses(&self, fill: u8) -> bool {
        self.provisional.used() * 255 >= usize::from(fill) * self.provisional.capacity()
    }

    /// Live entries that had to make room for others.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Looks at the next lines and forgets what has expired: the whole shard in 7 s, however long
    /// the pauses between calls, but at most [`Self::AGED_MAX`] lines a call. Time-outs shrink as the main part
    /// fills beyond half, to a tenth when it is full (FS-7, E4).
    pub fn age(&mut self, now: Instant, timeouts: &Timeouts) {
        let lines = self.main.lines() + self.provisional.lines();
        let line_ns = SWEEP_S * 1_000_000_000 / lines as u64;
        let due = now.since(self.sweep_last) / line_ns.max(1);
        if due == 0 {
            return;
        }
        let done = due.min(Self::AGED_MAX as u64);
        // What is left over is caught up with by the next calls, but never more than one sweep.
        self.sweep_last.0 =
            (self.sweep_last.0 + done * line_ns).max(now.0.saturating_sub(SWEEP_S * 1_000_000_000));
        let scale = self.scale();
        for _ in 0..done {
            let line = self.sweep_at;
            self.sweep_at = if line + 1 == lines { 0 } else { line + 1 };
            let (mark, line) =
                if line < self.main.lines() { (0, line) } else { (PROVISIONAL, line - self.main.lines()) };
            for index in self.part(Slot(mark)).0.occupied(line) {
                let slot = Slot(index as u32 | mark);
                let entry = self.entry(slot);
                let timeout =
                    timeouts[usize::from(entry.cluster().0) & (CLUSTERS_MAX - 1)][entry.state() as usize];
                let idle = entry.idle(self.tick);
                if u32::from(idle) * 256 > u32::from(timeout) * scale {
                    self.remove(slot);
                }
            }
        }
    }

    /// 256 while the main part is at most half full, falling to 26 when it is full.
    fn scale(&self) -> u32 {
        let fill = (self.main.used() * 256 / self.main.capacity()) as u32;
        256 - fill.saturating_sub(128).min(128) * 230 / 128
    }

    /// The lines of both parts.
    pub fn lines(&self) -> usize {
        self.main.lines() + self.provisional.lines()
    }

    /// The slots in use of line `line` (below [`Self::lines`]), for a walk that changes entries.
    pub fn line(&self, line: usize) -> impl Iterator<Item = Slot> + use<> {
        let (table, mark, line) = if line < self.main.lines() {
            (&self.main, 0, line)
        } else {
            (&self.provisional, PROVISIONAL, line - self.main.lines())
        };
        table.occupied(line).map(move |index| Slot(index as u32 | mark))
    }

    /// Walks over entries from line `from`; calls `row` with (key, entry, seconds idle, seconds old)
    /// for every entry of at most `lines` lines. The line to go on from, `None` at the end.
    pub fn walk(
        &self,
        from: usize,
        lines: usize,
        mut row: impl FnMut(FlowKey, Entry, u32, u32),
    ) -> Option<usize> {
        let all = self.main.lines() + self.provisional.lines();
        let to = (from + lines).min(all);
        for line in from..to {
            let (table, line) = if line < self.main.lines() {
                (&self.main, line)
            } else {
                (&self.provisional, line - self.main.lines())
            };
            for slot in table.occupied(line) {
                let (entry, cold) = (table.entry(slot), table.cold(slot));
                let idle = u32::from(entry.idle(self.tick));
                let key = FlowKey::from_words([cold[0], cold[1], cold[2]]);
                row(key, entry, idle, self.seconds.wrapping_sub(cold[3] as u32));
            }
        }
        (to < all).then_some(to)
    }

    /// The second since start in which the entry was made.
    pub fn made_at_s(&self, slot: Slot) -> u32 {
        let (table, index) = self.part(slot);
        table.cold(index)[3] as u32
    }

    /// Whether a state's entries are in the provisional part.
    pub fn is_provisional(&self, slot: Slot) -> bool {
        slot.0 & PROVISIONAL != 0
    }

    /// The state that a slot's entry is in.
    pub fn state(&self, slot: Slot) -> State {
        self.entry(slot).state()
    }
}

/// The part that an entry belongs to.
#[inline(always)]
fn mark_of(entry: Entry) -> u32 {
    if entry.state().is_provisional() { PROVISIONAL } else { 0 }
}

#[inline(always)]
fn via_word(mac: u64, port: u8) -> u64 {
    mac & 0xffff_ffff_ffff | u64::from(port) << 48
}

#[cfg(test)]
mod tests;
