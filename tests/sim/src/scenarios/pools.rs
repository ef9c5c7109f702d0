//! Row f: twenty servers and two equal routers: what servers send is spread evenly, and a shift of load is
//! followed by the switch's own push (FS-12).

use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "f",
    about: "20 servers, 2 routers: outbound within 10 % of even, also after the load has shifted",
    cost: 4,
    play,
    bounds: &[
        Bound { figure: "outbound off even, %", of: Part::P95, most: 10.0 },
        Bound { figure: "outbound off even after a shift, %", of: Part::P95, most: 10.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 20;
    let mut world = run.world(Topology {
        servers,
        chooser: "weighted-round-robin",
        pool: Some("balance = \"load\""),
        ..Topology::default()
    });
    world.clients.answer_bytes = 4_000;
    world.open(run.either(200, 1_000), Kind::KeepAlive { every: run.either(2, 4) * S }, 2 * S);
    world.run(run.either(30, 60) * S);
    let off = off_even(&mut world, 10 * S);
    world.figures.add("outbound off even, %", off);
    // Servers of one router become busy, those of the other idle.
    let heavy: Vec<usize> =
        (0..servers).filter(|n| router_of(&world, *n) == Some(0)).take(servers / 4).collect();
    for server in heavy {
        let busy = world.clients.established(|_| true).filter(|c| world.checks.server_of(*c) == Some(server));
        for client in busy.collect::<Vec<_>>() {
            world.clients.hasten(client, 4);
        }
    }
    world.run(30 * S);
    let off = off_even(&mut world, 10 * S);
    world.figures.add("outbound off even after a shift, %", off);
    let pushed =
        world.log.iter().filter(|(_, e)| matches!(e, control_health::CareEvent::Push { .. })).count();
    world.figures.add("servers told another router", pushed as f64);
    world.run(100 * MS);
    world
}

/// By how many percent the busier router's share is above the mean over so much time.
fn off_even(world: &mut World, over: u64) -> f64 {
    let bytes = |world: &World| -> Vec<u64> { world.routers.iter().map(|r| r.forwarded.1).collect() };
    let before = bytes(world);
    world.run(over);
    let sent: Vec<u64> = bytes(world).iter().zip(&before).map(|(after, before)| after - before).collect();
    let mean = sent.iter().sum::<u64>() as f64 / sent.len() as f64;
    let most = sent.iter().copied().max().unwrap_or(0) as f64;
    if mean == 0.0 { 100.0 } else { 100.0 * (most - mean) / mean }
}

/// The router whose MAC a server has for its default router.
fn router_of(world: &World, server: usize) -> Option<usize> {
    let server = &world.servers[server];
    let mac = server.neighbours.find(server.gateway)?;
    world.routers.iter().position(|router| router.mac == mac)
}
