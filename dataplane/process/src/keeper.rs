//! Keeps the ports: opens their devices, watches their links, takes a device away from the workers
//! when its kernel interface vanishes, and up again when it is back.

use crate::device::{self, Traits};
use crate::memory::Memory;
use crate::workbench::{Done, Workbench};
use anyhow::{Context, Result, anyhow, ensure};
use dataplane_flow::Instant;
use dataplane_message::{Boot, Device, PortBoot, PortCounts};
use dataplane_wire::MacAddr;
use dataplane_worker::{PortState, Publisher};
use ffi_dpdk::{Eal, EthPort, Mempool, PortControl, PortSettings};
use ffi_linux::{LinkChange, LinkState, LinkWatch};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// Between two looks at all links, whatever the kernel has said.
const LOOK_MS: u64 = 500;

/// Carrier is asked for this often: the kernel tells of its loss up to a second late.
const CARRIER_MS: u64 = 10;

/// Between two attempts to open a device.
const RETRY_MS: u64 = 250;

/// Between two readings of the devices' own counters and link states.
const STATS_MS: u64 = 100;

/// All ports.
#[derive(Debug)]
pub(crate) struct Keeper {
    ports: Vec<Kept>,
    control: PortControl,
    links: LinkWatch,
    bench: Workbench,
    next_look: Instant,
    next_carrier: Instant,
    next_stats: Instant,
}

/// One port.
#[derive(Debug)]
struct Kept {
    boot: PortBoot,
    traits: Traits,
    settings: PortSettings,
    stage: Stage,
    /// The interface as it was last seen.
    link: Option<LinkState>,
    /// The interface that the device was opened on.
    opened_on: Option<u32>,
    /// Rises with each opening.
    generation: u32,
    retry_at: Instant,
    /// Why it could not be opened.
    trouble: Option<String>,
    mac: MacAddr,
    /// What the driver says of the link, where nobody else knows.
    carrier: bool,
    /// What this opening's device has lost, and those before it.
    errors: u64,
    errors_before: u64,
    /// What the publisher knows.
    told: Option<PortState>,
}

/// Where a port's device is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// There is none.
    Away,
    /// On the workbench, being opened.
    Opening,
    /// With the workers.
    Attached,
    /// Asked back from the workers.
    Leaving,
    /// On the workbench, being closed.
    Closing,
}

impl Keeper {
    /// Opens all devices. Here, at the start, each must be there.
    pub(crate) fn start(
        eal: &Eal,
        boot: &Boot,
        memory: &Memory,
        shared: &Arc<Mempool>,
        mut control: PortControl,
        seed: u64,
    ) -> Result<Self> {
        let names = boot.ports.iter().filter_map(|port| port.device.interface().map(str::to_owned));
        let links = LinkWatch::new(names).context("cannot watch links")?;
        let mut ports = Vec::with_capacity(boot.ports.len());
        for (port, private) in boot.ports.iter().zip(&memory.private) {
            let pool = match private {
                Some(count) => Arc::new(
                    Mempool::private(eal, &format!("port{}", port.id.0), *count)
                        .with_context(|| format!("{count} buffers for port {}", port.name))?,
                ),
                None => Arc::clone(shared),
            };
            let settings = PortSettings {
                workers: boot.workers,
                mtu: port.mtu,
                descriptors: device::DESCRIPTORS,
                seed: seed ^ u64::from(port.id.0) << 32,
                pool,
            };
            let mut kept = Kept::new(port.clone(), settings);
            let device = kept.open_first(eal, &links)?;
            kept.attached(&device);
            control.attach(port.id, device).map_err(|_| anyhow!("port {}: attached twice", port.name))?;
            ports.push(kept);
        }
        let bench = Workbench::new(eal.clone());
        Ok(Self {
            ports,
            control,
            links,
            bench,
            next_look: Instant(0),
            next_carrier: Instant(0),
            next_stats: Instant(0),
        })
    }

    /// What to wait on.
    pub(crate) fn source(&self) -> BorrowedFd<'_> {
        self.links.as_fd()
    }

    /// Looks, acts, and tells the publisher what has changed.
    pub(crate) fn turn(&mut self, publisher: &mut Publisher, now: Instant) {
        let mut due = self.links.stirred() || now >= self.next_look;
        if !due && now >= self.next_carrier {
            self.next_carrier = now.plus_millis(CARRIER_MS);
            due = self.links.carrier_differs();
        }
        if due {
            self.next_look = now.plus_millis(LOOK_MS);
            self.look();
        }
        while let Some((port, device)) = self.control.take_detached() {
            let kept = &mut self.ports[port.index()];
            kept.errors_before += device.stats().all();
            kept.errors = 0;
            kept.stage = Stage::Closing;
            self.bench.close(port, device);
        }
        while let Some(done) = self.bench.finished() {
            self.finish(done, now);
        }
        for kept in &mut self.ports {
            if kept.stage == Stage::Away && kept.link.is_some() && now >= kept.retry_at {
                kept.open_again(&self.links, &self.bench, now);
            }
        }
        if now >= self.next_stats {
            self.next_stats = now.plus_millis(STATS_MS);
            self.read_stats(publisher);
        }
        for kept in &mut self.ports {
            kept.tell(publisher, now);
        }
    }

    /// Asks all devices back and closes them. The workers have ended.
    pub(crate) fn stop(self) {
        drop(self);
    }

    fn look(&mut self) {
        for change in self.links.changes() {
            for kept in &mut self.ports {
                if kept.boot.device.interface() == Some(&change.name) && kept.follow(&change) {
                    self.control.detach(kept.boot.id);
                }
            }
        }
    }

    fn finish(&mut self, done: Done, now: Instant) {
        match done {
            Done::Opened(port, Ok(device)) => {
                let kept = &mut self.ports[port.index()];
                if kept.traits.interface && kept.link.map(|link| link.index) != kept.opened_on {
                    // It has vanished meanwhile.
                    kept.stage = Stage::Closing;
                    self.bench.close(port, device);
                    return;
                }
                kept.attached(&device);
                if let Err(device) = self.control.attach(port, device) {
                    kept.stage = Stage::Closing;
                    self.bench.close(port, device);
                }
            }
            Done::Opened(port, Err(error)) => {
                let kept = &mut self.ports[port.index()];
                kept.stage = Stage::Away;
                kept.retry_at = now.plus_millis(RETRY_MS);
                kept.trouble = Some(error.to_string());
            }
            Done::Closed(port) => self.ports[port.index()].stage = Stage::Away,
        }
    }

    fn read_stats(&mut self, publisher: &mut Publisher) {
        for kept in &mut self.ports {
            let port = kept.boot.id;
            if let Some(device) = self.control.device(port) {
                kept.errors = device.stats().all();
                kept.carrier = device.link_up();
            }
            let totals = self.control.totals(port);
            publisher.set_port_counts(
                port,
                PortCounts {
                    rx_frames: totals.rx_frames,
                    rx_bytes: totals.rx_bytes,
                    tx_frames: totals.tx_frames,
                    tx_bytes: totals.tx_bytes,
                    errors: kept.errors_before + kept.errors,
                },
            );
        }
    }
}

