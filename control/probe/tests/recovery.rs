//! Lost frames, and what an earlier probe has left at the server (RFC 5961, RFC 6191).

mod world;

use control_probe::{Failure, Http, Kind, StatusRange};
use smoltcp::socket::tcp::State;
use world::{Left, SETTINGS, World, flags};

const TCP: Kind = Kind::Tcp { port: 80 };

fn http() -> Kind {
    let status = StatusRange { first: 200, last: 200 };
    Kind::Http(Http { port: 80, tls: false, path: "/".into(), host: None, status, body: Some("ok".into()) })
}

/// A web server that closes behind its answer, or leaves that to the client.
fn web(close: bool) -> impl FnMut(&[u8], &mut Vec<u8>) -> bool {
    let mut answered = 0;
    move |received, send| {
        let asked = received.ends_with(b"\r\n\r\n");
        if received.is_empty() {
            answered = 0;
        }
        if asked && answered < received.len() {
            answered = received.len();
            send.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        }
        close && asked
    }
}

#[test]
fn the_loss_of_any_one_frame_is_survived() {
    for kind in [Kind::Neighbour, Kind::Echo, TCP, http()] {
        for setting in SETTINGS {
            for to_server in [true, false] {
                for lost in 0..7 {
                    let mut world = World::new(setting);
                    world.server.listen(80, web(true));
                    world.loss = Box::new(move |way, nth, _| way == to_server && nth == lost);
                    let outcome = world.ask(&kind, 90);
                    // What the server sends is sent again by its own timer, a second later.
                    if to_server || lost == 0 {
                        let setting = format!("{kind:?} {setting:?} to server {to_server} frame {lost}");
                        assert_eq!(outcome.result, Ok(()), "{setting}");
                        assert!(outcome.took_us < 33_000, "{setting}: {}", outcome.took_us);
                    }
                }
            }
        }
    }
}

#[test]
fn a_connection_that_is_still_there_is_replaced() {
    // Its reset was lost, or the control core was killed: RFC 5961 §4.2, and for TIME-WAIT RFC 6191.
    for setting in SETTINGS {
        for is_time_wait in [false, true] {
            for turn in 0..16_u32 {
                let left = Left { sent: turn << 20, expected: turn << 28, is_time_wait };
                let mut world = World::new(setting);
                world.server.listen(80, web(false));
                world.server.left = Some(left);
                let outcome = world.ask(&TCP, 90);
                assert_eq!(outcome.result, Ok(()), "{setting:?} {left:?}");
                assert!(outcome.took_us < 1000, "the SYN is sent again at once: {}", outcome.took_us);
                let ways: Vec<String> = world.sent.iter().map(|frame| flags(frame)).collect();
                if ways[1] == "R" {
                    assert_eq!(ways, ["S", "R", "S", "RA"]);
                } else {
                    assert!(is_time_wait, "{ways:?}");
                }
            }
        }
    }
}

#[test]
fn a_server_that_never_forgets_is_not_asked_without_end() {
    let mut world = World::new(SETTINGS[0]);
    world.loss = Box::new(|to_server, _, frame| to_server && flags(frame) == "R");
    world.server.left = Some(Left { sent: 1, expected: 2, is_time_wait: false });
    assert_eq!(world.result(&TCP, 90), Err(Failure::Timeout));
    assert!(world.sent.len() < 20, "{}", world.sent.len());
}

#[test]
fn what_the_server_sends_for_a_forgotten_connection_is_reset() {
    for setting in SETTINGS {
        let mut world = World::new(setting);
        world.server.listen(80, web(false));
        // Nothing behind the request arrives, so the server sends its answer again.
        world.loss = Box::new(|to_server, nth, _| to_server && nth > 2);
        assert_eq!(world.result(&http(), 90), Ok(()));
        assert_eq!(world.server.state(80), State::Established, "left behind");
        world.loss = Box::new(|_, _, _| false);
        world.run_ms(1500);
        assert_eq!(world.server.state(80), State::Listen, "its repetition was answered by a reset");
        assert_eq!(world.result(&http(), 90), Ok(()), "{setting:?}");
    }
}

#[test]
fn one_source_port_two_probes_of_one_port_wait_for_each_other() {
    for setting in SETTINGS {
        let mut world = World::new(setting);
        world.server.listen(80, web(true));
        assert!(world.start(1, &TCP, 50));
        assert!(!world.start(1, &TCP, 50), "one check is asked once at a time");
        assert!(world.start(2, &http(), 50));
        assert!(world.start(3, &Kind::Echo, 50));
        assert!(world.start(4, &Kind::Tcp { port: 0 }, 50));
        assert!(world.start(5, &TCP, 50));
        assert_eq!(world.sent.len(), 2, "a SYN and an echo");
        world.run_ms(20);
        let mut checks: Vec<u16> = world.outcomes.iter().map(|(check, _)| *check).collect();
        let tcp: Vec<u16> = checks.iter().copied().filter(|check| [1, 2, 5].contains(check)).collect();
        assert_eq!(tcp, [1, 2, 5], "in their order");
        checks.sort_unstable();
        assert_eq!(checks, [1, 2, 3, 4, 5]);
        for (check, outcome) in &world.outcomes {
            let wanted = if *check == 4 { Err(Failure::NotAskable) } else { Ok(()) };
            assert_eq!(outcome.result, wanted, "{check}");
        }
        // With a server that says nothing, each has its own time-out.
        world.outcomes.clear();
        world.server.is_dead = true;
        let begun = world.now;
        assert!(world.start(1, &TCP, 50));
        assert!(world.start(2, &TCP, 50));
        world.run_ms(60);
        assert_eq!(world.outcomes.len(), 1);
        world.run_ms(50);
        assert_eq!(world.outcomes.len(), 2);
        assert!(world.now.since(begun) < 120_000_000);
    }
}

#[test]
fn what_is_cancelled_has_no_outcome() {
    let mut world = World::new(SETTINGS[0]);
    world.server.listen(80, |_: &[u8], _: &mut Vec<u8>| false);
    assert!(world.start(1, &http(), 500));
    assert!(world.start(2, &TCP, 500));
    assert!(world.start(3, &TCP, 500));
    world.run_ms(5);
    world.prober.cancel(3, world.now);
    world.prober.cancel(1, world.now);
    world.run_ms(5);
    assert_eq!(world.outcomes.len(), 1);
    assert_eq!(world.outcomes[0].0, 2);
    assert!(world.prober.is_idle());
    assert_eq!(world.server.state(80), State::Listen, "reset");
}

#[test]
fn fs30_at_most_three_seconds_over_tcp() {
    // C18
    let mut world = World::new(SETTINGS[0]);
    world.server.listen(80, |_: &[u8], _: &mut Vec<u8>| false);
    let outcome = world.ask(&http(), 600_000);
    assert_eq!(outcome.result, Err(Failure::Stalled));
    assert_eq!(outcome.took_us / 1000, 3000);
}
