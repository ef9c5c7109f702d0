//! `cargo xtask gate`: instructions a packet, compared with those on record.
//!
//! Counts repeat where times do not. A rise of more than 2 % fails and names the functions and files that cost
//! more; a fall only asks for a new record: `cargo xtask gate --record`.

mod compare;
mod profile;

use crate::build;
use crate::shell::{self, have};
use crate::workspace::{self, cargo};
use anyhow::{Context, Result, bail};
use clap::Args;
use compare::{Case, Record, compare};
use dataplane_cpu::Machine;
use profile::Parts;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Where the record is.
const RECORD: &str = "tests/bench/baseline.json";

/// Packets of the shorter run.
const PACKETS: u64 = 32_768;

/// The engine alone, over frames in memory: cases of `flowswitch-bench`.
const ENGINE: [(&str, u32); 12] = [
    ("inbound", 1000),
    ("inbound", 10_000),
    ("outbound", 1000),
    ("data", 1000),
    ("new", 1000),
    ("flood", 1000),
    ("handshake", 1000),
    ("bridge", 1000),
    ("udp", 1000),
    ("ipv6", 1000),
    ("vlan", 1000),
    ("fragment", 1000),
];

/// The switch on DPDK, without what DPDK's libraries cost: cases of `flowswitch-bench-dpdk`.
const DPDK: [(&str, u32); 2] = [("inbound", 1024), ("outbound", 1024)];

/// Compare instructions a packet with those on record. A part of `test`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask gate              compare; fails when a case costs more than 2 % more, and says what of it
  cargo xtask gate --record     write tests/bench/baseline.json anew, to be committed with the reason")]
pub(crate) struct GateArguments {
    /// Write what is counted as the new record.
    #[arg(long)]
    record: bool,
}

/// Why nothing can be counted here, if it cannot.
pub(crate) fn lacks() -> Option<String> {
    if !have("valgrind") {
        return Some("valgrind is not installed (package valgrind)".into());
    }
    // The engine picks its instructions by the machine.
    let is_oldest = Machine::this() == Machine::oldest();
    is_oldest.then(|| "the record is of machines with AVX2 and BMI2, this has none".into())
}

/// The command.
pub(crate) fn run(arguments: &GateArguments) -> Result<()> {
    if let Some(reason) = lacks() {
        bail!("{reason}");
    }
    let now = count()?;
    if arguments.record {
        let mut record = read_record().unwrap_or_default();
        record.rustc = rustc()?;
        // What cannot be counted here stays; what is no case any more goes.
        record.cases.retain(|name, _| names().any(|known| known == *name));
        record.cases.extend(now);
        let path = workspace::root().join(RECORD);
        std::fs::write(&path, serde_json::to_string_pretty(&record)? + "\n")?;
        println!("written: {RECORD}");
        return Ok(());
    }
    let (well, figure) = judge(&read_record()?, &now)?;
    println!("{figure}");
    if !well { bail!("it costs more than before") } else { Ok(()) }
}

/// As a part of `test`: whether it went well, and the figure.
pub(crate) fn part() -> Result<(bool, String)> {
    judge(&read_record()?, &count()?)
}

/// Prints what differs; whether nothing has risen, and a line about it.
fn judge(record: &Record, now: &BTreeMap<String, Case>) -> Result<(bool, String)> {
    let comparison = compare(record, now);
    let ours = rustc()?;
    if ours != record.rustc && comparison.same < now.len() {
        println!("on record are counts of {}, this is {ours}", record.rustc);
    }
    for line in &comparison.risen {
        println!("risen: {line}");
    }
    for line in &comparison.fallen {
        println!("fallen: {line}");
    }
    for name in &comparison.unknown {
        println!("not on record: {name}");
    }
    if !comparison.fallen.is_empty() || !comparison.unknown.is_empty() {
        println!("to record what it costs now: cargo xtask gate --record");
    }
    let figure = format!(
        "{} cases as on record, {} risen, {} fallen, {} new",
        comparison.same,
        comparison.risen.len(),
        comparison.fallen.len(),
        comparison.unknown.len()
    );
    Ok((comparison.risen.is_empty(), figure))
}

fn read_record() -> Result<Record> {
    let path = workspace::root().join(RECORD);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("no {RECORD}: make it with `cargo xtask gate --record`"))?;
    serde_json::from_str(&text).with_context(|| format!("{RECORD} is not a record"))
}

fn rustc() -> Result<String> {
    Ok(shell::read(Command::new("rustc").arg("--version").current_dir(workspace::root()))?.trim().to_owned())
}

/// The names of all cases.
fn names() -> impl Iterator<Item = String> {
    let engine = ENGINE.iter().map(|(case, flows)| format!("engine {case} {flows}"));
    engine.chain(DPDK.iter().map(|(case, flows)| format!("switch {case} {flows}")))
}

/// Counts every case that can be counted here.
fn count() -> Result<BTreeMap<String, Case>> {
    let dpdk = build::dpdk_lacks();
    let packages = if dpdk.is_none() { "-p tests-bench -p tests-bench-dpdk" } else { "-p tests-bench" };
    shell::succeeds_loudly(&mut cargo(&format!("build --release {packages} --bins")))?;
    let folder = workspace::target()?.join("gate");
    std::fs::create_dir_all(&folder)?;
    let mut cases = BTreeMap::new();
    let engine = build::programs()?.join("flowswitch-bench");
    for (case, flows) in ENGINE {
        let name = format!("engine {case} {flows}");
        let words = [].as_slice();
        cases.insert(name.clone(), one(&engine, words, case, flows, &folder).with_context(|| name.clone())?);
    }
    if let Some(reason) = dpdk {
        println!("not counted: the switch on DPDK, because {reason}");
        return Ok(cases);
    }
    let switch = build::programs()?.join("flowswitch-bench-dpdk");
    for (case, flows) in DPDK {
        let name = format!("switch {case} {flows}");
        cases.insert(
            name.clone(),
            one(&switch, &["count"], case, flows, &folder).with_context(|| name.clone())?,
        );
    }
    Ok(cases)
}

/// One case: N and 2N packets at the same time, the difference by N.
fn one(program: &Path, words: &[&str], case: &str, flows: u32, folder: &Path) -> Result<Case> {
    let start = |packets: u64| -> Result<(Child, PathBuf)> {
        let file = folder.join(format!("{case}-{packets}.callgrind"));
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", &format!("--callgrind-out-file={}", file.display())])
            .arg(program)
            .args(words)
            .args(["--case", case, "--flows", &flows.to_string(), "--packets", &packets.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start valgrind")?;
        Ok((child, file))
    };
    let (once, twice) = (start(PACKETS)?, start(2 * PACKETS)?);
    let parts = |(child, file): (Child, PathBuf)| -> Result<Parts> {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "under valgrind: {}",
                String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()
            );
        }
        profile::read(&std::fs::read_to_string(&file)?)
    };
    Ok(Case::between(&parts(once)?, &parts(twice)?, PACKETS as f64))
}
