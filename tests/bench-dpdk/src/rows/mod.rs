//! `rows`: each goal's figure, printed as a line of JSON as soon as it is there.

mod flood;
mod growth;
mod hits;
mod instructions;
mod kernel;
mod kinds;
mod lookup;
mod new_flows;
mod workers;

pub(crate) use workers::FLOWS as FLOWS_EACH;

use crate::callgrind::Counts;
use crate::case::Case;
use crate::eal;
use crate::hugepages::HugePages;
use crate::rig::{Ground, Rig};
use crate::script::Doubling;
use crate::testpmd::Testpmd;
use anyhow::{Context, Result};
use clap::Args;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use tests_bench::{Limits, Row, least, median};

/// The rows of goals P1 to P18 that are measured on DPDK: one line of JSON each.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  flowswitch-bench-dpdk rows                    everything
  flowswitch-bench-dpdk rows --only P1,P3       two of them
  flowswitch-bench-dpdk rows --quick            fewer rounds, no large tables")]
pub(crate) struct RowsArguments {
    /// Only these: `P1,P3`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Name the rows that there are, and end.
    #[arg(long)]
    list: bool,
    /// A few rounds, shorter windows, no table of more than a million flows.
    #[arg(long)]
    quick: bool,
    /// Two cores: of the one that waits, and of the one that works.
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1])]
    cores: Vec<usize>,
    /// This program, built without observation (P4).
    #[arg(long)]
    unobserved: Option<PathBuf>,
}

/// How often and how long it is measured. Many short windows tell more than few long ones: what else the machine does
/// comes and goes within seconds, and a round's two windows should see the same of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
}

impl Pace {
    const fn of(rounds: usize, window_ms: u64) -> Self {
        Self { rounds, window: Duration::from_millis(window_ms) }
    }
}

/// What the rows share.
pub(crate) struct Session {
    only: Vec<String>,
    pub(crate) quick: bool,
    /// Of what has to be set up for each round.
    pub(crate) long: Pace,
    /// Of loops that take turns without more ado.
    pub(crate) short: Pace,
    pub(crate) cores: [usize; 2],
    pub(crate) unobserved: Option<PathBuf>,
    /// `None`: no valgrind.
    pub(crate) counts: Option<Counts>,
    /// DPDK on huge pages, or why there is none.
    ground: core::result::Result<Ground, String>,
    testpmd: Option<core::result::Result<Testpmd, String>>,
    /// Calls of the allocator in all windows so far, and their packets.
    pub(crate) allocations: u64,
    pub(crate) packets: u64,
}

/// The rows that there are.
const ROWS: &[(&str, &str)] = &[
    ("P1", "own instructions, inbound hit"),
    ("P2", "instructions in all against testpmd"),
    ("P3", "cycles against testpmd, 1k to 16M flows"),
    ("P4", "own instructions, outbound hit"),
    ("P5", "flow look-up against rte_hash"),
    ("P6", "batch look-up against one by one"),
    ("P7", "instructions against Katran and xvs"),
    ("P8", "instructions against DPVS"),
    ("P9", "cycles against nft in the kernel"),
    ("P10", "a new flow's packet against a hit"),
    ("P11", "new flows a second"),
    ("P15", "other kinds of packets against the IPv4/TCP hit"),
    ("P16", "two workers against two processes"),
    ("P17", "allocations"),
    ("P18", "cycles per hit from 1M to 64M flows"),
    ("E1", "connections beside floods"),
];

/// Measures and prints.
pub(crate) fn run(arguments: &RowsArguments) -> Result<()> {
    if arguments.list {
        ROWS.iter().for_each(|(name, what)| println!("{name:<8} {what}"));
        return Ok(());
    }
    let cores = [arguments.cores.first(), arguments.cores.get(1)].map(|core| core.copied());
    let [Some(main), Some(worker)] = cores else { anyhow::bail!("--cores wants two numbers, as in 0,1") };
    let _pages = HugePages::reserve();
    let ground = Ground::new(&eal::large(main, &[worker, main])).map_err(|error| {
        format!("{error:#}; reserve huge pages of 2 MiB (as root: echo 1024 > {})", crate::hugepages::FILE)
    });
    let mut session = Session {
        only: arguments.only.iter().map(|row| row.to_uppercase()).collect(),
        quick: arguments.quick,
        long: if arguments.quick { Pace::of(3, 100) } else { Pace::of(7, 250) },
        short: if arguments.quick { Pace::of(5, 60) } else { Pace::of(49, 60) },
        cores: [main, worker],
        unobserved: arguments.unobserved.clone(),
        counts: Counts::new(),
        ground,
        testpmd: None,
        allocations: 0,
        packets: 0,
    };
    if let Some(other) = session.only.iter().find(|only| ROWS.iter().all(|(name, _)| name != only)) {
        anyhow::bail!("there is no row {other}; --list names them");
    }
    instructions::rows(&mut session);
    kinds::rows(&mut session);
    hits::rows(&mut session);
    lookup::rows(&mut session);
    new_flows::rows(&mut session);
    kernel::rows(&mut session);
    flood::rows(&mut session);
    workers::rows(&mut session);
    growth::rows(&mut session);
    hits::allocations(&mut session);
    session.testpmd = None;
    Ok(())
}

