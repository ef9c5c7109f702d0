use super::*;
use crate::bytes::hex;

// DAD of fe80::c000:54ff:fef5:0; the announcement that followed; RS; RA.
const PROBE: &str = "8700673c00000000fe80000000000000c00054fffef50000";
const NA: &str = "88009abba0000000fe80000000000000c00054fffef500000201c20054f50000";
const RS: &str = "85004b9800000000010108002746e884";
const RA: &str = "860015e8504001f400000000000000000101e21581b4b9450304408000000e1000000708000000002001
    0db800cc00dd00000000000000002602000020010db800010064ff9b0000";

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("an address")
}

fn host() -> Ipv6Addr {
    v6("fe80::c000:54ff:fef5:0")
}

fn message(text: &str) -> Message<Vec<u8>> {
    Message::new_checked(hex(text)).expect("whole")
}

#[test]
fn real_bytes() {
    let probe = message(PROBE);
    assert_eq!((probe.kind(), probe.target()), (Kind::NeighbourSolicitation, Some(host())));
    assert_eq!((probe.source_link_layer(), probe.nonce(), probe.options().count()), (None, None, 0));
    assert!(probe.is_probe(Ipv6Addr::UNSPECIFIED) && !probe.is_probe(host()));
    let group = multicast::solicited_node(host());
    assert!(probe.is_valid(Ipv6Addr::UNSPECIFIED, group, 255));
    assert_eq!(probe.to_string(), "nd who has fe80::c000:54ff:fef5:0");

    let na = message(NA);
    assert_eq!((na.kind(), na.target()), (Kind::NeighbourAdvertisement, Some(host())));
    assert_eq!(na.flags(), Flags::ROUTER.with(Flags::OVERRIDE));
    assert_eq!(na.target_link_layer(), Some(MacAddr([0xc2, 0, 0x54, 0xf5, 0, 0])));
    assert!(na.is_valid(host(), multicast::ALL_NODES, 255));
    assert_eq!(na.to_string(), "nd advertisement fe80::c000:54ff:fef5:0 at c2:00:54:f5:00:00");

    let rs = message(RS);
    assert_eq!((rs.kind(), rs.target()), (Kind::RouterSolicitation, None));
    assert_eq!(rs.source_link_layer(), Some(MacAddr([8, 0, 0x27, 0x46, 0xe8, 0x84])));
    assert!(rs.is_valid(v6("fe80::a00:27ff:fe46:e884"), v6("ff02::2"), 255));

    let ra = message(RA);
    assert_eq!((ra.kind(), ra.router_lifetime_s()), (Kind::RouterAdvertisement, Some(500)));
    assert_eq!(ra.options().map(|option| option.kind).collect::<Vec<_>>(), [1, 3, 38]);
    assert!(ra.is_valid(v6("fe80::e015:81ff:feb4:b945"), multicast::ALL_NODES, 255));
    assert_eq!(ra.to_string(), "nd router advertisement from e2:15:81:b4:b9:45");
}

#[test]
fn wrong_length() {
    for (text, least) in [(PROBE, 24), (NA, 24), (RS, 8), (RA, 16)] {
        let bytes = hex(text);
        for len in 0..bytes.len() {
            // Whole only where an option ends.
            let options = len.checked_sub(least).map(|options| {
                let mut iter = Options { rest: &bytes[least..least + options] };
                iter.by_ref().for_each(drop);
                iter.rest.is_empty()
            });
            assert_eq!(Message::new_checked(&bytes[..len]).is_ok(), options == Some(true), "{len}");
        }
    }
    assert_eq!(Message::new_checked([]), Err(Malformed));
}

#[test]
fn options_are_bounded() {
    for options in ["0200c20054f50000", "0202c20054f50000", "02ffc20054f50000", "02", "0201"] {
        let bytes = hex(&format!("{}{options}", &NA[..48]));
        assert_eq!(Message::new_checked(&bytes), Err(Malformed), "{options}");
    }
    // Long options of a known kind are no Ethernet address; unknown kinds are passed over.
    let long = message(&format!("{}0202c20054f500000000000000000000", &NA[..48]));
    assert_eq!(long.target_link_layer(), None);
    let second = message(&format!("{}63010000000000000201c20054f50000", &NA[..48]));
    assert_eq!(second.target_link_layer(), Some(MacAddr([0xc2, 0, 0x54, 0xf5, 0, 0])));
}

#[test]
fn other_messages_are_not_neighbour_discovery() {
    for kind in [1, 128, 130, 132, 138, 143] {
        let mut bytes = hex(NA);
        bytes[0] = kind;
        assert_eq!(Message::new_checked(&bytes), Err(Malformed));
    }
    let mut bytes = hex(NA);
    bytes[1] = 1;
    assert_eq!(Message::new_checked(&bytes), Err(Malformed), "code 1");
}

