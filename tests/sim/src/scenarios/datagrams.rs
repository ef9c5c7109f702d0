//! UDP: clients ask by datagrams, several in a flow, while a server dies and another comes back (FS-7, FS-10); over
//! IPv4, and over IPv6 (FS-42).

use super::{Bound, Part, Run, Scenario};
use crate::packet::{Six, six_frame};
use crate::queue::{MS, S};
use crate::server::Health;
use crate::topology::Topology;
use crate::world::World;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "udp",
    about: "datagrams, several in a flow: each flow has one server; a dead server's flows go to others",
    cost: 1,
    play: |run| play(run, false),
    bounds: &[Bound { figure: "unanswered while all is well", of: Part::Max, most: 0.0 }],
};

pub(super) const SIX: Scenario = Scenario {
    name: "v6",
    about: "the same over IPv6, beside requests over IPv4 to the same servers",
    cost: 1,
    play: |run| play(run, true),
    bounds: &[Bound { figure: "unanswered while all is well", of: Part::Max, most: 0.0 }],
};

/// The VIP of the second cluster.
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 0x100);

/// Flows at a time.
const FLOWS: u64 = 200;

fn play(run: &Run, six: bool) -> World {
    let servers = 3 + (run.seed % 3) as usize;
    let chooser = ["maglev", "round-robin", "least-connections"][(run.seed / 3 % 3) as usize];
    let names: Vec<String> = (0..servers).map(|n| format!("\"{}\"", Topology::server_name(n))).collect();
    let cluster = format!(
        "[clusters.web6]\nvip = \"{VIP6}\"\nchooser = \"{chooser}\"\nservers = [{}]\n",
        names.join(", ")
    );
    let more = if six { cluster } else { String::new() };
    let mut world = run.world(Topology { servers, chooser, more, ..Topology::default() });
    if six {
        world.servers.iter_mut().for_each(|server| server.vip6 = Some(VIP6));
    }
    let well = |world: &mut World, span| well(world, six, span);
    let ask = |world: &mut World, span| ask(world, six, span);
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
fn well(world: &mut World, six: bool, span: u64) {
    let told = |world: &World| {
        let over6: u64 = world.routers.iter().map(|router| router.told6).sum();
        world.clients.counts.told + over6
    };
    let before = told(world);
    let asked = ask(world, six, span);
    let unanswered = asked.saturating_sub(told(world) - before);
    world.figures.add("unanswered while all is well", unanswered as f64);
    world.figures.add("UDP questions", asked as f64);
}

/// Asks for so long, then waits for answers; how often it has asked.
fn ask(world: &mut World, six: bool, span: u64) -> u64 {
    let until = world.now + span;
    let mut asked = 0;
    while world.now < until {
        let number = world.random.below(FLOWS) as u16;
        if six {
            question6(world, number);
        } else {
            world.clients.question((Ipv4Addr::new(198, 19, 200, number as u8), 20_000 + number));
            world.serve();
        }
        asked += 1;
        let wait = world.random.waiting(5.0 * MS as f64) as u64;
        world.run(wait);
    }
    world.run(100 * MS);
    asked
}

/// A client's datagram over IPv6, from its router on.
fn question6(world: &mut World, number: u16) {
    let vmac =
        world.checks.known.plan.clusters.iter().find(|c| c.vip == IpAddr::from(VIP6)).map(|c| c.vmac.0);
    let router = usize::from(number) % world.topology.routers;
    let client = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, number);
    let datagram = tests_model::frames::udp(20_000 + number, 53, b"who is there");
    let six = Six { src: client, dst: VIP6, protocol: 17, payload: &datagram };
    let frame = six_frame((vmac.unwrap_or_default(), Topology::router_mac(router)), &six, 60, 6);
    world.strange(router, frame);
}
