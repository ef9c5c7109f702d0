//! One worker's queues on all ports.

use crate::batch::Batch;
use crate::control::Command;
use crate::counters::WorkerCounters;
use crate::exits::{Exits, Refusal};
use crate::mbuf::{Mbuf, Rearmed, prefetch_received};
use crate::{Eal, Mempool};
use core::fmt;
use core::mem;
use dataplane_cpu::{Differences, by_twos};
use dataplane_port::{
    BURST, EMIT_MAX, Flood, Frames, Head, Look, PORTS_MAX, PortId, Ports, Refused, START_MAX, TagEdit,
    Verdict, Verdicts, Whole, WorkerId,
};
use dpdk_sys as sys;
use rtrb::{Consumer, Producer};
use std::sync::Arc;

/// Relayed frames that one [`Ports::flush`] takes from each worker at most.
const RELAY_MAX: usize = 256;

/// One worker's queues on all ports of a [`crate::switchboard`]; made for its lcore and never shared.
///
/// A port belongs to the worker of number `port % workers`. Where the device has a queue for each
/// worker, everyone receives and sends on his own; else only the owner does, and the others hand him
/// what they want to send, which he does in his `flush`.
pub struct DpdkPorts {
    pub(crate) worker: WorkerId,
    /// The frames received, and none behind them.
    pub(crate) burst: [Option<Mbuf>; BURST + AHEAD],
    pub(crate) received: usize,
    /// All of them are still as a device brought them, and can be lent as a whole.
    pub(crate) is_fresh: bool,
    /// Where the burst came in, if no other worker has handed it over.
    pub(crate) from: Option<PortId>,
    /// Of the burst's frames that were admitted: bytes, and what is looked at before all are sent as one.
    pub(crate) bytes: u64,
    pub(crate) seen: Seen,
    pub(crate) spent: Batch<BURST>,
    pub(crate) exits: Exits,
    /// Frames for other workers, and from them; none to oneself.
    pub(crate) hand_out: Vec<Option<Producer<Mbuf>>>,
    pub(crate) hand_in: Vec<Consumer<Mbuf>>,
    /// Which of them comes first in the next turn.
    pub(crate) next_hand: usize,
    /// Frames that other workers want sent on queues of this one.
    pub(crate) relay_in: Vec<Consumer<Mbuf>>,
    pub(crate) relayed: usize,
    pub(crate) commands: Consumer<Command>,
    /// Refused between two dispatches.
    pub(crate) pending: Refused,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) pool: Arc<Mempool>,
    pub(crate) eal: Eal,
}

/// What was seen of any of the frames, as bits.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Seen {
    /// What devices noted of any of them.
    pub(crate) flags: u64,
    /// Their lengths: no frame is longer than this.
    pub(crate) len_bits: u32,
    /// One is chained, or missing.
    pub(crate) odd: bool,
}

impl fmt::Debug for DpdkPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DpdkPorts").field("worker", &self.worker).finish_non_exhaustive()
    }
}

/// A frame that outlives its burst. Dropping it frees it.
#[derive(Debug)]
pub struct HeldFrame {
    frame: Mbuf,
    /// The frame's pool lives as long as DPDK does.
    _eal: Eal,
}

impl DpdkPorts {
    /// Frames sent for other workers since the last call: a worker that naps when it has nothing to
    /// do must not count these turns as empty.
    pub fn take_relayed(&mut self) -> usize {
        mem::take(&mut self.relayed)
    }

    /// Frees what a burst has left behind that was never dispatched, as after a panic; the number of
    /// frames.
    pub fn abandon(&mut self) -> usize {
        let mut left = 0;
        for frame in &mut self.burst[..self.received] {
            left += usize::from(frame.take().is_some());
        }
        self.received = 0;
        self.is_fresh = false;
        self.bytes = 0;
        self.seen = Seen::default();
        left
    }

