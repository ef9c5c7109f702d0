//! Weights: slow start and dynamic balancing (FS-9, FS-33).

use dataplane_flow::Instant;
use dataplane_message::Histogram;
use std::collections::BTreeMap;

/// A server that comes back begins with so much of its weight.
const FIRST: f64 = 0.1;

/// The share of its weight that a server has which came back at `since`: from a tenth straight to all over
/// `slow_start_ms`, in steps of a tenth of that time or finer, as often as it is asked for.
pub(crate) fn ramp(since: Option<Instant>, slow_start_ms: u32, now: Instant) -> f64 {
    let Some(since) = since else { return 1.0 };
    let whole = f64::from(slow_start_ms) * 1e6;
    let part = now.since(since) as f64 / whole.max(1.0);
    // Whole steps of a twentieth, so that the tables are not made anew for nothing.
    let part = (part * 20.0).floor() / 20.0;
    (FIRST + (1.0 - FIRST) * part).min(1.0)
}

/// The most that a weight changes in a second.
const STEP_MAX: f64 = 0.1;

/// So much of the way is gone in a second.
const GAIN: f64 = 0.35;

/// A gain below which steps only follow noise.
const GAIN_MIN: f64 = 0.03;

/// The least weight, as a share of the mean.
const FLOOR: f64 = 0.01;

/// What is left of the gain after a second, once weights are nearly right.
const DECAY: f64 = 0.9;

/// Weights that rest are left alone until times are so far apart (natural logarithm of the ratio to the mean).
const FAR: f64 = 0.14;

/// What is far off is sought with full steps, what is less with few small ones: it may be noise.
const FAR_OFF: f64 = 0.6;
const GAIN_CORRECT: f64 = 0.045;

/// Seconds over which is smoothed: while weights move, and while they rest.
const SMOOTH_S: f64 = 2.0;
const SMOOTH_REST_S: f64 = 30.0;

/// Of what a server answers it is offered at least so much: more would be a detour while a queue drains.
const OFFER_MIN: f64 = 0.75;

/// Weights that follow measured response times (FS-9).
///
/// A server that is asked `a` times a second and answers in `t` could be asked some `a + 1/t` times (M/M/1). Times
/// are equal when every server has the same rest `1/t`; so each second a server's offer moves toward
/// `a + 1/t - mean(1/t)`, by a gain of 0.35 and at most a tenth up or down. For servers with many workers the same
/// rule goes slower and never too far, since there `1/t` falls less than `a` rises.
///
/// It *seeks* with full steps until all times are within a third of their mean, or most steps turn round; from then
/// on the gain shrinks by a tenth each second and times are smoothed over longer, 2 s to 23 s. When the gain is
/// small it *rests*: weights stay as they are and times are smoothed over 30 s; only a difference beyond 15 %
/// for 10 s in a row makes it seek again, with small steps unless the difference is large.
///
/// ```text
///            the gain is small: what is left is noise
///   Seek ────────────────────────────────────────────────▶ Rest
///     ▲                                                     │
///     └──── one is far, 10 s in a row; servers have changed ┘
/// ```
#[derive(Clone, Debug, Default)]
pub(crate) struct Balance<K: Ord> {
    servers: BTreeMap<K, Server>,
    resting: bool,
    /// Seconds in a row that speak for the other state.
    row: u32,
    gain: f64,
    last: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    factor: f64,
    /// Smoothed logarithm of its time; `None`: no time yet.
    log_time: Option<f64>,
    /// Smoothed answers a second.
    answered: f64,
    /// Steps that turn round say that they are too large.
    last_step: f64,
}

/// What was measured of a server in the last second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Measured<K> {
    pub(crate) key: K,
    /// Typical response time in microseconds; 0: none.
    pub(crate) time_us: f64,
    /// Answers in this time.
    pub(crate) answered: f64,
    /// The weight without this factor.
    pub(crate) weight: f64,
}

impl<K: Ord + Copy> Balance<K> {
    /// The factor of a server's weight; the mean of all is 1.
    pub(crate) fn factor(&self, key: K) -> f64 {
        self.servers.get(&key).map_or(1.0, |server| server.factor)
    }

