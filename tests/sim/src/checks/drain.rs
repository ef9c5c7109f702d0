//! FS-33: a server that is drained gets no new flow after the switch has said that it is so.

use super::{Check, Happening, Known, Turn, new_flows};
use core::net::Ipv4Addr;
use dataplane_message::Admin;
use std::collections::HashSet;

#[derive(Debug, Default)]
pub(super) struct Drain {
    drained: Vec<bool>,
    seen: HashSet<(Ipv4Addr, u16)>,
}

impl Check for Drain {
    fn name(&self) -> &'static str {
        "FS-33 drain"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        for (server, client) in new_flows(turn, known) {
            if self.seen.insert(client) && self.drained.get(server).copied().unwrap_or(false) {
                wrong.push(format!(
                    "a new flow to server {server}, which is drained: {}:{}",
                    client.0, client.1
                ));
            }
        }
    }

    fn happens(&mut self, _now: u64, what: &Happening<'_>, known: &Known, _wrong: &mut Vec<String>) {
        let out = |server: usize| known.admin(server) != Admin::Enabled;
        self.drained.resize(known.servers.len(), false);
        match what {
            Happening::Acknowledged { epoch } if *epoch == known.epoch => {
                for (server, drained) in self.drained.iter_mut().enumerate() {
                    *drained = out(server);
                }
            }
            // Back in service from the moment that somebody says so.
            Happening::Applied { .. } | Happening::Conditions(_) => {
                for (server, drained) in self.drained.iter_mut().enumerate() {
                    *drained &= out(server);
                }
            }
            Happening::DataPathStarted => self.drained.fill(false),
            _ => {}
        }
    }
}
