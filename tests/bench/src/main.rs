//! Drives the engine of one worker over frames in memory, so that what is counted is the engine alone.
//!
//! `cargo xtask bench` runs this under callgrind with N and with 2N packets and divides the
//! difference, which leaves start-up and table filling out. By hand:
//!
//! ```text
//! flowswitch-bench --case inbound --flows 1000 --packets 1000000
//! ```

use clap::{Parser, ValueEnum};
use dataplane_engine::{Counters, Engine, Inputs, NO_MEMBER, Settings, Tables};
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{
    Admin, Chooser, ClusterMode, ClusterPlan, Conditions, DeadFlows, Fail, MacPlan, Member, Plan, PortPlan,
    PortRole, ServicePlan, Stp, TargetPlan, Timeouts, UdpMode,
};
use dataplane_port::{BURST, Head, PortId, PortSet, Verdict, VlanId, WorkerId};
use dataplane_wire::MacAddr;
use etherparse::PacketBuilder;
use std::net::Ipv4Addr;
use std::sync::Arc;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);
const VMAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa1]);
const SERVERS: u16 = 8;
const R1: PortId = PortId(0);

/// What the packets are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Case {
    /// Established TCP flows, from clients.
    Inbound,
    /// The same flows, from servers.
    Outbound,
    /// The same with data: how far the server has come is remembered (FS-10).
    Data,
    /// SYNs of flows that are not in the table.
    New,
    /// Frames between two learned stations.
    Bridge,
}

/// What a packet costs the engine, on frames in memory.
#[derive(Parser)]
struct Arguments {
    /// What the packets are.
    #[arg(long, value_enum, default_value = "inbound")]
    case: Case,
    /// Established flows, visited in turn.
    #[arg(long, default_value_t = 1000)]
    flows: u32,
    /// Packets, rounded up to whole bursts of 32.
    #[arg(long, default_value_t = 1_000_000)]
    packets: u64,
}

fn main() {
    let arguments = Arguments::parse();
    let mut bench = Bench::new(arguments.flows);
    bench.fill(arguments.flows);
    let start = std::time::Instant::now();
    let forwarded = bench.run(arguments.case, arguments.flows, arguments.packets);
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:?}: {forwarded} of {} packets forwarded, {} flows, {:.1} ns a packet",
        arguments.case,
        arguments.packets,
        arguments.flows,
        seconds * 1e9 / arguments.packets as f64
    );
    assert_eq!(forwarded, arguments.packets.next_multiple_of(BURST as u64), "every packet goes on");
}

struct Bench {
    engine: Engine,
    frames: Vec<[u8; 64]>,
    verdicts: [Verdict; BURST],
    now: Instant,
    port: PortId,
}

impl Bench {
    fn new(flows: u32) -> Self {
        let counters: Arc<[Counters]> = Arc::from(vec![Counters::default()]);
        let settings = Settings {
            worker: WorkerId(0),
            workers: 1,
            flows_max: (flows as usize).max(4096),
            datagrams_max: 4096,
            table_seed: [1, 2],
        };
        let mut engine = Engine::new(&settings, counters).expect("memory for the flow table");
        let plan = plan();
        let tables = Tables::build(&Inputs {
            plan: &plan,
            epoch: 1,
            members: &|_, _, _| NO_MEMBER,
            conditions: &Conditions::default(),
            up: plan.ports.iter().map(|p| p.id).collect::<PortSet>(),
            server_macs: &|_| None,
            port_macs: &[],
            learned: &[(VlanId(1), ROUTER, R1)],
            previous: None,
        });
        let now = Instant::from_secs(1);
        engine.swap(Arc::new(tables), now);
        Self { engine, frames: vec![[0; 64]; BURST], verdicts: [Verdict::Consumed; BURST], now, port: R1 }
    }

    /// Makes `flows` established flows: SYN, SYN+ACK, ACK, a request, an answer.
    fn fill(&mut self, flows: u32) {
        for flow in 0..flows {
            let syn = self.one(R1, &inbound(flow, 2));
            let Verdict::Forward(port) = syn else { panic!("a SYN is forwarded: {syn:?}") };
            let server = u16::from(port.0) - 1;
            self.one(port, &outbound(flow, server, 0x12));
            self.one(R1, &inbound(flow, 0x10));
            self.one(R1, &with_data(inbound(flow, 0x10)));
            self.one(port, &with_data(outbound(flow, server, 0x10)));
            self.engine.tick(self.now);
            self.engine.outbox().frames.clear();
            self.engine.outbox().events.clear();
        }
    }

