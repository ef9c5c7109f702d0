//! The publisher: the data path's half that never touches a packet.
//!
//! It is a machine without I/O: messages, links and the passing of time go in by the `handle_`
//! methods, messages for control come out of [`Publisher::poll_message`]. The process around it owns
//! sockets and clocks; in the simulator it runs beside the workers in one thread.

mod alarms;
mod flows;
mod members;
mod overtaken;
mod report;
mod signs;

use crate::bridge_table::{BridgeTable, Sighting};
use crate::seat::{self, Crossing, Desk, WorkerSeat};
use alarms::Alarms;
use dataplane_cpu::NoMemory;
use dataplane_engine::{Counters, Engine, Event, Inputs, OwnTables, Settings, Tables};
use dataplane_flow::{CLUSTERS_MAX, ClusterId, Instant, TARGETS_MAX, TargetId};
use dataplane_message::{
    AlarmKind, Boot, Conditions, MacPlan, Plan, PortCounts, Step, TargetPlan, ToControl, ToDataPath, VERSION,
};
use dataplane_port::{PORTS_MAX, PortId, PortSet, VlanId, WorkerId};
use dataplane_wire::{MacAddr, lldp};
use flows::Question;
use members::Members;
use overtaken::Overtaken;
use signs::Told;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// What is known of a port's device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PortState {
    /// The device is attached.
    pub attached: bool,
    /// Its link is up.
    pub up: bool,
    /// Its own MAC address.
    pub mac: MacAddr,
    /// Driver and arguments.
    pub device: String,
    /// What the operator should know about it.
    pub note: Option<String>,
}

#[derive(Clone, Debug, Default)]
struct Port {
    state: PortState,
    counts: PortCounts,
    neighbour: Option<String>,
}

/// Changes that may wait are gathered for this long before tables are made anew.
const GATHER_NS: u64 = 10_000_000;
/// Messages for control beyond which punted frames are left out.
const WAITING_MAX: usize = 64;
/// ... and beyond which answers to probes are.
const ANSWERS_MAX: usize = 4096;
/// A port that has not had carrier yet is taken for one that is coming up so long after the start.
const LINKS_NS: u64 = 10_000_000_000;
const REPORT_NS: u64 = 1_000_000_000;
const LLDP_NS: u64 = 30_000_000_000;

/// The data path's publisher.
#[derive(Debug)]
pub struct Publisher {
    name: String,
    boot_id: u64,
    started: Instant,
    plan: Plan,
    epoch: u64,
    /// What control has decided beside the plan.
    conditions: Conditions,
    /// Primaries whose deaths control may not know of.
    overtaken: Overtaken,
    /// Ports that have had carrier; after a while all count.
    seen_up: PortSet,
    links_settled: bool,
    /// The plan's number that control has not been told of yet, and the count of tables handed out with
    /// those that were made of it.
    unacknowledged: Option<(u64, Option<u64>)>,
    tables: Arc<Tables>,
    /// When tables are to be made anew.
    rebuild_at: Option<Instant>,
    /// Some address was learned, or learned elsewhere, since tables were made.
    moved: bool,
    desks: Vec<Desk>,
    counters: Arc<[Counters]>,
    ports: Vec<Port>,
    bridge: BridgeTable,
    server_macs: HashMap<TargetId, MacAddr>,
    contenders: HashMap<TargetId, MacAddr>,
    alarms: Alarms,
    members: Members,
    /// The signs that control was told.
    told: Told,
    questions: Vec<Question>,
    report_at: Instant,
    lldp_at: Instant,
    connected: bool,
    /// Frames of control for which worker 0's ring had no room.
    inject_lost: u64,
    out: VecDeque<ToControl>,
}

