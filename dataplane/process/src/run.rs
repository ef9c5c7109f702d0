//! From the boot file to the end.

use crate::Options;
use crate::boot;
use crate::claim::Claims;
use crate::clock::Clock;
use crate::connection::{Connections, Heard};
use crate::eal_arguments;
use crate::idle::Idle;
use crate::keeper::{self, Keeper};
use crate::memory::Memory;
use crate::worker_loop::{self, Rest};
use anyhow::{Context, Result, bail, ensure};
use core::time::Duration;
use dataplane_flow::Instant;
use dataplane_message::{Boot, Device, Mode};
use dataplane_worker::{Publisher, Worker, WorkerSeat};
use ffi_dpdk::{DpdkPorts, Eal, Mempool, Task, switchboard};
use ffi_linux::{
    Bell, Capability, FrameSockets, Interfaces, LockFile, StopSignals, bell, has_capability, wait_readable,
};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The publisher's clock ticks at least this often.
const TICK: Duration = Duration::from_millis(5);
/// ... in trial mode, where workers ring when they have something for control. To wake up costs some 70 µs of a core.
const TICK_TRIAL: Duration = Duration::from_millis(20);
/// ... while flows are listed: a million a second may then pass.
const TICK_LISTING: Duration = Duration::from_millis(1);

/// Runs until told to stop.
pub(crate) fn run(options: &Options) -> Result<()> {
    let boot = boot::read(&options.boot)?;
    let memory = Memory::of(&boot);
    let _lock = lock(&options.runtime_dir)?;
    check_rights(&boot)?;
    check_interfaces(&boot)?;
    let _claims = Claims::take(&boot)?;
    memory.check(&boot)?;
    // Before the first thread is started.
    let signals = StopSignals::hold().context("cannot hold signals")?;
    let clock = Clock::start();
    let cores = ffi_linux::cores().context("cannot read the cores")?;
    boot::check_cores(&boot, &cores)?;
    let folder = options.runtime_dir.canonicalize().context("cannot find the runtime directory")?;
    let arguments = eal_arguments::arguments(&boot, &memory, &folder, &cores);
    // Before DPDK keeps this thread to some cores: the tables are laid on as many as there are.
    let tables = tables(&boot, clock)?;
    let eal = Eal::init("flowswitch-dp", &arguments).with_context(|| cause(&boot, &memory))?;
    serve(options, &boot, &memory, &eal, tables, &signals, clock)?;
    // Everything that was made with it is gone.
    drop(eal.shutdown());
    Ok(())
}

/// The publisher, and the workers' flow tables.
fn tables(boot: &Boot, clock: Clock) -> Result<(Publisher, Vec<WorkerSeat>)> {
    let seed = ffi_linux::random::<32>();
    let seed: [u64; 4] =
        core::array::from_fn(|i| u64::from_le_bytes(core::array::from_fn(|byte| seed[i * 8 + byte])));
    let boot_id = u64::from_le_bytes(ffi_linux::random());
    Publisher::new(boot, boot_id, seed, clock.now())
        .with_context(|| format!("memory is short for flows_max = {}", boot.flows_max))
}

fn serve(
    options: &Options,
    boot: &Boot,
    memory: &Memory,
    eal: &Eal,
    tables: (Publisher, Vec<WorkerSeat>),
    signals: &StopSignals,
    clock: Clock,
) -> Result<()> {
    let pool = Mempool::shared(eal, "frames", memory.shared, memory.data_room);
    let pool = Arc::new(pool.with_context(|| format!("{} buffers", memory.shared))?);
    let (ports, control) = switchboard(eal, &pool, boot.workers);
    let hash_seed = u64::from_le_bytes(ffi_linux::random());
    let mut keeper = Keeper::start(eal, boot, memory, &pool, control, hash_seed)?;
    let (mut publisher, seats) = tables;
    keeper.turn(&mut publisher, clock.now());
    let path = options.runtime_dir.join("dp.sock");
    let mut connections =
        Connections::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let (mut sleeper, own) = bell().context("no pipe to wake the publisher by")?;
    let (tick, own) = match boot.mode {
        Mode::Trial => (TICK_TRIAL, Some(Arc::new(own))),
        Mode::Appliance => (TICK, None),
    };
    let workers = Workers::launch(eal, boot, seats, ports, clock, own.as_ref())?;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (port_count, worker_count) = (boot.ports.len(), usize::from(boot.workers));
    println!(
        "flowswitch-dp: ready, {port_count} port{}, {worker_count} worker{}",
        plural(port_count),
        plural(worker_count)
    );
    sleeper.lie_down();
    let mut stirred = true;
    while !(stirred && signals.came()) {
        let links = [keeper.source(), signals.as_fd(), sleeper.as_fd()];
        let sources: Vec<_> = connections.sources().chain(links).collect();
        stirred = wait_readable(&sources, if publisher.is_listing() { TICK_LISTING } else { tick });
        drop(sources);
        sleeper.rise();
        // Before it looks: what comes after that is rung for.
        sleeper.lie_down();
        turn(&mut publisher, &mut keeper, &mut connections, clock, stirred);
        if stirred {
            // Tables, probes, questions: not to wait until the end of a rest.
            workers.wake();
        }
    }
    workers.stop();
    keeper.stop();
    Ok(())
}

