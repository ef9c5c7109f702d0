//! Connections that servers open, and flows between VIPs: FS-4, FS-25.

use crate::rig::*;
use dataplane_message::{Admin, AlarmKind, Chooser, Plan};
use dataplane_wire::MacAddr;
use std::net::Ipv4Addr;

const PEER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

fn out(n: usize, port: u16, flags: u8) -> Tcp {
    Tcp { src: (server_mac(n), VIP, port), dst: (ROUTER, PEER, 443), flags, seq: 900, ack: 2 }
}

fn back(port: u16, flags: u8, ack: u32) -> Tcp {
    Tcp { src: (ROUTER, PEER, 443), dst: (VMAC, VIP, port), flags, seq: 1, ack }
}

fn learn_router(rig: &mut Rig) {
    rig.reaches(R1, &inbound(1, SYN).frame());
}

#[test]
fn fs_25_answers_reach_the_server_that_asked() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), workers);
        learn_router(&mut rig);
        for n in 0..3 {
            for i in 0..50 {
                let port = 40_000 + n as u16 * 100 + i;
                rig.bridged(S[n], &out(n, port, SYN).frame(), &[R1]);
                assert_eq!(rig.reaches(R1, &back(port, SYN | ACK, 901).frame()), n);
                assert_eq!(rig.reaches(R1, &back(port, ACK, 950).frame()), n);
            }
        }
        assert_eq!(rig.report().clusters[0].flows_server, 150);
        // Without state: a datagram, and an echo.
        rig.send(S[2], &udp((server_mac(2), VIP, 41_000), (ROUTER, PEER, 53), b"query"));
        assert_eq!(rig.reaches(R1, &udp((ROUTER, PEER, 53), (VMAC, VIP, 41_000), b"answer")), 2);
        rig.send(S[1], &ipv4((server_mac(1), VIP), (ROUTER, PEER), 1, &[8, 0, 0, 0, 7, 7, 0, 1]));
        assert_eq!(rig.reaches(R1, &ipv4((ROUTER, PEER), (VMAC, VIP), 1, &[0, 0, 0, 0, 7, 7, 0, 1])), 1);
    }
}

#[test]
fn fs_25_a_second_server_is_refused_a_live_key_and_gets_a_closed_one() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    learn_router(&mut rig);
    rig.send(S[0], &out(0, 40_000, SYN).frame());
    rig.reaches(R1, &back(40_000, SYN | ACK, 901).frame());
    let refused = rig.send(S[1], &out(1, 40_000, SYN).frame());
    let [(port, reset)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!((*port, &reset[..6], reset[47] & 0x3f), (S[1], &server_mac(1).0[..], RST | ACK));
    assert_eq!(reset[42..46], 901_u32.to_be_bytes(), "acknowledges the SYN");
    assert_eq!(rig.drop_count("port-taken"), 1);
    assert_eq!(rig.reaches(R1, &back(40_000, ACK, 950).frame()), 0, "the first one's goes on");
    assert!(rig.report().alarms.iter().any(|a| a.kind == AlarmKind::PortTaken));
    // Reset by the peer, the key is free.
    rig.reaches(R1, &back(40_000, RST | ACK, 950).frame());
    rig.bridged(S[1], &out(1, 40_000, SYN).frame(), &[R1]);
    assert_eq!(rig.reaches(R1, &back(40_000, SYN | ACK, 901).frame()), 1);
    // A datagram's key goes to the newer opener.
    let datagram = |n| udp((server_mac(n), VIP, 41_000), (ROUTER, PEER, 53), b"query");
    rig.send(S[0], &datagram(0));
    rig.bridged(S[1], &datagram(1), &[R1]);
    assert_eq!(rig.reaches(R1, &udp((ROUTER, PEER, 53), (VMAC, VIP, 41_000), b"answer")), 1);
}

fn two_clusters() -> Plan {
    let mut both = plan(Chooser::RoundRobin);
    both.clusters[0] = cluster(0, "a", VIP.into(), VMAC, &[member(0, 1), member(1, 1)], Chooser::RoundRobin);
    both.clusters.push(cluster(
        1,
        "b",
        VIP_B.into(),
        VMAC_B,
        &[member(1, 1), member(2, 1)],
        Chooser::RoundRobin,
    ));
    both
}

