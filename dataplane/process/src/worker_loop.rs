//! A worker on its lcore.

use crate::clock::Clock;
use crate::idle::Idle;
use dataplane_flow::Instant;
use dataplane_message::Mode;
use dataplane_port::DropReason;
use dataplane_worker::Worker;
use ffi_dpdk::DpdkPorts;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Panics within [`FAULT_WINDOW_S`] that one worker survives. One more, and what causes them is no
/// single frame: the process aborts, and its supervisor starts it anew.
const FAULTS_MAX: usize = 10;

const FAULT_WINDOW_S: u64 = 60;

/// Turns until told to stop.
pub(crate) fn run(mut worker: Worker<DpdkPorts>, mode: Mode, clock: Clock, stop: &AtomicBool) {
    ffi_linux::precise_naps();
    let mut idle = Idle::new(mode);
    let mut faults = Faults::default();
    while !stop.load(Ordering::Relaxed) {
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
        if let Some(nap) = idle.after(busy) {
            std::thread::sleep(nap);
        }
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
