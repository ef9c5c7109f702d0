//! The world of a run: one queue of events in virtual time.

use crate::checks::{Checks, Happening, Known, KnownServer, Passage, Violation};
use crate::clients::{Clients, Kind};
use crate::control::Control;
use crate::defect::Defect;
use crate::figures::Figures;
use crate::link::{Link, Trouble, Way};
use crate::queue::{MS, Queue, S};
use crate::random::Random;
use crate::router::{self, Router};
use crate::server::{self, Health, Server};
use crate::switch::DataPath;
use crate::topology::{Topology, VIP};
use crate::trace::Trace;
use control_config::Config;
use control_health::{CareEvent, Finding, Order, Saved};
use core::net::Ipv4Addr;
use dataplane_flow::TargetId;
use dataplane_message::{Boot, Plan, ToControl, ToDataPath};
use std::sync::Arc;

mod talk;

/// Between two turns of the switch without a frame.
const TICK: u64 = 5 * MS;
/// Between two turns of the publisher without a message.
const PUBLISHER: u64 = 10 * MS;
/// The shortest time between two writings of control's state file.
const WRITING: u64 = 1_000 * MS;
/// How long a frame waits in a receive queue at most.
const TURN: u64 = MS / 50;
/// A message through the socket between data path and control.
const SOCKET: u64 = MS / 5;
/// From a router to a client.
const INTERNET: u64 = 2 * MS;
/// How long the network behind routers takes to find that one is gone.
const REROUTE: u64 = 100 * MS;

/// What happens at a point in time.
#[derive(Debug)]
enum Event {
    ToSwitch(usize, Vec<u8>),
    FromSwitch(usize, Vec<u8>),
    ToClients(Vec<u8>),
    ToRouter(usize, Vec<u8>),
    Turn,
    Tick,
    ServerDue(usize),
    RouterDue(usize),
    ClientDue((Ipv4Addr, u16)),
    Arrival(u64),
    Flood(u64),
    Connected(u64, u64),
    NotConnected(u64),
    Disconnected(u64, u64),
    ToControl(u64, ToControl),
    ToDataPath(u64, ToDataPath),
    ControlDue(u64),
    Router(usize, bool),
}

/// A switch, what is around it, and what watches both.
#[derive(Debug)]
pub struct World {
    /// Nanoseconds since the start.
    pub now: u64,
    queue: Queue<Event>,
    /// What stands where.
    pub topology: Topology,
    /// Chance for scenarios.
    pub random: Random,
    seeds: Random,
    /// The servers.
    pub servers: Vec<Server>,
    server_due: Vec<Option<u64>>,
    /// The routers.
    pub routers: Vec<Router>,
    /// The clients.
    pub clients: Clients,
    links: Vec<Link>,
    /// The data path, if it runs.
    pub data_path: Option<DataPath>,
    boot: Boot,
    /// The control process, if it runs.
    pub control: Option<Control>,
    controls: u64,
    connections: u64,
    config: Arc<Config>,
    /// The state file, and when it may be written again.
    saved: (Saved, u64),
    /// What control had to say for its log, with names.
    pub log: Vec<(u64, CareEvent)>,
    passage: Passage,
    turn_at: Option<u64>,
    load: (f64, u64),
    flood: (f64, u64),
    /// The checkers.
    pub checks: Checks,
    /// What has happened.
    pub trace: Trace,
    /// What was measured.
    pub figures: Figures,
    /// A fault put into the switch on purpose.
    pub defect: Option<Defect>,
}

