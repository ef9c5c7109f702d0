//! No getter, setter or Display of any view panics, whatever the bytes are (bar 6).

use dataplane_wire::{
    AddressPair, MacAddr, arp, ethernet, icmp, icmpv6, ipv4, ipv6, lldp, mld, nd, sctp, tcp, udp, vlan,
};
use proptest::prelude::*;
use std::hint::black_box;
use std::net::{Ipv4Addr, Ipv6Addr};

const MAC: MacAddr = MacAddr([2, 0, 0x5e, 0x10, 0, 1]);
const V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const V6: Ipv6Addr = Ipv6Addr::LOCALHOST;

/// The first bytes of what each view takes, so that random bytes get past its checks.
const SEEDS: &[&[u8]] = &[
    &[],
    &[0x45, 0, 0, 60],
    &[0x4f, 0, 0, 60],
    &[0x60, 0, 0, 0, 0, 20, 0],
    &[0x60, 0, 0, 0, 0, 40, 44],
    &[0, 1, 8, 0, 6, 4, 0, 1],
    &[0, 1, 8, 0, 6, 4, 0, 2],
    &[133, 0, 0, 0, 0, 0, 0, 0, 1, 1],
    &[134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
    &[135, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 14, 1],
    &[136, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1],
    &[137, 0],
    &[130, 0],
    &[3, 1, 0, 0, 0, 0, 0, 0, 0x45],
    &[1, 80, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 2],
    &[1, 80, 0, 80, 0, 20, 0, 0],
    &[2, 7, 4, 2, 0, 0, 0, 0, 1, 4, 2, 5, 0x41, 6, 2, 0, 120],
];

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let seed = prop::sample::select(SEEDS);
    (seed, prop::collection::vec(any::<u8>(), 0..120), 0_usize..140).prop_map(|(seed, random, len)| {
        let mut bytes = seed.to_vec();
        bytes.extend(random);
        bytes.truncate(len);
        bytes
    })
}

