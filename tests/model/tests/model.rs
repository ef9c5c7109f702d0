//! The model itself, and the oracle: they have to see what is wrong.

use std::net::{IpAddr, Ipv4Addr};
use tests_model::frames::{ACK, FIN, RST, SYN, arp, echo, ethernet, ip, tcp, udp, v4, v6};
use tests_model::{
    Cluster, Counts, Mac, Observation, Oracle, Outcome, Port, Role, Sent, Server, Table, expect,
};

const CLIENT: Mac = [2, 0xc1, 0, 0, 0, 1];
const VMAC: Mac = [2, 0, 0x5e, 0x10, 0, 1];
const VMAC6: Mac = [2, 0, 0x5e, 0x10, 0, 2];
const S0: Mac = [2, 0x5e, 0, 0, 0, 1];
const S1: Mac = [2, 0x5e, 0, 0, 0, 2];
const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Port 0 outside, ports 1 and 2 with a server each; VLAN 5, tagged on port 2; port 3 outside.
fn table() -> Table {
    let port =
        |role, untagged, tagged: &[u16]| Port { role, untagged, tagged: tagged.to_vec(), drops_bpdus: false };
    Table {
        ports: vec![
            port(Role::Outside, Some(5), &[]),
            port(Role::Server, Some(5), &[]),
            port(Role::Server, None, &[5, 6]),
            port(Role::Outside, Some(5), &[6]),
        ],
        servers: vec![Server { port: 1, mac: S0 }, Server { port: 2, mac: S1 }],
        clusters: vec![
            Cluster { vlan: 5, vip: IpAddr::V4(VIP), vmac: VMAC, servers: vec![0, 1] },
            Cluster { vlan: 5, vip: addr("2001:db8::80"), vmac: VMAC6, servers: vec![0, 1] },
        ],
        routers: vec![(5, addr("192.0.2.254"))],
    }
}

fn to_vip(packet: &[u8]) -> Vec<u8> {
    ethernet(VMAC, CLIENT, None, 0x0800, packet)
}

fn syn() -> Vec<u8> {
    to_vip(&v4(PEER, VIP, 6, 1, 0, &tcp(4000, 80, SYN, 1, 0, &[])))
}

fn drops(frame: &[u8]) -> Vec<&'static str> {
    let expected = expect(&table(), 0, frame);
    assert_eq!(expected.outcome, Outcome::Drop, "{expected:?}");
    expected.or_drop
}

fn changed(frame: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut frame = frame.to_vec();
    change(&mut frame);
    frame
}

#[test]
fn a_packet_to_the_vip_goes_to_a_server() {
    // FS-6, FS-8
    let all = Outcome::Steer { vlan: 5, servers: vec![0, 1], may_wait: false };
    assert_eq!(expect(&table(), 0, &syn()).outcome, all);
    for protocol in [1, 17, 47, 50, 132, 250] {
        let packet = v4(PEER, VIP, protocol, 1, 0, &echo(false, 3).repeat(3));
        assert_eq!(expect(&table(), 0, &to_vip(&packet)).outcome, all, "{protocol}");
    }
    let stale = changed(&syn(), |f| f[..6].copy_from_slice(&S1));
    assert_eq!(expect(&table(), 0, &stale).outcome, all);
    let packet = ip(addr("2001:db8::7"), addr("2001:db8::80"), 17, &udp(1, 2, &[]));
    let frame = ethernet(VMAC6, CLIENT, None, 0x86dd, &packet);
    assert_eq!(expect(&table(), 3, &frame).outcome, all);
}

