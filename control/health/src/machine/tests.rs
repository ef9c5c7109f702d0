//! Scenarios in virtual time: the probers and the data path are a few lines here.

use super::*;
use crate::order::{Order, OrderError};
use crate::roles::Role;
use crate::settings::{PoolCare, RouterCare, RouterCheck, ServerCare, ServiceCare};
use dataplane_message::{
    BridgePlan, Chooser, ClusterMode, DeadFlows, Fail, Member as MemberPlan, MemberSigns, PoolPlan, PortPlan,
    PortRole, Redirect, RouterPlan, ServicePlan, Spread, Stp, TargetSigns, Timeouts, UdpMode,
};
use std::collections::HashMap;

pub(super) const C: ClusterId = ClusterId(0);
pub(super) const A: TargetId = TargetId(0);
pub(super) const B: TargetId = TargetId(1);

pub(super) fn ms(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn port(id: u8, role: PortRole) -> PortPlan {
    PortPlan {
        id: PortId(id),
        name: format!("p{id}"),
        role,
        untagged: Some(VlanId(1)),
        tagged: Vec::new(),
        shared: false,
        stp: Stp::Forward,
        storm_pps: 0,
    }
}

/// `servers` behind ports 1.., two routers behind port 30 and 31.
pub(crate) fn plan(servers: u16, mode: ClusterMode) -> Plan {
    let mut ports: Vec<PortPlan> = (0..servers).map(|i| port(1 + (i % 29) as u8, PortRole::Server)).collect();
    ports.dedup_by_key(|p| p.id);
    ports.sort_by_key(|p| p.id);
    ports.dedup_by_key(|p| p.id);
    ports.push(port(30, PortRole::Outside));
    ports.push(port(31, PortRole::Outside));
    Plan {
        choice_key: [1, 2],
        bridge: BridgePlan::default(),
        ports,
        targets: (0..servers)
            .map(|i| TargetPlan {
                id: TargetId(i),
                name: format!("web-{}", i + 1),
                port: PortId(1 + (i % 29) as u8),
                mac: MacPlan::Fixed(MacAddr([2, 0, 0, 0, (i >> 8) as u8, i as u8])),
                admin: Admin::Enabled,
                connections_max: 0,
            })
            .collect(),
        routers: (0..2)
            .map(|i| RouterPlan {
                id: RouterId(i),
                name: format!("r{}", i + 1),
                port: PortId(30 + i as u8),
                vlan: VlanId(1),
                address: IpAddr::from([192, 0, 2, 1 + i as u8]),
                mac: Some(MacAddr([2, 1, 0, 0, 0, i as u8])),
            })
            .collect(),
        pools: vec![PoolPlan {
            id: PoolId(0),
            name: "gw".into(),
            vlan: VlanId(1),
            address: IpAddr::from([192, 0, 2, 254]),
            routers: vec![RouterId(0), RouterId(1)],
            spread: Spread::Server,
            redirect: Redirect::All,
        }],
        clusters: vec![ClusterPlan {
            id: C,
            name: "web".into(),
            vlan: VlanId(1),
            vip: IpAddr::from([192, 0, 2, 100]),
            vmac: MacAddr([2, 9, 9, 9, 9, 9]),
            mode,
            dead_tcp: DeadFlows::Reset,
            dead_other: DeadFlows::Move,
            probe: IpAddr::from([192, 0, 2, 254]),
            fail: Fail::Closed,
            withdraw: false,
            timeouts: Timeouts::default(),
            udp: UdpMode::Flow,
            announce_interval_s: 60,
            servers: (0..servers).map(TargetId).collect(),
            services: vec![ServicePlan {
                name: "default".into(),
                protocol: None,
                ports: 0..=65535,
                chooser: Chooser::Maglev,
                affinity: None,
                quic: false,
                members: (0..servers)
                    .map(|i| MemberPlan { target: TargetId(i), weight: 1, backup: false })
                    .collect(),
            }],
        }],
    }
}

pub(crate) fn settings(servers: u16, slow_start_ms: u32) -> Settings {
    let tcp = Check { kind: Kind::Tcp { port: 80 }, interval_ms: 100, timeout_ms: 100, rise: 2, fall: 2 };
    Settings {
        clusters: vec![ClusterCare {
            id: C,
            dead_after_ms: 3000,
            slow_start_ms,
            checks: vec![tcp],
            services: vec![ServiceCare { checks: Vec::new(), passive: true, quorum: 0 }],
        }],
        servers: (0..servers).map(|i| ServerCare { id: TargetId(i), gateway: None, mtu: 1500 }).collect(),
        routers: (0..2)
            .map(|i| RouterCare {
                id: RouterId(i),
                check: Some(RouterCheck {
                    interval_ms: 100,
                    timeout_ms: 100,
                    rise: 2,
                    fall: 2,
                    through: None,
                }),
            })
            .collect(),
        pools: vec![PoolCare { id: PoolId(0), by_load: true }],
    }
}

/// How a server or router behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Is {
    Fine,
    /// Nothing listens.
    Refusing,
    /// ARP is answered, nothing else.
    Deaf,
    /// Large packets do not reach it.
    Narrow,
    /// Nothing is answered.
    Gone,
}

