//! Answers by the time they took, and their median.

use dataplane_message::{HISTOGRAM_BUCKETS, Histogram};

/// How many answers took how long; what is smoothed is fractions of answers. Buckets as in [`Histogram`].
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(crate) struct Times([f64; HISTOGRAM_BUCKETS]);

impl Times {
    /// What was counted between two histograms.
    pub(crate) fn between(now: &Histogram, before: &Histogram) -> Self {
        let at = |histogram: &Histogram, bucket| histogram.buckets.get(bucket).copied().unwrap_or(0);
        Self(core::array::from_fn(|bucket| at(now, bucket).saturating_sub(at(before, bucket)) as f64))
    }

    /// Answers.
    pub(crate) fn count(&self) -> f64 {
        self.0.iter().sum()
    }

    pub(crate) fn add(&mut self, more: &Self) {
        for (bucket, more) in self.0.iter_mut().zip(more.0) {
            *bucket += more;
        }
    }

    /// What is old counts less.
    pub(crate) fn fade(&mut self, keep: f64) {
        for bucket in &mut self.0 {
            *bucket *= keep;
        }
    }

    /// The natural logarithm of the median in microseconds; `None` when hardly anything was answered.
    ///
    /// Within its bucket, a factor of two wide, the median stands where its rank does: of servers with equal
    /// medians and equal kinds of times the error is equal too, and it moves on with the times, not by leaps.
    pub(crate) fn log_median(&self) -> Option<f64> {
        let half = self.count() / 2.0;
        if half < 0.25 {
            return None;
        }
        let mut below = 0.0;
        for (bucket, count) in self.0.iter().enumerate() {
            if *count > 0.0 && below + count >= half {
                // Bucket i begins at 2^(i+3).
                let place = bucket as f64 + 3.0 + (half - below) / count;
                return Some(place * core::f64::consts::LN_2);
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(times_us: impl Iterator<Item = u64>) -> Times {
        let mut histogram = Histogram { buckets: vec![0; HISTOGRAM_BUCKETS] };
        times_us.for_each(|us| histogram.buckets[Histogram::bucket(us)] += 1);
        Times::between(&histogram, &Histogram::default())
    }

    #[test]
    fn the_median_is_found_within_a_bucket() {
        assert_eq!(Times::default().log_median(), None);
        // Evenly spread over 1 to 2 ms, 2 to 4 ms: medians by the logarithm.
        for (least, most) in [(1024.0_f64, 2048.0), (300.0, 30_000.0), (700.0, 5000.0)] {
            let ratio: f64 = most / least;
            let times = of((0..10_000).map(|i| (least * ratio.powf((f64::from(i) + 0.5) / 1e4)) as u64));
            let median = times.log_median().expect("there are some").exp();
            let wanted = (least * most).sqrt();
            assert!((median / wanted).ln().abs() < 0.02, "{least} {most}: {median} {wanted}");
        }
    }

    #[test]
    fn it_moves_with_the_times_without_leaps() {
        let mut before = None;
        for us in (900..9000).step_by(9) {
            // Times that scatter by half: as narrow as a service's are.
            let median =
                of((0..1000).map(|i| us * (750 + i / 2) / 1000)).log_median().expect("there are some");
            if let Some(before) = before {
                assert!(median >= before && median - before < 0.05, "{us}: {before} {median}");
            }
            before = Some(median);
        }
    }

    #[test]
    fn what_is_old_counts_less() {
        let mut times = of([100; 64].into_iter());
        times.fade(0.25);
        times.add(&of([1000; 48].into_iter()));
        assert_eq!(times.count(), 64.0);
        let median = times.log_median().expect("there are some").exp();
        assert!((512.0..1024.0).contains(&median), "{median}");
    }
}
