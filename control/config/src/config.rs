//! A configuration that holds together.

use crate::check;
use crate::mistake::{ConfigErrors, ConfigWarning};
use crate::raw::Raw;
use crate::reader::Findings;
use core::net::IpAddr;
use core::ops::RangeInclusive;
use dataplane_message::{Admin, Boot};
use dataplane_message::{
    BridgePlan, Chooser, Fail, MacPlan, Mode, PortBoot, PortPlan, RouterPlan, Timeouts, UdpMode,
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
    pub(crate) routers: Vec<RouterPlan>,
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
}

/// A cluster; its servers are places in the list of servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Cluster {
    pub(crate) name: String,
    pub(crate) vlan: VlanId,
    pub(crate) vip: IpAddr,
    pub(crate) vmac: MacAddr,
    pub(crate) fail: Fail,
    pub(crate) withdraw: bool,
    pub(crate) timeouts: Timeouts,
    pub(crate) udp: UdpMode,
    pub(crate) announce_interval_s: u16,
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
    pub(crate) members: Vec<(usize, u16)>,
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
