//! Inbound and outbound: FS-6, FS-7, FS-7a, FS-8, FS-9, FS-10a, FS-11, FS-21 to FS-24.

use crate::rig::*;
use dataplane_flow::TargetId;
use dataplane_message::{Admin, Affinity, Chooser, Fail, UdpMode};
use dataplane_wire::MacAddr;
use std::net::Ipv4Addr;

#[test]
fn round_robin_is_exact_and_flows_stay_fs_7_fs_9() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let mut counts = [0; 3];
    for port in 1000..1600 {
        let server = rig.reaches(R1, &inbound(port, SYN).frame());
        counts[server] += 1;
        assert_eq!(rig.reaches(R2, &inbound(port, SYN).frame()), server, "a repeated SYN");
        assert_eq!(rig.reaches(R2, &inbound(port, ACK).frame()), server);
    }
    assert_eq!(counts, [200, 200, 200]);
}

#[test]
fn round_robin_over_two_workers_is_exact_for_each_and_both_receive_for_both() {
    let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), 2);
    let mut counts = [0_i32; 3];
    for port in 1000..1600 {
        let server = rig.reaches(R1, &inbound(port, SYN).frame());
        counts[server] += 1;
        // The next packets of the flow come in by the other worker, and by this one.
        assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), server);
        assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), server);
    }
    assert!(counts.iter().all(|n| (n - 200).abs() <= 2), "one for each worker: {counts:?}");
    let report = rig.report();
    assert!(report.workers.iter().all(|w| w.handed > 0 && w.flows > 200), "{:?}", report.workers);
}

#[test]
fn weights_change_and_no_flow_moves_fs_7() {
    let mut rig = Rig::new(plan(Chooser::WeightedRoundRobin));
    let before: Vec<usize> = (1000..1300).map(|port| rig.reaches(R1, &inbound(port, SYN).frame())).collect();
    let mut changed = rig.plan.clone();
    changed.clusters[0].services[0].members = vec![member(0, 3), member(1, 2), member(2, 1)];
    rig.apply(changed);
    for (port, server) in (1000..1300).zip(before) {
        assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), server);
    }
    let mut counts = [0; 3];
    for port in 2000..2600 {
        counts[rig.reaches(R1, &inbound(port, SYN).frame())] += 1;
    }
    assert_eq!(counts, [300, 200, 100]);
}

#[test]
fn a_handshake_becomes_a_flow_and_a_closed_one_ends_fs_7() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    rig.bridged(S[server], &outbound(server, 4000, SYN | ACK).frame(), &[R1]);
    rig.reaches(R1, &inbound(4000, ACK).frame());
    let state = |rig: &mut Rig| rig.flows().first().map(|f| f.state.clone());
    assert_eq!(state(&mut rig).as_deref(), Some("established"));
    rig.reaches(R1, &inbound(4000, FIN | ACK).frame());
    assert_eq!(state(&mut rig).as_deref(), Some("half-closed"));
    rig.bridged(S[server], &outbound(server, 4000, FIN | ACK).frame(), &[R1]);
    assert_eq!(state(&mut rig).as_deref(), Some("closed"));
    // A SYN on the closed entry is a new flow: the next server's turn.
    assert_eq!(rig.reaches(R1, &inbound(4000, SYN).frame()), (server + 1) % 3);
}

#[test]
fn e1_a_client_that_guesses_the_acknowledgement_gets_no_long_entry() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    rig.send(S[server], &outbound(server, 4000, SYN | ACK).frame());
    rig.reaches(R1, &Tcp { ack: 77, ..inbound(4000, ACK) }.frame());
    assert_eq!(rig.flows()[0].state, "handshake");
    rig.reaches(R1, &inbound(4000, ACK).frame());
    assert_eq!(rig.flows()[0].state, "established");
}

