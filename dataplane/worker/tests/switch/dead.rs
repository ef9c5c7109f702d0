//! Flows of a dead server: FS-10.

use crate::conditions::{decide, health};
use crate::pools::{ROUTER_2, default_routers};
use crate::rig::*;
use dataplane_flow::RouterId;
use dataplane_message::{Chooser, Conditions, DeadFlows, Health, Plan, RouterCondition};
use dataplane_port::PortId;

/// A segment with 20 bytes of data.
pub(crate) fn data(segment: Tcp) -> Vec<u8> {
    let mut frame = segment.frame();
    frame.resize(74, 7);
    frame[16..18].copy_from_slice(&60_u16.to_be_bytes());
    fix_ipv4(&mut frame);
    frame
}

/// A handshake; the server, whose first sequence number is `first`.
fn establish(rig: &mut Rig, port: u16, first: u32) -> usize {
    let server = rig.reaches(R1, &inbound(port, SYN).frame());
    rig.send(S[server], &Tcp { seq: first, ..outbound(server, port, SYN | ACK) }.frame());
    rig.send(R1, &Tcp { ack: first.wrapping_add(1), ..inbound(port, ACK) }.frame());
    server
}

/// From the client's port to server 0, in as many tries as it takes.
fn with_server_0(rig: &mut Rig, first: u32) -> u16 {
    (1000..1003).find(|port| establish(rig, *port, first) == 0).expect("in turn")
}

fn declare(rig: &mut Rig, n: u16, of: Health) {
    decide(rig, Conditions { targets: vec![health(n, of)], ..Conditions::default() });
}

/// A reset: the port it left by, who it is for, client's port, flags, sequence number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Reset {
    out: PortId,
    to: [u8; 6],
    client: u16,
    flags: u8,
    seq: u32,
    ack: u32,
}

/// Those among the frames; each comes from the VIP and its VMAC.
fn resets(frames: Vec<(PortId, Vec<u8>)>) -> Vec<Reset> {
    let is_tcp = |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 6 && frame[47] & RST != 0;
    let word = |frame: &[u8], at: usize| u32::from_be_bytes(*frame[at..].first_chunk().unwrap());
    frames
        .into_iter()
        .filter(|(_, frame)| is_tcp(frame))
        .map(|(out, frame)| {
            assert_eq!((&frame[6..12], &frame[26..30]), (&VMAC.0[..], &VIP.octets()[..]));
            Reset {
                out,
                to: *frame.first_chunk().unwrap(),
                client: u16::from_be_bytes([frame[36], frame[37]]),
                flags: frame[47],
                seq: word(&frame, 38),
                ack: word(&frame, 42),
            }
        })
        .collect()
}

fn pass(rig: &mut Rig, millis: u64) -> Vec<Reset> {
    (0..millis).for_each(|_| rig.turn());
    resets(rig.wire.take_sent())
}

#[test]
fn fs_10_a_client_that_waits_gets_three_resets_a_second_apart_with_the_exact_number() {
    // The first sequence number; what comes behind all that was sent.
    for first in [5000, u32::MAX - 1, u32::MAX - 30, 0x7fff_fff0] {
        let mut rig = Rig::new(plan(Chooser::RoundRobin));
        let port = with_server_0(&mut rig, first);
        rig.send(R1, &data(inbound(port, ACK)));
        let mut next = first.wrapping_add(1);
        // Many within one second, some twice, and an old one last.
        for _ in 0..40 {
            rig.send(S[0], &data(Tcp { seq: next, ..outbound(0, port, ACK) }));
            rig.send(S[0], &data(Tcp { seq: next, ..outbound(0, port, ACK) }));
            next = next.wrapping_add(20);
        }
        rig.send(S[0], &data(Tcp { seq: next.wrapping_sub(200), ..outbound(0, port, ACK) }));
        declare(&mut rig, 0, Health::Dead);
        let exact = Reset { out: R1, to: ROUTER.0, client: port, flags: RST, seq: next, ack: 0 };
        for round in 0..3 {
            assert_eq!(pass(&mut rig, 1000), [exact], "{first} {round}");
        }
        assert_eq!(pass(&mut rig, 3000), []);
        assert_eq!(rig.flows_of(port), ["closed"]);
        let counts = rig.report().targets[0].counts;
        assert_eq!((counts.resets, counts.flows_open), (3, 0));
    }
}

