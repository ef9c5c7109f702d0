//! flowswitchd: `run`, `control`, `check`.
//!
//! The rules are in machines without sockets and clocks ([`conversation`], [`supervisor`]); the shells
//! around them ([`control`], [`run`]) own sockets, files, processes and time.

mod children;
mod clients;
pub mod control;
pub mod conversation;
mod files;
mod link;
mod load;
mod model;
mod notify;
pub mod orders;
mod preflight;
pub mod run;
mod state;
mod steps;
pub mod supervisor;
mod wall;

pub use load::LoadError;
pub use preflight::Missing;
