//! Probes to servers and routers (FS-30): whole frames in, whole frames out; no socket, no clock.

mod check;

pub use check::{Check, Dns, Http, Kind, StatusRange};
