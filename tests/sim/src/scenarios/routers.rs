//! Row e: a router is gone, its link or its uplink, under four downloads through two routers (FS-13).

use super::kit::others_untouched;
use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "e",
    about: "a router is gone, or its link, or its uplink: redirected, nothing breaks, servers learn nothing",
    cost: 1,
    play,
    bounds: &[
        Bound { figure: "redirected after router gone, ms", of: Part::P50, most: 350.0 },
        Bound { figure: "redirected after link down, ms", of: Part::P50, most: 10.0 },
        Bound { figure: "redirected after uplink gone, ms", of: Part::P50, most: 350.0 },
        Bound { figure: "other servers' flows broken", of: Part::Max, most: 0.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 4 + (run.seed % 3) as usize * 2;
    let router_check =
        "check = { interval_ms = 100, timeout_ms = 80, rise = 3, fall = 3, through = \"192.0.2.1\" }";
    let mut world = run.world(Topology { servers, router_check, ..Topology::default() });
    world.open(run.either(4, 16), Kind::Download, 100 * MS);
    world.open(30, Kind::KeepAlive { every: S }, 200 * MS);
    world.load(50.0);
    world.run(2 * S);
    for round in 0..run.either(3, 9) {
        let router = world.random.below(2) as usize;
        let entries = entries(&world);
        let kind = (run.seed + round) % 3;
        let at = world.now;
        let name = match kind {
            0 => {
                world.router(router, false, true);
                "redirected after router gone, ms"
            }
            1 => {
                world.carrier(router, false);
                "redirected after link down, ms"
            }
            _ => {
                world.router(router, true, false);
                "redirected after uplink gone, ms"
            }
        };
        world.run(S);
        // The last packet that still went to it, or nowhere.
        let last = world.checks.last_direct[router].saturating_sub(at);
        world.figures.add(name, last as f64 / 1e6);
        if world.checks.last_redirect.is_none_or(|redirected| redirected < at) {
            world.figures.add("servers told before they sent", 1.0);
        }
        world.run(2 * S);
        if self::entries(&world) != entries {
            world.figures.add("servers' entries changed", 1.0);
        }
        match kind {
            1 => world.carrier(router, true),
            _ => world.router(router, true, true),
        }
        world.run(3 * S);
    }
    others_untouched(&mut world, &[]);
    world
}

/// What servers hold for their default router.
fn entries(world: &World) -> Vec<Option<tests_model::Mac>> {
    world.servers.iter().map(|server| server.neighbours.find(server.gateway)).collect()
}
