//! Row a: requests are spread over the servers as the chooser says, and every one is answered.

use crate::SwitchConfig;
use crate::http::Connection;
use crate::lab::{Lab, Topology, VIP};
use crate::netns::Namespace;
use crate::runner::Scenario;
use crate::stats::{Random, chi_square_p};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "a",
        name: "600 requests by curl, in turn (FS-9 round robin)",
        needs: &["curl"],
        topology: Topology::default,
        story: |lab| in_turn(lab, &lab.config().chooser("round-robin"), &[1, 1, 1]),
    },
    Scenario {
        row: "a",
        name: "600 requests by curl, in turn, weights 3:2:1 (FS-9 weighted round robin)",
        needs: &["curl"],
        topology: Topology::default,
        story: |lab| {
            in_turn(lab, &lab.config().chooser("weighted-round-robin").weights(&[3, 2, 1]), &[3, 2, 1])
        },
    },
    Scenario {
        row: "a",
        name: "600 requests by curl, in turn, two workers (FS-9)",
        needs: &["curl"],
        topology: Topology::default,
        story: |lab| in_turn(lab, &lab.config().chooser("round-robin").workers(2), &[1, 1, 1]),
    },
    Scenario {
        row: "a",
        name: "6,000 flows by hash, equal weights (FS-9 Maglev)",
        needs: &[],
        topology: Topology::default,
        story: |lab| by_hash(lab, &lab.config().chooser("maglev"), &[1, 1, 1]),
    },
    Scenario {
        row: "a",
        name: "6,000 flows by hash, weights 3:2:1 (FS-9 Maglev)",
        needs: &[],
        topology: Topology::default,
        story: |lab| by_hash(lab, &lab.config().chooser("maglev").weights(&[3, 2, 1]), &[3, 2, 1]),
    },
    Scenario {
        row: "a",
        name: "6,000 clients by their address, two workers (FS-9 source affinity)",
        needs: &[],
        topology: Topology::default,
        story: |lab| by_hash(lab, &lab.config().chooser("source-affinity").workers(2), &[1, 1, 1]),
    },
    Scenario {
        row: "a",
        name: "requests over IPv6, in turn (FS-42)",
        needs: &["curl"],
        topology: Topology::default,
        story: |lab| {
            lab.start(&lab.config().chooser("round-robin"))?;
            let counts = fetch_by_curl(lab, VIP.v6.into(), 150)?;
            check_turns(&counts, &[1, 1, 1], 150, 1)
        },
    },
];

/// 600 real HTTP requests, each on a connection of its own.
fn in_turn(lab: &Lab, config: &SwitchConfig, weights: &[u64]) -> Result<String> {
    lab.start(config)?;
    let counts = fetch_by_curl(lab, VIP.v4.into(), 600)?;
    check_turns(&counts, weights, 600, u64::from(config.workers))
}

/// Who answered how many of the client's requests by curl.
pub(super) fn fetch_by_curl(lab: &Lab, vip: IpAddr, requests: u32) -> Result<BTreeMap<String, u64>> {
    fetch_by_curl_from(&lab.client, vip, requests)
}

/// The same from any host: each request on a connection of its own.
pub(super) fn fetch_by_curl_from(
    from: &Namespace,
    vip: IpAddr,
    requests: u32,
) -> Result<BTreeMap<String, u64>> {
    // curl counts through what is in brackets, so those of an address are escaped.
    let host = if vip.is_ipv6() { format!("\\[{vip}\\]") } else { vip.to_string() };
    let url = format!("http://{host}/?[1-{requests}]");
    let text =
        from.run("curl", &["-sS", "--fail-early", "--max-time", "20", "-H", "Connection: close", &url])?;
    let mut counts = BTreeMap::new();
    for name in text.lines() {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    Ok(counts)
}

/// Each worker takes its own turns, so each may be one off.
fn check_turns(
    counts: &BTreeMap<String, u64>,
    weights: &[u64],
    requests: u64,
    workers: u64,
) -> Result<String> {
    let answered: u64 = counts.values().sum();
    ensure!(answered == requests, "{answered} of {requests} requests answered: {counts:?}");
    let total: u64 = weights.iter().sum();
    for (n, weight) in (1..).zip(weights) {
        let count = counts.get(&format!("s{n}")).copied().unwrap_or_default();
        let due = requests * weight / total;
        ensure!(count.abs_diff(due) <= workers, "s{n} answered {count}, due {due} ± {workers}: {counts:?}");
    }
    Ok(figure(counts))
}

/// 6,000 requests, each from another address and port, the same in every run.
fn by_hash(lab: &Lab, config: &SwitchConfig, weights: &[u64]) -> Result<String> {
    const FLOWS: usize = 6_000;
    const THREADS: usize = 4;
    lab.start(config)?;
    let mut random = Random::new(20_240_607);
    let mut clients: Vec<SocketAddr> = Vec::with_capacity(FLOWS);
    for n in 0..FLOWS {
        // 10.2.1.0 and up: each address once, so that choosers by address see 6,000 clients too.
        let [.., high, low] = u32::try_from(256 + n)?.to_be_bytes();
        let port = 1024 + u16::try_from(random.below(60_000))?;
        clients.push((Ipv4Addr::new(10, 2, high, low), port).into());
    }
    let to: SocketAddr = (VIP.v4, 80).into();
    let answers: Vec<Result<Vec<String>>> = lab.client.enter(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = clients
                .chunks(FLOWS.div_ceil(THREADS))
                .map(|part| {
                    scope.spawn(move || {
                        part.iter()
                            .map(|from| Ok(Connection::open(Some(*from), to)?.get("/")?.server))
                            .collect()
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
        })
    });
    let mut counts = BTreeMap::new();
    for answer in answers {
        for name in answer.context("a request was not answered")? {
            *counts.entry(name).or_insert(0_u64) += 1;
        }
    }
    let by_server: Vec<u64> =
        (1..=weights.len()).map(|n| counts.get(&format!("s{n}")).copied().unwrap_or_default()).collect();
    let p = chi_square_p(&by_server, weights);
    ensure!(p > 0.001, "χ² p = {p:.6}: {counts:?}");
    Ok(format!("{}, p = {p:.3}", figure(&counts)))
}

fn figure(counts: &BTreeMap<String, u64>) -> String {
    counts.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