    fn flood(&mut self, flood: Flood, original: Mbuf, refused: &mut Refused) {
        let plain = flood.plain.iter().map(|port| (port, TagEdit::None));
        let edited = flood.edited.iter().map(|port| (port, flood.edit));
        let mut exits = plain.chain(edited).peekable();
        while let Some((port, edit)) = exits.next() {
            if exits.peek().is_none() {
                let sent = self.put_edited(port, edit, original, refused);
                return sent.unwrap_or_else(|refusal| refusal.count(port, refused));
            }
            // The last port gets the frame itself, the others copies: devices may read a frame long
            // after it was sent, and some find its bytes by its address alone, so none is shared.
            let copy = original.copy(&self.pool).ok_or(Refusal::NoBuffer);
            let sent = copy.and_then(|copy| self.put_edited(port, edit, copy, refused));
            sent.unwrap_or_else(|refusal| refusal.count(port, refused));
        }
        self.free(original);
    }

    /// Sends a frame; without room for a tag in front, a copy of it.
    fn put_edited(
        &mut self,
        to: PortId,
        edit: TagEdit,
        mut frame: Mbuf,
        refused: &mut Refused,
    ) -> Result<(), Refusal> {
        if !frame.edit(edit) {
            frame = frame.copy(&self.pool).ok_or(Refusal::NoBuffer)?;
            frame.edit(edit).then_some(()).ok_or(Refusal::NoBuffer)?;
        }
        self.exits.put(to, frame, refused)
    }

    /// The frames of the burst, to be written by a generator of frames.
    pub fn bytes_of_burst(&mut self) -> impl Iterator<Item = &mut [u8]> {
        self.burst[..self.received].iter_mut().flatten().map(Mbuf::head)
    }

    #[inline(never)]
    fn dispatch_each(&mut self, received: usize, verdicts: &Verdicts, refused: &mut Refused) {
        for i in 0..received {
            let Some(frame) = self.burst[i].take() else { continue };
            match verdicts.of(i) {
                Verdict::Forward(port) => {
                    let sent = self.exits.put(port, frame, refused);
                    sent.unwrap_or_else(|refusal| refusal.count(port, refused));
                }
                other => self.dispatch_other(other, frame, refused),
            }
        }
        self.exits.push_out_all(refused);
        self.spent.free();
    }

    #[inline(never)]
    fn dispatch_other(&mut self, verdict: Verdict, mut frame: Mbuf, refused: &mut Refused) {
        match verdict {
            Verdict::Forward(port) | Verdict::Reply(port) => {
                let sent = self.exits.put(port, frame, refused);
                sent.unwrap_or_else(|refusal| refusal.count(port, refused));
            }
            Verdict::Flood(flood) => self.flood(flood, frame, refused),
            Verdict::Hand(to) => {
                if let Some(port) = self.from {
                    frame.set_port(u16::from(port.0));
                }
                refused.hand += u32::from(!self.hand_frame(to, frame));
            }
            Verdict::Hold(_) | Verdict::Consumed | Verdict::Punt(_) | Verdict::Drop(_) => self.free(frame),
        }
    }

    fn hand_frame(&mut self, to: WorkerId, frame: Mbuf) -> bool {
        let ring = self.hand_out.get_mut(to.index()).and_then(Option::as_mut);
        ring.is_some_and(|ring| ring.push(frame).is_ok())
    }

    fn free(&mut self, frame: Mbuf) {
        if self.spent.is_full() {
            self.spent.free();
        }
        self.spent.push(frame);
    }

    fn obey(&mut self) {
        while let Ok(command) = self.commands.pop() {
            match command {
                Command::Attach(port, device) => self.exits.attach(port, device),
                Command::Detach(port) => self.exits.detach(port, &mut self.pending),
            }
        }
    }

    fn relay(&mut self, refused: &mut Refused) {
        for ring in &mut self.relay_in {
            for _ in 0..RELAY_MAX {
                let Ok(frame) = ring.pop() else { break };
                let to = PortId(frame.port() as u8);
                // A port that was attached anew may have moved to another queue; never back into a ring.
                let ours = self.exits.slot(to).is_some_and(|slot| slot.entrance().is_some());
                let sent = if ours { self.exits.put(to, frame, refused) } else { Err(Refusal::NoPort) };
                sent.unwrap_or_else(|refusal| refusal.count(to, refused));
                self.relayed += 1;
            }
        }
    }
}

