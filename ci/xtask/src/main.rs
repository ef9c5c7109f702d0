//! The one door: every developer command, for people and pipelines alike.
//!
//! `make` calls it, so that nobody has to know cargo: `make demo`, `make test`, `make help`.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod bench;
mod build;
mod coverage;
mod demo;
mod gate;
mod lint;
mod setup;
mod shell;
mod sim;
mod test;
mod tidy;
mod workspace;

/// Every developer command of flowswitch.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install what is missing on Debian 12: DPDK, nginx and the tools of the scenarios. Asks for root
    /// only for that.
    Setup,
    /// Build all programs, optimised.
    Build,
    /// Everything that can be tested here: unit, property and model tests, DPDK, and real traffic.
    Test {
        /// The long forms: more cases, longer traffic.
        #[arg(long)]
        long: bool,
    },
    /// The scenarios alone: real traffic through the switch.
    Scenarios {
        /// For the scenarios' own command line, such as `--only a,c` or `--full`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// The whole switch in virtual time, from seeds: `cargo xtask sim --seeds 1000`, `--scenario list`.
    Sim {
        /// For the simulator's own command line: `--seed N`, `--seeds COUNT`, `--scenario NAME`, `--trace`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Show HTTP going through the switch, in less than two minutes after the build.
    Demo,
    Bench(bench::BenchArguments),
    Gate(gate::GateArguments),
    /// Format, clippy and the habits of the house.
    Lint,
    /// The habits of the house: which crate may use which, leftovers, long files.
    Tidy,
    /// Which requirement has code, which has a test, which has neither.
    Coverage,
    /// What a pipeline runs: lint, then test.
    Ci,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Setup => setup::run(),
        Command::Build => build::all().map(drop),
        Command::Test { long } => test::run(long),
        Command::Scenarios { arguments } => test::scenarios_only(&arguments),
        Command::Sim { arguments } => sim::run(&arguments),
        Command::Demo => demo::run(),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Gate(arguments) => gate::run(&arguments),
        Command::Lint => lint::run(),
        Command::Tidy => tidy::run(),
        Command::Coverage => coverage::run(),
        Command::Ci => lint::run().and_then(|()| test::run(false)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