#[test]
fn fs_4_from_one_vip_to_another_only_servers_without_the_source_address_answer() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(two_clusters(), workers);
        for port in 40_000..40_020 {
            let a = (server_mac(0), VIP, port);
            let b = (VMAC_B, VIP_B, 80);
            let syn = Tcp { src: a, dst: b, flags: SYN, seq: 900, ack: 0 };
            assert_eq!(rig.reaches(S[0], &syn.frame()), 2, "server 1 carries A too");
            let answer = Tcp {
                src: (server_mac(2), VIP_B, 80),
                dst: (VMAC, VIP, port),
                flags: SYN | ACK,
                seq: 70,
                ack: 901,
            };
            assert_eq!(rig.reaches(S[2], &answer.frame()), 0);
            let ack = Tcp { flags: ACK, seq: 901, ack: 71, ..syn };
            assert_eq!(rig.reaches(S[0], &ack.frame()), 2);
        }
        assert!(rig.flows().iter().all(|f| f.state == "established"), "{:?}", rig.flows());
        assert_eq!(rig.flows().len(), 40);
    }
}

#[test]
fn fs_4_none_left_is_refused_and_counted() {
    let mut both = two_clusters();
    both.clusters[1] = cluster(1, "b", VIP_B.into(), VMAC_B, &[member(1, 1)], Chooser::RoundRobin);
    let mut rig = Rig::new(both);
    let syn = Tcp { src: (server_mac(0), VIP, 4000), dst: (VMAC_B, VIP_B, 80), flags: SYN, seq: 1, ack: 0 };
    let out = rig.send(S[0], &syn.frame());
    assert_eq!((out.len(), out[0].0, out[0].1[47] & RST), (1, S[0], RST));
    assert_eq!(rig.drop_count("no-other-server"), 1);
}

#[test]
fn f11_a_vip_as_source_from_outside_is_a_martian() {
    let mut rig = Rig::new(two_clusters());
    let spoofed = Tcp { src: (ROUTER, VIP, 4000), dst: (VMAC_B, VIP_B, 80), flags: SYN, seq: 1, ack: 0 };
    rig.dropped(R1, &spoofed.frame(), "martian");
    let stranger = Tcp { src: (MacAddr([2, 9, 9, 9, 9, 9]), VIP, 4000), ..spoofed };
    rig.dropped(S[0], &stranger.frame(), "martian");
}

#[test]
fn fs_4_fs_20_fragments_from_one_vip_to_another_follow_their_flow() {
    let mut plan = two_clusters();
    plan.clusters[0] = cluster(0, "a", VIP.into(), VMAC, &[member(0, 1)], Chooser::RoundRobin);
    let shared = two_clusters();
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(plan.clone(), workers);
        for port in 40_000..40_040 {
            let (from, to) = ((server_mac(0), VIP, port), (VMAC_B, VIP_B, 53));
            let server = rig.reaches(S[0], &udp(from, to, b"whole"));
            for part in in_two_fragments(&udp(from, to, &[7; 40])) {
                assert_eq!(rig.reaches(S[0], &part), server, "port {port}");
            }
        }
        // A server that carries the source address gets no fragment either.
        let mut rig = Rig::with_workers(shared.clone(), workers);
        for port in 40_000..40_010 {
            let (from, to) = ((server_mac(0), VIP, port), (VMAC_B, VIP_B, 53));
            for part in in_two_fragments(&udp(from, to, &[7; 40])) {
                assert_eq!(rig.reaches(S[0], &part), 2, "server 1 carries A too");
            }
            let answer = udp((server_mac(2), VIP_B, 53), (VMAC, VIP, port), b"answer");
            assert_eq!(rig.reaches(S[2], &answer), 0, "it asked");
        }
    }
}

/// The datagram of a frame in fragments of 24 bytes and the rest.
fn in_two_fragments(frame: &[u8]) -> [Vec<u8>; 2] {
    let end = 14 + usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let part = |body: &[u8], field: u16| {
        let mut part = frame[..34].to_vec();
        part.extend_from_slice(body);
        part[16..18].copy_from_slice(&(20 + body.len() as u16).to_be_bytes());
        part[18..20].copy_from_slice(&frame[34..36]);
        part[20..22].copy_from_slice(&field.to_be_bytes());
        fix_ipv4(&mut part);
        part
    };
    [part(&frame[34..58], 0x2000), part(&frame[58..end], 3)]
}

