//! The seam between the engine and the devices.
//!
//! A back end owns one worker's queues on all ports. A burst stays inside it: what leaves are
//! [`Head`]s (bytes, length, ingress port) and small ids, never a pointer. The engine turns heads
//! into [`Verdicts`], the worker hands them back with [`Ports::dispatch`].
//!
//! `ffi/dpdk` implements [`Ports`] for real devices, [`memory`] for tests, simulation and replay.

mod counts;
mod id;
pub mod memory;
mod verdict;

use arrayvec::ArrayVec;
pub use counts::Refused;
pub use id::{PORTS_MAX, PortId, PortSet, VlanId, WORKERS_MAX, WorkerId};
pub use verdict::{DropReason, Flood, PuntReason, SlotId, TagEdit, Verdict, Verdicts};

/// The most frames that one [`Ports::receive`] brings.
pub const BURST: usize = 32;

/// As many of a frame's first bytes are lent at most with a whole burst ([`Frames::whole`]).
pub const START_MAX: usize = 128;

/// The largest frame that [`Ports::emit`] sends: answers, announcements, resets, probes.
pub const EMIT_MAX: usize = 1514;

/// What the engine sees of a received frame.
#[derive(Debug, Default)]
pub struct Head<'a> {
    /// The first segment: the whole frame, or at least its first 128 bytes.
    pub data: &'a mut [u8],
    /// Length of the whole frame in bytes, without FCS.
    pub len: u32,
    /// Where it was received (for a handed-over frame: where the first worker received it).
    pub port: PortId,
    /// The frame comes from another worker, which found this one to be its owner.
    pub handed: bool,
    /// The device has checked the IPv4 header checksum and found it good.
    pub checksum_good: bool,
}

impl Head<'_> {
    /// Where the frame came from: its port, and whether another worker has handed it over. Frames of one
    /// burst mostly have one and the same.
    #[inline(always)]
    pub fn origin(&self) -> u16 {
        origin(self.port, self.handed)
    }
}

/// See [`Head::origin`].
#[inline(always)]
pub fn origin(port: PortId, handed: bool) -> u16 {
    u16::from_le_bytes([port.0, handed as u8])
}

/// What the first look at a received frame shows; by default, of one that is not there.
#[derive(Debug, Default)]
pub struct Look<'a> {
    /// As in [`Head`].
    pub data: &'a mut [u8],
    /// As in [`Head`].
    pub len: u32,
    /// As in [`Head`].
    pub checksum_good: bool,
}

/// The beginnings of all frames of a burst, where there is nothing out of the ordinary about any of them: each
/// is one segment as the device brought it, with all of its tags.
#[derive(Debug)]
pub struct Whole<'a, const N: usize> {
    /// The first bytes of each. What is beyond its length is of no meaning.
    pub starts: ArrayVec<&'a mut [u8; N], BURST>,
    /// The length of each, as in [`Head`]; where there are fewer, [`Self::NONE`] in their place.
    pub lens: [u16; BURST],
}

impl<const N: usize> Whole<'_, N> {
    /// In place of a length: one of no consequence.
    pub const NONE: u16 = 64;
}

impl<const N: usize> Default for Whole<'_, N> {
    #[inline(always)]
    fn default() -> Self {
        Self { starts: ArrayVec::new_const(), lens: [Self::NONE; BURST] }
    }
}

impl<'a, const N: usize> Whole<'a, N> {
    /// Takes all frames of a burst, as [`Frames::whole`] does.
    pub fn take_all(
        &mut self,
        mut heads: impl Iterator<Item = Head<'a>>,
        mut each: impl FnMut(&[u8; N]),
    ) -> bool {
        let are_ordinary = heads.all(|head| self.take(head));
        self.starts.iter().for_each(|start| each(start));
        are_ordinary
    }

    /// Takes one more frame; `false`: it is out of the ordinary, or one too many.
    fn take(&mut self, head: Head<'a>) -> bool {
        let i = self.starts.len();
        let Head { data, len, handed: false, .. } = head else { return false };
        let is_one_segment = data.len() as u64 == u64::from(len);
        let (Ok(len), Some(place), Some(start)) =
            (u16::try_from(len), self.lens.get_mut(i), data.first_chunk_mut())
        else {
            return false;
        };
        *place = len;
        is_one_segment && self.starts.try_push(start).is_ok()
    }
}

/// The frames of a burst, one at a time or all at once: what the engine works on. A frame that is not there (a device
/// brought what cannot be used) is seen without a byte.
pub trait Frames {
    /// How many there are, at most [`BURST`].
    fn count(&self) -> usize;

    /// Bytes of those that were admitted.
    fn bytes_admitted(&self) -> u64;

