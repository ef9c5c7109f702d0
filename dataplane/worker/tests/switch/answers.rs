//! Answers to probes are taken by the switch, and by nothing else of it: FS-30, A5, C7.

use crate::rig::*;
use dataplane_flow::TargetId;
use dataplane_message::{Chooser, ToControl, ToDataPath, probe_port};
use dataplane_port::PortId;
use dataplane_wire::MacAddr;
use std::net::Ipv4Addr;

const PROBE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

fn punted(rig: &mut Rig) -> Vec<(PortId, Vec<u8>)> {
    std::iter::from_fn(|| rig.publisher.poll_message())
        .filter_map(|message| match message {
            ToControl::Punt { port, frame } => Some((port, frame)),
            _ => None,
        })
        .collect()
}

fn answer(n: usize, to: u16, flags: u8) -> Tcp {
    Tcp { src: (server_mac(n), VIP, 80), dst: (VMAC, PROBE, to), flags, seq: 5000, ack: 2 }
}

fn echo_reply(n: usize, id: u16, kind: u8) -> Vec<u8> {
    let [a, b] = id.to_be_bytes();
    ipv4((server_mac(n), VIP), (VMAC, PROBE), 1, &[kind, 0, 0, 0, a, b, 0, 1])
}

/// "Port unreachable" for a datagram from `from` to the VIP.
fn unreachable(n: usize, from: (Ipv4Addr, u16)) -> Vec<u8> {
    let quoted = udp((VMAC, from.0, from.1), (server_mac(n), VIP, 53), b"query");
    let mut payload = vec![3, 3, 0, 0, 0, 0, 0, 0];
    payload.extend(&quoted[14..42]);
    ipv4((server_mac(n), VIP), (VMAC, PROBE), 1, &payload)
}

#[test]
fn fs_30_a_servers_answer_reaches_control_whatever_its_kind_and_is_no_load() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), workers);
        punted(&mut rig);
        for n in 0..3 {
            let own = probe_port(TargetId(n as u16));
            let answers = [
                answer(n, own, SYN | ACK).frame(),
                answer(n, own, ACK).frame(),
                answer(n, own, FIN | ACK).frame(),
                answer(n, own, RST | ACK).frame(),
                // Whatever its destination MAC.
                Tcp { dst: (ROUTER, PROBE, own), ..answer(n, own, ACK) }.frame(),
                Tcp { dst: (MacAddr([0xff; 6]), PROBE, own), ..answer(n, own, ACK) }.frame(),
                udp((server_mac(n), VIP, 53), (VMAC, PROBE, own), b"answer"),
                echo_reply(n, own, 0),
                unreachable(n, (PROBE, own)),
            ];
            for frame in &answers {
                assert!(rig.send(S[n], frame).is_empty(), "{frame:x?}");
                rig.turn();
                assert_eq!(punted(&mut rig), [(S[n], frame.clone())]);
            }
        }
        let report = rig.report();
        assert!(report.targets.iter().all(|t| t.counts.out_frames == 0));
        assert!(rig.flows().is_empty(), "FS-25: nothing was opened");
    }
}

#[test]
fn fs_30_what_is_not_exactly_an_answer_is_a_packet_like_any_other() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    punted(&mut rig);
    let (own, others) = (probe_port(TargetId(0)), probe_port(TargetId(1)));
    let elsewhere = Ipv4Addr::new(192, 0, 0, 9);
    let frames = [
        answer(0, others, SYN | ACK).frame(),
        answer(0, 443, SYN | ACK).frame(),
        Tcp { dst: (VMAC, elsewhere, own), ..answer(0, own, ACK) }.frame(),
        echo_reply(0, others, 0),
        echo_reply(0, own, 8),
        unreachable(0, (PROBE, others)),
        unreachable(0, (elsewhere, own)),
        // Another VIP's server, from a MAC that is none.
        Tcp { src: (MacAddr([2, 0, 0, 0, 1, 77]), VIP, 80), ..answer(0, own, ACK) }.frame(),
    ];
    for frame in &frames {
        rig.send(S[0], frame);
        rig.turn();
        assert!(punted(&mut rig).is_empty(), "{frame:x?}");
    }
}

#[test]
fn fs_30_nobody_outside_has_a_servers_answer_taken_for_ours() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let own = probe_port(TargetId(0));
    let from = (ROUTER, PROBE, own);
    for flags in [SYN, ACK, RST] {
        rig.dropped(R1, &Tcp { src: from, ..inbound(1, flags) }.frame(), "martian");
    }
    rig.dropped(R1, &udp(from, (VMAC, VIP, 53), b"query"), "martian");
    let [a, b] = own.to_be_bytes();
    let echo = |kind| ipv4((ROUTER, PROBE), (VMAC, VIP), 1, &[kind, 0, 0, 0, a, b, 0, 1]);
    rig.dropped(R1, &echo(8), "martian");
    // The gateway's address may be the probes': its other packets pass.
    rig.reaches(R1, &Tcp { src: (ROUTER, PROBE, 443), ..inbound(1, SYN) }.frame());
    rig.reaches(R1, &echo(0));
}