#[test]
fn e1_e2_a_flood_displaces_no_established_flow_and_legitimate_clients_get_through() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let mut servers = Vec::new();
    for port in 1000..1200 {
        let server = rig.reaches(R1, &inbound(port, SYN).frame());
        rig.send(S[server], &outbound(server, port, SYN | ACK).frame());
        rig.reaches(R1, &inbound(port, ACK).frame());
        servers.push(server);
    }
    for n in 0..40_000_u32 {
        let from = Ipv4Addr::from(0x2000_0000 + n * 2_654);
        let flags = if n % 2 == 0 { SYN } else { ACK };
        let flood = Tcp { src: (ROUTER, from, 1000 + (n % 60_000) as u16), flags, ..inbound(1, flags) };
        rig.send(R1, &flood.frame());
    }
    for (port, server) in (1000..1200).zip(&servers) {
        assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), *server);
    }
    assert_eq!(rig.flows().iter().filter(|f| f.state == "established").count(), 200);
    // New connections in the flood: SYN, SYN+ACK and ACK meet at one server.
    for port in 5000..5200 {
        let server = rig.reaches(R1, &inbound(port, SYN).frame());
        rig.send(S[server], &outbound(server, port, SYN | ACK).frame());
        assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), server);
    }
}

#[test]
fn fs_7a_the_servers_own_packets_and_their_resets_restore_the_table() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    // The server speaks first: its flow is there again.
    rig.send(S[2], &outbound(2, 4000, ACK).frame());
    assert_eq!(rig.reaches(R1, &inbound(4000, ACK).frame()), 2);
    // The client speaks first: by hash, and wrong servers' resets are withheld.
    for owner in 0..3 {
        let port = 4100 + owner as u16;
        let mut tries = 0;
        loop {
            let server = rig.reaches(R1, &inbound(port, ACK).frame());
            tries += 1;
            if server == owner {
                break;
            }
            rig.dropped(S[server], &outbound(server, port, RST).frame(), "reset-withheld");
            rig.dropped(S[server], &outbound(server, port, RST).frame(), "reset-withheld");
        }
        assert!(tries <= 3);
        rig.send(S[owner], &outbound(owner, port, ACK).frame());
        assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), owner);
        // A wrong server's reset that comes late does not break what another has taken.
        let wrong = (owner + 1) % 3;
        rig.dropped(S[wrong], &outbound(wrong, port, RST).frame(), "reset-withheld");
        // Now it is known, a reset is one.
        rig.bridged(S[owner], &outbound(owner, port, RST).frame(), &[R1]);
    }
    // Nobody knows the flow: the last reset passes.
    let mut withheld = 0;
    let last = loop {
        let server = rig.reaches(R1, &inbound(4200, ACK).frame());
        let out = rig.send(S[server], &outbound(server, 4200, RST).frame());
        if !out.is_empty() {
            break out;
        }
        withheld += 1;
        assert!(withheld < 3, "every server has refused");
    };
    assert_eq!((withheld, last[0].0), (2, R1));
}

#[test]
fn fs_8_fs_22_fs_23_every_protocol_follows_its_key() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    for protocol in [4, 41, 46, 47, 89, 132, 136, 200, 255] {
        let packet = ipv4((ROUTER, CLIENT), (VMAC, VIP), protocol, &[9; 40]);
        let server = rig.reaches(R1, &packet);
        assert!((0..3).all(|_| rig.reaches(R2, &packet) == server), "protocol {protocol}");
        // Outbound it passes untouched.
        rig.bridged(S[server], &ipv4((server_mac(server), VIP), (ROUTER, CLIENT), protocol, &[8; 40]), &[R2]);
    }
    // IKE, IKE through NAT, ESP and AH of one client share one server.
    let from = |port| (ROUTER, Ipv4Addr::new(198, 51, 100, 99), port);
    let client = (ROUTER, from(0).1);
    let server = rig.reaches(R1, &udp(from(500), (VMAC, VIP, 500), &[1; 40]));
    assert_eq!(rig.reaches(R1, &udp(from(61_000), (VMAC, VIP, 4500), &[1; 40])), server);
    assert_eq!(rig.reaches(R1, &ipv4(client, (VMAC, VIP), 50, &[7; 60])), server);
    assert_eq!(rig.reaches(R1, &ipv4(client, (VMAC, VIP), 51, &[7; 60])), server);
    // Echo by identifier.
    let echo = |id: u8| ipv4((ROUTER, CLIENT), (VMAC, VIP), 1, &[8, 0, 0, 0, 0, id, 0, 1]);
    let first = rig.reaches(R1, &echo(1));
    assert_eq!(rig.reaches(R1, &echo(1)), first);
    assert_ne!(rig.reaches(R1, &echo(2)), first, "the next one's turn");
}

