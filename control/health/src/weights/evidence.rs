//! Whether a server has become another one, or its times only stray by chance.

use super::Times;
use std::collections::VecDeque;

/// Seconds of a block. Queues forget within some seconds, so blocks say something new.
const BLOCK_S: f64 = 2.0;

/// Blocks that are looked at: two minutes.
const BLOCKS: usize = 60;

/// Blocks that are taken together to see how much chance there is over more than a few seconds.
const TOGETHER: u32 = 4;

/// Nearer than that (natural logarithm of the ratio to the mean) is near enough: what is left creeps.
const APART: f64 = 0.4;

/// So much, in blocks: that a queue was long for some seconds says nothing.
const AREA: f64 = 4.5;

/// As rare as a value 6.5 standard deviations away, if these blocks were draws from a normal distribution: queues
/// have longer tails, and a new search costs more than a late one.
const SURE: f64 = 6.5;

/// The variance of a block before it is known, and how many blocks' worth it counts.
const VARIANCE: f64 = 0.1;
const VARIANCE_BLOCKS: f64 = 4.0;

/// The least part that a new block has in the variance.
const VARIANCE_SHARE: f64 = 0.03;

/// How far a server's times are from the others', block by block, while weights rest.
///
/// For each number of newest blocks the mean of them is held against the variance that blocks had until now. A large
/// difference is believed after a few blocks, a small one after many, one that is too small to matter never.
/// The variance is measured twice, between neighbouring blocks and between neighbouring groups of four: busy queues
/// stray slowly, and look quieter than they are from one block to the next. The larger one counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Evidence {
    block: Times,
    seconds: f64,
    /// The newest first.
    blocks: VecDeque<f64>,
    single: Variance,
    grouped: Variance,
    group: (f64, u32),
}

impl Evidence {
    /// A second's answers; at a block's end the logarithm of its median time.
    pub(super) fn gather(&mut self, times: &Times, seconds: f64) -> Option<f64> {
        self.block.add(times);
        self.seconds += seconds;
        if self.seconds + 0.05 < BLOCK_S {
            return None;
        }
        self.seconds = 0.0;
        core::mem::take(&mut self.block).log_median()
    }

    /// How far a block is from the mean of all servers; how far the server is, if that is beyond chance.
    pub(super) fn handle(&mut self, apart: f64) -> Option<f64> {
        self.single.handle(apart);
        self.group = (self.group.0 + apart, self.group.1 + 1);
        if self.group.1 == TOGETHER {
            // The mean of four has a quarter of a block's variance.
            self.grouped.handle(self.group.0 / f64::from(TOGETHER).sqrt());
            self.group = (0.0, 0);
        }
        self.blocks.push_front(apart);
        self.blocks.truncate(BLOCKS);
        let variance = self.single.value().max(self.grouped.value());
        let mut sum = 0.0;
        self.blocks.iter().zip(1_u32..).find_map(|(apart, n)| {
            sum += apart;
            let n = f64::from(n);
            let is_far = (sum / n).abs() > APART && sum.abs() >= AREA;
            (is_far && sum * sum > SURE * SURE * variance * n).then_some(sum / n)
        })
    }
}

/// The variance of values that may drift: half the mean square of the step from one to the next.
#[derive(Clone, Copy, Debug, Default)]
struct Variance {
    last: Option<f64>,
    sum: f64,
    steps: f64,
}

impl Variance {
    fn handle(&mut self, value: f64) {
        if let Some(last) = self.last.replace(value) {
            let keep = (1.0 - VARIANCE_SHARE) * f64::from(u8::from(self.steps > 0.0));
            self.sum = self.sum * keep + (value - last).powi(2) / 2.0;
            self.steps = self.steps * keep + 1.0;
        }
    }

    fn value(&self) -> f64 {
        (self.sum + VARIANCE * VARIANCE_BLOCKS) / (self.steps + VARIANCE_BLOCKS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that stray around 0 as a busy queue's do: each remembers a part of the one before. (Sum of twelve
    /// uniform draws.)
    struct Stray {
        random: u64,
        value: f64,
    }

    impl Stray {
        fn next(&mut self, deviation: f64, memory: f64) -> f64 {
            let mut draw = || {
                self.random ^= self.random << 13;
                self.random ^= self.random >> 7;
                self.random ^= self.random << 17;
                (self.random >> 11) as f64 / (1_u64 << 53) as f64
            };
            let normal: f64 = (0..12).map(|_| draw()).sum::<f64>() - 6.0;
            self.value = self.value * memory + normal * deviation * (1.0 - memory * memory).sqrt();
            self.value
        }
    }

    #[test]
    fn chance_is_no_evidence() {
        let mut alarms = 0;
        for seed in 1..=100 {
            let mut stray = Stray { random: seed << 32 | 0x9e37_79b9, value: 0.0 };
            let (deviation, memory) = [(0.15, 0.0), (0.3, 0.0), (0.3, 0.4)][seed as usize % 3];
            let mut evidence = Evidence::default();
            // Five minutes.
            alarms += (0..150).filter_map(|_| evidence.handle(stray.next(deviation, memory))).count();
        }
        assert!(alarms <= 1, "{alarms}");
    }

    #[test]
    fn a_change_is_found_the_sooner_the_larger_it_is() {
        for (change, blocks) in [(0.6, 18), (1.0, 10), (3.0, 4), (-0.6, 18), (-1.0, 10)] {
            for seed in 1..=20 {
                let mut stray = Stray { random: seed << 32 | 0x9e37_79b9, value: 0.0 };
                let mut evidence = Evidence::default();
                for _ in 0..30 {
                    assert_eq!(evidence.handle(stray.next(0.2, 0.0)), None);
                }
                let found = (1..40).find_map(|n| Some((n, evidence.handle(change + stray.next(0.2, 0.0))?)));
                let (n, apart) = found.expect("it is found");
                assert!(n <= blocks && apart * change > 0.0, "{change} {seed}: {n}");
            }
        }
    }

    #[test]
    fn what_is_too_small_to_matter_is_never_evidence() {
        let mut evidence = Evidence::default();
        assert!((0..1000).all(|n| evidence.handle(0.35 + 0.01 * f64::from(n % 2)).is_none()));
    }
}
