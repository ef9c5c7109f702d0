//! Row n: what strangers send does not bring a server down.

use super::kit::{Bench, RATE, patient, topology};
use super::past::second_way_out;
use crate::fault::wall;
use crate::frame::{self, flag};
use crate::lab::{Lab, VIP};
use crate::rows::kit::ask_mac;
use crate::runner::Scenario;
use crate::wait;
use anyhow::{Result, ensure};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-n",
    name: "port scan, SYN flood at 10 times the load, an answer past the switch (FS-31)",
    needs: &[],
    topology,
    story: hostile,
}];

fn hostile(lab: &Lab) -> Result<String> {
    // Where nobody answers from: nothing comes back to the flood's SYN+ACKs.
    for router in &lab.routers {
        router.ns.ip("route add blackhole 10.3.0.0/16\n")?;
    }
    second_way_out(lab, 2)?;
    let bench = Bench::start(lab, &patient(lab), Duration::from_secs(10))?;
    let router = &lab.routers[0];
    let tap = lab.tap(router)?;
    let vmac = ask_mac(&tap, router, VIP.v4.into(), None)?;
    let syn = |from: SocketAddr, port: u16, seq: u32| {
        let packet = frame::tcp(from, (VIP.v4, port).into(), flag::SYN, seq, 0, &[]);
        tap.send(&frame::ethernet(vmac, router.mac, frame::IPV4, &packet))
    };

    // One stranger asks every port up to 5,000: nearly all of them refuse.
    let start = wall();
    let scanner = Ipv4Addr::new(10, 2, 250, 1);
    wait::paced(5_000, Duration::from_secs(3), |n| {
        let port = u16::try_from(n)? + 1;
        syn((scanner, 40_000).into(), port, n)
    })?;
    all_in_service(&bench, start, "during the port scan")?;

    // Ten times the load, from addresses that never answer.
    let flood = Duration::from_secs(if lab.full { 20 } else { 4 });
    let count = u32::try_from(flood.as_secs())? * RATE * 10;
    let start = wall();
    wait::paced(count, flood, |n| {
        let [_, _, high, low] = n.to_be_bytes();
        let port = 1_024 + u16::try_from(n % 50_000)?;
        syn((Ipv4Addr::new(10, 3, high, low), port).into(), 80, n)
    })?;
    all_in_service(&bench, start, "during the flood")?;
    let requests = bench.load.stop();
    let failed = requests.iter().filter(|r| r.server().is_none()).count();
    ensure!(failed * 100 <= requests.len(), "{failed} of {} requests failed", requests.len());
    Ok(format!(
        "5,000 ports scanned, {count} SYNs of a flood, s3 answering past the switch: no server out of service; \
         {failed} of {} requests failed",
        requests.len()
    ))
}

/// In every half second since `from` each server had new connections, and none is shown as down.
fn all_in_service(bench: &Bench, from: Duration, when: &str) -> Result<()> {
    let step = Duration::from_millis(500);
    let now = wall();
    for (place, server) in bench.lab.servers.iter().enumerate() {
        let syns = bench.syns.since(place, from);
        let mut begin = from;
        while begin + step <= now {
            let had = syns.iter().any(|s| s.first && s.at >= begin && s.at < begin + step);
            ensure!(had, "{} had no new connection for half a second {when}", server.name);
            begin += step;
        }
    }
    for row in bench.lab.switch().rows("servers")? {
        ensure!(row["state"] == "up", "{} is {} {when}", row["name"], row["state"]);
    }
    Ok(())
}
