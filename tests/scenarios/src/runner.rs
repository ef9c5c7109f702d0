//! Runs scenarios one after the other and says what became of each.

use crate::lab::{Lab, Topology};
use crate::{cleanup, switch};
use anyhow::{Context, Result, bail};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// The letter of its row in the list of what must hold, or a word.
    pub row: &'static str,
    /// What it shows, with the requirement's number.
    pub name: &'static str,
    /// Programs beside `ip`, `ethtool` and nginx.
    pub needs: &'static [&'static str],
    /// Its lab.
    pub topology: fn() -> Topology,
    /// What happens. Returns the figure to print.
    pub story: fn(&Lab) -> Result<String>,
}

/// What became of a scenario.
enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

/// A story that cannot be told on this machine ends with this error.
#[derive(Debug)]
pub struct Skip(pub String);

impl std::fmt::Display for Skip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// No scenario's short form may take longer; its long form may take five times as long.
const LIMIT: Duration = Duration::from_secs(120);

/// The letters of the rows that a machine with everything on it may not skip.
const REQUIRED: &str = "abcdefghijk";

const USAGE: &str = "\
Runs the scenarios: real programs through the switch, in network namespaces.

  --only ROWS   only these rows, such as a,c,control
  --full        the long forms
  --list        names the scenarios and ends

With CI or FLOWSWITCH_REQUIRE_LAB set, a skipped row a to k or health-a to health-n is a failure.";

/// The command line.
struct Arguments {
    only: Vec<String>,
    full: bool,
}

/// Runs what the command line asks for.
pub fn main(scenarios: &[Scenario]) -> ExitCode {
    let arguments = match parse(scenarios) {
        Ok(Some(arguments)) => arguments,
        Ok(None) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if std::env::var_os("FLOWSWITCH_SCENARIOS_LATER").is_some() {
        println!("the scenarios run later");
        return ExitCode::SUCCESS;
    }
    let missing = machine_lacks();
    let require =
        ["CI", "FLOWSWITCH_REQUIRE_LAB"].iter().any(|v| std::env::var_os(v).is_some_and(|v| !v.is_empty()));
    if missing.is_none() {
        cleanup::on_interrupt();
        cleanup::sweep();
        raise_file_limit();
    }
    println!("{:<10}{:<88}{:<9}{:>6}  figure", "row", "scenario", "result", "s");
    let (mut passed, mut failed, mut skipped) = (0_u32, 0_u32, 0_u32);
    for scenario in
        scenarios.iter().filter(|s| arguments.only.is_empty() || arguments.only.iter().any(|o| o == s.row))
    {
        let start = Instant::now();
        let outcome = match missing.clone().or_else(|| scenario_lacks(scenario)) {
            Some(reason) => Outcome::Skipped(reason),
            None => run(scenario, arguments.full),
        };
        let outcome = match outcome {
            Outcome::Skipped(reason)
                if require && (REQUIRED.contains(scenario.row) || scenario.row.starts_with("health-")) =>
            {
                Outcome::Failed(format!("may not be skipped here: {reason}"))
            }
            other => other,
        };
        let (result, figure) = match &outcome {
            Outcome::Passed(figure) => ("ran", figure),
            Outcome::Failed(reason) => ("FAILED", reason),
            Outcome::Skipped(reason) => ("skipped", reason),
        };
        match outcome {
            Outcome::Passed(_) => passed += 1,
            Outcome::Failed(_) => failed += 1,
            Outcome::Skipped(_) => skipped += 1,
        }
        println!(
            "{:<10}{:<88}{result:<9}{:>6.1}  {figure}",
            scenario.row,
            scenario.name,
            start.elapsed().as_secs_f64()
        );
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one scenario in a lab of its own.
fn run(scenario: &Scenario, full: bool) -> Outcome {
    let limit = if full { LIMIT * 5 } else { LIMIT };
    let (done, over) = channel();
    let job = *scenario;
    let worker = std::thread::spawn(move || {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| tell(&job, full)))
            .unwrap_or_else(|panic| Err(anyhow::anyhow!("panic: {}", panic_text(panic.as_ref()))));
        let _ = done.send(result);
    });
    let result = match over.recv_timeout(limit) {
        Ok(result) => {
            let _ = worker.join();
            result
        }
        Err(_) => {
            // What it waits for ends with the lab's processes.
            cleanup::remove_all();
            over.recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|_| Err(anyhow::anyhow!("it hangs")))
                .and_then(|_| bail!("it came to its end only when the lab was gone"))
                .with_context(|| format!("not done after {} s", limit.as_secs()))
        }
    };
    match result {
        Ok(figure) => Outcome::Passed(figure),
        Err(error) => match error.downcast_ref::<Skip>() {
            Some(skip) => Outcome::Skipped(skip.0.clone()),
            None => Outcome::Failed(format!("{error:#}")),
        },
    }
}

