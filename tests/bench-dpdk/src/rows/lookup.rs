//! P5, P6: the flow table alone, against DPDK's and against itself one by one.

use super::{Session, fewer, flows_text};
use crate::meter::{self, Meter, Reading};
use crate::native::RteHash;
use crate::plan;
use crate::traffic::Order;
use anyhow::{Context, Result, anyhow, ensure};
use dataplane_flow::{
    ClusterId, Entry, FlowKey, HashKey, Instant, KeyKind, Shard, State, TargetId, Timeouts,
};
use dataplane_port::BURST;
use tests_bench::{Limits, Row};

const AGAINST_DPDK: Limits = Limits::at_most(0.85, 0.65, "x");
const BATCH: Limits = Limits::at_least(1.5, 1.8, "x");

pub(crate) fn rows(session: &mut Session) {
    if !session.wants_any(&["P5", "P6"]) {
        return;
    }
    for flows in [1 << 10, 1 << 20, 1 << 24] {
        let text = flows_text(flows);
        let p5 = Row::new(
            "P5",
            format!("flow look-up, {text} flows, batches of 32"),
            meter::unit(),
            &AGAINST_DPDK,
        );
        let p6 = Row::new("P6", format!("batch against one by one, {text} flows"), meter::unit(), &BATCH);
        let with_p6 = flows == 1 << 20 && session.wants("P6");
        if !session.wants("P5") && !with_p6 {
            continue;
        }
        if session.quick && flows > 1 << 20 {
            session.tell(&p5.not_measured("left out by --quick"));
            continue;
        }
        session.say(&format!("P5 P6: look-up, {text} flows"));
        let (p5, p6) = match measure(session, flows) {
            Err(error) => {
                let why = format!("{error:#}");
                (p5.not_measured(why.clone()), p6.not_measured(why))
            }
            Ok(rounds) => {
                let peer = "rte_hash_lookup_bulk_data, same process";
                let note = format!(
                    "the same flows, keys made in the loop by both (ours 24 bytes, its 16); {}",
                    rounds.fill
                );
                for (size, each) in &rounds.by_batch {
                    session.plot("burst", &format!("look-up alone, {text} flows"), f64::from(*size), *each);
                }
                let p6 = fewer(p6, &rounds.batch, &rounds.single, "our look-up one by one", &BATCH)
                    .note("the ratio is how much faster");
                (p5.compared(&rounds.batch, &rounds.peer, peer, &AGAINST_DPDK).note(note), p6)
            }
        };
        session.tell(&p5);
        if with_p6 {
            session.tell(&p6);
        }
    }
}

#[derive(Default)]
struct Rounds {
    batch: Vec<f64>,
    single: Vec<f64>,
    peer: Vec<f64>,
    /// (keys in a batch, cycles a key)
    by_batch: Vec<(u32, f64)>,
    fill: String,
}

/// The part of a key's third word that all flows share: port 80, cluster 0, TCP, IPv4.
const WORD2: u64 = 80 << 32 | 6 << 8;

fn key(id: u32) -> FlowKey {
    let client = u64::from(0xc612_0000 | id & 0xffff);
    let port = (id >> 16) as u16 | 1024;
    FlowKey::new(KeyKind::Flow, ClusterId(0), 6, false, [0, client], port, 80)
}

