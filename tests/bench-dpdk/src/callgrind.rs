//! Instructions a packet: callgrind on this program with N and with 2N packets, the difference by N.

use crate::case::Case;
use crate::count::Way;
use anyhow::{Context, Result, bail, ensure};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Packets of the shorter run; at 64 Mi flows they would still be few, so counts are taken at 1,024.
const PACKETS: u64 = 65_536;

/// Counts, each of them once.
#[derive(Debug)]
pub(crate) struct Counts {
    program: PathBuf,
    known: HashMap<(String, String, u32), f64>,
}

impl Counts {
    /// `None` where valgrind is not installed.
    pub(crate) fn new() -> Option<Self> {
        Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().ok()?;
        Some(Self { program: std::env::current_exe().ok()?, known: HashMap::new() })
    }

    /// The same by another build of this program.
    pub(crate) fn of(program: &Path) -> Option<Self> {
        Self::new().map(|counts| Self { program: program.to_owned(), ..counts })
    }

    /// Instructions a packet, all of it.
    pub(crate) fn total(&mut self, case: Case, way: Way, flows: u32) -> Result<f64> {
        let key = (case.name(), way.name(), flows);
        if let Some(known) = self.known.get(&key) {
            return Ok(*known);
        }
        // Both at a time: the counts do not depend on the time it takes.
        let once = self.start(&key, PACKETS)?;
        let twice = self.start(&key, 2 * PACKETS)?;
        let (once, twice) = (collected(once)?, collected(twice)?);
        let each = twice.saturating_sub(once) as f64 / PACKETS as f64;
        self.known.insert(key, each);
        Ok(each)
    }

    /// What devices cost.
    pub(crate) fn floor(&mut self) -> Result<f64> {
        self.total(Case::Inbound, Way::Floor, 1024)
    }

    /// What is the switch's own: in all, less the devices and the generator.
    pub(crate) fn own(&mut self, case: Case, flows: u32) -> Result<f64> {
        let total = self.total(case, Way::Switch, flows)?;
        Ok(total - self.floor()? - self.total(case, Way::Generator, 1024)?)
    }

    fn start(&self, (case, way, flows): &(String, String, u32), packets: u64) -> Result<Child> {
        let words = ["count", "--case", case, "--way", way];
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(&self.program)
            .args(words)
            .args(["--flows", &flows.to_string(), "--packets", &packets.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().context("cannot start valgrind")
    }
}

/// What callgrind says at its end.
pub(crate) fn collected(child: Child) -> Result<u64> {
    let output = child.wait_with_output().context("valgrind does not end")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "under valgrind: {}", said.lines().last().unwrap_or("no message"));
    let Some(line) = said.lines().find(|line| line.contains("Collected")) else {
        bail!("callgrind counted nothing");
    };
    last_number(line)
}

/// The number that a line ends with.
pub(crate) fn last_number(line: &str) -> Result<u64> {
    let number = line.rsplit(' ').next().unwrap_or_default();
    number.parse().with_context(|| format!("not a count: {line}"))
}
