//! What the operator may ask for at run time.

use dataplane_flow::{ClusterId, TargetId};
use thiserror::Error;

/// An order of the operator. It holds until the next one and survives restarts (see [`crate::Saved`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// No new flows; those it has finish (FS-33).
    Drain {
        /// The server.
        target: TargetId,
        /// Milliseconds after which what is left is closed; `None`: never.
        deadline_ms: Option<u64>,
        /// Clients that are bound to it stay so until they are idle.
        gentle: bool,
    },
    /// In service again; ends a drain.
    Enable {
        /// The server.
        target: TargetId,
    },
    /// Out of service at once; its flows are closed or moved as the cluster says.
    Disable {
        /// The server.
        target: TargetId,
    },
    /// Another weight, until the server's weight in the plan changes.
    Weight {
        /// The cluster.
        cluster: ClusterId,
        /// The service's place in the plan; `None`: every one that has the server.
        service: Option<u16>,
        /// The server.
        target: TargetId,
        /// `0..=1000`; 0 takes no new flows. `None`: the plan's again.
        weight: Option<u16>,
    },
    /// Another primary (FS-15).
    Switchover {
        /// The cluster.
        cluster: ClusterId,
        /// Who; `None`: the first one that is operational.
        to: Option<TargetId>,
        /// The old primary's flows are reset instead of finishing.
        reset: bool,
    },
}

/// Why an order is not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OrderError {
    /// There is no such server.
    #[error("there is no such server in the plan in force; `flowctl show servers` lists them")]
    NoTarget,
    /// There is no such cluster.
    #[error("there is no such cluster in the plan in force; `flowctl show clusters` lists them")]
    NoCluster,
    /// The server is not in that cluster or service.
    #[error("the server is not a member of that cluster or service")]
    NoMember,
    /// The weight is too large.
    #[error("a weight is 0 to 1000")]
    Weight,
    /// The cluster shares load.
    #[error("the cluster shares its load among all servers; only `mode = \"availability\"` has a primary")]
    NotAvailability,
    /// The server is the primary already.
    #[error("the server is the primary already")]
    AlreadyPrimary,
    /// Nobody could take over.
    #[error("no other server of the cluster is operational; the primary stays")]
    NoneOperational,
    /// The named one could not take over.
    #[error("the server is not operational; the primary stays")]
    NotOperational,
}
