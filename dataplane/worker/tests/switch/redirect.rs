//! While a router is down, another one takes what servers send to it (FS-13); one router for each flow
//! (FS-12, `spread = "flow"`).

use crate::neighbours::{ROUTER6, VIP6, arp, server};
use crate::pools::*;
use crate::rig::*;
use dataplane_flow::{RouterId, TargetId};
use dataplane_message::{Chooser, Conditions, Redirect, RouterCondition, Spread};
use dataplane_port::PortId;
use dataplane_wire::MacAddr;
use dataplane_wire::arp::Operation;
use etherparse::PacketBuilder;
use std::net::{Ipv4Addr, Ipv6Addr};

const HOST: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7);

fn v6(n: usize, to: MacAddr, dst: Ipv6Addr, port: u16) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2(server_mac(n).0, to.0)
        .ipv6(VIP6.octets(), dst.octets(), 64)
        .tcp(80, port, 1, 1000)
        .write(&mut frame, &[])
        .unwrap();
    frame
}

/// Where the one frame went, and that nothing but its destination is another.
fn goes(rig: &mut Rig, from: PortId, frame: &[u8]) -> (PortId, MacAddr) {
    let out = rig.send(from, frame);
    let [(port, sent)] = &out[..] else { panic!("one frame, not {out:x?}; {:?}", rig.drops()) };
    assert_eq!(sent[6..], frame[6..], "every other byte is as it was");
    (*port, MacAddr(sent[..6].try_into().unwrap()))
}

#[test]
fn fs13_what_is_sent_to_a_router_that_is_down_goes_to_another_of_its_pool() {
    let mut rig = Rig::new(default_routers());
    let v4 = outbound(0, 4000, ACK).frame();
    assert_eq!(goes(&mut rig, S[0], &v4), (R1, ROUTER), "it is up");
    assert_eq!(goes(&mut rig, S[0], &v6(0, ROUTER, HOST, 4000)), (R1, ROUTER));
    down(&mut rig, &[0]);
    assert_eq!(goes(&mut rig, S[0], &v4), (R2, ROUTER_2), "a flow that is settled");
    assert_eq!(goes(&mut rig, S[1], &outbound(1, 4001, SYN).frame()), (R2, ROUTER_2), "a new one");
    assert_eq!(goes(&mut rig, S[0], &v6(0, ROUTER, HOST, 4000)), (R1, ROUTER), "its IPv6 is up");
    down(&mut rig, &[0, 2]);
    assert_eq!(goes(&mut rig, S[0], &v6(0, ROUTER, HOST, 4000)), (R2, ROUTER_2));
    // From an address of the server's own, a fragment, an ICMP error: any IP packet.
    let own = (server_mac(0), Ipv4Addr::new(10, 9, 0, 31));
    assert_eq!(goes(&mut rig, S[0], &udp((own.0, own.1, 9), (ROUTER, CLIENT, 53), b"?")), (R2, ROUTER_2));
    let mut fragment = ipv4((server_mac(0), VIP), (ROUTER, CLIENT), 17, &[0; 64]);
    fragment[20..22].copy_from_slice(&[0x20, 8]);
    fix_ipv4(&mut fragment);
    assert_eq!(goes(&mut rig, S[0], &fragment), (R2, ROUTER_2));
    let report = rig.report();
    let counts: Vec<_> = report.routers.iter().map(|r| (r.up, r.out_frames, r.redirected)).collect();
    assert_eq!(counts, [(false, 1, 4), (true, 4, 0), (false, 2, 1), (true, 1, 0)]);
    assert_eq!(report.routers[1].out_bytes, 4 * 60 + 38);
    // It is back.
    down(&mut rig, &[]);
    assert_eq!(goes(&mut rig, S[0], &v4), (R1, ROUTER));
}

#[test]
fn fs13_packets_for_the_router_itself_and_its_neighbours_are_not_redirected() {
    let mut rig = Rig::new(default_routers());
    down(&mut rig, &[0, 2]);
    let to_itself = Tcp { dst: (ROUTER, ROUTER_IP, 179), ..outbound(0, 179, SYN) }.frame();
    assert_eq!(goes(&mut rig, S[0], &to_itself), (R1, ROUTER));
    assert_eq!(goes(&mut rig, S[0], &v6(0, ROUTER, ROUTER6, 179)), (R1, ROUTER));
    // ARP: the server looks whether its gateway is still there; asked directly, it is answered for.
    let asks_it = arp(Operation::Request, server(0), (ROUTER, CLIENT), ROUTER);
    let out = rig.send(S[0], &asks_it);
    assert_eq!((out.len(), out[0].0, &out[0].1[..6]), (1, R1, &ROUTER.0[..]));
    // From outside nothing is redirected.
    let host = (MacAddr([2, 0, 0, 0, 3, 1]), Ipv4Addr::new(10, 9, 0, 60), 9);
    assert_eq!(goes(&mut rig, R2, &udp(host, (ROUTER, CLIENT, 53), b"?")), (R1, ROUTER));
}

