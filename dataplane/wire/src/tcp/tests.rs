use super::*;
use crate::bytes::hex;
use crate::{MacAddr, ipv4, ipv6};

// A SYN over IPv4 from 172.16.133.132 to 98.139.134.187, and one over IPv6 that was captured before
// the sender's NIC had filled in the checksum.
const SYN: &str = "96e1 0050 3ce3ed5d 00000000 a002 16d0 80ba 0000 020405b40402080a07d6cc4e000000000103030a";
const SYN6: &str = "c579 01bb e3d3a045 00000000 8002 fd20 c0ef 0000 020405a00103030801010402";

fn addresses() -> AddressPair {
    AddressPair::V4 { src: [172, 16, 133, 132].into(), dst: [98, 139, 134, 187].into() }
}

fn addresses6() -> AddressPair {
    let src = "2601:647:4b02:1d20:e4a1:6dfa:6f66:e399".parse().expect("an address");
    let dst = "2607:f8b0:4005:802::2003".parse().expect("an address");
    AddressPair::V6 { src, dst }
}

fn with(flags: Flags, seq: u32, ack: u32) -> Vec<u8> {
    let mut bytes = hex(SYN);
    bytes[4..8].copy_from_slice(&seq.to_be_bytes());
    bytes[8..12].copy_from_slice(&ack.to_be_bytes());
    bytes[13] = flags.0;
    bytes
}

#[test]
fn real_bytes() {
    let segment = Segment::new_checked(hex(SYN)).expect("whole");
    assert_eq!((segment.src_port(), segment.dst_port()), (38_625, 80));
    assert_eq!((segment.seq(), segment.ack(), segment.window()), (0x3ce3_ed5d, 0, 0x16d0));
    assert_eq!((segment.flags(), segment.header_len()), (Flags::SYN, 40));
    assert_eq!((segment.options().len(), segment.payload().len()), (20, 0));
    assert_eq!(segment.checksum(), 0x80ba);
    assert!(segment.has_good_checksum(addresses()));
    assert_eq!(segment.to_string(), "tcp 38625 > 80 S seq 1021570397");
    let segment = Segment::new_checked(hex(SYN6)).expect("whole");
    assert_eq!((segment.src_port(), segment.dst_port(), segment.header_len()), (50_553, 443, 32));
    assert!(!segment.has_good_checksum(addresses6()));
}

#[test]
fn wrong_length() {
    let bytes = hex(SYN);
    for len in 0..bytes.len() {
        assert_eq!(Segment::new_checked(&bytes[..len]), Err(Malformed));
        assert_eq!(Segment::new_head(&bytes[..len]).is_ok(), len >= HEADER_LEN);
    }
    let head = Segment::new_head(&bytes[..24]).expect("a head");
    assert_eq!((head.options().len(), head.payload().len()), (4, 0));
    let mut small_offset = bytes;
    small_offset[12] = 0x42;
    assert_eq!(Segment::new_head(&small_offset), Err(Malformed)); // F12
}

#[test]
fn flags_that_no_stack_sends() {
    // F12
    for bits in 0..=255_u8 {
        let flags = Flags(bits);
        let is_set = |flag| flags.contains(flag);
        let null = !flags.intersects(Flags::SYN | Flags::ACK | Flags::RST | Flags::FIN);
        let christmas = is_set(Flags::FIN | Flags::PSH | Flags::URG) && !is_set(Flags::ACK);
        let syn_and = is_set(Flags::SYN) && flags.intersects(Flags::FIN | Flags::RST);
        assert_eq!(flags.is_impossible(), null || christmas || syn_and, "{flags}");
    }
    assert!(Flags::SYN.is_opening() && !(Flags::SYN | Flags::ACK).is_opening());
    assert_eq!((Flags::SYN | Flags::ACK | Flags::ECE).to_string(), "SAE");
}

#[test]
fn resets_by_rfc_9293() {
    // FS-10, FS-10a. 3.10.7.1: without ACK the reset acknowledges what the segment occupied.
    let answer = |bytes: &[u8], data: usize| {
        let segment = Segment::new_checked(bytes).expect("whole");
        Reset::answering(addresses(), &segment, 40 + data)
    };
    let syn = answer(&with(Flags::SYN, u32::MAX, 0), 0).expect("answered");
    assert_eq!((syn.seq, syn.ack), (0, Some(0)));
    let data = answer(&with(Flags::PSH, 1000, 77), 500).expect("answered");
    assert_eq!((data.seq, data.ack), (0, Some(1500)));
    let fin = answer(&with(Flags::FIN, 1000, 77), 500).expect("answered");
    assert_eq!((fin.seq, fin.ack), (0, Some(1501)));
    // With ACK it takes the number from it.
    let ack = answer(&with(Flags::ACK | Flags::PSH, 1000, 77), 500).expect("answered");
    assert_eq!((ack.seq, ack.ack), (77, None));
    // A reset is never answered.
    assert_eq!(answer(&with(Flags::RST, 1, 2), 0), None);
    assert_eq!(answer(&with(Flags::RST | Flags::ACK, 1, 2), 0), None);
}

#[test]
fn frames_of_resets() {
    let link =
        ethernet::Repr { src: MacAddr([2, 0, 0, 0, 0, 1]), dst: MacAddr([2, 0, 0, 0, 0, 2]), tci: None };
    let syn = Segment::new_checked(hex(SYN)).expect("whole");
    let reset = Reset::answering(addresses(), &syn, 40).expect("answered");
    let mut frame = vec![0xff; reset.frame_len(&link)];
    assert_eq!(frame.len(), 60);
    reset.emit_frame(&link, &mut frame);
    let packet = ipv4::Packet::new_checked(&frame[14..]).expect("whole");
    assert!(packet.has_good_checksum());
    assert_eq!(
        (packet.src_addr().octets(), packet.dst_addr().octets()),
        ([98, 139, 134, 187], [172, 16, 133, 132])
    );
    let segment = Segment::new_checked(packet.payload()).expect("whole");
    assert!(segment.has_good_checksum(reset.addresses));
    assert_eq!((segment.src_port(), segment.dst_port()), (80, 38_625));
    assert_eq!((segment.seq(), segment.ack()), (0, 0x3ce3_ed5e));
    assert_eq!(segment.flags(), Flags::RST | Flags::ACK);
    assert_eq!(frame[54..], [0; 6]);

    let syn = Segment::new_checked(hex(SYN6)).expect("whole");
    let reset = Reset::answering(addresses6(), &syn, 32).expect("answered");
    let link = ethernet::Repr { tci: Some(5), ..link };
    let mut frame = vec![0xff; reset.frame_len(&link)];
    reset.emit_frame(&link, &mut frame);
    assert_eq!(frame[12..18], hex("8100 0005 86dd"));
    let packet = ipv6::Packet::new_checked(&frame[18..]).expect("whole");
    let segment = Segment::new_checked(packet.payload()).expect("whole");
    assert!(segment.has_good_checksum(reset.addresses));
    assert_eq!((segment.seq(), segment.ack()), (0, 0xe3d3_a046));
}
