//! Answers to probes by ARP and ND, and those of routers, go to the control core (FS-13, FS-30); what a
//! server says with a wrong MAC is named.

use crate::neighbours::{ROUTER6, VIP6, arp, asks, group, parsed, server, solicits};
use crate::pools::{ROUTER_2, ROUTER_2_IP, default_routers, down};
use crate::rig::*;
use dataplane_message::{AlarmKind, PROBE_PORT_FIRST, Plan, ToControl};
use dataplane_port::PortId;
use dataplane_wire::arp::Operation;
use dataplane_wire::nd::{Advertisement, Flags, Message};
use dataplane_wire::{MacAddr, ethernet};
use etherparse::PacketBuilder;
use std::net::{Ipv4Addr, Ipv6Addr};

const PROBE: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);
/// The link-local address of VMAC_B (RFC 4291, appendix A).
const PROBE6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0000, 0x5eff, 0xfe00, 2);

fn probed() -> Plan {
    let mut plan = default_routers();
    plan.clusters[1].probe = PROBE6.into();
    plan
}

/// What control is given when the frame goes in; the switch sends nothing for it.
fn punted(rig: &mut Rig, port: PortId, frame: &[u8]) -> Vec<(PortId, Vec<u8>)> {
    while rig.publisher.poll_message().is_some() {}
    let out = rig.send(port, frame);
    assert!(out.is_empty(), "sent {out:x?}");
    rig.publisher.handle_deadline(rig.now);
    std::iter::from_fn(|| rig.publisher.poll_message())
        .filter_map(|message| match message {
            ToControl::Punt { port, frame } => Some((port, frame)),
            _ => None,
        })
        .collect()
}

fn advertises(src: (MacAddr, Ipv6Addr), to: (MacAddr, Ipv6Addr), at: MacAddr) -> Vec<u8> {
    let message = Advertisement {
        src: src.1,
        dst: to.1,
        target: src.1,
        flags: Flags::SOLICITED.with(Flags::OVERRIDE),
        target_link_layer: at,
    };
    let link = ethernet::Repr { src: src.0, dst: to.0, tci: None };
    let mut frame = vec![0; message.frame_len(&link)];
    message.emit_frame(&link, &mut frame);
    frame
}

fn echo_reply(src: (MacAddr, Ipv4Addr), id: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(src.0.0, VMAC.0)
        .ipv4(src.1.octets(), VIP.octets(), 64)
        .icmpv4_echo_reply(id, 1)
        .write(&mut frame, &[0; 32])
        .unwrap();
    frame
}

#[test]
fn fs30_a_servers_arp_and_nd_answers_to_a_probe_are_punted_and_others_swallowed() {
    let mut rig = Rig::new(probed());
    for to in [VMAC, ROUTER] {
        let reply = arp(Operation::Reply, server(1), (to, PROBE), to);
        assert_eq!(punted(&mut rig, S[1], &reply), [(S[1], reply)]);
    }
    let answer = advertises((server_mac(2), VIP6), (VMAC_B, PROBE6), server_mac(2));
    assert_eq!(punted(&mut rig, S[2], &answer), [(S[2], answer)]);
    rig.dropped(S[1], &arp(Operation::Reply, server(1), (ROUTER, ROUTER_IP), ROUTER), "server-announce");
    rig.dropped(
        S[1],
        &arp(Operation::Request, server(1), (VMAC, VIP), MacAddr::BROADCAST),
        "server-announce",
    );
    let other = advertises((server_mac(2), VIP6), (ROUTER, ROUTER6), server_mac(2));
    rig.dropped(S[2], &other, "server-announce");
    // Nobody but the server itself.
    rig.dropped(S[1], &arp(Operation::Reply, server(2), (VMAC, PROBE), VMAC), "vip-claimed");
    rig.dropped(R1, &arp(Operation::Reply, (ROUTER, VIP), (VMAC, PROBE), VMAC), "vip-claimed");
    // Tagged, as it came.
    let mut plan = probed();
    (plan.ports[3].untagged, plan.ports[3].tagged) = (None, vec![VLAN]);
    let mut rig = Rig::new(plan);
    let reply = tagged(&arp(Operation::Reply, server(1), (VMAC, PROBE), VMAC), 1);
    assert_eq!(punted(&mut rig, S[1], &reply), [(S[1], reply)]);
}

