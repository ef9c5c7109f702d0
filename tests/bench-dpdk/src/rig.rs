//! The switch under measurement: the real publisher, workers and DPDK ports, on devices that
//! need no cards.

use crate::generator::{Generator, Script, Silence};
use crate::meter::{Meter, Reading};
use crate::native::Floor;
use crate::plan::{self, OUTSIDE, SERVERS};
use crate::script::{Counted, Stream};
use crate::traffic::{ACK, FRAME, FRAME_MAX, From, Kind, Order};
use anyhow::{Context, Result, anyhow, ensure};
use dataplane_flow::Instant;
use dataplane_message::{Plan, ToControl, ToDataPath, VERSION};
use dataplane_port::{BURST, DropReason, Ports, Refused};
use dataplane_wire::MacAddr;
use dataplane_worker::{PortState, Publisher, Worker};
use ffi_dpdk::{DeviceName, Eal, EthPort, Mempool, PortControl, PortSettings, switchboard};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier};

/// Time that passes from one turn to the next, in nanoseconds: a burst of 32 in 1 us is 32 Mpps. It is an
/// argument, so that a run under valgrind does the same as one at full speed. A flow's entry is
/// touched once in a second of this time.
const TURN_NS: u64 = 1_000;

/// Bytes of a buffer, with DPDK's 128 of headroom.
const DATA_ROOM: u16 = 2176;

/// DPDK and the buffers of all rigs.
#[derive(Debug)]
pub(crate) struct Ground {
    pub(crate) eal: Eal,
    pool: Arc<Mempool>,
    /// Lcores for workers; none: the main one does everything.
    pub(crate) lcores: Vec<u32>,
}

impl Ground {
    /// Starts DPDK with these arguments.
    pub(crate) fn new(arguments: &[String]) -> Result<Self> {
        let eal = Eal::init("flowswitch-bench-dpdk", arguments).context("DPDK does not start")?;
        let pool = Mempool::shared(&eal, "frames", 8191, DATA_ROOM).context("8,191 buffers")?;
        let lcores = eal.workers();
        Ok(Self { eal, pool: Arc::new(pool), lcores })
    }

    /// Runs `work` on worker lcore `index`, where there is one, and waits for it.
    pub(crate) fn on_lcore<T: Send + 'static>(
        &self,
        index: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let Some(lcore) = self.lcores.get(index) else { return Ok(work()) };
        let (done, result) = mpsc::channel();
        let task = self.eal.launch(*lcore, move || drop(done.send(work()))).context("cannot use an lcore")?;
        // DPDK's own way to wait keeps this core busy, and it is used when there is nothing left to wait for.
        let result = result.recv();
        ensure!(task.join(), "a measurement panicked");
        result.context("a measurement ended without a result")
    }
}

/// How large a rig is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) flows_max: u32,
    pub(crate) workers: u8,
    /// Bytes of a frame, without FCS.
    pub(crate) frame: usize,
}

impl Size {
    /// One worker, frames of 64 bytes.
    pub(crate) fn of(flows_max: u32) -> Self {
        Self { flows_max, workers: 1, frame: FRAME }
    }

    /// Frames that an IPv6 packet fits into.
    pub(crate) fn long(self) -> Self {
        Self { frame: FRAME_MAX, ..self }
    }
}

/// A switch.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) publisher: Publisher,
    /// Taken out while they turn on an lcore.
    workers: Vec<Option<Worker<Generator>>>,
    pub(crate) now: Instant,
    floor: Floor,
    _control: PortControl,
}

/// Names of devices are unique in a process.
static DEVICES: AtomicU32 = AtomicU32::new(0);

impl Rig {
    /// A switch on two `net_null` devices, with its plan, its links up and its router known.
    pub(crate) fn new(ground: &Ground, size: Size) -> Result<Self> {
        let boot = plan::boot(size.workers, size.flows_max);
        let now = Instant::from_secs(100);
        let (publisher, seats) = Publisher::new(&boot, 7, plan::SEED, now).map_err(|e| anyhow!("{e}"))?;
        let (ports, mut control) = switchboard(&ground.eal, &ground.pool, size.workers);
        let mut names = Vec::new();
        for port in [OUTSIDE, SERVERS] {
            let name = format!("net_null{}", DEVICES.fetch_add(1, Ordering::Relaxed));
            let device =
                DeviceName::Virtual { name: name.clone(), arguments: format!("size={}", size.frame) };
            let settings = PortSettings {
                workers: size.workers,
                mtu: 1500,
                descriptors: 512,
                seed: 1,
                pool: Arc::clone(&ground.pool),
            };
            let device = EthPort::open(&ground.eal, device, &settings)?;
            control.attach(port, device).map_err(|_| anyhow!("a port has two devices"))?;
            names.push(name);
        }
        let workers = seats
            .into_iter()
            .zip(ports)
            .map(|(seat, ports)| Some(Worker::new(seat, Generator::new(ports))))
            .collect();
        let floor = Floor::between(&names[0], &names[1])?;
        let mut rig = Self { publisher, workers, now, floor, _control: control };
        rig.bring_up()?;
        Ok(rig)
    }

