//! `cargo xtask bench`: what a packet costs, beside what it may and what it costs others.
//!
//! Runs every program that prints rows (`tests/bench/src/row.rs`), puts them into one table, and writes them
//! with plots under `target/bench/`.

mod engine;
mod plot;
mod table;

use crate::build;
use crate::shell;
use crate::workspace::{self, cargo};
use anyhow::{Context, Result, bail};
use clap::Args;
use plot::Point;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The build without observation is one with this set (P4).
const UNOBSERVED: &str = "flowswitch_unobserved";

/// The programs: their names, what they are asked for, and whether they link DPDK.
const PROGRAMS: [(&str, &[&str], bool); 2] =
    [("flowswitch-bench-dpdk", &["rows"], true), ("flowswitch-growth", &[], false)];

/// Measures what a packet costs, beside peers and goals. Prints a table, asserts nothing.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask bench                      all of it, some ten minutes on two cores that do nothing else
  cargo xtask bench --quick              fewer rounds and no large tables: does it work?
  cargo xtask bench --only P1,P3         these rows alone
  cargo xtask bench --only engine        the engine alone, over frames in memory
  cargo xtask bench --json               rows as JSON on standard output
  cargo xtask bench --list               what rows there are

Written: target/bench/rows.json and *.svg. What cannot be measured here (no valgrind, no huge pages, no root, no
dpdk-testpmd) is named, and why.")]
pub(crate) struct BenchArguments {
    /// Only these rows: `P1,P3`; `engine`: the engine alone, over frames in memory.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Fewer rounds, shorter windows, no large tables.
    #[arg(long)]
    quick: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
    /// Name the rows, and end.
    #[arg(long)]
    list: bool,
}

/// Builds, measures, prints, writes.
pub(crate) fn run(arguments: &BenchArguments) -> Result<()> {
    let lacks = build::dpdk_lacks();
    let mut packages = "-p tests-bench".to_owned();
    match &lacks {
        None => packages.push_str(" -p tests-bench-dpdk"),
        Some(reason) => eprintln!("rows on DPDK: not measured, because {reason}"),
    }
    shell::succeeds_loudly(&mut cargo(&format!("build --release {packages}")))?;
    let folder = workspace::target()?.join("bench");
    std::fs::create_dir_all(&folder)?;
    let unobserved = if lacks.is_none() && arguments.wants("P4") { unobserved()? } else { None };
    let mut rows = Vec::new();
    let mut points = Vec::new();
    let mut failures = Vec::new();
    for (name, words, dpdk) in PROGRAMS {
        let path = build::programs()?.join(name);
        if dpdk && lacks.is_some() || !path.is_file() {
            continue;
        }
        let parts = parts(&path, words)?;
        if arguments.list {
            parts.iter().for_each(|line| println!("{line}"));
            continue;
        }
        let Some(only) = arguments.only_of(&parts) else { continue };
        let mut command = Command::new(&path);
        command.args(words).args(&only);
        if arguments.quick {
            command.arg("--quick");
        }
        if let (true, Some(other)) = (dpdk, &unobserved) {
            command.arg("--unobserved").arg(other);
        }
        eprintln!("{name}");
        if let Err(error) = gather(&mut command, &mut rows, &mut points) {
            failures.push(format!("{error:#}"));
        }
    }
    if arguments.list {
        return Ok(());
    }
    report(arguments, &folder, &rows, &points)?;
    if arguments.wants("engine") && !arguments.json && !arguments.quick {
        engine::run(&build::programs()?.join("flowswitch-bench"), &folder)?;
    }
    if !failures.is_empty() {
        bail!("not all was measured: {}", failures.join("; "));
    }
    Ok(())
}

impl BenchArguments {
    fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only.eq_ignore_ascii_case(row))
    }

    /// The words that ask a program with these parts for what is wanted of them; `None`: nothing is.
    fn only_of(&self, parts: &[String]) -> Option<Vec<String>> {
        if self.only.is_empty() {
            return Some(Vec::new());
        }
        let names = parts.iter().filter_map(|line| line.split_whitespace().next());
        let wanted: Vec<&str> = names.filter(|name| self.wants(name)).collect();
        (!wanted.is_empty()).then(|| vec!["--only".into(), wanted.join(",")])
    }
}

/// What a program says it can measure: a line each, the name first.
fn parts(program: &Path, words: &[&str]) -> Result<Vec<String>> {
    let said = shell::read(Command::new(program).args(words).arg("--list"))?;
    Ok(said.lines().map(str::to_owned).collect())
}

/// Runs a program, shows its progress, and takes what it prints.
fn gather(command: &mut Command, rows: &mut Vec<Value>, points: &mut Vec<Point>) -> Result<()> {
    let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn().context("start a program")?;
    let output = child.stdout.take().context("no output")?;
    for line in BufReader::new(output).lines() {
        let line = line?;
        let value: Value = serde_json::from_str(&line).with_context(|| format!("not a row: {line}"))?;
        match Point::of(&value) {
            Some(point) => points.push(point),
            None => rows.push(value),
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{}: {status}", command.get_program().to_string_lossy());
    }
    Ok(())
}

fn report(arguments: &BenchArguments, folder: &Path, rows: &[Value], points: &[Point]) -> Result<()> {
    let text = serde_json::to_string_pretty(&rows)?;
    if arguments.json {
        println!("{text}");
    } else if !rows.is_empty() {
        print!("{}", table::table(rows));
    }
    if rows.is_empty() {
        return Ok(());
    }
    std::fs::write(folder.join("rows.json"), text)?;
    for (name, svg) in plot::all(points) {
        std::fs::write(folder.join(format!("{name}.svg")), svg)?;
    }
    eprintln!("load average: {}", std::fs::read_to_string("/proc/loadavg").unwrap_or_default().trim());
    eprintln!("written: {}", folder.display());
    Ok(())
}

/// Builds the program once more without observation, in a folder of its own; `None` where the engine does not
/// know that.
fn unobserved() -> Result<Option<PathBuf>> {
    let knows = workspace::files()?
        .iter()
        .filter(|file| file.starts_with("dataplane/") && file.ends_with(".rs"))
        .any(|file| {
            std::fs::read_to_string(workspace::root().join(file)).is_ok_and(|t| t.contains(UNOBSERVED))
        });
    if !knows {
        return Ok(None);
    }
    let target = workspace::target()?.join("unobserved");
    let mut command = cargo("build --release -p tests-bench-dpdk --target-dir");
    // Joined to the flags of .cargo/config.toml, as RUSTFLAGS would not be.
    command.arg(&target).args(["--config", &format!("build.rustflags=[\"--cfg\", \"{UNOBSERVED}\"]")]);
    shell::succeeds_loudly(&mut command)?;
    Ok(Some(target.join("release/flowswitch-bench-dpdk")))
}
