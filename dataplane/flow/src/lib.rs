//! Flow keys, the flow table shard, ageing, fragments, time.

mod id;
mod time;

pub use id::{ClusterId, TargetId};
pub use time::Instant;
