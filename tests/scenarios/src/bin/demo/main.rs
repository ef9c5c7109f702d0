//! `make demo`: real HTTP requests through the switch, from nothing and back to nothing.

mod failures;

use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use tests_scenarios::http::Connection;
use tests_scenarios::lab::{Host, VIP};
use tests_scenarios::raw::Tap;
use tests_scenarios::{Lab, Topology, cleanup, frame, runner, wait};

const USAGE: &str = "\
Shows HTTP going through the switch: builds a network of namespaces, starts the switch in the midst of
it, sends a few hundred requests by curl, shows who answered them and what the switch changed in a
frame, kills a server and a router while requests go on, and takes everything down again. Needs root, Linux and the built programs; `make demo` takes
care of all but the root.";

const REQUESTS: u32 = 300;

fn main() -> ExitCode {
    if let Some(word) = std::env::args().nth(1) {
        println!("{USAGE}");
        return if word == "--help" || word == "-h" { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    if let Some(reason) = runner::machine_lacks()
        .or_else(|| (!runner::have("curl")).then(|| "curl is not installed".to_owned()))
    {
        eprintln!("The demo cannot run: {reason}.");
        return ExitCode::from(2);
    }
    cleanup::on_interrupt();
    cleanup::sweep();
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("The demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<()> {
    let start = Instant::now();
    println!(
        "
   client ──┬── r1 ──┬── switch ──┬── s1   {vip}
            └── r2 ──┘            ├── s2   {vip}
                                  └── s3   {vip}   (the same address on all three)
",
        vip = VIP.v4
    );

    step(start, "client, two routers, three servers with nginx: namespaces and cables");
    let lab = Lab::build(&Topology { gateway: true, ..Topology::default() })?;
    step(start, "the switch: flowswitchd run, ports by AF_XDP on ordinary interfaces");
    lab.start(&lab.config().only_v4().checked(100, 2).routers_checked())?;
    let result = traffic(&lab, start).and_then(|()| failures::tell(&lab, start));
    if result.is_err() {
        eprintln!("{}", lab.switch().log_tail());
    }
    step(start, "take everything down");
    lab.stop()?;
    drop(lab);
    result?;
    step(start, "nothing is left behind");
    Ok(())
}

fn traffic(lab: &Lab, start: Instant) -> Result<()> {
    step(
        start,
        &format!("{REQUESTS} requests by curl to http://{}/, each on a connection of its own", VIP.v4),
    );
    let url = format!("http://{}/?[1-{REQUESTS}]", VIP.v4);
    let answers = lab.client.run("curl", &["-sS", "--max-time", "20", "-H", "Connection: close", &url])?;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in answers.lines() {
        *counts.entry(name).or_default() += 1;
    }
    let most = counts.values().copied().max().unwrap_or(1);
    println!();
    for (name, count) in &counts {
        println!("   {name}  {count:>4}  {}", "█".repeat(count * 40 / most));
    }
    println!();
    let answered: usize = counts.values().sum();
    ensure!(answered == usize::try_from(REQUESTS)?, "{answered} of {REQUESTS} requests were answered");

    step(start, "one request's first frame, before and behind the switch");
    before_and_after(lab)?;

    step(start, "flowctl show servers");
    // Figures are told once a second: this waits for those of the last request.
    wait::until("the figures of the last request", Duration::from_secs(5), || {
        let rows = lab.switch().rows("servers").ok()?;
        let bound: u64 = rows.iter().filter_map(|row| row["flows_new"].as_u64()).sum();
        (bound > u64::from(REQUESTS)).then_some(())
    })?;
    println!();
    for line in lab.switch().flowctl(&["show", "servers"])?.lines() {
        println!("   {line}");
    }
    println!();
    Ok(())
}

/// A request's frame as a router sent it and as a server received it.
fn before_and_after(lab: &Lab) -> Result<()> {
    const SHOWN: usize = 34;
    let near = lab.routers.iter().map(|h| Ok((h, lab.tap(h)?.with_own()))).collect::<Result<Vec<_>>>()?;
    let far = lab.servers.iter().map(|h| Ok((h, lab.tap(h)?))).collect::<Result<Vec<_>>>()?;
    lab.client.enter(|| Connection::open(None, (VIP.v4, 80).into())?.get("/"))?;
    let request = |f: &[u8]| f.windows(5).any(|w| w == b"GET /");
    let (router, before) = first(&near, request).context("no router sent the request")?;
    let (server, after) =
        first(&far, |f| f.get(6..) == Some(&before[6..])).context("no server got the request")?;
    println!("\n            to the VMAC       from {}           IPv4 header", router.name);
    println!("   before   {}", frame::hex(&before[..SHOWN]));
    println!("   after    {}", frame::hex(&after[..SHOWN]));
    // By place, not by difference: some of the six may have had the right value before.
    println!("            {}", ["^^"; 6].join(" "));
    println!("            to {} now; the other {} bytes are the same\n", server.name, after.len() - 6);
    ensure!(after[..6] == server.mac, "the frame is not addressed to its server");
    Ok(())
}

/// The first frame that one of the taps has and that is wanted.
fn first<'a>(taps: &[(&'a Host, Tap)], wanted: impl Fn(&[u8]) -> bool) -> Option<(&'a Host, Vec<u8>)> {
    taps.iter().find_map(|(host, tap)| Some((*host, tap.pending(&wanted).into_iter().next()?)))
}

fn step(start: Instant, what: &str) {
    println!("{:>5.1} s  {what}", start.elapsed().as_secs_f64());
}
