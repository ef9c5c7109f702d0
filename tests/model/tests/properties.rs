//! What holds for every packet and every sequence of packets.

mod common;

use common::{CLIENT, Switch, VIP, Verdicts, addr, table};
use dataplane_message::Chooser;
use dataplane_port::{PortId, WorkerId};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use tests_model::frames::{arp, ethernet, ip, tcp, udp, v4};
use tests_model::mutate::{Random, fix_v4_checksum};
use tests_model::{Mac, Oracle, Outcome, Sent, expect};

/// One packet in, what came out.
fn one(switch: &mut Switch, port: usize, frame: &[u8]) -> Vec<Sent> {
    switch.now = switch.now.plus_millis(1);
    switch.wire.push(WorkerId(0), PortId(port as u8), frame);
    switch.turn();
    switch.out()
}

/// An address that a packet may have as its source.
fn client() -> impl Strategy<Value = Ipv4Addr> {
    (1_u8..=223, any::<[u8; 3]>())
        .prop_filter("not loopback", |(first, _)| *first != 127)
        .prop_map(|(a, [b, c, d])| Ipv4Addr::new(a, b, c, d))
        .prop_filter("no VIP", |ip| !matches!(ip.octets(), [192, 0, 2, 1 | 2]))
}

/// A payload that a protocol's header check lets through.
fn upper() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let flags = prop::sample::select(vec![0x02_u8, 0x10, 0x18, 0x11, 0x12, 0xc2]);
    let data = || prop::collection::vec(any::<u8>(), 0..1200);
    prop_oneof![
        (1_u16.., 1_u16.., flags, any::<[u32; 2]>(), data())
            .prop_map(|(src, dst, flags, [seq, ack], data)| (6, tcp(src, dst, flags, seq, ack, &data))),
        (1_u16.., 1_u16.., data()).prop_map(|(src, dst, data)| (17, udp(src, dst, &data))),
        (prop::sample::select(vec![2_u8, 4, 47, 50, 51, 89, 99, 103, 253]), data()),
    ]
}

/// An IPv4 packet with any DSCP, identification, TTL and harmless options (F8, F10).
fn packet(src: Ipv4Addr, dst: Ipv4Addr, upper: &(u8, Vec<u8>), odd: [u8; 4], options: usize) -> Vec<u8> {
    let mut packet = v4(src, dst, upper.0, u16::from_be_bytes([odd[0], odd[1]]), 0x4000, &upper.1);
    packet.splice(20..20, vec![1; options * 4]);
    packet[0] = 0x45 + options as u8;
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    (packet[1], packet[8]) = (odd[2], odd[3]);
    fix_v4_checksum(&mut packet);
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn inbound_only_six_bytes_change(
        packets in prop::collection::vec((client(), upper(), any::<[u8; 4]>(), 0_usize..10, 0_usize..40), 1..40),
    ) {
        // FS-6
        let table = table();
        let mut switch = Switch::start(&table, 1, Chooser::Maglev);
        let cluster = &table.clusters[2]; // Its server's port has the VLAN as the client's port has it.
        let IpAddr::V4(vip) = cluster.vip else { unreachable!("an IPv4 cluster") };
        for (src, upper, odd, options, padding) in packets {
            let mut frame = ethernet(cluster.vmac, CLIENT, None, 0x0800, &packet(src, vip, &upper, odd, options));
            frame.extend(vec![odd[0]; padding]); // F9
            let out = one(&mut switch, 0, &frame);
            prop_assert_eq!(out.len(), 1);
            prop_assert_eq!(out[0].port, table.servers[3].port);
            prop_assert_eq!(&out[0].bytes[..6], &table.servers[3].mac);
            prop_assert_eq!(&out[0].bytes[6..], &frame[6..]);
        }
    }

    #[test]
    fn outbound_no_byte_changes(
        packets in prop::collection::vec((client(), upper(), any::<[u8; 4]>(), 0_usize..10), 1..40),
    ) {
        // FS-11
        let table = table();
        let mut switch = Switch::start(&table, 1, Chooser::Maglev);
        let router: Mac = [2, 0xaa, 0, 0, 0, 1];
        one(&mut switch, 0, &ethernet([0xff; 6], router, None, 0x9000, &[]));
        switch.pass(20);
        switch.pass(20);
        switch.out();
        for (dst, upper, odd, options) in packets {
            let server = table.servers[usize::from(odd[0] & 1)];
            let frame = ethernet(router, server.mac, None, 0x0800, &packet(VIP, dst, &upper, odd, options));
            let out = one(&mut switch, server.port, &frame);
            // FS-25: the second opening of a connection that another server has is refused to its sender.
            let refused = out.len() == 1 && out[0].port == server.port;
            let dhcp = upper.0 == 17 && upper.1[..4] == [0, 67, 0, 68];
            if !refused && !dhcp {
                prop_assert_eq!(out, [Sent { port: 0, bytes: frame }]);
            }
        }
    }

    #[test]
    fn no_frame_crosses_vlans(frames in prop::collection::vec((0_usize..5, 0_u16..4096, any::<u16>()), 1..200)) {
        // F5
        let table = table();
        let mut switch = Switch::start(&table, 1, Chooser::Maglev);
        for (port, tag, number) in frames {
            let [high, low] = number.to_be_bytes();
            let vid = (tag != 0).then_some(if tag % 3 == 0 { tag } else { 5 + tag % 2 });
            let frame = ethernet([0xff; 6], [2, 0x66, 0, 0, high, low], vid, 0x9000, &[high; 46]);
            let member = match vid {
                None => table.ports[port].untagged,
                Some(vid) => table.ports[port].tagged.contains(&vid).then_some(vid),
            };
            for sent in one(&mut switch, port, &frame) {
                if sent.bytes[6..8] != [2, 0x66] {
                    continue; // An announcement of the switch.
                }
                let vlan = member.expect("nothing leaves that came in a VLAN that is not the port's");
                prop_assert!(table.ports[sent.port].carries(vlan));
                prop_assert_eq!(sent.bytes, table.as_sent(&frame, vid.is_some(), vlan, sent.port));
            }
        }
    }
}

