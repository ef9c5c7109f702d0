//! How a loop that polls devices rests: until a frame comes, until somebody rings, and not for too long.
//!
//! DPDK's drivers on kernel interfaces (22.11) offer no interrupts; but each has sockets that the kernel marks
//! readable when a frame has come, and these are files of this process like any other.

use core::time::Duration;
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// The sockets of this process that frames come by: AF_XDP, AF_PACKET, taps. By number: one that has been
/// closed since is no fault, and the loop wakes in vain.
#[derive(Clone, Debug, Default)]
pub struct FrameSockets {
    numbers: Vec<RawFd>,
}

impl FrameSockets {
    /// Those that are open now.
    pub fn find() -> Self {
        let own = Path::new("/proc/self/fd");
        let entries = fs::read_dir(own).into_iter().flatten().flatten();
        let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_tap = |number: RawFd| {
            fs::read_link(own.join(number.to_string())).is_ok_and(|file| file == Path::new("/dev/net/tun"))
        };
        Self { numbers: numbers.filter(|number| carries_frames(*number) || is_tap(*number)).collect() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.numbers.len()
    }
}

fn carries_frames(number: RawFd) -> bool {
    let (mut domain, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the answer is written into a number of ours, of the size that is said; a file that is not a
    // socket, or is not there any more, makes the call fail.
    let done = unsafe {
        libc::getsockopt(number, libc::SOL_SOCKET, libc::SO_DOMAIN, (&raw mut domain).cast(), &raw mut len)
    };
    done == 0 && (domain == libc::AF_XDP || domain == libc::AF_PACKET)
}

/// What ended a rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// A frame, or what looks like one.
    ByFrame,
    /// Somebody rang.
    ByBell,
    /// The time.
    ByTime,
}

/// The end of who rests.
#[derive(Debug)]
pub struct Sleeper {
    reader: PipeReader,
    asleep: Arc<AtomicBool>,
}

/// The end of who wakes.
#[derive(Debug)]
pub struct Bell {
    writer: PipeWriter,
    asleep: Arc<AtomicBool>,
}

/// A sleeper and its bell.
///
/// # Errors
///
/// When there is no pipe to be had.
pub fn bell() -> io::Result<(Sleeper, Bell)> {
    let (reader, writer) = io::pipe()?;
    let asleep = Arc::new(AtomicBool::new(false));
    Ok((Sleeper { reader, asleep: Arc::clone(&asleep) }, Bell { writer, asleep }))
}

impl Bell {
    /// Wakes the sleeper if it has lain down; else one load. What was left for it before is then seen by it.
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        // One byte for each time that it lies down, so that the pipe never fills.
        if self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::SeqCst) {
            let _ = (&self.writer).write(&[1]);
        }
    }
}

impl Sleeper {
    /// From now on the bell wakes. Look once more for work between this and [`Self::sleep`].
    pub fn lie_down(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// It is up again, after a rest that was not [`Self::sleep`] but a wait that had its file among others.
    pub fn rise(&mut self) {
        // Who has taken the mark away writes a byte.
        if !self.asleep.swap(false, Ordering::SeqCst) {
            let _ = self.reader.read(&mut [0; 1]);
        }
    }

    /// Rests, for `at_most` if nothing happens.
    pub fn sleep(&mut self, sockets: &FrameSockets, at_most: Duration) -> Woken {
        let entry = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let all = core::iter::once(self.reader.as_raw_fd()).chain(sockets.numbers.iter().copied());
        let mut polled: Vec<libc::pollfd> = all.map(entry).collect();
        let time = libc::timespec {
            tv_sec: at_most.as_secs() as libc::time_t,
            tv_nsec: at_most.subsec_nanos().into(),
        };
        // SAFETY: the entries are ours, as many as said; numbers that are no open files any more are
        // reported in them. Nothing is read from the files.
        let ready = unsafe {
            libc::ppoll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, &raw const time, core::ptr::null())
        };
        let rung = ready > 0 && polled[0].revents != 0;
        if rung {
            let _ = self.reader.read(&mut [0; 64]);
        }
        self.asleep.store(false, Ordering::SeqCst);
        match ready {
            ..=0 => Woken::ByTime,
            1 if rung => Woken::ByBell,
            _ => Woken::ByFrame,
        }
    }
}

impl AsFd for Sleeper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn its_file_may_be_waited_on_beside_others() {
        let (mut sleeper, bell) = bell().unwrap();
        for _ in 0..3 {
            sleeper.lie_down();
            bell.ring();
            assert!(crate::wait_readable(&[sleeper.as_fd()], Duration::from_secs(60)));
            sleeper.rise();
            sleeper.lie_down();
            assert!(!crate::wait_readable(&[sleeper.as_fd()], Duration::from_millis(1)));
            sleeper.rise();
        }
    }

    #[test]
    fn who_lies_down_is_woken_and_who_is_up_is_not_disturbed() {
        let (mut sleeper, bell) = bell().unwrap();
        let none = FrameSockets::default();
        (0..100_000).for_each(|_| bell.ring());
        assert_eq!(sleeper.sleep(&none, Duration::from_millis(1)), Woken::ByTime, "it was up when they rang");
        sleeper.lie_down();
        (0..100_000).for_each(|_| bell.ring());
        let begin = Instant::now();
        assert_eq!(sleeper.sleep(&none, Duration::from_secs(60)), Woken::ByBell);
        assert!(begin.elapsed() < Duration::from_secs(30));
        sleeper.lie_down();
        assert_eq!(sleeper.sleep(&none, Duration::from_millis(1)), Woken::ByTime, "one ring, one waking");
        // From another thread, while it sleeps.
        sleeper.lie_down();
        let thread = std::thread::spawn(move || {
            while bell.asleep.load(Ordering::Relaxed) {
                bell.ring();
            }
        });
        assert_eq!(sleeper.sleep(&none, Duration::from_secs(60)), Woken::ByBell);
        thread.join().unwrap();
    }

    #[test]
    fn a_number_that_is_no_file_is_not_slept_on() {
        let (mut sleeper, _bell) = bell().unwrap();
        let gone = FrameSockets { numbers: vec![RawFd::MAX] };
        assert_eq!(sleeper.sleep(&gone, Duration::from_secs(60)), Woken::ByFrame);
    }

    #[test]
    fn other_files_do_not_carry_frames() {
        let (reader, _writer) = io::pipe().unwrap();
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = FrameSockets::find();
        assert!(!found.numbers.contains(&reader.as_raw_fd()));
        assert!(!found.numbers.contains(&socket.as_raw_fd()));
    }
}
