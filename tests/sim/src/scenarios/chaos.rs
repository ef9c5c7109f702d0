//! Everything at once, drawn from the seed.

use super::{Run, Scenario};
use crate::clients::Kind;
use crate::link::{Trouble, Way};
use crate::queue::{MS, S};
use crate::server::Health;
use crate::topology::Topology;
use crate::world::World;
use control_health::Order;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "chaos",
    about: "losses, partitions, crashes, pauses, flaps and restarts, drawn from the seed",
    cost: 1,
    play,
    bounds: &[],
};

fn play(run: &Run) -> World {
    let mut draw = crate::random::Random::new(run.seed, "chaos");
    let servers = draw.between(2, 21) as usize;
    let chooser = *draw.pick(&[
        "maglev",
        "weighted-round-robin",
        "least-connections",
        "round-robin",
        "dynamic",
        "two-choices",
    ]);
    let workers = draw.between(1, 4) as u8;
    let topology = Topology {
        servers,
        chooser,
        workers,
        admin: vec!["enabled"; servers],
        weights: vec![1; servers],
        ..Topology::default()
    };
    let mut world = run.world(topology);
    world.open(draw.between(10, run.either(80, 600)) as usize, Kind::KeepAlive { every: 2 * S }, S);
    world.open(draw.below(4) as usize, Kind::Download, 100 * MS);
    world.load(draw.between(20, 300) as f64);
    for _ in 0..run.either(8, 24) {
        let server = draw.below(servers as u64) as usize;
        let port = draw.below(world.topology.ports() as u64) as usize;
        match draw.below(13) {
            0 => {
                let now = world.now;
                let trouble = Trouble {
                    from: now,
                    until: now + draw.between(100 * MS, 5 * S),
                    way: *draw.pick(&[None, Some(Way::In), Some(Way::Out)]),
                    loss: *draw.pick(&[0.0, 0.01, 0.1, 0.3, 1.0]),
                    duplication: *draw.pick(&[0.0, 0.0, 0.05, 0.5]),
                    jitter: *draw.pick(&[0, 0, MS, 10 * MS, 100 * MS]),
                };
                world.trouble(port, trouble);
            }
            1 => world.server(server, Health::Killed),
            2 => world.server(server, Health::Gone),
            3 => world.server(server, Health::Frozen),
            4 => world.server(server, Health::Paused),
            5 | 6 => world.server(server, Health::Well),
            7 => {
                for _ in 0..draw.between(1, 6) {
                    world.carrier(port, false);
                    world.run(draw.between(MS, 500 * MS));
                    world.carrier(port, true);
                    world.run(draw.between(MS, 500 * MS));
                }
            }
            8 => {
                let router = draw.below(2) as usize;
                let dead = draw.chance(0.5);
                world.router(router, !dead, dead);
                world.run(draw.between(100 * MS, 2 * S));
                world.router(router, true, true);
            }
            9 => {
                world.kill_control();
                world.run(draw.between(MS, 2 * S));
                world.start_control();
            }
            10 => {
                world.kill_data_path();
                world.run(draw.between(50 * MS, 2 * S));
                world.start_data_path();
            }
            11 => {
                let Some(target) = world.checks.known.target(server) else { continue };
                let cluster = world.checks.known.plan.clusters.first().map(|c| c.id).unwrap_or_default();
                let order = match draw.below(4) {
                    0 => Order::Drain { target, deadline_ms: None, gentle: false },
                    1 => Order::Drain { target, deadline_ms: Some(draw.between(100, 5_000)), gentle: false },
                    2 => Order::Enable { target },
                    _ => {
                        let weight = Some(draw.between(1, 20) as u16);
                        Order::Weight { cluster, service: None, target, weight }
                    }
                };
                world.order(order);
            }
            _ => match draw.below(4) {
                0 => world.pause_control(draw.between(MS, 10 * S)),
                1 => world.jump_control(draw.between(MS, 3_600 * S)),
                2 => world.reconfigure(|t| t.weights[server] = draw.between(1, 10) as u16),
                _ => world.reconfigure(|t| {
                    t.admin.fill("enabled");
                    t.admin[server] = "drain";
                }),
            },
        }
        world.run(draw.between(50 * MS, 2 * S));
        if world.checks.is_full() {
            return world;
        }
    }
    for server in 0..servers {
        if world.servers[server].health != Health::Well {
            world.server(server, Health::Well);
        }
    }
    world.reconfigure(|t| t.admin.fill("enabled"));
    world.run_until(12 * S, World::is_settled);
    for server in 0..servers {
        if let Some(target) = world.checks.known.target(server) {
            world.order(Order::Enable { target });
        }
    }
    world.run(11 * S);
    // Who fell several times in a minute has to stay good for up to a minute (FS-33).
    let quiet = world.now;
    let all_take = |world: &World| (0..servers).all(|n| world.checks.known.takes(n));
    if !world.run_until(70 * S, all_take) {
        world.violated("chaos", "a server that is well was not in service 80 s after the last fault");
    }
    world.figures.add("11 s after the last fault to all in service, ms", (world.now - quiet) as f64 / 1e6);
    world.load(60.0 * servers as f64);
    world.quiet();
    world.run(5 * S / 2);
    world
}
