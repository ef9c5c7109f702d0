//! Row b, its first half: a server whose programs stop for a second and go on.

use super::kit::{Bench, config, figure, keeps, topology, trials};
use crate::fault::wall;
use crate::http::Connection;
use crate::lab::{Lab, VIP};
use crate::nginx::SLOW;
use crate::runner::Scenario;
use crate::stats::Sample;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-b",
    name: "a server frozen for 1 s: no new flows, no reset, all its flows finish (FS-10, FS-31)",
    needs: &[],
    topology,
    story: frozen,
}];

fn frozen(lab: &Lab) -> Result<String> {
    let bench = Bench::start(lab, &config(lab), Duration::from_secs(20))?;
    let mut sample = Sample::default();
    for trial in 0..trials(lab, 3) {
        let place = trial % lab.servers.len();
        let server = &lab.servers[place];
        let mut downloads = lab.client.enter(|| (0..6).map(|_| download()).collect::<Result<Vec<_>>>())?;
        let at = lab.freeze(server, true)?;
        let last = bench.last_new(place, at, Duration::from_secs(1));
        lab.freeze(server, false)?;
        sample.push(last?);
        bench.await_back(place, wall())?;
        if trial < 2 {
            for (download, of) in &mut downloads {
                download.body(SLOW - 1).with_context(|| format!("a download of {of}"))?;
            }
        }
    }
    let requests = bench.load.stop();
    for request in &requests {
        ensure!(request.server().is_some(), "a request ended with {:?}", request.end);
    }
    let longest = requests.iter().map(crate::load::Request::took).max().unwrap_or_default();
    let beside = format!(
        "{} requests all answered, the slowest after {:.2} s, no reset",
        requests.len(),
        longest.as_secs_f64()
    );
    let figure = figure(&sample, &beside);
    keeps(lab, &figure, sample.p95(), Duration::from_millis(350), 2)?;
    Ok(figure)
}

/// A download that has begun, and its server.
fn download() -> Result<(Connection, String)> {
    let mut connection = Connection::open(None, (VIP.v4, 80).into())?;
    connection.ask("/slow")?;
    let (server, _) = connection.head()?;
    connection.body(1)?;
    Ok((connection, server))
}
