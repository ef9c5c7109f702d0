//! A back end in memory: what tests, the simulator and `replay` run the engine on.
//!
//! It behaves like devices do where that can be seen: a pool with a count, transmit queues with an
//! end, rings between workers with an end, heads that show only the first segment. It is not fast:
//! its queues stand behind locks, so that a [`Wire`] can push and take frames while a worker, on
//! this thread or another, owns the [`MemoryPorts`].
//!
//! In the steady state it allocates nothing: storage goes round. See [`Wire::drain_sent`].

use crate::{
    BURST, EMIT_MAX, Frames, Head, Look, PortId, PortSet, Ports, Refused, TagEdit, Verdict, Verdicts, Whole,
    WorkerId,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes in front of a frame, as in an mbuf: room for tags.
const HEADROOM: usize = 128;

/// Bytes of a frame that fit without an allocation, as in an mbuf.
const DATA_ROOM: usize = 2048;

/// What a NIC shows of a long frame in its first segment, at least.
pub const SEGMENT: usize = 128;

/// One worker's queues, in memory.
#[derive(Debug)]
pub struct MemoryPorts {
    worker: usize,
    shared: Arc<Shared>,
    burst: Vec<Option<Frame>>,
    handed: bool,
    segment: usize,
    offload: bool,
}

impl MemoryPorts {
    /// A single worker with `ports` ports, no limits, whole frames in their heads.
    pub fn new(ports: usize) -> Self {
        Self::cluster(1, ports).pop().expect("one worker was asked for")
    }

    /// `workers` workers with `ports` ports each, joined by hand-over rings and one pool.
    pub fn cluster(workers: usize, ports: usize) -> Vec<Self> {
        let lanes = (0..workers).map(|_| Mutex::new(Lane::new(ports))).collect();
        let rings = (0..workers * workers).map(|_| Mutex::new(Ring::default())).collect();
        let shared = Arc::new(Shared { lanes, rings, pool: Arc::default() });
        (0..workers)
            .map(|worker| Self {
                worker,
                shared: Arc::clone(&shared),
                burst: Vec::with_capacity(BURST),
                handed: false,
                segment: usize::MAX,
                offload: false,
            })
            .collect()
    }

    /// The other ends of all cables, of all workers of this cluster.
    pub fn wire(&self) -> Wire {
        Wire { shared: Arc::clone(&self.shared) }
    }

    /// Puts a frame into this worker's receive queue of `port`.
    pub fn push(&mut self, port: PortId, frame: impl AsRef<[u8]>) {
        self.wire().push(WorkerId(self.worker as u8), port, frame);
    }

    /// Takes what this worker has sent and flushed, oldest first.
    pub fn take_sent(&mut self) -> Vec<(PortId, Vec<u8>)> {
        let mut taken = Vec::new();
        self.wire().drain_worker(self.worker, |sent| taken.push((sent.port, sent.bytes.to_vec())));
        taken
    }

    /// Frames that are neither on a wire nor freed, over all workers of this cluster.
    pub fn buffers_in_use(&self) -> usize {
        lock(&self.shared.pool).in_use
    }

    fn lane(&self) -> MutexGuard<'_, Lane> {
        lock(&self.shared.lanes[self.worker])
    }

    fn begin(&mut self, handed: bool) {
        // A worker that takes a new burst without `dispatch` has thrown the old one away.
        self.burst.clear();
        self.handed = handed;
    }

    fn hand_over(&mut self, to: WorkerId, frame: Frame) -> bool {
        let workers = self.shared.lanes.len();
        if to.index() >= workers {
            return false;
        }
        let mut ring = lock(&self.shared.rings[self.worker * workers + to.index()]);
        let room = ring.frames.len() < ring.room;
        if room {
            ring.frames.push_back(frame);
        }
        room
    }

    fn flood(&mut self, flood: crate::Flood, frame: Frame, refused: &mut Refused) {
        let pool = Arc::clone(&self.shared.pool);
        let mut lane = self.lane();
        let plain = flood.plain.iter().map(|port| (port, TagEdit::None));
        let edited = flood.edited.iter().map(|port| (port, flood.edit));
        let mut exits = plain.chain(edited).peekable();
        let mut original = Some(frame);
        while let Some((port, edit)) = exits.next() {
            // The last port gets the frame itself, the others copies.
            let copy = match (exits.peek(), &original) {
                (Some(_), Some(frame)) => Frame::copy_of(&pool, frame),
                _ => original.take(),
            };
            match copy {
                Some(copy) => lane.transmit(port, edit, copy).count(port, refused),
                None => refused.no_buffer += 1,
            }
        }
    }
}

