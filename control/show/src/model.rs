//! Rows, with names where the data path has numbers.
//!
//! Counters are numbers that only rise and begin at 0 with the data path; rates are per second over the
//! last report or two, and absent until there have been two.

mod health;

pub use health::{
    AssignmentRow, CheckRow, DrainRow, FindingRow, HealthRow, LoadRow, PoolRouterRow, PoolRow, RoleRow,
    ServiceHealth,
};

use core::net::IpAddr;
use dataplane_wire::MacAddr;
use serde::{Deserialize, Serialize};

/// One view, with what it is a view of.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// The switch's name.
    pub switch: String,
    /// When this was put together, RFC 3339, UTC.
    pub at: String,
    /// Where the figures come from.
    pub data_path: DataPath,
    /// The figures, under a key of the view's name.
    #[serde(flatten)]
    pub view: View,
}

/// The data path, as the control core sees it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct DataPath {
    /// It is connected.
    pub connected: bool,
    /// The number of the plan in force; 0: none.
    pub plan: u64,
    /// Milliseconds since its last report.
    pub report_age_ms: Option<u64>,
    /// Milliseconds since its start, by its last report.
    pub uptime_ms: Option<u64>,
    /// What the operator should know: a refused plan, a file with mistakes.
    pub note: Option<String>,
}

/// The figures.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum View {
    /// Clusters in the order of their names.
    Clusters(Vec<ClusterRow>),
    /// Servers in the order of their names.
    Servers(Vec<ServerRow>),
    /// Flows in the order of their clients.
    Flows(Vec<FlowRow>),
    /// Ports in the order of their numbers.
    Ports(Vec<PortRow>),
    /// Workers in the order of their numbers.
    Workers(Vec<WorkerRow>),
    /// Drops, the most frequent first.
    Drops(Vec<DropRow>),
    /// Routers in the file's order.
    Routers(Vec<RouterRow>),
    /// Servers' health, in the order of their names.
    Health(Vec<HealthRow>),
    /// Router pools in the file's order.
    Pools(Vec<PoolRow>),
    /// Load by service and server, in the order of their names.
    Load(Vec<LoadRow>),
    /// What is set up wrong: the answer to `doctor`.
    Findings(Vec<FindingRow>),
    /// Learned and pinned addresses.
    Bridge(Vec<BridgeRow>),
    /// Alarms, newest last.
    Alarms(Vec<AlarmRow>),
    /// Versions.
    Version(Box<VersionRow>),
}

/// Something per second.
pub type Rate = Option<f64>;

/// Frames and bytes one way.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Traffic {
    /// Frames.
    pub frames: u64,
    /// Bytes.
    pub bytes: u64,
    /// Frames a second.
    pub frames_per_s: Rate,
    /// Bytes a second.
    pub bytes_per_s: Rate,
}

/// A cluster.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ClusterRow {
    /// Its name.
    pub name: String,
    /// Its VLAN.
    pub vlan: u16,
    /// Its address.
    pub vip: IpAddr,
    /// Its virtual MAC.
    pub vmac: MacAddr,
    /// `load-sharing` or `availability`.
    pub mode: String,
    /// Roles of its servers in the configured order; empty where it shares load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<RoleRow>,
    /// How many servers it has.
    pub servers: usize,
    /// How many of them take new flows.
    pub servers_up: usize,
    /// New flows from outside.
    pub flows_new: u64,
    /// New flows a second.
    pub flows_new_per_s: Rate,
    /// Flows that its servers opened.
    pub flows_server: u64,
    /// Flows placed by hash alone.
    pub hashed: u64,
    /// ARP and ND questions for the VIP answered.
    pub answered: u64,
    /// `closed` or `open`: what happens when no server is up.
    pub fail: String,
    /// Its services; the last one is the default.
    pub services: Vec<ServiceRow>,
}

/// A service.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Its name.
    pub name: String,
    /// `tcp`, `udp`, .., a number, or `any`.
    pub protocol: String,
    /// `443`, `8000-8100` or `any`.
    pub ports: String,
    /// How a server is chosen.
    pub chooser: String,
    /// Names of its backups (FS-34).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backups: Vec<String>,
    /// The backups take new flows.
    #[serde(default)]
    pub backups_taken: bool,
    /// How clients are bound, if they are.
    pub affinity: Option<AffinityRow>,
    /// New flows.
    pub flows_new: u64,
    /// New flows a second.
    pub flows_new_per_s: Rate,
}

/// How clients are bound to servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AffinityRow {
    /// Leading bits of an IPv4 client's address.
    pub prefix_v4: u8,
    /// Leading bits of an IPv6 client's address.
    pub prefix_v6: u8,
    /// Seconds without a packet after which a binding ends.
    pub idle_s: u16,
}

/// A server.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ServerRow {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: ServerState,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// The address is learned rather than configured.
    pub mac_learned: bool,
    /// A MAC that claims to be this server's and is not the one in use.
    pub contender: Option<MacAddr>,
    /// The port it is behind.
    pub port: String,
    /// Its clusters, with its weight in each.
    pub clusters: Vec<Membership>,
    /// Flows open now.
    pub flows_open: u64,
    /// Flows that were bound to it.
    pub flows_new: u64,
    /// New flows a second.
    pub flows_new_per_s: Rate,
    /// To the server.
    #[serde(rename = "in")]
    pub inbound: Traffic,
    /// From the server.
    #[serde(rename = "out")]
    pub outbound: Traffic,
}

