//! Drives the engine of one worker over frames in memory, so that what is counted is the engine alone.
//!
//! `cargo xtask bench` runs this under callgrind with N and with 2N packets and divides the
//! difference, which leaves start-up and table filling out. By hand:
//!
//! ```text
//! flowswitch-bench --case inbound --flows 1000 --packets 1000000
//! ```

mod frames;
mod plan;

use clap::{Parser, ValueEnum};
use dataplane_engine::{Counters, Engine, Inputs, NO_MEMBER, OwnTables, Settings, Tables};
use dataplane_flow::{Instant, State};
use dataplane_message::{Conditions, FlowFilter};
use dataplane_port::{BURST, Head, PortId, PortSet, Verdict, Verdicts, VlanId, WorkerId};
use frames::{FRAME, Frame, Kind};
use plan::{R1, ROUTER, SERVERS, TAGGED, plan};
use std::sync::Arc;

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
    /// The same, many more than there is room for.
    Flood,
    /// Whole handshakes of such flows: SYN, SYN+ACK and ACK of each.
    Handshake,
    /// Frames between two learned stations.
    Bridge,
    /// As `inbound`, of UDP.
    Udp,
    /// As `inbound`, over IPv6.
    Ipv6,
    /// As `inbound`, in a VLAN, with its tag.
    Vlan,
    /// Later fragments of datagrams whose first ones have passed.
    Fragment,
}

impl Case {
    fn is_of_syns(self) -> bool {
        matches!(self, Self::New | Self::Flood)
    }

    /// What the table is made for: SYNs of so many packets as are counted fit into an eighth of it.
    fn flows_max(self, flows: u32) -> usize {
        let opens = matches!(self, Self::New | Self::Handshake);
        if opens { 1 << 20 } else { (flows as usize).max(4096) }
    }

    /// What its flows are made of.
    fn kind(self) -> Kind {
        match self {
            Self::Udp => Kind::Udp,
            Self::Ipv6 => Kind::Ipv6,
            Self::Vlan => Kind::Vlan,
            Self::Fragment => Kind::Fragment,
            _ => Kind::Tcp,
        }
    }
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
    let Arguments { case, flows, packets } = arguments;
    let mut bench = Bench::new(case.flows_max(flows));
    bench.fill(case, flows);
    let start = std::time::Instant::now();
    let forwarded = match case {
        Case::Handshake => bench.shake_hands(flows, packets),
        _ => bench.run(case, flows, packets),
    };
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{case:?}: {forwarded} of {packets} packets forwarded, {flows} flows, {:.1} ns a packet",
        seconds * 1e9 / packets as f64
    );
    let sent = match case {
        Case::Handshake => packets.next_multiple_of(3),
        _ => packets.next_multiple_of(BURST as u64),
    };
    assert_eq!(forwarded, sent, "every packet goes on");
}

struct Bench {
    engine: Engine,
    frames: Vec<Frame>,
    verdicts: Verdicts,
    now: Instant,
}