#[test]
fn other_frames_are_bridged_or_dropped() {
    let bridged = Outcome::Bridge { vlan: 5, except: vec![] };
    let elsewhere = changed(&syn(), |f| f[..6].copy_from_slice(&CLIENT));
    assert_eq!(expect(&table(), 0, &elsewhere).outcome, bridged); // FS-6: other destination MAC
    assert_eq!(drops(&changed(&syn(), |f| f[..6].fill(0xff))), ["vip-not-unicast"]);
    let other_ip = to_vip(&v4(PEER, PEER, 17, 1, 0, &udp(1, 2, &[])));
    assert_eq!(drops(&other_ip), ["vmac-not-vip"]);
    assert_eq!(drops(&ethernet(VMAC, CLIENT, None, 0x9000, &[])), ["vmac-not-vip"]); // F3
    assert_eq!(drops(&syn()[..13]), ["runt"]); // F1
    assert_eq!(drops(&changed(&syn(), |f| f[6] = 3)), ["source-mac"]); // F6
    assert!(drops(&changed(&syn(), |f| f[6..12].copy_from_slice(&VMAC))).contains(&"foreign-vmac"));
    assert_eq!(drops(&ethernet(VMAC, CLIENT, Some(6), 0x0800, &[])), ["vlan-not-member"]); // F5
    let pause = ethernet([1, 0x80, 0xc2, 0, 0, 1], CLIENT, None, 0x8808, &[]);
    assert_eq!(drops(&pause), ["link-local"]); // FS-5
    let lldp = ethernet([1, 0x80, 0xc2, 0, 0, 0xe], CLIENT, None, 0x88cc, &[]);
    assert_eq!(expect(&table(), 0, &lldp).outcome, Outcome::Punt);
}

#[test]
fn tags_are_read_alike_by_everything() {
    // F4
    let priority = changed(&ethernet(VMAC, CLIENT, Some(0), 0x0800, &syn()[14..]), |_| {});
    assert_eq!(expect(&table(), 0, &priority), expect(&table(), 0, &syn()));
    let three = [&syn()[..12], &[0x81, 0, 0, 0].repeat(3), &syn()[12..]].concat();
    assert_eq!(drops(&three), ["tag-depth"]);
    let hidden = [&syn()[..12], &[0x81, 0, 0, 0, 0x81, 0, 0, 6], &syn()[12..]].concat();
    assert_eq!(drops(&hidden), ["tag-depth"]);
    let nested = [&syn()[..12], &[0x81, 0, 0, 6, 0x81, 0, 0, 5], &syn()[12..]].concat();
    let outcome = expect(&table(), 3, &nested).outcome;
    assert_eq!(outcome, Outcome::Bridge { vlan: 6, except: vec![] });
    assert_eq!(drops(&[&syn()[..12], &[0x81, 0, 0, 0]].concat()), ["tag-depth"]);
}

#[test]
fn every_fault_on_the_way_to_a_vip_is_named() {
    let broken = |at: usize, value: u8| drops(&changed(&syn(), |f| f[at] = value));
    assert!(broken(14, 0x55).contains(&"ip-header")); // F7
    assert!(broken(14, 0x44).contains(&"ip-header"));
    assert!(broken(17, 0).contains(&"ip-header")); // F9: total length 0
    assert_eq!(broken(25, 7), ["ip-checksum"]);
    let flags = |flags| drops(&to_vip(&v4(PEER, VIP, 6, 1, 0, &tcp(4000, 80, flags, 1, 0, &[]))));
    for flags_of_no_stack in [0, 0x29, SYN | FIN, SYN | RST] {
        assert_eq!(flags(flags_of_no_stack), ["l4-header"]); // F12
    }
    assert_eq!(drops(&to_vip(&v4(PEER, VIP, 6, 1, 0, &tcp(0, 80, ACK, 1, 0, &[])))), ["l4-header"]);
    for source in ["0.0.0.1", "127.0.0.1", "224.0.0.1", "255.255.255.255", "192.0.2.1"] {
        let IpAddr::V4(source) = addr(source) else { panic!("IPv4") };
        let packet = v4(source, VIP, 17, 1, 0, &udp(1, 2, &[]));
        assert_eq!(drops(&to_vip(&packet)), ["martian"], "{source}"); // F11
    }
    let tiny = v4(PEER, VIP, 6, 1, 0x2000, &[0; 8]);
    assert!(drops(&to_vip(&tiny)).contains(&"bad-fragment")); // F14
    let death = v4(PEER, VIP, 17, 1, 0x1fff, &[0; 100]);
    assert!(drops(&to_vip(&death)).contains(&"bad-fragment"));
    let mut chain = [0x3c, 0, 0, 0, 0, 0, 0, 0].repeat(9);
    chain[64] = 17;
    chain.extend(udp(1, 2, &[]));
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (addr("2001:db8::7"), addr("2001:db8::80")) else {
        panic!("IPv6")
    };
    let frame = ethernet(VMAC6, CLIENT, None, 0x86dd, &v6(src, dst, 60, 64, &chain));
    assert_eq!(drops(&frame), ["extension-headers"]); // F15
}

