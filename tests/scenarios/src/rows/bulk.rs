//! Row j: much data, unbroken and unchanged.

use crate::lab::{Lab, Topology, VIP};
use crate::netns::run;
use crate::nginx::BIG;
use crate::process::Process;
use crate::runner::Scenario;
use crate::wait;
use anyhow::{Context, Result, ensure};
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "j",
        name: "iperf3 for 10 s, no reset",
        needs: &["iperf3"],
        topology: || Topology { http: false, ..Topology::default() },
        story: iperf,
    },
    Scenario {
        row: "j",
        name: "200 MB by curl, IPv4 and IPv6, byte for byte",
        needs: &["curl", "cmp"],
        topology: || Topology { download: true, ..Topology::default() },
        story: download,
    },
];

fn iperf(lab: &Lab) -> Result<String> {
    // iperf3 opens two connections and wants them at one server.
    lab.start(&lab.config().chooser("source-affinity"))?;
    for server in &lab.servers {
        let mut command = server.ns.command("iperf3");
        lab.keep(Process::start(command.arg("-s").stdout(Stdio::null()).stderr(Stdio::null()))?);
    }
    for server in &lab.servers {
        wait::until("iperf3 listens", Duration::from_secs(5), || {
            server.ns.run("ss", &["-Hltn", "sport", "=", ":5201"]).ok().filter(|t| !t.is_empty())
        })?;
    }
    let text = lab.client.run("iperf3", &["-c", &VIP.v4.to_string(), "-t", "10", "-J"])?;
    let report: serde_json::Value = serde_json::from_str(&text)?;
    let sum = |way: &str, what: &str| report["end"][way][what].as_f64().unwrap_or_default();
    let (rate, again) = (sum("sum_received", "bits_per_second"), sum("sum_sent", "retransmits"));
    ensure!(rate > 0.0, "nothing arrived: {text}");
    ensure!(report["error"].is_null(), "iperf3: {}", report["error"]);
    Ok(format!("{:.0} Mb/s, {again} segments repeated", rate / 1e6))
}

fn download(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let mut rates = Vec::new();
    let resets = || -> Result<u64> {
        lab.servers.iter().map(|s| s.ns.counter("Tcp", "OutRsts")).sum::<Result<u64>>().and_then(|out| {
            Ok(out + lab.client.counter("Tcp", "OutRsts")? + lab.client.counter("Tcp", "EstabResets")?)
        })
    };
    let before = resets()?;
    for vip in VIP.both() {
        let got = lab.folder.join("got");
        let host = match vip {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let start = Instant::now();
        let to = got.to_str().context("a plain path")?;
        lab.client
            .run("curl", &["-sS", "-g", "--max-time", "60", "-o", to, &format!("http://{host}/big")])?;
        rates.push(format!("{:.0} Mb/s", BIG as f64 * 8e-6 / start.elapsed().as_secs_f64()));
        same_file(&lab.folder.join("files/big"), &got)?;
    }
    let count = resets()? - before;
    ensure!(count == 0, "{count} resets");
    Ok(rates.join(", "))
}

fn same_file(sent: &Path, got: &Path) -> Result<()> {
    run(Command::new("cmp").args([sent, got])).map(drop).context("the download differs")
}