/// What a server does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerState {
    /// Takes new flows.
    Up,
    /// Takes none: it fails its checks; flows that it has stay.
    Down,
    /// Its link is down, or it answers nothing: its flows are closed or moved (FS-10).
    Dead,
    /// Its MAC address is not known yet.
    Learning,
    /// Takes no new flows, old ones finish.
    Draining,
    /// Taken out, and its last flow has ended.
    Drained,
    /// Out of service by the operator's will.
    Disabled,
    /// The data path has not said anything about it yet.
    Unknown,
}

impl ServerState {
    /// The state's name in tables and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Dead => "dead",
            Self::Learning => "learning",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Disabled => "disabled",
            Self::Unknown => "unknown",
        }
    }
}

/// A server in a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Membership {
    /// The cluster's name.
    pub cluster: String,
    /// The weight in its default service.
    pub weight: u16,
    /// The weights in its other services, those that it is part of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceWeight>,
}

/// A server in a service.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ServiceWeight {
    /// The service's name.
    pub service: String,
    /// The weight in it.
    pub weight: u16,
}

/// A flow.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlowRow {
    /// Its cluster.
    pub cluster: String,
    /// `tcp`, `udp`, .., or a number.
    pub protocol: String,
    /// What it is keyed by: `flow`, `address`, `ipsec`, `affinity`.
    pub kind: String,
    /// The client's address (for a flow that a server opened: the peer's).
    pub client: IpAddr,
    /// The client's port, or the echo identifier; 0 where the protocol has none.
    pub client_port: u16,
    /// The port of the VIP's side.
    pub vip_port: u16,
    /// The server it is bound to.
    pub server: String,
    /// Its state.
    pub state: String,
    /// A server opened it (FS-25).
    pub from_server: bool,
    /// Seconds since its last packet.
    pub idle_s: u32,
    /// Seconds since it began.
    pub age_s: u32,
    /// The worker that owns it.
    pub worker: u8,
}

/// A port.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PortRow {
    /// Its number.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// `outside` or `server`.
    pub role: String,
    /// `up`, `down` or `detached`; `unknown` before the first report.
    pub state: String,
    /// The device is attached (false while its interface is gone).
    pub attached: bool,
    /// DPDK's driver and arguments.
    pub device: String,
    /// The device's own MAC address.
    pub mac: Option<MacAddr>,
    /// The VLAN without tag.
    pub untagged: Option<u16>,
    /// The VLANs with tag.
    pub tagged: Vec<u16>,
    /// Received.
    pub rx: Traffic,
    /// Sent.
    pub tx: Traffic,
    /// Frames that the device refused or lost.
    pub errors: u64,
    /// Who is at the other end, as it announces itself.
    pub neighbour: Option<String>,
    /// What the operator should know about the device.
    pub note: Option<String>,
}

/// A worker.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkerRow {
    /// Its number.
    pub number: u8,
    /// Frames taken.
    pub frames: u64,
    /// Frames a second.
    pub frames_per_s: Rate,
    /// Frames in a burst, on average since the start.
    pub frames_per_burst: Option<f64>,
    /// Share of the loop's turns that brought a frame, in percent, over the last report or two.
    pub busy_percent: Rate,
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
    pub plan: u64,
}

/// Drops of one reason.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DropRow {
    /// The reason.
    pub reason: String,
    /// Frames.
    pub frames: u64,
    /// Frames a second.
    pub frames_per_s: Rate,
}

/// A router.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RouterRow {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its MAC address, once known.
    pub mac: Option<MacAddr>,
    /// The port it is behind.
    pub port: String,
    /// Its VLAN.
    pub vlan: u16,
    /// `up`, `down`, or `unknown` before the first report.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Since when, RFC 3339, UTC; `None` where that is not known.
    pub since: Option<String>,
    /// The state of its port.
    pub port_state: String,
    /// From it to VIPs.
    #[serde(rename = "in")]
    pub inbound: Traffic,
    /// From servers to it.
    #[serde(rename = "out")]
    pub outbound: Traffic,
    /// Frames that were for it and went to another one (FS-13).
    pub redirected: u64,
}

/// A learned or pinned address.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BridgeRow {
    /// The VLAN.
    pub vlan: u16,
    /// The address.
    pub mac: MacAddr,
    /// The port it was seen on.
    pub port: String,
    /// Pinned by the configuration rather than learned.
    pub pinned: bool,
}

/// Something the operator should look at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AlarmRow {
    /// When, RFC 3339, UTC.
    pub at: String,
    /// How often in a row.
    pub count: u64,
    /// What: `vip-claimed`, ..
    pub kind: String,
    /// Where.
    pub port: String,
    /// In which VLAN.
    pub vlan: u16,
    /// By whom.
    pub mac: MacAddr,
    /// About which address.
    pub address: Option<IpAddr>,
}

/// Versions and what is in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionRow {
    /// Of `flowswitchd`.
    pub flowswitchd: String,
    /// Of the messages between control core and data path.
    pub messages: u16,
    /// The data path's random number of this start.
    pub boot_id: Option<String>,
    /// The configuration file.
    pub file: String,
    /// When it was last read and found good, RFC 3339, UTC.
    pub read_at: String,
    /// Process number of the control core.
    pub pid: u32,
}
