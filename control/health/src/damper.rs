//! Damping of servers and routers that come and go.

use dataplane_flow::Instant;

/// The longest time that something has to stay good.
pub(crate) const HOLD_MAX_MS: u64 = 60_000;

/// A relapse is a fall so soon after the one before.
const RELAPSE_NS: u64 = 60_000_000_000;

/// Whether something is in service, from the evidence for and against it.
///
/// ```text
///          bad: closes at once; the hold doubles if the last fall is less than 60 s ago, else it is
///          halved for every minute since then
///   Open ───────────────────────────────▶ Closed ◀──┐ bad after having been good: the hold doubles
///     ▲                                    │ good   │
///     │ good for the hold, or good and     ▼        │
///     └── nobody else is there ────────── Rising ───┘
/// ```
///
/// `hold = min(60 s, base x 2^relapses)`, never below `base`. A fall is never delayed. What flaps faster than
/// the base is thus closed once and stays so, since each time it is seen bad again doubles the hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Damper {
    state: State,
    base_ms: u64,
    hold_ms: u64,
    fell: Option<Instant>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Open,
    Closed,
    Rising(Instant),
}

impl Damper {
    pub(crate) fn new(open: bool, base_ms: u64) -> Self {
        let state = if open { State::Open } else { State::Closed };
        Self { state, base_ms, hold_ms: base_ms, fell: None }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The evidence now; whether it has opened or closed by it. `urgent`: nobody else is there, so good is
    /// enough.
    pub(crate) fn handle(&mut self, good: bool, urgent: bool, now: Instant) -> Option<bool> {
        match (self.state, good) {
            (State::Open, true) | (State::Closed, false) => None,
            (State::Open, false) => {
                match self.fell.map(|fell| now.since(fell)) {
                    None => self.hold_ms = self.base_ms,
                    Some(past) if past < RELAPSE_NS => self.double(),
                    Some(past) => {
                        let minutes = (past / RELAPSE_NS).min(32);
                        self.hold_ms = (self.hold_ms >> minutes).max(self.base_ms);
                    }
                }
                self.fell = Some(now);
                self.state = State::Closed;
                Some(false)
            }
            (State::Rising(_), false) => {
                self.double();
                self.fell = Some(now);
                self.state = State::Closed;
                None
            }
            (State::Closed, true) if urgent || self.hold_ms == 0 => {
                self.state = State::Open;
                Some(true)
            }
            (State::Closed, true) => {
                self.state = State::Rising(now);
                None
            }
            (State::Rising(since), true) => {
                (urgent || now.since(since) >= self.hold_ms * 1_000_000).then(|| {
                    self.state = State::Open;
                    true
                })
            }
        }
    }

    /// The operator vouches for it, or it was taken over: what was is forgotten.
    pub(crate) fn forgive(&mut self) {
        self.hold_ms = self.base_ms;
        self.fell = None;
    }

    /// The shortest hold, which follows the settings and whether the last fall was a link's.
    pub(crate) fn set_base(&mut self, base_ms: u64) {
        if self.base_ms == self.hold_ms {
            self.hold_ms = base_ms;
        }
        self.base_ms = base_ms;
        self.hold_ms = self.hold_ms.max(base_ms);
    }

    /// What it still has to stay good, in milliseconds; 0 while it is open.
    pub(crate) fn left_ms(&self, now: Instant) -> u64 {
        match self.state {
            State::Open => 0,
            State::Closed => self.hold_ms,
            State::Rising(since) => self.hold_ms.saturating_sub(now.since(since) / 1_000_000),
        }
    }

    /// It is good and only waits.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.state, State::Rising(_))
    }

    /// When it opens if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Rising(since) => Some(since.plus_millis(self.hold_ms)),
            State::Open | State::Closed => None,
        }
    }

    fn double(&mut self) {
        self.hold_ms = (self.hold_ms * 2).max(self.base_ms).min(HOLD_MAX_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    fn at(state: State) -> Damper {
        Damper { state, base_ms: 1000, hold_ms: 1000, fell: Some(s(99)) }
    }

    #[test]
    fn whole_table() {
        let now = s(100);
        let fresh = State::Rising(now);
        let young = State::Rising(Instant::from_millis(99_001));
        let ripe = State::Rising(s(99));
        // state, good, urgent -> state, what it says, hold
        let table = [
            (State::Open, true, false, State::Open, None, 1000),
            (State::Open, true, true, State::Open, None, 1000),
            (State::Open, false, false, State::Closed, Some(false), 2000),
            (State::Open, false, true, State::Closed, Some(false), 2000),
            (State::Closed, false, false, State::Closed, None, 1000),
            (State::Closed, false, true, State::Closed, None, 1000),
            (State::Closed, true, false, fresh, None, 1000),
            (State::Closed, true, true, State::Open, Some(true), 1000),
            (young, true, false, young, None, 1000),
            (young, true, true, State::Open, Some(true), 1000),
            (young, false, false, State::Closed, None, 2000),
            (young, false, true, State::Closed, None, 2000),
            (ripe, true, false, State::Open, Some(true), 1000),
            (ripe, true, true, State::Open, Some(true), 1000),
            (ripe, false, false, State::Closed, None, 2000),
            (ripe, false, true, State::Closed, None, 2000),
        ];
        for (before, good, urgent, after, said, hold) in table {
            let mut damper = at(before);
            let row = format!("{before:?} good={good} urgent={urgent}");
            assert_eq!(damper.handle(good, urgent, now), said, "{row}");
            assert_eq!(damper.state, after, "{row}");
            assert_eq!(damper.hold_ms, hold, "{row}");
        }
    }

    #[test]
    fn the_hold_grows_to_a_minute_and_decays() {
        let mut damper = Damper::new(true, 1000);
        let mut now = s(10);
        for expected in [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000] {
            assert_eq!(damper.handle(false, false, now), Some(false));
            assert_eq!(damper.hold_ms, expected);
            assert_eq!(damper.handle(true, false, now), None);
            now = now.plus_millis(1);
            assert_eq!(damper.handle(true, true, now), Some(true));
        }
        damper.handle(false, false, now.plus_millis(180_000));
        assert_eq!(damper.hold_ms, 7500, "halved for each of three minutes");
    }

    /// Row c: 10 Hz for 60 s, seen exactly.
    #[test]
    fn flapping_at_10_hz_closes_it_once() {
        let mut damper = Damper::new(true, 1000);
        let changes =
            (0..1200).filter_map(|i| damper.handle(i % 2 == 0, false, Instant::from_millis(i * 50))).count();
        assert_eq!(changes, 1);
    }
}
