//! Prefetch, comparisons by sixteen bytes, newer machines' instructions and huge-page slabs: the data plane's only
//! unsafe lines.
//!
//! Everything else between the wire and the verdict is safe Rust.

mod machine;
mod twos;

pub use machine::{Instructions, Machine, Oldest, Work};
pub use twos::Twos;

use core::cell::Cell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// Asks for the cache line that `at` begins in. A hint: nothing can go wrong, nothing is read.
#[inline(always)]
pub fn prefetch<T>(at: &T) {
    prefetch_by::<T, 3>(at);
}

/// The same, into the second-level cache: many more lines can be under way to it than to the first, which loses or
/// holds up what is asked for beyond some twenty.
#[inline(always)]
pub fn prefetch_l2<T>(at: &T) {
    prefetch_by::<T, 1>(at);
}

/// `HINT`: `_MM_HINT_T0` is 3, `_MM_HINT_T2` is 1.
#[inline(always)]
fn prefetch_by<T, const HINT: i32>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: prefetching has no effect that a program can see; `at` is a valid reference besides.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<HINT>(core::ptr::from_ref(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// Whether `bytes` are those of `like` wherever `mask` has ones; all three as they lie in memory.
///
/// Four instructions, of which the compiler makes ten from words.
#[inline(always)]
pub fn agrees(bytes: &[u8; 16], like: &u128, mask: &u128) -> bool {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse4.1"))]
    // SAFETY: SSE4.1 is there, or the program was built for another machine. All three are references to
    // sixteen bytes; a u128 is aligned to as many, which the type's size and alignment below assert.
    unsafe {
        use core::arch::x86_64::{__m128i, _mm_load_si128, _mm_loadu_si128, _mm_testz_si128, _mm_xor_si128};
        const { assert!(align_of::<u128>() >= align_of::<__m128i>()) };
        let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
        let like = _mm_load_si128(core::ptr::from_ref(like).cast());
        let mask = _mm_load_si128(core::ptr::from_ref(mask).cast());
        _mm_testz_si128(_mm_xor_si128(bytes, like), mask) != 0
    }
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse4.1")))]
    {
        (u128::from_ne_bytes(*bytes) ^ like) & mask == 0
    }
}

/// Eight words, where a cache line begins.
#[derive(Debug)]
#[repr(align(64))]
pub struct CacheLine([Cell<u64>; 8]);

impl Deref for CacheLine {
    type Target = [Cell<u64>; 8];

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// Which of a line's first four words is `sought`: the first of them, if there are several.
///
/// Seven instructions, of which the compiler makes eleven of comparisons one by one.
#[inline(always)]
fn find4(line: &CacheLine, sought: &u64) -> Option<usize> {
    #[cfg(all(target_arch = "x86_64", target_feature = "sse4.1"))]
    let found = {
        use core::arch::x86_64::{
            __m128i, _mm_castpd_si128, _mm_castsi128_ps, _mm_cmpeq_epi64, _mm_load_si128, _mm_loaddup_pd,
            _mm_movemask_ps, _mm_packs_epi32,
        };
        // SAFETY: SSE4.1 is there, or the program was built for another machine. A line is aligned, and nobody
        // changes it meanwhile: a cell is its thread's alone. Of `sought` eight bytes are read.
        unsafe {
            let at = line.as_ptr().cast::<__m128i>();
            let sought = _mm_castpd_si128(_mm_loaddup_pd(core::ptr::from_ref(sought).cast()));
            let low = _mm_cmpeq_epi64(sought, _mm_load_si128(at));
            let high = _mm_cmpeq_epi64(sought, _mm_load_si128(at.add(1)));
            _mm_movemask_ps(_mm_castsi128_ps(_mm_packs_epi32(low, high))).cast_unsigned()
        }
    };
    #[cfg(not(all(target_arch = "x86_64", target_feature = "sse4.1")))]
    let found = line[..4]
        .iter()
        .enumerate()
        .fold(0_u32, |set, (i, word)| set | u32::from(word.get() == *sought) << i);
    // SAFETY: a bit for each word.
    unsafe { first_of_four(found) }
}

/// Where the lowest bit is that is set.
///
/// # Safety
///
/// None but the lowest four are.
#[inline(always)]
unsafe fn first_of_four(bits: u32) -> Option<usize> {
    let at = core::num::NonZero::new(bits)?.trailing_zeros() as usize;
    // SAFETY: the caller says so, and one is set.
    unsafe { core::hint::assert_unchecked(at < 4) };
    Some(at)
}

/// Which of 32 bytes are `sought`, a bit for each.
#[inline(always)]
pub fn equal32(bytes: &[u8; 32], sought: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of the architecture; 32 bytes are read.
    unsafe {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi8, _mm_loadu_si128, _mm_movemask_epi8, _mm_set1_epi8,
        };
        let at = bytes.as_ptr().cast::<__m128i>();
        let sought = _mm_set1_epi8(sought.cast_signed());
        let low = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(at), sought)).cast_unsigned();
        let high = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_loadu_si128(at.add(1)), sought)).cast_unsigned();
        low | high << 16
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        bytes.iter().enumerate().fold(0, |set, (i, byte)| set | u32::from(*byte == sought) << i)
    }
}

