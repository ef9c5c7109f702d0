//! S5: one server of an availability cluster gets all that clients open, and it stays so until that one
//! fails or the operator says otherwise (FS-14, FS-15).

use super::{Check, Happening, Known, Turn, new_flows};
use core::net::Ipv4Addr;
use dataplane_message::ClusterMode;
use std::collections::HashSet;

#[derive(Debug, Default)]
pub(super) struct Roles {
    primary: Option<usize>,
    /// The primary was not fit for it at some time since it got its last flow.
    failed: bool,
    ordered: bool,
    seen: HashSet<(Ipv4Addr, u16)>,
    changes: u64,
}

impl Check for Roles {
    fn name(&self) -> &'static str {
        "S5 roles"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        if known.plan.clusters.first().is_none_or(|c| c.mode != ClusterMode::Availability) {
            return;
        }
        for (server, client) in new_flows(turn, known) {
            if !self.seen.insert(client) {
                continue;
            }
            let before = self.primary.replace(server);
            if let Some(before) = before.filter(|before| *before != server) {
                self.changes += 1;
                if !self.failed && !self.ordered {
                    wrong.push(format!(
                        "server {server} is primary instead of {before}, which has not failed"
                    ));
                }
            }
            if before != Some(server) {
                self.failed = false;
                self.ordered = false;
            }
        }
    }

    fn happens(&mut self, _now: u64, what: &Happening<'_>, known: &Known, _wrong: &mut Vec<String>) {
        self.ordered |= matches!(what, Happening::Switchover);
        if let Some(primary) = self.primary {
            // A data path that has just started knows nothing; that is no failure of the primary.
            self.failed |= known.target(primary).is_some() && !known.takes(primary);
        }
    }

    fn finish(&mut self, _now: u64, known: &Known, _wrong: &mut Vec<String>) -> Vec<(&'static str, f64)> {
        let availability = known.plan.clusters.iter().any(|c| c.mode == ClusterMode::Availability);
        if availability { vec![("changes of primary", self.changes as f64)] } else { Vec::new() }
    }
}
