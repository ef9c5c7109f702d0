//! Stand-in for `dataplane-worker` until it is there: a repeater. Every frame goes out of all other
//! ports.

use dataplane_flow::Instant;
use dataplane_message::{Boot, PortCounts, ToControl, ToDataPath};
use dataplane_port::{BURST, Flood, Head, PortId, PortSet, Ports, Refused, TagEdit, Verdict};
use dataplane_wire::MacAddr;

pub(crate) struct WorkerSeat {
    ports: u8,
}

pub(crate) struct Worker<P: Ports> {
    ports: P,
    count: u8,
}

impl<P: Ports> Worker<P> {
    pub(crate) fn new(seat: WorkerSeat, ports: P) -> Self {
        Self { ports, count: seat.ports }
    }

    pub(crate) fn turn(&mut self, _: Instant) -> usize {
        let mut refused = Refused::default();
        let mut frames = 0;
        let all: PortSet = (0..self.count).map(PortId).collect();
        for port in all.iter() {
            let n = self.ports.receive(port);
            if n == 0 {
                continue;
            }
            frames += n;
            {
                let mut heads: [Head<'_>; BURST] = Default::default();
                self.ports.heads(&mut heads);
            }
            let flood = Flood { plain: all.without(port), edited: PortSet::EMPTY, edit: TagEdit::None };
            self.ports.dispatch(&[Verdict::Flood(flood); BURST], &mut refused);
        }
        self.ports.flush(&mut refused);
        frames
    }

    pub(crate) fn ports_mut(&mut self) -> &mut P {
        &mut self.ports
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PortState {
    pub(crate) attached: bool,
    pub(crate) up: bool,
    pub(crate) mac: MacAddr,
    pub(crate) device: String,
    pub(crate) note: Option<String>,
}

pub(crate) struct Publisher;

impl Publisher {
    pub(crate) fn new(boot: &Boot, _: u64, _: [u64; 4], _: Instant) -> (Self, Vec<WorkerSeat>) {
        (Self, (0..boot.workers).map(|_| WorkerSeat { ports: boot.ports.len() as u8 }).collect())
    }

    pub(crate) fn handle_message(&mut self, _: ToDataPath, _: Instant) {}

    pub(crate) fn handle_disconnect(&mut self, _: Instant) {}

    pub(crate) fn handle_port(&mut self, port: PortId, state: PortState, now: Instant) {
        eprintln!("{} port {port:?} {state:?}", now.millis());
    }

    pub(crate) fn set_port_counts(&mut self, _: PortId, _: PortCounts) {}

    pub(crate) fn handle_deadline(&mut self, _: Instant) {}

    pub(crate) fn poll_message(&mut self) -> Option<ToControl> {
        None
    }
}
