//! What a machine needs, and getting it.

use crate::shell::{self, command, is_root};
use anyhow::{Result, bail};

/// Debian 12's packages: what DPDK's part is built from, and what the scenarios use.
const PACKAGES: [&str; 19] = [
    "build-essential",
    "clang",
    "curl",
    "dpdk-dev",
    "ethtool",
    "iperf3",
    "iproute2",
    "iputils-arping",
    "iputils-ping",
    "libclang-dev",
    "libdpdk-dev",
    "ndisc6",
    "nftables",
    "nginx-light",
    "pkg-config",
    "procps",
    "tcpdump",
    "util-linux",
    "valgrind",
];

/// Installs what is missing, or says what is.
pub(crate) fn run() -> Result<()> {
    match missing() {
        Err(reason) => bail!("{reason}\nNeeded, by the names of Debian 12: {}", PACKAGES.join(" ")),
        Ok(missing) if missing.is_empty() => {
            println!("Everything is installed.");
            Ok(())
        }
        Ok(missing) => install(&missing),
    }
}

/// The same, where it is a step on the way: what cannot be installed is said, and the way goes on
/// with what there is.
pub(crate) fn try_run() -> Option<String> {
    run().err().map(|error| format!("{error:#}"))
}

/// Which packages are not installed.
fn missing() -> Result<Vec<&'static str>, String> {
    if !cfg!(target_os = "linux") {
        return Err("This is not Linux: DPDK and the scenarios do not run here.".into());
    }
    if !shell::have("dpkg-query") {
        return Err("This is not Debian or one of its kin: install by hand what is named below.".into());
    }
    let installed = |package: &&str| {
        shell::read(command("dpkg-query --show --showformat=${db:Status-Status}").arg(package))
            .is_ok_and(|s| s == "installed")
    };
    Ok(PACKAGES.into_iter().filter(|p| !installed(p)).collect())
}

fn install(missing: &[&str]) -> Result<()> {
    let names = missing.join(" ");
    println!("Missing packages: {names}");
    if !is_root() && !shell::have("sudo") {
        bail!("Neither root nor sudo is here. As root: apt-get install {names}");
    }
    let before = if is_root() { "" } else { "sudo " };
    shell::run(&mut command(&format!("{before}apt-get update -q")))?;
    let apt = format!(
        "{before}env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends {names}"
    );
    shell::run(&mut command(&apt))?;
    // nginx is used by the scenarios in namespaces of their own, never as a service of this machine.
    if missing.contains(&"nginx-light") && shell::have("systemctl") {
        let _ = shell::succeeds(&mut command(&format!("{before}systemctl disable --now nginx")));
    }
    Ok(())
}
