//! One frame in DPDK's hands: its fields, read and written without a call into C.

use crate::Mempool;
use core::ptr::NonNull;
use dataplane_port::{Head, Look, PortId, TagEdit};
use dpdk_sys as sys;

/// What the head of a chained frame has at least, if the frame is that long.
const HEAD_MIN: u16 = 128;

/// A frame. Owns it: dropping frees every segment.
///
/// `Option<Mbuf>` has the layout of a pointer, so an array of them is what `rx_burst` fills.
#[repr(transparent)]
#[derive(Debug)]
pub(crate) struct Mbuf(NonNull<sys::rte_mbuf>);

/// Brings the first line of a frame into the cache, if it is where devices put it in buffers of our pools, and if
/// there is a frame: without a look at it, which may have to come from memory itself.
#[inline(always)]
pub(crate) fn prefetch_received(slot: &Option<Mbuf>) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch has no effect but on the cache, wherever it points; SSE is part of the architecture.
    unsafe {
        use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let frame: *const i8 = slot.as_ref().map_or(core::ptr::null(), |frame| frame.0.as_ptr().cast());
        _mm_prefetch::<_MM_HINT_T0>(frame.wrapping_add(sys::FS_MBUF_RECEIVED_AT.into()));
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = slot;
}

/// Where a frame begins in its buffer, who holds that, of how many segments the frame is, and the port: sixteen
/// bits each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rearmed(u64);

impl Rearmed {
    /// One segment that is nobody else's, which begins where in its buffer?
    pub(crate) fn offset_of_single(self) -> Option<u16> {
        let [a, b, single @ .., _, _] = self.0.to_ne_bytes();
        let ones = [1_u16.to_ne_bytes(), 1_u16.to_ne_bytes()];
        (single.as_chunks().0 == ones).then_some(u16::from_ne_bytes([a, b]))
    }

    /// What [`Mbuf::received`] is compared with: what differs from this, and the flags as they are.
    pub(crate) fn like(self) -> u128 {
        let mut like = [0; 16];
        like[..8].copy_from_slice(&self.0.to_ne_bytes());
        u128::from_ne_bytes(like)
    }

    /// Of frames that were compared with [`Self::like`] of one of them: whether any differs from it but in its port, and
    /// what flags any has.
    pub(crate) fn split(noted: u128) -> (bool, u64) {
        const PORT: u64 = u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        let [differences, flags] = [0, 8].map(|at| {
            let bytes = noted.to_ne_bytes();
            u64::from_ne_bytes(core::array::from_fn(|i| bytes[at + i]))
        });
        (differences & !PORT != 0, flags)
    }
}

// SAFETY: a frame has one owner and may change threads with it; pools take frames from any thread.
unsafe impl Send for Mbuf {}

impl Mbuf {
    /// What a device notes of a frame that it has taken tags off.
    pub(crate) const STRIPPED: u64 = sys::FS_RX_VLAN_STRIPPED | sys::FS_RX_QINQ_STRIPPED;

    /// Takes a frame over.
    ///
    /// # Safety
    ///
    /// `raw` is null, or a frame that nobody else will use or free.
    pub(crate) unsafe fn from_raw(raw: *mut sys::rte_mbuf) -> Option<Self> {
        NonNull::new(raw).map(Self)
    }

    /// Gives the frame away.
    pub(crate) fn into_raw(self) -> *mut sys::rte_mbuf {
        let raw = self.0.as_ptr();
        core::mem::forget(self);
        raw
    }

    /// A frame of `len` zero bytes.
    pub(crate) fn zeroed(pool: &Mempool, len: u16) -> Option<Self> {
        // SAFETY: the pool lives; what comes back is ours or null.
        unsafe { Self::from_raw(sys::fs_pktmbuf_alloc_zeroed(pool.as_ptr(), len)) }
    }

    /// A copy that shares no byte with this frame.
    pub(crate) fn copy(&self, pool: &Mempool) -> Option<Self> {
        // SAFETY: both live; what comes back is ours or null.
        unsafe { Self::from_raw(sys::rte_pktmbuf_copy(self.0.as_ptr(), pool.as_ptr(), 0, u32::MAX)) }
    }

