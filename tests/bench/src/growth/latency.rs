//! Latency that the worker adds, by load.
//!
//! A tester in one thread sends frames at an even pace, each with its time, and takes them back; the real worker
//! turns in another. Between them are rings in memory, as between a card and a driver. The same with a worker
//! that sends everything back unread is what the way itself takes.

use crate::ring_ports::{Flying, RingPorts, Tester, cable};
use crate::site::{ACK, FRAME_LEN, Frame, OUTSIDE, SYN, Site, stamp_inbound, stamp_outbound, template};
use crate::switch;
use crate::tools::{Context, figure, percentile, pin, unpin};
use anyhow::{Result, ensure};
use dataplane_flow::Instant;
use dataplane_port::PortId;
use dataplane_worker::Worker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tests_bench::{Limits, Row};

const ROOM: usize = 1024;
const SAMPLES: usize = 2_000_000;
/// A tester that is so many frames late has lost the core; it goes on from now.
const LATE_MAX: u64 = 64;

pub(crate) fn rows(context: &Context) -> Result<Vec<Row>> {
    let flows = context.pick(4096, 65_536);
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        let any = Limits::at_most(0.0, 0.0, "");
        return Ok(vec![Row::new("latency", "under load", "us", &any).not_measured("needs two cores")]);
    }
    let (ports, mut tester) = cable(ROOM);
    let (mut publisher, mut worker, mut now) = switch::start(&Site::SMALL, 2 * flows, ports)?;
    let mut bytes = template(true, SYN, false);
    stamp_inbound(&mut bytes, 0, 0);
    let _ = tester.send.push(Flying { sent_ns: 0, port: OUTSIDE, len: FRAME_LEN as u16, bytes });
    switch::settle(&mut publisher, &mut worker, &mut now);
    fill(&mut worker, &mut tester, flows, now)?;
    let (mut echo, mut echo_tester) = cable(ROOM);
    let time = context.pick(Duration::from_millis(300), Duration::from_secs(2));
    let start = std::time::Instant::now();
    let clock = move || Instant(now.0 + start.elapsed().as_nanos() as u64);
    let mut engine = || worker.turn(clock());
    let mut plain = || echo.echo();
    let limit = run(&mut engine, &mut tester, flows, None, time)?.rate;
    let way = run(&mut plain, &mut echo_tester, flows, None, time)?.rate;
    let mut rows = vec![
        figure(
            "latency",
            "limit of the worker between two rings, 60 bytes, established flows",
            limit / 1e6,
            "Mpps",
        )
        .note(format!("{:.2} Mpps without an engine; the tester's own limit is in both", way / 1e6)),
    ];
    for load in [10_u32, 50, 90] {
        let rate = limit * f64::from(load) / 100.0;
        let with = run(&mut engine, &mut tester, flows, Some(rate), time)?;
        let without = run(&mut plain, &mut echo_tester, flows, Some(rate), time)?;
        let all = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (1.0, "max")];
        let us = |run: &Run, share: f64| percentile(&run.latencies, share) as f64 / 1e3;
        let text: Vec<String> = all
            .iter()
            .map(|(share, name)| format!("{name} {:.1} / {:.1}", us(&with, *share), us(&without, *share)))
            .collect();
        let note = format!(
            "with / without engine: {} us; {:.2} Mpps, {} of {} frames lost, {} pauses of the tester",
            text.join(", "),
            with.rate / 1e6,
            with.lost,
            with.lost + with.latencies.len() as u64,
            with.pauses
        );
        for (share, name) in [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")] {
            let mut row = figure(
                "latency",
                format!("latency at {load} % of the limit, {name}"),
                us(&with, share),
                "us",
            )
            .note(&note);
            row.peer = Some(us(&without, share));
            row.peer_name = Some("the same way without an engine".into());
            rows.push(row);
        }
    }
    Ok(rows)
}

