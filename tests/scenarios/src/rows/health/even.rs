//! Row f: two equal routers share what servers send.

use super::kit::topology;
use crate::lab::{CLIENT, GATEWAY, Lab, Topology, VIP};
use crate::netns::Namespace;
use crate::process::Process;
use crate::runner::Scenario;
use crate::wait;
use anyhow::{Context, Result, ensure};
use std::process::Stdio;
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-f",
    name: "two equal routers share the load, and a shift of it after the switch's push (FS-12)",
    needs: &["iperf3"],
    topology: || Topology { servers: vec![vec![VIP]; 6], http: false, ..topology() },
    story: even,
}];

/// Mbit/s that each server sends at first.
const RATE: u32 = 4;

fn even(lab: &Lab) -> Result<String> {
    lab.start(&lab.config().only_v4().routers_checked())?;
    super::kit::settled(lab)?;
    for n in 0..lab.servers.len() {
        lab.keep(sink(lab, n)?);
    }
    let mut sources = (0..lab.servers.len()).map(|n| source(lab, n, RATE)).collect::<Result<Vec<_>>>()?;
    wait::until("traffic of all servers", Duration::from_secs(10), || {
        (0..lab.servers.len()).all(|n| router_of(lab, n).is_some()).then_some(())
    })
    .inspect_err(|_| {
        for s in &lab.servers {
            eprintln!("{:?} {:?} {:?}", s.name, s.ns.run("ip", &["neigh"]), s.ns.run("ip", &["route"]));
        }
    })?;
    let steady = imbalance(lab, Duration::from_secs(4))?;
    ensure!(steady <= 0.10, "{:.0} % off even with six equal servers", steady * 100.0);

    // All servers of one router send three times as much; those of the other as before.
    let busy: Vec<usize> = (0..lab.servers.len()).filter(|n| router_of(lab, *n) == Some(0)).collect();
    ensure!(busy.len() == 3, "{} of 6 servers have r1", busy.len());
    for n in &busy {
        sources[*n].end(Duration::from_secs(1));
        sources[*n] = source(lab, *n, RATE * 3)?;
    }
    let start = Instant::now();
    let moved = wait::until("a push to a busy server", Duration::from_secs(30), || {
        busy.iter().find(|n| router_of(lab, **n) == Some(1)).copied()
    })?;
    let took = start.elapsed();
    // 12 each of three and 4 each of three: one busy one moved is 24 to 24.
    let mut after = 1.0_f64;
    while start.elapsed() < Duration::from_secs(30) && after > 0.10 {
        after = imbalance(lab, Duration::from_secs(3))?;
    }
    ensure!(after <= 0.10, "{:.0} % off even 30 s after the shift", after * 100.0);
    Ok(format!(
        "{:.0} % off even, load shifted: s{} pushed to r2 after {:.1} s, {:.0} % off even after that",
        steady * 100.0,
        moved + 1,
        took.as_secs_f64(),
        after * 100.0
    ))
}

/// The router that a server has in its neighbour table for its default router.
fn router_of(lab: &Lab, place: usize) -> Option<usize> {
    let text = lab.servers[place].ns.run("ip", &["neigh", "show", &GATEWAY.v4.to_string()]).ok()?;
    lab.routers.iter().position(|r| text.contains(&crate::frame::mac_text(r.mac)))
}

/// How far from half of what servers send each router gets, over `span`.
fn imbalance(lab: &Lab, span: Duration) -> Result<f64> {
    let read = || -> Result<Vec<u64>> { lab.routers.iter().map(|r| received(&r.ns)).collect() };
    let before = read()?;
    std::thread::sleep(span);
    let bytes: Vec<u64> = read()?.iter().zip(&before).map(|(now, then)| now - then).collect();
    let all: u64 = bytes.iter().sum();
    ensure!(all > 0, "the servers send nothing");
    Ok(bytes.iter().map(|b| (*b as f64 / all as f64 * bytes.len() as f64 - 1.0).abs()).fold(0.0, f64::max))
}

/// Bytes that a host has received by `eth0`.
fn received(ns: &Namespace) -> Result<u64> {
    let text = ns.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = text.lines().find_map(|l| l.trim().strip_prefix("eth0:")).context("eth0")?;
    Ok(line.split_whitespace().next().context("a count")?.parse()?)
}

fn sink(lab: &Lab, place: usize) -> Result<Process> {
    let mut command = lab.client.command("iperf3");
    let port = 5_300 + place;
    command.args(["-s", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
    let process = Process::start(&mut command)?;
    wait::until("iperf3 listens", Duration::from_secs(5), || {
        lab.client.run("ss", &["-Hltn", "sport", "=", &format!(":{port}")]).ok().filter(|t| !t.is_empty())
    })?;
    Ok(process)
}

fn source(lab: &Lab, place: usize, mbit: u32) -> Result<Process> {
    let server = &lab.servers[place];
    let mut command = server.ns.command("iperf3");
    let (port, rate) = ((5_300 + place).to_string(), format!("{mbit}M"));
    // Ports of its own: all servers send in the name of one address.
    let own = (41_000 + place * 10).to_string();
    command
        .args(["-c", &CLIENT.v4.to_string(), "-B", &VIP.v4.to_string(), "--cport", &own])
        .args(["-u", "-b", &rate, "-l", "1200", "-t", "120", "-p", &port])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(lab.folder.join(format!("iperf3-{}", server.name)))?);
    Process::start(&mut command)
}
