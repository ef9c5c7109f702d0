//! How the switch grows: with flows, servers, clusters; what stalls it, and what it takes of memory and time.
//!
//! Frames in memory, no device. Prints one line of JSON for each figure on standard output, and what it is
//! doing on standard error:
//!
//! ```text
//! flowswitch-growth                   everything
//! flowswitch-growth --quick           smaller tables, shorter rounds
//! flowswitch-growth --only P12,P13    rows of these goals or parts
//! ```

mod bed;
mod counters;
mod hits;
mod latency;
mod listing;
mod maglev;
mod memory;
mod ring_ports;
mod site;
mod stall;
mod sweep;
mod switch;
mod tools;

use anyhow::{Result, bail};
use clap::Parser;
use std::process::ExitCode;
use tests_bench::Row;
use tools::Context;

/// How the switch grows, and what it takes: figures as lines of JSON.
#[derive(Parser)]
struct Arguments {
    /// Only these parts, as `--list` names them.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Smaller tables and shorter rounds: shows that it works, not what the figures are.
    #[arg(long)]
    quick: bool,
    /// Names the parts and ends.
    #[arg(long)]
    list: bool,
}

/// A part: its name, what it is, and how it is measured.
struct Part {
    name: &'static str,
    what: &'static str,
    run: fn(&Context) -> Result<Vec<Row>>,
}

const PARTS: &[Part] = &[
    Part { name: "P12", what: "Maglev array of 1,000 servers", run: maglev::rows },
    Part { name: "P13", what: "stall while tables are swapped", run: stall::rows },
    Part { name: "P14", what: "bytes per flow, start-up", run: memory::rows },
    Part { name: "P16", what: "what two workers write in common", run: counters::rows },
    Part { name: "P18", what: "cycles per hit by flows", run: hits::flows },
    Part { name: "servers", what: "cycles per hit by servers and clusters", run: hits::servers },
    Part { name: "ageing", what: "ageing and drain", run: sweep::rows },
    Part { name: "listing", what: "listing and walking flows", run: listing::rows },
    Part { name: "latency", what: "latency under load", run: latency::rows },
];

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flowswitch-growth: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    if arguments.list {
        PARTS.iter().for_each(|part| println!("{:<8} {}", part.name, part.what));
        return Ok(());
    }
    if let Some(other) = arguments.only.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        bail!("there is no part {other}; --list names them");
    }
    let context = Context { quick: arguments.quick };
    for part in PARTS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|name| name == part.name) {
            continue;
        }
        context.say(&format!("{}: {}", part.name, part.what));
        for row in (part.run)(&context)? {
            context.tell(&row);
            println!("{}", row.line());
        }
    }
    Ok(())
}
