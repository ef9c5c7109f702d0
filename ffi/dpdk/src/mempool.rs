//! Buffers, counted at start.

use crate::{DpdkError, Eal};
use core::ffi::c_int;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};
use dataplane_port::{BURST, PORTS_MAX};
use dpdk_sys as sys;
use std::ffi::CString;

/// Buffers that an lcore keeps for itself.
const CACHE: u32 = 256;

/// Frames that a worker holds back at most (fragments waiting for their first).
const HELD: u32 = 256;

/// Buffers beyond what is counted.
const RESERVE: u32 = 1024;

/// Bytes of a buffer besides its data room: DPDK's headers, alignment, spreading over channels.
const OVERHEAD: u64 = 128 + 64;

const PAGE: u64 = 4096;

/// A pool of buffers. Its memory lives until DPDK is shut down, so buffers may outlive the handle.
#[derive(Debug)]
pub struct Mempool {
    raw: NonNull<sys::rte_mempool>,
    count: u32,
    private: Option<AtomicBool>,
    _eal: Eal,
}

// SAFETY: a pool may be used by any thread; the pointer is never written through from Rust.
unsafe impl Send for Mempool {}
// SAFETY: as above; DPDK's pools are made for concurrent use.
unsafe impl Sync for Mempool {}

/// There is a pool of buffers with less than [`Mempool::ROOM`], in which any frame may be.
static HAS_SMALL: AtomicBool = AtomicBool::new(false);
const _: () = assert!(Mempool::PRIVATE_DATA_ROOM >= Mempool::ROOM);

impl Mempool {
    /// Whether every buffer has [`Mempool::ROOM`].
    pub(crate) fn all_have_room() -> bool {
        !HAS_SMALL.load(Ordering::Relaxed)
    }

    /// Bytes of a private pool's buffer, headroom of 128 bytes included.
    pub const PRIVATE_DATA_ROOM: u16 = sys::FS_PAGE_DATA_ROOM;

    /// With so much room in each buffer, headroom included, the first bytes of all frames can be lent at once.
    /// With one pool of less, no burst is lent as a whole any more by this process.
    pub const ROOM: u16 = 1024;

    /// A pool of `count` buffers with room for `data_room` bytes each (headroom of 128 bytes
    /// included), shared by everybody.
    ///
    /// # Errors
    ///
    /// `ENOMEM` when memory is short, `EEXIST` when the name is taken.
    pub fn shared(eal: &Eal, name: &str, count: u32, data_room: u16) -> Result<Self, DpdkError> {
        const CALL: &str = "rte_pktmbuf_pool_create";
        let name = CString::new(name).map_err(|_| DpdkError { call: CALL, errno: 22 })?;
        if data_room < Self::ROOM {
            HAS_SMALL.store(true, Ordering::SeqCst);
        }
        // SAFETY: the name is copied; an `Eal` exists, so DPDK is started.
        let raw = unsafe {
            let socket = sys::rte_socket_id() as c_int;
            sys::rte_pktmbuf_pool_create(name.as_ptr(), count, CACHE, 0, data_room, socket)
        };
        Self::wrap(eal, raw, CALL, count, None)
    }

    /// A pool for the device of one port alone, as the AF_XDP driver of DPDK 22.11 needs it: buffers
    /// of one page each ([`Mempool::PRIVATE_DATA_ROOM`]), of which the lost ones are found again when
    /// the device closes. The driver forgets those that lie in the kernel's fill ring, 2,048 at a time.
    ///
    /// # Errors
    ///
    /// As [`Mempool::shared`].
    pub fn private(eal: &Eal, name: &str, count: u32) -> Result<Self, DpdkError> {
        const CALL: &str = "rte_mempool_create_empty";
        let name = CString::new(name).map_err(|_| DpdkError { call: CALL, errno: 22 })?;
        // SAFETY: the name is copied; an `Eal` exists, so DPDK is started.
        let raw = unsafe { sys::fs_page_pool_create(name.as_ptr(), count) };
        Self::wrap(eal, raw, CALL, count, Some(AtomicBool::new(false)))
    }

    fn wrap(
        eal: &Eal,
        raw: *mut sys::rte_mempool,
        call: &'static str,
        count: u32,
        private: Option<AtomicBool>,
    ) -> Result<Self, DpdkError> {
        let raw = NonNull::new(raw).ok_or_else(|| DpdkError::last(call))?;
        Ok(Self { raw, count, private, _eal: eal.clone() })
    }

    /// Buffers in all.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Buffers that nobody has; those in the lcores' caches count as free.
    pub fn available(&self) -> u32 {
        // SAFETY: the pool lives.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Bytes that a buffer has behind its headroom.
    pub fn frame_room(&self) -> u32 {
        // SAFETY: the pool lives.
        let room = unsafe { sys::fs_pktmbuf_data_room(self.raw.as_ptr()) };
        u32::from(room.saturating_sub(sys::FS_PKTMBUF_HEADROOM))
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }

    /// Before a device takes from it; `false` when it is another one's alone.
    pub(crate) fn claim(&self) -> bool {
        self.private.as_ref().is_none_or(|taken| !taken.swap(true, Ordering::AcqRel))
    }

    /// After the device that had claimed it has been closed; the number of buffers found again.
    pub(crate) fn release(&self) -> u32 {
        let Some(taken) = &self.private else { return 0 };
        // SAFETY: the pool has no caches, and the only device that takes out of it is closed. Frames
        // that it brought and that still travel bear the number of their port (`Mbuf::admit`).
        let found = unsafe { sys::fs_mempool_reclaim(self.raw.as_ptr()) };
        taken.store(false, Ordering::Release);
        found
    }
}

/// What must be counted to size the pools.
#[derive(Clone, Debug, Default)]
pub struct BufferNeeds {
    /// Number of workers.
    pub workers: u8,
    /// Devices that take from the shared pool.
    pub ports: Vec<PortBuffers>,
}

/// A device's rings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PortBuffers {
    /// Its queues in each direction.
    pub queues: u16,
    /// Descriptors of a queue, receive and transmit together.
    pub descriptors: u32,
}

impl BufferNeeds {
    /// Buffers of the shared pool: what all rings, caches and queues can hold at one time, and some.
    pub fn shared(&self) -> u32 {
        let devices: u32 = self.ports.iter().map(|p| u32::from(p.queues) * p.descriptors).sum();
        devices + u32::from(self.workers) * self.worker() + RESERVE
    }

    /// Buffers of a device's private pool.
    pub fn private(&self, port: PortBuffers) -> u32 {
        // What it brought may be under way in every worker.
        u32::from(port.queues) * port.descriptors + u32::from(self.workers) * (HELD + 256)
    }

    /// Bytes that `buffers` buffers take. On 4 KiB pages DPDK lays none across two of them.
    pub fn bytes(buffers: u32, data_room: u16) -> u64 {
        let size = u64::from(data_room) + OVERHEAD;
        let place = if size <= PAGE { PAGE / (PAGE / size) } else { size };
        u64::from(buffers) * place
    }

    fn worker(&self) -> u32 {
        let rings = 2 * u32::from(self.workers - 1) * crate::control::ring_frames(self.workers) as u32;
        let batches = (PORTS_MAX.min(self.ports.len() + 1) * 2 * BURST) as u32;
        HELD + CACHE * 3 / 2 + BURST as u32 + batches + rings
    }
}