impl Frames for MemoryPorts {
    fn count(&self) -> usize {
        self.burst.len()
    }

    fn bytes_admitted(&self) -> u64 {
        self.burst.iter().flatten().map(|frame| frame.storage.frame().len() as u64).sum()
    }

    fn origin(&self) -> Option<PortId> {
        let first = self.burst.iter().flatten().next();
        first.filter(|_| !self.handed).map(|frame| frame.port)
    }

    fn whole<'a, const N: usize>(&'a mut self, whole: &mut Whole<'a, N>, each: impl FnMut(&[u8; N])) -> bool {
        let Self { burst, handed, segment, offload, .. } = self;
        let heads = burst.iter_mut().map(|frame| {
            frame.as_mut().map_or_else(Head::default, |frame| frame.head(*handed, *segment, *offload))
        });
        whole.take_all(heads, each)
    }

    fn admit(&mut self, i: usize) -> Look<'_> {
        self.look(i)
    }

    fn look(&mut self, i: usize) -> Look<'_> {
        let Head { data, len, checksum_good, .. } = self.head(i);
        Look { data, len, checksum_good }
    }

    fn head(&mut self, i: usize) -> Head<'_> {
        let Self { burst, handed, segment, offload, .. } = self;
        match burst.get_mut(i) {
            Some(Some(frame)) => frame.head(*handed, *segment, *offload),
            _ => Head::default(),
        }
    }
}

impl Ports for MemoryPorts {
    type Buffer = MemoryBuffer;

    fn receive(&mut self, from: PortId) -> usize {
        self.begin(false);
        let shared = Arc::clone(&self.shared);
        let mut lane = lock(&shared.lanes[self.worker]);
        self.segment = lane.segment;
        self.offload = lane.offload;
        let lane = &mut *lane;
        let Some(queue) = lane.receive.get_mut(from.index()) else { return 0 };
        while self.burst.len() < BURST
            && let Some(storage) = queue.pop_front()
        {
            match Frame::take(&shared.pool, storage, from) {
                Some(frame) => self.burst.push(Some(frame)),
                None => lane.missed += 1,
            }
        }
        self.burst.len()
    }

    fn receive_handed(&mut self) -> usize {
        self.begin(true);
        let workers = self.shared.lanes.len();
        {
            let lane = lock(&self.shared.lanes[self.worker]);
            self.segment = lane.segment;
            self.offload = lane.offload;
        }
        for from in 0..workers {
            let mut ring = lock(&self.shared.rings[from * workers + self.worker]);
            while self.burst.len() < BURST
                && let Some(frame) = ring.frames.pop_front()
            {
                self.burst.push(Some(frame));
            }
        }
        self.burst.len()
    }

    fn heads<'a>(&'a mut self, heads: &mut [Head<'a>; BURST]) -> usize {
        let Self { burst, handed, segment, offload, .. } = self;
        let received = burst.len();
        for (head, frame) in heads.iter_mut().zip(burst.iter_mut()) {
            *head = match frame {
                None => Head::default(),
                Some(frame) => frame.head(*handed, *segment, *offload),
            };
        }
        received
    }

