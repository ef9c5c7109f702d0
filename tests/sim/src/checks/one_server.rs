//! S3: no frame is delivered to two servers.

use super::{Check, Known, Turn};
use crate::packet::describe;

#[derive(Debug)]
pub(super) struct OneServer;

impl Check for OneServer {
    fn name(&self) -> &'static str {
        "S3 one server"
    }

    fn turn(&mut self, turn: &Turn<'_>, known: &Known, wrong: &mut Vec<String>) {
        for (at, came) in turn.ins.iter().enumerate() {
            let to_vip =
                came.frame.and_then(|f| f.content.addresses()).is_some_and(|(_, to)| to == known.vip);
            if !to_vip {
                continue;
            }
            let ports: Vec<usize> = turn
                .outs
                .iter()
                .filter(|out| out.of == Some(at) && known.server_at(out.port).is_some())
                .map(|out| out.port)
                .collect();
            if ports.len() > 1 {
                wrong.push(format!("delivered to ports {ports:?}: {}", describe(came.bytes)));
            }
        }
    }
}
