//! Health, load, roles and routers: what control decides beside the plan (FS-9, FS-10, FS-12 to FS-15,
//! FS-30 to FS-34). Machines without sockets and clocks; [`Care`] joins them.

mod care;
mod damper;
mod doctor;
mod drain;
mod event;
mod machine;
mod monitor;
mod order;
mod passive;
mod pool;
mod probing;
mod quorum;
mod roles;
mod saved;
mod settings;
mod view;
mod watch;
mod weights;

pub use care::Care;
pub use doctor::{Finding, FindingKind};
pub use event::{CareEvent, Reason, Sign};
pub use order::{Order, OrderError};
pub use roles::Role;
pub use saved::{Saved, SavedRoles, SavedServer, SavedWeight};
pub use settings::{ClusterCare, PoolCare, RouterCare, RouterCheck, ServerCare, ServiceCare, Settings};
pub use view::{AssignmentView, CheckView, DrainView, MemberView, RoleView, RouterView, TargetView};