    fn keep(&mut self, frame: usize) -> Option<MemoryBuffer> {
        let frame = self.burst.get_mut(frame)?.take()?;
        let mut pool = lock(&self.shared.pool);
        if pool.kept >= pool.kept_max {
            drop(pool); // The frame's own drop takes the lock.
            return None;
        }
        pool.kept += 1;
        Some(MemoryBuffer { frame: Some(frame) })
    }

    fn dispatch(&mut self, verdicts: &Verdicts, refused: &mut Refused) {
        for (index, verdict) in verdicts.iter().enumerate().take(self.burst.len()) {
            let Some(frame) = self.burst[index].take() else { continue };
            match verdict {
                Verdict::Forward(port) | Verdict::Reply(port) => {
                    self.lane().transmit(port, TagEdit::None, frame).count(port, refused);
                }
                Verdict::Flood(flood) => self.flood(flood, frame, refused),
                Verdict::Hand(to) => refused.hand += u32::from(!self.hand_over(to, frame)),
                Verdict::Hold(_) | Verdict::Consumed | Verdict::Punt(_) | Verdict::Drop(_) => {}
            }
        }
        self.burst.clear();
    }

    fn bytes<'b>(&self, buffer: &'b mut MemoryBuffer) -> &'b mut [u8] {
        match &mut buffer.frame {
            Some(frame) => frame.storage.head(self.segment),
            None => &mut [],
        }
    }

    fn send(&mut self, to: PortId, edit: TagEdit, mut buffer: MemoryBuffer) -> bool {
        match buffer.release() {
            Some(frame) => self.lane().transmit(to, edit, frame) == Transmit::Sent,
            None => false,
        }
    }

    fn hand(&mut self, to: WorkerId, mut buffer: MemoryBuffer) -> bool {
        buffer.release().is_some_and(|frame| self.hand_over(to, frame))
    }

    fn emit(&mut self, to: PortId, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        if len > EMIT_MAX {
            return false;
        }
        let Some(mut frame) = Frame::blank(&self.shared.pool, len, to) else { return false };
        fill(frame.storage.head(len));
        self.lane().transmit(to, TagEdit::None, frame) == Transmit::Sent
    }

    fn flush(&mut self, _refused: &mut Refused) {
        let mut lane = self.lane();
        let Lane { gathered, outbox, .. } = &mut *lane;
        outbox.append(gathered);
    }
}

/// A frame that outlives its burst. Dropping it frees it.
#[derive(Debug)]
pub struct MemoryBuffer {
    /// `None` only after [`MemoryBuffer::release`].
    frame: Option<Frame>,
}

impl MemoryBuffer {
    fn release(&mut self) -> Option<Frame> {
        let frame = self.frame.take()?;
        lock(&frame.pool).kept -= 1;
        Some(frame)
    }
}

impl Drop for MemoryBuffer {
    fn drop(&mut self) {
        drop(self.release());
    }
}

/// The other ends of the cables: where tests put frames in and take them out. A handle; clones are
/// the same wire.
#[derive(Clone, Debug)]
pub struct Wire {
    shared: Arc<Shared>,
}

/// A frame that came out of a port.
#[derive(Debug)]
pub struct Sent<'a> {
    /// Who sent it.
    pub worker: WorkerId,
    /// Where.
    pub port: PortId,
    /// All of it, without FCS.
    pub bytes: &'a [u8],
}

impl Wire {
    /// Puts a frame into the receive queue that `worker` has on `port`.
    ///
    /// # Panics
    ///
    /// When there is no such worker or port.
    pub fn push(&self, worker: WorkerId, port: PortId, frame: impl AsRef<[u8]>) {
        let storage = lock(&self.shared.pool).filled(frame.as_ref());
        lock(&self.shared.lanes[worker.index()]).receive[port.index()].push_back(storage);
    }

