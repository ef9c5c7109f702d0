//! What has happened, for the log; and why a server is not up.

use crate::roles::Role;
use core::fmt;
use dataplane_flow::{ClusterId, PoolId, RouterId, TargetId};
use dataplane_message::Health;

/// Something that the operator may want to read. [`crate::Care::describe`] puts it into words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CareEvent {
    /// A server's health has changed (FS-10).
    Health {
        /// The server.
        target: TargetId,
        /// What it was.
        before: Health,
        /// What it is.
        now: Health,
        /// Why, where it is not up.
        reason: Option<Reason>,
        /// Microseconds since the first sign of it: the start of the first failed probe, the first unanswered
        /// connection, the last frame of a dead one.
        took_us: u64,
    },
    /// A server no longer takes, or takes again, new flows of one service.
    Member {
        /// The cluster.
        cluster: ClusterId,
        /// The service's place in the plan.
        service: u16,
        /// The server.
        target: TargetId,
        /// It takes them.
        open: bool,
        /// Why not.
        reason: Option<Reason>,
        /// Microseconds since the first sign of it.
        took_us: u64,
    },
    /// A server of an availability cluster has another role (FS-14).
    Role {
        /// The cluster.
        cluster: ClusterId,
        /// The server.
        target: TargetId,
        /// Its role now.
        role: Role,
        /// By order of the operator.
        ordered: bool,
    },
    /// Backups of a service are taken, or no longer (FS-34).
    Backups {
        /// The cluster.
        cluster: ClusterId,
        /// The service's place in the plan.
        service: u16,
        /// They are taken.
        open: bool,
    },
    /// A router forwards, or does not (FS-13).
    Router {
        /// The router.
        router: RouterId,
        /// It does.
        up: bool,
        /// Why not.
        reason: Option<Reason>,
        /// Microseconds since the start of the first failed probe.
        took_us: u64,
    },
    /// A server was told another router (FS-12).
    Push {
        /// The pool.
        pool: PoolId,
        /// The server.
        target: TargetId,
        /// Its router now.
        router: RouterId,
    },
    /// A drain has come to its end (FS-33).
    Drained {
        /// The server.
        target: TargetId,
        /// Flows that were closed because the deadline had passed; 0: all had finished.
        closed: u64,
    },
    /// Signs in the traffic do not count for this server, since its answers pass the switch by (FS-31).
    PassiveOff {
        /// The server.
        target: TargetId,
        /// They do not count; else they count again.
        off: bool,
    },
    /// A routed check fails on all servers while no router is up, and is not held against them.
    Suspended {
        /// The cluster.
        cluster: ClusterId,
        /// It is; else it counts again.
        suspended: bool,
    },
}

/// Why something is not up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// Its port has no carrier.
    LinkDown,
    /// It answers neither ARP or ND nor anything else.
    Silent,
    /// A check fails.
    Check {
        /// The check in words: `tcp 80`.
        check: String,
        /// How: `no answer within 100 ms`.
        failure: String,
    },
    /// It answers ARP or ND, and no routed probe comes back (FS-30).
    NoReturn,
    /// Signs in the traffic (FS-31).
    Traffic(Sign),
    /// It fell so often that it has to stay good for a while first.
    HeldDown {
        /// How long, in milliseconds.
        ms: u64,
    },
}

/// A sign in the traffic (FS-31).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Sign {
    /// It refuses connections.
    Refused,
    /// It leaves connections unanswered.
    Unanswered,
    /// It accepts connections and answers no request.
    Frozen,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LinkDown => f.write_str("its link is down"),
            Self::Silent => f.write_str("it answers neither ARP or ND nor traffic"),
            Self::Check { check, failure } => write!(f, "check {check}: {failure}"),
            Self::NoReturn => f.write_str("its replies do not come back through this switch"),
            Self::Traffic(Sign::Refused) => f.write_str("it refuses its clients' connections"),
            Self::Traffic(Sign::Unanswered) => f.write_str("it leaves its clients' connections unanswered"),
            Self::Traffic(Sign::Frozen) => f.write_str("it accepts connections and answers no request"),
            Self::HeldDown { ms } => {
                write!(f, "it fell several times in a minute and has to stay good for {ms} ms")
            }
        }
    }
}
