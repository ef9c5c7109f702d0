//! Row i: servers with rates 1:2:4 under dynamic balancing: their response times become equal, and the
//! weights stay (FS-9).

use super::{Bound, Part, Run, Scenario};
use crate::figures::Figures;
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "i",
    about: "rates 1:2:4, dynamic balancing: equal response times after 30 s, weights at rest",
    cost: 3,
    play,
    bounds: &[
        Bound { figure: "p50 response apart after 30 s, %", of: Part::P95, most: 20.0 },
        // Over a minute the medians of queues differ by as much however good the weights are.
        Bound { figure: "p50 response apart in a minute, %", of: Part::P50, most: 20.0 },
        Bound { figure: "p50 response apart in a minute, %", of: Part::P95, most: 30.0 },
        // One in a hundred runs may have been sought anew: chance looks like evidence now and then.
        Bound { figure: "weight peak to peak, %", of: Part::P95, most: 10.0 },
    ],
};

fn play(run: &Run) -> World {
    let work = vec![16 * MS, 8 * MS, 4 * MS];
    let mut world = run.world(Topology { servers: 3, chooser: "dynamic", work, ..Topology::default() });
    // 437 requests a second are what all three can do.
    world.load(300.0);
    world.run(30 * S);
    world.clients.response_ns.clear();
    let mut range: Vec<(f64, f64)> = vec![(f64::MAX, 0.0); 3];
    let until = world.now + run.either(60, 300) * S;
    while world.now < until {
        world.run(S);
        let weights: Vec<f64> = (0..3).map(|n| f64::from(weight(&world, n))).collect();
        let sum: f64 = weights.iter().sum();
        for (range, weight) in range.iter_mut().zip(&weights) {
            let share = weight / sum.max(1.0);
            *range = (range.0.min(share), range.1.max(share));
        }
    }
    let mut times = Figures::default();
    let names = ["0", "1", "2"];
    for (_, took, client) in core::mem::take(&mut world.clients.response_ns) {
        if let Some(server) = world.checks.server_of(client) {
            times.add(names[server], took as f64 / 1e6);
        }
    }
    let p50: Vec<f64> = names.iter().filter_map(|n| times.summary(n)).map(|s| s.p50).collect();
    let (least, most) = p50.iter().fold((f64::MAX, 0.0_f64), |(a, b), p| (a.min(*p), b.max(*p)));
    let name = run.either("p50 response apart in a minute, %", "p50 response apart after 30 s, %");
    world.figures.add(name, 100.0 * (most - least) / least);
    for (name, p50) in
        ["p50 response of rate 1, ms", "p50 response of rate 2, ms", "p50 response of rate 4, ms"]
            .iter()
            .zip(&p50)
    {
        world.figures.add(name, *p50);
    }
    for (least, most) in range {
        world.figures.add("weight peak to peak, %", 100.0 * (most - least) / most.max(1e-9));
    }
    world
}

/// The weight in force.
fn weight(world: &World, server: usize) -> u16 {
    let known = &world.checks.known;
    let id = known.target(server);
    known.conditions.members.iter().find(|m| Some(m.target) == id).map_or(1, |m| m.weight)
}