#[test]
fn fs_6_only_the_vips_own_addresses_are_steered() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    // A stale entry after insertion: a server's MAC.
    rig.reaches(R1, &Tcp { dst: (server_mac(1), VIP, 80), ..inbound(4000, SYN) }.frame());
    // Another MAC is bridged.
    let other = Tcp { dst: (MacAddr([2, 7, 7, 7, 7, 7]), VIP, 80), ..inbound(4000, SYN) }.frame();
    rig.bridged(R1, &other, &[R2, S[0], S[1], S[2]]);
    rig.dropped(
        R1,
        &Tcp { dst: (MacAddr::BROADCAST, VIP, 80), ..inbound(4000, SYN) }.frame(),
        "vip-not-unicast",
    );
    let elsewhere = Tcp { dst: (VMAC, Ipv4Addr::new(10, 9, 0, 77), 80), ..inbound(4000, SYN) };
    rig.dropped(R1, &elsewhere.frame(), "vmac-not-vip");
    let mut unknown = inbound(4000, SYN).frame();
    unknown[12..14].copy_from_slice(&[0x88, 0xb5]);
    rig.dropped(R1, &unknown, "vmac-not-vip");
    // F3: 802.3 with LLC is not followed.
    unknown[12..14].copy_from_slice(&[0, 40]);
    rig.dropped(R1, &unknown, "vmac-not-vip");
}

#[test]
fn f6_f7_f11_f12_what_cannot_be_is_dropped_by_name_and_leaves_no_flow() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let good = inbound(4000, SYN);
    let frame = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.frame();
        change(&mut frame);
        frame
    };
    for source in ["0.0.0.1", "127.0.0.1", "224.0.0.5", "255.255.255.255", "10.9.0.100"] {
        let source: Ipv4Addr = source.parse().unwrap();
        rig.dropped(R1, &Tcp { src: (ROUTER, source, 4000), ..good }.frame(), "martian");
    }
    rig.dropped(R1, &frame(&|f| f[25] ^= 1), "ip-checksum");
    rig.dropped(R1, &frame(&|f| f[14] = 0x44), "ip-header");
    rig.dropped(R1, &frame(&|f| f[46] = 0x40), "l4-header");
    for flags in [0, 3, 6, 0x29] {
        rig.dropped(R1, &frame(&|f| f[47] = flags), "l4-header");
    }
    rig.dropped(R1, &Tcp { src: (ROUTER, CLIENT, 0), ..good }.frame(), "l4-header");
    for source in [[3, 0, 0, 0, 0, 1], [0; 6], [0xff; 6]] {
        rig.dropped(R1, &frame(&|f| f[6..12].copy_from_slice(&source)), "source-mac");
    }
    rig.dropped(R1, &frame(&|f| f[6..12].copy_from_slice(&VMAC.0)), "foreign-vmac");
    rig.dropped(R1, &good.frame()[..13], "runt");
    assert_eq!(rig.flows(), []);
    let alarms = rig.report().alarms;
    assert!(alarms.iter().any(|a| a.kind == dataplane_message::AlarmKind::ForeignVmac));
}

#[test]
fn fs_21_f17_an_icmp_error_goes_where_its_flow_goes_and_changes_nothing() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    rig.send(S[server], &outbound(server, 4000, SYN | ACK).frame());
    rig.reaches(R1, &inbound(4000, ACK).frame());
    let before = rig.flows();
    let hop = Ipv4Addr::new(203, 0, 113, 1);
    let needed = |quoted: &[u8]| {
        let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0];
        message.extend_from_slice(&quoted[14..14 + 28]);
        ipv4((ROUTER, hop), (VMAC, VIP), 1, &message)
    };
    assert_eq!(rig.reaches(R1, &needed(&outbound(server, 4000, ACK).frame())), server);
    // About no flow of ours: by hash, no state.
    rig.reaches(R1, &needed(&outbound(server, 4999, ACK).frame()));
    // About a packet that the VIP did not send.
    rig.dropped(R1, &needed(&Tcp { src: (ROUTER, hop, 80), ..outbound(0, 1, ACK) }.frame()), "icmp-quote");
    let redirect = {
        let mut frame = needed(&outbound(server, 4000, ACK).frame());
        frame[34] = 5;
        frame
    };
    rig.dropped(R1, &redirect, "icmp-redirect");
    assert_eq!(rig.flows().len(), before.len());
    assert_eq!(rig.flows()[0].state, "established");
}

