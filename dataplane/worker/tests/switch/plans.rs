//! Bridging, VLANs and plans: FS-4a, FS-5, F4, F5, A7, DESIGN §1.

use crate::rig::*;
use dataplane_message::{AlarmKind, Chooser, Plan, ServicePlan, ToControl, ToDataPath, VERSION};
use dataplane_port::{PortId, VlanId};
use dataplane_wire::MacAddr;
use std::net::Ipv4Addr;

const A: MacAddr = MacAddr([2, 0, 0, 0, 7, 1]);
const B: MacAddr = MacAddr([2, 0, 0, 0, 7, 2]);

fn frame(from: MacAddr, to: MacAddr) -> Vec<u8> {
    udp((from, Ipv4Addr::new(10, 9, 0, 7), 9), (to, Ipv4Addr::new(10, 9, 0, 8), 9), b"x")
}

#[test]
fn fs_5_unknown_is_flooded_known_goes_to_its_port_and_ages() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.bridged(R1, &frame(A, B), &[R2, S[0], S[1], S[2]]);
    rig.wait_ms(20);
    rig.bridged(S[0], &frame(B, A), &[R1]);
    rig.wait_ms(20);
    rig.bridged(R1, &frame(A, B), &[S[0]]);
    rig.dropped(R1, &frame(A, A), "no-egress");
    rig.bridged(R1, &frame(A, MacAddr::BROADCAST), &[R2, S[0], S[1], S[2]]);
    for _ in 0..310 {
        rig.wait_ms(1000);
    }
    rig.wait_ms(20);
    rig.wire.take_sent();
    rig.bridged(R1, &frame(A, B), &[R2, S[0], S[1], S[2]]);
}

#[test]
fn a7_a_flood_of_sources_leaves_servers_and_routers_known() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.reaches(R1, &inbound(1, SYN).frame());
    rig.wait_ms(20);
    for n in 0..20_000_u32 {
        let mac = MacAddr([2, 8, (n >> 16) as u8, (n >> 8) as u8, n as u8, 1]);
        rig.send(R2, &frame(mac, A));
    }
    rig.bridged(S[0], &outbound(0, 1, ACK).frame(), &[R1]);
    rig.reaches(R1, &inbound(2, SYN).frame());
    assert!(rig.report().bridge.len() <= 1024);
}

#[test]
fn fs_5_what_no_bridge_forwards() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    for last in [1, 2, 3, 0x0f] {
        let pause = frame(A, MacAddr([1, 0x80, 0xc2, 0, 0, last]));
        rig.dropped(R1, &pause, "link-local");
    }
    let bpdu = frame(A, MacAddr([1, 0x80, 0xc2, 0, 0, 0]));
    rig.bridged(R1, &bpdu, &[R2, S[0], S[1], S[2]]);
    // A DHCP server behind a server's port.
    let offer =
        udp((A, Ipv4Addr::new(10, 9, 0, 66), 67), (MacAddr::BROADCAST, Ipv4Addr::BROADCAST, 68), &[2; 240]);
    rig.dropped(S[0], &offer, "guard");
    rig.bridged(R1, &offer, &[R2, S[0], S[1], S[2]]);
}

#[test]
fn fs_5_lldp_is_taken_in_and_sent() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let neighbour = dataplane_wire::lldp::Announcement {
        chassis: A,
        port: "Ethernet1/7",
        system_name: "core-switch",
        ttl_s: 120,
    };
    let mut bytes = vec![0; neighbour.frame_len()];
    neighbour.emit_frame(A, &mut bytes);
    assert!(rig.send(R1, &bytes).is_empty());
    let seen = rig.report().ports[0].neighbour.clone().unwrap();
    assert!(seen.contains("core-switch") && seen.contains("Ethernet1/7"), "{seen}");
    let mut sent = Vec::new();
    for _ in 0..32 {
        rig.wait_ms(1000);
        sent.extend(rig.wire.take_sent());
    }
    let ours: Vec<PortId> = sent.iter().filter(|(_, f)| f[12..14] == [0x88, 0xcc]).map(|(p, _)| *p).collect();
    assert_eq!(ours, [R1, R2, S[0], S[1], S[2]]);
}

#[test]
fn fs_5_storms_are_limited_by_port() {
    let mut limited = plan(Chooser::RoundRobin);
    for port in &mut limited.ports {
        port.storm_pps = 1000;
    }
    let mut rig = Rig::new(limited);
    for _ in 0..5000 {
        rig.send(R1, &frame(A, MacAddr::BROADCAST));
    }
    assert!(rig.drop_count("storm") >= 3900, "{:?}", rig.drops());
    rig.bridged(R2, &frame(B, MacAddr::BROADCAST), &[R1, S[0], S[1], S[2]]);
    rig.reaches(R1, &inbound(1, SYN).frame());
}

