//! bindings to the system's DPDK and shim.c; no logic.
