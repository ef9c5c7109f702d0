//! Health, roles, load, router pools, and what is set up wrong.

use super::{Rate, ServerState};
use core::net::IpAddr;
use serde::{Deserialize, Serialize};

/// A server's health (FS-10, FS-30, FS-31, FS-33).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HealthRow {
    /// The server's name.
    pub server: String,
    /// Its state.
    pub state: ServerState,
    /// Since when, RFC 3339, UTC; `None` where that is not known.
    pub since: Option<String>,
    /// Seconds since then.
    pub since_s: Option<u64>,
    /// Why it is not up.
    pub reason: Option<String>,
    /// It is presumed to be so: nothing has been counted yet.
    pub presumed: bool,
    /// Signs in its traffic count.
    pub passive: bool,
    /// Milliseconds that it has to stay good before it is up again, because it fell several times.
    pub hold_down_ms: u64,
    /// Flows not closed.
    pub flows_open: u64,
    /// Its drain, while there is one.
    pub drain: Option<DrainRow>,
    /// Services that it is part of.
    pub services: Vec<ServiceHealth>,
}

/// A drain.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DrainRow {
    /// Seconds since it began.
    pub since_s: u64,
    /// Flows not closed when it began.
    pub flows_first: u64,
    /// Flows not closed now.
    pub flows_open: u64,
    /// Seconds until what is left is closed; `None`: it is not.
    pub deadline_s: Option<u64>,
    /// Clients that are bound to the server stay so until they are idle.
    pub gentle: bool,
    /// Seconds until the last flow is gone, at the rate of late; `None`: that cannot be said.
    pub ends_in_s: Option<u64>,
    /// The time-out that it waits for: `established, 7440 s`.
    pub waits_for: Option<String>,
    /// All flows are gone, or were closed.
    pub done: bool,
}

/// A server's health in a service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceHealth {
    /// The cluster's name.
    pub cluster: String,
    /// The service's name.
    pub service: String,
    /// It takes new flows.
    pub open: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Its weight in force.
    pub weight: u16,
    /// Its weight without slow start and dynamic balancing.
    pub full_weight: u16,
    /// Percent of its weight that slow start gives it now.
    pub slow_start_percent: u8,
    /// It is a backup.
    pub backup: bool,
    /// Its checks.
    pub checks: Vec<CheckRow>,
}

/// A check of a server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CheckRow {
    /// In words: `tcp 80`.
    pub check: String,
    /// It is good, or presumed so.
    pub good: bool,
    /// How the newest probe failed, if it did.
    pub failure: Option<String>,
    /// Smoothed time of its good answers in microseconds; `None`: there is none yet.
    pub took_us: Option<u32>,
}

/// A server's role in an availability cluster (FS-14).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RoleRow {
    /// The server's name.
    pub server: String,
    /// `primary`, `secondary-operational` or `secondary-failed`.
    pub role: String,
}

/// A router pool (FS-12).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolRow {
    /// Its name.
    pub name: String,
    /// Its VLAN.
    pub vlan: u16,
    /// The servers' default router.
    pub address: IpAddr,
    /// `load` or `round-robin`.
    pub balance: String,
    /// `server` or `flow`.
    pub spread: String,
    /// `all` or `no-established`.
    pub redirect: String,
    /// Its routers, in the configured order.
    pub routers: Vec<PoolRouterRow>,
    /// Which server has which router, in the order of the servers' names.
    pub assignments: Vec<AssignmentRow>,
}

/// A router of a pool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PoolRouterRow {
    /// The router's name.
    pub router: String,
    /// `up`, `down` or `unknown`.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// How many servers have it.
    pub servers: usize,
    /// Bytes a second of servers to it.
    pub out_bytes_per_s: Rate,
    /// Its part of what all routers of the pool get, in percent.
    pub share_percent: Rate,
    /// Frames that were for it and went to another one.
    pub redirected: u64,
}

/// A server's router.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AssignmentRow {
    /// The server's name.
    pub server: String,
    /// The router's name.
    pub router: String,
    /// Bytes a second that the server sends through it.
    pub bytes_per_s: u64,
}

/// A server's load in a service (FS-9, FS-32). Percentiles are over the last minute, or since the data path's
/// start; each to within a factor of two.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LoadRow {
    /// The cluster's name.
    pub cluster: String,
    /// The service's name.
    pub service: String,
    /// The server's name.
    pub server: String,
    /// It takes new flows.
    pub open: bool,
    /// Its weight in force.
    pub weight: u16,
    /// New flows (TCP) of this service a second.
    pub flows_new_per_s: Rate,
    /// Microseconds from SYN to SYN+ACK that half of the connections stay below.
    pub connect_p50_us: Option<u64>,
    /// ... that 99 in 100 stay below.
    pub connect_p99_us: Option<u64>,
    /// Microseconds from a request to the first data of its answer that half stay below.
    pub response_p50_us: Option<u64>,
    /// ... that 99 in 100 stay below.
    pub response_p99_us: Option<u64>,
    /// Bytes a second to the server, of all services.
    pub in_bytes_per_s: Rate,
    /// Bytes a second from it, of all services.
    pub out_bytes_per_s: Rate,
}

/// Something that is set up wrong, and what mends it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FindingRow {
    /// What: `vip-not-bound`, ..
    pub kind: String,
    /// The cluster that it is about.
    pub cluster: Option<String>,
    /// The server that it is about.
    pub server: Option<String>,
    /// The router that it is about.
    pub router: Option<String>,
    /// The pool that it is about.
    pub pool: Option<String>,
    /// What is seen.
    pub problem: String,
    /// What to do.
    pub fix: String,
}