/// A step of a random sequence.
#[derive(Clone, Debug)]
enum Step {
    Client { who: u8, port: u8, flags: u8 },
    Server { server: usize, who: u8, port: u8, flags: u8 },
    Datagram { who: u8, id: u8, order: u8 },
    Arp { port: usize, op: u8, sender: u8, target: u8 },
    Pass { millis: u16 },
}

fn step() -> impl Strategy<Value = Step> {
    let flags = || prop::sample::select(vec![0x02_u8, 0x12, 0x10, 0x11, 0x04, 0x14, 0x18]);
    prop_oneof![
        4 => (0_u8..4, 0_u8..4, flags()).prop_map(|(who, port, flags)| Step::Client { who, port, flags }),
        3 => (0_usize..4, 0_u8..4, 0_u8..4, flags())
            .prop_map(|(server, who, port, flags)| Step::Server { server, who, port, flags }),
        2 => (0_u8..4, 0_u8..4, 0_u8..3).prop_map(|(who, id, order)| Step::Datagram { who, id, order }),
        2 => (0_usize..5, 1_u8..3, 0_u8..6, 0_u8..6)
            .prop_map(|(port, op, sender, target)| Step::Arp { port, op, sender, target }),
        1 => (0_u16..3000).prop_map(|millis| Step::Pass { millis }),
    ]
}

fn peer(who: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, who + 1)
}