/// Port 0 is a trunk of VLANs 1 and 20; ports 1, 2, 3 have VLAN 1 untagged, port 4 VLAN 20.
fn trunk() -> Plan {
    let mut plan = plan(Chooser::RoundRobin);
    plan.ports[0].untagged = None;
    plan.ports[0].tagged = vec![VlanId(1), VlanId(20)];
    plan.ports[4].untagged = Some(VlanId(20));
    plan.clusters[0] =
        cluster(0, "web", VIP.into(), VMAC, &[member(0, 1), member(1, 1)], Chooser::RoundRobin);
    plan
}

#[test]
fn f4_f5_vlans_are_kept_apart_and_tags_follow_the_port() {
    let mut rig = Rig::new(trunk());
    // Steered from the trunk to an untagged server port: the tag comes off, the rest is as it was.
    let plain = inbound(4000, SYN).frame();
    let out = rig.send(R1, &tagged(&plain, 0x6001));
    let [(port, sent)] = &out[..] else { panic!("{out:?} {:?}", rig.drops()) };
    let server = S.iter().position(|s| s == port).unwrap();
    assert_eq!((&sent[..6], &sent[6..]), (&server_mac(server).0[..], &plain[6..]));
    // Back: the tag goes on.
    rig.wait_ms(20);
    let answer = outbound(server, 4000, SYN | ACK).frame();
    let out = rig.send(S[server], &answer);
    assert_eq!(out, [(R1, tagged(&answer, 1))]);
    // The same VIP in another VLAN is nobody's: bridged there (FS-4).
    let out = rig.send(R1, &tagged(&plain, 20));
    assert_eq!(out, [(S[2], plain.clone())]);
    rig.dropped(R1, &plain, "vlan-not-member");
    rig.dropped(R1, &tagged(&plain, 30), "vlan-not-member");
    rig.dropped(R2, &tagged(&plain, 20), "vlan-not-member");
    rig.dropped(R2, &tagged(&plain, 1), "vlan-not-member");
    // VID 0 is untagged, for every check alike.
    rig.dropped(R1, &tagged(&plain, 0x2000), "vlan-not-member");
    let out = rig.send(R2, &tagged(&inbound(4001, SYN).frame(), 0x2000));
    assert!(out.len() == 1 && S.contains(&out[0].0), "{out:?}");
    // Two tags: the inner VLAN never comes to light.
    let hop = tagged(&tagged(&frame(A, MacAddr::BROADCAST), 20), 1);
    rig.dropped(R1, &hop, "no-egress");
    let three = tagged(&tagged(&tagged(&plain, 1), 1), 1);
    rig.dropped(R1, &three, "tag-depth");
}

#[test]
fn fs_4a_services_have_servers_of_their_own() {
    let mut services = plan(Chooser::RoundRobin);
    let of = |name: &str, ports, member| ServicePlan {
        name: name.into(),
        protocol: Some(6),
        ports,
        ..service(Chooser::RoundRobin, &[member])
    };
    let rest = services.clusters[0].services.remove(0);
    services.clusters[0].services =
        vec![of("http", 80..=80, member(1, 1)), of("alt", 8000..=8100, member(2, 1)), rest];
    let mut rig = Rig::new(services);
    let to = |port: u16, dst: u16| Tcp { dst: (VMAC, VIP, dst), ..inbound(port, SYN) }.frame();
    assert!((1000..1010).all(|port| rig.reaches(R1, &to(port, 80)) == 1));
    assert!((2000..2010).all(|port| rig.reaches(R1, &to(port, 8050)) == 2));
    let rest: Vec<usize> = (3000..3003).map(|port| rig.reaches(R1, &to(port, 22))).collect();
    assert_eq!(rest, [0, 1, 2]);
    let counted: Vec<u64> = rig.report().clusters[0].services.iter().map(|s| s.flows_new).collect();
    assert_eq!(counted, [10, 10, 3]);
}

#[test]
fn a_removed_servers_flows_do_not_fall_to_its_successor_by_number() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let servers: Vec<usize> = (1000..1030).map(|port| rig.reaches(R1, &inbound(port, SYN).frame())).collect();
    let mut without = rig.plan.clone();
    without.targets.remove(2);
    without.clusters[0] =
        cluster(0, "web", VIP.into(), VMAC, &[member(0, 1), member(1, 1)], Chooser::RoundRobin);
    rig.apply(without);
    for (port, before) in (1000..1030).zip(servers) {
        let now = rig.reaches(R1, &inbound(port, ACK).frame());
        assert!(now == before || before == 2 && now != 2);
    }
}

