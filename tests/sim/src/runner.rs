//! Many seeds, over all cores.

use crate::figures::{Figures, Summary};
use crate::scenarios::{Outcome, Part, Run, Scenario};
use crate::trace::seconds;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a scenario came to over its seeds.
#[derive(Debug)]
pub struct Result {
    /// The scenario.
    pub scenario: &'static Scenario,
    /// Runs.
    pub runs: usize,
    /// Runs with a violation, in the order of their seeds.
    pub failed: Vec<(u64, Outcome)>,
    /// Figures of all runs.
    pub figures: Figures,
    /// Nanoseconds of virtual time.
    pub lived: u64,
    /// Bounds that are not kept.
    pub broken: Vec<String>,
}

/// Plays scenarios with their seeds. `progress` is told how many runs are done, of how many.
pub fn play(
    jobs: &[(&'static Scenario, Run)],
    threads: usize,
    progress: impl Fn(usize, usize) + Sync,
) -> Vec<Result> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some((scenario, run)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = scenario.run(run);
                    let mut done = done.lock().expect("no run panics with the lock");
                    done.insert((scenario.name, run.seed), outcome);
                    progress(done.len(), jobs.len());
                }
            });
        }
    });
    let mut done = done.into_inner().expect("all threads are joined");
    let mut results: Vec<Result> = Vec::new();
    for (scenario, run) in jobs {
        let Some(outcome) = done.remove(&(scenario.name, run.seed)) else { continue };
        let at = results.iter().position(|r| r.scenario.name == scenario.name).unwrap_or_else(|| {
            results.push(Result {
                scenario,
                runs: 0,
                failed: Vec::new(),
                figures: Figures::default(),
                lived: 0,
                broken: Vec::new(),
            });
            results.len() - 1
        });
        let result = &mut results[at];
        result.runs += 1;
        result.lived += outcome.lived;
        result.figures.join(outcome.figures.clone());
        if !outcome.violations.is_empty() {
            result.failed.push((run.seed, outcome));
        }
    }
    for result in &mut results {
        result.broken = broken(result.scenario, &result.figures);
    }
    results
}

/// Bounds that the figures do not keep.
fn broken(scenario: &Scenario, figures: &Figures) -> Vec<String> {
    scenario
        .bounds
        .iter()
        .filter_map(|bound| {
            let summary: Summary = figures.summary(bound.figure)?;
            let (part, value) = match bound.of {
                Part::P50 => ("p50", summary.p50),
                Part::P95 => ("p95", summary.p95),
                Part::Max => ("max", summary.max),
            };
            (value > bound.most)
                .then(|| format!("{}: {part} is {value:.1}, at most {:.1}", bound.figure, bound.most))
        })
        .collect()
}

/// What a failed run has to say.
pub fn tell(scenario: &Scenario, seed: u64, outcome: &Outcome) -> String {
    let mut text = format!("failed: cargo xtask sim --scenario {} --seed {seed}\n", scenario.name);
    for violation in &outcome.violations {
        text += &format!("  {} {}: {}\n", seconds(violation.at), violation.check, violation.words);
    }
    if let Some(first) = outcome.violations.first() {
        text += "  before the first:\n";
        for line in first.last.iter().rev().take(12).rev() {
            text += &format!("    {line}\n");
        }
    }
    text
}
