//! A figure with its peer and its bounds, printed as one line of JSON.
//!
//! Every program that measures prints such lines and nothing else on its standard output; `cargo
//! xtask bench` gathers them into one table.

use serde::{Deserialize, Serialize};

/// One figure.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// The goal that it belongs to: `P13`.
    pub row: String,
    /// What was measured.
    pub what: String,
    /// Our figure.
    pub ours: Option<f64>,
    /// What it is counted in: `cycles/packet (TSC)`, `instructions/packet`, `ms`.
    pub unit: String,
    /// The peer's figure, of the same run where it runs here.
    pub peer: Option<f64>,
    /// Who the peer is, and where its figure comes from.
    pub peer_name: Option<String>,
    /// Ours by the peer's, of each round.
    pub ratio: Option<Ratio>,
    /// What the rounds say of a machine that does nothing else.
    #[serde(default)]
    pub quiet: Option<Quiet>,
    /// What must be kept: `<= 1.9x`.
    pub must: String,
    /// What is aimed at.
    pub goal: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Conditions, and why if it was not measured.
    pub note: String,
}

/// Ours by the peer's, over rounds that took turns.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Ratio {
    /// The smallest.
    pub min: f64,
    /// The one that counts.
    pub median: f64,
    /// The largest.
    pub max: f64,
}

impl Ratio {
    /// Of each round's ratio; `None` without rounds.
    pub fn of(rounds: &[f64]) -> Option<Self> {
        let mut rounds: Vec<f64> = rounds.iter().copied().filter(|r| r.is_finite()).collect();
        rounds.sort_by(f64::total_cmp);
        let (min, max) = (*rounds.first()?, *rounds.last()?);
        Some(Self { min, median: median_of_sorted(&rounds), max })
    }

    /// The same value three times: a count that repeats.
    pub fn exact(ratio: f64) -> Self {
        Self { min: ratio, median: ratio, max: ratio }
    }
}

/// Rounds where they were disturbed least. It is shown beside the median, and not judged: where the two are far
/// apart, the machine was busy, and the median says less.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Quiet {
    /// The least of ours by the least of the peer's.
    pub ratio: f64,
    /// Rounds in which either took a quarter more than its least,
    pub disturbed: usize,
    /// of so many.
    pub rounds: usize,
}

impl Quiet {
    /// What a round takes more at most, if it was not disturbed.
    const STEADY: f64 = 1.25;

    /// Of both figures of each round; `None` of less than two rounds, which say nothing about each other.
    pub fn of(ours: &[f64], peer: &[f64]) -> Option<Self> {
        if ours.len().min(peer.len()) < 2 {
            return None;
        }
        let (least_ours, least_peer) = (least(ours)?, least(peer)?);
        let steady = |(ours, peer): &(&f64, &f64)| {
            **ours <= least_ours * Self::STEADY && **peer <= least_peer * Self::STEADY
        };
        let rounds = ours.len().min(peer.len());
        let disturbed = rounds - ours.iter().zip(peer).filter(steady).count();
        Some(Self { ratio: least_ours / least_peer, disturbed, rounds })
    }
}

/// The smallest of some values.
pub fn least(values: &[f64]) -> Option<f64> {
    values.iter().copied().filter(|value| value.is_finite()).reduce(f64::min)
}

/// The middle of some values; not a number without any.
pub fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    median_of_sorted(&values)
}

fn median_of_sorted(values: &[f64]) -> f64 {
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}

/// What became of a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// As good as aimed at.
    #[serde(rename = "goal")]
    Goal,
    /// Good enough.
    #[serde(rename = "must")]
    Must,
    /// Not good enough.
    #[serde(rename = "miss")]
    Miss,
    /// It could not be measured here; the note says why.
    #[serde(rename = "not measured")]
    NotMeasured,
}

/// What a figure, or a ratio, has to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Limits {
    must: f64,
    goal: f64,
    /// More is better.
    rising: bool,
    /// What stands behind the number: `x`, ` ms`.
    unit: &'static str,
}

impl Limits {
    /// Small is good.
    pub const fn at_most(must: f64, goal: f64, unit: &'static str) -> Self {
        Self { must, goal, rising: false, unit }
    }

    /// Large is good.
    pub const fn at_least(must: f64, goal: f64, unit: &'static str) -> Self {
        Self { must, goal, rising: true, unit }
    }

    /// What a value comes to.
    pub fn judge(&self, value: f64) -> Verdict {
        let keeps = |bound: f64| if self.rising { value >= bound } else { value <= bound };
        match (keeps(self.goal), keeps(self.must)) {
            (true, _) => Verdict::Goal,
            (false, true) => Verdict::Must,
            _ => Verdict::Miss,
        }
    }