    fn one(&mut self, port: PortId, frame: &[u8; 64]) -> Verdict {
        let mut data = *frame;
        let head = Head { data: &mut data, len: 60, port, handed: false, checksum_good: false };
        self.engine.process(self.now, &mut [head], &mut self.verdicts);
        self.verdicts[0]
    }

    fn run(&mut self, case: Case, flows: u32, packets: u64) -> u64 {
        let template = match case {
            Case::Inbound => inbound(0, 0x10),
            Case::New => inbound(0, 2),
            Case::Outbound => outbound(0, 0, 0x10),
            Case::Data => with_data(outbound(0, 0, 0x10)),
            Case::Bridge => {
                let mut frame = outbound(0, 0, 0x10);
                frame[26..30].copy_from_slice(&[10, 9, 0, 7]);
                frame[6..12].copy_from_slice(&[2, 0, 0, 0, 7, 7]);
                fix(&mut frame);
                frame
            }
        };
        // Where each flow's server is: outbound frames must come from it.
        let homes: Vec<u8> = match case {
            Case::Outbound | Case::Data => (0..flows)
                .map(|flow| match self.one(R1, &inbound(flow, 0x10)) {
                    Verdict::Forward(port) => port.0,
                    other => panic!("an established flow is forwarded: {other:?}"),
                })
                .collect(),
            _ => Vec::new(),
        };
        self.frames.fill(template);
        let order = order(flows, &homes);
        let mut next = 0;
        let mut flow = order[0];
        let mut forwarded = 0;
        for burst in 0..packets.div_ceil(BURST as u64) {
            for frame in &mut self.frames {
                let (at, id) = match case {
                    Case::New => (26, flows + flow),
                    Case::Inbound => (26, flow),
                    Case::Outbound | Case::Data | Case::Bridge => (30, flow),
                };
                // The run before has overwritten it with a server's.
                frame[..6].copy_from_slice(&template[..6]);
                if case != Case::Bridge {
                    stamp(frame, at, id);
                }
                if matches!(case, Case::Outbound | Case::Data) {
                    frame[11] = homes[flow as usize] - 1;
                }
                next = if next + 1 < order.len() { next + 1 } else { 0 };
                flow = if case == Case::New { flow + 1 } else { order[next] };
            }
            self.port = match case {
                Case::Inbound | Case::New => R1,
                Case::Outbound | Case::Data | Case::Bridge => PortId(1),
            };
            let mut frames = self.frames.iter_mut();
            let homes = &homes;
            let port = self.port;
            let mut heads: [Head<'_>; BURST] = core::array::from_fn(|_| {
                let data = frames.next().expect("32 frames");
                let port = if homes.is_empty() { port } else { PortId(data[11] + 1) };
                Head { data, len: 60, port, handed: false, checksum_good: true }
            });
            self.engine.process(self.now, &mut heads, &mut self.verdicts);
            forwarded += self.verdicts.iter().filter(|v| matches!(v, Verdict::Forward(_))).count() as u64;
            if burst % 64 == 0 {
                self.now = Instant(self.now.0 + 10_000);
                self.engine.tick(self.now);
                self.engine.outbox().frames.clear();
                self.engine.outbox().events.clear();
            }
        }
        forwarded
    }
}

/// The flows in the order in which they are visited: those of one server in whole bursts, as they come in by
/// one port.
fn order(flows: u32, homes: &[u8]) -> Vec<u32> {
    if homes.is_empty() {
        return (0..flows).collect();
    }
    let mut order = Vec::new();
    for server in 0..=SERVERS as u8 {
        let own: Vec<u32> = (0..flows).filter(|flow| homes[*flow as usize] == server).collect();
        order.extend(own.iter().cycle().take(own.len().next_multiple_of(BURST)));
    }
    order
}

