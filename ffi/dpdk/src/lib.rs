//! DPDK behind safe types; implements Ports.
