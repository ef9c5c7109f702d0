//! P13: what a swap of the tables does to the packets.
//!
//! The real publisher, in a thread of its own, is told another weight of one server a thousand times, makes
//! tables anew and hands them over; the real worker goes on with its bursts meanwhile. On a machine that is
//! shared, a turn may be long because somebody else had the core, so each turn is also measured by the
//! thread's processor time.

use crate::site::{ACK, FRAME_LEN, Frame, OUTSIDE, SYN, Site, stamp_inbound, stamp_outbound, template};
use crate::switch;
use crate::tools::{Context, cpu_time, figure, percentile, pin, unpin};
use anyhow::{Result, ensure};
use dataplane_flow::Instant;
use dataplane_message::{Plan, ToDataPath};
use dataplane_port::memory::{MemoryPorts, Wire};
use dataplane_port::{BURST, PortId, WorkerId};
use dataplane_worker::{Publisher, Worker};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tests_bench::{Limits, Row};

const LOST: Limits = Limits::at_most(0.0, 0.0, " lost");
const STALL: Limits = Limits::at_most(1.0, 1.0, " burst");
const BUILD: Limits = Limits::at_most(20.0, 10.0, " ms");

/// Turns at the beginning that are not looked at.
const WARM: usize = 2000;

pub(crate) fn rows(context: &Context) -> Result<Vec<Row>> {
    let swaps = context.pick(50, 1000);
    let flows = context.pick(4096, 65_536);
    let site = Site::LARGE;
    let mut bench = Bench::new(&site, flows)?;
    context.say("  without swaps");
    let quiet = bench.run(0)?;
    context.say(&format!("  {swaps} swaps"));
    let busy = bench.run(swaps)?;
    let of = |times: &[u64], share: f64| percentile(times, share) as f64 / 1e3;
    let turn = of(&quiet.cpu, 0.5);
    let stall = |share: f64| (of(&busy.swap_cpu, share) - turn).max(0.0);
    let setup = "1,000 servers in 256 clusters, a turn is a burst of 32; MemoryPorts, one worker";
    let mut rows = vec![
        Row::new("P13", format!("packets lost while tables are swapped {} times", busy.swaps), "lost", &LOST)
            .measured(busy.lost as f64, &LOST)
            .note(format!("of {}; {setup}", busy.packets)),
        Row::new("P13", "a turn that takes new tables, beyond one that does not, median", "bursts", &STALL)
            .measured(stall(0.5) / turn, &STALL)
            .note(format!(
                "processor time; a turn {turn:.1} us; beyond it p50 {:.1} us, p90 {:.1} us, p99 {:.1} us, most {:.1} us",
                stall(0.5),
                stall(0.9),
                stall(0.99),
                stall(1.0)
            )),
    ];
    let mut longest =
        figure("P13", "longest gap between two bursts, tables swapped", of(&busy.wall, 1.0), "us");
    longest.peer = Some(of(&quiet.wall, 1.0));
    longest.peer_name = Some("ours without swaps".into());
    rows.push(longest.note(format!(
        "by the clock, with what others took of the core; p50 {:.1} / {:.1}, p99 {:.1} / {:.1}, p99.9 {:.1} / {:.1} us with / without",
        of(&busy.wall, 0.5), of(&quiet.wall, 0.5), of(&busy.wall, 0.99), of(&quiet.wall, 0.99),
        of(&busy.wall, 0.999), of(&quiet.wall, 0.999)
    )));
    let build =
        Row::new("P13", "tables made anew for one weight, 1,000 servers in 256 clusters", "ms", &BUILD);
    rows.push(
        build
            .measured(busy.build_ms, &BUILD)
            .note("off the data path: processor time of the publisher, mean"),
    );
    Ok(rows)
}

struct Bench {
    publisher: Publisher,
    worker: Worker<MemoryPorts>,
    wire: Wire,
    now: Instant,
    site: Site,
    flows: u32,
    frame: Frame,
    plan: Plan,
    epoch: u64,
}

struct Run {
    packets: u64,
    lost: u64,
    swaps: u64,
    /// Of each turn, sorted, in nanoseconds: from one burst's end to the next one's, and its processor time;
    /// and those that took tables.
    wall: Vec<u64>,
    cpu: Vec<u64>,
    swap_cpu: Vec<u64>,
    build_ms: f64,
}

impl Bench {
    fn new(site: &Site, flows: u32) -> Result<Self> {
        let ports = MemoryPorts::new(usize::from(site.ports()));
        let wire = ports.wire();
        wire.reserve(4 * BURST);
        let (publisher, worker, now) = switch::start(site, 2 * flows, ports)?;
        let frame = template(true, ACK, false);
        let plan = site.plan();
        let mut bench = Self { publisher, worker, wire, now, site: *site, flows, frame, plan, epoch: 1 };
        bench.learn();
        bench.fill()?;
        Ok(bench)
    }

