//! Weights: slow start and dynamic balancing (FS-9, FS-33).

mod evidence;
mod times;

pub(crate) use times::Times;

use dataplane_flow::Instant;
use evidence::Evidence;
use std::collections::{BTreeMap, VecDeque};

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

/// The most that a factor changes in a second: of the ratio's logarithm, when times are near each other, and when
/// one is more than `FAR` from their mean.
const STEP_MAX: f64 = 0.2;
const STEP_MAX_FAR: f64 = 0.4;
const FAR: f64 = 1.0;

/// So much of the way is gone in a second: while it is sought, and while steps are averaged.
const GAIN: f64 = 0.35;
const GAIN_AVERAGED: f64 = 0.15;

/// The least factor: as long as a server is in service it is asked now and then, or nobody would see that it has become
/// quick again.
const FLOOR: f64 = 0.05;

/// Times are near each other (natural logarithm of the ratio to their mean), for so many seconds: steps are averaged.
const NEAR: f64 = 0.8;
const NEAR_S: f64 = 2.0;

/// Seconds of steps that are averaged. What queues do by chance within them is what is left of error.
const AVERAGED_S: f64 = 16.0;

/// Times so far apart, for so many seconds, end the averaging: it was no place to rest.
const LOST: f64 = 1.2;
const LOST_S: f64 = 3.0;

/// Seconds over which times are smoothed: while sought, while averaged, and the most while weights rest.
const SMOOTH_SEEK_S: f64 = 1.5;
const SMOOTH_AVERAGE_S: f64 = 3.0;
const SMOOTH_REST_S: f64 = 120.0;

/// Seconds at rest before its times say anything.
const REST_FIRST_S: f64 = 10.0;

/// At rest so much of the way would be gone in a second ...
const GAIN_REST: f64 = 1.0 / 30.0;

/// ... but a share moves by no more than this in a second ...
const CREEP: f64 = 0.06 / 60.0;

/// ... and stays within such a part of the largest that it was in the last five minutes, whatever is measured: row i
/// allows a tenth.
const WITHIN: f64 = 0.08;

/// Seconds between shares that are kept to know it, and how many are.
const KEPT_S: f64 = 10.0;
const KEPT: usize = 30;

/// Weights are told anew when one has moved by so much.
const TOLD: f64 = 0.01;

/// Of what a server answers it is offered at least so much: more would be a detour while a queue drains.
const OFFER_MIN: f64 = 0.6;

/// Weights that follow measured response times (FS-9).
///
/// A server that is asked `a` times a second and answers in `t` could be asked some `a + 1/t` times (M/M/1). Times
/// are equal when every server has the same rest `1/t`; so each second a server's offer moves toward
/// `a + 1/t - mean(1/t)`. For servers with many workers the same rule goes slower and never too far, since there
/// `1/t` falls less than `a` rises. What is made equal is the median.
///
/// What limits it is chance. A queue that is busy four fifths of the time strays by a third of its mean from one
/// ten seconds to the next, and a server that gets one request in twenty has told little after a minute. So it
/// *seeks* until times are near each other, then goes on with smaller steps for 16 s and takes the *average* of
/// where it has been, which is better than any of these places (Polyak and Juditsky 1992), and *rests* there.
/// At rest shares only creep, within a range of 8 % in five minutes, by times that are smoothed over up to two
/// minutes; they are sought anew when [`Evidence`] says that a server has become another one.
///
/// ```text
///             near for 2 s               16 s have passed
///   Seek ──────────────────▶ Average ──────────────────────▶ Rest
///     ▲                         │                              │
///     ├──── lost for 3 s ───────┘                              │
///     └──── one is another one; servers have come or gone ─────┘
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Balance<K: Ord> {
    servers: BTreeMap<K, Server>,
    phase: Phase,
    /// Seconds in it; in `Seek` those in a row that were near.
    spent: f64,
    /// Seconds in a row that were lost.
    lost: f64,
    last: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Seek,
    Average,
    Rest,
}

#[derive(Clone, Debug)]
struct Server {
    factor: f64,
    /// The factor in force.
    told: f64,
    /// Its times, smoothed by phase.
    times: Times,
    /// Smoothed answers a second.
    answered: f64,
    /// Steps that turn round say that it is there.
    last_step: f64,
    /// The sum of its factor's logarithm, by seconds, while it is averaged.
    sum: f64,
    evidence: Evidence,
    /// The shares that it had at rest, the newest last.
    kept: VecDeque<f64>,
}

/// What was measured of a server in the last second.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Measured<K> {
    pub(crate) key: K,
    /// Answers by the time they took.
    pub(crate) times: Times,
    /// The weight without this factor.
    pub(crate) weight: f64,
}

/// A server whose times are known.
#[derive(Clone, Copy, Debug)]
struct Known<K> {
    key: K,
    weight: f64,
    /// The logarithm of its median time in microseconds.
    log_time: f64,
}

