//! Row e: servers that all have one address open connections of their own, and each gets its answers.

use super::kit::{QUIET, await_drops, command, on_all};
use crate::echo::Echo;
use crate::frame::mac_text;
use crate::http::{Connection, connect};
use crate::lab::{CLIENT, Host, Lab, Topology, VIP};
use crate::nginx;
use crate::runner::Scenario;
use anyhow::{Context, Result, bail, ensure};
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "e",
        name: "three servers fetch a page from the client's side, 100 times each at once (FS-25)",
        needs: &["curl"],
        topology,
        story: fetch,
    },
    Scenario {
        row: "e",
        name: "two servers take one source port to one peer: the second is refused at once (FS-25)",
        needs: &[],
        topology,
        story: same_port_tcp,
    },
    Scenario {
        row: "e",
        name: "the same with UDP: the answer goes to the one who asked last (FS-25)",
        needs: &[],
        topology,
        story: same_port_udp,
    },
    Scenario {
        row: "e",
        name: "three servers ping one router at once (FS-23, FS-25)",
        needs: &["ping"],
        topology,
        story: ping,
    },
];

fn topology() -> Topology {
    Topology { http: false, ..Topology::default() }
}

/// A page on the client's side that servers fetch.
fn site(lab: &Lab) -> Result<()> {
    let files = lab.folder.join("files");
    nginx::make_files(&files, false)?;
    lab.keep(nginx::start(&lab.client, &lab.folder, "site", &files)?);
    nginx::wait_open(&lab.client)
}

fn fetch(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    site(lab)?;
    let mut fetched = 0;
    // Now and then two servers take the same port at the same time: one of them is refused, and takes
    // another (the servers of a lab have one kernel, which gives out ports in one order).
    let patient = ["-sS", "--retry", "3", "--retry-connrefused", "--retry-delay", "1", "--max-time", "20"];
    for url in [format!("http://{}/?[1-100]", CLIENT.v4), format!("http://\\[{}\\]/?[1-100]", CLIENT.v6)] {
        let curl =
            |host: &Host| command(host, "curl", &[&patient[..], &["-H", "Connection: close", &url]].concat());
        for (server, output) in on_all(&lab.servers, curl)? {
            let text = String::from_utf8_lossy(&output.stdout);
            let pages = text.lines().filter(|l| *l == "site").count();
            let errors = String::from_utf8_lossy(&output.stderr);
            ensure!(pages == 100, "{} fetched {pages} of 100 from {url}: {errors}", server.name);
            fetched += pages;
        }
    }
    let refused = lab.switch().drops("port-taken")?;
    ensure!(refused <= 6, "{refused} refused: ports that were free again were still taken");
    Ok(format!("{fetched} pages, {refused} ports taken twice and refused"))
}

fn same_port_tcp(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    site(lab)?;
    let mut slowest = Duration::ZERO;
    let mut refused = 0;
    for (vip, client) in VIP.both().into_iter().zip(CLIENT.both()) {
        for port in 5000..5020 {
            let (from, to) = (SocketAddr::new(vip, port), SocketAddr::new(client, 80));
            let [first, second, _] = &lab.servers[..] else { bail!("three servers") };
            let mut kept = first.ns.enter(|| Connection::open(Some(from), to))?;
            kept.get("/").context("the first to take the port")?;
            let start = Instant::now();
            let answer = second.ns.enter(|| connect(Some(from), to, Duration::from_secs(3)));
            let time = start.elapsed();
            match answer {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => refused += 1,
                Err(error) => bail!("the second was not refused: {error}, after {time:?}"),
                Ok(_) => bail!("the second was let in"),
            }
            slowest = slowest.max(time);
            kept.get("/").context("the first, after the second was refused")?;
        }
    }
    // The first of each family may wait for the neighbour's MAC address.
    ensure!(slowest <= Duration::from_millis(10), "refused after {slowest:?}");
    await_drops(lab, "port-taken", refused)?;
    let second = mac_text(lab.servers[1].mac);
    let named =
        lab.switch().rows("alarms")?.iter().any(|row| row["kind"] == "port-taken" && row["mac"] == *second);
    ensure!(named, "no alarm names s2: {:?}", lab.switch().rows("alarms")?);
    Ok(format!("{refused} refused, within {:.1} ms", slowest.as_secs_f64() * 1e3))
}

fn same_port_udp(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let mut answers = 0;
    for (vip, client) in VIP.both().into_iter().zip(CLIENT.both()) {
        let peer = SocketAddr::new(client, 7777);
        let _echo = Echo::start(&lab.client, peer, "peer")?;
        let sockets: Vec<UdpSocket> = lab
            .servers
            .iter()
            .map(|server| {
                let socket = server.ns.enter(|| UdpSocket::bind((vip, 6000)))?;
                socket.set_read_timeout(Some(Duration::from_secs(2)))?;
                Ok(socket)
            })
            .collect::<Result<_>>()?;
        for turn in 0..30 {
            let socket = &sockets[turn % sockets.len()];
            let question = format!("question {turn}");
            socket.send_to(question.as_bytes(), peer)?;
            let mut answer = [0; 100];
            let (length, _) = socket
                .recv_from(&mut answer)
                .with_context(|| format!("turn {turn}: no answer to its asker"))?;
            ensure!(
                answer[..length] == *format!("peer {question}").as_bytes(),
                "turn {turn}: another's answer"
            );
            answers += 1;
        }
        for (socket, server) in sockets.iter().zip(&lab.servers) {
            socket.set_read_timeout(Some(QUIET))?;
            ensure!(socket.recv_from(&mut [0; 100]).is_err(), "{} got an answer twice", server.name);
        }
    }
    Ok(format!("{answers} answers to their askers"))
}

fn ping(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let mut answers = 0;
    for target in lab.routers[0].addresses[0].both() {
        let text = target.to_string();
        let ping = |host: &Host| command(host, "ping", &["-c", "50", "-i", "0.02", "-W", "3", &text]);
        for (server, output) in on_all(&lab.servers, ping)? {
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(text.contains("50 received"), "{}: {text}", server.name);
            ensure!(!text.contains("duplicates"), "{}: {text}", server.name);
            answers += 50;
        }
    }
    Ok(format!("{answers} answers"))
}
