//! The product behind its in-memory back end, and the same switch as the model has it.
#![allow(dead_code, unreachable_pub, reason = "every test binary uses a part of it")]

use dataplane_flow::{ClusterId, Instant, RouterId, TargetId};
use dataplane_message::{
    Admin, Boot, BridgePlan, Chooser, ClusterMode, ClusterPlan, DeadFlows, Device, Fail, MacPlan, Member,
    Mode, Plan, PortBoot, PortPlan, PortRole, RouterPlan, ServicePlan, Stp, TargetPlan, Timeouts, ToDataPath,
    UdpMode, VERSION,
};
use dataplane_port::memory::{MemoryPorts, Wire};
use dataplane_port::{DropReason, PortId, VlanId, WorkerId};
use dataplane_wire::MacAddr;
use dataplane_worker::{PortState, Publisher, Worker};
use std::net::{IpAddr, Ipv4Addr};
use tests_model::{Cluster, Counts, Mac, Observation, Oracle, Port, Role, Sent, Server, Table, Violation};

pub const CLIENT: Mac = [2, 0xc1, 0, 0, 0, 1];
pub const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub const OUTSIDE: usize = 0;

pub fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Ports 0 and 4 outside, 1 to 3 with servers, in VLAN 5 (tagged on 3 and 4) and 6 (tagged on 2 to
/// 4); an IPv4 and an IPv6 cluster over servers 0 to 2, and one over server 3 alone, on port 2.
pub fn table() -> Table {
    let port =
        |role, untagged, tagged: &[u16]| Port { role, untagged, tagged: tagged.to_vec(), drops_bpdus: false };
    let cluster = |vip, last, servers: &[usize]| Cluster {
        vlan: 5,
        vip,
        vmac: [2, 0, 0x5e, 0x10, 0, last],
        servers: servers.to_vec(),
    };
    Table {
        ports: vec![
            port(Role::Outside, Some(5), &[]),
            port(Role::Server, Some(5), &[]),
            port(Role::Server, Some(5), &[6]),
            port(Role::Server, None, &[5, 6]),
            port(Role::Outside, None, &[5, 6]),
        ],
        servers: (0..4)
            .map(|n| Server { port: [1, 2, 3, 2][n], mac: [2, 0x5e, 0, 0, 0, 1 + n as u8] })
            .collect(),
        clusters: vec![
            cluster(IpAddr::V4(VIP), 1, &[0, 1, 2]),
            cluster(addr("2001:db8::80"), 2, &[0, 1, 2]),
            cluster(addr("192.0.2.2"), 3, &[3]),
        ],
        routers: vec![(5, addr("192.0.2.254"))],
    }
}

/// The table as the product is told it.
pub fn plan(table: &Table, chooser: Chooser) -> Plan {
    let port = |(id, port): (usize, &Port)| PortPlan {
        id: PortId(id as u8),
        name: format!("p{id}"),
        role: if port.role == Role::Server { PortRole::Server } else { PortRole::Outside },
        untagged: port.untagged.map(VlanId),
        tagged: port.tagged.iter().copied().map(VlanId).collect(),
        shared: false,
        stp: if port.drops_bpdus { Stp::Drop } else { Stp::Forward },
        storm_pps: 0,
    };
    let target = |(id, server): (usize, &Server)| TargetPlan {
        id: TargetId(id as u16),
        name: format!("web-{id}"),
        port: PortId(server.port as u8),
        mac: MacPlan::Fixed(MacAddr(server.mac)),
        admin: Admin::Enabled,
        connections_max: 0,
    };
    let cluster = |(id, cluster): (usize, &Cluster)| {
        let servers: Vec<TargetId> = cluster.servers.iter().map(|s| TargetId(*s as u16)).collect();
        ClusterPlan {
            id: ClusterId(id as u16),
            name: format!("c{id}"),
            vlan: VlanId(cluster.vlan),
            vip: cluster.vip,
            vmac: MacAddr(cluster.vmac),
            mode: ClusterMode::LoadSharing,
            dead_tcp: DeadFlows::Reset,
            dead_other: DeadFlows::Move,
            probe: Ipv4Addr::new(192, 0, 0, 8).into(),
            fail: Fail::Closed,
            withdraw: false,
            timeouts: Timeouts::default(),
            udp: UdpMode::Flow,
            announce_interval_s: 60,
            servers: servers.clone(),
            services: vec![ServicePlan {
                name: "default".into(),
                protocol: None,
                ports: 0..=65535,
                chooser,
                affinity: None,
                quic: false,
                members: servers
                    .into_iter()
                    .map(|target| Member { target, weight: 100, backup: false })
                    .collect(),
            }],
        }
    };
    let router = |(n, (vlan, address)): (usize, &(u16, IpAddr))| RouterPlan {
        id: RouterId(n as u16),
        name: format!("r{n}"),
        port: PortId(OUTSIDE as u8),
        vlan: VlanId(*vlan),
        address: *address,
        mac: None,
    };
    Plan {
        pools: Vec::new(),
        choice_key: [1, 2],
        bridge: BridgePlan::default(),
        ports: table.ports.iter().enumerate().map(port).collect(),
        targets: table.servers.iter().enumerate().map(target).collect(),
        routers: table.routers.iter().enumerate().map(router).collect(),
        clusters: table.clusters.iter().enumerate().map(cluster).collect(),
    }
}

/// A running switch.
pub struct Switch {
    pub publisher: Publisher,
    pub workers: Vec<Worker<MemoryPorts>>,
    pub wire: Wire,
    pub now: Instant,
    seen: Totals,
}

/// Sums over all workers.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    pub drops: Vec<u64>,
    pub frames: u64,
    pub sent: u64,
    pub emitted: u64,
    pub handed: u64,
    pub consumed: u64,
    pub punted: u64,
    pub flows_new: u64,
    pub flows: u64,
}

