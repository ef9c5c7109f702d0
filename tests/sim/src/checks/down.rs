//! FS-10: no new flow goes to a server that the data path was told is down, or whose link is.

use super::{Check, Happening, Known, Turn, new_flows};
use crate::queue::MS;
use core::net::Ipv4Addr;
use std::collections::HashSet;

/// Tables that wait for a worker to take those before.
const PUBLISHED: u64 = 20 * MS;

#[derive(Debug, Default)]
pub(super) struct Down {
    /// Since when each server is down by what the data path was told.
    since: Vec<Option<u64>>,
    seen: HashSet<(Ipv4Addr, u16)>,
}

impl Down {
    fn follow(&mut self, now: u64, known: &Known) {
        self.since.resize(known.servers.len(), None);
        for (server, since) in self.since.iter_mut().enumerate() {
            if known.takes(server) {
                *since = None;
            } else {
                since.get_or_insert(now);
            }
        }
    }
}

impl Check for Down {
    fn name(&self) -> &'static str {
        "FS-10 down"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        // With no server up there are backups, and clusters that fail open (FS-10a).
        let any_up = self.since.is_empty() || self.since.iter().any(Option::is_none);
        for (server, client) in new_flows(turn, known) {
            if !self.seen.insert(client) {
                continue; // A repeated SYN follows its flow.
            }
            let since = self.since.get(server).copied().flatten();
            if any_up && since.is_some_and(|since| turn.now > since + PUBLISHED) {
                wrong
                    .push(format!("a new flow to server {server}, which is down: {}:{}", client.0, client.1));
            }
        }
    }

    fn happens(&mut self, now: u64, what: &Happening<'_>, known: &Known, _wrong: &mut Vec<String>) {
        if !matches!(what, Happening::Quiet) {
            self.follow(now, known);
        }
    }
}
