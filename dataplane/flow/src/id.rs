//! What flows belong to and what they are bound to.

use serde::{Deserialize, Serialize};

/// A cluster: its place in the tables, `0..=65_534`. It keeps its number over every plan in which
/// a cluster of that name appears.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct ClusterId(pub u16);

/// A target, that is what a flow is bound to: a server. It keeps its number over every plan in
/// which a server of that name appears, so flows follow it through re-weighting and reloads (FS-7).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct TargetId(pub u16);

impl TargetId {
    /// No target.
    pub const NONE: Self = Self(u16::MAX);

    /// The target as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A first-hop router. It keeps its number over every plan in which a router of that name appears.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct RouterId(pub u16);

/// A router pool. It keeps its number over every plan in which a pool of that name appears.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct PoolId(pub u16);

/// Target numbers are below this: the workers' counters are sized by it at start.
pub const TARGETS_MAX: usize = 4096;

/// Cluster numbers are below this.
pub const CLUSTERS_MAX: usize = 1024;

/// Router numbers are below this.
pub const ROUTERS_MAX: usize = 256;

/// Pool numbers are below this.
pub const POOLS_MAX: usize = 256;
