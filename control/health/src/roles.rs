//! Roles of servers in an availability cluster (FS-14, FS-15).

use serde::{Deserialize, Serialize};

/// A server's role.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// All that clients open goes to it.
    Primary,
    /// It could take over.
    SecondaryOperational,
    /// It could not.
    SecondaryFailed,
}
