//! P16: nothing that two workers share is written per packet.
//!
//! Two engines in two threads that have counters and tables in common, as workers have, against two that have
//! nothing in common. A line that both write goes to and fro between the cores and shows as a ratio above 1.

use crate::bed::{Bed, Kind, tables};
use crate::site::Site;
use crate::tools::{Context, pin, ticks_per_ns};
use anyhow::Result;
use dataplane_engine::{Counters, MEMBERS_MAX, Tables};
use dataplane_flow::{CLUSTERS_MAX, ClusterId, ROUTERS_MAX, RouterId, TARGETS_MAX, TargetId};
use dataplane_port::WorkerId;
use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use tests_bench::{Limits, Row};

const P16: Limits = Limits::at_most(1.10, 1.03, "x");
const NONE: Limits = Limits::at_most(0.0, 0.0, " lines");
const LINE: usize = 64;

pub(crate) fn rows(context: &Context) -> Result<Vec<Row>> {
    let mut rows =
        vec![lines(LINE, "cache lines"), lines(2 * LINE, "pairs of lines that are prefetched together")];
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        rows.push(Row::new("P16", "two workers", "x", &P16).not_measured("needs two cores"));
        return Ok(rows);
    }
    let (rounds, packets) = context.pick((3, 200_000), (11, 3_000_000));
    let flows = context.pick(1 << 12, 1 << 16);
    let site = Site::SMALL;
    let common: Arc<[Counters]> = (0..2).map(|_| Counters::default()).collect();
    let one: Arc<Tables> = Arc::new(tables(&site));
    let mut shared = Vec::new();
    let mut apart = Vec::new();
    for worker in 0..2 {
        let id = WorkerId(worker);
        // Alone as far as it knows: frames of the other one's flows are not sent to it.
        shared.push(Bed::with(&site, flows, (id, 1), Arc::clone(&common), Arc::clone(&one))?);
        let own: Arc<[Counters]> = (0..2).map(|_| Counters::default()).collect();
        apart.push(Bed::with(&site, flows, (id, 1), own, Arc::new(tables(&site)))?);
    }
    for bed in shared.iter_mut().chain(&mut apart) {
        bed.fill(0, flows as u32)?;
        bed.learn_homes(flows as u32);
    }
    for (kind, what) in [
        (Kind::Inbound, "hits from clients"),
        (Kind::Outbound, "hits from servers"),
        (Kind::New, "SYNs of new flows"),
    ] {
        let mut times = [Vec::new(), Vec::new()];
        for _ in 0..rounds {
            times[0].push(both(&mut shared, kind, flows as u32, packets));
            times[1].push(both(&mut apart, kind, flows as u32, packets));
        }
        let row = Row::new(
            "P16",
            format!("two workers with tables and counters in common, {what}"),
            "cycles/packet (TSC)",
            &P16,
        );
        rows.push(
            row.compared(&times[0], &times[1], "two with nothing in common", &P16)
                .note("engines alone, processor time, one process; see the device bench for whole workers"),
        );
    }
    Ok(rows)
}

/// Cycles a packet while both are at it.
fn both(beds: &mut [Bed], kind: Kind, flows: u32, packets: u64) -> f64 {
    let start = Barrier::new(beds.len());
    let all: Vec<f64> = std::thread::scope(|scope| {
        let threads: Vec<_> = beds
            .iter_mut()
            .enumerate()
            .map(|(core, bed)| {
                let start = &start;
                scope.spawn(move || {
                    pin(core);
                    start.wait();
                    bed.measure(kind, flows, packets, false)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("a bed does not panic")).collect()
    });
    all.iter().sum::<f64>() / all.len() as f64 * ticks_per_ns()
}

/// Parts of memory of `size` bytes in which two workers' counters lie. Drops by reason are out of sight here.
fn lines(size: usize, name: &str) -> Row {
    let counters: Arc<[Counters]> = (0..8).map(|_| Counters::default()).collect();
    let mut owners: BTreeSet<usize> = BTreeSet::new();
    let mut common = BTreeSet::new();
    for of in counters.iter() {
        let mut own = BTreeSet::new();
        for (from, to) in ranges(of) {
            own.extend(from / size..=(to - 1) / size);
        }
        common.extend(own.intersection(&owners).copied());
        owners.extend(own);
    }
    let row =
        Row::new("P16", format!("{name} that counters of two of 8 workers have in common"), "lines", &NONE);
    let mut row = row
        .measured(common.len() as f64, &NONE)
        .note("by address; drops by reason are not reached from outside");
    if size > LINE {
        // Processors that fetch lines in pairs pay a little for it; they do not all.
        row.must = "none".into();
        if row.ours > Some(0.0) {
            row.verdict = tests_bench::Verdict::Must;
        }
    }
    row
}

/// Where a worker's counters are.
fn ranges(of: &Counters) -> Vec<(usize, usize)> {
    let range = |from: usize, to: usize, len: usize| (from, to + len);
    let last = (TargetId(TARGETS_MAX as u16 - 1), ClusterId(CLUSTERS_MAX as u16 - 1));
    let member = |place: usize| of.member(place as u16).expect("members are counted");
    vec![
        span(of, of),
        range(address(of.target(TargetId(0))), address(of.target(last.0)), size_of_val(of.target(last.0))),
        range(
            address(of.cluster(ClusterId(0))),
            address(of.cluster(last.1)),
            size_of_val(of.cluster(last.1)),
        ),
        range(
            address(of.router(RouterId(0))),
            address(of.router(RouterId(ROUTERS_MAX as u16 - 1))),
            size_of_val(of.router(RouterId(0))),
        ),
        range(address(member(0)), address(member(MEMBERS_MAX - 1)), size_of_val(member(0))),
    ]
}

fn span<T>(first: &T, last: &T) -> (usize, usize) {
    (address(first), address(last) + size_of::<T>())
}

fn address<T>(of: &T) -> usize {
    core::ptr::from_ref(of).addr()
}
