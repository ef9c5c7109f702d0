//! Row f: a client on the servers' own segment, asked for by several servers at once.

use super::kit::{Servers, ask_mac, command, on_all};
use super::spread::fetch_by_curl_from;
use crate::frame::{self, mac_text};
use crate::lab::{Host, Lab, Topology, VIP};
use crate::runner::Scenario;
use anyhow::{Result, ensure};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "f",
    name: "a client on the servers' own segment (FS-2a)",
    needs: &["curl", "ping"],
    topology: || Topology { neighbours: 1, ..Topology::default() },
    story: neighbour,
}];

fn neighbour(lab: &Lab) -> Result<String> {
    const ROUNDS: usize = 20;
    lab.start(&lab.config().chooser("round-robin"))?;
    let client = &lab.neighbours[0];
    let (tap, servers) = (lab.tap(client)?, Servers::watch(lab)?);
    let vmacs: Vec<_> =
        VIP.both().into_iter().map(|vip| ask_mac(&tap, client, vip, None)).collect::<Result<_>>()?;
    let mut pings = 0;
    for round in 0..ROUNDS {
        let family = round % 2;
        let target = client.addresses[0].both()[family].to_string();
        for server in &lab.servers {
            server.ns.ip("neigh flush dev eth0\n")?;
        }
        // Every server asks who has the client's address, at once, in the name of the same VIP.
        let ping = |host: &Host| command(host, "ping", &["-c", "1", "-W", "3", &target]);
        for (server, output) in on_all(&lab.servers, ping)? {
            let text = String::from_utf8_lossy(&output.stdout);
            ensure!(output.status.success(), "round {round}: {} had no answer: {text}", server.name);
            pings += 1;
        }
        client.ns.ip("neigh flush dev eth0\n")?;
        let counts = fetch_by_curl_from(&client.ns, VIP.both()[family], 6)?;
        ensure!(counts.values().sum::<u64>() == 6, "round {round}: {counts:?}");
        let entry = client.ns.run("ip", &["neigh", "show", &VIP.both()[family].to_string()])?;
        ensure!(entry.contains(&mac_text(vmacs[family])), "round {round}: the client's entry is {entry}");
    }
    // At every moment: whatever it was told about the VIP was the VMAC.
    let mut told = Vec::new();
    let claims = tap.pending(|f| {
        let claim = match (frame::parse_arp(f), frame::parse_discovery(f)) {
            (Some((_, mac, sender, ..)), _) if sender == VIP.v4 => Some(mac),
            (_, Some(d)) if d.kind == 136 && d.target == VIP.v6 || d.kind == 135 && d.source == VIP.v6 => {
                d.link
            }
            _ => None,
        };
        let source = frame::parts(f).map(|p| p.source);
        told.extend(claim.into_iter().zip(source));
        claim.is_some()
    });
    ensure!(!told.is_empty(), "the client was never told about the VIP");
    for ((claim, source), frame) in told.iter().zip(&claims) {
        ensure!(vmacs.contains(claim) && claim == source, "told another MAC: {}", frame::hex(frame));
    }
    let heard = servers.pending(|f| frame::parse_arp(f).is_some_and(|(_, _, sender, ..)| sender == VIP.v4));
    ensure!(
        heard.is_empty(),
        "{} heard another server's question: {}",
        heard[0].0.name,
        frame::hex(&heard[0].1)
    );
    Ok(format!("{pings} answers to servers, {} requests, {} claims, all the VMAC", ROUNDS * 6, told.len()))
}