impl Publisher {
    /// A publisher and the seats of its workers. `seed` is random: it keys the workers' tables.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] for the flow tables.
    pub fn new(
        boot: &Boot,
        boot_id: u64,
        seed: [u64; 4],
        now: Instant,
    ) -> Result<(Self, Vec<WorkerSeat>), NoMemory> {
        let workers = boot.workers.max(1);
        let counters: Arc<[Counters]> = (0..workers).map(|_| Counters::default()).collect();
        let mut seats = Vec::new();
        let mut desks = Vec::new();
        for worker in 0..workers {
            let settings = Settings {
                worker: WorkerId(worker),
                workers,
                flows_max: boot.flows_max as usize / usize::from(workers),
                datagrams_max: 65_536 / usize::from(workers),
                table_seed: [seed[0] ^ seed[2], seed[1] ^ seed[3]],
            };
            let engine = Engine::new(&settings, Arc::clone(&counters))?;
            let (seat, desk) = seat::join(engine, boot.ports.len().min(PORTS_MAX) as u8);
            seats.push(seat);
            desks.push(desk);
        }
        let publisher = Self {
            name: boot.name.clone(),
            boot_id,
            started: now,
            plan: Plan::default(),
            epoch: 0,
            conditions: Conditions::default(),
            overtaken: Overtaken::default(),
            seen_up: PortSet::EMPTY,
            links_settled: false,
            unacknowledged: None,
            tables: Arc::new(Tables::empty()),
            rebuild_at: None,
            moved: false,
            desks,
            counters,
            ports: vec![Port::default(); boot.ports.len().min(PORTS_MAX)],
            bridge: BridgeTable::default(),
            server_macs: HashMap::new(),
            contenders: HashMap::new(),
            alarms: Alarms::default(),
            members: Members::default(),
            told: Told::default(),
            questions: Vec::new(),
            report_at: now,
            lldp_at: now,
            connected: false,
            inject_lost: 0,
            out: VecDeque::new(),
        };
        Ok((publisher, seats))
    }

    /// A message from control.
    pub fn handle_message(&mut self, message: ToDataPath, now: Instant) {
        match message {
            ToDataPath::Hello { version, .. } if version != VERSION => {
                let reason = format!(
                    "control speaks version {version}, this data path {VERSION}; install both from one release"
                );
                self.out.push_back(ToControl::Refused { epoch: 0, reason });
            }
            ToDataPath::Hello { .. } => {
                // A newer connection replaces an older one, and what was meant for it.
                self.out.clear();
                self.questions.clear();
                self.connected = true;
                self.report_at = Instant(now.0 + REPORT_NS);
                self.told = Told::default();
                let report = Box::new(self.report(now));
                self.out.push_back(ToControl::Snapshot {
                    version: VERSION,
                    boot_id: self.boot_id,
                    epoch: self.epoch,
                    plan: Box::new(self.plan.clone()),
                    conditions: Box::new(self.conditions.clone()),
                    report,
                });
            }
            ToDataPath::Apply { epoch, steps } => self.apply(epoch, steps, now),
            ToDataPath::Conditions(mut conditions) => {
                self.overtaken.correct(&mut conditions.orders, &self.conditions.orders);
                // What is the same again makes no tables.
                if self.conditions != *conditions {
                    self.conditions = *conditions;
                    self.rebuild_at = Some(now);
                    self.publish(now);
                }
            }
            ToDataPath::ListFlows { query, filter } => self.ask(query, &filter),
            ToDataPath::AcceptMac { target, mac } => self.accept_mac(target, mac, now),
            ToDataPath::Inject { port, frame } => self.inject(port, &frame),
        }
    }

    fn apply(&mut self, epoch: u64, steps: Vec<Step>, now: Instant) {
        let mut plan = self.plan.clone();
        for step in steps {
            plan.apply(step);
        }
        match self.check(&plan) {
            Ok(()) => {
                self.plan = plan;
                self.members.follow(&self.plan, &self.counters);
                self.told.follow(&self.plan);
                self.epoch = epoch;
                self.unacknowledged = Some((epoch, None));
                let targets = &self.plan.targets;
                let learns = |id: &TargetId| targets.iter().any(|t| t.id == *id && t.mac == MacPlan::Learn);
                self.server_macs.retain(|id, _| learns(id));
                self.contenders.retain(|id, _| learns(id));
                self.rebuild_at = Some(now);
                self.publish(now);
            }
            Err(reason) => self.out.push_back(ToControl::Refused { epoch, reason }),
        }
    }

