//! What control has decided beside the plan: FS-10, FS-14, FS-15, FS-33, FS-34.

use crate::rig::*;
use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::{
    Admin, Chooser, ClusterMode, Conditions, Fail, Health, MemberCondition, Plan, TargetCondition, ToControl,
    ToDataPath, VERSION,
};

pub(crate) fn health(n: u16, health: Health) -> TargetCondition {
    TargetCondition { id: TargetId(n), health, admin: None, gentle: false }
}

pub(crate) fn open(n: u16, open: bool, weight: u16) -> MemberCondition {
    MemberCondition { cluster: ClusterId(0), service: 0, target: TargetId(n), open, weight }
}

pub(crate) fn decide(rig: &mut Rig, conditions: Conditions) {
    rig.publisher.handle_message(ToDataPath::Conditions(Box::new(conditions)), rig.now);
    rig.turn();
}

/// How many of `flows` new ones each server gets.
fn shares(rig: &mut Rig, first_port: u16, flows: u16) -> [usize; 3] {
    let mut shares = [0; 3];
    for port in first_port..first_port + flows {
        // Announcements after a change of links go elsewhere.
        for (to, sent) in rig.send(R1, &inbound(port, SYN).frame()) {
            if let Some(server) = S.iter().position(|s| *s == to) {
                assert_eq!(sent[..6], server_mac(server).0);
                shares[server] += 1;
            }
        }
    }
    shares
}

#[test]
fn fs_10_every_condition_of_a_server() {
    // Health, admin; takes new flows, keeps old ones.
    let table = [
        (Health::Up, None, true, true),
        (Health::Up, Some(Admin::Drain), false, true),
        (Health::Up, Some(Admin::Disabled), false, false),
        (Health::Down, None, false, true),
        (Health::Down, Some(Admin::Enabled), false, true),
        (Health::Dead, None, false, false),
        (Health::Dead, Some(Admin::Drain), false, false),
    ];
    for (health, admin, takes, keeps) in table {
        let mut rig = Rig::new(plan(Chooser::RoundRobin));
        let old = (1000..1003).find(|p| rig.reaches(R1, &inbound(*p, SYN).frame()) == 0).unwrap();
        rig.send(S[0], &outbound(0, old, SYN | ACK).frame());
        rig.send(R1, &inbound(old, ACK).frame());
        let condition = TargetCondition { id: TargetId(0), health, admin, gentle: false };
        // Numbers that the plan does not have are ignored.
        let stranger = TargetCondition { id: TargetId(99), ..condition };
        decide(&mut rig, Conditions { targets: vec![condition, stranger], ..Conditions::default() });
        let got = shares(&mut rig, 2000, 30);
        assert_eq!(got, if takes { [10; 3] } else { [0, 15, 15] }, "{health:?} {admin:?}");
        let out = rig.send(R1, &inbound(old, ACK).frame());
        let stays = out.iter().any(|(port, _)| *port == S[0]);
        assert_eq!(stays, keeps, "{health:?} {admin:?}");
        // And back.
        decide(&mut rig, Conditions::default());
        assert_eq!(shares(&mut rig, 3000, 30), [10; 3]);
    }
}

#[test]
fn fs_9_weights_and_openness_by_service_replace_the_plans_and_leave_the_rest_alone() {
    let mut rig = Rig::new(plan(Chooser::WeightedRoundRobin));
    let members = vec![open(0, true, 1), open(1, true, 2), open(2, true, 3)];
    decide(&mut rig, Conditions { members, ..Conditions::default() });
    assert_eq!(shares(&mut rig, 1000, 60), [10, 20, 30]);
    let members = vec![open(0, true, 0), open(1, false, 100), open(2, true, 1), open(98, true, 1)];
    decide(&mut rig, Conditions { members, ..Conditions::default() });
    assert_eq!(shares(&mut rig, 2000, 30), [0, 0, 30]);
    // Old flows are where they were.
    let (mut rig, flows) = (Rig::new(plan(Chooser::Maglev)), 300);
    let before: Vec<usize> =
        (1000..1000 + flows).map(|port| rig.reaches(R1, &inbound(port, SYN).frame())).collect();
    for round in 1..20 {
        let members = vec![open(0, true, round), open(1, true, 20 - round), open(2, round % 2 == 0, 7)];
        decide(&mut rig, Conditions { members, ..Conditions::default() });
        let after: Vec<usize> =
            (1000..1000 + flows).map(|port| rig.reaches(R1, &inbound(port, SYN).frame())).collect();
        assert_eq!(before, after, "FS-33: nothing moves");
    }
}

