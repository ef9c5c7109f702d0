use super::*;

/// A TCP SYN from 198.51.100.7:4000 to 10.9.0.100:80 with a right header checksum.
fn syn() -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2, 0x08, 0x00];
    frame.extend([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, 198, 51, 100, 7, 10, 9, 0, 100]);
    frame.extend([0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]);
    fix(&mut frame);
    frame.resize(60, 0);
    frame
}

fn fix(frame: &mut [u8]) {
    let header_len = usize::from(frame[14] & 15) * 4;
    frame[24..26].fill(0);
    let mut sum: u32 =
        frame[14..14 + header_len].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

fn parse(frame: &[u8]) -> Layers {
    Layers::parse(frame, frame.len() as u32, false)
}

fn flaw(change: impl FnOnce(&mut Vec<u8>)) -> Option<Flaw> {
    let mut frame = syn();
    change(&mut frame);
    fix(&mut frame);
    parse(&frame).flaw
}

#[test]
fn a_tcp_packet_is_read_without_its_padding() {
    let layers = parse(&syn());
    assert_eq!(layers.flaw, None);
    assert_eq!((layers.network, layers.protocol, layers.part), (Network::V4, protocol::TCP, Part::Whole));
    assert_eq!((layers.l3, layers.l4, layers.end), (14, 34, 54));
    assert_eq!((layers.source, layers.destination, layers.flags), (4000, 80, 2));
}

#[test]
fn f7_malformed_ipv4_is_named() {
    assert_eq!(flaw(|f| f[14] = 0x55), Some(Flaw::IpHeader));
    assert_eq!(flaw(|f| f[14] = 0x44), Some(Flaw::IpHeader));
    assert_eq!(flaw(|f| f[17] = 19), Some(Flaw::IpHeader));
    assert_eq!(flaw(|f| f[17] = 47), Some(Flaw::IpHeader), "longer than the frame");
    assert_eq!(flaw(|f| f[17] = 0), Some(Flaw::IpHeader), "F9: total length 0");
    let mut frame = syn();
    frame[25] ^= 1;
    assert_eq!(parse(&frame).flaw, Some(Flaw::IpChecksum));
    assert_eq!(Layers::parse(&frame, 60, true).flaw, None, "the device has looked already");
}

#[test]
fn f8_options_move_the_transport_header_and_source_routes_are_named() {
    let mut frame = syn();
    frame.truncate(54);
    frame[14] = 0x46;
    frame[17] = 44;
    for byte in [148, 4, 0, 0].into_iter().rev() {
        frame.insert(34, byte);
    }
    fix(&mut frame);
    let layers = parse(&frame);
    assert_eq!((layers.flaw, layers.l4, layers.destination), (None, 38, 80));
    for kind in [131, 137] {
        frame[34] = kind;
        fix(&mut frame);
        assert_eq!(parse(&frame).flaw, Some(Flaw::SourceRoute));
    }
    frame[34..38].copy_from_slice(&[7, 0, 0, 0]);
    fix(&mut frame);
    assert_eq!(parse(&frame).flaw, Some(Flaw::IpHeader), "an option of length 0");
}

#[test]
fn f4_two_tags_at_most_and_vid_0_names_nothing() {
    let tagged = |tags: &[(u16, u16)]| {
        let mut frame = syn();
        for (tpid, tci) in tags.iter().rev() {
            let bytes = [tpid.to_be_bytes(), tci.to_be_bytes()].concat();
            frame.splice(12..12, bytes);
        }
        parse(&frame)
    };
    let one = tagged(&[(0x8100, 0x6007)]);
    assert_eq!((one.vid, one.tci, one.l3, one.destination, one.flaw), (7, 0x6007, 18, 80, None));
    let priority = tagged(&[(0x8100, 0x6000)]);
    assert_eq!((priority.vid, priority.network, priority.destination), (0, Network::V4, 80));
    let hidden = tagged(&[(0x8100, 0), (0x88a8, 9)]);
    assert_eq!(hidden.flaw, Some(Flaw::TagDepth));
    let twice = tagged(&[(0x8100, 0), (0x8100, 0x2000)]);
    assert_eq!((twice.vid, twice.network, twice.flaw), (0, Network::V4, None));
    let inner_priority = tagged(&[(0x88a8, 9), (0x8100, 0)]);
    assert_eq!((inner_priority.vid, inner_priority.network), (9, Network::V4));
    let second_vlan = tagged(&[(0x88a8, 9), (0x8100, 10)]);
    assert_eq!((second_vlan.vid, second_vlan.network, second_vlan.flaw), (9, Network::Other, None));
    for third in [0, 11] {
        let three = tagged(&[(0x8100, 9), (0x8100, 10), (0x8100, third)]);
        assert_eq!(three.flaw, Some(Flaw::TagDepth));
    }
    assert_eq!(parse(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x81, 0, 0]).flaw, Some(Flaw::TagDepth));
}

