//! Health, load, roles and routers: what control decides beside the plan (FS-9, FS-10, FS-12 to FS-15,
//! FS-30 to FS-34). Machines without sockets and clocks; [`Care`] joins them.

mod care;
mod doctor;
mod event;
mod order;
mod roles;
mod saved;
mod settings;
mod view;

pub use care::Care;
pub use doctor::{Finding, FindingKind};
pub use event::{CareEvent, Reason, Sign};
pub use order::{Order, OrderError};
pub use roles::Role;
pub use saved::{Saved, SavedRoles, SavedServer, SavedWeight};
pub use settings::{ClusterCare, PoolCare, RouterCare, RouterCheck, ServerCare, ServiceCare, Settings};
pub use view::{AssignmentView, CheckView, DrainView, MemberView, RoleView, RouterView, TargetView};
