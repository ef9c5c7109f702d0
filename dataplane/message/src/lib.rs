//! What the data path and the control core say to each other.
//!
//! One set of types, two carriers: a local `SOCK_SEQPACKET` socket today, the network for the
//! partitioned form. [`Plan`] is what is in force, [`Step`] how it changes, [`Report`] what is seen.

mod boot;
mod codec;
mod conditions;
mod conversation;
mod plan;
mod report;
mod signs;
mod step;

pub use boot::{Boot, Device, Mode, PortBoot};
pub use codec::{Assembler, CodecError, PART_MAX, parts};
pub use conditions::{Assignment, Conditions, Health, MemberCondition, RouterCondition, TargetCondition};
pub use conversation::{FlowFilter, FlowRow, ToControl, ToDataPath, VERSION};
pub use plan::{
    Admin, Affinity, BridgePlan, Chooser, ClusterMode, ClusterPlan, DeadFlows, Fail, MacPlan, Member,
    PROBE_PORT_FIRST, Plan, PoolPlan, PortPlan, PortRole, Redirect, RouterPlan, ServicePlan, Spread, Stp,
    TargetPlan, Timeouts, UdpMode, probe_port, vmac,
};
pub use report::{
    Alarm, AlarmKind, BridgeRow, ClusterCounts, HISTOGRAM_BUCKETS, Histogram, MemberReport, PortCounts,
    PortReport, Report, RouterReport, ServiceCounts, TargetCounts, TargetReport, WorkerReport,
};
pub use signs::{MemberSigns, Signs, TargetSigns};
pub use step::Step;
