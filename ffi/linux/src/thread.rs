//! What a thread may do, where it runs, and how it waits.

use core::time::Duration;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::fd::BorrowedFd;

/// What the process may be allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Capability {
    /// `CAP_NET_ADMIN`: set up interfaces.
    NetAdmin = 12,
    /// `CAP_NET_RAW`: packet sockets.
    NetRaw = 13,
}

/// Whether the process has a capability.
pub fn has_capability(capability: Capability) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (capability as u8) & 1 == 1)
}

/// The cores that the process may run on, rising.
///
/// # Errors
///
/// What the kernel says.
pub fn cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false)).collect())
}

/// Lets the calling thread's naps end on time: 1 ns of slack instead of the usual 50 µs.
pub fn precise_naps() {
    // SAFETY: this operation takes one number and changes nothing but the thread's timer slack.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1) };
}

/// Random bytes of the kernel's.
///
/// # Panics
///
/// When the kernel has none, which no kernel since 3.17 says.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        let rest = &mut bytes[filled..];
        // SAFETY: `rest` is ours to write, as many bytes as said.
        let n = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        match usize::try_from(n) {
            Ok(n) => filled += n,
            Err(_) => assert_eq!(Errno::last(), Errno::EINTR, "the kernel has random bytes"),
        }
    }
    bytes
}

/// Waits until something can be read from one of `sources`, or `timeout` has passed, to within a
/// millisecond. A signal ends it too. Which one it was is found by reading: none of ours wait. `true` when there
/// is something.
pub fn wait_readable(sources: &[BorrowedFd<'_>], timeout: Duration) -> bool {
    let mut polled: Vec<PollFd<'_>> =
        sources.iter().map(|source| PollFd::new(*source, PollFlags::POLLIN)).collect();
    let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
    poll(&mut polled, timeout).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::time::Instant;

    #[test]
    fn the_kernel_answers() {
        assert!(!cores().unwrap().is_empty());
        assert_ne!(random::<16>(), random::<16>());
        precise_naps();
        has_capability(Capability::NetRaw);
        let (reader, writer) = io::pipe().unwrap();
        let begin = Instant::now();
        assert!(!wait_readable(&[reader.as_fd()], Duration::from_millis(20)));
        assert!(begin.elapsed() >= Duration::from_millis(19));
        drop(writer);
        assert!(wait_readable(&[reader.as_fd()], Duration::from_secs(60)));
        assert!(begin.elapsed() < Duration::from_secs(30));
    }
}
