//! Cables, and what goes wrong on them.

use crate::queue::MS;
use crate::random::Random;

/// Which way along a cable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To the switch.
    In,
    /// From the switch.
    Out,
}

/// Trouble on a cable for a time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Trouble {
    /// From when, in nanoseconds.
    pub from: u64,
    /// Until when.
    pub until: u64,
    /// One way only, or both.
    pub way: Option<Way>,
    /// Share of frames lost; 1.0 is a partition.
    pub loss: f64,
    /// Share of frames doubled.
    pub duplication: f64,
    /// Frames are late by up to so much, each by its own, and so overtake each other.
    pub jitter: u64,
}

/// One cable.
#[derive(Clone, Debug)]
pub struct Link {
    /// Time along it, in nanoseconds.
    delay: u64,
    /// Carrier.
    pub up: bool,
    troubles: Vec<Trouble>,
    random: Random,
    last: [u64; 2],
}

impl Link {
    /// A good cable.
    pub fn new(random: Random) -> Self {
        Self { delay: MS / 20, up: true, troubles: Vec::new(), random, last: [0; 2] }
    }

    /// Adds trouble.
    pub fn trouble(&mut self, trouble: Trouble) {
        self.troubles.push(trouble);
    }

    /// When the copies of a frame arrive that is sent now.
    pub fn send(&mut self, way: Way, now: u64) -> impl Iterator<Item = u64> + use<> {
        let mut arrivals = [None; 2];
        if self.up {
            self.troubles.retain(|t| t.until > now);
            let (mut lost, mut doubled, mut late) = (false, false, 0);
            for trouble in &self.troubles {
                if trouble.from <= now && trouble.way.is_none_or(|w| w == way) {
                    lost |= self.random.chance(trouble.loss);
                    doubled |= self.random.chance(trouble.duplication);
                    late += self.random.below(trouble.jitter + 1);
                }
            }
            if !lost {
                let mut at = now + self.delay + late;
                if late == 0 {
                    // A cable keeps the order; only jitter breaks it.
                    at = at.max(self.last[way as usize]);
                    self.last[way as usize] = at;
                }
                arrivals[0] = Some(at);
                if doubled {
                    arrivals[1] = Some(at + self.random.below(MS));
                }
            }
        }
        arrivals.into_iter().flatten()
    }
}
