//! E1: what floods do to those who are served beside them.

use super::Session;
use crate::flood::{Flood, Outcome, Storm};
use crate::meter;
use crate::rig::{Rig, Size};
use crate::traffic::{ACK, Kind};
use anyhow::Result;
use std::sync::atomic::{AtomicU64, Ordering};
use tests_bench::{Limits, Row};

const CONNECTIONS: Limits = Limits::at_least(99.9, 99.9, " %");
const GOODPUT: Limits = Limits::at_least(95.0, 100.0, " %");
/// Established flows.
const FLOWS: u32 = 1 << 17;
/// Places for more: connections that are made meanwhile.
const FLOWS_MAX: u32 = 1 << 19;

pub(crate) fn rows(session: &mut Session) {
    if !session.wants("E1") {
        return;
    }
    for (storm, name) in [
        (Storm::Syn, "SYN flood"),
        (Storm::Ack, "ACK flood"),
        (Storm::Answered, "flood of SYNs that servers answer"),
    ] {
        session.say(&format!("E1: {name}"));
        let new = Row::new("E1", format!("{name}: new connections made"), "%", &CONNECTIONS);
        let old = Row::new("E1", format!("{name}: packets of 128k established flows"), "%", &GOODPUT);
        match measure(session, storm) {
            Err(error) => {
                let why = format!("{error:#}");
                session.tell(&new.not_measured(why.clone()));
                session.tell(&old.not_measured(why));
            }
            Ok(Found { outcome, with, without }) => {
                let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
                let share = |good: f64, bad: f64| 100.0 * good / (good + bad);
                let (made, failed) = (read(&outcome.made), read(&outcome.failed));
                let (kept, lost) = (read(&outcome.kept), read(&outcome.lost));
                session.tell(&new.measured(share(made, failed), &CONNECTIONS).note(format!(
                    "{made:.0} made, {failed:.0} not: to one server from SYN to data, 2,000 turns later"
                )));
                session.tell(&old.measured(share(kept, lost), &GOODPUT).note(format!(
                    "{lost:.0} of {:.0} not at their server; half of what comes in is flood; {} {with:.1} with \
                     it, {without:.1} where it is established traffic instead",
                    kept + lost,
                    meter::unit()
                )));
            }
        }
    }
}

struct Found {
    outcome: std::sync::Arc<Outcome>,
    /// Cycles a packet with the flood, and without.
    with: f64,
    without: f64,
}

fn measure(session: &mut Session, storm: Storm) -> Result<Found> {
    let mut rig = Rig::new(session.ground()?, Size::of(FLOWS_MAX))?;
    rig.establish(session.ground()?, Kind::Tcp(ACK), FLOWS)?;
    let packets = if session.quick { 1 << 21 } else { 1 << 24 };
    let (calm, _) = Flood::new(Storm::None, FLOWS, FLOWS);
    rig.play(0, calm);
    session.measure(&mut rig, packets / 8)?;
    let without = session.measure(&mut rig, packets / 4)?.each();
    // Connections of numbers that the calm has not used.
    let (flood, outcome) = Flood::new(storm, FLOWS, 1 << 24);
    rig.play(0, flood);
    let with = session.measure(&mut rig, packets)?.each();
    Ok(Found { outcome, with, without })
}
