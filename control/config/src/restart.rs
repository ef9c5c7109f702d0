//! Changes that a running data path cannot take.

use core::fmt;
use dataplane_message::{Boot, Device, PortBoot};

/// One difference between what a data path was started with and what the file now says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BootChange {
    /// Where in the file: `switch.workers`.
    pub path: String,
    /// What the data path was started with; empty: nothing.
    pub old: String,
    /// What the file says; empty: nothing.
    pub new: String,
}

impl fmt::Display for BootChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.old.as_str(), self.new.as_str()) {
            ("", new) => write!(f, "{}: added ({new})", self.path),
            (old, "") => write!(f, "{}: removed ({old})", self.path),
            (old, new) => write!(f, "{}: {old} -> {new}", self.path),
        }
    }
}

/// What needs a restart of the data path; empty: nothing does.
pub fn boot_changes(old: &Boot, new: &Boot) -> Vec<BootChange> {
    let mut changes = Vec::new();
    let mut compare = |path: &str, old: String, new: String| {
        if old != new {
            changes.push(BootChange { path: path.to_owned(), old, new });
        }
    };
    compare("switch.name", old.name.clone(), new.name.clone());
    compare(
        "switch.mode",
        format!("{:?}", old.mode).to_lowercase(),
        format!("{:?}", new.mode).to_lowercase(),
    );
    compare("switch.workers", old.workers.to_string(), new.workers.to_string());
    compare("switch.worker_cores", format!("{:?}", old.worker_cores), format!("{:?}", new.worker_cores));
    compare("switch.flows_max", old.flows_max.to_string(), new.flows_max.to_string());
    compare("switch.memory_mib", old.memory_mib.to_string(), new.memory_mib.to_string());
    compare("switch.hugepages", old.hugepages.to_string(), new.hugepages.to_string());
    let named = |ports: &[PortBoot], name: &str| ports.iter().find(|port| port.name == name).map(described);
    for port in &old.ports {
        let new = named(&new.ports, &port.name).unwrap_or_default();
        compare(&format!("ports.{}", port.name), described(port), new);
    }
    for port in new.ports.iter().filter(|port| named(&old.ports, &port.name).is_none()) {
        compare(&format!("ports.{}", port.name), String::new(), described(port));
    }
    changes
}

fn described(port: &PortBoot) -> String {
    let device = match &port.device {
        Device::AfXdp { interface } => format!("af_xdp {interface}"),
        Device::AfPacket { interface } => format!("af_packet {interface}"),
        Device::Pcap { interface } => format!("pcap {interface}"),
        Device::Tap { interface } => format!("tap {interface}"),
        Device::Pci { address } => format!("pci {address}"),
        Device::Vdev { arguments } => format!("vdev {arguments}"),
    };
    format!("number {}, {device}, mtu {}", port.id.0, port.mtu)
}
