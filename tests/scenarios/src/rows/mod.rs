//! One file for each row of what must hold with real traffic; each reads as a story.

use crate::runner::Scenario;

mod spread;

/// Every scenario, in the order of the rows.
pub fn all() -> Vec<Scenario> {
    [spread::SCENARIOS].concat()
}
