//! P12: the array of 1,000 servers, made off the data path.

use crate::tools::{Context, millis, spread, timed};
use anyhow::Result;
use dataplane_balance::{Candidate, Maglev, name_hash};
use dataplane_flow::TargetId;
use tests_bench::{Limits, Row, median};

const LIMITS: Limits = Limits::at_most(5.0, 2.0, " ms");

pub(crate) fn rows(context: &Context) -> Result<Vec<Row>> {
    type Weight = fn(u16) -> u16;
    let cases: [(&str, u16, Weight); 5] = [
        ("1,000 servers, equal weights", 1000, |_| 1),
        ("1,000 servers, weights 1 to 1,000", 1000, |n| 1 + n),
        ("1,000 servers, one of weight 1,000, the others of 1", 1000, |n| if n == 0 { 1000 } else { 1 }),
        ("100 servers, equal weights", 100, |_| 1),
        ("10 servers, equal weights", 10, |_| 1),
    ];
    let rounds = context.pick(5, 41);
    Ok(cases
        .map(|(what, servers, weight)| {
            let candidates: Vec<Candidate> = (0..servers)
                .map(|n| Candidate {
                    target: TargetId(n),
                    name_hash: name_hash(&format!("web-{n}")),
                    weight: weight(n),
                })
                .collect();
            let times: Vec<f64> = (0..rounds).map(|_| millis(timed(|| Maglev::new(&candidates)).0)).collect();
            let row = Row::new("P12", format!("Maglev array of 65,537: {what}"), "ms", &LIMITS);
            let row = row.measured(median(&times), &LIMITS);
            spread(row, &times).note("the column of ratios has the times themselves")
        })
        .into())
}
