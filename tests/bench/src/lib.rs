//! What the programs that measure have in common: the row that each figure is printed as.

mod row;

pub use row::{Limits, Ratio, Row, Verdict, median};
