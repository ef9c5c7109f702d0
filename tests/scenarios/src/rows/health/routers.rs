//! Row e: one of two routers fails under downloads through both.

use super::downloads::Downloads;
use super::kit::{config, figure, keeps, settled, trials};
use crate::beat::Beats;
use crate::fault::{Hand, wall};
use crate::frame::{self, mac_text};
use crate::lab::{CLIENT, GATEWAY, Host, Lab, Topology};
use crate::runner::Scenario;
use crate::stats::Sample;
use crate::wait;
use anyhow::{Context, Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "health-e",
        name: "a router gone under 4 downloads through 2 routers (FS-13)",
        needs: &["nft", "ping"],
        topology,
        story: |lab| fails(lab, Fault::Gone),
    },
    Scenario {
        row: "health-e",
        name: "a router's link down under 4 downloads through 2 routers (FS-13)",
        needs: &["ping"],
        topology,
        story: |lab| fails(lab, Fault::LinkDown),
    },
];

fn topology() -> Topology {
    Topology { download: true, ..super::kit::topology() }
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    Gone,
    LinkDown,
}

/// Datagrams a second out of each of two servers: what is measured is right within 2 ms.
const BEATS: u32 = 500;

fn fails(lab: &Lab, fault: Fault) -> Result<String> {
    // Entries that servers cannot change: what is shown needs none of them to learn anything.
    for (server, router) in lab.servers.iter().zip(&lab.routers) {
        let mac = mac_text(router.mac);
        server.ns.ip(&format!("neigh replace {} lladdr {mac} dev eth0 nud permanent\n", GATEWAY.v4))?;
    }
    let mut hands = lab.routers.iter().map(|r| Hand::on(&r.ns)).collect::<Result<Vec<_>>>()?;
    let beats = [(0, 7_001), (1, 7_002)]
        .map(|(place, port)| Beats::outward(lab, &lab.servers[place], port, BEATS))
        .into_iter()
        .collect::<Result<Vec<_>>>()?;
    let mut sample = Sample::default();
    let (mut all, mut pause) = (0, Duration::ZERO);
    // A router that falls again and again has to stay good for longer each time; so after each has failed
    // once or twice the switch begins anew.
    for _ in 0..trials(lab, 4).div_ceil(4) {
        lab.start(&config(lab).routers_checked())?;
        settled(lab)?;
        inward_by(lab, None)?;
        let downloads = Downloads::start(lab, 4)?;
        for trial in 0..4 {
            let place = trial % lab.routers.len();
            let router = &lab.routers[place];
            // The way in is not the switch's: the network beyond has chosen the other router already.
            inward_by(lab, Some(1 - place))?;
            let at = match fault {
                Fault::Gone => lab.silence(router)?,
                Fault::LinkDown => hands[place].does("link set eth0 down")?,
            };
            sample.push(outage(lab, &beats[place], place, at).with_context(|| format!("trial {trial}"))?);
            let healed = wall();
            match fault {
                Fault::Gone => lab.speak(router)?,
                Fault::LinkDown => lab.link_up(router)?,
            }
            comes_back(lab, router).with_context(|| format!("{} came back", router.name))?;
            let beat = |b: &crate::beat::Beat| b.came.is_some();
            wait::until("packets through the router that came back", Duration::from_secs(3), || {
                beats[place].between(healed, wall()).iter().any(beat).then_some(())
            })?;
            inward_by(lab, None)?;
        }
        let (bytes, longest) = downloads.stop()?;
        all += bytes;
        pause = pause.max(longest);
        lab.stop()?;
    }
    let beside = format!(
        "0 of 4 downloads broken, {} MB, longest pause {:.1} s, entries permanent, none to the router itself",
        all >> 20,
        pause.as_secs_f64()
    );
    let figure = figure(&sample, &beside);
    let (promised, slack) = match fault {
        Fault::Gone => (350, 2),
        Fault::LinkDown => (10, 4),
    };
    keeps(lab, &figure, sample.p50(), Duration::from_millis(promised), slack)?;
    Ok(figure)
}

/// How long a server's packets were lost after its router failed at `at`.
fn outage(lab: &Lab, beats: &Beats, place: usize, at: Duration) -> Result<Duration> {
    let until = at + Duration::from_millis(700);
    std::thread::sleep((until + Duration::from_millis(200)).saturating_sub(wall()));
    let outage = beats.outage(at, until);
    ensure!(
        outage < Duration::from_millis(600),
        "packets to {} are lost {:.0} ms after it failed",
        lab.routers[place].name,
        outage.as_secs_f64() * 1e3
    );
    stays_home(&lab.servers[place], &lab.routers[place], &lab.routers[1 - place], lab)?;
    Ok(outage)
}

/// The client's packets take one router, or both.
fn inward_by(lab: &Lab, only: Option<usize>) -> Result<()> {
    let hops: String = (0..lab.routers.len())
        .filter(|n| only.is_none_or(|o| o == *n))
        .map(|n| format!(" nexthop via 10.1.{}.1", n + 1))
        .collect();
    lab.client.ip(&format!("route replace 10.80.0.0/24 src {}{hops}\n", CLIENT.v4))
}

/// Packets to the router that is down, for itself, are not brought to the other one.
fn stays_home(server: &Host, router: &Host, other: &Host, lab: &Lab) -> Result<()> {
    let own = router.addresses[0].v4;
    server.ns.ip(&format!("neigh replace {own} lladdr {} dev eth0 nud permanent\n", mac_text(router.mac)))?;
    let tap = lab.tap(other)?;
    let ping = server.ns.run("ping", &["-c", "2", "-i", "0.1", "-W", "0.2", &own.to_string()]);
    let strays = tap.pending(|f| {
        frame::parts(f)
            .is_some_and(|p| p.ethertype == frame::IPV4 && p.payload.get(16..20) == Some(&own.octets()[..]))
    });
    server.ns.ip(&format!("neigh del {own} dev eth0\n"))?;
    ensure!(ping.is_err(), "{} answered though it is down", router.name);
    ensure!(strays.is_empty(), "{} got a packet that is for {}", other.name, router.name);
    Ok(())
}

/// Servers' packets to the client come to this router again.
fn comes_back(lab: &Lab, router: &Host) -> Result<()> {
    let tap = lab.tap(router)?;
    tap.find("a server's packet to the client", Duration::from_secs(5), |f| {
        frame::parts(f).is_some_and(|p| {
            p.destination == router.mac
                && p.ethertype == frame::IPV4
                && p.payload.get(16..20) == Some(&CLIENT.v4.octets()[..])
        })
    })
    .map(drop)
}