/// Which of 32 words are `sought`, a bit for each.
#[inline(always)]
pub fn equal32_words(words: &[u16; 32], sought: u16) -> u32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: SSE2 is part of the architecture; 64 bytes are read.
    unsafe {
        use core::arch::x86_64::{
            __m128i, _mm_cmpeq_epi16, _mm_loadu_si128, _mm_movemask_epi8, _mm_packs_epi16, _mm_set1_epi16,
        };
        let at = words.as_ptr().cast::<__m128i>();
        let sought = _mm_set1_epi16(sought.cast_signed());
        let equal = |i: usize| _mm_cmpeq_epi16(_mm_loadu_si128(at.add(i)), sought);
        let low = _mm_movemask_epi8(_mm_packs_epi16(equal(0), equal(1))).cast_unsigned();
        let high = _mm_movemask_epi8(_mm_packs_epi16(equal(2), equal(3))).cast_unsigned();
        low | high << 16
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        words.iter().enumerate().fold(0, |set, (i, word)| set | u32::from(*word == sought) << i)
    }
}

/// What is found of many runs of sixteen bytes that differ from what they are hoped to be.
///
/// Three instructions for a run; what is asked is asked once, in the end.
#[derive(Clone, Copy, Debug)]
pub struct Differences(Wide);

#[cfg(target_arch = "x86_64")]
type Wide = core::arch::x86_64::__m128i;
#[cfg(not(target_arch = "x86_64"))]
type Wide = u128;

impl Differences {
    /// None yet.
    #[inline(always)]
    pub fn none() -> Self {
        // SAFETY: all bytes zero is a value of either type.
        Self(unsafe { core::mem::zeroed() })
    }

    /// Notes in which bits `bytes` differ from `like`; both as they lie in memory.
    #[inline(always)]
    pub fn note(&mut self, bytes: &[u8; 16], like: &u128) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: SSE2 is part of the architecture. Both are references to sixteen bytes; a u128 is aligned to as
        // many, which is asserted.
        unsafe {
            use core::arch::x86_64::{_mm_load_si128, _mm_loadu_si128, _mm_or_si128, _mm_xor_si128};
            const { assert!(align_of::<u128>() >= align_of::<Wide>()) };
            let like = _mm_load_si128(core::ptr::from_ref(like).cast());
            self.0 = _mm_or_si128(self.0, _mm_xor_si128(_mm_loadu_si128(bytes.as_ptr().cast()), like));
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self.0 |= u128::from_ne_bytes(*bytes) ^ like;
        }
    }

    /// Whether any was noted where `mask` has ones.
    #[inline(always)]
    pub fn any(self, mask: &u128) -> bool {
        self.noted() & mask != 0
    }

    /// The bits that were noted, as they lie in memory.
    #[inline(always)]
    pub fn noted(self) -> u128 {
        // SAFETY: both types are sixteen bytes, and any bytes are a value of a u128.
        unsafe { core::mem::transmute(self.0) }
    }
}