impl World {
    /// A world at its start: everything runs, nobody has asked for anything.
    ///
    /// # Panics
    ///
    /// When the topology makes no good configuration: a mistake in a scenario.
    pub fn new(seed: u64, topology: Topology, defect: Option<Defect>, loud: bool) -> Self {
        let config = Arc::new(parse(&topology));
        let boot = config.boot();
        let random = |name: &str| Random::new(seed, name);
        let servers: Vec<Server> = (0..topology.servers)
            .map(|n| {
                let work = topology.work.get(n).copied().unwrap_or(MS);
                let stream = random(&format!("server {n}"));
                let mut server = Server::new(Topology::server_mac(n), VIP, topology.gateway(), work, stream);
                if let Some(mistake) = topology.mistakes.get(n).copied().flatten() {
                    server.mistake(mistake);
                }
                server
            })
            .collect();
        let routers: Vec<Router> = (0..topology.routers)
            .map(|n| Router::new(Topology::router_mac(n), Topology::router_address(n)))
            .collect();
        let links: Vec<Link> =
            (0..topology.ports()).map(|n| Link::new(random(&format!("link {n}")))).collect();
        let known = Known {
            vip: VIP,
            vmac: [0; 6],
            routers: topology.routers,
            router_macs: (0..topology.routers).map(Topology::router_mac).collect(),
            router_addresses: (0..topology.routers).map(Topology::router_address).collect(),
            servers: (0..topology.servers)
                .map(|n| KnownServer {
                    name: Topology::server_name(n),
                    mac: Topology::server_mac(n),
                    port: topology.server_port(n),
                    health: Health::Well,
                })
                .collect(),
            ..Known::default()
        };
        let mut world = Self {
            now: 0,
            queue: Queue::default(),
            random: random("scenario"),
            seeds: random("seeds"),
            server_due: vec![None; servers.len()],
            servers,
            clients: Clients::new(VIP, routers.len(), random("clients")),
            routers,
            links,
            data_path: None,
            boot,
            control: None,
            controls: 0,
            connections: 0,
            config,
            saved: (Saved::default(), 0),
            log: Vec::new(),
            passage: Passage::default(),
            turn_at: None,
            load: (0.0, 0),
            flood: (0.0, 0),
            checks: Checks::new(known),
            trace: Trace::new(loud),
            figures: Figures::default(),
            defect,
            topology,
        };
        world.queue.push(TICK, Event::Tick);
        world.start_data_path();
        world.start_control();
        world.run(500 * MS);
        world
    }

    /// Lives on for so long.
    pub fn run(&mut self, nanoseconds: u64) {
        let until = self.now + nanoseconds;
        while let Some((at, event)) = self.queue.pop(until) {
            self.now = at;
            self.happen(event);
            if self.checks.is_full() {
                break;
            }
        }
        self.now = until;
    }

    /// Lives on until that holds, or so much time has passed; whether it held.
    pub fn run_until(&mut self, nanoseconds: u64, mut holds: impl FnMut(&Self) -> bool) -> bool {
        let until = self.now + nanoseconds;
        while !holds(self) {
            if self.now >= until || self.checks.is_full() {
                return false;
            }
            self.run(MS.min(until - self.now));
        }
        true
    }

    /// Notes something in the trace.
    pub fn note(&mut self, words: impl Into<String>) {
        self.trace.note(self.now, words.into());
    }

    /// What was found wrong by a scenario itself.
    pub fn violated(&mut self, check: &'static str, words: impl Into<String>) {
        let last = self.trace.last();
        self.checks.add(Violation { at: self.now, check, words: words.into(), last });
    }

    // What is done to it.

    /// Single requests begin at this rate per second from now on, by chance.
    pub fn load(&mut self, per_second: f64) {
        self.load = (per_second, self.load.1 + 1);
        self.next_arrival();
    }

    /// Bare SYNs from made-up sources at this rate per second.
    pub fn flood(&mut self, per_second: f64) {
        self.flood = (per_second, self.flood.1 + 1);
        self.next_flood();
    }

    /// Opens so many connections of a kind, spread over a time.
    pub fn open(&mut self, count: usize, kind: Kind, over: u64) {
        for _ in 0..count {
            self.clients.open(kind, self.now);
            self.serve_clients();
            self.run(over / count.max(1) as u64);
        }
    }

    /// Sends what clients have to send.
    pub fn serve(&mut self) {
        self.serve_clients();
    }

    /// A client ends its connection, in good order.
    pub fn close_client(&mut self, client: (Ipv4Addr, u16)) {
        self.clients.close_one(client, self.now);
        self.serve_clients();
    }

    /// Something happens to a server.
    pub fn server(&mut self, server: usize, health: Health) {
        self.note(format!("server {server} is {health:?}"));
        let mut sends = server::Sends::default();
        self.servers[server].become_(health, self.now, &mut sends);
        self.checks.happens(self.now, &Happening::Server { server, health }, &self.trace);
        self.sent_by_server(server, sends);
    }

    /// A server asks its router something of its own.
    pub fn speak(&mut self, server: usize) {
        let mut sends = server::Sends::default();
        self.servers[server].speak(self.now, &mut sends);
        self.sent_by_server(server, sends);
    }

    /// A frame goes into the switch that none of the hosts here sends.
    pub fn strange(&mut self, port: usize, frame: Vec<u8>) {
        self.queue.push(self.now, Event::ToSwitch(port, frame));
    }

    /// A port's carrier comes or goes.
    pub fn carrier(&mut self, port: usize, up: bool) {
        self.note(format!("carrier of p{port} {}", if up { "up" } else { "down" }));
        self.links[port].up = up;
        if port < self.topology.routers {
            self.reroute(port);
        }
        if let Some(data_path) = &mut self.data_path {
            data_path.port(port, up, self.now);
        }
        self.checks.happens(self.now, &Happening::Carrier { port, up }, &self.trace);
        self.listen();
        self.turn();
    }

