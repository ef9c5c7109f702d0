//! A switch with two outside ports and three server ports, and frames to send through it.

use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{
    Admin, Boot, Chooser, ClusterMode, ClusterPlan, DeadFlows, Device, Fail, FlowFilter, FlowRow, MacPlan,
    Member, Mode, Plan, PortBoot, PortPlan, PortRole, Report, ServicePlan, Stp, TargetPlan, Timeouts,
    ToControl, ToDataPath, UdpMode, VERSION,
};
use dataplane_port::memory::{MemoryPorts, Wire};
use dataplane_port::{PortId, VlanId, WorkerId};
use dataplane_wire::MacAddr;
use dataplane_worker::{PortState, Publisher, Worker};
use etherparse::PacketBuilder;
use std::net::{IpAddr, Ipv4Addr};

pub(crate) const R1: PortId = PortId(0);
pub(crate) const R2: PortId = PortId(1);
pub(crate) const S: [PortId; 3] = [PortId(2), PortId(3), PortId(4)];

pub(crate) const VLAN: VlanId = VlanId(1);
pub(crate) const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
pub(crate) const VMAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
pub(crate) const VIP_B: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 200);
pub(crate) const VMAC_B: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 2]);
pub(crate) const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa1]);
pub(crate) const ROUTER_IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

pub(crate) fn server_mac(n: usize) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, n as u8])
}

pub(crate) fn member(n: u16, weight: u16) -> Member {
    Member { target: TargetId(n), weight, backup: false }
}

pub(crate) fn service(chooser: Chooser, members: &[Member]) -> ServicePlan {
    ServicePlan {
        name: "default".into(),
        protocol: None,
        ports: 0..=65_535,
        chooser,
        affinity: None,
        quic: false,
        members: members.to_vec(),
    }
}

pub(crate) fn cluster(
    id: u16,
    name: &str,
    vip: IpAddr,
    vmac: MacAddr,
    members: &[Member],
    chooser: Chooser,
) -> ClusterPlan {
    ClusterPlan {
        id: ClusterId(id),
        name: name.into(),
        vlan: VLAN,
        vip,
        vmac,
        mode: ClusterMode::LoadSharing,
        dead_tcp: DeadFlows::Reset,
        dead_other: DeadFlows::Move,
        probe: Ipv4Addr::new(192, 0, 0, 8).into(),
        fail: Fail::Closed,
        withdraw: false,
        timeouts: Timeouts::default(),
        udp: UdpMode::Flow,
        announce_interval_s: 60,
        servers: members.iter().map(|m| m.target).collect(),
        services: vec![service(chooser, members)],
    }
}

/// Servers 0, 1, 2 behind ports 2, 3, 4; one cluster of all of them.
pub(crate) fn plan(chooser: Chooser) -> Plan {
    let port = |id: u8, role| PortPlan {
        id: PortId(id),
        name: format!("p{id}"),
        role,
        untagged: Some(VLAN),
        tagged: vec![],
        shared: false,
        stp: Stp::Forward,
        storm_pps: 0,
    };
    Plan {
        choice_key: [1, 2],
        ports: (0..5).map(|i| port(i, if i < 2 { PortRole::Outside } else { PortRole::Server })).collect(),
        targets: (0..3)
            .map(|n| TargetPlan {
                id: TargetId(n),
                name: format!("web-{n}"),
                port: S[usize::from(n)],
                mac: MacPlan::Fixed(server_mac(usize::from(n))),
                admin: Admin::Enabled,
                connections_max: 0,
            })
            .collect(),
        clusters: vec![cluster(
            0,
            "web",
            VIP.into(),
            VMAC,
            &[member(0, 1), member(1, 1), member(2, 1)],
            chooser,
        )],
        ..Plan::default()
    }
}

pub(crate) struct Rig {
    pub(crate) now: Instant,
    pub(crate) publisher: Publisher,
    pub(crate) workers: Vec<Worker<MemoryPorts>>,
    pub(crate) wire: Wire,
    pub(crate) plan: Plan,
    pub(crate) epoch: u64,
    next: usize,
}

impl Rig {
    pub(crate) fn new(plan: Plan) -> Self {
        Self::with_workers(plan, 1)
    }

    pub(crate) fn with_workers(plan: Plan, workers: u8) -> Self {
        Self::start(plan, workers, true)
    }

    /// No port has carrier yet.
    pub(crate) fn without_links(plan: Plan) -> Self {
        Self::start(plan, 1, false)
    }

