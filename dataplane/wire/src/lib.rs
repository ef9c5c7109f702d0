//! Frames as typed views, and the one parser.

mod mac;

pub use mac::{MacAddr, NotAMac};
