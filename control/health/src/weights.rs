//! Weights: slow start and dynamic balancing (FS-9, FS-33).

use dataplane_flow::Instant;
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

/// Of a difference in response times so much is made up for in a second.
const GAIN: f64 = 0.3;

/// The least weight, as a share of the mean.
const FLOOR: f64 = 0.01;

/// Weights are left alone once the smoothed times are so near to one another ...
const NEAR: f64 = 0.05;

/// ... until they are so far apart again (natural logarithms of the ratio to the mean).
const FAR: f64 = 0.16;

/// Seconds over which times are smoothed: while weights move, and while they rest.
const SMOOTH_S: f64 = 3.0;
const SMOOTH_REST_S: f64 = 30.0;

/// Weights that follow measured response times (FS-9).
///
/// Each second, for each server with an answer in that time: `e = ln(its smoothed time / the mean)`, the mean
/// being geometric and weighted by share. While it *seeks*, each weight is multiplied by `exp(-0.3 e)`, at most
/// a tenth up or down. When all `e` stay below 0.05 (or have changed sign often, which is noise) it *rests*: the
/// weights stay, and times are smoothed over 30 s; only a difference beyond 0.16 (some 17 %) for 5 s in a row
/// makes it seek again.
///
/// ```text
///            all near, or its steps only go to and fro
///   Seek ────────────────────────────────────────────────▶ Rest
///     ▲                                                     │
///     └──── one is far, 5 s in a row; servers have changed ─┘
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
    /// The last step went up; steps that turn say that it is noise.
    last_step: f64,
}

/// What was measured of a server in the last second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Measured<K> {
    pub(crate) key: K,
    /// Mean or smoothed response time in microseconds; 0: none.
    pub(crate) time_us: f64,
    /// The weight without this factor: shares are measured against it.
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
        let before = self.servers.len();
        self.servers.retain(|key, _| measured.iter().any(|m| m.key == *key));
        let mut is_new = self.servers.len() != before;
        let smooth = if self.resting { SMOOTH_REST_S } else { SMOOTH_S };
        let share = 1.0 - (-seconds / smooth).exp();
        for m in measured {
            let server = self.servers.entry(m.key).or_insert_with(|| {
                is_new = true;
                Server { factor: 1.0, log_time: None, last_step: 0.0 }
            });
            if m.time_us > 0.0 && m.time_us.is_finite() {
                let log = m.time_us.ln();
                server.log_time = Some(server.log_time.map_or(log, |old| old + (log - old) * share));
            }
        }
        if is_new || self.gain == 0.0 {
            self.seek();
        }
        let mut sum = 0.0;
        let mut shares = 0.0;
        for m in measured {
            let server = &self.servers[&m.key];
            if let Some(log) = server.log_time {
                let share = m.weight.max(1e-6) * server.factor;
                sum += log * share;
                shares += share;
            }
        }
        if measured.len() < 2 || shares == 0.0 {
            return false;
        }
        let mean = sum / shares;
        let errors: Vec<(K, f64)> = measured
            .iter()
            .filter_map(|m| self.servers[&m.key].log_time.map(|log| (m.key, log - mean)))
            .collect();
        let worst = errors.iter().map(|(_, e)| e.abs()).fold(0.0, f64::max);
        if self.resting {
            self.row = if worst > FAR { self.row + 1 } else { 0 };
            if self.row >= 5 {
                self.seek();
            }
            return false;
        }
        self.row = if worst < NEAR { self.row + 1 } else { 0 };
        if self.row >= 2 || self.gain < 0.02 {
            self.resting = true;
            self.row = 0;
            return false;
        }
        let mut turned = 0;
        for (key, error) in &errors {
            let Some(server) = self.servers.get_mut(key) else { continue };
            let limit = STEP_MAX.ln_1p();
            let step = (-self.gain * error).clamp(-limit, limit);
            turned += usize::from(step * server.last_step < 0.0);
            server.last_step = step;
            server.factor *= step.exp();
        }
        // Steps that turn have overshot: smaller ones from here on.
        if turned * 2 >= errors.len() {
            self.gain *= 0.7;
        }
        self.normalise();
        true
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

#[cfg(test)]
mod tests;
