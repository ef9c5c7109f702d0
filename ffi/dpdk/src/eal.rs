//! DPDK's environment: memory, lcores, buses.

use crate::DpdkError;
use core::ffi::{CStr, c_char, c_int, c_uint, c_void};
use dpdk_sys as sys;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

static STARTED: AtomicBool = AtomicBool::new(false);

/// DPDK, started. A handle; everything made with it holds a clone.
///
/// A process starts it once. Nothing is cleaned up when the handles are dropped, see
/// [`Eal::shutdown`].
#[derive(Clone, Debug)]
pub struct Eal {
    token: Arc<()>,
}

impl Eal {
    /// Starts DPDK with the arguments of a DPDK program (without the program's name, which is the
    /// first argument here too). The calling thread becomes the main lcore.
    ///
    /// # Errors
    ///
    /// What `rte_eal_init` says; `EALREADY` (114) on a second call.
    ///
    /// # Panics
    ///
    /// When an argument contains a zero byte.
    pub fn init(program: &str, arguments: &[String]) -> Result<Self, DpdkError> {
        const CALL: &str = "rte_eal_init";
        if STARTED.swap(true, Ordering::AcqRel) {
            return Err(DpdkError { call: CALL, errno: 114 });
        }
        // DPDK keeps pointers into the arguments for as long as it runs: they are leaked.
        let words = core::iter::once(program).chain(arguments.iter().map(String::as_str));
        let argv: Vec<*mut c_char> = words
            .map(|word| CString::new(word).expect("arguments have no zero byte").into_raw())
            .chain([core::ptr::null_mut()])
            .collect();
        let argc = (argv.len() - 1) as c_int;
        let argv = Vec::leak(argv).as_mut_ptr();
        // SAFETY: `argv` has `argc` strings and a null behind them; all live until the process ends.
        // The swap above lets one call through in a process.
        let code = unsafe { sys::rte_eal_init(argc, argv) };
        DpdkError::check(CALL, code)?;
        // SAFETY: sets a function pointer in libraries that are loaded; no device is open yet.
        unsafe { sys::fs_quiet_bpf() };
        Ok(Self { token: Arc::new(()) })
    }

    /// The lcores besides the main one, rising.
    pub fn workers(&self) -> Vec<u32> {
        // SAFETY: reads the configuration, which is fixed after init.
        let main = unsafe { sys::rte_get_main_lcore() };
        (0..sys::RTE_MAX_LCORE)
            // SAFETY: as above.
            .filter(|lcore| *lcore != main && unsafe { sys::rte_lcore_is_enabled(*lcore) } != 0)
            .collect()
    }

    /// Runs `work` on an idle lcore.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the lcore runs something else.
    pub fn launch<F>(&self, lcore: u32, work: F) -> Result<Task, DpdkError>
    where
        F: FnOnce() + Send + 'static,
    {
        let work: Box<Work> = Box::new(Box::new(work));
        let argument = Box::into_raw(work);
        // SAFETY: `run` takes the box back, once: a launch that succeeds runs it exactly once.
        let code = unsafe { sys::rte_eal_remote_launch(Some(run), argument.cast(), lcore) };
        if let Err(error) = DpdkError::check("rte_eal_remote_launch", code) {
            // SAFETY: the launch failed, so nobody else has the box.
            drop(unsafe { Box::from_raw(argument) });
            return Err(error);
        }
        Ok(Task { lcore })
    }

    /// Ends DPDK: memory and devices are given back. Hands the handle back when there are others, as
    /// they may still use what would go.
    ///
    /// # Errors
    ///
    /// The handle itself.
    pub fn shutdown(self) -> Result<(), Self> {
        let token = Arc::try_unwrap(self.token).map_err(|token| Self { token });
        token.map(|()| {
            // SAFETY: a string of DPDK's that stays.
            let folder = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
            // SAFETY: the last handle is gone, so no pool, device or buffer of ours is left.
            unsafe { sys::rte_eal_cleanup() };
            // DPDK leaves its folder behind; one that something lies in is not ours to remove.
            drop(std::fs::remove_dir(Path::new(OsStr::from_bytes(folder.to_bytes()))));
        })
    }
}

/// DPDK's version, as in `DPDK 22.11.11`.
pub fn version() -> String {
    // SAFETY: returns a constant string.
    unsafe { CStr::from_ptr(sys::rte_version()) }.to_string_lossy().into_owned()
}

/// Work on an lcore.
#[derive(Debug)]
#[must_use = "work that nobody waits for outlives what it uses"]
pub struct Task {
    lcore: u32,
}

impl Task {
    /// Waits for its end; `false` when it panicked.
    pub fn join(self) -> bool {
        // SAFETY: any thread may wait for an lcore.
        unsafe { sys::rte_eal_wait_lcore(self.lcore as c_uint) == 0 }
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// What DPDK calls on the lcore. No panic leaves it: unwinding into C is undefined.
extern "C" fn run(argument: *mut c_void) -> c_int {
    // SAFETY: `launch` made this pointer of a box of that type and gave it away.
    let work: Box<Work> = unsafe { Box::from_raw(argument.cast()) };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(()) => 0,
        Err(_) => -1,
    }
}
