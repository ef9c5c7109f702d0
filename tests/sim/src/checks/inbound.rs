//! FS-6: what is steered differs from what came in by the destination alone, and that is its server's.

use super::{Check, Known, Turn};
use crate::packet::{Content, RST, describe};

#[derive(Debug)]
pub(super) struct Inbound;

impl Check for Inbound {
    fn name(&self) -> &'static str {
        "FS-6 inbound"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        for out in &turn.outs {
            let Some(frame) = out.frame else {
                wrong.push(format!("unreadable frame out of p{}", out.port));
                continue;
            };
            let Some((from, to)) = frame.content.addresses() else { continue };
            if to != known.vip {
                continue;
            }
            if known.server_at(out.port).is_none() {
                wrong.push(format!("to the VIP out of p{}: {}", out.port, describe(out.bytes)));
            } else if known.server(out.port, frame.dst).is_none() {
                wrong.push(format!("not to the MAC of the server at p{}: {}", out.port, describe(out.bytes)));
            }
            // What did not come in is the switch's own: a probe, or a reset to a server.
            let own = match frame.content {
                Content::Tcp(segment) => {
                    segment.flags & RST != 0 || segment.src.1 >= dataplane_message::PROBE_PORT_FIRST
                }
                _ => !is_client(from),
            };
            if out.of.is_none() && !own {
                wrong.push(format!("not as any frame that came in: {}", describe(out.bytes)));
            }
        }
    }
}

/// Clients are in 198.18.0.0/15 and, where they are made up, in 203.0.0.0/8.
fn is_client(address: core::net::Ipv4Addr) -> bool {
    matches!(address.octets(), [198, 18 | 19, ..] | [203, ..])
}
