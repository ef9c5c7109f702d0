//! Format and lints.

use crate::workspace::cargo;
use crate::{build, shell, tidy};
use anyhow::Result;

/// Format, clippy without a warning, and the habits of the house.
pub(crate) fn run() -> Result<()> {
    shell::run(&mut cargo("fmt --all --check"))?;
    let (selection, lacks) = build::selection();
    shell::run(&mut cargo(&format!("clippy {selection} --all-targets -- -D warnings")))?;
    if let Some(reason) = lacks {
        println!("skipped: clippy for what links DPDK, because {reason}");
    }
    tidy::run()
}