#[test]
fn fs30_a_probe_from_the_gateways_address_is_answered_and_punted_alike() {
    let mut plan = probed();
    plan.clusters[0].probe = ROUTER_IP.into();
    let mut rig = Rig::new(plan);
    let reply = arp(Operation::Reply, server(1), (ROUTER, ROUTER_IP), ROUTER);
    assert_eq!(punted(&mut rig, S[1], &reply), [(S[1], reply)]);
    // The router has its address: it answers itself, while it can.
    assert!(rig.send(S[1], &asks(server(1), ROUTER_IP)).iter().all(|(port, _)| *port != S[1]));
    down(&mut rig, &[0, 1]);
    assert_eq!(parsed(&rig.send(S[1], &asks(server(1), ROUTER_IP))[0].1).sender_mac, ROUTER);
}

#[test]
fn fs30_the_probes_address_is_answered_with_the_vmac_on_the_servers_port_only() {
    let mut rig = Rig::new(probed());
    let out = rig.send(S[0], &asks(server(0), PROBE));
    let [(port, frame)] = &out[..] else { panic!("{out:x?}") };
    assert_eq!((*port, &frame[..6], &frame[6..12]), (S[0], &server_mac(0).0[..], &VMAC.0[..]));
    assert_eq!((parsed(frame).sender_mac, parsed(frame).sender_ip), (VMAC, PROBE));
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 1);
    for src in [VIP6, local] {
        for (dst, to) in [group(PROBE6), (PROBE6, VMAC_B)] {
            let out = rig.send(S[1], &solicits((server_mac(1), src), PROBE6, dst, to));
            let [(port, frame)] = &out[..] else { panic!("{out:x?}") };
            let message = Message::new_checked(&frame[54..]).unwrap();
            assert_eq!((*port, &frame[..6]), (S[1], &server_mac(1).0[..]));
            assert_eq!((message.target(), message.target_link_layer()), (Some(PROBE6), Some(VMAC_B)));
            let flags = Flags::SOLICITED.with(Flags::OVERRIDE);
            assert_eq!(message.flags(), flags, "no router, or hosts would send through it");
            assert!(message.is_valid(PROBE6, src, 255));
        }
    }
    // Nobody else is answered.
    let host = (MacAddr([2, 0, 0, 0, 3, 1]), Ipv4Addr::new(10, 9, 0, 60));
    for port in [R1, S[0]] {
        assert!(rig.send(port, &asks(host, PROBE)).iter().all(|(to, _)| *to != port));
    }
}

#[test]
fn fs13_a_routers_answers_to_probes_are_punted_and_servers_that_asked_have_theirs() {
    let mut rig = Rig::new(probed());
    let reply = arp(Operation::Reply, (ROUTER_2, ROUTER_2_IP), (VMAC, VIP), VMAC);
    assert_eq!(punted(&mut rig, R2, &reply), [(R2, reply.clone())]);
    let answer = advertises((ROUTER, ROUTER6), (VMAC_B, VIP6), ROUTER);
    assert_eq!(punted(&mut rig, R1, &answer), [(R1, answer.clone())]);
    // A server has asked too.
    rig.send(S[2], &asks(server(2), ROUTER_2_IP));
    let out = rig.send(R2, &reply);
    assert_eq!((out.len(), out[0].0, &out[0].1[..6]), (1, S[2], &server_mac(2).0[..]));
    assert_eq!(parsed(&out[0].1).target_mac, server_mac(2));
    let (dst, to) = group(ROUTER6);
    rig.send(S[0], &solicits((server_mac(0), VIP6), ROUTER6, dst, to));
    let out = rig.send(R1, &answer);
    assert_eq!(
        (out.len(), out[0].0, &out[0].1[..6], &out[0].1[6..]),
        (1, S[0], &server_mac(0).0[..], &answer[6..])
    );
    // From a server's port it is a lie, from a host that is no router it was not asked for.
    rig.dropped(S[0], &reply, "router-claimed");
    let host = (MacAddr([2, 0, 0, 0, 3, 1]), Ipv4Addr::new(10, 9, 0, 60));
    rig.dropped(R1, &arp(Operation::Reply, host, (VMAC, VIP), VMAC), "unasked");
}

