//! Row i: a server may belong to several clusters, and use another cluster as a client.

use super::kit::fetch_in;
use super::spread::fetch_by_curl;
use crate::lab::{Lab, Topology, VIP, VIP_B};
use crate::runner::Scenario;
use anyhow::{Result, ensure};
use std::net::SocketAddr;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "i",
    name: "cluster A on s1, s2 and B on s2, s3; s1 fetches from B (FS-4)",
    needs: &["curl"],
    topology: || Topology { servers: vec![vec![VIP], vec![VIP, VIP_B], vec![VIP_B]], ..Topology::default() },
    story: both,
}];

fn both(lab: &Lab) -> Result<String> {
    lab.start(&lab.config().chooser("round-robin"))?;
    for family in 0..2 {
        for (vip, servers) in [(VIP, ["s1", "s2"]), (VIP_B, ["s2", "s3"])] {
            let counts = fetch_by_curl(lab, vip.both()[family], 60)?;
            for server in servers {
                let count = counts.get(server).copied().unwrap_or_default();
                ensure!(count.abs_diff(30) <= 1, "{vip:?}: {counts:?}");
            }
            ensure!(counts.len() == 2, "{vip:?}: {counts:?}");
        }
        let to = SocketAddr::new(VIP_B.both()[family], 80);
        for turn in 0..100 {
            let server = fetch_in(&lab.servers[0], to, "/")?;
            ensure!(
                server == "s3",
                "turn {turn}: s1 was answered by {server}, which carries s1's address too"
            );
        }
    }
    Ok("240 requests from outside, 200 from s1, all by s3".into())
}
