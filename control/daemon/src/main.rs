//! flowswitchd: run, control, check.

fn main() {}
