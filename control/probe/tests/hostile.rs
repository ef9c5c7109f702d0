//! C18: whatever a server sends, no panic, bounded memory, and an outcome by the time-out.

mod world;

use control_probe::{Dns, Failure, Http, Kind, Local, NotUsable, Prober, StatusRange, classify};
use dataplane_flow::Instant;
use dataplane_wire::Layers;
use proptest::prelude::*;
use world::{SERVER, SETTINGS, Setting, VMAC, World, flags};

fn http(tls: bool, body: &str) -> Kind {
    let status = StatusRange { first: 200, last: 200 };
    Kind::Http(Http {
        port: if tls { 443 } else { 80 },
        tls,
        path: "/".into(),
        host: None,
        status,
        body: Some(body.into()),
    })
}

fn kinds() -> Vec<Kind> {
    vec![
        Kind::Neighbour,
        Kind::Echo,
        Kind::Tcp { port: 22 },
        http(false, "ok"),
        http(true, "ok"),
        Kind::Udp { port: 9, send: b"x".to_vec(), expect: b"y".to_vec() },
        Kind::Dns(Dns { port: 53, name: "a.example".into() }),
    ]
}

/// A server that says `answer` at once and keeps the connection.
fn says(answer: Vec<u8>) -> impl FnMut(&[u8], &mut Vec<u8>) -> bool {
    let mut said = false;
    move |received, send| {
        if received.is_empty() {
            said = false;
        } else if !said {
            said = true;
            send.extend(&answer);
        }
        false
    }
}

