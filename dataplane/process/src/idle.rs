//! What a worker does when there is nothing to do.

use core::time::Duration;
use dataplane_message::Mode;

/// Empty turns before the first nap: the time in which an answer to what was just sent comes.
const TURNS: u32 = 64;

/// Naps that follow, in µs, and how many of each: a pause between two packets of a conversation is
/// slept through in small pieces, for a second or so. The last one is for good; waking up costs some
/// 20 µs of a virtual machine, so it decides what an idle switch takes of a core.
const NAPS: [(u64, u32); 4] = [(20, 50), (50, 100), (200, 4000), (500, u32::MAX)];

/// Counts empty turns.
#[derive(Debug)]
pub(crate) struct Idle {
    naps: bool,
    empty: u32,
}

impl Idle {
    pub(crate) fn new(mode: Mode) -> Self {
        Self { naps: mode == Mode::Trial, empty: 0 }
    }

    /// How long to nap after a turn that handled `frames`; a worker of an appliance never does.
    pub(crate) fn after(&mut self, frames: usize) -> Option<Duration> {
        if frames > 0 {
            self.empty = 0;
            return None;
        }
        if !self.naps {
            return None;
        }
        self.empty = self.empty.saturating_add(1);
        let mut past = self.empty.checked_sub(TURNS)?;
        for (micros, times) in NAPS {
            if past < times {
                return Some(Duration::from_micros(micros));
            }
            past -= times;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_nothing_comes_the_longer_the_naps() {
        let mut idle = Idle::new(Mode::Trial);
        let naps: Vec<_> = (0..5000).map(|_| idle.after(0).map(|nap| nap.as_micros())).collect();
        assert!(naps[..63].iter().all(Option::is_none));
        let at = [63, 163, 999, 4999].map(|turn: usize| naps[turn]);
        assert_eq!(at, [Some(20), Some(50), Some(200), Some(500)]);
        assert_eq!(idle.after(1), None);
        assert_eq!(idle.after(0), None);
        idle.empty = u32::MAX;
        assert!(idle.after(0).is_some());
    }

    #[test]
    fn an_appliance_never_rests() {
        let mut idle = Idle::new(Mode::Appliance);
        assert!((0..1000).all(|_| idle.after(0).is_none()));
    }
}
