//! What the programs that measure have in common: the row that each figure is printed as, and the site.

mod row;
pub mod site;

pub use row::{Limits, Quiet, Ratio, Row, Verdict, least, median};
