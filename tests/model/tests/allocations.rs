//! A worker allocates nothing and frees nothing, whatever comes (DESIGN: memory is taken at start).
#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait's implementation")]

mod common;

use common::{CLIENT, Switch, VIP, addr, table};
use dataplane_flow::{PoolId, RouterId, TargetId};
use dataplane_message::{
    Chooser, Conditions, Health, PoolPlan, Redirect, RouterCondition, RouterPlan, Spread, Step,
    TargetCondition, ToDataPath,
};
use dataplane_port::memory::MemoryPorts;
use dataplane_port::{PortId, VlanId, WorkerId};
use dataplane_wire::MacAddr;
use dataplane_worker::Worker;
use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tests_model::Mac;
use tests_model::frames::{ACK, FIN, RST, SYN, arp, echo, ethernet, ip, tcp, udp, v4};
use tests_model::mutate::Random;

const PACKETS: usize = 1_000_000;
const BURST: usize = 32;
const POOL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 252);
const OTHER_ROUTER: Mac = [2, 0xc2, 0, 0, 0, 1];

struct Counting;

static ON: AtomicBool = AtomicBool::new(false);
static CALLS: AtomicU64 = AtomicU64::new(0);

fn count() {
    if ON.load(Ordering::Relaxed) {
        CALLS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of the
// caller's and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count();
        // SAFETY: the caller keeps `dealloc`'s contract; `pointer` came from `System` by `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract; `pointer` came from `System` by `alloc` above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Everything that comes in a day: new flows, known ones, both directions, fragments in the wrong
/// order, questions and answers of ARP, floods, garbage.
fn day() -> Vec<(usize, Vec<u8>)> {
    let table = table();
    let mut random = Random::new(7);
    let (vmac, vmac6, server) = (table.clusters[0].vmac, table.clusters[1].vmac, table.servers[0]);
    let to_vip = |packet: &[u8]| ethernet(vmac, CLIENT, None, 0x0800, packet);
    let mut frames = Vec::new();
    for n in 0..8192_usize {
        let client = Ipv4Addr::from(0xc633_6400 + random.below(200) as u32 + 1);
        let port = random.below(60_000) as u16 + 1024;
        let (v6_client, v6_vip) = (addr("2001:db8::7"), addr("2001:db8::80"));
        let stranger: Mac = [2, 0x77, 0, 0, (n >> 8) as u8, n as u8];
        let frame = match n % 20 {
            0..=3 => (0, to_vip(&v4(client, VIP, 6, 1, 0, &tcp(port, 80, SYN, 1, 0, &[])))),
            4..=6 => (0, to_vip(&v4(client, VIP, 6, 1, 0, &tcp(port, 80, ACK, 2, 2, &[0; 400])))),
            7 => (0, to_vip(&v4(client, VIP, 6, 1, 0, &tcp(port, 80, FIN | ACK, 2, 2, &[])))),
            8 => (0, to_vip(&v4(client, VIP, 17, 1, 0, &udp(port, 53, &[0; 40])))),
            9 => (0, ethernet(vmac6, CLIENT, None, 0x86dd, &ip(v6_client, v6_vip, 17, &udp(port, 53, &[])))),
            10 => (0, to_vip(&v4(client, VIP, 1, 1, 0, &echo(false, port)))),
            // The last fragment, then the first; and some whose first one never comes.
            11 => (0, to_vip(&v4(client, VIP, 17, n as u16, 185, &[0; 100]))),
            12 => (0, to_vip(&v4(client, VIP, 17, n as u16 - 1, 0x2000, &udp(port, 53, &[0; 1472])))),
            13 => {
                let answer = v4(VIP, client, 6, 1, 0, &tcp(80, port, SYN | ACK, 9, 2, &[]));
                (server.port, ethernet(CLIENT, server.mac, None, 0x0800, &answer))
            }
            14 => {
                let reset = v4(VIP, client, 6, 1, 0, &tcp(80, port, RST, 9, 2, &[]));
                (server.port, ethernet(CLIENT, server.mac, None, 0x0800, &reset))
            }
            15 => (0, ethernet([0xff; 6], CLIENT, None, 0x0806, &arp(1, (CLIENT, client), ([0; 6], VIP)))),
            16 => {
                let question = arp(1, (server.mac, VIP), ([0; 6], client));
                (server.port, ethernet([0xff; 6], server.mac, None, 0x0806, &question))
            }
            17 => (0, ethernet(vmac, CLIENT, None, 0x0806, &arp(2, (CLIENT, client), (vmac, VIP)))),
            18 => (4, ethernet([0xff; 6], stranger, Some(6), 0x9000, &[0; 300])),
            _ => (random.below(5), (0..random.below(120)).map(|_| random.draw() as u8).collect()),
        };
        frames.push(frame);
    }
    assert!(frames.iter().any(|(_, frame)| frame.len() > 1400));
    assert!(matches!(table.clusters[0].vip, IpAddr::V4(_)));
    frames
}

fn run(switch: &mut Switch, frames: &[(usize, Vec<u8>)], packets: usize, learn: bool) -> usize {
    let mut sent = 0;
    let workers = switch.workers.len();
    for burst in 0..packets / BURST {
        for n in 0..BURST {
            let (port, frame) = &frames[(burst * BURST + n) % frames.len()];
            switch.wire.push(WorkerId((n % workers) as u8), PortId(*port as u8), frame);
        }
        switch.now = switch.now.plus_millis(1);
        switch.turn();
        switch.wire.drain_sent(|_| sent += 1);
        if learn && burst % 256 == 0 {
            // The publisher has a thread of its own, and may allocate: new tables for the workers.
            let on = ON.swap(false, Ordering::Relaxed);
            switch.publisher.handle_deadline(switch.now);
            while switch.publisher.poll_message().is_some() {}
            ON.store(on, Ordering::Relaxed);
        }
    }
    sent
}

/// The stations behind ports 0 and 4 are routers of a pool, and the first one is down.
fn with_pool(switch: &mut Switch, spread: Spread, redirect: Redirect) {
    let router = |id: u16, port: u8, address: &str, mac: Mac| RouterPlan {
        id: RouterId(id),
        name: format!("r{id}"),
        port: PortId(port),
        vlan: VlanId(5),
        address: addr(address),
        mac: Some(MacAddr(mac)),
    };
    let routers = vec![router(0, 0, "192.0.2.254", CLIENT), router(1, 4, "192.0.2.253", OTHER_ROUTER)];
    let pool = PoolPlan {
        id: PoolId(0),
        name: "pool".into(),
        vlan: VlanId(5),
        address: POOL.into(),
        routers: vec![RouterId(0), RouterId(1)],
        spread,
        redirect,
    };
    let steps = vec![Step::SetRouters(routers), Step::SetPools(vec![pool])];
    switch.publisher.handle_message(ToDataPath::Apply { epoch: 2, steps }, switch.now);
    decide(switch, true, Health::Up);
}

/// The first router is down where there is a pool, and the first server is in this health.
fn decide(switch: &mut Switch, pool: bool, health: Health) {
    let down = RouterCondition { id: RouterId(0), up: false, mac: None };
    let server = TargetCondition { id: TargetId(0), health, admin: None, gentle: false };
    let routers = if pool { vec![down] } else { Vec::new() };
    let conditions = Conditions { routers, targets: vec![server], ..Conditions::default() };
    switch.publisher.handle_message(ToDataPath::Conditions(Box::new(conditions)), switch.now);
    switch.pass(20);
}

/// Questions for the pool's address and for its routers, what others say of it, answers to probes.
fn of_routers(mut frames: Vec<(usize, Vec<u8>)>) -> Vec<(usize, Vec<u8>)> {
    let table = table();
    let (vmac, server) = (table.clusters[0].vmac, table.servers[0]);
    let all = [0xff; 6];
    let dead = Ipv4Addr::new(192, 0, 2, 254);
    let probe = Ipv4Addr::new(192, 0, 0, 8);
    let says = |port, to: Mac, from: Mac, packet: Vec<u8>| (port, ethernet(to, from, None, 0x0806, &packet));
    let mut reply = echo(false, 61_440);
    reply[0] = 0;
    let special = [
        says(server.port, all, server.mac, arp(1, (server.mac, VIP), ([0; 6], POOL))),
        says(server.port, all, server.mac, arp(1, (server.mac, VIP), ([0; 6], dead))),
        says(server.port, vmac, server.mac, arp(2, (server.mac, VIP), (vmac, probe))),
        says(0, all, CLIENT, arp(1, (CLIENT, POOL), ([0; 6], POOL))),
        says(0, vmac, CLIENT, arp(2, (CLIENT, dead), (vmac, VIP))),
        (0, ethernet(vmac, CLIENT, None, 0x0800, &v4(dead, VIP, 1, 1, 0, &reply))),
    ];
    for (n, frame) in frames.iter_mut().enumerate().filter(|(n, _)| n % 7 == 0) {
        *frame = special[n / 7 % special.len()].clone();
    }
    frames
}

#[test]
fn a_million_packets_without_an_allocation() {
    let by_server = (Spread::Server, Redirect::All);
    let by_flow = (Spread::Flow, Redirect::NoEstablished);
    for (workers, chooser, pool) in [
        (1, Chooser::Maglev, None),
        (1, Chooser::LeastConnections, Some(by_server)),
        (2, Chooser::WeightedRoundRobin, Some(by_flow)),
        (2, Chooser::TwoChoices, None),
    ] {
        let frames = if pool.is_some() { of_routers(day()) } else { day() };
        let mut switch = Switch::start(&table(), workers, chooser);
        switch.wire.reserve(4096);
        if let Some((spread, redirect)) = pool {
            with_pool(&mut switch, spread, redirect);
        }
        // A frame that is longer than the back end's buffers makes one of them grow; not in here.
        run(&mut switch, &frames, 100_000, true);
        CALLS.store(0, Ordering::Relaxed);
        ON.store(true, Ordering::Relaxed);
        let mut sent = 0;
        for health in [Health::Up, Health::Dead, Health::Up, Health::Dead] {
            ON.store(false, Ordering::Relaxed);
            decide(&mut switch, pool.is_some(), health);
            ON.store(true, Ordering::Relaxed);
            sent += run(&mut switch, &frames, PACKETS / 4, true);
        }
        ON.store(false, Ordering::Relaxed);
        let calls = CALLS.load(Ordering::Relaxed);
        println!("{workers} workers, {chooser:?}: {PACKETS} in, {sent} out, {calls} allocations");
        assert_eq!(calls, 0);
        assert!(sent > PACKETS / 2);
        let redirected =
            |w: &Worker<MemoryPorts>| w.engine().counters().router(RouterId(0)).redirected.read();
        let redirected: u64 = switch.workers.iter().map(redirected).sum();
        assert_eq!((redirected > 10_000, switch.totals().punted > 1000), (pool.is_some(), pool.is_some()));
        let resets = |w: &Worker<MemoryPorts>| w.engine().counters().target(TargetId(0)).resets.read();
        assert!(switch.workers.iter().map(resets).sum::<u64>() > 1000, "FS-10: clients of a dead server");
        switch.pass(20);
        assert_eq!(switch.wire.buffers_in_use(), 0);
    }
}
