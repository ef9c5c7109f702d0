//! The workers' common ground: rings between them, and what the process tells them.

use crate::batch::Batch;
use crate::counters::{PortTotals, WorkerCounters};
use crate::exits::Exits;
use crate::mbuf::Mbuf;
use crate::ports::{AHEAD, Seen};
use crate::{DpdkPorts, Eal, EthPort, Mempool};
use dataplane_port::{PORTS_MAX, PortId, Refused, WORKERS_MAX, WorkerId};
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;

/// The most frames in a ring between two workers.
pub const RING_FRAMES_MAX: usize = 1024;

/// What the process tells a worker; taken between bursts.
#[derive(Debug)]
pub(crate) enum Command {
    Attach(PortId, Arc<EthPort>),
    Detach(PortId),
}

/// Frames in a ring between two workers. What waits for one worker is about the same for any number.
pub(crate) fn ring_frames(workers: u8) -> usize {
    (4 * RING_FRAMES_MAX / usize::from(workers).max(1)).clamp(128, RING_FRAMES_MAX)
}

/// Joins `workers` workers: their [`DpdkPorts`], and the other end of their commands. Own frames and
/// copies come out of `pool`.
///
/// # Panics
///
/// When `workers` is 0 or more than [`WORKERS_MAX`].
pub fn switchboard(eal: &Eal, pool: &Arc<Mempool>, workers: u8) -> (Vec<DpdkPorts>, PortControl) {
    let count = usize::from(workers);
    assert!((1..=WORKERS_MAX).contains(&count), "1 to {WORKERS_MAX} workers");
    let mut hand = Rings::new(workers);
    let mut relay = Rings::new(workers);
    let mut control = PortControl {
        commands: Vec::with_capacity(count),
        counters: Vec::with_capacity(count),
        devices: [const { None }; PORTS_MAX],
        leaving: Vec::new(),
    };
    let ports = (0..count)
        .map(|worker| {
            // A port has at most one command of each kind under way, see `attach`.
            let (producer, commands) = RingBuffer::new(2 * PORTS_MAX);
            let counters: Arc<WorkerCounters> = Arc::new(core::array::from_fn(|_| Default::default()));
            control.commands.push(producer);
            control.counters.push(Arc::clone(&counters));
            let worker_id = WorkerId(worker as u8);
            DpdkPorts {
                worker: worker_id,
                burst: [const { None }; dataplane_port::BURST + AHEAD],
                received: 0,
                is_fresh: false,
                from: None,
                bytes: 0,
                seen: Seen::default(),
                spent: Batch::EMPTY,
                exits: Exits::new(worker_id, count, hand_over(&mut relay.out, worker), Arc::clone(&counters)),
                hand_out: hand_over(&mut hand.out, worker),
                hand_in: hand_over(&mut hand.into, worker),
                next_hand: 0,
                relay_in: hand_over(&mut relay.into, worker),
                relayed: 0,
                commands,
                pending: Refused::default(),
                counters,
                pool: Arc::clone(pool),
                eal: eal.clone(),
            }
        })
        .collect();
    (ports, control)
}

fn hand_over<T>(ends: &mut [Vec<T>], worker: usize) -> Vec<T> {
    core::mem::take(&mut ends[worker])
}

/// A ring for each ordered pair of workers.
struct Rings {
    out: Vec<Vec<Option<Producer<Mbuf>>>>,
    into: Vec<Vec<Consumer<Mbuf>>>,
}

impl Rings {
    fn new(workers: u8) -> Self {
        let count = usize::from(workers);
        let mut rings =
            Self { out: Vec::new(), into: (0..count).map(|_| Vec::with_capacity(count)).collect() };
        for from in 0..count {
            let row = (0..count).map(|to| {
                (from != to).then(|| {
                    let (producer, consumer) = RingBuffer::new(ring_frames(workers));
                    rings.into[to].push(consumer);
                    producer
                })
            });
            let row = row.collect();
            rings.out.push(row);
        }
        rings
    }
}

/// Attaches devices to ports and detaches them, while the workers run.
#[derive(Debug)]
pub struct PortControl {
    commands: Vec<Producer<Command>>,
    counters: Vec<Arc<WorkerCounters>>,
    devices: [Option<Arc<EthPort>>; PORTS_MAX],
    leaving: Vec<(PortId, Arc<EthPort>)>,
}

impl PortControl {
    /// Gives a device to all workers under the number `port`. Hands it back when the port has one, or
    /// when one that was detached has not yet come back from all workers.
    ///
    /// # Errors
    ///
    /// The device.
    pub fn attach(&mut self, port: PortId, device: EthPort) -> Result<(), EthPort> {
        let leaving = self.leaving.iter().any(|(leaving, _)| *leaving == port);
        if leaving || self.devices.get(port.index()).is_none_or(Option::is_some) {
            return Err(device);
        }
        let device = Arc::new(device);
        for worker in 0..self.commands.len() {
            self.tell(worker, Command::Attach(port, Arc::clone(&device)));
        }
        self.devices[port.index()] = Some(device);
        Ok(())
    }

    /// Asks the workers to give back the device of `port`; they do at the end of their turn. It comes
    /// out of [`PortControl::take_detached`].
    pub fn detach(&mut self, port: PortId) {
        let Some(device) = self.devices.get_mut(port.index()).and_then(Option::take) else { return };
        for worker in 0..self.commands.len() {
            self.tell(worker, Command::Detach(port));
        }
        self.leaving.push((port, device));
    }

    /// A device that all workers have given back.
    pub fn take_detached(&mut self) -> Option<(PortId, EthPort)> {
        // A worker's copy goes when it takes the command: to be the last holder is the answer.
        let at = self.leaving.iter().position(|(_, device)| Arc::strong_count(device) == 1)?;
        let (port, device) = self.leaving.swap_remove(at);
        match Arc::try_unwrap(device) {
            Ok(device) => Some((port, device)),
            Err(device) => {
                self.leaving.push((port, device));
                None
            }
        }
    }

    /// The device of a port.
    pub fn device(&self, port: PortId) -> Option<&EthPort> {
        self.devices.get(port.index())?.as_deref()
    }

    /// What the workers have counted.
    pub fn totals(&self, port: PortId) -> PortTotals {
        let mut totals = PortTotals::default();
        for counters in &self.counters {
            if let Some(counters) = counters.get(port.index()) {
                counters.add_to(&mut totals);
            }
        }
        totals
    }

    /// A worker that has ended needs no commands.
    fn tell(&mut self, worker: usize, command: Command) {
        let ring = &mut self.commands[worker];
        if !ring.is_abandoned() {
            ring.push(command).expect("a port has at most one attach and one detach under way");
        }
    }
}
