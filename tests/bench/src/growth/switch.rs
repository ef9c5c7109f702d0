//! A publisher and its workers, as the process has them, on ports of one's choice.

use crate::site::Site;
use anyhow::{Result, ensure};
use dataplane_flow::Instant;
use dataplane_message::{Boot, Device, Mode, Plan, PortBoot, ToControl, ToDataPath, VERSION};
use dataplane_port::{PortId, Ports};
use dataplane_wire::MacAddr;
use dataplane_worker::{PortState, Publisher, Worker};

/// When the switch of a test is started.
const START: Instant = Instant::from_secs(100);

/// Time for what a worker has seen to come into the tables.
pub(crate) fn settle<P: Ports>(publisher: &mut Publisher, worker: &mut Worker<P>, now: &mut Instant) {
    for _ in 0..20 {
        *now = now.plus_millis(10);
        worker.turn(*now);
        publisher.handle_deadline(*now);
    }
}

/// A switch of one worker with the site's plan in force, and the time by then.
pub(crate) fn start<P: Ports>(
    site: &Site,
    flows_max: u32,
    ports: P,
) -> Result<(Publisher, Worker<P>, Instant)> {
    let plan = site.plan();
    let boot = Boot {
        name: "growth".into(),
        mode: Mode::Appliance,
        workers: 1,
        worker_cores: vec![],
        flows_max,
        memory_mib: 0,
        hugepages: false,
        ports: plan
            .ports
            .iter()
            .map(|p| PortBoot {
                id: p.id,
                name: p.name.clone(),
                device: Device::Vdev { arguments: "memory".into() },
                mtu: 1500,
            })
            .collect(),
    };
    let mut now = START;
    let (mut publisher, seats) = Publisher::new(&boot, 7, [1, 2, 3, 4], now)?;
    let seat = seats.into_iter().next().expect("one worker was asked for");
    let mut worker = Worker::new(seat, ports);
    for id in 0..site.ports() {
        let mac = MacAddr([2, 0, 0, 0, 9, id]);
        let state = PortState { attached: true, up: true, mac, ..PortState::default() };
        publisher.handle_port(PortId(id), state, now);
        worker.turn(now);
        publisher.handle_deadline(now);
    }
    publisher.handle_message(ToDataPath::Hello { version: VERSION, sender: 1 }, now);
    let steps = Plan::between(&Plan::default(), &plan);
    publisher.handle_message(ToDataPath::Apply { epoch: 1, steps }, now);
    let mut in_force = false;
    // Until announcements have ended, too: a second apart, three of them, four clusters a turn.
    for turn in 0..4000 {
        now = now.plus_millis(if turn < 100 { 1 } else { 10 });
        worker.turn(now);
        publisher.handle_deadline(now);
        let mut messages = std::iter::from_fn(|| publisher.poll_message());
        in_force |= messages.any(|m| m == ToControl::Ack { epoch: 1 });
        messages.for_each(drop);
    }
    ensure!(in_force, "the plan was not acknowledged");
    Ok((publisher, worker, now))
}
