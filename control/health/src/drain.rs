//! Drains (FS-33).

use crate::view::DrainView;
use dataplane_flow::Instant;
use dataplane_message::Timeouts;

/// The rate of decline is taken over so long.
const RATE_NS: u64 = 30_000_000_000;

/// How long what is left is closed for before the drain is over.
const CLOSING_NS: u64 = 5_000_000_000;

/// A server's drain.
///
/// ```text
///             no flows left
///   Draining ───────────────────────▶ Done
///      │ deadline                      ▲
///      ▼       no flows left, or 5 s   │
///   Closing ───────────────────────────┘
/// ```
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    state: State,
    gentle: bool,
    since: Instant,
    deadline: Option<Instant>,
    flows_first: Option<u64>,
    flows: u64,
    closed: u64,
    /// Two points in the past for the rate: (when, flows).
    points: [(Instant, u64); 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Draining,
    Closing(Instant),
    Done,
}

impl Drain {
    pub(crate) fn new(deadline_ms: Option<u64>, gentle: bool, flows: Option<u64>, now: Instant) -> Self {
        let points = [(now, flows.unwrap_or(0)); 2];
        Self {
            state: State::Draining,
            gentle,
            since: now,
            deadline: deadline_ms.map(|ms| now.plus_millis(ms.min(u64::from(u32::MAX) * 1000))),
            flows_first: flows,
            flows: flows.unwrap_or(u64::MAX),
            closed: 0,
            points,
        }
    }

    /// Flows not closed, as the data path counts them.
    pub(crate) fn handle_flows(&mut self, flows: u64, now: Instant) {
        if self.flows_first.is_none() {
            self.flows_first = Some(flows);
            self.points = [(now, flows); 2];
        }
        self.flows = flows;
        if now.since(self.points[1].0) >= RATE_NS / 2 {
            self.points = [self.points[1], (now, flows)];
        }
    }

    /// Time passes; the number of flows that had to be closed, when it has come to its end.
    pub(crate) fn handle_time(&mut self, now: Instant) -> Option<u64> {
        match self.state {
            State::Draining if self.flows == 0 => self.state = State::Done,
            State::Draining if self.deadline.is_some_and(|deadline| deadline <= now) => {
                self.closed = if self.flows == u64::MAX { 0 } else { self.flows };
                self.state = State::Closing(now);
                return None;
            }
            State::Closing(since) if self.flows == 0 || now.since(since) >= CLOSING_NS => {
                self.state = State::Done;
            }
            _ => return None,
        }
        Some(self.closed)
    }

    /// What is left is to be closed: the server counts as dead.
    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.state, State::Closing(_)) || self.state == State::Done && self.closed > 0
    }

    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        (self.state == State::Draining).then_some(self.deadline).flatten()
    }

    /// The forecast: flows end at the rate of the last half minute. Where they do not decline, it waits for
    /// the longest time-out that flows of the cluster have: that of TCP that says nothing, if it has any.
    pub(crate) fn view(&self, timeouts: Option<&Timeouts>, now: Instant) -> DrainView {
        let flows_open = if self.flows == u64::MAX { 0 } else { self.flows };
        let (then, before) = self.points[0];
        let gone = before.saturating_sub(flows_open);
        let passed = now.since(then);
        let is_done = self.is_done();
        let declines = !is_done && gone > 0 && passed >= 1_000_000_000;
        let longest = timeouts.filter(|_| !is_done && flows_open > 0).map(|t| {
            [
                ("established TCP", t.established_s),
                ("half-closed TCP", t.half_closed_s),
                ("UDP", t.udp_s),
                ("IPsec", t.ipsec_s),
                ("other protocols", t.other_s),
            ]
            .into_iter()
            .max_by_key(|(_, seconds)| *seconds)
            .unwrap_or(("UDP", t.udp_s))
        });
        DrainView {
            since: self.since,
            flows_first: self.flows_first.unwrap_or(0),
            flows_open,
            deadline: self.deadline(),
            gentle: self.gentle,
            ends_in_ms: if is_done {
                Some(0)
            } else {
                declines.then(|| {
                    (u128::from(passed / 1_000_000) * u128::from(flows_open) / u128::from(gone)) as u64
                })
            },
            waits_for: longest
                .filter(|_| !declines)
                .map(|(kind, seconds)| format!("flows to end, or the time-out of {kind}, {seconds} s")),
            done: is_done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Instant {
        Instant::from_secs(seconds)
    }

    #[test]
    fn fs33_whole_table() {
        // state, flows, deadline has passed -> state, the end is told
        let closing = State::Closing(s(9));
        let late = State::Closing(s(4));
        let table = [
            (State::Draining, 7, false, State::Draining, None),
            (State::Draining, 0, false, State::Done, Some(0)),
            (State::Draining, 7, true, State::Closing(s(10)), None),
            (State::Draining, 0, true, State::Done, Some(0)),
            (closing, 7, true, closing, None),
            (closing, 0, true, State::Done, Some(0)),
            (late, 7, true, State::Done, Some(0)),
            (State::Done, 0, true, State::Done, None),
            (State::Done, 7, false, State::Done, None),
        ];
        for (before, flows, passed, after, told) in table {
            let mut drain = Drain::new(Some(if passed { 5000 } else { 50_000 }), false, Some(9), s(1));
            drain.state = before;
            drain.handle_flows(flows, s(10));
            assert_eq!(drain.handle_time(s(10)), told, "{before:?} {flows} {passed}");
            assert_eq!(drain.state, after, "{before:?} {flows} {passed}");
        }
    }

    /// Row g: the count reaches 0 exactly when the last flow closes.
    #[test]
    fn fs33_count_and_forecast() {
        let timeouts = Timeouts::default();
        let mut drain = Drain::new(None, true, Some(500), s(0));
        for second in 1..=50 {
            let left = 500 - second * 10;
            drain.handle_flows(left, s(second));
            assert_eq!(drain.handle_time(s(second)).is_some(), left == 0);
            let view = drain.view(Some(&timeouts), s(second));
            assert_eq!(view.flows_open, left);
            assert_eq!(view.ends_in_ms, Some((50 - second) * 1000), "at {second} s");
        }
        let stuck = Drain::new(None, false, Some(3), s(0)).view(Some(&timeouts), s(60));
        assert_eq!(stuck.ends_in_ms, None);
        assert_eq!(
            stuck.waits_for.as_deref(),
            Some("flows to end, or the time-out of established TCP, 7440 s")
        );
    }

    #[test]
    fn fs33_the_deadline_closes_what_is_left() {
        let mut drain = Drain::new(Some(10_000), false, Some(3), s(0));
        drain.handle_flows(2, s(9));
        assert_eq!(drain.handle_time(s(9)), None);
        assert!(!drain.is_closing());
        assert_eq!(drain.handle_time(s(10)), None);
        assert!(drain.is_closing());
        drain.handle_flows(0, s(11));
        assert_eq!(drain.handle_time(s(11)), Some(2));
    }
}