impl Switch {
    /// A switch with all links up and its first announcements behind it.
    pub fn start(table: &Table, workers: usize, chooser: Chooser) -> Self {
        let boot = Boot {
            name: "test".into(),
            mode: Mode::Trial,
            workers: workers as u8,
            worker_cores: Vec::new(),
            flows_max: 65_536,
            memory_mib: 0,
            hugepages: false,
            ports: (0..table.ports.len())
                .map(|n| PortBoot {
                    id: PortId(n as u8),
                    name: format!("p{n}"),
                    device: Device::Vdev { arguments: String::new() },
                    mtu: 1500,
                })
                .collect(),
        };
        let now = Instant::from_millis(1);
        let (mut publisher, seats) =
            Publisher::new(&boot, 1, [11, 12, 13, 14], now).expect("memory for a small table");
        publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 1 }, now);
        for port in 0..table.ports.len() {
            let mac = MacAddr([2, 0xdd, 0, 0, 0, port as u8]);
            let state = PortState { attached: true, up: true, mac, ..PortState::default() };
            publisher.handle_port(PortId(port as u8), state, now);
        }
        let steps = Plan::between(&Plan::default(), &plan(table, chooser));
        publisher.handle_message(ToDataPath::Apply { epoch: 1, steps }, now);
        let ports = MemoryPorts::cluster(workers, table.ports.len());
        let wire = ports[0].wire();
        wire.reserve(256);
        let workers = seats.into_iter().zip(ports).map(|(seat, ports)| Worker::new(seat, ports)).collect();
        let mut switch = Self { publisher, workers, wire, now, seen: Totals::default() };
        for _ in 0..6 {
            switch.pass(1000);
        }
        switch.wire.drain_sent(|_| {});
        switch.seen = switch.totals();
        switch
    }

    /// Lets milliseconds pass, with the publisher's work and one turn of every worker at the end.
    pub fn pass(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        self.publisher.handle_deadline(self.now);
        while self.publisher.poll_message().is_some() {}
        self.turn();
    }

    /// Turns every worker until none has anything to do.
    pub fn turn(&mut self) {
        while self.workers.iter_mut().map(|worker| worker.turn(self.now)).sum::<usize>() > 0 {}
    }

    /// What came out of the ports since the last time.
    pub fn out(&mut self) -> Vec<Sent> {
        let mut out = Vec::new();
        self.wire.drain_sent(|sent| out.push(Sent { port: sent.port.index(), bytes: sent.bytes.to_vec() }));
        out
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals { drops: vec![0; DropReason::COUNT], ..Totals::default() };
        for worker in &self.workers {
            let counters = worker.engine().counters();
            for reason in DropReason::ALL {
                totals.drops[*reason as usize] += counters.dropped(*reason);
            }
            totals.frames += counters.frames.read();
            totals.sent += counters.sent.read();
            totals.emitted += counters.emitted.read();
            totals.handed += counters.handed.read();
            totals.consumed += counters.consumed.read();
            totals.punted += counters.punted.read();
            totals.flows += counters.flows.read();
            for cluster in 0..8 {
                let cluster = counters.cluster(ClusterId(cluster));
                totals.flows_new += cluster.flows_new.read() + cluster.flows_server.read();
            }
        }
        totals
    }

    /// The counters since the last time.
    pub fn counts(&mut self) -> Counts {
        let totals = self.totals();
        let rose = |now: u64, before: u64| now - before;
        let drops = DropReason::ALL.iter().map(|reason| {
            let at = *reason as usize;
            (reason.name(), rose(totals.drops[at], self.seen.drops.get(at).copied().unwrap_or(0)))
        });
        let counts = Counts {
            drops: drops.filter(|(_, n)| *n > 0).collect(),
            consumed: rose(totals.consumed, self.seen.consumed),
            punted: rose(totals.punted, self.seen.punted),
            flows_new: rose(totals.flows_new, self.seen.flows_new),
            held: self.wire.kept(),
            buffers_in_use: self.wire.buffers_in_use(),
        };
        self.seen = totals;
        counts
    }

    /// Puts one frame in, lets a millisecond pass, and has the oracle judge what became of it.
    pub fn judge(&mut self, oracle: &mut Oracle, port: usize, frame: &[u8]) -> Result<(), Violation> {
        self.now = self.now.plus_millis(1);
        let worker = self.now.millis() as usize % self.workers.len();
        self.wire.push(WorkerId(worker as u8), PortId(port as u8), frame);
        self.turn();
        let (out, counts) = (self.out(), self.counts());
        oracle.check(&Observation { port, frame, out: &out, counts: &counts })
    }
}

/// Violations, counted; the first few are kept.
#[derive(Default)]
pub struct Verdicts {
    pub frames: usize,
    pub violations: usize,
    first: Vec<String>,
}

impl Verdicts {
    pub fn note(&mut self, verdict: Result<(), Violation>) {
        self.frames += 1;
        if let Err(violation) = verdict {
            self.violations += 1;
            if self.first.len() < 8 {
                self.first.push(violation.0);
            }
        }
    }

    pub fn assert_none(&self) {
        assert!(
            self.violations == 0,
            "{} violations of {} frames; the first:\n{}",
            self.violations,
            self.frames,
            self.first.join("\n")
        );
        println!("{} frames, 0 violations", self.frames);
    }
}
