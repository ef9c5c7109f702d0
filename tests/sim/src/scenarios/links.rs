//! Row b: a server's link goes down and comes back (FS-10).

use super::{Bound, Part, Run, Scenario};
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "links",
    about: "servers' links go and come under load; others notice nothing",
    cost: 1,
    play,
    bounds: &[Bound { figure: "link down to last new flow, ms", of: Part::Max, most: 100.0 }],
};

fn play(run: &Run) -> World {
    let servers = 3 + (run.seed % 6) as usize;
    let mut world = run.world(Topology { servers, ..Topology::default() });
    world.load(200.0);
    world.run(2 * S);
    let mut times = vec![0_u32; servers];
    for _ in 0..run.either(2, 6) {
        let server = world.random.below(servers as u64) as usize;
        let port = world.topology.server_port(server);
        let down = world.now;
        world.carrier(port, false);
        let away = world.random.between(200 * MS, 3 * S);
        world.run(away);
        let last = world.checks.last_new_flow(server).unwrap_or(0);
        world.figures.add("link down to last new flow, ms", last.saturating_sub(down) as f64 / 1e6);
        world.carrier(port, true);
        times[server] += 1;
        world.run(S);
    }
    // A link that went more than once within a minute is believed in after twice the time, each time (row c).
    let relapses = times.iter().max().map_or(0, |times| times - 1);
    world.run((S << relapses.min(5)) - S);
    world.quiet();
    world.run(5 * S / 2);
    world
}
