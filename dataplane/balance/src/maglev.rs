//! Consistent hashing: weighted Maglev.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4:
//! each server has a permutation of the array's places and they take places in turn; when a server
//! goes, few places of the others change hands. With weights, a server takes turns in proportion.

use crate::Candidate;
use dataplane_flow::{TargetId, fold};

/// Places in the array; a prime. With 1,000 servers of equal weight their shares differ by 2 %.
pub const MAGLEV_SIZE: usize = 65_537;

/// Places looked at for a choice that leaves servers out.
const PROBES_MAX: u64 = 128;

/// A compiled array. 128 KiB.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Maglev {
    places: Box<[TargetId]>,
    /// Every server once, in the order of their names' hashes.
    servers: Box<[TargetId]>,
}

impl Maglev {
    /// Compiles the array; empty without candidates. Some 2 ms, off the packet path.
    pub fn new(candidates: &[Candidate]) -> Self {
        let mut candidates: Vec<&Candidate> = candidates.iter().filter(|c| c.weight > 0).collect();
        if candidates.is_empty() {
            return Self { places: Box::default(), servers: Box::default() };
        }
        // The order in which servers take turns must not depend on numbers or on the file.
        candidates.sort_by_key(|c| c.name_hash);
        let mut places = Places::default();
        let mut walks: Vec<Walk> = candidates.iter().map(|c| Walk::new(c)).collect();
        let mut turns = Turns::new(&candidates);
        'turns: loop {
            for server in turns.next() {
                let place = walks[*server as usize].take(&mut places.taken);
                places.all[place] = candidates[*server as usize].target;
                places.filled += 1;
                if places.filled == MAGLEV_SIZE {
                    break 'turns;
                }
            }
        }
        let places = places.all;
        Self { places, servers: candidates.iter().map(|c| c.target).collect() }
    }

    /// The `nth` distinct allowed server in this hash's order, counted from 0; `None` when there are no
    /// more. The first one is chosen by weight, the others stand in a row behind it: at most every
    /// server is looked at once.
    #[inline]
    pub fn choose(&self, hash: u64, nth: u32, allowed: impl Fn(TargetId) -> bool) -> Option<TargetId> {
        let first = *self.places.get(place(hash))?;
        if nth == 0 && allowed(first) {
            return Some(first);
        }
        self.choose_on(hash, nth, first, allowed)
    }

    /// Asks for the place that [`Self::choose`] looks at first.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        if let Some(place) = self.places.get(place(hash)) {
            dataplane_cpu::prefetch(place);
        }
    }

    /// The same where it is not the first place's.
    #[inline(never)]
    fn choose_on(
        &self,
        hash: u64,
        nth: u32,
        first: TargetId,
        allowed: impl Fn(TargetId) -> bool,
    ) -> Option<TargetId> {
        let place = |hash: u64| self.places[place(hash)];
        let preferred = if allowed(first) { Some(first) } else { draw(hash, place, &allowed) };
        if nth == 0 && preferred.is_some() {
            return preferred;
        }
        let start = (hash as u32 as usize) % self.servers.len();
        let row = self.servers[start..].iter().chain(&self.servers[..start]).copied();
        let mut others = row.filter(|target| Some(*target) != preferred && allowed(*target));
        others.nth(nth as usize - usize::from(preferred.is_some()))
    }

    /// How many allowed servers share the array.
    pub fn count(&self, allowed: impl Fn(TargetId) -> bool) -> u32 {
        self.servers.iter().filter(|target| allowed(**target)).count() as u32
    }
}

/// The high half of the product maps the hash's high bits to a place without a division.
#[inline(always)]
fn place(hash: u64) -> usize {
    ((u128::from(hash) * MAGLEV_SIZE as u128) >> 64) as usize
}

/// The array while it is being filled. Which places are taken is a bit each: 8 KiB, which stay in the nearest
/// cache while all servers look for free ones.
struct Places {
    all: Box<[TargetId]>,
    taken: Box<[u64]>,
    filled: usize,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: vec![TargetId::NONE; MAGLEV_SIZE].into_boxed_slice(),
            taken: vec![0; MAGLEV_SIZE.div_ceil(64)].into_boxed_slice(),
            filled: 0,
        }
    }
}

/// A server's way over the places: its permutation.
struct Walk {
    next: u32,
    skip: u32,
}

impl Walk {
    fn new(candidate: &Candidate) -> Self {
        let size = MAGLEV_SIZE as u64;
        Self {
            next: (candidate.name_hash % size) as u32,
            skip: (fold(candidate.name_hash, 0x9e37_79b9_7f4a_7c15) % (size - 1) + 1) as u32,
        }
    }