#[test]
fn fs_10_a_fin_counts_one() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let port = with_server_0(&mut rig, 5000);
    rig.send(S[0], &Tcp { seq: 5001, ..outbound(0, port, FIN | ACK) }.frame());
    declare(&mut rig, 0, Health::Dead);
    assert_eq!(pass(&mut rig, 1000)[0].seq, 5002);
}

#[test]
fn fs_10_a_thousand_waiting_clients_are_all_reset_within_a_second_and_no_other_flow_is() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), workers);
        let mut waiting = Vec::new();
        let mut others = Vec::new();
        for port in 1000..4000 {
            match establish(&mut rig, port, u32::from(port)) {
                0 => waiting.push((port, u32::from(port) + 1)),
                server => others.push((port, server)),
            }
        }
        rig.settle();
        rig.link(S[0], false);
        let mut got: Vec<_> = pass(&mut rig, 1050).iter().map(|r| (r.client, r.seq)).collect();
        got.sort_unstable();
        got.dedup();
        assert_eq!(got, waiting, "link down is dead at once");
        pass(&mut rig, 3000);
        for (port, server) in others {
            assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), server);
        }
        let counts = rig.report().targets[0].counts;
        assert_eq!((counts.flows_open, counts.resets), (0, 3 * waiting.len() as u64));
    }
}

#[test]
fn e8_who_sends_without_end_to_a_dead_server_keeps_nobody_elses_reset_from_him() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let mut waiting: Vec<u16> = (1000..4000).filter(|port| establish(&mut rig, *port, 5000) == 0).collect();
    let busy = waiting.remove(0);
    rig.settle();
    declare(&mut rig, 0, Health::Dead);
    // What it acknowledges is never what it was sent, so that its flow is not closed: 32,000 a second.
    let segment = Tcp { ack: 77, ..inbound(busy, ACK) }.frame();
    let (mut clients, mut sent) = (Vec::new(), 0);
    for _ in 0..1050 {
        for _ in 0..32 {
            rig.wire.push(dataplane_port::WorkerId(0), R1, &segment);
        }
        rig.turn();
        for reset in resets(rig.wire.take_sent()) {
            sent += 1;
            clients.push(reset.client);
        }
        clients.sort_unstable();
        clients.dedup();
    }
    clients.retain(|port| *port != busy);
    assert_eq!(clients, waiting);
    assert!(sent <= 11_000, "{sent}");
}

#[test]
fn fs_10_resets_are_paced_to_10_000_a_second_and_all_get_theirs() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), workers);
        declare(&mut rig, 1, Health::Down);
        decide(
            &mut rig,
            Conditions {
                targets: vec![health(1, Health::Down), health(2, Health::Down)],
                ..Conditions::default()
            },
        );
        for port in 1000..13_000 {
            assert_eq!(establish(&mut rig, port, 5000), 0);
        }
        declare(&mut rig, 0, Health::Dead);
        let first = pass(&mut rig, 1000);
        assert!((9_000..=10_200).contains(&first.len()), "{}", first.len());
        let mut clients: Vec<u16> = first.into_iter().chain(pass(&mut rig, 1000)).map(|r| r.client).collect();
        clients.sort_unstable();
        clients.dedup();
        assert_eq!(clients.len(), 12_000);
    }
}

