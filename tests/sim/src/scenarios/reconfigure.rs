//! Rows g and h: servers are added, removed, drained and weighted anew under open flows (FS-33).

use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "h",
    about: "add, remove, drain and re-weight under open flows: none is broken, none moves",
    cost: 1,
    play,
    bounds: &[
        Bound { figure: "established flows moved", of: Part::Max, most: 0.0 },
        Bound { figure: "reset", of: Part::Max, most: 0.0 },
        Bound { figure: "timed out", of: Part::Max, most: 0.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 6;
    let chooser = ["maglev", "weighted-round-robin", "least-connections"][(run.seed % 3) as usize];
    // The last server joins later.
    let mut topology = Topology { servers, chooser, ..Topology::default() };
    topology.weights = vec![1; servers];
    topology.admin = vec!["enabled"; servers];
    topology.absent = vec![servers - 1];
    let mut world = run.world(topology);
    world.open(run.either(300, 2_000), Kind::KeepAlive { every: 20 * S }, 3 * S);
    world.load(50.0);
    for _ in 0..run.either(6, 40) {
        let server = world.random.below(servers as u64 - 1) as usize;
        let weight = world.random.between(1, 10) as u16;
        match world.random.below(4) {
            0 => world.reconfigure(|t| t.weights[server] = weight),
            1 => world.reconfigure(|t| t.admin[server] = "drain"),
            2 => world.reconfigure(|t| t.admin.fill("enabled")),
            // Only a server without flows may leave: the one that has just come does not.
            _ => world.reconfigure(|t| t.absent.clear()),
        }
        if !world.run_until(500 * MS, World::is_settled) {
            world.violated("settled", "a change was not in force after 500 ms");
        }
        let pause = world.random.between(50 * MS, 800 * MS);
        world.run(pause);
    }
    world.reconfigure(|t| t.admin.fill("enabled"));
    world.run(S);
    world.load(400.0);
    world.quiet();
    world.run(5 * S / 2);
    world
}
