//! FS-13: questions to routers, in the name of a VIP.

#![allow(clippy::unwrap_used, reason = "a test")]

mod world;

use control_probe::{AnswerKind, Failure, Local, Router, RouterAnswer, RouterKind, RouterProber, classify};
use dataplane_flow::Instant;
use dataplane_port::PortId;
use dataplane_wire::{Layers, MacAddr, arp, ethernet, ipv6, multicast, nd};
use std::net::IpAddr;
use world::{SETTINGS, Setting, VMAC, echo_reply, unreachable};

const ROUTER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);
const ID: u16 = 61_440 + 5;

fn address(setting: Setting) -> IpAddr {
    if setting.v6 { "fe80::1".parse().unwrap() } else { "203.0.113.254".parse().unwrap() }
}

fn beyond(setting: Setting) -> IpAddr {
    if setting.v6 { "2001:db8:ffff::8".parse().unwrap() } else { "198.51.100.8".parse().unwrap() }
}

fn prober(setting: Setting, mac: Option<MacAddr>) -> RouterProber {
    let router = Router { mac, address: address(setting), tci: setting.tci, port: PortId(0) };
    RouterProber::new(router, Local { mac: VMAC, address: setting.vip(), id: ID }).unwrap()
}

/// What a router at `mac` answers; checks the question.
fn answer(setting: Setting, mac: MacAddr, asked_of: Option<MacAddr>, frame: &[u8]) -> Vec<u8> {
    let head = ethernet::Frame::new_checked(frame).unwrap();
    let layers = Layers::parse(frame, frame.len() as u32, false);
    assert_eq!((layers.flaw, head.src_addr(), layers.tci), (None, VMAC, setting.tci.unwrap_or(0)));
    let link = ethernet::Repr { src: mac, dst: VMAC, tci: setting.tci };
    let l3 = usize::from(layers.l3);
    if layers.network == dataplane_wire::Network::Arp {
        assert_eq!(head.dst_addr(), asked_of.unwrap_or(MacAddr::BROADCAST));
        let request = arp::Repr::parse(&arp::Packet::new_checked(&frame[l3..]).unwrap());
        assert_eq!((IpAddr::V4(request.sender_ip), request.sender_mac), (setting.vip(), VMAC));
        let mut bytes = vec![0; arp::FRAME_LEN];
        request.answer(mac).emit_frame(&link, &mut bytes);
        bytes
    } else if layers.flags == 135 {
        let ip = ipv6::Packet::new_checked(&frame[l3..]).unwrap();
        let message = nd::Message::new_checked(&frame[layers.l4.into()..layers.end.into()]).unwrap();
        assert!(message.is_valid(ip.src_addr(), ip.dst_addr(), ip.hop_limit()));
        let target = message.target().unwrap();
        let group = multicast::solicited_node(target);
        assert_eq!(head.dst_addr(), asked_of.unwrap_or(multicast::mac_v6(group)));
        assert_eq!(ip.dst_addr(), if asked_of.is_some() { target } else { group });
        let advertisement = nd::Advertisement::answering(ip.src_addr(), target, mac);
        let mut bytes = vec![0; advertisement.frame_len(&link)];
        advertisement.emit_frame(&link, &mut bytes);
        bytes
    } else {
        assert_eq!(Some(head.dst_addr()), asked_of);
        let mut bytes = echo_reply(frame, &layers);
        bytes[6..12].copy_from_slice(&mac.0);
        bytes
    }
}

fn one(prober: &mut RouterProber) -> RouterAnswer {
    let answer = prober.poll_answer().expect("an answer");
    assert_eq!(prober.poll_answer(), None);
    answer
}

