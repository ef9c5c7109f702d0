//! The engine of one worker alone, over frames in memory.
//!
//! Instructions, since times mean little on a shared machine: the bench program runs under callgrind
//! with N and with 2N packets, and the difference by N leaves start-up and table filling out. Repeats
//! to the instruction for the same binary. The time beside it is colour.

use crate::shell::{self, have};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

const PACKETS: u64 = 64_000;
const TIMED_PACKETS: u64 = 5_000_000;

/// (case of the bench program, established flows)
const CASES: [(&str, u32); 6] = [
    ("inbound", 1000),
    ("inbound", 100_000),
    ("outbound", 1000),
    ("data", 1000),
    ("new", 1000),
    ("bridge", 1000),
];

/// Measures and prints a table; writes it as JSON into `folder`.
pub(crate) fn run(program: &Path, folder: &Path) -> Result<()> {
    let counts = have("valgrind");
    if !counts {
        println!("instructions: not measured, because valgrind is not installed (package valgrind)");
    }
    println!("\n{:<10} {:>8}  {:>20}  {:>10}", "packets", "flows", "instructions/packet", "ns/packet");
    let mut rows = Vec::new();
    for (case, flows) in CASES {
        let instructions = if counts { Some(instructions(program, case, flows)?) } else { None };
        let nanoseconds = nanoseconds(program, case, flows)?;
        let counted = instructions.map_or("not measured".into(), |n| n.to_string());
        println!("{case:<10} {flows:>8}  {counted:>20}  {nanoseconds:>10.1}");
        rows.push(json!({
            "case": case,
            "flows": flows,
            "instructions_per_packet": instructions,
            "nanoseconds_per_packet": nanoseconds,
        }));
    }
    println!(
        "\nThe engine of one worker alone: bursts of 32, TCP, 60 bytes, 8 servers, Maglev; no device. Instructions: \
         callgrind, {PACKETS} packets. Time: one run of {TIMED_PACKETS} packets."
    );
    std::fs::write(folder.join("engine.json"), serde_json::to_string_pretty(&Value::Array(rows))?)?;
    Ok(())
}

fn instructions(program: &Path, case: &str, flows: u32) -> Result<u64> {
    let once = collected(program, case, flows, PACKETS)?;
    let twice = collected(program, case, flows, 2 * PACKETS)?;
    Ok(twice.saturating_sub(once) / PACKETS)
}

/// Instructions of one run.
fn collected(program: &Path, case: &str, flows: u32, packets: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program);
    let output = command.args(words(case, flows, packets)).output().context("start valgrind")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().find(|line| line.contains("Collected")).context("callgrind counted nothing")?;
    let number = line.rsplit(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("not a count: {line}"))
}

fn nanoseconds(program: &Path, case: &str, flows: u32) -> Result<f64> {
    let said = shell::read(Command::new(program).args(words(case, flows, TIMED_PACKETS)))?;
    let before = said.split(" ns a packet").next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("not a time: {said}"))
}

fn words(case: &str, flows: u32, packets: u64) -> Vec<String> {
    ["--case", case, "--flows", &flows.to_string(), "--packets", &packets.to_string()]
        .map(str::to_owned)
        .to_vec()
}