    /// Shows the station that clients are behind.
    fn learn(&mut self) {
        let mut frame = template(true, SYN, false);
        stamp_inbound(&mut frame, 0, 0);
        self.wire.push(WorkerId(0), OUTSIDE, &frame[..FRAME_LEN as usize]);
        switch::settle(&mut self.publisher, &mut self.worker, &mut self.now);
        // Announcements, too.
        self.wire.drain_sent(|_| {});
    }

    /// Frame by frame, so that each can be answered by the server that it reached.
    fn fill(&mut self) -> Result<()> {
        for flow in 0..self.flows {
            let cluster = self.cluster(flow);
            let mut home = None;
            for (inbound, flags, data) in [
                (true, SYN, false),
                (false, SYN | ACK, false),
                (true, ACK, false),
                (true, ACK, true),
                (false, ACK, true),
            ] {
                let mut frame = template(inbound, flags, data);
                let port = if inbound {
                    stamp_inbound(&mut frame, flow, cluster);
                    OUTSIDE
                } else {
                    let (port, mac) = home.unwrap_or_default();
                    stamp_outbound(&mut frame, flow, cluster, mac);
                    port
                };
                self.wire.push(WorkerId(0), port, &frame[..FRAME_LEN as usize]);
                self.worker.turn(self.now);
                let sent = self.wire.take_sent();
                ensure!(sent.len() == 1, "a flow could not be made: {} frames came out", sent.len());
                home.get_or_insert((sent[0].0, [sent[0].1[4], sent[0].1[5]]));
            }
        }
        Ok(())
    }

    fn cluster(&self, flow: u32) -> u16 {
        (flow % u32::from(self.site.clusters)) as u16
    }

    /// Bursts until the tables have been swapped so often; without swaps, as many as take a while.
    fn run(&mut self, swaps: u64) -> Result<Run> {
        let (stop, swapped) = (AtomicBool::new(false), AtomicU64::new(0));
        let cluster = self.plan.clusters.len() / 2;
        let Self { publisher, worker, wire, now, frame, flows, site, plan, epoch } = self;
        let start = std::time::Instant::now();
        let base = *now;
        let clock = || Instant(base.0 + start.elapsed().as_nanos() as u64);
        std::thread::scope(|scope| {
            let (stop, swapped) = (&stop, &swapped);
            let swapper = scope.spawn(move || {
                pin(0);
                let mut busy = Duration::ZERO;
                for serial in 0..swaps {
                    let mut next = plan.clone();
                    next.clusters[cluster].services[0].members[0].weight = 5 + (serial % 5) as u16;
                    let steps = Plan::between(plan, &next);
                    *plan = next;
                    *epoch += 1;
                    let before = cpu_time();
                    publisher.handle_message(ToDataPath::Apply { epoch: *epoch, steps }, clock());
                    busy += cpu_time() - before;
                    // What the process does between two messages; and no faster than the worker takes them.
                    while swapped.load(Ordering::Relaxed) <= serial && !stop.load(Ordering::Relaxed) {
                        publisher.handle_deadline(clock());
                        while publisher.poll_message().is_some() {}
                        std::thread::sleep(Duration::from_micros(500));
                    }
                }
                stop.store(swaps > 0, Ordering::Relaxed);
                busy.as_secs_f64() * 1e3 / swaps.max(1) as f64
            });
            let mut run = Run {
                packets: 0,
                lost: 0,
                swaps: 0,
                wall: Vec::new(),
                cpu: Vec::new(),
                swap_cpu: Vec::new(),
                build_ms: 0.0,
            };
            let free = pin(1);
            let turns = if swaps == 0 { 200_000 } else { usize::MAX };
            let mut flow = 0;
            let mut before = worker.engine().counters().epoch.read();
            let mut last = std::time::Instant::now();
            for turn in 0..turns {
                for _ in 0..BURST {
                    stamp_inbound(frame, flow, (flow % u32::from(site.clusters)) as u16);
                    wire.push(WorkerId(0), OUTSIDE, &frame[..FRAME_LEN as usize]);
                    flow = (flow + 1) % *flows;
                }
                let cpu = cpu_time();
                worker.turn(clock());
                let cpu = (cpu_time() - cpu).as_nanos() as u64;
                let end = std::time::Instant::now();
                let mut forwarded = 0;
                wire.drain_sent(|sent| forwarded += u64::from(sent.port != PortId(0)));
                run.packets += BURST as u64;
                run.lost += (BURST as u64).saturating_sub(forwarded);
                let taken = worker.engine().counters().epoch.read();
                if turn > WARM {
                    run.wall.push((end - last).as_nanos() as u64);
                    if taken == before { &mut run.cpu } else { &mut run.swap_cpu }.push(cpu);
                }
                if taken != before {
                    run.swaps += 1;
                    swapped.fetch_add(1, Ordering::Relaxed);
                }
                (before, last) = (taken, end);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
            stop.store(true, Ordering::Relaxed);
            unpin(free);
            run.build_ms = swapper.join().expect("the publisher's thread does not panic");
            [&mut run.wall, &mut run.cpu, &mut run.swap_cpu]
                .into_iter()
                .for_each(|times| times.sort_unstable());
            *now = clock();
            Ok(run)
        })
    }
}
