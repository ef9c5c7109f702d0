//! `make demo`.

use crate::{build, setup, shell};
use anyhow::{Result, bail};
use std::process::Command;

/// Installs what is missing, builds, and shows HTTP going through the switch.
pub(crate) fn run() -> Result<()> {
    if !cfg!(target_os = "linux") {
        bail!("The demo needs Linux: it sends its traffic through network namespaces.");
    }
    if !shell::is_root() && !shell::have("sudo") {
        bail!("The demo needs root for its network namespaces: neither root nor sudo is here.");
    }
    println!("1. What is missing");
    setup::run()?;
    println!("2. Build");
    if let Some(reason) = build::all()? {
        bail!("The demo needs DPDK: {reason}.");
    }
    println!("3. Traffic");
    let folder = build::programs()?;
    let program = folder.join("flowswitch-demo");
    let mut command = if shell::is_root() {
        Command::new(program)
    } else {
        println!("   (sudo, for network namespaces)");
        let mut sudo = Command::new("sudo");
        sudo.arg(program);
        sudo
    };
    shell::run(&mut command)
}
