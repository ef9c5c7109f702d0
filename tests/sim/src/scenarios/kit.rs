//! What several scenarios need.

use crate::clients::{Ended, Kind};
use crate::tcp::Told;
use crate::world::World;

/// Connections that broke, though their server is not one of these.
pub(super) fn broken_elsewhere(world: &World, faulty: &[usize]) -> usize {
    world
        .clients
        .ended
        .iter()
        .filter(|ended| is_broken(ended))
        .filter(|ended| elsewhere(world, ended, faulty))
        .count()
}

fn is_broken(ended: &Ended) -> bool {
    matches!(ended.how, Told::Reset | Told::TimedOut)
}

fn elsewhere(world: &World, ended: &Ended, faulty: &[usize]) -> bool {
    world.checks.server_of(ended.client).is_none_or(|server| !faulty.contains(&server))
}

/// Sees to it that nobody else's connections broke.
pub(super) fn others_untouched(world: &mut World, faulty: &[usize]) {
    let broken = broken_elsewhere(world, faulty);
    world.figures.add("other servers' flows broken", broken as f64);
    if broken > 0 {
        world.violated("others", format!("{broken} connections of other servers broke"));
    }
}

/// Long connections at a server.
pub(super) fn open_at(world: &World, server: usize) -> usize {
    let here = |client: &(core::net::Ipv4Addr, u16)| world.checks.server_of(*client) == Some(server);
    world.clients.established(|kind| kind != Kind::Request).filter(here).count()
}