/// Writes the flow's client address (16 low bits in the port) into the frame, checksums left alone: the
/// device is said to have checked them.
#[inline(always)]
fn stamp(frame: &mut [u8; 64], at: usize, flow: u32) {
    let address = 0xc633_0000_u32 | flow >> 14;
    frame[at..at + 4].copy_from_slice(&address.to_be_bytes());
    let port = 1024 + (flow & 0x3fff) as u16;
    let at = if at == 26 { 34 } else { 36 };
    frame[at..at + 2].copy_from_slice(&port.to_be_bytes());
}

fn segment(src: (MacAddr, Ipv4Addr, u16), dst: (MacAddr, Ipv4Addr, u16), flags: u8) -> [u8; 64] {
    let mut builder = PacketBuilder::ethernet2(src.0.0, dst.0.0)
        .ipv4(src.1.octets(), dst.1.octets(), 64)
        .tcp(src.2, dst.2, 5000, 1000);
    if flags & 2 != 0 {
        builder = builder.syn();
    }
    if flags & 0x10 != 0 {
        builder = builder.ack(5001);
    }
    let mut bytes = Vec::new();
    builder.write(&mut bytes, &[]).expect("a Vec takes all");
    let mut frame = [0; 64];
    frame[..bytes.len()].copy_from_slice(&bytes);
    frame
}

fn inbound(flow: u32, flags: u8) -> [u8; 64] {
    let mut frame = segment((ROUTER, Ipv4Addr::UNSPECIFIED, 1), (VMAC, VIP, 80), flags);
    stamp(&mut frame, 26, flow);
    fix(&mut frame);
    frame
}

fn outbound(flow: u32, server: u16, flags: u8) -> [u8; 64] {
    let mut frame = segment((server_mac(server), VIP, 80), (ROUTER, Ipv4Addr::UNSPECIFIED, 1), flags);
    stamp(&mut frame, 30, flow);
    fix(&mut frame);
    frame
}

/// The segment with six bytes of data: 46 bytes of IP.
fn with_data(mut frame: [u8; 64]) -> [u8; 64] {
    frame[16..18].copy_from_slice(&46_u16.to_be_bytes());
    fix(&mut frame);
    frame
}

fn fix(frame: &mut [u8; 64]) {
    frame[24..26].fill(0);
    let mut sum: u32 = frame[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn server_mac(n: u16) -> MacAddr {
    MacAddr([2, 0, 0, 0, 1, n as u8])
}

fn plan() -> Plan {
    let port = |id: u8, role| PortPlan {
        id: PortId(id),
        name: format!("p{id}"),
        role,
        untagged: Some(VlanId(1)),
        tagged: vec![],
        shared: false,
        stp: Stp::Forward,
        storm_pps: 0,
    };
    let members: Vec<Member> =
        (0..SERVERS).map(|n| Member { target: TargetId(n), weight: 1, backup: false }).collect();
    Plan {
        choice_key: [1, 2],
        ports: (0..=SERVERS as u8)
            .map(|i| port(i, if i == 0 { PortRole::Outside } else { PortRole::Server }))
            .collect(),
        targets: (0..SERVERS)
            .map(|n| TargetPlan {
                id: TargetId(n),
                name: format!("web-{n}"),
                port: PortId(n as u8 + 1),
                mac: MacPlan::Fixed(server_mac(n)),
                admin: Admin::Enabled,
                connections_max: 0,
            })
            .collect(),
        clusters: vec![ClusterPlan {
            id: ClusterId(0),
            name: "web".into(),
            vlan: VlanId(1),
            vip: VIP.into(),
            vmac: VMAC,
            mode: ClusterMode::LoadSharing,
            dead_tcp: DeadFlows::Reset,
            dead_other: DeadFlows::Move,
            probe: Ipv4Addr::new(192, 0, 0, 8).into(),
            fail: Fail::Closed,
            withdraw: false,
            timeouts: Timeouts::default(),
            udp: UdpMode::Flow,
            announce_interval_s: 60,
            servers: (0..SERVERS).map(TargetId).collect(),
            services: vec![ServicePlan {
                name: "default".into(),
                protocol: None,
                ports: 0..=65_535,
                chooser: Chooser::Maglev,
                affinity: None,
                quic: false,
                members,
            }],
        }],
        ..Plan::default()
    }
}