/// Types of which all bytes zero is a value, and which own nothing.
pub trait Plain: sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for u64 {}
    impl<const N: usize> Sealed for [u64; N] {}
    impl Sealed for crate::CacheLine {}
}
impl Plain for u64 {}
impl<const N: usize> Plain for [u64; N] {}
impl Plain for CacheLine {}

/// A fixed array of `T`, taken from the system at start, zeroed, aligned to 2 MiB where it is that
/// large (else to a page), in huge pages where the system grants them. It never grows.
///
/// All of it is there when `new` returns: the first write to a page costs a fault, some 0.1 ms where the
/// page is a huge one that must be zeroed, and the packet path must not pay that flow by flow.
#[derive(Debug)]
pub struct Slab<T: Plain> {
    items: NonNull<T>,
    len: usize,
    map: NonNull<libc::c_void>,
    map_len: usize,
    owns: PhantomData<T>,
}

/// The system has not that much memory to give.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoMemory {
    /// What was asked for, in bytes.
    pub bytes: usize,
}

impl core::fmt::Display for NoMemory {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "no memory for a table of {} MiB; lower flows_max", self.bytes >> 20)
    }
}

impl core::error::Error for NoMemory {}

const HUGE_PAGE: usize = 2 << 20;

/// Less than this is not worth a thread.
const PART_MIN: usize = 64 << 20;

impl<T: Plain> Slab<T> {
    /// `len` items (at least one), all zero.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] when the system refuses.
    pub fn new(len: usize) -> Result<Self, NoMemory> {
        let len = len.max(1);
        let bytes = len.saturating_mul(size_of::<T>()).max(1);
        let no_memory = NoMemory { bytes };
        // Room to begin at a huge page's boundary.
        let map_len = bytes.checked_add(HUGE_PAGE).ok_or(no_memory)?;
        // SAFETY: an anonymous private mapping at an address of the system's choice touches no memory
        // of ours; the result is checked before use.
        let map = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                map_len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if map == libc::MAP_FAILED {
            return Err(no_memory);
        }
        let map = NonNull::new(map).ok_or(no_memory)?;
        let offset = map.addr().get().next_multiple_of(HUGE_PAGE) - map.addr().get();
        // SAFETY: `offset` < HUGE_PAGE, so `offset + bytes` lies within the mapping.
        let items = unsafe { map.byte_add(offset) };
        if bytes >= HUGE_PAGE {
            // SAFETY: the range lies within the mapping; a refusal only means small pages.
            unsafe { libc::madvise(items.as_ptr(), bytes, libc::MADV_HUGEPAGE) };
        }
        let slab = Self { items: items.cast(), len, map, map_len, owns: PhantomData };
        if populate(items.as_ptr().addr(), bytes) { Ok(slab) } else { Err(no_memory) }
    }
}

impl<T: Plain> Slab<T> {
    /// Its items, to be found by shares of 2^32.
    #[inline(always)]
    pub fn shares(&self) -> Shares<'_, T> {
        Shares(self)
    }
}

/// The items of a slab (at least one), found by shares of 2^32 of them all. Any number of items will do.
#[derive(Debug)]
pub struct Shares<'a, T>(&'a [T]);

impl<T> Clone for Shares<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shares<'_, T> {}

impl<'a, T> Shares<'a, T> {
    /// The index that is `share` of 2^32 of the slab: always within it.
    #[inline(always)]
    pub fn index(self, share: u32) -> usize {
        (u64::from(share).wrapping_mul(self.0.len() as u64) >> 32) as usize
    }

