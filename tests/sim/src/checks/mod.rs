//! What must hold, one file each. Checkers see what goes into the switch and what comes out, what was done
//! to the world, and nothing of what the switch thinks.

mod accounting;
mod binding;
mod datagrams;
mod detection;
mod down;
mod drain;
mod inbound;
mod ingress;
mod isolation;
mod liveness;
mod one_server;
mod outbound;
mod roles;

use crate::packet::{self, ACK, Content, Frame, RST, SYN};
use crate::server::Health;
use crate::switch::Counts;
use crate::trace::Trace;
use crate::world::target_of;
use core::fmt::Debug;
use core::net::{IpAddr, Ipv4Addr};
use dataplane_flow::TargetId;
use dataplane_message::{Admin, Conditions, Health as Judged, MemberCondition, Plan, Step};
use std::collections::HashMap;
use tests_model::Mac;

/// Violations after which a run is given up.
const ENOUGH: usize = 5;

/// What is wrong.
#[derive(Clone, Debug)]
pub struct Violation {
    /// When.
    pub at: u64,
    /// Which check found it.
    pub check: &'static str,
    /// What.
    pub words: String,
    /// What happened before, a line each.
    pub last: Vec<String>,
}

/// A frame on its way through the switch.
#[derive(Clone, Debug)]
pub struct Passing {
    /// The port it came in or goes out by.
    pub port: usize,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Going out: the place of the frame that it is, if it is one that came in.
    pub of: Option<usize>,
}

/// What goes in and comes out in one turn.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    /// What went in.
    pub ins: Vec<Passing>,
    /// What came out.
    pub outs: Vec<Passing>,
}

impl Passage {
    /// A frame goes in.
    pub fn goes_in(&mut self, port: usize, bytes: Vec<u8>) {
        self.ins.push(Passing { port, bytes, of: None });
    }

    /// A frame comes out. It is one that went in when all but its destination is the same; of equal ones
    /// the first that has not left by this port.
    pub fn comes_out(&mut self, port: usize, bytes: Vec<u8>) {
        let of = (0..self.ins.len()).find(|at| {
            let came = &self.ins[*at].bytes;
            came.len() == bytes.len()
                && came[6..] == bytes[6..]
                && !self.outs.iter().any(|out| out.of == Some(*at) && out.port == port)
        });
        self.outs.push(Passing { port, bytes, of });
    }
}

/// A frame that passes, read.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The port.
    pub port: usize,
    /// All of it.
    pub bytes: &'a [u8],
    /// What it is.
    pub frame: Option<Frame<'a>>,
    /// Going out: which one of those that came in it is.
    pub of: Option<usize>,
}

/// One turn of the switch, as checkers see it.
#[derive(Debug)]
pub struct Turn<'a> {
    /// When.
    pub now: u64,
    /// What went in.
    pub ins: Vec<Seen<'a>>,
    /// What came out.
    pub outs: Vec<Seen<'a>>,
    /// The data path's counters before and after.
    pub counts: (Counts, Counts),
}

/// What happens beside frames.
#[derive(Clone, Copy, Debug)]
pub enum Happening<'a> {
    /// Something happens to a server.
    Server {
        /// Which.
        server: usize,
        /// What.
        health: Health,
    },
    /// A port's carrier.
    Carrier {
        /// Which.
        port: usize,
        /// Comes or goes.
        up: bool,
    },
    /// The data path is told of a plan.
    Applied {
        /// Its number.
        epoch: u64,
        /// What changes.
        steps: &'a [Step],
    },
    /// ... and has taken it.
    Acknowledged {
        /// Its number.
        epoch: u64,
    },
    /// The data path is told what control has decided.
    Conditions(&'a Conditions),
    /// The data path has ended.
    DataPathDied,
    /// The data path has started.
    DataPathStarted,
    /// No more faults.
    Quiet,
    /// The operator wants another primary.
    Switchover,
}

/// A server as the checkers know it.
#[derive(Clone, Debug)]
pub struct KnownServer {
    /// Its name in the configuration.
    pub name: String,
    /// Its MAC.
    pub mac: Mac,
    /// Its port.
    pub port: usize,
    /// How it really is.
    pub health: Health,
}