#[test]
fn icmp_errors_quote_the_vip() {
    // FS-21, F17
    let error = |kind: u8, quoted: &[u8]| {
        let message = [&[kind, 1, 0, 0, 0, 0, 0, 0], quoted].concat();
        to_vip(&v4(PEER, VIP, 1, 1, 0, &message))
    };
    let ours = v4(VIP, PEER, 6, 1, 0, &tcp(80, 4000, ACK, 1, 1, &[]));
    assert!(matches!(expect(&table(), 0, &error(3, &ours)).outcome, Outcome::Steer { .. }));
    let theirs = v4(PEER, VIP, 6, 1, 0, &tcp(80, 4000, ACK, 1, 1, &[]));
    assert!(drops(&error(3, &theirs)).contains(&"icmp-quote"));
    assert!(drops(&error(5, &ours)).contains(&"icmp-redirect"));
}

#[test]
fn arp_by_who_speaks_about_whom() {
    let all = [0xff; 6];
    let frame = |src: Mac, op, sender: Ipv4Addr, target: Ipv4Addr| {
        ethernet(all, src, None, 0x0806, &arp(op, (src, sender), ([0; 6], target)))
    };
    let at = |port, frame: &[u8]| expect(&table(), port, frame);
    let unspecified = Ipv4Addr::UNSPECIFIED;
    let router = Ipv4Addr::new(192, 0, 2, 254);
    // FS-2: asked and probed from outside; A2: claimed.
    assert_eq!(at(0, &frame(CLIENT, 1, PEER, VIP)).outcome, Outcome::Answer { cluster: 0 });
    assert_eq!(at(0, &frame(CLIENT, 1, unspecified, VIP)).outcome, Outcome::Answer { cluster: 0 });
    assert_eq!(at(0, &frame(CLIENT, 1, VIP, VIP)).or_drop, ["vip-claimed"]);
    assert_eq!(at(0, &frame(CLIENT, 2, VIP, PEER)).or_drop, ["vip-claimed"]);
    // FS-2a, FS-3: a server asks in the VIP's name, announces it, probes for it.
    assert_eq!(at(1, &frame(S0, 1, VIP, PEER)).outcome, Outcome::Relay { cluster: 0 });
    assert_eq!(at(1, &frame(S0, 1, VIP, VIP)).or_drop, ["server-announce"]);
    assert_eq!(at(1, &frame(S0, 1, unspecified, VIP)).or_drop, ["server-announce"]);
    assert_eq!(at(1, &frame(S0, 2, VIP, PEER)).or_drop, ["server-announce"]);
    // FS-2a: the answer.
    assert_eq!(at(0, &frame(CLIENT, 2, PEER, VIP)).outcome, Outcome::Deliver { cluster: 0 });
    // A3, A4
    assert_eq!(at(1, &frame(S0, 2, router, PEER)).or_drop, ["router-claimed"]);
    assert!(matches!(at(0, &frame(CLIENT, 2, router, PEER)).outcome, Outcome::Bridge { .. }));
    let forged = changed(&frame(CLIENT, 1, PEER, VIP), |f| f[22] ^= 2);
    assert_eq!(at(0, &forged).or_drop, ["arp-malformed"]);
}

fn observe(
    oracle: &mut Oracle,
    port: usize,
    frame: &[u8],
    out: &[Sent],
    counts: &Counts,
) -> Result<(), String> {
    oracle.check(&Observation { port, frame, out, counts }).map_err(|violation| violation.0)
}

fn sent(port: usize, bytes: Vec<u8>) -> Sent {
    Sent { port, bytes }
}

/// `syn` as it is steered to a server.
fn steered(to: usize) -> Sent {
    let table = table();
    let server = &table.servers[to];
    let bytes = table.as_sent(&syn(), false, 5, server.port);
    sent(server.port, changed(&bytes, |f| f[..6].copy_from_slice(&server.mac)))
}