/// A frame that is chained, or whose tags the device has taken off; without it when it cannot be used.
#[inline(never)]
fn admit_anyhow<'a>(slot: &'a mut Option<Mbuf>, seen: &mut Seen) -> Option<&'a mut Mbuf> {
    seen.odd = true;
    if !slot.as_mut().is_some_and(Mbuf::admit) {
        *slot = None;
    }
    slot.as_mut()
}

/// How many frames ahead the first line of one is asked for.
pub(crate) const AHEAD: usize = 4;

impl Frames for DpdkPorts {
    #[inline(always)]
    fn count(&self) -> usize {
        self.received
    }

    #[inline(always)]
    fn bytes_admitted(&self) -> u64 {
        self.bytes
    }

    #[inline(always)]
    fn origin(&self) -> Option<PortId> {
        self.from
    }

    #[inline(always)]
    fn whole<'a, const N: usize>(
        &'a mut self,
        whole: &mut Whole<'a, N>,
        mut each: impl FnMut(&[u8; N]),
    ) -> bool {
        /// A frame that begins later is admitted alone.
        const OFFSET_MAX: u16 = Mempool::ROOM - START_MAX as u16;
        const { assert!(N <= START_MAX) };
        let count = self.received.min(BURST);
        let like = self.burst[0].as_ref().filter(|_| self.is_fresh).map(Mbuf::rearmed);
        let offset = like.and_then(Rearmed::offset_of_single).filter(|offset| *offset <= OFFSET_MAX);
        let (Some(like), Some(offset)) = (like, offset) else { return false };
        let (like, mut noted) = (like.like(), Differences::none());
        let (mut bytes, mut len_bits) = (0, 0);
        by_twos!(i in count, {
            prefetch_received(&self.burst[i + AHEAD]);
            // SAFETY: the burst is fresh: so many frames were received, and none was taken since.
            let frame = unsafe { self.burst.get_unchecked_mut(i).as_mut().unwrap_unchecked() };
            noted.note(frame.received(), &like);
            let len = frame.head_len();
            whole.lens[i] = len;
            bytes += u64::from(len);
            len_bits |= u32::from(len);
            // SAFETY: `offset` was looked at, all pools have room when a burst is fresh, and none of less was made
            // before a frame in it could be here. No other frame has these bytes: drivers bring buffers of our pools,
            // each once; one that brought others' buffers or references to one would say so, and is refused below.
            let start = unsafe { &mut *frame.start::<N>(offset) };
            each(start);
            // SAFETY: there is room for BURST.
            unsafe { whole.starts.as_mut_ptr().add(i).write(start) };
        });
        // SAFETY: so many were written just now.
        unsafe { whole.starts.set_len(count) };
        let (differs, flags) = Rearmed::split(noted.noted());
        if differs || flags & (Mbuf::STRIPPED | sys::FS_MBUF_KEEP_FLAGS) != 0 {
            return false;
        }
        self.is_fresh = false;
        self.bytes = bytes;
        self.seen = Seen { flags, len_bits, odd: false };
        true
    }

    #[inline(always)]
    fn admit(&mut self, i: usize) -> Look<'_> {
        let i = i & (BURST - 1);
        prefetch_received(&self.burst[i + AHEAD]);
        let (slot, seen) = (&mut self.burst[i], &mut self.seen);
        let is_ordinary = slot.as_ref().is_some_and(Mbuf::is_ordinary);
        let frame = if is_ordinary {
            slot.as_mut()
        } else {
            self.is_fresh = false;
            admit_anyhow(slot, seen)
        };
        let Some(frame) = frame else { return Look::default() };
        let flags = frame.flags();
        let look = frame.look();
        self.bytes += u64::from(look.len);
        seen.len_bits |= look.len;
        seen.flags |= flags;
        look
    }

    #[inline(always)]
    fn look(&mut self, i: usize) -> Look<'_> {
        match &mut self.burst[i & (BURST - 1)] {
            Some(frame) => frame.look(),
            None => Look::default(),
        }
    }

    fn head(&mut self, i: usize) -> Head<'_> {
        let from = self.from;
        match &mut self.burst[i & (BURST - 1)] {
            Some(frame) => frame.whole(from),
            // Seen as an empty head: a runt.
            None => Head { port: from.unwrap_or_default(), ..Head::default() },
        }
    }
}

