//! Linux behind safe types: what the two processes need of it and the standard library lacks.
//!
//! [`LinkWatch`] tells what becomes of kernel interfaces, [`SeqPacketListener`] and
//! [`SeqPacketStream`] carry the messages between the processes, [`LockFile`] keeps a second
//! instance away, [`StopSignals`] turns signals into something to poll, [`Sleeper`] is how a polling loop rests.

mod interface;
mod link_watch;
mod lock;
mod rest;
mod seqpacket;
mod signals;
mod thread;

pub use interface::{Interfaces, LinkState};
pub use link_watch::{LinkChange, LinkWatch};
pub use lock::LockFile;
pub use rest::{Bell, FrameSockets, Sleeper, Woken, bell};
pub use seqpacket::{SeqPacketListener, SeqPacketStream};
pub use signals::StopSignals;
pub use thread::{Capability, cores, has_capability, precise_naps, random, wait_readable};
