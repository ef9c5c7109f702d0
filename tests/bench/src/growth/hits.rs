//! P18, and what servers and clusters cost: nanoseconds of a packet that finds its flow.

use crate::bed::{Bed, Kind};
use crate::site::Site;
use crate::tools::{Context, available, figure, short, spread, ticks_per_ns};
use anyhow::Result;
use dataplane_flow::Shard;
use tests_bench::{Limits, Row, median};

const P18: Limits = Limits::at_most(1.8, 1.4, "x");
/// What the others are compared with.
const BASE: usize = 1 << 20;

const UNIT: &str = "cycles/packet (TSC)";

pub(crate) fn flows(context: &Context) -> Result<Vec<Row>> {
    let sizes: &[usize] =
        context.pick(&[1 << 10, 1 << 16], &[1 << 10, 1 << 16, 1 << 18, 1 << 22, 1 << 24, 1 << 26]);
    let base_flows = context.pick(1 << 18, BASE);
    let (rounds, packets) = context.pick((3, 200_000), (9, 4_000_000));
    let mut base = filled(context, &Site::SMALL, base_flows)?;
    let mut rows = Vec::new();
    for &size in sizes {
        let limits = if size == 1 << 26 { Some(P18) } else { None };
        let what = |how: &str| format!("hit, {} flows against {}, {how}", short(size), short(base_flows));
        let names = [what("each seen in this second"), what("by the clock, with ageing")];
        let needed = bytes(size)?;
        if needed > available().saturating_sub(1 << 30) {
            let why = format!("needs {} MiB, {} MiB are available", needed >> 20, available() >> 20);
            rows.extend(names.map(|name| {
                let mut row = Row::new("P18", name, UNIT, &limits.unwrap_or(P18)).not_measured(&why);
                if limits.is_none() {
                    (row.must, row.goal) = ("none".into(), "none".into());
                }
                row
            }));
            continue;
        }
        let mut bed = filled(context, &Site::SMALL, size)?;
        for (name, real) in names.into_iter().zip([false, true]) {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..rounds {
                times[0].push(bed.measure(Kind::Inbound, size as u32, packets, real) * ticks_per_ns());
                times[1].push(base.measure(Kind::Inbound, base_flows as u32, packets, real) * ticks_per_ns());
            }
            let bounds =
                limits.filter(|_| !real).unwrap_or(Limits::at_most(f64::INFINITY, f64::INFINITY, "x"));
            let peer = format!("ours with {} flows", short(base_flows));
            let mut row = Row::new("P18", name, UNIT, &bounds).compared(&times[0], &times[1], &peer, &bounds);
            context.say(&format!(
                "  {}: {:.1} and {:.1} cycles",
                row.what,
                median(&times[0]),
                median(&times[1])
            ));
            if limits.is_none() || real {
                (row.must, row.goal) = ("none".into(), "none".into());
            }
            rows.push(row.note(
                "engine alone, inbound, visited evenly out of order, the table as full as configured; stamping subtracted",
            ));
        }
    }
    Ok(rows)
}

pub(crate) fn servers(context: &Context) -> Result<Vec<Row>> {
    let site = |servers, clusters, server_ports| Site { servers, clusters, server_ports };
    let sites: &[Site] = &[
        site(1, 1, 1),
        site(64, 1, 8),
        site(1000, 1, 31),
        site(1000, 1, 1),
        site(64, 16, 8),
        site(256, 256, 31),
        Site::LARGE,
    ];
    let (rounds, packets) = context.pick((3, 100_000), (9, 2_000_000));
    let flows = context.pick(1 << 14, 1 << 16);
    let mut base = filled(context, &Site::SMALL, flows)?;
    base.learn_homes(flows as u32);
    let mut rows = Vec::new();
    for site in sites {
        let mut bed = filled(context, site, flows)?;
        bed.learn_homes(flows as u32);
        for kind in [Kind::Inbound, Kind::Outbound, Kind::New] {
            let mut times = [Vec::new(), Vec::new()];
            for _ in 0..rounds {
                times[0].push(bed.measure(kind, flows as u32, packets, false) * ticks_per_ns());
                times[1].push(base.measure(kind, flows as u32, packets, false) * ticks_per_ns());
            }
            let Site { servers, clusters, server_ports } = site;
            let what = format!(
                "{kind:?}, {servers} servers in {clusters} clusters behind {server_ports} ports, {} flows",
                short(flows)
            );
            let any = Limits::at_most(f64::INFINITY, f64::INFINITY, "x");
            let peer = "ours with 8 servers in 1 cluster behind 8 ports";
            let mut row = Row::new("servers", what, UNIT, &any).compared(&times[0], &times[1], peer, &any);
            (row.must, row.goal) = ("none".into(), "none".into());
            rows.push(row);
        }
    }
    // A packet that opens a flow, with more flows than that may be half-open: it takes another's place.
    let times: Vec<f64> = (0..rounds).map(|_| base.measure(Kind::New, flows as u32, packets, true)).collect();
    let row = figure(
        "P11",
        "new flows a second and core in a flood of SYNs, engine alone",
        1e9 / median(&times),
        "/s",
    );
    rows.push(
        spread(row, &times)
            .note("the column of ratios has nanoseconds a SYN; whole path: see the device bench"),
    );
    Ok(rows)
}

/// An engine whose table is as full as it was configured for.
fn filled(context: &Context, site: &Site, flows: usize) -> Result<Bed> {
    let mut bed = Bed::new(site, flows)?;
    let step = 1 << 22;
    for from in (0..flows).step_by(step) {
        if flows > step {
            context.say(&format!("  filling: {} of {} flows", short(from), short(flows)));
        }
        bed.fill(from as u32, flows.min(from + step) as u32)?;
    }
    Ok(bed)
}

/// What a shard takes, hot and cold halves: found on a small one.
fn bytes(flows: usize) -> Result<u64> {
    let shard = Shard::new(1 << 16)?;
    let places = shard.capacity() as f64 / f64::from(1 << 16);
    Ok((flows as f64 * places * 80.0) as u64)
}
