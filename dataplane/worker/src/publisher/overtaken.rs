//! Orders of availability clusters that a death has overtaken (FS-15).
//!
//! Control decides, and hears of a death a little later than the switch acts on it; a good deal later when it
//! was away. What it says in between is of before, and would put a server back in its place that has died
//! and returned meanwhile.

use dataplane_flow::{ClusterId, TargetId};
use std::collections::HashMap;

/// The primaries that have died since control last named another one.
#[derive(Debug, Default)]
pub(super) struct Overtaken {
    dead: HashMap<ClusterId, Vec<TargetId>>,
}

impl Overtaken {
    /// The first of this order has died, and another one follows it.
    pub(super) fn note(&mut self, cluster: ClusterId, before: &[TargetId]) {
        let dead = self.dead.entry(cluster).or_default();
        if let Some(head) = before.first().filter(|head| !dead.contains(head)) {
            dead.push(*head);
        }
    }

    /// What control says, in place of what is in force: an order that begins with one of the dead, and that
    /// another one follows by now, is replaced by the one in force. Any other one shows that control knows.
    pub(super) fn correct(
        &mut self,
        said: &mut [(ClusterId, Vec<TargetId>)],
        in_force: &[(ClusterId, Vec<TargetId>)],
    ) {
        for (cluster, order) in said {
            let Some(dead) = self.dead.get(cluster) else { continue };
            let held = in_force.iter().find(|(id, _)| id == cluster).map(|(_, order)| order);
            match (order.first(), held) {
                (Some(head), Some(held)) if held.first() != Some(head) && dead.contains(head) => {
                    order.clone_from(held);
                }
                _ => drop(self.dead.remove(cluster)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static [u16], &'static [u16], &'static [u16], &'static [u16], bool);

    #[test]
    fn fs_15_only_what_is_said_without_knowledge_of_a_death_is_corrected() {
        let ids = |ids: &[u16]| ids.iter().copied().map(TargetId).collect::<Vec<_>>();
        let cluster = ClusterId(3);
        // Primaries that died, the order in force, what control says; what holds then, and whether the deaths
        // are remembered.
        let table: [Row; 6] = [
            (&[0], &[1, 2, 0], &[0, 1, 2], &[1, 2, 0], true),
            (&[0], &[1, 2, 0], &[1, 0, 2], &[1, 0, 2], false),
            (&[0], &[1, 2, 0], &[2, 0, 1], &[2, 0, 1], false),
            (&[0, 1], &[2, 0, 1], &[1, 2, 0], &[2, 0, 1], true),
            // It is first again, since there was no other: both say the same.
            (&[0, 1], &[0, 1], &[0, 1], &[0, 1], false),
            (&[0], &[1, 0], &[], &[], false),
        ];
        for (dead, held, said, then, remembered) in table {
            let mut overtaken = Overtaken::default();
            for id in dead {
                overtaken.note(cluster, &ids(&[*id]));
            }
            let mut orders = vec![(cluster, ids(said)), (ClusterId(9), ids(&[5]))];
            overtaken.correct(&mut orders, &[(cluster, ids(held))]);
            assert_eq!(
                orders,
                [(cluster, ids(then)), (ClusterId(9), ids(&[5]))],
                "{dead:?} {held:?} {said:?}"
            );
            assert_eq!(overtaken.dead.contains_key(&cluster), remembered, "{dead:?} {held:?} {said:?}");
        }
    }
}
