//! Listing flows as `flowctl show flows` does, and walking over a table as a transfer to another switch would.

use crate::memory::put;
use crate::site::{ACK, FRAME_LEN, OUTSIDE, SYN, Site, stamp_inbound, stamp_outbound, template};
use crate::switch;
use crate::tools::{Context, available, cpu_time, figure, millis, percentile, short, timed};
use anyhow::{Result, ensure};
use dataplane_flow::{CLUSTERS_MAX, Instant, STATES, Shard, State, TargetId};
use dataplane_message::{FlowFilter, ToControl, ToDataPath};
use dataplane_port::memory::MemoryPorts;
use dataplane_port::{PortId, WorkerId};
use dataplane_worker::{Publisher, Worker};
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tests_bench::{Limits, Row};

/// The publisher's clock in `flowswitch-dp` ticks as rarely as this while flows are listed.
const TICK: Duration = Duration::from_millis(1);
/// Of a worker, which goes on with its packets: a burst of 32 at 10 million a second.
const TURN: Limits = Limits::at_most(50.0, 20.0, " us");

pub(crate) fn rows(context: &Context) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &flows in context.pick(&[1 << 18][..], &[1 << 20, 1 << 24]) {
        if flows as u64 * 180 > available() {
            rows.push(Row::new("walk", "memory is short", "us", &TURN).not_measured("memory is short"));
            continue;
        }
        rows.extend(walk(flows)?);
    }
    rows.extend(list(context, context.pick(1 << 16, 1 << 20))?);
    Ok(rows)
}

/// All flows read, 64 lines at a time.
fn walk(flows: usize) -> Result<[Row; 2]> {
    let mut shard = Shard::new(flows)?;
    let timeouts = vec![[300_u16; STATES]; CLUSTERS_MAX];
    for n in 0..flows as u64 {
        put(&mut shard, n, TargetId(0), State::Established, &timeouts);
    }
    let mut calls = Vec::with_capacity(shard.lines() / 64 + 1);
    let (mut from, mut seen) = (Some(0), 0);
    let start = cpu_time();
    while let Some(line) = from {
        let (time, next) = timed(|| {
            shard.walk(line, 64, |key, entry, idle, age| {
                black_box((key, entry, idle, age));
                seen += 1;
            })
        });
        calls.push(time.as_nanos() as u64);
        from = next;
    }
    let spent = cpu_time() - start;
    ensure!(seen >= shard.used(), "the walk saw {seen} of {} flows", shard.used());
    calls.sort_unstable();
    let us = |share: f64| percentile(&calls, share) as f64 / 1e3;
    let whole = figure("walk", format!("all of {} flows read", short(flows)), millis(spent), "ms");
    let call = Row::new("walk", format!("99.9 % of calls for 64 lines, {} flows", short(flows)), "us", &TURN);
    Ok([
        whole.note(format!(
            "processor time; {:.1} M flows a second, hot and cold half, {} calls",
            seen as f64 / spent.as_secs_f64() / 1e6,
            calls.len()
        )),
        call.measured(us(0.999), &TURN).note(format!(
            "p50 {:.1}, p99 {:.1}, longest {:.1} us by the clock",
            us(0.5),
            us(0.99),
            us(1.0)
        )),
    ])
}

/// The whole way but the socket: worker and publisher in threads of their own, the latter ticking as the process does.
fn list(context: &Context, flows: u32) -> Result<Vec<Row>> {
    let site = Site::SMALL;
    let ports = MemoryPorts::new(usize::from(site.ports()));
    let wire = ports.wire();
    let (mut publisher, mut worker, mut now) = switch::start(&site, flows, ports)?;
    let mut frame = template(true, SYN, false);
    stamp_inbound(&mut frame, 0, 0);
    wire.push(WorkerId(0), OUTSIDE, &frame[..FRAME_LEN as usize]);
    switch::settle(&mut publisher, &mut worker, &mut now);
    wire.drain_sent(|_| {});
    context.say(&format!("  making {} flows", short(flows as usize)));
    for flow in 0..flows {
        let mut home = None;
        for (inbound, flags) in [(true, SYN), (false, SYN | ACK), (true, ACK)] {
            let mut frame = template(inbound, flags, false);
            let port = if inbound {
                stamp_inbound(&mut frame, flow, 0);
                OUTSIDE
            } else {
                let (port, mac): (PortId, [u8; 2]) = home.unwrap_or_default();
                stamp_outbound(&mut frame, flow, 0, mac);
                port
            };
            wire.push(WorkerId(0), port, &frame[..FRAME_LEN as usize]);
            worker.turn(now);
            wire.drain_sent(|sent| {
                home.get_or_insert((sent.port, [sent.bytes[4], sent.bytes[5]]));
            });
        }
    }
    let (taken, rows) = ask(&mut publisher, &mut worker, now)?;
    ensure!(rows >= flows as usize * 9 / 10, "{rows} rows of {flows} flows");
    Ok(vec![
        figure(
            "listing",
            format!("all of {} flows listed, to the socket", short(flows as usize)),
            taken.as_secs_f64(),
            "s",
        )
        .note(format!(
            "{:.0} flows a second; publisher ticking every {} ms",
            rows as f64 / taken.as_secs_f64(),
            TICK.as_millis()
        )),
    ])
}

fn ask(
    publisher: &mut Publisher,
    worker: &mut Worker<MemoryPorts>,
    now: Instant,
) -> Result<(Duration, usize)> {
    let stop = AtomicBool::new(false);
    let start = std::time::Instant::now();
    let clock = || Instant(now.0 + start.elapsed().as_nanos() as u64);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                worker.turn(clock());
            }
        });
        let filter = FlowFilter { limit: u32::MAX, ..FlowFilter::default() };
        publisher.handle_message(ToDataPath::ListFlows { query: 1, filter }, clock());
        let mut count = 0;
        let done = loop {
            publisher.handle_deadline(clock());
            let mut ended = false;
            while let Some(message) = publisher.poll_message() {
                if let ToControl::Flows { rows, last, .. } = message {
                    count += rows.len();
                    ended |= last;
                }
            }
            if ended {
                break true;
            }
            if start.elapsed() > Duration::from_secs(300) {
                break false;
            }
            std::thread::sleep(TICK);
        };
        stop.store(true, Ordering::Relaxed);
        ensure!(done, "the listing did not end in 300 s: {count} rows");
        Ok((start.elapsed(), count))
    })
}
