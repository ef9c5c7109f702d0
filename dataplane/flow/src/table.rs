//! Lines of four entries: the memory under a [`crate::Shard`].

use crate::{Entry, Slot};
use core::cell::Cell;
use dataplane_cpu::{CacheLine, Instructions, NoMemory, Oldest, Shares, Slab, prefetch, prefetch_l2};

/// Entries in a line.
const WAYS: usize = 4;

/// A flow's cold half, a cache line:
///
/// | word | low half | high half |
/// | --- | --- | --- |
/// | 0, 1, 2 | the key | |
/// | 3 | the second it began | what its server's SYN+ACK is acknowledged with |
/// | 4 | servers tried for a mid-flow segment | when its SYN, then its request was seen (us) |
/// | 5 | the server's next sequence number | it is known (bit 0), resets sent (1, 2), in which second (16 to 31) |
/// | 6 | where its client's frames come from: MAC (48 bits), port (8) | |
/// | 7 | free | |
pub(crate) type Cold = [u64; 8];

/// A line: written through what looks at it, so that a packet stamps its flow where it found it.
type Words = CacheLine;

/// A table of two candidate lines per entry. A line is 64 bytes: four fingerprints (the whole 64-bit
/// keyed hash, 0 = empty), then four values. A look-up touches one or two lines, whatever arrives.
///
/// A line knows how many entries that would be looked for there first are in their second lines, so that a
/// look-up in vain mostly touches one line: a bit ([`Entry::SPARE`]) in each of its four values, also of
/// empty places. 15 stands for as many or more, and for good.
#[derive(Debug)]
pub(crate) struct Table {
    lines: Slab<Words>,
    cold: Slab<Cold>,
    used: usize,
}

impl Table {
    /// Room for at least `entries` at a load of 0.8.
    pub(crate) fn new(entries: usize) -> Result<Self, NoMemory> {
        let lines = entries.saturating_mul(5).div_ceil(4 * WAYS).max(16);
        Ok(Self { lines: Slab::new(lines)?, cold: Slab::new(lines * WAYS)?, used: 0 })
    }

    pub(crate) fn capacity(&self) -> usize {
        self.lines.len() * WAYS
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn lines(&self) -> usize {
        self.lines.len()
    }

    #[inline(always)]
    fn first(&self, hash: u64) -> usize {
        self.lines.shares().index(first(hash))
    }

    #[inline(always)]
    fn second(&self, hash: u64) -> usize {
        self.lines.shares().index(second(hash))
    }

    /// For look-ups.
    #[inline(always)]
    pub(crate) fn view(&self) -> Lines<'_> {
        Lines(self.lines.shares())
    }

    #[inline(always)]
    pub(crate) fn prefetch_cold(&self, slot: usize) {
        prefetch(&self.cold[slot]);
    }

    #[inline(always)]
    pub(crate) fn entry(&self, slot: usize) -> Entry {
        Entry(self.lines[slot / WAYS][WAYS + slot % WAYS].get() & !Entry::SPARE)
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, slot: usize, entry: Entry) {
        write(&self.lines[slot / WAYS][WAYS + slot % WAYS], entry);
    }

    #[inline(always)]
    pub(crate) fn hash(&self, slot: usize) -> u64 {
        self.lines[slot / WAYS][slot % WAYS].get()
    }

    pub(crate) fn cold(&self, slot: usize) -> &Cold {
        &self.cold[slot]
    }

    pub(crate) fn cold_mut(&mut self, slot: usize) -> &mut Cold {
        &mut self.cold[slot]
    }

    pub(crate) fn remove(&mut self, slot: usize) {
        self.elsewhere(slot, self.hash(slot), |n| n - 1);
        self.lines[slot / WAYS][slot % WAYS].set(0);
        self.used -= 1;
    }

    /// Writes to a slot that is empty.
    #[inline(always)]
    pub(crate) fn fill(&mut self, slot: usize, hash: u64, entry: Entry, cold: Cold) {
        debug_assert_eq!(self.hash(slot), 0, "it is empty");
        self.elsewhere(slot, hash, |n| n + 1);
        self.used += 1;
        self.lines[slot / WAYS][slot % WAYS].set(hash);
        self.set(slot, entry);
        self.cold[slot] = cold;
    }

    /// Counts an entry that comes to, or leaves, a slot that is not in its first line.
    #[inline(always)]
    fn elsewhere(&mut self, slot: usize, hash: u64, by: impl FnOnce(u8) -> u8) {
        let first = self.first(hash);
        if first != slot / WAYS {
            self.count_elsewhere(first, by);
        }
    }

