//! Questions and answers on the local socket.

use crate::Shown;
use control_config::Finding;
use core::net::IpAddr;
use dataplane_wire::MacAddr;
use serde::{Deserialize, Serialize};

/// The socket's name in the runtime directory.
pub const SOCKET: &str = "flowctl.sock";

/// The longest request, its line end included.
pub const REQUEST_MAX: usize = 64 * 1024;

/// The most flows that one request lists.
pub const FLOWS_MAX: u32 = 100_000;

/// What can be asked, as one line: `{"show":"clusters"}`, `{"order":{"enable":{"server":"web-1"}}}`,
/// `"doctor"`, `"reload"`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Show something. Changes nothing.
    Show(What),
    /// Take the MAC that contends for a learning server for its own (FS-1).
    Accept {
        /// The server's name.
        server: String,
    },
    /// Change what holds at run time.
    Order(Order),
    /// Tell what is set up wrong, and what mends it. Changes nothing.
    Doctor,
    /// Read the configuration again and apply what differs.
    Reload,
}

/// What the operator may change at run time. It holds until the next order and survives restarts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// No new flows for a server; those it has finish (FS-33).
    Drain {
        /// The server's name.
        server: String,
        /// Milliseconds after which what is left is closed; absent: never.
        #[serde(default)]
        deadline_ms: Option<u64>,
        /// Clients that are bound to it stay so until they are idle.
        #[serde(default)]
        gentle: bool,
    },
    /// A server is in service again.
    Enable {
        /// The server's name.
        server: String,
    },
    /// A server is out of service at once; its flows are closed or moved as its cluster says.
    Disable {
        /// The server's name.
        server: String,
    },
    /// Another weight.
    Weight {
        /// The server's name.
        server: String,
        /// `0..=1000`; absent: the configuration's again.
        #[serde(default)]
        weight: Option<u16>,
        /// The cluster's name; needed where the server is in several.
        #[serde(default)]
        cluster: Option<String>,
        /// The service's name; absent: every one that has the server.
        #[serde(default)]
        service: Option<String>,
    },
    /// Another primary of an availability cluster (FS-15).
    Switchover {
        /// The cluster's name.
        cluster: String,
        /// The new primary's name; absent: the first one that is operational.
        #[serde(default)]
        to: Option<String>,
        /// The old primary's flows are reset instead of finishing.
        #[serde(default)]
        reset: bool,
    },
}

/// What can be shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum What {
    /// Clusters and their services.
    Clusters,
    /// Servers.
    Servers,
    /// Flows.
    Flows(FlowQuery),
    /// Ports.
    Ports,
    /// Workers.
    Workers,
    /// Drops by reason.
    Drops,
    /// Routers.
    Routers,
    /// Servers' health.
    Health(HealthQuery),
    /// Router pools.
    Pools,
    /// Load by service and server.
    Load,
    /// Learned addresses.
    Bridge,
    /// Alarms.
    Alarms,
    /// Versions and what is in force.
    Version,
}

/// Which flows to show.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowQuery {
    /// Of the cluster of this name.
    pub cluster: Option<String>,
    /// Bound to the server of this name.
    pub server: Option<String>,
    /// From this client.
    pub client: Option<IpAddr>,
    /// In this state.
    pub state: Option<String>,
    /// At most this many; 0, or absent: [`FLOWS_MAX`].
    pub limit: u32,
}

/// Whose health to show.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthQuery {
    /// Of the server of this name; absent: of all.
    pub server: Option<String>,
}

/// The answer, as one line: `{"shown":{..}}`, `{"ordered":{..}}`, `{"reloaded":{..}}`, `{"accepted":{..}}` or
/// `{"refused":{..}}`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What was asked for.
    Shown(Box<Shown>),
    /// The configuration has been read again and is in force.
    Reloaded(Reloaded),
    /// The server has another MAC now.
    Accepted(Accepted),
    /// The order holds.
    Ordered(Ordered),
    /// Nothing was done.
    Refused(Refusal),
}

/// What was ordered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ordered {
    /// What holds from now on, in words.
    pub text: String,
}

/// What was accepted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accepted {
    /// The server's name.
    pub server: String,
    /// Its MAC from now on.
    pub mac: MacAddr,
}

/// What a reload did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of the plan in force.
    pub plan: u64,
    /// What was changed, a line each; empty: nothing differed.
    pub changes: Vec<String>,
    /// What works and should be known.
    pub warnings: Vec<Finding>,
}

/// Why a request was not carried out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// Which kind of reason.
    pub kind: RefusalKind,
    /// The reason in words.
    pub message: String,
    /// A file's mistakes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<Finding>,
    /// What differs and needs a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// Kinds of refusals.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// The request was not understood.
    BadRequest,
    /// A name that nothing has.
    UnknownName,
    /// The order cannot be carried out as things are.
    OrderRefused,
    /// No other MAC claims to be that server.
    NothingToAccept,
    /// The data path is not there.
    DataPathDown,
    /// The data path did not answer in time.
    Timeout,
    /// Too many clients at once.
    Busy,
    /// The file cannot be read.
    Unreadable,
    /// The file has mistakes; the old configuration stays in force.
    Mistakes,
    /// The change needs a restart; the old configuration stays in force.
    NeedsRestart,
    /// The data path refused the plan; the old one stays in force.
    PlanRefused,
}

impl Refusal {
    /// A refusal in words alone.
    pub fn new(kind: RefusalKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), mistakes: Vec::new(), changes: Vec::new() }
    }
}
