//! Classify, look up, choose, rewrite: a [`Verdict`](dataplane_port::Verdict) for each frame.
//!
//! One call of [`Engine::process`] takes a burst through two passes, straight on:
//!
//! 1. *read* (`read.rs`): what plain packets are looked up by, along trails (`trail.rs`), and a prefetch;
//! 2. *settle* (`burst.rs`): one line of the flow table, six bytes.
//!
//! Bursts of the most usual kind are settled by `alike.rs`; new flows of either are opened by `opening.rs`.
//!
//! What is left goes the whole way: *classify*, then *decide*: steer (inbound), observe (outbound), answer
//! (ARP, ND) or bridge.
//!
//! Nothing here reads a clock, draws a number, allocates, waits or knows what device it runs on.
//! What a frame can cause beside its own verdict goes into the [`Outbox`].

mod alike;
mod announce;
mod bridge;
mod burst;
mod classify;
mod counters;
mod dead;
mod door;
mod engine;
mod fragment;
mod icmp;
mod limit;
mod load;
mod member_counters;
mod neighbour;
mod observe;
mod opening;
mod outbox;
mod quic;
mod read;
mod redirect;
mod refuse;
mod shaking;
mod signs;
mod steer;
mod tables;
mod tcp;
mod trail;

pub use counters::{ClusterCounters, Counter, Counters, RouterCounters, SERVICES_COUNTED, TargetCounters};
pub use engine::{Engine, Settings};
pub use limit::Bucket;
pub use member_counters::{MEMBERS_MAX, MemberCounters};
pub use outbox::{Event, OWN_FRAME_MAX, Outbox, OwnFrame, Release};
pub use tables::{
    ClusterTable, Inputs, LearnedStation, MemberTable, NO_MEMBER, OwnTables, Pools, PortTable, RouterTable,
    ServiceTable, Station, Stations, Tables, TargetTable, VlanTable, address_words,
};
