//! Who is primary in an availability cluster (FS-14, FS-15).

use super::Tables;
use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{ClusterMode, ClusterPlan, Conditions, Plan};

/// The cluster's servers, the primary first: as control has decided, else as configured. Servers that
/// control did not name come last, those that the cluster does not have are left out.
pub(super) fn of(cluster: &ClusterPlan, conditions: &Conditions) -> Vec<TargetId> {
    let decided = conditions.orders.iter().find(|(id, _)| *id == cluster.id).map(|(_, order)| &order[..]);
    let mut order = Vec::with_capacity(cluster.servers.len());
    for id in decided.unwrap_or_default().iter().chain(&cluster.servers) {
        if cluster.servers.contains(id) && !order.contains(id) {
            order.push(*id);
        }
    }
    order
}

/// The order after its first server has died: the first that takes flows is primary from now on, and
/// those before it stand last, so that none of them pre-empts it when it is back (FS-15). `None` while
/// the primary lives, and while there is none to follow it: then the first that recovers does.
fn succeeded(
    order: &[TargetId],
    alive: impl Fn(TargetId) -> bool,
    takes: impl Fn(TargetId) -> bool,
) -> Option<Vec<TargetId>> {
    let head = *order.first()?;
    if alive(head) {
        return None;
    }
    let next = order.iter().position(|id| takes(*id))?;
    Some(order[next..].iter().chain(&order[..next]).copied().collect())
}

impl Tables {
    /// The orders of availability clusters whose primary has died, as they are from now on (FS-15). They
    /// choose no other server than these tables do; they keep who was primary from being it again.
    pub fn succession(&self, plan: &Plan, conditions: &Conditions) -> Vec<(ClusterId, Vec<TargetId>)> {
        let alive = |id| self.target(id).is_some_and(|t| t.alive);
        let takes = |id| self.target(id).is_some_and(|t| t.takes);
        plan.clusters
            .iter()
            .filter(|cluster| cluster.mode == ClusterMode::Availability)
            .filter_map(|cluster| Some((cluster.id, succeeded(&of(cluster, conditions), alive, takes)?)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = (&'static [u16], &'static [u16], &'static [u16], Option<&'static [u16]>);

    #[test]
    fn fs_15_only_a_death_changes_the_order_and_the_dead_stand_last() {
        let ids = |ids: &[u16]| ids.iter().copied().map(TargetId).collect::<Vec<_>>();
        // Order, alive, takes, order after.
        let table: [Row; 8] = [
            (&[0, 1, 2], &[0, 1, 2], &[0, 1, 2], None),
            // Down or draining is not dead: control decides.
            (&[0, 1, 2], &[0, 1, 2], &[1, 2], None),
            (&[0, 1, 2], &[1, 2], &[1, 2], Some(&[1, 2, 0])),
            (&[0, 1, 2], &[1, 2], &[2], Some(&[2, 0, 1])),
            (&[0, 1, 2], &[2], &[2], Some(&[2, 0, 1])),
            // None to follow: the first that recovers.
            (&[0, 1, 2], &[], &[], None),
            (&[0, 1, 2], &[1], &[], None),
            (&[], &[], &[], None),
        ];
        for (order, alive, takes, expected) in table {
            let after = succeeded(&ids(order), |id| alive.contains(&id.0), |id| takes.contains(&id.0));
            assert_eq!(after, expected.map(ids), "{order:?} {alive:?} {takes:?}");
        }
    }
}
