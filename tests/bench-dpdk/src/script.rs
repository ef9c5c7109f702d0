//! The usual scripts.

use crate::generator::Script;
use crate::traffic::{From, Kind, Order, Template};
use dataplane_port::{PortId, Verdict};
use ffi_dpdk::DpdkPorts;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// One kind of packet on one port.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    port: PortId,
    template: Template,
    order: Order,
}

impl Stream {
    /// From clients they come in at the outside port, else at the servers'.
    pub(crate) fn new(kind: Kind, from: From, order: Order) -> Box<Self> {
        let port = match from {
            From::Client => crate::plan::OUTSIDE,
            From::Server => crate::plan::SERVERS,
        };
        Box::new(Self { port, template: Template::new(kind, from), order })
    }

    /// Stamps frames that no device brought: the generator alone.
    pub(crate) fn stamp_memory(&mut self, frames: &mut [Option<&mut [u8]>]) {
        let frames = core::hint::black_box(frames).iter_mut().flatten();
        self.template.stamp(&mut self.order, frames.map(|frame| &mut **frame));
    }
}

/// A stream whose frames can be stamped twice over: what the same loop takes more then is what the generator costs in
/// it.
pub(crate) struct Doubling {
    stream: Stream,
    before: Stream,
    twice: Arc<AtomicBool>,
}

impl Doubling {
    /// And what to tell it by whether it stamps twice.
    pub(crate) fn new(stream: &Stream) -> (Box<Self>, Arc<AtomicBool>) {
        let twice = Arc::<AtomicBool>::default();
        let (stream, before) = (stream.clone(), stream.clone());
        (Box::new(Self { stream, before, twice: Arc::clone(&twice) }), twice)
    }
}

impl Script for Doubling {
    fn brings(&mut self, port: PortId) -> bool {
        self.stream.brings(port)
    }

    fn stamp(&mut self, port: PortId, frames: &mut [&mut [u8]]) {
        self.stream.stamp(port, frames);
    }

    fn stamp_burst(&mut self, port: PortId, ports: &mut DpdkPorts) {
        if self.twice.load(Ordering::Relaxed) {
            self.before.stamp_burst(port, ports);
        }
        self.stream.stamp_burst(port, ports);
    }
}

impl Script for Stream {
    #[inline]
    fn brings(&mut self, port: PortId) -> bool {
        port == self.port
    }

    #[inline]
    fn stamp(&mut self, _: PortId, frames: &mut [&mut [u8]]) {
        self.template.stamp(&mut self.order, frames.iter_mut().map(|frame| &mut **frame));
    }

    fn stamp_burst(&mut self, _: PortId, ports: &mut DpdkPorts) {
        self.template.stamp(&mut self.order, ports.bytes_of_burst());
    }
}

/// Counts, beside another script, what goes on and what does not.
pub(crate) struct Counted {
    script: Box<dyn Script>,
    counts: Arc<Counts>,
}

/// What became of frames.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) forwarded: AtomicU64,
    pub(crate) others: AtomicU64,
}

impl Counted {
    pub(crate) fn new(script: Box<dyn Script>) -> (Box<Self>, Arc<Counts>) {
        let counts = Arc::<Counts>::default();
        (Box::new(Self { script, counts: Arc::clone(&counts) }), counts)
    }
}

impl Script for Counted {
    fn brings(&mut self, port: PortId) -> bool {
        self.script.brings(port)
    }

    fn stamp(&mut self, port: PortId, frames: &mut [&mut [u8]]) {
        self.script.stamp(port, frames);
    }

    fn watches(&self) -> bool {
        true
    }

    fn watch(&mut self, _: PortId, _: &[&mut [u8]], verdicts: &[Verdict]) {
        let forwarded = verdicts.iter().filter(|v| matches!(v, Verdict::Forward(_))).count() as u64;
        self.counts.forwarded.fetch_add(forwarded, Ordering::Relaxed);
        self.counts.others.fetch_add(verdicts.len() as u64 - forwarded, Ordering::Relaxed);
    }
}
