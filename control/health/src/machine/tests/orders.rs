use super::*;

/// Row g.
#[test]
fn fs33_drain() {
    let plan = plan(3, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(3, 0));
    world.flows.insert(A, 500);
    world.run(2000);
    let order = Order::Drain { target: A, deadline_ms: Some(10_000), gentle: false };
    assert_eq!(world.core.handle_order(order, world.now), Ok(()));
    world.take();
    let condition = |world: &World| world.conditions.targets.iter().find(|t| t.id == A).copied();
    assert_eq!(condition(&world).and_then(|t| t.admin), Some(Admin::Drain));
    for i in 0..5 {
        world.flows.insert(A, 500 - i * 100);
        world.run(3000 + i * 1000);
        assert_eq!(world.core.targets()[0].drain.as_ref().map(|d| d.flows_open), Some(500 - i * 100));
    }
    world.run(13_000);
    let at = condition(&world).expect("told");
    assert_eq!((at.health, at.admin), (Health::Dead, Some(Admin::Drain)), "what is left is closed");
    world.flows.insert(A, 0);
    world.run(14_000);
    assert!(world.events.iter().any(|(_, e)| *e == CareEvent::Drained { target: A, closed: 100 }));
    assert_eq!(world.core.handle_order(Order::Enable { target: A }, world.now), Ok(()));
    world.take();
    assert_eq!(condition(&world), None);
}

#[test]
fn fs33_orders_that_make_no_sense_change_nothing() {
    let plan = plan(2, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(2, 0));
    world.run(1000);
    let now = world.now;
    let serial = world.conditions.serial;
    let nobody = TargetId(77);
    let weight = |cluster, target, weight| Order::Weight { cluster, service: None, target, weight };
    let table = [
        (Order::Enable { target: nobody }, OrderError::NoTarget),
        (Order::Disable { target: nobody }, OrderError::NoTarget),
        (Order::Drain { target: nobody, deadline_ms: None, gentle: true }, OrderError::NoTarget),
        (weight(C, nobody, Some(1)), OrderError::NoTarget),
        (weight(ClusterId(9), A, Some(1)), OrderError::NoCluster),
        (weight(C, A, Some(1001)), OrderError::Weight),
        (Order::Switchover { cluster: C, to: None, reset: false }, OrderError::NotAvailability),
        (Order::Switchover { cluster: ClusterId(9), to: None, reset: false }, OrderError::NoCluster),
    ];
    for (order, error) in table {
        assert_eq!(world.core.handle_order(order, now), Err(error), "{order:?}");
    }
    world.take();
    assert_eq!(world.conditions.serial, serial);
}

#[test]
fn fs33_weights_and_their_return() {
    let plan = plan(2, ClusterMode::LoadSharing);
    let settings = settings(2, 0);
    let mut world = World::new(&plan, &settings);
    world.run(1000);
    let order = |weight| Order::Weight { cluster: C, service: None, target: A, weight };
    world.core.handle_order(order(Some(7)), world.now).expect("carried out");
    world.take();
    assert_eq!(world.conditions.members.iter().map(|m| m.weight).collect::<Vec<_>>(), [7]);
    let mut core = Core::new(1);
    core.restore(world.core.saved());
    core.handle_plan(&plan, &settings, ms(0));
    assert_eq!(core.members()[0].weight, 7);
    world.core.handle_order(order(None), world.now).expect("carried out");
    world.take();
    assert_eq!(world.conditions.members, []);
}

/// The state file is up to a second older than what the data path was told.
#[test]
fn fs33_a_running_data_path_knows_better_than_the_state_file() {
    let plan = plan(2, ClusterMode::LoadSharing);
    let settings = settings(2, 0);
    let saved = |deadline_ms| Saved {
        servers: vec![crate::SavedServer {
            server: "web-1".to_owned(),
            admin: Admin::Drain,
            gentle: false,
            deadline_ms,
        }],
        ..Saved::default()
    };
    let drained = dataplane_message::TargetCondition {
        id: A,
        health: Health::Up,
        admin: Some(Admin::Drain),
        gentle: false,
    };
    // It runs, its conditions' serial, what it says; drained, with a deadline.
    let table = [
        (true, 7, vec![], false, false),
        (true, 7, vec![drained], true, true),
        (true, 0, vec![], true, true),
        (false, 0, vec![], true, true),
    ];
    for (running, serial, targets, drains, deadline) in table {
        let mut core = Core::new(1);
        core.restore(saved(Some(60_000)));
        let conditions = Conditions { serial, targets: targets.clone(), ..Conditions::default() };
        core.handle_adopted(1, running, conditions, ms(0));
        core.handle_plan(&plan, &settings, ms(1));
        let server = &core.servers[&A];
        assert_eq!(server.admin, drains.then_some(Admin::Drain), "{running} {serial} {targets:?}");
        let ends = server.drain.as_ref().and_then(|drain| drain.deadline()).is_some();
        assert_eq!(ends, deadline, "{running} {serial} {targets:?}");
    }
}

/// A drain's deadline was saved in whole minutes: one of ten seconds began anew with sixty after a restart.
#[test]
fn fs33_a_saved_deadline_is_right_to_within_an_eighth_and_rarely_written() {
    let plan = plan(2, ClusterMode::LoadSharing);
    let mut world = World::new(&plan, &settings(2, 0));
    world.flows.insert(A, 5);
    let order = Order::Drain { target: A, deadline_ms: Some(300_000), gentle: false };
    assert_eq!(world.core.handle_order(order, world.now), Ok(()));
    let (mut written, mut last) = (0, None);
    for second in 1..300 {
        world.run(second * 1000);
        let saved = world.core.saved().servers[0].deadline_ms.expect("it has a deadline");
        let left = 300_000 - second * 1000;
        assert!(saved >= left && saved <= left + left / 8 + 1024, "{left} {saved}");
        written += u32::from(last.replace(saved) != Some(saved));
    }
    assert!(written < 60, "{written}");
}
