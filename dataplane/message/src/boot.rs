//! What a data path is started with and cannot change while it runs.

use dataplane_port::PortId;
use serde::{Deserialize, Serialize};

/// The start-up settings of a data path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Boot {
    /// The switch's name; makes DPDK's file prefix unique.
    pub name: String,
    /// How idle workers behave, and where memory comes from.
    pub mode: Mode,
    /// Number of workers, `1..=WORKERS_MAX`.
    pub workers: u8,
    /// The cores of the workers; empty: they float over all cores (trial mode).
    pub worker_cores: Vec<u16>,
    /// Most flows in all shards together.
    pub flows_max: u32,
    /// DPDK memory in MiB; 0: computed from ports and workers.
    pub memory_mib: u32,
    /// Use huge pages.
    pub hugepages: bool,
    /// The ports, in the order of their numbers.
    pub ports: Vec<PortBoot>,
}

/// One port's device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PortBoot {
    /// Its number.
    pub id: PortId,
    /// Its name in configuration and output.
    pub name: String,
    /// What it is made of.
    pub device: Device,
    /// Largest frame's layer-3 size in bytes.
    pub mtu: u16,
}

/// A device that carries a port.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Device {
    /// A kernel interface by AF_XDP (default in trial mode).
    AfXdp {
        /// The interface's name.
        interface: String,
    },
    /// A kernel interface by AF_PACKET (loses IPv4 fragments with DPDK 22.11).
    AfPacket {
        /// The interface's name.
        interface: String,
    },
    /// A kernel interface by libpcap.
    Pcap {
        /// The interface's name.
        interface: String,
    },
    /// A tap that the data path makes.
    Tap {
        /// The interface's name.
        interface: String,
    },
    /// A network card bound to a DPDK driver.
    Pci {
        /// Its address, `0000:01:00.0`.
        address: String,
    },
    /// Any other DPDK virtual device, as DPDK writes it: `net_null0,size=64`.
    Vdev {
        /// The argument of `--vdev`.
        arguments: String,
    },
}

impl Device {
    /// The kernel interface whose carrier tells the port's link, if there is one.
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::AfXdp { interface }
            | Self::AfPacket { interface }
            | Self::Pcap { interface }
            | Self::Tap { interface } => Some(interface),
            Self::Pci { .. } | Self::Vdev { .. } => None,
        }
    }
}

/// How the machine is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// On ordinary interfaces; an idle worker yields the CPU.
    #[default]
    Trial,
    /// On cores of their own; workers poll without rest.
    Appliance,
}
