//! Frames that go along a trail come to what they would come to without one.

mod common;

use common::{CLIENT, VIP, addr, plan, table};
use dataplane_engine::{Counters, Engine, Inputs, NO_MEMBER, OwnTables, Settings, Tables};
use dataplane_flow::{ClusterId, Instant, TargetId};
use dataplane_message::{Chooser, Conditions, FlowFilter, Health, MemberCondition, TargetCondition};
use dataplane_port::{BURST, DropReason, Head, PortId, PortSet, Verdict, Verdicts, VlanId, WorkerId};
use dataplane_wire::MacAddr;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use tests_model::frames::{ACK, FIN, RST, SYN, ethernet, ip, tcp, udp, v4};
use tests_model::mutate::{Random, flip, truncate};
use tests_model::{Mac, Role, Table};

const OTHER_CLIENT: Mac = [2, 0xc1, 0, 0, 0, 2];
const BURSTS: usize = 6_000;

struct Side {
    engine: Engine,
    counters: Arc<[Counters]>,
    verdicts: Verdicts,
    /// Frames of its own, not compared yet.
    own: BTreeSet<Vec<u8>>,
}

/// A frame that comes in.
#[derive(Debug)]
struct Arrival {
    frame: Vec<u8>,
    port: PortId,
    checksum_good: bool,
}

fn tables(table: &Table, conditions: &Conditions, previous: Option<&Tables>) -> Arc<Tables> {
    let plan = plan(table, Chooser::Maglev);
    Arc::new(Tables::build(&Inputs {
        plan: &plan,
        epoch: 1,
        members: &|_, _, _| NO_MEMBER,
        conditions,
        up: plan.ports.iter().map(|port| port.id).collect::<PortSet>(),
        server_macs: &|_| None,
        port_macs: &[],
        learned: &[(VlanId(5), MacAddr(CLIENT), PortId(0)), (VlanId(5), MacAddr(OTHER_CLIENT), PortId(4))],
        moved: false,
        previous,
    }))
}

impl Side {
    fn new(workers: u8) -> Self {
        let counters: Arc<[Counters]> = (0..workers).map(|_| Counters::default()).collect();
        let settings = Settings {
            worker: WorkerId(0),
            workers,
            flows_max: 4096,
            datagrams_max: 4096,
            table_seed: [1, 2],
        };
        let engine = Engine::new(&settings, Arc::clone(&counters)).expect("memory for 4,096 flows");
        Self { engine, counters, verdicts: Verdicts::default(), own: BTreeSet::new() }
    }

    fn process(&mut self, now: Instant, handed: bool, burst: &[Arrival]) -> Vec<(Verdict, Vec<u8>)> {
        let mut frames: Vec<Vec<u8>> = burst.iter().map(|arrival| arrival.frame.clone()).collect();
        let mut heads: Vec<Head<'_>> = frames
            .iter_mut()
            .zip(burst)
            .map(|(data, arrival)| Head {
                len: data.len() as u32,
                data,
                port: arrival.port,
                handed,
                checksum_good: arrival.checksum_good,
            })
            .collect();
        self.engine.process(now, &mut heads[..], &mut self.verdicts);
        drop(heads);
        self.engine.tick(now);
        let outbox = self.engine.outbox();
        self.own.extend(outbox.frames.iter().map(|frame| frame.bytes().to_vec()));
        outbox.frames.clear();
        outbox.events.clear();
        outbox.releases.clear();
        self.verdicts.iter().zip(frames).collect()
    }

    /// All entries, as far as nothing in them is chance.
    fn flows(&self) -> BTreeSet<String> {
        let mut flows = BTreeSet::new();
        let mut keys = BTreeSet::new();
        let end = self.engine.list(0, usize::MAX, &FlowFilter::default(), |key, entry, idle, age| {
            assert!(keys.insert(key.words()), "{key:?} has two entries");
            flows.insert(format!("{key:?} {:?} {:?} {idle} {age}", entry.target(), entry.state()));
        });
        assert_eq!(end, None);
        flows
    }