    /// Takes the next place of its permutation that is free.
    fn take(&mut self, taken: &mut [u64]) -> usize {
        loop {
            let place = self.next as usize;
            self.next += self.skip;
            if self.next >= MAGLEV_SIZE as u32 {
                self.next -= MAGLEV_SIZE as u32;
            }
            let bit = 1 << (place % 64);
            let word = &mut taken[place / 64];
            if *word & bit == 0 {
                *word |= bit;
                return place;
            }
        }
    }
}

/// Whose turn it is: the heaviest server's every time, another one's in proportion, in the order of their
/// names' hashes. Only those whose turn it is are looked at, or a single heavy server among a thousand light
/// ones would have them all looked at for each of its places.
struct Turns {
    /// What is added to a server in each turn, and has to come to `heaviest` for a place.
    weights: Vec<u32>,
    heaviest: u32,
    /// A server's next turn is `heaviest * places / weight`, rounded up: the places that it then has.
    places: Vec<u32>,
    /// Servers by their next turn; a ring, as long as the longest pause.
    rows: Vec<Vec<u32>>,
    turn: usize,
    now: Vec<u32>,
    /// A bit for each server, all clear between two turns.
    marks: Vec<u64>,
}

impl Turns {
    fn new(candidates: &[&Candidate]) -> Self {
        let weights: Vec<u32> = candidates.iter().map(|c| u32::from(c.weight)).collect();
        let heaviest = weights.iter().copied().max().unwrap_or(1);
        let lightest = weights.iter().copied().min().unwrap_or(1).max(1);
        let rows = vec![Vec::new(); heaviest.div_ceil(lightest) as usize + 1];
        let (places, marks) = (vec![0; weights.len()], vec![0; weights.len().div_ceil(64)]);
        let mut turns = Self { weights, heaviest, places, rows, turn: 0, now: Vec::new(), marks };
        (0..turns.weights.len() as u32).for_each(|server| turns.wait(server));
        turns
    }

    /// Puts the server to its next turn.
    fn wait(&mut self, server: u32) {
        let places = &mut self.places[server as usize];
        *places += 1;
        let turn = (u64::from(self.heaviest) * u64::from(*places))
            .div_ceil(u64::from(self.weights[server as usize]));
        let row = turn as usize % self.rows.len();
        self.rows[row].push(server);
    }

    /// The servers of the next turn.
    fn next(&mut self) -> &[u32] {
        self.turn += 1;
        let row = self.turn % self.rows.len();
        self.now.clear();
        self.now.append(&mut self.rows[row]);
        self.sort();
        for at in 0..self.now.len() {
            self.wait(self.now[at]);
        }
        &self.now
    }

    /// They have come here from different turns: in order again.
    fn sort(&mut self) {
        if self.now.len() < 16 || self.now.is_sorted() {
            return self.now.sort_unstable();
        }
        // Each is there once. With a thousand different weights this takes a tenth of what sorting does.
        for server in self.now.drain(..) {
            self.marks[server as usize / 64] |= 1 << (server % 64);
        }
        for (word, marks) in (0..).zip(&mut self.marks) {
            let mut left = core::mem::take(marks);
            while left != 0 {
                self.now.push(word * 64 + left.trailing_zeros());
                left &= left - 1;
            }
        }
    }
}