    /// Takes all that all workers have sent and flushed; per worker the oldest first.
    pub fn take_sent(&self) -> Vec<(PortId, Vec<u8>)> {
        let mut taken = Vec::new();
        self.drain_sent(|sent| taken.push((sent.port, sent.bytes.to_vec())));
        taken
    }

    /// Shows all that was sent and flushed, and takes it away. Allocates nothing.
    ///
    /// `see` must not call this wire.
    pub fn drain_sent(&self, mut see: impl FnMut(Sent<'_>)) {
        for worker in 0..self.shared.lanes.len() {
            self.drain_worker(worker, &mut see);
        }
    }

    fn drain_worker(&self, worker: usize, mut see: impl FnMut(Sent<'_>)) {
        let mut lane = lock(&self.shared.lanes[worker]);
        let mut pool = lock(&self.shared.pool);
        while let Some((port, storage)) = lane.outbox.pop_front() {
            lane.waiting[port.index()] -= 1;
            see(Sent { worker: WorkerId(worker as u8), port, bytes: storage.frame() });
            pool.spare.push(storage);
        }
    }

    /// Frames in receive queues and rings, which no worker has taken yet.
    pub fn pending(&self) -> usize {
        let queued: usize = self.shared.lanes.iter().map(|lane| lock(lane).queued()).sum();
        let handed: usize = self.shared.rings.iter().map(|ring| lock(ring).frames.len()).sum();
        queued + handed
    }

    /// Frames that are neither on a wire nor freed: in a burst, kept, or in a ring.
    pub fn buffers_in_use(&self) -> usize {
        lock(&self.shared.pool).in_use
    }

    /// Frames that outlive their burst: kept, and neither sent, handed over nor dropped.
    pub fn kept(&self) -> usize {
        lock(&self.shared.pool).kept
    }

    /// Frames lost because the pool was empty when they were received (a NIC's `rx_nombuf`).
    pub fn missed(&self) -> u64 {
        self.shared.lanes.iter().map(|lane| lock(lane).missed).sum()
    }

    /// Storage made ready for `frames` frames, and queues for as many, so that nothing is allocated
    /// while no more than that many are under way.
    pub fn reserve(&self, frames: usize) {
        {
            let mut pool = lock(&self.shared.pool);
            pool.spare.reserve(frames);
            for _ in pool.spare.len()..frames {
                pool.spare.push(Storage::default());
            }
        }
        for lane in &self.shared.lanes {
            let mut lane = lock(lane);
            lane.receive.iter_mut().for_each(|queue| queue.reserve(frames));
            lane.gathered.reserve(frames);
            lane.outbox.reserve(frames);
        }
        self.shared.rings.iter().for_each(|ring| lock(ring).frames.reserve(frames));
    }

    /// Limits the pool of the cluster to `buffers` (no limit at the start).
    pub fn limit_buffers(&self, buffers: usize) {
        lock(&self.shared.pool).max = buffers;
    }

    /// Limits the frames that may be kept at one time (no limit at the start).
    pub fn limit_kept(&self, frames: usize) {
        lock(&self.shared.pool).kept_max = frames;
    }

    /// Limits each worker's transmit queue on `port` to `frames` that were not yet taken off the wire
    /// (no limit at the start).
    pub fn limit_transmit(&self, port: PortId, frames: usize) {
        self.each_lane(|lane| lane.room[port.index()] = frames);
    }

    /// Limits each ring between two workers to `frames` (no limit at the start).
    pub fn limit_hand(&self, frames: usize) {
        self.shared.rings.iter().for_each(|ring| lock(ring).room = frames);
    }

    /// Attaches a port, or detaches it: what is sent there is then refused.
    pub fn attach(&self, port: PortId, attached: bool) {
        self.each_lane(|lane| {
            lane.attached = if attached { lane.attached.with(port) } else { lane.attached.without(port) };
        });
    }

    /// Shows at most `bytes` of a frame in its head, as with segmented mbufs; never fewer than
    /// [`SEGMENT`].
    pub fn segment(&self, bytes: usize) {
        self.each_lane(|lane| lane.segment = bytes.max(SEGMENT));
    }

    /// Checks IPv4 header checksums as a NIC with that offload does.
    pub fn offload(&self, on: bool) {
        self.each_lane(|lane| lane.offload = on);
    }

    fn each_lane(&self, change: impl Fn(&mut Lane)) {
        self.shared.lanes.iter().for_each(|lane| change(&mut lock(lane)));
    }
}

/// What the workers of a cluster and its wire have in common. Locks are taken in the order lane,
/// ring, pool.
#[derive(Debug)]
struct Shared {
    lanes: Vec<Mutex<Lane>>,
    /// `from * workers + to`.
    rings: Vec<Mutex<Ring>>,
    pool: Arc<Mutex<Pool>>,
}

/// One worker's queues on all ports.
#[derive(Debug)]
struct Lane {
    receive: Vec<VecDeque<Storage>>,
    gathered: VecDeque<(PortId, Storage)>,
    outbox: VecDeque<(PortId, Storage)>,
    /// Per port: frames in `gathered` and `outbox`, and how many there may be.
    waiting: Vec<usize>,
    room: Vec<usize>,
    attached: PortSet,
    segment: usize,
    offload: bool,
    missed: u64,
}

impl Lane {
    fn new(ports: usize) -> Self {
        Self {
            receive: (0..ports).map(|_| VecDeque::new()).collect(),
            gathered: VecDeque::new(),
            outbox: VecDeque::new(),
            waiting: vec![0; ports],
            room: vec![usize::MAX; ports],
            attached: (0..ports as u8).map(PortId).collect(),
            segment: usize::MAX,
            offload: false,
            missed: 0,
        }
    }

    fn queued(&self) -> usize {
        self.receive.iter().map(VecDeque::len).sum()
    }

    fn transmit(&mut self, port: PortId, edit: TagEdit, mut frame: Frame) -> Transmit {
        let index = port.index();
        if index >= self.room.len() || !self.attached.contains(port) {
            return Transmit::NoPort;
        }
        if self.waiting[index] >= self.room[index] {
            return Transmit::Full;
        }
        frame.storage.edit(edit);
        self.waiting[index] += 1;
        self.gathered.push_back((port, frame.sent()));
        Transmit::Sent
    }
}

/// What became of a frame at a transmit queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Transmit {
    Sent,
    Full,
    NoPort,
}

impl Transmit {
    fn count(self, port: PortId, refused: &mut Refused) {
        match self {
            Self::Sent => {}
            Self::Full => refused.at(port, 1),
            Self::NoPort => refused.no_port += 1,
        }
    }
}

/// From one worker to another.
#[derive(Debug)]
struct Ring {
    frames: VecDeque<Frame>,
    room: usize,
}

impl Default for Ring {
    fn default() -> Self {
        Self { frames: VecDeque::new(), room: usize::MAX }
    }
}

/// The count of buffers, and storage that goes round.
#[derive(Debug)]
struct Pool {
    spare: Vec<Storage>,
    in_use: usize,
    max: usize,
    kept: usize,
    kept_max: usize,
}

impl Default for Pool {
    fn default() -> Self {
        Self { spare: Vec::new(), in_use: 0, max: usize::MAX, kept: 0, kept_max: usize::MAX }
    }
}

impl Pool {
    fn filled(&mut self, frame: &[u8]) -> Storage {
        let mut storage = self.spare.pop().unwrap_or_default();
        storage.fill(frame);
        storage
    }
}

/// A frame in one of the pool's buffers; freed when dropped.
#[derive(Debug)]
struct Frame {
    storage: Storage,
    port: PortId,
    pool: Arc<Mutex<Pool>>,
}

impl Frame {
    fn head(&mut self, handed: bool, segment: usize, offload: bool) -> Head<'_> {
        Head {
            len: self.storage.frame().len() as u32,
            port: self.port,
            handed,
            checksum_good: offload && checksum_good(self.storage.frame()),
            data: self.storage.head(segment),
        }
    }