#[test]
fn what_a_receiver_must_check() {
    // RFC 4861 7.1.1 and 7.1.2.
    let (na, probe) = (message(NA), message(PROBE));
    assert!(!na.is_valid(host(), multicast::ALL_NODES, 254), "hop limit");
    assert!(!na.is_valid(host(), v6("ff02::2"), 255), "checksum");
    assert!(!probe.is_valid(Ipv6Addr::UNSPECIFIED, host(), 255), "a probe goes to the group");
    let link = ethernet::Repr::default();
    let mut frame = [0; 94];
    let valid = |frame: &[u8]| {
        let ip = ipv6::Packet::new_checked(&frame[14..]).expect("whole");
        let message = Message::new_checked(ip.payload()).expect("whole");
        message.is_valid(ip.src_addr(), ip.dst_addr(), ip.hop_limit())
    };
    let mut solicitation = Solicitation {
        src: Ipv6Addr::UNSPECIFIED,
        dst: multicast::solicited_node(host()),
        target: host(),
        source_link_layer: None,
        nonce: Some([1, 2, 3, 4, 5, 6]),
    };
    solicitation.emit_frame(&link, &mut frame);
    assert!(valid(&frame));
    solicitation.source_link_layer = Some(MacAddr([2; 6]));
    solicitation.emit_frame(&link, &mut frame);
    assert!(!valid(&frame), "a probe has no source option");
    solicitation.src = v6("fe80::1");
    solicitation.emit_frame(&link, &mut frame);
    assert!(valid(&frame));
    solicitation.target = multicast::ALL_NODES;
    solicitation.emit_frame(&link, &mut frame);
    assert!(!valid(&frame), "a group is nobody");
    let mut advertisement = Advertisement::unsolicited(host(), MacAddr([2; 6]));
    advertisement.emit_frame(&link, &mut frame);
    assert!(valid(&frame));
    advertisement.flags = advertisement.flags.with(Flags::SOLICITED);
    advertisement.emit_frame(&link, &mut frame);
    assert!(!valid(&frame), "an answer goes to who asked");
}

#[test]
fn setters_keep_the_checksum_good() {
    // FS-2a
    let vmac = MacAddr([2, 0, 0x5e, 0x10, 0, 1]);
    let mut na = message(NA);
    assert!(na.set_target_link_layer(vmac) && !na.set_source_link_layer(vmac));
    na.set_flags(Flags::SOLICITED.with(Flags::OVERRIDE));
    assert_eq!((na.target_link_layer(), na.flags().0), (Some(vmac), 0x60));
    assert!(na.has_good_checksum(host(), multicast::ALL_NODES));
    let mut rs = message(RS);
    assert!(rs.set_source_link_layer(vmac) && !rs.set_target_link_layer(vmac));
    rs.set_flags(Flags::ROUTER);
    assert_eq!((rs.source_link_layer(), rs.flags()), (Some(vmac), Flags::default()));
    assert!(rs.has_good_checksum(v6("fe80::a00:27ff:fe46:e884"), v6("ff02::2")));
    let mut ra = message(RA);
    assert!(ra.set_source_link_layer(vmac));
    assert!(ra.has_good_checksum(v6("fe80::e015:81ff:feb4:b945"), multicast::ALL_NODES));
    assert_eq!(ra.into_inner()[16..24], hex("0101 02005e100001"));
}

#[test]
fn redirects_name_two_addresses() {
    let mut bytes = vec![0; 40];
    bytes[0] = kind::REDIRECT;
    bytes[23] = 1;
    bytes[39] = 2;
    let redirect = Message::new_checked(&bytes).expect("whole");
    assert_eq!((redirect.target(), redirect.redirected()), (Some(v6("::1")), Some(v6("::2"))));
    assert_eq!(redirect.to_string(), "nd redirect to ::1");
}

#[test]
fn solicitations_round_trip() {
    let solicitation = Solicitation {
        src: v6("2001:db8::1"),
        dst: multicast::solicited_node(v6("2001:db8::80")),
        target: v6("2001:db8::80"),
        source_link_layer: Some(MacAddr([2; 6])),
        nonce: Some([9, 8, 7, 6, 5, 4]),
    };
    let link =
        ethernet::Repr { src: MacAddr([2; 6]), dst: multicast::mac_v6(solicitation.dst), tci: Some(5) };
    let mut frame = vec![0xff; solicitation.frame_len(&link)];
    assert_eq!(frame.len(), 18 + 40 + 40);
    solicitation.emit_frame(&link, &mut frame);
    assert_eq!(frame[..18], hex("3333ff000080 020202020202 8100 0005 86dd"));
    let ip = ipv6::Packet::new_checked(&frame[18..]).expect("whole");
    let ns = Message::new_checked(ip.payload()).expect("whole");
    assert!(ns.is_valid(ip.src_addr(), ip.dst_addr(), ip.hop_limit()));
    assert_eq!((ns.kind(), ns.target()), (Kind::NeighbourSolicitation, Some(solicitation.target)));
    assert_eq!((ns.source_link_layer(), ns.nonce()), (Some(MacAddr([2; 6])), Some(&[9, 8, 7, 6, 5, 4][..])));
}

#[test]
fn advertisements_have_the_flags_of_fs_2() {
    let (vip, vmac) = (v6("2001:db8::80"), MacAddr([2, 0, 0x5e, 0x10, 0, 1]));
    let answer = |asker| {
        let advertisement = Advertisement::answering(asker, vip, vmac);
        let link = ethernet::Repr { src: vmac, dst: MacAddr([4; 6]), tci: None };
        let mut frame = vec![0xff; advertisement.frame_len(&link)];
        advertisement.emit_frame(&link, &mut frame);
        frame
    };
    let asker = v6("2001:db8::1");
    for (from, to, flags) in [(asker, asker, 0x60), (Ipv6Addr::UNSPECIFIED, multicast::ALL_NODES, 0x20)] {
        let frame = answer(from);
        let ip = ipv6::Packet::new_checked(&frame[14..]).expect("whole");
        let na = Message::new_checked(ip.payload()).expect("whole");
        assert!(na.is_valid(ip.src_addr(), ip.dst_addr(), ip.hop_limit()));
        assert_eq!((ip.src_addr(), ip.dst_addr(), na.flags().0), (vip, to, flags));
        assert_eq!((na.target(), na.target_link_layer()), (Some(vip), Some(vmac)));
    }
}
