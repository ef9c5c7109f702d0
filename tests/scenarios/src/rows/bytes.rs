//! Row b: toward a server six bytes change, from a server none.

use super::kit::{QUIET, SOON, Servers, ask_mac};
use crate::frame::{self, flag, protocol};
use crate::lab::{CLIENT, Lab, Topology, VIP};
use crate::runner::Scenario;
use anyhow::{Context, Result, ensure};
use std::net::{IpAddr, SocketAddr};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "b",
        name: "frames to the VIP: bytes 6 and on are the same at the server (FS-6, FS-8)",
        needs: &[],
        topology,
        story: inbound,
    },
    Scenario {
        row: "b",
        name: "frames from a server: every byte is the same at the router (FS-11)",
        needs: &[],
        topology,
        story: outbound,
    },
    Scenario {
        row: "b",
        name: "the same in a VLAN, with tag and priority (FS-4, FS-5, FS-6, FS-11)",
        needs: &[],
        topology,
        story: in_vlan,
    },
];

fn topology() -> Topology {
    Topology { http: false, ..Topology::default() }
}

/// One packet of each kind from `client` to `vip`, or the other way round where `back` is set.
fn packets(client: IpAddr, vip: IpAddr, back: bool) -> Vec<(String, Vec<u8>)> {
    let (from, to) = if back { (vip, client) } else { (client, vip) };
    let (near, far) = if back { (80, 40_000) } else { (40_000, 80) };
    let (source, destination) = (SocketAddr::new(from, near), SocketAddr::new(to, far));
    let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut list: Vec<(&str, Vec<u8>)> = Vec::new();

    let opening = if back { flag::SYN | flag::ACK } else { flag::SYN };
    list.push(("TCP opening", frame::tcp(source, destination, opening, 1, u32::from(back), b"")));
    list.push(("TCP data", frame::tcp(source, destination, flag::ACK | flag::PSH, 2, 2, &[7; 1400])));
    list.push(("UDP", frame::udp(source, destination, b"question")));
    list.push(("echo", frame::echo(from, to, 4711, &[3; 56])));

    let spi = [0, 0, 0x12, 0x34, 0, 0, 0, 1];
    list.push(("ESP", frame::ip(from, to, protocol::ESP, &[&spi[..], &[0xe5; 120]].concat())));
    // Next header ESP, length 4 words, reserved; SPI, sequence number, check value.
    let ah = [&[50, 4, 0, 0][..], &spi, &[0xa4; 12], &[0xe5; 40]].concat();
    list.push(("AH", frame::ip(from, to, protocol::AH, &ah)));
    let [a, b] = near.to_be_bytes();
    let [c, d] = far.to_be_bytes();
    // Ports, tag, checksum, then an INIT chunk.
    let sctp = [&[a, b, c, d, 0, 0, 0, 0, 1, 2, 3, 4][..], &[1, 0, 0, 20], &[9; 16]].concat();
    list.push(("SCTP", frame::ip(from, to, protocol::SCTP, &sctp)));
    list.push(("GRE", frame::ip(from, to, protocol::GRE, &[&[0, 0, 8, 0][..], &[0x45; 60]].concat())));
    let inner = frame::echo(IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]), 1, &[1; 8]);
    list.push(("IP in IP", frame::ip(from, to, protocol::IPIP, &inner)));
    list.push(("protocol 253", frame::ip(from, to, 253, b"nobody knows what this is")));

    if let (IpAddr::V4(s), IpAddr::V4(d)) = (from, to) {
        let mut marked = frame::udp(source, destination, b"marked");
        // Expedited forwarding, and the last hop's TTL; the header's checksum is made anew.
        marked[1] = 0xb8;
        marked[8] = 1;
        marked[10..12].fill(0);
        let sum = frame::checksum(&marked[..20], 0);
        marked[10..12].copy_from_slice(&sum.to_be_bytes());
        list.push(("UDP, DSCP 46, TTL 1", marked));
        let mut silent = frame::udp_datagram(source, destination, b"no checksum");
        silent[6..8].fill(0);
        list.push(("UDP without checksum", frame::ipv4(s, d, protocol::UDP, 0, 9, &silent)));
        let mut padded = frame::udp(source, destination, b"x");
        padded.resize(46, 0xee);
        list.push(("UDP, padded", padded));
    } else {
        // Hop-by-hop options with a PadN, then UDP.
        let datagram = frame::udp_datagram(source, destination, b"behind options");
        let options = [&[protocol::UDP, 0, 1, 4, 0, 0, 0, 0][..], &datagram].concat();
        list.push(("UDP behind hop-by-hop options", frame::ip(from, to, 0, &options)));
    }
    list.into_iter().map(|(name, packet)| (format!("{family} {name}"), packet)).collect()
}

