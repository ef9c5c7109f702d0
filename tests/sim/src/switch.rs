//! The data path: the production publisher and workers, on ports in memory.

use dataplane_flow::Instant;
use dataplane_message::{Boot, ToControl, ToDataPath};
use dataplane_port::memory::{MemoryPorts, Wire};
use dataplane_port::{DropReason, PortId, WorkerId};
use dataplane_wire::MacAddr;
use dataplane_worker::{PortState, Publisher, Worker};

/// Sums of the workers' counters that frames are accounted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Frames taken from ports and from other workers.
    pub frames: u64,
    /// Frames handed to other workers.
    pub handed: u64,
    /// Frames sent, copies included.
    pub sent: u64,
    /// Frames of the switch's own.
    pub emitted: u64,
    /// Frames taken in or answered.
    pub consumed: u64,
    /// Frames taken to control.
    pub punted: u64,
    /// Frames dropped, whatever for.
    pub dropped: u64,
    /// Frames held.
    pub held: u64,
}

/// A data path process.
#[derive(Debug)]
pub struct DataPath {
    started: u64,
    publisher: Publisher,
    workers: Vec<Worker<MemoryPorts>>,
    wire: Wire,
    rss: u64,
    /// The connection of control that it talks on.
    pub link: Option<u64>,
}

impl DataPath {
    /// A process that starts now. `seed` keys its tables.
    pub fn start(boot: &Boot, boot_id: u64, seed: [u64; 4], now: u64) -> Self {
        let (publisher, seats) =
            Publisher::new(boot, boot_id, seed, Instant(0)).expect("there is memory for flow tables");
        let ports = MemoryPorts::cluster(usize::from(boot.workers.max(1)), boot.ports.len());
        let wire = ports[0].wire();
        let workers = seats.into_iter().zip(ports).map(|(seat, ports)| Worker::new(seat, ports)).collect();
        Self { started: now, publisher, workers, wire, rss: seed[0], link: None }
    }

    /// Its own time: since it started.
    fn instant(&self, now: u64) -> Instant {
        Instant(now - self.started)
    }

    /// A port's link.
    pub fn port(&mut self, port: usize, up: bool, now: u64) {
        let state = PortState {
            attached: true,
            up,
            mac: MacAddr([2, 0, 0, 0, 9, port as u8]),
            ..PortState::default()
        };
        let now = self.instant(now);
        self.publisher.handle_port(PortId(port as u8), state, now);
    }

    /// A frame comes in, at the worker that the card's hash of addresses and ports names (RSS).
    pub fn push(&mut self, port: usize, bytes: &[u8]) {
        let words = bytes.get(26..38).unwrap_or_default();
        let hash = words
            .iter()
            .fold(self.rss, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let worker = WorkerId(((hash >> 40) % self.workers.len() as u64) as u8);
        self.wire.push(worker, PortId(port as u8), bytes);
    }

    /// One turn of all workers, until nothing is left to do; what comes out.
    pub fn turn(&mut self, now: u64, mut sent: impl FnMut(usize, &[u8])) {
        let now = self.instant(now);
        for _ in 0..64 {
            for worker in &mut self.workers {
                worker.turn(now);
            }
            if self.wire.pending() == 0 {
                break;
            }
        }
        self.wire.drain_sent(|out| sent(out.port.index(), out.bytes));
    }

    /// The publisher does what is due.
    pub fn publisher_turn(&mut self, now: u64) {
        let now = self.instant(now);
        self.publisher.handle_deadline(now);
    }

    /// A message from control.
    pub fn handle_message(&mut self, message: ToDataPath, now: u64) {
        let now = self.instant(now);
        self.publisher.handle_message(message, now);
    }

    /// Control has gone.
    pub fn handle_disconnect(&mut self, now: u64) {
        let now = self.instant(now);
        self.link = None;
        self.publisher.handle_disconnect(now);
    }

    /// A message for control.
    pub fn poll_message(&mut self) -> Option<ToControl> {
        self.publisher.poll_message()
    }

    /// What has been counted.
    pub fn counts(&self) -> Counts {
        let mut sums = Counts::default();
        for worker in &self.workers {
            let counters = worker.engine().counters();
            sums.frames += counters.frames.read();
            sums.handed += counters.handed.read();
            sums.sent += counters.sent.read();
            sums.emitted += counters.emitted.read();
            sums.consumed += counters.consumed.read();
            sums.punted += counters.punted.read();
            sums.dropped += DropReason::ALL.iter().map(|reason| counters.dropped(*reason)).sum::<u64>();
        }
        sums.held = self.wire.kept() as u64;
        sums
    }

    /// Drops by name, those that are not 0.
    pub fn drops(&self) -> Vec<(&'static str, u64)> {
        DropReason::ALL
            .iter()
            .map(|r| (r.name(), self.workers.iter().map(|w| w.engine().counters().dropped(*r)).sum()))
            .filter(|(_, frames)| *frames > 0)
            .collect()
    }
}
