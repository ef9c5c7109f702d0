//! What the traffic itself shows of servers (FS-31): sent every 20 ms if anything has changed.

use dataplane_flow::{ClusterId, TargetId};
use dataplane_port::PortSet;
use serde::{Deserialize, Serialize};

/// Signs of servers. Counters only rise; they begin at 0 with the data path. Rows that have not changed since
/// the last message are left out; the first message on a connection has all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Signs {
    /// Microseconds since the data path's start.
    pub uptime_us: u64,
    /// Ports that are attached and have carrier.
    pub up: PortSet,
    /// Per server.
    pub targets: Vec<TargetSigns>,
    /// Per service and server.
    pub members: Vec<MemberSigns>,
}

/// A server's signs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TargetSigns {
    /// Which server.
    pub id: TargetId,
    /// Frames to it.
    pub in_frames: u64,
    /// Frames from it, of any kind: ARP and ND included, answers to probes too.
    pub out_frames: u64,
    /// Flows not closed.
    pub flows_open: u64,
}

/// A server's signs in one service: of TCP flows that clients opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MemberSigns {
    /// The cluster.
    pub cluster: ClusterId,
    /// The service's place in the plan.
    pub service: u16,
    /// The server.
    pub target: TargetId,
    /// Flows opened by a SYN; repetitions are not counted.
    pub opened: u64,
    /// ... of which the server answered with SYN+ACK.
    pub accepted: u64,
    /// ... whose handshake the client completed.
    pub completed: u64,
    /// ... that the server refused by a reset.
    pub refused: u64,
    /// SYNs that were repeated before the server answered.
    pub repeated: u64,
    /// Handshakes that the client completed though no SYN+ACK passed here: another return path.
    pub bypassed: u64,
    /// Flows whose client has sent a request (its first data).
    pub requests: u64,
    /// ... that the server has answered by its first data.
    pub responses: u64,
    /// Established flows that the server reset.
    pub resets: u64,
    /// Smoothed time from SYN to SYN+ACK in microseconds; 0: none yet.
    pub connect_us: u32,
    /// Smoothed time from the first request to the first data of the answer in microseconds; 0: none yet.
    pub response_us: u32,
}