    #[inline(never)]
    fn count_elsewhere(&mut self, line: usize, by: impl FnOnce(u8) -> u8) {
        let words = &self.lines[line];
        let bit = Entry::SPARE.trailing_zeros();
        let count = (0..WAYS).fold(0, |n, way| n | ((words[WAYS + way].get() >> bit & 1) as u8) << way);
        // Whoever counts down was counted.
        let count = if count == 15 { 15 } else { by(count) };
        for way in 0..WAYS {
            let word = &words[WAYS + way];
            word.set(word.get() & !Entry::SPARE | u64::from(count >> way & 1) << bit);
        }
    }

    /// The eight slots that `hash` may lie in.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (first, second) = (self.first(hash), self.second(hash));
        (0..WAYS).map(move |way| first * WAYS + way).chain((0..WAYS).map(move |way| second * WAYS + way))
    }

    /// Asks for the cold half that a new entry of `hash` would be written to, or for the line that says more. The former
    /// into the second-level cache: a burst of SYNs asks for more lines than the first one takes at a time, and then waits.
    #[inline(always)]
    pub(crate) fn prefetch_vacancy(&self, hash: u64) {
        match self.free_in(self.first(hash)) {
            Some(slot) => prefetch_l2(&self.cold[slot]),
            None => self.view().second(hash).prefetch(),
        }
    }

    #[inline(always)]
    fn free_in(&self, line: usize) -> Option<usize> {
        Line(&self.lines[line]).look(&0).map(|(place, _)| line * WAYS + place.way)
    }

    /// An empty slot for `hash`: in its first line or in its second.
    #[inline(always)]
    pub(crate) fn vacancy(&self, hash: u64) -> Option<usize> {
        self.free_in(self.first(hash)).or_else(|| self.free_in(self.second(hash)))
    }

    /// An empty slot for `hash` where [`Self::vacancy`] found none: made by moving one entry, or two in
    /// a row, to their other lines. At most 40 lines are looked at; at a load of 0.8 one insertion
    /// in 80 comes here.
    pub(crate) fn make_room(&mut self, hash: u64) -> Option<usize> {
        let (first, second) = (self.first(hash), self.second(hash));
        for slot in self.candidates(hash) {
            if self.move_away(slot) {
                return Some(slot);
            }
        }
        for slot in self.candidates(hash) {
            let other = self.other_line(slot);
            // An entry of a line that `hash` needs must not be moved into the other one.
            if other == first || other == second {
                continue;
            }
            if (0..WAYS).any(|way| self.move_away(other * WAYS + way)) {
                let moved = self.move_away(slot);
                debug_assert!(moved, "the move before has made room");
                return moved.then_some(slot);
            }
        }
        None
    }

    fn other_line(&self, slot: usize) -> usize {
        let hash = self.hash(slot);
        let (first, second) = (self.first(hash), self.second(hash));
        if slot / WAYS == first { second } else { first }
    }

    /// Moves an entry to its other line, if there is room.
    fn move_away(&mut self, slot: usize) -> bool {
        let other = self.other_line(slot);
        if other == slot / WAYS {
            return false;
        }
        let Some(free) = self.free_in(other) else {
            return false;
        };
        let (hash, entry, cold) = (self.hash(slot), self.entry(slot), self.cold[slot]);
        self.fill(free, hash, entry, cold);
        self.remove(slot);
        true
    }

    /// Among the slots that `hash` may lie in, the one that is worth least by `worth` (lower makes
    /// room first), with that worth.
    #[inline(always)]
    pub(crate) fn victim(&self, hash: u64, worth: impl Fn(Entry) -> u32) -> (usize, u32) {
        let (mut slot, mut least) = (self.first(hash) * WAYS, u32::MAX);
        for line in [self.first(hash), self.second(hash)] {
            let words = &self.lines[line];
            for way in 0..WAYS {
                let worth = worth(Entry(words[WAYS + way].get()));
                if worth < least {
                    (slot, least) = (line * WAYS + way, worth);
                }
            }
        }
        (slot, least)
    }

    /// The first among the slots that `hash` may lie in whose entry is so.
    #[inline(always)]
    pub(crate) fn first_of(&self, hash: u64, is_so: impl Fn(Entry) -> bool) -> Option<usize> {
        let of_line = |line: usize| {
            let words = &self.lines[line];
            (0..WAYS).find(|way| is_so(Entry(words[WAYS + way].get()))).map(|way| line * WAYS + way)
        };
        of_line(self.first(hash)).or_else(|| of_line(self.second(hash)))
    }

    /// Whether the word at `slot` has a part of its line's count.
    #[cfg(test)]
    pub(crate) fn leads_on_from(&self, slot: usize) -> bool {
        self.lines[slot / WAYS][WAYS + slot % WAYS].get() & Entry::SPARE != 0
    }

    /// The occupied slots of a line.
    pub(crate) fn occupied(&self, line: usize) -> impl Iterator<Item = usize> + use<> {
        let taken: [bool; WAYS] = core::array::from_fn(|way| self.lines[line][way].get() != 0);
        (0..WAYS).filter(move |&way| taken[way]).map(move |way| line * WAYS + way)
    }
}