#[test]
fn f11_the_same_vip_as_source_and_destination_leaves_no_entry() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.dropped(S[0], &udp((server_mac(0), VIP, 5000), (VMAC, VIP, 5000), b"x"), "martian");
    let land = Tcp { src: (server_mac(0), VIP, 80), dst: (VMAC, VIP, 80), flags: SYN, seq: 1, ack: 0 };
    rig.dropped(S[0], &land.frame(), "martian");
    assert_eq!(rig.flows(), []);
}

#[test]
fn fs_25_a_server_that_is_out_of_service_can_still_open_connections() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    learn_router(&mut rig);
    let mut disabled = rig.plan.clone();
    disabled.targets[1].admin = Admin::Disabled;
    rig.apply(disabled);
    for port in 40_000..40_010 {
        rig.bridged(S[1], &out(1, port, SYN).frame(), &[R1]);
        assert_eq!(rig.reaches(R1, &back(port, SYN | ACK, 901).frame()), 1);
        rig.send(S[1], &out(1, port, ACK).frame());
        assert_eq!(rig.reaches(R1, &back(port, ACK, 950).frame()), 1);
    }
    // Its clients' flows move, and a dead link ends its own.
    assert!((5000..5010).all(|port| rig.reaches(R1, &inbound(port, SYN).frame()) != 1));
    rig.link(S[1], false);
    rig.settle();
    assert_ne!(rig.reaches(R1, &back(40_000, ACK, 950).frame()), 1);
}

#[test]
fn fs_25_after_a_restart_a_live_key_is_refused_too_and_a_forged_syn_holds_none() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    learn_router(&mut rig);
    // The table is new: nobody knows who opened this one.
    rig.send(S[0], &out(0, 40_000, ACK).frame());
    let refused = rig.send(S[1], &out(1, 40_000, SYN).frame());
    assert_eq!((refused.len(), refused[0].0, refused[0].1[47] & RST), (1, S[1], RST));
    assert_eq!(rig.reaches(R1, &back(40_000, ACK, 950).frame()), 0);
    let taken = rig.reaches(R1, &back(40_001, SYN, 0).frame());
    let other = (taken + 1) % 3;
    rig.bridged(S[other], &out(other, 40_001, SYN).frame(), &[R1]);
    assert_eq!(rig.reaches(R1, &back(40_001, SYN | ACK, 901).frame()), other);
    // The same for a mid-flow segment that nobody has answered: the SYN is no answer to it.
    let taken = rig.reaches(R1, &back(40_002, ACK, 77).frame());
    let other = (taken + 1) % 3;
    rig.bridged(S[other], &out(other, 40_002, SYN).frame(), &[R1]);
    let states: Vec<_> =
        rig.flows().iter().filter(|f| f.vip_port == 40_002).map(|f| f.state.clone()).collect();
    assert_eq!(states, ["handshake"]);
    assert_eq!(rig.reaches(R1, &back(40_002, SYN | ACK, 901).frame()), other);
}

#[test]
fn fs_4_fs_7a_a_flow_between_vips_tries_no_server_that_carries_its_source() {
    let mut both = two_clusters();
    both.clusters[0] = cluster(0, "a", VIP.into(), VMAC, &[member(0, 1)], Chooser::RoundRobin);
    both.clusters[1] = cluster(
        1,
        "b",
        VIP_B.into(),
        VMAC_B,
        &[member(0, 1), member(1, 1), member(2, 1)],
        Chooser::RoundRobin,
    );
    let mut rig = Rig::new(both);
    for port in 40_000..40_010 {
        let ack =
            Tcp { src: (server_mac(0), VIP, port), dst: (VMAC_B, VIP_B, 80), flags: ACK, seq: 1, ack: 1 };
        let mut tried = Vec::new();
        for _ in 0..2 {
            let server = rig.reaches(S[0], &ack.frame());
            let reset =
                Tcp { src: (server_mac(server), VIP_B, 80), dst: (VMAC, VIP, port), flags: RST, ..ack };
            tried.push((server, rig.send(S[server], &reset.frame()).len()));
        }
        tried.sort();
        assert_eq!(tried.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(tried.iter().map(|t| t.1).sum::<usize>(), 1, "the last one's passes");
    }
}
