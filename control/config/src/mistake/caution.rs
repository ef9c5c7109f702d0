//! What works and should be known all the same.

use thiserror::Error;

/// What the operator should know.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Caution {
    /// Servers of one cluster on a shared port (FS-3).
    #[error(
        "port {port} is shared with server {other} of this cluster: steering works, isolation between the two is theirs (FS-3)"
    )]
    SharedPort {
        /// The port.
        port: String,
        /// The server that was there first.
        other: String,
    },
    /// No server of a service takes new flows.
    #[error("every weight is 0, so no server takes new flows")]
    AllWeightsZero,
    /// No server of a cluster is in service.
    #[error("no server of this cluster is enabled, so it takes no new flows")]
    NoneEnabled,
    /// A service that never matches.
    #[error("service {by} takes all of this traffic before, so this service never matches; list it first")]
    Shadowed {
        /// The service before it.
        by: String,
    },
    /// A service that matches only in part.
    #[error("service {by} takes part of this traffic before; the first that matches counts")]
    Overlaps {
        /// The service before it.
        by: String,
    },
    /// A server that no cluster uses.
    #[error("no cluster uses this server")]
    Unused,
    /// A driver that loses fragments.
    #[error("with DPDK 22.11 this driver loses IPv4 fragments; af_xdp does not")]
    Fragments,
    /// Frames larger than a page.
    #[error("af_xdp cannot carry frames larger than a page, so the device may refuse this mtu; pcap can")]
    Jumbo,
    /// A setting that an availability cluster does not use.
    #[error(
        "with mode = \"availability\" every new flow goes to the primary, so this has no effect; remove it (FS-14)"
    )]
    RolesDecide,
    /// A server would be dead before one of its checks has failed.
    #[error(
        "{fall} probes of {timeout_ms} ms are longer than dead_after_ms = {dead_after_ms}: a server that answers nothing is dead before this check has failed"
    )]
    DeadBefore {
        /// Failures in a row.
        fall: u16,
        /// A probe's time-out.
        timeout_ms: u32,
        /// `dead_after_ms`.
        dead_after_ms: u32,
    },
    /// A quorum without backups.
    #[error("there is no backup that a quorum could call for; add `backup = true` to a server")]
    NoBackups,
    /// A pool of one.
    #[error("the pool has one router, so nothing can be spread or redirected; add another one")]
    OneRouter,
}