#[test]
fn f17_one_source_sends_a_thousand_errors_a_second_and_others_are_not_held_up() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let error = |hop: Ipv4Addr, port: u16| {
        let mut message = vec![3, 4, 0, 0, 0, 0, 5, 0];
        message.extend_from_slice(&outbound(0, port, ACK).frame()[14..14 + 28]);
        ipv4((ROUTER, hop), (VMAC, VIP), 1, &message)
    };
    for port in 0..1000 {
        rig.send(R1, &error(Ipv4Addr::new(203, 0, 113, 1), 2000 + port));
    }
    assert!(rig.drop_count("icmp-rate") >= 500);
    // The same for errors about a flow that there is.
    rig.wait_ms(1000);
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    rig.send(S[server], &outbound(server, 4000, ACK).frame());
    let before = rig.drop_count("icmp-rate");
    for _ in 0..1000 {
        rig.send(R1, &error(Ipv4Addr::new(203, 0, 113, 1), 4000));
    }
    assert!(rig.drop_count("icmp-rate") >= before + 500);
    rig.dropped(R1, &error(Ipv4Addr::new(127, 0, 0, 1), 4000), "martian");
    rig.reaches(R1, &error(Ipv4Addr::new(203, 0, 113, 2), 9));
}

#[test]
fn fs_11_server_packets_pass_untouched_with_options_padding_and_tags() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.reaches(R1, &inbound(4000, SYN).frame());
    let mut trailing = outbound(0, 4000, ACK).frame();
    trailing.extend([0xaa; 30]);
    rig.bridged(S[0], &trailing, &[R1]);
    let mut broken = outbound(0, 4000, ACK).frame();
    broken[25] ^= 0x55;
    rig.bridged(S[0], &broken, &[R1]);
}

#[test]
fn fs_9_least_connections_and_source_affinity() {
    let mut rig = Rig::new(plan(Chooser::LeastConnections));
    let mut counts = [0; 3];
    for port in 1000..1300 {
        counts[rig.reaches(R1, &inbound(port, SYN).frame())] += 1;
    }
    assert_eq!(counts, [100, 100, 100]);
    let mut rig = Rig::new(plan(Chooser::SourceAffinity));
    let mut seen = [0; 3];
    for n in 0..100_u8 {
        let at = |port| Tcp { src: (ROUTER, Ipv4Addr::new(198, 51, 100, n), port), ..inbound(port, SYN) };
        let server = rig.reaches(R1, &at(1000).frame());
        assert!((1001..1010).all(|port| rig.reaches(R1, &at(port).frame()) == server));
        seen[server] += 1;
    }
    assert!(seen.iter().all(|n| *n > 10), "{seen:?}");
}

#[test]
fn fs_24_a_client_stays_bound_until_it_is_idle_or_its_server_drains() {
    let mut bound = plan(Chooser::RoundRobin);
    bound.clusters[0].services[0].affinity =
        Some(Affinity { prefix_v4: 24, prefix_v6: 64, idle_s: 30, group: 1 });
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(bound.clone(), workers);
        let at =
            |n: u8, port| Tcp { src: (ROUTER, Ipv4Addr::new(198, 51, 100, n), port), ..inbound(port, SYN) };
        let server = rig.reaches(R1, &at(1, 1000).frame());
        for port in 1001..1020 {
            assert_eq!(rig.reaches(R1, &at(port as u8, port).frame()), server, "one /24, one server");
        }
        let mut drained = rig.plan.clone();
        drained.targets[server].admin = Admin::Drain;
        rig.apply(drained);
        let next = rig.reaches(R1, &at(1, 2000).frame());
        assert_ne!(next, server, "drain unbinds at once");
        assert_eq!(rig.reaches(R1, &at(1, 1000).frame()), server, "old flows finish");
        rig.wait_ms(32_000);
        rig.drain();
        let later: Vec<usize> = (3000..3001).map(|port| rig.reaches(R1, &at(1, port).frame())).collect();
        assert_ne!(later, [server]);
    }
}

