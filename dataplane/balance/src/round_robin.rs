//! In turn, in proportion to weights or not.

use crate::Candidate;
use dataplane_flow::TargetId;

/// The longest order that is compiled; larger sums of weights are scaled down to it.
const ORDER_MAX: u32 = 8192;

/// A compiled order of turns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoundRobin {
    order: Box<[TargetId]>,
}

impl RoundRobin {
    /// Compiles the order in which servers get their turns: every weight's worth of turns in a
    /// round, spread evenly over it.
    pub fn new(candidates: &[Candidate], weighted: bool) -> Self {
        let mut weights: Vec<(TargetId, u32)> = candidates
            .iter()
            .filter(|c| c.weight > 0)
            .map(|c| (c.target, if weighted { u32::from(c.weight) } else { 1 }))
            .collect();
        let divisor = weights.iter().fold(0, |a, (_, w)| gcd(a, *w)).max(1);
        let sum: u32 = weights.iter().map(|(_, w)| w / divisor).sum();
        for (_, weight) in &mut weights {
            *weight /= divisor;
            if sum > ORDER_MAX {
                *weight = (*weight * ORDER_MAX / sum).max(1);
            }
        }
        let total: u32 = weights.iter().map(|(_, w)| w).sum();
        let mut credit = vec![0_i64; weights.len()];
        let order = (0..total)
            .filter_map(|_| {
                for (credit, (_, weight)) in credit.iter_mut().zip(&weights) {
                    *credit += i64::from(*weight);
                }
                // The earliest of the highest, so equal weights go in the configured order.
                let next = (0..weights.len()).rev().max_by_key(|&i| credit[i])?;
                credit[next] -= i64::from(total);
                Some(weights[next].0)
            })
            .collect();
        Self { order }
    }

    /// Whose turn it is. At most one round is looked at.
    pub fn choose(&self, cursor: &mut u32, allowed: impl Fn(TargetId) -> bool) -> Option<TargetId> {
        for _ in 0..self.order.len() {
            let turn = *cursor as usize % self.order.len();
            *cursor = (turn + 1) as u32;
            if allowed(self.order[turn]) {
                return Some(self.order[turn]);
            }
        }
        None
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(weights: &[u16], weighted: bool) -> Vec<u16> {
        let candidates: Vec<Candidate> = weights
            .iter()
            .enumerate()
            .map(|(i, &weight)| Candidate { target: TargetId(i as u16), name_hash: i as u64, weight })
            .collect();
        RoundRobin::new(&candidates, weighted).order.iter().map(|t| t.0).collect()
    }

    #[test]
    fn turns_follow_weights_and_are_spread() {
        assert_eq!(order(&[1, 1, 1], true), [0, 1, 2]);
        assert_eq!(order(&[3, 2, 1], true), [0, 1, 0, 2, 1, 0]);
        assert_eq!(order(&[30, 20, 10], true).len(), 6);
        assert_eq!(order(&[3, 2, 1], false), [0, 1, 2]);
        assert_eq!(order(&[0, 2], true), [1]);
        assert!(order(&[1000; 1000], true).len() == 1000);
    }

    #[test]
    fn one_that_is_not_allowed_loses_its_turn_only() {
        let round = RoundRobin::new(
            &[0, 1, 2].map(|i| Candidate { target: TargetId(i), name_hash: 0, weight: 1 }),
            false,
        );
        let mut cursor = 0;
        let got: Vec<_> = (0..4).map(|_| round.choose(&mut cursor, |t| t.0 != 1).unwrap().0).collect();
        assert_eq!(got, [0, 2, 0, 2]);
        assert_eq!(round.choose(&mut cursor, |_| false), None);
    }
}
