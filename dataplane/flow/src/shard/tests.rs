use super::*;
use crate::{ClusterId, HashKey, KeyKind, STAMP_S};

const KEY: [u64; 2] = [3, 4];

fn timeouts() -> Vec<[u16; STATES]> {
    let mut of = [60; STATES];
    of[State::Established as usize] = 7440;
    of[State::SynSent as usize] = 5;
    vec![of; CLUSTERS_MAX]
}

fn key(n: u32) -> (u64, FlowKey) {
    let key = FlowKey::new(KeyKind::Flow, ClusterId(1), 6, false, [0, u64::from(n >> 16)], n as u16, 80);
    (key.hash(&HashKey::new(KEY)), key)
}

fn entry(state: State) -> Entry {
    Entry::new(TargetId(7), ClusterId(1), state, 0, 0)
}

fn put(shard: &mut Shard, n: u32, state: State) -> Option<Slot> {
    let (hash, key) = key(n);
    shard.insert(hash, &key, entry(state), &timeouts(), false)
}

#[test]
fn what_is_put_in_is_found_with_its_key_and_counted_open() {
    let mut shard = Shard::new(1000).unwrap();
    let slot = put(&mut shard, 5, State::Established).unwrap();
    let (hash, key) = key(5);
    assert_eq!(shard.find(hash), Some(slot));
    assert_eq!(shard.key(slot), key);
    assert_eq!(shard.open(TargetId(7)), 1);
    shard.set(slot, shard.entry(slot).in_state(State::Closed));
    assert_eq!(shard.open(TargetId(7)), 0);
    shard.remove(slot);
    assert_eq!((shard.find(hash), shard.used(), shard.open(TargetId(7))), (None, 0, 0));
}

#[test]
fn e1_a_million_handshakes_displace_no_established_flow() {
    let mut shard = Shard::new(1000).unwrap();
    let timeouts = timeouts();
    for n in 0..1000 {
        put(&mut shard, n, State::Established).unwrap();
    }
    for n in 1000..1_001_000 {
        let (hash, key) = key(n);
        shard.insert(hash, &key, entry(State::SynSent), &timeouts, false);
    }
    assert!((0..1000).all(|n| shard.find(key(n).0).is_some()));
    assert!(shard.used() <= shard.capacity());
}

#[test]
fn a_full_part_refuses_rather_than_losing_what_is_worth_as_much() {
    let mut shard = Shard::new(1000).unwrap();
    let mut kept = Vec::new();
    let mut refused = 0;
    for n in 0..shard.main.capacity() as u32 * 2 {
        match put(&mut shard, n, State::Established) {
            Some(_) => kept.push(n),
            None => refused += 1,
        }
    }
    assert!(refused > 0);
    assert!(kept.iter().all(|n| shard.find(key(*n).0).is_some()));
    // A minute later the idle ones yield (E4).
    shard.set_now(Instant::from_secs(61));
    assert!(put(&mut shard, 1_000_000, State::Established).is_some());
    // One-way UDP never displaces them.
    let there = |shard: &Shard| kept.iter().filter(|n| shard.find(key(**n).0).is_some()).count();
    let before = there(&shard);
    assert!((2_000_000..2_000_100).filter(|n| put(&mut shard, *n, State::UdpOneWay).is_none()).count() > 90);
    assert_eq!(there(&shard), before);
}

#[test]
fn a_load_of_0_8_is_reached_without_losing_an_entry() {
    let mut shard = Shard::new(200_000).unwrap();
    let wanted = shard.main.capacity() * 8 / 10;
    for n in 0..wanted as u32 {
        assert!(put(&mut shard, n, State::Established).is_some(), "refused at {n} of {wanted}");
    }
    assert_eq!(shard.evicted(), 0);
    assert!((0..wanted as u32).all(|n| shard.find(key(n).0).is_some()));
}

#[test]
fn promotion_moves_the_key_and_what_is_known() {
    let mut shard = Shard::new(1000).unwrap();
    let slot = put(&mut shard, 9, State::SynSent).unwrap();
    assert!(shard.is_provisional(slot));
    shard.set_expected_ack(slot, 0xdead_beef);
    shard.set(slot, shard.entry(slot).in_state(State::SynAck));
    assert_eq!(shard.expected_ack(slot), 0xdead_beef);
    let entry = shard.entry(slot).in_state(State::Established);
    let placed = shard.promote(slot, entry, &timeouts()).unwrap();
    assert!(!shard.is_provisional(placed));
    assert_eq!((shard.key(placed), shard.open(TargetId(7)), shard.used()), (key(9).1, 1, 1));
    assert_eq!(shard.find(key(9).0), Some(placed));
}

#[test]
fn the_whole_shard_is_swept_in_ten_seconds_of_idle_turns() {
    let mut shard = Shard::new(20_000).unwrap();
    for n in 0..10_000 {
        put(&mut shard, n, State::SynSent);
        put(&mut shard, 20_000 + n, State::Established).unwrap();
    }
    // Handshakes expire after 5 s; one sweep more for the last of them.
    for millis in (0..=16_000).step_by(10) {
        let now = Instant::from_millis(millis);
        shard.set_now(now);
        shard.age(now, &timeouts());
    }
    assert_eq!(shard.used(), 10_000);
    assert_eq!(shard.open(TargetId(7)), 10_000);
}