#[test]
fn fs_10_each_segment_is_answered_and_a_syn_opens_a_flow_elsewhere() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let port = with_server_0(&mut rig, 5000);
    declare(&mut rig, 0, Health::Dead);
    // A challenge (RFC 5961 §3.2) is answered by what it expects.
    for ack in [4711, 5001, 5001, 12] {
        let out = resets(rig.send(R1, &Tcp { ack, ..inbound(port, ACK) }.frame()));
        let exact = Reset { out: R1, to: ROUTER.0, client: port, flags: RST, seq: ack, ack: 0 };
        assert_eq!(out, [exact]);
    }
    // Without an acknowledgement: RFC 9293 §3.10.7.1.
    let out = resets(rig.send(R1, &Tcp { seq: 77, ..inbound(port, FIN) }.frame()));
    assert_eq!((out[0].flags, out[0].seq, out[0].ack), (RST | ACK, 0, 78));
    assert_eq!(rig.drop_count("server-dead"), 5);
    rig.dropped(R1, &inbound(port, RST).frame(), "server-dead");
    // It was the client itself that was answered: it is sent no more.
    assert_eq!(pass(&mut rig, 3000), []);
    let server = rig.reaches(R1, &inbound(port, SYN).frame());
    assert_ne!(server, 0);
    rig.send(S[server], &outbound(server, port, SYN | ACK).frame());
    assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), server);
}

#[test]
fn fs_10_down_touches_no_flow_and_a_dead_server_that_returns_keeps_what_is_left() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let port = with_server_0(&mut rig, 5000);
    declare(&mut rig, 0, Health::Down);
    assert_eq!(pass(&mut rig, 3000), []);
    assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), 0);
    declare(&mut rig, 0, Health::Dead);
    assert_eq!(pass(&mut rig, 1000).len(), 1);
    declare(&mut rig, 0, Health::Up);
    assert_eq!(pass(&mut rig, 3000), []);
    assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), 0);
    assert_eq!(rig.flows_of(port), ["established"]);
}

/// (TCP, others) and what becomes of (an established TCP flow, a handshake, a datagram's flow).
#[test]
fn fs_10_every_mode_for_every_kind_of_flow() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Becomes {
        Reset,
        Moved,
        Kept,
    }
    use Becomes::{Kept, Moved, Reset};
    let table = [
        (DeadFlows::Reset, DeadFlows::Move, Reset, Moved),
        (DeadFlows::Move, DeadFlows::Move, Moved, Moved),
        (DeadFlows::Keep, DeadFlows::Keep, Kept, Kept),
        (DeadFlows::Reset, DeadFlows::Keep, Reset, Kept),
        (DeadFlows::Keep, DeadFlows::Move, Kept, Moved),
    ];
    for (tcp, other, of_tcp, of_other) in table {
        let mut plan = plan(Chooser::RoundRobin);
        (plan.clusters[0].dead_tcp, plan.clusters[0].dead_other) = (tcp, other);
        let mut rig = Rig::new(plan);
        let port = with_server_0(&mut rig, 5000);
        let datagram = |port| udp((ROUTER, CLIENT, port), (VMAC, VIP, 53), b"query");
        let bound = (2000..2003).find(|port| rig.reaches(R1, &datagram(*port)) == 0).unwrap();
        declare(&mut rig, 0, Health::Dead);
        let became = |out: Vec<(PortId, Vec<u8>)>| match &out[..] {
            [(to, _)] if *to == S[0] => Kept,
            [(to, frame)] if *to == R1 && frame[47] & RST != 0 => Reset,
            [(to, _)] if *to == S[1] || *to == S[2] => Moved,
            other => panic!("{other:?}"),
        };
        assert_eq!(became(rig.send(R1, &inbound(port, ACK).frame())), of_tcp, "{tcp:?}");
        assert_eq!(became(rig.send(R1, &datagram(bound))), of_other, "{other:?}");
        if of_tcp != Reset {
            assert_eq!(pass(&mut rig, 3000), [], "{tcp:?}");
        }
    }
}

