//! The switch under test: its programs, started and watched.

use crate::config::SwitchConfig;
use crate::netns::{Namespace, run};
use crate::process::{Process, alive};
use crate::wait;
use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// How the line begins that says that the plan is in force.
const READY: &str = "flowswitch: ready";

/// The three programs of the product.
pub const PROGRAMS: [&str; 3] = ["flowswitchd", "flowswitch-dp", "flowctl"];

/// A running switch. Dropping it ends it.
pub struct Switch {
    process: Mutex<Process>,
    /// Where its socket and the numbers of its processes are.
    pub runtime: PathBuf,
    /// Its configuration file.
    pub config: PathBuf,
    log: PathBuf,
}

impl Switch {
    /// Starts it in `ns` and waits until its plan is in force.
    ///
    /// # Errors
    ///
    /// When it ends or says nothing before that; with what it said.
    pub fn start(ns: &Namespace, folder: &Path, config: &SwitchConfig) -> Result<Self> {
        let runtime = folder.join("run");
        std::fs::create_dir_all(&runtime)?;
        let file = folder.join("switch.toml");
        std::fs::write(&file, config.text())?;
        let log = folder.join("switch.log");
        let stderr = std::fs::OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = ns.command(program("flowswitchd")?);
        command.args(["run", "--config"]).arg(&file).arg("--runtime-dir").arg(&runtime);
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(stderr))?;
        let (sender, output) = channel();
        let stdout = process.stdout().context("its output is a pipe")?;
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let switch = Self { process: Mutex::new(process), runtime, config: file, log };
        let end = Instant::now() + START;
        loop {
            match output.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) if line.starts_with(READY) => return Ok(switch),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("no line {READY:?} within {:.0} s:\n{}", START.as_secs_f64(), switch.log_tail())
                }
                Err(RecvTimeoutError::Disconnected) => bail!("the switch ended:\n{}", switch.log_tail()),
            }
        }
    }

    /// Runs `flowctl` with these arguments and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it fails; with what it said.
    pub fn flowctl(&self, arguments: &[&str]) -> Result<String> {
        run(Command::new(program("flowctl")?).arg("--runtime-dir").arg(&self.runtime).args(arguments))
    }

    /// `flowctl show WHAT --output json`.
    ///
    /// # Errors
    ///
    /// When it fails or prints no JSON.
    pub fn show(&self, what: &str) -> Result<Value> {
        let text = self.flowctl(&["show", what, "--output", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("show {what} is no JSON: {text}"))
    }

    /// The rows of a view.
    ///
    /// # Errors
    ///
    /// When the switch does not say.
    pub fn rows(&self, what: &str) -> Result<Vec<Value>> {
        let mut shown = self.show(what)?;
        match shown.get_mut(what).map(Value::take) {
            Some(Value::Array(rows)) => Ok(rows),
            _ => bail!("show {what} has no rows: {shown}"),
        }
    }

    /// How many frames were dropped for a reason so far.
    ///
    /// # Errors
    ///
    /// When the switch does not say.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        let row = self.rows("drops")?.into_iter().find(|row| row["reason"] == reason);
        Ok(row.and_then(|row| row["frames"].as_u64()).unwrap_or_default())
    }

    /// The flows there are: client, its port, server.
    ///
    /// # Errors
    ///
    /// When the switch does not say.
    pub fn flows(&self) -> Result<Vec<(String, u64, String)>> {
        let flows = self.rows("flows")?;
        Ok(flows
            .iter()
            .map(|row| {
                let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
                (text("client"), row["client_port"].as_u64().unwrap_or_default(), text("server"))
            })
            .collect())
    }

    /// A port's interface is there and in use.
    ///
    /// # Errors
    ///
    /// When the switch does not say.
    pub fn port_attached(&self, name: &str) -> Result<bool> {
        self.rows("ports")?
            .iter()
            .find(|row| row["name"] == name)
            .and_then(|row| row["attached"].as_bool())
            .with_context(|| format!("the switch shows no port {name}"))
    }

    /// Writes another configuration and has it loaded.
    ///
    /// # Errors
    ///
    /// When it is refused.
    pub fn reload(&self, config: &SwitchConfig) -> Result<()> {
        std::fs::write(&self.config, config.text())?;
        self.flowctl(&["reload"]).map(drop)
    }

    /// The data path is there, and the plan in force.
    pub fn in_force(&self) -> bool {
        self.show("servers").is_ok_and(|shown| {
            let data_path = &shown["data_path"];
            data_path["connected"] == true && data_path["plan"].as_u64().is_some_and(|plan| plan > 0)
        })
    }

    /// The number of the data path's process.
    ///
    /// # Errors
    ///
    /// When it is not known.
    pub fn data_path(&self) -> Result<i32> {
        self.pid("dp.pid")
    }

    /// The number of the control core's process.
    ///
    /// # Errors
    ///
    /// When it is not known.
    pub fn control(&self) -> Result<i32> {
        self.pid("control.pid")
    }

    /// The number of the process that was started, which looks after the others.
    pub fn supervisor(&self) -> i32 {
        self.process().pid()
    }

    fn pid(&self, file: &str) -> Result<i32> {
        let path = self.runtime.join(file);
        let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(text.trim().parse()?)
    }

    /// Ends it by a signal.
    ///
    /// # Errors
    ///
    /// When it takes more than 10 s, ends with another status than 0, or leaves a process behind.
    pub fn stop(&self, signal: Signal) -> Result<()> {
        let children = [self.data_path(), self.control()];
        ensure!(self.is_running(), "the switch had ended before:\n{}", self.log_tail());
        self.process().signal(signal);
        let status = self.process().wait(Duration::from_secs(10))?;
        ensure!(status.success(), "the switch ended with {status}:\n{}", self.log_tail());
        for pid in children.into_iter().flatten() {
            wait::until("the end of its processes", Duration::from_secs(2), || (!alive(pid)).then_some(()))?;
        }
        Ok(())
    }

    /// It has not ended.
    pub fn is_running(&self) -> bool {
        self.process().is_running()
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Prints what it says about itself.
    pub fn explain(&self) {
        eprintln!("  the switch's own messages:\n{}", self.log_tail());
        if self.is_running() {
            for what in ["drops", "ports", "servers", "clusters", "workers"] {
                match self.flowctl(&["show", what]) {
                    Ok(text) => eprintln!("  show {what}\n{text}"),
                    Err(error) => eprintln!("  show {what}: {error:#}"),
                }
            }
        } else {
            eprintln!("  it is not running any more");
        }
    }

    /// The last lines of its log.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

/// Where a program of the product is.
///
/// # Errors
///
/// When the product is not built.
pub fn program(name: &str) -> Result<PathBuf> {
    folders()?
        .into_iter()
        .find(|folder| PROGRAMS.iter().all(|p| folder.join(p).is_file()))
        .map(|folder| folder.join(name))
        .with_context(|| format!("{} are not built (make build)", PROGRAMS.join(", ")))
}

/// Where the product's programs may be: `FLOWSWITCH_BIN_DIR` alone, or the build's folders.
fn folders() -> Result<Vec<PathBuf>> {
    if let Some(folder) = std::env::var_os("FLOWSWITCH_BIN_DIR") {
        return Ok(vec![folder.into()]);
    }
    // target/PROFILE/deps/scenarios-HASH, or target/PROFILE/flowswitch-demo
    let own = std::env::current_exe()?;
    let target = own
        .ancestors()
        .find(|p| p.file_name().is_some_and(|n| n == "release" || n == "debug"))
        .and_then(Path::parent)
        .context("not run from a build's folder")?;
    Ok(vec![target.join("release"), target.join("debug")])
}
