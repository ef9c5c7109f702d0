//! What control has decided beside the plan: health, roles, weights, routers.
//!
//! The whole of it goes at once and replaces what was there; the newest one counts. The data path keeps it
//! when control is gone, and gives it back in the snapshot: a restarted control core begins with it.

use crate::plan::Admin;
use dataplane_flow::{ClusterId, PoolId, RouterId, TargetId};
use dataplane_wire::MacAddr;
use serde::{Deserialize, Serialize};

/// What control has decided. What is not named is as the plan says: servers up, routers up.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Conditions {
    /// Rises with every change.
    pub serial: u64,
    /// Servers.
    pub targets: Vec<TargetCondition>,
    /// Servers in services.
    pub members: Vec<MemberCondition>,
    /// Servers of availability clusters (FS-14), the primary first: new flows go to the first that is alive.
    /// Where a primary's death has put another one first, an order that begins with the dead one still is of
    /// before: it changes nothing, and the reports of that serial say what holds.
    pub orders: Vec<(ClusterId, Vec<TargetId>)>,
    /// Routers.
    pub routers: Vec<RouterCondition>,
    /// Which router of a pool a server is told (FS-12).
    pub assignments: Vec<Assignment>,
}

/// A server's condition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TargetCondition {
    /// Which server.
    pub id: TargetId,
    /// Its health.
    pub health: Health,
    /// The operator's will at run time; it replaces the plan's.
    pub admin: Option<Admin>,
    /// A draining server keeps its clients' bindings until they are idle (FS-33).
    pub gentle: bool,
}

/// A server's health (FS-10).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// It takes new flows.
    #[default]
    Up,
    /// It takes none; those it has stay.
    Down,
    /// It answers nothing: its flows are reset, moved or kept.
    Dead,
}

/// A server's condition in one service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MemberCondition {
    /// The cluster.
    pub cluster: ClusterId,
    /// The service's place in the plan.
    pub service: u16,
    /// The server.
    pub target: TargetId,
    /// It takes new flows of this service. A backup is open when it is wanted (FS-34).
    pub open: bool,
    /// Its weight instead of the plan's, `0..=1000`: slow start, dynamic balancing, an operator's change.
    pub weight: u16,
}

/// A router's condition (FS-13).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouterCondition {
    /// Which router.
    pub id: RouterId,
    /// It forwards.
    pub up: bool,
    /// Its MAC address as it has shown it, where the plan has none.
    pub mac: Option<MacAddr>,
}

/// A server's router (FS-12).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Assignment {
    /// Of this pool.
    pub pool: PoolId,
    /// The server.
    pub target: TargetId,
    /// Its router.
    pub router: RouterId,
}
