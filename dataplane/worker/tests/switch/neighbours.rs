//! ARP and Neighbour Discovery: FS-1 to FS-3, A1 to A4.

use crate::rig::*;
use dataplane_flow::RouterId;
use dataplane_flow::TargetId;
use dataplane_message::{AlarmKind, Chooser, MacPlan, RouterPlan, ToDataPath};
use dataplane_port::PortId;
use dataplane_wire::arp::{Operation, Packet, Repr};
use dataplane_wire::nd::{Advertisement, Kind, Message, Solicitation};
use dataplane_wire::{MacAddr, ethernet, multicast};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0x100);
pub(crate) const ROUTER6: Ipv6Addr = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 1);

pub(crate) fn arp(
    operation: Operation,
    sender: (MacAddr, Ipv4Addr),
    target: (MacAddr, Ipv4Addr),
    to: MacAddr,
) -> Vec<u8> {
    let repr = Repr {
        operation,
        sender_mac: sender.0,
        sender_ip: sender.1,
        target_mac: target.0,
        target_ip: target.1,
    };
    let link = ethernet::Repr { src: sender.0, dst: to, tci: None };
    let mut frame = vec![0; link.frame_len(46)];
    repr.emit_frame(&link, &mut frame);
    frame
}

pub(crate) fn asks(sender: (MacAddr, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    arp(Operation::Request, sender, (MacAddr::ZERO, target), MacAddr::BROADCAST)
}

pub(crate) fn parsed(frame: &[u8]) -> Repr {
    Repr::parse(&Packet::new_checked(&frame[14..]).unwrap())
}

pub(crate) fn server(n: usize) -> (MacAddr, Ipv4Addr) {
    (server_mac(n), VIP)
}

pub(crate) fn vip6_plan() -> dataplane_message::Plan {
    let mut plan = plan(Chooser::RoundRobin);
    let members = plan.clusters[0].services[0].members.clone();
    plan.clusters.push(cluster(1, "web6", VIP6.into(), VMAC_B, &members, Chooser::RoundRobin));
    plan
}

pub(crate) fn solicits(src: (MacAddr, Ipv6Addr), target: Ipv6Addr, dst: Ipv6Addr, to: MacAddr) -> Vec<u8> {
    let probe = src.1.is_unspecified();
    let message = Solicitation {
        src: src.1,
        dst,
        target,
        source_link_layer: (!probe).then_some(src.0),
        nonce: probe.then_some([1, 2, 3, 4, 5, 6]),
    };
    let link = ethernet::Repr { src: src.0, dst: to, tci: None };
    let mut frame = vec![0; message.frame_len(&link)];
    message.emit_frame(&link, &mut frame);
    frame
}

pub(crate) fn group(target: Ipv6Addr) -> (Ipv6Addr, MacAddr) {
    let group = multicast::solicited_node(target);
    (group, multicast::mac_v6(group))
}

#[test]
fn fs_2_questions_for_the_vip_are_answered_once_with_the_vmac() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    for to in [MacAddr::BROADCAST, VMAC] {
        let question = arp(Operation::Request, (ROUTER, ROUTER_IP), (MacAddr::ZERO, VIP), to);
        let out = rig.send(R1, &question);
        let [(R1, answer)] = &out[..] else { panic!("{out:?}") };
        assert_eq!((&answer[..6], &answer[6..12]), (&ROUTER.0[..], &VMAC.0[..]));
        let answer = parsed(answer);
        assert_eq!((answer.operation, answer.sender_mac, answer.sender_ip), (Operation::Reply, VMAC, VIP));
        assert_eq!((answer.target_mac, answer.target_ip), (ROUTER, ROUTER_IP));
    }
    // A tagged question, a probe (the address is defended), any worker.
    let probe = asks((ROUTER, Ipv4Addr::UNSPECIFIED), VIP);
    assert_eq!(parsed(&rig.send(R2, &probe)[0].1).sender_mac, VMAC);
    let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), 2);
    for _ in 0..4 {
        assert_eq!(rig.send(R1, &asks((ROUTER, ROUTER_IP), VIP)).len(), 1);
    }
    assert_eq!(rig.report().clusters[0].answered, 4);
}

#[test]
fn a1_answers_are_limited_for_a_sender_and_on_a_port() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let answered: usize = (0..1000).map(|_| rig.send(R1, &asks((ROUTER, ROUTER_IP), VIP)).len()).sum();
    assert_eq!(answered, 100, "a tenth of 1,000 a second in 100 ms");
    let other = (MacAddr([2, 0, 0, 0, 0, 0xa2]), Ipv4Addr::new(10, 9, 0, 2));
    assert_eq!(rig.send(R2, &asks(other, VIP)).len(), 1);
    assert_eq!(rig.drop_count("answer-rate"), 900);
}

