//! A configuration that holds together.

use crate::check;
use crate::mistake::{ConfigErrors, ConfigWarning};
use crate::raw::Raw;
use crate::reader::Findings;
use control_health::RouterCheck;
use control_probe::Check;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use dataplane_message::{
    Admin, Boot, BridgePlan, Chooser, ClusterMode, DeadFlows, Fail, MacPlan, Mode, PortBoot, PortPlan,
    Redirect, Spread, Timeouts, UdpMode,
};
use dataplane_port::{PortId, VlanId};
use dataplane_wire::MacAddr;
use toml::de::DeTable;

/// The largest file that is read. 2,000 servers in 256 clusters have some 200 KiB.
pub const FILE_MAX: usize = 8 << 20;

/// A configuration. There is no way to make one that contradicts itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    pub(crate) switch: Switch,
    pub(crate) bridge: BridgePlan,
    pub(crate) ports: Vec<Port>,
    pub(crate) routers: Vec<Router>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) servers: Vec<Server>,
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) warnings: Vec<ConfigWarning>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Switch {
    pub(crate) name: String,
    pub(crate) mode: Mode,
    pub(crate) workers: u8,
    pub(crate) worker_cores: Vec<u16>,
    pub(crate) flows_max: u32,
    pub(crate) memory_mib: u32,
    pub(crate) hugepages: bool,
    pub(crate) choice_key: [u64; 2],
}

/// A port: what it is made of, and its part in the switch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Port {
    pub(crate) boot: PortBoot,
    pub(crate) plan: PortPlan,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) port: PortId,
    pub(crate) mac: MacPlan,
    pub(crate) admin: Admin,
    pub(crate) connections_max: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Router {
    pub(crate) name: String,
    pub(crate) port: PortId,
    pub(crate) vlan: VlanId,
    pub(crate) address: IpAddr,
    pub(crate) mac: Option<MacAddr>,
    pub(crate) check: Option<RouterCheck>,
}

/// A pool; its routers are places in the list of routers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) vlan: VlanId,
    pub(crate) address: IpAddr,
    pub(crate) routers: Vec<usize>,
    pub(crate) by_load: bool,
    pub(crate) spread: Spread,
    pub(crate) redirect: Redirect,
}

/// A cluster; its servers are places in the list of servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) vlan: VlanId,
    pub(crate) vip: IpAddr,
    pub(crate) vmac: MacAddr,
    pub(crate) mode: ClusterMode,
    pub(crate) fail: Fail,
    pub(crate) withdraw: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) udp: UdpMode,
    pub(crate) announce_interval_s: u16,
    pub(crate) dead_after_ms: u32,
    pub(crate) dead_tcp: DeadFlows,
    pub(crate) dead_other: DeadFlows,
    pub(crate) slow_start_ms: u32,
    pub(crate) probe_address: Option<IpAddr>,
    pub(crate) checks: Vec<Check>,
    pub(crate) servers: Vec<usize>,
    pub(crate) services: Vec<Service>,
}

/// A service; the last one of a cluster is its default.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) protocol: Option<u8>,
    pub(crate) ports: RangeInclusive<u16>,
    pub(crate) chooser: Chooser,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) quic: bool,
    pub(crate) members: Vec<Member>,
    pub(crate) passive: bool,
    pub(crate) quorum: u16,
    pub(crate) checks: Vec<Check>,
}

/// A server of a service: its place in the list of servers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    pub(crate) server: usize,
    pub(crate) weight: u16,
    pub(crate) backup: bool,
}

/// A service's affinity. Those of one cluster with the same group share their bindings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Affinity {
    pub(crate) prefix_v4: u8,
    pub(crate) prefix_v6: u8,
    pub(crate) idle_s: u16,
    pub(crate) group: Group,
}

/// Who shares bindings.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Group {
    /// All services of the cluster that name this group.
    Named(String),
    /// This service alone.
    Service(String),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// Every mistake in it, in the order of its lines.
    pub fn parse(text: &str) -> Result<Self, ConfigErrors> {
        let mut findings = Findings::new(text);
        let (table, malformed) = DeTable::parse_recoverable(text);
        for error in &malformed {
            findings.syntax(error.span().map_or(0, |span| span.start), error.message());
        }
        let raw = Raw::read(&mut findings, table.get_ref());
        let config = check::check(raw, &mut findings);
        if !malformed.is_empty() {
            findings.errors.retain(|error| !error.mistake.may_follow_from_syntax());
        }
        findings.errors.sort_by_key(|error| error.line);
        findings.warnings.sort_by_key(|warning| warning.line);
        match config {
            Some(config) if findings.errors.is_empty() => Ok(Self { warnings: findings.warnings, ..config }),
            _ => Err(ConfigErrors { errors: findings.errors, warnings: findings.warnings }),
        }
    }

    /// What works and should be known all the same.
    pub fn warnings(&self) -> &[ConfigWarning] {
        &self.warnings
    }

    /// The switch's name.
    pub fn name(&self) -> &str {
        &self.switch.name
    }

    /// What the data path is started with.
    pub fn boot(&self) -> Boot {
        let switch = &self.switch;
        Boot {
            name: switch.name.clone(),
            mode: switch.mode,
            workers: switch.workers,
            worker_cores: switch.worker_cores.clone(),
            flows_max: switch.flows_max,
            memory_mib: switch.memory_mib,
            hugepages: switch.hugepages,
            ports: self.ports.iter().map(|port| port.boot.clone()).collect(),
        }
    }
}
