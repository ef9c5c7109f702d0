//! Fragments: FS-20, F13, F14.

use crate::rig::*;
use dataplane_message::Chooser;
use dataplane_wire::MacAddr;
use std::net::{Ipv4Addr, Ipv6Addr};

/// The fragments of a UDP datagram of 4,000 bytes.
pub(crate) fn fragments(client: Ipv4Addr, port: u16, id: u16) -> Vec<Vec<u8>> {
    let mut datagram = vec![0; 8];
    datagram[..2].copy_from_slice(&port.to_be_bytes());
    datagram[2..4].copy_from_slice(&53_u16.to_be_bytes());
    datagram[4..6].copy_from_slice(&4008_u16.to_be_bytes());
    datagram.resize(4008, id as u8);
    let parts: Vec<&[u8]> = datagram.chunks(1480).collect();
    parts
        .iter()
        .enumerate()
        .map(|(i, part)| {
            let mut frame = ipv4((ROUTER, client), (VMAC, VIP), 17, part);
            frame.truncate(34 + part.len());
            frame[18..20].copy_from_slice(&id.to_be_bytes());
            let more = if i + 1 < parts.len() { 0x2000 } else { 0 };
            frame[20..22].copy_from_slice(&(more | (i * 1480 / 8) as u16).to_be_bytes());
            fix_ipv4(&mut frame);
            frame
        })
        .collect()
}

fn check(workers: u8, order: &[usize]) {
    let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), workers);
    let mut servers = [0; 3];
    for id in 0..120_u16 {
        let client = Ipv4Addr::new(198, 51, 100, id as u8);
        let parts = fragments(client, 5000 + id, id + 1);
        // A whole datagram of the same flow first, half of the time.
        let whole =
            (id % 2 == 0).then(|| rig.reaches(R1, &udp((ROUTER, client, 5000 + id), (VMAC, VIP, 53), b"x")));
        let mut out = Vec::new();
        for i in order {
            out.extend(rig.send(R1, &parts[*i]));
        }
        assert_eq!(out.len(), 3, "{id}: {:?}", rig.drops());
        let to = out[0].0;
        let server = S.iter().position(|s| *s == to).unwrap();
        assert!(whole.is_none_or(|whole| whole == server), "the flow's server");
        for (port, frame) in &out {
            assert_eq!((*port, &frame[..6]), (to, &server_mac(server).0[..]));
            assert!(parts.iter().any(|part| part[6..] == frame[6..]));
        }
        servers[server] += 1;
    }
    assert!(servers.iter().all(|n| *n > 20), "{servers:?}");
    assert_eq!(rig.wire.buffers_in_use(), 0);
}

#[test]
fn fs_20_in_order() {
    check(1, &[0, 1, 2]);
    check(3, &[0, 1, 2]);
}

#[test]
fn fs_20_reversed_and_mixed() {
    check(1, &[2, 1, 0]);
    check(3, &[2, 1, 0]);
    check(2, &[1, 0, 2]);
}

#[test]
fn fs_20_a_fragment_waits_ten_milliseconds_for_its_first() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let parts = fragments(CLIENT, 5000, 9);
    assert!(rig.send(R1, &parts[1]).is_empty());
    assert_eq!(rig.wire.buffers_in_use(), 1);
    rig.wait_ms(11);
    assert_eq!((rig.drop_count("fragment-lost"), rig.wire.buffers_in_use()), (1, 0));
    // The first one alone goes on, and what follows within two seconds.
    assert_eq!(rig.send(R1, &parts[0]).len(), 1);
    rig.wait_ms(1900);
    assert_eq!(rig.send(R1, &parts[2]).len(), 1);
}