#[test]
fn fs13_a_routers_link_goes_down_and_the_next_frame_is_redirected() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(default_routers(), workers);
        let frame = outbound(0, 4000, ACK).frame();
        assert_eq!(goes(&mut rig, S[0], &frame), (R1, ROUTER));
        rig.link(R1, false);
        assert_eq!(goes(&mut rig, S[0], &frame), (R2, ROUTER_2));
        rig.link(R2, false);
        rig.dropped(S[0], &frame, "port-down");
        rig.link(R1, true);
        rig.settle();
        assert_eq!(goes(&mut rig, S[0], &frame), (R1, ROUTER));
    }
}

#[test]
fn fs13_a_redirected_frame_has_the_tag_of_the_port_it_leaves_by() {
    let mut plan = default_routers();
    (plan.ports[1].untagged, plan.ports[1].tagged) = (None, vec![VLAN]);
    let mut rig = Rig::new(plan.clone());
    down(&mut rig, &[0]);
    let frame = outbound(0, 4000, ACK).frame();
    let out = rig.send(S[0], &frame);
    let mut expected = tagged(&frame, 1);
    expected[..6].copy_from_slice(&ROUTER_2.0);
    assert_eq!(out, [(R2, expected)]);
    (plan.ports[2].untagged, plan.ports[2].tagged) = (None, vec![VLAN]);
    let mut rig = Rig::new(plan);
    down(&mut rig, &[1]);
    let out = rig.send(S[0], &tagged(&Tcp { dst: (ROUTER_2, CLIENT, 1), ..outbound(0, 1, ACK) }.frame(), 1));
    let mut expected = frame;
    expected[36..38].copy_from_slice(&[0, 1]);
    assert_eq!((out.len(), out[0].0, &out[0].1[..6], &out[0].1[12..14]), (1, R1, &ROUTER.0[..], &[8, 0][..]));
}

#[test]
fn fs13_with_all_routers_down_nothing_is_changed() {
    let mut rig = Rig::new(default_routers());
    down(&mut rig, &[0, 1, 2, 3]);
    assert_eq!(goes(&mut rig, S[0], &outbound(0, 4000, ACK).frame()), (R1, ROUTER));
    assert_eq!(goes(&mut rig, S[0], &v6(0, ROUTER_2, HOST, 4000)), (R2, ROUTER_2));
    assert_eq!(rig.report().routers.iter().map(|r| r.redirected).sum::<u64>(), 0);
}

#[test]
fn fs13_a_router_of_no_pool_has_nobody_that_stands_in() {
    let mut plan = default_routers();
    plan.pools.clear();
    let mut rig = Rig::new(plan);
    down(&mut rig, &[0]);
    assert_eq!(goes(&mut rig, S[0], &outbound(0, 4000, ACK).frame()), (R1, ROUTER));
}

#[test]
fn fs13_no_established_leaves_the_dead_routers_flows_to_it() {
    let mut rig = Rig::new(two_routers(Spread::Server, Redirect::NoEstablished));
    let shake = |rig: &mut Rig, port: u16| {
        let n = rig.reaches(R1, &inbound(port, SYN).frame());
        rig.send(S[n], &outbound(n, port, SYN | ACK).frame());
        rig.reaches(R1, &inbound(port, ACK).frame());
        n
    };
    let old = shake(&mut rig, 5000);
    rig.wait_ms(1500);
    down(&mut rig, &[0]);
    assert_eq!(goes(&mut rig, S[old], &outbound(old, 5000, ACK).frame()), (R1, ROUTER), "the old one");
    let new = rig.reaches(R2, &inbound(5001, SYN).frame());
    assert_eq!(goes(&mut rig, S[new], &outbound(new, 5001, SYN | ACK).frame()), (R2, ROUTER_2));
    rig.reaches(R2, &inbound(5001, ACK).frame());
    for _ in 0..2 {
        rig.wait_ms(1500);
        assert_eq!(goes(&mut rig, S[new], &outbound(new, 5001, ACK).frame()), (R2, ROUTER_2), "a new one");
    }
    let question = udp((server_mac(0), VIP, 40_000), (ROUTER, CLIENT, 53), b"?");
    assert_eq!(goes(&mut rig, S[0], &question), (R2, ROUTER_2), "UDP has no state to be kept");
}

