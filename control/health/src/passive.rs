//! Signs of failure in the traffic itself (FS-31).

use crate::event::Sign;
use dataplane_flow::Instant;
use dataplane_message::MemberSigns;

/// How many refusals in a row count.
const REFUSED_ROW: u64 = 3;

/// How many of the other signs in a row count. Lost frames look like them: with one in a hundred lost each way,
/// three in a row come about by chance every few minutes, five once in weeks.
const MISSING_ROW: u64 = 5;

/// Signs count for a server that has completed handshakes so recently.
const RECENT_NS: u64 = 60_000_000_000;

/// The least that an opened connection must have been unanswered.
const UNANSWERED_MS: u64 = 100;

/// The least that a request must have been unanswered.
const FROZEN_MS: u64 = 200;

/// The most that refusals must have lasted without an accepted connection.
const REFUSED_MAX_MS: u64 = 300;

/// How long a rush is remembered.
const RUSH_NS: u64 = 5_000_000_000;

/// What the traffic shows of one server in one service.
///
/// Three rows of signs are counted, each from its first sign on, and each ended by the opposite sign:
///
/// | row | sign | ended by | counts when |
/// | --- | --- | --- | --- |
/// | refused | a refused SYN | an accepted one | 3, and no accepted one for as long as 3 usually take (at most 300 ms) |
/// | unanswered | an opened flow | an accepted or refused one | 5, the first older than W = max(100 ms, 4 x own connect time) |
/// | frozen | a request | a response | 5, the first older than max(200 ms, 8 x own response time) |
///
/// It counts against the server only if it has completed handshakes in the last minute and its peers do better
/// in the same time: one of them accepts (responds), and none of them both accepts and refuses, which is what a
/// port scan looks like. Without any peer that is tried at the same time, refusals alone count: they are the
/// server's own word.
#[derive(Clone, Debug, Default)]
pub(crate) struct Passive {
    last: Option<MemberSigns>,
    rows: [Option<Row>; 3],
    opened: Option<Instant>,
    accepted: Option<Instant>,
    refused: Option<Instant>,
    completed: Option<Instant>,
    responded: Option<Instant>,
    asked: Option<Instant>,
    /// Smoothed time between accepted connections, in microseconds; 0: unknown.
    gap_us: u64,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    first: Instant,
    count: u64,
}

/// What has been counted since the message before.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delta {
    pub(crate) opened: u64,
    pub(crate) completed: u64,
    pub(crate) bypassed: u64,
}

impl Passive {
    /// The data path has begun anew, so its counters have; or what was seen is over.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Rows begin anew.
    pub(crate) fn clear(&mut self) {
        self.rows = [None; 3];
    }

    /// New counts. `refusals` count: the service names its ports.
    pub(crate) fn handle(&mut self, signs: &MemberSigns, refusals: bool, now: Instant) -> Delta {
        let Some(last) = self.last.replace(*signs) else {
            // Counted before anybody looked: no row, but handshakes that were completed are a beginning.
            return Delta::default();
        };
        let d = |of: fn(&MemberSigns) -> u64| of(signs).saturating_sub(of(&last));
        let opened = d(|s| s.opened);
        let accepted = d(|s| s.accepted);
        let refused = d(|s| s.refused);
        let completed = d(|s| s.completed);
        let requests = d(|s| s.requests);
        let responses = d(|s| s.responses);
        let since = self.accepted.map_or(1_000_000, |at| now.since(at) / 1000);
        if let Some(gap) = since.checked_div(accepted) {
            self.gap_us =
                if self.gap_us == 0 { gap } else { (self.gap_us * 7 + gap.min(self.gap_us * 16)) / 8 };
        }
        for (count, at) in [
            (opened, &mut self.opened),
            (accepted, &mut self.accepted),
            (refused, &mut self.refused),
            (completed, &mut self.completed),
            (requests, &mut self.asked),
            (responses, &mut self.responded),
        ] {
            if count > 0 {
                *at = Some(now);
            }
        }
        let refusals = if refusals { refused } else { 0 };
        count(&mut self.rows[0], refusals, accepted > 0, now);
        let answered = accepted.saturating_add(refused);
        count(&mut self.rows[1], opened.saturating_sub(answered), answered > 0, now);
        count(&mut self.rows[2], requests, responses > 0, now);
        Delta { opened, completed, bypassed: d(|s| s.bypassed) }
    }

