//! Router pools: which router each server is told (FS-12), and what servers hear of routers that are gone.

use crate::neighbours::{ROUTER6, VIP6, arp, asks, group, parsed, server, solicits, vip6_plan};
use crate::rig::*;
use dataplane_flow::{PoolId, RouterId, TargetId};
use dataplane_message::{
    Admin, Assignment, Chooser, Conditions, MacPlan, Plan, PoolPlan, PortPlan, PortRole, Redirect,
    RouterCondition, RouterPlan, Spread, Stp, TargetPlan, ToDataPath,
};
use dataplane_port::PortId;
use dataplane_wire::arp::Operation;
use dataplane_wire::nd::{Advertisement, Flags, Kind, Message};
use dataplane_wire::{MacAddr, ethernet, multicast};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const POOL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
pub(crate) const POOL6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xfe);
pub(crate) const ROUTER_2: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xa2]);
pub(crate) const ROUTER_2_IP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
/// What a VRRP master speaks with (RFC 5798 §7.3).
const VIRTUAL: MacAddr = MacAddr([0, 0, 0x5e, 0, 1, 9]);

fn router(id: u16, port: PortId, address: IpAddr, mac: Option<MacAddr>) -> RouterPlan {
    RouterPlan { id: RouterId(id), name: format!("r{id}"), port, vlan: VLAN, address, mac }
}

/// Two routers behind the two outside ports, each with an IPv4 and an IPv6 address and a pool for each
/// family; routers 0 and 2 are one machine, 1 and 3 the other.
pub(crate) fn two_routers(spread: Spread, redirect: Redirect) -> Plan {
    let mut plan = vip6_plan();
    let second6 = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 2);
    plan.routers = vec![
        router(0, R1, ROUTER_IP.into(), Some(ROUTER)),
        router(1, R2, ROUTER_2_IP.into(), Some(ROUTER_2)),
        router(2, R1, ROUTER6.into(), Some(ROUTER)),
        router(3, R2, second6.into(), Some(ROUTER_2)),
    ];
    let pool = |id: u16, address: IpAddr, routers: [u16; 2]| PoolPlan {
        id: PoolId(id),
        name: format!("pool-{id}"),
        vlan: VLAN,
        address,
        routers: routers.map(RouterId).to_vec(),
        spread,
        redirect,
    };
    plan.pools = vec![pool(0, POOL.into(), [0, 1]), pool(1, POOL6.into(), [2, 3])];
    plan
}

pub(crate) fn default_routers() -> Plan {
    two_routers(Spread::Server, Redirect::All)
}

/// Control says so; the workers have it afterwards.
pub(crate) fn conditions(rig: &mut Rig, conditions: Conditions) {
    rig.publisher.handle_message(ToDataPath::Conditions(Box::new(conditions)), rig.now);
    rig.turn();
    rig.wire.take_sent();
}

/// These routers are down.
pub(crate) fn down(rig: &mut Rig, routers: &[u16]) {
    let condition = |id: &u16| RouterCondition { id: RouterId(*id), up: false, mac: None };
    let routers = routers.iter().map(condition).collect();
    conditions(rig, Conditions { serial: rig.epoch, routers, ..Conditions::default() });
}

/// The MAC that server `n` is told for the address, on its own port only.
fn told(rig: &mut Rig, n: usize, address: Ipv4Addr) -> Option<MacAddr> {
    let out = rig.send(S[n], &asks(server(n), address));
    let [(port, frame)] = &out[..] else { return None };
    if *port != S[n] {
        return None;
    }
    let answer = parsed(frame);
    assert_eq!((&frame[..6], &frame[6..12]), (&server_mac(n).0[..], &answer.sender_mac.0[..]));
    assert_eq!((answer.operation, answer.sender_ip, answer.target_ip), (Operation::Reply, address, VIP));
    assert_eq!(answer.target_mac, server_mac(n));
    Some(answer.sender_mac)
}

