//! Drain, affinity and connection limits: FS-9, FS-24, FS-33, FS-34.

use crate::conditions::{decide, open};
use crate::rig::*;
use dataplane_flow::{Instant, TargetId};
use dataplane_message::{Admin, Affinity, Chooser, Conditions, Plan, TargetCondition};
use dataplane_port::PortId;
use std::net::Ipv4Addr;

/// A segment of client `n`.
fn of_client(n: u8, port: u16, flags: u8) -> Tcp {
    Tcp { src: (ROUTER, Ipv4Addr::new(198, 51, 100, n), port), ..inbound(port, flags) }
}

fn to_client(server: usize, n: u8, port: u16, flags: u8) -> Tcp {
    Tcp { dst: (ROUTER, Ipv4Addr::new(198, 51, 100, n), port), ..outbound(server, port, flags) }
}

fn server_of(out: &[(PortId, Vec<u8>)]) -> Option<usize> {
    out.first().and_then(|(to, _)| S.iter().position(|server| server == to))
}

/// A flow of client `n`; its server, if one takes it.
fn establish(rig: &mut Rig, n: u8, port: u16) -> Option<usize> {
    let server = server_of(&rig.send(R1, &of_client(n, port, SYN).frame()))?;
    rig.send(S[server], &to_client(server, n, port, SYN | ACK).frame());
    rig.send(R1, &of_client(n, port, ACK).frame());
    Some(server)
}

fn close(rig: &mut Rig, server: usize, n: u8, port: u16) {
    rig.send(R1, &of_client(n, port, FIN | ACK).frame());
    rig.send(S[server], &to_client(server, n, port, FIN | ACK).frame());
}

/// As control is told: within 10 ms.
fn open_flows(rig: &mut Rig, server: usize) -> u64 {
    for _ in 0..12 {
        rig.turn();
    }
    rig.workers
        .iter()
        .map(|worker| worker.engine().counters().target(TargetId(server as u16)).flows_open.read())
        .sum()
}

fn with_affinity(chooser: Chooser) -> Plan {
    let mut plan = plan(chooser);
    plan.clusters[0].services[0].affinity =
        Some(Affinity { prefix_v4: 32, prefix_v6: 128, idle_s: 60, group: 0 });
    plan
}

fn drain(n: usize, gentle: bool) -> Conditions {
    let health = dataplane_message::Health::Up;
    let target = TargetCondition { id: TargetId(n as u16), health, admin: Some(Admin::Drain), gentle };
    Conditions { targets: vec![target], ..Conditions::default() }
}

#[test]
fn fs_33_a_drain_unbinds_at_once_and_its_count_is_0_when_the_last_flow_closes() {
    for workers in [1, 2] {
        let mut rig = Rig::with_workers(with_affinity(Chooser::RoundRobin), workers);
        let mut flows = Vec::new();
        for n in 1..=250 {
            let server = establish(&mut rig, n, 2000).unwrap();
            assert_eq!(establish(&mut rig, n, 2001), Some(server), "FS-24");
            flows.push((n, server));
        }
        let draining = flows.iter().filter(|(_, server)| *server == 0).count();
        assert!(draining > 50);
        assert_eq!(open_flows(&mut rig, 0), 2 * draining as u64);
        decide(&mut rig, drain(0, false));
        for (n, server) in &flows {
            assert_ne!(establish(&mut rig, *n, 2002), Some(0), "no new flow, whatever it was bound to");
            assert_eq!(server_of(&rig.send(R1, &of_client(*n, 2000, ACK).frame())), Some(*server));
        }
        let mut left = 2 * draining as u64;
        for (n, _) in flows.iter().filter(|(_, server)| *server == 0) {
            for port in [2000, 2001] {
                assert_eq!(open_flows(&mut rig, 0), left);
                close(&mut rig, 0, *n, port);
                left -= 1;
            }
        }
        assert_eq!(open_flows(&mut rig, 0), 0);
    }
}

