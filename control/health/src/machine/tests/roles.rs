use super::*;
use Role::{Primary as P, SecondaryFailed as F, SecondaryOperational as O};

/// Row d: the primary dies, comes back, the second dies.
#[test]
fn fs15_roles_through_failures_and_restarts() {
    let plan = plan(3, ClusterMode::Availability);
    let settings = settings(3, 0);
    let mut world = World::new(&plan, &settings);
    world.run(2000);
    assert_eq!(world.roles(), [P, O, O]);
    assert_eq!(world.conditions.orders, [(C, vec![A, B, TargetId(2)])]);
    world.servers.insert(A, Is::Gone);
    world.run(8000);
    assert_eq!(world.roles(), [F, P, O]);
    world.servers.insert(A, Is::Fine);
    world.run(20_000);
    assert_eq!(world.roles(), [O, P, O], "it never pre-empts");
    world.servers.insert(B, Is::Refusing);
    world.run(22_000);
    assert_eq!(world.roles(), [P, F, O]);

    // Control is restarted while the data path lives ...
    let mut core = Core::new(5);
    core.restore(Saved::default());
    core.handle_adopted(1, true, world.conditions.clone(), ms(0));
    core.handle_plan(&plan, &settings, ms(1));
    let mut next = World::around(core, &plan);
    next.conditions.serial = world.conditions.serial;
    next.servers = world.servers.clone();
    assert_eq!(next.roles(), [P, F, O]);
    next.run(5000);
    assert_eq!(next.roles(), [P, F, O]);
    next.servers.insert(A, Is::Refusing);
    next.run(6000);
    assert_eq!(next.roles(), [F, F, P]);

    // ... and then both are.
    let mut core = Core::new(6);
    core.restore(next.core.saved());
    core.handle_adopted(2, false, Conditions::default(), ms(0));
    core.handle_plan(&plan, &settings, ms(1));
    let mut last = World::around(core, &plan);
    last.run(5000);
    assert_eq!(last.roles(), [O, O, P]);
}

#[test]
fn fs15_none_up_the_first_that_recovers_at_once() {
    let plan = plan(3, ClusterMode::Availability);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    for id in 0..3 {
        world.servers.insert(TargetId(id), Is::Refusing);
    }
    world.run(4000);
    assert_eq!(world.roles(), [F, F, F]);
    world.servers.insert(B, Is::Fine);
    world.run(4400);
    assert_eq!(world.roles(), [F, P, F]);
}

#[test]
fn fs15_switchover_by_order() {
    let plan = plan(3, ClusterMode::Availability);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    let order = |to, reset| Order::Switchover { cluster: C, to, reset };
    assert_eq!(world.core.handle_order(order(None, false), world.now), Ok(()));
    world.take();
    assert_eq!(world.roles(), [O, P, O]);
    assert_eq!(world.conditions.orders[0].1[0], B);
    assert_eq!(world.conditions.targets, [], "its flows finish");
    assert_eq!(world.core.handle_order(order(Some(TargetId(2)), true), world.now), Ok(()));
    world.take();
    assert_eq!(world.health(B), Health::Dead, "its flows are reset");
    world.run(8000);
    assert_eq!(world.health(B), Health::Up);
    assert_eq!(world.roles(), [O, O, P]);
    for id in [A, B] {
        world.servers.insert(id, Is::Gone);
    }
    world.run(14_000);
    assert_eq!(world.core.handle_order(order(None, false), world.now), Err(OrderError::NoneOperational));
}

#[test]
fn fs15_a_former_primary_that_is_needed_again_is_not_closed_any_more() {
    let plan = plan(3, ClusterMode::Availability);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    let order = Order::Switchover { cluster: C, to: Some(B), reset: true };
    assert_eq!(world.core.handle_order(order, world.now), Ok(()));
    world.take();
    assert_eq!(world.health(A), Health::Dead, "its flows are reset");
    world.servers.insert(B, Is::Gone);
    world.run(6900);
    assert_eq!(world.roles()[0], P);
    assert_eq!(world.health(A), Health::Up, "it gets all new flows");
}

/// A primary's link was gone while control was away: nobody has told it.
#[test]
fn fs15_a_primary_that_followed_unseen_stays() {
    let plan = plan(3, ClusterMode::Availability);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(2000);
    let report = |serial, first: TargetId| Report {
        serial,
        orders: vec![(C, vec![first, TargetId(2), A])],
        ..Report::default()
    };
    let serial = world.conditions.serial;
    for (told, before) in [(0, A), (serial - 1, A), (serial, A)] {
        assert_eq!(world.conditions.orders[0].1[0], before);
        world.core.handle_report(&report(told, B), world.now);
        world.take();
    }
    assert_eq!(world.roles(), [O, P, O]);
    assert_eq!(world.conditions.orders, [(C, vec![B, A, TargetId(2)])]);
    // What was under way before that is of before.
    world.core.handle_report(&report(serial, A), world.now);
    world.take();
    assert_eq!(world.roles(), [O, P, O]);
    world.run(4000);
    assert_eq!(world.roles(), [O, P, O]);
}

/// The data path starts anew; its links come up one by one, the primary's last.
#[test]
fn fs14_roles_do_not_hang_on_which_link_is_up_first_after_a_restart() {
    let plan = plan(3, ClusterMode::Availability);
    let mut world = World::new(&plan, &settings(3, 0));
    world.run(11_000);
    let links = world.up;
    world.core.handle_lost(world.now);
    world.core.handle_adopted(2, false, Conditions::default(), world.now);
    for (until, up) in [(11_500, PortSet::EMPTY), (12_500, PortSet::EMPTY.with(PortId(2))), (14_000, links)] {
        world.up = up;
        world.run(until);
        assert_eq!(world.roles()[0], P, "{until}: {:?}", world.roles());
    }
    // What has been up is down at once, and what never comes up is down in the end.
    let mut late = World::new(&plan, &settings(3, 0));
    late.up = links.without(PortId(1));
    late.run(2000);
    late.up = late.up.without(PortId(2));
    late.run(2100);
    assert_eq!(late.health(B), Health::Dead);
    late.run(11_000);
    assert_eq!((late.health(A), late.roles()), (Health::Dead, vec![F, F, P]));
}
