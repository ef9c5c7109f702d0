//! Row k: every misconfiguration that the doctor knows, one server each: it is named, and nobody else is
//! (FS-30); the others' clients are served.

use super::{Bound, Part, Run, Scenario, kit};
use crate::packet::{self, Arp, BROADCAST, SYN, Segment};
use crate::queue::MS;
use crate::server::Mistake;
use crate::topology::{Topology, VIP};
use crate::world::World;
use control_health::{Finding, FindingKind};
use core::net::Ipv4Addr;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "k",
    about: "every misconfiguration that the doctor knows, one server each: named, and nothing else disturbed",
    cost: 1,
    play,
    bounds: &[
        Bound { figure: "all named after, ms", of: Part::Max, most: 10_000.0 },
        Bound { figure: "other servers' flows broken", of: Part::Max, most: 0.0 },
    ],
};

/// What names a mistake. A server whose answers to probes get lost as well has no way back in any case; that its
/// clients are answered past the switch is seen too.
const fn names(mistake: Mistake) -> &'static [FindingKind] {
    match mistake {
        Mistake::NotBound => &[FindingKind::VipNotBound],
        Mistake::OtherMac => &[FindingKind::WrongMac],
        Mistake::SecondWayOut => &[FindingKind::Bypassed],
        Mistake::NoWayBack => &[FindingKind::NoReturn, FindingKind::Bypassed],
        Mistake::StrictFilter => &[FindingKind::ReversePathFilter],
        Mistake::NotListening => &[FindingKind::NotListening],
        Mistake::SmallMtu => &[FindingKind::Mtu],
    }
}

fn play(run: &Run) -> World {
    // One for each mistake, and three good ones; two of these want one port of one peer.
    let servers = Mistake::ALL.len() + 3;
    let checks = "[[clusters.web.checks]]\nkind = \"arp\"\ninterval_ms = 200\ntimeout_ms = 150\n\
         [[clusters.web.checks]]\nkind = \"tcp\"\nport = 80\ninterval_ms = 200\ntimeout_ms = 150\n";
    let mut world = run.world(Topology {
        servers,
        chooser: "round-robin",
        cluster: checks.into(),
        mistakes: placed(run, servers),
        ..Topology::default()
    });
    let mistakes = world.topology.mistakes.clone();
    let of = |mistake| mistakes.iter().position(|m| *m == Some(mistake)).expect("each is made once");
    let good: Vec<usize> = (0..servers).filter(|server| mistakes[*server].is_none()).collect();
    let (unbound, began) = (of(Mistake::NotBound), world.now);
    world.load(100.0);
    claim(&mut world, run.seed);
    collide(&mut world, good[0], good[1]);
    let mut named = None;
    for _ in 0..60 {
        world.speak(unbound);
        world.run(200 * MS);
        if named.is_none() && missing(&world, &mistakes).is_empty() {
            named = Some(world.now);
        }
    }
    let findings = world.findings();
    for words in missing(&world, &mistakes) {
        world.violated("doctor", format!("{words}; it says {findings:?}"));
    }
    for finding in &findings {
        if let Some(words) = wrong(&world, &mistakes, finding) {
            world.violated("doctor", words);
        }
    }
    if let Some(at) = named {
        world.figures.add("all named after, ms", (at - began) as f64 / 1e6);
    }
    for server in &good {
        if !world.checks.known.takes(*server) {
            world.violated("doctor", format!("server {server} is good and takes no flows"));
        }
    }
    // What reaches a server that nobody can talk to fails; nobody else's does.
    let faulty: Vec<usize> = (0..servers).filter(|server| !good.contains(server)).collect();
    kit::others_untouched(&mut world, &faulty);
    world
}

/// Which server makes which mistake.
fn placed(run: &Run, servers: usize) -> Vec<Option<Mistake>> {
    let mut random = crate::random::Random::new(run.seed, "mistakes");
    let mut places = vec![None; servers];
    for mistake in Mistake::ALL {
        let free: Vec<usize> = (0..servers).filter(|server| places[*server].is_none()).collect();
        places[*random.pick(&free)] = Some(mistake);
    }
    places
}

/// A stranger behind a router claims the VIP.
fn claim(world: &mut World, seed: u64) {
    let port = (seed % 2) as usize;
    let stranger = ([2, 0, 0, 0, 7, 7], VIP);
    let claim = Arp { op: 1, sender: stranger, target: ([0; 6], VIP) };
    world.strange(port, packet::arp_frame(BROADCAST, &claim));
}

/// Two servers open the same connection (FS-25).
fn collide(world: &mut World, one: usize, other: usize) {
    let peer = (Ipv4Addr::new(192, 0, 2, 200), 443);
    for server in [one, other] {
        let segment =
            Segment { src: (VIP, 40_000), dst: peer, flags: SYN, seq: server as u32, ack: 0, data: &[] };
        let frame = packet::framed(
            Topology::router_mac(0),
            Topology::server_mac(server),
            &packet::tcp_packet(&segment, server as u16),
        );
        let port = world.topology.server_port(server);
        world.strange(port, frame);
        world.run(50 * MS);
    }
}

/// What should be named and is not.
fn missing(world: &World, mistakes: &[Option<Mistake>]) -> Vec<String> {
    let findings = world.findings();
    let mut missing = Vec::new();
    for (server, mistake) in mistakes.iter().enumerate() {
        let Some(mistake) = mistake else { continue };
        let target = Some(world.target(server));
        if !findings.iter().any(|f| f.target == target && names(*mistake).contains(&f.kind)) {
            missing.push(format!("server {server} has {mistake:?}, and is not named for it"));
        }
    }
    for kind in [FindingKind::VipClaimed, FindingKind::PortTaken] {
        if !findings.iter().any(|f| f.kind == kind) {
            missing.push(format!("{kind:?} is not named"));
        }
    }
    missing
}

/// A finding that is not so.
fn wrong(world: &World, mistakes: &[Option<Mistake>], finding: &Finding) -> Option<String> {
    if matches!(finding.kind, FindingKind::VipClaimed | FindingKind::PortTaken) {
        return None;
    }
    let server = (0..mistakes.len()).find(|server| Some(world.target(*server)) == finding.target);
    let meant = server.and_then(|server| mistakes[server]).is_some_and(|m| names(m).contains(&finding.kind));
    (!meant || finding.fix.is_empty()).then(|| format!("server {server:?} is named: {finding:?}"))
}
