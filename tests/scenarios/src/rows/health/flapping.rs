//! Row c: a server's link comes and goes ten times a second.

use super::kit::{Bench, topology};
use crate::fault::{Hand, wall};
use crate::lab::Lab;
use crate::runner::Scenario;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-c",
    name: "a link flaps at 10 Hz: at most two changes of role, then a slow start (FS-10, FS-33)",
    needs: &[],
    topology,
    story: flapping,
}];

/// The window in which a server that is in service has new connections.
const WINDOW: Duration = Duration::from_millis(200);
const SLOW_START: Duration = Duration::from_secs(6);

fn flapping(lab: &Lab) -> Result<String> {
    let seconds = if lab.full { 60 } else { 6 };
    let config = lab
        .config()
        .only_v4()
        .chooser("weighted-round-robin")
        .weights(&[100, 100, 100])
        .checked(100, 2)
        .in_clusters(&format!("slow_start_s = {}", SLOW_START.as_secs()));
    let bench = Bench::start(lab, &config, Duration::from_secs(4))?;
    let (server, mut hand) = (&lab.servers[0], Hand::on(&lab.servers[0].ns)?);
    let start = wall();
    while wall() < start + Duration::from_secs(seconds) {
        hand.does("link set eth0 down")?;
        std::thread::sleep(Duration::from_millis(50));
        hand.does("link set eth0 up")?;
        std::thread::sleep(Duration::from_millis(50));
    }
    let end = wall();
    // From in service to out of it or back.
    let (mut in_service, mut changes, mut at) = (true, 0, start);
    while at + WINDOW <= end {
        let had = bench.syns.since(0, at).iter().any(|s| s.first && s.at < at + WINDOW);
        changes += u32::from(had != in_service);
        in_service = had;
        at += WINDOW;
    }
    ensure!(changes <= 2, "{changes} changes of role in {seconds} s");
    lab.link_up(server)?;
    // It would have to stay good for up to a minute; the operator knows that the cable is mended.
    lab.switch().flowctl(&["enable", "s1"])?;
    let healed = wall();
    bench.await_new(0, healed).context("the link is good again")?;
    let back = bench.syns.since(0, healed).first().context("a connection")?.at;

    std::thread::sleep((back + SLOW_START + Duration::from_secs(3)).saturating_sub(wall()));
    let share = |from: Duration, span: Duration| {
        let count = |place: usize| {
            bench.syns.since(place, from).iter().filter(|s| s.first && s.at < from + span).count()
        };
        let all: usize = (0..lab.servers.len()).map(count).sum();
        count(0) as f64 / all.max(1) as f64
    };
    let span = SLOW_START / 4;
    let early = share(back, span);
    let middle = share(back + SLOW_START / 2, span);
    let late = share(back + SLOW_START + Duration::from_secs(1), Duration::from_secs(2));
    ensure!(early < 0.17, "{:.0} % of the new connections right after it came back", early * 100.0);
    ensure!(late > 0.28, "{:.0} % of the new connections after the slow start", late * 100.0);
    ensure!(early < middle && middle < late + 0.03, "shares {early:.2}, {middle:.2}, {late:.2} do not rise");
    Ok(format!(
        "{changes} changes in {seconds} s; its share {:.0} %, {:.0} %, then {:.0} %",
        early * 100.0,
        middle * 100.0,
        late * 100.0
    ))
}