#[test]
fn an_expired_entry_is_known_as_one() {
    let mut shard = Shard::new(1000).unwrap();
    let slot = put(&mut shard, 1, State::SynSent).unwrap();
    shard.set_now(Instant::from_secs(5));
    assert!(!shard.is_expired(shard.entry(slot), &timeouts()));
    shard.set_now(Instant::from_secs(6));
    assert!(shard.is_expired(shard.entry(slot), &timeouts()));
}

/// Packets that leave no stamp must not let a flow run out, nor the binding that is stamped with it; and one without
/// packets is kept for no longer than that takes.
#[test]
fn a_flow_with_a_packet_now_and_then_does_not_run_out_for_want_of_stamps() {
    for (state, flags, outbound) in [
        (State::Established, Entry::ANSWERED, false),
        (State::Established, Entry::ANSWERED, true),
        (State::UdpBothWays, 0, true),
        (State::UdpOneWay, 0, false),
        (State::UdpOneWay, Entry::FROM_SERVER, true),
        (State::Ipsec, 0, false),
    ] {
        for gap in 1..=60 {
            let mut shard = Shard::new(1000).unwrap();
            let mut of = timeouts();
            of[1][state as usize] = 60;
            of[1][State::Affinity as usize] = 60;
            let (hash, key) = key(1);
            let flow = Entry::new(TargetId(7), ClusterId(1), state, flags, 0);
            let slot = shard.insert(hash, &key, flow, &of, false).unwrap();
            let mut binding = entry(State::Affinity);
            let mut stamps = 0;
            let mut second = 0;
            // The second of two packets leaves no stamp, mostly.
            for gap in [gap, u64::from(STAMP_S) - 1].into_iter().cycle().take(60) {
                second += gap;
                shard.set_now(Instant::from_secs(second));
                let flow = shard.entry(slot);
                assert!(!shard.is_expired(flow, &of), "{state:?} {outbound}: seen every {gap} s");
                assert!(!shard.is_expired(binding, &of), "{state:?}: bound, seen every {gap} s");
                if flow.is_due(shard.tick(), outbound) {
                    assert!(!flow.rests_at(shard.tick(), outbound));
                    shard.touch(slot, flow);
                    binding = binding.at(shard.tick());
                    stamps += 1;
                }
            }
            assert!(stamps <= second.div_ceil(u64::from(STAMP_S)) + 1, "{gap}: {stamps}");
            shard.set_now(Instant::from_secs(second + 60 + u64::from(STAMP_S)));
            assert!(shard.is_expired(shard.entry(slot), &of), "{state:?}");
        }
    }
}

#[test]
fn a_walk_shows_every_entry_once() {
    let mut shard = Shard::new(1000).unwrap();
    for n in 0..500 {
        put(&mut shard, n, State::Established).unwrap();
    }
    let mut seen = std::collections::HashSet::new();
    let mut from = Some(0);
    while let Some(line) = from {
        from = shard.walk(line, 7, |key, _, _, _| assert!(seen.insert(key)));
    }
    assert_eq!(seen.len(), 500);
}

#[test]
fn fs_33_open_flows_are_counted_exactly_through_eviction_promotion_moves_and_ageing() {
    let mut shard = Shard::new(200).unwrap();
    let timeouts = timeouts();
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % below
    };
    for step in 0..60_000_u64 {
        let now = Instant::from_millis(step * 20);
        shard.set_now(now);
        let (hash, key) = key(draw(5000) as u32);
        let state = State::ALL[draw(15) as usize + 1];
        let target = TargetId(draw(3) as u16);
        match (shard.find(hash), draw(6)) {
            (None, _) if state != State::None => {
                let entry = Entry::new(target, ClusterId(1), state, 0, 0);
                shard.insert(hash, &key, entry, &timeouts, draw(4) == 0);
            }
            (Some(slot), 0) => shard.remove(slot),
            (Some(slot), 1) => shard.set(slot, shard.entry(slot).to(target)),
            (Some(slot), 2) if !state.is_provisional() && state != State::None => {
                shard.promote(slot, shard.entry(slot).in_state(state), &timeouts);
            }
            _ => shard.age(now, &timeouts),
        }
        if step % 100 == 0 {
            let mut open = [0; 3];
            assert_eq!(
                shard.walk(0, usize::MAX / 2, |_, entry, _, _| {
                    open[entry.target().index()] += u32::from(entry.state().is_open());
                }),
                None
            );
            let counted = [0, 1, 2].map(|n| shard.open(TargetId(n)));
            assert_eq!(counted, open, "step {step}");
        }
    }
    assert!(shard.evicted() > 0, "there was no pressure");
}

