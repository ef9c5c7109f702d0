//! One check of one server or router: when it is asked, and what its answers add up to.

use dataplane_flow::Instant;

/// How it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Timing {
    pub(crate) interval_ms: u32,
    pub(crate) timeout_ms: u32,
    pub(crate) rise: u16,
    pub(crate) fall: u16,
}

/// A change of a check's verdict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    Rose,
    Fell,
}

/// Counts a check's results (FS-30).
///
/// ```text
///             `fall` failures in a row
///   Good ───────────────────────────────▶ Bad        any other result only begins or ends a row
///     ▲                                    │
///     └──────── `rise` successes in a row ─┘
/// ```
///
/// It begins presumed good, or as it was taken over, and stays so until a row is complete (FS-10a). While a row
/// of failures grows, it is asked again at once, and given half the time-out where that is still four times what
/// its good answers took: with an interval and a time-out of 100 ms and `fall` of 2 or 3 a server that has
/// frozen is found within 300 ms of its last good answer. While a row of successes grows that is to end a fall,
/// it is asked four times as often: whether it stays good is the damper's to see. Each other interval is
/// shortened by up to a tenth.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watch<F> {
    timing: Timing,
    good: bool,
    row: u16,
    presumed: bool,
    ever_good: bool,
    asked: Option<Instant>,
    wait_ms: u32,
    /// When it was last asked, or could not be.
    tried: Option<Instant>,
    next: Instant,
    row_began: Instant,
    failure: Option<F>,
    took_us: u32,
    last_good: Option<Instant>,
}

/// How much later than its time-out an outcome may come before it is given up.
const GRACE_MS: u64 = 200;

/// However often it is hurried, it is not asked more often than that.
const HURRY_MS: u64 = 20;

