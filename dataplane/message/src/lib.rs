//! What the data path and the control core say to each other.
//!
//! One set of types, two carriers: a local `SOCK_SEQPACKET` socket today, the network for the
//! partitioned form. [`Plan`] is what is in force, [`Step`] how it changes, [`Report`] what is seen.

mod boot;
mod codec;
mod conversation;
mod plan;
mod report;
mod step;

pub use boot::{Boot, Device, Mode, PortBoot};
pub use codec::{Assembler, CodecError, PART_MAX, parts};
pub use conversation::{FlowFilter, FlowRow, ToControl, ToDataPath, VERSION};
pub use plan::{
    Admin, Affinity, BridgePlan, Chooser, ClusterPlan, Fail, MacPlan, Member, Plan, PortPlan, PortRole,
    RouterPlan, ServicePlan, Stp, TargetPlan, Timeouts, UdpMode, vmac,
};
pub use report::{
    Alarm, AlarmKind, BridgeRow, ClusterCounts, PortCounts, PortReport, Report, ServiceCounts, TargetCounts,
    TargetReport, WorkerReport,
};
pub use step::Step;