#[test]
fn fs_10a_without_a_server_clients_are_refused_and_fail_open_serves() {
    let mut down = plan(Chooser::RoundRobin);
    for target in &mut down.targets {
        target.admin = Admin::Disabled;
    }
    let mut rig = Rig::new(down.clone());
    let out = rig.send(R1, &inbound(4000, SYN).frame());
    let [(R1, reset)] = &out[..] else { panic!("{out:?}") };
    assert_eq!((&reset[..6], &reset[6..12]), (&ROUTER.0[..], &VMAC.0[..]));
    assert_eq!(reset[47] & 0x3f, RST | ACK);
    assert_eq!(rig.drop_count("no-server"), 1);
    let out = rig.send(R1, &udp((ROUTER, CLIENT, 5000), (VMAC, VIP, 53), b"query"));
    assert_eq!((out[0].1[23], out[0].1[34]), (1, 3), "ICMP unreachable");
    for port in 0..3000 {
        rig.send(R1, &inbound(5000 + port, SYN).frame());
    }
    down.clusters[0].fail = Fail::Open;
    let mut rig = Rig::new(down);
    assert_eq!(rig.drops(), []);
    let out = rig.send(R1, &inbound(4000, SYN).frame());
    assert!(out.len() == 1 && S.contains(&out[0].0), "{out:?}");
}

#[test]
fn fs_7_udp_by_packet_leaves_no_flow_and_what_servers_ask_is_answered_to_them() {
    let mut by_packet = plan(Chooser::RoundRobin);
    by_packet.clusters[0].udp = UdpMode::Packet;
    let mut rig = Rig::new(by_packet);
    let query = udp((ROUTER, CLIENT, 5000), (VMAC, VIP, 53), b"query");
    let servers: Vec<usize> = (0..6).map(|_| rig.reaches(R1, &query)).collect();
    assert_eq!(servers, [0, 1, 2, 0, 1, 2]);
    rig.send(S[1], &udp((server_mac(1), VIP, 53), (ROUTER, CLIENT, 5000), b"answer"));
    assert_eq!(rig.flows(), []);
    let resolver = Ipv4Addr::new(192, 0, 2, 53);
    rig.send(S[1], &udp((server_mac(1), VIP, 40_000), (ROUTER, resolver, 53), b"query"));
    assert_eq!(rig.reaches(R1, &udp((ROUTER, resolver, 53), (VMAC, VIP, 40_000), b"answer")), 1);
}

#[test]
fn fs_10_a_dead_link_takes_its_server_out_and_its_flows_move_where_they_are_to() {
    let mut moving = plan(Chooser::RoundRobin);
    moving.clusters[0].dead_tcp = dataplane_message::DeadFlows::Move;
    let mut rig = Rig::new(moving);
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    rig.link(S[server], false);
    rig.settle();
    let mut seen = Vec::new();
    for port in 5000..5030 {
        seen.push(rig.reaches(R1, &inbound(port, SYN).frame()));
    }
    assert!(!seen.contains(&server));
    assert_ne!(rig.reaches(R1, &inbound(4000, ACK).frame()), server);
    rig.link(S[server], true);
    rig.settle();
    assert!((6000..6010).any(|port| rig.reaches(R1, &inbound(port, SYN).frame()) == server));
    assert!(!rig.report().targets[0].id.eq(&TargetId::NONE));
}

#[test]
fn the_buffer_pool_returns_to_its_count_and_frames_add_up() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    rig.wire.limit_transmit(S[0], 0);
    for port in 1000..1300 {
        rig.send(R1, &inbound(port, SYN).frame());
        rig.send(R1, &inbound(port, SYN).frame()[..20]);
    }
    assert_eq!(rig.drop_count("transmit-full"), 100);
    assert_eq!(rig.wire.buffers_in_use(), 0);
}

