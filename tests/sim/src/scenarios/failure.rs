//! Row a: servers' processes are killed, or servers vanish, under 200 requests a second (FS-10, FS-31).

use super::kit::others_untouched;
use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::server::Health;
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "a",
    about: "processes killed, servers gone, under 200 requests a second: found in the traffic itself",
    cost: 1,
    play,
    bounds: &[
        Bound { figure: "detected killed, ms", of: Part::P50, most: 100.0 },
        Bound { figure: "detected gone, ms", of: Part::P50, most: 350.0 },
        Bound { figure: "other servers' flows broken", of: Part::Max, most: 0.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 3;
    let mut world = run.world(Topology { servers, ..Topology::default() });
    world.open(40, Kind::KeepAlive { every: 2 * S }, 200 * MS);
    world.load(200.0);
    world.run(3 * S);
    let mut faulty = Vec::new();
    for round in 0..2 {
        let server = (run.seed as usize + round) % servers;
        let health = if (run.seed + round as u64).is_multiple_of(2) { Health::Killed } else { Health::Gone };
        faulty.push(server);
        world.server(server, health);
        world.run(6 * S);
        if world.checks.known.takes(server) {
            world.violated("a", format!("server {server} is {health:?} for 6 s and still in service"));
        }
        world.server(server, Health::Well);
        world.run(run.either(8, 20) * S);
    }
    others_untouched(&mut world, &faulty);
    world
}