#[test]
fn fs_3_no_server_ever_sees_anothers_arp_for_the_vip_nor_an_answer_to_its_own() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    // Duplicate address detection, announcement at boot, an answer for the VIP.
    rig.dropped(S[0], &asks((server_mac(0), Ipv4Addr::UNSPECIFIED), VIP), "server-announce");
    rig.dropped(S[0], &asks(server(0), VIP), "server-announce");
    let gratuitous = arp(Operation::Reply, server(0), (MacAddr::BROADCAST, VIP), MacAddr::BROADCAST);
    rig.dropped(S[0], &gratuitous, "server-announce");
    rig.dropped(S[0], &arp(Operation::Reply, server(0), (ROUTER, ROUTER_IP), ROUTER), "server-announce");
    // From outside, nothing that names the VIP gets in.
    assert!(rig.send(R1, &asks((ROUTER, ROUTER_IP), VIP)).iter().all(|(port, _)| *port == R1));
    rig.dropped(R1, &asks((ROUTER, VIP), VIP), "vip-claimed");
    rig.dropped(R1, &asks((ROUTER, VIP), ROUTER_IP), "vip-claimed");
    // A broadcast in the VIP's name reaches everybody but the servers that carry it.
    let mut broadcast =
        udp((server_mac(0), VIP, 137), (MacAddr::BROADCAST, Ipv4Addr::BROADCAST, 137), b"hello");
    rig.bridged(S[0], &broadcast, &[R1, R2]);
    broadcast[6..12].copy_from_slice(&ROUTER.0);
    rig.dropped(R1, &broadcast, "martian");
}

#[test]
fn fs_2a_servers_ask_with_the_vmac_and_each_that_asked_is_answered() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    for n in [0, 2] {
        let out = rig.send(S[n], &asks(server(n), ROUTER_IP));
        assert_eq!(out.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [R1, R2]);
        for (_, frame) in &out {
            assert_eq!(frame[6..12], VMAC.0);
            assert_eq!((parsed(frame).sender_mac, parsed(frame).sender_ip), (VMAC, VIP));
        }
    }
    let answer = arp(Operation::Reply, (ROUTER, ROUTER_IP), (VMAC, VIP), VMAC);
    let mut out = rig.send(R1, &answer);
    out.sort();
    assert_eq!(out.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [S[0], S[2]]);
    for ((_, frame), n) in out.iter().zip([0, 2]) {
        assert_eq!((&frame[..6], &frame[6..12]), (&server_mac(n).0[..], &ROUTER.0[..]));
        let repr = parsed(frame);
        assert_eq!((repr.target_mac, repr.sender_mac, repr.sender_ip), (server_mac(n), ROUTER, ROUTER_IP));
    }
    // Re-validation, unicast.
    rig.wait_ms(11);
    rig.turn();
    let revalidates = arp(Operation::Request, server(1), (ROUTER, ROUTER_IP), ROUTER);
    let out = rig.send(S[1], &revalidates);
    assert_eq!((out.len(), out[0].0, &out[0].1[6..12]), (1, R1, &VMAC.0[..]));
    // Unasked, and too late.
    let other = Ipv4Addr::new(10, 9, 0, 50);
    rig.dropped(R1, &arp(Operation::Reply, (ROUTER, other), (VMAC, VIP), VMAC), "unasked");
    rig.wait_ms(3001);
    rig.dropped(R1, &answer, "unasked");
}

