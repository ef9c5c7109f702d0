//! The whole data path without a device: publisher, workers, engine over ports in memory, virtual time.

mod fragments;
mod neighbours;
mod openers;
mod plans;
mod rig;
mod steering;
