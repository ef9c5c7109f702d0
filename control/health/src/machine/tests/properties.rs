use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Server(u16, u8),
    Router(u16, bool),
    Link(u8, bool),
    Run(u16),
    Order(u8, u16, u16),
    Plan(u16, bool),
    Lost,
    Adopted(u64, bool),
    Signs(Vec<u64>),
    Back(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..5_u16, 0..4_u8).prop_map(|(id, is)| Step::Server(id, is)),
        (0..2_u16, any::<bool>()).prop_map(|(id, is)| Step::Router(id, is)),
        (0..32_u8, any::<bool>()).prop_map(|(port, up)| Step::Link(port, up)),
        (1..3000_u16).prop_map(Step::Run),
        (1..3000_u16).prop_map(Step::Run),
        (0..6_u8, 0..6_u16, 0..1100_u16).prop_map(|(kind, id, weight)| Step::Order(kind, id, weight)),
        (1..5_u16, any::<bool>()).prop_map(|(servers, slow)| Step::Plan(servers, slow)),
        Just(Step::Lost),
        (0..3_u64, any::<bool>()).prop_map(|(boot, running)| Step::Adopted(boot, running)),
        proptest::collection::vec(any::<u64>(), 8).prop_map(Step::Signs),
        any::<u64>().prop_map(Step::Back),
    ]
}

fn carry_out(world: &mut World, step: Step) {
    match step {
        Step::Server(id, is) => {
            let is = [Is::Fine, Is::Refusing, Is::Deaf, Is::Gone][usize::from(is)];
            if world.servers.contains_key(&TargetId(id)) {
                world.servers.insert(TargetId(id), is);
            }
        }
        Step::Router(id, fine) => {
            world.routers.insert(RouterId(id), if fine { Is::Fine } else { Is::Gone });
        }
        Step::Link(port, up) => {
            world.up = if up { world.up.with(PortId(port)) } else { world.up.without(PortId(port)) };
        }
        Step::Run(millis) => world.run(world.now.millis() + u64::from(millis)),
        Step::Order(kind, id, weight) => {
            let target = TargetId(id);
            let order = match kind {
                0 => Order::Drain { target, deadline_ms: Some(u64::from(weight)), gentle: weight % 2 == 0 },
                1 | 2 => Order::Enable { target },
                3 => Order::Disable { target },
                4 => Order::Weight { cluster: C, service: None, target, weight: Some(weight) },
                _ => Order::Switchover {
                    cluster: C,
                    to: (weight % 2 == 0).then_some(target),
                    reset: weight % 3 == 0,
                },
            };
            let _ = world.core.handle_order(order, world.now);
        }
        Step::Plan(servers, slow) => {
            let plan = plan(servers, world.core.plan.clusters[0].mode);
            world.servers = plan.targets.iter().map(|t| (t.id, Is::Fine)).collect();
            world.signs.clear();
            world.core.handle_plan(&plan, &settings(servers, if slow { 2000 } else { 0 }), world.now);
        }
        Step::Lost => world.core.handle_lost(world.now),
        Step::Adopted(boot, running) => {
            let conditions = world.conditions.clone();
            world.core.handle_adopted(boot, running, conditions, world.now);
        }
        Step::Signs(n) => {
            let signs = Signs {
                uptime_us: n[0],
                up: PortSet(n[1] as u32),
                targets: vec![TargetSigns {
                    id: TargetId((n[2] % 9) as u16),
                    in_frames: n[3],
                    out_frames: n[4],
                    flows_open: n[5],
                }],
                members: vec![MemberSigns {
                    cluster: ClusterId((n[6] % 2) as u16),
                    service: (n[6] % 3) as u16,
                    target: TargetId((n[2] % 9) as u16),
                    opened: n[7],
                    refused: n[3],
                    bypassed: n[4] % 2,
                    requests: n[5],
                    connect_us: n[0] as u32,
                    response_us: n[1] as u32,
                    ..MemberSigns::default()
                }],
            };
            world.core.handle_signs(&signs, world.now);
        }
        // The caller's clock goes back: nothing may follow from it.
        Step::Back(at) => world.core.handle_deadline(Instant(at % (world.now.0 + 1))),
    }
    world.take();
}

fn check(world: &World) -> Result<(), TestCaseError> {
    let core = &world.core;
    let alone: BTreeSet<TargetId> = core
        .members
        .iter()
        .filter(|(_, m)| m.out.is_some_and(|out| !out.agreed))
        .map(|((_, _, id), _)| *id)
        .collect();
    prop_assert!(alone.len() <= 1, "FS-31: {alone:?}");
    let roles = core.roles();
    if !roles.is_empty() {
        let primaries = roles.iter().filter(|r| r.role == Role::Primary).count();
        let any = roles.iter().any(|r| r.role != Role::SecondaryFailed);
        prop_assert_eq!(primaries, usize::from(any), "FS-14: {:?}", roles);
    }
    let _ = (core.findings(), core.targets(), core.members(), core.saved());
    for (_, event) in &world.events {
        prop_assert!(!core.describe(event).is_empty());
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// FS-14, FS-31: whatever comes, in whatever order.
    #[test]
    fn any_sequence_is_survived(availability in any::<bool>(), rate in 0..100_u64, steps in proptest::collection::vec(step(), 1..40)) {
        let mode = if availability { ClusterMode::Availability } else { ClusterMode::LoadSharing };
        let mut world = World::new(&plan(4, mode), &settings(4, 0));
        world.rate = rate;
        for step in steps {
            carry_out(&mut world, step);
            check(&world)?;
        }
    }
}