/// What the checkers know.
#[derive(Clone, Debug)]
pub struct Known {
    /// The VIP.
    pub vip: Ipv4Addr,
    /// Its VMAC.
    pub vmac: Mac,
    /// Ports of routers come first: so many.
    pub routers: usize,
    /// Routers' MACs.
    pub router_macs: Vec<Mac>,
    /// Their addresses.
    pub router_addresses: Vec<Ipv4Addr>,
    /// Servers.
    pub servers: Vec<KnownServer>,
    /// The plan that was sent last.
    pub plan: Plan,
    /// Its number.
    pub epoch: u64,
    /// The number of the last one that was acknowledged.
    pub acknowledged: u64,
    /// What control decided last, as the data path was told it.
    pub conditions: Conditions,
    /// The only faults are lost frames, one in a hundred at most: nothing may be taken out for that.
    pub gentle: bool,
    /// Carrier by port.
    pub up: Vec<bool>,
    /// When the data path had its first plan: what came before has left no trace in it.
    pub data_path_ready: u64,
}

impl Default for Known {
    fn default() -> Self {
        Self {
            vip: Ipv4Addr::UNSPECIFIED,
            vmac: [0; 6],
            routers: 0,
            router_macs: Vec::new(),
            router_addresses: Vec::new(),
            servers: Vec::new(),
            plan: Plan::default(),
            epoch: 0,
            acknowledged: 0,
            conditions: Conditions::default(),
            gentle: false,
            up: vec![true; 32],
            data_path_ready: 0,
        }
    }
}

impl Known {
    /// The server with that MAC behind that port.
    pub fn server(&self, port: usize, mac: Mac) -> Option<usize> {
        self.servers.iter().position(|s| s.port == port && s.mac == mac)
    }

    /// The server whose port it is.
    pub fn server_at(&self, port: usize) -> Option<usize> {
        self.servers.iter().position(|s| s.port == port)
    }

    /// A server's number in the plan, if it is in it.
    pub fn target(&self, server: usize) -> Option<TargetId> {
        target_of(&self.plan, &self.servers[server].name)
    }

    /// The operator's will about a server; disabled when it is not in the plan.
    pub fn admin(&self, server: usize) -> Admin {
        let Some(id) = self.target(server) else { return Admin::Disabled };
        let planned =
            self.plan.targets.iter().find(|t| t.id == id).map_or(Admin::Disabled, |target| target.admin);
        self.conditions.targets.iter().find(|t| t.id == id).and_then(|t| t.admin).unwrap_or(planned)
    }

    /// What the data path was told of a server's health, carrier included.
    pub fn judged(&self, server: usize) -> Judged {
        if !self.up[self.servers[server].port] {
            return Judged::Dead;
        }
        let Some(id) = self.target(server) else { return Judged::Dead };
        self.conditions.targets.iter().find(|t| t.id == id).map_or(Judged::Up, |t| t.health)
    }

    /// The server gets new flows, as far as the data path was told: it is up, and open in its service.
    pub fn takes(&self, server: usize) -> bool {
        self.takes_at(server, self.vip.into())
    }

    /// The same of the cluster with that VIP.
    pub fn takes_at(&self, server: usize, vip: IpAddr) -> bool {
        let id = self.target(server);
        let cluster = self.plan.clusters.iter().find(|cluster| cluster.vip == vip).map(|cluster| cluster.id);
        let closed =
            |m: &MemberCondition| Some(m.target) == id && cluster.is_none_or(|id| id == m.cluster) && !m.open;
        self.judged(server) == Judged::Up && !self.conditions.members.iter().any(closed)
    }

    /// What was told of a server says that something is wrong with it: a backup that is not wanted, or a
    /// server that the operator has taken out, is not meant.
    pub fn conditions_count_as_alarm(&self, server: usize) -> bool {
        let id = self.target(server);
        let backup = self.plan.clusters.iter().flat_map(|c| &c.services).flat_map(|s| &s.members);
        self.admin(server) == Admin::Enabled && !backup.clone().any(|m| Some(m.target) == id && m.backup)
    }