#[test]
fn a_control_core_that_comes_back_adopts_what_is_in_force() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    rig.publisher.handle_disconnect(rig.now);
    assert_eq!(rig.reaches(R1, &inbound(4000, ACK).frame()), server, "forwarding goes on");
    rig.publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 2 }, rig.now);
    let Some(ToControl::Snapshot { epoch, plan, boot_id, report, .. }) = rig.publisher.poll_message() else {
        panic!("a snapshot answers a greeting");
    };
    assert_eq!((epoch, *plan, boot_id), (rig.epoch, rig.plan.clone(), 7));
    assert_eq!(report.targets.len(), 3);
    rig.publisher.handle_message(ToDataPath::Hello { version: VERSION + 1, sender: 3 }, rig.now);
    assert!(matches!(rig.publisher.poll_message(), Some(ToControl::Refused { .. })));
}

#[test]
fn a_plan_that_does_not_fit_is_refused_and_the_old_one_stays() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let mut broken = rig.plan.clone();
    broken.clusters[0].servers.push(dataplane_flow::TargetId(77));
    let steps = Plan::between(&rig.plan, &broken);
    rig.publisher.handle_message(ToDataPath::Apply { epoch: 9, steps }, rig.now);
    let refused = std::iter::from_fn(|| rig.publisher.poll_message())
        .any(|m| matches!(m, ToControl::Refused { epoch: 9, .. }));
    assert!(refused);
    rig.reaches(R1, &inbound(4000, SYN).frame());
}

#[test]
fn a6_an_address_that_flaps_is_an_alarm() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    for i in 0..12 {
        rig.send(if i % 2 == 0 { R1 } else { R2 }, &frame(A, B));
        rig.wait_ms(12);
    }
    assert!(rig.report().alarms.iter().any(|a| a.kind == AlarmKind::Flapping && a.mac == A));
}

#[test]
fn fs_5_lldp_is_taken_in_on_a_trunk_too() {
    let mut rig = Rig::new(trunk());
    let neighbour = dataplane_wire::lldp::Announcement {
        chassis: A,
        port: "Ethernet1/7",
        system_name: "core",
        ttl_s: 120,
    };
    let mut bytes = vec![0; neighbour.frame_len()];
    neighbour.emit_frame(A, &mut bytes);
    assert!(rig.send(R1, &bytes).is_empty());
    assert!(rig.report().ports[0].neighbour.as_ref().is_some_and(|seen| seen.contains("core")));
    assert!(!rig.report().bridge.iter().any(|row| row.vlan == VlanId(0)), "learned in no VLAN");
}

#[test]
fn fs_5_what_a_link_brought_is_known_again_as_soon_as_it_sends() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.bridged(R1, &frame(A, MacAddr::BROADCAST), &[R2, S[0], S[1], S[2]]);
    rig.link(R1, false);
    rig.link(R1, true);
    rig.bridged(R1, &frame(A, MacAddr::BROADCAST), &[R2, S[0], S[1], S[2]]);
    rig.bridged(S[0], &frame(B, A), &[R1]);
    // It moves away, seen by another worker, and comes back.
    let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), 2);
    for (worker, port) in [(0, R1), (1, R2), (0, R1)] {
        rig.send_by(worker, port, &frame(A, MacAddr::BROADCAST));
        rig.wait_ms(20);
        rig.turn();
        rig.wire.take_sent();
        rig.bridged(S[0], &frame(B, A), &[port]);
    }
}

#[test]
fn a_plan_is_acknowledged_while_stations_come_and_go() {
    let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), 2);
    rig.publisher.handle_message(ToDataPath::Apply { epoch: 77, steps: vec![] }, rig.now);
    let acknowledged = (0..50_u8).any(|n| {
        rig.wire.push(dataplane_port::WorkerId(0), R1, frame(MacAddr([2, 0, 0, 1, 1, n]), A));
        rig.turn();
        std::iter::from_fn(|| rig.publisher.poll_message()).any(|m| m == ToControl::Ack { epoch: 77 })
    });
    assert!(acknowledged);
}

#[test]
fn fs_5_a_trunk_carries_every_vlan() {
    let mut plan = plan(Chooser::RoundRobin);
    for port in &mut plan.ports[..2] {
        port.tagged = (2..4095).map(VlanId).collect();
    }
    let mut rig = Rig::new(plan);
    for vlan in [2, 255, 256, 257, 1000, 4094] {
        rig.bridged(R1, &tagged(&frame(A, MacAddr::BROADCAST), vlan), &[R2]);
    }
}

#[test]
fn f5_a_port_that_has_left_a_vlan_gets_no_frame_of_it() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.bridged(R2, &frame(B, MacAddr::BROADCAST), &[R1, S[0], S[1], S[2]]);
    rig.bridged(R1, &frame(A, B), &[R2]);
    let mut moved = rig.plan.clone();
    moved.ports[1].untagged = Some(VlanId(20));
    rig.apply(moved);
    rig.dropped(R1, &frame(A, B), "no-egress");
}
