//! An allocator that counts its calls while a window is measured (P17).

use core::cell::Cell;
use std::alloc::{GlobalAlloc, Layout, System};

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Only the thread that measures is watched: others read what peers print meanwhile.
    static ON: Cell<bool> = const { Cell::new(false) };
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// Begins to count the calling thread's calls, or ends it; the calls counted since the last beginning.
pub(crate) fn watch(on: bool) -> u64 {
    ON.set(on);
    if on { CALLS.replace(0) } else { CALLS.get() }
}

fn count() {
    // Cells without a destructor, made at compile time: touching them allocates nothing.
    if ON.get() {
        CALLS.set(CALLS.get() + 1);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the
// caller's and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps `dealloc`'s contract; `pointer` came from `System` by `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract; `pointer` came from `System` by `alloc` above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