fn inbound(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let count = send_inbound(lab, None)?;
    Ok(format!("{count} frames, each at one server"))
}

fn outbound(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let count = send_outbound(lab, None)?;
    Ok(format!("{count} frames identical"))
}

/// VLAN 100 with its tag on every port; the routers' and servers' own traffic stays in VLAN 1.
fn in_vlan(lab: &Lab) -> Result<String> {
    let mut config = lab.config();
    config.ports.iter_mut().for_each(|p| p.tagged = vec![100]);
    config.clusters.iter_mut().for_each(|c| c.vlan = 100);
    lab.start(&config)?;
    let inbound = send_inbound(lab, Some(100))?;
    let outbound = send_outbound(lab, Some(100))?;
    Ok(format!("{inbound} frames in, {outbound} out, tag kept"))
}

/// A tag with priority 5.
fn in_tag(packet: Vec<u8>, vlan: Option<u16>) -> Vec<u8> {
    vlan.map_or(packet.clone(), |v| frame::tagged(packet, 5 << 13 | v))
}

fn send_inbound(lab: &Lab, vlan: Option<u16>) -> Result<usize> {
    let servers = Servers::watch(lab)?;
    let mut sent = Vec::new();
    for router in &lab.routers {
        let tap = lab.tap(router)?;
        for (vip, client) in VIP.both().into_iter().zip(CLIENT.both()) {
            let vmac = ask_mac(&tap, router, vip, vlan)?;
            for (name, packet) in packets(client, vip, false) {
                let frame = in_tag(frame::ethernet(vmac, router.mac, frame::ethertype(vip), &packet), vlan);
                tap.send(&frame)?;
                let (server, seen) = servers.first(&name, |f| f.get(6..) == Some(&frame[6..]))?;
                ensure!(seen[..6] == server.mac, "{name} came to {} as {}", server.name, frame::hex(&seen));
                sent.push((name, frame));
            }
        }
    }
    servers.gather(QUIET, |_| false);
    for (name, frame) in &sent {
        let copies = servers.copies(frame);
        ensure!(copies == 1, "{name} was delivered {copies} times");
    }
    Ok(sent.len())
}

fn send_outbound(lab: &Lab, vlan: Option<u16>) -> Result<usize> {
    let mut count = 0;
    for (server, router) in lab.servers.iter().zip(lab.routers.iter().cycle()) {
        let (near, far) = (lab.tap(server)?, lab.tap(router)?);
        // The switch has to know where the router is; in VLAN 100 the router has not spoken yet.
        ask_mac(&far, router, VIP.v4.into(), vlan)?;
        let mut sent = Vec::new();
        for (vip, client) in VIP.both().into_iter().zip(CLIENT.both()) {
            for (name, packet) in packets(client, vip, true) {
                let frame =
                    in_tag(frame::ethernet(router.mac, server.mac, frame::ethertype(vip), &packet), vlan);
                near.send(&frame)?;
                far.find(&format!("{name} of {}", server.name), SOON, |f| f == frame)
                    .with_context(|| frame::hex(&frame[..frame.len().min(64)]))?;
                sent.push(frame);
            }
        }
        let again = far.gather(QUIET, |f| sent.iter().any(|s| s == f));
        ensure!(again.is_empty(), "{} frames of {} came twice", again.len(), server.name);
        count += sent.len();
    }
    Ok(count)
}