#[test]
fn fs_4_a_server_that_asks_for_another_clusters_vip_is_answered() {
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
    let mut rig = Rig::new(both);
    let out = rig.send(S[0], &asks(server(0), VIP_B));
    let [(port, answer)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((*port, parsed(answer).sender_mac), (S[0], VMAC_B));
    // Server 1 carries both: it is not told that its own address is elsewhere.
    rig.dropped(S[1], &asks(server(1), VIP_B), "server-announce");
}

#[test]
fn a2_a3_a4_claims_and_malformed_arp_are_dropped_with_an_alarm() {
    let mut claimed = plan(Chooser::RoundRobin);
    claimed.routers = vec![RouterPlan {
        id: RouterId(0),
        name: "r1".into(),
        port: R1,
        vlan: VLAN,
        address: ROUTER_IP.into(),
        mac: None,
    }];
    let mut rig = Rig::new(claimed);
    rig.wait_ms(5000);
    rig.drain();
    let stranger = MacAddr([2, 6, 6, 6, 6, 6]);
    rig.dropped(S[0], &asks((stranger, ROUTER_IP), ROUTER_IP), "router-claimed");
    let asserted = rig.send(S[0], &asks((stranger, VIP), ROUTER_IP));
    assert_eq!(rig.drop_count("vip-claimed"), 1);
    assert_eq!(asserted.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [R1, R2], "re-asserted");
    let mut lying = asks((ROUTER, ROUTER_IP), VIP);
    lying[6..12].copy_from_slice(&stranger.0);
    rig.dropped(R1, &lying, "arp-malformed");
    for (at, value) in [(15, 9), (18, 8), (19, 16), (21, 3)] {
        let mut frame = asks((ROUTER, ROUTER_IP), VIP);
        frame[at] = value;
        rig.dropped(R1, &frame, "arp-malformed");
    }
    rig.dropped(R1, &asks((ROUTER, ROUTER_IP), VIP)[..40], "arp-malformed");
    let kinds: Vec<AlarmKind> = rig.report().alarms.iter().map(|a| a.kind).collect();
    assert!(kinds.contains(&AlarmKind::VipClaimed) && kinds.contains(&AlarmKind::RouterClaimed), "{kinds:?}");
}

#[test]
fn fs_2_vips_are_announced_three_times_and_then_at_their_interval() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let mut announced = |ms: u64| {
        let mut ports = Vec::new();
        for _ in 0..ms / 10 {
            rig.wait_ms(9);
            ports
                .extend(rig.wire.take_sent().into_iter().filter(|(_, f)| f[6..12] == VMAC.0).map(|(p, _)| p));
        }
        ports
    };
    // The first three left at the start, four seconds ago.
    assert_eq!(announced(55_000), []);
    assert_eq!(announced(10_000), [R1, R2]);
    rig.link(R1, false);
    rig.wire.take_sent();
    rig.link(R1, true);
    rig.turn();
    let mut ports: Vec<PortId> = Vec::new();
    for _ in 0..300 {
        rig.wait_ms(10);
        ports.extend(rig.wire.take_sent().into_iter().map(|(port, _)| port));
    }
    assert_eq!(ports, [R1, R2, R1, R2, R1, R2], "a link came up: three, a second apart");
}

#[test]
fn fs_42_neighbour_discovery_does_for_ipv6_what_arp_does() {
    let mut rig = Rig::new(vip6_plan());
    let router = (ROUTER, ROUTER6);
    let (vip_group, vip_group_mac) = group(VIP6);
    for (dst, to) in [(vip_group, vip_group_mac), (VIP6, VMAC_B)] {
        let out = rig.send(R1, &solicits(router, VIP6, dst, to));
        let [(R1, answer)] = &out[..] else { panic!("{out:x?}") };
        assert_eq!((&answer[..6], &answer[6..12]), (&ROUTER.0[..], &VMAC_B.0[..]));
        let message = Message::new_checked(&answer[54..]).unwrap();
        assert_eq!((message.kind(), message.target()), (Kind::NeighbourAdvertisement, Some(VIP6)));
        assert_eq!((message.flags().0, message.target_link_layer()), (0x60, Some(VMAC_B)));
        assert!(message.is_valid(VIP6, ROUTER6, 255));
    }
    // DAD from outside is answered to all nodes, a server's own is swallowed.
    let nobody = |mac| (mac, Ipv6Addr::UNSPECIFIED);
    let out = rig.send(R1, &solicits(nobody(ROUTER), VIP6, vip_group, vip_group_mac));
    assert_eq!(out[0].1[..6], [0x33, 0x33, 0, 0, 0, 1]);
    rig.dropped(S[0], &solicits(nobody(server_mac(0)), VIP6, vip_group, vip_group_mac), "server-announce");
    // A server asks in its VIP's name.
    let (router_group, router_group_mac) = group(ROUTER6);
    let out = rig.send(S[1], &solicits((server_mac(1), VIP6), ROUTER6, router_group, router_group_mac));
    assert_eq!(out.iter().map(|(port, _)| *port).collect::<Vec<_>>(), [R1, R2]);
    let question = Message::new_checked(&out[0].1[54..]).unwrap();
    assert_eq!((&out[0].1[6..12], question.source_link_layer()), (&VMAC_B.0[..], Some(VMAC_B)));
    assert!(question.has_good_checksum(VIP6, router_group));
    let advertisement = Advertisement::answering(VIP6, ROUTER6, ROUTER);
    let link = ethernet::Repr { src: ROUTER, dst: VMAC_B, tci: None };
    let mut answer = vec![0; advertisement.frame_len(&link)];
    advertisement.emit_frame(&link, &mut answer);
    let out = rig.send(R1, &answer);
    assert_eq!((out.len(), out[0].0, &out[0].1[..6]), (1, S[1], &server_mac(1).0[..]));
    assert_eq!(out[0].1[6..], answer[6..]);
    // An advertisement of the VIP itself.
    let claim = Advertisement::unsolicited(VIP6, ROUTER);
    let link = ethernet::Repr { src: ROUTER, dst: multicast::mac_v6(multicast::ALL_NODES), tci: None };
    let mut frame = vec![0; claim.frame_len(&link)];
    claim.emit_frame(&link, &mut frame);
    rig.dropped(R1, &frame, "vip-claimed");
    frame[6..12].copy_from_slice(&server_mac(2).0);
    rig.dropped(S[2], &frame, "server-announce");
    // From beyond the link.
    let mut far = solicits(router, VIP6, vip_group, vip_group_mac);
    far[21] = 64;
    rig.dropped(R1, &far, "nd-malformed");
}

