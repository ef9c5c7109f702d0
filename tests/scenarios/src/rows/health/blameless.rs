//! Row l: what is not a server's fault is not held against it.

use super::kit::{Bench, patient, topology};
use super::past::second_way_out;
use crate::fault::wall;
use crate::lab::Lab;
use crate::runner::Scenario;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-l",
    name: "both routers gone; rp_filter 0, 1, 2; a second way out (FS-30, FS-31)",
    needs: &["nft"],
    topology,
    story: blameless,
}];

fn blameless(lab: &Lab) -> Result<String> {
    for (server, filter) in lab.servers.iter().zip(["0", "1", "2"]) {
        server.ns.sysctl(&[("ipv4/conf/all/rp_filter", filter), ("ipv4/conf/eth0/rp_filter", filter)])?;
    }
    // The strict filter is s2's; with a second way out it would drop its clients by itself.
    second_way_out(lab, 2)?;
    let bench = Bench::start(lab, &patient(lab).routers_checked(), Duration::from_secs(20))?;
    let start = wall();
    watch(lab, Duration::from_secs(2), "with rp_filter 0, 1 and 2")?;
    for place in 0..lab.servers.len() {
        ensure!(bench.syns.count_new(place, start) > 50, "s{} has too few connections", place + 1);
    }
    let findings = super::doctor::findings(lab)?;
    let named: Vec<&str> = findings.iter().map(|(server, ..)| server.as_str()).collect();
    ensure!(named.iter().all(|n| *n == "s3") && !named.is_empty(), "the doctor names {findings:?}");

    for router in &lab.routers {
        lab.silence(router)?;
    }
    // Longer than after what a server that is silent would be dead.
    watch(lab, Duration::from_secs(5), "with both routers gone")?;
    let healed = wall();
    lab.routers.iter().try_for_each(|router| lab.speak(router))?;
    for place in 0..lab.servers.len() {
        bench.await_new(place, healed)?;
    }
    watch(lab, Duration::from_secs(1), "when the routers were back")?;
    Ok(format!("no server ever down; the doctor names s3: {}", findings[0].1))
}

/// For `span` every server is up.
fn watch(lab: &Lab, span: Duration, when: &str) -> Result<()> {
    let end = wall() + span;
    while wall() < end {
        for row in lab.switch().rows("servers")? {
            ensure!(row["state"] == "up", "{} is {} {when}: {}", row["name"], row["state"], row["reason"]);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
