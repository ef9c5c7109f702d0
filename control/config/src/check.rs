//! What the parts of a file say to each other.
//!
//! A part that is broken has been reported; what follows from it is left out, so that one mistake is
//! one message.

mod checks;
mod clusters;
mod hosts;
mod pools;
mod ports;

use crate::config::{Config, Switch};
use crate::mistake::{Caution, Mistake};
use crate::nearest::nearest;
use crate::profile::Profile;
use crate::raw::{Raw, RawBridge, RawSwitch};
use crate::reader::Findings;
use core::net::IpAddr;
use dataplane_message::{BridgePlan, Mode, PortRole};
use dataplane_port::VlanId;
use dataplane_wire::MacAddr;
use std::collections::HashMap;

/// The first 32 hexadecimal digits of π behind the point: a number that nobody could choose.
const CHOICE_KEY: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];

/// What a VLAN is where the file names none.
const VLAN: u16 = 1;

/// What the checks of one part tell those of the next.
#[derive(Default)]
struct Facts {
    ports: Names<PortFacts>,
    servers: Names<ServerFacts>,
    routers: Names<()>,
    /// Whose a MAC address is, in words.
    macs: HashMap<MacAddr, String>,
    /// Whose an address is, in words.
    addresses: HashMap<(VlanId, IpAddr), String>,
}

/// What is known of a port; `None` where its table is broken.
struct PortFacts {
    role: Option<PortRole>,
    vlans: Option<Vec<VlanId>>,
    shared: Option<bool>,
}

/// What is known of a server.
struct ServerFacts {
    port: Option<usize>,
    enabled: bool,
}

/// The tables of one kind, by name and in the order of the file.
struct Names<T> {
    order: Vec<(String, T)>,
    places: HashMap<String, usize>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { order: Vec::new(), places: HashMap::new() }
    }
}

impl<T> Names<T> {
    fn push(&mut self, name: &str, facts: T) {
        self.places.insert(name.to_owned(), self.order.len());
        self.order.push((name.to_owned(), facts));
    }

    fn name(&self, place: usize) -> &str {
        &self.order[place].0
    }

    fn facts(&self, place: usize) -> &T {
        &self.order[place].1
    }

    /// The place of `name`, or the mistake that there is none.
    fn find(&self, name: &str, kind: &'static str, table: &'static str) -> Result<usize, Mistake> {
        self.places.get(name).copied().ok_or_else(|| Mistake::Unknown {
            kind,
            name: name.to_owned(),
            nearest: nearest(name, self.order.iter().map(|(name, _)| name.as_str())).map(str::to_owned),
            table,
        })
    }
}

impl Facts {
    fn port(&self, name: &str) -> Result<usize, Mistake> {
        self.ports.find(name, "port", "ports")
    }

    /// A mistake if the port is known not to be in the VLAN.
    fn in_vlan(&self, port: usize, vlan: VlanId) -> Result<(), Mistake> {
        match &self.ports.facts(port).vlans {
            Some(vlans) if !vlans.contains(&vlan) => {
                Err(Mistake::PortNotInVlan { port: self.ports.name(port).to_owned(), vlan: vlan.0 })
            }
            _ => Ok(()),
        }
    }

    /// Gives a MAC address to `owner`, unless somebody has it.
    fn take_mac(&mut self, mac: MacAddr, owner: String) -> Result<(), Mistake> {
        match self.macs.get(&mac) {
            Some(other) => Err(Mistake::MacTaken { mac: mac.to_string(), owner: other.clone() }),
            None => {
                self.macs.insert(mac, owner);
                Ok(())
            }
        }
    }

    /// Gives an address to `owner`, unless somebody has it in that VLAN.
    fn take_address(&mut self, vlan: VlanId, address: IpAddr, owner: String) -> Result<(), Mistake> {
        match self.addresses.get(&(vlan, address)) {
            Some(other) => Err(Mistake::AddressTaken {
                address: address.to_string(),
                vlan: vlan.0,
                owner: other.clone(),
            }),
            None => {
                self.addresses.insert((vlan, address), owner);
                Ok(())
            }
        }
    }
}

impl Findings {
    /// Reports the mistake if there is one; whether there was none.
    fn expect(&mut self, path: &str, result: Result<(), Mistake>) -> bool {
        match result {
            Ok(()) => true,
            Err(mistake) => {
                self.error(path, mistake);
                false
            }
        }
    }
}

