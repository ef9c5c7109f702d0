//! Row j: the control core dies under load, then the data path: what was known is known again.

use super::kit::{Bench, Held, patient, topology};
use crate::fault::{await_state, wall};
use crate::lab::Lab;
use crate::process::alive;
use crate::runner::Scenario;
use crate::wait;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-j",
    name: "control killed under load, then the data path: all is adopted (FS-14, FS-7a)",
    needs: &[],
    topology,
    story: adopted,
}];

fn adopted(lab: &Lab) -> Result<String> {
    // s1 has failed once, so that roles are not those of the file.
    let bench = {
        lab.start(&patient(lab).in_clusters("mode = \"availability\""))?;
        Bench::on(lab, Duration::from_secs(20))?
    };
    bench.await_new(0, wall())?;
    let at = lab.kill_programs(&lab.servers[0])?;
    bench.await_new(1, at).context("s1 was killed")?;
    lab.start_programs(&lab.servers[0])?;
    await_state(lab, "s1", "up", Duration::from_secs(5))?;
    lab.switch().flowctl(&["drain", "s3"])?;
    let mut held = bench.hold(50)?;
    let settled = wall();
    std::thread::sleep(Duration::from_millis(1_500));
    let (before, counted) = (lab.switch().control()?, flows_new(lab)?);

    let killed = wall();
    kill(Pid::from_raw(before), Signal::SIGKILL)?;
    await_control(lab, before)?;
    std::thread::sleep(Duration::from_secs(2));
    let now = flows_new(lab)?;
    ensure!(now > counted, "the counter of new flows fell from {counted} to {now}");
    held.iter_mut().try_for_each(Held::still_works).context("control was restarted")?;
    await_state(lab, "s3", "drained", Duration::from_secs(2)).context("a drain ordered before")?;
    only_s2(&bench, killed).context("control was restarted")?;
    // Not even one packet repeated: a lost one would have cost the client a time-out of 200 ms and more.
    let requests = bench.load.since(settled);
    let failed = requests.iter().filter(|r| r.server().is_none()).count();
    let slow = requests.iter().filter(|r| r.took() > Duration::from_millis(900)).count();
    ensure!(failed + slow == 0, "{failed} requests failed, {slow} took longer than 0.9 s");

    let data_path = lab.switch().data_path()?;
    let killed = wall();
    kill(Pid::from_raw(data_path), Signal::SIGKILL)?;
    wait::until("a new data path", Duration::from_secs(20), || {
        let now = lab.switch().data_path().ok()?;
        (now != data_path && alive(now) && lab.switch().in_force()).then_some(())
    })?;
    held.iter_mut().try_for_each(Held::still_works).context("the data path was restarted")?;
    let back = wall();
    bench.await_new(1, back)?;
    std::thread::sleep(Duration::from_millis(500));
    only_s2(&bench, killed).context("the data path was restarted")?;
    Ok(format!(
        "0 of {} requests lost while control was away, 50 flows, the primary, a drain and the counters adopted; \
         data path back after {:.1} s",
        requests.len(),
        back.saturating_sub(killed).as_secs_f64()
    ))
}

fn await_control(lab: &Lab, before: i32) -> Result<()> {
    wait::until("a new control core", Duration::from_secs(10), || {
        let now = lab.switch().control().ok()?;
        (now != before && alive(now) && lab.switch().in_force()).then_some(())
    })
}

/// New flows of the cluster so far.
fn flows_new(lab: &Lab) -> Result<u64> {
    let rows = lab.switch().rows("clusters")?;
    rows.first().and_then(|row| row["flows_new"].as_u64()).context("a count of new flows")
}

/// Every new connection since `from` went to s2, the primary by what happened.
fn only_s2(bench: &Bench, from: Duration) -> Result<()> {
    for other in [0, 2] {
        let count = bench.syns.count_new(other, from);
        ensure!(count == 0, "{count} new connections to s{}, which is not primary", other + 1);
    }
    ensure!(bench.syns.count_new(1, from) > 0, "no new connections to the primary");
    Ok(())
}
