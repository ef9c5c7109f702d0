//! Row g: a server is drained under open flows, affinity on: no new flow, an exact count, a deadline (FS-33).

use super::kit::{open_at, others_untouched};
use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;
use control_health::{CareEvent, Order};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "g",
    about: "drain with affinity: no new flow from the ACK on, the count is exact, the deadline is honoured",
    cost: 1,
    play,
    bounds: &[
        Bound { figure: "other servers' flows broken", of: Part::Max, most: 0.0 },
        Bound { figure: "count off, flows", of: Part::Max, most: 0.0 },
        Bound { figure: "last flow closed to drained, ms", of: Part::Max, most: 1_500.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 4;
    let cluster = "affinity = { prefix_v4 = 24, idle_s = 600 }\n".to_owned();
    let mut world =
        run.world(Topology { servers, cluster, chooser: "weighted-round-robin", ..Topology::default() });
    world.open(run.either(200, 2_000), Kind::KeepAlive { every: 10 * S }, 2 * S);
    world.load(60.0);
    world.run(2 * S);
    let server = (0..servers).max_by_key(|n| open_at(&world, *n)).unwrap_or(0);
    let target = world.target(server);
    let deadline = run.seed.is_multiple_of(2);
    let order = Order::Drain { target, deadline_ms: deadline.then_some(12_000), gentle: false };
    if !world.order(order) {
        world.violated("g", "the order was refused");
        return world;
    }
    let began = world.now;
    world.run(300 * MS);
    let clients: Vec<_> = world
        .clients
        .established(|kind| kind != Kind::Request)
        .filter(|client| world.checks.server_of(*client) == Some(server))
        .collect();
    let all = clients.len();
    let stay = if deadline { 5 } else { 0 };
    let mut closed = world.now;
    for (at, client) in clients.iter().enumerate().take(all.saturating_sub(stay)) {
        closed = world.now;
        world.close_client(*client);
        world.run(if all > 500 { 2 * MS } else { 20 * MS });
        if at % 40 == 0 {
            world.run(200 * MS);
            compare(&mut world, server);
        }
    }
    if deadline {
        world.run((began + 12_000 * MS + S).saturating_sub(world.now));
        world.figures.add("open at the deadline", open_at(&world, server) as f64);
        // Clients that are idle hear of it with their next segment; none of it goes to this server.
        let before = world.checks.reached[server];
        world.run(15 * S);
        let after = world.checks.reached[server];
        if after > before {
            world.violated(
                "g",
                format!("{} segments of old flows reached it after the deadline", after - before),
            );
        }
    }
    let drained = |world: &World| {
        let done = |e: &(u64, CareEvent)| matches!(e.1, CareEvent::Drained { target: t, .. } if t == target);
        world.log.iter().find(|e| done(e)).map(|e| e.0)
    };
    if !world.run_until(10 * S, |world| drained(world).is_some()) {
        world.violated("g", "nobody said that the drain has come to its end");
    } else if let Some(at) = drained(&world).filter(|_| !deadline) {
        world.figures.add("last flow closed to drained, ms", at.saturating_sub(closed) as f64 / 1e6);
        if at < closed {
            world.violated("g", "drained before the last flow had closed");
        }
    }
    world.order(Order::Enable { target });
    world.run(S);
    others_untouched(&mut world, &[server]);
    world
}

/// What the operator is shown against what is so.
fn compare(world: &mut World, server: usize) {
    let target = world.target(server);
    let truth = open_at(world, server);
    let Some(control) = &world.control else { return };
    let Some(view) = control.care.targets().into_iter().find(|t| t.id == target) else { return };
    let off = view.flows_open.abs_diff(truth as u64);
    world.figures.add("count off, flows", off as f64);
}
