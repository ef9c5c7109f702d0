//! The harness's part in C (`csrc`), behind safe functions.

use anyhow::{Result, ensure};
use core::ffi::{c_char, c_int, c_void};
use std::ffi::CString;
use std::ptr::NonNull;

// SAFETY: as declared in csrc/bench.h.
unsafe extern "C" {
    fn fsb_tsc() -> u64;
    fn fsb_tsc_hz() -> u64;
    fn fsb_port(name: *const c_char) -> c_int;
    fn fsb_floor(from: u16, to: u16, packets: u64);
    fn fsb_hash_create(name: *const c_char, entries: u32) -> *mut c_void;
    fn fsb_hash_free(table: *mut c_void);
    fn fsb_hash_fill(table: *mut c_void, n: u32, word2: u64) -> c_int;
    fn fsb_hash_bulk(table: *mut c_void, packets: u64, mask: u32, word2: u64) -> u64;
}

/// The time-stamp counter: its ticks are of constant length, and called TSC cycles in tables.
pub(crate) fn tsc() -> u64 {
    // SAFETY: reads a register.
    unsafe { fsb_tsc() }
}

/// Its ticks a second.
pub(crate) fn tsc_hz() -> u64 {
    // SAFETY: reads what DPDK measured at its start.
    unsafe { fsb_tsc_hz() }
}

/// Two devices with nothing between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Floor {
    from: u16,
    to: u16,
}

impl Floor {
    /// Between the devices of these names.
    pub(crate) fn between(from: &str, to: &str) -> Result<Self> {
        Ok(Self { from: number(from)?, to: number(to)? })
    }

    /// Moves so many packets, by whatever lcore calls it.
    /// Nobody else may use the devices meanwhile: the harness runs one thing at a time.
    pub(crate) fn run(&self, packets: u64) {
        // SAFETY: both devices are started, for `Rig` holds them; queue 0 is nobody's while a rig rests.
        unsafe { fsb_floor(self.from, self.to, packets) }
    }
}

fn number(name: &str) -> Result<u16> {
    let text = CString::new(name)?;
    // SAFETY: a string that is only read.
    let code = unsafe { fsb_port(text.as_ptr()) };
    ensure!(code >= 0, "there is no device {name}");
    Ok(code as u16)
}

/// DPDK's `rte_hash`: the default cuckoo table with CRC32, keys of 16 bytes.
#[derive(Debug)]
pub(crate) struct RteHash(NonNull<c_void>);

// SAFETY: a table is used by one thread at a time, which `&mut` and ownership say.
unsafe impl Send for RteHash {}

impl RteHash {
    /// A table with room for `entries`, filled with the keys of flows 0 to `flows` - 1.
    pub(crate) fn filled(name: &str, entries: u32, flows: u32, word2: u64) -> Result<Self> {
        let text = CString::new(name)?;
        // SAFETY: the name is copied; DPDK is started, as whoever measures holds an `Eal`.
        let raw = unsafe { fsb_hash_create(text.as_ptr(), entries) };
        let Some(raw) = NonNull::new(raw) else {
            anyhow::bail!("rte_hash: no memory for {entries} entries in huge pages")
        };
        let table = Self(raw);
        // SAFETY: the table lives.
        let code = unsafe { fsb_hash_fill(table.0.as_ptr(), flows, word2) };
        ensure!(code == 0, "rte_hash: error {code} while it was filled");
        Ok(table)
    }

    /// Looks up so many keys in bulks of 32, flows visited uniformly; the number found.
    pub(crate) fn look_up(&mut self, packets: u64, mask: u32, word2: u64) -> u64 {
        // SAFETY: the table lives, and is ours alone.
        unsafe { fsb_hash_bulk(self.0.as_ptr(), packets, mask, word2) }
    }
}

impl Drop for RteHash {
    fn drop(&mut self) {
        // SAFETY: made by `filled`, freed once.
        unsafe { fsb_hash_free(self.0.as_ptr()) }
    }
}
