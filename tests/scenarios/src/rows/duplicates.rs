//! Row d: every server carries the VIP and none ever hears of another.

use super::kit::{QUIET, Servers, command, on_all};
use crate::frame;
use crate::lab::{Host, Lab, Topology, VIP};
use crate::runner::Scenario;
use crate::wait;
use anyhow::{Result, ensure};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "d",
    name: "servers boot one after the other and check for duplicates (FS-3)",
    needs: &["arping", "ping"],
    topology: || Topology { address_check: true, boot_later: true, http: false, ..Topology::default() },
    story: boot,
}];

fn boot(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let servers = Servers::watch(lab)?;
    let mut checks = 0;
    for server in &lab.servers {
        // Announce the address as soon as it is there.
        server.ns.sysctl(&[("ipv4/conf/eth0/arp_notify", "1"), ("ipv6/conf/eth0/ndisc_notify", "1")])?;
        lab.address_server(server, true)?;
        address_is_good(server)?;
        checks += 1;
    }
    // With the nonce option (enhanced DAD, the default) above, and now without; then all at once.
    for server in &lab.servers {
        server.ns.sysctl(&[("ipv6/conf/eth0/enhanced_dad", "0"), ("ipv6/conf/all/enhanced_dad", "0")])?;
        check_again(server)?;
        checks += 1;
    }
    lab.servers.iter().try_for_each(start_check)?;
    for server in &lab.servers {
        address_is_good(server)?;
        checks += 1;
    }
    let vip = VIP.v4.to_string();
    let probe = |host: &Host| command(host, "arping", &["-D", "-c", "2", "-w", "3", "-I", "eth0", &vip]);
    for (server, output) in on_all(&lab.servers, probe)? {
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "arping -D on {} reports a duplicate: {text}", server.name);
        ensure!(!text.contains("reply from"), "arping -D on {} had an answer: {text}", server.name);
        checks += 1;
    }
    let announce = |host: &Host| command(host, "arping", &["-U", "-c", "2", "-i", "0.1", "-I", "eth0", &vip]);
    on_all(&lab.servers, announce)?;
    // They can all use what they have.
    let router = lab.routers[0].addresses[0].v4.to_string();
    let ping = |host: &Host| command(host, "ping", &["-c", "2", "-i", "0.1", "-W", "3", &router]);
    for (server, output) in on_all(&lab.servers, ping)? {
        ensure!(output.status.success(), "{} does not reach its router", server.name);
    }
    let mut heard = servers.gather(QUIET, names_vip_of_another);
    heard.retain(|(host, f)| !is_asked(lab, host, f));
    ensure!(
        heard.is_empty(),
        "{} heard of another's VIP, {} times, first: {}",
        heard[0].0.name,
        heard.len(),
        frame::hex(&heard[0].1)
    );
    Ok(format!("{checks} checks, no duplicate, nothing heard"))
}

/// Takes the IPv6 address away and gives it back, which makes the kernel check it again.
fn check_again(server: &Host) -> Result<()> {
    start_check(server)?;
    address_is_good(server)
}

fn start_check(server: &Host) -> Result<()> {
    server.ns.ip(&format!("addr del {}/64 dev eth0\naddr add {}/64 dev eth0\n", VIP.v6, VIP.v6))
}

/// Waits until the kernel has made up its mind.
fn address_is_good(server: &Host) -> Result<()> {
    let show = |flag| server.ns.run("ip", &["-6", "addr", "show", "dev", "eth0", flag]).unwrap_or_default();
    wait::until("the end of the IPv6 duplicate check", Duration::from_secs(10), || {
        (!show("tentative").contains("::100/") || show("dadfailed").contains("::100/")).then_some(())
    })?;
    ensure!(!show("dadfailed").contains("::100/"), "{} found its IPv6 VIP duplicated", server.name);
    ensure!(
        show("scope global").is_empty() || show("permanent").contains("::100/"),
        "{} lost its VIP",
        server.name
    );
    Ok(())
}

/// What no server may ever hear: somebody claims the VIP, or asks for it.
fn names_vip_of_another(f: &[u8]) -> bool {
    if let Some((opcode, _, sender, _, target)) = frame::parse_arp(f) {
        return sender == VIP.v4 || opcode == 1 && target == VIP.v4;
    }
    frame::parse_discovery(f).is_some_and(|d| d.target == VIP.v6 || d.source == VIP.v6)
}

/// The switch asks this server, and nobody else, whether it is there (FS-30): never in the VIP's own name, nor
/// in nobody's, as a newcomer would.
fn is_asked(lab: &Lab, host: &Host, f: &[u8]) -> bool {
    let router = lab.routers[0].addresses[0];
    let alone = frame::parts(f).is_some_and(|p| p.destination == host.mac);
    let arp = frame::parse_arp(f).is_some_and(|(opcode, _, sender, ..)| opcode == 1 && sender == router.v4);
    let link_local = |d: frame::Discovery| d.source.segments()[0] == 0xfe80;
    let nd = frame::parse_discovery(f).is_some_and(|d| d.kind == 135 && link_local(d));
    alone && (arp || nd)
}