#[test]
fn fs_1_a_servers_mac_is_learned_from_its_answer_and_another_is_an_alarm() {
    let mut learning = plan(Chooser::RoundRobin);
    learning.targets[1].mac = MacPlan::Learn;
    let mut rig = Rig::new(learning);
    let asked = (0..60).flat_map(|_| {
        rig.wait_ms(10);
        rig.wire.take_sent()
    });
    let asked: Vec<_> = asked.filter(|(port, _)| *port == S[1]).collect();
    let question = parsed(&asked.first().expect("the switch asks on the server's port").1);
    assert_eq!((question.target_ip, question.sender_ip), (VIP, Ipv4Addr::new(192, 0, 0, 8)));
    let reply = arp(Operation::Reply, server(1), (VMAC, question.sender_ip), VMAC);
    rig.dropped(S[1], &reply, "server-announce");
    rig.turn();
    let reached: Vec<usize> =
        (0..3).map(|port| rig.reaches(R1, &inbound(7000 + port, SYN).frame())).collect();
    assert!(reached.contains(&1), "it takes flows now");
    let other = MacAddr([2, 5, 5, 5, 5, 5]);
    rig.send(S[1], &arp(Operation::Reply, (other, VIP), (VMAC, question.sender_ip), VMAC));
    let report = rig.report();
    let target = report.targets.iter().find(|t| t.id == TargetId(1)).unwrap();
    assert_eq!((target.mac, target.contender), (Some(server_mac(1)), Some(other)));
    assert!(report.alarms.iter().any(|a| a.kind == AlarmKind::ServerMacChanged));
    // Only the operator's word changes it, and only to the MAC that he saw.
    let accept = |mac| ToDataPath::AcceptMac { target: TargetId(1), mac };
    rig.publisher.handle_message(accept(MacAddr([2, 4, 4, 4, 4, 4])), rig.now);
    assert_eq!(rig.report().targets[1].mac, Some(server_mac(1)));
    rig.publisher.handle_message(accept(other), rig.now);
    let report = rig.report();
    assert_eq!((report.targets[1].mac, report.targets[1].contender), (Some(other), None));
    let _ = IpAddr::from(VIP);
}

#[test]
fn a3_a_server_port_cannot_answer_in_a_routers_name() {
    let mut plan = plan(Chooser::RoundRobin);
    plan.routers = vec![RouterPlan {
        id: RouterId(0),
        name: "r1".into(),
        port: R1,
        vlan: VLAN,
        address: ROUTER_IP.into(),
        mac: None,
    }];
    let mut rig = Rig::new(plan);
    rig.send(S[0], &asks(server(0), ROUTER_IP));
    let stranger = MacAddr([2, 6, 6, 6, 6, 6]);
    let answer = arp(Operation::Reply, (stranger, ROUTER_IP), (VMAC, VIP), VMAC);
    rig.dropped(S[1], &answer, "router-claimed");
    rig.dropped(S[1], &asks((stranger, ROUTER_IP), VIP), "router-claimed");
    let answer = arp(Operation::Reply, (ROUTER, ROUTER_IP), (VMAC, VIP), VMAC);
    assert_eq!(rig.send(R1, &answer).len(), 1, "the router's own gets through");
}