fn told_v6(rig: &mut Rig, n: usize, src: Ipv6Addr, address: Ipv6Addr) -> Option<(MacAddr, Flags)> {
    let (dst, to) = group(address);
    let out = rig.send(S[n], &solicits((server_mac(n), src), address, dst, to));
    let [(port, frame)] = &out[..] else { return None };
    if *port != S[n] {
        return None;
    }
    let message = Message::new_checked(&frame[54..]).unwrap();
    assert_eq!((message.kind(), message.target()), (Kind::NeighbourAdvertisement, Some(address)));
    assert!(message.is_valid(address, src, 255));
    let mac = message.target_link_layer().unwrap();
    assert_eq!((&frame[..6], &frame[6..12]), (&server_mac(n).0[..], &mac.0[..]));
    Some((mac, message.flags()))
}

fn advertises(src: MacAddr, target: Ipv6Addr, dst: Ipv6Addr, to: MacAddr) -> Vec<u8> {
    let message = Advertisement { dst, ..Advertisement::unsolicited(target, src) };
    let link = ethernet::Repr { src, dst: to, tci: None };
    let mut frame = vec![0; message.frame_len(&link)];
    message.emit_frame(&link, &mut frame);
    frame
}

fn ports(out: &[(PortId, Vec<u8>)]) -> Vec<PortId> {
    let mut ports: Vec<PortId> = out.iter().map(|(port, _)| *port).collect();
    ports.sort();
    ports
}

#[test]
fn fs12_a_server_that_asks_for_a_pool_is_told_its_own_router_on_its_port_only() {
    let mut rig = Rig::new(default_routers());
    let heard: Vec<_> = (0..3).map(|n| told(&mut rig, n, POOL)).collect();
    assert_eq!(heard, [Some(ROUTER), Some(ROUTER_2), Some(ROUTER)], "round robin by server");
    // IPv6, asked in the VIP's name or in a link-local one; hosts keep it as a router.
    let flags = Flags::ROUTER.with(Flags::SOLICITED).with(Flags::OVERRIDE);
    let local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 1, 1);
    for src in [VIP6, local] {
        assert_eq!(told_v6(&mut rig, 0, src, POOL6), Some((ROUTER, flags)));
        assert_eq!(told_v6(&mut rig, 1, src, POOL6), Some((ROUTER_2, flags)));
    }
    // With an address of its own as sender.
    let own = asks((server_mac(1), Ipv4Addr::new(10, 9, 0, 31)), POOL);
    let out = rig.send(S[1], &own);
    assert_eq!((out.len(), out[0].0, parsed(&out[0].1).sender_mac), (1, S[1], ROUTER_2));
    // Tagged, as it was asked.
    let mut plan = default_routers();
    (plan.ports[2].untagged, plan.ports[2].tagged) = (None, vec![VLAN]);
    let mut rig = Rig::new(plan);
    let out = rig.send(S[0], &tagged(&asks(server(0), POOL), 1));
    assert_eq!((out.len(), out[0].0, &out[0].1[12..18]), (1, S[0], &[0x81, 0, 0, 1, 8, 6][..]));
}

#[test]
fn fs12_control_assigns_and_a_router_that_is_gone_is_stood_in_for() {
    let mut rig = Rig::new(default_routers());
    let assigned = |of: [u16; 3]| Conditions {
        assignments: (0..3_u16)
            .zip(of)
            .map(|(n, router)| Assignment { pool: PoolId(0), target: TargetId(n), router: RouterId(router) })
            .collect(),
        ..Conditions::default()
    };
    conditions(&mut rig, assigned([1, 1, 0]));
    let heard = |rig: &mut Rig| [0, 1, 2].map(|n| told(rig, n, POOL).expect("an answer"));
    assert_eq!(heard(&mut rig), [ROUTER_2, ROUTER_2, ROUTER]);
    let gone = |id| RouterCondition { id: RouterId(id), up: false, mac: None };
    conditions(&mut rig, Conditions { routers: vec![gone(1)], ..assigned([1, 1, 0]) });
    assert_eq!(heard(&mut rig), [ROUTER; 3], "its live substitute");
    // Row l: none is left, and nothing changes at the servers.
    conditions(&mut rig, Conditions { routers: vec![gone(0), gone(1)], ..assigned([1, 1, 0]) });
    assert_eq!(heard(&mut rig), [ROUTER_2, ROUTER_2, ROUTER]);
    // A router that is none of the pool's is nobody's.
    conditions(&mut rig, assigned([3, 9, 0]));
    assert_eq!(heard(&mut rig), [ROUTER, ROUTER_2, ROUTER]);
}

