//! Figures of runs, brought together over seeds.

use std::collections::BTreeMap;

/// Samples by name.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    samples: BTreeMap<String, Vec<f64>>,
}

impl Figures {
    /// Adds a sample.
    pub fn add(&mut self, name: &str, value: f64) {
        match self.samples.get_mut(name) {
            Some(samples) => samples.push(value),
            None => drop(self.samples.insert(name.to_owned(), vec![value])),
        }
    }

    /// Adds all of another run's.
    pub fn join(&mut self, other: Self) {
        for (name, mut samples) in other.samples {
            self.samples.entry(name).or_default().append(&mut samples);
        }
    }

    /// Names and (count, p50, p95, p99, largest).
    pub fn table(&self) -> impl Iterator<Item = (&str, Summary)> {
        self.samples.iter().map(|(name, samples)| (name.as_str(), Summary::of(samples)))
    }

    /// One of them.
    pub fn summary(&self, name: &str) -> Option<Summary> {
        self.samples.get(name).map(|samples| Summary::of(samples))
    }
}

/// What a column of samples comes to.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// Percentiles.
    pub p50: f64,
    /// ...
    pub p95: f64,
    /// ...
    pub p99: f64,
    /// The largest.
    pub max: f64,
    /// The sum.
    pub sum: f64,
}

impl Summary {
    fn of(samples: &[f64]) -> Self {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |percent: usize| {
            // Nearest rank.
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            sorted.get(rank - 1).copied().unwrap_or(0.0)
        };
        Self {
            count: sorted.len(),
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: sorted.last().copied().unwrap_or(0.0),
            sum: sorted.iter().sum(),
        }
    }
}
