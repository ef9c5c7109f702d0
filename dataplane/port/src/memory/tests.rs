use super::*;
use crate::{DropReason, Flood, PuntReason, SlotId};

const P0: PortId = PortId(0);
const P1: PortId = PortId(1);
const P2: PortId = PortId(2);

/// 64 bytes: addresses, IPv4, and `mark` everywhere behind.
fn frame(mark: u8) -> Vec<u8> {
    let mut frame = vec![mark; 64];
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    frame
}

fn all(verdict: Verdict) -> Verdicts {
    [verdict; BURST].into()
}

fn set(ports: &[PortId]) -> PortSet {
    ports.iter().copied().collect()
}

fn dispatch(ports: &mut MemoryPorts, verdict: Verdict) -> Refused {
    let mut refused = Refused::default();
    ports.dispatch(&all(verdict), &mut refused);
    ports.flush(&mut refused);
    refused
}

#[test]
fn frames_go_through_in_order() {
    let mut ports = MemoryPorts::new(2);
    for mark in 0..40 {
        ports.push(P0, frame(mark));
    }
    let mut got = Vec::new();
    while ports.receive(P0) > 0 {
        dispatch(&mut ports, Verdict::Forward(P1));
        got.extend(ports.take_sent());
    }
    assert_eq!(got, (0..40).map(|mark| (P1, frame(mark))).collect::<Vec<_>>());
    assert_eq!(ports.buffers_in_use(), 0);
    assert_eq!(ports.wire().pending(), 0);
}

#[test]
fn a_burst_ends_at_its_bound_and_heads_say_what_came() {
    let mut ports = MemoryPorts::new(2);
    for mark in 0..40 {
        ports.push(P1, frame(mark));
    }
    assert_eq!(ports.receive(P0), 0);
    assert_eq!(ports.receive(P1), BURST);
    assert_eq!(ports.buffers_in_use(), BURST);
    let mut heads = core::array::from_fn(|_| Head::default());
    assert_eq!(ports.heads(&mut heads), BURST);
    assert_eq!((heads[3].len, heads[3].port, heads[3].handed), (64, P1, false));
    assert_eq!(heads[3].data[63], 3);
    heads[3].data[0] = 4;
    dispatch(&mut ports, Verdict::Forward(P0));
    assert_eq!(ports.take_sent()[3].1[0], 4);
}

#[test]
fn whatever_is_not_sent_is_freed() {
    for verdict in [
        Verdict::Consumed,
        Verdict::Punt(PuntReason::Lldp),
        Verdict::Drop(DropReason::Runt),
        Verdict::Hold(SlotId(0)),
    ] {
        let mut ports = MemoryPorts::new(1);
        ports.push(P0, frame(1));
        ports.receive(P0);
        dispatch(&mut ports, verdict);
        assert_eq!(ports.buffers_in_use(), 0);
        assert!(ports.take_sent().is_empty());
    }
}

#[test]
fn a_frame_is_sent_only_when_flushed() {
    let mut ports = MemoryPorts::new(1);
    assert!(ports.emit(P0, 60, |bytes| bytes[0] = 9));
    assert!(ports.take_sent().is_empty());
    ports.flush(&mut Refused::default());
    let sent = ports.take_sent();
    assert_eq!((sent[0].1.len(), sent[0].1[0], sent[0].1[59]), (60, 9, 0));
}

#[test]
fn a_full_transmit_queue_refuses_and_counts() {
    let mut ports = MemoryPorts::new(3);
    ports.wire().limit_transmit(P1, 3);
    for mark in 0..5 {
        ports.push(P0, frame(mark));
    }
    ports.receive(P0);
    let refused = dispatch(&mut ports, Verdict::Forward(P1));
    assert_eq!(refused.of(PortId(1)), 2);
    assert!(!ports.emit(P1, 60, |_| {}));
    assert_eq!(ports.take_sent().len(), 3);
    assert!(ports.emit(P1, 60, |_| {}), "there is room again");
    assert_eq!(ports.buffers_in_use(), 0);
}