#[test]
fn fs12_servers_are_spread_over_routers_as_evenly_as_their_numbers_allow() {
    for (servers, routers) in [(4_usize, 1_usize), (8, 2), (17, 4), (24, 5)] {
        let mut plan = default_routers();
        plan.ports = (0..32)
            .map(|id| PortPlan {
                id: PortId(id),
                name: format!("p{id}"),
                role: if id < 6 { PortRole::Outside } else { PortRole::Server },
                untagged: Some(VLAN),
                tagged: vec![],
                shared: false,
                stp: Stp::Forward,
                storm_pps: 0,
            })
            .collect();
        // Numbers with gaps, as they are after servers have gone.
        plan.targets = (0..servers)
            .map(|n| TargetPlan {
                id: TargetId(n as u16 * 2),
                name: format!("web-{n}"),
                port: PortId(6 + n as u8),
                mac: MacPlan::Fixed(server_mac(n)),
                admin: Admin::Enabled,
                connections_max: 0,
            })
            .collect();
        let members: Vec<_> = (0..servers).map(|n| member(n as u16 * 2, 1)).collect();
        plan.clusters = vec![cluster(0, "web", VIP.into(), VMAC, &members, Chooser::Maglev)];
        plan.routers = (0..routers)
            .map(|n| {
                let address = Ipv4Addr::new(10, 9, 0, 1 + n as u8);
                router(n as u16, PortId(n as u8), address.into(), Some(MacAddr([2, 0, 0, 0, 2, n as u8])))
            })
            .collect();
        plan.pools.truncate(1);
        plan.pools[0].routers = (0..routers as u16).map(RouterId).collect();
        let mut rig = Rig::new(plan);
        let mut of = vec![0; routers];
        for n in 0..servers {
            let out = rig.send(PortId(6 + n as u8), &asks(server(n), POOL));
            of[usize::from(parsed(&out[0].1).sender_mac.0[5])] += 1;
        }
        let (least, most) = (of.iter().min().unwrap(), of.iter().max().unwrap());
        assert!(most - least <= 1, "{servers} servers, {routers} routers: {of:?}");
        // One goes: the others take its servers.
        if routers > 1 {
            down(&mut rig, &[0]);
            let out = rig.send(PortId(6), &asks(server(0), POOL));
            assert_ne!(parsed(&out[0].1).sender_mac.0[5], 0);
        }
    }
}

#[test]
fn fs12_a_pools_address_is_bridged_for_outside_hosts_and_claimed_by_no_server() {
    let mut rig = Rig::new(default_routers());
    let host = (MacAddr([2, 0, 0, 0, 3, 1]), Ipv4Addr::new(10, 9, 0, 60));
    let out = rig.send(R1, &asks(host, POOL));
    assert_eq!(ports(&out), [R2, S[0], S[1], S[2]]);
    let stranger = MacAddr([2, 6, 6, 6, 6, 6]);
    rig.dropped(S[0], &asks((stranger, POOL), POOL), "router-claimed");
    rig.dropped(S[0], &asks((server_mac(0), POOL), POOL), "router-claimed");
    // A server that looks whether the address is free is not told that it is.
    assert!(ports(&rig.send(S[0], &asks((server_mac(0), Ipv4Addr::UNSPECIFIED), POOL))).contains(&R1));
}

