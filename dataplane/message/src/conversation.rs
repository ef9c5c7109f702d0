//! Who says what, and when.
//!
//! 1. control connects and sends [`ToDataPath::Hello`];
//! 2. the data path answers [`ToControl::Snapshot`] with the plan in force;
//! 3. control sends [`ToDataPath::Apply`] with what differs, or nothing; the data path answers
//!    [`ToControl::Ack`] when every worker has taken it;
//! 4. control sends [`ToDataPath::Conditions`] whenever it has decided something;
//! 5. the data path sends [`ToControl::Signs`] every 20 ms if they have changed, at once when a link changes,
//!    and [`ToControl::Report`] every second.

use crate::{Conditions, Plan, Report, Signs, Step};
use core::net::IpAddr;
use dataplane_flow::{ClusterId, TargetId};
use dataplane_port::PortId;
use dataplane_wire::MacAddr;
use serde::{Deserialize, Serialize};

/// The version of these messages. Both sides refuse another one.
pub const VERSION: u16 = 2;

/// What the control core says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToDataPath {
    /// The first message on a connection. A newer connection replaces an older one.
    Hello {
        /// [`VERSION`].
        version: u16,
        /// Rises with each control process.
        sender: u64,
    },
    /// Change the plan, all steps or none.
    Apply {
        /// The number of the plan that results.
        epoch: u64,
        /// The steps, in order.
        steps: Vec<Step>,
    },
    /// What control has decided; replaces what was there.
    Conditions(Box<Conditions>),
    /// List flows; answered by one or more [`ToControl::Flows`].
    ListFlows {
        /// Returned with the answer.
        query: u32,
        /// Which ones.
        filter: FlowFilter,
    },
    /// The MAC that contends for a learning server is its own from now on (FS-1).
    AcceptMac {
        /// The server.
        target: TargetId,
        /// The MAC, as it was shown to the operator.
        mac: MacAddr,
    },
    /// Send one frame out of a port.
    Inject {
        /// The port.
        port: PortId,
        /// The frame, without FCS.
        frame: Vec<u8>,
    },
}

/// What the data path says.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum ToControl {
    /// The answer to Hello: what is in force.
    Snapshot {
        /// [`VERSION`].
        version: u16,
        /// Random, new at each start of the data path.
        boot_id: u64,
        /// The number of the plan in force; 0: none yet.
        epoch: u64,
        /// The plan in force.
        plan: Box<Plan>,
        /// What control decided last.
        conditions: Box<Conditions>,
        /// What has been counted and learned so far.
        report: Box<Report>,
    },
    /// Every worker has taken the plan of this number.
    Ack {
        /// The plan's number.
        epoch: u64,
    },
    /// The plan was refused and the old one stays.
    Refused {
        /// The plan's number.
        epoch: u64,
        /// Why.
        reason: String,
    },
    /// What is seen and counted.
    Report(Box<Report>),
    /// What the traffic shows of servers.
    Signs(Box<Signs>),
    /// Flows that were asked for.
    Flows {
        /// The number of the question.
        query: u32,
        /// The rows.
        rows: Vec<FlowRow>,
        /// No more rows follow.
        last: bool,
    },
    /// A frame for the control core.
    Punt {
        /// The port it came from.
        port: PortId,
        /// Its bytes, at most 2,048.
        frame: Vec<u8>,
    },
}

/// Which flows to list.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FlowFilter {
    /// Of this cluster.
    pub cluster: Option<ClusterId>,
    /// Bound to this server.
    pub target: Option<TargetId>,
    /// From this client.
    pub client: Option<IpAddr>,
    /// At most this many.
    pub limit: u32,
}

/// A flow as the operator sees it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowRow {
    /// Its cluster.
    pub cluster: ClusterId,
    /// IP protocol number.
    pub protocol: u8,
    /// What it is keyed by: `flow`, `address`, `ipsec`, `affinity`.
    pub kind: String,
    /// The client's (or, for a flow that a server opened, the peer's) address.
    pub client: IpAddr,
    /// Its port, or the echo identifier; 0 where the protocol has none.
    pub client_port: u16,
    /// The port of the VIP's side.
    pub vip_port: u16,
    /// The server it is bound to.
    pub target: TargetId,
    /// `handshake`, `established`, `half-closed`, `closed`, `one-way`, `both-ways`, `restored`.
    pub state: String,
    /// A server opened it (FS-25).
    pub from_server: bool,
    /// Seconds since its last packet: at most 4 fewer than they are.
    pub idle_s: u32,
    /// Seconds since it began, to within a second.
    pub age_s: u32,
    /// The worker that owns it.
    pub worker: u8,
}