    /// A router comes or goes: it, or its way to the clients.
    pub fn router(&mut self, router: usize, alive: bool, uplink: bool) {
        self.note(format!("router {router}: alive {alive}, uplink {uplink}"));
        self.routers[router].alive = alive;
        self.routers[router].uplink = uplink;
        self.reroute(router);
    }

    fn reroute(&mut self, router: usize) {
        let usable = self.routers[router].alive && self.routers[router].uplink && self.links[router].up;
        self.queue.push(self.now + REROUTE, Event::Router(router, usable));
    }

    /// Trouble on a cable.
    pub fn trouble(&mut self, port: usize, trouble: Trouble) {
        self.note(format!("trouble on p{port}: {trouble:?}"));
        self.links[port].trouble(trouble);
    }

    /// Another configuration, by way of control.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Topology)) {
        change(&mut self.topology);
        self.config = Arc::new(parse(&self.topology));
        self.note("another configuration");
        let config = Arc::clone(&self.config);
        if let Some(control) = &mut self.control {
            let now = control.instant(self.now);
            control.conversation.handle_config(config, now);
            self.follow_control();
        }
    }

    /// The plan in force is what the file says.
    pub fn is_settled(&self) -> bool {
        self.control.as_ref().is_some_and(|control| {
            let wanted = control.conversation.wanted().plan(Some(&self.checks.known.plan));
            control.settled == Some(self.checks.known.epoch) && wanted == self.checks.known.plan
        })
    }

    /// The operator orders something; whether control took it.
    pub fn order(&mut self, order: Order) -> bool {
        self.note(format!("order {order:?}"));
        if matches!(order, Order::Switchover { .. }) {
            self.checks.happens(self.now, &Happening::Switchover, &self.trace);
        }
        let Some(control) = &mut self.control else { return false };
        let now = control.instant(self.now);
        let done = control.care.handle_order(order, now);
        self.follow_control();
        done.is_ok()
    }

    /// A server's number in the plan.
    ///
    /// # Panics
    ///
    /// When it is not in the plan: a mistake in a scenario.
    pub fn target(&self, server: usize) -> TargetId {
        self.checks.known.target(server).expect("the server is in the plan")
    }

    /// What the doctor says.
    pub fn findings(&self) -> Vec<Finding> {
        self.control.as_ref().map(|control| control.care.findings()).unwrap_or_default()
    }

    /// The control process ends at once.
    pub fn kill_control(&mut self) {
        self.note("control killed");
        let Some(control) = self.control.take() else { return };
        if let Some(link) = control.link {
            self.queue.push(self.now + SOCKET, Event::Disconnected(0, link));
        }
    }

    /// A control process starts.
    pub fn start_control(&mut self) {
        self.note("control started");
        self.controls += 1;
        let (config, saved) = (Arc::clone(&self.config), self.saved.0.clone());
        let control = Control::start(self.controls, config, self.seeds.next(), saved, self.now);
        self.control = Some(control);
        self.saved.1 = 0;
        self.follow_control();
    }

    /// Control stands still for so long.
    pub fn pause_control(&mut self, nanoseconds: u64) {
        self.note(format!("control pauses for {} ms", nanoseconds / MS));
        if let Some(control) = &mut self.control {
            control.paused_until = self.now + nanoseconds;
            let (number, until) = (control.number, control.paused_until);
            self.queue.push(until, Event::ControlDue(number));
        }
    }

    /// Control's clock jumps forward.
    pub fn jump_control(&mut self, nanoseconds: u64) {
        self.note(format!("control's clock jumps by {} ms", nanoseconds / MS));
        if let Some(control) = &mut self.control {
            control.jump(nanoseconds);
            self.wake_control();
        }
    }

    /// The data path ends at once: what comes is lost.
    pub fn kill_data_path(&mut self) {
        self.note("data path killed");
        let Some(data_path) = self.data_path.take() else { return };
        self.passage = Passage::default();
        self.turn_at = None;
        self.checks.happens(self.now, &Happening::DataPathDied, &self.trace);
        if let (Some(link), Some(control)) = (data_path.link, &self.control) {
            self.queue.push(self.now + SOCKET, Event::Disconnected(control.number, link));
        }
    }

    /// A data path starts.
    pub fn start_data_path(&mut self) {
        self.note("data path started");
        let boot_id = self.seeds.next();
        let seed = core::array::from_fn(|_| self.seeds.next());
        let mut data_path = DataPath::start(&self.boot, boot_id, seed, self.now);
        for (port, link) in self.links.iter().enumerate() {
            data_path.port(port, link.up, self.now);
        }
        self.data_path = Some(data_path);
        self.checks.happens(self.now, &Happening::DataPathStarted, &self.trace);
    }

    /// Faults have ended: from now on what must come about in time is expected.
    pub fn quiet(&mut self) {
        self.note("no more faults");
        self.checks.happens(self.now, &Happening::Quiet, &self.trace);
    }

    /// The run is over: what the checkers have to say at the end.
    pub fn finish(&mut self) {
        let sum = self.checks.finish(self.now, &self.trace);
        for (name, value) in sum {
            self.figures.add(name, value);
        }
        let counts = self.clients.counts;
        for (name, value) in [
            ("connections opened", counts.opened),
            ("connections established", counts.established),
            ("answers", counts.answers),
            ("refused", counts.refused),
            ("reset", counts.reset),
            ("timed out", counts.timed_out),
        ] {
            self.figures.add(name, value as f64);
        }
    }

    // What happens.

    fn happen(&mut self, event: Event) {
        match event {
            Event::ToSwitch(port, bytes) => self.goes_in(port, bytes),
            Event::FromSwitch(port, bytes) => self.comes_out(port, &bytes),
            Event::ToClients(packet) => {
                self.clients.handle(&packet, self.now);
                self.serve_clients();
            }
            Event::ToRouter(router, packet) => {
                let mut sends = router::Sends::default();
                self.routers[router].forward(packet, self.now, &mut sends);
                self.sent_by_router(router, sends);
            }
            Event::Turn => {
                self.turn_at = None;
                self.turn();
            }
            Event::Tick => {
                self.turn();
                if self.now.is_multiple_of(PUBLISHER) {
                    self.publisher();
                }
                self.queue.push(self.now + TICK, Event::Tick);
            }
            Event::ServerDue(server) => {
                if self.server_due[server].is_some_and(|at| at <= self.now) {
                    self.server_due[server] = None;
                }
                let mut sends = server::Sends::default();
                self.servers[server].handle_deadline(self.now, &mut sends);
                self.sent_by_server(server, sends);
            }
            Event::RouterDue(router) => {
                let mut sends = router::Sends::default();
                if self.routers[router].alive {
                    self.routers[router].neighbours.handle_deadline(self.now, &mut sends.frames);
                }
                self.sent_by_router(router, sends);
            }
            Event::ClientDue(key) => {
                self.clients.handle_deadline(key, self.now);
                self.serve_clients();
            }
            Event::Arrival(number) => {
                if number == self.load.1 {
                    self.clients.open(Kind::Request, self.now);
                    self.serve_clients();
                    self.next_arrival();
                }
            }
            Event::Flood(number) => {
                if number == self.flood.1 {
                    let host = self.random.between(1, 120_000) as u32;
                    let source = Ipv4Addr::from(u32::from(Ipv4Addr::new(203, 0, 0, 0)) + host);
                    let port = self.random.between(1024, 65_000) as u16;
                    self.clients.bare_syn((source, port), 80);
                    self.serve_clients();
                    self.next_flood();
                }
            }
            Event::Router(router, usable) => self.clients.usable[router] = usable,
            Event::Connected(number, link) => self.connected(number, link),
            Event::NotConnected(number) => {
                if let Some(control) = self.control.as_mut().filter(|c| c.number == number) {
                    let now = control.instant(self.now);
                    control.conversation.handle_disconnected(now);
                    self.follow_control();
                }
            }
            Event::Disconnected(number, link) => self.disconnected(number, link),
            Event::ToControl(link, message) => {
                if let Some(control) = self.control.as_mut().filter(|c| c.link == Some(link)) {
                    control.inbox.push_back(message);
                    self.serve_control();
                }
            }
            Event::ToDataPath(link, message) => self.tell_data_path(link, message),
            Event::ControlDue(number) => {
                if self.control.as_ref().is_some_and(|c| c.number == number) {
                    self.serve_control();
                }
            }
        }
    }

    fn next_arrival(&mut self) {
        if self.load.0 > 0.0 {
            let wait = self.random.waiting(S as f64 / self.load.0) as u64;
            self.queue.push(self.now + wait, Event::Arrival(self.load.1));
        }
    }

    fn next_flood(&mut self) {
        if self.flood.0 > 0.0 {
            let wait = self.random.waiting(S as f64 / self.flood.0) as u64;
            self.queue.push(self.now + wait, Event::Flood(self.flood.1));
        }
    }

    fn goes_in(&mut self, port: usize, bytes: Vec<u8>) {
        if !self.links[port].up {
            return;
        }
        let Some(data_path) = &mut self.data_path else { return };
        self.trace.frame(self.now, true, port, &bytes);
        data_path.push(port, &bytes);
        self.passage.goes_in(port, bytes);
        if self.turn_at.is_none() {
            let at = (self.now / TURN + 1) * TURN;
            self.turn_at = Some(at);
            self.queue.push(at, Event::Turn);
        }
    }

    /// The switch works off what has come.
    fn turn(&mut self) {
        let Some(data_path) = &mut self.data_path else { return };
        let before = data_path.counts();
        let (trace, passage, now) = (&mut self.trace, &mut self.passage, self.now);
        data_path.turn(now, |port, bytes| passage.comes_out(port, bytes.to_vec()));
        let after = data_path.counts();
        if let Some(defect) = self.defect {
            defect.spoil(passage, &self.checks.known);
        }
        for out in &passage.outs {
            trace.frame(now, false, out.port, &out.bytes);
        }
        let passage = core::mem::take(passage);
        self.checks.passes(now, &passage, (before, after), trace);
        for out in passage.outs {
            for at in self.links[out.port].send(Way::Out, now) {
                self.queue.push(at, Event::FromSwitch(out.port, out.bytes.clone()));
            }
        }
    }

    /// The publisher does what is due, and speaks.
    fn publisher(&mut self) {
        let Some(data_path) = &mut self.data_path else { return };
        data_path.publisher_turn(self.now);
        self.listen();
    }

    /// Takes what the data path says to control.
    fn listen(&mut self) {
        let Some(data_path) = &mut self.data_path else { return };
        while self.control.as_ref().is_none_or(Control::has_room)
            && let Some(message) = data_path.poll_message()
        {
            if let ToControl::Ack { epoch } = message {
                self.trace.note(self.now, format!("plan {epoch} acknowledged"));
                self.checks.happens(self.now, &Happening::Acknowledged { epoch }, &self.trace);
            }
            if let Some(link) = data_path.link {
                self.queue.push(self.now + SOCKET, Event::ToControl(link, message));
            }
        }
    }

    fn comes_out(&mut self, port: usize, bytes: &[u8]) {
        if !self.links[port].up {
            return;
        }
        match self.topology.server_at(port) {
            Some(server) => {
                let mut sends = server::Sends::default();
                self.servers[server].handle(bytes, self.now, &mut sends);
                self.sent_by_server(server, sends);
            }
            None => {
                let mut sends = router::Sends::default();
                self.routers[port].handle(bytes, self.now, &mut sends);
                self.sent_by_router(port, sends);
            }
        }
    }

    fn sent_by_server(&mut self, server: usize, sends: server::Sends) {
        let port = self.topology.server_port(server);
        for bytes in sends.frames {
            for at in self.links[port].send(Way::In, self.now) {
                self.queue.push(at, Event::ToSwitch(port, bytes.clone()));
            }
        }
        for packet in sends.past {
            self.queue.push(self.now + INTERNET, Event::ToClients(packet));
        }
        if let Some(at) = self.servers[server].next_deadline()
            && self.server_due[server].is_none_or(|known| at < known)
        {
            self.server_due[server] = Some(at);
            self.queue.push(at.max(self.now), Event::ServerDue(server));
        }
    }

    fn sent_by_router(&mut self, router: usize, sends: router::Sends) {
        for bytes in sends.frames {
            for at in self.links[router].send(Way::In, self.now) {
                self.queue.push(at, Event::ToSwitch(router, bytes.clone()));
            }
        }
        for packet in sends.packets {
            self.queue.push(self.now + INTERNET, Event::ToClients(packet));
        }
        if let Some(at) = self.routers[router].neighbours.next_deadline() {
            self.queue.push(at.max(self.now), Event::RouterDue(router));
        }
    }

    fn serve_clients(&mut self) {
        for send in core::mem::take(&mut self.clients.sends) {
            self.queue.push(self.now + INTERNET, Event::ToRouter(send.router, send.packet));
        }
        for (key, at) in core::mem::take(&mut self.clients.touched) {
            self.queue.push(at.max(self.now), Event::ClientDue(key));
        }
    }
}

fn parse(topology: &Topology) -> Config {
    let file = topology.file();
    Config::parse(&file).unwrap_or_else(|errors| panic!("{:?}\n{file}", errors.errors))
}

/// A plan's server by name.
pub(crate) fn target_of(plan: &Plan, name: &str) -> Option<TargetId> {
    plan.targets.iter().find(|target| target.name == name).map(|target| target.id)
}
