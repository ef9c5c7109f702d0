//! Frames gathered for one call.

use crate::mbuf::Mbuf;
use dpdk_sys as sys;

/// Up to `N` frames, freed in one call when dropped.
#[derive(Debug)]
pub(crate) struct Batch<const N: usize> {
    frames: [*mut sys::rte_mbuf; N],
    len: usize,
    bytes: u64,
}

// SAFETY: owns its frames, which may change threads.
unsafe impl<const N: usize> Send for Batch<N> {}

impl<const N: usize> Batch<N> {
    pub(crate) const EMPTY: Self = Self { frames: [core::ptr::null_mut(); N], len: 0, bytes: 0 };

    pub(crate) fn is_full(&self) -> bool {
        self.len >= N
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Adds a frame.
    ///
    /// # Panics
    ///
    /// When the batch is full.
    #[inline(always)]
    pub(crate) fn push(&mut self, frame: Mbuf) {
        self.place().expect("there is room").put(frame);
    }

    /// Room for one more frame, if there is any.
    #[inline(always)]
    pub(crate) fn place(&mut self) -> Option<Place<'_>> {
        let Self { frames, len, bytes } = self;
        frames.get_mut(*len).map(|frame| Place { frame, len, bytes })
    }

    /// Takes what a queue of a device has, as far as there is room; the number taken.
    ///
    /// # Safety
    ///
    /// As [`Batch::transmit`].
    pub(crate) unsafe fn receive(&mut self, device: u16, queue: u16) -> usize {
        let room = &mut self.frames[self.len..];
        // SAFETY: `room` is ours, as many pointers as said; what is written there is ours from then
        // on. The queue is the caller's by contract.
        let n = unsafe { sys::fs_eth_rx_burst(device, queue, room.as_mut_ptr(), room.len() as u16) };
        let received = &self.frames[self.len..self.len + usize::from(n)];
        // SAFETY: frames that were received just now.
        self.bytes += unsafe { bytes_of(received) };
        self.len += usize::from(n);
        usize::from(n)
    }

    /// Gives the frames to a queue of a device, in order, until it takes no more; the number taken.
    ///
    /// # Safety
    ///
    /// The device is started, and the queue belongs to the calling thread.
    pub(crate) unsafe fn transmit(&mut self, device: u16, queue: u16) -> usize {
        // SAFETY: frames of ours, taken off below as far as they were taken; the rest is the caller's word.
        let sent = unsafe { transmit(&mut self.frames[..self.len], device, queue) };
        self.frames.copy_within(sent..self.len, 0);
        self.len -= sent;
        // SAFETY: what is left are frames of ours.
        self.bytes = unsafe { bytes_of(&self.frames[..self.len]) };
        sent
    }

    /// Bytes of all frames.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Frees the frames.
    pub(crate) fn free(&mut self) {
        if self.len > 0 {
            // SAFETY: frames of ours, given away here; they may be chains and of different pools.
            unsafe { sys::rte_pktmbuf_free_bulk(self.frames.as_mut_ptr(), self.len as u32) };
            self.len = 0;
            self.bytes = 0;
        }
    }
}

/// Gives frames to a queue of a device, in order, until it takes no more; the number taken.
///
/// # Safety
///
/// The device is started, and the queue belongs to the calling thread. The pointers are frames of the
/// caller's, who forgets those that were taken.
pub(crate) unsafe fn transmit(frames: &mut [*mut sys::rte_mbuf], device: u16, queue: u16) -> usize {
    let mut sent = 0;
    while let rest @ [_, ..] = &mut frames[sent..] {
        // SAFETY: `rest` are live frames, as many as said; those taken are the driver's. The queue is the
        // caller's by contract.
        let n = unsafe { sys::fs_eth_tx_burst(device, queue, rest.as_mut_ptr(), rest.len() as u16) };
        if n == 0 {
            break;
        }
        sent += usize::from(n);
    }
    sent
}

/// The same of a burst, which is left with those that were not taken.
///
/// # Safety
///
/// The device is started, and the queue belongs to the calling thread. No frame is missing.
pub(crate) unsafe fn transmit_burst(burst: &mut [Option<Mbuf>], device: u16, queue: u16) -> usize {
    let raw = burst.as_mut_ptr().cast::<*mut sys::rte_mbuf>();
    // SAFETY: a `Some` has the layout of the pointer (`Mbuf`). Those taken are forgotten below.
    let sent = unsafe { transmit(core::slice::from_raw_parts_mut(raw, burst.len()), device, queue) };
    for frame in &mut burst[..sent] {
        core::mem::forget(frame.take());
    }
    sent
}

/// Room for one frame in a batch.
pub(crate) struct Place<'a> {
    frame: &'a mut *mut sys::rte_mbuf,
    len: &'a mut usize,
    bytes: &'a mut u64,
}

impl Place<'_> {
    /// Adds the frame.
    #[inline(always)]
    pub(crate) fn put(self, frame: Mbuf) {
        *self.bytes += u64::from(frame.len());
        *self.frame = frame.into_raw();
        *self.len += 1;
    }
}

/// # Safety
///
/// The pointers are frames that live.
unsafe fn bytes_of(frames: &[*mut sys::rte_mbuf]) -> u64 {
    frames
        .iter()
        // SAFETY: the caller says so; the `Mbuf` is only looked at.
        .filter_map(|raw| unsafe { Mbuf::from_raw(*raw) }.map(core::mem::ManuallyDrop::new))
        .map(|frame| u64::from(frame.len()))
        .sum()
}

impl<const N: usize> Drop for Batch<N> {
    fn drop(&mut self) {
        self.free();
    }
}
