//! A worker on its lcore.

use crate::clock::Clock;
use crate::idle::{Idle, Pause};
use dataplane_flow::Instant;
use dataplane_port::DropReason;
use dataplane_worker::Worker;
use ffi_dpdk::DpdkPorts;
use ffi_linux::{Bell, FrameSockets, Sleeper};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Devices come and go: their sockets are looked for anew this often, by a worker that rests.
const SOCKETS_NS: u64 = 1_000_000_000;

/// Panics within [`FAULT_WINDOW_S`] that one worker survives. One more, and what causes them is no
/// single frame: the process aborts, and its supervisor starts it anew.
const FAULTS_MAX: usize = 10;

const FAULT_WINDOW_S: u64 = 60;

/// How a worker rests, and whom it wakes.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) idle: Idle,
    pub(crate) sleeper: Sleeper,
    /// Of the workers that frames may be left for; none where nobody rests.
    pub(crate) others: Vec<Arc<Bell>>,
    /// Rung when there is something for control; `None` where no worker rests: the publisher then looks more often.
    pub(crate) publisher: Option<Arc<Bell>>,
    pub(crate) punted: u64,
    /// As many sockets as there must be at least.
    pub(crate) ports: usize,
    pub(crate) sockets: FrameSockets,
    pub(crate) look_at: Instant,
}

impl Rest {
    /// What follows a turn that handled `frames`; `punted`: how many have been punted so far.
    fn after(&mut self, frames: usize, punted: u64, now: Instant) {
        if frames > 0 {
            self.others.iter().for_each(|bell| bell.ring());
            if punted != self.punted {
                self.punted = punted;
                self.publisher.iter().for_each(|bell| bell.ring());
            }
        }
        match self.idle.after(frames) {
            Pause::None => {}
            Pause::Nap(nap) => std::thread::sleep(nap),
            Pause::Rest(rest) => {
                if now >= self.look_at {
                    self.sockets = FrameSockets::find();
                    self.look_at = Instant(now.0 + SOCKETS_NS);
                }
                // A device without a socket, or that is away: what it brings is not to wait for long.
                let short = core::time::Duration::from_micros(500);
                let rest = if self.sockets.count() < self.ports { rest.min(short) } else { rest };
                let by = self.sleeper.sleep(&self.sockets, rest);
                self.idle.woken(by);
            }
        }
    }
}

/// Turns until told to stop.
pub(crate) fn run(mut worker: Worker<DpdkPorts>, mut rest: Rest, clock: Clock, stop: &AtomicBool) {
    ffi_linux::precise_naps();
    let mut faults = Faults::default();
    while !stop.load(Ordering::Relaxed) {
        if rest.idle.is_drowsy() {
            rest.sleeper.lie_down();
        }
        let now = clock.now();
        // A frame that makes a turn panic must not stop the others: its burst is freed, and the tables
        // that a worker reads are immutable.
        let frames = catch_unwind(AssertUnwindSafe(|| worker.turn(now))).unwrap_or_else(|_| {
            if cfg!(debug_assertions) || !faults.survives(now) {
                eprintln!("flowswitch-dp: a worker panicked; the process aborts");
                std::process::abort();
            }
            let lost = worker.ports_mut().abandon();
            worker.engine().counters().drop(DropReason::Fault, lost as u64);
            lost
        });
        let busy = frames + worker.ports_mut().take_relayed();
        rest.after(busy, worker.engine().counters().punted.read(), now);
    }
}

/// When the last panics were.
#[derive(Debug, Default)]
struct Faults {
    at: VecDeque<Instant>,
}

impl Faults {
    /// Takes note of a panic; `false` when it is one too many.
    fn survives(&mut self, now: Instant) -> bool {
        while self.at.front().is_some_and(|at| now.since(*at) > FAULT_WINDOW_S * 1_000_000_000) {
            self.at.pop_front();
        }
        self.at.push_back(now);
        self.at.len() <= FAULTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_a_minute_are_survived() {
        let mut faults = Faults::default();
        assert!((0..10).all(|second| faults.survives(Instant::from_secs(second))));
        assert!(!faults.survives(Instant::from_secs(30)));
        assert!(faults.survives(Instant::from_secs(200)));
    }
}
