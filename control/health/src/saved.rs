//! What outlives a restart of both programs.

use dataplane_message::Admin;
use serde::{Deserialize, Serialize};

/// Roles and the operator's orders, by name, since numbers are those of one data path's life.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Saved {
    /// Availability clusters (FS-14).
    pub roles: Vec<SavedRoles>,
    /// Servers that the operator has changed.
    pub servers: Vec<SavedServer>,
    /// Weights that the operator has changed.
    pub weights: Vec<SavedWeight>,
}

/// Roles of a cluster's servers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SavedRoles {
    /// The cluster.
    pub cluster: String,
    /// The primary, if there is one.
    pub primary: Option<String>,
    /// Servers that have failed and not recovered.
    pub failed: Vec<String>,
}

/// A server that the operator has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedServer {
    /// The server.
    pub server: String,
    /// What it was set to.
    pub admin: Admin,
    /// Bindings of clients stay until idle.
    pub gentle: bool,
    /// Milliseconds that were left until the drain's deadline.
    pub deadline_ms: Option<u64>,
}

/// A weight that the operator has changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SavedWeight {
    /// The cluster.
    pub cluster: String,
    /// The service.
    pub service: String,
    /// The server.
    pub server: String,
    /// The weight.
    pub weight: u16,
    /// The plan's weight at the time of the order: when that changes, the order is over.
    pub planned: u16,
}