#[test]
fn fs_10_the_servers_next_sequence_number_only_goes_on_and_wraps() {
    let mut shard = Shard::new(100).unwrap();
    let slot = put(&mut shard, 1, State::Established).unwrap();
    assert_eq!(shard.sequence(slot), None);
    for (next, known) in [(0_u32, 0_u32), (5, 5), (3, 5), (0x7fff_ffff, 0x7fff_ffff), (5, 0x7fff_ffff)] {
        shard.note_sequence(slot, next);
        assert_eq!(shard.sequence(slot), Some(known));
    }
    shard.note_sequence(slot, 0xffff_fff0);
    shard.note_sequence(slot, 8);
    shard.note_sequence(slot, 0xffff_fff8);
    assert_eq!(shard.sequence(slot), Some(8), "RFC 1982");
    // The words beside it are their own.
    shard.set_now(Instant::from_secs(70_000));
    shard.set_resets(slot, 2);
    shard.set_stamp(slot, u32::MAX);
    shard.set_attempts(slot, 7);
    shard.set_via(slot, 0xffff_ffff_ffff, 31);
    shard.set_expected_ack(slot, 9);
    shard.note_sequence(slot, 9);
    assert_eq!((shard.resets(slot), shard.sequence(slot)), ((2, (70_000 % 65_536) as u16), Some(9)));
    assert_eq!((shard.stamp(slot), shard.attempts(slot), shard.expected_ack(slot)), (u32::MAX, 7, 9));
    assert_eq!((shard.via(slot), shard.key(slot)), ((0xffff_ffff_ffff, 31), key(1).1));
}

/// What is in a second line is found though its first one says whether to go on; and once all are gone again,
/// no line leads anywhere.
#[test]
fn lines_lead_on_exactly_where_entries_are_elsewhere() {
    let mut shard = Shard::new(1000).unwrap();
    let mut random = 7_u64;
    let mut present = std::collections::BTreeSet::new();
    for round in 0..60_000 {
        random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        let n = (random >> 33) as u32 % 3000;
        let state = if random >> 20 & 1 == 0 { State::Established } else { State::SynSent };
        match shard.find(key(n).0) {
            Some(slot) if random >> 21 & 1 == 0 => {
                shard.remove(slot);
                present.remove(&n);
            }
            Some(slot) if shard.is_provisional(slot) => {
                shard.promote(slot, entry(State::Established), &timeouts());
            }
            Some(slot) => shard.set(slot, entry(State::HalfClosed)),
            None => {
                if put(&mut shard, n, state).is_some() {
                    present.insert(n);
                }
            }
        }
        if round % 500 == 0 {
            // Handshakes may have displaced one another.
            present.retain(|n| shard.find(key(*n).0).is_some());
            assert_eq!(present.len(), shard.used());
        }
    }
    present.retain(|n| shard.find(key(*n).0).is_some());
    assert!(present.len() > 800, "{}", present.len());
    let seconds = (0..3000).filter(|n| {
        let (hash, lines) = (key(*n).0, shard.view());
        lines.first(hash).look(&hash).is_none() && lines.second(hash).look(&hash).is_some()
    });
    assert!(seconds.count() > 20, "some are in their second lines");
    for n in present {
        let slot = shard.find(key(n).0).unwrap();
        shard.remove(slot);
    }
    let leads =
        |table: &Table| (0..table.lines()).any(|line| (0..4).any(|way| table.leads_on_from(line * 4 + way)));
    assert!(!leads(&shard.main) && !leads(&shard.provisional));
}

/// Whatever runs clients' addresses and ports come in, a table takes what it is made for. One multiplication leaves
/// something of a run's order: with few keys of a hundred, a run of addresses lies in some lines more often than in
/// others.
#[test]
fn runs_of_addresses_and_ports_fill_the_table_as_any_others_do() {
    type Flow = fn(u32) -> (u32, u16);
    let runs: [(&str, Flow); 4] = [
        ("addresses", |n| (0xc612_0000 + n, 0)),
        ("ports", |n| (0xc633_6407, 1024 + n as u16)),
        ("both", |n| (0x0a00_0000 + n / 64, 40_000 + (n % 64) as u16)),
        ("high bytes", |n| (0xc612_0000 + (n << 8 & 0xffff) + (n >> 8), 5000)),
    ];
    let mut refused = 0;
    for (name, flow) in runs {
        for seed in 0..40 {
            let key = HashKey::new([seed, 0]);
            let mut shard = Shard::new(1024).unwrap();
            let placed = (0..1024).filter(|n| {
                let (client, port) = flow(*n);
                let of = FlowKey::new(KeyKind::Flow, ClusterId(1), 6, false, [0, client.into()], port, 443);
                let established = entry(State::Established);
                shard.insert(of.hash(&key), &of, established, &timeouts(), false).is_some()
            });
            let placed = placed.count();
            assert!(placed >= 990, "{name}, key {seed}: {placed} of 1,024");
            refused += 1024 - placed;
        }
    }
    assert!(refused < 80, "{refused} of 163,840");
}