    /// Whether a row may count: it is worth asking [`Self::verdict`] from then on.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.ripe().map(|(_, _, at)| at).min()
    }

    /// What the traffic says against it, and since when. `peers` are the other servers of the service.
    pub(crate) fn verdict<'a>(
        &self,
        peers: impl Iterator<Item = &'a Self> + Clone,
        now: Instant,
    ) -> Option<(Sign, Instant)> {
        let recently = |at: Option<Instant>, by: Instant| at.is_some_and(|at| by.since(at) < RECENT_NS);
        self.ripe()
            .filter(|(_, _, at)| *at <= now)
            .find(|(sign, first, _)| {
                recently(self.completed, *first)
                    && (*sign != Sign::Frozen || recently(self.responded, *first))
                    && is_worse(*sign, *first, peers.clone())
            })
            .map(|(sign, first, _)| (sign, first))
    }

    /// So many of its clients' SYNs in a row were not answered, the first of them then; nobody's is at present.
    pub(crate) fn unanswered(&self) -> Option<(u64, Instant)> {
        self.rows[1].map(|row| (row.count, row.first))
    }

    /// Rows that are long enough, and from when on they count.
    fn ripe(&self) -> impl Iterator<Item = (Sign, Instant, Instant)> {
        let (connect_us, response_us) = self.last.map_or((0, 0), |s| (s.connect_us, s.response_us));
        let since_accepted = self.accepted.unwrap_or_default();
        let refused_us = (self.gap_us * 3).min(REFUSED_MAX_MS * 1000);
        let at = move |sign: Sign, first: Instant| match sign {
            Sign::Refused => Instant(since_accepted.0 + refused_us * 1000).max(first),
            Sign::Unanswered => first.plus_millis(UNANSWERED_MS.max(u64::from(connect_us) * 4 / 1000)),
            Sign::Frozen => first.plus_millis(FROZEN_MS.max(u64::from(response_us) * 8 / 1000)),
        };
        [Sign::Refused, Sign::Unanswered, Sign::Frozen]
            .into_iter()
            .zip(self.rows)
            .filter_map(|(sign, row)| row.filter(|row| row.count >= sign.row()).map(|row| (sign, row.first)))
            .map(move |(sign, first)| (sign, first, at(sign, first)))
    }
}

impl Sign {
    /// How many in a row count.
    fn row(self) -> u64 {
        match self {
            Self::Refused => REFUSED_ROW,
            Self::Unanswered | Self::Frozen => MISSING_ROW,
        }
    }
}

fn count(row: &mut Option<Row>, signs: u64, ended: bool, now: Instant) {
    if ended {
        *row = None;
    } else if signs > 0 {
        let row = row.get_or_insert(Row { first: now, count: 0 });
        row.count = row.count.saturating_add(signs);
    }
}

/// Whether the peers do better since `first`.
fn is_worse<'a>(sign: Sign, first: Instant, peers: impl Iterator<Item = &'a Passive> + Clone) -> bool {
    let since = |at: Option<Instant>| at.is_some_and(|at| at >= first);
    let is_scan = |p: &Passive| since(p.refused) && since(p.accepted);
    match sign {
        Sign::Refused => {
            let tried = peers.clone().any(|p| since(p.opened));
            !peers.clone().any(is_scan) && (!tried || peers.clone().any(|p| since(p.accepted)))
        }
        Sign::Unanswered => peers.clone().any(|p| since(p.accepted)),
        Sign::Frozen => peers.clone().any(|p| since(p.responded)),
    }
}

/// Whether far more connections are opened to a cluster than completed: a flood or a scan is on, and signs do
/// not count. Over the last second more than 4 times and 30, or over the last 200 ms more than 6 times and 20;
/// 5 s from the last moment on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rush {
    slots: [Delta; 10],
    slot: u64,
    until: Option<Instant>,
}

