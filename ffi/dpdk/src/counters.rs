//! What the workers count per port. Drivers count differently from one another, so they are not asked.

use core::sync::atomic::{AtomicU64, Ordering};
use crossbeam_utils::CachePadded;
use dataplane_port::PORTS_MAX;

/// Frames and bytes of a port, over all workers, since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortTotals {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received, without FCS.
    pub rx_bytes: u64,
    /// Frames that the device took for sending.
    pub tx_frames: u64,
    /// Their bytes, without FCS.
    pub tx_bytes: u64,
}

/// One worker's counters of one port: one writer, any number of readers.
#[derive(Debug, Default)]
pub(crate) struct PortCounters {
    rx_frames: AtomicU64,
    rx_bytes: AtomicU64,
    tx_frames: AtomicU64,
    tx_bytes: AtomicU64,
}

impl PortCounters {
    pub(crate) fn received(&self, frames: u64, bytes: u64) {
        add(&self.rx_frames, frames);
        add(&self.rx_bytes, bytes);
    }

    pub(crate) fn sent(&self, frames: u64, bytes: u64) {
        add(&self.tx_frames, frames);
        add(&self.tx_bytes, bytes);
    }

    pub(crate) fn add_to(&self, totals: &mut PortTotals) {
        totals.rx_frames += self.rx_frames.load(Ordering::Relaxed);
        totals.rx_bytes += self.rx_bytes.load(Ordering::Relaxed);
        totals.tx_frames += self.tx_frames.load(Ordering::Relaxed);
        totals.tx_bytes += self.tx_bytes.load(Ordering::Relaxed);
    }
}

/// One worker's counters of all ports.
pub(crate) type WorkerCounters = [CachePadded<PortCounters>; PORTS_MAX];

/// One plain addition: there is no other writer.
fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
}