impl<F> Watch<F> {
    /// A check first asked at `first`.
    pub(crate) fn new(timing: Timing, good: bool, first: Instant) -> Self {
        Self {
            timing,
            good,
            row: 0,
            presumed: true,
            ever_good: false,
            asked: None,
            wait_ms: timing.timeout_ms,
            tried: None,
            next: first,
            row_began: first,
            failure: None,
            took_us: 0,
            last_good: None,
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.good
    }

    /// Nothing has been counted yet.
    pub(crate) fn is_presumed(&self) -> bool {
        self.presumed
    }

    /// It was answered well at least once.
    pub(crate) fn was_ever_good(&self) -> bool {
        self.ever_good
    }

    /// The newest result was a failure.
    pub(crate) fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// A probe that was sent at `since` or later was answered well.
    pub(crate) fn was_good_since(&self, since: Instant) -> bool {
        self.last_good.is_some_and(|at| at >= since)
    }

    /// How the newest result failed.
    pub(crate) fn failure(&self) -> Option<&F> {
        self.failure.as_ref()
    }

    /// When the first probe of the row was sent that led to the verdict.
    pub(crate) fn row_began(&self) -> Instant {
        self.row_began
    }

    pub(crate) fn took_us(&self) -> u32 {
        self.took_us
    }

    pub(crate) fn timing(&self) -> Timing {
        self.timing
    }

    /// When to call [`Self::handle_deadline`].
    pub(crate) fn deadline(&self) -> Instant {
        match self.asked {
            Some(asked) => asked.plus_millis(u64::from(self.wait_ms) + GRACE_MS),
            None => self.next,
        }
    }

    /// A probe is due: the milliseconds it may take. One whose outcome was lost is forgotten.
    pub(crate) fn handle_deadline(&mut self, now: Instant) -> Option<u32> {
        if now < self.deadline() {
            return None;
        }
        self.wait_ms = self.timing.timeout_ms;
        let half = self.timing.timeout_ms / 2;
        if self.failure.is_some() && self.good && self.took_us > 0 && self.took_us * 4 < half * 1000 {
            self.wait_ms = half.max(10);
        }
        self.asked = Some(now);
        self.tried = Some(now);
        Some(self.wait_ms)
    }

    /// An outcome. `random` moves the next probe.
    pub(crate) fn handle_outcome(
        &mut self,
        result: Result<u32, F>,
        now: Instant,
        random: u64,
    ) -> Option<Turn> {
        let asked = self.asked.take().unwrap_or(now);
        let is_good = result.is_ok();
        let first_of_row = is_good == self.failure.is_some() || self.presumed && self.row == 0;
        if first_of_row {
            self.row_began = asked;
        }
        match result {
            Ok(took_us) => {
                self.ever_good = true;
                self.last_good = Some(asked);
                self.failure = None;
                let took_us = took_us.max(1);
                self.took_us =
                    if self.took_us == 0 { took_us } else { self.took_us - self.took_us / 8 + took_us / 8 };
            }
            Err(failure) => self.failure = Some(failure),
        }
        let turn = self.count(is_good);
        let interval_ns = u64::from(self.timing.interval_ms) * 1_000_000;
        let again = !is_good && self.good;
        let moved = interval_ns - random % (interval_ns / 10 + 1);
        // A refusal takes no time: three of them in a row within a millisecond would tell no more than one.
        let next = match (again, is_good && !self.good) {
            (true, _) => asked.0 + interval_ns / 10,
            (false, true) => asked.0 + interval_ns / 4,
            (false, false) => asked.0 + moved,
        };
        self.next = Instant(next.max(now.0));
        turn
    }

    fn count(&mut self, is_good: bool) -> Option<Turn> {
        if is_good == self.good {
            self.row = 0;
            // The presumption is confirmed once it would have been reached afresh.
            self.presumed &= !is_good;
            return None;
        }
        self.row += 1;
        let wanted = if is_good { self.timing.rise } else { self.timing.fall };
        (self.row >= wanted.max(1)).then(|| {
            self.good = is_good;
            self.row = 0;
            self.presumed = false;
            if is_good { Turn::Rose } else { Turn::Fell }
        })
    }

    /// Nothing counted so far is held against it (or for it): it must rise, or fall, afresh.
    pub(crate) fn presume(&mut self, good: bool, now: Instant) {
        if self.good != good {
            self.row_began = now;
        }
        self.good = good;
        self.row = 0;
        self.presumed = true;
        if good {
            self.failure = None;
        }
    }

    /// Asked at once, unless it is being asked, or has just been.
    ///
    /// Who has a suspicion hurries as long as he has it; and where nobody can be asked, each attempt would be
    /// followed by the next within the same instant.
    pub(crate) fn hurry(&mut self, now: Instant) {
        let soon = self.tried.map_or(now, |tried| now.max(tried.plus_millis(HURRY_MS)));
        self.next = self.next.min(soon);
    }

    /// The settings have changed; what was counted stays.
    pub(crate) fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// It could not be asked: later.
    pub(crate) fn postpone(&mut self, now: Instant) {
        self.asked = None;
        self.tried = Some(now);
        self.next = now.plus_millis(u64::from(self.timing.interval_ms.min(1000)));
    }

    /// The probe under way will have no outcome.
    pub(crate) fn forget(&mut self, now: Instant) {
        if self.asked.take().is_some() {
            self.next = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing { interval_ms: 100, timeout_ms: 100, rise: 2, fall: 3 };

    fn at(good: bool, row: u16) -> Watch<()> {
        Watch { row, presumed: false, ..Watch::new(TIMING, good, Instant::default()) }
    }

    #[test]
    fn whole_table() {
        // good, row, result -> good, row, turn
        let table = [
            (true, 0, true, true, 0, None),
            (true, 0, false, true, 1, None),
            (true, 1, true, true, 0, None),
            (true, 1, false, true, 2, None),
            (true, 2, true, true, 0, None),
            (true, 2, false, false, 0, Some(Turn::Fell)),
            (false, 0, false, false, 0, None),
            (false, 0, true, false, 1, None),
            (false, 1, false, false, 0, None),
            (false, 1, true, true, 0, Some(Turn::Rose)),
        ];
        for (good, row, result, good_then, row_then, turn) in table {
            let mut watch = at(good, row);
            let said = watch.handle_outcome(if result { Ok(500) } else { Err(()) }, Instant(1), 7);
            assert_eq!(
                (watch.good, watch.row, said),
                (good_then, row_then, turn),
                "good={good} row={row} result={result}"
            );
        }
    }

    /// FS-30, row b: frozen servers are found in time, whatever the moment.
    #[test]
    fn a_frozen_server_is_found_within_300_ms() {
        for fall in [2, 3] {
            for seed in 0..100_u64 {
                let mut watch = Watch::new(Timing { fall, ..TIMING }, true, Instant::default());
                let mut last_good = Instant::default();
                let found = loop {
                    let now = watch.deadline();
                    let wait = watch.handle_deadline(now).expect("due");
                    if now.millis() < 950 {
                        last_good = now;
                        watch.handle_outcome(Ok(300), now.plus_millis(1), seed * 7_777_777);
                        continue;
                    }
                    let then = now.plus_millis(u64::from(wait));
                    if watch.handle_outcome(Err(()), then, seed) == Some(Turn::Fell) {
                        break then;
                    }
                };
                assert!(found.since(last_good) <= 301_000_000, "{fall} {seed} {found:?} {last_good:?}");
                assert!(watch.row_began() < found);
            }
        }
    }

    #[test]
    fn adopted_state_stays_until_counted_afresh() {
        let mut watch = Watch::<()>::new(TIMING, false, Instant::default());
        assert!(watch.handle_outcome(Ok(1), Instant(1), 0).is_none() && !watch.is_good());
        assert!(watch.is_presumed());
        assert_eq!(watch.handle_outcome(Ok(1), Instant(2), 0), Some(Turn::Rose));
        assert!(!watch.is_presumed());
    }

    /// A suspicion without anybody to ask kept control busy for ever, within one instant.
    #[test]
    fn who_is_hurried_all_the_time_is_asked_now_and_then() {
        let (mut watch, mut tries) = (Watch::<()>::new(TIMING, true, Instant::default()), 0);
        for ms in 0..1000 {
            let now = Instant::from_millis(ms);
            while watch.deadline() <= now {
                assert_eq!(watch.handle_deadline(now), Some(100));
                tries += 1;
                // One in two finds nobody, the other is refused at once.
                if tries % 2 == 0 {
                    watch.postpone(now);
                } else {
                    watch.handle_outcome(Err(()), now, 0);
                }
                watch.hurry(now);
                assert!(watch.deadline() > now, "{ms}");
            }
            watch.hurry(now);
        }
        assert!((50..=100).contains(&tries), "{tries}");
    }

    #[test]
    fn a_lost_outcome_is_not_waited_for() {
        let mut watch = Watch::<()>::new(TIMING, true, Instant::default());
        assert_eq!(watch.handle_deadline(Instant::default()), Some(100));
        assert_eq!(watch.handle_deadline(Instant::from_millis(299)), None);
        assert_eq!(watch.handle_deadline(Instant::from_millis(300)), Some(100));
    }
}
