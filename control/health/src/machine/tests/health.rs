use super::*;

#[test]
fn fs10a_at_start_all_are_presumed_up() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.take();
    assert_eq!(world.conditions.targets, []);
    world.run(5000);
    assert!(world.found(A).is_empty());
    assert!(world.events.is_empty(), "{:?}", world.events);
}

/// Row b by active checks alone.
#[test]
fn fs10_a_deaf_server_is_down_within_350_ms_and_not_dead() {
    let plan = plan(3, ClusterMode::LoadSharing);
    for start in 0..50 {
        let mut world = World::new(&plan, &settings(3, 0));
        world.run(2000 + start * 7);
        world.servers.insert(A, Is::Deaf);
        world.run(8000);
        let found = world.found(A);
        assert_eq!(found.len(), 1, "{found:?}");
        let (at, health, reason) = &found[0];
        assert_eq!(*health, Health::Down);
        assert!(at - (2000 + start * 7) <= 350, "{at}");
        assert!(matches!(reason, Some(Reason::Check { check, .. }) if check == "tcp 80"), "{reason:?}");
        assert!(world.is_open(B));
    }
}

#[test]
fn fs10_a_silent_server_is_dead_after_3_s() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    world.servers.insert(A, Is::Gone);
    world.run(10_000);
    let found: Vec<_> = world.found(A).into_iter().map(|(at, health, _)| (at, health)).collect();
    assert!(matches!(found[..], [(..=2350, Health::Down), (4500..=5200, Health::Dead)]), "{found:?}");
    world.servers.insert(A, Is::Fine);
    world.run(14_000);
    assert_eq!(world.health(A), Health::Up);
}

/// Row b: link down at once, in service within 2 s of the link's return.
#[test]
fn fs10_a_link() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    let all = world.up;
    world.up = all.without(PortId(1));
    world.run(2030);
    assert_eq!(world.health(A), Health::Dead);
    world.up = all;
    world.run(4000);
    assert_eq!(world.health(A), Health::Up, "{:?}", world.found(A));
    assert!(world.is_open(A));
}

/// Row c.
#[test]
fn fs10_flapping_changes_at_most_twice_a_minute() {
    let plan = plan(3, ClusterMode::LoadSharing);
    for (what, seed) in (0..12).map(|seed| (seed % 3, seed)) {
        let mut world = World::new(&plan, &settings(3, 0));
        world.rate = 67;
        world.run(2000 + seed * 13);
        let all = world.up;
        for i in 0..600 {
            let from = 2000 + seed * 13 + i * 100;
            match what {
                0 => world.up = all.without(PortId(1)),
                1 => drop(world.servers.insert(A, Is::Refusing)),
                _ => drop(world.servers.insert(A, Is::Deaf)),
            }
            world.run(from + 50);
            world.up = all;
            world.servers.insert(A, Is::Fine);
            world.run(from + 100);
        }
        // Dead and down are the same to a flow: what counts is whether it takes new ones.
        let mut open = true;
        let mut changes = 0;
        for (_, health, _) in world.found(A) {
            if (health == Health::Up) != open {
                open = !open;
                changes += 1;
            }
        }
        assert!((1..=2).contains(&changes), "{what} {seed}: {:?}", world.found(A));
    }
}

/// Row a: refused, found in the traffic, and the active check agrees.
#[test]
fn fs31_refusals_are_found_within_100_ms() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut late = 0;
    for start in 0..50 {
        let mut world = World::new(&plan, &settings(3, 0));
        world.rate = 67;
        world.run(5000 + start * 3);
        world.servers.insert(A, Is::Refusing);
        world.run(6000);
        let (at, _, reason) = world.found(A)[0].clone();
        assert!(reason.is_some());
        late += usize::from(at - (5000 + start * 3) > 100);
        assert!(at - (5000 + start * 3) <= 200);
    }
    assert!(late <= 25, "p50: {late} of 50 late");
}

