//! What the traffic shows of servers: FS-31, FS-32.

use crate::rig::*;
use dataplane_message::{Chooser, MemberSigns, Plan, Signs, ToControl, ToDataPath, VERSION};
use dataplane_port::PortSet;

const PSH: u8 = 8;

/// The signs that were sent since the last time.
fn heard(rig: &mut Rig) -> Vec<Signs> {
    std::iter::from_fn(|| rig.publisher.poll_message())
        .filter_map(|message| match message {
            ToControl::Signs(signs) => Some(*signs),
            _ => None,
        })
        .collect()
}

/// All that is counted of server `n`.
fn member_of(rig: &mut Rig, n: usize) -> MemberSigns {
    rig.report().members[n].signs
}

fn data(segment: Tcp) -> Vec<u8> {
    let mut frame = Tcp { flags: segment.flags | PSH, ..segment }.frame();
    // 20 bytes more than the headers.
    frame.resize(74, 7);
    frame[16..18].copy_from_slice(&60_u16.to_be_bytes());
    fix_ipv4(&mut frame);
    frame
}

fn rig() -> Rig {
    Rig::new(plan(Chooser::RoundRobin))
}

/// A handshake; the server.
fn establish(rig: &mut Rig, port: u16) -> usize {
    let server = rig.reaches(R1, &inbound(port, SYN).frame());
    rig.send(S[server], &outbound(server, port, SYN | ACK).frame());
    rig.send(R1, &inbound(port, ACK).frame());
    server
}

#[test]
fn fs_31_a_whole_flow_is_counted_once_and_timed() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(plan(Chooser::RoundRobin), workers);
        rig.reaches(R1, &inbound(1000, SYN).frame());
        rig.wait_ms(3);
        rig.send(S[0], &outbound(0, 1000, SYN | ACK).frame());
        rig.send(S[0], &outbound(0, 1000, SYN | ACK).frame());
        rig.send(R1, &inbound(1000, ACK).frame());
        rig.send(R1, &data(inbound(1000, ACK)));
        rig.send(R1, &data(inbound(1000, ACK)));
        rig.wait_ms(100);
        rig.send(S[0], &data(outbound(0, 1000, ACK)));
        rig.send(S[0], &data(outbound(0, 1000, ACK)));
        rig.send(R1, &data(inbound(1000, ACK)));
        let report = rig.report();
        let row = &report.members[0];
        let signs = row.signs;
        let counted =
            (signs.opened, signs.accepted, signs.completed, signs.requests, signs.responses, signs.resets);
        assert_eq!(counted, (1, 1, 1, 1, 1, 0));
        assert_eq!((signs.refused, signs.repeated, signs.bypassed), (0, 0, 0));
        assert!((4000..5000).contains(&signs.connect_us), "{}", signs.connect_us);
        assert!((101_000..102_000).contains(&signs.response_us), "{}", signs.response_us);
        assert_eq!(row.connect.percentile_us(50), Some(4096));
        assert_eq!(row.response.percentile_us(50), Some(131_072));
        assert!(report.members[1..].iter().all(|m| m.signs.opened == 0 && m.connect.buckets.is_empty()));
        rig.send(S[0], &outbound(0, 1000, RST | ACK).frame());
        assert_eq!(member_of(&mut rig, 0).resets, 1);
    }
}

#[test]
fn fs_31_refused_repeated_and_bypassed() {
    let mut rig = rig();
    rig.reaches(R1, &inbound(1000, SYN).frame());
    rig.reaches(R1, &inbound(1000, SYN).frame());
    rig.reaches(R1, &inbound(1000, SYN).frame());
    let signs = member_of(&mut rig, 0);
    assert_eq!((signs.opened, signs.repeated, signs.accepted), (1, 2, 0));
    rig.send(S[0], &outbound(0, 1000, RST | ACK).frame());
    assert_eq!(member_of(&mut rig, 0).refused, 1);
    // The server's answer goes another way.
    assert_eq!(rig.reaches(R1, &inbound(1001, SYN).frame()), 1);
    rig.send(R1, &inbound(1001, ACK).frame());
    rig.send(R1, &inbound(1001, ACK).frame());
    let signs = member_of(&mut rig, 1);
    assert_eq!((signs.opened, signs.bypassed, signs.accepted, signs.completed), (1, 1, 0, 0));
}

