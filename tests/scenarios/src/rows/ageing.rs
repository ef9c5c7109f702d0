//! Row o: a switch between us and the routers never forgets where the VMAC is.

use super::kit::ask_mac;
use crate::frame;
use crate::lab::{Lab, Topology, VIP};
use crate::nginx::BIG;
use crate::process::Process;
use crate::runner::Scenario;
use anyhow::{Context, Result, ensure};
use std::process::Stdio;
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "o",
    name: "downloads over a bridge that forgets after 10 s: a bystander sees none of it (FS-2)",
    needs: &["curl"],
    topology: || Topology { bridge: true, download: true, ..Topology::default() },
    story: bystander,
}];

fn bystander(lab: &Lab) -> Result<String> {
    let span = Duration::from_secs(if lab.full { 60 } else { 24 });
    lab.start(&lab.config().in_clusters("announce_interval_s = 4"))?;
    let witness = lab.bystander.as_ref().context("a lab with a bridge")?;
    let tap = lab.tap(witness)?;
    let vmacs = VIP.both().map(|vip| ask_mac(&tap, witness, vip, None));
    let [v4, v6] = vmacs;
    let vmacs = [v4?, v6?];
    tap.drain();
    let rate = (BIG as u64 / span.as_secs()).to_string();
    let mut downloads = Vec::new();
    for host in [VIP.v4.to_string(), format!("[{}]", VIP.v6)] {
        let mut curl = lab.client.command("curl");
        curl.args(["-sSg", "--limit-rate", &rate, "-o", "/dev/null", &format!("http://{host}/big")]);
        downloads.push(Process::start(curl.stdout(Stdio::null()))?);
    }
    let (mut flooded, mut announced) = (0_u64, 0_u64);
    tap.gather(span, |f| {
        if let Some(parts) = frame::parts(f) {
            flooded += u64::from(vmacs.contains(&parts.destination));
            announced += u64::from(vmacs.contains(&parts.source) && parts.destination[0] & 1 == 1);
        }
        false
    });
    for download in &mut downloads {
        ensure!(download.wait(span)?.success(), "a download broke");
    }
    ensure!(announced > 0, "the bystander saw no announcement: it would have seen no flood either");
    ensure!(flooded == 0, "the bystander saw {flooded} frames for the VMAC");
    Ok(format!("{} s, {announced} announcements, 0 frames for the VMAC", span.as_secs()))
}
