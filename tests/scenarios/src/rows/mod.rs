//! One file for each row of what must hold with real traffic; each reads as a story.

use crate::runner::Scenario;

mod ageing;
mod bulk;
mod bytes;
mod captures;
mod duplicates;
mod fragments;
mod health;
mod icmp_errors;
mod idle;
mod kit;
mod neighbours;
mod outward;
mod restart;
mod same_segment;
mod spread;
mod start;
mod steady;
mod two_clusters;

/// Every scenario, in the order of the rows.
pub fn all() -> Vec<Scenario> {
    [
        spread::SCENARIOS,
        bytes::SCENARIOS,
        neighbours::SCENARIOS,
        duplicates::SCENARIOS,
        outward::SCENARIOS,
        same_segment::SCENARIOS,
        fragments::SCENARIOS,
        icmp_errors::SCENARIOS,
        two_clusters::SCENARIOS,
        bulk::SCENARIOS,
        steady::SCENARIOS,
        captures::SCENARIOS,
        ageing::SCENARIOS,
        restart::SCENARIOS,
        start::SCENARIOS,
        idle::SCENARIOS,
        &health::all(),
    ]
    .concat()
}
