//! Row b, its second half: a server's cable is pulled; a server's cable is made anew.

use super::kit::{Bench, config, figure, keeps, topology, trials};
use crate::beat::Beats;
use crate::fault::{Hand, wall};
use crate::lab::{Lab, Topology, VIP};
use crate::load::Request;
use crate::rows::kit::ask_mac;
use crate::runner::Scenario;
use crate::stats::Sample;
use crate::wait;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "health-b",
        name: "a server's link goes down under 1,000 new flows/s (FS-10)",
        needs: &[],
        topology: || Topology { http: false, ..topology() },
        story: pulled,
    },
    Scenario {
        row: "health-b",
        name: "a server's cable removed and made again under 200 requests/s (FS-10)",
        needs: &[],
        topology,
        story: made_again,
    },
];

/// New flows a second: every third is the server's, so what is measured is right within 3 ms.
const BEATS: u32 = 1_000;

fn pulled(lab: &Lab) -> Result<String> {
    let arp = "kind = \"arp\"\ninterval_ms = 100\ntimeout_ms = 100\nrise = 2\nfall = 3\n";
    let config = lab.config().only_v4().chooser("round-robin").check(arp);
    lab.start(&config.in_clusters("timeouts = { udp_s = 5 }"))?;
    let vmac = ask_mac(&lab.tap(&lab.routers[0])?, &lab.routers[0], VIP.v4.into(), None)?;
    let beats = Beats::inward(lab, vmac, BEATS)?;
    let mut hands = lab.servers.iter().map(|s| Hand::on(&s.ns)).collect::<Result<Vec<_>>>()?;
    let reaches = |place: usize, from: Duration| {
        wait::until("a server has new flows", Duration::from_secs(5), || {
            let of_it = |b: &&crate::beat::Beat| b.came.is_some_and(|(_, at)| at == place);
            (beats.between(from, wall()).iter().filter(of_it).count() > 20).then_some(())
        })
        .with_context(|| lab.servers[place].name.clone())
    };
    let start = wall();
    (0..lab.servers.len()).try_for_each(|place| reaches(place, start))?;
    let mut sample = Sample::default();
    for trial in 0..trials(lab, 6) {
        let place = trial % lab.servers.len();
        let at = hands[place].does("link set eth0 down")?;
        let until = at + Duration::from_millis(400);
        std::thread::sleep((until + Duration::from_millis(100)).saturating_sub(wall()));
        let outage = beats.outage(at, until);
        ensure!(
            outage < Duration::from_millis(350),
            "trial {trial}: new flows still go to {} {:.0} ms after its link went down",
            lab.servers[place].name,
            outage.as_secs_f64() * 1e3
        );
        sample.push(outage);
        let up = wall();
        lab.link_up(&lab.servers[place])?;
        lab.switch().flowctl(&["enable", &lab.servers[place].name])?;
        reaches(place, up)?;
    }
    let figure = figure(&sample, "last new flow to the server after its carrier was lost");
    keeps(lab, &figure, sample.p50(), Duration::from_millis(10), 4)?;
    keeps(lab, &figure, sample.max(), Duration::from_millis(100), 3)?;
    Ok(figure)
}

fn made_again(lab: &Lab) -> Result<String> {
    let bench = Bench::start(lab, &config(lab), Duration::from_secs(4))?;
    let mut sample = Sample::default();
    for trial in 0..trials(lab, 3) {
        let place = trial % lab.servers.len();
        let server = &lab.servers[place];
        let at = lab.unplug(server)?;
        std::thread::sleep(Duration::from_millis(300));
        let others = bench.load.since(at + Duration::from_millis(250));
        ensure!(others.iter().any(|r| r.server().is_some()), "no other server answers");
        lab.plug(server)?;
        let plugged = wall();
        lab.address_server(server, false)?;
        let answered = |r: &&Request| r.server() == Some(&server.name);
        let first = wait::until("an answer through the new cable", Duration::from_secs(8), || {
            bench.load.since(plugged).iter().filter(answered).map(|r| r.opened).min()
        })
        .with_context(|| server.name.clone())?;
        sample.push(first.saturating_sub(plugged));
        // Whose cable falls again and again would have to stay good for longer each time.
        lab.switch().flowctl(&["enable", &server.name])?;
    }
    let figure = figure(&sample, "from the cable to the first request that is answered through it");
    keeps(lab, &figure, sample.max(), Duration::from_secs(2), 1)?;
    Ok(figure)
}
