//! P10: what the first packet of a flow costs; P11: how many flows a second begin.

use super::Session;
use crate::case::Case;
use crate::generator::Silence;
use crate::handshake::Handshakes;
use crate::meter::{self, Reading};
use crate::rig::{Rig, Size};
use crate::script::{Counted, Stream};
use crate::traffic::{From, Kind, Order, SYN};
use anyhow::{Result, ensure};
use dataplane_flow::ClusterId;
use std::sync::atomic::Ordering;
use tests_bench::{Limits, Row, median};

const AGAINST_HIT: Limits = Limits::at_most(3.0, 2.0, "x");
const RATE: Limits = Limits::at_least(2e6, 5e6, "/s");
const FLOWS: u32 = 1 << 20;
/// SYNs of a round: a tenth of what the provisional part holds, which has room for all the table's flows to begin
/// within a second. So each leaves an entry.
const SYNS: u32 = 1 << 14;
/// Connections of a round; the table is made for all rounds together.
const CONNECTIONS: u32 = 1 << 18;

pub(crate) fn rows(session: &mut Session) {
    if session.wants("P10") {
        session.say("P10: new flows beside 1M");
        let row = Row::new("P10", "a new flow's SYN, 1M flows, whole loop", meter::unit(), &AGAINST_HIT);
        let row = match against_hit(session) {
            Err(error) => row.not_measured(format!("{error:#}")),
            Ok((new, hit)) => row
                .compared(&new, &hit, "our inbound hit, same run", &AGAINST_HIT)
                .note("device and generator in both; each SYN is placed and leaves a provisional entry"),
        };
        session.tell(&row);
    }
    if session.wants("P11") {
        session.say("P11: new flows a second");
        let opened = Row::new("P11", "new flows, whole path, one core: SYNs placed", "flows/s", &RATE);
        let made = Row::new("P11", "the same, whole handshakes", "flows/s", &RATE);
        let (opened, made) = match rates(session) {
            Err(error) => {
                let why = format!("{error:#}");
                (opened.not_measured(why.clone()), made.not_measured(why))
            }
            Ok(Rates { whole, syn }) => (
                opened.measured(median(&syn), &RATE).note(
                    "each chooses a server and leaves an entry; as peers count; device and generator included",
                ),
                made.measured(median(&whole), &RATE).note(format!(
                    "SYN, SYN+ACK and ACK of each, until its entry is established: 3 packets, device and \
                     generator included; {:.2} to {:.2} M in {} rounds",
                    whole.iter().copied().fold(f64::MAX, f64::min) / 1e6,
                    whole.iter().copied().fold(0.0, f64::max) / 1e6,
                    whole.len(),
                )),
            ),
        };
        session.tell(&opened);
        session.tell(&made);
    }
}

fn against_hit(session: &mut Session) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut rig = session.rig(Case::Inbound, FLOWS)?;
    let packets = session.calibrate(&mut rig, Case::Inbound, FLOWS, session.short)?;
    let (mut new, mut hit) = (Vec::new(), Vec::new());
    for round in 0..session.short.rounds as u32 {
        forget_handshakes(&mut rig);
        rig.play(0, Case::Inbound.stream(FLOWS));
        session.measure(&mut rig, packets / 8)?;
        hit.push(session.measure(&mut rig, packets)?.each());
        let first = FLOWS + round * SYNS;
        rig.play(0, Stream::new(Kind::Tcp(SYN), From::Client, Order::rising(first)));
        new.push(opened(session, &mut rig, SYNS)?.each());
    }
    Ok((new, hit))
}

struct Rates {
    /// Whole handshakes.
    whole: Vec<f64>,
    /// SYNs.
    syn: Vec<f64>,
}

fn rates(session: &mut Session) -> Result<Rates> {
    let rounds = session.long.rounds as u32 + 1;
    let mut rig = Rig::new(session.ground()?, Size::of(rounds * CONNECTIONS))?;
    let mut rates = Rates { whole: Vec::new(), syn: Vec::new() };
    for round in 0..rounds {
        let (script, made) = Handshakes::new(round * CONNECTIONS);
        rig.play(0, script);
        let reading = session.measure(&mut rig, 3 * u64::from(CONNECTIONS))?;
        let (good, bad) = (made.good.load(Ordering::Relaxed), made.bad.load(Ordering::Relaxed));
        ensure!(bad == 0, "{bad} of {} handshakes did not pass: {}", good + bad, rig.drops());
        ensure!(good == u64::from(CONNECTIONS), "{good} handshakes in 3 packets each of {CONNECTIONS}");
        // Of the first round come the table's pages.
        if round > 0 {
            rates.whole.push(reading.rate() / 3.0);
        }
    }
    for _ in 0..session.long.rounds {
        forget_handshakes(&mut rig);
        // Beyond all connections.
        let syns = Stream::new(Kind::Tcp(SYN), From::Client, Order::rising(1 << 25));
        let (script, counts) = Counted::new(syns);
        rig.play(0, script);
        let reading = opened(session, &mut rig, CONNECTIONS / 4)?;
        ensure!(counts.others.load(Ordering::Relaxed) == 0, "SYNs were dropped: {}", rig.drops());
        rates.syn.push(reading.rate());
    }
    Ok(rates)
}

/// Measures so many SYNs, each of which opens a flow, but for one in a thousand that finds no empty place: addresses
/// in a row are not spread evenly.
fn opened(session: &mut Session, rig: &mut Rig, syns: u32) -> Result<Reading> {
    let count = |rig: &mut Rig| rig.worker(0).engine().counters().cluster(ClusterId(0)).flows_new.read();
    let before = count(rig);
    let reading = session.measure(rig, u64::from(syns))?;
    let opened = count(rig) - before;
    ensure!(opened >= reading.packets * 999 / 1000, "{opened} flows opened by {} SYNs", reading.packets);
    Ok(reading)
}

/// Handshakes that nobody answers go after five seconds, as the sweep comes along: 512 lines of the table a turn.
fn forget_handshakes(rig: &mut Rig) {
    rig.play(0, Box::new(Silence));
    rig.idle(4000, 8);
}
