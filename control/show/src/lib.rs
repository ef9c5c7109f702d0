//! What the switch shows.
//!
//! [`View`] is the one model behind every output: tables, JSON, and later the console, SNMP and
//! metrics. [`Request`] and [`Answer`] are how it is asked for, a line of JSON each way on the local
//! socket [`SOCKET`].

mod client;
mod model;
mod protocol;

pub use client::{AskError, ask};
pub use control_config::Finding;
pub use model::{
    AffinityRow, AlarmRow, AssignmentRow, BridgeRow, CheckRow, ClusterRow, DataPath, DrainRow, DropRow,
    FindingRow, FlowRow, HealthRow, LoadRow, Membership, PoolRouterRow, PoolRow, PortRow, Rate, RoleRow,
    RouterRow, ServerRow, ServerState, ServiceHealth, ServiceRow, ServiceWeight, Shown, Traffic, VersionRow,
    View, WorkerRow,
};
pub use protocol::{
    Accepted, Answer, FLOWS_MAX, FlowQuery, HealthQuery, Order, Ordered, REQUEST_MAX, Refusal, RefusalKind,
    Reloaded, Request, SOCKET, What,
};
