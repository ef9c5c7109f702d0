//! `cargo xtask sim`: the simulator's program, optimised.

use crate::build;
use crate::shell;
use crate::workspace::{self, cargo};
use anyhow::Result;
use std::process::Command;

/// Seeds of each scenario in `make test`, and in the long form.
const SHORT: &str = "20";
const LONG: &str = "1000";

/// Runs it with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    shell::run(&mut cargo("build --release -p tests-sim"))?;
    shell::run(program()?.args(arguments))
}

/// What `make test` runs, after a build: its lines, of which the last one has the counts.
pub(crate) fn part(long: bool) -> Result<Command> {
    let mut command = program()?;
    let file = workspace::target()?.join("sim.json");
    command.args(["--seeds", if long { LONG } else { SHORT }, "--json"]).arg(file);
    Ok(command)
}

fn program() -> Result<Command> {
    let mut command = Command::new(build::programs()?.join("flowswitch-sim"));
    command.current_dir(workspace::root());
    Ok(command)
}