fn tell(scenario: &Scenario, full: bool) -> Result<String> {
    let mut lab = Lab::build(&(scenario.topology)()).context("build the lab")?;
    lab.full = full;
    let result = std::panic::catch_unwind(AssertUnwindSafe(|| (scenario.story)(&lab)))
        .unwrap_or_else(|panic| Err(anyhow::anyhow!("panic: {}", panic_text(panic.as_ref()))));
    if result.as_ref().is_err_and(|e| e.downcast_ref::<Skip>().is_none()) {
        eprintln!("{}: {}", scenario.row, scenario.name);
        let words: String =
            scenario.name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        lab.explain_failure(&captures().join(format!("{}-{words:.40}.pcap", scenario.row)));
    }
    result
}

/// Where captures of failed rows are kept.
fn captures() -> PathBuf {
    std::env::current_exe()
        .ok()
        .and_then(|own| {
            own.ancestors()
                .find(|p| p.file_name().is_some_and(|n| n == "release" || n == "debug"))
                .map(Into::into)
        })
        .unwrap_or_else(std::env::temp_dir)
        .join("scenarios")
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
        .unwrap_or_else(|| "without a message".into())
}

/// Reads the command line; `None` when there is nothing to run. The options of the two common test
/// runners are understood as far as they ask for one test.
fn parse(scenarios: &[Scenario]) -> Result<Option<Arguments>> {
    let mut arguments = Arguments { only: Vec::new(), full: false };
    let (mut list, mut terse, mut ignored) = (false, false, false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--only" => {
                let rows = words.next().context("--only needs rows")?;
                for row in rows.split(',') {
                    if !scenarios.iter().any(|s| s.row == row) {
                        bail!("there is no row {row:?}");
                    }
                    arguments.only.push(row.to_owned());
                }
            }
            "--full" => arguments.full = true,
            "--list" => list = true,
            "--format" => terse = words.next().is_some_and(|w| w == "terse"),
            "--ignored" => ignored = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return Ok(None);
            }
            "--exact" | "--nocapture" | "--show-output" | "--quiet" | "-q" | "scenarios" => {}
            other => bail!("unknown argument {other:?}"),
        }
    }
    if list && terse {
        if !ignored {
            println!("scenarios: test");
        }
        return Ok(None);
    }
    if list {
        scenarios.iter().for_each(|s| println!("{:<10}{}", s.row, s.name));
        return Ok(None);
    }
    Ok((!ignored).then_some(arguments))
}

/// Why no scenario can run here.
pub fn machine_lacks() -> Option<String> {
    if !cfg!(target_os = "linux") {
        return Some("needs Linux".into());
    }
    if !nix::unistd::geteuid().is_root() {
        return Some("needs root, for network namespaces".into());
    }
    if let Some(tool) = ["ip", "ethtool", "nginx"].into_iter().find(|tool| !have(tool)) {
        return Some(format!("{tool} is not installed"));
    }
    let name = format!("{}-probe", cleanup::unique_prefix());
    let probe = crate::netns::run(std::process::Command::new("ip").args(["netns", "add", &name]));
    cleanup::remove_namespace(&name);
    if let Err(error) = probe {
        return Some(format!("no network namespaces here: {error:#}").replace('\n', " "));
    }
    switch::program("flowswitch-dp").err().map(|e| e.to_string())
}

fn scenario_lacks(scenario: &Scenario) -> Option<String> {
    scenario.needs.iter().find(|tool| !have(tool)).map(|tool| format!("{tool} is not installed"))
}

/// A program is on the path, or where Debian puts those of root.
pub fn have(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder: PathBuf| folder.join(tool).is_file())
}

/// Rows with ten thousand connections need as many files.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let _ = setrlimit(Resource::RLIMIT_NOFILE, 100_000, 100_000).or_else(|_| {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
    });
}
