//! `party`: a process of one or two workers that measures a window each time it is told to (P16).

use crate::eal;
use crate::generator::{Script, Silence};
use crate::rig::{Ground, Rig, Size};
use crate::rows::FLOWS_EACH;
use crate::script::Stream;
use crate::traffic::{ACK, From, Kind, Order};
use anyhow::{Context, Result, ensure};
use clap::Args;
use dataplane_port::{BURST, PortId, Verdict};
use std::io::BufRead;
use std::sync::{Arc, Mutex};

/// For P16: a process of as many workers as cores. Prints a number when it is ready, and cycles a packet for
/// each line on its input: `own` (frames come to their flow's owner) or `mixed` (half of them do not).
#[derive(Args, Clone, Debug)]
pub(crate) struct PartyArguments {
    /// The workers' cores.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Packets of a window and worker.
    #[arg(long, default_value_t = 1 << 21)]
    packets: u64,
}

/// Runs until its input ends.
pub(crate) fn run(arguments: &PartyArguments) -> Result<()> {
    let main = *arguments.cores.first().context("--cores names none")?;
    let workers = arguments.cores.len();
    let ground = Ground::new(&eal::large(main, &arguments.cores))?;
    let size = Size { workers: workers as u8, ..Size::of(4 * FLOWS_EACH * workers as u32) };
    let mut rig = Rig::new(&ground, size)?;
    let mut lists = owned(&mut rig, workers)?;
    for list in &mut lists {
        ensure!(list.len() >= FLOWS_EACH as usize, "flows are not spread evenly over workers");
        list.truncate(FLOWS_EACH as usize);
    }
    let mixed: Vec<u32> = (0..FLOWS_EACH as usize).map(|i| lists[i % workers][i]).collect();
    println!("0");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        for (worker, list) in lists.iter().enumerate() {
            let list = if line == "mixed" { mixed.clone() } else { list.clone() };
            rig.play(worker, Stream::new(Kind::Tcp(ACK), From::Client, Order::among(list)));
        }
        rig.run_all(&ground, arguments.packets / 8)?;
        let handed = rig.handed();
        let readings = rig.run_all(&ground, arguments.packets)?;
        let handed = rig.handed() - handed;
        let (mut cycles, mut frames) = (0.0, 0.0);
        for reading in &readings {
            cycles += reading.each() * reading.packets as f64;
            frames += reading.packets as f64;
        }
        // A frame that was handed over was taken twice.
        println!("{}", cycles / (frames - handed as f64));
    }
    Ok(())
}

/// Makes flows, and tells which worker owns which: the first worker hands over what is not its own.
fn owned(rig: &mut Rig, workers: usize) -> Result<Vec<Vec<u32>>> {
    let owners = Arc::<Mutex<Vec<Verdict>>>::default();
    let flows = FLOWS_EACH * workers as u32 * 9 / 8;
    let stream = Stream::new(Kind::Tcp(ACK), From::Server, Order::rising(0));
    rig.play(0, Box::new(Sorter { stream, owners: Arc::clone(&owners) }));
    for _ in 0..flows.div_ceil(BURST as u32) {
        for worker in 0..workers {
            rig.here(worker, 1);
        }
    }
    rig.play(0, Box::new(Silence));
    let verdicts = owners.lock().map_err(|_| anyhow::anyhow!("a measurement panicked"))?;
    let mut lists = vec![Vec::new(); workers];
    for (flow, verdict) in (0..).zip(verdicts.iter()) {
        match verdict {
            Verdict::Forward(_) => lists[0].push(flow),
            Verdict::Hand(worker) => lists[worker.index()].push(flow),
            other => anyhow::bail!("a server's packet is not forwarded: {other:?}"),
        }
    }
    Ok(lists)
}

/// Writes down every verdict.
struct Sorter {
    stream: Box<Stream>,
    owners: Arc<Mutex<Vec<Verdict>>>,
}

impl Script for Sorter {
    fn brings(&mut self, port: PortId) -> bool {
        self.stream.brings(port)
    }

    fn stamp(&mut self, port: PortId, frames: &mut [&mut [u8]]) {
        self.stream.stamp(port, frames);
    }

    fn watches(&self) -> bool {
        true
    }

    fn watch(&mut self, _: PortId, _: &[&mut [u8]], verdicts: &[Verdict]) {
        if let Ok(mut owners) = self.owners.lock() {
            owners.extend_from_slice(verdicts);
        }
    }
}