fn with_backup() -> Plan {
    let mut plan = plan(Chooser::RoundRobin);
    plan.clusters[0].services[0].members[2].backup = true;
    plan
}

#[test]
fn fs_34_a_backup_is_taken_when_control_says_so_or_nobody_else_is_left() {
    let mut rig = Rig::new(with_backup());
    assert_eq!(shares(&mut rig, 1000, 30), [15, 15, 0]);
    let members = vec![open(2, true, 1)];
    decide(&mut rig, Conditions { members, ..Conditions::default() });
    assert_eq!(shares(&mut rig, 2000, 30), [10; 3]);
    decide(&mut rig, Conditions { members: vec![open(2, false, 1)], ..Conditions::default() });
    assert_eq!(shares(&mut rig, 3000, 30), [15, 15, 0]);
    // Without control.
    decide(&mut rig, Conditions::default());
    rig.link(S[0], false);
    assert_eq!(shares(&mut rig, 4000, 30), [0, 30, 0]);
    rig.link(S[1], false);
    assert_eq!(shares(&mut rig, 5000, 30), [0, 0, 30]);
    rig.link(S[1], true);
    assert_eq!(shares(&mut rig, 6000, 30), [0, 30, 0]);
}

#[test]
fn fs_10a_fail_open_takes_all_whatever_control_says() {
    let mut plan = plan(Chooser::RoundRobin);
    plan.clusters[0].fail = Fail::Open;
    let mut rig = Rig::new(plan);
    let targets = (0..3).map(|n| health(n, Health::Down)).collect();
    decide(&mut rig, Conditions { targets, ..Conditions::default() });
    assert_eq!(shares(&mut rig, 1000, 30), [10; 3]);
}

fn availability() -> Rig {
    let mut plan = plan(Chooser::RoundRobin);
    plan.clusters[0].mode = ClusterMode::Availability;
    Rig::new(plan)
}

fn orders(rig: &mut Rig) -> Vec<u16> {
    let reported = rig.report().orders;
    rig.publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 2 }, rig.now);
    let Some(ToControl::Snapshot { conditions, .. }) = rig.publisher.poll_message() else { panic!() };
    assert_eq!(conditions.orders, reported);
    reported.first().map(|(_, order)| order.iter().map(|id| id.0).collect()).unwrap_or_default()
}

#[test]
fn fs_14_fs_15_a_primary_that_returns_never_pre_empts_even_without_control() {
    let mut rig = availability();
    assert_eq!(shares(&mut rig, 1000, 10), [10, 0, 0], "the first in configured order");
    rig.link(S[0], false);
    assert_eq!(shares(&mut rig, 2000, 10), [0, 10, 0]);
    rig.link(S[0], true);
    assert_eq!(shares(&mut rig, 3000, 10), [0, 10, 0]);
    assert_eq!(orders(&mut rig), [1, 2, 0]);
    rig.link(S[1], false);
    rig.link(S[2], false);
    rig.link(S[0], false);
    assert_eq!(shares(&mut rig, 9, 1), [0; 3]);
    // None up: the first that recovers.
    rig.link(S[0], true);
    assert_eq!(shares(&mut rig, 4000, 10), [10, 0, 0]);
    rig.link(S[1], true);
    rig.link(S[2], true);
    assert_eq!(shares(&mut rig, 5000, 10), [10, 0, 0]);
}