    /// Moves what was on the wire into a buffer of the pool.
    fn take(pool: &Arc<Mutex<Pool>>, storage: Storage, port: PortId) -> Option<Self> {
        let mut counts = lock(pool);
        if counts.in_use >= counts.max {
            counts.spare.push(storage);
            return None;
        }
        counts.in_use += 1;
        Some(Self { storage, port, pool: Arc::clone(pool) })
    }

    fn copy_of(pool: &Arc<Mutex<Pool>>, frame: &Self) -> Option<Self> {
        let storage = lock(pool).filled(frame.storage.frame());
        Self::take(pool, storage, frame.port)
    }

    fn blank(pool: &Arc<Mutex<Pool>>, len: usize, port: PortId) -> Option<Self> {
        let storage = lock(pool).filled(&[0; EMIT_MAX][..len]);
        Self::take(pool, storage, port)
    }

    /// The storage, which is now on the wire; the buffer is free.
    fn sent(mut self) -> Storage {
        core::mem::replace(&mut self.storage, Storage { bytes: Vec::new(), start: 0 })
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let mut pool = lock(&self.pool);
        pool.in_use -= 1;
        if self.storage.bytes.capacity() > 0 {
            pool.spare.push(core::mem::replace(&mut self.storage, Storage { bytes: Vec::new(), start: 0 }));
        }
    }
}

