//! From the boot file to the end.

use crate::Options;
use crate::boot;
use crate::claim::Claims;
use crate::clock::Clock;
use crate::connection::{Connections, Heard};
use crate::eal_arguments;
use crate::keeper::{self, Keeper};
use crate::memory::Memory;
use crate::worker_loop;
use anyhow::{Context, Result, bail, ensure};
use core::time::Duration;
use dataplane_message::{Boot, Device};
use dataplane_worker::{Publisher, Worker, WorkerSeat};
use ffi_dpdk::{DpdkPorts, Eal, Mempool, Task, switchboard};
use ffi_linux::{Capability, Interfaces, LockFile, StopSignals, has_capability, wait_readable};
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The publisher's clock ticks at least this often.
const TICK: Duration = Duration::from_millis(5);

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
    let eal = Eal::init("flowswitch-dp", &arguments).with_context(|| cause(&boot, &memory))?;
    serve(options, &boot, &memory, &eal, &signals, clock)?;
    // Everything that was made with it is gone.
    drop(eal.shutdown());
    Ok(())
}

fn serve(
    options: &Options,
    boot: &Boot,
    memory: &Memory,
    eal: &Eal,
    signals: &StopSignals,
    clock: Clock,
) -> Result<()> {
    let seed = ffi_linux::random::<32>();
    let seed: [u64; 4] =
        core::array::from_fn(|i| u64::from_le_bytes(core::array::from_fn(|byte| seed[i * 8 + byte])));
    let boot_id = u64::from_le_bytes(ffi_linux::random());
    let pool = Mempool::shared(eal, "frames", memory.shared, memory.data_room);
    let pool = Arc::new(pool.with_context(|| format!("{} buffers", memory.shared))?);
    let (ports, control) = switchboard(eal, &pool, boot.workers);
    let hash_seed = u64::from_le_bytes(ffi_linux::random());
    let mut keeper = Keeper::start(eal, boot, memory, &pool, control, hash_seed)?;
    let (mut publisher, seats) = Publisher::new(boot, boot_id, seed, clock.now())
        .with_context(|| format!("memory is short for flows_max = {}", boot.flows_max))?;
    keeper.turn(&mut publisher, clock.now());
    let path = options.runtime_dir.join("dp.sock");
    let mut connections =
        Connections::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    let workers = Workers::launch(eal, boot, seats, ports, clock)?;
    let plural = |count: usize| if count == 1 { "" } else { "s" };
    let (port_count, worker_count) = (boot.ports.len(), usize::from(boot.workers));
    println!(
        "flowswitch-dp: ready, {port_count} port{}, {worker_count} worker{}",
        plural(port_count),
        plural(worker_count)
    );
    while !signals.came() {
        let links = [keeper.source(), signals.as_fd()];
        let sources: Vec<_> = connections.sources().chain(links).collect();
        wait_readable(&sources, TICK);
        drop(sources);
        turn(&mut publisher, &mut keeper, &mut connections, clock);
    }
    workers.stop();
    keeper.stop();
    Ok(())
}

/// One turn of the publisher's loop.
fn turn(publisher: &mut Publisher, keeper: &mut Keeper, connections: &mut Connections, clock: Clock) {
    let now = clock.now();
    for heard in connections.hear() {
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
}

impl Workers {
    fn launch(
        eal: &Eal,
        boot: &Boot,
        seats: Vec<WorkerSeat>,
        ports: Vec<DpdkPorts>,
        clock: Clock,
    ) -> Result<Self> {
        let mut workers = Self { stop: Arc::default(), tasks: Vec::new() };
        let lcores = eal.workers();
        ensure!(lcores.len() >= ports.len(), "DPDK has {} lcores for {} workers", lcores.len(), ports.len());
        for ((lcore, seat), ports) in lcores.into_iter().zip(seats).zip(ports) {
            let (stop, mode) = (Arc::clone(&workers.stop), boot.mode);
            let task =
                eal.launch(lcore, move || worker_loop::run(Worker::new(seat, ports), mode, clock, &stop));
            workers.tasks.push(task.context("cannot start a worker")?);
        }
        Ok(workers)
    }

    /// Ends them and waits for that; their frames are freed by then.
    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
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