    /// Where all of them came in; `None` where other workers have handed them over, from any port.
    fn origin(&self) -> Option<PortId>;

    /// The first look at all frames, which makes them ready, if there is nothing out of the ordinary about any, and
    /// their first `N` bytes are there (`N` is at most [`START_MAX`]). `each` sees every frame's in turn. In place of
    /// [`Self::admit`], and before any other look but at the first frame.
    ///
    /// `false`: nothing was done, whatever `whole` holds, and `each` has seen.
    fn whole<'a, const N: usize>(&'a mut self, whole: &mut Whole<'a, N>, each: impl FnMut(&[u8; N])) -> bool;

    /// The first look at frame `i`, which makes it ready. Once for each frame, in order, before any other.
    fn admit(&mut self, i: usize) -> Look<'_>;

    /// Another look at frame `i`.
    fn look(&mut self, i: usize) -> Look<'_>;

    /// The same, with where it came in.
    fn head(&mut self, i: usize) -> Head<'_>;
}

/// Heads that were lent already.
impl Frames for [Head<'_>] {
    fn count(&self) -> usize {
        self.len().min(BURST)
    }

    fn bytes_admitted(&self) -> u64 {
        self.iter().map(|head| u64::from(head.len)).sum()
    }

    fn origin(&self) -> Option<PortId> {
        self.first().filter(|head| !head.handed).map(|head| head.port)
    }

    fn whole<'a, const N: usize>(&'a mut self, whole: &mut Whole<'a, N>, each: impl FnMut(&[u8; N])) -> bool {
        whole.take_all(self.iter_mut().map(|head| Head { data: head.data, ..*head }), each)
    }

    #[inline(always)]
    fn admit(&mut self, i: usize) -> Look<'_> {
        self.look(i)
    }

    #[inline(always)]
    fn look(&mut self, i: usize) -> Look<'_> {
        match self.get_mut(i) {
            Some(head) => Look { data: head.data, len: head.len, checksum_good: head.checksum_good },
            None => Look { data: &mut [], len: 0, checksum_good: false },
        }
    }

    fn head(&mut self, i: usize) -> Head<'_> {
        match self.get_mut(i) {
            Some(head) => Head { data: head.data, ..*head },
            None => Head::default(),
        }
    }
}

/// One worker's queues on all ports. It moves to its lcore and is never shared.
///
/// The order of calls for a burst is `receive` (or `receive_handed`), `whole` or `admit` for each frame, any number of
/// `keep`, then `dispatch` exactly once. Frames that are neither kept nor dispatched to a port are
/// freed by `dispatch`.
pub trait Ports: Frames {
    /// A frame that outlives its burst (a held fragment).
    type Buffer: Send;

    /// Receives at most [`BURST`] frames from a port; the number received.
    fn receive(&mut self, from: PortId) -> usize;

    /// Receives at most [`BURST`] frames that other workers handed to this one.
    fn receive_handed(&mut self) -> usize;

    /// Lends the heads of the burst all at once, in place of [`Frames::admit`]; fills the first `n` elements
    /// and returns `n`.
    fn heads<'a>(&'a mut self, heads: &mut [Head<'a>; BURST]) -> usize;

    /// Takes frame `frame` (its index in the burst) out of the burst. Its verdict must be
    /// [`Verdict::Hold`]; `None` when the back end has no room, and the frame is then freed.
    fn keep(&mut self, frame: usize) -> Option<Self::Buffer>;

    /// Carries out the verdicts of the burst, in order per port: sends, copies, hands over, frees. Where one
    /// was said of all, every frame was admitted.
    /// What a queue, a ring or the pool refused is counted in `refused` and freed.
    fn dispatch(&mut self, verdicts: &Verdicts, refused: &mut Refused);

    /// The first segment of a kept frame, to be rewritten before it is sent.
    fn bytes<'b>(&self, buffer: &'b mut Self::Buffer) -> &'b mut [u8];

    /// Sends a kept frame, with `edit` applied; `false` when the queue refused it (it is freed).
    fn send(&mut self, to: PortId, edit: TagEdit, buffer: Self::Buffer) -> bool;

    /// Hands a kept frame to another worker; `false` when the ring was full (it is freed).
    fn hand(&mut self, to: WorkerId, buffer: Self::Buffer) -> bool;

    /// Sends a new frame of `len` bytes (at most [`EMIT_MAX`]) that `fill` writes; the bytes are
    /// zero when `fill` is called. `false` when there was no buffer or the queue refused it.
    fn emit(&mut self, to: PortId, len: usize, fill: impl FnOnce(&mut [u8])) -> bool;

    /// Pushes out what has been gathered for sending. Called once at the end of a worker's turn.
    fn flush(&mut self, refused: &mut Refused);
}
