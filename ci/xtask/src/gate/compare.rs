//! Counts against those on record.

use super::profile::Parts;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// By how much a count may be off.
pub(crate) const TOLERANCE: f64 = 0.02;

/// What is lost where tenths are divided.
const ROUNDING: f64 = 1e-9;

/// Parts below this many instructions a packet are not told apart.
const SMALL: f64 = 1.0;

/// How many parts are named for a case that has risen.
const NAMED: usize = 6;

/// The record: `tests/bench/baseline.json`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    /// The compiler that made the programs.
    pub(crate) rustc: String,
    /// What was counted.
    pub(crate) cases: BTreeMap<String, Case>,
}

/// One case.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    /// Instructions a packet.
    pub(crate) instructions: f64,
    /// Of each function and source file; what is below one instruction is left out.
    pub(crate) parts: Parts,
}

impl Case {
    /// Of a shorter and a longer run.
    pub(crate) fn between(once: &Parts, twice: &Parts, packets: f64) -> Self {
        let mut parts = Parts::new();
        let mut instructions = 0.0;
        for (name, cost) in twice {
            let each = (cost - once.get(name).copied().unwrap_or(0.0)) / packets;
            instructions += each;
            if each >= SMALL {
                parts.insert(name.clone(), tenths(each));
            }
        }
        Self { instructions: tenths(instructions), parts }
    }
}

fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// What a comparison came to.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Comparison {
    /// Cases that cost more, and what of them.
    pub(crate) risen: Vec<String>,
    /// Cases that cost less.
    pub(crate) fallen: Vec<String>,
    /// Cases without a record.
    pub(crate) unknown: Vec<String>,
    /// How many are as they were.
    pub(crate) same: usize,
}

/// Compares what was counted with the record. Cases on record that were not counted are left out.
pub(crate) fn compare(record: &Record, now: &BTreeMap<String, Case>) -> Comparison {
    let mut comparison = Comparison::default();
    for (name, case) in now {
        let Some(before) = record.cases.get(name) else {
            comparison.unknown.push(name.clone());
            continue;
        };
        let change = case.instructions / before.instructions - 1.0;
        let line = format!(
            "{name}: {:.1} instructions a packet, {:.1} on record ({:+.1} %)",
            case.instructions,
            before.instructions,
            change * 100.0
        );
        if change > TOLERANCE + ROUNDING {
            comparison.risen.push(line + &culprits(&before.parts, &case.parts));
        } else if change < -TOLERANCE - ROUNDING {
            comparison.fallen.push(line);
        } else {
            comparison.same += 1;
        }
    }
    comparison
}

/// The parts that have risen most, a line each.
fn culprits(before: &Parts, now: &Parts) -> String {
    let mut risen: Vec<(f64, &str, f64, f64)> = now
        .iter()
        .map(|(name, now)| {
            let before = before.get(name).copied().unwrap_or(0.0);
            (now - before, name.as_str(), before, *now)
        })
        .filter(|(by, ..)| *by >= SMALL)
        .collect();
    risen.sort_by(|a, b| b.0.total_cmp(&a.0));
    risen.iter().take(NAMED).fold(String::new(), |mut text, (by, name, before, now)| {
        let _ = write!(text, "\n    {by:+.1} in {name} ({before:.1} before, {now:.1} now)");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(parts: &[(&str, f64)]) -> Case {
        let parts: Parts = parts.iter().map(|(name, cost)| ((*name).to_owned(), *cost)).collect();
        Case { instructions: parts.values().sum(), parts }
    }

    fn compared(before: &[(&str, f64)], now: &[(&str, f64)]) -> Comparison {
        let record = Record { rustc: "1".into(), cases: [("inbound".to_owned(), case(before))].into() };
        compare(&record, &[("inbound".to_owned(), case(now))].into())
    }

    #[test]
    fn a_rise_fails_and_names_what_rose() {
        let before = [("process, classify.rs", 100.0), ("process, layers.rs", 100.0)];
        let now = [("process, classify.rs", 100.0), ("process, layers.rs", 104.5), ("helper, new.rs", 2.0)];
        let comparison = compared(&before, &now);
        assert_eq!(comparison.risen.len(), 1);
        let text = &comparison.risen[0];
        assert!(text.starts_with("inbound: 206.5 instructions a packet, 200.0 on record (+3.2 %)"), "{text}");
        let lines: Vec<&str> = text.lines().skip(1).map(str::trim).collect();
        assert_eq!(
            lines,
            [
                "+4.5 in process, layers.rs (100.0 before, 104.5 now)",
                "+2.0 in helper, new.rs (0.0 before, 2.0 now)",
            ]
        );
    }

    #[test]
    fn two_in_a_hundred_are_let_pass() {
        let before = [("a", 100.0)];
        assert_eq!(compared(&before, &[("a", 102.0)]), Comparison { same: 1, ..Comparison::default() });
        assert_eq!(compared(&before, &[("a", 98.0)]), Comparison { same: 1, ..Comparison::default() });
        assert_eq!(compared(&before, &[("a", 102.1)]).risen.len(), 1);
    }

    #[test]
    fn a_fall_only_asks_for_a_new_record() {
        let comparison = compared(&[("a", 100.0)], &[("a", 90.0)]);
        assert!(comparison.risen.is_empty());
        assert_eq!(comparison.fallen, ["inbound: 90.0 instructions a packet, 100.0 on record (-10.0 %)"]);
    }

    #[test]
    fn a_case_without_a_record_is_named() {
        let comparison = compare(&Record::default(), &[("new".to_owned(), case(&[("a", 1.0)]))].into());
        assert_eq!(comparison.unknown, ["new"]);
    }

    #[test]
    fn the_difference_of_two_runs_is_a_packets() {
        let once: Parts = [("start".to_owned(), 5000.0), ("a".to_owned(), 1000.0)].into();
        let twice: Parts =
            [("start".to_owned(), 5000.0), ("a".to_owned(), 1900.0), ("b".to_owned(), 10.0)].into();
        let case = Case::between(&once, &twice, 100.0);
        assert_eq!(case.instructions, 9.1);
        assert_eq!(case.parts, [("a".to_owned(), 9.0)].into());
    }
}
