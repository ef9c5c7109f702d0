//! Row j: control dies, pauses, jumps in time and comes back; then the data path does (FS-7a).

use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "j",
    about: "control killed, paused and started again under load; then the data path: connections survive",
    cost: 1,
    play,
    bounds: &[
        Bound { figure: "reset", of: Part::Max, most: 0.0 },
        Bound { figure: "timed out", of: Part::Max, most: 0.0 },
    ],
};

fn play(run: &Run) -> World {
    let mut world = run.world(Topology { servers: 5, ..Topology::default() });
    world.open(run.either(100, 500), Kind::KeepAlive { every: S }, S);
    world.open(4, Kind::Download, 100 * MS);
    world.load(100.0);
    world.run(S);
    let lost = lost(&world);
    for _ in 0..run.either(2, 5) {
        match world.random.below(3) {
            0 => {
                world.kill_control();
                let away = world.random.between(10 * MS, 2 * S);
                world.run(away);
                world.start_control();
            }
            1 => {
                let pause = world.random.between(10 * MS, 9 * S);
                world.pause_control(pause);
                world.run(pause);
            }
            _ => {
                let jump = world.random.between(100 * MS, 3_600 * S);
                world.jump_control(jump);
            }
        }
        if !world.run_until(3 * S, World::is_settled) {
            world.violated("settled", "control did not settle within 3 s");
        }
        world.run(500 * MS);
    }
    if self::lost(&world) != lost {
        world.violated("j", "frames were dropped while control was away");
    }
    for _ in 0..run.either(1, 3) {
        world.kill_data_path();
        let away = world.random.between(50 * MS, 800 * MS);
        world.run(away);
        world.start_data_path();
        if !world.run_until(3 * S, World::is_settled) {
            world.violated("settled", "control did not settle within 3 s of the data path's start");
        }
        world.run(2 * S);
    }
    world.quiet();
    world.run(5 * S / 2);
    world
}

/// Drops that are nobody's habit.
fn lost(world: &World) -> Vec<(&'static str, u64)> {
    const HABITS: [&str; 3] = ["server-announce", "no-egress", "unasked"];
    let drops = world.data_path.as_ref().map(|d| d.drops()).unwrap_or_default();
    drops.into_iter().filter(|(name, _)| !HABITS.contains(name)).collect()
}