    fn bring_up(&mut self) -> Result<()> {
        for port in [OUTSIDE, SERVERS] {
            let mac = MacAddr([2, 0, 0, 0, 9, port.0]);
            let state = PortState { attached: true, up: true, mac, ..PortState::default() };
            self.publisher.handle_port(port, state, self.now);
        }
        self.publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 1 }, self.now);
        let steps = Plan::between(&Plan::default(), &plan::plan());
        self.publisher.handle_message(ToDataPath::Apply { epoch: 1, steps }, self.now);
        let taken = (0..10).any(|_| {
            self.turn_all(1);
            core::iter::from_fn(|| self.publisher.poll_message()).any(|m| m == ToControl::Ack { epoch: 1 })
        });
        ensure!(taken, "the workers do not take the plan");
        // Until announcements are over, and the router's address has been seen in both VLANs and published.
        for kind in [Kind::Tcp(ACK), Kind::Vlan] {
            for worker in 0..self.workers.len() {
                self.play(worker, Stream::new(kind, From::Client, Order::rising(0)));
                self.here(worker, 4);
                self.play(worker, Box::new(Silence));
            }
            self.idle(8, 500);
        }
        // What those frames left behind is not an established flow.
        self.idle(12, 1000);
        Ok(())
    }

    /// Turns of all workers without a frame, `millis` apart, and of the publisher.
    pub(crate) fn idle(&mut self, turns: u32, millis: u64) {
        for _ in 0..turns {
            self.turn_all(millis);
        }
        while self.publisher.poll_message().is_some() {}
    }

    fn turn_all(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        for worker in self.workers.iter_mut().flatten() {
            worker.turn(self.now);
        }
        self.publisher.handle_deadline(self.now);
    }

    /// What the worker's ports bring from now on.
    pub(crate) fn play(&mut self, worker: usize, script: Box<dyn Script>) -> Box<dyn Script> {
        self.worker(worker).ports_mut().play(script)
    }

    pub(crate) fn worker(&mut self, worker: usize) -> &mut Worker<Generator> {
        self.workers[worker].as_mut().expect("a worker is away only while it turns")
    }

    /// Turns of one worker, on the calling lcore.
    pub(crate) fn here(&mut self, worker: usize, turns: u64) -> u64 {
        let mut now = self.now;
        let frames = turn(self.worker(worker), &mut now, turns);
        self.now = now;
        frames
    }

    /// Turns of the first worker on its lcore, until it has taken so many packets; measured.
    pub(crate) fn run(&mut self, ground: &Ground, packets: u64) -> Result<Reading> {
        let mut worker = self.workers[0].take().context("the worker is away")?;
        let mut now = self.now;
        let (worker, now, reading) = ground.on_lcore(0, move || {
            let mut meter = Meter::new();
            meter.start();
            let mut frames = 0;
            while frames < packets {
                frames += turn(&mut worker, &mut now, 1);
            }
            let reading = meter.stop(frames);
            (worker, now, reading)
        })?;
        self.workers[0] = Some(worker);
        self.now = now;
        self.publisher.handle_deadline(self.now);
        while self.publisher.poll_message().is_some() {}
        Ok(reading)
    }

    /// Turns of these workers at the same time, each on an lcore of its own until it has taken so many
    /// packets; measured.
    pub(crate) fn run_at_once(
        &mut self,
        ground: &Ground,
        workers: &[usize],
        packets: u64,
    ) -> Result<Vec<Reading>> {
        let start = Arc::new(Barrier::new(workers.len()));
        let mut tasks = Vec::new();
        for (worker, lcore) in workers.iter().zip(&ground.lcores) {
            let mut worker = self.workers[*worker].take().context("the worker is away")?;
            let (mut now, start) = (self.now, Arc::clone(&start));
            let (done, result) = mpsc::channel();
            let task = ground.eal.launch(*lcore, move || {
                let mut meter = Meter::new();
                start.wait();
                meter.start();
                let mut frames = 0;
                while frames < packets {
                    frames += turn(&mut worker, &mut now, 1);
                }
                let reading = meter.stop(frames);
                drop(done.send((worker, now, reading)));
            });
            tasks.push((task.context("cannot use an lcore")?, result));
        }
        let mut readings = Vec::new();
        for (slot, (task, result)) in workers.iter().zip(tasks) {
            let done = result.recv();
            ensure!(task.join(), "a measurement panicked");
            let (worker, now, reading) = done.context("a measurement ended without a result")?;
            self.workers[*slot] = Some(worker);
            self.now = self.now.max(now);
            readings.push(reading);
        }
        self.publisher.handle_deadline(self.now);
        while self.publisher.poll_message().is_some() {}
        Ok(readings)
    }

    /// Frames that workers handed to each other so far.
    pub(crate) fn handed(&self) -> u64 {
        self.workers.iter().flatten().map(|worker| worker.engine().counters().handed.read()).sum()
    }

    /// Packets through the first worker's ports and generator, with no engine in between; measured.
    pub(crate) fn pass(&mut self, ground: &Ground, packets: u64) -> Result<Reading> {
        let mut worker = self.workers[0].take().context("the worker is away")?;
        let (worker, reading) = ground.on_lcore(0, move || {
            let mut meter = Meter::new();
            meter.start();
            let mut refused = Refused::default();
            let mut frames = 0;
            while frames < packets {
                frames += worker.ports_mut().pass(OUTSIDE, SERVERS, &mut refused) as u64;
                worker.ports_mut().flush(&mut refused);
            }
            let reading = meter.stop(frames);
            (worker, reading)
        })?;
        self.workers[0] = Some(worker);
        Ok(reading)
    }

    /// Packets from device to device in C.
    pub(crate) fn floor(&self, ground: &Ground, packets: u64) -> Result<()> {
        let floor = self.floor;
        ground.on_lcore(0, move || floor.run(packets))
    }

    /// Makes flows 0 to `flows` - 1 established, by a packet of each one's server (FS-7a), then lets a packet
    /// of each client pass; fails when anything is not forwarded.
    pub(crate) fn establish(&mut self, ground: &Ground, kind: Kind, flows: u32) -> Result<()> {
        let packets = u64::from(flows).next_multiple_of(BURST as u64);
        for from in [From::Server, From::Client] {
            if (kind, from) == (Kind::LaterFragment, From::Server) {
                continue;
            }
            let kind = if kind == Kind::LaterFragment { Kind::FirstFragment } else { kind };
            let (script, counts) = Counted::new(Stream::new(kind, from, Order::rising(0)));
            self.play(0, script);
            self.run(ground, packets)?;
            self.play(0, Box::new(Silence));
            let others = counts.others.load(Ordering::Relaxed);
            ensure!(
                others == 0,
                "{others} of {packets} packets were not forwarded ({kind:?}, {from:?}): {}",
                self.drops()
            );
        }
        // So that gauges are written.
        self.idle(2, 10);
        Ok(())
    }

    /// Entries in use, and how many there is room for, over all workers.
    pub(crate) fn fill(&self) -> (u64, u64) {
        self.workers.iter().flatten().fold((0, 0), |(used, room), worker| {
            let counters = worker.engine().counters();
            (used + counters.flows.read(), room + counters.flows_max.read())
        })
    }

    /// What was dropped, by reason.
    pub(crate) fn drops(&self) -> String {
        let of = |reason: DropReason| -> u64 {
            self.workers.iter().flatten().map(|w| w.engine().counters().dropped(reason)).sum()
        };
        let all: Vec<String> = DropReason::ALL
            .iter()
            .filter(|reason| of(**reason) > 0)
            .map(|reason| format!("{} {}", reason.name(), of(*reason)))
            .collect();
        if all.is_empty() { "no drops".into() } else { all.join(", ") }
    }
}

fn turn(worker: &mut Worker<Generator>, now: &mut Instant, turns: u64) -> u64 {
    let mut frames = 0;
    for _ in 0..turns {
        now.0 += TURN_NS;
        frames += worker.turn(*now) as u64;
    }
    frames
}
