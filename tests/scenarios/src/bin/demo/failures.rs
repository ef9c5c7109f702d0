//! The demo's second part: requests go on while a server and then a router are killed.

use crate::step;
use anyhow::Result;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tests_scenarios::beat::Beats;
use tests_scenarios::fault::{Hand, wall};
use tests_scenarios::frame::mac_text;
use tests_scenarios::lab::{CLIENT, GATEWAY, Host, VIP};
use tests_scenarios::load::{Load, Request, Spec};
use tests_scenarios::watch::Syns;
use tests_scenarios::{Lab, wait};

/// Requests a second.
const RATE: u32 = 200;

pub(crate) fn tell(lab: &Lab, start: Instant) -> Result<()> {
    step(start, &format!("{RATE} requests a second from now on, each on a connection of its own"));
    let syns = Syns::watch(lab)?;
    let spec = Spec {
        to: (VIP.v4, 80).into(),
        rate: RATE,
        path: "/",
        clients: 16_000,
        patience: Duration::from_secs(4),
    };
    let load = Load::start(&lab.client, spec)?;
    let from = wall();
    wait::until("connections to every server", Duration::from_secs(5), || {
        (0..lab.servers.len()).all(|n| syns.count_new(n, from) > 30).then_some(())
    })?;
    a_server(lab, start, &load, &syns)?;
    a_router(lab, start, &load)?;

    let requests = load.stop();
    let failed = requests.iter().filter(|r| r.server().is_none()).count();
    step(start, &format!("the load ends: {} requests, {failed} failed in all", requests.len()));
    println!();
    Ok(())
}

fn a_server(lab: &Lab, start: Instant, load: &Load, syns: &Syns) -> Result<()> {
    let (place, server) = (1, &lab.servers[1]);
    let mut downs = said(lab, server);
    step(start, &format!("{}: its nginx is killed", server.name));
    let at = lab.kill_programs(server)?;
    std::thread::sleep(Duration::from_millis(1_500));
    let last = syns.last_new(place, at).saturating_sub(at);
    tell_news(lab, server, &mut downs);
    told(&format!("the last new connection went to {} {} ms after that", server.name, last.as_millis()));
    told(&format!("since then: {}", answers(&load.since(at + last + Duration::from_millis(1)))));
    let failed = failed(&load.since(at));
    told(&format!("{failed} requests failed, all before that: {} refused them", server.name));

    step(start, &format!("{}: nginx is started again", server.name));
    let healed = wall();
    lab.start_programs(server)?;
    wait::until("connections to it", Duration::from_secs(10), || {
        (syns.count_new(place, healed) > 20).then_some(())
    })?;
    let first = syns.since(place, healed).first().map_or(healed, |s| s.at).saturating_sub(healed);
    tell_news(lab, server, &mut downs);
    told(&format!("first new connection to it after {} ms", first.as_millis()));
    Ok(())
}

fn a_router(lab: &Lab, start: Instant, load: &Load) -> Result<()> {
    let (router, other) = (&lab.routers[0], &lab.routers[1]);
    let server = wait::until("a server whose router is r1", Duration::from_secs(5), || {
        lab.servers.iter().find(|s| entry(s).is_some_and(|e| e.contains(&mac_text(router.mac))))
    })?;
    let beats = Beats::outward(lab, server, 7_001, 500)?;
    let mut hand = Hand::on(&router.ns)?;
    let mut downs = said(lab, router);
    std::thread::sleep(Duration::from_millis(300));
    step(
        start,
        &format!(
            "{}: killed; {} and others have it as their default router {}",
            router.name, server.name, GATEWAY.v4
        ),
    );
    // The network beyond the routers has its own way to notice.
    lab.client.ip(&format!("route replace 10.80.0.0/24 src {} via 10.1.2.1 dev eth2\n", CLIENT.v4))?;
    let at = hand.does("link set eth0 down\nlink set eth1 down")?;
    std::thread::sleep(Duration::from_millis(1_500));
    tell_news(lab, router, &mut downs);
    let outage = beats.outage(at, at + Duration::from_millis(1_200));
    told(&format!(
        "the last packet of {} that was lost left it {} ms after that; the others went by {}",
        server.name,
        outage.as_millis(),
        other.name
    ));
    let requests = load.since(at);
    told(&format!("since then: {}; {} requests failed", answers(&requests), failed(&requests)));
    Ok(())
}

/// A server's entry for its default router.
fn entry(server: &Host) -> Option<String> {
    server.ns.run("ip", &["neigh", "show", &GATEWAY.v4.to_string()]).ok()
}

/// Who answered how many.
fn answers(requests: &[Request]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for server in requests.iter().filter_map(Request::server) {
        *counts.entry(server).or_default() += 1;
    }
    let all: Vec<String> = counts.iter().map(|(server, count)| format!("{server} {count}")).collect();
    format!("answers by {}", all.join(", "))
}

fn failed(requests: &[Request]) -> usize {
    requests.iter().filter(|r| r.server().is_none()).count()
}

/// Lines of the switch's log about a host.
fn said(lab: &Lab, host: &Host) -> Vec<String> {
    let log = lab.switch().log_tail();
    let words = |line: &str| line.split(|c: char| !c.is_ascii_alphanumeric()).any(|w| w == host.name);
    log.lines()
        .filter(|l| l.contains(" INFO ") || l.contains(" WARN "))
        .filter(|l| words(l))
        .map(Into::into)
        .collect()
}

/// What the switch has said about a host since.
fn tell_news(lab: &Lab, host: &Host, before: &mut Vec<String>) {
    let now = said(lab, host);
    for line in now.iter().filter(|line| !before.contains(line)) {
        let words =
            line.split_once("INFO ").or_else(|| line.split_once("WARN ")).map_or(line.as_str(), |l| l.1);
        told(&format!("the switch says: {words}"));
    }
    *before = now;
}

fn told(what: &str) {
    println!("           {what}");
}