    /// Control makes only valid plans; this refuses what would not fit this data path.
    fn check(&self, plan: &Plan) -> Result<(), String> {
        if plan.ports.len() > self.ports.len() {
            return Err(format!(
                "the plan has {} ports, this data path was started with {}; restart it",
                plan.ports.len(),
                self.ports.len()
            ));
        }
        if plan.targets.iter().any(|t| t.id.index() >= TARGETS_MAX) {
            return Err(format!("server numbers end at {}", TARGETS_MAX - 1));
        }
        if plan.clusters.iter().any(|c| usize::from(c.id.0) >= CLUSTERS_MAX) {
            return Err(format!("cluster numbers end at {}", CLUSTERS_MAX - 1));
        }
        let missing = plan.clusters.iter().find(|c| {
            c.services.is_empty()
                || c.servers
                    .iter()
                    .chain(c.services.iter().flat_map(|s| s.members.iter().map(|m| &m.target)))
                    .any(|id| !plan.targets.iter().any(|t| t.id == *id))
        });
        match missing {
            Some(cluster) => Err(format!("cluster {} names a server that the plan lacks", cluster.name)),
            None => Ok(()),
        }
    }

    /// Control has gone. The data path goes on with what it has.
    pub fn handle_disconnect(&mut self, _now: Instant) {
        self.connected = false;
        self.out.clear();
        self.questions.clear();
    }

    /// A port's device or link is in this state.
    pub fn handle_port(&mut self, port: PortId, state: PortState, now: Instant) {
        let Some(known) = self.ports.get_mut(port.index()) else { return };
        let changed = (known.state.attached && known.state.up) != (state.attached && state.up)
            || known.state.mac != state.mac;
        let differs = known.state != state;
        known.state = state;
        if changed {
            if !(known.state.attached && known.state.up) {
                known.neighbour = None;
                self.bridge.forget_port(port);
            }
            self.rebuild_at = Some(now);
            self.publish(now);
            self.tell_signs(now, true);
        }
        if differs {
            self.report_at = now;
        }
    }

    /// A port's device has counted so much.
    pub fn set_port_counts(&mut self, port: PortId, counts: PortCounts) {
        if let Some(known) = self.ports.get_mut(port.index()) {
            known.counts = counts;
        }
    }

    /// Does what is due. Call at least every 10 ms.
    pub fn handle_deadline(&mut self, now: Instant) {
        self.collect(now);
        if !self.links_settled && now.since(self.started) >= LINKS_NS {
            self.links_settled = true;
            self.rebuild_at = Some(now);
        }
        if self.bridge.age(&self.plan.bridge, now) {
            self.rebuild_soon(now);
        }
        self.publish(now);
        self.acknowledge();
        self.answer();
        self.tell_signs(now, false);
        if now >= self.lldp_at {
            self.lldp_at = Instant(now.0 + LLDP_NS);
            self.announce_neighbour();
        }
        if now >= self.report_at {
            self.report_at = Instant(now.0 + REPORT_NS);
            if self.connected {
                // One that nobody has taken yet is out of date.
                self.out.retain(|message| !matches!(message, ToControl::Report(_)));
                let report = Box::new(self.report(now));
                self.out.push_back(ToControl::Report(report));
            }
        }
    }

    /// Rows of a listing are under way: the ring that they come by holds a thousand, so the deadline is to be
    /// handled again soon, or they wait for it.
    pub fn is_listing(&self) -> bool {
        !self.questions.is_empty()
    }

    /// The next message for control.
    pub fn poll_message(&mut self) -> Option<ToControl> {
        self.out.pop_front()
    }

    fn rebuild_soon(&mut self, now: Instant) {
        self.rebuild_at.get_or_insert(Instant(now.0 + GATHER_NS));
    }

