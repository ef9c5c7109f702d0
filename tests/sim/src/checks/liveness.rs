//! After the last fault, every server that is well gets new flows within 2 s.

use super::{Check, Happening, Known, Turn, new_flows};
use crate::queue::S;
use crate::server::Health;
use dataplane_message::{Admin, Chooser, ClusterMode};

/// How long it may take.
const PATIENCE: u64 = 2 * S;
/// New flows in that time, per server in service, from which each of them is bound to get one.
const ENOUGH: u64 = 20;

#[derive(Debug, Default)]
pub(super) struct Liveness {
    quiet: Option<u64>,
    flows: Vec<u64>,
}

impl Liveness {
    fn judge(&mut self, known: &Known, wrong: &mut Vec<String>) {
        self.quiet = None;
        let fit: Vec<usize> = (0..known.servers.len())
            .filter(|n| {
                let server = &known.servers[*n];
                server.health == Health::Well && known.up[server.port] && known.admin(*n) == Admin::Enabled
            })
            .collect();
        // The primary gets all; and he who has the fewest flows gets all until he has as many as the others.
        let uneven = known.plan.clusters.iter().any(|c| {
            c.mode != ClusterMode::LoadSharing
                || c.services
                    .iter()
                    .any(|s| matches!(s.chooser, Chooser::LeastConnections | Chooser::TwoChoices))
        });
        let all: u64 = self.flows.iter().sum();
        if uneven || all < ENOUGH * fit.len() as u64 {
            return;
        }
        for server in fit {
            if self.flows.get(server).copied().unwrap_or(0) == 0 {
                wrong.push(format!("server {server} is well and got none of {all} new flows in 2 s"));
            }
        }
    }
}

impl Check for Liveness {
    fn name(&self) -> &'static str {
        "liveness"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        let Some(quiet) = self.quiet else { return };
        if turn.now > quiet + PATIENCE {
            return self.judge(known, wrong);
        }
        for (server, _) in new_flows(turn, known) {
            self.flows[server] += 1;
        }
    }

    fn happens(&mut self, now: u64, what: &Happening<'_>, known: &Known, _wrong: &mut Vec<String>) {
        match what {
            Happening::Quiet => {
                self.quiet = Some(now);
                self.flows = vec![0; known.servers.len()];
            }
            Happening::Server { .. } | Happening::Carrier { .. } | Happening::DataPathDied => {
                self.quiet = None
            }
            _ => {}
        }
    }
}