/// Checks a file; `None` when something in it is wrong, and then it has been reported.
pub(crate) fn check(raw: Raw, findings: &mut Findings) -> Option<Config> {
    let mut facts = Facts::default();
    let switch = switch(raw.switch, findings);
    let hugepages = switch.as_ref().map(|switch| switch.hugepages);
    let bridge = bridge(raw.bridge, findings);
    let ports = ports::check(raw.ports, hugepages, &mut facts, findings);
    let servers = hosts::servers(raw.servers, &mut facts, findings);
    let routers = hosts::routers(raw.routers, &mut facts, findings);
    let pools = pools::check(raw.pools, routers.as_deref(), &mut facts, findings);
    let clusters = clusters::check(raw.clusters, &mut facts, findings);
    let clusters = clusters.and_then(|clusters| {
        pools::probe_addresses(&clusters, routers.as_deref(), pools.as_deref(), &facts, findings);
        whole(clusters)
    });
    if let (Some(clusters), Some(servers)) = (&clusters, &servers) {
        for (place, server) in servers.iter().enumerate() {
            if !clusters.iter().any(|cluster| cluster.servers.contains(&place)) {
                findings.warning(format!("servers.{}", server.name), Caution::Unused);
            }
        }
    }
    Some(Config {
        switch: switch?,
        bridge: bridge?,
        ports: ports?,
        routers: routers?,
        pools: pools?,
        servers: servers?,
        clusters: clusters?,
        warnings: Vec::new(),
    })
}

fn switch(raw: RawSwitch, findings: &mut Findings) -> Option<Switch> {
    let profile = raw.mode.given().copied().map_or_else(|| Profile::of(Mode::default()), Profile::of);
    let named_workers = raw.workers.given().copied();
    let mode = raw.mode.or(Mode::default());
    let cores = raw.worker_cores.or(Vec::new());
    let mut workers = raw.workers.or(profile.workers);
    if let (Some(cores), Some(_)) = (&cores, mode) {
        for (i, core) in cores.iter().enumerate() {
            if cores[..i].iter().any(|before| before.value == core.value) {
                findings.error(core.path.as_str(), Mistake::Twice { value: format!("core {}", core.value) });
            }
        }
        if cores.len() > dataplane_port::WORKERS_MAX {
            let most = dataplane_port::WORKERS_MAX;
            findings
                .error("switch.worker_cores", Mistake::TooMany { things: "cores", count: cores.len(), most });
        } else if cores.is_empty() && profile.pinned {
            findings.error("switch.worker_cores", Mistake::NoCores);
        } else if !cores.is_empty() {
            match named_workers {
                Some(workers) if usize::from(workers) != cores.len() => {
                    let mistake = Mistake::WorkersAndCores { workers, cores: cores.len() };
                    findings.error("switch.worker_cores", mistake);
                }
                Some(_) => {}
                None => workers = workers.map(|_| cores.len() as u8),
            }
        }
    }
    Some(Switch {
        name: raw.name.or("flowswitch".to_owned())?,
        mode: mode?,
        workers: workers?,
        worker_cores: cores?.into_iter().map(|core| core.value).collect(),
        flows_max: raw.flows_max.or(profile.flows_max)?,
        memory_mib: raw.memory_mib.or(profile.memory_mib)?,
        hugepages: raw.hugepages.or(profile.hugepages)?,
        choice_key: raw.choice_key.or(CHOICE_KEY)?,
    })
}

fn bridge(raw: RawBridge, findings: &mut Findings) -> Option<BridgePlan> {
    let default = BridgePlan::default();
    let all_given = !raw.addresses_max.is_missing();
    let port_given = !raw.addresses_port_max.is_missing();
    let all = raw.addresses_max.or(default.addresses_max);
    let mut port = raw.addresses_port_max.or(default.addresses_port_max);
    if let (Some(all), Some(one)) = (all, port)
        && one > all
    {
        if port_given || !all_given {
            findings.error("bridge.addresses_port_max", Mistake::BridgePortMax { port: one, all });
        } else {
            port = Some(all);
        }
    }
    Some(BridgePlan {
        addresses_max: all?,
        addresses_port_max: port?,
        ageing_s: raw.ageing_s.or(default.ageing_s)?,
        guard: raw.guard.or(default.guard)?,
    })
}

/// All of the list, or nothing if one is missing.
fn whole<T>(parts: Vec<Option<T>>) -> Option<Vec<T>> {
    parts.into_iter().collect()
}