    /// Makes tables anew if that is due, and hands them to all workers.
    fn publish(&mut self, now: Instant) {
        if self.rebuild_at.is_none_or(|at| at > now) {
            return;
        }
        // All or none: a worker that is slow to take its tables makes this wait.
        if self.desks.iter().any(|desk| desk.tables_out.slots() == 0) {
            return;
        }
        self.rebuild_at = None;
        let learned = self.bridge.stations();
        let up = self.up();
        self.seen_up = self.seen_up.or(up);
        let macs = &self.server_macs;
        let port_macs: Vec<MacAddr> = self.ports.iter().map(|port| port.state.mac).collect();
        self.tables = Arc::new(Tables::build(&Inputs {
            plan: &self.plan,
            epoch: self.epoch,
            conditions: &self.conditions,
            members: &|cluster, service, target| self.members.place(cluster, service, target),
            up,
            server_macs: &|id| macs.get(&id).copied(),
            port_macs: &port_macs,
            learned: &learned,
            moved: core::mem::take(&mut self.moved),
            previous: Some(&self.tables),
        }));
        for (cluster, order) in self.tables.succession(&self.plan, &self.conditions) {
            if !self.links_settled && self.comes_up(cluster) {
                continue;
            }
            let orders = &mut self.conditions.orders;
            let place = orders.iter().position(|(id, _)| *id == cluster);
            let before = place.map(|place| orders.remove(place).1);
            let configured = || self.plan.clusters.iter().find(|c| c.id == cluster).map(|c| &c.servers[..]);
            self.overtaken.note(cluster, before.as_deref().or_else(configured).unwrap_or_default());
            orders.push((cluster, order));
        }
        for desk in &mut self.desks {
            if desk.tables_out.push(OwnTables::new(Arc::clone(&self.tables))).is_ok() {
                desk.out += 1;
            }
        }
        if let (Some((_, made @ None)), Some(desk)) = (&mut self.unacknowledged, self.desks.first()) {
            *made = Some(desk.out);
        }
    }

    /// Whether the primary's port comes up still: after a start links are there one by one, and who is primary
    /// does not depend on which is first (FS-14).
    fn comes_up(&self, cluster: ClusterId) -> bool {
        let Some(plan) = self.plan.clusters.iter().find(|c| c.id == cluster) else { return false };
        let decided = self.conditions.orders.iter().find(|(id, _)| *id == cluster).map(|(_, order)| order);
        let primary = decided.into_iter().flatten().chain(&plan.servers).find(|id| plan.servers.contains(id));
        let target = self.plan.targets.iter().find(|t| Some(&t.id) == primary);
        target.is_some_and(|target| !self.seen_up.contains(target.port))
    }

    /// Ports that are attached and have carrier.
    fn up(&self) -> PortSet {
        let up = |port: &PortId| {
            let state = &self.ports[port.index()].state;
            state.attached && state.up
        };
        (0..self.ports.len() as u8).map(PortId).filter(up).collect()
    }

    /// Frees tables that came back; a plan that every worker has taken is acknowledged.
    fn acknowledge(&mut self) {
        for desk in &mut self.desks {
            while desk.tables_back.pop().is_ok() {
                desk.back += 1;
            }
        }
        // By count, and not by having all tables back: newer ones are always under way while stations
        // come and go.
        let Some((epoch, Some(made))) = self.unacknowledged else { return };
        if self.desks.iter().all(|desk| desk.back >= made) {
            self.unacknowledged = None;
            // What control shows next should be of the new plan.
            self.report_at = Instant(0);
            if self.connected {
                self.out.push_back(ToControl::Ack { epoch });
            }
        }
    }

    /// Takes what workers have seen.
    fn collect(&mut self, now: Instant) {
        for desk in 0..self.desks.len() {
            // Bounded: a flood of sightings must not keep the publisher from anything else.
            for _ in 0..4096 {
                let Ok(event) = self.desks[desk].events.pop() else { break };
                self.handle_event(event, now);
            }
            while let Ok(crossing) = self.desks[desk].punts.pop() {
                self.handle_punt(&crossing);
            }
            while let Ok(crossing) = self.desks[desk].answers.pop() {
                self.pass_on(&crossing, ANSWERS_MAX);
            }
        }
    }

