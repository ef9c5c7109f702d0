//! The way out: frames on their way to the queues of all ports.

use crate::EthPort;
use crate::batch::{Batch, transmit_burst};
use crate::counters::WorkerCounters;
use crate::mbuf::Mbuf;
use crate::ports::Seen;
use dataplane_port::{BURST, PORTS_MAX, PortId, PortSet, Refused, WorkerId};
use dpdk_sys as sys;
use rtrb::Producer;
use std::sync::Arc;

/// Frames gathered for a port before they are sent: a burst, and as many of our own.
const BATCH: usize = 2 * BURST;

/// One worker's ways out.
#[derive(Debug)]
pub(crate) struct Exits {
    worker: usize,
    workers: usize,
    slots: Box<[Slot; PORTS_MAX]>,
    /// Ports with frames in their batch.
    waiting: PortSet,
    /// To the workers that own the queues this one lacks; none to itself.
    relays: Vec<Option<Producer<Mbuf>>>,
    counters: Arc<WorkerCounters>,
}

/// One port, as one worker has it.
#[derive(Debug)]
pub(crate) struct Slot {
    device: Option<Arc<EthPort>>,
    /// The queue pair of this worker, if it has one on this device.
    queue: Option<u16>,
    /// Who sends for this worker where it has none.
    owner: usize,
    frame_max: u32,
    /// The same where this worker has a queue, else 0.
    own_max: u32,
    /// Its bit in a set of ports.
    bit: u32,
    chains: bool,
    batch: Batch<BATCH>,
}

/// Why a frame was not sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    NoPort,
    Transmit,
    NoBuffer,
}

impl Refusal {
    pub(crate) fn count(self, to: PortId, refused: &mut Refused) {
        match self {
            Self::NoPort => refused.no_port += 1,
            Self::Transmit => refused.at(to, 1),
            Self::NoBuffer => refused.no_buffer += 1,
        }
    }
}

impl Slot {
    const EMPTY: Self = Self {
        device: None,
        queue: None,
        owner: 0,
        frame_max: 0,
        own_max: 0,
        bit: 0,
        chains: false,
        batch: Batch::EMPTY,
    };

    /// The device and the queue that this worker polls.
    pub(crate) fn entrance(&self) -> Option<(u16, u16)> {
        Some((self.device.as_ref()?.number(), self.queue?))
    }
}

impl Exits {
    pub(crate) fn new(
        worker: WorkerId,
        workers: usize,
        relays: Vec<Option<Producer<Mbuf>>>,
        counters: Arc<WorkerCounters>,
    ) -> Self {
        let slots = Box::new([const { Slot::EMPTY }; PORTS_MAX]);
        Self { worker: worker.index(), workers, slots, waiting: PortSet::EMPTY, relays, counters }
    }

    pub(crate) fn slot(&self, port: PortId) -> Option<&Slot> {
        self.slots.get(port.index())
    }

    /// Takes a device into use. With fewer queues than workers, queue 0 is the owner's alone.
    pub(crate) fn attach(&mut self, port: PortId, device: Arc<EthPort>) {
        let owner = port.index() % self.workers;
        let queue = if usize::from(device.queues()) >= self.workers {
            Some(self.worker as u16)
        } else {
            (owner == self.worker).then_some(0)
        };
        self.slots[port.index()] = Slot {
            queue,
            owner,
            frame_max: device.frame_max(),
            own_max: if queue.is_some() { device.frame_max() } else { 0 },
            bit: PortSet::EMPTY.with(port).0,
            chains: device.sends_chains(),
            batch: Batch::EMPTY,
            device: Some(device),
        };
    }

    /// Gives a device back. What was gathered for it is freed.
    pub(crate) fn detach(&mut self, port: PortId, refused: &mut Refused) {
        let slot = &mut self.slots[port.index()];
        refused.no_port += slot.batch.len() as u32;
        *slot = Slot::EMPTY;
        self.waiting = self.waiting.without(port);
    }

