//! What a packet costs on DPDK, beside peers that do something like it.
//!
//! The switch is the real one: [`dataplane_worker::Worker`] and its publisher on `ffi_dpdk::DpdkPorts`, on
//! `net_null` devices, with frames stamped by a generator. `cargo xtask bench` runs `rows`; by
//! hand:
//!
//! ```text
//! flowswitch-bench-dpdk rows --only P1,P3 --quick
//! flowswitch-bench-dpdk run --case inbound --flows 1048576
//! valgrind --tool=callgrind flowswitch-bench-dpdk count --case inbound --packets 65536
//! ```

mod allocations;
mod callgrind;
mod case;
mod count;
mod eal;
mod generator;
mod handshake;
mod hugepages;
mod meter;
mod native;
mod peers;
mod plan;
mod rig;
mod rows;
mod script;
mod testpmd;
mod timed;
mod traffic;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// What a packet costs on DPDK.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Rows(rows::RowsArguments),
    Run(timed::RunArguments),
    Count(count::CountArguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Rows(arguments) => rows::run(&arguments),
        Command::Run(arguments) => timed::run(&arguments),
        Command::Count(arguments) => count::run(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flowswitch-bench-dpdk: {error:#}");
            ExitCode::FAILURE
        }
    }
}
