//! Real programs through the switch: a lab of network namespaces, the switch between them as a DPDK
//! process on ordinary veth interfaces, and one file for each scenario.
//!
//! ```text
//!             ┌── r1 ──┐                ┌── s1   10.80.0.100, fd00:80::100
//!   client ───┤        ├─── switch ─────┼── s2   10.80.0.100, fd00:80::100
//!             └── r2 ──┘                └── s3   10.80.0.100, fd00:80::100
//!  10.2.0.0/16      10.80.0.251, .252
//! ```
//!
//! Every server carries the same address on its own interface; nothing else is set on it. Client,
//! routers and servers are network namespaces with the kernel's own stack and real programs in them.
//! Namespaces have the test's process number in their names and are removed with the test, however it
//! ends; what a killed run leaves behind is removed by the next one.

pub mod beat;
pub mod cleanup;
pub mod config;
pub mod echo;
pub mod fault;
pub mod frame;
pub mod http;
pub mod lab;
pub mod load;
pub mod mute;
pub mod netns;
pub mod nginx;
pub mod process;
pub mod queue;
pub mod raw;
pub mod runner;
pub mod stats;
pub mod switch;
pub mod wait;
pub mod watch;

mod rows;

pub use config::{Cluster, SwitchConfig};
pub use lab::{Lab, Topology};
pub use rows::all as scenarios;
