//! Lines of four entries: the memory under a [`crate::Shard`].

use crate::{Entry, Slot};
use core::hint::select_unpredictable;
use dataplane_cpu::{NoMemory, Shares, Slab, prefetch};

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

/// A table of two candidate lines per entry. A line is 64 bytes: four fingerprints (the whole 64-bit
/// keyed hash, 0 = empty), then four values. A look-up touches one or two lines, whatever arrives.
///
/// A line knows how many entries that would be looked for there first are in their second lines, so that a
/// look-up in vain mostly touches one line: a bit ([`Entry::SPARE`]) in each of its four values, also of
/// empty places. 15 stands for as many or more, and for good.
#[derive(Debug)]
pub(crate) struct Table {
    lines: Slab<[u64; 8]>,
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
        Entry(self.lines[slot / WAYS][WAYS + slot % WAYS] & !Entry::SPARE)
    }

    #[inline(always)]
    pub(crate) fn set(&mut self, slot: usize, entry: Entry) {
        let word = &mut self.lines[slot / WAYS][WAYS + slot % WAYS];
        *word = *word & Entry::SPARE | entry.0 & !Entry::SPARE;
    }

    #[inline(always)]
    pub(crate) fn hash(&self, slot: usize) -> u64 {
        self.lines[slot / WAYS][slot % WAYS]
    }

    pub(crate) fn cold(&self, slot: usize) -> &Cold {
        &self.cold[slot]
    }

    pub(crate) fn cold_mut(&mut self, slot: usize) -> &mut Cold {
        &mut self.cold[slot]
    }

    pub(crate) fn remove(&mut self, slot: usize) {
        self.elsewhere(slot, self.hash(slot), |n| n - 1);
        self.lines[slot / WAYS][slot % WAYS] = 0;
        self.used -= 1;
    }

    pub(crate) fn write(&mut self, slot: usize, hash: u64, entry: Entry, cold: Cold) {
        if self.hash(slot) != 0 {
            self.remove(slot);
        }
        self.elsewhere(slot, hash, |n| n + 1);
        self.used += 1;
        self.lines[slot / WAYS][slot % WAYS] = hash;
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
        let words = &mut self.lines[line];
        let bit = Entry::SPARE.trailing_zeros();
        let count = (0..WAYS).fold(0, |n, way| n | ((words[WAYS + way] >> bit & 1) as u8) << way);
        // Whoever counts down was counted.
        let count = if count == 15 { 15 } else { by(count) };
        for way in 0..WAYS {
            let word = &mut words[WAYS + way];
            *word = *word & !Entry::SPARE | u64::from(count >> way & 1) << bit;
        }
    }

    /// The eight slots that `hash` may lie in.
    fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let (first, second) = (self.first(hash), self.second(hash));
        (0..WAYS).map(move |way| first * WAYS + way).chain((0..WAYS).map(move |way| second * WAYS + way))
    }

    /// Asks for the cold half that a new entry of `hash` would be written to, or for the line that says more.
    #[inline(always)]
    pub(crate) fn prefetch_vacancy(&self, hash: u64) {
        match self.free_in(self.first(hash)) {
            Some(slot) => prefetch(&self.cold[slot]),
            None => self.view().prefetch_second(hash),
        }
    }

    #[inline(always)]
    fn free_in(&self, line: usize) -> Option<usize> {
        let words = &self.lines[line];
        (0..WAYS).find(|&way| words[way] == 0).map(|way| line * WAYS + way)
    }

    /// An empty slot for `hash`: in its first line or in its second.
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
        self.write(free, hash, entry, cold);
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
                let worth = worth(Entry(words[WAYS + way]));
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
            (0..WAYS).find(|way| is_so(Entry(words[WAYS + way]))).map(|way| line * WAYS + way)
        };
        of_line(self.first(hash)).or_else(|| of_line(self.second(hash)))
    }

    /// Whether the word at `slot` has a part of its line's count.
    #[cfg(test)]
    pub(crate) fn leads_on_from(&self, slot: usize) -> bool {
        self.lines[slot / WAYS][WAYS + slot % WAYS] & Entry::SPARE != 0
    }

    /// The occupied slots of a line.
    pub(crate) fn occupied(&self, line: usize) -> impl Iterator<Item = usize> + use<> {
        let words = self.lines[line];
        (0..WAYS).filter(move |&way| words[way] != 0).map(move |way| line * WAYS + way)
    }
}

/// The lines of a table, to be looked into: at hand in two registers, and nothing else of the shard.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a>(Shares<'a, [u64; 8]>);

impl Lines<'_> {
    /// Asks for the cache line that `hash` is looked for in first.
    #[inline(always)]
    pub fn prefetch(self, hash: u64) {
        self.0.prefetch(first(hash));
    }

    /// Asks for the line that `hash` is looked for in when it is not in the first.
    #[inline(always)]
    pub fn prefetch_second(self, hash: u64) {
        self.0.prefetch(second(hash));
    }

    /// Looks in the first line.
    #[inline(always)]
    pub fn look_first(self, hash: u64) -> Option<(Slot, Entry)> {
        self.look_at(first(hash), hash)
    }

    /// Looks in the second line.
    #[inline(always)]
    pub fn look_second(self, hash: u64) -> Option<(Slot, Entry)> {
        self.look_at(second(hash), hash)
    }

    /// Looks in the first line, and in the second if there is a reason.
    #[inline(always)]
    pub fn look(self, hash: u64) -> Option<(Slot, Entry)> {
        match self.look_first(hash) {
            None if self.leads_on(hash) => self.look_second(hash),
            found => found,
        }
    }

    /// Asks for the second line, if it is there that `hash` is to be looked for.
    #[inline(always)]
    pub fn prefetch_rest(self, hash: u64) {
        if self.leads_on(hash) && self.look_first(hash).is_none() {
            self.prefetch_second(hash);
        }
    }

    /// Whether there are entries in their second lines that would be in the first line of `hash`.
    #[inline(always)]
    fn leads_on(self, hash: u64) -> bool {
        let [.., a, b, c, d] = self.0.at(first(hash));
        (a | b | c | d) & Entry::SPARE != 0
    }

    /// Straight on, without a branch for each way: which one it is nobody can predict.
    #[inline(always)]
    fn look_at(self, share: u32, hash: u64) -> Option<(Slot, Entry)> {
        let words = self.0.at(share);
        let way = select_unpredictable(words[1] == hash, 1, 0);
        let way = select_unpredictable(words[2] == hash, 2, way);
        let way: usize = select_unpredictable(words[3] == hash, 3, way);
        (words[way] == hash)
            .then(|| (Slot((self.0.index(share) * WAYS + way) as u32), Entry(words[WAYS + way])))
    }
}

/// Where the first candidate line is, as a share of 2^32 of all.
#[inline(always)]
fn first(hash: u64) -> u32 {
    hash as u32
}

/// The same of the second one: of all bits, so that hashes that share a first line, as those of runs of addresses
/// do more often than by chance, have nothing to do with one another in the second.
#[inline(always)]
fn second(hash: u64) -> u32 {
    (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32
}