#[test]
fn ports_that_are_not_there_refuse() {
    let mut ports = MemoryPorts::new(2);
    ports.wire().attach(P1, false);
    for to in [P1, PortId(31)] {
        ports.push(P0, frame(0));
        ports.receive(P0);
        assert_eq!(dispatch(&mut ports, Verdict::Forward(to)).no_port, 1);
    }
    ports.wire().attach(P1, true);
    ports.push(P0, frame(0));
    ports.receive(P0);
    assert_eq!(dispatch(&mut ports, Verdict::Forward(P1)).no_port, 0);
}

#[test]
fn flooding_copies_and_edits_the_tag() {
    let mut ports = MemoryPorts::new(4);
    ports.push(P0, frame(7));
    ports.receive(P0);
    let flood = Flood { plain: set(&[P1, P2]), edited: set(&[PortId(3)]), edit: TagEdit::Push(0x2005) };
    dispatch(&mut ports, Verdict::Flood(flood));
    let mut tagged = frame(7);
    tagged.splice(12..12, [0x81, 0, 0x20, 0x05]);
    assert_eq!(ports.take_sent(), [(P1, frame(7)), (P2, frame(7)), (PortId(3), tagged.clone())]);

    ports.push(P0, &tagged);
    ports.receive(P0);
    let flood = Flood { plain: set(&[P1]), edited: set(&[P2]), edit: TagEdit::Pop };
    dispatch(&mut ports, Verdict::Flood(flood));
    assert_eq!(ports.take_sent(), [(P1, tagged), (P2, frame(7))]);
    assert_eq!(ports.buffers_in_use(), 0);
}

#[test]
fn an_empty_pool_refuses_copies_answers_and_frames() {
    let mut ports = MemoryPorts::new(3);
    ports.wire().limit_buffers(1);
    ports.push(P0, frame(1));
    ports.push(P0, frame(2));
    assert_eq!(ports.receive(P0), 1);
    assert_eq!(ports.wire().missed(), 1);
    assert!(!ports.emit(P1, 60, |_| {}));
    let flood = Flood { plain: set(&[P1, P2]), edited: PortSet::EMPTY, edit: TagEdit::None };
    let refused = dispatch(&mut ports, Verdict::Flood(flood));
    assert_eq!(refused.no_buffer, 1);
    assert_eq!(ports.take_sent(), [(P2, frame(1))]);
    assert!(ports.emit(P1, 60, |_| {}));
    assert_eq!(ports.buffers_in_use(), 0);
}

#[test]
fn a_kept_frame_is_rewritten_and_sent_later_or_freed() {
    let mut ports = MemoryPorts::new(2);
    ports.wire().limit_kept(2);
    for mark in 1..=3 {
        ports.push(P0, frame(mark));
    }
    assert_eq!(ports.receive(P0), 3);
    let mut first = ports.keep(0).expect("there is room");
    let second = ports.keep(1).expect("there is room");
    assert!(ports.keep(2).is_none(), "two may be kept");
    assert!(ports.keep(2).is_none() && ports.keep(99).is_none());
    dispatch(&mut ports, Verdict::Hold(SlotId(0)));
    assert_eq!((ports.buffers_in_use(), ports.wire().kept()), (2, 2));
    ports.bytes(&mut first)[..6].copy_from_slice(&[2, 9, 9, 9, 9, 9]);
    assert!(ports.send(P1, TagEdit::Push(5), first));
    drop(second);
    ports.flush(&mut Refused::default());
    assert_eq!((ports.buffers_in_use(), ports.wire().kept()), (0, 0));
    let sent = ports.take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].1[..16], [2, 9, 9, 9, 9, 9, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 5]);
    ports.push(P0, frame(4));
    ports.receive(P0);
    assert!(ports.keep(0).is_some(), "what was sent or freed is no longer kept");
}