    /// Bytes of the whole frame.
    pub(crate) fn len(&self) -> u32 {
        self.read(sys::fs_mbuf_offset::FS_MBUF_PKT_LEN)
    }

    /// The first segment.
    pub(crate) fn head(&mut self) -> &mut [u8] {
        let len = usize::from(self.head_len());
        // SAFETY: `data_len` bytes from `buf_addr + data_off` are the segment's, initialised by
        // whoever received or filled it, and the frame is ours for as long as it is borrowed.
        unsafe { core::slice::from_raw_parts_mut(self.first_byte(), len) }
    }

    /// The port that it came from, or (on the way to another worker's queue) goes to.
    pub(crate) fn port(&self) -> u16 {
        self.read(sys::fs_mbuf_offset::FS_MBUF_PORT)
    }

    pub(crate) fn set_port(&mut self, port: u16) {
        self.write(sys::fs_mbuf_offset::FS_MBUF_PORT, port);
    }

    /// The device found the IPv4 header checksum to be right.
    pub(crate) fn checksum_good(&self) -> bool {
        self.flags() & sys::FS_RX_IP_CKSUM_MASK == sys::FS_RX_IP_CKSUM_GOOD
    }

    pub(crate) fn is_chained(&self) -> bool {
        self.read::<u16>(sys::fs_mbuf_offset::FS_MBUF_NB_SEGS) != 1
    }

    /// Whether it can be worked on as a device brought it: one segment, and all of its tags in place.
    #[inline(always)]
    pub(crate) fn is_ordinary(&self) -> bool {
        !self.is_stripped() && !self.is_chained()
    }

    /// What the device has to set of every frame, in one word ([`Rearmed`]), and behind it the frame's flags.
    #[inline(always)]
    pub(crate) fn received(&self) -> &[u8; 16] {
        use sys::fs_mbuf_offset::{FS_MBUF_OL_FLAGS, FS_MBUF_REARM_DATA};
        const { assert!(FS_MBUF_OL_FLAGS == FS_MBUF_REARM_DATA + 8) };
        // SAFETY: two members of eight bytes, side by side; nobody writes to them while the frame is borrowed.
        unsafe { self.0.as_ptr().byte_add(FS_MBUF_REARM_DATA as usize).cast::<[u8; 16]>().as_ref_unchecked() }
    }

    /// The first of these words.
    #[inline(always)]
    pub(crate) fn rearmed(&self) -> Rearmed {
        Rearmed(self.read(sys::fs_mbuf_offset::FS_MBUF_REARM_DATA))
    }

    /// The first `N` bytes of the buffer from `offset` on, whatever the frame's length: bytes behind its end are
    /// of frames that were there before. They are the frame's owner's.
    ///
    /// # Safety
    ///
    /// `offset + N` is at most [`Mempool::ROOM`], and [`Mempool::all_have_room`].
    #[inline(always)]
    pub(crate) unsafe fn start<const N: usize>(&mut self, offset: u16) -> *mut [u8; N] {
        let buffer: *mut u8 = self.read(sys::fs_mbuf_offset::FS_MBUF_BUF_ADDR);
        // SAFETY: the buffer is as long as that: the caller's word.
        unsafe { buffer.add(usize::from(offset)).cast() }
    }

