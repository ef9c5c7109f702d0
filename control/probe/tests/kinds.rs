//! FS-30: every kind of probe against a server of another stack, IPv4 and IPv6, tagged and not.

mod world;

use control_probe::{Dns, Failure, Http, Kind, StatusRange};
use smoltcp::socket::tcp::State;
use world::{SETTINGS, Setting, World, flags};

fn http(body: Option<&str>) -> Kind {
    Kind::Http(Http {
        port: 80,
        tls: false,
        path: "/health".into(),
        host: Some("www.example".into()),
        status: StatusRange { first: 200, last: 399 },
        body: body.map(String::from),
    })
}

/// A web server: answers once the request is whole, then closes.
fn answering(answer: &'static str) -> impl FnMut(&[u8], &mut Vec<u8>) -> bool {
    move |received, send| {
        let whole = received.ends_with(b"\r\n\r\n");
        if whole {
            send.extend(answer.as_bytes());
        }
        whole
    }
}

fn silent(_: &[u8], _: &mut Vec<u8>) -> bool {
    false
}

#[test]
fn fs30_neighbour_and_echo() {
    for setting in SETTINGS {
        for kind in [Kind::Neighbour, Kind::Echo, Kind::LargeEcho { mtu: 1500 }] {
            let mut world = World::new(setting);
            let outcome = world.ask(&kind, 100);
            assert_eq!(outcome.result, Ok(()), "{setting:?} {kind:?}");
            assert_eq!(outcome.took_us, 200, "there and back");
            assert_eq!(world.sent.len(), 1);
            if matches!(kind, Kind::LargeEcho { .. }) {
                let tag = usize::from(world.sent[0][12] == 0x81) * 4;
                assert_eq!(world.sent[0].len(), 14 + tag + 1500, "the packet fills the MTU");
            }
        }
        let mut world = World::new(setting);
        world.server.is_dead = true;
        assert_eq!(world.result(&Kind::Neighbour, 90), Err(Failure::NoNeighbour));
        assert_eq!(world.sent.len(), 3, "asked three times within the time-out");
        assert_eq!(world.result(&Kind::Echo, 90), Err(Failure::Timeout));
    }
}

#[test]
fn fs30_tcp_is_accepted_refused_or_not_answered() {
    for setting in SETTINGS {
        let mut world = World::new(setting);
        world.server.listen(80, silent);
        for _ in 0..5 {
            assert_eq!(world.result(&Kind::Tcp { port: 80 }, 50), Ok(()), "{setting:?}");
            let ways: Vec<String> = world.sent.drain(..).map(|frame| flags(&frame)).collect();
            assert_eq!(ways, ["S", "RA"], "nothing is left, no program has heard of it");
            assert_eq!(world.server.state(80), State::Listen);
        }
        assert_eq!(world.result(&Kind::Tcp { port: 81 }, 50), Err(Failure::Refused));
        world.server.is_dead = true;
        world.sent.clear();
        assert_eq!(world.result(&Kind::Tcp { port: 80 }, 60), Err(Failure::Timeout));
        let ways: Vec<String> = world.sent.iter().map(|frame| flags(frame)).collect();
        assert_eq!(ways[..3], ["S", "S", "S"]);
    }
}

#[test]
fn fs30_http() {
    let setting = SETTINGS[0];
    let cases = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", None, Ok(())),
        ("HTTP/1.1 204 No Content\r\n\r\n", None, Ok(())),
        ("HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n", None, Ok(())),
        ("HTTP/1.1 503 Service Unavailable\r\n\r\n", None, Err(Failure::Status(503))),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall ok!", Some("ok"), Ok(())),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nall bad", Some("ok"), Err(Failure::Body)),
        ("HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\nall bad", Some("ok"), Err(Failure::Closed)),
        ("HTTP/1.0 200 OK\r\n\r\nto the end: ok", Some("ok"), Ok(())),
        ("HTTP/1.0 200 OK\r\n\r\nto the end", Some("ok"), Err(Failure::Body)),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na o\r\n1;x=y\r\nk\r\n0\r\n\r\n",
            Some("ok"),
            Ok(()),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na o\r\n0\r\n\r\nk",
            Some("ok"),
            Err(Failure::Body),
        ),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Some("ok"), Err(Failure::Malformed)),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            Some("ok"),
            Err(Failure::Malformed),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\no", Some("ok"), Err(Failure::Malformed)),
        ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", None, Ok(())),
        ("220 mail.example ESMTP\r\n", None, Err(Failure::Malformed)),
        ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", None, Err(Failure::Malformed)),
        ("HTTP/1.1 200", None, Err(Failure::Closed)),
        ("", None, Err(Failure::Closed)),
    ];
    for (answer, body, wanted) in cases {
        let mut world = World::new(setting);
        world.server.listen(80, answering(answer));
        assert_eq!(world.result(&http(body), 100), wanted, "{answer:?} {body:?}");
    }
    for setting in SETTINGS {
        let mut world = World::new(setting);
        world.server.listen(80, answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
        for _ in 0..5 {
            assert_eq!(world.result(&http(Some("ok")), 100), Ok(()), "{setting:?}");
        }
    }
}