    fn start(plan: Plan, workers: u8, links: bool) -> Self {
        let boot = Boot {
            name: "test".into(),
            mode: Mode::Trial,
            workers,
            worker_cores: vec![],
            flows_max: 16_384,
            memory_mib: 0,
            hugepages: false,
            ports: plan
                .ports
                .iter()
                .map(|p| PortBoot {
                    id: p.id,
                    name: p.name.clone(),
                    device: Device::Vdev { arguments: "memory".into() },
                    mtu: 1500,
                })
                .collect(),
        };
        let now = Instant::from_secs(100);
        let (publisher, seats) = Publisher::new(&boot, 7, [1, 2, 3, 4], now).unwrap();
        let ports = MemoryPorts::cluster(usize::from(workers), plan.ports.len());
        let wire = ports[0].wire();
        let workers = seats.into_iter().zip(ports).map(|(seat, ports)| Worker::new(seat, ports)).collect();
        let mut rig = Self { now, publisher, workers, wire, plan: Plan::default(), epoch: 0, next: 0 };
        for port in &plan.ports {
            rig.link(port.id, links);
        }
        rig.publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 1 }, now);
        rig.apply(plan);
        // Let the announcements of the start pass.
        rig.settle();
        rig
    }

    /// Time for what was seen to reach the tables, and for announcements to end.
    pub(crate) fn settle(&mut self) {
        for _ in 0..8 {
            self.wait_ms(500);
        }
        self.wire.take_sent();
    }

    pub(crate) fn link(&mut self, port: PortId, up: bool) {
        let state =
            PortState { attached: true, up, mac: MacAddr([2, 0, 0, 0, 9, port.0]), ..PortState::default() };
        self.publisher.handle_port(port, state, self.now);
        self.turn();
    }

    /// Applies the plan and waits for its ACK.
    pub(crate) fn apply(&mut self, plan: Plan) {
        self.epoch += 1;
        let steps = Plan::between(&self.plan, &plan);
        self.publisher.handle_message(ToDataPath::Apply { epoch: self.epoch, steps }, self.now);
        self.plan = plan;
        for _ in 0..10 {
            self.turn();
            let epoch = self.epoch;
            if std::iter::from_fn(|| self.publisher.poll_message()).any(|m| m == ToControl::Ack { epoch }) {
                return;
            }
        }
        panic!("plan {} was not acknowledged", self.epoch);
    }

    /// One turn of everything; time goes on by 1 ms.
    pub(crate) fn turn(&mut self) {
        self.now = self.now.plus_millis(1);
        for worker in &mut self.workers {
            worker.turn(self.now);
        }
        self.publisher.handle_deadline(self.now);
    }

    pub(crate) fn wait_ms(&mut self, millis: u64) {
        self.now = self.now.plus_millis(millis);
        self.turn();
    }

    /// Throws away what has been sent (announcements at the start).
    pub(crate) fn drain(&mut self) -> Vec<(PortId, Vec<u8>)> {
        for _ in 0..4 {
            self.turn();
        }
        self.wire.take_sent()
    }

    /// What comes out when the frame goes in; the workers take turns receiving.
    pub(crate) fn send(&mut self, port: PortId, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        let worker = self.next % self.workers.len();
        self.next += 1;
        self.send_by(worker, port, frame)
    }

    /// What comes out when the frames go in as one burst of the first worker.
    pub(crate) fn send_all(&mut self, port: PortId, frames: &[&[u8]]) -> Vec<(PortId, Vec<u8>)> {
        let (last, first) = frames.split_last().expect("a frame");
        first.iter().for_each(|frame| self.wire.push(WorkerId(0), port, frame));
        self.send_by(0, port, last)
    }

    pub(crate) fn send_by(&mut self, worker: usize, port: PortId, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
        self.wire.push(WorkerId(worker as u8), port, frame);
        for _ in 0..3 {
            for worker in &mut self.workers {
                worker.turn(self.now);
            }
        }
        self.publisher.handle_deadline(self.now);
        self.wire.take_sent()
    }

    /// The server that an inbound frame reached, which must be one, with nothing but the destination changed.
    pub(crate) fn reaches(&mut self, port: PortId, frame: &[u8]) -> usize {
        let out = self.send(port, frame);
        let [(to, sent)] = &out[..] else { panic!("expected one frame, got {out:?}; {:?}", self.drops()) };
        let server = S.iter().position(|s| s == to).expect("a server's port");
        assert_eq!(sent[..6], server_mac(server).0, "FS-6: the server's MAC");
        assert_eq!(sent[6..], frame[6..], "FS-6: every other byte is as it was");
        server
    }

    /// Asserts that the frame is dropped for this reason and no other.
    pub(crate) fn dropped(&mut self, port: PortId, frame: &[u8], reason: &str) {
        let before = self.drop_count(reason);
        let mut out = self.send(port, frame);
        // A claim is answered by an assertion of the VIP.
        out.retain(|(_, sent)| sent[..2] != [0xff, 0xff] && sent[..2] != [0x33, 0x33]);
        assert!(out.is_empty(), "{reason}: sent {out:x?}");
        assert_eq!(self.drop_count(reason), before + 1, "{reason}: {:?}", self.drops());
    }

    /// Asserts that the frame goes on unchanged out of these ports.
    pub(crate) fn bridged(&mut self, port: PortId, frame: &[u8], to: &[PortId]) {
        self.wait_ms(11);
        self.turn();
        self.wire.take_sent();
        let mut out = self.send(port, frame);
        out.sort();
        assert_eq!(out.iter().map(|(port, _)| *port).collect::<Vec<_>>(), to, "{:?}", self.drops());
        assert!(out.iter().all(|(_, sent)| sent == frame), "FS-11: byte for byte the same");
    }

    pub(crate) fn report(&mut self) -> Report {
        self.wait_ms(1001);
        let mut report = None;
        while let Some(message) = self.publisher.poll_message() {
            if let ToControl::Report(newest) = message {
                report = Some(*newest);
            }
        }
        report.expect("a report every second")
    }

    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        dataplane_port::DropReason::ALL
            .iter()
            .map(|r| (r.name(), self.workers.iter().map(|w| w.engine().counters().dropped(*r)).sum()))
            .filter(|(_, n)| *n > 0)
            .collect()
    }

    pub(crate) fn drop_count(&self, reason: &str) -> u64 {
        self.drops().iter().find(|(name, _)| *name == reason).map_or(0, |(_, n)| *n)
    }

    /// The states of the client's flows from that port.
    pub(crate) fn flows_of(&mut self, port: u16) -> Vec<String> {
        let of_port = |row: &&FlowRow| row.client_port == port && row.client == IpAddr::V4(CLIENT);
        self.flows().iter().filter(of_port).map(|row| row.state.clone()).collect()
    }

    pub(crate) fn flows(&mut self) -> Vec<FlowRow> {
        let filter = FlowFilter { limit: 100_000, ..FlowFilter::default() };
        self.publisher.handle_message(ToDataPath::ListFlows { query: 9, filter }, self.now);
        let mut all = Vec::new();
        for _ in 0..2000 {
            self.turn();
            while let Some(message) = self.publisher.poll_message() {
                if let ToControl::Flows { query: 9, rows, last } = message {
                    all.extend(rows);
                    if last {
                        return all;
                    }
                }
            }
        }
        panic!("the listing did not end");
    }
}

