//! What a switch takes of the machine while nothing passes, and what the first packet after a pause waits.
//!
//! With `FLOWSWITCH_ROWS` naming a file, the figures are added to it as lines of JSON, as the benches print them.

use crate::lab::{Lab, Topology, VIP};
use crate::runner::Scenario;
use crate::stats::Sample;
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::io::Write;
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "perf-idle",
    name: "an idle switch leaves the CPU to others (trial mode), and wakes at once",
    needs: &["ping"],
    topology,
    story: idle,
}];

fn topology() -> Topology {
    Topology { http: false, ..Topology::default() }
}

/// A thread or a process, and how much of a core it takes.
type Share = (String, f64);

fn idle(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let switch = lab.switch();
    // Until announcements and the first checks are over.
    crate::wait::until("the start to settle", Duration::from_secs(10), || {
        let shares = shares(&switch.data_path().ok().into_iter().collect::<Vec<_>>(), SETTLE).ok()?;
        (sum(&shares) < GENEROUS).then_some(())
    })?;
    let time = Duration::from_secs(if lab.full { 10 } else { 3 });
    let processes = [switch.data_path()?, switch.control()?, switch.supervisor()];
    let shares = shares(&processes, time)?;
    let data_path: Vec<Share> =
        shares.iter().filter(|(name, _)| name.starts_with("data path")).cloned().collect();
    let (idle, all) = (sum(&data_path), sum(&shares));
    ensure!(idle < GENEROUS, "{:.0} % of a core without traffic: {shares:?}", idle * 100.0);
    let count = if lab.full { 100 } else { 15 };
    let after_pause = pings(lab, &["-c", &count.to_string(), "-i", "0.25"])?;
    let awake = pings(lab, &["-A", "-c", "200"])?;
    ensure!(
        after_pause.p50() < Duration::from_millis(50),
        "a ping after a pause takes {:?}",
        after_pause.p50()
    );
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    rows(&[
        row(
            "data path's CPU without traffic, trial mode, 5 ports on AF_XDP",
            idle * 100.0,
            "% of a core",
            Some((2.0, 2.0)),
        )
        .to_string(),
        row("the whole product's CPU without traffic", all * 100.0, "% of a core", None).to_string(),
        row("ping after 250 ms of silence, p50", us(after_pause.p50()), "us", None).to_string(),
        row("ping after 250 ms of silence, p95", us(after_pause.p95()), "us", None).to_string(),
        row("ping after 250 ms of silence, longest", us(after_pause.max()), "us", None).to_string(),
        row("ping without a pause, p50", us(awake.p50()), "us", None).to_string(),
    ])?;
    let each: Vec<String> =
        shares.iter().map(|(name, share)| format!("{name} {:.2} %", share * 100.0)).collect();
    Ok(format!(
        "{:.2} % of a core ({}); ping after a pause p50 {:.0} us, p95 {:.0} us, max {:.0} us; without p50 {:.0} us",
        all * 100.0,
        each.join(", "),
        us(after_pause.p50()),
        us(after_pause.p95()),
        us(after_pause.max()),
        us(awake.p50())
    ))
}

/// What nobody should need; what is wanted is printed.
const GENEROUS: f64 = 0.25;
const SETTLE: Duration = Duration::from_millis(500);

fn sum(shares: &[Share]) -> f64 {
    shares.iter().map(|(_, share)| share).sum()
}

/// What processes take of a core over a while: the data path by its threads.
fn shares(processes: &[i32], over: Duration) -> Result<Vec<Share>> {
    let names = ["data path", "control", "supervisor"];
    let read = || -> Result<Vec<(String, u64)>> {
        let mut all = Vec::new();
        for (pid, name) in processes.iter().zip(names) {
            let mut whole = 0;
            for task in std::fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
                let comm = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
                let stat = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                // The first number: nanoseconds on a core.
                let ns = stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0_u64);
                if name == "data path" {
                    all.push((format!("data path's {}", comm.trim()), ns));
                } else {
                    whole += ns;
                }
            }
            if name != "data path" {
                all.push((name.to_owned(), whole));
            }
        }
        Ok(all)
    };
    let (start, before) = (Instant::now(), read()?);
    std::thread::sleep(over);
    let (after, spent) = (read()?, start.elapsed());
    let of = |(name, ns): &(String, u64), (_, then): &(String, u64)| {
        let share = Duration::from_nanos(ns.saturating_sub(*then)).as_secs_f64() / spent.as_secs_f64();
        (name.clone(), share)
    };
    Ok(after
        .iter()
        .zip(&before)
        .map(|(after, before)| of(after, before))
        .filter(|(_, share)| *share > 0.0)
        .collect())
}

/// Round trips from the client to the VIP, as `ping` prints them.
fn pings(lab: &Lab, arguments: &[&str]) -> Result<Sample> {
    let vip = VIP.v4.to_string();
    let text = lab.client.run("ping", &[arguments, &["-n", "-W", "2", &vip]].concat())?;
    let mut times = Sample::default();
    for line in text.lines() {
        let millis = line.split("time=").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        if let Some(millis) = millis {
            times.push(Duration::from_secs_f64(millis / 1e3));
        }
    }
    ensure!(times.count() > 0, "no answer to a ping: {text}");
    Ok(times)
}

fn row(what: &str, ours: f64, unit: &str, limits: Option<(f64, f64)>) -> serde_json::Value {
    let bound = |bound: f64| format!("<= {bound} {unit}");
    let verdict = match limits {
        Some((_, goal)) if ours <= goal => "goal",
        Some((must, _)) if ours <= must => "must",
        Some(_) => "miss",
        None => "goal",
    };
    json!({
        "row": "idle", "what": what, "ours": ours, "unit": unit, "peer": null, "peer_name": null, "ratio": null,
        "must": limits.map_or("none".into(), |(must, _)| bound(must)),
        "goal": limits.map_or("none".into(), |(_, goal)| bound(goal)),
        "verdict": verdict,
        "note": "real programs in network namespaces",
    })
}

fn rows(lines: &[String]) -> Result<()> {
    let Some(path) = std::env::var_os("FLOWSWITCH_ROWS") else { return Ok(()) };
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
    lines.iter().try_for_each(|line| writeln!(file, "{line}")).context("write the rows")
}