    /// Everything that is counted.
    fn counts(&self) -> Vec<u64> {
        let counters = &self.counters[0];
        let drops = DropReason::ALL.iter().map(|reason| counters.dropped(*reason));
        let targets = (0..4).flat_map(|n| {
            let of = counters.target(TargetId(n));
            [&of.in_frames, &of.in_bytes, &of.out_frames, &of.out_bytes, &of.flows_new, &of.heard]
                .map(|counter| counter.read())
        });
        let router = counters.router(dataplane_flow::RouterId(0));
        let routers = [&router.in_frames, &router.in_bytes, &router.out_frames, &router.out_bytes];
        drops.chain(targets).chain(routers.map(|counter| counter.read())).collect()
    }
}

/// A frame of one of some hundred flows, from a client or a server; now and then a damaged one. `plain`: as most are,
/// TCP in IPv4.
fn frame(table: &Table, port: PortId, flow: usize, plain: bool, random: &mut Random) -> Vec<u8> {
    let v6 = flow.is_multiple_of(4) && !plain;
    let vip: IpAddr = if v6 { addr("2001:db8::80") } else { VIP.into() };
    let number = flow % 24;
    let client = if v6 {
        addr(&format!("2001:db8:1::{number:x}"))
    } else {
        addr(&format!("198.51.100.{}", number + 1))
    };
    let client_port = 4000 + (flow / 24 % 4) as u16;
    let serves = table.ports[port.index()].role == Role::Server;
    let servers: Vec<&tests_model::Server> =
        table.servers.iter().filter(|server| server.port == port.index()).collect();
    let vmac = if v6 { table.clusters[1].vmac } else { table.clusters[0].vmac };
    let client_mac = if port.0 == 4 { OTHER_CLIENT } else { CLIENT };
    let (dst_mac, src_mac, src, dst) = if serves {
        (client_mac, servers[random.below(servers.len())].mac, vip, client)
    } else {
        (vmac, client_mac, client, vip)
    };
    let ports = if serves { (80, client_port) } else { (client_port, 80) };
    let flags = [ACK, ACK, ACK, ACK, SYN, SYN | ACK, FIN | ACK, RST, ACK, ACK, ACK][random.below(11)];
    let flags = if plain && random.below(8) != 0 { ACK } else { flags };
    let data = vec![7; random.below(40)];
    // What carries nothing comes from no further on than what did.
    let sequence = if data.is_empty() { 0 } else { random.below(5000) as u32 };
    let kind = if plain { 11 } else { random.below(12) };
    let packet = match (kind, src, dst) {
        (0, ..) => ip(src, dst, 17, &udp(ports.0, ports.1, &data)),
        (1, ..) => ip(src, dst, 50, &data),
        (2, IpAddr::V4(src), IpAddr::V4(dst)) => {
            let place = [0x2000, 3, 0x2003][random.below(3)];
            v4(src, dst, 17, random.below(8) as u16, place, &udp(ports.0, ports.1, &[7; 32]))
        }
        // Of one of a client's four ports: they would all be one flow.
        (3, ..) if client_port == 4000 => ip(src, dst, 17, &udp(ports.0, 500, &data)),
        _ => ip(src, dst, 6, &tcp(ports.0, ports.1, flags, sequence, 2000, &data)),
    };
    let tagged = table.ports[port.index()].untagged.is_none();
    let ethertype = if v6 { 0x86dd } else { 0x0800 };
    let mut frame = ethernet(dst_mac, src_mac, tagged.then_some(5), ethertype, &packet);
    if frame.len() < 60 && random.below(2) == 0 {
        frame.resize(60, 0);
    }
    match random.below(if plain { 160 } else { 40 }) {
        0 => flip(&frame, random),
        1 => truncate(&frame, random.below(60)),
        _ => frame,
    }
}

