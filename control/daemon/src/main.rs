//! flowswitchd: run, control, check.

use clap::{Parser, Subcommand, ValueEnum};
use control_config::{Checked, FileError};
use control_daemon::LoadError;
use control_daemon::control::{ControlError, ControlOptions, control};
use control_daemon::orders::Signals;
use control_daemon::run::{RunError, RunOptions, run};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use tracing_subscriber::EnvFilter;

/// The network flow switch: its control core, and the supervisor that runs it beside the data path.
#[derive(Debug, Parser)]
#[command(name = "flowswitchd", version, about, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  flowswitchd check --config switch.toml              every mistake in a file, with its remedy
  sudo flowswitchd run --config switch.toml           the switch, until ctrl-c
  flowctl show servers                                what it does, from another terminal
  sudo kill -HUP $(cat /run/flowswitch/run.pid)       read the file again (or: flowctl reload)

FLOWSWITCH_LOG=debug says more on standard error.
Exit codes: 0 done, 1 refused or failed, 2 mistakes in the file or on the command line.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Start data path and control core, and keep them running.
    #[command(
        after_help = "Example:\n  sudo flowswitchd run --config switch.toml --runtime-dir /run/flowswitch"
    )]
    Run {
        #[command(flatten)]
        place: Place,
        /// The data path's program [default: flowswitch-dp beside this one]
        #[arg(long, value_name = "PATH")]
        data_path: Option<PathBuf>,
    },
    /// The control core alone; it needs no privileges, and connects to the data path when there is one.
    #[command(
        after_help = "Example:\n  flowswitchd control --config switch.toml --runtime-dir /run/flowswitch"
    )]
    Control {
        #[command(flatten)]
        place: Place,
    },
    /// Read a configuration and report every mistake in it. Needs nothing and changes nothing.
    #[command(
        after_help = "Example:\n  flowswitchd check --config switch.toml --output json\n\nExit codes: 0 good, 1 unreadable, 2 mistakes."
    )]
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// How to write the result
        #[arg(long, value_enum, default_value_t = Output::Lines)]
        output: Output,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// The configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The directory of sockets and locks
    #[arg(long, value_name = "DIR", default_value = "/run/flowswitch")]
    runtime_dir: PathBuf,
    /// The directory of what outlives a restart: roles, drains, weights [default: the runtime directory]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
}

impl Place {
    fn state_dir(&self) -> PathBuf {
        self.state_dir.clone().unwrap_or_else(|| self.runtime_dir.clone())
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A line for each finding
    Lines,
    /// One object
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log();
    match arguments.command {
        Command::Check { config, output } => {
            let checked = Checked::of(&config);
            let text = match output {
                Output::Lines => checked.to_string(),
                Output::Json => {
                    let object = serde_json::to_string_pretty(&checked);
                    object.expect("findings hold nothing that JSON cannot") + "\n"
                }
            };
            // Who closes our output early has seen enough.
            let _ = std::io::stdout().write_all(text.as_bytes());
            ExitCode::from(checked.exit_code())
        }
        Command::Control { place } => {
            let options = ControlOptions {
                state_dir: place.state_dir(),
                config: place.config,
                runtime_dir: place.runtime_dir,
            };
            let mut signals = match Signals::take() {
                Ok(signals) => signals,
                Err(error) => return fail(&format!("cannot take signals: {error}")),
            };
            match control(&options, &mut signals) {
                Ok(()) => ExitCode::SUCCESS,
                Err(ControlError::Load(LoadError::File(error))) => refuse(&error),
                Err(ControlError::Load(LoadError::NeedsRestart { path, changes })) => {
                    changes.iter().for_each(|change| eprintln!("{change}"));
                    fail(&LoadError::NeedsRestart { path, changes }.to_string())
                }
                Err(error) => fail(&error.to_string()),
            }
        }
        Command::Run { place, data_path } => {
            let control = std::env::current_exe().unwrap_or_else(|_| "flowswitchd".into());
            let options = RunOptions {
                state_dir: place.state_dir(),
                config: place.config,
                runtime_dir: place.runtime_dir,
                data_path,
                control,
            };
            let mut signals = match Signals::take() {
                Ok(signals) => signals,
                Err(error) => return fail(&format!("cannot take signals: {error}")),
            };
            let mut say = |line: &str| {
                let mut stdout = std::io::stdout().lock();
                let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
            };
            match run(&options, &mut signals, &mut say) {
                Ok(()) => ExitCode::SUCCESS,
                Err(RunError::File(error)) => refuse(&error),
                Err(error) => fail(&error.to_string()),
            }
        }
    }
}

/// One line, and 1.
fn fail(problem: &str) -> ExitCode {
    eprintln!("flowswitchd: {problem}");
    ExitCode::FAILURE
}

/// What is wrong with a file, a line each; 2, or 1 when it cannot be read.
fn refuse(error: &FileError) -> ExitCode {
    match error {
        FileError::Unreadable { .. } => fail(&error.to_string()),
        FileError::Mistakes { path, errors } => {
            for error in &errors.errors {
                eprintln!("{}:{}: {error}", path.display(), error.line);
            }
            eprintln!("flowswitchd: {error}; nothing was started");
            ExitCode::from(2)
        }
    }
}

/// The log goes to standard error: warnings and worse, and what the operator has to know.
fn log() {
    let filter = EnvFilter::try_from_env("FLOWSWITCH_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