#[test]
fn fs31_passive_signs_alone_take_out_one_of_three_and_it_comes_back() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut settings = settings(3, 0);
    settings.clusters[0].checks.clear();
    let mut world = World::new(&plan, &settings);
    world.rate = 67;
    world.run(5000);
    world.servers.insert(A, Is::Refusing);
    world.run(5500);
    world.servers.insert(B, Is::Refusing);
    world.run(8000);
    assert!(!world.is_open(A) && world.is_open(B), "{:?}", world.events);
    assert_eq!(world.found(A)[0].2, Some(Reason::Traffic(Sign::Refused)));
    world.servers.insert(A, Is::Fine);
    world.servers.insert(B, Is::Fine);
    world.run(14_000);
    assert!(world.is_open(A), "after a probation of 5 s");
}

/// Row n: one that answers past the switch.
#[test]
fn fs31_another_return_path_is_no_failure_and_is_named() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    for i in 0..200 {
        let mut row = world.signs.get(&A).copied().expect("seen");
        row.opened += 2;
        row.bypassed += 2;
        row.completed += 2;
        world.signs.insert(A, row);
        world.run(2000 + i * 20);
    }
    assert!(world.found(A).is_empty());
    assert!(world.events.iter().any(|(_, e)| matches!(e, CareEvent::PassiveOff { target: A, off: true })));
    assert!(
        world.core.findings().iter().any(|f| f.kind == crate::FindingKind::Bypassed && f.target == Some(A))
    );
}

/// Row l: both routers gone, routed checks with them, ARP is good.
#[test]
fn fs30_no_server_fails_because_its_routers_are_gone() {
    let plan = plan(3, ClusterMode::LoadSharing);
    for gap in [0, 50, 100, 170] {
        let mut world = World::new(&plan, &settings(3, 0));
        world.run(2000);
        for id in 0..2 {
            world.routers.insert(RouterId(id), Is::Gone);
        }
        world.run(2000 + gap);
        for id in 0..3 {
            world.servers.insert(TargetId(id), Is::Deaf);
        }
        world.run(10_000);
        for id in 0..3 {
            assert!(world.found(TargetId(id)).is_empty(), "{:?}", world.events);
        }
        assert!(world.events.iter().any(|(_, e)| matches!(e, CareEvent::Suspended { suspended: true, .. })));
        assert!(world.core.findings().iter().any(|f| f.kind == crate::FindingKind::Suspended));
        for id in 0..2 {
            world.routers.insert(RouterId(id), Is::Fine);
        }
        for id in 0..3 {
            world.servers.insert(TargetId(id), Is::Fine);
        }
        world.run(20_000);
        for id in 0..3 {
            assert!(world.found(TargetId(id)).is_empty(), "{:?}", world.events);
        }
        // And they count again.
        world.servers.insert(A, Is::Deaf);
        world.run(20_400);
        assert_eq!(world.health(A), Health::Down);
    }
}

/// FS-30: ARP is good and nothing routed has ever come back.
#[test]
fn fs30_replies_that_do_not_come_back_are_named_so() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.servers.insert(A, Is::Deaf);
    world.run(5000);
    assert_eq!(world.health(A), Health::Down);
    assert_eq!(world.found(A)[0].2, Some(Reason::NoReturn));
    assert!(
        world.core.findings().iter().any(|f| f.kind == crate::FindingKind::NoReturn && f.target == Some(A))
    );
}

/// FS-30: a strict reverse-path filter and a default route by another interface: checks are good, no client gets in.
#[test]
fn fs30_a_server_that_answers_probes_and_no_client_is_named() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    let found = |world: &World| {
        let all = world.core.findings().into_iter();
        all.map(|f| (f.kind, f.target)).collect::<Vec<_>>()
    };
    world.run(1000);
    for i in 0..300 {
        let row = world.signs.get_mut(&A).expect("seen");
        row.opened += u64::from(i % 5 == 0);
        world.run(1000 + i * 20);
        if i < 100 {
            assert_eq!(found(&world), [], "{i}");
        }
    }
    assert!(
        world.found(A).is_empty(),
        "no check has failed, and the traffic alone never condemns who never served"
    );
    assert_eq!(found(&world), [(crate::FindingKind::ReversePathFilter, Some(A))]);
    let row = world.signs.get_mut(&A).expect("seen");
    (row.opened, row.accepted) = (row.opened + 1, row.accepted + 1);
    world.run(7100);
    assert_eq!(found(&world), [], "one is answered");
}

