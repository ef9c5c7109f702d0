//! flowswitch-dp: the data path process, the only one that links DPDK.

fn main() {}