    /// A second has passed: what was measured of those that take flows. Whether weights have changed.
    pub(crate) fn handle(&mut self, measured: &[Measured<K>], now: Instant) -> bool {
        let seconds = self.last.map_or(1.0, |last| now.since(last) as f64 / 1e9).clamp(0.1, 10.0);
        self.last = Some(now);
        if self.measure(measured, seconds) || self.gain == 0.0 {
            self.seek();
        }
        let known: Vec<&Measured<K>> =
            measured.iter().filter(|m| self.servers[&m.key].log_time.is_some()).collect();
        if known.len() < 2 {
            return false;
        }
        let log_time = |m: &Measured<K>| self.servers[&m.key].log_time.unwrap_or(0.0);
        let mean = known.iter().map(|m| log_time(m)).sum::<f64>() / known.len() as f64;
        // One that is hardly asked says little, and can do nothing for the others.
        let worst = known
            .iter()
            .filter(|m| self.servers[&m.key].factor > 2.0 * FLOOR)
            .map(|m| (log_time(m) - mean).abs())
            .fold(0.0, f64::max);
        if self.resting {
            self.row = if worst > FAR { self.row + 1 } else { 0 };
            if self.row >= 10 {
                self.seek();
                if worst < FAR_OFF {
                    self.gain = GAIN_CORRECT;
                }
            }
            return false;
        }
        if self.gain < GAIN_MIN {
            self.resting = true;
            self.row = 0;
            return false;
        }
        self.step(&known, worst);
        true
    }

    /// Smooths what was measured; whether the servers are others.
    fn measure(&mut self, measured: &[Measured<K>], seconds: f64) -> bool {
        let before = self.servers.len();
        self.servers.retain(|key, _| measured.iter().any(|m| m.key == *key));
        let mut is_new = self.servers.len() != before;
        let share = |smooth: f64| 1.0 - (-seconds / smooth).exp();
        let time_share =
            share(if self.resting { SMOOTH_REST_S } else { SMOOTH_S * GAIN / self.gain.max(GAIN_MIN) });
        for m in measured {
            let server = self.servers.entry(m.key).or_insert_with(|| {
                is_new = true;
                Server { factor: 1.0, log_time: None, answered: 0.0, last_step: 0.0 }
            });
            server.answered += (m.answered / seconds - server.answered) * share(SMOOTH_S);
            if m.time_us > 0.0 && m.time_us.is_finite() {
                let log = m.time_us.ln();
                server.log_time = Some(server.log_time.map_or(log, |old| old + (log - old) * time_share));
            }
        }
        is_new
    }

    fn step(&mut self, known: &[&Measured<K>], worst: f64) {
        let all: f64 = known.iter().map(|m| self.servers[&m.key].answered).sum();
        let weights: f64 = known.iter().map(|m| m.weight * self.servers[&m.key].factor).sum();
        let rest = |server: &Server| 1e6 / server.log_time.unwrap_or(0.0).exp();
        let mean_rest = known.iter().map(|m| rest(&self.servers[&m.key])).sum::<f64>() / known.len() as f64;
        let mut turned = 0;
        for m in known {
            let Some(server) = self.servers.get_mut(&m.key) else { continue };
            let offer = (all * m.weight * server.factor / weights.max(1e-9)).max(1e-3);
            let wanted =
                (offer + rest(server) - mean_rest).max(server.answered * OFFER_MIN).max(offer * 0.01);
            let limit = STEP_MAX.ln_1p();
            let step = (self.gain * (wanted / offer).ln()).clamp(-limit, limit);
            turned += usize::from(step * server.last_step < 0.0);
            server.last_step = step;
            server.factor *= step.exp();
        }
        // It is there, or nearly: smaller steps from here on, by times that are smoothed over longer.
        if self.gain < GAIN || turned * 2 >= known.len() || worst < 0.3 {
            self.gain *= DECAY;
        }
        self.normalise();
    }

    fn seek(&mut self) {
        self.resting = false;
        self.row = 0;
        self.gain = GAIN;
        for server in self.servers.values_mut() {
            server.last_step = 0.0;
        }
    }

    fn normalise(&mut self) {
        let mean = self.servers.values().map(|s| s.factor).sum::<f64>() / self.servers.len().max(1) as f64;
        for server in self.servers.values_mut() {
            server.factor = (server.factor / mean).max(FLOOR);
        }
    }
}

/// The typical (geometric mean) time of what was counted between two histograms, in microseconds, near the median
/// and not moved by a few that took long; `None`: nothing was.
pub(crate) fn typical_us(now: &Histogram, before: &Histogram) -> Option<f64> {
    let (mut count, mut sum) = (0.0, 0.0);
    for (bucket, value) in now.buckets.iter().enumerate() {
        let fresh = value.saturating_sub(before.buckets.get(bucket).copied().unwrap_or(0)) as f64;
        count += fresh;
        // The middle of [2^(i+3), 2^(i+4)), in powers of two.
        sum += fresh * (bucket as f64 + 3.5);
    }
    (count > 0.0).then(|| (sum / count).exp2())
}

#[cfg(test)]
mod tests;