impl Ports for DpdkPorts {
    type Buffer = HeldFrame;

    fn receive(&mut self, from: PortId) -> usize {
        self.abandon();
        let Some((device, queue)) = self.exits.slot(from).and_then(|slot| slot.entrance()) else { return 0 };
        let room = self.burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>();
        // SAFETY: the burst has room for BURST pointers, all of them `None` now, and a pointer of ours
        // is a valid `Some`. The slot holds the started device; the queue is this worker's (`Exits`).
        let n = usize::from(unsafe { sys::fs_eth_rx_burst(device, queue, room, BURST as u16) });
        self.received = n;
        self.is_fresh = Mempool::all_have_room();
        self.from = Some(from);
        n
    }

    fn receive_handed(&mut self) -> usize {
        self.abandon();
        self.from = None;
        let (later, first) = self.hand_in.split_at_mut(self.next_hand);
        for ring in first.iter_mut().chain(later) {
            while self.received < BURST
                && let Ok(frame) = ring.pop()
            {
                self.burst[self.received] = Some(frame);
                prefetch_received(&self.burst[self.received]);
                self.received += 1;
            }
        }
        self.next_hand = if self.next_hand + 1 < self.hand_in.len() { self.next_hand + 1 } else { 0 };
        self.received
    }

    fn heads<'a>(&'a mut self, heads: &mut [Head<'a>; BURST]) -> usize {
        for i in 0..self.received {
            self.admit(i);
        }
        let from = self.from;
        for (head, slot) in heads.iter_mut().zip(&mut self.burst[..self.received]) {
            *head = slot
                .as_mut()
                .map_or(Head { port: from.unwrap_or_default(), ..Head::default() }, |f| f.whole(from));
        }
        self.received
    }

    fn keep(&mut self, frame: usize) -> Option<HeldFrame> {
        self.is_fresh = false;
        let mut frame = self.burst[..self.received].get_mut(frame)?.take()?;
        if let Some(port) = self.from {
            frame.set_port(u16::from(port.0));
        }
        Some(HeldFrame { frame, _eal: self.eal.clone() })
    }

    fn dispatch(&mut self, verdicts: &Verdicts, refused: &mut Refused) {
        let received = self.received.min(BURST);
        let (bytes, seen) = (mem::take(&mut self.bytes), mem::take(&mut self.seen));
        self.received = 0;
        self.is_fresh = false;
        if let Some(port) = self.from {
            self.counters[port.index() & (PORTS_MAX - 1)].received(received as u64, bytes);
            if let Some(to) = verdicts.all_to()
                && self.exits.put_all(to, &mut self.burst[..received], bytes, seen, refused)
            {
                return;
            }
        }
        self.dispatch_each(received, verdicts, refused);
    }

    fn bytes<'b>(&self, buffer: &'b mut HeldFrame) -> &'b mut [u8] {
        buffer.frame.head()
    }

    fn send(&mut self, to: PortId, edit: TagEdit, buffer: HeldFrame) -> bool {
        let mut refused = mem::take(&mut self.pending);
        let sent = self.put_edited(to, edit, buffer.frame, &mut refused);
        self.pending = refused;
        sent.is_ok()
    }

    fn hand(&mut self, to: WorkerId, buffer: HeldFrame) -> bool {
        self.hand_frame(to, buffer.frame)
    }

    fn emit(&mut self, to: PortId, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        if len > EMIT_MAX {
            return false;
        }
        let Some(mut frame) = Mbuf::zeroed(&self.pool, len as u16) else { return false };
        fill(frame.head());
        self.exits.put(to, frame, &mut self.pending).is_ok()
    }

    fn flush(&mut self, refused: &mut Refused) {
        self.obey();
        self.relay(refused);
        self.exits.push_out_all(refused);
        if !self.pending.is_nothing() {
            refused.add(&mem::take(&mut self.pending));
        }
    }
}
