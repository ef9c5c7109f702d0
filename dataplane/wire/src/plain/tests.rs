use super::*;
use crate::Part;
use proptest::prelude::*;

/// A frame of one of the kinds that are plain, and some that are not quite.
fn template(kind: u8) -> Vec<u8> {
    let mut frame = vec![0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];
    match kind & 3 {
        0 => frame.extend([0x81, 0x00, 0x60, 0x64]),
        1 => frame.extend([0x81, 0x00, 0x60, 0x00]),
        _ => {}
    }
    let protocol = [6, 17, 50, 132, 1, 58, 44, 47][usize::from(kind >> 2 & 7)];
    if kind & 0x20 == 0 {
        let fragment = if kind & 0xc0 == 0x40 { [0x20, 0x0a] } else { [0x40, 0] };
        frame.extend([0x08, 0x00, 0x45, 0, 0, 46, 0, 1]);
        frame.extend(fragment);
        frame.extend([64, protocol, 0, 0, 198, 51, 100, 7, 10, 9, 0, 100]);
    } else {
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 26, protocol, 64]);
        frame.extend((0..32).map(|i| 0x20 + i));
    }
    frame.extend([0x0f, 0xa0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend([1, 2, 3, 4, 5, 6]);
    fix(&mut frame);
    frame
}

fn fix(frame: &mut [u8]) {
    let at = if frame[12] == 0x81 { 18 } else { 14 };
    if frame.len() < at + 20 || frame[at] != 0x45 {
        return;
    }
    frame[at + 10..at + 12].fill(0);
    let sum = crate::checksum::sum(&frame[at..at + 20]);
    frame[at + 10..at + 12].copy_from_slice(&(!sum).to_be_bytes());
}

/// What both say of a frame; whether it is plain.
fn agree(frame: &[u8], len: u32, checksum_good: bool) -> Result<bool, TestCaseError> {
    let plainest = PlainTcp::read(frame, len);
    if let Some(tcp) = plainest {
        prop_assert_eq!(tcp.layers(), Layers::parse(frame, len, checksum_good));
        prop_assert_eq!(tcp.is_control(), frame[47] & CONTROLS != 0);
    }
    let Some(plain) = Plain::read(frame, len, checksum_good) else {
        prop_assert!(plainest.is_none_or(|tcp| tcp.is_control()));
        return Ok(false);
    };
    // It does not believe devices.
    let sums = frame.len() >= 34 && frame[12..14] == [8, 0] && crate::checksum::sum(&frame[14..34]) == 0xffff;
    let is_plainest = plain.l3 == 14
        && plain.protocol == protocol::TCP
        && !plain.v6
        && !plain.later
        && frame.len() >= 54
        && sums;
    prop_assert_eq!(plainest.is_some(), is_plainest);
    if let Some(tcp) = plainest {
        prop_assert_eq!(tcp.data_len(), plain.data_len);
        prop_assert_eq!(tcp.ports(), plain.ports);
        let pair = [tcp.source().to_le_bytes(), tcp.destination().to_le_bytes()].concat();
        prop_assert_eq!(pair, plain.pair.to_be_bytes());
        let stations = [&tcp.to().to_be_bytes()[2..], &tcp.from().to_be_bytes()[2..]].concat();
        prop_assert_eq!(stations, &frame[..12]);
        let sequence = u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]);
        prop_assert_eq!(tcp.next_sequence(), sequence.wrapping_add(plain.data_len));
    }
    let layers = Layers::parse(frame, len, checksum_good);
    prop_assert_eq!(layers.flaw, None);
    prop_assert_eq!(layers.network == Network::V6, plain.v6);
    prop_assert_eq!(layers.network == Network::V4, !plain.v6);
    prop_assert_eq!(layers.part, if plain.later { Part::Later } else { Part::Whole });
    prop_assert_eq!((layers.vid, usize::from(layers.l3)), (plain.vid, plain.l3));
    prop_assert_eq!(layers.protocol, plain.protocol);
    prop_assert_eq!(u32::from(layers.source) << 16 | u32::from(layers.destination), plain.ports);
    prop_assert_eq!(layers.id, u32::from(plain.id));
    prop_assert!(!layers.is_icmp_error());
    if !plain.v6 {
        let source = &frame[plain.l3 + 12..plain.l3 + 20];
        prop_assert_eq!(plain.pair.to_be_bytes(), source);
    }
    if plain.protocol == protocol::TCP && !plain.later {
        prop_assert_eq!(layers.flags & CONTROLS, 0);
        let header_len = u32::from(frame[usize::from(layers.l4) + 12] >> 4) * 4;
        prop_assert_eq!(u32::from(layers.end - layers.l4) - header_len, plain.data_len);
    }
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// The shortcut never says anything that the whole pass does not say.
    #[test]
    fn plain_frames_are_read_as_the_whole_pass_reads_them(
        kind: u8,
        changes in prop::collection::vec((0_usize..80, any::<u8>()), 0..4),
        again: bool,
        cut in prop::option::of(0_usize..90),
        longer in prop::option::of(0_u32..3000),
        checksum_good: bool,
    ) {
        let mut frame = template(kind);
        for (at, byte) in changes {
            let at = at % frame.len();
            frame[at] = byte;
        }
        if again {
            fix(&mut frame);
        }
        frame.truncate(cut.unwrap_or(90));
        // A head may be the first segment of a longer frame.
        let len = frame.len() as u32 + longer.unwrap_or(0);
        agree(&frame, len, checksum_good)?;
    }
}

