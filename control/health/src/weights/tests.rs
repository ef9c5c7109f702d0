use super::*;
use dataplane_message::Histogram;
use std::collections::VecDeque;

/// Servers that answer one request after the other, and weights that follow (row i).
struct Model {
    rates: Vec<f64>,
    free_at: Vec<f64>,
    balance: Balance<usize>,
    histograms: Vec<Histogram>,
    before: Vec<Histogram>,
    credit: Vec<f64>,
    random: u64,
    now: f64,
    second: u64,
    /// (second, factors)
    factors: Vec<Vec<f64>>,
    /// (second, server, response in s)
    responses: VecDeque<(u64, usize, f64)>,
    /// (when, response) of those that are not answered yet, by server
    pending: Vec<VecDeque<(f64, f64)>>,
}

impl Model {
    fn new(rates: &[f64], seed: u64) -> Self {
        let n = rates.len();
        let empty = Histogram { buckets: vec![0; 20] };
        Self {
            rates: rates.to_vec(),
            free_at: vec![0.0; n],
            balance: Balance::default(),
            histograms: vec![empty.clone(); n],
            before: vec![empty; n],
            credit: vec![0.0; n],
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: 0.0,
            second: 0,
            factors: Vec::new(),
            responses: VecDeque::new(),
            pending: vec![VecDeque::new(); n],
        }
    }

    fn draw(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, rate: f64) -> f64 {
        -self.draw().ln() / rate
    }

    /// One request at `self.now`; when it is answered.
    fn request(&mut self) -> f64 {
        let factors: Vec<f64> = (0..self.rates.len()).map(|i| self.balance.factor(i)).collect();
        let sum: f64 = factors.iter().sum();
        for (credit, factor) in self.credit.iter_mut().zip(&factors) {
            *credit += factor / sum;
        }
        let at =
            (0..self.rates.len()).max_by(|a, b| self.credit[*a].total_cmp(&self.credit[*b])).expect("some");
        self.credit[at] -= 1.0;
        let service = self.exponential(self.rates[at]);
        let done = self.free_at[at].max(self.now) + service;
        self.free_at[at] = done;
        let took = done - self.now;
        self.pending[at].push_back((done, took));
        self.responses.push_back((self.second, at, took));
        done
    }

    fn tick(&mut self) {
        self.second += 1;
        // A time is known when the answer has come.
        for (pending, histogram) in self.pending.iter_mut().zip(&mut self.histograms) {
            while let Some((done, took)) = pending.front().copied()
                && done <= self.now
            {
                pending.pop_front();
                histogram.buckets[Histogram::bucket((took * 1e6) as u64)] += 1;
            }
        }
        let measured: Vec<Measured<usize>> = (0..self.rates.len())
            .map(|key| Measured {
                key,
                times: Times::between(&self.histograms[key], &self.before[key]),
                weight: 1.0,
            })
            .collect();
        self.before = self.histograms.clone();
        self.balance.handle(&measured, Instant::from_secs(self.second));
        self.factors.push((0..self.rates.len()).map(|i| self.balance.factor(i)).collect());
    }

    /// Requests that come whatever happens, `load` a second.
    fn open(&mut self, load: f64, seconds: u64) {
        for _ in 0..seconds {
            let end = (self.second + 1) as f64;
            loop {
                let next = self.now + self.exponential(load);
                if next >= end {
                    // Memoryless: the rest of the gap is drawn anew.
                    self.now = end;
                    break;
                }
                self.now = next;
                self.request();
            }
            self.tick();
        }
    }

    /// Clients that ask again when they have been answered, after a pause.
    fn closed(&mut self, clients: usize, pause_s: f64, seconds: u64) {
        let mut wakes = std::collections::BinaryHeap::new();
        let key = |at: f64| std::cmp::Reverse((at * 1e9) as u64);
        for _ in 0..clients {
            let at = self.now + self.exponential(1.0 / pause_s);
            wakes.push(key(at));
        }
        for _ in 0..seconds {
            let end = (self.second + 1) as f64;
            while let Some(std::cmp::Reverse(at)) = wakes.peek().copied()
                && (at as f64) < end * 1e9
            {
                wakes.pop();
                self.now = at as f64 / 1e9;
                let done = self.request();
                let pause = self.exponential(1.0 / pause_s);
                wakes.push(key(done + pause));
            }
            self.now = end;
            self.tick();
        }
    }

    /// The largest ratio of two servers' median responses in those seconds.
    fn spread(&self, from: u64, to: u64) -> f64 {
        let medians: Vec<f64> = (0..self.rates.len())
            .filter_map(|server| {
                let mut times: Vec<f64> = self
                    .responses
                    .iter()
                    .filter(|(second, at, _)| (from..to).contains(second) && *at == server)
                    .map(|(_, _, took)| *took)
                    .collect();
                times.sort_by(f64::total_cmp);
                times.get(times.len() / 2).copied()
            })
            .collect();
        medians.iter().fold(0.0, |a, b| f64::max(a, *b))
            / medians.iter().fold(f64::MAX, |a, b| f64::min(a, *b))
    }

    /// The largest movement of a factor in those seconds, peak to peak, as a share of its middle.
    fn movement(&self, from: usize, to: usize) -> f64 {
        (0..self.rates.len())
            .map(|server| {
                let of = self.factors[from..to].iter().map(|f| f[server]);
                let (low, high) =
                    of.fold((f64::MAX, 0.0), |(low, high), f| (f64::min(low, f), f64::max(high, f)));
                (high - low) / ((high + low) / 2.0)
            })
            .fold(0.0, f64::max)
    }
}