#[test]
fn workers_hand_over_through_rings_with_an_end() {
    let mut workers = MemoryPorts::cluster(2, 2);
    let wire = workers[0].wire();
    wire.limit_hand(3);
    for mark in 0..5 {
        wire.push(WorkerId(0), P1, frame(mark));
    }
    workers[0].receive(P1);
    assert_eq!(dispatch(&mut workers[0], Verdict::Hand(WorkerId(1))).hand, 2);
    assert_eq!(wire.buffers_in_use(), 3);
    assert_eq!(wire.pending(), 3);
    assert_eq!(workers[0].receive_handed(), 0);
    assert_eq!(workers[1].receive_handed(), 3);
    let mut heads = core::array::from_fn(|_| Head::default());
    workers[1].heads(&mut heads);
    assert!(heads[0].handed);
    assert_eq!(heads[0].port, P1);
    dispatch(&mut workers[1], Verdict::Forward(P0));
    assert_eq!(wire.take_sent(), (0..3).map(|mark| (P0, frame(mark))).collect::<Vec<_>>());
    assert_eq!(wire.buffers_in_use(), 0);

    wire.push(WorkerId(0), P1, frame(0));
    workers[0].receive(P1);
    assert_eq!(dispatch(&mut workers[0], Verdict::Hand(WorkerId(9))).hand, 1);
}

#[test]
fn a_segmented_frame_shows_its_first_bytes_and_is_sent_whole() {
    let mut ports = MemoryPorts::new(2);
    ports.wire().segment(1);
    let long: Vec<u8> = (0..9000).map(|n| n as u8).collect();
    ports.push(P0, &long);
    ports.push(P0, frame(1));
    ports.receive(P0);
    let mut heads = core::array::from_fn(|_| Head::default());
    ports.heads(&mut heads);
    assert_eq!((heads[0].data.len(), heads[0].len), (SEGMENT, 9000));
    assert_eq!((heads[1].data.len(), heads[1].len), (64, 64));
    let mut kept = ports.keep(0).expect("there is room");
    assert_eq!(ports.bytes(&mut kept).len(), SEGMENT);
    dispatch(&mut ports, Verdict::Consumed);
    ports.send(P1, TagEdit::None, kept);
    ports.flush(&mut Refused::default());
    assert_eq!(ports.take_sent(), [(P1, long)]);
}

#[test]
fn offload_says_good_only_of_good_headers() {
    let mut ports = MemoryPorts::new(1);
    let mut good = frame(0);
    // RFC 1071's sums done by hand: a header whose words add up to 0xffff.
    good[14..34].copy_from_slice(&[0x45, 0, 0, 0x32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let sum: u32 = good[14..34].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    good[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut bad = good.clone();
    bad[20] ^= 1;
    let mut tagged = good.clone();
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    let verdicts = |ports: &mut MemoryPorts| {
        for frame in [&good, &bad, &tagged, &vec![0; 3], &Vec::new()] {
            ports.push(P0, frame);
        }
        ports.receive(P0);
        let mut heads = core::array::from_fn(|_| Head::default());
        ports.heads(&mut heads);
        heads[..5].iter().map(|head| head.checksum_good).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&mut ports), [false; 5]);
    ports.wire().offload(true);
    assert_eq!(verdicts(&mut ports), [true, false, true, false, false]);
}

#[test]
fn storage_goes_round() {
    let mut ports = MemoryPorts::new(2);
    let wire = ports.wire();
    wire.reserve(64);
    for round in 0..1000 {
        for mark in 0..BURST as u8 {
            wire.push(WorkerId(0), P0, frame(mark));
        }
        ports.receive(P0);
        dispatch(&mut ports, if round % 2 == 0 { Verdict::Forward(P1) } else { Verdict::Consumed });
        wire.drain_sent(|_| {});
    }
    assert_eq!(lock(&ports.shared.pool).spare.len(), 64);
}

#[test]
fn a_burst_that_is_thrown_away_is_freed() {
    let mut ports = MemoryPorts::new(1);
    ports.push(P0, frame(1));
    ports.receive(P0);
    assert_eq!(ports.receive(P0), 0);
    assert_eq!(ports.buffers_in_use(), 0);
    ports.push(P0, frame(1));
    ports.receive(P0);
    let wire = ports.wire();
    drop(ports);
    assert_eq!(wire.buffers_in_use(), 0);
}
