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
        let heaviest = candidates.iter().map(|c| c.weight).max().unwrap_or(1);
        let size = MAGLEV_SIZE as u64;
        let mut next: Vec<u64> = candidates.iter().map(|c| c.name_hash % size).collect();
        let skip: Vec<u64> =
            candidates.iter().map(|c| fold(c.name_hash, 0x9e37_79b9_7f4a_7c15) % (size - 1) + 1).collect();
        let mut credit = vec![0_u32; candidates.len()];
        let mut places = vec![TargetId::NONE; MAGLEV_SIZE].into_boxed_slice();
        let mut filled = 0;
        'turns: loop {
            for (i, candidate) in candidates.iter().enumerate() {
                credit[i] += u32::from(candidate.weight);
                if credit[i] < u32::from(heaviest) {
                    continue;
                }
                credit[i] -= u32::from(heaviest);
                while places[next[i] as usize] != TargetId::NONE {
                    next[i] = (next[i] + skip[i]) % size;
                }
                places[next[i] as usize] = candidate.target;
                filled += 1;
                if filled == MAGLEV_SIZE {
                    break 'turns;
                }
            }
        }
        Self { places, servers: candidates.iter().map(|c| c.target).collect() }
    }

    /// The `nth` distinct allowed server in this hash's order, counted from 0; `None` when there are no
    /// more. The first one is chosen by weight, the others stand in a row behind it: at most every
    /// server is looked at once.
    pub fn choose(&self, hash: u64, nth: u32, allowed: impl Fn(TargetId) -> bool) -> Option<TargetId> {
        if self.places.is_empty() {
            return None;
        }
        let size = MAGLEV_SIZE as u64;
        // The high half of the product maps the hash's high bits to a place without a division.
        let place = |hash: u64| self.places[((u128::from(hash) * u128::from(size)) >> 64) as usize];
        let first = place(hash);
        if nth == 0 && allowed(first) {
            return Some(first);
        }
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
