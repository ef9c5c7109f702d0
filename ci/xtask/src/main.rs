//! every developer command.

fn main() {}