#[test]
fn f14_a_flood_of_fragments_holds_no_more_than_there_is_room_for() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    for id in 0..2000_u16 {
        let client = Ipv4Addr::new(198, 51, (id >> 8) as u8, id as u8);
        rig.send(R1, &fragments(client, 5000, id)[1]);
        assert!(rig.wire.buffers_in_use() <= 256);
    }
    // One datagram holds at most 64.
    rig.wait_ms(11);
    for _ in 0..200 {
        rig.send(R1, &fragments(CLIENT, 5000, 9)[1]);
    }
    assert_eq!(rig.wire.buffers_in_use(), 64);
    rig.wait_ms(11);
    assert_eq!(rig.wire.buffers_in_use(), 0);
}

#[test]
fn f14_tiny_overlapping_and_endless_fragments_are_dropped() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let fragment = |protocol: u8, field: u16, len: usize| {
        let mut frame = ipv4((ROUTER, CLIENT), (VMAC, VIP), protocol, &vec![1; len]);
        frame.truncate(34 + len);
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        fix_ipv4(&mut frame);
        frame
    };
    rig.dropped(R1, &fragment(6, 0x2000, 8), "bad-fragment");
    rig.dropped(R1, &fragment(6, 0x0001, 40), "bad-fragment");
    rig.dropped(R1, &fragment(17, 0x1fff, 1400), "bad-fragment");
    assert_eq!(rig.flows(), []);
}

#[test]
fn fs_20_a_slot_that_is_given_up_in_a_burst_is_not_taken_again_in_it() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let (one, two) = (fragments(CLIENT, 5000, 1), fragments(CLIENT, 5001, 2));
    // One burst: the second datagram's fragment comes when the first one's is just about to leave.
    let out = rig.send_all(R1, &[&one[1], &one[0], &two[1]]);
    assert_eq!(out.len(), 2, "{:?}", rig.drops());
    assert!(
        out.iter()
            .all(|(port, sent)| *port == out[0].0 && [&one[0], &one[1]].iter().any(|f| f[6..] == sent[6..]))
    );
    assert_eq!(rig.wire.kept(), 1);
    let out = rig.send(R1, &two[0]);
    assert_eq!(out.len(), 2, "{:?}", rig.drops());
    assert_eq!(rig.drops(), []);
}

/// An IPv6 fragment to the VIP, of an ICMPv6 message.
fn v6_fragment(to: (MacAddr, Ipv6Addr), field: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [&to.0.0[..], &ROUTER.0, &[0x86, 0xdd, 0x60, 0, 0, 0]].concat();
    frame.extend((8 + body.len() as u16).to_be_bytes());
    frame.extend([44, 64]);
    frame.extend(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).octets());
    frame.extend(to.1.octets());
    frame.extend([58, 0]);
    frame.extend(field.to_be_bytes());
    frame.extend([0, 0, 0, 9]);
    frame.extend(body);
    frame
}

#[test]
fn fs_20_fs_42_an_echo_over_ipv6_in_fragments_arrives_whole() {
    let vip = Ipv6Addr::new(0xfd00, 9, 0, 0, 0, 0, 0, 0x100);
    let mut plan = plan(Chooser::RoundRobin);
    let members = plan.clusters[0].services[0].members.clone();
    plan.clusters.push(cluster(1, "web6", vip.into(), VMAC_B, &members, Chooser::RoundRobin));
    for workers in [1, 3] {
        let mut rig = Rig::with_workers(plan.clone(), workers);
        let mut echo = vec![0x55; 32];
        echo[..8].copy_from_slice(&[128, 0, 0, 0, 7, 7, 0, 1]);
        let first = rig.reaches(R1, &v6_fragment((VMAC_B, vip), 1, &echo));
        assert_eq!(rig.reaches(R1, &v6_fragment((VMAC_B, vip), 32, &[0x55; 20])), first);
        assert_eq!(rig.drops(), []);
        // RFC 6980: Neighbour Discovery in fragments is for nobody, least of all for another server.
        let nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let mut claim = vec![0; 24];
        claim[0] = 136;
        claim[8..].copy_from_slice(&vip.octets());
        let group = MacAddr([0x33, 0x33, 0, 0, 0, 1]);
        rig.dropped(R1, &v6_fragment((group, nodes), 1, &claim), "nd-malformed");
    }
}