#[test]
fn fs30_http_a_program_that_hangs() {
    // SIGSTOP: the kernel still accepts.
    for setting in SETTINGS {
        let mut world = World::new(setting);
        world.server.listen(80, silent);
        assert_eq!(world.result(&http(None), 100), Err(Failure::Stalled));
        assert_eq!(flags(world.sent.last().unwrap()), "RA");
        // A server that speaks first and waits.
        let mut world = World::new(setting);
        let mut greeted = false;
        world.server.listen(80, move |_: &[u8], send: &mut Vec<u8>| {
            if !greeted {
                send.extend(b"SSH-2.0-x\r\n");
            }
            greeted = true;
            false
        });
        assert_eq!(world.result(&http(None), 100), Err(Failure::Malformed));
    }
}

#[test]
fn fs30_udp_and_dns() {
    for setting in SETTINGS {
        let udp = |expect: &str| Kind::Udp { port: 514, send: b"ping".to_vec(), expect: expect.into() };
        let mut world = World::new(setting);
        assert_eq!(world.result(&udp(""), 100), Err(Failure::Refused), "port unreachable");
        world.server.udp = Some(Box::new(|payload| (payload == b"ping").then(|| b"pong 1".to_vec())));
        assert_eq!(world.result(&udp("pong"), 100), Ok(()));
        assert_eq!(world.result(&udp(""), 100), Ok(()));
        assert_eq!(world.result(&udp("pang"), 100), Err(Failure::Unexpected));
        world.server.udp = Some(Box::new(|_| None));
        assert_eq!(world.result(&udp(""), 100), Err(Failure::Timeout));

        let dns = Kind::Dns(Dns { port: 53, name: "www.example.".into() });
        let with = |change: fn(&mut Vec<u8>)| {
            let program = move |query: &[u8]| {
                let mut answer = query.to_vec();
                answer[2] |= 0x80;
                change(&mut answer);
                Some(answer)
            };
            let mut world = World::new(setting);
            world.server.udp = Some(Box::new(program));
            world.result(&dns, 100)
        };
        assert_eq!(with(|_| ()), Ok(()));
        assert_eq!(with(|answer| answer[13..16].copy_from_slice(b"WwW")), Ok(()), "case does not matter");
        assert_eq!(with(|answer| answer[3] = 3), Err(Failure::Rcode(3)));
        assert_eq!(with(|answer| answer[0] ^= 1), Err(Failure::Timeout), "another's answer");
        assert_eq!(with(|answer| answer[14] ^= 1), Err(Failure::Malformed), "another question");
        assert_eq!(with(|answer| answer[2] &= 0x7f), Err(Failure::Malformed), "no answer");
        assert_eq!(with(|answer| answer.truncate(9)), Err(Failure::Malformed));
        assert_eq!(with(|answer| answer.truncate(3)), Err(Failure::Malformed));
        assert_eq!(with(|answer| answer[12] = 0xc0), Err(Failure::Malformed), "a name that points");
    }
}

#[test]
fn what_cannot_be_asked_fails_at_once() {
    let bad = |change: fn(&mut Http)| {
        let Kind::Http(mut check) = http(None) else { unreachable!() };
        change(&mut check);
        Kind::Http(check)
    };
    let kinds = [
        bad(|check| check.path = "/a b".into()),
        bad(|check| check.path = "/a\r\nX: y".into()),
        bad(|check| check.path = "a".into()),
        bad(|check| check.host = Some(String::new())),
        bad(|check| check.host = Some("a\nb".into())),
        bad(|check| check.port = 0),
        Kind::Tcp { port: 0 },
        Kind::Udp { port: 9, send: vec![0; 513], expect: Vec::new() },
        Kind::Dns(Dns { port: 53, name: "a..b".into() }),
        Kind::Dns(Dns { port: 53, name: "x".repeat(64) }),
        Kind::Dns(Dns { port: 53, name: "abcdefg.".repeat(40) }),
    ];
    for kind in kinds {
        let mut world = World::new(Setting { v6: false, tci: None });
        assert_eq!(world.ask(&kind, 100).result, Err(Failure::NotAskable), "{kind:?}");
        assert!(world.sent.is_empty());
    }
}