#[test]
fn c18_answers_without_end() {
    let long = |head: &[u8], unit: &[u8], count: usize| [head, &unit.repeat(count)].concat();
    let cases = [
        (long(b"HTTP/1.1 200 OK\r\n", b"X-Pad: y\r\n", 3000), Failure::TooLong),
        (long(b"HTTP/1.1 200 OK\r\nX: ", b"x", 30_000), Failure::TooLong),
        (long(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n", 200), Failure::Stalled),
        ([long(b"HTTP/1.1 200 OK\r\n", b"a:b\r\n", 200), b"\r\n".to_vec()].concat(), Failure::TooLong),
        (long(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 3000), Failure::TooLong),
        (long(b"HTTP/1.1 200 OK\r\n\r\n", b".", 99_000), Failure::Body),
        (
            long(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n", b".", 99_000),
            Failure::Body,
        ),
        (
            long(b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", b".", 9),
            Failure::Malformed,
        ),
        (
            long(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", b".", 99_000),
            Failure::Body,
        ),
        (long(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x", 999), Failure::TooLong),
        (long(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"0", 999), Failure::TooLong),
        (
            long(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n.\r\n", 30_000),
            Failure::TooLong,
        ),
    ];
    for (answer, wanted) in cases {
        let mut world = World::new(SETTINGS[0]);
        let shown = String::from_utf8_lossy(&answer[..60]).into_owned();
        world.server.listen(80, says(answer));
        assert_eq!(world.result(&http(false, "ok"), 1000), Err(wanted), "{shown:?}");
    }
}

#[test]
fn c18_a_byte_at_a_time() {
    let mut left = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    left.reverse();
    let mut world = World::new(SETTINGS[0]);
    world.server.listen(80, move |received: &[u8], send: &mut Vec<u8>| {
        if !received.is_empty() && send.is_empty() {
            send.extend(left.pop());
        }
        false
    });
    assert_eq!(world.result(&http(false, "ok"), 1000), Ok(()));
    // And one that never comes to an end.
    let mut world = World::new(SETTINGS[0]);
    world.server.listen(80, |received: &[u8], send: &mut Vec<u8>| {
        if !received.is_empty() && send.is_empty() {
            send.extend(b"HTTP/1.1 2".get(received.len() % 10..).unwrap_or_default());
        }
        false
    });
    assert!(world.result(&http(false, "ok"), 200).is_err());
}

#[test]
fn strangers_are_ignored_and_counted() {
    for setting in SETTINGS {
        for kind in kinds() {
            let mut prober = setting.prober();
            let now = Instant::from_secs(1);
            assert!(prober.start(1, &kind, 90, 99, now));
            let question = prober.poll_transmit().expect("a frame");
            // The answer of a server that does not listen, or the echo.
            let mut world = World::new(setting);
            world.server.handle(&question, now);
            world.run_ms(0);
            let answers = world.server_frames();
            let good = answers.first().expect("an answer").clone();
            let layers = Layers::parse(&good, good.len() as u32, false);
            let (l3, l4) = (usize::from(layers.l3), usize::from(layers.l4));
            let before = prober.ignored();
            let mut foreign = Vec::new();
            let mut other_mac = good.clone();
            other_mac[11] ^= 1;
            foreign.push(other_mac);
            let retagged = match setting.tci {
                Some(_) => {
                    let mut retagged = good.clone();
                    retagged[15] ^= 1;
                    retagged
                }
                None => [&good[..12], &[0x81, 0, 0, 9], &good[12..]].concat(),
            };
            foreign.push(retagged);
            for frame in &foreign {
                prober.handle_frame(frame, now);
            }
            assert_eq!(prober.ignored().not_ours, before.not_ours + 2, "{setting:?} {kind:?}");
            if l4 > 0 {
                // Another address, and a wrong checksum.
                for at in [l3 + if setting.v6 { 23 } else { 15 }, usize::from(layers.end) - 1] {
                    let mut frame = good.clone();
                    frame[at] ^= 1;
                    prober.handle_frame(&frame, now);
                }
            }
            assert_eq!(prober.poll_outcome(), None, "{setting:?} {kind:?}");
            let mut tagged = good.clone();
            if setting.tci.is_some() {
                tagged[14] ^= 0xe0; // Another priority is the same VLAN.
            }
            prober.handle_frame(&tagged, now);
            let (_, outcome) = prober.poll_outcome().expect("the good one");
            let wanted = match kind {
                Kind::Neighbour | Kind::Echo | Kind::LargeEcho { .. } => Ok(()),
                _ => Err(Failure::Refused),
            };
            assert_eq!(outcome.result, wanted);
        }
    }
}

#[test]
fn fs30_never_in_the_name_of_nobody_or_of_the_vip() {
    let setting = Setting { v6: false, tci: None };
    let with = |address: &str| {
        let local = Local { address: address.parse().expect("an address"), ..setting.local() };
        Prober::new(setting.peer(), local).map(|_| ())
    };
    assert_eq!(with("203.0.113.1"), Ok(()));
    for source in ["0.0.0.0", "203.0.113.80", "224.0.0.1", "255.255.255.255"] {
        let source: std::net::IpAddr = source.parse().expect("an address");
        assert_eq!(with(&source.to_string()), Err(NotUsable::Source(source)));
    }
    assert_eq!(with("fe80::1"), Err(NotUsable::Family));
}

#[test]
fn an_idle_prober_is_small() {
    assert!(size_of::<Prober>() < 400, "{}", size_of::<Prober>());
    assert!(size_of::<control_probe::RouterProber>() < 400);
}

/// Runs one probe against frames that come whatever is asked; the number of frames sent.
fn bombard(setting: Setting, kind: &Kind, frames: &[Vec<u8>]) -> usize {
    let mut prober = setting.prober();
    let mut now = Instant::from_secs(1);
    assert!(prober.start(7, kind, 100, 0x5eed, now));
    let mut sent = 0;
    let mut outcomes = 0;
    let mut frames = frames.iter();
    for _ in 0..10_000 {
        sent += std::iter::from_fn(|| prober.poll_transmit()).count();
        outcomes += std::iter::from_fn(|| prober.poll_outcome()).count();
        if let Some(frame) = frames.next() {
            let _ = classify(frame);
            prober.handle_frame(frame, now);
            now = Instant(now.0 + 1000);
        } else if let Some(at) = prober.next_deadline() {
            assert!(at <= Instant::from_secs(1).plus_millis(101), "never later than the time-out");
            now = Instant(at.0.max(now.0));
            prober.handle_deadline(now);
        } else {
            break;
        }
    }
    assert_eq!(outcomes, 1);
    assert!(prober.is_idle());
    sent
}

/// Frames that a real server sends in answer to `kind`, with the randomness of [`bombard`].
fn real_answers(setting: Setting, kind: &Kind) -> Vec<Vec<u8>> {
    let mut world = World::new(setting);
    world.now = Instant::from_secs(1);
    world.server.listen(22, |_: &[u8], _: &mut Vec<u8>| false);
    world.server.listen(80, says(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok!".to_vec()));
    world.server.listen(443, says(b"\x16\x03\x03\x00\x04\x02\x00\x00\x00".to_vec()));
    world.server.udp = Some(Box::new(|query| {
        let mut answer = query.to_vec();
        if let Some(flags) = answer.get_mut(2) {
            *flags |= 0x80;
        }
        Some(answer)
    }));
    assert!(world.start_with(7, kind, 100, 0x5eed));
    world.run_ms(120);
    world.answered
}

/// Makes the checksums of a changed frame good again, so that what is behind them is reached.
fn mend(frame: &mut [u8]) {
    let layers = Layers::parse(frame, frame.len() as u32, true);
    let (l3, l4, end) = (usize::from(layers.l3), usize::from(layers.l4), usize::from(layers.end));
    if layers.flaw.is_some() || l4 == 0 || end < l4 || end > frame.len() {
        return;
    }
    let pair = match layers.network {
        dataplane_wire::Network::V4 => {
            let mut ip = dataplane_wire::ipv4::Packet::new_head(&mut frame[l3..]).expect("read before");
            ip.fill_checksum();
            dataplane_wire::AddressPair::V4 { src: ip.src_addr(), dst: ip.dst_addr() }
        }
        _ => {
            let ip = dataplane_wire::ipv6::Packet::new_head(&frame[l3..]).expect("read before");
            dataplane_wire::AddressPair::V6 { src: ip.src_addr(), dst: ip.dst_addr() }
        }
    };
    let (at, pseudo) = match layers.protocol {
        1 => (2, 0),
        6 => (16, pair.pseudo_sum(6, (end - l4) as u16)),
        17 => (6, pair.pseudo_sum(17, (end - l4) as u16)),
        58 => (2, pair.pseudo_sum(58, (end - l4) as u16)),
        _ => return,
    };
    let upper = &mut frame[l4..end];
    if upper.len() >= at + 2 {
        upper[at..at + 2].fill(0);
        let sum = dataplane_wire::checksum::of(pseudo, upper);
        upper[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn c18_arbitrary_frames(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        which in 0..7_usize,
        setting in 0..4_usize,
    ) {
        let frames: Vec<Vec<u8>> = frames
            .into_iter()
            .map(|rest| [&VMAC.0[..], &SERVER.0[..], &rest[..]].concat())
            .collect();
        bombard(SETTINGS[setting], &kinds()[which], &frames);
    }

    #[test]
    fn c18_real_answers_damaged(
        which in 0..7_usize,
        setting in 0..4_usize,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255_u8), 0..12),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..3),
        mended: bool,
    ) {
        let (setting, kind) = (SETTINGS[setting], &kinds()[which]);
        let mut frames = real_answers(setting, kind);
        frames.extend(frames.clone());
        for (frame, at, mask) in flips {
            let mut frame = frame.get(&frames).clone();
            let at = 12 + at.index(frame.len() - 12);
            frame[at] ^= mask;
            if mended {
                mend(&mut frame);
            }
            frames.insert(at % frames.len(), frame);
        }
        for (frame, at) in cuts {
            let mut frame = frame.get(&frames).clone();
            frame.truncate(at.index(frame.len() + 1));
            frames.insert(0, frame);
        }
        let count = frames.len();
        let sent = bombard(setting, kind, &frames);
        prop_assert!(sent <= 3 * count + 20, "{sent} frames for {count}");
    }

    #[test]
    fn c18_arbitrary_streams(
        head in 0..7_usize,
        rest in prop::collection::vec(any::<u8>(), 0..3000),
        tls: bool,
    ) {
        let heads: [&[u8]; 7] = [
            b"",
            b"HTTP/1.1 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"\x16\x03\x03\x00\x80\x02",
            b"\x16\x03\x03",
            b"\x15\x03\x03\x00\x02",
        ];
        let mut world = World::new(SETTINGS[0]);
        let answer = [heads[head], &rest].concat();
        world.server.listen(80, says(answer.clone()));
        world.server.listen(443, says(answer));
        let result = world.result(&http(tls, "not in there, hardly"), 100);
        prop_assert!(result.is_err());
        prop_assert!(flags(world.sent.last().expect("frames")).contains('R'));
    }

    #[test]
    fn classify_takes_anything(frame in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = classify(&frame);
    }
}
