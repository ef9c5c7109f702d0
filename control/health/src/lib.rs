//! Health, load, roles and routers: what control decides beside the plan (FS-9, FS-10, FS-12 to FS-15,
//! FS-30 to FS-34). Machines without sockets and clocks.

mod settings;

pub use settings::{ClusterCare, PoolCare, RouterCare, RouterCheck, ServerCare, ServiceCare, Settings};