#[test]
fn fs13_echo_replies_from_and_through_routers_are_punted_and_leave_no_flow() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(probed(), workers);
        let through = Ipv4Addr::new(192, 0, 2, 1);
        for (port, from, id) in
            [(R1, (ROUTER, ROUTER_IP), 0), (R2, (ROUTER_2, through), 1), (R1, (ROUTER, through), 1)]
        {
            let reply = echo_reply(from, PROBE_PORT_FIRST + id);
            assert_eq!(punted(&mut rig, port, &reply), [(port, reply)]);
        }
        let mut reply6 = Vec::new();
        PacketBuilder::ethernet2(ROUTER.0, VMAC_B.0)
            .ipv6(ROUTER6.octets(), VIP6.octets(), 64)
            .icmpv6_echo_reply(PROBE_PORT_FIRST + 2, 1)
            .write(&mut reply6, &[0; 32])
            .unwrap();
        assert_eq!(punted(&mut rig, R1, &reply6), [(R1, reply6.clone())]);
        assert_eq!(rig.flows().len(), 0);
        // No router has this number: an echo reply like any other.
        rig.reaches(R1, &echo_reply((ROUTER, through), PROBE_PORT_FIRST + 4));
        // A server asks with such an identifier: the answer is its own (FS-25).
        let mut ping = Vec::new();
        PacketBuilder::ethernet2(server_mac(1).0, ROUTER.0)
            .ipv4(VIP.octets(), through.octets(), 64)
            .icmpv4_echo_request(PROBE_PORT_FIRST, 7)
            .write(&mut ping, &[0; 32])
            .unwrap();
        assert_eq!(rig.send(S[1], &ping).len(), 1);
        let reply = echo_reply((ROUTER, through), PROBE_PORT_FIRST);
        assert_eq!(rig.reaches(R1, &reply), 1);
        // ... and control, which may have asked the same address, hears it too.
        rig.turn();
        let heard = std::iter::from_fn(|| rig.publisher.poll_message())
            .any(|message| matches!(message, ToControl::Punt { port: R1, frame } if frame == reply));
        assert!(heard);
    }
}

#[test]
fn a2_a_server_that_tells_a_wrong_mac_is_named_by_its_port_and_nothing_else_is_disturbed() {
    let mut rig = Rig::new(probed());
    let wrong = MacAddr([2, 6, 6, 6, 6, 6]);
    let named = |rig: &mut Rig| -> Vec<(PortId, MacAddr)> {
        let alarms = rig.report().alarms;
        alarms.iter().filter(|a| a.kind == AlarmKind::ServerWrongMac).map(|a| (a.port, a.mac)).collect()
    };
    assert_eq!(named(&mut rig), []);
    // Its frame is its own, what it says is not.
    let mut lie = arp(Operation::Reply, (wrong, VIP), (ROUTER, ROUTER_IP), ROUTER);
    lie[6..12].copy_from_slice(&server_mac(0).0);
    rig.dropped(S[0], &lie, "arp-malformed");
    assert_eq!(named(&mut rig), [(S[0], server_mac(0))]);
    let lie = advertises((server_mac(1), VIP6), (ROUTER, ROUTER6), wrong);
    rig.dropped(S[1], &lie, "server-announce");
    assert_eq!(named(&mut rig)[1..], [(S[1], server_mac(1))]);
    // Another device, or another card of it, speaks for the VIP on its port.
    rig.dropped(S[2], &arp(Operation::Reply, (wrong, VIP), (ROUTER, ROUTER_IP), ROUTER), "vip-claimed");
    assert_eq!(named(&mut rig)[2..], [(S[2], wrong)]);
    // Outside, a claim is a claim and no server's.
    rig.dropped(R1, &arp(Operation::Reply, (wrong, VIP), (ROUTER, ROUTER_IP), ROUTER), "vip-claimed");
    assert_eq!(named(&mut rig).len(), 3);
    rig.reaches(R1, &inbound(4000, SYN).frame());
    assert_eq!(parsed(&rig.send(R2, &asks((ROUTER, ROUTER_IP), VIP))[0].1).sender_mac, VMAC);
    // What honest servers say names nobody.
    rig.send(S[0], &arp(Operation::Reply, server(0), (ROUTER, ROUTER_IP), ROUTER));
    rig.send(S[1], &advertises((server_mac(1), VIP6), (ROUTER, ROUTER6), server_mac(1)));
    rig.send(S[1], &asks((server_mac(1), Ipv4Addr::new(10, 9, 0, 31)), ROUTER_IP));
    assert_eq!(named(&mut rig).len(), 3);
}
