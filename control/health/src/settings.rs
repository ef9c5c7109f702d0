//! What the configuration says about health, beside the plan. Numbers are the plan's.

use control_probe::Check;
use core::net::IpAddr;
use dataplane_flow::{ClusterId, PoolId, RouterId, TargetId};

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Settings {
    /// Clusters, in the order of the plan.
    pub clusters: Vec<ClusterCare>,
    /// Servers, in the order of the plan.
    pub servers: Vec<ServerCare>,
    /// Routers, in the order of the plan.
    pub routers: Vec<RouterCare>,
    /// Pools, in the order of the plan.
    pub pools: Vec<PoolCare>,
}

/// A cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClusterCare {
    /// Its number.
    pub id: ClusterId,
    /// Milliseconds without any sign of life after which a server is dead (FS-10), `500..=600_000`.
    pub dead_after_ms: u32,
    /// Milliseconds over which a server that comes back gets its full share (FS-33); 0: at once.
    pub slow_start_ms: u32,
    /// Checks of its servers, in every service.
    pub checks: Vec<Check>,
    /// Its services, in the order of the plan.
    pub services: Vec<ServiceCare>,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceCare {
    /// Checks of its servers for this service alone.
    pub checks: Vec<Check>,
    /// Signs in the traffic count (FS-31).
    pub passive: bool,
    /// Backups are taken when fewer of the others are up (FS-34); 0: when none is.
    pub quorum: u16,
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerCare {
    /// Its number.
    pub id: TargetId,
    /// Its default router, where it differs from the cluster's probe address.
    pub gateway: Option<IpAddr>,
    /// Bytes of the largest IP packet on its port; the doctor asks whether the server takes one (of at most
    /// 1,500).
    pub mtu: u16,
}

/// A router.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterCare {
    /// Its number.
    pub id: RouterId,
    /// How it is watched; `None`: only its link is.
    pub check: Option<RouterCheck>,
}

/// How a router is watched (FS-13): unicast ARP or neighbour solicitation, and echo through it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterCheck {
    /// Milliseconds from one probe to the next, `10..=600_000`.
    pub interval_ms: u32,
    /// Milliseconds until a probe without answer has failed, `10..=interval_ms`.
    pub timeout_ms: u32,
    /// Successes in a row after which it is up, `1..=100`.
    pub rise: u16,
    /// Failures in a row after which it is down, `1..=100`.
    pub fall: u16,
    /// An address beyond it that must answer an echo request sent through it.
    pub through: Option<IpAddr>,
}

/// A router pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PoolCare {
    /// Its number.
    pub id: PoolId,
    /// By measured load; else round robin by server (FS-12).
    pub by_load: bool,
}
