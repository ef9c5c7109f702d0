//! Row h: servers added, removed, weighed anew and drained under open flows.

use super::kit::{Held, hold, patient};
use crate::lab::{Lab, Topology, VIP};
use crate::rows::kit::in_parts;
use crate::runner::Scenario;
use anyhow::{Context, Result, ensure};
use std::time::Instant;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-h",
    name: "servers added, removed and weighed anew under open flows (FS-33)",
    needs: &[],
    topology: || Topology { servers: vec![vec![VIP]; 4], ..super::kit::topology() },
    story: changes,
}];

fn changes(lab: &Lab) -> Result<String> {
    // In full 100 changes under 10,000 flows; else fewer of both, every kind of change at least twice.
    let (count, rounds) = if lab.full { (10_000, 100) } else { (2_000, 12) };
    let all = patient(lab).chooser("maglev");
    let mut without = all.clone();
    without.servers.retain(|s| s.name != "s4");
    without.ports.retain(|p| p.name != "s4");
    without.clusters.iter_mut().for_each(|c| c.servers.retain(|(name, _)| name != "s4"));
    // The fourth server's port is there all the time: ports are the boot's, servers the plan's.
    without.ports = all.ports.clone();

    lab.start(&without)?;
    let mut flows = hold(lab, vec![None; count]).context("open the flows")?;
    let start = Instant::now();
    for round in 0..rounds {
        let what = match round % 6 {
            0 => lab.switch().reload(&all).map(|()| "s4 added"),
            1 => lab.switch().reload(&all.clone().weights(&[9, 1, 1, 3])).map(|()| "weights 9, 1, 1, 3"),
            2 => lab.switch().flowctl(&["drain", "s2"]).map(|_| "s2 drained"),
            3 => lab.switch().reload(&without).map(|()| "s4 removed"),
            4 => lab.switch().flowctl(&["enable", "s2"]).map(|_| "s2 enabled"),
            _ => lab.switch().reload(&without.clone().weights(&[1, 0, 7])).map(|()| "weights 1, 0, 7"),
        }
        .with_context(|| format!("change {round}"))?;
        // Every flow is used after the change, or in the long form each in its turn.
        let (turn, turns) = if lab.full { (round % 10, 10) } else { (0, 1) };
        flows = in_parts(lab, flows.into_iter().enumerate().collect(), |(n, mut flow): (usize, Held)| {
            if n % turns == turn || round + 1 == rounds {
                flow.still_works().with_context(|| format!("after change {round}: {what}"))?;
            }
            Ok(flow)
        })?;
        let new = hold(lab, vec![None; 20]).with_context(|| format!("new flows after {what}"))?;
        let at = |name: &str| new.iter().filter(|f| f.server() == name).count();
        ensure!(what != "s4 removed" || at("s4") == 0, "new flows to s4 after it was removed");
        ensure!(what != "s2 drained" || at("s2") == 0, "new flows to s2 after its drain");
    }
    Ok(format!(
        "{count} flows, {rounds} changes in {:.1} s, 0 broken, 0 moved",
        start.elapsed().as_secs_f64()
    ))
}