impl Rush {
    pub(crate) fn handle(&mut self, delta: Delta, now: Instant) {
        self.turn(now);
        let slot = &mut self.slots[(self.slot % 10) as usize];
        // Counts are another process's word.
        slot.opened = slot.opened.saturating_add(delta.opened);
        slot.completed = slot.completed.saturating_add(delta.completed);
        let sum = |slots: u64| {
            (0..slots.min(self.slot + 1)).fold((0_u64, 0_u64), |(opened, completed), back| {
                let slot = &self.slots[((self.slot - back) % 10) as usize];
                (opened.saturating_add(slot.opened), completed.saturating_add(slot.completed))
            })
        };
        let (opened, completed) = sum(10);
        let (opened_late, completed_late) = sum(2);
        let is_more = |opened: u64, times: u64, completed: u64, and| {
            opened > completed.saturating_mul(times).saturating_add(and)
        };
        if is_more(opened, 4, completed, 30) || is_more(opened_late, 6, completed_late, 20) {
            self.until = Some(Instant(now.0 + RUSH_NS));
        }
    }

    pub(crate) fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    fn turn(&mut self, now: Instant) {
        let slot = now.millis() / 100;
        for step in 1..=slot.saturating_sub(self.slot).min(10) {
            self.slots[((slot - slot.saturating_sub(self.slot).min(10) + step) % 10) as usize] =
                Delta::default();
        }
        self.slot = self.slot.max(slot);
    }
}

