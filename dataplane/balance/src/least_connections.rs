//! Fewest open flows in proportion to weight.

use crate::Candidate;
use dataplane_flow::TargetId;

/// The members to compare.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LeastConnections {
    members: Box<[(TargetId, u16)]>,
}

impl LeastConnections {
    /// Takes the candidates.
    pub fn new(candidates: &[Candidate]) -> Self {
        Self { members: candidates.iter().filter(|c| c.weight > 0).map(|c| (c.target, c.weight)).collect() }
    }

    /// The member with the fewest open flows for its weight; among equals one by the flow's hash, so
    /// that several workers do not all begin with the first. Looks at every member once.
    pub fn choose(
        &self,
        hash: u64,
        open: impl Fn(TargetId) -> u64,
        allowed: impl Fn(TargetId) -> bool,
    ) -> Option<TargetId> {
        let members = self.members.len();
        let start = if members == 0 { 0 } else { (hash >> 32) as usize % members };
        let mut best: Option<(TargetId, u64, u64)> = None;
        for i in 0..members {
            let (target, weight) = self.members[(start + i) % members];
            if !allowed(target) {
                continue;
            }
            let (flows, weight) = (open(target) + 1, u64::from(weight));
            // flows / weight < best_flows / best_weight, without a division.
            if best.is_none_or(|(_, best_flows, best_weight)| flows * best_weight < best_flows * weight) {
                best = Some((target, flows, weight));
            }
        }
        best.map(|(target, ..)| target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_settle_in_proportion_to_weight() {
        let least = LeastConnections::new(&[(0, 3), (1, 2), (2, 1)].map(|(i, weight)| Candidate {
            target: TargetId(i),
            name_hash: 0,
            weight,
        }));
        let mut open = [0_u64; 3];
        for i in 0..600_u64 {
            let target = least.choose(i << 32, |t| open[t.index()], |_| true).unwrap();
            open[target.index()] += 1;
        }
        assert_eq!(open, [300, 200, 100]);
        // One whose flows have ended is filled up first.
        open[0] = 0;
        assert!((0..50).all(|i| least.choose(i << 32, |t| open[t.index()], |_| true) == Some(TargetId(0))));
        assert_eq!(least.choose(0, |_| 0, |_| false), None);
    }
}
