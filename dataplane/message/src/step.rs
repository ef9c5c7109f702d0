//! How one plan becomes another.

use crate::plan::{BridgePlan, ClusterPlan, Plan, PoolPlan, PortPlan, RouterPlan, TargetPlan};
use dataplane_flow::{ClusterId, TargetId};
use serde::{Deserialize, Serialize};

/// One change of a plan. What a commit will do is the list of these that [`Plan::between`] returns,
/// and the same list is what is applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Step {
    /// Replace the choosers' key.
    SetChoiceKey([u64; 2]),
    /// Replace the bridge's settings.
    SetBridge(BridgePlan),
    /// Replace all ports' parts (their number cannot change without a restart).
    SetPorts(Vec<PortPlan>),
    /// Replace all routers.
    SetRouters(Vec<RouterPlan>),
    /// Replace all router pools.
    SetPools(Vec<PoolPlan>),
    /// Add a server, or change it.
    SetTarget(TargetPlan),
    /// Remove a server.
    RemoveTarget(TargetId),
    /// Add a cluster, or change it.
    SetCluster(Box<ClusterPlan>),
    /// Remove a cluster.
    RemoveCluster(ClusterId),
}

impl Plan {
    /// The steps that turn `old` into `new`; empty when they are the same.
    pub fn between(old: &Self, new: &Self) -> Vec<Step> {
        let mut steps = Vec::new();
        if old.choice_key != new.choice_key {
            steps.push(Step::SetChoiceKey(new.choice_key));
        }
        if old.bridge != new.bridge {
            steps.push(Step::SetBridge(new.bridge));
        }
        if old.ports != new.ports {
            steps.push(Step::SetPorts(new.ports.clone()));
        }
        if old.routers != new.routers {
            steps.push(Step::SetRouters(new.routers.clone()));
        }
        if old.pools != new.pools {
            steps.push(Step::SetPools(new.pools.clone()));
        }
        // Clusters that go first, servers that come before the clusters that name them, servers that
        // go last: no plan on the way names a server that is not there.
        for cluster in &old.clusters {
            if !new.clusters.iter().any(|c| c.id == cluster.id) {
                steps.push(Step::RemoveCluster(cluster.id));
            }
        }
        for target in &new.targets {
            if !old.targets.contains(target) {
                steps.push(Step::SetTarget(target.clone()));
            }
        }
        for cluster in &new.clusters {
            if !old.clusters.contains(cluster) {
                steps.push(Step::SetCluster(Box::new(cluster.clone())));
            }
        }
        for target in &old.targets {
            if !new.targets.iter().any(|t| t.id == target.id) {
                steps.push(Step::RemoveTarget(target.id));
            }
        }
        steps
    }

    /// Carries out one step. Order within the lists is by number afterwards.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::SetChoiceKey(key) => self.choice_key = key,
            Step::SetBridge(bridge) => self.bridge = bridge,
            Step::SetPorts(ports) => self.ports = ports,
            Step::SetRouters(routers) => self.routers = routers,
            Step::SetPools(pools) => self.pools = pools,
            Step::SetTarget(target) => {
                self.targets.retain(|t| t.id != target.id);
                self.targets.push(target);
                self.targets.sort_by_key(|t| t.id);
            }
            Step::RemoveTarget(id) => self.targets.retain(|t| t.id != id),
            Step::SetCluster(cluster) => {
                self.clusters.retain(|c| c.id != cluster.id);
                self.clusters.push(*cluster);
                self.clusters.sort_by_key(|c| c.id);
            }
            Step::RemoveCluster(id) => self.clusters.retain(|c| c.id != id),
        }
    }
}
