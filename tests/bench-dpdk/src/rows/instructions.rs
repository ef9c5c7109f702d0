//! P1, P2, P4, P7, P8: counts of instructions. They repeat, so there is one round.

use super::Session;
use crate::callgrind::Counts;
use crate::case::Case;
use crate::count::Way;
use crate::peers::{self, Quoted};
use crate::testpmd::Testpmd;
use anyhow::{Context, Result};
use tests_bench::{Limits, Ratio, Row};

const UNIT: &str = "instructions/packet";
const FLOWS: u32 = 1024;

const OWN: Limits = Limits::at_most(200.0, 140.0, "");
const ALL: Limits = Limits::at_most(2.4, 1.95, "x");
const OBSERVATION: Limits = Limits::at_most(40.0, 20.0, "");
const XDP: Limits = Limits::at_least(5.0, 7.0, "x fewer");
const USER: Limits = Limits::at_least(7.0, 10.0, "x fewer");

pub(crate) fn rows(session: &mut Session) {
    if !session.wants_any(&["P1", "P2", "P4", "P7", "P8"]) {
        return;
    }
    session.say("P1 P2 P4 P7 P8: instructions, by callgrind");
    let mut counts = session.counts.take();
    let own = match &mut counts {
        None => Err(anyhow::anyhow!("valgrind is not installed (package valgrind)")),
        Some(counts) => counts.own(Case::Inbound, FLOWS),
    };
    let mut told = vec![p1(own.as_ref().ok().copied(), counts.as_mut())];
    if session.wants("P2") {
        told.push(p2(counts.as_mut()));
    }
    if session.wants("P4") {
        told.extend(p4(session, own.as_ref().ok().copied(), counts.as_mut()));
    }
    for (row, peer, limits) in
        [("P7", peers::KATRAN, XDP), ("P7", peers::XVS, XDP), ("P8", peers::DPVS, USER)]
    {
        told.push(fewer(row, own.as_ref().ok().copied(), peer, &limits));
    }
    let why = own.err().map(|error| format!("{error:#}"));
    for mut row in told {
        if let (None, Some(why)) = (row.ours, &why) {
            row = row.not_measured(why.clone());
        }
        session.tell(&row);
    }
    session.counts = counts;
}

fn p1(own: Option<f64>, counts: Option<&mut Counts>) -> Row {
    let row = Row::new("P1", "own instructions, inbound hit, 1k flows, every feature on", UNIT, &OWN);
    let Some((own, counts)) = own.zip(counts) else { return row };
    let part = |way, counts: &mut Counts| counts.total(Case::Inbound, way, FLOWS).unwrap_or(f64::NAN);
    let parts = [Way::Switch, Way::Floor, Way::Generator, Way::Pass].map(|way| part(way, counts));
    let [all, floor, generator, pass] = parts;
    row.measured(own, &OWN).note(format!(
        "{all:.1} in all less {floor:.1} of net_null (rx and tx in C) and {generator:.1} of the generator; \
         of these {:.1} are receive, heads and dispatch of our ports, the rest worker and engine",
        pass - floor - generator
    ))
}

fn p2(counts: Option<&mut Counts>) -> Row {
    let row = Row::new("P2", "instructions in all on net_null, inbound hit, 1k flows", UNIT, &ALL);
    let Some(counts) = counts else { return row };
    let measured = || -> Result<(f64, f64, f64)> {
        let all = counts.total(Case::Inbound, Way::Switch, FLOWS)?;
        let generator = counts.total(Case::Inbound, Way::Generator, FLOWS)?;
        Ok((all, generator, counts.total(Case::Inbound, Way::Pass, FLOWS)?))
    };
    let (all, generator, _) = match { measured }() {
        Ok(measured) => measured,
        Err(error) => return row.not_measured(format!("{error:#}")),
    };
    let (peer, name, why) = match Testpmd::instructions() {
        Ok(counted) => (counted, "testpmd macswap, by callgrind", String::new()),
        Err(error) => {
            (peers::TESTPMD.instructions, peers::TESTPMD.name, format!("; not counted here: {error:#}"))
        }
    };
    let note = format!("without the generator's {generator:.1}{why}");
    row.compared(&[all - generator], &[peer], name, &ALL).note(note)
}

fn p4(session: &Session, p1: Option<f64>, counts: Option<&mut Counts>) -> Vec<Row> {
    let limits = p1.map_or(OWN, |p1| Limits::at_most(p1, p1, ""));
    let what = "own instructions, outbound hit, 1k flows";
    let mut row = Row::new("P4", what, UNIT, &limits);
    (row.must, row.goal) = ("<= P1".into(), "<= P1".into());
    let share = Row::new("P4", "of these, what observation costs", UNIT, &OBSERVATION);
    let Some(counts) = counts else { return vec![row, share] };
    let outbound = match counts.own(Case::Outbound, FLOWS) {
        Ok(outbound) => outbound,
        Err(error) => return vec![row.not_measured(format!("{error:#}")), share],
    };
    let row = row.measured(outbound, &limits).note("state, FIN and RST, counters, response time on");
    let without = session
        .unobserved
        .as_deref()
        .context("there is no build without observation: the engine knows no cfg(flowswitch_unobserved)");
    let without = without.and_then(|program| {
        let mut counts = Counts::of(program).context("valgrind")?;
        counts.own(Case::Outbound, FLOWS)
    });
    let share = match without {
        Ok(without) => share
            .measured(outbound - without, &OBSERVATION)
            .note(format!("{outbound:.1} less {without:.1} of a build without observation")),
        Err(error) => share.not_measured(format!("{error:#}")),
    };
    vec![row, share]
}

fn fewer(row: &str, own: Option<f64>, peer: Quoted, limits: &Limits) -> Row {
    let mut row = Row::new(row, "own instructions, inbound hit, 1k flows", UNIT, limits);
    (row.peer, row.peer_name) = (Some(peer.instructions), Some(peer.name.into()));
    let Some(own) = own else { return row };
    let ratio = peer.instructions / own;
    row.ratio = Some(Ratio::exact(ratio));
    row = row
        .measured(ratio, limits)
        .note("the ratio is the peer's by ours; each net of what carries packets to it");
    row.ours = Some(own);
    row
}