    /// Its first segment, and what the device says of it.
    #[inline(always)]
    pub(crate) fn look(&mut self) -> Look<'_> {
        Look { len: self.len(), checksum_good: self.checksum_good(), data: self.head() }
    }

    /// The same with where it came in: `from`, or where it was handed over what it says itself.
    pub(crate) fn whole(&mut self, from: Option<PortId>) -> Head<'_> {
        let port = from.unwrap_or(PortId(self.port() as u8));
        let Look { data, len, checksum_good } = self.look();
        Head { data, len, port, handed: from.is_none(), checksum_good }
    }

    fn is_stripped(&self) -> bool {
        self.flags() & Self::STRIPPED != 0
    }

    /// Makes a frame that a device brought into one that the switch can work on: tags back in their place,
    /// the first 128 bytes together. `false` when that cannot be.
    #[must_use]
    pub(crate) fn admit(&mut self) -> bool {
        if self.is_stripped() && !self.restore_tags(self.flags()) {
            return false;
        }
        // SAFETY: the frame is ours.
        !self.has_short_head() || unsafe { sys::fs_pktmbuf_gather(self.0.as_ptr(), HEAD_MIN) == 0 }
    }

    fn has_short_head(&self) -> bool {
        self.is_chained() && self.head_len() < HEAD_MIN
    }

    /// Makes a received frame into one that can be sent as it is: what the receiving device noted
    /// would be taken for orders by the sending one (a tag inserted twice).
    pub(crate) fn forget_offloads(&mut self) {
        let kept = self.flags() & sys::FS_MBUF_KEEP_FLAGS;
        self.write(sys::fs_mbuf_offset::FS_MBUF_OL_FLAGS, kept);
    }

    /// Makes one segment of all; `false` when they do not fit.
    pub(crate) fn linearize(&mut self) -> bool {
        // SAFETY: the frame is ours.
        unsafe { sys::fs_pktmbuf_linearize(self.0.as_ptr()) == 0 }
    }

    /// Changes the outer tag, moving the twelve bytes of addresses. A frame too short for that
    /// stays as it is. `false` when there is no room in front.
    pub(crate) fn edit(&mut self, edit: TagEdit) -> bool {
        match edit {
            TagEdit::None => true,
            TagEdit::Push(tci) => self.push_tag([0x81, 0x00], tci),
            TagEdit::Pop => {
                if self.head_len() >= 18 {
                    self.head().copy_within(0..12, 4);
                    self.shift(4);
                }
                true
            }
        }
    }

    fn push_tag(&mut self, tpid: [u8; 2], tci: u16) -> bool {
        if self.head_len() < 14 {
            return true;
        }
        if self.read::<u16>(sys::fs_mbuf_offset::FS_MBUF_DATA_OFF) < 4 {
            return false;
        }
        self.shift(-4);
        let head = self.head();
        head.copy_within(4..16, 0);
        head[12..14].copy_from_slice(&tpid);
        head[14..16].copy_from_slice(&tci.to_be_bytes());
        true
    }

    #[cold]
    fn restore_tags(&mut self, flags: u64) -> bool {
        let inner = self.read(sys::fs_mbuf_offset::FS_MBUF_VLAN_TCI);
        let outer = self.read(sys::fs_mbuf_offset::FS_MBUF_VLAN_TCI_OUTER);
        self.push_tag([0x81, 0x00], inner)
            && (flags & sys::FS_RX_QINQ_STRIPPED == 0 || self.push_tag([0x88, 0xa8], outer))
    }

    /// Moves the frame's beginning by `by` bytes. The caller has looked that there is room.
    fn shift(&mut self, by: i16) {
        let offset: u16 = self.read(sys::fs_mbuf_offset::FS_MBUF_DATA_OFF);
        self.write(sys::fs_mbuf_offset::FS_MBUF_DATA_OFF, offset.wrapping_add_signed(by));
        let head = self.head_len();
        self.write(sys::fs_mbuf_offset::FS_MBUF_DATA_LEN, head.wrapping_add_signed(-by));
        let len = self.len();
        self.write(sys::fs_mbuf_offset::FS_MBUF_PKT_LEN, len.wrapping_add_signed(-i32::from(by)));
    }

    /// Bytes of the first segment.
    #[inline(always)]
    pub(crate) fn head_len(&self) -> u16 {
        self.read(sys::fs_mbuf_offset::FS_MBUF_DATA_LEN)
    }

    /// What the device noted of it.
    pub(crate) fn flags(&self) -> u64 {
        self.read(sys::fs_mbuf_offset::FS_MBUF_OL_FLAGS)
    }

    fn first_byte(&self) -> *mut u8 {
        let offset: u16 = self.read(sys::fs_mbuf_offset::FS_MBUF_DATA_OFF);
        let buffer: *mut u8 = self.read(sys::fs_mbuf_offset::FS_MBUF_BUF_ADDR);
        buffer.wrapping_add(usize::from(offset))
    }

    fn read<T: Copy>(&self, offset: u32) -> T {
        // SAFETY: the offsets are the compiler's own, of members that have type `T` and are aligned;
        // the frame is ours.
        unsafe { self.0.as_ptr().byte_add(offset as usize).cast::<T>().read() }
    }

    fn write<T: Copy>(&mut self, offset: u32, value: T) {
        // SAFETY: as in `read`.
        unsafe { self.0.as_ptr().byte_add(offset as usize).cast::<T>().write(value) }
    }
}

