//! What DPDK could not do.

use core::ffi::{CStr, c_int};
use core::fmt;

/// A call that failed, and the number it failed with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DpdkError {
    /// DPDK's function.
    pub call: &'static str,
    /// The error number, positive; DPDK's own begin at 1001.
    pub errno: i32,
}

impl DpdkError {
    /// The error of a function that leaves its number in `rte_errno`.
    pub(crate) fn last(call: &'static str) -> Self {
        // SAFETY: reads a variable of the calling thread.
        Self { call, errno: unsafe { dpdk_sys::fs_rte_errno() } }
    }

    /// Turns a return code, negative on failure, into a result. Some functions return a bare -1 and
    /// leave the number in `rte_errno`.
    pub(crate) fn check(call: &'static str, code: c_int) -> Result<c_int, Self> {
        match code {
            0.. => Ok(code),
            -1 => {
                let last = Self::last(call);
                Err(if last.errno == 0 { Self { call, errno: 1 } } else { last })
            }
            _ => Err(Self { call, errno: -code }),
        }
    }

    /// Whether the device merely does not know how (`ENOTSUP`, `ENOSYS`).
    pub fn is_unsupported(self) -> bool {
        matches!(self.errno, 95 | 38)
    }
}

impl fmt::Display for DpdkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: returns a constant string, or one in a buffer of the calling thread that nobody
        // changes before it is copied out here.
        let text = unsafe { CStr::from_ptr(dpdk_sys::rte_strerror(self.errno)) };
        write!(f, "{}: {} ({})", self.call, text.to_string_lossy(), self.errno)
    }
}

impl core::error::Error for DpdkError {}
