//! `cargo xtask sim`.

use anyhow::{Context, Result, bail};
use clap::Parser;
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use tests_sim::runner::{self, tell};
use tests_sim::scenarios::{self, REGRESSIONS, Run, Scenario};

/// Plays scenarios in virtual time, each from a seed.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Arguments {
    /// This seed alone (or the first one, with --seeds).
    #[arg(long)]
    seed: Option<u64>,
    /// So many seeds [default: 20].
    #[arg(long)]
    seeds: Option<u64>,
    /// This scenario alone; `list` names all.
    #[arg(long)]
    scenario: Option<String>,
    /// The long form: more happens in each run. With more than 100 seeds it is the short one unless said.
    #[arg(long)]
    long: bool,
    /// Print everything that happens; wants --seed and --scenario.
    #[arg(long)]
    trace: bool,
    /// Where to write all figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let chosen: Vec<&'static Scenario> = match arguments.scenario.as_deref() {
        Some("list") => {
            for scenario in scenarios::ALL {
                println!("{:<10} {}", scenario.name, scenario.about);
            }
            return Ok(());
        }
        Some(name) => {
            let found = scenarios::named(name);
            vec![found.with_context(|| format!("no scenario {name}; `--scenario list` names them"))?]
        }
        None => scenarios::ALL.iter().collect(),
    };
    let first = arguments.seed.unwrap_or(1);
    let count = arguments.seeds.unwrap_or(if arguments.seed.is_some() { 1 } else { 20 });
    let run = |seed| Run { seed, long: arguments.long, defect: None, loud: arguments.trace };
    if arguments.trace {
        if chosen.len() != 1 || count != 1 {
            bail!("--trace wants one --scenario and one --seed");
        }
        let outcome = chosen[0].run(&run(first));
        println!("{} events, sum {:016x}", outcome.events, outcome.sum);
        for violation in &outcome.violations {
            println!("{}: {}", violation.check, violation.words);
        }
        return if outcome.violations.is_empty() { Ok(()) } else { bail!("failed") };
    }
    let seeds = |scenario: &Scenario| if count < 100 { count.div_ceil(scenario.cost) } else { count };
    let mut jobs: Vec<(&'static Scenario, Run)> = chosen
        .iter()
        .flat_map(|scenario| (first..first + seeds(scenario)).map(|seed| (*scenario, run(seed))))
        .collect();
    for (name, seed) in REGRESSIONS {
        let scenario = scenarios::named(name).context("a regression names a scenario that is gone")?;
        let there = jobs.iter().any(|(s, r)| s.name == *name && r.seed == *seed);
        if !there && chosen.iter().any(|s| s.name == *name) && arguments.seed.is_none() {
            jobs.push((scenario, run(*seed)));
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let begun = Instant::now();
    let live = std::io::stderr().is_terminal();
    let results = runner::play(&jobs, threads, |done, all| {
        if live {
            eprint!("\r{done} of {all} runs");
            let _ = std::io::stderr().flush();
        }
    });
    if live {
        eprintln!();
    }
    let elapsed = begun.elapsed().as_secs_f64();
    report(&results, elapsed, arguments.json.as_ref())
}

fn report(results: &[runner::Result], elapsed: f64, file: Option<&PathBuf>) -> Result<()> {
    println!(
        "{:<10} {:<36} {:>7} {:>9} {:>9} {:>9} {:>9}",
        "scenario", "figure", "n", "p50", "p95", "p99", "max"
    );
    for result in results {
        for (name, s) in result.figures.table() {
            println!(
                "{:<10} {name:<36} {:>7} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                result.scenario.name, s.count, s.p50, s.p95, s.p99, s.max
            );
        }
    }
    let mut failed = 0;
    for result in results {
        for (seed, outcome) in &result.failed {
            failed += 1;
            if failed <= 10 {
                print!("{}", tell(result.scenario, *seed, outcome));
            }
        }
        for broken in &result.broken {
            println!("bound: {}: {broken}", result.scenario.name);
        }
    }
    if let Some(file) = file {
        std::fs::write(file, serde_json::to_string_pretty(&as_json(results))?)
            .with_context(|| format!("write {}", file.display()))?;
        println!("written: {}", file.display());
    }
    let runs: usize = results.iter().map(|r| r.runs).sum();
    let lived: f64 = results.iter().map(|r| r.lived as f64 / 1e9).sum();
    let broken: usize = results.iter().map(|r| r.broken.len()).sum();
    println!(
        "simulator: {runs} runs of {} scenarios, {lived:.0} s lived in {elapsed:.1} s ({:.0} x), {failed} failed, {broken} bounds not kept",
        results.len(),
        lived / elapsed.max(0.001),
    );
    if failed > 0 || broken > 0 {
        bail!("{failed} runs failed, {broken} bounds were not kept");
    }
    Ok(())
}

fn as_json(results: &[runner::Result]) -> Value {
    let rows = results.iter().map(|result| {
        let figures: serde_json::Map<String, Value> = result
            .figures
            .table()
            .map(|(name, s)| {
                let row = json!({"n": s.count, "p50": s.p50, "p95": s.p95, "p99": s.p99, "max": s.max, "sum": s.sum});
                (name.to_owned(), row)
            })
            .collect();
        json!({
            "scenario": result.scenario.name,
            "runs": result.runs,
            "failed_seeds": result.failed.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(),
            "bounds_not_kept": result.broken,
            "figures": figures,
        })
    });
    Value::Array(rows.collect())
}
