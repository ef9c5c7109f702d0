//! flowctl.

fn main() {}