impl Session {
    /// Whether a row is asked for.
    pub(crate) fn wants(&self, row: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == row)
    }

    /// Whether any of them is.
    pub(crate) fn wants_any(&self, rows: &[&str]) -> bool {
        rows.iter().any(|row| self.wants(row))
    }

    /// Prints a row if it is asked for.
    pub(crate) fn tell(&self, row: &Row) {
        if self.wants(&row.row) {
            println!("{}", row.line());
        }
    }

    /// A point of a plot: `flows`, `ours`, 1024, 99.5.
    pub(crate) fn plot(&self, plot: &str, series: &str, x: f64, y: f64) {
        println!("{{\"plot\":{plot:?},\"series\":{series:?},\"x\":{x},\"y\":{y}}}");
    }

    /// Says what is being done.
    pub(crate) fn say(&self, what: &str) {
        eprintln!("  {what}");
    }

    /// DPDK on huge pages.
    pub(crate) fn ground(&self) -> Result<&Ground> {
        self.ground.as_ref().map_err(|why| anyhow::anyhow!("{why}"))
    }

    /// A rig with so many established flows of this case.
    pub(crate) fn rig(&self, case: Case, flows: u32) -> Result<Rig> {
        let ground = self.ground()?;
        let mut rig = Rig::new(ground, case.size(flows))?;
        rig.establish(ground, case.kind(), flows)?;
        Ok(rig)
    }

    /// Packets that fill such a window, after one pass over all flows.
    pub(crate) fn calibrate(&mut self, rig: &mut Rig, case: Case, flows: u32, pace: Pace) -> Result<u64> {
        rig.play(0, case.stream(flows));
        let packets = u64::from(flows).clamp(1 << 18, 1 << 26);
        let reading = rig.run(self.ground()?, packets)?;
        let wanted = reading.rate() * pace.window.as_secs_f64();
        Ok((wanted as u64).max(1 << 14).next_multiple_of(32))
    }

    /// A window.
    pub(crate) fn measure(&mut self, rig: &mut Rig, packets: u64) -> Result<crate::meter::Reading> {
        let reading = rig.run(self.ground()?, packets)?;
        self.allocations += reading.allocations;
        self.packets += reading.packets;
        Ok(reading)
    }

    /// Windows of this case beside those of `peer`, by turns, without the generator; in several rigs one after the
    /// other, as a table costs a few per cent more or less by where in memory it happens to be.
    pub(crate) fn beside(
        &mut self,
        case: Case,
        flows: u32,
        pace: Pace,
        mut peer: impl FnMut(&mut Self) -> Result<f64>,
    ) -> Result<Beside> {
        let (mut all, mut peers, mut generator, mut fill) = (Vec::new(), Vec::new(), Vec::new(), (0, 0));
        // It takes seconds to fill a large one, and its place is all over the memory.
        let rigs = if flows > 1 << 20 { 2 } else { pace.rounds.div_ceil(ROUNDS_EACH) };
        for _ in 0..rigs {
            let mut rig = self.rig(case, flows)?;
            let packets = self.calibrate(&mut rig, case, flows, pace)?;
            let (script, twice) = Doubling::new(&case.stream(flows));
            rig.play(0, script);
            fill = rig.fill();
            let (mut once, mut doubled) = (Vec::new(), Vec::new());
            for _ in 0..pace.rounds / rigs {
                self.measure(&mut rig, packets / 8)?;
                once.push(self.measure(&mut rig, packets)?.tsc_each());
                peers.push(peer(self)?);
                twice.store(true, Ordering::Relaxed);
                self.measure(&mut rig, packets / 8)?;
                doubled.push(self.measure(&mut rig, packets)?.tsc_each());
                twice.store(false, Ordering::Relaxed);
            }
            generator.extend(least(&doubled).zip(least(&once)).map(|(doubled, once)| doubled - once));
            all.extend(once);
        }
        Ok(Beside { all, peer: peers, generator: median(&generator).max(0.0), fill })
    }

    /// A window of testpmd's: TSC cycles a packet.
    pub(crate) fn testpmd(&mut self) -> Result<f64> {
        let [main, worker] = self.cores;
        let window = self.short.window;
        let start = || Testpmd::start(main, worker).map_err(|error| format!("{error:#}"));
        let testpmd = self.testpmd.get_or_insert_with(start);
        testpmd.as_mut().map_err(|why| anyhow::anyhow!("{why}"))?.round(window).context("testpmd")
    }
}

/// Rounds of one rig, if it is not a large one ([`Session::beside`]).
const ROUNDS_EACH: usize = 7;

/// TSC cycles a packet, a value for each round.
pub(crate) struct Beside {
    /// Ours, with the generator.
    pub(crate) all: Vec<f64>,
    pub(crate) peer: Vec<f64>,
    /// What the generator costs in the same loop: what that takes more at least when it stamps twice, the median
    /// of the rigs.
    pub(crate) generator: f64,
    /// Entries in use, and places.
    pub(crate) fill: (u64, u64),
}

impl Beside {
    /// Ours, without the generator.
    pub(crate) fn ours(&self) -> Vec<f64> {
        self.all.iter().map(|all| all - self.generator).collect()
    }
}

/// Of a row where the peer's figure by ours counts, and more is better.
pub(crate) fn fewer(row: Row, ours: &[f64], peer: &[f64], peer_name: &str, limits: &Limits) -> Row {
    let mut row = row.compared(peer, ours, peer_name, limits);
    core::mem::swap(&mut row.ours, &mut row.peer);
    row
}

/// What a count of flows is called.
pub(crate) fn flows_text(flows: u32) -> String {
    match flows {
        n if n >= 1 << 20 => format!("{}M", n >> 20),
        n if n >= 1 << 10 => format!("{}k", n >> 10),
        n => n.to_string(),
    }
}