    /// Sends a frame, sooner or later. Frames gathered before that a queue refuses meanwhile are
    /// counted in `refused`; this one is the caller's to count, and freed.
    #[inline(always)]
    pub(crate) fn put(&mut self, to: PortId, mut frame: Mbuf, refused: &mut Refused) -> Result<(), Refusal> {
        if let Some(slot) = self.slots.get_mut(to.index())
            && frame.len() <= slot.own_max
            && !frame.is_chained()
            && let Some(place) = slot.batch.place()
        {
            frame.forget_offloads();
            place.put(frame);
            self.waiting = PortSet(self.waiting.0 | slot.bit);
            return Ok(());
        }
        self.put_anyhow(to, frame, refused)
    }

    /// Sends all frames of a burst, of `bytes` bytes in all, if nothing about them is out of the ordinary;
    /// what the queue refuses is counted and freed. `false`: nothing was done.
    #[inline(always)]
    pub(crate) fn put_all(
        &mut self,
        to: PortId,
        burst: &mut [Option<Mbuf>],
        bytes: u64,
        seen: Seen,
        refused: &mut Refused,
    ) -> bool {
        let Some(slot) = self.slots.get_mut(to.index()) else { return false };
        let are_short =
            seen.len_bits <= slot.own_max || burst.iter().flatten().all(|frame| frame.len() <= slot.own_max);
        if seen.odd || !are_short || slot.batch.len() != 0 {
            return false;
        }
        let Some((device, queue)) = slot.entrance() else { return false };
        if seen.flags & !sys::FS_MBUF_KEEP_FLAGS != 0 {
            burst.iter_mut().flatten().for_each(Mbuf::forget_offloads);
        }
        // SAFETY: device and queue as in `push_out`; a missing frame is odd.
        let sent = unsafe { transmit_burst(burst, device, queue) };
        let (mut left, mut left_bytes) = (0, 0);
        if sent < burst.len() {
            core::hint::cold_path();
            for frame in burst[sent..].iter_mut().filter_map(Option::take) {
                left += 1;
                left_bytes += u64::from(frame.len());
            }
        }
        self.count(to, sent, bytes - left_bytes, left, refused);
        true
    }

    /// The same of a frame, or at a time, that is out of the ordinary.
    #[inline(never)]
    fn put_anyhow(&mut self, to: PortId, mut frame: Mbuf, refused: &mut Refused) -> Result<(), Refusal> {
        let Some(slot) = self.slots.get_mut(to.index()).filter(|slot| slot.device.is_some()) else {
            return Err(Refusal::NoPort);
        };
        // Some drivers read one segment whatever the frame says, or write beyond a buffer's end.
        let fits = frame.len() <= slot.frame_max && (slot.chains || !frame.is_chained() || frame.linearize());
        if !fits {
            return Err(Refusal::Transmit);
        }
        if slot.queue.is_none() {
            frame.set_port(u16::from(to.0));
            let relay = self.relays[slot.owner].as_mut().expect("the owner of a port has its queue");
            return relay.push(frame).map_err(|_| Refusal::Transmit);
        }
        frame.forget_offloads();
        if slot.batch.is_full() {
            self.push_out(to, refused);
        }
        self.slots[to.index()].batch.push(frame);
        self.waiting = self.waiting.with(to);
        Ok(())
    }

    /// Gives all that was gathered to the devices.
    pub(crate) fn push_out_all(&mut self, refused: &mut Refused) {
        for port in self.waiting.iter() {
            self.push_out(port, refused);
        }
    }

    fn push_out(&mut self, port: PortId, refused: &mut Refused) {
        let slot = &mut self.slots[port.index()];
        self.waiting = self.waiting.without(port);
        let Some((device, queue)) = slot.entrance() else { return };
        let bytes = slot.batch.bytes();
        // SAFETY: the slot holds the started device, and the queue is this worker's: switchboards are
        // the only makers of workers, one for each number, and a device is on one switchboard.
        let sent = unsafe { slot.batch.transmit(device, queue) };
        let (left, left_bytes) = (slot.batch.len() as u32, slot.batch.bytes());
        slot.batch.free();
        self.count(port, sent, bytes - left_bytes, left, refused);
    }

    /// Counts frames that a queue has taken, of so many bytes, and those that it refused.
    #[inline(always)]
    fn count(&self, port: PortId, sent: usize, bytes: u64, left: u32, refused: &mut Refused) {
        self.counters[port.index()].sent(sent as u64, bytes);
        if left != 0 {
            refused.at(port, left);
        }
    }
}