/// A TCP segment.
#[derive(Clone, Copy)]
pub(crate) struct Tcp {
    pub(crate) src: (MacAddr, Ipv4Addr, u16),
    pub(crate) dst: (MacAddr, Ipv4Addr, u16),
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
}

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;
pub(crate) const FIN: u8 = 1;
pub(crate) const RST: u8 = 4;

impl Tcp {
    pub(crate) fn frame(self) -> Vec<u8> {
        let mut builder = PacketBuilder::ethernet2(self.src.0.0, self.dst.0.0)
            .ipv4(self.src.1.octets(), self.dst.1.octets(), 64)
            .tcp(self.src.2, self.dst.2, self.seq, 1000);
        if self.flags & SYN != 0 {
            builder = builder.syn();
        }
        if self.flags & FIN != 0 {
            builder = builder.fin();
        }
        if self.flags & RST != 0 {
            builder = builder.rst();
        }
        if self.flags & ACK != 0 {
            builder = builder.ack(self.ack);
        }
        let mut frame = Vec::new();
        builder.write(&mut frame, &[]).unwrap();
        frame.resize(frame.len().max(60), 0);
        frame
    }
}

/// From a client's port to the VIP's port 80.
pub(crate) fn inbound(port: u16, flags: u8) -> Tcp {
    Tcp { src: (ROUTER, CLIENT, port), dst: (VMAC, VIP, 80), flags, seq: 1, ack: 5001 }
}

/// From server `n`, port 80, to the client's port.
pub(crate) fn outbound(n: usize, port: u16, flags: u8) -> Tcp {
    Tcp { src: (server_mac(n), VIP, 80), dst: (ROUTER, CLIENT, port), flags, seq: 5000, ack: 2 }
}

pub(crate) fn udp(src: (MacAddr, Ipv4Addr, u16), dst: (MacAddr, Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(src.0.0, dst.0.0)
        .ipv4(src.1.octets(), dst.1.octets(), 64)
        .udp(src.2, dst.2)
        .write(&mut frame, payload)
        .unwrap();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An IPv4 packet of any protocol with any payload.
pub(crate) fn ipv4(
    src: (MacAddr, Ipv4Addr),
    dst: (MacAddr, Ipv4Addr),
    protocol: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(src.0.0, dst.0.0)
        .ipv4(src.1.octets(), dst.1.octets(), 64)
        .write(&mut frame, protocol.into(), payload)
        .unwrap();
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The frame with an 802.1Q tag.
pub(crate) fn tagged(frame: &[u8], tci: u16) -> Vec<u8> {
    let mut out = frame.to_vec();
    let [a, b] = tci.to_be_bytes();
    out.splice(12..12, [0x81, 0, a, b]);
    out
}

/// Writes a right header checksum into an untagged IPv4 frame.
pub(crate) fn fix_ipv4(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let len = usize::from(frame[14] & 15) * 4;
    let mut sum: u32 = frame[14..14 + len].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}
