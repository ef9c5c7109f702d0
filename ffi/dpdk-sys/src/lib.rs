//! Bindings to the system's DPDK, and `csrc/shim.c`; no logic.
//!
//! What is bound is listed in `build.rs`, what C only offers as macros or inline functions in
//! `csrc/shim.h`. Use `ffi-dpdk`, which puts safe types around this. Linked against the system's
//! shared libraries, or with the feature `static` against the drivers of the boot image.
#![no_std]
#![allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unused_qualifications,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::use_self,
    reason = "generated"
)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
