//! Row b: a server's process stands still for a second (SIGSTOP): no new flows, no reset, all finish.

use super::kit::others_untouched;
use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::server::Health;
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "b",
    about: "a process stands still for a second: no new flows to it, none of its flows is lost",
    cost: 1,
    play,
    bounds: &[
        Bound { figure: "detected frozen, ms", of: Part::P95, most: 350.0 },
        Bound { figure: "reset", of: Part::Max, most: 0.0 },
        Bound { figure: "timed out", of: Part::Max, most: 0.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 4;
    let mut world = run.world(Topology { servers, ..Topology::default() });
    world.open(40, Kind::KeepAlive { every: S }, 200 * MS);
    world.load(200.0);
    world.run(3 * S);
    for _ in 0..run.either(1, 3) {
        let server = world.random.below(servers as u64) as usize;
        world.server(server, Health::Frozen);
        world.run(S);
        if world.checks.known.takes(server) {
            world.violated("b", format!("server {server} stands still for 1 s and is still in service"));
        }
        world.server(server, Health::Well);
        world.run(15 * S);
    }
    others_untouched(&mut world, &[]);
    world
}
