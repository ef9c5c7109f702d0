//! Rows l and n: what must not be held against servers. Both routers gone; a port scan, a flood of SYNs; a
//! server that answers past the switch (FS-30, FS-31). And losses of up to one in a hundred.

use super::{Bound, Part, Run, Scenario};
use crate::clients::Kind;
use crate::link::Trouble;
use crate::queue::{MS, S};
use crate::topology::Topology;
use crate::world::World;
use control_health::FindingKind;
use core::net::Ipv4Addr;

pub(super) const ROUTERS: Scenario = Scenario {
    name: "l",
    about: "both routers gone, or a server whose default route leaves elsewhere: no server is declared failed",
    cost: 1,
    play: routers,
    bounds: &[Bound { figure: "false alarms", of: Part::Max, most: 0.0 }],
};

fn routers(run: &Run) -> World {
    let servers = 4;
    let checks =
        "[[clusters.web.checks]]\nkind = \"arp\"\n[[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\n";
    let mut world = run.world(Topology { servers, cluster: checks.into(), ..Topology::default() });
    world.checks.known.gentle = true;
    let past = (run.seed % 2 == 1).then(|| world.random.below(servers as u64) as usize);
    if let Some(server) = past {
        world.note(format!("server {server} answers past the switch"));
        world.servers[server].past = true;
    }
    world.load(80.0);
    world.run(5 * S);
    for router in 0..2 {
        if world.random.chance(0.5) {
            world.router(router, false, true);
        } else {
            world.carrier(router, false);
        }
    }
    let away = world.random.between(3 * S, 10 * S);
    world.run(away);
    for router in 0..2 {
        world.carrier(router, true);
        world.router(router, true, true);
    }
    world.run(5 * S);
    if let Some(server) = past {
        named(&mut world, server);
    }
    world
}

/// The doctor has to name the server whose answers pass the switch by.
fn named(world: &mut World, server: usize) {
    let target = world.target(server);
    let findings = world.findings();
    let found = findings.iter().any(|finding| {
        finding.target == Some(target)
            && matches!(finding.kind, FindingKind::Bypassed | FindingKind::NoReturn)
    });
    if !found {
        world.violated("doctor", format!("server {server} answers past the switch; findings: {findings:?}"));
    }
    let others = findings.iter().any(|finding| {
        finding.target.is_some_and(|t| t != target)
            && matches!(finding.kind, FindingKind::Bypassed | FindingKind::NoReturn)
    });
    if others {
        world.violated("doctor", format!("another server is named: {findings:?}"));
    }
}

pub(super) const NOISE: Scenario = Scenario {
    name: "n",
    about: "port scan, SYN flood at ten times the load, a server that answers past the switch: none is down",
    cost: 1,
    play: noise,
    bounds: &[Bound { figure: "false alarms", of: Part::Max, most: 0.0 }],
};

fn noise(run: &Run) -> World {
    let servers = 4;
    let mut world = run.world(Topology { servers, ..Topology::default() });
    world.checks.known.gentle = true;
    let past = world.random.below(servers as u64) as usize;
    world.note(format!("server {past} answers past the switch"));
    world.servers[past].past = true;
    world.load(100.0);
    world.run(5 * S);
    match run.seed % 3 {
        0 => {
            // Ports that nobody listens on are refused, by every server alike.
            for port in 1..run.either(1_000, 10_000) {
                world.clients.bare_syn((Ipv4Addr::new(203, 0, 113, 9), 40_000 + port % 20_000), port);
                world.serve();
                world.run(2 * MS);
            }
        }
        _ => {
            world.flood(1_000.0);
            world.run(run.either(5, 20) * S);
            world.flood(0.0);
        }
    }
    world.run(5 * S);
    named(&mut world, past);
    world
}

pub(super) const LOSS: Scenario = Scenario {
    name: "loss",
    about: "one frame in a hundred is lost, some come late or twice: no server is ever taken out",
    cost: 1,
    play: loss,
    bounds: &[
        Bound { figure: "false alarms", of: Part::Max, most: 0.0 },
        Bound { figure: "established flows moved", of: Part::Max, most: 0.0 },
    ],
};

fn loss(run: &Run) -> World {
    let servers = 3 + (run.seed % 4) as usize;
    let checks = "[[clusters.web.checks]]\nkind = \"arp\"\n[[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\n\
         [[clusters.web.checks]]\nkind = \"ping\"\n";
    let mut world = run.world(Topology { servers, cluster: checks.into(), ..Topology::default() });
    world.checks.known.gentle = true;
    for port in 0..world.topology.ports() {
        let trouble = Trouble {
            from: 0,
            until: u64::MAX,
            way: None,
            loss: 0.01 * world.random.unit(),
            duplication: 0.01 * world.random.unit(),
            jitter: world.random.below(5 * MS),
        };
        world.trouble(port, trouble);
    }
    world.open(40, Kind::KeepAlive { every: S }, 200 * MS);
    world.load(100.0);
    world.run(run.either(20, 60) * S);
    world.quiet();
    world.run(5 * S / 2);
    world
}
