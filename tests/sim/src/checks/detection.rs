//! How long it takes until the data path knows of a fault, and until a server is in service again; and
//! whether a server is ever taken out that has no fault.

use super::{Check, Happening, Known};
use crate::queue::S;
use crate::server::Health;

/// A server that has recovered is still judged by what was before for so long.
const RECOVERY: u64 = 10 * S;

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// It takes new flows, as far as the data path was told.
    takes: bool,
    /// What befell it, when, and has not been noticed.
    fault: Option<(u64, &'static str)>,
    /// It is well again since then, and not in service.
    back: Option<(u64, &'static str)>,
    /// The last fault's end.
    well_since: u64,
}

#[derive(Debug, Default)]
pub(super) struct Detection {
    servers: Vec<Seen>,
    figures: Vec<(&'static str, f64)>,
    /// When the operator wanted another primary last: the old one's flows are closed as a dead one's are.
    ordered: u64,
}

impl Detection {
    fn is_well(known: &Known, server: usize) -> bool {
        known.servers[server].health == Health::Well && known.up[known.servers[server].port]
    }
}

impl Check for Detection {
    fn name(&self) -> &'static str {
        "false alarm"
    }

    fn happens(&mut self, now: u64, what: &Happening<'_>, known: &Known, wrong: &mut Vec<String>) {
        if self.servers.is_empty() {
            self.servers = vec![Seen { takes: true, ..Seen::default() }; known.servers.len()];
        }
        if matches!(what, Happening::Switchover) {
            self.ordered = now;
        }
        let begins = match what {
            Happening::Server { server, health } => match health {
                Health::Well => None,
                Health::Killed => Some((*server, "detected killed, ms")),
                Health::Gone => Some((*server, "detected gone, ms")),
                Health::Paused => Some((*server, "detected paused, ms")),
                Health::Frozen => Some((*server, "detected frozen, ms")),
            },
            Happening::Carrier { port, up: false } => {
                known.server_at(*port).map(|n| (n, "detected link, ms"))
            }
            _ => None,
        };
        if let Some((server, name)) = begins
            && self.servers[server].takes
            && self.servers[server].fault.is_none()
        {
            self.servers[server].fault = Some((now, name));
        }
        let ends = match what {
            Happening::Server { server, health: Health::Well } => Some((*server, "back in service, ms")),
            Happening::Carrier { port, up: true } => {
                known.server_at(*port).map(|n| (n, "back after link, ms"))
            }
            _ => None,
        };
        if let Some((server, name)) = ends
            && Self::is_well(known, server)
        {
            let seen = &mut self.servers[server];
            seen.fault = None;
            seen.well_since = now;
            seen.back = (!seen.takes).then_some((now, name));
        }
        if matches!(what, Happening::DataPathStarted) {
            for seen in &mut self.servers {
                (seen.takes, seen.fault, seen.back) = (true, None, None);
            }
            return;
        }
        for (server, seen) in self.servers.iter_mut().enumerate() {
            let takes = known.takes(server);
            let before = core::mem::replace(&mut seen.takes, takes);
            if before == takes {
                continue;
            }
            if takes {
                if let Some((at, name)) = seen.back.take() {
                    self.figures.push((name, (now - at) as f64 / 1e6));
                }
            } else if let Some((at, name)) = seen.fault.take() {
                self.figures.push((name, (now - at) as f64 / 1e6));
            } else if Self::is_well(known, server)
                && now > seen.well_since + RECOVERY
                && (self.ordered == 0 || now > self.ordered + RECOVERY)
                && known.target(server).is_some()
                && known.conditions_count_as_alarm(server)
            {
                self.figures.push(("false alarms", 1.0));
                if known.gentle {
                    wrong.push(format!("server {server} is well and was taken out of service"));
                }
            }
        }
    }

    fn finish(&mut self, _now: u64, _known: &Known, _wrong: &mut Vec<String>) -> Vec<(&'static str, f64)> {
        core::mem::take(&mut self.figures)
    }
}
