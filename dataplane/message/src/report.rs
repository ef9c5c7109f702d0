//! What the data path sees and counts. Counters only rise; they begin at 0 with the data path.

use core::net::IpAddr;
use dataplane_flow::{ClusterId, RouterId, TargetId};
use dataplane_port::{PortId, VlanId};
use dataplane_wire::MacAddr;
use serde::{Deserialize, Serialize};

/// One report.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// Milliseconds since the data path's start.
    pub uptime_ms: u64,
    /// Ports, in the order of their numbers.
    pub ports: Vec<PortReport>,
    /// Servers, in the order of the plan.
    pub targets: Vec<TargetReport>,
    /// Clusters, in the order of the plan.
    pub clusters: Vec<ClusterCounts>,
    /// Servers in services, in the order of the plan.
    pub members: Vec<MemberReport>,
    /// Routers, in the order of the plan.
    pub routers: Vec<RouterReport>,
    /// The serial of the conditions that were taken last; 0: none yet.
    pub serial: u64,
    /// Servers of availability clusters, the primary first: the data path itself lets another one
    /// follow a primary that dies while control is away, or before it hears of it (FS-15).
    pub orders: Vec<(ClusterId, Vec<TargetId>)>,
    /// Workers.
    pub workers: Vec<WorkerReport>,
    /// Drops by reason: (name, frames), those that are not 0.
    pub drops: Vec<(String, u64)>,
    /// The newest alarms, at most 64, newest last.
    pub alarms: Vec<Alarm>,
    /// Learned addresses of the bridge, at most 1,024.
    pub bridge: Vec<BridgeRow>,
}

/// A port.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortReport {
    /// Its number.
    pub id: PortId,
    /// Carrier is present and the device attached.
    pub up: bool,
    /// The device is attached (false while its interface is gone).
    pub attached: bool,
    /// DPDK's driver and arguments.
    pub device: String,
    /// What the operator should know about this device, if anything.
    pub note: Option<String>,
    /// The device's own MAC address.
    pub mac: MacAddr,
    /// Counters.
    pub counts: PortCounts,
    /// The neighbour as it announces itself (LLDP).
    pub neighbour: Option<String>,
}

/// Frames and bytes of a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PortCounts {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device refused or lost.
    pub errors: u64,
}

/// A server.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TargetReport {
    /// Its number.
    pub id: TargetId,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// A MAC that claims to be this server's and is not the one in use.
    pub contender: Option<MacAddr>,
    /// It takes flows.
    pub up: bool,
    /// Counters.
    pub counts: TargetCounts,
}

/// What is counted per server (FS-32).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TargetCounts {
    /// Frames to it.
    pub in_frames: u64,
    /// Bytes to it.
    pub in_bytes: u64,
    /// Frames from it.
    pub out_frames: u64,
    /// Bytes from it.
    pub out_bytes: u64,
    /// Flows that were bound to it.
    pub flows_new: u64,
    /// Flows open now.
    pub flows_open: u64,
    /// Resets sent to its clients while it was dead (FS-10).
    pub resets: u64,
}

/// What is counted per cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ClusterCounts {
    /// Its number.
    pub id: ClusterId,
    /// New flows from outside.
    pub flows_new: u64,
    /// Flows its servers opened.
    pub flows_server: u64,
    /// Flows placed by hash alone: table full, flood, or mid-flow without entry.
    pub hashed: u64,
    /// ARP and ND questions for the VIP answered.
    pub answered: u64,
    /// By service, in the order of the plan.
    pub services: Vec<ServiceCounts>,
}

/// What is counted per service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ServiceCounts {
    /// New flows.
    pub flows_new: u64,
}

/// A server in a service (FS-31, FS-32).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MemberReport {
    /// The signs counted.
    pub signs: crate::MemberSigns,
    /// Times from SYN to SYN+ACK.
    pub connect: Histogram,
    /// Times from the first request to the first data of the answer.
    pub response: Histogram,
}

/// Times by powers of two: bucket `i` counts those below 2^(i+4) microseconds (16 us, 32 us, .. 8.4 s, more).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Counts; empty: none.
    pub buckets: Vec<u64>,
}

/// How many buckets a histogram has.
pub const HISTOGRAM_BUCKETS: usize = 20;

impl Histogram {
    /// The bucket of a time in microseconds.
    pub fn bucket(us: u64) -> usize {
        ((64 - (us >> 4).leading_zeros()) as usize).min(HISTOGRAM_BUCKETS - 1)
    }

    /// The time in microseconds that `percent` of the values are below, to within a factor of two: the upper
    /// end of its bucket; `None` when nothing was counted.
    pub fn percentile_us(&self, percent: u8) -> Option<u64> {
        let all: u64 = self.buckets.iter().sum();
        let wanted = (all * u64::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0;
        self.buckets
            .iter()
            .position(|count| {
                seen += count;
                seen >= wanted
            })
            .filter(|_| all > 0)
            .map(|bucket| 16 << bucket)
    }
}

/// A router (FS-32).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RouterReport {
    /// Its number.
    pub id: RouterId,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// It forwards, as far as is known.
    pub up: bool,
    /// Frames from it to VIPs.
    pub in_frames: u64,
    /// Bytes from it to VIPs.
    pub in_bytes: u64,
    /// Frames of servers to it.
    pub out_frames: u64,
    /// Bytes of servers to it.
    pub out_bytes: u64,
    /// Frames that were for it and were redirected to another one (FS-13).
    pub redirected: u64,
}

/// A worker.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WorkerReport {
    /// Its number.
    pub id: u8,
    /// Frames taken.
    pub frames: u64,
    /// Bursts with at least one frame.
    pub bursts: u64,
    /// Turns of the loop without any.
    pub idle: u64,
    /// Frames handed to other workers.
    pub handed: u64,
    /// Flow entries in use.
    pub flows: u64,
    /// Flow entries there is room for.
    pub flows_max: u64,
    /// Entries that made room for others.
    pub evicted: u64,
    /// Fragments held now.
    pub held: u64,
    /// The plan it works by.
    pub epoch: u64,
}

/// Something the operator should look at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Alarm {
    /// Milliseconds since the data path's start.
    pub at_ms: u64,
    /// How often in a row.
    pub count: u64,
    /// What.
    pub kind: AlarmKind,
    /// Where.
    pub port: PortId,
    /// In which VLAN.
    pub vlan: VlanId,
    /// By whom.
    pub mac: MacAddr,
    /// About which address.
    pub address: Option<IpAddr>,
}

/// What an alarm is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlarmKind {
    /// Somebody claims a VIP.
    VipClaimed,
    /// Somebody sends from a VMAC.
    ForeignVmac,
    /// A server port claims a router's address.
    RouterClaimed,
    /// A learned server's MAC would change.
    ServerMacChanged,
    /// A server tells another MAC than its own, or something on a server's port that is not that server
    /// speaks for the VIP.
    ServerWrongMac,
    /// An address moves between ports more than 5 times a second; frozen for 10 s.
    Flapping,
    /// Two servers opened the same connection (FS-25).
    PortTaken,
}

/// A learned address.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BridgeRow {
    /// The VLAN.
    pub vlan: VlanId,
    /// The address.
    pub mac: MacAddr,
    /// The port it was seen on.
    pub port: PortId,
    /// Pinned by configuration (server, router) rather than learned.
    pub pinned: bool,
}