impl Drop for Mbuf {
    fn drop(&mut self) {
        // SAFETY: the frame is ours, and nobody has it after this.
        unsafe { sys::fs_pktmbuf_free(self.0.as_ptr()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Eal;

    /// The only test of this binary that starts DPDK; a process does that once.
    #[test]
    fn tags_go_in_and_out() {
        let prefix = format!("--file-prefix=fs-mbuf-{}", std::process::id());
        let words = ["--no-pci", "--no-huge", "-m", "64", "--no-shconf", "--no-telemetry", "--lcores=0@0"];
        let words: Vec<String> = words.into_iter().map(str::to_owned).chain([prefix]).collect();
        let eal = Eal::init("mbuf-test", &words).expect("DPDK starts without root and huge pages");
        {
            let pool = Mempool::shared(&eal, "mbufs", 511, 2176).expect("memory for 511 buffers");
            strips_are_undone(&pool);
            tags_need_room(&pool);
            copies_are_apart(&pool);
            assert_eq!(pool.available(), pool.count());
        }
        eal.shutdown().expect("nothing holds DPDK any more");
    }

    fn numbered(pool: &Mempool, len: u16) -> Mbuf {
        let mut frame = Mbuf::zeroed(pool, len).expect("there are buffers");
        frame.head().iter_mut().zip(0..).for_each(|(byte, i)| *byte = i);
        frame
    }

    fn strips_are_undone(pool: &Mempool) {
        let mut frame = numbered(pool, 60);
        let flags = sys::FS_RX_VLAN_STRIPPED | sys::FS_RX_IP_CKSUM_GOOD;
        frame.write(sys::fs_mbuf_offset::FS_MBUF_OL_FLAGS, flags);
        frame.write(sys::fs_mbuf_offset::FS_MBUF_VLAN_TCI, 0x6064_u16);
        frame.set_port(7);
        assert!(frame.admit());
        assert!(frame.checksum_good());
        assert_eq!((frame.len(), frame.port()), (64, 7));
        assert_eq!(frame.head()[8..18], [8, 9, 10, 11, 0x81, 0, 0x60, 0x64, 12, 13]);
        frame.forget_offloads();
        assert_eq!(frame.flags(), 0);

        let mut frame = numbered(pool, 60);
        let flags = sys::FS_RX_VLAN_STRIPPED | sys::FS_RX_QINQ_STRIPPED;
        frame.write(sys::fs_mbuf_offset::FS_MBUF_OL_FLAGS, flags);
        frame.write(sys::fs_mbuf_offset::FS_MBUF_VLAN_TCI, 5_u16);
        frame.write(sys::fs_mbuf_offset::FS_MBUF_VLAN_TCI_OUTER, 6_u16);
        assert!(frame.admit());
        assert_eq!(frame.head()[10..22], [10, 11, 0x88, 0xa8, 0, 6, 0x81, 0, 0, 5, 12, 13]);
    }

    fn tags_need_room(pool: &Mempool) {
        let mut frame = numbered(pool, 60);
        for _ in 0..32 {
            assert!(frame.edit(TagEdit::Push(1)), "128 bytes of headroom are 32 tags");
        }
        assert!(!frame.edit(TagEdit::Push(1)));
        for _ in 0..32 {
            assert!(frame.edit(TagEdit::Pop));
        }
        assert_eq!(frame.len(), 60);
        assert_eq!(frame.head()[10..14], [10, 11, 12, 13]);
        let mut runt = numbered(pool, 13);
        assert!(runt.edit(TagEdit::Push(1)) && runt.edit(TagEdit::Pop));
        assert_eq!(runt.len(), 13);
    }

    fn copies_are_apart(pool: &Mempool) {
        let mut frame = numbered(pool, 60);
        let mut copy = frame.copy(pool).expect("there are buffers");
        copy.head()[0] = 0xff;
        assert_eq!((frame.head()[0], copy.head()[1]), (0, 1));
    }
}