impl Kept {
    fn new(boot: PortBoot, settings: PortSettings) -> Self {
        Self {
            traits: device::traits(&boot.device),
            boot,
            settings,
            stage: Stage::Away,
            link: None,
            opened_on: None,
            generation: 0,
            retry_at: Instant(0),
            trouble: None,
            mac: MacAddr([0; 6]),
            carrier: false,
            errors: 0,
            errors_before: 0,
            told: None,
        }
    }

    fn open_first(&mut self, eal: &Eal, links: &LinkWatch) -> Result<EthPort> {
        let (name, device) = (&self.boot.name, &self.boot.device);
        if self.traits.interface {
            let interface = device.interface().unwrap_or_default();
            let state = links.interfaces().read(interface)?;
            ensure!(state.is_some(), "{}", missing(name, interface));
            links
                .interfaces()
                .take_up(interface)
                .with_context(|| format!("port {name}: cannot switch {interface} on"))?;
            self.opened_on = state.map(|state| state.index);
        }
        let opened = EthPort::open(eal, device::name(&self.boot, 0), &self.settings);
        opened.map_err(|error| {
            let driver = self.traits.driver;
            anyhow!("port {name}: driver {driver}: {error}{}", device::remedy(device))
        })
    }

    fn open_again(&mut self, links: &LinkWatch, bench: &Workbench, now: Instant) {
        let interface = self.boot.device.interface().unwrap_or_default();
        if let Err(error) = links.interfaces().take_up(interface) {
            self.trouble = Some(format!("cannot be switched on: {error}"));
            self.retry_at = now.plus_millis(RETRY_MS);
            return;
        }
        self.generation += 1;
        self.opened_on = self.link.map(|link| link.index);
        self.stage = Stage::Opening;
        bench.open(self.boot.id, device::name(&self.boot, self.generation), self.settings.clone());
    }

    fn attached(&mut self, device: &EthPort) {
        self.mac = MacAddr(device.mac());
        self.stage = Stage::Attached;
        self.trouble = None;
    }

    /// Takes note of a change of the interface; `true` when its device must be asked back.
    fn follow(&mut self, change: &LinkChange) -> bool {
        self.link = change.now;
        let stale = self.traits.interface && change.now.map(|now| now.index) != self.opened_on;
        if stale && self.stage == Stage::Attached {
            self.stage = Stage::Leaving;
            return true;
        }
        false
    }

    fn tell(&mut self, publisher: &mut Publisher, now: Instant) {
        let attached = self.stage == Stage::Attached;
        let state = PortState {
            attached,
            up: attached && self.up(),
            mac: self.mac,
            device: self.describe(),
            note: self.note(),
        };
        if self.told.as_ref() != Some(&state) {
            publisher.handle_port(self.boot.id, state.clone(), now);
            self.told = Some(state);
        }
    }

    /// Kernel interfaces are asked; drivers on them say "up" whatever happens.
    fn up(&self) -> bool {
        match &self.boot.device {
            // A tap that was given to another namespace is out of sight, and carries traffic.
            Device::Tap { .. } => self.link.is_none_or(|link| link.running),
            device if device.interface().is_some() => self.link.is_some_and(|link| link.running),
            _ => self.carrier,
        }
    }

    fn describe(&self) -> String {
        match &self.boot.device {
            Device::Pci { address } => format!("pci {address}"),
            Device::Vdev { arguments } => arguments.clone(),
            device => format!("{} {}", self.traits.driver, device.interface().unwrap_or_default()),
        }
    }

    fn note(&self) -> Option<String> {
        let mut notes: Vec<String> = self.traits.note.iter().map(|note| (*note).to_owned()).collect();
        let mtu = self.boot.mtu;
        match self.link {
            Some(link) if self.traits.interface && link.mtu > u32::from(mtu) => {
                notes.push(format!("the interface's MTU is {}: frames beyond {mtu} are lost", link.mtu));
            }
            None if self.traits.interface => notes.push("the interface is not there".to_owned()),
            _ => {}
        }
        notes.extend(self.trouble.clone());
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// What to say of an interface that is not there at the start.
pub(crate) fn missing(port: &str, interface: &str) -> String {
    format!(
        "port {port}: there is no interface {interface} here; create it (ip link) or change the port's device"
    )
}
