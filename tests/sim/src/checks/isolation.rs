//! FS-3: no server sees another's ARP for the VIP, or the switch's.

use super::{Check, Known, Turn};
use crate::packet::{Content, describe};

#[derive(Debug)]
pub(super) struct Isolation;

impl Check for Isolation {
    fn name(&self) -> &'static str {
        "FS-3 isolation"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        for out in &turn.outs {
            // Only who carries the VIP has to be kept from it.
            let carries = |server: &usize| known.target(*server).is_some();
            let Some(server) = known.server_at(out.port).filter(carries) else { continue };
            let Some(frame) = out.frame else { continue };
            let Content::Arp(arp) = frame.content else { continue };
            let named = arp.sender.1 == known.vip || arp.target.1 == known.vip;
            if !named {
                continue;
            }
            // An answer to what the server asked in the VIP's name, and a question for the VIP that the
            // switch asks this server alone (FS-30), are its own.
            let to_it = frame.dst == known.servers[server].mac && arp.sender.1 != known.vip;
            if !to_it {
                wrong.push(format!("server {server} sees {}", describe(out.bytes)));
            }
        }
        for out in &turn.outs {
            // FS-1: outside, the VIP is at its VMAC and nowhere else.
            if known.server_at(out.port).is_some() {
                continue;
            }
            let Some(frame) = out.frame else { continue };
            let Content::Arp(arp) = frame.content else { continue };
            if arp.sender.1 == known.vip && (arp.sender.0 != known.vmac || frame.src != known.vmac) {
                wrong.push(format!("a server's MAC for the VIP: {}", describe(out.bytes)));
            }
        }
    }
}
