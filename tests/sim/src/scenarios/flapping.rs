//! Row c: a server flaps ten times a second for a minute; at most two changes, then slow start (FS-33).

use super::{Bound, Part, Run, Scenario};
use crate::queue::{MS, S};
use crate::server::Health;
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "c",
    about: "a server flaps at 10 Hz: at most two changes in a minute; then slow start",
    cost: 3,
    play,
    bounds: &[
        Bound { figure: "changes in a minute of flapping", of: Part::Max, most: 2.0 },
        Bound { figure: "share after coming back, % of full", of: Part::P50, most: 60.0 },
    ],
};

fn play(run: &Run) -> World {
    let servers = 4;
    // Signs in the traffic end with the traffic: that a process flaps which gets none is seen by a check.
    let cluster = "slow_start_s = 20\n\
         [[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\ninterval_ms = 200\ntimeout_ms = 100\n"
        .to_owned();
    let mut world =
        run.world(Topology { servers, cluster, chooser: "weighted-round-robin", ..Topology::default() });
    world.load(100.0);
    world.run(3 * S);
    let server = world.random.below(servers as u64) as usize;
    let port = world.topology.server_port(server);
    let by_link = run.seed.is_multiple_of(2);
    let mut changes = 0;
    let mut takes = world.checks.known.takes(server);
    let until = world.now + 60 * S;
    while world.now < until {
        for up in [false, true] {
            if by_link {
                world.carrier(port, up);
            } else {
                world.server(server, if up { Health::Well } else { Health::Killed });
            }
            for _ in 0..5 {
                world.run(10 * MS);
                // A link that is down takes no flows whatever anybody has decided: what is decided counts.
                let now = decided(&world, server);
                changes += u32::from(now != takes);
                takes = now;
            }
        }
    }
    world.figures.add("changes in a minute of flapping", f64::from(changes));
    if !world.run_until(90 * S, |world| world.checks.known.takes(server)) {
        world.violated("c", "not in service 90 s after the last flap");
        return world;
    }
    let before = world.checks.new.clone();
    world.run(5 * S);
    let new: Vec<u64> = world.checks.new.iter().zip(&before).map(|(after, before)| after - before).collect();
    let fair = new.iter().sum::<u64>() as f64 / servers as f64;
    world.figures.add("share after coming back, % of full", 100.0 * new[server] as f64 / fair.max(1.0));
    world.run(20 * S);
    let before = world.checks.new.clone();
    world.run(10 * S);
    let new: Vec<u64> = world.checks.new.iter().zip(&before).map(|(after, before)| after - before).collect();
    let fair = new.iter().sum::<u64>() as f64 / servers as f64;
    world.figures.add("share after slow start, % of full", 100.0 * new[server] as f64 / fair.max(1.0));
    world
}

/// What control has decided of a server, whatever its link does at this moment.
fn decided(world: &World, server: usize) -> bool {
    let known = &world.checks.known;
    let id = known.target(server);
    let up = |t: &dataplane_message::TargetCondition| Some(t.id) != id || t.health == Default::default();
    let open = |m: &dataplane_message::MemberCondition| Some(m.target) != id || m.open;
    known.conditions.targets.iter().all(up) && known.conditions.members.iter().all(open)
}
