//! P18: what a hit costs as flows become many.

use super::{Session, flows_text};
use crate::case::Case;
use crate::meter;
use anyhow::{Result, ensure};
use tests_bench::{Limits, Row, median};

const LIMITS: Limits = Limits::at_most(1.8, 1.4, "x");
const FEW: u32 = 1 << 20;
const MANY: u32 = 1 << 26;
/// Memory of a flow: 1.25 places of 80 bytes, an eighth of that again for handshakes, and some to spare.
const BYTES_EACH: u64 = 130;

pub(crate) fn rows(session: &mut Session) {
    if !session.wants("P18") {
        return;
    }
    let row = Row::new("P18", "inbound hit at 64M flows against 1M, whole loop", meter::unit(), &LIMITS);
    if session.quick {
        return session.tell(&row.not_measured("left out by --quick"));
    }
    session.say("P18: 64M flows");
    let row = match measure(session) {
        Err(error) => row.not_measured(format!("{error:#}")),
        Ok((many, few)) => {
            session.plot("flows", "hit, with the generator", f64::from(MANY), median(&many));
            row.compared(&many, &few, "our hit at 1M flows, same run", &LIMITS)
                .note("device and generator in both; flows uniformly, 1 us from burst to burst")
        }
    };
    session.tell(&row);
}

fn measure(session: &mut Session) -> Result<(Vec<f64>, Vec<f64>)> {
    let (needed, there) = (u64::from(MANY) * BYTES_EACH / (1 << 20), available_mib());
    ensure!(there > needed, "{} flows want {needed} MiB of memory, {there} are free", flows_text(MANY));
    let mut few = session.rig(Case::Inbound, FEW)?;
    let few_packets = session.calibrate(&mut few, Case::Inbound, FEW, session.short)?;
    let mut many = session.rig(Case::Inbound, MANY)?;
    let many_packets = session.calibrate(&mut many, Case::Inbound, MANY, session.short)?;
    let mut rounds = (Vec::new(), Vec::new());
    for _ in 0..session.short.rounds {
        session.measure(&mut many, many_packets / 8)?;
        rounds.0.push(session.measure(&mut many, many_packets)?.each());
        session.measure(&mut few, few_packets / 8)?;
        rounds.1.push(session.measure(&mut few, few_packets)?.each());
    }
    Ok(rounds)
}

fn available_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("MemAvailable:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}
