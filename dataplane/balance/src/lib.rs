//! choice of a target: the choosers.