    fn text(&self, bound: f64) -> String {
        format!("{} {}{}", if self.rising { ">=" } else { "<=" }, number(bound), self.unit)
    }
}

impl Row {
    /// A row of which nothing is known yet but its bounds.
    pub fn new(row: &str, what: impl Into<String>, unit: &str, limits: &Limits) -> Self {
        Self {
            row: row.into(),
            what: what.into(),
            ours: None,
            unit: unit.into(),
            peer: None,
            peer_name: None,
            ratio: None,
            quiet: None,
            must: limits.text(limits.must),
            goal: limits.text(limits.goal),
            verdict: Verdict::NotMeasured,
            note: String::new(),
        }
    }

    /// It could not be measured, for this reason.
    #[must_use]
    pub fn not_measured(mut self, why: impl Into<String>) -> Self {
        self.verdict = Verdict::NotMeasured;
        self.note = why.into();
        self
    }

    /// Conditions.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Our figure, which is what is judged.
    #[must_use]
    pub fn measured(mut self, ours: f64, limits: &Limits) -> Self {
        self.verdict = if ours.is_finite() { limits.judge(ours) } else { Verdict::NotMeasured };
        self.ours = Some(ours).filter(|ours| ours.is_finite());
        self
    }

    /// Both figures, round by round; the median of the ratios is judged.
    #[must_use]
    pub fn compared(mut self, ours: &[f64], peer: &[f64], peer_name: &str, limits: &Limits) -> Self {
        let rounds: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect();
        self.ours = Some(median(ours)).filter(|v| v.is_finite());
        self.peer = Some(median(peer)).filter(|v| v.is_finite());
        self.peer_name = Some(peer_name.into());
        self.ratio = Ratio::of(&rounds);
        self.quiet = Quiet::of(ours, peer);
        self.verdict = self.ratio.map_or(Verdict::NotMeasured, |ratio| limits.judge(ratio.median));
        self
    }

    /// The line.
    pub fn line(&self) -> String {
        serde_json::to_string(self).expect("a row is plain data")
    }
}

/// Without a fraction where it has none.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_or_large_is_good() {
        let cost = Limits::at_most(200.0, 140.0, "");
        assert_eq!(
            [130.0, 150.0, 201.0].map(|v| cost.judge(v)),
            [Verdict::Goal, Verdict::Must, Verdict::Miss]
        );
        let gain = Limits::at_least(5.0, 7.0, "x");
        assert_eq!([8.0, 6.0, 4.9].map(|v| gain.judge(v)), [Verdict::Goal, Verdict::Must, Verdict::Miss]);
    }

    #[test]
    fn the_median_of_the_rounds_is_judged() {
        let limits = Limits::at_most(2.0, 1.5, "x");
        let row =
            Row::new("P3", "w", "cycles", &limits).compared(&[10.0, 30.0, 12.0], &[8.0; 3], "p", &limits);
        assert_eq!(row.ratio, Some(Ratio { min: 1.25, median: 1.5, max: 3.75 }));
        // The second round took more than 12.5.
        assert_eq!(row.quiet, Some(Quiet { ratio: 1.25, disturbed: 1, rounds: 3 }));
        assert_eq!((row.verdict, row.must.as_str(), row.goal.as_str()), (Verdict::Goal, "<= 2x", "<= 1.5x"));
        assert!(row.line().contains(r#""verdict":"goal""#));
        let back: Row = serde_json::from_str(&row.line()).unwrap();
        assert_eq!(back, row);
    }

    #[test]
    fn a_busy_machine_is_seen_on_either_side() {
        let quiet = Quiet::of(&[10.0, 20.0, 11.0, 10.0], &[5.0, 5.0, 4.0, 9.0]).unwrap();
        // The second is ours, the fourth the peer's; the first is just steady.
        assert_eq!(quiet, Quiet { ratio: 2.5, disturbed: 2, rounds: 4 });
        assert_eq!(Quiet::of(&[], &[]), None);
        assert_eq!(Quiet::of(&[10.0], &[5.0]), None);
    }

    #[test]
    fn what_was_not_measured_says_so() {
        let limits = Limits::at_most(2.0, 1.5, "x");
        let row = Row::new("P9", "w", "ns", &limits).not_measured("no root");
        assert!(row.line().contains(r#""ours":null"#) && row.line().contains(r#""verdict":"not measured""#));
    }
}
