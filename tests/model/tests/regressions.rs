//! What the captures and the model have found: one test for each fault, with the frame that showed it.

mod common;

use common::{CLIENT, Switch, VIP, Verdicts, addr, table};
use dataplane_message::Chooser;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tests_model::frames::{ACK, ethernet, tcp, v4, v6};
use tests_model::{Mac, Oracle};

/// Puts the frames in, in order; the oracle judges all of them.
fn hold(frames: &[(usize, Vec<u8>)]) {
    let table = table();
    let mut switch = Switch::start(&table, 1, Chooser::Maglev);
    let mut oracle = Oracle::new(table);
    let mut verdicts = Verdicts::default();
    for (port, frame) in frames {
        verdicts.note(switch.judge(&mut oracle, *port, frame));
    }
    verdicts.assert_none();
}

fn v6_addr(text: &str) -> Ipv6Addr {
    match addr(text) {
        IpAddr::V6(v6) => v6,
        IpAddr::V4(_) => panic!("IPv6"),
    }
}

/// A general query behind a router alert; its checksum is nobody's business here.
fn mld_query(dst_mac: Mac, src_mac: Mac, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
    let mut payload = vec![58, 0, 5, 2, 0, 0, 1, 0, 130, 0, 0, 0, 0x27, 0x10, 0, 0];
    payload.extend([0; 16]);
    payload.extend([2, 60, 0, 0]);
    ethernet(dst_mac, src_mac, None, 0x86dd, &v6(src, dst, 0, 1, &payload))
}

#[test]
fn a_query_in_the_vips_name_is_not_heard_by_other_carriers() {
    // FS-3
    let server = table().servers[0];
    let all_nodes = v6_addr("ff02::1");
    let query = mld_query([0x33, 0x33, 0, 0, 0, 1], server.mac, v6_addr("2001:db8::80"), all_nodes);
    hold(&[(server.port, query)]);
}

#[test]
fn a_query_sent_to_the_vip_alone_is_steered_like_any_packet() {
    // FS-6
    let cluster = &table().clusters[1];
    let query = mld_query(cluster.vmac, CLIENT, v6_addr("fe80::1"), v6_addr("2001:db8::80"));
    hold(&[(0, query)]);
}

#[test]
fn a_server_that_speaks_to_a_martian_does_not_let_it_in() {
    // F11
    let table = table();
    let (server, cluster) = (table.servers[0], &table.clusters[0]);
    let segment = |src, dst| tcp(src, dst, ACK, 1, 1, &[]);
    let out = v4(VIP, Ipv4Addr::LOCALHOST, 6, 1, 0, &segment(80, 4000));
    let back = v4(Ipv4Addr::LOCALHOST, VIP, 6, 1, 0, &segment(4000, 80));
    hold(&[
        (server.port, ethernet(CLIENT, server.mac, None, 0x0800, &out)),
        (0, ethernet(cluster.vmac, CLIENT, None, 0x0800, &back)),
    ]);
}

#[test]
fn a_fragment_header_behind_the_packets_end_is_no_header() {
    // F15
    let cluster = &table().clusters[1];
    let mut packet = v6(v6_addr("2001:db8::7"), v6_addr("2001:db8::80"), 44, 64, &[]);
    packet.extend([6, 0, 0x80, 0x0f, 1, 2, 3, 4]);
    hold(&[(0, ethernet(cluster.vmac, CLIENT, None, 0x86dd, &packet))]);
}
