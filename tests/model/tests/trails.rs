//! Frames that go along a trail come to what they would come to without one.

mod common;

use common::{CLIENT, VIP, addr, plan, table};
use dataplane_cpu::Machine;
use dataplane_engine::{Counters, Engine, Inputs, NO_MEMBER, OwnTables, Settings, Tables};
use dataplane_flow::{ClusterId, Instant, RouterId, TargetId};
use dataplane_message::{
    Chooser, Conditions, FlowFilter, Health, MemberCondition, PROBE_PORT_FIRST, ServicePlan, TargetCondition,
};
use dataplane_port::{BURST, DropReason, Head, PortId, PortSet, Verdict, Verdicts, VlanId, WorkerId};
use dataplane_wire::MacAddr;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use tests_model::frames::{ACK, FIN, RST, SYN, ethernet, ip, tcp, udp, v4};
use tests_model::mutate::{Random, flip, truncate};
use tests_model::{Mac, Role, Table};

const OTHER_CLIENT: Mac = [2, 0xc1, 0, 0, 0, 2];
const BURSTS: usize = 12_000;

/// Longer than any flow is kept.
const LONG_S: u64 = 9_000;

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

fn tables(
    table: &Table,
    chooser: Chooser,
    conditions: &Conditions,
    previous: Option<&Tables>,
) -> Arc<Tables> {
    let mut plan = plan(table, chooser);
    // Here one is full now and then (FS-34).
    plan.targets[2].connections_max = if chooser == Chooser::LeastConnections { 40 } else { 0 };
    plan.routers[0].mac = Some(MacAddr(CLIENT));
    // A service before the one for everything.
    let default = plan.clusters[0].services[0].clone();
    let https = ServicePlan { name: "https".into(), protocol: Some(6), ports: 443..=443, ..default };
    plan.clusters[0].services.insert(0, https);
    Arc::new(Tables::build(&Inputs {
        plan: &plan,
        epoch: 1,
        members: &|cluster, _, target| if cluster.0 == 0 { target.0 } else { NO_MEMBER },
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

    /// All entries, as far as nothing in them is chance; but not those that nobody has forgotten yet.
    fn flows(&self) -> BTreeSet<String> {
        let mut flows = BTreeSet::new();
        let mut keys = BTreeSet::new();
        let end = self.engine.list(0, usize::MAX, &FlowFilter::default(), |key, entry, idle, age| {
            assert!(keys.insert(key.words()), "{key:?} has two entries");
            if u64::from(idle) < LONG_S {
                flows.insert(format!("{key:?} {:?} {:?} {idle} {age}", entry.target(), entry.state()));
            }
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
            let member = counters.member(n).expect("the first of many");
            [&of.in_frames, &of.in_bytes, &of.out_frames, &of.out_bytes, &of.flows_new, &of.heard]
                .into_iter()
                .chain([&member.opened, &member.accepted, &member.completed, &member.refused])
                .chain([&member.repeated, &member.bypassed, &member.requests, &member.responses])
                .chain([&member.resets])
                .chain(member.connect.iter().chain(&member.response))
                .map(|counter| counter.read())
        });
        let router = counters.router(RouterId(0));
        let routers = [&router.in_frames, &router.in_bytes, &router.out_frames, &router.out_bytes];
        let clusters = [0, 2].map(|id| counters.cluster(ClusterId(id))).into_iter().flat_map(|cluster| {
            [&cluster.flows_new, &cluster.hashed, &cluster.services[0], &cluster.services[1]]
        });
        let others = routers.into_iter().chain(clusters).map(|counter| counter.read());
        drops.chain(targets).chain(others).collect()
    }
}

/// A frame of one of many flows, from a client or a server; now and then a damaged one. `mostly`: TCP in IPv4,
/// as most are, and most of them with these flags. `second`: in IPv4, of another cluster.
fn frame(
    table: &Table,
    port: PortId,
    (flow, second): (usize, bool),
    mostly: Option<u8>,
    random: &mut Random,
) -> Vec<u8> {
    let plain = mostly.is_some();
    let v6 = flow.is_multiple_of(4) && !plain;
    let looks_v4 = v6 && random.below(50) == 0;
    let vip: IpAddr = match random.below(50) {
        // Between the same stations, but not of the VIP's traffic.
        0 if !v6 => addr("198.51.100.250"),
        // Numbers that those of a flow in IPv4 are equal to.
        _ if looks_v4 => IpAddr::V6(VIP.to_ipv6_compatible()),
        _ if v6 => addr("2001:db8::80"),
        _ if second => table.clusters[2].vip,
        _ => VIP.into(),
    };
    let number = flow % 24;
    let client = if looks_v4 {
        addr(&format!("::198.51.100.{}", number + 1))
    } else if v6 {
        addr(&format!("2001:db8:1::{number:x}"))
    } else {
        addr(&format!("198.51.100.{}", number + 1))
    };
    let client_port = 4000 + (flow / 24 % 10_000) as u16;
    let (client, client_port) = match random.below(100) {
        // What no honest client is or has.
        0 if !v6 => (VIP.into(), client_port),
        1 if !v6 => (addr("127.0.0.1"), client_port),
        2 if !v6 => (addr("192.0.0.8"), PROBE_PORT_FIRST + (flow % 96) as u16),
        3 => (client, 0),
        _ => (client, client_port),
    };
    let serves = table.ports[port.index()].role == Role::Server;
    let servers: Vec<&tests_model::Server> =
        table.servers.iter().filter(|server| server.port == port.index()).collect();
    let cluster = if second && !v6 { 2 } else { usize::from(v6 && !looks_v4) };
    let vmac = table.clusters[cluster].vmac;
    let client_mac = if port.0 == 4 { OTHER_CLIENT } else { CLIENT };
    let (dst_mac, src_mac, src, dst) = if serves {
        (client_mac, servers[random.below(servers.len())].mac, vip, client)
    } else {
        (vmac, client_mac, client, vip)
    };
    let vip_port = if flow.is_multiple_of(5) { 443 } else { 80 };
    let ports = if serves { (vip_port, client_port) } else { (client_port, vip_port) };
    let flags = [ACK, ACK, ACK, ACK, SYN, SYN | ACK, FIN | ACK, RST, ACK, ACK, ACK][random.below(11)];
    let flags = mostly.filter(|_| random.below(8) != 0).unwrap_or(flags);
    let flags = match random.below(50) {
        0 => SYN | FIN,
        1 => SYN | RST,
        2..6 => SYN,
        _ => flags,
    };
    let data = vec![7; random.below(40) * random.below(2)];
    // What carries nothing comes from no further on than what did.
    let sequence = if data.is_empty() { 0 } else { random.below(5000) as u32 };
    // Now and then what a server's SYN, or its FIN, has to be acknowledged with.
    let acknowledgement = [1, 2000][random.below(2)];
    let kind = if plain { 11 } else { random.below(12) };
    let packet = match (kind, src, dst) {
        (0, ..) => ip(src, dst, 17, &udp(ports.0, ports.1, &data)),
        (1, ..) => ip(src, dst, 50, &data),
        (2, IpAddr::V4(src), IpAddr::V4(dst)) => {
            let place = [0x2000, 3, 0x2003][random.below(3)];
            v4(src, dst, 17, random.below(8) as u16, place, &udp(ports.0, ports.1, &[7; 32]))
        }
        // Of one of a client's four ports: they would all be one flow.
        (3, ..) if client_port.is_multiple_of(4) => ip(src, dst, 17, &udp(ports.0, 500, &data)),
        _ => ip(src, dst, 6, &tcp(ports.0, ports.1, flags, sequence, acknowledgement, &data)),
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
    let settings = [
        (1, Chooser::Maglev),
        (3, Chooser::Maglev),
        (1, Chooser::LeastConnections),
        (3, Chooser::SourceAffinity),
    ];
    for (seed, (workers, chooser)) in (1..).zip(settings) {
        let table = table();
        let mut random = Random::new(seed);
        let (mut quick, mut whole) = (Side::new(workers), Side::new(workers));
        let mut conditions = Conditions::default();
        let mut now = Instant::from_secs(1);
        let mut given = tables(&table, chooser, &conditions, None);
        quick.engine.swap(OwnTables::new(Arc::clone(&given)), now);
        // The same, but an engine sees them as others, and forgets its trails.
        let mut others =
            [tables(&table, chooser, &conditions, None), tables(&table, chooser, &conditions, None)];
        let mut resets = 0;
        // By load, who is chosen hangs on the order within a burst, which shows in the long run.
        let by_load = chooser == Chooser::LeastConnections;
        for burst in 0..if by_load { BURSTS / 2 } else { BURSTS } {
            let pauses = [30_000, 40_000, 3_000_000, 300_000_000];
            // Now and then flows are beyond their time-outs before anybody has looked.
            let is_long = random.below(100) == 0;
            let pause = if is_long { LONG_S * 1_000_000_000 } else { pauses[random.below(4)] };
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
                given = tables(&table, chooser, &conditions, Some(&given));
                quick.engine.swap(OwnTables::new(Arc::clone(&given)), now);
                others =
                    [tables(&table, chooser, &conditions, None), tables(&table, chooser, &conditions, None)];
            }
            whole.engine.swap(OwnTables::new(Arc::clone(&others[burst % 2])), now);
            // Of one port, or handed over by other workers, from all: to one that owns every flow.
            let handed = workers == 1 && random.below(4) == 0;
            let one = PortId(random.below(5) as u8);
            // Each flow once: frames that are settled at once are settled before the others.
            // New ones every now and then.
            let flow = if by_load { random.below(96) } else { burst / 20 * 96 + random.below(48) };
            // Every second burst is of frames that are alike, but for one in some of them: of data, or of a handshake's
            // steps.
            let opens = if table.ports[one.index()].role == Role::Server { SYN | ACK } else { SYN };
            let steps = random.below(2) == 0 && !by_load;
            let mostly = if steps { opens } else { ACK };
            let alike = random.below(2) == 0;
            let odd = random.below(3 * BURST);
            // A burst that is alike is of one cluster, but for one in four of them.
            let (of_both, of_second) = (!alike || random.below(4) == 0, random.below(4) == 0);
            let frames: Vec<Arrival> = (0..=random.below(BURST))
                .take(BURST)
                .map(|i| {
                    let port = if handed { PortId(random.below(5) as u8) } else { one };
                    let checksum_good = random.below(3) == 0;
                    Arrival {
                        frame: frame(
                            &table,
                            port,
                            (flow + i, if of_both { (flow + i) % 3 == 0 } else { of_second }),
                            (alike && i != odd).then_some(mostly),
                            &mut random,
                        ),
                        port,
                        checksum_good,
                    }
                })
                .collect();
            quick.engine.work_on(if burst % 2 == 0 { Machine::this() } else { Machine::oldest() });
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
        let targets = (0..4).map(|n| quick.counters[0].target(TargetId(n)));
        let forwarded: u64 = targets.map(|of| of.in_frames.read() + of.out_frames.read()).sum();
        let counters = &quick.counters[0];
        let cluster = counters.cluster(ClusterId(0));
        let opened = cluster.flows_new.read();
        assert!(opened > 200, "{opened} flows opened");
        let member = counters.member(0).expect("the first of many");
        let (accepted, completed) = (member.accepted.read(), member.completed.read());
        assert!(
            by_load || accepted > 30 && completed > 5,
            "{accepted} handshakes accepted, {completed} completed"
        );
        for reason in [DropReason::Martian, DropReason::L4Header] {
            assert!(counters.dropped(reason) > 100, "{} {reason:?}", counters.dropped(reason));
        }
        let routed = counters.router(RouterId(0)).in_frames.read();
        assert!(routed > 1_000, "{routed} frames of the router");
        assert!(resets > 100, "{resets} frames of its own");
        assert!(forwarded > 10_000, "{forwarded} frames to and from servers");
    }
}

/// A segment between a client, whose address ends so, and the VIP, as it comes in by port 0, or by a server's.
fn segment(table: &Table, client: u8, server: Option<usize>, flags: u8, sequence: u32, ack: u32) -> Arrival {
    let address = addr(&format!("198.51.100.{client}"));
    let (macs, ends, ports, port) = match server {
        None => ((table.clusters[0].vmac, CLIENT), (address, VIP.into()), (4000, 80), 0),
        Some(n) => {
            let server = &table.servers[n];
            ((CLIENT, server.mac), (VIP.into(), address), (80, 4000), server.port)
        }
    };
    let packet = ip(ends.0, ends.1, 6, &tcp(ports.0, ports.1, flags, sequence, ack, &[]));
    let frame = ethernet(macs.0, macs.1, None, 0x0800, &packet);
    Arrival { frame, port: PortId(port as u8), checksum_good: false }
}

/// A switch that has seen a client's packet, and has a trail for the next.
fn on_the_trail(table: &Table, chooser: Chooser) -> (Side, Instant) {
    let (mut side, now) = (Side::new(1), Instant::from_secs(1));
    side.engine.swap(OwnTables::new(tables(table, chooser, &Conditions::default(), None)), now);
    side.process(now, false, &[segment(table, 200, None, SYN, 1, 0)]);
    (side, now)
}

/// More handshakes than there is room for (E1): who gets an entry hangs on the order within a burst, where frames go
/// does not.
#[test]
fn a_flood_is_sent_where_the_whole_way_sends_it() {
    let table = table();
    let (mut quick, now) = on_the_trail(&table, Chooser::Maglev);
    let (mut whole, _) = on_the_trail(&table, Chooser::Maglev);
    let others = [(); 2].map(|()| tables(&table, Chooser::Maglev, &Conditions::default(), None));
    let mut random = Random::new(7);
    for burst in 0..400 {
        let now = now.plus_millis(burst * 20);
        whole.engine.swap(OwnTables::new(Arc::clone(&others[burst as usize % 2])), now);
        let frames: Vec<Arrival> = (0..BURST)
            .map(|_| {
                let mut arrival = segment(&table, random.below(200) as u8, None, SYN, 1, 0);
                arrival.frame[34] = 4 + random.below(200) as u8;
                arrival.frame[35] = random.below(256) as u8;
                arrival
            })
            .collect();
        assert_eq!(quick.process(now, false, &frames), whole.process(now, false, &frames), "burst {burst}");
    }
    let [quick, whole] = [quick, whole].map(|side| {
        let cluster = side.counters[0].cluster(ClusterId(0));
        (cluster.flows_new.read(), cluster.hashed.read())
    });
    assert_eq!(quick.0 + quick.1, whole.0 + whole.1, "each is opened or goes by hash");
    assert!(quick.1 > 1_000 && quick.1.abs_diff(whole.1) < 100, "{quick:?} {whole:?}");
}

#[test]
fn the_end_of_a_connection_is_not_overtaken_by_the_next_one() {
    let table = table();
    let (mut side, now) = on_the_trail(&table, Chooser::Maglev);
    side.process(now, false, &[segment(&table, 1, None, RST, 1, 0), segment(&table, 1, None, SYN, 1, 0)]);
    let cluster = side.counters[0].cluster(ClusterId(0));
    assert_eq!((cluster.hashed.read(), cluster.flows_new.read()), (1, 2));
}

/// A flow that one segment ends is not taken further by the next one.
/// A client's packets come by two routers in turns: each way has a trail of its own.
#[test]
fn a_flow_that_goes_along_two_trails_keeps_its_order() {
    let table = table();
    let (mut side, now) = on_the_trail(&table, Chooser::Maglev);
    let by_other = |mut arrival: Arrival| {
        arrival.frame[6..12].copy_from_slice(&[2, 0xc1, 0, 0, 0, 9]);
        arrival
    };
    side.process(now, false, &[by_other(segment(&table, 201, None, SYN, 1, 0))]);
    let counts = |side: &Side| {
        let cluster = side.counters[0].cluster(ClusterId(0));
        (cluster.hashed.read(), cluster.flows_new.read())
    };
    let from_client = |client, flags| segment(&table, client, None, flags, 2, 0);
    for client in 1..30 {
        let before = counts(&side);
        // The end of a connection by one router, and then the next one by the other, by which something else goes first.
        let other = by_other(from_client(client + 100, SYN));
        side.process(now, false, &[other, from_client(client, RST), by_other(from_client(client, SYN))]);
        assert_eq!(counts(&side), (before.0 + 1, before.1 + 2), "client {client}: the end is of no flow");
    }
}

#[test]
fn a_step_of_a_handshake_does_not_overtake_what_is_before_it() {
    let table = table();
    let (mut side, now) = on_the_trail(&table, Chooser::Maglev);
    let signs = |side: &Side| {
        let member = side.counters[0].member(0).expect("the first of many");
        (member.accepted.read(), member.completed.read())
    };
    let is_here = |frame: &Vec<u8>| frame.starts_with(&table.servers[0].mac);
    let from_client = |client, flags, ack| segment(&table, client, None, flags, 2, ack);
    let from_server = |client, flags| segment(&table, client, Some(0), flags, 5000, 2);
    let opened = side.process(now, false, &(1..30).map(|n| from_client(n, SYN, 0)).collect::<Vec<_>>());
    let mut clients = (1..).zip(opened).filter(|(_, (_, frame))| is_here(frame)).map(|(n, _)| n);
    let [a, b, c, d] = core::array::from_fn(|_| clients.next().expect("a client of server 0"));
    // One that has a trail.
    side.process(now, false, &[from_server(a, SYN | ACK)]);
    assert_eq!(signs(&side), (1, 0));
    side.process(
        now,
        false,
        &[from_server(b, RST | ACK), from_server(b, SYN | ACK), from_server(c, SYN | ACK)],
    );
    assert_eq!(signs(&side), (2, 0));
    let gone = [from_client(a, RST, 5001), from_client(a, ACK, 5001), from_client(c, ACK, 5001)];
    side.process(now, false, &gone);
    assert_eq!(signs(&side), (2, 1));
    // Not what was asked for: it stays a handshake.
    side.process(now, false, &[from_server(d, SYN | ACK), from_server(d, SYN | ACK)]);
    side.process(now, false, &[from_client(d, ACK, 5000), from_client(d, ACK, 5002)]);
    assert_eq!(signs(&side), (3, 1));
    side.process(now, false, &[from_client(d, ACK, 5001)]);
    assert_eq!(signs(&side), (3, 2));
    // SYNs beyond their time-out, which are in the table still: but for a few, as it is swept.
    let later = now.plus_millis(9_000);
    side.process(later, false, &[from_server(a, ACK)]);
    let late: Vec<_> = clients.map(|client| from_server(client, SYN | ACK)).collect();
    side.process(later, false, &late);
    assert_eq!(signs(&side), (3, 2));
}

/// FS-10.
#[test]
fn the_client_of_a_dead_server_is_reset_where_its_syn_came_from() {
    let table = table();
    let (mut side, now) = on_the_trail(&table, Chooser::Maglev);
    let mut trodden = false;
    for client in 1..19 {
        let sent = side.process(now, false, &[segment(&table, client, None, SYN, 1, 0)]);
        let Some(server) = table.servers.iter().position(|server| sent[0].1.starts_with(&server.mac)) else {
            panic!("client {client}: {:?}", sent[0]);
        };
        // The others are behind ports with tags.
        if server != 0 {
            continue;
        }
        side.process(now, false, &[segment(&table, client, Some(0), SYN | ACK, 5000, 2)]);
        // Of the first one comes the trail.
        if !core::mem::replace(&mut trodden, true) {
            continue;
        }
        side.process(now, false, &[segment(&table, client, None, ACK, 2, 5001)]);
        let dead = TargetCondition { id: TargetId(0), health: Health::Dead, admin: None, gentle: false };
        let conditions = Conditions { targets: vec![dead], ..Conditions::default() };
        let after = tables(&table, Chooser::Maglev, &conditions, None);
        side.engine.swap(OwnTables::new(after), now);
        // Unasked, within a second.
        for ms in 1..1000 {
            side.process(now.plus_millis(ms), false, &[segment(&table, 100, None, SYN, 1, 0)]);
        }
        let is_reset = |frame: &Vec<u8>| {
            // With the sequence number that the client awaits (RFC 9293 §3.10.7.4).
            let [to, flags, sequence] = [&frame[33..34], &frame[47..48], &frame[38..42]];
            frame.starts_with(&CLIENT)
                && (to, flags, sequence) == (&[client], &[RST], &5001_u32.to_be_bytes())
        };
        assert!(side.own.iter().any(is_reset), "{:02x?}", side.own);
        return;
    }
    panic!("no client is server 0's");
}

/// FS-9. Server 2 is behind a port that wants a tag: what goes there is not opened with the others.
#[test]
fn servers_take_turns_whatever_way_their_flows_are_opened() {
    let table = table();
    let (mut side, mut now) = on_the_trail(&table, Chooser::RoundRobin);
    let before = [0, 1, 2].map(|n| side.counters[0].target(TargetId(n)).flows_new.read());
    for burst in 0..10_u8 {
        now = Instant(now.0 + 30_000);
        let frames: Vec<Arrival> = (0..24)
            .map(|i| {
                let mut arrival = segment(&table, burst, None, SYN, 1, 0);
                arrival.frame[34] += i;
                arrival
            })
            .collect();
        side.process(now, false, &frames);
        for (server, before) in (0..).zip(before) {
            let flows = side.counters[0].target(TargetId(server)).flows_new.read() - before;
            assert_eq!(flows, 8 * (u64::from(burst) + 1), "server {server} after burst {burst}");
        }
    }
}
