//! What has to be there before anything is started, each missing thing in one line.

use dataplane_message::{Boot, Device};
use ffi_linux::{Capability, Interfaces, has_capability};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use thiserror::Error;

/// What is missing.
#[derive(Debug, Error)]
pub enum Missing {
    /// Rights.
    #[error("needs CAP_NET_ADMIN and CAP_NET_RAW (run as root); `flowswitchd check` works without")]
    Rights,
    /// The data path's program.
    #[error(
        "there is no {}; build it with `cargo build --release -p dataplane-process` (needs Debian's packages libdpdk-dev and libclang-dev), or say with --data-path where it is",
        path.display()
    )]
    DataPath {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The data path's program does not start.
    #[error("{} cannot be started: {source}", path.display())]
    NotExecutable {
        /// The program.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// DPDK's libraries.
    #[error("flowswitch-dp needs DPDK: {reason}; install it with `apt install libdpdk-dev`")]
    Dpdk {
        /// The loader's words.
        reason: String,
    },
    /// Interfaces, a line for each.
    #[error("{}", lines(ports))]
    Interfaces {
        /// The port and its interface.
        ports: Vec<(String, String)>,
    },
}

fn lines(ports: &[(String, String)]) -> String {
    let line = |(port, interface): &(String, String)| {
        format!(
            "ports.{port}: there is no interface {interface}; create it, or correct `interface` (`ip link` lists them)"
        )
    };
    ports.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Whether we may do what the ports need. Virtual devices that are no interface need nothing.
pub(crate) fn rights(boot: &Boot) -> Result<(), Missing> {
    let virtual_only = boot.ports.iter().all(|port| matches!(port.device, Device::Vdev { .. }));
    let able = || has_capability(Capability::NetAdmin) && has_capability(Capability::NetRaw);
    if virtual_only || able() { Ok(()) } else { Err(Missing::Rights) }
}

/// The data path's program: the one named, or the one beside ours; and it can be loaded.
pub(crate) fn data_path(named: Option<&Path>) -> Result<PathBuf, Missing> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => {
            let ours = std::env::current_exe().unwrap_or_default();
            ours.with_file_name("flowswitch-dp")
        }
    };
    if !path.is_file() {
        return Err(Missing::DataPath { path });
    }
    let output = Command::new(&path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| Missing::NotExecutable { path: path.clone(), source })?;
    // The loader's code when a shared library is not there.
    if output.status.code() == Some(127) {
        let words = String::from_utf8_lossy(&output.stderr);
        let reason = words.lines().next().unwrap_or("a library is missing");
        let reason = reason.split_once("shared libraries: ").map_or(reason, |(_, reason)| reason);
        return Err(Missing::Dpdk { reason: reason.to_owned() });
    }
    Ok(path)
}

/// The interfaces that carry ports are there. A tap is made by the data path itself.
pub(crate) fn interfaces(boot: &Boot) -> Result<(), Missing> {
    let Ok(interfaces) = Interfaces::new() else { return Ok(()) };
    let missing = |port: &dataplane_message::PortBoot| match &port.device {
        Device::Tap { .. } => None,
        device => {
            let name = device.interface()?;
            // Where the kernel cannot say, the data path will.
            matches!(interfaces.read(name), Ok(None)).then(|| (port.name.clone(), name.to_owned()))
        }
    };
    let ports: Vec<_> = boot.ports.iter().filter_map(missing).collect();
    if ports.is_empty() { Ok(()) } else { Err(Missing::Interfaces { ports }) }
}