impl<K: Ord> Default for Balance<K> {
    fn default() -> Self {
        Self { servers: BTreeMap::new(), phase: Phase::Seek, spent: 0.0, lost: 0.0, last: None }
    }
}

impl<K: Ord + Copy> Balance<K> {
    /// The factor of a server's weight; the mean of all is 1.
    pub(crate) fn factor(&self, key: K) -> f64 {
        self.servers.get(&key).map_or(1.0, |server| server.told)
    }

    /// A second has passed: what was measured of those that take flows. Whether factors have changed.
    pub(crate) fn handle(&mut self, measured: &[Measured<K>], now: Instant) -> bool {
        let seconds = self.last.map_or(1.0, |last| now.since(last) as f64 / 1e9).clamp(0.1, 10.0);
        self.last = Some(now);
        if self.measure(measured, seconds) {
            self.enter(Phase::Seek);
        }
        let known: Vec<Known<K>> = measured
            .iter()
            .filter_map(|m| {
                let log_time = self.servers[&m.key].times.log_median()?;
                Some(Known { key: m.key, weight: m.weight, log_time })
            })
            .collect();
        if known.len() < 2 {
            return false;
        }
        match self.phase {
            Phase::Seek => self.seek(&known, seconds),
            Phase::Average => self.average(&known, seconds),
            Phase::Rest => self.rest(&known, measured, seconds),
        }
        self.tell()
    }

    /// Takes what was measured; whether the servers are others.
    fn measure(&mut self, measured: &[Measured<K>], seconds: f64) -> bool {
        let before = self.servers.len();
        self.servers.retain(|key, _| measured.iter().any(|m| m.key == *key));
        let mut is_new = self.servers.len() != before;
        let smooth = match self.phase {
            Phase::Seek => SMOOTH_SEEK_S,
            Phase::Average => SMOOTH_AVERAGE_S,
            Phase::Rest => self.spent.clamp(30.0, SMOOTH_REST_S),
        };
        let keep = |smooth: f64| (-seconds / smooth).exp();
        for m in measured {
            let server = self.servers.entry(m.key).or_insert_with(|| {
                is_new = true;
                Server::default()
            });
            let answered = m.times.count() / seconds;
            server.answered += (answered - server.answered) * (1.0 - keep(SMOOTH_SEEK_S));
            // A server that answers nothing is as it was last seen.
            if answered > 0.0 || self.phase == Phase::Rest {
                server.times.fade(keep(smooth));
            }
            server.times.add(&m.times);
        }
        is_new
    }

    /// Steps until times are near each other, or most steps turn round.
    fn seek(&mut self, known: &[Known<K>], seconds: f64) {
        let worst = self.worst(known);
        let turned = self.step(known, GAIN, worst);
        if worst >= NEAR && turned * 2 < known.len() {
            self.spent = 0.0;
            return;
        }
        self.spent += seconds;
        if self.spent >= NEAR_S {
            self.enter(Phase::Average);
        }
    }

    /// Smaller steps, whose average is where weights will rest.
    fn average(&mut self, known: &[Known<K>], seconds: f64) {
        let worst = self.worst(known);
        self.step(known, GAIN_AVERAGED, worst);
        self.lost = if worst > LOST { self.lost + seconds } else { 0.0 };
        if self.lost >= LOST_S {
            self.enter(Phase::Seek);
            return;
        }
        self.spent += seconds;
        for server in self.servers.values_mut() {
            server.sum += server.factor.ln() * seconds;
        }
        if self.spent >= AVERAGED_S {
            for server in self.servers.values_mut() {
                server.factor = (server.sum / self.spent).exp();
            }
            self.normalise();
            self.enter(Phase::Rest);
        }
    }

    /// Shares creep; evidence is gathered.
    fn rest(&mut self, known: &[Known<K>], measured: &[Measured<K>], seconds: f64) {
        self.spent += seconds;
        if self.is_another(measured, seconds) {
            self.enter(Phase::Seek);
        } else if self.spent >= REST_FIRST_S {
            self.creep(known, seconds);
        }
    }

    /// One of the servers is another one, beyond chance.
    fn is_another(&mut self, measured: &[Measured<K>], seconds: f64) -> bool {
        let blocks: Vec<(K, f64)> = measured
            .iter()
            .filter_map(|m| Some((m.key, self.servers.get_mut(&m.key)?.evidence.gather(&m.times, seconds)?)))
            .collect();
        if blocks.len() < 2 {
            return false;
        }
        let mean = blocks.iter().map(|(_, log)| log).sum::<f64>() / blocks.len() as f64;
        let mut any = false;
        for (key, log) in blocks {
            let Some(server) = self.servers.get_mut(&key) else { continue };
            let speaks = server.evidence.handle(log - mean);
            // That one which is hardly asked is slow is why it is hardly asked.
            any |= speaks.is_some_and(|apart| apart < 0.0 || server.factor > 1.2 * FLOOR);
        }
        any
    }

