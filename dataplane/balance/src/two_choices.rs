//! The better of two that are drawn by weight: fewer open flows, times the measured response time.
//!
//! Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001: the fullest server is
//! exponentially less full than with one draw, without comparing all of them.

use crate::{Candidate, Maglev};
use dataplane_flow::{TargetId, fold};

/// The members' weights.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TwoChoices {
    /// In the order of their numbers.
    weights: Box<[(TargetId, u16)]>,
}

impl TwoChoices {
    /// Takes the candidates.
    pub fn new(candidates: &[Candidate]) -> Self {
        let mut weights: Box<[_]> = candidates.iter().map(|c| (c.target, c.weight)).collect();
        weights.sort_unstable();
        Self { weights }
    }

    /// Draws two servers from the array and takes the one with the lower (open flows + 1) times response
    /// time, for its weight. `time` in microseconds, 0 where none is known: the other one's stands in. Two
    /// draws of the same server are it, so even one that was slow is tried, and seen to be well again.
    pub fn choose(
        &self,
        hash: u64,
        maglev: &Maglev,
        open: impl Fn(TargetId) -> u64,
        time: impl Fn(TargetId) -> u64,
        allowed: impl Fn(TargetId) -> bool,
    ) -> Option<TargetId> {
        let first = maglev.choose(hash, 0, &allowed)?;
        let again = fold(hash ^ 0xa076_1d64_78bd_642f, 0xe703_7ed1_a0b4_28db);
        let second = maglev.choose(again, 0, &allowed)?;
        if first == second {
            return Some(first);
        }
        let times = match (time(first), time(second)) {
            (0, 0) => (1, 1),
            (0, known) | (known, 0) => (known, known),
            known => known,
        };
        // a / weight_a <= b / weight_b, without a division.
        let cost = |target, time: u64, other| {
            u128::from(open(target) + 1) * u128::from(time) * u128::from(self.weight(other))
        };
        Some(if cost(first, times.0, second) <= cost(second, times.1, first) { first } else { second })
    }

    fn weight(&self, target: TargetId) -> u16 {
        self.weights.binary_search_by_key(&target, |(id, _)| *id).map_or(1, |place| self.weights[place].1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name_hash;

    fn candidates(weights: &[u16]) -> Vec<Candidate> {
        (0_u16..)
            .zip(weights)
            .map(|(i, &weight)| Candidate {
                target: TargetId(i),
                name_hash: name_hash(&format!("web-{i}")),
                weight,
            })
            .collect()
    }

    /// Flows of each server after `flows` choices, none of which end.
    fn settle(weights: &[u16], flows: u64, time: impl Fn(TargetId) -> u64) -> Vec<u64> {
        let candidates = candidates(weights);
        let (two, maglev) = (TwoChoices::new(&candidates), Maglev::new(&candidates));
        let mut open = vec![0_u64; weights.len()];
        for i in 0..flows {
            let hash = fold(i ^ 0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03);
            let target = two.choose(hash, &maglev, |t| open[t.index()], &time, |_| true).unwrap();
            open[target.index()] += 1;
        }
        open
    }

    #[test]
    fn fs_9_flows_are_even_and_follow_weights() {
        let open = settle(&[1; 10], 10_000, |_| 0);
        assert!(open.iter().all(|n| n.abs_diff(1000) <= 5), "{open:?}");
        let open = settle(&[4, 2, 1], 7_000, |_| 300);
        for (n, expected) in open.iter().zip([4000_u64, 2000, 1000]) {
            assert!(n.abs_diff(expected) <= expected / 10, "{open:?}");
        }
    }

    #[test]
    fn fs_9_a_slow_server_gets_fewer_and_one_without_a_time_as_many_as_others() {
        let open = settle(&[1; 4], 10_000, |t| if t.0 == 0 { 4000 } else { 1000 });
        assert!(open[0] * 2 < open[1] && open[0] > 100, "{open:?}");
        let open = settle(&[1; 4], 10_000, |t| if t.0 == 0 { 0 } else { 1000 });
        assert!(open.iter().all(|n| n.abs_diff(2500) <= 50), "{open:?}");
    }

    #[test]
    fn one_that_is_not_allowed_is_not_chosen() {
        let candidates = candidates(&[1, 1, 1]);
        let (two, maglev) = (TwoChoices::new(&candidates), Maglev::new(&candidates));
        for i in 0..100 {
            let hash = fold(i ^ 0x1234_5678, 0x9e37_79b9_7f4a_7c15);
            let chosen = two.choose(hash, &maglev, |_| 0, |_| 0, |t| t.0 == 2);
            assert_eq!(chosen, Some(TargetId(2)));
        }
        assert_eq!(two.choose(1, &maglev, |_| 0, |_| 0, |_| false), None);
    }
}