/// Row e: a router's fall and return; its servers are moved after 30 s.
#[test]
fn fs13_routers() {
    let plan = plan(8, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(8, 0));
    world.run(2000);
    assert_eq!(world.conditions.assignments.len(), 8);
    world.routers.insert(RouterId(0), Is::Gone);
    world.run(2350);
    assert!(world.conditions.routers.iter().any(|r| r.id == RouterId(0) && !r.up));
    assert_eq!(world.frames, 0, "redirect serves them");
    world.run(33_000);
    assert!(world.conditions.assignments.iter().all(|a| a.router == RouterId(1)));
    assert_eq!(world.frames, 4, "each was told once");
    world.up = world.up.without(PortId(31));
    world.run(33_030);
    assert!(world.conditions.routers.iter().any(|r| r.id == RouterId(1) && !r.up), "link: at once");
}

#[test]
fn a_lost_data_path_is_not_held_against_servers() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    world.core.handle_lost(world.now);
    world.traffic = false;
    for id in 0..3 {
        world.servers.insert(TargetId(id), Is::Gone);
    }
    world.run(20_000);
    assert!(world.events.is_empty(), "{:?}", world.events);
    for id in 0..3 {
        world.servers.insert(TargetId(id), Is::Fine);
    }
    world.traffic = true;
    let serial = world.conditions.serial;
    world.core.handle_adopted(2, false, Conditions::default(), world.now);
    world.run(25_000);
    assert!(world.events.is_empty(), "{:?}", world.events);
    assert!(world.conditions.serial > serial, "a new data path is told all");
}

#[test]
fn adopted_conditions_stay_until_counted_afresh() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let settings = settings(3, 0);
    let mut world = World::new(&plan, &settings);
    world.run(2000);
    world.servers.insert(A, Is::Refusing);
    world.run(4000);
    assert_eq!(world.health(A), Health::Down);
    let mut core = Core::new(99);
    core.handle_adopted(1, true, world.conditions.clone(), ms(1));
    core.handle_plan(&plan, &settings, ms(2));
    let mut next = World::around(core, &plan);
    next.servers.insert(A, Is::Refusing);
    next.conditions.serial = world.conditions.serial;
    next.run(50);
    assert_eq!(next.health(A), Health::Down);
    next.run(3000);
    assert_eq!(next.health(A), Health::Down);
    assert!(next.events.is_empty(), "{:?}", next.events);
    next.servers.insert(A, Is::Fine);
    next.run(6000);
    assert_eq!(next.health(A), Health::Up);
}

#[test]
fn fs34_backups_are_taken_and_left() {
    let mut plan = plan(3, ClusterMode::LoadSharing);
    plan.clusters[0].services[0].members[2].backup = true;
    let mut settings = settings(3, 0);
    settings.clusters[0].services[0].quorum = 2;
    let mut world = World::new(&plan, &settings);
    world.run(2000);
    let backup =
        |world: &World| world.conditions.members.iter().find(|m| m.target.0 == 2).expect("told").open;
    assert!(!backup(&world));
    world.servers.insert(A, Is::Refusing);
    world.run(2500);
    assert!(backup(&world));
    world.servers.insert(A, Is::Fine);
    world.run(10_000);
    assert!(world.is_open(A) && backup(&world));
    world.run(16_000);
    assert!(!backup(&world));
}