/// Row i: rates 1:2:4, loads at which the slowest server is worth asking, and clients that wait for answers.
#[test]
fn fs9_response_times_become_equal_and_weights_rest() {
    let (mut runs, mut apart, mut moved) = (0, 0, 0);
    for load in [0.65, 0.75, 0.85, 0.0] {
        for seed in 1..=5 {
            let mut model = Model::new(&[200.0, 400.0, 800.0], seed);
            if load > 0.0 {
                model.open(1400.0 * load, 345);
            } else {
                model.closed(60, 0.02, 345);
            }
            let (spread, movement) = (model.spread(30, 345), model.movement(45, 345));
            assert!(spread <= 1.4 && movement <= 0.15, "{load} {seed}: spread {spread} movement {movement}");
            runs += 1;
            apart += usize::from(spread > 1.2);
            moved += usize::from(movement > 0.1);
        }
    }
    // Medians of a queue's times over minutes differ by some percent however good the weights are.
    assert!(apart <= runs / 4 && moved <= runs / 10, "of {runs}: {apart} apart, {moved} moved");
}

#[test]
fn fs9_a_change_of_capacity_is_followed() {
    for seed in 1..=5 {
        let mut model = Model::new(&[400.0, 400.0, 400.0], seed);
        model.open(900.0, 60);
        assert!(model.movement(40, 60) <= 0.15);
        model.rates = vec![800.0, 400.0, 200.0];
        model.open(900.0, 180);
        let spread = model.spread(120, 240);
        assert!(spread <= 1.5, "{seed}: {spread} {:?}", model.factors.last());
        let last = model.factors.last().expect("some");
        assert!(last[0] > last[1] && last[1] > last[2], "{last:?}");
    }
}

/// The faults that this is to catch: weights rested where they happened to be, and every long queue had them sought
/// anew (half of such runs moved by more than 18 %); what rested at a bad place stayed there for minutes, and a queue
/// that was long for four seconds had them sought anew (4 % and 0.4 % of the runs at 300 a second).
#[test]
fn fs9_what_rests_moves_by_less_than_a_tenth_in_five_minutes() {
    for (load, runs, most_apart) in [(300.0, 200, 3), (330.0, 60, 9)] {
        let (mut apart, mut moved) = (0, 0);
        for seed in 1..=runs {
            let mut model = Model::new(&[62.5, 125.0, 250.0], seed);
            model.open(load, 330);
            apart += usize::from(model.spread(30, 330) > 1.2);
            moved += usize::from(model.movement(30, 330) > 0.1);
        }
        // Chance has its part even so: a queue's times stray for as long as the weights are sought.
        assert!(apart <= most_apart && moved == 0, "{load}, of {runs}: {apart} apart, {moved} moved");
    }
}

#[test]
fn fs9_a_change_of_capacity_is_followed_within_half_a_minute() {
    for seed in 1..=10 {
        let mut model = Model::new(&[400.0, 400.0, 400.0], seed);
        model.open(900.0, 60);
        model.rates = vec![800.0, 400.0, 200.0];
        model.open(900.0, 330);
        let (soon, later) = (model.spread(90, 120), model.spread(120, 390));
        assert!(soon <= 1.35 && later <= 1.15, "{seed}: {soon} {later}");
        assert!(model.movement(120, 390) <= 0.1, "{seed}");
    }
}

/// Some faults later servers in service got nothing at all (the simulator's chaos, seed 594).
#[test]
fn fs9_a_server_that_was_slow_is_asked_now_and_then_and_found_again() {
    for seed in 1..=5 {
        let mut model = Model::new(&[400.0, 400.0, 400.0], seed);
        model.open(700.0, 40);
        model.rates[0] = 10.0;
        model.open(700.0, 60);
        assert!(model.factors.iter().all(|factors| factors[0] > 0.04), "{seed}");
        model.rates[0] = 400.0;
        // What still waits there is lost.
        model.free_at[0] = model.now;
        model.pending[0].clear();
        model.open(700.0, 120);
        let spread = model.spread(160, 220);
        assert!(spread <= 1.35, "{seed}: {spread} {:?}", model.factors.last());
    }
}

#[test]
fn fs9_without_answers_weights_stay() {
    let mut balance = Balance::default();
    for second in 0..100 {
        let idle: Vec<_> = (0..3).map(|key| Measured { key, times: Times::default(), weight: 1.0 }).collect();
        assert!(!balance.handle(&idle, Instant::from_secs(second)));
        assert_eq!(balance.factor(1), 1.0);
    }
}

#[test]
fn fs33_the_ramp_goes_from_a_tenth_to_all() {
    let since = Some(Instant::from_secs(10));
    for (ms, share) in
        [(0, 0.1), (499, 0.1), (500, 0.145), (5000, 0.55), (9999, 0.955), (10_000, 1.0), (99_999, 1.0)]
    {
        let got = ramp(since, 10_000, Instant::from_millis(10_000 + ms));
        assert!((got - share).abs() < 1e-9, "{ms}: {got}");
    }
    assert_eq!(ramp(None, 10_000, Instant::default()), 1.0);
}
