//! Flow keys, the flow table shard, ageing, fragments, time.
//!
//! A [`Shard`] belongs to one worker. It is sized at start and never grows: full is a normal state,
//! and the caller then places the packet by hash. Nothing here reads a clock or draws a number.

mod entry;
mod fragment;
mod hash;
mod id;
mod key;
mod shard;
mod table;
mod time;

pub use entry::{Entry, Resting, STAMP_S, STATES, State};
pub use fragment::{Fragments, Known};
pub use hash::{HashKey, fold};
pub use id::{CLUSTERS_MAX, ClusterId, POOLS_MAX, PoolId, ROUTERS_MAX, RouterId, TARGETS_MAX, TargetId};
pub use key::{FlowKey, HalfHash, KeyKind};
pub use shard::{Beginning, Shard, Slot, Timeouts, pause_max};
pub use table::{Line, Lines, Place};
pub use time::Instant;