#[test]
fn the_oracle_takes_what_is_right() {
    let mut oracle = Oracle::new(table());
    let none = Counts::default();
    assert_eq!(observe(&mut oracle, 0, &syn(), &[steered(1)], &none), Ok(()));
    assert_eq!(observe(&mut oracle, 0, &syn(), &[steered(1)], &none), Ok(()));
    oracle.forget();
    assert_eq!(observe(&mut oracle, 0, &syn(), &[steered(0)], &none), Ok(()));
    let runt = Counts { drops: vec![("runt", 1)], ..Counts::default() };
    assert_eq!(observe(&mut oracle, 0, &[1; 13], &[], &runt), Ok(()));
    let reply = ethernet(CLIENT, VMAC, None, 0x0806, &arp(2, (VMAC, VIP), (CLIENT, PEER)));
    let question = ethernet([0xff; 6], CLIENT, None, 0x0806, &arp(1, (CLIENT, PEER), ([0; 6], VIP)));
    let consumed = Counts { consumed: 1, ..Counts::default() };
    assert_eq!(observe(&mut oracle, 0, &question, &[sent(0, reply)], &consumed), Ok(()));
}

#[test]
fn the_oracle_sees_what_is_wrong() {
    let wrong = |out: &[Sent], counts: &Counts| {
        observe(&mut Oracle::new(table()), 0, &syn(), out, counts).expect_err("wrong")
    };
    let none = Counts::default();
    assert!(wrong(&[], &none).contains("(b)"), "lost");
    assert!(wrong(&[steered(0), steered(0)], &none).contains("(c)"), "twice");
    assert!(wrong(&[steered(0), steered(1)], &none).contains("(c)"), "to both");
    let one_bit = sent(1, changed(&steered(0).bytes, |f| f[30] ^= 1));
    assert!(wrong(&[one_bit], &none).contains("nobody asked"));
    let longer = sent(1, [steered(0).bytes, vec![0]].concat());
    assert!(wrong(&[longer], &none).contains("nobody asked"));
    assert!(wrong(&[sent(2, steered(0).bytes)], &none).contains("VLAN"), "another port");
    let dropped = |reason| Counts { drops: vec![(reason, 1)], ..Counts::default() };
    assert!(wrong(&[], &dropped("martian")).contains("dropped as martian"));
    assert!(wrong(&[steered(0)], &dropped("no-server")).contains("no-server"));
    let leak = Counts { buffers_in_use: 1, ..Counts::default() };
    assert!(wrong(&[steered(0)], &leak).contains("(g)"));

    let mut oracle = Oracle::new(table());
    assert_eq!(observe(&mut oracle, 0, &syn(), &[steered(0)], &none), Ok(()));
    let moved = observe(&mut oracle, 0, &syn(), &[steered(1)], &none).expect_err("moved");
    assert!(moved.contains("(d)"));

    let martian = to_vip(&v4(Ipv4Addr::LOCALHOST, VIP, 17, 1, 0, &udp(1, 2, &[])));
    let with_flow = Counts { flows_new: 1, ..dropped("martian") };
    let kept = observe(&mut oracle, 0, &martian, &[], &with_flow).expect_err("a flow");
    assert!(kept.contains("(f)"));

    // FS-3: the VIP as sender, flooded to a carrier; an announcement to a carrier.
    let packet = v4(VIP, Ipv4Addr::BROADCAST, 17, 1, 0, &udp(1, 2, &[]));
    let frame = ethernet([0xff; 6], S0, None, 0x0800, &packet);
    let to_carrier = sent(2, table().as_sent(&frame, false, 5, 2));
    let told = observe(&mut oracle, 1, &frame, &[to_carrier], &none).expect_err("a carrier");
    assert!(told.contains("FS-3"));
    let announcement = ethernet([0xff; 6], VMAC, None, 0x0806, &arp(1, (VMAC, VIP), ([0; 6], VIP)));
    let told =
        observe(&mut oracle, 0, &syn(), &[steered(0), sent(1, announcement)], &none).expect_err("a carrier");
    assert!(told.contains("FS-3"));
}

#[test]
fn captures_are_found_and_read() {
    let Some(folder) = tests_model::captures::folder() else {
        println!("skipped: no captures; set FLOWSWITCH_CAPTURES");
        return;
    };
    let captures = tests_model::captures::load(&folder);
    println!(
        "{} frames from {} files ({} of other link layers, {} not readable to their end)",
        captures.frames.len(),
        captures.files,
        captures.other_links,
        captures.unreadable
    );
    assert!(captures.frames.len() > 1_000);
    for frame in &captures.frames {
        for port in 0..4 {
            expect(&table(), port, frame);
        }
    }
}
