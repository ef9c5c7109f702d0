//! Misconfigurations, in words, with what mends them.

use dataplane_flow::{ClusterId, PoolId, RouterId, TargetId};

/// Something that is set up wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// The server it is about.
    pub target: Option<TargetId>,
    /// The router it is about.
    pub router: Option<RouterId>,
    /// The cluster it is about.
    pub cluster: Option<ClusterId>,
    /// The pool it is about.
    pub pool: Option<PoolId>,
    /// What is seen, with names.
    pub text: String,
    /// What to do.
    pub fix: String,
}

/// What is set up wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FindingKind {
    /// The server does not carry the VIP.
    VipNotBound,
    /// The server answers for the VIP from another MAC than its own.
    WrongMac,
    /// Somebody else claims the VIP.
    VipClaimed,
    /// Replies do not come back through this switch: another default route, or a second interface.
    NoReturn,
    /// The server's packets are answered past the switch: connections complete whose answers never passed.
    Bypassed,
    /// Its reverse-path filter seems to drop probes: ARP is good, no routed probe is answered, its clients are; or
    /// clients: probes are answered, and nobody from farther away is.
    ReversePathFilter,
    /// Large packets are not answered, small ones are.
    Mtu,
    /// Nothing listens on the service's port.
    NotListening,
    /// Two servers use one source port toward the same peer (FS-25).
    PortTaken,
    /// No router of the pool answers.
    PoolDown,
    /// A router is down.
    RouterDown,
    /// A check fails on all servers of a cluster while no router is up; it is not held against them.
    Suspended,
}

/// What the doctor remembers between reports.
#[derive(Clone, Debug, Default)]
pub(crate) struct Doctor {
    alarms: Vec<dataplane_message::Alarm>,
}

impl Doctor {
    /// The newest alarms of the data path.
    pub(crate) fn handle_alarms(&mut self, alarms: &[dataplane_message::Alarm]) {
        if self.alarms != alarms {
            self.alarms = alarms.to_vec();
        }
    }
    pub(crate) fn alarms(&self) -> &[dataplane_message::Alarm] {
        &self.alarms
    }
}

impl Finding {
    /// A finding about nothing in particular.
    pub(crate) fn new(kind: FindingKind, text: String, fix: String) -> Self {
        Self { kind, target: None, router: None, cluster: None, pool: None, text, fix }
    }
}
