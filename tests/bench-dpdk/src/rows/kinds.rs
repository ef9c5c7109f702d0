//! P15: other kinds of packets against the common one.

use super::Session;
use crate::case::Case;
use crate::meter;
use crate::rig::{Rig, Size};
use anyhow::Result;
use tests_bench::{Limits, Row, median};

const LIMITS: Limits = Limits::at_most(1.6, 1.25, "x");
const FLOWS: u32 = 1024;
const KINDS: [(Case, &str); 5] = [
    (Case::Ipv6, "IPv6, TCP"),
    (Case::Vlan, "VLAN-tagged, TCP"),
    (Case::Udp, "UDP"),
    (Case::Esp, "ESP"),
    (Case::Fragment, "later fragments"),
];

pub(crate) fn rows(session: &mut Session) {
    if !session.wants("P15") {
        return;
    }
    session.say("P15: kinds of packets");
    let measured = measure(session);
    let mut counts = session.counts.take();
    let mut own = |case| counts.as_mut().and_then(|counts| counts.own(case, FLOWS).ok());
    let common = own(Case::Inbound);
    let mut told = Vec::new();
    for (at, (case, name)) in (1..).zip(KINDS) {
        let row = Row::new("P15", format!("{name}, 1k flows, whole loop"), meter::unit(), &LIMITS);
        told.push(match &measured {
            Err(error) => row.not_measured(format!("{error:#}")),
            Ok(rounds) => {
                let instructions = own(case).zip(common).map_or_else(String::new, |(own, common)| {
                    format!("; own instructions {own:.1}, {:.2}x those of the IPv4/TCP hit", own / common)
                });
                row.compared(&rounds[at], &rounds[0], "our IPv4/TCP hit, same run", &LIMITS)
                    .note(format!("frames of 80 B, device and generator in both{instructions}"))
            }
        });
    }
    session.counts = counts;
    told.iter().for_each(|row| session.tell(row));
}

/// Cycles a packet, of the common kind first; a value for each round.
fn measure(session: &mut Session) -> Result<Vec<Vec<f64>>> {
    let mut rig = Rig::new(session.ground()?, Size::of(8 * FLOWS).long())?;
    let cases: Vec<Case> = core::iter::once(Case::Inbound).chain(KINDS.map(|(case, _)| case)).collect();
    let mut packets = Vec::new();
    for case in &cases {
        rig.establish(session.ground()?, case.kind(), FLOWS)?;
        packets.push(session.calibrate(&mut rig, *case, FLOWS, session.short)?);
    }
    let mut rounds = vec![Vec::new(); cases.len()];
    for _ in 0..session.short.rounds {
        for (at, case) in cases.iter().enumerate() {
            if *case == Case::Fragment {
                // What is known of datagrams is forgotten after two seconds.
                rig.establish(session.ground()?, case.kind(), FLOWS)?;
            }
            rig.play(0, case.stream(FLOWS));
            session.measure(&mut rig, packets[at] / 8)?;
            rounds[at].push(session.measure(&mut rig, packets[at])?.each());
        }
    }
    debug_assert!(rounds.iter().all(|round| median(round) > 0.0));
    Ok(rounds)
}
