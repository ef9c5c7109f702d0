//! Building the product.

use crate::shell::{self, command};
use crate::workspace::{self, Package, cargo};
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

/// Builds every program, optimised. Where DPDK is absent all but the data path; says why.
pub(crate) fn all() -> Result<Option<String>> {
    shell::run(&mut cargo("build --release --bins"))?;
    let lacks = dpdk_lacks();
    match &lacks {
        None => shell::run(&mut cargo("build --release -p dataplane-process"))?,
        Some(reason) => println!("not built: flowswitch-dp, because {reason}"),
    }
    Ok(lacks)
}

/// Where [`all`] puts programs.
pub(crate) fn programs() -> Result<PathBuf> {
    Ok(workspace::target()?.join("release"))
}

/// `-p` for each package, for cargo.
pub(crate) fn select(packages: impl Iterator<Item = Package>) -> String {
    packages.map(|p| format!(" -p {}", p.name)).collect()
}
