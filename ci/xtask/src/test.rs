//! Everything that can be tested on this machine, in one go, with a list of what was and what was not.

use crate::workspace::cargo;
use crate::{build, gate, setup, shell, sim};
use anyhow::{Result, bail};
use std::process::Command;
use std::time::Instant;

/// What became of one part.
struct Part {
    name: &'static str,
    result: Outcome,
    seconds: f64,
}

enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// Property tests' cases in the long form.
const LONG_CASES: &str = "20000";

/// With this variable set, the scenarios' program ends at once: their part comes later, in the open.
const SCENARIOS_LATER: &str = "FLOWSWITCH_SCENARIOS_LATER";

/// Runs all of it.
pub(crate) fn run(long: bool) -> Result<()> {
    let start = Instant::now();
    let lacking = setup::try_run();
    if let Some(reason) = &lacking {
        println!("{reason}\nWhat needs it is skipped below.");
    }
    let no_dpdk = build::all()?;
    let built = start.elapsed();

    let mut parts = vec![part("unit, property, model", || unit(long))];
    if let Some(reason) = &no_dpdk {
        parts.push(skipped("DPDK behind safe types", reason));
    }
    parts.push(part("examples in documentation", || {
        counted_lines(&mut cargo(&format!("test --doc --quiet {}", build::selection().0)))
    }));
    parts.push(part("simulator", || simulator(long)));
    parts.push(match gate::lacks() {
        None => part("instruction counts", || gate::part().map(|(well, figure)| outcome(well, figure))),
        Some(reason) => skipped("instruction counts", &reason),
    });
    parts.push(part("scenarios", || scenarios(if long { &["--full"] } else { &[] })));

    println!("\n{:<28}{:<9}{:>7}  figure", "part", "result", "s");
    let mut failed = 0;
    for part in &parts {
        let (result, figure) = match &part.result {
            Outcome::Passed(figure) => ("ran", figure),
            Outcome::Failed(reason) => ("FAILED", reason),
            Outcome::Skipped(reason) => ("skipped", reason),
        };
        failed += u32::from(matches!(part.result, Outcome::Failed(_)));
        println!("{:<28}{result:<9}{:>7.1}  {figure}", part.name, part.seconds);
    }
    let total = start.elapsed();
    println!("built in {:.0} s, tested in {:.0} s", built.as_secs_f64(), (total - built).as_secs_f64());
    if failed > 0 {
        bail!("{failed} of {} parts failed", parts.len());
    }
    Ok(())
}

/// The scenarios alone, after a build.
pub(crate) fn scenarios_only(arguments: &[String]) -> Result<()> {
    build::all()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match scenarios(&words)? {
        Outcome::Failed(reason) => bail!("{reason}"),
        Outcome::Passed(_) | Outcome::Skipped(_) => Ok(()),
    }
}

/// All tests but the scenarios; where DPDK is there, its own among them.
fn unit(long: bool) -> Result<Outcome> {
    let (selection, _) = build::selection();
    if !shell::have("cargo-nextest") {
        // The scenarios' turn comes later, in the open.
        let mut command = cargo(&format!("test --no-fail-fast {selection} --lib --bins --tests"));
        return counted_lines(lengthened(long, command.env(SCENARIOS_LATER, "1")));
    }
    let mut command = cargo(&format!("nextest run --no-fail-fast {selection} -E"));
    command.arg("not binary(scenarios)");
    let (well, lines) = shell::tee(lengthened(long, &mut command))?;
    let summary = lines.iter().rfind(|l| l.contains("Summary [")).map_or("no summary", |l| l.trim());
    Ok(outcome(well, summary.to_owned()))
}

fn lengthened(long: bool, command: &mut Command) -> &mut Command {
    if long { command.env("PROPTEST_CASES", LONG_CASES) } else { command }
}

/// The switch in virtual time. Its own last line is the figure.
fn simulator(long: bool) -> Result<Outcome> {
    let (well, lines) = shell::tee(&mut sim::part(long)?)?;
    let last = lines.iter().rfind(|l| l.starts_with("simulator: ")).map_or("no summary", String::as_str);
    Ok(outcome(well, last.trim_start_matches("simulator: ").to_owned()))
}

/// Real traffic. Its own last line is the figure.
fn scenarios(arguments: &[&str]) -> Result<Outcome> {
    let mut command = cargo(&format!("test {} --test scenarios --", build::selection().0));
    command.args(arguments).env("FLOWSWITCH_BIN_DIR", build::programs()?);
    let (well, lines) = shell::tee(&mut command)?;
    let last = lines.iter().rfind(|l| l.ends_with(" skipped")).map_or("no summary", String::as_str);
    Ok(outcome(well, last.to_owned()))
}

/// Runs a command of the built-in runner and adds up the counts of its programs.
fn counted_lines(command: &mut Command) -> Result<Outcome> {
    let (well, lines) = shell::tee(command)?;
    let marked: Vec<&str> = lines.iter().filter(|l| l.contains("test result")).map(String::as_str).collect();
    Ok(outcome(well, counted(&marked)))
}

fn outcome(well: bool, figure: String) -> Outcome {
    if well { Outcome::Passed(figure) } else { Outcome::Failed(figure) }
}

/// `cargo test` prints a line of counts for each program: their sums.
fn counted(lines: &[&str]) -> String {
    let sum = |word: &str| -> u64 {
        lines
            .iter()
            .filter_map(|l| {
                l.split(&format!(" {word}")).next()?.rsplit([' ', ';']).next()?.parse::<u64>().ok()
            })
            .sum()
    };
    format!("{} passed, {} failed, {} ignored", sum("passed"), sum("failed"), sum("ignored"))
}

fn part(name: &'static str, run: impl FnOnce() -> Result<Outcome>) -> Part {
    println!("\n== {name}");
    let start = Instant::now();
    let result = run().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
    Part { name, result, seconds: start.elapsed().as_secs_f64() }
}

fn skipped(name: &'static str, reason: &str) -> Part {
    Part { name, result: Outcome::Skipped(reason.to_owned()), seconds: 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_programs_are_added() {
        let lines = [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
        ];
        assert_eq!(counted(&lines), "15 passed, 2 failed, 1 ignored");
    }
}