#[test]
fn fs_33_a_gentle_drain_keeps_bindings_until_they_are_idle() {
    let mut rig = Rig::new(with_affinity(Chooser::RoundRobin));
    let n = (1..=3).find(|n| establish(&mut rig, *n, 2000) == Some(0)).unwrap();
    decide(&mut rig, drain(0, true));
    assert_eq!(establish(&mut rig, n, 2001), Some(0));
    for other in 10..30 {
        assert_ne!(establish(&mut rig, other, 2000), Some(0));
    }
    // Its health counts all the same.
    let mut failing = drain(0, true);
    failing.targets[0].health = dataplane_message::Health::Down;
    decide(&mut rig, failing);
    let elsewhere = establish(&mut rig, n, 2003);
    assert_ne!(elsewhere, Some(0));
    decide(&mut rig, Conditions::default());
    assert_eq!(establish(&mut rig, n, 2004), elsewhere, "bound anew");
    let n = (40..50).find(|n| establish(&mut rig, *n, 2000) == Some(0)).unwrap();
    decide(&mut rig, drain(0, true));
    rig.now = Instant(rig.now.0 + 62_000_000_000);
    rig.turn();
    assert_ne!(establish(&mut rig, n, 2002), Some(0));
}

#[test]
fn fs_24_a_server_that_leaves_one_service_loses_the_bindings_of_that_service() {
    let mut rig = Rig::new(with_affinity(Chooser::RoundRobin));
    let n = (1..=3).find(|n| establish(&mut rig, *n, 2000) == Some(0)).unwrap();
    decide(&mut rig, Conditions { members: vec![open(0, false, 1)], ..Conditions::default() });
    assert_ne!(establish(&mut rig, n, 2001), Some(0));
}

#[test]
fn fs_34_a_server_at_its_limit_is_left_out_by_every_chooser_and_then_flows_are_refused() {
    let choosers = [
        Chooser::RoundRobin,
        Chooser::WeightedRoundRobin,
        Chooser::LeastConnections,
        Chooser::SourceAffinity,
        Chooser::Maglev,
        Chooser::Dynamic,
        Chooser::TwoChoices,
    ];
    for chooser in choosers {
        let mut limited = plan(chooser);
        for (target, max) in limited.targets.iter_mut().zip([5, 10, 20]) {
            target.connections_max = max;
        }
        let mut rig = Rig::new(limited);
        let mut got = [0; 3];
        let mut flows = Vec::new();
        for n in 1..=35 {
            let server = establish(&mut rig, n, 2000).expect("there is room");
            got[server] += 1;
            flows.push((n, server));
        }
        assert_eq!(got, [5, 10, 20], "{chooser:?}");
        let out = rig.send(R1, &of_client(100, 2000, SYN).frame());
        assert_eq!((out.len(), out[0].0, out[0].1[47] & RST), (1, R1, RST), "{chooser:?}");
        assert_eq!(rig.drop_count("connection-limit"), 1);
        // Flows that are there go on; one that ends makes room for one.
        for (n, server) in &flows {
            assert_eq!(server_of(&rig.send(R1, &of_client(*n, 2000, ACK).frame())), Some(*server));
        }
        let (n, server) = flows[7];
        close(&mut rig, server, n, 2000);
        assert_eq!(establish(&mut rig, 101, 2000), Some(server), "{chooser:?}");
        assert_eq!(establish(&mut rig, 102, 2000), None);
    }
}

#[test]
fn fs_34_over_several_workers_a_limit_is_exceeded_by_the_flows_of_10_ms_at_most() {
    let mut limited = plan(Chooser::RoundRobin);
    limited.targets[0].connections_max = 10;
    let mut rig = Rig::with_workers(limited, 2);
    for port in 2000..2200 {
        establish(&mut rig, 1, port);
        open_flows(&mut rig, 0);
    }
    assert_eq!(open_flows(&mut rig, 0), 10);
}

#[test]
fn fs_9_two_choices_prefer_the_server_that_answers_sooner() {
    let mut rig = Rig::new(plan(Chooser::TwoChoices));
    let mut got = [0; 3];
    for port in 2000..2600 {
        let server = server_of(&rig.send(R1, &inbound(port, SYN).frame())).unwrap();
        // Server 0 takes its time.
        rig.wait_ms(if server == 0 { 40 } else { 4 });
        rig.send(S[server], &outbound(server, port, SYN | ACK).frame());
        rig.send(R1, &inbound(port, ACK).frame());
        rig.send(R1, &inbound(port, RST).frame());
        got[server] += 1;
    }
    assert!(got[0] > 30 && got[0] * 2 < got[1].min(got[2]), "{got:?}");
}
