//! P14: bytes per flow; and what it takes to start.

use crate::tools::{Context, available, faults, figure, huge_bytes, millis, short, timed};
use anyhow::Result;
use dataplane_flow::{CLUSTERS_MAX, ClusterId, Entry, FlowKey, KeyKind, STATES, Shard, State, TargetId};
use tests_bench::{Limits, Row};

const P14: Limits = Limits::at_most(32.0, 20.0, " bytes");
const NO_FAULTS: Limits = Limits::at_most(0.0, 0.0, "");
const LINE: usize = 64;

pub(crate) fn rows(context: &Context) -> Result<Vec<Row>> {
    let sizes: &[usize] = context.pick(&[1_000_000], &[65_536, 1_000_000, 4_194_304, 16_000_000, 64_000_000]);
    let mut rows = Vec::new();
    for &flows in sizes {
        let named = if flows % 1_000_000 == 0 { format!("{}M", flows / 1_000_000) } else { short(flows) };
        if flows as u64 * 180 > available() {
            let what = format!("hot bytes per flow, {named} flows");
            rows.push(Row::new("P14", what, "bytes", &P14).not_measured("memory is short"));
            continue;
        }
        let huge_before = huge_bytes();
        let (time, shard) = timed(|| Shard::new(flows));
        let mut shard = shard?;
        let huge = huge_bytes().saturating_sub(huge_before);
        let hot = shard.lines() * LINE;
        let all = hot + shard.capacity() * LINE;
        // An eighth beside the main part, for handshakes.
        let places = flows + (flows / 8).max(1024);
        let fill = fill(&mut shard, flows);
        let hot_row = Row::new("P14", format!("hot bytes per flow, {named} flows"), "bytes", &P14);
        let load = places as f64 / shard.capacity() as f64;
        rows.push(hot_row.measured(thousandths(hot as f64 / places as f64), &P14).note(format!(
            "load {load:.2}; {:.1} when the part for handshakes is laid on established flows; of {flows} flows that were put \
             in {} found no place, {} made another go; {:.0} ns each",
            hot as f64 / flows as f64,
            fill.refused,
            fill.evicted,
            fill.ns
        )));
        rows.push(
            figure(
                "P14",
                format!("bytes per flow with the cold half, {named} flows"),
                all as f64 / flows as f64,
                "bytes",
            )
            .note(format!("{} MiB in all", all >> 20)),
        );
        rows.push(figure("start", format!("table of {named} flows made ready"), millis(time), "ms").note(
            format!(
                "{:.1} GB/s; {:.0} % in huge pages",
                all as f64 / time.as_nanos() as f64,
                100.0 * huge as f64 / all as f64
            ),
        ));
        let row =
            Row::new("start", format!("page faults while {named} flows are made"), "faults", &NO_FAULTS);
        rows.push(row.measured(fill.faults as f64, &NO_FAULTS));
    }
    Ok(rows)
}

/// Lines are whole, so a table has up to one more than its flows need.
fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

struct Fill {
    refused: usize,
    evicted: u64,
    faults: i64,
    ns: f64,
}

/// Puts as many flows in as the shard was made for.
fn fill(shard: &mut Shard, flows: usize) -> Fill {
    let timeouts = vec![[300_u16; STATES]; CLUSTERS_MAX];
    let before = faults();
    let (time, refused) = timed(|| {
        (0..flows as u64).filter(|n| !put(shard, *n, TargetId(0), State::Established, &timeouts)).count()
    });
    Fill {
        refused,
        evicted: shard.evicted(),
        faults: faults() - before,
        ns: time.as_nanos() as f64 / flows as f64,
    }
}

/// Puts flow number `n` in, under a hash as even as the real one.
pub(crate) fn put(
    shard: &mut Shard,
    n: u64,
    target: TargetId,
    state: State,
    timeouts: &[[u16; STATES]],
) -> bool {
    let key = FlowKey::new(KeyKind::Flow, ClusterId(0), 6, false, [0, n & 0xffff_ffff], n as u16, 80);
    let entry = Entry::new(target, ClusterId(0), state, Entry::ANSWERED, 0);
    shard.insert(mix(n), &key, entry, timeouts, false).is_some()
}

/// SplitMix64.
fn mix(n: u64) -> u64 {
    let mut z = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}