fn measure(session: &mut Session, flows: u32) -> Result<Rounds> {
    let ground = session.ground()?;
    let mut shard = Shard::new(flows as usize).map_err(|error| anyhow!("{error}"))?;
    shard.set_now(Instant::from_secs(1));
    let hash_key = HashKey::new(plan::table_seed());
    let timeouts: Box<Timeouts> = Box::new([[60; dataplane_flow::STATES]; dataplane_flow::CLUSTERS_MAX]);
    for id in 0..flows {
        let key = key(id);
        let entry = Entry::new(TargetId(id as u16 & 7), ClusterId(0), State::Established, Entry::ANSWERED, 0);
        shard.insert(key.hash(&hash_key), &key, entry, &timeouts, false).context("the table is full")?;
    }
    // Its main part; the provisional one is an eighth, and empty.
    let places = main_places(&shard, flows);
    let mut table = RteHash::filled("bench", places, flows, WORD2)?;
    let mut rounds = Rounds {
        fill: format!(
            "{flows} entries in {places} places of ours (transparent huge pages), in {} of its own, which are a power of two",
            places.next_power_of_two()
        ),
        ..Rounds::default()
    };
    let trial = reading(100_000, |packets| batch::<BURST>(&shard, &hash_key, flows, packets))?;
    let packets = ((trial.rate() * session.long.window.as_secs_f64()) as u64).next_multiple_of(32);
    for round in 0..=session.long.rounds {
        let (ours, back) = ground.on_lcore(0, move || {
            let readings = [
                reading(packets, |packets| batch::<BURST>(&shard, &hash_key, flows, packets)),
                reading(packets, |packets| table.look_up(packets, flows - 1, WORD2)),
                reading(packets, |packets| single(&shard, &hash_key, flows, packets)),
            ];
            (readings, (shard, table))
        })?;
        (shard, table) = back;
        let [ours, peer, single] = ours;
        // The first round warms up.
        if round > 0 {
            rounds.batch.push(ours?.each());
            rounds.peer.push(peer?.each());
            rounds.single.push(single?.each());
        }
    }
    let by = |size: u32, look_up: fn(&Shard, &HashKey, u32, u64) -> u64| -> Result<(u32, f64)> {
        Ok((size, reading(packets, |packets| look_up(&shard, &hash_key, flows, packets))?.each()))
    };
    rounds.by_batch =
        vec![by(4, batch::<4>)?, by(8, batch::<8>)?, by(16, batch::<16>)?, by(32, batch::<32>)?];
    Ok(rounds)
}

/// The places of the part that established flows are in.
fn main_places(shard: &Shard, flows: u32) -> u32 {
    // The provisional part is sized as the main one, for an eighth of the flows, at least 1,024.
    let all = shard.capacity() as u32;
    let provisional = Shard::new((flows as usize / 8).max(1024)).map_or(0, |small| small.capacity() as u32);
    let own = Shard::new(1024).map_or(0, |small| small.capacity() as u32);
    if provisional > own { all * 8 / 9 } else { all - own / 2 }
}

fn reading(packets: u64, look_up: impl FnOnce(u64) -> u64) -> Result<Reading> {
    let mut meter = Meter::new();
    meter.start();
    let found = look_up(packets);
    let reading = meter.stop(packets);
    ensure!(found == packets, "{found} of {packets} keys were found");
    Ok(reading)
}

/// As the engine does it: all hashes, all lines asked for, then all compared.
#[inline(never)]
fn batch<const N: usize>(shard: &Shard, hash_key: &HashKey, flows: u32, packets: u64) -> u64 {
    let mut order = Order::uniform(flows);
    let (mut found, mut sum) = (0, 0);
    for _ in 0..packets / N as u64 {
        let lines = shard.view();
        let mut hashes = [0; N];
        let mut firsts = [lines.first(0); N];
        for (hash, first) in hashes.iter_mut().zip(&mut firsts) {
            *hash = key(order.next()).hash(hash_key);
            *first = lines.first(*hash);
            first.prefetch();
        }
        let mut entries = [None; N];
        for ((entry, hash), first) in entries.iter_mut().zip(&hashes).zip(&firsts) {
            *entry = first.look(hash).map(|(_, entry)| entry);
            if entry.is_none() {
                lines.second(*hash).prefetch();
            }
        }
        for (entry, hash) in entries.iter().zip(&hashes) {
            if let Some(entry) = entry.or_else(|| shard.find(*hash).map(|slot| shard.entry(slot))) {
                found += 1;
                sum += u64::from(entry.target().0);
            }
        }
    }
    core::hint::black_box(sum);
    found
}

#[inline(never)]
fn single(shard: &Shard, hash_key: &HashKey, flows: u32, packets: u64) -> u64 {
    let mut order = Order::uniform(flows);
    let (mut found, mut sum) = (0, 0);
    for _ in 0..packets {
        if let Some(slot) = shard.find(key(order.next()).hash(hash_key)) {
            found += 1;
            sum += u64::from(shard.entry(slot).target().0);
        }
    }
    core::hint::black_box(sum);
    found
}