    fn follow(&mut self, now: u64, happening: &Happening<'_>) {
        match happening {
            Happening::Server { server, health } => self.servers[*server].health = *health,
            Happening::Carrier { port, up } => self.up[*port] = *up,
            Happening::Applied { epoch, steps } => {
                self.epoch = *epoch;
                for step in *steps {
                    self.plan.apply(step.clone());
                }
                self.vmac = self.plan.clusters.first().map_or([0; 6], |cluster| cluster.vmac.0);
            }
            Happening::Acknowledged { epoch } => {
                if self.acknowledged == 0 {
                    self.data_path_ready = now;
                }
                self.acknowledged = *epoch;
            }
            Happening::Conditions(conditions) => self.conditions = (*conditions).clone(),
            Happening::DataPathDied => {}
            Happening::DataPathStarted => {
                self.data_path_ready = u64::MAX;
                self.plan = Plan::default();
                self.epoch = 0;
                self.acknowledged = 0;
                self.conditions = Conditions::default();
            }
            Happening::Quiet | Happening::Switchover => {}
        }
    }
}

/// Something that must hold.
pub trait Check: Debug {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// Frames have passed.
    fn turn(&mut self, _turn: &Turn<'_>, _known: &Known, _wrong: &mut Vec<String>) {}

    /// Something else has happened; `known` knows of it already.
    fn happens(&mut self, _now: u64, _what: &Happening<'_>, _known: &Known, _wrong: &mut Vec<String>) {}

    /// The run is over; figures it has taken.
    fn finish(&mut self, _now: u64, _known: &Known, _wrong: &mut Vec<String>) -> Vec<(&'static str, f64)> {
        Vec::new()
    }
}

/// All of them.
#[derive(Debug)]
pub struct Checks {
    /// What they know.
    pub known: Known,
    all: Vec<Box<dyn Check>>,
    /// When each server was last sent a new flow.
    last_new: Vec<Option<u64>>,
    /// The server that each client's newest connection began at.
    began_at: HashMap<(Ipv4Addr, u16), usize>,
    /// New flows by server.
    pub new: Vec<u64>,
    /// Clients' segments that each server was sent.
    pub reached: Vec<u64>,
    /// When a frame for one router was last sent to another (FS-13).
    pub last_redirect: Option<u64>,
    /// When a server's frame for each router was last sent to that one, or nowhere.
    pub last_direct: Vec<u64>,
    /// What was found.
    pub violations: Vec<Violation>,
}

impl Checks {
    /// All checkers at the start.
    pub fn new(known: Known) -> Self {
        let all: Vec<Box<dyn Check>> = vec![
            Box::new(one_server::OneServer),
            Box::new(ingress::Ingress),
            Box::new(inbound::Inbound),
            Box::new(outbound::Outbound),
            Box::new(isolation::Isolation),
            Box::new(accounting::Accounting),
            Box::new(binding::Binding::default()),
            Box::new(datagrams::Datagrams::default()),
            Box::new(down::Down::default()),
            Box::new(drain::Drain::default()),
            Box::new(liveness::Liveness::default()),
            Box::new(detection::Detection::default()),
            Box::new(roles::Roles::default()),
        ];
        let last_new = vec![None; known.servers.len()];
        let new = vec![0; known.servers.len()];
        let reached = new.clone();
        let last_direct = vec![0; known.routers];
        Self {
            known,
            all,
            last_new,
            began_at: HashMap::new(),
            new,
            reached,
            last_redirect: None,
            last_direct,
            violations: Vec::new(),
        }
    }

    /// So much is wrong that there is no point in going on.
    pub fn is_full(&self) -> bool {
        self.violations.len() >= ENOUGH
    }

    /// When a server was last sent a new flow.
    pub fn last_new_flow(&self, server: usize) -> Option<u64> {
        self.last_new.get(server).copied().flatten()
    }

    /// The server that a client's connection began at.
    pub fn server_of(&self, client: (Ipv4Addr, u16)) -> Option<usize> {
        self.began_at.get(&client).copied()
    }

    /// Adds one that a scenario has found.
    pub fn add(&mut self, violation: Violation) {
        self.violations.push(violation);
    }

    /// A turn of the switch.
    pub fn passes(&mut self, now: u64, passage: &Passage, counts: (Counts, Counts), trace: &Trace) {
        if passage.ins.is_empty() && passage.outs.is_empty() && counts.0 == counts.1 {
            return;
        }
        let turn = Turn { now, ins: seen(&passage.ins), outs: seen(&passage.outs), counts };
        for (server, client) in new_flows(&turn, &self.known) {
            self.last_new[server] = Some(now);
            if self.began_at.insert(client, server) != Some(server) {
                self.new[server] += 1;
            }
        }
        for out in &turn.outs {
            let client =
                out.frame.and_then(|f| f.content.addresses()).filter(|(_, to)| *to == self.known.vip);
            if let (Some(_), Some(_), Some(server)) = (client, out.of, self.known.server_at(out.port)) {
                self.reached[server] += 1;
            }
        }
        for (at, came) in turn.ins.iter().enumerate() {
            // Answers to probes end here.
            let far = |to: Ipv4Addr| to.octets()[..3] != self.known.vip.octets()[..3];
            let leaves = |f: &Frame<'_>| f.content.addresses().is_some_and(|(_, to)| far(to));
            let Some(frame) = came.frame.filter(leaves) else { continue };
            let Some(router) = self.known.router_macs.iter().position(|mac| *mac == frame.dst) else {
                continue;
            };
            if !turn.outs.iter().any(|out| out.of == Some(at) && out.port != router) {
                self.last_direct[router] = now;
            }
        }
        if redirected(&turn, &self.known).next().is_some() {
            self.last_redirect = Some(now);
        }
        let mut wrong = Vec::new();
        for check in &mut self.all {
            check.turn(&turn, &self.known, &mut wrong);
            report(now, check.name(), &mut wrong, trace, &mut self.violations);
        }
    }

    /// Something else.
    pub fn happens(&mut self, now: u64, what: &Happening<'_>, trace: &Trace) {
        self.known.follow(now, what);
        let mut wrong = Vec::new();
        for check in &mut self.all {
            check.happens(now, what, &self.known, &mut wrong);
            report(now, check.name(), &mut wrong, trace, &mut self.violations);
        }
    }

    /// The end.
    pub fn finish(&mut self, now: u64, trace: &Trace) -> Vec<(&'static str, f64)> {
        let mut wrong = Vec::new();
        let mut figures = Vec::new();
        for check in &mut self.all {
            figures.extend(check.finish(now, &self.known, &mut wrong));
            report(now, check.name(), &mut wrong, trace, &mut self.violations);
        }
        figures
    }
}

/// SYNs of clients that servers are sent: the server, the client's side.
pub(crate) fn new_flows<'a>(
    turn: &'a Turn<'_>,
    known: &'a Known,
) -> impl Iterator<Item = (usize, (Ipv4Addr, u16))> + 'a {
    turn.outs.iter().filter_map(|out| {
        let frame = out.frame?;
        let Content::Tcp(segment) = frame.content else { return None };
        let begins = segment.flags & (SYN | ACK | RST) == SYN;
        if segment.dst.0 != known.vip || !begins || out.of.is_none() {
            return None;
        }
        Some((known.server(out.port, frame.dst)?, segment.src))
    })
}

/// Frames for one router that were sent to another (FS-13).
pub(crate) fn redirected<'a>(
    turn: &'a Turn<'_>,
    known: &'a Known,
) -> impl Iterator<Item = &'a Seen<'a>> + 'a {
    let router = |bytes: &[u8]| known.router_macs.iter().any(|mac| bytes.get(..6) == Some(&mac[..]));
    turn.outs.iter().filter(move |out| {
        let came = out.of.map(|at| turn.ins[at].bytes);
        came.is_some_and(|came| came[..6] != out.bytes[..6] && router(came) && router(out.bytes))
    })
}

fn seen(all: &[Passing]) -> Vec<Seen<'_>> {
    all.iter()
        .map(|p| Seen { port: p.port, bytes: &p.bytes, frame: packet::read(&p.bytes), of: p.of })
        .collect()
}

fn report(
    at: u64,
    check: &'static str,
    wrong: &mut Vec<String>,
    trace: &Trace,
    violations: &mut Vec<Violation>,
) {
    for words in wrong.drain(..) {
        if violations.len() < ENOUGH {
            violations.push(Violation { at, check, words, last: trace.last() });
        }
    }
}
