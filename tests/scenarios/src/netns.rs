//! Network namespaces: made, entered, removed.

use crate::cleanup;
use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

/// A network namespace. Dropping it ends what runs in it and removes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one, with its loopback up.
    ///
    /// # Errors
    ///
    /// When the kernel or `ip` refuses, mostly for want of root.
    pub fn create(name: &str) -> Result<Self> {
        cleanup::add_namespace(name);
        run(Command::new("ip").args(["netns", "add", name]))?;
        let namespace = Self { name: name.to_owned() };
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `job` on a thread inside the namespace. Sockets made there stay in it.
    pub fn enter<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.join();
                job()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `job` on a thread inside the namespace.
    ///
    /// # Errors
    ///
    /// When the namespace is gone.
    pub fn spawn<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<std::thread::JoinHandle<T>> {
        let file = File::open(format!("/run/netns/{}", self.name)).context("open the namespace")?;
        Ok(std::thread::spawn(move || {
            setns(&file, CloneFlags::CLONE_NEWNET).expect("root may enter its own namespaces");
            job()
        }))
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Panics
    ///
    /// When the namespace is gone.
    pub fn join(&self) {
        let file = File::open(format!("/run/netns/{}", self.name)).expect("the namespace exists");
        setns(&file, CloneFlags::CLONE_NEWNET).expect("root may enter its own namespaces");
    }

    /// A command that will run in the namespace.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program in the namespace to its end and returns what it printed.
    ///
    /// # Errors
    ///
    /// When it ends with another status than 0.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments))
    }

    /// Runs lines of `ip` commands, one per line, at once.
    ///
    /// # Errors
    ///
    /// When one of them fails.
    pub fn ip(&self, lines: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-n", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip")?;
        child.stdin.take().context("ip has no input")?.write_all(lines.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("in {}: {}\n{lines}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Sets kernel parameters below `/proc/sys/net/`.
    ///
    /// # Errors
    ///
    /// When one does not exist or refuses the value.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.enter(|| {
            for (key, value) in settings {
                std::fs::write(format!("/proc/sys/net/{key}"), value)
                    .with_context(|| format!("set net/{key} to {value}"))?;
            }
            Ok(())
        })
    }

    /// No process runs in it.
    ///
    /// # Errors
    ///
    /// When `ip` does not say.
    pub fn is_idle(&self) -> Result<bool> {
        Ok(run(Command::new("ip").args(["netns", "pids", &self.name]))?.trim().is_empty())
    }

    /// A counter of the namespace from `/proc/net/snmp` or `/proc/net/netstat`, such as
    /// (`Tcp`, `OutRsts`).
    ///
    /// # Errors
    ///
    /// When there is no such counter.
    pub fn counter(&self, group: &str, name: &str) -> Result<u64> {
        let text = self.enter(|| {
            let read = |file| std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            Ok::<_, std::io::Error>(read("snmp")? + &read("netstat")?)
        })?;
        let mut rows = text.lines().filter_map(|l| l.strip_prefix(group)?.strip_prefix(':'));
        let (names, values) = rows.next().zip(rows.next()).context("no such group")?;
        let at = names.split_whitespace().position(|n| n == name).context("no such counter")?;
        Ok(values.split_whitespace().nth(at).context("no value")?.parse()?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        cleanup::remove_namespace(&self.name);
    }
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
///
/// When it cannot be started or ends with another status than 0; with what it said.
pub fn run(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        bail!("{command:?}: {}\n{}{text}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok(text)
}