#[test]
fn fs_1_fs_3_a_server_that_is_to_be_learned_may_probe_and_a_stranger_is_not_taken_for_it() {
    let mut learning = vip6_plan();
    learning.targets[1].mac = MacPlan::Learn;
    let mut rig = Rig::new(learning);
    // Others behind its port ask for the VIP, answer it, and look for addresses.
    let other = (MacAddr([2, 5, 5, 5, 5, 5]), Ipv4Addr::new(10, 9, 0, 55));
    let out = rig.send(S[1], &asks(other, VIP));
    assert_eq!(parsed(&out.first().expect("an answer").1).sender_mac, VMAC);
    rig.dropped(S[1], &arp(Operation::Reply, other, (VMAC, VIP), VMAC), "unasked");
    // Its own duplicate address detection: an answer would keep it from its address.
    rig.dropped(S[1], &asks((server_mac(1), Ipv4Addr::UNSPECIFIED), VIP), "server-announce");
    let (vip_group, vip_group_mac) = group(VIP6);
    let nobody = (server_mac(1), Ipv6Addr::UNSPECIFIED);
    rig.dropped(S[1], &solicits(nobody, VIP6, vip_group, vip_group_mac), "server-announce");
    assert_eq!(rig.report().targets[1].mac, None);
    rig.dropped(S[1], &asks(server(1), VIP), "server-announce");
    assert_eq!(rig.report().targets[1].mac, Some(server_mac(1)), "its announcement tells");
}

#[test]
fn fs_1_two_servers_behind_one_shared_port_are_learned_each_for_itself() {
    let mut learning = plan(Chooser::RoundRobin);
    learning.ports[3].shared = true;
    for target in &mut learning.targets[1..] {
        (target.mac, target.port) = (MacPlan::Learn, S[1]);
    }
    let mut rig = Rig::new(learning);
    for n in [1, 2, 1] {
        rig.send(S[1], &asks(server(n), VIP));
        rig.turn();
    }
    let macs: Vec<_> = rig.report().targets.iter().map(|t| (t.mac, t.contender)).collect();
    assert_eq!(macs[1..], [(Some(server_mac(1)), None), (Some(server_mac(2)), None)]);
    let third = MacAddr([2, 5, 5, 5, 5, 5]);
    rig.send(S[1], &asks((third, VIP), VIP));
    assert!(rig.report().alarms.iter().any(|a| a.kind == AlarmKind::ServerMacChanged && a.mac == third));
}

#[test]
fn fs_2_many_vips_are_announced_on_many_ports_without_a_loss() {
    let mut many = plan(Chooser::RoundRobin);
    let like = many.ports[0].clone();
    many.ports.extend((5..32).map(|id| dataplane_message::PortPlan {
        id: PortId(id),
        name: format!("p{id}"),
        ..like.clone()
    }));
    let members = many.clusters[0].services[0].members.clone();
    for n in 1..9_u16 {
        let vip = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0x100 + n);
        let vmac = MacAddr([2, 0, 0x5e, 1, 0, n as u8]);
        many.clusters.push(cluster(n, &format!("web6-{n}"), vip.into(), vmac, &members, Chooser::RoundRobin));
    }
    let mut rig = Rig::new(many.clone());
    (0..400).for_each(|_| rig.wait_ms(10));
    rig.link(PortId(31), false);
    rig.wire.take_sent();
    rig.link(PortId(31), true);
    let mut sent = 0;
    for _ in 0..400 {
        rig.wait_ms(10);
        sent += rig.wire.take_sent().iter().filter(|(_, f)| f[..6] == [0x33, 0x33, 0, 0, 0, 1]).count();
    }
    assert_eq!(rig.drop_count("outbox-full"), 0);
    assert_eq!(sent, 3 * 8 * 29, "three of each VIP on each port without its servers");
}

#[test]
fn fs_3_an_address_is_defended_past_the_servers_behind_the_same_port() {
    let mut rig = Rig::new(vip6_plan());
    let (vip_group, vip_group_mac) = group(VIP6);
    let stranger = MacAddr([2, 6, 6, 6, 6, 6]);
    let out = rig.send(S[0], &solicits((stranger, Ipv6Addr::UNSPECIFIED), VIP6, vip_group, vip_group_mac));
    assert_eq!((out.len(), out[0].0, &out[0].1[..6]), (1, S[0], &stranger.0[..]));
    assert_eq!(out[0].1[38..54], multicast::ALL_NODES.octets());
}
