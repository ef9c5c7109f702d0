//! What `show` shows.

use crate::event::Reason;
use crate::roles::Role;
use dataplane_flow::{ClusterId, Instant, PoolId, RouterId, TargetId};
use dataplane_message::{Admin, Health};
use dataplane_wire::MacAddr;

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TargetView {
    /// Its number.
    pub id: TargetId,
    /// Its health.
    pub health: Health,
    /// Why it is not up.
    pub reason: Option<Reason>,
    /// Since when it has this health.
    pub since: Instant,
    /// It is presumed so: nothing has been counted since control began or took it over.
    pub presumed: bool,
    /// Its state by the operator's will: the plan's, or his last order.
    pub admin: Admin,
    /// Flows not closed.
    pub flows_open: u64,
    /// Its drain, while there is one.
    pub drain: Option<DrainView>,
    /// Signs in its traffic count (FS-31).
    pub passive: bool,
    /// Milliseconds that it has to stay good before it is up again, because it fell several times; 0: it need not.
    pub hold_down_ms: u64,
}

/// A drain (FS-33).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrainView {
    /// Since when.
    pub since: Instant,
    /// Flows not closed when it began.
    pub flows_first: u64,
    /// Flows not closed now.
    pub flows_open: u64,
    /// When what is left is closed.
    pub deadline: Option<Instant>,
    /// Bindings of clients stay until idle.
    pub gentle: bool,
    /// When the last flow will be gone, at the rate of late; `None`: it does not decline, see `waits_for`.
    pub ends_in_ms: Option<u64>,
    /// The time-out it waits for, in words: `established, 7440 s`.
    pub waits_for: Option<String>,
    /// All flows are gone, or were closed.
    pub done: bool,
}

/// A server in a service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberView {
    /// The cluster.
    pub cluster: ClusterId,
    /// The service's place in the plan.
    pub service: u16,
    /// The server.
    pub target: TargetId,
    /// It takes new flows.
    pub open: bool,
    /// Why not, where that is its health in this service.
    pub reason: Option<Reason>,
    /// The weight in force.
    pub weight: u16,
    /// The weight without slow start and dynamic balancing.
    pub full_weight: u16,
    /// It is a backup.
    pub backup: bool,
    /// Percent of its weight that slow start gives it now; 100: all.
    pub slow_start_percent: u8,
    /// Checks of it: text, good or not, the last failure.
    pub checks: Vec<CheckView>,
}

/// A check of a server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckView {
    /// In words: `tcp 80`.
    pub check: String,
    /// It is good, or presumed so.
    pub good: bool,
    /// How the last failed one failed, while that is the newest result.
    pub failure: Option<String>,
    /// Smoothed time of its good answers in microseconds; 0: none yet.
    pub took_us: u32,
}

/// A server's role in an availability cluster (FS-14).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RoleView {
    /// The cluster.
    pub cluster: ClusterId,
    /// The server.
    pub target: TargetId,
    /// Its role.
    pub role: Role,
}

/// A router (FS-13).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterView {
    /// Its number.
    pub id: RouterId,
    /// It forwards, as far as is known.
    pub up: bool,
    /// Why not.
    pub reason: Option<Reason>,
    /// Since when.
    pub since: Instant,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
}

/// A server's router in a pool (FS-12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AssignmentView {
    /// The pool.
    pub pool: PoolId,
    /// The server.
    pub target: TargetId,
    /// Its router.
    pub router: RouterId,
    /// Bytes a second that it sends through it.
    pub bytes_per_s: u64,
}
