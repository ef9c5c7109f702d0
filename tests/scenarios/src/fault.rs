//! What is done to hosts of the lab: their programs killed or frozen, their frames silenced, their cables
//! pulled and made again. Each fault says when it began, on the clock of [`wall`].

use crate::lab::{Host, Lab};
use crate::netns::Namespace;
use crate::{nginx, wait};
use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970: the clock by which the kernel stamps captured frames.
pub fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `ip` in a namespace, started and waiting for a line, so that what is done happens at once.
pub struct Hand {
    ip: Child,
    input: ChildStdin,
}

impl Hand {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When there is no `ip`.
    pub fn on(ns: &Namespace) -> Result<Self> {
        let mut ip = Command::new("ip")
            .args(["-n", ns.name(), "-force", "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start ip")?;
        let input = ip.stdin.take().context("ip has no input")?;
        Ok(Self { ip, input })
    }

    /// Has lines carried out and returns when that began. The kernel has them within about a millisecond.
    ///
    /// # Errors
    ///
    /// When `ip` has ended.
    pub fn does(&mut self, lines: &str) -> Result<Duration> {
        let at = wall();
        self.input.write_all(lines.as_bytes())?;
        self.input.write_all(b"\n")?;
        self.input.flush()?;
        Ok(at)
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.ip.kill();
        let _ = self.ip.wait();
    }
}

impl Lab {
    /// Kills every program of a server: its kernel refuses connections from then on.
    ///
    /// # Errors
    ///
    /// When nothing runs there.
    pub fn kill_programs(&self, server: &Host) -> Result<Duration> {
        let mut programs = self.https.lock().unwrap_or_else(PoisonError::into_inner);
        let mut program = programs.remove(&server.name).context("no program runs there")?;
        let at = wall();
        program.signal(Signal::SIGKILL);
        program.end(Duration::from_secs(1));
        Ok(at)
    }

    /// Starts nginx on a server (again) and waits until its port is open.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn start_programs(&self, server: &Host) -> Result<()> {
        let program = nginx::start(&server.ns, &self.folder, &server.name, &self.folder.join("files"))?;
        self.https.lock().unwrap_or_else(PoisonError::into_inner).insert(server.name.clone(), program);
        nginx::wait_open(&server.ns)
    }

    /// Stops a server's programs without ending them, or lets them go on. Its kernel goes on all the while.
    ///
    /// # Errors
    ///
    /// When nothing runs there.
    pub fn freeze(&self, server: &Host, frozen: bool) -> Result<Duration> {
        let programs = self.https.lock().unwrap_or_else(PoisonError::into_inner);
        let program = programs.get(&server.name).context("no program runs there")?;
        let at = wall();
        program.signal(if frozen { Signal::SIGSTOP } else { Signal::SIGCONT });
        Ok(at)
    }

    /// Drops every frame to and from a host from one moment to the next; its cable keeps its carrier. Taps
    /// still see what comes.
    ///
    /// # Errors
    ///
    /// When `nft` refuses.
    pub fn silence(&self, host: &Host) -> Result<Duration> {
        let at = wall();
        nft(
            &host.ns,
            "table netdev silence {\n\
             chain i { type filter hook ingress device \"eth0\" priority 0; policy drop;\n}\n\
             chain e { type filter hook egress device \"eth0\" priority 0; policy drop;\n}\n}\n",
        )?;
        Ok(at)
    }

    /// Ends [`Self::silence`].
    ///
    /// # Errors
    ///
    /// When it was not silenced.
    pub fn speak(&self, host: &Host) -> Result<()> {
        nft(&host.ns, "delete table netdev silence\n")
    }

    /// Gives back what a host's interface lost while it was down.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn link_up(&self, host: &Host) -> Result<()> {
        let mut lines = String::from("link set eth0 up\n");
        for address in &host.addresses {
            lines += &format!("addr replace {}/64 dev eth0 nodad\n", address.v6);
        }
        if host.name.starts_with('s') {
            let [v4, v6] = self.gateway_of(host).both();
            lines += &format!("route replace default via {v4}\nroute replace default via {v6}\n");
        }
        host.ns.ip(&lines)
    }

    /// Removes a host's cable.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn unplug(&self, host: &Host) -> Result<Duration> {
        let at = wall();
        self.switch_ns.ip(&format!("link del {}\n", self.switch_interface(host)))?;
        Ok(at)
    }
}

/// Has `nft` carry out lines in a namespace, all of them at one moment.
///
/// # Errors
///
/// When it refuses.
pub fn nft(ns: &Namespace, lines: &str) -> Result<()> {
    let mut child = ns
        .command("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start nft")?;
    child.stdin.take().context("nft has no input")?.write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "nft: {}\n{lines}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Waits until the switch says that a server is in a state, such as `up`.
///
/// # Errors
///
/// When it is not within `limit`.
pub fn await_state(lab: &Lab, server: &str, state: &str, limit: Duration) -> Result<()> {
    let switch = lab.switch();
    let mut last = String::new();
    wait::until(&format!("{server} {state}"), limit, || {
        let rows = switch.rows("servers").ok()?;
        let row = rows.into_iter().find(|row| row["name"] == server)?;
        row["state"].as_str().unwrap_or_default().clone_into(&mut last);
        (last == state).then_some(())
    })
    .with_context(|| format!("{server} is {last}"))
}