#[test]
fn fs_10_what_the_server_opened_is_closed_when_its_peer_sends() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.reaches(R1, &inbound(1, SYN).frame());
    let peer = (ROUTER, CLIENT, 443);
    let opened = Tcp { src: (server_mac(0), VIP, 40_000), dst: peer, flags: SYN, seq: 900, ack: 0 };
    rig.send(S[0], &opened.frame());
    let answer = Tcp { src: peer, dst: (VMAC, VIP, 40_000), flags: SYN | ACK, seq: 1, ack: 901 };
    assert_eq!(rig.reaches(R1, &answer.frame()), 0);
    declare(&mut rig, 0, Health::Dead);
    assert_eq!(pass(&mut rig, 3000), []);
    let out = resets(rig.send(R1, &Tcp { flags: ACK, ..answer }.frame()));
    assert_eq!((out.len(), out[0].seq, out[0].client), (1, 901, 443));
    assert_eq!(rig.flows_of(443), ["closed"]);
}

fn vlan_of(frame: &[u8]) -> Option<u16> {
    (frame[12..14] == [0x81, 0]).then(|| u16::from_be_bytes([frame[14], frame[15]]) & 0xfff)
}

#[test]
fn fs_10_the_reset_goes_back_the_way_that_the_client_came_in_the_form_of_its_port() {
    let mut mixed = plan(Chooser::RoundRobin);
    (mixed.ports[1].untagged, mixed.ports[1].tagged) = (None, vec![VLAN]);
    let mut rig = Rig::new(mixed);
    let from = |port| Tcp { src: (ROUTER_2, CLIENT, port), ..inbound(port, SYN) };
    let open = |rig: &mut Rig, port: u16| {
        let out = rig.send(R2, &tagged(&from(port).frame(), VLAN.0));
        S.iter().position(|server| *server == out[0].0).unwrap()
    };
    let port = (1000..1003).find(|port| open(&mut rig, *port) == 0).unwrap();
    rig.send(S[0], &Tcp { dst: (ROUTER_2, CLIENT, port), ..outbound(0, port, SYN | ACK) }.frame());
    rig.send(R2, &tagged(&Tcp { flags: ACK, ..from(port) }.frame(), VLAN.0));
    declare(&mut rig, 0, Health::Dead);
    (0..1000).for_each(|_| rig.turn());
    let out = rig.wire.take_sent();
    let (out, frame) = out.iter().find(|(_, frame)| frame[0..6] == ROUTER_2.0).expect("a reset");
    assert_eq!((*out, vlan_of(frame)), (R2, Some(VLAN.0)));
    assert_eq!(frame[42..46], 5001_u32.to_be_bytes());
}

#[test]
fn fs_10_fs_7a_for_a_flow_that_the_server_told_of_the_way_is_where_the_server_sent() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.send(R2, &Tcp { src: (ROUTER_2, CLIENT, 9), ..inbound(9, SYN) }.frame());
    rig.wait_ms(20);
    rig.turn();
    rig.send(S[0], &data(Tcp { dst: (ROUTER_2, CLIENT, 7000), ..outbound(0, 7000, ACK) }));
    declare(&mut rig, 0, Health::Dead);
    let reset = Reset { out: R2, to: ROUTER_2.0, client: 7000, flags: RST, seq: 5020, ack: 0 };
    assert_eq!(pass(&mut rig, 1000).into_iter().filter(|r| r.client == 7000).collect::<Vec<_>>(), [reset]);
}

#[test]
fn fs_10_fs_13_the_reset_goes_by_another_router_while_the_clients_is_down() {
    let mut plan: Plan = default_routers();
    plan.clusters.truncate(1);
    let mut rig = Rig::new(plan);
    let port = with_server_0(&mut rig, 5000);
    let down = RouterCondition { id: RouterId(0), up: false, mac: None };
    let conditions =
        Conditions { targets: vec![health(0, Health::Dead)], routers: vec![down], ..Conditions::default() };
    decide(&mut rig, conditions);
    let reset = Reset { out: R2, to: ROUTER_2.0, client: port, flags: RST, seq: 5001, ack: 0 };
    assert_eq!(pass(&mut rig, 1000), [reset]);
    // A station without a name, whose port is down, is not reached.
    let mut rig = Rig::new(crate::rig::plan(Chooser::RoundRobin));
    with_server_0(&mut rig, 5000);
    rig.link(R1, false);
    declare(&mut rig, 0, Health::Dead);
    assert_eq!(pass(&mut rig, 4000), []);
}
