//! The peer that ships with DPDK: testpmd in macswap mode, between two `net_null` devices.

use crate::callgrind;
use anyhow::{Context, Result, bail};
use core::time::Duration;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

/// What it is called in tables.
pub(crate) const NAME: &str = "testpmd macswap, same run";

const PROGRAM: &str = "dpdk-testpmd";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// testpmd, started and waiting on its console. It uses no core while it is stopped.
#[derive(Debug)]
pub(crate) struct Testpmd {
    child: Child,
    console: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Testpmd {
    /// Starts it on huge pages: console on `main`, forwarding on `worker`.
    pub(crate) fn start(main: usize, worker: usize) -> Result<Self> {
        let mut command = by_lines(PROGRAM);
        command.args(["-l", &format!("{main},{worker}"), "--in-memory", "-m", "128"]);
        let mut testpmd = Self::with(command)?;
        testpmd.say("set fwd macswap")?;
        testpmd.say("set record-core-cycles on")?;
        Ok(testpmd)
    }

    fn with(mut command: Command) -> Result<Self> {
        command
            .args(["--no-pci", "--no-telemetry"])
            .arg(format!("--file-prefix=fs-testpmd-{}", std::process::id()))
            .args(["--vdev=net_null0", "--vdev=net_null1"])
            .args(["--", "-i", "--burst=32", "--total-num-mbufs=8192"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            command.spawn().with_context(|| format!("{PROGRAM} is not installed (package dpdk-dev)"))?;
        let console = child.stdin.take();
        let output = child.stdout.take().context("no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(core::result::Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let mut testpmd = Self { child, console, lines };
        // An answer to a command says that it listens.
        testpmd.say("show port summary all")?;
        testpmd.wait_for("net_null1")?;
        Ok(testpmd)
    }

    fn say(&mut self, words: &str) -> Result<()> {
        let console = self.console.as_mut().context("testpmd has ended")?;
        writeln!(console, "{words}").with_context(|| format!("{PROGRAM} has ended"))?;
        console.flush().with_context(|| format!("{PROGRAM} has ended"))
    }

    fn wait_for(&mut self, part: &str) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(part) => return Ok(line),
                Ok(_) => {}
                Err(_) => bail!("{PROGRAM} ended, or did not say {part:?} within {} s", PATIENCE.as_secs()),
            }
        }
    }

    /// Forwards for so long: its own count of TSC cycles a packet.
    pub(crate) fn round(&mut self, window: Duration) -> Result<f64> {
        self.say("start")?;
        std::thread::sleep(window);
        self.say("stop")?;
        let line = self.wait_for("CPU cycles/packet=")?;
        self.wait_for("Done.")?;
        cycles(&line).with_context(|| format!("not a figure: {line}"))
    }

    /// Instructions a packet under callgrind: a shorter and a longer run, the difference by the
    /// packets that it says to have forwarded.
    pub(crate) fn instructions() -> Result<f64> {
        let (first, second) = std::thread::scope(|scope| {
            let first = scope.spawn(|| counted(2));
            let second = scope.spawn(|| counted(6));
            (first.join(), second.join())
        });
        let gone = "a thread panicked";
        let (i1, p1) = first.ok().context(gone)??;
        let (i2, p2) = second.ok().context(gone)??;
        anyhow::ensure!(p2 > p1, "testpmd forwarded less in a longer run");
        Ok((i2 as f64 - i1 as f64) / (p2 - p1) as f64)
    }
}

/// A program whose output is not held back until its buffer is full.
fn by_lines(program: &str) -> Command {
    let mut command = Command::new("stdbuf");
    command.args(["-oL", program]);
    command
}

/// (instructions, packets) of one run.
fn counted(seconds: u64) -> Result<(u64, u64)> {
    let mut command = by_lines("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", PROGRAM]);
    command.args(["-l", "0,1", "--no-huge", "-m", "256", "--no-shconf"]);
    let mut testpmd = Testpmd::with(command)?;
    testpmd.say("set fwd macswap")?;
    testpmd.say("start")?;
    std::thread::sleep(Duration::from_secs(seconds));
    testpmd.say("stop")?;
    testpmd.wait_for("Accumulated forward statistics")?;
    let line = testpmd.wait_for("RX-packets:")?;
    let packets = line.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    testpmd.wait_for("Done.")?;
    testpmd.say("quit")?;
    testpmd.console = None;
    let Testpmd { child, lines, .. } = &mut testpmd;
    // Its pipe must not fill while it says good-bye.
    while lines.recv_timeout(PATIENCE).is_ok() {}
    let stderr = child.stderr.take().context("no output")?;
    let said: Vec<String> = BufReader::new(stderr).lines().map_while(core::result::Result::ok).collect();
    child.wait()?;
    let line = said.iter().find(|l| l.contains("Collected")).context("callgrind counted nothing")?;
    let instructions = callgrind::last_number(line)?;
    Ok((instructions, packets.with_context(|| format!("not a count: {line}"))?))
}

/// The figure in `CPU cycles/packet=97.38 (total cycles=978384584 / ...`.
fn cycles(line: &str) -> Option<f64> {
    let behind = line.split("CPU cycles/packet=").nth(1)?;
    behind.split_whitespace().next()?.parse().ok()
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = self.say("quit");
        self.console = None;
        // It ends by itself when its console does; what it still says is read, or it would wait.
        while self.lines.recv_timeout(Duration::from_secs(5)).is_ok() {}
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_figure_is_read() {
        let line =
            "  CPU cycles/packet=97.38 (total cycles=978384584 / total macswap packets=10047360) at 2600 MHz";
        assert_eq!(cycles(line), Some(97.38));
        assert_eq!(cycles("CPU load"), None);
    }
}