/// One turn of the publisher's loop. Without anything to read (`stirred`), none of it is tried: to ask an idle
/// socket for a connection costs more than all the rest.
fn turn(
    publisher: &mut Publisher,
    keeper: &mut Keeper,
    connections: &mut Connections,
    clock: Clock,
    stirred: bool,
) {
    let now = clock.now();
    for heard in if stirred { connections.hear() } else { Vec::new() } {
        match heard {
            Heard::Message(message) => publisher.handle_message(*message, now),
            Heard::Disconnected => publisher.handle_disconnect(now),
        }
    }
    keeper.turn(publisher, now);
    publisher.handle_deadline(now);
    let mut kept = connections.flush();
    while let Some(message) = publisher.poll_message() {
        kept &= connections.say(&message);
    }
    if !kept {
        publisher.handle_disconnect(now);
    }
}

/// The workers on their lcores.
struct Workers {
    stop: Arc<AtomicBool>,
    tasks: Vec<Task>,
    bells: Vec<Arc<Bell>>,
}

impl Workers {
    fn launch(
        eal: &Eal,
        boot: &Boot,
        seats: Vec<WorkerSeat>,
        ports: Vec<DpdkPorts>,
        clock: Clock,
        publisher: Option<&Arc<Bell>>,
    ) -> Result<Self> {
        let mut workers = Self { stop: Arc::default(), tasks: Vec::new(), bells: Vec::new() };
        let lcores = eal.workers();
        ensure!(lcores.len() >= ports.len(), "DPDK has {} lcores for {} workers", lcores.len(), ports.len());
        let mut sleepers = Vec::new();
        for _ in &ports {
            let (sleeper, bell) = bell().context("no pipe to wake a worker by")?;
            sleepers.push(sleeper);
            workers.bells.push(Arc::new(bell));
        }
        let each = ports.into_iter().zip(sleepers).enumerate();
        for ((lcore, seat), (own, (ports, sleeper))) in lcores.into_iter().zip(seats).zip(each) {
            let others = workers.bells.iter().enumerate().filter(|(of, _)| *of != own);
            let rests = boot.mode == Mode::Trial;
            let rest = Rest {
                idle: Idle::new(boot.mode, &boot.ports, boot.flows_max / u32::from(boot.workers.max(1))),
                sleeper,
                others: others.filter(|_| rests).map(|(_, bell)| Arc::clone(bell)).collect(),
                publisher: publisher.map(Arc::clone),
                punted: 0,
                ports: boot.ports.len(),
                sockets: FrameSockets::default(),
                look_at: Instant(0),
            };
            let stop = Arc::clone(&workers.stop);
            let task =
                eal.launch(lcore, move || worker_loop::run(Worker::new(seat, ports), rest, clock, &stop));
            workers.tasks.push(task.context("cannot start a worker")?);
        }
        Ok(workers)
    }

    /// Has them all turn once, soon.
    fn wake(&self) {
        self.bells.iter().for_each(|bell| bell.ring());
    }

    /// Ends them and waits for that; their frames are freed by then.
    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
        for task in self.tasks {
            task.join();
        }
    }
}

/// One instance in a directory.
fn lock(folder: &Path) -> Result<LockFile> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("dp.lock");
    let lock = LockFile::take(&path).with_context(|| format!("cannot lock {}", path.display()))?;
    lock.with_context(|| format!("another flowswitch-dp runs in {}", folder.display()))
}

/// Devices that are more than memory and files need rights.
fn check_rights(boot: &Boot) -> Result<()> {
    if boot.ports.iter().all(|port| matches!(port.device, Device::Vdev { .. })) {
        return Ok(());
    }
    for (capability, name) in [(Capability::NetAdmin, "CAP_NET_ADMIN"), (Capability::NetRaw, "CAP_NET_RAW")] {
        ensure!(has_capability(capability), "{name} is missing: start it as root, or give it this right");
    }
    Ok(())
}

/// All that is missing, at once, before anything is set up.
fn check_interfaces(boot: &Boot) -> Result<()> {
    let interfaces = Interfaces::new().context("cannot ask for interfaces")?;
    let mut problems = Vec::new();
    for port in &boot.ports {
        let here = match port.device.interface() {
            Some(interface) if !matches!(port.device, Device::Tap { .. }) => {
                interfaces.read(interface)?.is_some().then_some(()).ok_or(interface)
            }
            _ => Ok(()),
        };
        problems.extend(here.err().map(|interface| keeper::missing(&port.name, interface)));
    }
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(())
}

/// What to look at when DPDK does not start.
fn cause(boot: &Boot, memory: &Memory) -> String {
    let mib = memory.given(boot);
    if boot.hugepages {
        format!("DPDK does not start ({mib} MiB of huge pages)")
    } else {
        format!("DPDK does not start ({mib} MiB)")
    }
}