#[test]
fn fs13_a_router_is_found_and_asked() {
    for setting in SETTINGS {
        let mut prober = prober(setting, None);
        let now = Instant::from_secs(1);
        assert!(prober.start(RouterKind::Echo, 100, 1, now));
        assert_eq!(one(&mut prober).outcome.result, Err(Failure::NoNeighbour), "where should it go");
        for mac in [None, Some(ROUTER)] {
            assert!(prober.start(RouterKind::Neighbour, 100, 2, now));
            assert!(!prober.start(RouterKind::Neighbour, 100, 3, now));
            let frame = prober.poll_transmit().unwrap();
            prober.handle_frame(&answer(setting, ROUTER, mac, &frame), Instant(now.0 + 70_000));
            let told = one(&mut prober);
            assert_eq!((told.outcome.result, told.outcome.took_us, told.mac), (Ok(()), 70, Some(ROUTER)));
            prober.set_mac(told.mac);
        }
        for kind in [RouterKind::Echo, RouterKind::Through(beyond(setting))] {
            assert!(prober.start(kind, 100, 4, now));
            let frame = prober.poll_transmit().unwrap();
            let layers = Layers::parse(&frame, frame.len() as u32, false);
            assert_eq!(layers.source, ID);
            let bytes = answer(setting, ROUTER, Some(ROUTER), &frame);
            let class = classify(&bytes).unwrap();
            assert_eq!((class.destination, class.kind), (setting.vip(), AnswerKind::Echo { id: ID }));
            prober.handle_frame(&bytes, now);
            assert_eq!(one(&mut prober), one_good(kind));
            prober.handle_frame(&bytes, now);
            assert_eq!(prober.poll_answer(), None, "once");
        }
        assert_eq!(prober.ignored().unexpected, 2);
        assert_eq!(prober.next_deadline(), None);
    }
}

fn one_good(kind: RouterKind) -> RouterAnswer {
    let outcome = control_probe::Outcome { result: Ok(()), took_us: 0 };
    RouterAnswer { kind, outcome, mac: None }
}

#[test]
fn fs13_a_router_that_is_gone_or_whose_uplink_is() {
    for setting in SETTINGS {
        let mut prober = prober(setting, Some(ROUTER));
        let mut now = Instant::from_secs(1);
        let through = RouterKind::Through(beyond(setting));
        for kind in [RouterKind::Neighbour, RouterKind::Echo, through] {
            assert!(prober.start(kind, 90, now.0, now));
        }
        let mut frames = 0;
        let mut answers = Vec::new();
        while let Some(at) = prober.next_deadline() {
            now = at;
            prober.handle_deadline(now);
            frames += std::iter::from_fn(|| prober.poll_transmit()).count();
            answers.extend(std::iter::from_fn(|| prober.poll_answer()));
        }
        assert_eq!((frames, now.millis()), (9, 1090));
        let failures: Vec<_> = answers.iter().map(|answer| answer.outcome.result.unwrap_err()).collect();
        assert_eq!(failures.len(), 3);
        assert!(failures.contains(&Failure::NoNeighbour) && failures.contains(&Failure::Timeout));
        // It says itself that there is no way on.
        assert!(prober.start(through, 90, 9, now));
        let frame = prober.poll_transmit().unwrap();
        let layers = Layers::parse(&frame, frame.len() as u32, false);
        let code = u8::from(!setting.v6);
        let mut error = unreachable(&frame, &layers, code);
        prober.handle_frame(&error, now);
        assert_eq!(one(&mut prober).outcome.result, Err(Failure::Unreachable(code)));
        // The same with a wrong checksum says nothing.
        assert!(prober.start(through, 90, 9, now));
        *error.last_mut().unwrap() ^= 1;
        prober.handle_frame(&error, now);
        assert_eq!((prober.poll_answer(), prober.ignored().damaged), (None, 1));
    }
}

#[test]
fn fs13_another_mac_is_not_the_router() {
    for setting in SETTINGS {
        let mut prober = prober(setting, Some(ROUTER));
        let now = Instant::from_secs(1);
        let other = MacAddr([2, 0, 0, 0, 0, 0xfd]);
        assert!(prober.start(RouterKind::Neighbour, 100, 1, now));
        let frame = prober.poll_transmit().unwrap();
        prober.handle_frame(&answer(setting, other, Some(ROUTER), &frame), now);
        assert_eq!(prober.poll_answer(), None);
        // An echo may come back another way.
        assert!(prober.start(RouterKind::Echo, 100, 1, now));
        let frame = prober.poll_transmit().unwrap();
        prober.handle_frame(&answer(setting, other, Some(ROUTER), &frame), now);
        assert_eq!(one(&mut prober).outcome.result, Ok(()));
    }
}