impl Bench {
    fn new(flows_max: usize) -> Self {
        let counters: Arc<[Counters]> = Arc::from(vec![Counters::default()]);
        let settings =
            Settings { worker: WorkerId(0), workers: 1, flows_max, datagrams_max: 4096, table_seed: [1, 2] };
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
            learned: &[(VlanId(1), ROUTER, R1), (TAGGED, ROUTER, R1)],
            moved: false,
            previous: None,
        });
        let now = Instant::from_secs(1);
        engine.swap(OwnTables::new(Arc::new(tables)), now);
        Self { engine, frames: vec![[0; FRAME]; BURST], verdicts: Verdicts::default(), now }
    }

    /// Makes `flows` established flows: SYN, SYN+ACK, ACK, a request, an answer; where there are no such
    /// things, a packet each way; of fragments the first ones.
    fn fill(&mut self, case: Case, flows: u32) {
        let kind = case.kind();
        for flow in 0..flows {
            let first = if kind == Kind::Fragment { Kind::FirstFragment } else { kind };
            let opened = self.one(R1, &first.inbound(flow, 2));
            let Verdict::Forward(port) = opened else { panic!("a first packet is forwarded: {opened:?}") };
            let server = u16::from(port.0) - 1;
            if kind != Kind::Fragment {
                self.one(port, &kind.outbound(flow, server, 0x12));
                self.one(R1, &kind.inbound(flow, 0x10));
                self.one(R1, &kind.with_data(kind.inbound(flow, 0x10)));
                self.one(port, &kind.with_data(kind.outbound(flow, server, 0x10)));
            }
            self.engine.tick(self.now);
            self.engine.outbox().frames.clear();
            self.engine.outbox().events.clear();
        }
    }

    fn one(&mut self, port: PortId, frame: &Frame) -> Verdict {
        let mut data = *frame;
        let len = data.len() as u32;
        let head = Head { data: &mut data, len, port, handed: false, checksum_good: false };
        self.engine.process(self.now, &mut [head][..], &mut self.verdicts);
        self.verdicts.of(0)
    }

    /// Makes handshakes of flows from `first` on, of which these are the packets: a thousand at a time, so that each
    /// server's are bursts.
    fn shake_hands(&mut self, first: u32, packets: u64) -> u64 {
        let [syn, ack] = [2, 0x10].map(|flags| Kind::Tcp.inbound(0, flags));
        let flows: Vec<u32> = (first..).take(packets.div_ceil(3) as usize).collect();
        let mut forwarded = 0;
        for flows in flows.chunks(1024) {
            let mut homes = vec![Vec::new(); usize::from(SERVERS)];
            for flows in flows.chunks(BURST) {
                forwarded += self.burst(R1, &syn, flows);
                for (flow, verdict) in flows.iter().zip(self.verdicts.iter()) {
                    let Verdict::Forward(port) = verdict else { panic!("a SYN is forwarded: {verdict:?}") };
                    homes[port.index() - 1].push(*flow);
                }
            }
            for (server, flows) in (0..).zip(&homes) {
                let syn_ack = Kind::Tcp.outbound(0, server, 0x12);
                let bursts = flows.chunks(BURST);
                forwarded +=
                    bursts.map(|flows| self.burst(PortId(server as u8 + 1), &syn_ack, flows)).sum::<u64>();
            }
            forwarded += flows.chunks(BURST).map(|flows| self.burst(R1, &ack, flows)).sum::<u64>();
            self.now = Instant(self.now.0 + 10_000);
            self.engine.tick(self.now);
            self.engine.outbox().frames.clear();
            self.engine.outbox().events.clear();
        }
        let mut established = 0;
        let _ = self.engine.list(0, usize::MAX, &FlowFilter::default(), |_, entry, _, _| {
            established += u64::from(entry.state() == State::Established);
        });
        // And those that were there before.
        assert_eq!(established, u64::from(first) + flows.len() as u64, "every handshake is completed");
        forwarded
    }

    /// A burst of packets like this one, of these flows; how many are forwarded.
    fn burst(&mut self, port: PortId, like: &Frame, flows: &[u32]) -> u64 {
        for (frame, flow) in self.frames.iter_mut().zip(flows) {
            *frame = *like;
            stamp_rightly(frame, port == R1, *flow);
        }
        let mut frames = self.frames.iter_mut();
        let mut heads: [Head<'_>; BURST] = core::array::from_fn(|_| {
            let data = frames.next().expect("32 frames");
            Head { data, len: FRAME as u32, port, handed: false, checksum_good: true }
        });
        self.engine.process(self.now, &mut heads[..flows.len()], &mut self.verdicts);
        let verdicts = self.verdicts.iter().take(flows.len());
        verdicts.filter(|verdict| matches!(verdict, Verdict::Forward(_))).count() as u64
    }

    fn run(&mut self, case: Case, flows: u32, packets: u64) -> u64 {
        let kind = case.kind();
        let template = match case {
            Case::New | Case::Flood => kind.inbound(0, 2),
            Case::Outbound => kind.outbound(0, 0, 0x10),
            Case::Data => kind.with_data(kind.outbound(0, 0, 0x10)),
            Case::Bridge => frames::stranger(),
            _ => kind.inbound(0, 0x10),
        };
        // Where each flow's server is: outbound frames must come from it.
        let homes: Vec<u8> = match case {
            Case::Outbound | Case::Data => (0..flows)
                .map(|flow| match self.one(R1, &kind.inbound(flow, 0x10)) {
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
                // The run before has overwritten it with a server's.
                frame[..6].copy_from_slice(&template[..6]);
                match case {
                    Case::New | Case::Flood => {
                        stamp_rightly(frame, true, flows + flow);
                    }
                    Case::Bridge => {}
                    Case::Outbound | Case::Data => {
                        kind.stamp(frame, false, flow);
                        frame[11] = homes[flow as usize] - 1;
                    }
                    _ => kind.stamp(frame, true, flow),
                }
                next = if next + 1 < order.len() { next + 1 } else { 0 };
                flow = if case.is_of_syns() { flow + 1 } else { order[next] };
            }
            let mut frames = self.frames.iter_mut();
            let homes = &homes;
            let port = if case == Case::Bridge { PortId(1) } else { R1 };
            let mut heads: [Head<'_>; BURST] = core::array::from_fn(|_| {
                let data = frames.next().expect("32 frames");
                let port = if homes.is_empty() { port } else { PortId(data[11] + 1) };
                Head { data, len: FRAME as u32, port, handed: false, checksum_good: true }
            });
            self.engine.process(self.now, &mut heads[..], &mut self.verdicts);
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

/// The flow's client, as [`Kind::stamp`] writes it; but one half of its address goes down as the other goes up, so that
/// the checksum stays right.
fn stamp_rightly(frame: &mut Frame, from_client: bool, flow: u32) {
    Kind::Tcp.stamp(frame, from_client, flow);
    let address = if from_client { 26 } else { 30 };
    frame[address..address + 2].copy_from_slice(&(0xc633 - (flow >> 14) as u16).to_be_bytes());
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
