//! The reference model and the oracle; shares no code with the product's parser.
//!
//! [`Table`] describes a switch in the words of the specification. [`expect`] says for one frame what
//! may become of it, from the specification alone: it has no flow table and no MAC table, so it names
//! a class of outcomes ([`Outcome`]) and every check that the product makes by memory is left to the
//! [`Oracle`], which watches a sequence of frames. [`captures`] and [`mutate`] bring the frames.
//!
//! The parser here is written for being right, not for being fast, and collects *all*
//! faults of a packet where the product reports the first.

pub mod captures;
mod expect;
pub mod frames;
pub mod mutate;
mod neighbour;
mod oracle;
mod parse;
mod table;

pub use expect::{Expected, Outcome, expect};
pub use oracle::{Counts, Observation, Oracle, Sent, Violation};
pub use parse::{Fragment, Ip, Link, Transport, link, network};
pub use table::{Cluster, Mac, Port, Role, Server, Table};