    /// The item at [`Self::index`].
    #[inline(always)]
    pub fn at(self, share: u32) -> &'a T {
        // SAFETY: up to 2^32 items, share * len is less than 2^32 * len, so its high half is less than len,
        // which is not 0 (`Slab::new`); with more items, no high half reaches them.
        unsafe { self.0.get_unchecked(self.index(share)) }
    }

    /// The index of `item`, which is one of the slab's; of no other one's it is of use.
    #[inline(always)]
    pub fn index_of(self, item: &T) -> usize {
        let offset = core::ptr::from_ref(item).addr().wrapping_sub(self.0.as_ptr().addr());
        offset.checked_div(size_of::<T>()).unwrap_or_default()
    }
}

/// Has the system lay pages under `bytes` bytes from `start`, which must be mapped; `false` when it has not so
/// many. On as many threads as the caller may run on cores, at most 8: zeroing is what takes the time, and
/// on a machine of several nodes the memory is of those that did it.
fn populate(start: usize, bytes: usize) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let parts = cores.min(bytes / PART_MIN).max(1);
    let part = (bytes / parts).next_multiple_of(HUGE_PAGE);
    let of = |i: usize| (start + i * part, part.min(bytes.saturating_sub(i * part)));
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..parts)
            .map(of)
            .map(|(start, bytes)| std::thread::Builder::new().spawn_scoped(scope, move || lay(start, bytes)))
            .collect();
        let (start, bytes) = of(0);
        let mut done = lay(start, bytes);
        for (i, other) in others.into_iter().enumerate() {
            done &= match other {
                Ok(thread) => thread.join().unwrap_or(false),
                // The system has no thread to spare: here, then.
                Err(_) => lay(of(i + 1).0, of(i + 1).1),
            };
        }
        done
    })
}

fn lay(start: usize, bytes: usize) -> bool {
    if bytes == 0 {
        return true;
    }
    // SAFETY: pages are laid as a write to each would, and what is there is left alone; an address that is
    // not mapped makes the call fail.
    let done =
        unsafe { libc::madvise(core::ptr::without_provenance_mut(start), bytes, libc::MADV_POPULATE_WRITE) };
    // Kernels before 5.14 do not know it: pages then come when they are first written, as they would have.
    done == 0 || std::io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL)
}

impl<T: Plain> Deref for Slab<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` items, zeroed at first (a value of every `Plain` type) and
        // written only through `deref_mut`, or as items allow themselves; it lives as long as `self`.
        unsafe { core::slice::from_raw_parts(self.items.as_ptr(), self.len) }
    }
}

impl<T: Plain> DerefMut for Slab<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` makes the access the only one.
        unsafe { core::slice::from_raw_parts_mut(self.items.as_ptr(), self.len) }
    }
}

impl<T: Plain> Drop for Slab<T> {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made; no reference into it outlives `self`.
        unsafe { libc::munmap(self.map.as_ptr(), self.map_len) };
    }
}

