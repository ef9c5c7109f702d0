//! Rates.

use dataplane_flow::Instant;

/// A token bucket: `rate` a second, `burst` at once.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    tokens: u64,
    filled: Instant,
    rate: u64,
    burst: u64,
}

/// A token in the bucket's unit: tokens times nanoseconds per second.
const TOKEN: u64 = 1_000_000_000;

impl Bucket {
    /// A full bucket. A rate of 0 means no limit.
    pub fn new(rate: u32, burst: u32) -> Self {
        let burst = u64::from(burst.max(1)) * TOKEN;
        Self { tokens: burst, filled: Instant(0), rate: u64::from(rate), burst }
    }

    /// Takes one token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        if self.rate == 0 {
            return true;
        }
        let gained = now.since(self.filled).saturating_mul(self.rate);
        self.tokens = self.tokens.saturating_add(gained).min(self.burst);
        self.filled = now;
        let there = self.tokens >= TOKEN;
        if there {
            self.tokens -= TOKEN;
        }
        there
    }
}

/// Counts by sender in a fixed array, anew every 100 ms: a tenth of `rate` each.
#[derive(Debug)]
pub(crate) struct SenderLimit {
    counts: Box<[u16]>,
    since: Instant,
    each: u16,
}

const SENDERS: usize = 1024;
const WINDOW_NS: u64 = 100_000_000;

impl SenderLimit {
    /// At most `rate` a second for one sender (for senders of the same hash).
    pub(crate) fn new(rate: u16) -> Self {
        Self { counts: vec![0; SENDERS].into_boxed_slice(), since: Instant(0), each: (rate / 10).max(1) }
    }

    /// Whether the sender may have one more.
    pub(crate) fn take(&mut self, sender: u64, now: Instant) -> bool {
        if now.since(self.since) >= WINDOW_NS {
            self.counts.fill(0);
            self.since = now;
        }
        let count =
            &mut self.counts[dataplane_flow::fold(sender, 0x9e37_79b9_7f4a_7c15) as usize & (SENDERS - 1)];
        *count = count.saturating_add(1);
        *count <= self.each
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let mut bucket = Bucket::new(10, 5);
        let second = |ms: u64| Instant::from_millis(1000 + ms);
        assert_eq!((0..10).filter(|_| bucket.take(second(0))).count(), 5);
        assert!(!bucket.take(second(99)));
        assert!(bucket.take(second(100)));
        assert!(!bucket.take(second(100)));
        assert!((0..1000).all(|_| Bucket::new(0, 1).take(second(0))));
    }

    #[test]
    fn one_sender_does_not_use_up_anothers_share() {
        let mut limit = SenderLimit::new(1000);
        let now = Instant::from_secs(1);
        assert_eq!((0..1000).filter(|_| limit.take(1, now)).count(), 100);
        assert!(limit.take(2, now));
        assert!(limit.take(1, now.plus_millis(100)));
    }
}