#[test]
fn fs_30_nothing_that_a_server_sends_hides_another_servers_answers() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), workers);
        let others = probe_port(TargetId(1));
        for frame in [
            answer(0, others, SYN).frame(),
            answer(0, others, SYN | ACK).frame(),
            answer(0, others, ACK).frame(),
            udp((server_mac(0), VIP, 53), (VMAC, PROBE, others), b"hello"),
            echo_reply(0, others, 0),
            // It pings its gateway, by chance with that identifier.
            echo_reply(0, others, 8),
        ] {
            rig.send(S[0], &frame);
            rig.turn();
        }
        punted(&mut rig);
        for frame in [
            answer(1, others, SYN | ACK).frame(),
            answer(1, others, RST | ACK).frame(),
            udp((server_mac(1), VIP, 53), (VMAC, PROBE, others), b"answer"),
            echo_reply(1, others, 0),
        ] {
            assert!(rig.send(S[1], &frame).is_empty(), "{frame:x?}");
            rig.turn();
            assert_eq!(punted(&mut rig), [(S[1], frame)]);
        }
    }
}

#[test]
fn c7_no_flood_from_one_place_costs_the_answers_of_another() {
    let mut rig = Rig::new(crate::pools::default_routers());
    let own = |n: usize| answer(n, probe_port(TargetId(n as u16)), ACK).frame();
    let [a, b] = dataplane_message::PROBE_PORT_FIRST.to_be_bytes();
    let echo = ipv4((ROUTER, CLIENT), (VMAC, VIP), 1, &[0, 0, 0, 0, a, b, 0, 1]);
    let arp =
        crate::neighbours::arp(dataplane_wire::arp::Operation::Reply, (ROUTER, ROUTER_IP), (VMAC, VIP), VMAC);
    let mut heard = [0; 3];
    punted(&mut rig);
    // For a second, in turns of 10 ms: the Internet sends echo replies, a server answers what nobody asked; and
    // another server and a router answer.
    for _ in 0..100 {
        for _ in 0..32 {
            for _ in 0..16 {
                rig.wire.push(dataplane_port::WorkerId(0), R1, &echo);
                rig.wire.push(dataplane_port::WorkerId(0), S[0], own(0));
            }
            rig.workers[0].turn(rig.now);
        }
        rig.wire.push(dataplane_port::WorkerId(0), S[1], own(1));
        rig.wire.push(dataplane_port::WorkerId(0), R1, &arp);
        rig.workers[0].turn(rig.now);
        rig.wait_ms(10);
        for (port, frame) in punted(&mut rig) {
            heard[0] += usize::from(port == S[1]);
            heard[1] += usize::from(frame == arp);
            heard[2] += usize::from(frame == echo);
        }
    }
    assert_eq!(heard[..2], [100, 100]);
    assert!(heard[2] <= 1_400, "1,000 a second and a burst: {heard:?}");
}

#[test]
fn c7_answers_are_not_lost_behind_others_and_probes_not_behind_one_another() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    punted(&mut rig);
    let mut lldp = vec![0; 60];
    lldp[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 0x0e]);
    lldp[6..12].copy_from_slice(&ROUTER.0);
    lldp[12..14].copy_from_slice(&[0x88, 0xcc]);
    let own = probe_port(TargetId(0));
    let answer = answer(0, own, ACK).frame();
    for _ in 0..16 {
        for _ in 0..32 {
            rig.wire.push(dataplane_port::WorkerId(0), R1, &lldp);
        }
        for _ in 0..16 {
            rig.wire.push(dataplane_port::WorkerId(0), S[0], &answer);
        }
        rig.workers[0].turn(rig.now);
    }
    rig.publisher.handle_deadline(rig.now);
    let answers = punted(&mut rig).into_iter().filter(|(port, _)| *port == S[0]).count();
    assert_eq!(answers, 256);
    for _ in 0..300 {
        let message = ToDataPath::Inject { port: S[1], frame: answer.clone() };
        rig.publisher.handle_message(message, rig.now);
    }
    let sent = rig.drain().into_iter().filter(|(port, _)| *port == S[1]).count();
    assert_eq!(sent, 300);

    // What does not fit is counted.
    for _ in 0..700 {
        let message = ToDataPath::Inject { port: S[1], frame: answer.clone() };
        rig.publisher.handle_message(message, rig.now);
    }
    let sent = rig.drain().into_iter().filter(|(port, _)| *port == S[1]).count();
    let lost =
        rig.report().drops.into_iter().find(|(name, _)| name == "inject-full").map(|(_, frames)| frames);
    assert_eq!((sent, lost), (512, Some(188)));
}