fn fill(worker: &mut Worker<RingPorts>, tester: &mut Tester, flows: u32, now: Instant) -> Result<()> {
    while tester.receive.pop().is_ok() {}
    for flow in 0..flows {
        let mut home = None;
        for (inbound, flags, data) in [
            (true, SYN, false),
            (false, SYN | ACK, false),
            (true, ACK, false),
            (true, ACK, true),
            (false, ACK, true),
        ] {
            let mut bytes = template(inbound, flags, data);
            let port = if inbound {
                stamp_inbound(&mut bytes, flow, 0);
                OUTSIDE
            } else {
                let (port, mac): (PortId, [u8; 2]) = home.unwrap_or_default();
                stamp_outbound(&mut bytes, flow, 0, mac);
                port
            };
            let _ = tester.send.push(Flying { sent_ns: 0, port, len: FRAME_LEN as u16, bytes });
            worker.turn(now);
            let Ok(back) = tester.receive.pop() else { anyhow::bail!("a flow could not be made") };
            home.get_or_insert((back.port, [back.bytes[4], back.bytes[5]]));
        }
    }
    Ok(())
}

struct Run {
    /// Frames a second that came back.
    rate: f64,
    /// Sorted.
    latencies: Vec<u64>,
    lost: u64,
    pauses: u64,
}

/// `rate`: frames a second; `None`: as many as go.
fn run(
    turn: &mut (impl FnMut() -> usize + Send),
    tester: &mut Tester,
    flows: u32,
    rate: Option<f64>,
    time: Duration,
) -> Result<Run> {
    let stop = AtomicBool::new(false);
    let free = pin(0);
    let run = std::thread::scope(|scope| {
        let device = scope.spawn(|| {
            pin(1);
            while !stop.load(Ordering::Relaxed) {
                turn();
            }
            // What is under way comes back.
            for _ in 0..64 {
                turn();
            }
        });
        let run = drive(tester, flows, rate, time);
        stop.store(true, Ordering::Relaxed);
        ensure!(device.join().is_ok(), "the worker's thread has panicked");
        Ok(run)
    });
    while tester.receive.pop().is_ok() {}
    unpin(free);
    run
}

fn drive(tester: &mut Tester, flows: u32, rate: Option<f64>, time: Duration) -> Run {
    let template: Frame = template(true, ACK, false);
    let gap_ns = rate.map_or(0.0, |rate| 1e9 / rate);
    let start = std::time::Instant::now();
    let now_ns = || start.elapsed().as_nanos() as u64;
    let (warm_ns, end_ns) = (time.as_nanos() as u64 / 5, time.as_nanos() as u64);
    let mut latencies = Vec::with_capacity(SAMPLES);
    let (mut sent, mut back, mut flow, mut pauses, mut next_ns) = (0_u64, 0_u64, 0, 0, 0.0_f64);
    let (mut counted, mut counted_from) = (0_u64, None);
    loop {
        let now = now_ns();
        if now >= end_ns || latencies.len() == SAMPLES {
            break;
        }
        while let Ok(flying) = tester.receive.pop() {
            back += 1;
            if now >= warm_ns {
                counted_from.get_or_insert(now);
                counted += 1;
                if latencies.len() < SAMPLES && rate.is_some() {
                    latencies.push(now.saturating_sub(flying.sent_ns));
                }
            }
        }
        if rate.is_some() && (now as f64) < next_ns {
            continue;
        }
        if now as f64 > next_ns + gap_ns * LATE_MAX as f64 {
            pauses += u64::from(rate.is_some());
            next_ns = now as f64;
        }
        let due = if rate.is_some() { ((now as f64 - next_ns) / gap_ns) as u64 + 1 } else { 32 };
        for _ in 0..due {
            let mut bytes = template;
            stamp_inbound(&mut bytes, flow, 0);
            let flying = Flying { sent_ns: now, port: OUTSIDE, len: FRAME_LEN as u16, bytes };
            flow = if flow + 1 == flows { 0 } else { flow + 1 };
            next_ns += gap_ns;
            match tester.send.push(flying) {
                Ok(()) => sent += 1,
                Err(_) if rate.is_none() => break,
                // The ring is full: lost, as at a card.
                Err(_) => sent += 1,
            }
        }
    }
    let spent = now_ns().saturating_sub(counted_from.unwrap_or_default());
    // What is still under way is not lost: wait for it as long as it may take to come.
    let last = now_ns();
    while back < sent && now_ns() < last + 20_000_000 {
        back += u64::from(tester.receive.pop().is_ok());
    }
    latencies.sort_unstable();
    Run {
        rate: counted as f64 * 1e9 / spent.max(1) as f64,
        latencies,
        lost: sent.saturating_sub(back),
        pauses,
    }
}
