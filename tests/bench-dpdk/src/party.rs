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
    /// Established flows of each worker.
    #[arg(long, default_value_t = FLOWS_EACH)]
    flows: u32,
    /// The device's first queues, as a switch takes them, and not such as share no line in `net_null`.
    #[arg(long)]
    neighbours: bool,
}

/// Runs until its input ends.
pub(crate) fn run(arguments: &PartyArguments) -> Result<()> {
    let PartyArguments { cores, packets, flows, neighbours } = arguments;
    let main = *cores.first().context("--cores names none")?;
    let ground = Ground::new(&eal::large(main, cores))?;
    let seats = seats(cores.len(), *neighbours);
    let workers = seats.last().map_or(1, |last| last + 1);
    let size = Size { workers: workers as u8, ..Size::of(4 * flows * workers as u32) };
    let mut rig = Rig::new(&ground, size)?;
    let mut lists = owned(&mut rig, workers, *flows)?;
    for list in &mut lists {
        ensure!(list.len() >= *flows as usize, "flows are not spread evenly over workers");
        list.truncate(*flows as usize);
    }
    let mixed: Vec<u32> = (0..*flows as usize).map(|i| lists[seats[i % seats.len()]][i]).collect();
    println!("0");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        for seat in &seats {
            let list = if line == "mixed" { mixed.clone() } else { lists[*seat].clone() };
            rig.play(*seat, Stream::new(Kind::Tcp(ACK), From::Client, Order::among(list)));
        }
        rig.run_at_once(&ground, &seats, packets / 8)?;
        let handed = rig.handed();
        let readings = rig.run_at_once(&ground, &seats, *packets)?;
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

/// Which workers work; there are as many as the last one needs. `net_null` keeps its queues side by side, 40
/// bytes each and 16 from the start of a line, and counts the frames of its first one in the line that all of
/// them read for each burst: two workers there wait for each other, 2 to 14 cycles a packet. Of the queues 1,
/// 3, 5 no two share a line.
fn seats(count: usize, neighbours: bool) -> Vec<usize> {
    let apart = count > 1 && !neighbours;
    (0..count).map(|i| if apart { 2 * i + 1 } else { i }).collect()
}

/// Makes flows, and tells which worker owns which: the first worker hands over what is not its own.
fn owned(rig: &mut Rig, workers: usize, each: u32) -> Result<Vec<Vec<u32>>> {
    let owners = Arc::<Mutex<Vec<Verdict>>>::default();
    let flows = each * workers as u32 * 9 / 8;
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
