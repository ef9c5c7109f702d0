//! The whole switch among servers, routers and clients, in virtual time and from a seed.
//!
//! The production publisher, workers and control conversation run in one thread with one queue of events
//! ([`world::World`]). Nothing reads a clock: a seed is a run, to the byte. [`checks`] watch what goes into
//! the switch and what comes out; [`scenarios`] say what happens to it.

pub mod checks;
pub mod clients;
pub mod control;
pub mod defect;
pub mod figures;
pub mod link;
pub mod neighbours;
pub mod packet;
pub mod queue;
pub mod random;
pub mod router;
pub mod runner;
pub mod scenarios;
pub mod server;
pub mod switch;
pub mod tcp;
pub mod topology;
pub mod trace;
pub mod world;
