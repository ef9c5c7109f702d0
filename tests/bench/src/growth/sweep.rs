//! Ageing: what a turn spends on it at most, and how long a drained server's count takes to be exact.

use crate::memory::put;
use crate::tools::{Context, available, cpu_time, figure, percentile, short};
use anyhow::{Result, ensure};
use core::time::Duration;
use dataplane_flow::{CLUSTERS_MAX, Instant, STATES, Shard, State, TargetId, pause_max};
use tests_bench::{Limits, Row};

/// A burst of 32 packets at 10 million a second, which a sweep must not hold up for longer than that.
const STALL: Limits = Limits::at_most(50.0, 20.0, " us");
/// The table is looked through once in 7 s, stamps leave 3 s open, and counts are put every 10 ms.
const DRAIN: Limits = Limits::at_most(11.0, 10.1, " s");
const TIMEOUT_S: u64 = 60;
const DRAINED: TargetId = TargetId(7);

pub(crate) fn rows(context: &Context) -> Result<Vec<Row>> {
    let sizes: &[usize] = context.pick(&[1 << 18], &[1 << 20, 1 << 24]);
    let mut rows = Vec::new();
    for &flows in sizes {
        if flows as u64 * 180 > available() {
            rows.push(Row::new("ageing", "memory is short", "us", &STALL).not_measured("memory is short"));
            continue;
        }
        let named = short(flows);
        // As many lines a call as there may be, by calls that come late.
        let mut shard = filled(flows, flows)?;
        let quiet = sweep(&mut shard, 1_000_000_000, 20_000_000, 2);
        ensure!(shard.used() > 0, "flows have expired that should not");
        rows.extend(quiet.rows(&format!("nothing expires, {named} flows")));
        let expired = sweep(&mut shard, quiet.end_ns + 2 * TIMEOUT_S * 1_000_000_000, 20_000_000, 1);
        ensure!(shard.used() == 0, "{} flows have not expired that should", shard.used());
        rows.extend(expired.rows(&format!("everything expires, {named} flows")));
        // At work, and with the longest pauses that a worker makes.
        let pause = pause_max(flows as u32);
        for (step, name) in [(Duration::from_micros(10), "10 us".into()), (pause, format!("{pause:.1?}"))] {
            // Half full: a fuller table shortens the time-outs.
            let mut shard = filled(flows, flows / 2)?;
            let seconds = drain(&mut shard, step.as_nanos() as u64);
            let row = Row::new(
                "drain",
                format!(
                    "an idle server's flows counted out, {} of them in a table of {named}, a turn every {name}",
                    short(flows / 2)
                ),
                "s after their time-out",
                &DRAIN,
            );
            rows.push(
                row.measured(seconds, &DRAIN).note("virtual time; a flow that closes is counted out at once"),
            );
        }
    }
    Ok(rows)
}

fn timeouts() -> Vec<[u16; STATES]> {
    vec![[TIMEOUT_S as u16; STATES]; CLUSTERS_MAX]
}

fn filled(flows_max: usize, flows: usize) -> Result<Shard> {
    let mut shard = Shard::new(flows_max)?;
    let timeouts = timeouts();
    shard.set_now(Instant::from_secs(1));
    shard.age(Instant::from_secs(1), &timeouts);
    for n in 0..flows as u64 {
        put(&mut shard, n, DRAINED, State::Established, &timeouts);
    }
    Ok(shard)
}

struct Sweep {
    /// Of each call, sorted, in nanoseconds.
    calls: Vec<u64>,
    /// Processor time of a call in the mean.
    mean_ns: f64,
    /// The last call's time.
    end_ns: u64,
}

impl Sweep {
    fn rows(&self, what: &str) -> [Row; 2] {
        let us = |share: f64| percentile(&self.calls, share) as f64 / 1e3;
        let longest = Row::new("ageing", format!("99.9 % of calls, {what}"), "us", &STALL);
        [
            figure("ageing", format!("a call that looks at {} lines, {what}", Shard::AGED_MAX), self.mean_ns / 1e3, "us")
                .note("processor time in the mean"),
            longest.measured(us(0.999), &STALL).note(format!(
                "p50 {:.1} us, p99 {:.1} us, longest {:.1} us by the clock, with what others took of the core",
                us(0.5),
                us(0.99),
                us(1.0)
            )),
        ]
    }
}

/// Calls that are each so late that they look at as many lines as they may, over the table `times` times.
fn sweep(shard: &mut Shard, from_ns: u64, step_ns: u64, times: usize) -> Sweep {
    let timeouts = timeouts();
    let calls = shard.lines() * times / Shard::AGED_MAX + 1;
    let mut all = Vec::with_capacity(calls);
    let start_cpu = cpu_time();
    for call in 0..calls as u64 {
        // The clock of flows stands within its second but for the first call, or entries would expire.
        let now = Instant(from_ns + call * step_ns);
        shard.set_now(Instant(from_ns));
        let start = std::time::Instant::now();
        shard.age(now, &timeouts);
        all.push(start.elapsed().as_nanos() as u64);
    }
    let mean_ns = (cpu_time() - start_cpu).as_nanos() as f64 / calls as f64;
    all.sort_unstable();
    Sweep { calls: all, mean_ns, end_ns: from_ns + calls as u64 * step_ns }
}

/// Seconds from the time-out of the server's flows until none is counted, by the shard's own clock.
fn drain(shard: &mut Shard, step_ns: u64) -> f64 {
    let timeouts = timeouts();
    // In this second they have been idle for longer than they may. The sweep is in full swing by then.
    let due = (1 + TIMEOUT_S + 1) * 1_000_000_000;
    let mut now = due - 12_000_000_000;
    shard.set_now(Instant(now));
    while now < due + 1_000_000_000_000 {
        now += step_ns;
        shard.set_now(Instant(now));
        shard.age(Instant(now), &timeouts);
        if shard.open(DRAINED) == 0 {
            break;
        }
    }
    (now.saturating_sub(due)) as f64 / 1e9
}