/// Replaces an entry, not what its word has of the line's count.
#[inline(always)]
fn write(word: &Cell<u64>, entry: Entry) {
    word.set(word.get() & Entry::SPARE | entry.0 & !Entry::SPARE);
}

/// The lines of a table, to be looked into: at hand in two registers, and nothing else of the shard.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a>(Shares<'a, Words>);

impl<'a> Lines<'a> {
    /// The line that `hash` is looked for in first.
    #[inline(always)]
    pub fn first(self, hash: u64) -> Line<'a> {
        Line(self.0.at(first(hash)))
    }

    /// The line that `hash` is looked for in when it is not in the first.
    #[inline(always)]
    pub fn second(self, hash: u64) -> Line<'a> {
        Line(self.0.at(second(hash)))
    }

    /// The slot of a place in one of these lines.
    #[inline(always)]
    pub fn slot(self, place: Place<'_>) -> Slot {
        Slot((self.0.index_of(place.words) * WAYS + place.way) as u32)
    }

    /// Looks in the first line, and in the second if there is a reason.
    #[inline(always)]
    pub fn look_for(self, hash: u64) -> Option<(Place<'a>, Entry)> {
        let first = self.first(hash);
        match first.look(&hash) {
            None if first.leads_on() => self.second(hash).look(&hash),
            found => found,
        }
    }

    /// The slot of what [`Self::look_for`] finds.
    #[inline(always)]
    pub fn look(self, hash: u64) -> Option<Slot> {
        self.look_for(hash).map(|(place, _)| self.slot(place))
    }

    /// Asks for the second line, if it is there that `hash` is to be looked for.
    #[inline(always)]
    pub fn prefetch_rest(self, hash: u64) {
        let first = self.first(hash);
        if first.leads_on() && first.look(&hash).is_none() {
            self.second(hash).prefetch();
        }
    }
}

/// A line of a table.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a>(&'a Words);

impl<'a> Line<'a> {
    /// Asks for its cache line.
    #[inline(always)]
    pub fn prefetch(self) {
        prefetch(self.0);
    }

    /// The same, into the second-level cache.
    #[inline(always)]
    pub fn prefetch_l2(self) {
        prefetch_l2(self.0);
    }

    /// Looks for a hash in it. Straight on, without a branch for each way: which one it is nobody can predict.
    #[inline(always)]
    pub fn look(self, hash: &u64) -> Option<(Place<'a>, Entry)> {
        self.look_by(Oldest, hash)
    }

    /// The same by a machine's own instructions.
    #[inline(always)]
    pub fn look_by(self, instructions: impl Instructions, hash: &u64) -> Option<(Place<'a>, Entry)> {
        let words = self.0;
        let way = instructions.find4(words, hash)?;
        Some((Place { words, way }, Entry(words[WAYS + way].get())))
    }

    /// Whether there are entries in their second lines that would be looked for in this one first.
    #[inline(always)]
    fn leads_on(self) -> bool {
        let [.., a, b, c, d] = &**self.0;
        (a.get() | b.get() | c.get() | d.get()) & Entry::SPARE != 0
    }
}

/// Where an entry was found.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    words: &'a Words,
    /// Below [`WAYS`].
    way: usize,
}

impl Place<'_> {
    /// Stamps the `entry` that was found here with second `tick`.
    #[inline(always)]
    pub fn stamp(self, entry: Entry, tick: u16) {
        write(&self.words[WAYS + self.way], entry.at(tick));
    }
}

/// Where the first candidate line is, as a share of 2^32 of all.
#[inline(always)]
fn first(hash: u64) -> u32 {
    hash as u32
}

/// The same of the second one: of all bits, so that hashes that share a first line, as those of runs of addresses
/// do more often than by chance, have nothing to do with one another in the second. With a factor of 32 bits, 1 in 200 of
/// 16 million flows finds no place (row P5 fills such a table).
#[inline(always)]
fn second(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}