/// The first allowed server of further places. They are drawn, not stepped to: a step that is near a
/// multiple of a server's own would stay with that server.
fn draw(hash: u64, place: impl Fn(u64) -> TargetId, allowed: impl Fn(TargetId) -> bool) -> Option<TargetId> {
    let mut draw = hash;
    (0..PROBES_MAX).find_map(|_| {
        draw = fold(draw ^ 0xd1b5_4a32_d192_ed03, 0x9e37_79b9_7f4a_7c15);
        Some(place(draw)).filter(|target| allowed(*target))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name_hash;

    fn servers(weights: &[u16]) -> Vec<Candidate> {
        weights
            .iter()
            .enumerate()
            .map(|(i, &weight)| Candidate {
                target: TargetId(i as u16),
                name_hash: name_hash(&format!("web-{i}")),
                weight,
            })
            .collect()
    }

    fn shares(maglev: &Maglev, servers: usize) -> Vec<usize> {
        (0..servers).map(|i| maglev.places.iter().filter(|t| t.0 == i as u16).count()).collect()
    }

    #[test]
    fn shares_follow_weights() {
        let maglev = Maglev::new(&servers(&[3, 2, 1]));
        let shares = shares(&maglev, 3);
        for (share, weight) in shares.iter().zip([3, 2, 1]) {
            let expected = MAGLEV_SIZE * weight / 6;
            assert!(share.abs_diff(expected) <= 2, "{shares:?}");
        }
    }

    /// Every server looked at in every turn, as the paper has it, with credit for weights.
    fn one_by_one(candidates: &[Candidate]) -> Vec<TargetId> {
        let mut candidates: Vec<&Candidate> = candidates.iter().collect();
        candidates.sort_by_key(|c| c.name_hash);
        let heaviest = candidates.iter().map(|c| u32::from(c.weight)).max().unwrap();
        let mut walks: Vec<Walk> = candidates.iter().map(|c| Walk::new(c)).collect();
        let mut credit = vec![0; candidates.len()];
        let mut places = Places::default();
        loop {
            for (i, candidate) in candidates.iter().enumerate() {
                credit[i] += u32::from(candidate.weight);
                if credit[i] >= heaviest {
                    credit[i] -= heaviest;
                    places.all[walks[i].take(&mut places.taken)] = candidate.target;
                    places.filled += 1;
                    if places.filled == MAGLEV_SIZE {
                        return places.all.to_vec();
                    }
                }
            }
        }
    }

    #[test]
    fn turns_are_those_of_servers_looked_at_one_by_one() {
        let heavy: Vec<u16> = (0..60).map(|i| if i == 31 { 1000 } else { 1 }).collect();
        let mixed: Vec<u16> = (0..60).map(|i| 1 + i * i % 97).collect();
        for weights in [&heavy[..], &mixed, &[7; 5], &[3, 2], &[1], &[1000, 999], &[u16::MAX, 1]] {
            let servers = servers(weights);
            assert_eq!(Maglev::new(&servers).places.to_vec(), one_by_one(&servers), "{weights:?}");
        }
    }

    #[test]
    fn few_places_of_the_others_move_when_one_goes() {
        let all = servers(&[1; 20]);
        let before = Maglev::new(&all);
        let after = Maglev::new(&all[1..]);
        let moved = before.places.iter().zip(&after.places).filter(|(b, a)| b.0 != 0 && a != b).count();
        assert!(moved < MAGLEV_SIZE / 50, "{moved} of {MAGLEV_SIZE}");
    }

    #[test]
    fn numbers_and_order_do_not_matter_names_do() {
        let mut turned = servers(&[1, 2, 3]);
        turned.reverse();
        assert_eq!(Maglev::new(&turned), Maglev::new(&servers(&[1, 2, 3])));
    }

    #[test]
    fn fs_7a_each_refusal_leads_to_another_server_and_all_are_tried() {
        let maglev = Maglev::new(&servers(&[5, 1, 1, 1]));
        for hash in (0..1000_u64).map(|i| fold(i ^ 0x1234_5678, 0x9e37_79b9_7f4a_7c15)) {
            let mut tried: Vec<_> = (0..4).filter_map(|nth| maglev.choose(hash, nth, |_| true)).collect();
            tried.sort();
            tried.dedup();
            assert_eq!(tried.len(), 4);
        }
    }

    #[test]
    fn fs_7a_a_hundred_servers_are_tried_and_the_lightest_too() {
        let weights: Vec<u16> = (0..100).map(|i| if i % 10 == 0 { 1 } else { 1000 }).collect();
        let maglev = Maglev::new(&servers(&weights));
        for hash in (0..50_u64).map(|i| fold(i ^ 0x1234_5678, 0x9e37_79b9_7f4a_7c15)) {
            let mut tried: Vec<_> = (0..100).filter_map(|nth| maglev.choose(hash, nth, |_| true)).collect();
            tried.sort();
            tried.dedup();
            assert_eq!(tried.len(), 100);
            assert_eq!(maglev.choose(hash, 100, |_| true), None, "all have refused");
            // FS-4: the only one that may be chosen is found however light it is.
            assert_eq!(maglev.choose(hash, 0, |t| t.0 == 10), Some(TargetId(10)));
            assert_eq!(maglev.choose(hash, 1, |t| t.0 == 10), None);
        }
    }

    #[test]
    fn without_servers_there_is_none() {
        assert_eq!(Maglev::new(&[]).choose(1, 0, |_| true), None);
        assert_eq!(Maglev::new(&servers(&[1, 1])).choose(1, 0, |_| false), None);
    }
}