/// Row c: slow start is visible in the shares.
#[test]
fn fs33_slow_start_ramps_in_ten_steps() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 10_000));
    world.run(2000);
    world.servers.insert(A, Is::Refusing);
    world.run(4000);
    world.servers.insert(A, Is::Fine);
    let mut seen = Vec::new();
    for at in (4000..20_000).step_by(100) {
        world.run(at);
        let weight = |id| {
            world
                .conditions
                .members
                .iter()
                .find(|m| m.target == id)
                .map_or(1, |m| if m.open { m.weight } else { 0 })
        };
        let share = u64::from(weight(A)) * 1000 / u64::from(weight(B));
        if seen.last() != Some(&share) {
            seen.push(share);
        }
    }
    assert_eq!(seen[..2], [0, 100], "{seen:?}");
    assert!(seen.len() >= 11 && seen.is_sorted() && seen.last() == Some(&1000), "{seen:?}");
}

/// FS-12: what a push is, byte for byte.
#[test]
fn fs12_a_push_is_a_unicast_reply_to_the_server_on_its_port() {
    let plan = plan(2, ClusterMode::LoadSharing);
    let mut core = Core::new(3);
    core.handle_adopted(1, false, Conditions::default(), ms(0));
    core.handle_plan(&plan, &settings(2, 0), ms(0));
    let mut world = World::around(core, &plan);
    world.run(1000);
    let before = world.conditions.assignments.clone();
    world.routers.insert(RouterId(0), Is::Gone);
    let mut pushed = Vec::new();
    while world.now < ms(40_000) {
        let until = world.now.millis() + 20;
        world.run_without_frames(until);
        while let Some(frame) = world.core.poll_frame() {
            pushed.push(frame);
        }
    }
    let moved = before.iter().find(|a| a.router == RouterId(0)).expect("one was there").target;
    let [(port, frame)] = &pushed[..] else { panic!("{pushed:?}") };
    assert_eq!(*port, PortId(1 + moved.0 as u8));
    let link = dataplane_wire::ethernet::Frame::new_checked(&frame[..]).expect("whole");
    let server = MacAddr([2, 0, 0, 0, 0, moved.0 as u8]);
    let router = MacAddr([2, 1, 0, 0, 0, 1]);
    assert_eq!((link.dst_addr(), link.src_addr()), (server, router));
    let arp = dataplane_wire::arp::Packet::new_checked(link.payload()).expect("whole");
    assert_eq!(arp.operation(), dataplane_wire::arp::Operation::Reply);
    assert_eq!((arp.sender_mac(), arp.target_mac()), (router, server));
    assert_eq!(IpAddr::from(arp.sender_ip()), IpAddr::from([192, 0, 2, 254]));
    assert_eq!(IpAddr::from(arp.target_ip()), IpAddr::from([192, 0, 2, 100]));
}

/// Row k: small packets are answered and large ones are not; that is named and held against nobody.
#[test]
fn fs30_an_mtu_that_is_too_small_is_named_and_nothing_else_happens() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(15_000);
    assert_eq!(world.core.findings(), []);
    world.servers.insert(A, Is::Narrow);
    world.run(45_000);
    let found: Vec<_> = world.core.findings().into_iter().map(|f| (f.kind, f.target)).collect();
    assert_eq!(found, [(crate::FindingKind::Mtu, Some(A))]);
    assert_eq!(world.health(A), Health::Up);
    assert!(world.events.is_empty(), "{:?}", world.events);
    world.servers.insert(A, Is::Fine);
    world.run(60_000);
    assert_eq!(world.core.findings(), []);
}

