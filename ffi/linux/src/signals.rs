//! Signals that end the process, as something to poll.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// SIGTERM, SIGINT and SIGHUP, held back from every thread that is started after this.
#[derive(Debug)]
pub struct StopSignals {
    signals: SignalFd,
}

impl StopSignals {
    /// Holds the signals back. Call it before the first thread is started: threads inherit it, no
    /// handler is needed, and no system call of theirs is interrupted.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn hold() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self { signals: SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// Whether one of them has come since the last call.
    pub fn came(&self) -> bool {
        matches!(self.signals.read_signal(), Ok(Some(_)))
    }
}

impl AsFd for StopSignals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::raise;

    #[test]
    fn a_signal_is_seen_and_does_not_kill() {
        let signals = StopSignals::hold().unwrap();
        assert!(!signals.came());
        raise(Signal::SIGTERM).unwrap();
        assert!(signals.came());
        assert!(!signals.came());
    }
}
