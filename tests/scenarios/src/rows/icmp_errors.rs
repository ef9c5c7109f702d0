//! Row h: an ICMP error follows the flow that it quotes.

use super::kit::{QUIET, Servers, ask_mac, await_drops};
use crate::frame::{self, flag};
use crate::http::Connection;
use crate::lab::{CLIENT, Lab, Topology, VIP, VIP_B};
use crate::runner::Scenario;
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, SocketAddr};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "h",
        name: "\"fragmentation needed\" reaches the server of the quoted flow (FS-21)",
        needs: &[],
        topology: Topology::default,
        story: |lab| errors(lab, VIP.v4.into(), CLIENT.v4.into()),
    },
    Scenario {
        row: "h",
        name: "ICMPv6 \"packet too big\" reaches the server of the quoted flow (FS-21, FS-42)",
        needs: &[],
        topology: Topology::default,
        story: |lab| errors(lab, VIP.v6.into(), CLIENT.v6.into()),
    },
];

/// "The next link takes 1,300 bytes", about a packet from `quoted_source` to `to`.
fn too_big(router: IpAddr, vip: IpAddr, quoted_source: SocketAddr, to: SocketAddr, seq: u32) -> Vec<u8> {
    let quoted = frame::tcp(quoted_source, to, flag::ACK, seq, 1, &[0; 1400]);
    let quote = &quoted[..if vip.is_ipv4() { 28 } else { 48 }];
    let (kind, code) = if vip.is_ipv4() { (3, 4) } else { (2, 0) };
    frame::icmp(router, vip, kind, code, [0, 0, 0x05, 0x14], quote)
}

fn errors(lab: &Lab, vip: IpAddr, client: IpAddr) -> Result<String> {
    const FLOWS: u16 = 20;
    lab.start(&lab.config().chooser("round-robin"))?;
    let router = &lab.routers[0];
    let (tap, servers) = (lab.tap(router)?, Servers::watch(lab)?);
    let vmac = ask_mac(&tap, router, vip, None)?;
    let from: IpAddr = if vip.is_ipv4() {
        IpAddr::from([192, 0, 2, 7])
    } else {
        IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7])
    };
    let on_wire = |packet: &[u8]| frame::ethernet(vmac, router.mac, frame::ethertype(vip), packet);

    let mut flows = Vec::new();
    for port in 0..FLOWS {
        let own = SocketAddr::new(client, 20_000 + port);
        let mut connection = lab.client.enter(|| Connection::open(Some(own), SocketAddr::new(vip, 80)))?;
        let server = connection.get("/")?.server;
        flows.push((own, server, connection));
    }
    let seen = servers.gather(QUIET, |f| frame::parts(f).is_some_and(|p| contains(p.payload, client)));
    let mut sent = Vec::new();
    for (own, server, _) in &flows {
        // What the client has acknowledged is what the server sends next: a quote of it is genuine.
        let at_server = seen.iter().filter(|(host, _)| host.name == *server);
        let next = at_server.filter_map(|(_, f)| acknowledged(f, *own)).next_back().unwrap_or_default();
        ensure!(next != 0, "the flow of {own} was not seen at {server}");
        let frame = on_wire(&too_big(from, vip, SocketAddr::new(vip, 80), *own, next));
        tap.send(&frame)?;
        let (got, _) = servers.first("the ICMP error", |f| f.get(6..) == Some(&frame[6..]))?;
        ensure!(got.name == *server, "the error about {own} came to {}, the flow is at {server}", got.name);
        sent.push((frame, 1));
    }
    let learned = lab
        .servers
        .iter()
        .filter(|s| {
            s.ns.run("ip", &["route", "get", &client.to_string()]).is_ok_and(|t| t.contains("mtu 1300"))
        })
        .count();
    ensure!(
        learned == lab.servers.len(),
        "{learned} of {} servers took the smaller MTU on",
        lab.servers.len()
    );

    // Forged: about a packet that the VIP did not send. Dropped by name.
    let before = lab.switch().drops("icmp-quote")?;
    for (own, ..) in &flows {
        let stranger = SocketAddr::new(VIP_B.both()[usize::from(vip.is_ipv6())], 80);
        let frame = on_wire(&too_big(from, vip, stranger, *own, 1));
        tap.send(&frame)?;
        sent.push((frame, 0));
    }
    await_drops(lab, "icmp-quote", before + u64::from(FLOWS))?;
    // Forged: about a flow that there is not. By hash, to one server, and nothing is remembered.
    let flows_before = lab.switch().flows()?;
    for n in 0..FLOWS {
        let nobody = SocketAddr::new(client, 50_000 + n);
        let frame = on_wire(&too_big(from, vip, SocketAddr::new(vip, 80), nobody, 1));
        tap.send(&frame)?;
        servers.first("the forged error", |f| f.get(6..) == Some(&frame[6..]))?;
        sent.push((frame, 1));
    }
    servers.gather(QUIET, |_| false);
    for (frame, due) in &sent {
        let copies = servers.copies(frame);
        ensure!(copies == *due, "{copies} servers instead of {due} got {}", frame::hex(frame));
    }
    for flow in lab.switch().flows()? {
        ensure!(flows_before.contains(&flow), "a forged error left an entry: {flow:?}");
    }
    for (own, server, connection) in &mut flows {
        let now =
            connection.get("/page").with_context(|| format!("the flow of {own} after the errors"))?.server;
        ensure!(now == *server, "the flow of {own} moved from {server} to {now}");
    }
    Ok(format!("{FLOWS} errors to their flows' servers, {} forged without effect", 2 * FLOWS))
}

/// The acknowledgement number of a TCP segment from `client` to port 80.
fn acknowledged(frame: &[u8], client: SocketAddr) -> Option<u32> {
    let parts = frame::parts(frame)?;
    let header = if client.is_ipv4() { 20 } else { 40 };
    let segment = parts.payload.get(header..)?;
    let port = u16::from_be_bytes(segment.get(..2)?.try_into().ok()?);
    let to = u16::from_be_bytes(segment.get(2..4)?.try_into().ok()?);
    let ack = u32::from_be_bytes(segment.get(8..12)?.try_into().ok()?);
    (port == client.port() && to == 80 && contains(parts.payload, client.ip()) && ack != 0).then_some(ack)
}

/// The packet's header has `address` as its source.
fn contains(packet: &[u8], address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => packet.get(12..16) == Some(&v4.octets()),
        IpAddr::V6(v6) => packet.get(8..24) == Some(&v6.octets()),
    }
}
