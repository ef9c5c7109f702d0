//! Row m: clients that only wait when their server is gone for good see a reset (FS-10).

use super::kit::others_untouched;
use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::server::Health;
use crate::tcp::Told;
use crate::topology::Topology;
use crate::world::World;
use dataplane_message::Health as Judged;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "m",
    about: "clients that wait for an answer when their server is gone: all see a reset, its number exact",
    cost: 2,
    play,
    bounds: &[
        Bound { figure: "dead to reset, ms", of: Part::Max, most: 5_000.0 },
        Bound { figure: "resets with a wrong number", of: Part::Max, most: 0.0 },
        Bound { figure: "waiting clients left", of: Part::Max, most: 0.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 3;
    let mut world = run.world(Topology { servers, chooser: "weighted-round-robin", ..Topology::default() });
    // Some of what the server has sent before is on record: its sequence numbers have moved on.
    world.open(run.either(300, 3_000), Kind::Waiting, 3 * S);
    world.load(20.0);
    world.run(S);
    let server = world.random.below(servers as u64) as usize;
    let waiting = |world: &World| {
        let here = |client: &(core::net::Ipv4Addr, u16)| world.checks.server_of(*client) == Some(server);
        world.clients.established(|kind| kind == Kind::Waiting).filter(here).count()
    };
    world.server(server, Health::Gone);
    world.figures.add("waiting clients", waiting(&world) as f64);
    if !world.run_until(20 * S, |world| world.checks.known.judged(server) == Judged::Dead) {
        world.violated("m", "gone for 20 s and not dead");
        return world;
    }
    let dead = world.now;
    world.clients.ended.clear();
    while world.now < dead + 6 * S && waiting(&world) > 0 {
        world.run(100 * MS);
        let resets = world.clients.ended.iter().filter(|e| e.how == Told::Reset && e.kind == Kind::Waiting);
        for _ in 0..resets.count() {
            world.figures.add("dead to reset, ms", (world.now - dead) as f64 / 1e6);
        }
        others_untouched(&mut world, &[server]);
        world.clients.ended.clear();
    }
    world.figures.add("waiting clients left", waiting(&world) as f64);
    world.figures.add("resets with a wrong number", world.clients.counts.wrong_resets as f64);
    world
}