#[test]
fn frames_that_are_settled_at_once_come_to_what_the_whole_way_says() {
    for workers in [1, 3] {
        let table = table();
        let mut random = Random::new(u64::from(workers));
        let (mut quick, mut whole) = (Side::new(workers), Side::new(workers));
        let mut conditions = Conditions::default();
        let mut now = Instant::from_secs(1);
        let mut given = tables(&table, &conditions, None);
        quick.engine.swap(OwnTables::new(Arc::clone(&given)), now);
        // The same, but an engine sees them as others, and forgets its trails.
        let mut others = [tables(&table, &conditions, None), tables(&table, &conditions, None)];
        let mut resets = 0;
        for burst in 0..BURSTS {
            let pauses = [30_000, 40_000, 3_000_000, 300_000_000];
            // Now and then flows are beyond their time-outs before anybody has looked.
            let is_long = random.below(100) == 0;
            let pause = if is_long { 9_000_000_000_000 } else { pauses[random.below(4)] };
            now = Instant(now.0 + pause);
            if burst % 250 == 249 {
                if burst % 500 == 499 {
                    // A server comes and goes.
                    let down = burst % 1000 == 999;
                    let health = if down { Health::Dead } else { Health::Up };
                    conditions.targets =
                        vec![TargetCondition { id: TargetId(1), health, admin: None, gentle: false }];
                } else {
                    // Another weight: trails stay.
                    let weight = 1 + (burst / 250 % 7) as u16;
                    conditions.members = vec![MemberCondition {
                        cluster: ClusterId(0),
                        service: 0,
                        target: TargetId(0),
                        open: true,
                        weight,
                    }];
                }
                given = tables(&table, &conditions, Some(&given));
                quick.engine.swap(OwnTables::new(Arc::clone(&given)), now);
                others = [tables(&table, &conditions, None), tables(&table, &conditions, None)];
            }
            whole.engine.swap(OwnTables::new(Arc::clone(&others[burst % 2])), now);
            // Of one port, or handed over by other workers, from all: to one that owns every flow.
            let handed = workers == 1 && random.below(4) == 0;
            let one = PortId(random.below(5) as u8);
            // Each flow once: frames that are settled at once are settled before the others.
            let flow = random.below(96);
            // Every second burst is of frames that are alike, but for one in some of them.
            let alike = random.below(2) == 0;
            let odd = random.below(3 * BURST);
            let frames: Vec<Arrival> = (0..=random.below(BURST))
                .take(BURST)
                .map(|i| {
                    let port = if handed { PortId(random.below(5) as u8) } else { one };
                    let checksum_good = random.below(3) == 0;
                    Arrival {
                        frame: frame(&table, port, flow + i, alike && i != odd, &mut random),
                        port,
                        checksum_good,
                    }
                })
                .collect();
            let found = quick.process(now, handed, &frames);
            let expected = whole.process(now, handed, &frames);
            for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(found, expected, "burst {burst}, frame {i}: {:02x?}", frames[i]);
            }
            assert_eq!(quick.counts(), whole.counts(), "burst {burst}");
            let own = [&mut quick, &mut whole].map(|side| core::mem::take(&mut side.own));
            assert_eq!(own[0], own[1], "burst {burst}");
            resets += own[0].len();
            if burst % 20 == 0 || is_long {
                let (found, expected) = (quick.flows(), whole.flows());
                let differ: Vec<_> = found.symmetric_difference(&expected).collect();
                assert!(differ.is_empty(), "burst {burst}: {differ:#?}");
            }
        }
        let forwarded: u64 = quick.counts()[DropReason::COUNT..].iter().step_by(2).sum();
        assert!(resets > 100, "{resets} frames of its own");
        assert!(forwarded > 10_000, "{forwarded} frames to and from servers");
    }
}