/// A core, and the world around it.
pub(super) struct World {
    pub(super) core: Core,
    pub(super) now: Instant,
    pub(super) servers: HashMap<TargetId, Is>,
    pub(super) routers: HashMap<RouterId, Is>,
    pub(super) up: PortSet,
    pub(super) events: Vec<(u64, CareEvent)>,
    pub(super) conditions: Conditions,
    pub(super) signs: HashMap<TargetId, MemberSigns>,
    pub(super) frames: u64,
    pub(super) flows: HashMap<TargetId, u64>,
    /// Connections a second and server.
    pub(super) rate: u64,
    outcomes: BTreeMap<(Instant, u64), (WatchId, Outcome)>,
    count: u64,
    next_signs: Instant,
    pub(super) traffic: bool,
    keeps_frames: bool,
}

impl World {
    pub(super) fn new(plan: &Plan, settings: &Settings) -> Self {
        let mut core = Core::new(7);
        core.handle_adopted(1, false, Conditions::default(), Instant::default());
        core.handle_plan(plan, settings, Instant::default());
        Self::around(core, plan)
    }

    pub(super) fn around(core: Core, plan: &Plan) -> Self {
        Self {
            core,
            now: Instant::default(),
            servers: plan.targets.iter().map(|t| (t.id, Is::Fine)).collect(),
            routers: plan.routers.iter().map(|r| (r.id, Is::Fine)).collect(),
            up: plan.ports.iter().map(|p| p.id).collect(),
            events: Vec::new(),
            conditions: Conditions::default(),
            signs: HashMap::new(),
            frames: 0,
            flows: HashMap::new(),
            rate: 0,
            outcomes: BTreeMap::new(),
            count: 0,
            next_signs: Instant::default(),
            traffic: true,
            keeps_frames: false,
        }
    }

    /// Until then.
    pub(super) fn run(&mut self, until: u64) {
        let until = ms(until);
        while self.now < until {
            let next = [
                self.core.next_deadline(),
                self.outcomes.keys().next().map(|(at, _)| *at),
                Some(self.next_signs),
                Some(until),
            ];
            self.now = next.into_iter().flatten().min().expect("some").max(self.now);
            if self.next_signs <= self.now {
                self.next_signs = self.now.plus_millis(20);
                if self.traffic {
                    self.send_signs();
                }
            }
            while let Some(((at, n), _)) = self.outcomes.first_key_value()
                && *at <= self.now
            {
                let key = (*at, *n);
                let (id, outcome) = self.outcomes.remove(&key).expect("there");
                self.core.handle_outcome(id, outcome, None, self.now);
            }
            self.core.handle_deadline(self.now);
            self.take();
        }
    }

