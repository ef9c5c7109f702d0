//! A UDP flow's datagrams go to one server for as long as that one is in service (FS-7).

use super::{Check, Happening, Known, Turn};
use crate::packet::Content;
use core::net::IpAddr;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub(super) struct Datagrams {
    /// A client's server.
    flows: HashMap<(IpAddr, u16), usize>,
    moved: u64,
}

impl Check for Datagrams {
    fn name(&self) -> &'static str {
        "FS-7 datagrams"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        for out in &turn.outs {
            let (client, to) = match out.frame.map(|frame| frame.content) {
                Some(Content::Udp(client, to, _)) => ((client.0.into(), client.1), to.0.into()),
                Some(Content::Six(six)) => match six.udp() {
                    Some((from, _)) => ((six.src.into(), from), IpAddr::from(six.dst)),
                    None => continue,
                },
                _ => continue,
            };
            let is_vip = known.plan.clusters.iter().any(|cluster| cluster.vip == to);
            let Some(server) = known.server_at(out.port).filter(|_| is_vip) else { continue };
            let before = self.flows.insert(client, server);
            if let Some(before) = before.filter(|before| *before != server) {
                self.moved += 1;
                if known.takes_at(before, to) {
                    wrong.push(format!(
                        "datagrams of {}:{} go to server {server}, and {before} is in service",
                        client.0, client.1
                    ));
                }
            }
        }
    }

    fn happens(&mut self, _now: u64, what: &Happening<'_>, _known: &Known, _wrong: &mut Vec<String>) {
        // What a data path knew of datagrams has ended with it.
        if matches!(what, Happening::DataPathDied) {
            self.flows.clear();
        }
    }

    fn finish(&mut self, _now: u64, _known: &Known, _wrong: &mut Vec<String>) -> Vec<(&'static str, f64)> {
        if self.flows.is_empty() { Vec::new() } else { vec![("UDP flows moved", self.moved as f64)] }
    }
}
