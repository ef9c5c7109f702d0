//! Whether counts are what chance would give; percentiles.

use std::time::Duration;

/// The probability that counts drawn from `weights` deviate from them at least as much as `counts` do
/// (Pearson's χ² test). Small: the counts do not follow the weights.
pub fn chi_square_p(counts: &[u64], weights: &[u64]) -> f64 {
    let total = to_f64(counts.iter().sum());
    let weight = to_f64(weights.iter().sum());
    let x: f64 = counts
        .iter()
        .zip(weights)
        .map(|(count, w)| {
            let expected = total * to_f64(*w) / weight;
            (to_f64(*count) - expected).powi(2) / expected
        })
        .sum();
    upper_gamma((to_f64(counts.len() as u64) - 1.0) / 2.0, x / 2.0)
}

#[allow(clippy::cast_precision_loss)] // counts of a test are small
fn to_f64(count: u64) -> f64 {
    count as f64
}

/// The regularised upper incomplete gamma function Q(a, x).
fn upper_gamma(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    let front = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
        while term > sum * 1e-15 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        1.0 - front * sum
    } else {
        // Continued fraction by Lentz's method.
        let tiny = 1e-300;
        let mut b = x + 1.0 - a;
        let mut c = 1.0 / tiny;
        let mut d = 1.0 / b;
        let mut h = d;
        for i in 1..500 {
            let i = f64::from(i);
            let an = -i * (i - a);
            b += 2.0;
            d = 1.0 / (an * d + b).abs().max(tiny).copysign(an * d + b);
            c = b + an / c;
            h *= d * c;
            if (d * c - 1.0).abs() < 1e-15 {
                break;
            }
        }
        front * h
    }
}

/// ln Γ(x) by Lanczos' approximation.
fn ln_gamma(x: f64) -> f64 {
    const C: [f64; 6] = [
        76.180_091_729_471_46,
        -86.505_320_329_416_77,
        24.014_098_240_830_91,
        -1.231_739_572_450_155,
        0.120_865_097_386_617_9e-2,
        -0.539_523_938_495_3e-5,
    ];
    let t = x + 5.5;
    let series: f64 = C.iter().zip(1..).map(|(c, i)| c / (x + f64::from(i))).sum();
    (x + 0.5) * t.ln() - t + (2.506_628_274_631_000_5 * (1.000_000_000_190_015 + series) / x).ln()
}

/// Times measured in trials of the same thing.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<Duration>);

impl Sample {
    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest time that `percent` of them do not exceed; zero when there are none.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// Half of them are not longer.
    pub fn p50(&self) -> Duration {
        self.percentile(50)
    }

    /// All but a twentieth are not longer.
    pub fn p95(&self) -> Duration {
        self.percentile(95)
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.percentile(100)
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        let (p50, p95, max) = (ms(self.p50()), ms(self.p95()), ms(self.max()));
        write!(f, "n {}, p50 {p50:.0} ms, p95 {p95:.0} ms, max {max:.0} ms", self.count())
    }
}

/// A small generator of numbers that are the same in every run (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Begins with `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_of_the_printed_tables() {
        // χ² with 2 degrees of freedom: 5.991 at 5 %, 13.816 at 0.1 %; with 10: 18.307 at 5 %.
        assert!((upper_gamma(1.0, 5.991 / 2.0) - 0.05).abs() < 1e-4);
        assert!((upper_gamma(1.0, 13.816 / 2.0) - 0.001).abs() < 1e-5);
        assert!((upper_gamma(5.0, 18.307 / 2.0) - 0.05).abs() < 1e-4);
        assert!((upper_gamma(5.0, 3.940 / 2.0) - 0.95).abs() < 1e-4);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let mut sample = Sample::default();
        (1..=20).rev().for_each(|n| sample.push(Duration::from_millis(n)));
        let ms = |d: Duration| d.as_millis();
        assert_eq!((ms(sample.p50()), ms(sample.p95()), ms(sample.max())), (10, 19, 20));
        assert_eq!(Sample::default().p95(), Duration::ZERO);
    }

    #[test]
    fn fair_counts_pass_and_skewed_counts_do_not() {
        assert!(chi_square_p(&[2000, 2000, 2000], &[1, 1, 1]) > 0.99);
        assert!(chi_square_p(&[2300, 1900, 1800], &[1, 1, 1]) < 0.001);
    }
}
