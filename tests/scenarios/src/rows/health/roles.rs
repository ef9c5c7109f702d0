//! Row d: one server of a cluster works, the others stand by.

use super::kit::{Bench, config, topology};
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
    row: "health-d",
    name: "availability cluster: failures, switchover, restarts of all of it (FS-14, FS-15)",
    needs: &["nft"],
    topology,
    story: roles,
}];

fn roles(lab: &Lab) -> Result<String> {
    let config = config(lab).in_clusters("mode = \"availability\"");
    lab.start(&config)?;
    let bench = Bench::on(lab, Duration::from_secs(4))?;
    let (first, _) = primary(&bench, wall())?;
    ensure!(first == 0, "the first primary is s{}, not the first configured server", first + 1);

    let at = lab.kill_programs(&lab.servers[0])?;
    let (second, took) = primary(&bench, at)?;
    ensure!(second != 0, "requests still go to the server that failed");
    lab.start_programs(&lab.servers[0])?;
    await_state(lab, "s1", "up", Duration::from_secs(5))?;
    stays(&bench, second, Duration::from_millis(1_000)).context("the failed server came back")?;

    let mut held = bench.hold(5)?;
    let at = wall();
    lab.switch().flowctl(&["switchover", "web"])?;
    let ordered = wall();
    let (third, _) = primary(&bench, ordered)?;
    ensure!(third != second, "the operator's switchover changed nothing");
    ensure!(
        bench.syns.count_new(second, ordered + Duration::from_millis(50)) == 0,
        "new flows to the old primary after the switchover"
    );
    held.iter_mut().try_for_each(super::kit::Held::still_works).context("after the switchover")?;
    let switchover = ordered.saturating_sub(at);

    let before = lab.switch().control()?;
    kill(Pid::from_raw(before), Signal::SIGKILL)?;
    wait::until("a new control core", Duration::from_secs(10), || {
        let now = lab.switch().control().ok()?;
        (now != before && alive(now) && lab.switch().in_force()).then_some(())
    })?;
    stays(&bench, third, Duration::from_millis(1_000)).context("control was restarted")?;

    let at = lab.silence(&lab.servers[third])?;
    let (fourth, gone) = primary(&bench, at)?;
    ensure!(fourth != third, "requests still go to the server that is gone");
    lab.speak(&lab.servers[third])?;
    await_state(lab, &lab.servers[third].name, "up", Duration::from_secs(5))?;
    stays(&bench, fourth, Duration::from_millis(500)).context("the server that was gone came back")?;

    // A server that is not the first one configured is to be primary when the switch is started anew.
    let last = if fourth == 0 {
        let from = wall();
        lab.switch().flowctl(&["switchover", "web"])?;
        primary(&bench, wall().max(from))?.0
    } else {
        fourth
    };
    ensure!(last != 0, "a second switchover led back to s1");
    lab.stop()?;
    lab.start(&config)?;
    let from = wall();
    let (after, _) = primary(&bench, from)?;
    ensure!(after == last, "the switch was restarted: primary s{} before, s{} after", last + 1, after + 1);
    stays(&bench, last, Duration::from_millis(500)).context("the switch was restarted")?;
    Ok(format!(
        "s1, s{} {} ms after s1 was killed, s{} {} ms after the order, s{} {} ms after it was gone; s{} after all restarts",
        second + 1,
        took.as_millis(),
        third + 1,
        switchover.as_millis(),
        fourth + 1,
        gone.as_millis(),
        last + 1
    ))
}

/// Waits until one server has all new connections for 300 ms: which one, and since when after `at`.
fn primary(bench: &Bench, at: Duration) -> Result<(usize, Duration)> {
    let window = Duration::from_millis(300);
    wait::until("one primary", Duration::from_secs(8), || {
        let now = wall();
        let from = now.saturating_sub(window);
        if from < at {
            return None;
        }
        let counts: Vec<usize> =
            (0..bench.lab.servers.len()).map(|server| bench.syns.count_new(server, from)).collect();
        let busy: Vec<usize> = (0..counts.len()).filter(|n| counts[*n] > 0).collect();
        let [only] = busy[..] else { return None };
        // Others' last new connection, and this one's first answer.
        let answered = bench
            .load
            .since(at)
            .iter()
            .filter(|r| r.server() == Some(&bench.lab.servers[only].name))
            .map(|r| r.opened)
            .min()?;
        Some((only, answered.saturating_sub(at)))
    })
}

/// For `span` every new connection goes to one server.
fn stays(bench: &Bench, server: usize, span: Duration) -> Result<()> {
    let from = wall();
    std::thread::sleep(span);
    for other in (0..bench.lab.servers.len()).filter(|other| *other != server) {
        let count = bench.syns.count_new(other, from);
        ensure!(
            count == 0,
            "{count} new connections to {} though {} is primary",
            bench.lab.servers[other].name,
            bench.lab.servers[server].name
        );
    }
    ensure!(bench.syns.count_new(server, from) > 0, "no new connections to the primary");
    Ok(())
}
