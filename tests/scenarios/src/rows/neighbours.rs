//! Row c: whoever asks for the VIP gets one answer, the VMAC.

use super::kit::{QUIET, SOON, Servers, answer_for, ask_mac, command, on_all};
use crate::frame::{self, BROADCAST, mac_text};
use crate::lab::{Host, Lab, Topology, VIP};
use crate::raw::Tap;
use crate::runner::Scenario;
use crate::wait;
use anyhow::{Result, bail, ensure};
use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "c",
        name: "2,000 questions for the VIP by raw socket, ARP and ND, broadcast and unicast (FS-2)",
        needs: &[],
        topology,
        story: raw_questions,
    },
    Scenario {
        row: "c",
        name: "20 questions by arping and 20 by ndisc6 from both routers (FS-2)",
        needs: &["arping", "ndisc6"],
        topology,
        story: by_program,
    },
    Scenario {
        row: "c",
        name: "the VIP is defended against a newcomer's duplicate check (FS-2)",
        needs: &["arping"],
        topology: || Topology { neighbours: 1, http: false, ..Topology::default() },
        story: defended,
    },
];

fn topology() -> Topology {
    Topology { http: false, ..Topology::default() }
}

fn raw_questions(lab: &Lab) -> Result<String> {
    const EACH: u32 = 250;
    // The switch itself asks servers too (FS-30), here in names that nobody else has.
    let own: [IpAddr; 2] = [Ipv4Addr::new(10, 80, 0, 253).into(), "fd00:80::fd".parse()?];
    let mut config = lab.config();
    for cluster in &mut config.clusters {
        cluster.more.push(format!("probe_address = \"{}\"", own[usize::from(cluster.vip.is_ipv6())]));
    }
    lab.start(&config)?;
    let servers = Servers::watch(lab)?;
    let mut times = Vec::new();
    for router in &lab.routers {
        let tap = lab.tap(router)?;
        for vip in VIP.both() {
            let vmac = ask_mac(&tap, router, vip, None)?;
            for to in [None, Some(vmac)] {
                let question = question(router, vip, to);
                // 8 times 250 in 10 s, well below the 1,000 a second that one asker may ask (A1).
                wait::paced(EACH, Duration::from_millis(1250), |_| {
                    times.push(one_answer(&tap, &question, vip, vmac, router)?);
                    Ok(())
                })?;
            }
            let more = tap.gather(QUIET, |f| answer_for(f, vip).is_some());
            ensure!(more.is_empty(), "{} answers too many for {vip} at {}", more.len(), router.name);
        }
    }
    let at_servers = servers.pending(|f| {
        frame::parse_arp(f).is_some_and(|(_, _, sender, _, target)| target == VIP.v4 && sender != own[0])
            || frame::parse_discovery(f).is_some_and(|d| d.target == VIP.v6 && d.source != own[1])
    });
    ensure!(at_servers.is_empty(), "{} questions reached servers", at_servers.len());
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    Ok(format!("{} answered once, p50 {:.2} ms, p99 {:.2} ms", times.len(), at(50), at(99)))
}

fn question(asker: &Host, vip: IpAddr, to: Option<frame::Mac>) -> Vec<u8> {
    let own = asker.addresses[0];
    match vip {
        IpAddr::V4(v4) => {
            frame::arp((to.unwrap_or(BROADCAST), asker.mac), 1, (asker.mac, own.v4), ([0; 6], v4))
        }
        IpAddr::V6(v6) => frame::neighbour_solicitation(to, (asker.mac, own.v6), v6),
    }
}

/// Sends a question, checks its answer to the byte, and says how long it took.
fn one_answer(tap: &Tap, question: &[u8], vip: IpAddr, vmac: frame::Mac, asker: &Host) -> Result<Duration> {
    let sent = Instant::now();
    tap.send(question)?;
    let answer = tap.find(&format!("an answer for {vip}"), SOON, |f| answer_for(f, vip).is_some())?;
    let time = sent.elapsed();
    let parts = frame::parts(&answer).expect("found by its parts");
    ensure!(
        parts.source == vmac && answer_for(&answer, vip) == Some(vmac) && parts.destination == asker.mac,
        "the answer for {vip} is not the VMAC {} from the VMAC: {}",
        mac_text(vmac),
        frame::hex(&answer)
    );
    if let Some((.., target_mac, target)) = frame::parse_arp(&answer) {
        ensure!(
            (target_mac, target) == (asker.mac, asker.addresses[0].v4),
            "answered to another: {}",
            frame::hex(&answer)
        );
    }
    if let Some(discovery) = frame::parse_discovery(&answer) {
        // Solicited and override are set, router is not.
        ensure!(discovery.flags == 0x60, "flags {:#x}", discovery.flags);
    }
    Ok(time)
}

fn by_program(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let vmacs: Vec<String> = VIP
        .both()
        .into_iter()
        .map(|vip| Ok(mac_text(ask_mac(&lab.tap(&lab.routers[0])?, &lab.routers[0], vip, None)?)))
        .collect::<Result<_>>()?;
    let mut answers = 0;
    // One question a second is as fast as arping goes: both routers ask at once.
    let vip = VIP.v4.to_string();
    let arping = |host: &Host| command(host, "arping", &["-c", "10", "-I", "eth0", &vip]);
    for (router, output) in on_all(&lab.routers, arping)? {
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains("Received 10 response(s)"), "arping on {}: {text}", router.name);
        for line in text.lines().filter(|l| l.contains("reply from")) {
            ensure!(line.to_lowercase().contains(&vmacs[0]), "not the VMAC {}: {line}", vmacs[0]);
            answers += 1;
        }
    }
    for router in lab.routers.iter().cycle().take(20) {
        let text =
            router.ns.run("ndisc6", &["-q", "-m", "-r", "1", "-w", "60", &VIP.v6.to_string(), "eth0"])?;
        let got: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
        ensure!(got == [vmacs[1].clone()], "ndisc6 on {}: {text:?}, the VMAC is {}", router.name, vmacs[1]);
        answers += 1;
    }
    Ok(format!("{answers} answers"))
}

/// A host that comes new and would take the VIP for itself is told that it is taken.
fn defended(lab: &Lab) -> Result<String> {
    lab.start(&lab.config())?;
    let newcomer = &lab.neighbours[0];
    let check = newcomer.ns.run("arping", &["-D", "-c", "2", "-w", "3", "-I", "eth0", &VIP.v4.to_string()]);
    if check.is_ok() {
        bail!("arping -D found the address free");
    }
    newcomer.ns.sysctl(&[("ipv6/conf/eth0/accept_dad", "1"), ("ipv6/conf/eth0/dad_transmits", "1")])?;
    newcomer.ns.ip(&format!("addr add {}/64 dev eth0\n", VIP.v6))?;
    wait::until("the newcomer sees that fd00:80::100 is taken", Duration::from_secs(5), || {
        newcomer
            .ns
            .run("ip", &["-6", "addr", "show", "dev", "eth0", "dadfailed"])
            .ok()
            .filter(|t| t.contains("::100/"))
    })?;
    Ok("ARP and ND".into())
}
