//! Row g: datagrams in pieces, in any order, reach one server whole.

use super::kit::{Servers, ask_mac};
use crate::echo::Echo;
use crate::frame::{self, IPV4, IPV6, Mac, protocol};
use crate::lab::{Lab, Topology, VIP};
use crate::runner::Scenario;
use crate::stats::Random;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "g",
        name: "4,000-byte datagrams as the kernel sends them (FS-20)",
        needs: &[],
        topology,
        story: by_kernel,
    },
    Scenario {
        row: "g",
        name: "fragments in order, reversed, and between those of other clients (FS-20)",
        needs: &[],
        topology,
        story: |lab| by_hand(lab, 1),
    },
    Scenario {
        row: "g",
        name: "the same with two workers (FS-20)",
        needs: &[],
        topology,
        story: |lab| by_hand(lab, 2),
    },
];

const SIZE: usize = 4000;

fn topology() -> Topology {
    Topology { http: false, ..Topology::default() }
}

fn echoes(lab: &Lab) -> Result<Vec<Echo>> {
    lab.servers
        .iter()
        .flat_map(|server| {
            VIP.both().map(|vip| Echo::start(&server.ns, SocketAddr::new(vip, 7), &server.name))
        })
        .collect()
}

fn by_kernel(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let _echoes = echoes(lab)?;
    let mut servers = BTreeSet::new();
    let mut answered = 0;
    for (number, client) in clients().enumerate() {
        let to = SocketAddr::new(vip_for(client), 7);
        let socket = bound(lab, client)?;
        let mut own = BTreeSet::new();
        for turn in 0..3 {
            let question = payload(number * 10 + turn);
            socket.send_to(&question, to)?;
            own.insert(answer(&socket, &question).with_context(|| format!("client {client}, turn {turn}"))?);
            answered += 1;
        }
        ensure!(own.len() == 1, "the flow of {client} was answered by {own:?}");
        servers.extend(own);
    }
    ensure!(servers.len() == 3, "only {servers:?} answered");
    Ok(format!("{answered} of {answered} answered"))
}

/// In which order the fragments of several datagrams leave.
#[derive(Clone, Copy, Debug)]
enum Order {
    Forward,
    Reversed,
    Interleaved,
    Shuffled,
}

fn by_hand(lab: &Lab, workers: u8) -> Result<String> {
    lab.start(&lab.config().workers(workers))?;
    let _echoes = echoes(lab)?;
    let router = &lab.routers[0];
    let tap = lab.tap(router)?;
    let _seen = Servers::watch(lab)?;
    let vmacs: Vec<Mac> =
        VIP.both().into_iter().map(|vip| ask_mac(&tap, router, vip, None)).collect::<Result<_>>()?;
    let mut random = Random::new(7);
    let mut answered = 0;
    for order in [Order::Forward, Order::Reversed, Order::Interleaved, Order::Shuffled] {
        let clients: Vec<SocketAddr> = clients().collect();
        // Five clients at a time, so that 10 ms are enough for their fragments on any machine.
        for (batch, group) in clients.chunks(5).enumerate() {
            let sockets: Vec<UdpSocket> = group.iter().map(|c| bound(lab, *c)).collect::<Result<_>>()?;
            let questions: Vec<Vec<u8>> = (0..group.len()).map(|n| payload(batch * 10 + n)).collect();
            let mut frames: Vec<Vec<Vec<u8>>> = group
                .iter()
                .zip(&questions)
                .map(|(client, question)| {
                    let vmac = vmacs[usize::from(client.is_ipv6())];
                    let id = u16::try_from(random.below(60_000)).unwrap_or_default();
                    fragments(vmac, router.mac, *client, question, id)
                })
                .collect();
            let sequence = match order {
                Order::Forward => frames.concat(),
                Order::Reversed => {
                    frames.iter_mut().for_each(|f| f.reverse());
                    frames.concat()
                }
                Order::Interleaved => (0..3).flat_map(|n| frames.iter().map(move |f| f[n].clone())).collect(),
                Order::Shuffled => {
                    let mut all = frames.concat();
                    for n in (1..all.len()).rev() {
                        let other = usize::try_from(random.below(n as u64 + 1))?;
                        all.swap(n, other);
                    }
                    all
                }
            };
            sequence.iter().try_for_each(|f| tap.send(f))?;
            for ((socket, question), client) in sockets.iter().zip(&questions).zip(group) {
                answer(socket, question).with_context(|| format!("{order:?}: {client}"))?;
                answered += 1;
            }
        }
    }
    Ok(format!("{answered} of {answered} answered"))
}

/// Forty clients of each family.
fn clients() -> impl Iterator<Item = SocketAddr> {
    let v4 = (0..20).map(|n| SocketAddr::new(Ipv4Addr::new(10, 2, 3, n + 1).into(), 3000 + u16::from(n)));
    let v6 =
        (0..20).map(|n| SocketAddr::new(Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 3, n + 1).into(), 3000 + n));
    v4.chain(v6)
}

fn vip_for(client: SocketAddr) -> IpAddr {
    VIP.both()[usize::from(client.is_ipv6())]
}

fn bound(lab: &Lab, client: SocketAddr) -> Result<UdpSocket> {
    let socket = lab.client.enter(|| UdpSocket::bind(client))?;
    socket.set_read_timeout(Some(Duration::from_secs(3)))?;
    Ok(socket)
}

fn payload(seed: usize) -> Vec<u8> {
    let mut random = Random::new(seed as u64);
    (0..SIZE / 8).flat_map(|_| random.number().to_le_bytes()).collect()
}

/// Takes the answer, checks it against the question, and says who gave it.
fn answer(socket: &UdpSocket, question: &[u8]) -> Result<String> {
    let mut bytes = vec![0; SIZE + 100];
    let (length, _) = socket.recv_from(&mut bytes).context("not answered")?;
    let (name, echoed) = bytes[..length].split_at(3);
    ensure!(echoed == question, "the answer is another's");
    Ok(String::from_utf8_lossy(name).trim().to_owned())
}

/// The three fragments of one datagram from `client`, as whole frames.
fn fragments(vmac: Mac, source: Mac, client: SocketAddr, question: &[u8], id: u16) -> Vec<Vec<u8>> {
    const PIECE: usize = 1448; // a multiple of 8 that fits with either header
    let to = SocketAddr::new(vip_for(client), 7);
    let datagram = frame::udp_datagram(client, to, question);
    let pieces: Vec<&[u8]> = datagram.chunks(PIECE).collect();
    let last = pieces.len() - 1;
    pieces
        .iter()
        .enumerate()
        .map(|(n, piece)| {
            let offset = u16::try_from(n * PIECE / 8).expect("below 8,192");
            match (client.ip(), to.ip()) {
                (IpAddr::V4(s), IpAddr::V4(d)) => {
                    let field = offset | if n == last { 0 } else { 0x2000 };
                    frame::ethernet(vmac, source, IPV4, &frame::ipv4(s, d, protocol::UDP, field, id, piece))
                }
                (IpAddr::V6(s), IpAddr::V6(d)) => {
                    let field = offset << 3 | u16::from(n != last);
                    let header =
                        [&[protocol::UDP, 0][..], &field.to_be_bytes(), &[0, 0], &id.to_be_bytes()].concat();
                    let body = [&header, *piece].concat();
                    frame::ethernet(vmac, source, IPV6, &frame::ipv6(s, d, protocol::FRAGMENT, &body))
                }
                _ => unreachable!("client and VIP are of one family"),
            }
        })
        .collect()
}
