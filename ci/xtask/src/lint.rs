//! Format and lints.

use crate::workspace::{cargo, packages};
use crate::{build, shell, tidy};
use anyhow::Result;

/// Format, clippy without a warning, and the habits of the house.
pub(crate) fn run() -> Result<()> {
    shell::run(&mut cargo("fmt --all --check"))?;
    shell::run(&mut cargo("clippy --all-targets -- -D warnings"))?;
    match build::dpdk_lacks() {
        None => {
            let others = build::select(packages()?.into_iter().filter(|p| !p.default));
            shell::run(&mut cargo(&format!("clippy --all-targets{others} -- -D warnings")))?;
        }
        Some(reason) => println!("skipped: clippy for what links DPDK, because {reason}"),
    }
    tidy::run()
}
