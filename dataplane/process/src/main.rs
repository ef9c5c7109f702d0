//! flowswitch-dp: the data path process, the only one that links DPDK.
//!
//! The main lcore runs the *publisher*: it never polls packets, holds the socket to the control core,
//! watches links, and feeds the workers, which run on lcores of their own until the process is told
//! to stop. It knows nothing of what a frame means; that is `dataplane-worker`'s.
//!
//! Exit codes: 0 stopped as asked, 1 refused or failed (one line says why), 2 usage.

mod boot;
mod claim;
mod clock;
mod connection;
mod device;
mod eal_arguments;
mod idle;
mod keeper;
mod memory;
mod run;
mod workbench;
mod worker_loop;

use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: flowswitch-dp --boot FILE.json --runtime-dir DIR

Carries frames as the control core says, which connects to DIR/dp.sock. Goes on without it.

  --boot FILE.json   ports, workers, memory: what cannot change while it runs
  --runtime-dir DIR  where the socket and the lock lie; one instance in a directory
  --version          its version and DPDK's
";

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Asked::Run(options)) => options,
        Ok(Asked::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Ok(Asked::Version) => {
            println!("flowswitch-dp {} ({})", env!("CARGO_PKG_VERSION"), ffi_dpdk::version());
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("flowswitch-dp: {problem}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match run::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("flowswitch-dp: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What the command line says.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    boot: PathBuf,
    runtime_dir: PathBuf,
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Run(Options),
    Help,
    Version,
}

impl Options {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Asked, String> {
        let (mut boot, mut runtime_dir) = (None, None);
        while let Some(word) = words.next() {
            let slot = match word.as_str() {
                "--help" | "-h" => return Ok(Asked::Help),
                "--version" | "-V" => return Ok(Asked::Version),
                "--boot" => &mut boot,
                "--runtime-dir" => &mut runtime_dir,
                _ => return Err(format!("unknown argument `{word}`")),
            };
            *slot = Some(PathBuf::from(words.next().ok_or(format!("{word} needs a value"))?));
        }
        Ok(Asked::Run(Self {
            boot: boot.ok_or("--boot is missing")?,
            runtime_dir: runtime_dir.ok_or("--runtime-dir is missing")?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Asked, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line() {
        let options = Options { boot: "b.json".into(), runtime_dir: "/run/fs".into() };
        assert_eq!(parse("--runtime-dir /run/fs --boot b.json"), Ok(Asked::Run(options)));
        assert_eq!(parse("--boot b.json"), Err("--runtime-dir is missing".into()));
        assert_eq!(parse("--boot"), Err("--boot needs a value".into()));
        assert_eq!(parse("-v"), Err("unknown argument `-v`".into()));
        assert_eq!(parse("--boot x --help"), Ok(Asked::Help));
    }
}
