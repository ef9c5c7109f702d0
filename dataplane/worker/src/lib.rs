//! The burst loop, and the publisher that feeds it.
//!
//! A [`Worker`] owns its engine and its queues. A [`Publisher`] owns the plan: it turns messages, links
//! and what workers have seen into tables, hands them out through rings, and sums counters. Between
//! them are only [`WorkerSeat`]'s rings and counters; neither ever waits for the other.

mod bridge_table;
mod listing;
mod publisher;
mod seat;
mod worker;

pub use publisher::{PortState, Publisher};
pub use seat::{FRAME_MAX, WorkerSeat};
pub use worker::Worker;