/// The frames of a step: (port, frame).
fn frames_of(step: &Step) -> Vec<(usize, Vec<u8>)> {
    let table = table();
    let vmac = table.clusters[0].vmac;
    match *step {
        Step::Client { who, port, flags } => {
            let segment = tcp(4000 + u16::from(port), 80, flags, 1, 1, &[]);
            vec![(0, ethernet(vmac, CLIENT, None, 0x0800, &v4(peer(who), VIP, 6, 1, 0, &segment)))]
        }
        Step::Server { server, who, port, flags } => {
            let server = table.servers[server];
            let segment = tcp(80, 4000 + u16::from(port), flags, 1, 1, &[]);
            let vid = table.ports[server.port].untagged.is_none().then_some(5);
            let packet = v4(VIP, peer(who), 6, 1, 0, &segment);
            vec![(server.port, ethernet(CLIENT, server.mac, vid, 0x0800, &packet))]
        }
        Step::Datagram { who, id, order } => {
            let id = u16::from(id) + 1;
            let fragment = |place: u16, data: &[u8]| {
                (0, ethernet(vmac, CLIENT, None, 0x0800, &v4(peer(who), VIP, 17, id, place, data)))
            };
            let first = fragment(0x2000, &udp(4000, 53, &[0; 72]));
            let last = fragment(10, &[0; 40]);
            match order {
                0 => vec![first, last],
                1 => vec![last, first],
                _ => vec![last],
            }
        }
        Step::Arp { port, op, sender, target } => {
            let address = |n: u8| match n {
                0 => VIP,
                1 => Ipv4Addr::UNSPECIFIED,
                2 => Ipv4Addr::new(192, 0, 2, 2),
                3 => Ipv4Addr::new(192, 0, 2, 254),
                n => peer(n),
            };
            let behind = table.servers.iter().find(|server| server.port == port);
            let mac = behind.map_or(CLIENT, |server| server.mac);
            let vid = table.ports[port].untagged.is_none().then_some(5);
            let packet = arp(op, (mac, address(sender)), ([0; 6], address(target)));
            vec![(port, ethernet([0xff; 6], mac, vid, 0x0806, &packet))]
        }
        Step::Pass { .. } => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_oracle_holds_over_every_sequence(
        workers in 1_usize..4,
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut switch = Switch::start(&table(), workers, Chooser::Maglev);
        let mut oracle = Oracle::new(table());
        for step in &steps {
            if let Step::Pass { millis } = step {
                // What is held is let go meanwhile; nothing else may happen.
                switch.pass(u64::from(*millis) + 20);
                switch.out();
                switch.counts();
                prop_assert_eq!(switch.wire.buffers_in_use(), 0);
                oracle.release();
            }
            for (port, frame) in frames_of(step) {
                if let Err(violation) = switch.judge(&mut oracle, port, &frame) {
                    return Err(TestCaseError::fail(violation.0));
                }
            }
        }
    }
}

#[test]
fn what_comes_in_goes_out_or_is_counted_whatever_is_full() {
    // (b) under pressure: transmit queues, rings and the pool have ends.
    let table = table();
    let mut random = Random::new(3);
    let mut lost = [0; 2];
    for round in 0..20 {
        let mut switch = Switch::start(&table, 3, Chooser::Maglev);
        let before = switch.totals();
        for port in 0..table.ports.len() {
            switch.wire.limit_transmit(PortId(port as u8), random.below(20) + 1);
        }
        switch.wire.limit_hand(random.below(20) + 1);
        switch.wire.limit_buffers(random.below(60) + 1);
        let (mut pushed, mut out) = (0, 0);
        for _ in 0..50 {
            for _ in 0..random.below(200) {
                let who = Ipv4Addr::from(0xc633_6400 + random.below(250) as u32);
                let port = 1024 + random.below(5000) as u16;
                let mut frame = ethernet(
                    table.clusters[0].vmac,
                    CLIENT,
                    None,
                    0x0800,
                    &v4(who, VIP, 6, 1, 0, &tcp(port, 80, 0x02, 1, 0, &[])),
                );
                if random.below(4) == 0 {
                    let at = 14 + random.below(40);
                    frame[at] ^= 1 << random.below(8);
                }
                // Only what stays on the way to the VIP: a flood is several frames out of one.
                let stays = matches!(
                    expect(&table, 0, &frame).outcome,
                    Outcome::Drop | Outcome::Steer { may_wait: false, .. }
                );
                if stays {
                    switch.wire.push(WorkerId(random.below(3) as u8), PortId(0), &frame);
                    pushed += 1;
                }
            }
            switch.now = switch.now.plus_millis(1);
            switch.turn();
            out += switch.out().len() as u64;
        }
        let after = switch.totals();
        let dropped: u64 = after.drops.iter().sum::<u64>() - before.drops.iter().sum::<u64>();
        let own = after.emitted - before.emitted;
        let missed = switch.wire.missed();
        assert_eq!(pushed + own, out + dropped + missed, "round {round}: {after:?}");
        assert_eq!(switch.wire.buffers_in_use(), 0);
        lost = [lost[0] + dropped, lost[1] + missed];
    }
    assert!(lost.iter().all(|lost| *lost > 1000), "it was never full: {lost:?}");
}

#[test]
fn every_fragment_of_a_datagram_finds_one_server_in_any_order() {
    // FS-20, F13
    let table = table();
    let mut random = Random::new(9);
    let mut oracle = Oracle::new(table.clone());
    let mut verdicts = Verdicts::default();
    let mut switch = Switch::start(&table, 3, Chooser::Maglev);
    for id in 1..2000_u16 {
        let who = Ipv4Addr::from(0xc633_6400 + random.below(250) as u32);
        let mut datagram = udp(1024 + random.below(60_000) as u16, 53, &[0; 392]);
        datagram.resize(400, 0);
        let mut fragments: Vec<(u16, &[u8])> =
            vec![(0x2000, &datagram[..160]), (0x2000 | 20, &datagram[160..320]), (40, &datagram[320..])];
        for last in (1..fragments.len()).rev() {
            fragments.swap(last, random.below(last + 1));
        }
        for (place, data) in fragments {
            let packet = v4(who, VIP, 17, id, place, data);
            let frame = ethernet(table.clusters[0].vmac, CLIENT, None, 0x0800, &packet);
            verdicts.note(switch.judge(&mut oracle, 0, &frame));
        }
    }
    verdicts.assert_none();
    let counts = switch.totals();
    assert_eq!(counts.drops[dataplane_port::DropReason::FragmentLost as usize], 0);
    assert_eq!(switch.wire.kept(), 0);
}

#[test]
fn two_families_do_not_meet() {
    // FS-42: one flow of each family to each cluster, side by side.
    let table = table();
    let mut switch = Switch::start(&table, 1, Chooser::Maglev);
    let mut oracle = Oracle::new(table.clone());
    let mut verdicts = Verdicts::default();
    for port in 1..500 {
        let six = ip(addr("2001:db8::7"), addr("2001:db8::80"), 17, &udp(port, 80, &[]));
        let four = ip(addr("198.51.100.7"), IpAddr::V4(VIP), 17, &udp(port, 80, &[]));
        for (cluster, ethertype, packet) in [(1, 0x86dd, six), (0, 0x0800, four)] {
            let frame = ethernet(table.clusters[cluster].vmac, CLIENT, None, ethertype, &packet);
            verdicts.note(switch.judge(&mut oracle, 0, &frame));
        }
    }
    verdicts.assert_none();
}
