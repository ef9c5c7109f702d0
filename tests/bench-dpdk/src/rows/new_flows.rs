//! P10: what the first packet of a flow costs.

use super::Session;
use crate::case::Case;
use crate::meter;
use crate::script::Stream;
use crate::traffic::{From, Kind, Order, SYN};
use anyhow::Result;
use tests_bench::{Limits, Row};

const LIMITS: Limits = Limits::at_most(3.0, 2.0, "x");
const FLOWS: u32 = 1 << 20;
/// SYNs of a round: all rounds together stay below what the provisional part holds, so each leaves an entry.
const SYNS: u32 = 1 << 14;

pub(crate) fn rows(session: &mut Session) {
    if !session.wants("P10") {
        return;
    }
    session.say("P10: new flows beside 1M");
    let row = Row::new("P10", "a new flow's SYN, 1M flows, whole loop", meter::unit(), &LIMITS);
    let row = match measure(session) {
        Err(error) => row.not_measured(format!("{error:#}")),
        Ok((new, hit)) => row
            .compared(&new, &hit, "our inbound hit, same run", &LIMITS)
            .note("device and generator in both; each SYN is placed and leaves a provisional entry"),
    };
    session.tell(&row);
}

fn measure(session: &mut Session) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut rig = session.rig(Case::Inbound, FLOWS)?;
    let packets = session.calibrate(&mut rig, Case::Inbound, FLOWS)?;
    let (mut new, mut hit) = (Vec::new(), Vec::new());
    for round in 0..session.rounds as u32 {
        rig.play(0, Case::Inbound.stream(FLOWS));
        session.measure(&mut rig, packets / 8)?;
        hit.push(session.measure(&mut rig, packets)?.each());
        let first = FLOWS + round * SYNS;
        rig.play(0, Stream::new(Kind::Tcp(SYN), From::Client, Order::rising(first)));
        new.push(session.measure(&mut rig, u64::from(SYNS))?.each());
    }
    Ok((new, hit))
}