    /// The farthest that one is from the mean of all.
    fn worst(&self, known: &[Known<K>]) -> f64 {
        let mean = known.iter().map(|k| k.log_time).sum::<f64>() / known.len() as f64;
        // One that is hardly asked says little, and can do nothing for the others.
        known
            .iter()
            .filter(|k| self.servers[&k.key].factor > 1.2 * FLOOR)
            .map(|k| (k.log_time - mean).abs())
            .fold(0.0, f64::max)
    }

    /// What each is offered, and what it should be, a second.
    fn offers(&self, known: &[Known<K>]) -> Vec<(f64, f64)> {
        let all: f64 = known.iter().map(|k| self.servers[&k.key].answered).sum();
        let weight = |k: &Known<K>| k.weight * self.servers[&k.key].factor;
        let weights: f64 = known.iter().map(weight).sum();
        // The median of an exponential time is ln 2 of its mean.
        let rest = |k: &Known<K>| core::f64::consts::LN_2 * 1e6 / k.log_time.exp();
        let mean = known.iter().map(rest).sum::<f64>() / known.len() as f64;
        known
            .iter()
            .map(|k| {
                let offer = (all * weight(k) / weights.max(1e-9)).max(1e-3);
                (offer, (offer + rest(k) - mean).max(offer * 0.01))
            })
            .collect()
    }

    /// Moves every factor; how many moved the other way than before.
    fn step(&mut self, known: &[Known<K>], gain: f64, worst: f64) -> usize {
        let limit = if worst > FAR { STEP_MAX_FAR } else { STEP_MAX };
        let mut turned = 0;
        for (k, (offer, wanted)) in known.iter().zip(self.offers(known)) {
            let Some(server) = self.servers.get_mut(&k.key) else { continue };
            let wanted = wanted.max(server.answered * OFFER_MIN);
            let step = (gain * (wanted / offer).ln()).clamp(-limit, limit);
            turned += usize::from(step * server.last_step < 0.0);
            server.last_step = step;
            server.factor *= step.exp();
        }
        self.normalise();
        turned
    }

    fn creep(&mut self, known: &[Known<K>], seconds: f64) {
        let sum: f64 = self.servers.values().map(|s| s.factor).sum();
        let is_kept = (self.spent / KEPT_S).floor() > ((self.spent - seconds) / KEPT_S).floor();
        let ranges: Vec<(f64, f64)> =
            self.servers.values_mut().map(|s| s.range(s.factor / sum, CREEP * seconds, is_kept)).collect();
        for (k, (offer, wanted)) in known.iter().zip(self.offers(known)) {
            let Some(server) = self.servers.get_mut(&k.key) else { continue };
            let way = (wanted / offer).ln().clamp(-STEP_MAX, STEP_MAX);
            server.factor *= (way * GAIN_REST * seconds).exp();
        }
        // What one may not take the others get, which may be more than they may: a few rounds are enough.
        for _ in 0..3 {
            let sum: f64 = self.servers.values().map(|s| s.factor).sum();
            for (server, (least, most)) in self.servers.values_mut().zip(&ranges) {
                server.factor = (server.factor / sum).clamp(*least, *most);
            }
        }
        self.normalise();
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        (self.spent, self.lost) = (0.0, 0.0);
        for server in self.servers.values_mut() {
            (server.last_step, server.sum) = (0.0, 0.0);
            if phase == Phase::Rest {
                server.times = Times::default();
                server.evidence = Evidence::default();
                server.kept.clear();
            }
        }
    }

    /// The factors come into force, unless they are what is told, nearly.
    fn tell(&mut self) -> bool {
        let far = |s: &Server| (s.factor / s.told).ln().abs() >= TOLD;
        if !self.servers.values().any(far) {
            return false;
        }
        for server in self.servers.values_mut() {
            server.told = server.factor;
        }
        true
    }

    fn normalise(&mut self) {
        let mean = self.servers.values().map(|s| s.factor).sum::<f64>() / self.servers.len().max(1) as f64;
        for server in self.servers.values_mut() {
            server.factor = (server.factor / mean).max(FLOOR);
        }
    }
}

impl Server {
    /// The least and the most that its share, which is `share`, may become now.
    fn range(&mut self, share: f64, creep: f64, is_kept: bool) -> (f64, f64) {
        if is_kept {
            self.kept.push_back(share);
            if self.kept.len() > KEPT {
                self.kept.pop_front();
            }
        }
        let (low, high) =
            self.kept.iter().fold((share, share), |(low, high), kept| (low.min(*kept), high.max(*kept)));
        let least = (high * (1.0 - WITHIN)).max(share * (1.0 - creep));
        // That it has strayed out of its range, by what the others had to give it, does not bring it back by force.
        (least.min(share), (low / (1.0 - WITHIN)).min(share * (1.0 + creep)).max(share))
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            factor: 1.0,
            told: 1.0,
            times: Times::default(),
            answered: 0.0,
            last_step: 0.0,
            sum: 0.0,
            evidence: Evidence::default(),
            kept: VecDeque::new(),
        }
    }
}

#[cfg(test)]
mod tests;
