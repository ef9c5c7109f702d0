//! UDP: clients ask by datagrams, several in a flow, while a server dies and another comes back (FS-7, FS-10).

use super::{Bound, Part, Run, Scenario};
use crate::queue::{MS, S};
use crate::server::Health;
use crate::topology::Topology;
use crate::world::World;
use core::net::Ipv4Addr;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "udp",
    about: "datagrams, several in a flow: each flow has one server; a dead server's flows go to others",
    cost: 1,
    play,
    bounds: &[Bound { figure: "unanswered while all is well", of: Part::Max, most: 0.0 }],
};

/// Flows at a time.
const FLOWS: u64 = 200;

fn play(run: &Run) -> World {
    let servers = 3 + (run.seed % 3) as usize;
    let chooser = ["maglev", "round-robin", "least-connections"][(run.seed / 3 % 3) as usize];
    let mut world = run.world(Topology { servers, chooser, ..Topology::default() });
    world.load(20.0);
    world.run(S);
    well(&mut world, 3 * S);
    for _ in 0..run.either(1, 4) {
        let server = world.random.below(servers as u64) as usize;
        let health = if world.random.chance(0.5) { Health::Gone } else { Health::Paused };
        world.server(server, health);
        // Until it is dead, which is 3 s after its last sign of life, its flows go unanswered.
        ask(&mut world, 6 * S);
        well(&mut world, 2 * S);
        world.server(server, Health::Well);
        // What it had before is not given back to it.
        ask(&mut world, 4 * S);
    }
    well(&mut world, 2 * S);
    world
}

/// Asks for so long; what is not answered is counted.
fn well(world: &mut World, span: u64) {
    let before = world.clients.counts;
    ask(world, span);
    let counts = world.clients.counts;
    let unanswered = (counts.asked - before.asked).saturating_sub(counts.told - before.told);
    world.figures.add("unanswered while all is well", unanswered as f64);
    world.figures.add("UDP questions", (counts.asked - before.asked) as f64);
}

/// Asks for so long, then waits for answers.
fn ask(world: &mut World, span: u64) {
    let until = world.now + span;
    while world.now < until {
        let number = world.random.below(FLOWS);
        let client = (Ipv4Addr::new(198, 19, 200, number as u8), 20_000 + number as u16);
        world.clients.question(client);
        world.serve();
        let wait = world.random.waiting(5.0 * MS as f64) as u64;
        world.run(wait);
    }
    world.run(100 * MS);
}