#[test]
fn fs_31_a_server_that_speaks_first_and_flows_that_began_unseen_are_not_timed() {
    let mut rig = rig();
    let server = establish(&mut rig, 1000);
    rig.send(S[server], &data(outbound(server, 1000, ACK)));
    rig.send(R1, &data(inbound(1000, ACK)));
    let signs = member_of(&mut rig, server);
    assert_eq!((signs.requests, signs.responses, signs.response_us), (0, 0, 0));
    // FS-7a: the server's own packet makes the entry.
    rig.send(S[2], &data(outbound(2, 5000, ACK)));
    rig.send(R1, &data(inbound(5000, ACK)));
    rig.send(S[2], &data(outbound(2, 5000, ACK)));
    // FS-7a: the client's does.
    rig.send(R1, &data(inbound(5001, ACK)));
    for n in 0..3 {
        let signs = member_of(&mut rig, n);
        assert_eq!((signs.requests, signs.responses), (0, 0), "{n}");
    }
}

#[test]
fn fs_31_signs_are_sent_within_20_ms_and_only_rows_that_changed() {
    let mut rig = rig();
    rig.publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 2 }, rig.now);
    rig.turn();
    let first = heard(&mut rig);
    assert_eq!((first.len(), first[0].targets.len(), first[0].members.len()), (1, 3, 3), "all rows");
    rig.settle();
    heard(&mut rig);
    rig.wait_ms(100);
    assert!(heard(&mut rig).is_empty(), "nothing has changed");
    let before = rig.now;
    rig.reaches(R1, &inbound(1000, SYN).frame());
    let mut signs = heard(&mut rig);
    while signs.is_empty() {
        rig.turn();
        signs = heard(&mut rig);
        assert!(rig.now.since(before) <= 21_000_000);
    }
    assert_eq!((signs[0].targets.len(), signs[0].members.len()), (1, 1));
    assert_eq!((signs[0].targets[0].in_frames, signs[0].members[0].opened), (1, 1));
    // A link: at once.
    rig.publisher.handle_port(S[1], dataplane_worker::PortState::default(), rig.now);
    let signs = heard(&mut rig);
    let up: PortSet = [R1, R2, S[0], S[2]].into_iter().collect();
    assert_eq!(signs.first().map(|s| s.up), Some(up));
}

#[test]
fn fs_10_arp_of_a_server_is_heard() {
    let mut rig = rig();
    let mut arp = vec![0xff; 6];
    arp.extend(server_mac(0).0);
    arp.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    arp.extend(server_mac(0).0);
    arp.extend(VIP.octets());
    arp.extend([0; 6]);
    arp.extend(ROUTER_IP.octets());
    arp.resize(60, 0);
    heard(&mut rig);
    rig.send(S[0], &arp);
    rig.wait_ms(21);
    let signs = heard(&mut rig);
    assert!(signs.iter().any(|s| s.targets.iter().any(|t| t.id.0 == 0 && t.out_frames == 1)), "{signs:?}");
    assert_eq!(rig.report().targets[0].counts.out_frames, 0, "no load");
}

#[test]
fn fs_31_members_keep_their_counters_and_new_ones_begin_at_0() {
    let mut rig = rig();
    for port in 1000..1030 {
        establish(&mut rig, port);
    }
    let mut without: Plan = plan(Chooser::RoundRobin);
    without.clusters[0].services[0].members.remove(0);
    rig.apply(without);
    let report = rig.report();
    assert_eq!(report.members.len(), 2);
    assert!(report.members.iter().all(|m| m.signs.opened == 10), "{:?}", report.members);
    rig.apply(plan(Chooser::RoundRobin));
    let opened: Vec<u64> = rig.report().members.iter().map(|m| m.signs.opened).collect();
    assert_eq!(opened, [0, 10, 10]);
    for port in 2000..2030 {
        establish(&mut rig, port);
    }
    let report = rig.report();
    let opened: Vec<u64> = report.members.iter().map(|m| m.signs.opened).collect();
    assert_eq!(opened, [10, 20, 20]);
    assert_eq!(report.members[0].connect.buckets.iter().sum::<u64>(), 10);
}