#[test]
fn fs_15_what_control_says_before_it_has_heard_of_a_death_brings_nobody_back() {
    let mut rig = availability();
    let says = |first: u16, serial| {
        let orders = vec![(ClusterId(0), [0, 1, 2].map(|n| TargetId((first + n) % 3)).to_vec())];
        Conditions { serial, orders, ..Conditions::default() }
    };
    decide(&mut rig, says(0, 1));
    // The primary's link is gone for a moment; what control has said meanwhile arrives behind that.
    rig.link(S[0], false);
    rig.link(S[0], true);
    decide(&mut rig, says(0, 2));
    assert_eq!(shares(&mut rig, 1000, 10), [0, 10, 0]);
    let report = rig.report();
    assert_eq!((report.serial, report.orders[0].1[0]), (2, TargetId(1)), "control can tell that it was late");
    // Once it knows, whatever it says holds.
    decide(&mut rig, says(1, 3));
    assert_eq!(shares(&mut rig, 2000, 10), [0, 10, 0]);
    decide(&mut rig, says(0, 4));
    assert_eq!(shares(&mut rig, 3000, 10), [10, 0, 0]);
}

#[test]
fn fs_14_who_is_primary_does_not_hang_on_which_link_is_up_first() {
    let mut plan = plan(Chooser::RoundRobin);
    plan.clusters[0].mode = ClusterMode::Availability;
    for waits in [2_000, 11_000] {
        let mut rig = Rig::without_links(plan.clone());
        rig.link(R1, true);
        rig.link(S[1], true);
        assert_eq!(shares(&mut rig, 1000, 10), [0, 10, 0], "whoever is there takes flows");
        rig.wait_ms(waits);
        rig.link(S[0], true);
        let late = waits > 10_000;
        assert_eq!(shares(&mut rig, 2000, 10), if late { [0, 10, 0] } else { [10, 0, 0] }, "{waits}");
    }
}

#[test]
fn links_that_flap_while_control_does_not_listen_fill_no_memory() {
    let mut rig = availability();
    rig.publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 2 }, rig.now);
    let state = |up| dataplane_worker::PortState { attached: true, up, ..Default::default() };
    for flap in 0..10_000 {
        rig.publisher.handle_port(S[0], state(flap % 2 != 0), rig.now);
        rig.workers[0].turn(rig.now);
    }
    let waiting = std::iter::from_fn(|| rig.publisher.poll_message()).count();
    assert!(waiting <= 4_100, "{waiting}");
    for up in [false, true] {
        rig.publisher.handle_port(S[0], state(up), rig.now);
    }
    let told = std::iter::from_fn(|| rig.publisher.poll_message())
        .filter_map(|message| if let ToControl::Signs(signs) = message { Some(signs.up) } else { None });
    assert!(told.last().is_some_and(|up| up.contains(S[0])), "then it is told as it is");
}

#[test]
fn fs_15_a_switchover_sends_new_flows_to_the_new_primary_and_leaves_old_ones() {
    let mut rig = availability();
    assert_eq!(rig.reaches(R1, &inbound(1000, SYN).frame()), 0);
    let orders = vec![(ClusterId(0), vec![TargetId(2), TargetId(77), TargetId(0)]), (ClusterId(5), vec![])];
    decide(&mut rig, Conditions { orders, ..Conditions::default() });
    assert_eq!(shares(&mut rig, 2000, 10), [0, 0, 10]);
    assert_eq!(rig.reaches(R1, &inbound(1000, SYN).frame()), 0, "FS-7");
    // Down, not dead: the next one takes, and who is primary is control's to say.
    let orders = vec![(ClusterId(0), vec![TargetId(2), TargetId(0), TargetId(1)])];
    let targets = vec![health(2, Health::Down)];
    decide(&mut rig, Conditions { orders: orders.clone(), targets, ..Conditions::default() });
    assert_eq!(shares(&mut rig, 3000, 10), [10, 0, 0]);
    decide(&mut rig, Conditions { orders, ..Conditions::default() });
    assert_eq!(shares(&mut rig, 4000, 10), [0, 0, 10]);
}