    fn handle_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Seen { vlan, mac, port } => match self.bridge.see(vlan, mac, port, &self.plan.bridge, now)
            {
                Sighting::Changed => {
                    self.moved = true;
                    self.rebuild_soon(now);
                }
                Sighting::Flapping => {
                    self.alarms.raise(AlarmKind::Flapping, port, vlan, mac, None, now.since(self.started));
                }
                Sighting::Known | Sighting::Full => {}
            },
            Event::ServerMac { target, mac } => self.server_mac(target, mac, now),
            Event::Alarm { kind, port, vlan, mac, address } => {
                self.alarms.raise(kind, port, vlan, mac, address, now.since(self.started));
            }
        }
    }

    /// FS-1: the first MAC is taken, another one is an alarm.
    fn server_mac(&mut self, target: TargetId, mac: MacAddr, now: Instant) {
        let Some(plan) = self.plan.targets.iter().find(|t| t.id == target) else { return };
        if plan.mac != MacPlan::Learn || mac.is_multicast() || mac == MacAddr::ZERO {
            return;
        }
        // Several servers behind one port: an address that is one's is not another's, and while one is
        // still without, a second address is its.
        let beside = |t: &&TargetPlan| t.id != target && t.port == plan.port;
        let of = |t: &TargetPlan| match t.mac {
            MacPlan::Fixed(mac) => Some(mac),
            MacPlan::Learn => self.server_macs.get(&t.id).copied(),
        };
        let waits = self.server_macs.contains_key(&target);
        let is_another = |t: &TargetPlan| of(t).map_or(waits, |known| known == mac);
        if self.plan.targets.iter().filter(beside).any(is_another) {
            return;
        }
        match self.server_macs.get(&target) {
            None => {
                self.server_macs.insert(target, mac);
                self.rebuild_at = Some(now);
                self.publish(now);
            }
            Some(known) if *known != mac => {
                self.contenders.insert(target, mac);
                let at = now.since(self.started);
                self.alarms.raise(AlarmKind::ServerMacChanged, plan.port, VlanId(0), mac, None, at);
            }
            Some(_) => {}
        }
    }

    /// The operator says that a server has a new MAC: only the one that contends for it now.
    fn accept_mac(&mut self, target: TargetId, mac: MacAddr, now: Instant) {
        if self.contenders.get(&target) == Some(&mac) {
            self.contenders.remove(&target);
            self.server_macs.insert(target, mac);
            self.rebuild_at = Some(now);
            self.publish(now);
            self.report_at = now;
        }
    }

    fn handle_punt(&mut self, crossing: &Crossing) {
        let frame = crossing.bytes();
        let neighbour = frame.get(14..).and_then(|payload| lldp::Neighbour::parse(payload).ok());
        if let (Some(neighbour), Some(port)) = (neighbour, self.ports.get_mut(crossing.port.index())) {
            port.neighbour = Some(neighbour.to_string());
        }
        self.pass_on(crossing, WAITING_MAX);
    }

    fn pass_on(&mut self, crossing: &Crossing, max: usize) {
        if self.connected && self.out.len() < max {
            let frame = crossing.bytes().to_vec();
            self.out.push_back(ToControl::Punt { port: crossing.port, frame });
        }
    }

    fn inject(&mut self, port: PortId, frame: &[u8]) {
        if let Some(desk) = self.desks.first_mut() {
            // A full ring drops the frame, as a full queue would.
            if desk.inject.push(Crossing::new(port, frame)).is_err() {
                self.inject_lost += 1;
            }
        }
    }

    /// Tells link-layer neighbours who is here (FS-5).
    fn announce_neighbour(&mut self) {
        for port in &self.plan.ports {
            let Some(state) = self.ports.get(port.id.index()).map(|p| p.state.clone()) else { continue };
            if !(state.attached && state.up) || state.mac == MacAddr::ZERO {
                continue;
            }
            let announcement = lldp::Announcement {
                chassis: state.mac,
                port: &port.name,
                system_name: &self.name,
                ttl_s: 120,
            };
            let mut frame = vec![0; announcement.frame_len()];
            announcement.emit_frame(state.mac, &mut frame);
            if let Some(desk) = self.desks.first_mut()
                && desk.inject.push(Crossing::new(port.id, &frame)).is_err()
            {
                self.inject_lost += 1;
            }
        }
    }
}
