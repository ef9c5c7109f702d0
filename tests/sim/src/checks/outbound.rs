//! S9: what servers send leaves as it is, byte for byte (FS-11); only the destination may be another
//! router's (FS-13).

use super::{Check, Known, Turn};
use crate::packet::{Content, RST, describe};

#[derive(Debug)]
pub(super) struct Outbound;

impl Check for Outbound {
    fn name(&self) -> &'static str {
        "S9 outbound"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        for out in &turn.outs {
            let Some(frame) = out.frame else { continue };
            let Some((from, to)) = frame.content.addresses() else { continue };
            if from != known.vip {
                continue;
            }
            let Some(at) = out.of else {
                // FS-10: the switch's own resets to clients, and its questions to routers.
                let reset = matches!(frame.content, Content::Tcp(s) if s.flags & RST != 0);
                let echo = matches!(frame.content, Content::Icmp(..));
                if !(frame.src == known.vmac && (reset || echo)) {
                    wrong.push(format!("not as any frame that came in: {}", describe(out.bytes)));
                }
                continue;
            };
            let came = &turn.ins[at];
            if came.bytes == out.bytes {
                continue;
            }
            // FS-13: from one router to another, but for what is addressed to the router itself.
            let router = |bytes: &[u8]| known.router_macs.iter().any(|mac| bytes[..6] == mac[..]);
            if !(router(came.bytes) && router(out.bytes)) {
                wrong.push(format!("destination changed: {}", describe(out.bytes)));
            } else if known.router_addresses.contains(&to) {
                wrong.push(format!("for the router itself, and redirected: {}", describe(out.bytes)));
            }
        }
    }
}
