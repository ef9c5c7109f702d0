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
    let before = resets(lab)?;
    let log = lab.folder.join("iperf3.json");
    let mut command = lab.client.command("iperf3");
    command.args(["-c", &VIP.v4.to_string(), "-t", "10", "-J"]).stdout(std::fs::File::create(&log)?);
    let (start, mut client) = (Instant::now(), Process::start(&mut command)?);
    // Looked at until shortly before its end, since iperf3 itself ends its connections by resets.
    while start.elapsed() < Duration::from_millis(9_500) && client.is_running() {
        let count = resets(lab)? - before;
        ensure!(count == 0, "{count} resets after {:.1} s", start.elapsed().as_secs_f64());
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = client.wait(Duration::from_secs(10))?;
    let text = std::fs::read_to_string(&log)?;
    ensure!(status.success(), "iperf3: {text}");
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
    let before = resets(lab)?;
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
    let count = resets(lab)? - before;
    ensure!(count == 0, "{count} resets");
    Ok(rates.join(", "))
}

/// Resets that servers and client have sent, and connections of the client that a reset ended.
fn resets(lab: &Lab) -> Result<u64> {
    let mut count = lab.client.counter("Tcp", "OutRsts")? + lab.client.counter("Tcp", "EstabResets")?;
    for server in &lab.servers {
        count += server.ns.counter("Tcp", "OutRsts")?;
    }
    Ok(count)
}

fn same_file(sent: &Path, got: &Path) -> Result<()> {
    run(Command::new("cmp").args([sent, got])).map(drop).context("the download differs")
}