// SAFETY: the slab owns its mapping alone, and `Plain` types are plain integers.
unsafe impl<T: Plain + Send> Send for Slab<T> {}
// SAFETY: shared access only reads, or does to an item what is allowed from several threads.
unsafe impl<T: Plain + Sync> Sync for Slab<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_agree_where_the_mask_says_so() {
        let like = core::array::from_fn(|i| i as u8 * 16);
        let as_word = |bytes| u128::from_ne_bytes(bytes);
        assert!(agrees(&like, &as_word(like), &u128::MAX));
        for bit in 0..128 {
            let mut bytes = like;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut only = [0; 16];
            only[bit / 8] = 1 << (bit % 8);
            assert!(!agrees(&bytes, &as_word(like), &u128::MAX), "{bit}");
            assert!(!agrees(&bytes, &as_word(like), &as_word(only)), "{bit}");
            assert!(agrees(&bytes, &as_word(like), &!as_word(only)), "{bit}");
        }
    }

    #[test]
    fn of_32_bytes_all_that_are_equal_are_told() {
        let bytes: [u8; 32] = core::array::from_fn(|i| if i % 5 == 1 { 0xff } else { i as u8 });
        let slow = |sought| (0..32).fold(0, |set, i| set | u32::from(bytes[i] == sought) << i);
        for sought in 0..=255 {
            assert_eq!(equal32(&bytes, sought), slow(sought), "{sought}");
        }
        assert_eq!(equal32(&[7; 32], 7), u32::MAX);
        let words = bytes.map(|byte| u16::from(byte) << 8 | u16::from(byte & 1));
        for sought in words.into_iter().chain([0, 1, 0x00ff, 0xff00, 0xffff]) {
            let slow = (0..32).filter(|i| words[*i] == sought).fold(0, |set, i| set | 1 << i);
            assert_eq!(equal32_words(&words, sought), slow, "{sought:#06x}");
        }
        assert_eq!(equal32_words(&[0x8007; 32], 0x8007), u32::MAX);
    }

    #[test]
    fn differences_are_of_any_run_and_where_the_mask_says_so() {
        let like = core::array::from_fn(|i| i as u8 * 16);
        let word = u128::from_ne_bytes(like);
        let mut none = Differences::none();
        none.note(&like, &word);
        assert!(!none.any(&u128::MAX));
        for bit in 0..128 {
            let mut bytes = like;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut only = [0; 16];
            only[bit / 8] = 1 << (bit % 8);
            let only = u128::from_ne_bytes(only);
            let mut some = none;
            some.note(&bytes, &word);
            some.note(&like, &word);
            assert!(some.any(&u128::MAX) && some.any(&only) && !some.any(&!only), "{bit}");
        }
    }

    #[test]
    fn a_slab_is_zero_aligned_and_keeps_what_is_written() {
        let mut slab = Slab::<[u64; 8]>::new(100_000).unwrap();
        assert_eq!(slab.len(), 100_000);
        assert!(slab.iter().all(|line| *line == [0; 8]));
        assert_eq!(core::ptr::from_ref(&slab[0]).addr() % HUGE_PAGE, 0);
        slab[99_999] = [7; 8];
        assert_eq!(slab[99_999], [7; 8]);
    }

    #[test]
    fn no_page_is_missing_when_it_is_handed_out() {
        let faults = || {
            // SAFETY: `usage` is plain numbers, which the call fills in.
            unsafe {
                let mut usage: libc::rusage = core::mem::zeroed();
                libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
                usage.ru_minflt
            }
        };
        for bytes in [100_000, 3 << 20, 150 << 20] {
            let mut slab = Slab::<u64>::new(bytes / 8).unwrap();
            let before = faults();
            for page in (0..slab.len()).step_by(512) {
                slab[page] = 1;
            }
            let last = slab.len() - 1;
            slab[last] = 1;
            // Some belong to the test's own stack and heap.
            assert!(faults() - before < 5, "{} faults in {bytes} bytes", faults() - before);
        }
    }

    #[test]
    fn shares_reach_from_the_first_item_to_the_last() {
        for len in [0, 1, 2, 3, 1000] {
            let slab = Slab::<u64>::new(len).unwrap();
            let shares = slab.shares();
            assert_eq!(shares.index(0), 0);
            assert_eq!(shares.index(u32::MAX), slab.len() - 1);
            let last = core::ptr::from_ref(shares.at(u32::MAX));
            assert_eq!(last, core::ptr::from_ref(slab.last().unwrap()));
        }
    }

    #[test]
    fn more_than_there_is_is_refused() {
        assert!(Slab::<u64>::new(usize::MAX / 16).is_err());
    }
}
