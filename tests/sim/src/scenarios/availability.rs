//! Row d: an availability cluster: the primary dies, comes back, the next one dies; switchover; restarts
//! of control and data path in between (FS-14, FS-15).

use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::server::Health;
use crate::topology::Topology;
use crate::world::World;
use control_health::Order;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "d",
    about: "availability: exactly one primary, never pre-empted; roles survive restarts",
    cost: 1,
    play,
    bounds: &[Bound { figure: "no server for new flows, ms", of: Part::P95, most: 2_500.0 }],
};

fn play(run: &Run) -> World {
    let servers = 3;
    let cluster = "mode = \"availability\"\ndead_after_ms = 1000\n\
         [[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\ninterval_ms = 200\ntimeout_ms = 100\n";
    let mut world = run.world(Topology { servers, cluster: cluster.into(), ..Topology::default() });
    world.open(20, Kind::KeepAlive { every: S }, 200 * MS);
    world.load(50.0);
    world.run(3 * S);
    if primary(&world) != Some(0) {
        world.violated("d", format!("the first primary is {:?}, not the first server", primary(&world)));
    }
    for _ in 0..run.either(4, 10) {
        let Some(before) = primary(&world) else {
            world.violated("d", "nobody gets new flows");
            return world;
        };
        match world.random.below(6) {
            0 | 1 => {
                let health = *world.random.clone().pick(&[Health::Killed, Health::Gone]);
                fail(&mut world, before, health);
            }
            2 => {
                let to = (before + 1) % servers;
                let reset = world.random.chance(0.5);
                let order = Order::Switchover {
                    cluster: world.checks.known.plan.clusters[0].id,
                    to: Some(world.target(to)),
                    reset,
                };
                if !world.order(order) {
                    world.violated("d", "switchover to an operational server was refused");
                }
                world.run(S);
                if primary(&world) != Some(to) {
                    world.violated(
                        "d",
                        format!("switchover to {to}, and {:?} gets new flows", primary(&world)),
                    );
                }
            }
            3 => {
                world.kill_control();
                let away = world.random.between(50 * MS, 2 * S);
                world.run(away);
                world.start_control();
                world.run(2 * S);
            }
            4 => {
                world.kill_data_path();
                world.run(300 * MS);
                world.start_data_path();
                world.run(3 * S);
            }
            _ => {
                // Both programs.
                world.kill_control();
                world.kill_data_path();
                world.run(500 * MS);
                world.start_data_path();
                world.start_control();
                world.run(3 * S);
            }
        }
    }
    world
}

/// The primary fails, another one follows; the first one comes back and stays secondary.
fn fail(world: &mut World, server: usize, health: Health) {
    let at = world.now;
    world.server(server, health);
    if !world.run_until(5 * S, |world| primary(world).is_some_and(|primary| primary != server)) {
        world.violated("d", format!("nobody follows server {server} within 5 s"));
        return;
    }
    world.figures.add("no server for new flows, ms", (world.now - at) as f64 / 1e6);
    world.run(2 * S);
    world.server(server, Health::Well);
    world.run(6 * S);
}

/// The server that got the newest flow.
fn primary(world: &World) -> Option<usize> {
    (0..world.servers.len())
        .filter_map(|n| Some((world.checks.last_new_flow(n)?, n)))
        .max()
        .filter(|(at, _)| world.now - at < S)
        .map(|(_, server)| server)
}
