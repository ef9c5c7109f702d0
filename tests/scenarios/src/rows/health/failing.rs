//! Row a: a server fails for good under load.

use super::kit::{Bench, RATE, config, figure, keeps, topology, trials};
use crate::fault::wall;
use crate::lab::{Host, Lab};
use crate::load::End;
use crate::runner::Scenario;
use crate::stats::Sample;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "health-a",
        name: "a server's processes killed under 200 requests/s (FS-10, FS-31)",
        needs: &[],
        topology,
        story: |lab| failing(lab, Fault::Killed),
    },
    Scenario {
        row: "health-a",
        name: "a server gone, its cable's carrier still there, under 200 requests/s (FS-10, FS-31)",
        needs: &["nft"],
        topology,
        story: |lab| failing(lab, Fault::Gone),
    },
];

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Killed,
    Gone,
}

impl Fault {
    fn begin(self, lab: &Lab, server: &Host) -> Result<Duration> {
        match self {
            Self::Killed => lab.kill_programs(server),
            Self::Gone => lab.silence(server),
        }
    }

    fn end(self, lab: &Lab, server: &Host) -> Result<()> {
        match self {
            Self::Killed => lab.start_programs(server),
            Self::Gone => lab.speak(server),
        }
    }
}

fn failing(lab: &Lab, fault: Fault) -> Result<String> {
    let bench = Bench::start(lab, &config(lab), Duration::from_secs(4))?;
    let mut sample = Sample::default();
    let mut outages: Vec<(usize, Duration, Duration)> = Vec::new();
    let count = trials(lab, 4);
    for trial in 0..count {
        let place = trial % lab.servers.len();
        let server = &lab.servers[place];
        let mut held = bench.hold(12)?;
        let at = fault.begin(lab, server)?;
        // The last time it is looked at for longer: none comes to it later either.
        let span = if trial + 1 == count { 2_500 } else { 900 };
        sample.push(bench.last_new(place, at, Duration::from_millis(span))?);
        held.retain(|h| h.server() != server.name);
        ensure!(!held.is_empty(), "no connection to another server");
        held.iter_mut().try_for_each(super::kit::Held::still_works)?;
        let healed = wall();
        fault.end(lab, server)?;
        outages.push((place, at, healed));
        bench.await_back(place, healed)?;
    }
    // Whatever failed had come to the failed server while it was failed: no other server's flow broke.
    let requests = bench.load.since(Duration::ZERO);
    let mut failed = 0;
    for request in requests.iter().filter(|r| r.server().is_none()) {
        failed += 1;
        let to = bench.went_to(request);
        let meant = |&(place, from, until): &(usize, Duration, Duration)| {
            to == Some(place) && request.ended >= from && request.opened <= until
        };
        ensure!(
            request.end != End::NoRoom && outages.iter().any(meant),
            "a request to {} failed ({:?}) though that server was well",
            to.map_or("nobody", |place| &lab.servers[place].name),
            request.end
        );
    }
    let (promised, slack) = match fault {
        Fault::Killed => (100, 3),
        Fault::Gone => (350, 2),
    };
    let beside = format!("{failed} of {} requests failed, {RATE}/s, 0 others broken", requests.len());
    let figure = figure(&sample, &beside);
    keeps(lab, &figure, sample.p50(), Duration::from_millis(promised), slack)?;
    Ok(figure)
}