#[test]
fn f12_a_data_offset_that_cannot_be_is_named() {
    assert_eq!(flaw(|f| f[46] = 0x40), Some(Flaw::L4Header));
    assert_eq!(flaw(|f| f[46] = 0x60), Some(Flaw::L4Header), "beyond the packet, though within padding");
}

#[test]
fn f14_bad_fragments_are_named() {
    let fragment = |field: u16, total: u16| {
        let mut frame = syn();
        frame.truncate(14 + usize::from(total));
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[20..22].copy_from_slice(&field.to_be_bytes());
        fix(&mut frame);
        parse(&frame)
    };
    assert_eq!(fragment(0x2000, 36).flaw, Some(Flaw::BadFragment), "ports without flags");
    let first = fragment(0x2000, 40);
    assert_eq!((first.part, first.destination, first.id), (Part::First, 80, 1));
    assert_eq!(fragment(0x0001, 40).flaw, Some(Flaw::BadFragment), "RFC 3128");
    let later = fragment(0x0002, 40);
    assert_eq!((later.part, later.source, later.flaw), (Part::Later, 0, None));
    assert_eq!(fragment(0x1fff, 40).flaw, Some(Flaw::BadFragment), "ping of death");
}

#[test]
fn f15_ipv6_extension_headers_are_walked_within_bounds() {
    let packet = |chain: &[u8], last: u8, transport: &[u8]| {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        let mut body = Vec::new();
        let mut next = last;
        for kind in chain.iter().rev() {
            let mut header = vec![next, 0, 0, 0, 0, 0, 0, 0];
            header.append(&mut body);
            body = header;
            next = *kind;
        }
        body.extend_from_slice(transport);
        frame.extend((body.len() as u16).to_be_bytes());
        frame.extend([next, 64]);
        frame.extend([0; 32]);
        frame.extend(body);
        parse(&frame)
    };
    let udp = [0x10, 0, 0, 53, 0, 8, 0, 0];
    let eight = packet(&[0, 60, 43, 60, 60, 60, 60, 60], protocol::UDP, &udp);
    assert_eq!((eight.flaw, eight.protocol, eight.destination), (None, protocol::UDP, 53));
    let nine = packet(&[0, 60, 43, 60, 60, 60, 60, 60, 60], protocol::UDP, &udp);
    assert_eq!(nine.flaw, Some(Flaw::ExtensionHeaders));
    let atomic = packet(&[44], protocol::UDP, &udp);
    assert_eq!((atomic.part, atomic.destination), (Part::Whole, 53));
    assert_eq!(packet(&[60], protocol::UDP, &udp[..4]).flaw, Some(Flaw::L4Header));
}

#[test]
fn no_input_panics_and_offsets_stay_in_the_packet() {
    // Every truncation, and every byte of the headers at every value.
    let whole = syn();
    for cut in 0..whole.len() {
        let _ = Layers::parse(&whole[..cut], cut as u32, true);
        let _ = Layers::parse(&whole[..cut], 60, true);
    }
    for at in 12..54 {
        for value in 0..=255 {
            let mut frame = whole.clone();
            frame[at] = value;
            let layers = Layers::parse(&frame, 60, true);
            assert!(layers.flaw.is_some() || usize::from(layers.end) <= 60);
            assert!(layers.flaw.is_some() || layers.l4 <= layers.end || layers.network == Network::Other);
        }
    }
}