#[test]
fn fs12_what_a_vrrp_master_or_another_router_says_is_kept_from_servers_told_otherwise() {
    let mut rig = Rig::new(default_routers());
    let gratuitous = |mac| arp(Operation::Request, (mac, POOL), (MacAddr::ZERO, POOL), MacAddr::BROADCAST);
    assert_eq!(ports(&rig.send(R2, &gratuitous(VIRTUAL))), [R1], "no server was told this MAC");
    assert_eq!(rig.drop_count("pool-sender"), 3, "one for each port");
    assert_eq!(ports(&rig.send(R1, &gratuitous(ROUTER))), [R2, S[0], S[2]]);
    assert_eq!(ports(&rig.send(R2, &gratuitous(ROUTER_2))), [R1, S[1]]);
    let reply = arp(Operation::Reply, (VIRTUAL, POOL), (server_mac(0), VIP), server_mac(0));
    rig.send(R2, &reply);
    assert!(rig.wire.take_sent().is_empty());
    // The master asks a server's own address: in the pool's name that one would believe it.
    let own = Ipv4Addr::new(10, 9, 0, 31);
    rig.dropped(
        R2,
        &arp(Operation::Request, (VIRTUAL, POOL), (MacAddr::ZERO, own), server_mac(0)),
        "pool-sender",
    );
    // In its own name everybody hears a router.
    assert_eq!(ports(&rig.send(R1, &asks((ROUTER, ROUTER_IP), ROUTER_IP))), [R2, S[0], S[1], S[2]]);
    // IPv6: an advertisement, a solicitation, a router advertisement.
    let all = multicast::ALL_NODES;
    let to_all = multicast::mac_v6(all);
    let before = rig.drop_count("pool-sender");
    assert_eq!(ports(&rig.send(R2, &advertises(VIRTUAL, POOL6, all, to_all))), [R1]);
    assert_eq!(ports(&rig.send(R2, &advertises(ROUTER_2, POOL6, all, to_all))), [R1, S[1]]);
    let (dst, to) = group(own.to_ipv6_mapped());
    let asking = solicits((VIRTUAL, POOL6), own.to_ipv6_mapped(), dst, to);
    assert_eq!(ports(&rig.send(R2, &asking)), [R1]);
    assert_eq!(ports(&rig.send(R2, &router_advertisement(VIRTUAL, POOL6))), [R1]);
    assert_eq!(ports(&rig.send(R1, &router_advertisement(ROUTER, POOL6))), [R2, S[0], S[2]]);
    let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
    assert_eq!(ports(&rig.send(R2, &router_advertisement(ROUTER_2, other))), [R1, S[0], S[1], S[2]]);
    assert_eq!(rig.drop_count("pool-sender") - before, 3 + 2 + 3 + 3 + 1);
}

/// A router advertisement (RFC 4861 §4.2) with a source option.
fn router_advertisement(mac: MacAddr, src: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
    message.extend(mac.0);
    let dst = multicast::ALL_NODES;
    let mut sum: u32 = 58 + message.len() as u32;
    let words =
        |bytes: &[u8]| -> u32 { bytes.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum() };
    sum += words(&src.octets()) + words(&dst.octets()) + words(&message);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    let mut frame = [&multicast::mac_v6(dst).0[..], &mac.0, &[0x86, 0xdd]].concat();
    frame.extend([0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]);
    frame.extend(src.octets());
    frame.extend(dst.octets());
    frame.extend(message);
    frame
}

#[test]
fn fs12_with_no_mac_known_the_routers_answer_for_themselves_but_to_no_server_told_otherwise() {
    let mut plan = default_routers();
    plan.routers.iter_mut().for_each(|r| r.mac = None);
    let mut rig = Rig::new(plan);
    // Nothing is known yet: the question goes out, and who answers is heard.
    assert_eq!(ports(&rig.send(S[0], &asks(server(0), POOL))), [R1, R2]);
    let answer = arp(Operation::Reply, (VIRTUAL, POOL), (VMAC, VIP), VMAC);
    let out = rig.send(R2, &answer);
    assert_eq!((ports(&out), &out[0].1[..6]), (vec![S[0]], &server_mac(0).0[..]));
    // Control has seen the routers' MACs since: the same answer comes too late.
    let shown = |id, mac| RouterCondition { id: RouterId(id), up: true, mac: Some(mac) };
    let routers = vec![shown(0, ROUTER), shown(1, ROUTER_2)];
    rig.send(S[0], &asks(server(0), POOL));
    conditions(&mut rig, Conditions { routers, ..Conditions::default() });
    assert!(rig.send(R2, &answer).is_empty());
    assert_eq!(rig.drop_count("pool-sender"), 1);
    assert_eq!(told(&mut rig, 1, POOL), Some(ROUTER_2));
    let report = rig.report();
    let macs: Vec<_> = report.routers.iter().map(|r| (r.mac, r.up)).collect();
    assert_eq!(macs[..2], [(Some(ROUTER), true), (Some(ROUTER_2), true)]);
    assert!(report.bridge.iter().any(|row| row.mac == ROUTER && row.pinned && row.port == R1));
}