/// How many servers of a cluster of `servers` signs in the traffic may take out alone: one, and never more than
/// a third.
pub(crate) fn alone_max(servers: usize) -> usize {
    (servers / 3).min(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(1_000_000 + millis)
    }

    /// A server that has served for a while, a connection each 15 ms; nothing since 0.
    fn served() -> (Passive, MemberSigns) {
        let mut passive = Passive::default();
        let mut signs = MemberSigns { connect_us: 300, response_us: 2000, ..MemberSigns::default() };
        passive.handle(&signs, true, Instant::from_millis(1_000_000 - 1500));
        for i in 1..=75 {
            good(&mut signs, 1);
            passive.handle(&signs, true, Instant::from_millis(1_000_000 - 1500 + i * 20));
        }
        (passive, signs)
    }

    fn good(signs: &mut MemberSigns, flows: u64) {
        signs.opened += flows;
        signs.accepted += flows;
        signs.completed += flows;
        signs.requests += flows;
        signs.responses += flows;
    }

    /// Feeds `step` each 20 ms to one server, and good flows to a peer; when it is found bad.
    fn found(step: impl Fn(&mut MemberSigns, u64), peer: impl Fn(&mut MemberSigns)) -> Option<(Sign, u64)> {
        let (mut passive, mut signs) = served();
        let (mut other, mut others) = served();
        for i in 1..=100_u64 {
            step(&mut signs, i);
            peer(&mut others);
            other.handle(&others, true, ms(i * 20));
            passive.handle(&signs, true, ms(i * 20));
            if let Some((sign, _)) = passive.verdict([&other].into_iter(), ms(i * 20)) {
                return Some((sign, i * 20));
            }
        }
        None
    }

    type Step = fn(&mut MemberSigns, u64);

    #[test]
    fn fs31_whole_table() {
        let refuse: Step = |s, _| (s.opened, s.refused) = (s.opened + 1, s.refused + 1);
        let ignore: Step = |s, _| s.opened += 1;
        let freeze: Step = |s, _| {
            (s.opened, s.accepted, s.completed) = (s.opened + 1, s.accepted + 1, s.completed + 1);
            s.requests += 1;
        };
        let serve: Step = |s, _| good(s, 1);
        let idle: Step = |_, _| {};
        let some_refused: Step = |s, i| {
            if i % 4 == 0 { good(s, 1) } else { (s.opened, s.refused) = (s.opened + 1, s.refused + 1) }
        };
        let scanned: fn(&mut MemberSigns) = |s| {
            good(s, 1);
            (s.opened, s.refused) = (s.opened + 1, s.refused + 1);
        };
        let serving: fn(&mut MemberSigns) = |s| good(s, 1);
        let nothing: fn(&mut MemberSigns) = |_| {};
        let ignoring: fn(&mut MemberSigns) = |s| s.opened += 1;
        let stuck: fn(&mut MemberSigns) = |s| {
            (s.opened, s.accepted) = (s.opened + 1, s.accepted + 1);
            s.requests += 1;
        };
        // what the server does, what its peer does, what is found
        let table = [
            (refuse, serving, Some(Sign::Refused)),
            (refuse, nothing, Some(Sign::Refused)),
            (refuse, scanned, None),
            (refuse, ignoring, None),
            (ignore, serving, Some(Sign::Unanswered)),
            (ignore, nothing, None),
            (ignore, ignoring, None),
            (freeze, serving, Some(Sign::Frozen)),
            (freeze, nothing, None),
            (freeze, stuck, None),
            (serve, serving, None),
            (idle, serving, None),
            (some_refused, serving, None),
        ];
        for (row, (step, peer, expected)) in table.into_iter().enumerate() {
            assert_eq!(found(step, peer).map(|(sign, _)| sign), expected, "row {row}");
        }
    }

    /// Rows a and b at 67 SYN a second and server.
    #[test]
    fn fs31_signs_are_found_in_time() {
        let serving = |s: &mut MemberSigns| good(s, 2);
        let syns = |i: u64| (i * 20 * 67).div_ceil(1000) - ((i - 1) * 20 * 67).div_ceil(1000);
        let refuse =
            |s: &mut MemberSigns, i: u64| (s.opened, s.refused) = (s.opened + syns(i), s.refused + syns(i));
        let (sign, took) = found(refuse, serving).expect("found");
        assert_eq!(sign, Sign::Refused);
        assert!(took <= 80, "{took}");
        let ignore = |s: &mut MemberSigns, i: u64| s.opened += syns(i);
        assert!(matches!(found(ignore, serving), Some((Sign::Unanswered, ..=160))));
        let freeze = |s: &mut MemberSigns, i: u64| {
            s.opened += syns(i);
            s.accepted += syns(i);
            s.requests += syns(i);
        };
        assert!(matches!(found(freeze, serving), Some((Sign::Frozen, ..=260))));
    }

    #[test]
    fn fs31_a_server_that_never_served_shows_no_signs() {
        let mut passive = Passive::default();
        let mut signs = MemberSigns::default();
        for i in 0..100 {
            signs.opened += 1;
            signs.refused += 1;
            passive.handle(&signs, true, ms(i * 20));
            assert!(passive.verdict(core::iter::empty(), ms(i * 20)).is_none());
        }
    }

    /// Row n: floods, scans and their end.
    #[test]
    fn fs31_a_rush_is_seen_and_ends() {
        let mut rush = Rush::default();
        let load = Delta { opened: 4, completed: 4, bypassed: 0 };
        for i in 0..100 {
            rush.handle(load, ms(i * 20));
        }
        assert!(!rush.is_on(ms(2000)), "200 a second");
        let one_of_three_gone = Delta { opened: 4, completed: 2, bypassed: 0 };
        for i in 100..200 {
            rush.handle(one_of_three_gone, ms(i * 20));
        }
        assert!(!rush.is_on(ms(4000)));
        let flood = Delta { opened: 44, completed: 4, bypassed: 0 };
        for i in 200..205 {
            rush.handle(flood, ms(i * 20));
        }
        assert!(rush.is_on(ms(4100)), "ten times the load");
        for i in 205..600 {
            rush.handle(load, ms(i * 20));
        }
        assert!(!rush.is_on(ms(12_000)));
    }

    /// They are another process's word.
    #[test]
    fn fs31_counts_beyond_all_measure_are_survived() {
        let (mut passive, mut rush) = (Passive::default(), Rush::default());
        let all = MemberSigns { accepted: u64::MAX, refused: u64::MAX, ..MemberSigns::default() };
        let opened = MemberSigns { opened: u64::MAX, ..MemberSigns::default() };
        for (i, signs) in [MemberSigns::default(), all, MemberSigns::default(), opened].iter().enumerate() {
            passive.handle(signs, true, ms(i as u64));
        }
        passive.handle(&MemberSigns::default(), true, ms(10));
        passive.handle(&opened, true, ms(11));
        assert_eq!(passive.rows[1].map(|row| row.count), Some(u64::MAX));
        for at in [0, 1, 150] {
            rush.handle(Delta { opened: u64::MAX, completed: u64::MAX / 2, bypassed: 0 }, ms(at));
        }
        assert!(!rush.is_on(ms(150)), "no more than twice as many as were completed");
        rush.handle(Delta { opened: u64::MAX, ..Delta::default() }, ms(2000));
        assert!(rush.is_on(ms(2000)));
    }

    #[test]
    fn fs31_never_more_than_a_third() {
        for (servers, alone) in [(0, 0), (1, 0), (2, 0), (3, 1), (4, 1), (100, 1)] {
            assert_eq!(alone_max(servers), alone, "{servers}");
        }
    }
}