    pub(super) fn take(&mut self) {
        while let Some((ask, seat)) = self.core.poll_ask() {
            let is = match ask.who {
                Who::Server(target, _) => {
                    let is = self.servers[&target];
                    let port = self.core.servers[&target].plan.port;
                    if self.up.contains(port) { is } else { Is::Gone }
                }
                Who::Router(router) => {
                    let Seat::Router(at, _) = seat else { panic!("a router's seat") };
                    if self.up.contains(at.port) { self.routers[&router] } else { Is::Gone }
                }
            };
            let large = matches!(ask.what, What::Server(Kind::LargeEcho { .. }));
            let (after, result) = match (is, is_routed(&ask.what)) {
                (Is::Narrow, _) if large => (u64::from(ask.timeout_ms), Err(Failure::Timeout)),
                (Is::Narrow, _) => (1, Ok(())),
                (Is::Fine, _) | (Is::Refusing | Is::Deaf, false) => (1, Ok(())),
                (Is::Refusing, true) => (1, Err(Failure::Refused)),
                (Is::Deaf | Is::Gone, true) => (u64::from(ask.timeout_ms), Err(Failure::Timeout)),
                (Is::Gone, false) => (u64::from(ask.timeout_ms), Err(Failure::NoNeighbour)),
            };
            self.count += 1;
            let outcome = Outcome { result, took_us: after as u32 * 500 };
            self.outcomes.insert((self.now.plus_millis(after), self.count), (ask.watch, outcome));
        }
        while let Some(event) = self.core.poll_event() {
            self.events.push((self.now.millis(), event));
        }
        while let Some(conditions) = self.core.poll_conditions() {
            assert!(conditions.serial > self.conditions.serial);
            self.conditions = conditions;
        }
        while !self.keeps_frames && self.core.poll_frame().is_some() {
            self.frames += 1;
        }
    }

    /// Until then; frames stay to be taken.
    pub(super) fn run_without_frames(&mut self, until: u64) {
        self.keeps_frames = true;
        self.run(until);
    }

    fn send_signs(&mut self) {
        let flows = (self.next_signs.millis() * self.rate / 1000)
            .saturating_sub(self.now.millis() * self.rate / 1000);
        let mut signs = Signs { uptime_us: self.now.0 / 1000, up: self.up, ..Signs::default() };
        for (id, is) in &self.servers {
            let open = self.is_open(*id);
            let row = self.signs.entry(*id).or_insert(MemberSigns {
                target: *id,
                connect_us: 300,
                response_us: 2000,
                ..MemberSigns::default()
            });
            let linked = self.up.contains(self.core.servers[id].plan.port);
            if open {
                row.opened += flows;
                match is {
                    Is::Fine | Is::Narrow if linked => {
                        row.accepted += flows;
                        row.completed += flows;
                        row.requests += flows;
                        row.responses += flows;
                    }
                    Is::Refusing if linked => row.refused += flows,
                    _ => {}
                }
            }
            signs.members.push(*row);
            let out = if matches!(is, Is::Fine | Is::Narrow) && linked { row.accepted } else { 0 };
            let flows_open = self.flows.get(id).copied().unwrap_or(0);
            signs.targets.push(TargetSigns { id: *id, in_frames: row.opened, out_frames: out, flows_open });
        }
        self.core.handle_signs(&signs, self.now);
    }

    pub(super) fn is_open(&self, id: TargetId) -> bool {
        self.health(id) == Health::Up && self.conditions.members.iter().all(|m| m.target != id || m.open)
    }

    pub(super) fn health(&self, id: TargetId) -> Health {
        self.conditions.targets.iter().find(|t| t.id == id).map_or(Health::Up, |t| t.health)
    }

    pub(super) fn found(&self, id: TargetId) -> Vec<(u64, Health, Option<Reason>)> {
        self.events
            .iter()
            .filter_map(|(at, event)| match event {
                CareEvent::Health { target, now, reason, .. } if *target == id => {
                    Some((*at, *now, reason.clone()))
                }
                _ => None,
            })
            .collect()
    }

    pub(super) fn roles(&self) -> Vec<Role> {
        self.core.roles().into_iter().map(|r| r.role).collect()
    }
}

mod health;
mod orders;
mod properties;
mod roles;