#[test]
fn fs12_spread_by_flow_keeps_a_flow_on_one_router_and_moves_only_those_of_one_that_is_down() {
    let mut rig = Rig::with_workers(two_routers(Spread::Flow, Redirect::All), 2);
    let frames: Vec<_> =
        (0..200_u16).map(|i| outbound(usize::from(i % 3), 4000 + i, SYN | ACK).frame()).collect();
    let all = |rig: &mut Rig| -> Vec<_> {
        frames.iter().zip((0..3).cycle()).map(|(f, n)| goes(rig, S[n], f)).collect()
    };
    let first = all(&mut rig);
    let by_first = first.iter().filter(|(port, mac)| (*port, *mac) == (R1, ROUTER)).count();
    assert!(first.iter().all(|place| [(R1, ROUTER), (R2, ROUTER_2)].contains(place)));
    assert!((70..=130).contains(&by_first), "{by_first} of 200 by the first of two");
    assert_eq!(all(&mut rig), first, "a flow keeps its router");
    down(&mut rig, &[0]);
    assert!(all(&mut rig).iter().all(|place| *place == (R2, ROUTER_2)));
    down(&mut rig, &[]);
    assert_eq!(all(&mut rig), first);
    let itself = Tcp { dst: (ROUTER, ROUTER_IP, 179), ..outbound(0, 179, SYN) }.frame();
    assert_eq!(goes(&mut rig, S[0], &itself), (R1, ROUTER));
    let report = rig.report();
    assert_eq!(report.routers[0].redirected, 200, "only while it was down");
    assert_eq!(report.routers[0].out_frames + report.routers[1].out_frames, 801);
}

#[test]
fn fs32_what_comes_from_a_router_is_counted_once_whatever_worker_has_the_flow() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(default_routers(), workers);
        for port in 0..50_u16 {
            rig.reaches(R1, &inbound(6000 + port, SYN).frame());
            rig.reaches(R2, &Tcp { src: (ROUTER_2, CLIENT, 6000 + port), ..inbound(0, ACK) }.frame());
            rig.reaches(R2, &Tcp { src: (ROUTER_2, CLIENT, 6000 + port), ..inbound(0, ACK) }.frame());
        }
        let report = rig.report();
        let counts: Vec<_> = report.routers.iter().map(|r| (r.in_frames, r.in_bytes)).collect();
        assert_eq!(counts, [(50, 50 * 60), (100, 100 * 60), (0, 0), (0, 0)]);
    }
}

#[test]
fn fs13_a_router_whose_mac_control_has_seen_is_redirected_like_a_configured_one() {
    let mut plan = default_routers();
    plan.routers.iter_mut().for_each(|r| r.mac = None);
    let mut rig = Rig::new(plan);
    let seen = |id, up, mac| RouterCondition { id: RouterId(id), up, mac: Some(mac) };
    let routers = vec![seen(0, false, ROUTER), seen(1, true, ROUTER_2)];
    conditions(&mut rig, Conditions { routers, ..Conditions::default() });
    assert_eq!(goes(&mut rig, S[0], &outbound(0, 4000, ACK).frame()), (R2, ROUTER_2));
}

#[test]
fn fs4_a_server_may_send_to_another_vip_through_its_router() {
    let mut plan = default_routers();
    plan.clusters[0].servers = vec![TargetId(0)];
    plan.clusters[0].services[0].members = vec![member(0, 1)];
    plan.clusters.push(cluster(2, "b", VIP_B.into(), VMAC_B_4, &[member(1, 1)], Chooser::Maglev));
    let mut rig = Rig::new(plan);
    let frame =
        Tcp { dst: (ROUTER, VIP_B, 80), src: (server_mac(0), VIP, 7000), ..outbound(0, 80, SYN) }.frame();
    // Another packet of the burst has left its key in the same place.
    for other in [outbound(0, 4000, SYN | ACK).frame(), outbound(0, 4001, SYN | ACK).frame()] {
        rig.send(S[0], &other);
        assert_eq!(goes(&mut rig, S[0], &frame), (R1, ROUTER));
    }
    let flows: Vec<_> = rig.flows().iter().map(|f| (f.client, f.client_port, f.vip_port)).collect();
    assert!(flows.contains(&(VIP_B.into(), 80, 7000)), "{flows:?}");
    assert_eq!(flows.len(), 3);
    down(&mut rig, &[0]);
    assert_eq!(goes(&mut rig, S[0], &frame), (R2, ROUTER_2));
}

const VMAC_B_4: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 3]);
