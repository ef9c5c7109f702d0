//! The whole data path without a device: publisher, workers, engine over ports in memory, virtual time.

#![allow(clippy::unwrap_used, clippy::needless_range_loop)] // free in tests; servers go by number here

mod answers;
mod conditions;
mod dead;
mod fragments;
mod limits;
mod neighbours;
mod openers;
mod plans;
mod pools;
mod probes;
mod redirect;
mod rig;
mod signs;
mod steering;