fn see<T: std::fmt::Display>(shown: T) {
    black_box(shown.to_string());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn ethernet_and_vlan(mut bytes in bytes(), tci: u16) {
        if let Ok(mut view) = ethernet::Frame::new_checked(&mut bytes) {
            view.set_dst_addr(MAC);
            view.set_src_addr(MAC);
            view.set_ethertype(ethernet::EtherType(tci));
            prop_assert_eq!((view.dst_addr(), view.src_addr(), view.ethertype().0), (MAC, MAC, tci));
            black_box(view.payload_mut());
            black_box(view.payload());
            see(view);
        }
        if let Ok(mut view) = vlan::Tag::new_checked(&mut bytes) {
            view.set_vid(5);
            black_box((view.vid(), view.priority(), view.drop_eligible(), view.payload()));
            view.set_tci(tci);
            prop_assert_eq!(view.tci(), tci);
            see(view);
        }
    }

    #[test]
    fn steering_changes_six_bytes(mut bytes in prop::collection::vec(any::<u8>(), 14..120), mac: [u8; 6]) {
        // FS-6
        let before = bytes.clone();
        ethernet::Frame::new_checked(&mut bytes).expect("14 bytes").set_dst_addr(MacAddr(mac));
        prop_assert_eq!(&bytes[..6], &mac);
        prop_assert_eq!(&bytes[6..], &before[6..]);
    }

    #[test]
    fn arp_packets(mut bytes in bytes()) {
        if let Ok(mut view) = arp::Packet::new_checked(&mut bytes) {
            let repr = arp::Repr::parse(&view);
            black_box((view.is_probe(), view.is_announcement()));
            see(&view);
            view.set_operation(arp::Operation::Reply);
            view.set_sender_mac(MAC);
            view.set_sender_ip(V4);
            view.set_target_mac(repr.sender_mac);
            view.set_target_ip(repr.sender_ip);
            let again = arp::Repr::parse(&view);
            let answer = arp::Repr { target_ip: V4, ..repr }.answer(MAC);
            prop_assert_eq!(again, answer);
            let mut emitted = [0; arp::PACKET_LEN];
            again.emit(&mut emitted);
            prop_assert_eq!(&emitted[..], &bytes[..arp::PACKET_LEN]);
        }
    }

    #[test]
    fn ipv4_packets(mut bytes in bytes(), ttl: u8) {
        if let Ok(mut view) = ipv4::Packet::new_checked(&mut bytes) {
            black_box((view.traffic_class(), view.ident(), view.is_fragment(), view.dont_fragment()));
            black_box((view.more_fragments(), view.fragment_offset(), view.protocol()));
            prop_assert_eq!(view.payload().len(), view.payload_len());
            prop_assert_eq!(20 + view.options().len(), view.header_len());
            view.fill_checksum();
            view.set_src_addr(V4);
            view.set_dst_addr(V4);
            view.set_ttl(ttl);
            prop_assert!(view.has_good_checksum());
            see(view);
        }
        if let Ok(view) = ipv4::Packet::new_head(&bytes) {
            prop_assert!(view.payload().len() <= view.payload_len());
            black_box((view.options(), view.has_good_checksum()));
        }
    }

    #[test]
    fn ipv6_packets(mut bytes in bytes(), next: u8) {
        if let Ok(mut view) = ipv6::Packet::new_checked(&mut bytes) {
            black_box((view.traffic_class(), view.flow_label(), view.next_header()));
            prop_assert_eq!(view.payload().len(), view.payload_len());
            if let Ok(upper) = view.upper_layer() {
                prop_assert_eq!(upper.offset + upper.payload.len(), view.payload_len());
            }
            view.set_src_addr(V6);
            view.set_dst_addr(V6);
            view.set_hop_limit(next);
            see(view);
        }
        if let Ok(view) = ipv6::Packet::new_head(&bytes) {
            black_box((view.payload(), view.upper_layer()).1.is_ok());
        }
        black_box(ipv6::UpperLayer::walk(next, &bytes).is_ok());
    }

    #[test]
    fn icmp_messages(mut bytes in bytes()) {
        if let Ok(mut view) = icmp::Packet::new_checked(&mut bytes) {
            black_box((view.code(), view.echo_ident(), view.echo_seq(), view.payload().len()));
            black_box(view.quoted().map(ipv4::Packet::new_head).is_some());
            see(&view);
            view.fill_checksum();
            prop_assert!(view.has_good_checksum());
        }
        if let Ok(mut view) = icmpv6::Packet::new_checked(&mut bytes) {
            black_box((view.code(), view.echo_ident(), view.echo_seq(), view.payload().len()));
            black_box(view.quoted().map(ipv6::Packet::new_head).is_some());
            see(&view);
            view.fill_checksum(V6, V6);
            prop_assert!(view.has_good_checksum(V6, V6));
        }
        if let Ok(view) = mld::Query::new_checked(&bytes) {
            black_box((view.version(), view.max_response_ms(), view.asks_for(V6)));
            see(view);
        }
    }

    #[test]
    fn neighbour_discovery(mut bytes in bytes(), flags: u8) {
        if let Ok(icmp) = icmpv6::Packet::new_checked(&mut bytes) {
            let mut icmp = icmp;
            icmp.fill_checksum(V6, V6);
        }
        if let Ok(mut view) = nd::Message::new_checked(&mut bytes) {
            black_box((view.target(), view.redirected(), view.router_lifetime_s(), view.nonce()));
            black_box((view.options().count(), view.is_valid(V6, V6, 255), view.is_probe(V6)));
            see(&view);
            let (source, target) = (view.source_link_layer(), view.target_link_layer());
            prop_assert_eq!(view.set_source_link_layer(MAC), source.is_some());
            prop_assert_eq!(view.set_target_link_layer(MAC), target.is_some());
            view.set_flags(nd::Flags(flags));
            prop_assert_eq!(view.source_link_layer(), source.and(Some(MAC)));
            prop_assert_eq!(view.target_link_layer(), target.and(Some(MAC)));
            prop_assert!(view.has_good_checksum(V6, V6), "incremental equals full");
        }
    }

    #[test]
    fn transport(bytes in bytes(), len in 0_usize..70_000) {
        let addresses = AddressPair::V4 { src: V4, dst: V4 };
        if let Ok(view) = tcp::Segment::new_checked(&bytes) {
            prop_assert_eq!(view.header_len() + view.payload().len(), bytes.len());
            black_box((view.has_good_checksum(addresses), view.checksum(), view.window()));
            see(view);
        }
        if let Ok(view) = tcp::Segment::new_head(&bytes) {
            black_box((view.options(), view.payload()));
            let reset = tcp::Reset::answering(addresses, &view, len);
            prop_assert_eq!(reset.is_none(), view.flags().contains(tcp::Flags::RST));
        }
        if let Ok(view) = udp::Datagram::new_checked(&bytes) {
            prop_assert_eq!(usize::from(view.len()), udp::HEADER_LEN + view.payload().len());
            black_box(view.has_good_checksum(addresses));
            see(view);
        }
        if let Ok(view) = udp::Datagram::new_head(&bytes) {
            black_box((view.payload(), view.has_good_checksum(addresses)));
        }
        if let Ok(view) = sctp::Packet::new_checked(&bytes) {
            black_box(view.first_chunk());
            see(view);
        }
    }

    #[test]
    fn link_layer_discovery(bytes in bytes()) {
        if let Ok(neighbour) = lldp::Neighbour::parse(&bytes) {
            let text = neighbour.to_string();
            prop_assert!(text.chars().all(|c| c == ' ' || c.is_ascii_graphic())); // C9
        }
    }

    #[test]
    fn resets_are_whole(seq: u32, ack: Option<u32>, src_port: u16, dst_port: u16, tagged: bool, six: bool) {
        let addresses = if six {
            AddressPair::V6 { src: V6, dst: Ipv6Addr::UNSPECIFIED }
        } else {
            AddressPair::V4 { src: V4, dst: Ipv4Addr::LOCALHOST }
        };
        let link = ethernet::Repr { src: MAC, dst: MAC, tci: tagged.then_some(7) };
        let reset = tcp::Reset { addresses, src_port, dst_port, seq, ack };
        let mut frame = vec![0xa5; reset.frame_len(&link)];
        reset.emit_frame(&link, &mut frame);
        let at = link.header_len() + addresses.header_len();
        let segment = tcp::Segment::new_checked(&frame[at..at + 20]).expect("whole");
        prop_assert!(segment.has_good_checksum(addresses));
        prop_assert_eq!((segment.src_port(), segment.dst_port()), (src_port, dst_port));
        prop_assert_eq!((segment.seq(), segment.ack()), (seq, ack.unwrap_or(0)));
        prop_assert_eq!(segment.flags().contains(tcp::Flags::ACK), ack.is_some());
    }
}