/// A router whose card was changed is found again; while it is there nobody takes its place.
#[test]
fn fs13_a_router_that_is_gone_is_asked_for_as_if_its_mac_were_not_known() {
    let mut plan = plan(2, ClusterMode::LoadSharing);
    plan.routers[0].mac = None;
    let mut world = World::new(&plan, &settings(2, 0));
    world.run(1000);
    let known = MacAddr([2, 1, 0, 0, 0, 77]);
    let asked = |world: &World, kind| match world.core.seat(Subject::Router(RouterId(0)), &What::Router(kind))
    {
        Some((_, Seat::Router(router, _))) => router.mac,
        _ => panic!("a router's seat"),
    };
    let through = RouterKind::Through(IpAddr::from([198, 51, 100, 1]));
    world.core.routers.get_mut(&RouterId(0)).expect("there").mac = Some(known);
    assert_eq!(asked(&world, RouterKind::Neighbour), Some(known));
    world.routers.insert(RouterId(0), Is::Gone);
    world.run(3000);
    assert!(!world.core.routers[&RouterId(0)].up);
    assert_eq!(asked(&world, RouterKind::Neighbour), None);
    assert_eq!(asked(&world, through), Some(known));
    world.routers.insert(RouterId(0), Is::Fine);
    world.run(6000);
    assert!(world.core.routers[&RouterId(0)].up);
    assert_eq!(asked(&world, RouterKind::Neighbour), Some(known));
}

/// Whoever is asked by ARP keeps its asker's MAC: a probe from the gateway's address must not move the gateway.
#[test]
fn fs30_probes_from_a_routers_address_come_from_the_mac_that_servers_are_told_for_it() {
    let mut plan = plan(4, ClusterMode::LoadSharing);
    let macs = [1, 2].map(|i| plan.routers[i - 1].mac.expect("configured"));
    let vmac = plan.clusters[0].vmac;
    let from = |world: &World, id: TargetId| match world
        .core
        .seat(Subject::Life(id, C), &What::Server(Kind::Neighbour))
    {
        Some((_, Seat::Server(_, local))) => Some(local.mac),
        _ => None,
    };
    // The pool's address: as each is assigned.
    let mut world = World::new(&plan, &settings(4, 0));
    world.run(1000);
    for view in world.core.assignments() {
        assert_eq!(from(&world, view.target), Some(macs[usize::from(view.router.0)]));
    }
    world.routers.insert(RouterId(0), Is::Gone);
    world.run(3000);
    assert!((0..4).all(|id| from(&world, TargetId(id)) == Some(macs[1])));
    // A router's own address, and its MAC is not known yet.
    plan.pools.clear();
    plan.clusters[0].probe = plan.routers[1].address;
    let mut world = World::new(&plan, &settings(4, 0));
    assert_eq!(from(&world, A), Some(macs[1]));
    plan.routers[1].mac = None;
    world.core.handle_plan(&plan, &settings(4, 0), world.now);
    assert_eq!(from(&world, A), None, "it is awaited");
    world.core.routers.get_mut(&RouterId(1)).expect("there").mac = Some(macs[0]);
    assert_eq!(from(&world, A), Some(macs[0]));
    // Gone, and never seen: the switch answers for it, with its own.
    world.core.routers.get_mut(&RouterId(1)).expect("there").mac = None;
    world.routers.insert(RouterId(1), Is::Gone);
    world.run(5000);
    assert_eq!(from(&world, A), Some(vmac));
    assert_eq!(world.health(A), Health::Up, "nobody was asked, and nobody was silent");
    // Nobody's address.
    plan.clusters[0].probe = IpAddr::from([192, 0, 0, 8]);
    world.core.handle_plan(&plan, &settings(4, 0), world.now);
    assert_eq!(from(&world, A), Some(vmac));
}

/// A cable is put from a port that is broken into another one, and the file says so.
#[test]
fn fs10_a_server_that_is_moved_to_another_port_is_judged_by_that_one() {
    let plan_before = plan(3, ClusterMode::LoadSharing);
    let settings = settings(3, 0);
    let mut world = World::new(&plan_before, &settings);
    world.run(11_000);
    world.up = world.up.without(PortId(1));
    world.run(12_000);
    assert_eq!(world.health(A), Health::Dead);
    let mut moved = plan_before.clone();
    moved.targets[0].port = PortId(2);
    world.core.handle_plan(&moved, &settings, world.now);
    world.run(20_000);
    assert_eq!(world.health(A), Health::Up);
    world.core.handle_plan(&plan_before, &settings, world.now);
    world.run(20_100);
    assert_eq!(world.health(A), Health::Dead);
}
