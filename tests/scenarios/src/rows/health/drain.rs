//! Row g: a server is taken out of service while its clients are at work.

use super::kit::{Held, hold, patient, topology};
use crate::fault::wall;
use crate::lab::{Lab, VIP};
use crate::load::{Load, Spec, client};
use crate::runner::Scenario;
use crate::wait;
use crate::watch::Syns;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-g",
    name: "a drain with 500 open flows and affinity, and one with a deadline (FS-33, FS-24)",
    needs: &[],
    topology,
    story: drain,
}];

const FLOWS: u16 = 500;
/// Clients, each bound to its server.
const CLIENTS: u32 = 60;

fn drain(lab: &Lab) -> Result<String> {
    lab.start(&patient(lab).in_clusters("affinity = { idle_s = 300 }"))?;
    let syns = Syns::watch(lab)?;
    let mut flows = hold(lab, (0..FLOWS).map(|n| Some(place(n))).collect())?;
    let spec = Spec {
        to: (VIP.v4, 80).into(),
        rate: 200,
        path: "/",
        clients: CLIENTS,
        patience: Duration::from_secs(4),
    };
    let load = Load::start(&lab.client, spec)?;
    let start = wall();
    wait::until("new connections to s2", Duration::from_secs(5), || {
        (syns.count_new(1, start) > 20).then_some(())
    })?;
    let of_s2 = flows.iter().filter(|f| f.server() == "s2").count();
    ensure!(of_s2 > 0, "s2 has none of the flows");

    lab.switch().flowctl(&["drain", "s2", "--deadline", "60s"])?;
    let drained = wall();
    // Clients that were bound to it go elsewhere too, at once.
    std::thread::sleep(Duration::from_secs(1));
    let strays = syns.count_new(1, drained);
    ensure!(strays == 0, "{strays} new connections to s2 after its drain began");
    let requests = load.stop();
    let failed = requests.iter().filter(|r| r.server().is_none()).count();
    ensure!(failed == 0, "{failed} requests failed");

    await_flows(lab, "s2", of_s2).context("with all of its flows open")?;
    flows.iter_mut().try_for_each(Held::still_works)?;
    // One after the other, down to the last.
    let (mut of_s2s, others): (Vec<Held>, Vec<Held>) = flows.into_iter().partition(|f| f.server() == "s2");
    of_s2s.truncate(1);
    await_flows(lab, "s2", 1).context("with one flow left")?;
    ensure!(state(lab, "s2")? != "drained", "s2 is called drained though it has a flow");
    of_s2s.iter_mut().try_for_each(Held::still_works)?;
    drop(of_s2s);
    let closed = Instant::now();
    await_flows(lab, "s2", 0)?;
    wait::until("s2 drained", Duration::from_secs(3), || {
        (state(lab, "s2").ok()? == "drained").then_some(())
    })?;
    let empty = closed.elapsed();

    let late = deadline(lab, others)?;
    Ok(format!(
        "0 new flows to s2 from the first packet on, its {of_s2} flows counted down to 0 ({:.1} s after the last closed); \
         deadline of 3 s: flows closed after {:.1} s",
        empty.as_secs_f64(),
        late.as_secs_f64()
    ))
}

/// s3 is drained with a deadline that its flows do not meet.
fn deadline(lab: &Lab, flows: Vec<Held>) -> Result<Duration> {
    let (mut idle, mut others): (Vec<Held>, Vec<Held>) = flows.into_iter().partition(|f| f.server() == "s3");
    ensure!(!idle.is_empty(), "s3 has none of the flows");
    let start = Instant::now();
    lab.switch().flowctl(&["drain", "s3", "--deadline", "3s"])?;
    std::thread::sleep(Duration::from_millis(1_500));
    idle.iter_mut().try_for_each(Held::still_works).context("before the deadline")?;
    let first = wait::until("a flow closed at the deadline", Duration::from_secs(4), || {
        idle.iter().any(Held::is_over).then(|| start.elapsed())
    })?;
    ensure!(first >= Duration::from_millis(2_900), "flows were closed before the deadline");
    wait::until("all flows closed", Duration::from_secs(4), || idle.iter().all(Held::is_over).then_some(()))?;
    let late = start.elapsed();
    wait::until("s3 drained", Duration::from_secs(10), || {
        (state(lab, "s3").ok()? == "drained").then_some(())
    })?;
    others.iter_mut().try_for_each(Held::still_works).context("another server's flow after the deadline")?;
    Ok(late)
}

/// Where flow number `n` comes from: the same clients as those of the load.
fn place(n: u16) -> SocketAddr {
    (client(VIP.v4.into(), u32::from(n) % CLIENTS), 20_000 + n).into()
}

fn await_flows(lab: &Lab, server: &str, count: usize) -> Result<()> {
    let mut last = None;
    wait::until(&format!("{count} open flows of {server}"), Duration::from_secs(4), || {
        let rows = lab.switch().rows("servers").ok()?;
        last = rows.iter().find(|row| row["name"] == server)?["flows_open"].as_u64();
        (last == u64::try_from(count).ok()).then_some(())
    })
    .with_context(|| format!("it has {last:?}"))
}

fn state(lab: &Lab, server: &str) -> Result<String> {
    let rows = lab.switch().rows("servers")?;
    let row = rows.into_iter().find(|row| row["name"] == server).context("no such server")?;
    Ok(row["state"].as_str().unwrap_or_default().to_owned())
}