#[test]
fn e1_a_forged_pair_of_syn_and_ack_gets_no_long_entry_from_the_servers_answers() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    rig.reaches(R1, &Tcp { ack: 77, ..inbound(4000, ACK) }.frame());
    rig.send(S[server], &outbound(server, 4000, SYN | ACK).frame());
    // To a segment outside of its window a server in a handshake answers with a bare ACK.
    rig.send(S[server], &Tcp { seq: 5001, ..outbound(server, 4000, ACK) }.frame());
    assert_eq!(rig.flows()[0].state, "handshake");
    rig.reaches(R1, &inbound(4000, ACK).frame());
    assert_eq!(rig.flows()[0].state, "established");
    // A server's FIN in a flow that is not known leaves no entry for two hours.
    rig.send(S[1], &outbound(1, 4001, FIN | ACK).frame());
    assert!(rig.flows().iter().any(|f| f.client_port == 4001 && f.state == "half-closed"));
}

#[test]
fn fs_10a_fail_open_keeps_flows_and_bindings_as_if_all_were_up() {
    let mut down = plan(Chooser::RoundRobin);
    down.clusters[0].fail = Fail::Open;
    down.targets.iter_mut().for_each(|target| target.admin = Admin::Disabled);
    let mut rig = Rig::new(down.clone());
    for port in 4000..4012 {
        let server = rig.reaches(R1, &inbound(port, SYN).frame());
        rig.send(S[server], &outbound(server, port, SYN | ACK).frame());
        assert!((0..3).all(|_| rig.reaches(R1, &inbound(port, ACK).frame()) == server));
    }
    assert!(rig.flows().iter().all(|f| f.state == "established"));
    // Not to a server behind a dead link.
    rig.link(S[1], false);
    rig.settle();
    assert!((5000..5012).all(|port| rig.reaches(R1, &inbound(port, SYN).frame()) != 1));
    let idle_s = 30;
    down.clusters[0].services[0].affinity = Some(Affinity { prefix_v4: 24, prefix_v6: 64, idle_s, group: 1 });
    let mut rig = Rig::new(down);
    let server = rig.reaches(R1, &inbound(4000, SYN).frame());
    assert!((5000..5012).all(|port| rig.reaches(R1, &inbound(port, SYN).frame()) == server));
}

#[test]
fn fs_7a_keep_alive_probes_find_the_server_of_an_idle_flow() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    for owner in 0..3 {
        let port = 4100 + owner as u16;
        let found = (0..3).any(|_| {
            let server = rig.reaches(R1, &inbound(port, ACK).frame());
            if server != owner {
                rig.dropped(S[server], &outbound(server, port, RST).frame(), "reset-withheld");
            }
            // The interval of Linux's probes.
            (0..75).for_each(|_| rig.wait_ms(1000));
            rig.wire.take_sent();
            server == owner
        });
        assert!(found, "every probe went to the same server");
    }
}

#[test]
fn fs_7a_fs_33_a_draining_server_is_tried_too_and_last() {
    let mut drained = plan(Chooser::Maglev);
    drained.targets[1].admin = Admin::Drain;
    let mut rig = Rig::new(drained);
    for port in 4000..4010 {
        let mut tried = Vec::new();
        loop {
            let server = rig.reaches(R1, &inbound(port, ACK).frame());
            tried.push(server);
            if !rig.send(S[server], &outbound(server, port, RST).frame()).is_empty() {
                break;
            }
        }
        assert_eq!((tried.len(), tried[2]), (3, 1), "{tried:?}");
    }
}

