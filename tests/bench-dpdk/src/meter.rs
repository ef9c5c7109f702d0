//! What a window cost: cycles, and calls of the allocator.

use crate::allocations;
use crate::native;
use core::mem::size_of;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};

/// Of one window.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) packets: u64,
    /// Ticks of the time-stamp counter.
    pub(crate) tsc: u64,
    /// The core's own cycles in user mode, where the machine counts them.
    pub(crate) core: Option<u64>,
    /// Calls of the allocator, by the thread that was measured.
    pub(crate) allocations: u64,
}

impl Reading {
    /// TSC cycles a packet.
    pub(crate) fn tsc_each(&self) -> f64 {
        self.tsc as f64 / self.packets as f64
    }

    /// Cycles a packet: the core's where they are counted, else the TSC's.
    pub(crate) fn each(&self) -> f64 {
        self.core.unwrap_or(self.tsc) as f64 / self.packets as f64
    }

    /// Packets a second.
    pub(crate) fn rate(&self) -> f64 {
        self.packets as f64 / self.tsc as f64 * native::tsc_hz() as f64
    }
}

/// What [`Reading::each`] counts in.
pub(crate) fn unit() -> &'static str {
    if Counter::cycles().is_some() { "core cycles/packet" } else { "cycles/packet (TSC)" }
}

/// Measures windows of the thread that made it.
#[derive(Debug)]
pub(crate) struct Meter {
    counter: Option<Counter>,
    tsc: u64,
    core: u64,
}

impl Meter {
    pub(crate) fn new() -> Self {
        Self { counter: Counter::cycles(), tsc: 0, core: 0 }
    }

    pub(crate) fn start(&mut self) {
        allocations::watch(true);
        self.core = self.counter.as_mut().map_or(0, Counter::read);
        self.tsc = native::tsc();
    }

    pub(crate) fn stop(&mut self, packets: u64) -> Reading {
        let tsc = native::tsc() - self.tsc;
        let core = self.counter.as_mut().map(|counter| counter.read() - self.core);
        let allocations = allocations::watch(false);
        Reading { packets, tsc, core, allocations }
    }
}

/// The kernel's counter of this thread's cycles in user mode.
#[derive(Debug)]
struct Counter(std::fs::File);

/// `struct perf_event_attr` of the first published size.
#[repr(C)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup: u32,
    breakpoint: u32,
    config1: u64,
}

impl Counter {
    /// `None` where the machine has no such counter, as in many virtual ones.
    fn cycles() -> Option<Self> {
        const EXCLUDE_KERNEL: u64 = 1 << 5;
        const EXCLUDE_HYPERVISOR: u64 = 1 << 6;
        let attributes = Attributes {
            kind: 0,
            size: size_of::<Attributes>() as u32,
            config: 0,
            sample_period: 0,
            sample_type: 0,
            read_format: 0,
            flags: EXCLUDE_KERNEL | EXCLUDE_HYPERVISOR,
            wakeup: 0,
            breakpoint: 0,
            config1: 0,
        };
        // SAFETY: the structure is as long as it says and only read; the rest are numbers: this thread,
        // any core, no group, no flags.
        let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attributes, 0, -1, -1, 0) };
        if fd < 0 {
            return None;
        }
        // SAFETY: a descriptor that the kernel has just made for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        Some(Self(fd.into()))
    }

    fn read(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact(&mut bytes).map_or(0, |()| u64::from_ne_bytes(bytes))
    }
}
