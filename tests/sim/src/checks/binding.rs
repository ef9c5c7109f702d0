//! S4: a flow changes its server only for a reason that is on record.

use super::{Check, Happening, Known, Turn};
use crate::packet::{ACK, Content, FIN, RST, SYN, describe};
use crate::queue::S;
use crate::server::Health;
use core::net::Ipv4Addr;
use dataplane_message::{Admin, Health as Judged};
use std::collections::HashMap;

/// Time-out of a handshake that was not completed (FS-7).
const HANDSHAKE: u64 = 5 * S;

#[derive(Clone, Copy, Debug)]
struct Flow {
    server: usize,
    /// Its server has sent a packet since the data path started, at that time.
    answered: Option<u64>,
    /// The client has completed the handshake.
    established: bool,
    ended: bool,
    last: u64,
}

#[derive(Debug, Default)]
pub(super) struct Binding {
    flows: HashMap<(Ipv4Addr, u16), Flow>,
    moved: u64,
}

impl Binding {
    fn inbound(
        &mut self,
        now: u64,
        client: (Ipv4Addr, u16),
        flags: u8,
        server: usize,
        known: &Known,
    ) -> Option<String> {
        let begins = flags & (SYN | ACK | RST) == SYN;
        let new = Flow { server, answered: None, established: false, ended: false, last: now };
        let Some(flow) = self.flows.get_mut(&client) else {
            self.flows.insert(client, new);
            return None;
        };
        let mut wrong = None;
        if flow.server != server {
            let old = *flow;
            if old.established {
                self.moved += 1;
            }
            if let Some(cause) = missing_cause(now, &old, begins, known) {
                wrong = Some(format!(
                    "flow {}:{} goes from server {} to {server}: {cause}",
                    client.0, client.1, old.server
                ));
            }
            *flow = new;
        }
        if begins && flow.ended {
            *flow = new;
        }
        if flags & ACK != 0 && flags & RST == 0 && flow.answered.is_some() {
            flow.established = true;
        }
        flow.ended |= flags & (RST | FIN) != 0;
        flow.last = now;
        wrong
    }
}

/// Why the flow may not change; `None` when it may.
fn missing_cause(now: u64, old: &Flow, begins: bool, known: &Known) -> Option<&'static str> {
    let judged = known.judged(old.server);
    let recorded = judged == Judged::Dead
        || matches!(known.admin(old.server), Admin::Disabled)
        // A new connection: a SYN of a flow that has ended, or was never established.
        || begins && (old.ended || !old.established || judged == Judged::Down)
        || !old.established && now > old.last + HANDSHAKE
        // FS-7a: the table was lost, and its server has not spoken since.
        || old.answered.is_none_or(|at| at < known.data_path_ready)
        // A server that has lost the connection has said so.
        || old.ended
        || !matches!(known.servers[old.server].health, Health::Well | Health::Frozen | Health::Paused)
            && begins;
    (!recorded).then_some("its server is neither dead nor out of service")
}

impl Check for Binding {
    fn name(&self) -> &'static str {
        "S4 binding"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        for came in &turn.ins {
            let Some(Content::Tcp(segment)) = came.frame.map(|f| f.content) else { continue };
            if segment.src.0 != known.vip || segment.dst.1 >= dataplane_message::PROBE_PORT_FIRST {
                continue;
            }
            let Some(server) = known.server_at(came.port) else { continue };
            if let Some(flow) = self.flows.get_mut(&segment.dst)
                && flow.server == server
            {
                if segment.flags & RST == 0 {
                    flow.answered = Some(turn.now);
                }
                flow.ended |= segment.flags & (RST | FIN) != 0;
            }
        }
        for out in &turn.outs {
            let Some(frame) = out.frame else { continue };
            let Content::Tcp(segment) = frame.content else { continue };
            if segment.dst.0 == known.vip
                && out.of.is_some()
                && let Some(server) = known.server(out.port, frame.dst)
                && let Some(words) = self.inbound(turn.now, segment.src, segment.flags, server, known)
            {
                wrong.push(format!("{words}: {}", describe(out.bytes)));
            }
            // The switch's own reset ends the flow.
            if segment.src.0 == known.vip
                && out.of.is_none()
                && segment.flags & RST != 0
                && let Some(flow) = self.flows.get_mut(&segment.dst)
            {
                flow.ended = true;
            }
        }
    }

    fn happens(&mut self, now: u64, what: &Happening<'_>, _known: &Known, _wrong: &mut Vec<String>) {
        // What has ended long ago is nobody's business.
        if matches!(what, Happening::Acknowledged { .. }) {
            self.flows.retain(|_, flow| !flow.ended || flow.last + 300 * S > now);
        }
    }

    fn finish(&mut self, _now: u64, _known: &Known, _wrong: &mut Vec<String>) -> Vec<(&'static str, f64)> {
        vec![("established flows moved", self.moved as f64)]
    }
}