#[test]
fn every_frame_is_counted_once_whatever_is_full() {
    for (transmit, hand) in [(usize::MAX, usize::MAX), (0, usize::MAX), (usize::MAX, 0)] {
        let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), 2);
        rig.wire.limit_transmit(S[1], transmit);
        rig.wire.limit_hand(hand);
        for port in 1000..1300 {
            rig.send(R1, &inbound(port, SYN).frame());
            rig.send(R1, &inbound(port, SYN).frame()[..20]);
            let parts = crate::fragments::fragments(CLIENT, port, port);
            for part in [2, 0, 1] {
                rig.send(R1, &parts[part]);
            }
        }
        rig.wait_ms(11);
        let count = |of: &dyn Fn(&dataplane_engine::Counters) -> u64| -> u64 {
            rig.workers.iter().map(|w| of(w.engine().counters())).sum()
        };
        let taken = count(&|c| c.frames.read());
        let ended = count(&|c| c.sent.read() + c.consumed.read() + c.punted.read() + c.handed.read());
        let dropped: u64 = rig.drops().iter().map(|(_, n)| n).sum();
        assert_eq!(taken, ended + dropped, "{:?}", rig.drops());
    }
}

#[test]
fn fs_7a_in_a_full_table_the_server_that_answers_has_the_flow_too() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    // Flows that carry traffic, more than there is room for.
    for n in 0..80_000_u32 {
        let client = Ipv4Addr::from(0x2000_0000 + n);
        rig.send(S[0], &Tcp { dst: (ROUTER, client, 1000), ..outbound(0, 1000, ACK) }.frame());
    }
    let mut kept = 0;
    for port in 4000..4060 {
        let first = rig.reaches(R1, &inbound(port, ACK).frame());
        let owner = (first + 1) % 3;
        rig.send(S[owner], &outbound(owner, port, ACK).frame());
        kept += usize::from(rig.flows_of(port) == ["mid-flow"]);
        assert_eq!(rig.reaches(R1, &inbound(port, ACK).frame()), owner);
    }
    assert!(kept > 0, "the table was full");
}

#[test]
fn fs_10a_refusals_are_limited_over_all_workers() {
    let mut down = plan(Chooser::RoundRobin);
    down.targets.iter_mut().for_each(|target| target.admin = Admin::Disabled);
    for workers in [1, 4] {
        let mut rig = Rig::with_workers(down.clone(), workers);
        let answered = |rig: &mut Rig| -> usize {
            (0..4000).map(|port| rig.send(R1, &inbound(1000 + port, SYN).frame()).len()).sum()
        };
        answered(&mut rig);
        let second: usize = (0..10)
            .map(|_| {
                rig.wait_ms(99);
                answered(&mut rig)
            })
            .sum();
        assert!((900..=1000).contains(&second), "{second} by {workers} workers");
    }
}

#[test]
fn fs_24_a_quic_connection_keeps_its_server_when_its_address_changes() {
    let mut quic = plan(Chooser::RoundRobin);
    quic.clusters[0].services[0].quic = true;
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(quic.clone(), workers);
        for n in 0..12_u8 {
            let id = [n + 1, 2, 3, 4, 5, 6, 7, 8];
            let from = |host: u8, port| (ROUTER, Ipv4Addr::new(198, 51, 100, host), port);
            let initial = [&[0xc3, 0, 0, 0, 1, 8][..], &[0x55; 8], &[0], &[0x33; 1200]].concat();
            let server = rig.reaches(R1, &udp(from(n, 5000), (VMAC, VIP, 443), &initial));
            let answer = [&[0xcf, 0, 0, 0, 1, 0, 8][..], &id, &[0x44; 100]].concat();
            rig.send(S[server], &udp((server_mac(server), VIP, 443), from(n, 5000), &answer));
            let short = [&[0x41][..], &id, &[0x99; 60]].concat();
            for (host, port) in [(n, 5000), (n, 5001), (n + 100, 6000), (n + 101, 7000)] {
                assert_eq!(rig.reaches(R1, &udp(from(host, port), (VMAC, VIP, 443), &short)), server);
            }
        }
        // An ID that nobody has given out is a choice like any other.
        rig.reaches(R1, &udp((ROUTER, CLIENT, 9), (VMAC, VIP, 443), &[0x41; 40]));
    }
}

#[test]
fn f6_a_port_of_our_own_as_source_is_dropped() {
    let mut rig = Rig::new(plan(Chooser::RoundRobin));
    let own = MacAddr([2, 0, 0, 0, 9, R2.0]);
    rig.dropped(R1, &Tcp { src: (own, CLIENT, 4000), ..inbound(4000, SYN) }.frame(), "source-mac");
}
