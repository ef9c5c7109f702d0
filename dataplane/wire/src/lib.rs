//! Frames as typed views, and the one parser.

mod layers;
mod mac;

pub use layers::{Flaw, Layers, Network, Part, protocol};
pub use mac::{MacAddr, NotAMac};