/// Bytes with headroom.
#[derive(Debug)]
struct Storage {
    bytes: Vec<u8>,
    start: usize,
}

impl Default for Storage {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(HEADROOM + DATA_ROOM), start: 0 }
    }
}

impl Storage {
    fn fill(&mut self, frame: &[u8]) {
        self.start = HEADROOM;
        self.bytes.clear();
        self.bytes.resize(HEADROOM, 0);
        self.bytes.extend_from_slice(frame);
    }

    fn frame(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    fn head(&mut self, segment: usize) -> &mut [u8] {
        let end = self.bytes.len().min(self.start.saturating_add(segment));
        &mut self.bytes[self.start..end]
    }

    /// Changes the outer tag, moving the twelve bytes of addresses. A frame too short for that stays.
    fn edit(&mut self, edit: TagEdit) {
        match edit {
            TagEdit::Push(tci) if self.frame().len() >= 14 && self.start >= 4 => {
                let old = self.start;
                self.start -= 4;
                self.bytes.copy_within(old..old + 12, self.start);
                self.bytes[old + 8..old + 10].copy_from_slice(&[0x81, 0x00]);
                self.bytes[old + 10..old + 12].copy_from_slice(&tci.to_be_bytes());
            }
            TagEdit::Pop if self.frame().len() >= 18 => {
                let old = self.start;
                self.start += 4;
                self.bytes.copy_within(old..old + 12, self.start);
            }
            _ => {}
        }
    }
}

/// What a NIC says about a frame's IPv4 header behind at most two tags.
fn checksum_good(frame: &[u8]) -> bool {
    let mut at = 12;
    for _ in 0..2 {
        match frame.get(at..at + 2) {
            Some([0x81, 0x00] | [0x88, 0xa8]) => at += 4,
            _ => break,
        }
    }
    let Some(([0x08, 0x00], packet)) = frame.get(at..).and_then(|rest| rest.split_first_chunk()) else {
        return false;
    };
    let Some(first) = packet.first().filter(|first| *first >> 4 == 4) else { return false };
    let header_len = usize::from(first & 0xf) * 4;
    let Some(header) = packet.get(..header_len).filter(|header| header.len() >= 20) else { return false };
    let sum: u32 = header.chunks_exact(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    (sum & 0xffff) + (sum >> 16) == 0xffff
}

/// A lock whose holder panicked is still a lock: the queues are whole between any two operations.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