#[test]
fn what_traffic_is_made_of_is_plain() {
    let mut plain = Vec::new();
    for kind in 0..=255_u8 {
        let frame = template(kind);
        if agree(&frame, frame.len() as u32, false).unwrap() {
            plain.push(kind);
        }
    }
    // TCP, UDP, ESP, SCTP and GRE, with a tag, a priority tag and none, IPv4 and IPv6, and IPv4's
    // later fragments.
    let kinds = |protocols: &[u8]| -> Vec<u8> {
        (0..=255).filter(|kind| protocols.contains(&(kind >> 2 & 7))).collect()
    };
    // 44 is a protocol like others in IPv4, and a header that is not looked behind in IPv6.
    let expected: Vec<u8> = (0..=255)
        .filter(|k| kinds(&[0, 1, 2, 3, 7]).contains(k) || k >> 2 & 7 == 6 && k & 0x20 == 0)
        .collect();
    assert_eq!(plain, expected);
}

#[test]
fn what_begins_or_ends_a_connection_is_not_plain() {
    for flags in 0..=255_u8 {
        let mut frame = template(2);
        frame[47] = flags;
        let plain = Plain::read(&frame, frame.len() as u32, false);
        assert_eq!(plain.is_some(), flags & 7 == 0, "{flags:#x}");
    }
}

#[test]
fn a_wrong_checksum_is_left_to_the_whole_pass_unless_the_device_has_looked() {
    let mut frame = template(2);
    frame[24] ^= 1;
    assert_eq!(Plain::read(&frame, frame.len() as u32, false), None);
    assert!(Plain::read(&frame, frame.len() as u32, true).is_some());
}

#[test]
fn multiples_are_told_from_others() {
    let is_multiple = |sum| residue(sum) <= CHECKSUM_GOOD;
    for n in (0..100).chain(u64::MAX / 0xffff - 99..=u64::MAX / 0xffff) {
        assert!(is_multiple(n * 0xffff), "{n}");
        assert!(!is_multiple((n * 0xffff).wrapping_add(1)) || n == u64::MAX / 0xffff, "{n}");
        assert!(!is_multiple((n * 0xffff).wrapping_add(0xfffe)) || n == u64::MAX / 0xffff, "{n}");
    }
}

proptest! {
    /// What is asked of many frames at once is what is asked of each.
    #[test]
    fn many_are_good_if_each_is(
        frames in prop::collection::vec((36_u16..70, 0x40_u8..0xb0, any::<u8>(), 54_u16..90), 1..8),
    ) {
        let mut lengths = TcpLengths::<8>::default();
        let mut lens = [60; 8];
        let (mut each_is_good, mut has_control, mut data_lens) = (true, false, [0; 8]);
        for (i, (total, offset, flags, len)) in frames.into_iter().enumerate() {
            let mut frame = [0; HEADERS];
            frame[14] = 0x45;
            frame[16..18].copy_from_slice(&total.to_be_bytes());
            let header: &[u8; 20] = frame[14..].first_chunk().unwrap();
            let sum = crate::checksum::of(0, header);
            frame[24..26].copy_from_slice(&sum.to_be_bytes());
            (frame[46], frame[47]) = (offset, flags);
            lengths.note(i, &frame);
            lens[i] = len;
            let tcp = PlainTcp::read_shaped(&frame, len.into());
            each_is_good &= tcp.is_some();
            prop_assert!(PlainTcp::of(&frame).checksum_residue() < CHECKSUM_GOOD_BELOW);
            has_control |= PlainTcp::of(&frame).is_control();
            data_lens[i] = tcp.map_or(0, |tcp| tcp.data_len() as u16);
        }
        prop_assert_eq!(lengths.are_good(&lens), each_is_good);
        prop_assert_eq!(lengths.has_control(), has_control);
        if each_is_good {
            prop_assert_eq!(lengths.data_lens(), data_lens);
        }
    }
}
