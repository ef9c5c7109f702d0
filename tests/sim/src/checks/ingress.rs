//! S7: no frame leaves by the port that it came in by.

use super::{Check, Known, Turn};
use crate::packet::describe;

#[derive(Debug)]
pub(super) struct Ingress;

impl Check for Ingress {
    fn name(&self) -> &'static str {
        "S7 ingress"
    }

    fn turn(&mut self, turn: &Turn<'_>, _known: &Known, wrong: &mut Vec<String>) {
        for out in &turn.outs {
            if out.of.is_some_and(|at| turn.ins[at].port == out.port) {
                wrong.push(format!("back out of p{}: {}", out.port, describe(out.bytes)));
            }
        }
    }
}
