//! Row k: what is open stays where it is, whatever the operator changes.

use super::kit::in_parts;
use crate::http::Connection;
use crate::lab::{Lab, Topology, VIP};
use crate::runner::Scenario;
use anyhow::{Context, Result, bail, ensure};
use std::net::SocketAddr;
use std::time::Instant;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "k",
    name: "10,000 open flows while weights and configuration change (FS-33, FS-7)",
    needs: &[],
    topology: Topology::default,
    story: steady,
}];

const FLOWS: usize = 10_000;

fn steady(lab: &Lab) -> Result<String> {
    lab.start(&lab.config().workers(2))?;
    let to: SocketAddr = (VIP.v4, 80).into();
    let mut flows: Vec<(Connection, String)> = in_parts(lab, (0..FLOWS).collect(), |_| {
        let mut connection = Connection::open(None, to)?;
        let server = connection.get("/")?.server;
        Ok((connection, server))
    })
    .context("open the flows")?;

    let start = Instant::now();
    let changes = [
        lab.config().workers(2).weights(&[9, 1, 1]),
        lab.config().workers(2).weights(&[1, 0, 9]),
        lab.config().workers(2).chooser("round-robin"),
        lab.config().workers(2).service("alternative", "tcp", "8000-8100", "least-connections"),
        lab.config().workers(2).admin("s2", "drain"),
        lab.config().workers(2).weights(&[3, 2, 1]),
    ];
    let count = changes.len();
    for (n, change) in changes.iter().enumerate() {
        lab.switch().reload(change).with_context(|| format!("change {n}"))?;
        // Every flow is used after every change: none is answered by another server, none breaks.
        flows = in_parts(lab, flows, |(mut connection, server)| {
            let now =
                connection.get("/").with_context(|| format!("a flow of {server} after change {n}"))?.server;
            if now != server {
                bail!("a flow moved from {server} to {now} after change {n}");
            }
            Ok((connection, server))
        })?;
    }
    ensure!(flows.len() == FLOWS, "{} of {FLOWS} flows left", flows.len());
    Ok(format!(
        "{FLOWS} flows, {count} changes, {} requests in {:.1} s",
        FLOWS * count,
        start.elapsed().as_secs_f64()
    ))
}
