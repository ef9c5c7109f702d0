//! Row i: servers of different rates get what they can carry.

use super::kit::topology;
use crate::fault::wall;
use crate::lab::{Lab, Topology, VIP};
use crate::load::{Load, Spec};
use crate::queue::Queue;
use crate::runner::Scenario;
use crate::stats::Sample;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-i",
    name: "servers of rates 1:2:4 under dynamic balancing get what they can carry (FS-9)",
    needs: &[],
    topology: || Topology { http: false, ..topology() },
    story: rates,
}];

/// What a request takes on each server, one at a time: 50, 100 and 200 requests a second.
const EACH: [u64; 3] = [20, 10, 5];
/// More than 50 for each of three: an even spread would be more than the first can carry.
const RATE: u32 = 210;

fn rates(lab: &Lab) -> Result<String> {
    let (settle, span) = if lab.full { (60, 30) } else { (10, 5) };
    lab.start(&lab.config().only_v4().chooser("dynamic"))?;
    let _servers: Vec<Queue> = lab
        .servers
        .iter()
        .zip(EACH)
        .map(|(s, each)| Queue::start(&s.ns, (VIP.v4, 80).into(), &s.name, Duration::from_millis(each)))
        .collect::<Result<_>>()?;
    let spec = Spec {
        to: (VIP.v4, 80).into(),
        rate: RATE,
        path: "/",
        clients: 16_000,
        patience: Duration::from_secs(30),
    };
    let load = Load::start(&lab.client, spec)?;
    std::thread::sleep(Duration::from_secs(settle));
    let from = wall();
    std::thread::sleep(Duration::from_secs(span));
    let requests: Vec<_> = load.stop().into_iter().filter(|r| r.opened >= from).collect();
    let failed = requests.iter().filter(|r| r.server().is_none()).count();
    ensure!(failed == 0, "{failed} of {} requests failed", requests.len());
    let mut samples = vec![Sample::default(); EACH.len()];
    for request in &requests {
        if let Some(place) = lab.servers.iter().position(|s| Some(s.name.as_str()) == request.server()) {
            samples[place].push(request.took());
        }
    }
    let shares: Vec<f64> = samples.iter().map(|s| s.count() as f64 / requests.len() as f64).collect();
    let figure: Vec<String> = samples
        .iter()
        .zip(&shares)
        .zip(&lab.servers)
        .map(|((s, share), server)| {
            format!("{} {:.0} % p50 {} ms", server.name, share * 100.0, s.p50().as_millis())
        })
        .collect();
    let figure = figure.join(", ");
    // An even spread has s1 fall behind without end; 50 of 210 a second is all it can carry.
    ensure!(shares[0] < 0.25 && shares[0] < shares[1] && shares[1] < shares[2], "{figure}");
    ensure!(samples[0].p50() < Duration::from_millis(500), "s1 is overloaded: {figure}");
    Ok(figure)
}
