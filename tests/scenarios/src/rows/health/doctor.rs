//! Row k: the doctor names what is set up wrong, and its fix.

use super::kit::config;
use super::past::second_way_out;
use crate::fault::nft;
use crate::fault::wall;
use crate::lab::{GATEWAY, Host, Lab, Topology, VIP};
use crate::load::{Load, Spec};
use crate::process::Process;
use crate::runner::Scenario;
use crate::switch::program;
use crate::wait;
use anyhow::{Context, Result, ensure};
use std::process::{Command, Stdio};
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-k",
    name: "the doctor: one server for each misconfiguration, each named with its fix",
    needs: &["nft", "ping"],
    topology: || Topology { servers: vec![vec![VIP]; 8], ..super::kit::topology() },
    story: doctor,
}];

/// What is done to a server, what kinds of finding name it, and a word of the fix.
struct Case {
    server: &'static str,
    kinds: &'static [&'static str],
    fix: &'static str,
}

const CASES: &[Case] = &[
    Case { server: "s1", kinds: &["vip-not-bound"], fix: "ip address add" },
    Case { server: "s2", kinds: &["wrong-mac"], fix: "mac" },
    Case { server: "s3", kinds: &["bypassed"], fix: "default route" },
    Case { server: "s4", kinds: &["not-listening"], fix: "start the program" },
    Case { server: "s5", kinds: &["mtu"], fix: "mtu" },
    Case { server: "s6", kinds: &["no-return", "bypassed"], fix: "default route" },
    Case { server: FILTERED, kinds: &["reverse-path-filter"], fix: "rp_filter=2" },
];

/// The server with a strict reverse-path filter.
const FILTERED: &str = "s7";

fn doctor(lab: &Lab) -> Result<String> {
    let [unbound, wrong_mac, _past, closed, small, elsewhere, filtered, _good] = &lab.servers[..] else {
        anyhow::bail!("eight servers")
    };
    forget_vip(lab, unbound)?;
    nft(
        &wrong_mac.ns,
        "table arp wrong {\nchain out { type filter hook output priority 0; policy accept;\n\
         arp operation reply arp saddr ether set 02:00:00:00:09:99\n}\n}\n",
    )?;
    second_way_out(lab, 2)?;
    lab.kill_programs(closed)?;
    small.ns.ip("link set eth0 mtu 1000\n")?;
    // Where probes come from is elsewhere too.
    second_way_out(lab, 5)?;
    elsewhere.ns.ip(&format!("route add {}/32 via 10.99.6.1 dev eth9\n", GATEWAY.v4))?;
    // Probes come from its own subnet and are answered; clients would be answered by eth9, so they are dropped.
    second_way_out(lab, 6)?;
    filtered.ns.sysctl(&[("ipv4/conf/eth0/rp_filter", "1")])?;

    lab.start(&config(lab))?;
    let spec = Spec {
        to: (VIP.v4, 80).into(),
        rate: 100,
        path: "/",
        clients: 16_000,
        patience: Duration::from_secs(10),
    };
    let load = Load::start(&lab.client, spec)?;
    let mut last = Vec::new();
    let all_named = wait::until("every misconfigured server named", Duration::from_secs(12), || {
        last = findings(lab).ok()?;
        CASES
            .iter()
            .all(|case| {
                last.iter().any(|(s, kind, _)| s == case.server && case.kinds.contains(&kind.as_str()))
            })
            .then_some(())
    });
    let mut wrong = Vec::new();
    for case in CASES {
        let about: Vec<_> = last.iter().filter(|(server, ..)| server == case.server).collect();
        let is_meant = |kind: &str| case.kinds.contains(&kind);
        if !about.iter().any(|(_, kind, fix)| is_meant(kind) && fix.contains(case.fix))
            || !about.iter().all(|(_, kind, _)| is_meant(kind))
        {
            wrong.push(format!("{}: {:?} expected, the doctor says {about:?}", case.server, case.kinds));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    all_named?;
    ensure!(!last.iter().any(|(server, ..)| server == "s8"), "the doctor names the good server: {last:?}");
    // Its checks are good and it has never served, so nothing but the operator takes it out (FS-31).
    lab.switch().flowctl(&["disable", FILTERED])?;
    // Nobody else is disturbed: once the broken ones are out, every request is answered.
    let from = wall();
    std::thread::sleep(Duration::from_secs(2));
    let requests: Vec<_> = load.stop().into_iter().filter(|r| r.opened >= from).collect();
    let failed = requests.iter().filter(|r| r.server().is_none()).count();
    ensure!(failed == 0, "{failed} of {} requests failed beside the misconfigured servers", requests.len());
    let said: Vec<String> = last.iter().map(|(server, kind, _)| format!("{server} {kind}")).collect();
    Ok(format!("{}; {} requests beside them, 0 failed", said.join(", "), requests.len()))
}

/// A server that has an address of its own and not the VIP, and is busy.
fn forget_vip(lab: &Lab, server: &Host) -> Result<()> {
    server.ns.ip(&format!(
        "addr del {}/24 dev eth0\naddr add 10.80.0.61/24 dev eth0\nroute replace default via {}\n",
        VIP.v4, GATEWAY.v4
    ))?;
    let mut ping = server.ns.command("ping");
    ping.args(["-i", "0.5", &lab.routers[0].addresses[0].v4.to_string()]);
    lab.keep(Process::start(ping.stdout(Stdio::null()).stderr(Stdio::null()))?);
    Ok(())
}

/// What the doctor finds: server, kind, fix.
pub(super) fn findings(lab: &Lab) -> Result<Vec<(String, String, String)>> {
    // It ends with 1 when it finds something.
    let output = Command::new(program("flowctl")?)
        .arg("--runtime-dir")
        .arg(&lab.switch().runtime)
        .args(["doctor", "--output", "json"])
        .output()?;
    let shown: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(|| {
        format!(
            "doctor: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let rows = shown["findings"].as_array().context("findings")?;
    let text = |row: &serde_json::Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| (text(row, "server"), text(row, "kind"), text(row, "fix"))).collect())
}