#[test]
fn fs13_a_gateway_that_is_a_router_itself_answers_itself_until_it_is_gone() {
    let mut rig = Rig::new(default_routers());
    assert_eq!(ports(&rig.send(S[0], &asks(server(0), ROUTER_IP))), [R1, R2], "alive: its own answer");
    down(&mut rig, &[0, 2]);
    assert_eq!(told(&mut rig, 0, ROUTER_IP), Some(ROUTER_2));
    assert_eq!(told_v6(&mut rig, 0, VIP6, ROUTER6).map(|(mac, _)| mac), Some(ROUTER_2));
    down(&mut rig, &[0, 1, 2, 3]);
    assert_eq!(told(&mut rig, 0, ROUTER_IP), Some(ROUTER), "the last that was known");
    // Of none of them a MAC was ever known: ours, so that answers to probes can leave the server (FS-30).
    let mut plan = default_routers();
    plan.routers.iter_mut().for_each(|r| r.mac = None);
    let mut rig = Rig::new(plan);
    down(&mut rig, &[0, 1, 2, 3]);
    assert_eq!(told(&mut rig, 0, ROUTER_IP), Some(VMAC));
    assert_eq!(told(&mut rig, 1, POOL), Some(VMAC));
    // A router comes up: what still goes to our MAC goes to it.
    let back = RouterCondition { id: RouterId(1), up: true, mac: Some(ROUTER_2) };
    let frame = Tcp { dst: (VMAC, CLIENT, 4000), ..outbound(0, 4000, SYN | ACK) }.frame();
    rig.dropped(S[0], &frame, "vmac-not-vip");
    conditions(&mut rig, Conditions { routers: vec![back], ..Conditions::default() });
    let out = rig.send(S[0], &frame);
    assert_eq!((ports(&out), &out[0].1[..6], &out[0].1[6..]), (vec![R2], &ROUTER_2.0[..], &frame[6..]));
    let mut fragment = ipv4((server_mac(0), VIP), (VMAC, CLIENT), 17, &[0; 64]);
    fragment[20..22].copy_from_slice(&[0x20, 8]);
    fix_ipv4(&mut fragment);
    assert_eq!(ports(&rig.send(S[0], &fragment)), [R2], "fragments too");
    rig.dropped(S[0], &udp((MacAddr([2, 7, 7, 7, 7, 7]), CLIENT, 9), (VMAC, CLIENT, 9), b""), "vmac-not-vip");
    // The same without a pool.
    let mut plan = default_routers();
    plan.routers.iter_mut().for_each(|r| r.mac = None);
    plan.pools.clear();
    let mut rig = Rig::new(plan);
    down(&mut rig, &[0, 1, 2, 3]);
    assert_eq!(told(&mut rig, 0, ROUTER_IP), Some(VMAC));
    conditions(&mut rig, Conditions { routers: vec![back], ..Conditions::default() });
    let out = rig.send(S[0], &frame);
    assert_eq!((ports(&out), &out[0].1[..6]), (vec![R2], &ROUTER_2.0[..]));
}

#[test]
fn fs5_a_router_is_followed_within_the_outside_and_nowhere_else() {
    let mut rig = Rig::new(default_routers());
    let to_router = outbound(0, 4000, ACK).frame();
    assert_eq!(ports(&rig.send(S[0], &to_router)), [R1]);
    rig.send(R2, &inbound(4000, SYN).frame());
    rig.wait_ms(11);
    rig.turn();
    assert_eq!(ports(&rig.send(S[0], &to_router)), [R2], "seen there, so it is there");
    // A server that sends with its MAC moves nothing.
    let spoofed = Tcp { src: (ROUTER, VIP, 80), ..outbound(1, 4000, ACK) }.frame();
    rig.send(S[1], &spoofed);
    rig.wait_ms(11);
    rig.turn();
    assert_eq!(ports(&rig.send(S[0], &to_router)), [R2]);
    rig.link(R2, false);
    assert_eq!(ports(&rig.send(S[0], &to_router)), [R1], "its port is down: where the plan has it");
}
