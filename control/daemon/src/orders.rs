//! What the operator and the system tell a process: stop, read the file again, a child has ended.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// An order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// Stop cleanly.
    Stop,
    /// Read the configuration again.
    Reload,
    /// A child process has ended.
    ChildEnded,
}

/// Where orders come from: signals, or a test.
pub trait Orders {
    /// Readable when there is an order.
    fn fd(&self) -> BorrowedFd<'_>;

    /// The next order, without waiting.
    fn next(&mut self) -> Option<Order>;
}

/// SIGTERM and SIGINT stop, SIGHUP reloads, SIGCHLD tells of children.
#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Takes these signals out of the ordinary way. Called before any other thread starts, since a
    /// thread that does not block them would still be killed by one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn take() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }
}

impl Orders for Signals {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn next(&mut self) -> Option<Order> {
        let signal = self.0.read_signal().ok()??;
        match Signal::try_from(signal.ssi_signo as i32) {
            Ok(Signal::SIGHUP) => Some(Order::Reload),
            Ok(Signal::SIGCHLD) => Some(Order::ChildEnded),
            _ => Some(Order::Stop),
        }
    }
}

/// Orders from another thread: the other end is a [`Commander`].
#[derive(Debug)]
pub struct Wired(UnixStream);

/// Gives orders to a [`Wired`]; dropping it stops.
#[derive(Debug)]
pub struct Commander(UnixStream);

/// A pair of ends.
///
/// # Errors
///
/// The system's.
pub fn wired() -> io::Result<(Commander, Wired)> {
    let (ours, theirs) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    Ok((Commander(ours), Wired(theirs)))
}

impl Commander {
    /// Gives an order.
    ///
    /// # Errors
    ///
    /// The other end is gone.
    pub fn give(&mut self, order: Order) -> io::Result<()> {
        self.0.write_all(&[order as u8])
    }
}

impl Orders for Wired {
    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn next(&mut self) -> Option<Order> {
        let mut byte = [0];
        match self.0.read(&mut byte) {
            Ok(1) if byte[0] == Order::Reload as u8 => Some(Order::Reload),
            Ok(1) if byte[0] == Order::ChildEnded as u8 => Some(Order::ChildEnded),
            Ok(_) => Some(Order::Stop),
            Err(_) => None,
        }
    }
}
