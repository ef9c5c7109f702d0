//! Building the product.

use crate::shell::{self, command};
use crate::workspace::{self, cargo};
use anyhow::Result;
use std::path::PathBuf;

/// Why the parts that link DPDK cannot be built here, if they cannot.
pub(crate) fn dpdk_lacks() -> Option<String> {
    if !shell::have("pkg-config") {
        return Some("pkg-config is not installed".into());
    }
    if !shell::succeeds(&mut command("pkg-config --exists libdpdk")) {
        return Some("libdpdk is not installed (libdpdk-dev)".into());
    }
    if !shell::have("clang") && !clang_library() {
        return Some("libclang is not installed (libclang-dev)".into());
    }
    None
}

/// Debian's folders of libclang.
fn clang_library() -> bool {
    std::fs::read_dir("/usr/lib").is_ok_and(|entries| {
        entries
            .flatten()
            .any(|e| e.file_name().to_string_lossy().starts_with("llvm") && e.path().join("lib").is_dir())
    })
}

/// What cargo is to work on, as its argument: everything, or where DPDK is absent all but what links
/// it; and then why. One selection for builds and tests, so that nothing is built twice.
pub(crate) fn selection() -> (&'static str, Option<String>) {
    match dpdk_lacks() {
        None => ("--workspace", None),
        Some(reason) => ("", Some(reason)),
    }
}

/// Builds every program, optimised. Where DPDK is absent all but the data path; says why.
pub(crate) fn all() -> Result<Option<String>> {
    let (selection, lacks) = selection();
    shell::run(&mut cargo(&format!("build --release {selection} --bins")))?;
    if let Some(reason) = &lacks {
        println!("not built: flowswitch-dp, because {reason}");
    }
    Ok(lacks)
}

/// Where [`all`] puts programs.
pub(crate) fn programs() -> Result<PathBuf> {
    Ok(workspace::target()?.join("release"))
}
