//! A data path that does what a test says, on the real socket.

#![allow(dead_code)] // each test uses the part it needs

use dataplane_message::{
    Assembler, Conditions, PART_MAX, Plan, Report, Step, TargetCounts, TargetReport, ToControl, ToDataPath,
    VERSION, parts,
};
use ffi_linux::{SeqPacketListener, SeqPacketStream, wait_readable};
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The listening half.
pub(crate) struct FakeDataPath {
    listener: SeqPacketListener,
}

/// One connection of a control core.
pub(crate) struct Peer {
    stream: SeqPacketStream,
    assembler: Assembler,
    part: Vec<u8>,
}

impl FakeDataPath {
    /// Listens in a runtime directory.
    pub(crate) fn listen(runtime_dir: &Path) -> Self {
        Self { listener: SeqPacketListener::bind(&runtime_dir.join("dp.sock")).expect("the socket is free") }
    }

    /// The next connection.
    pub(crate) fn accept(&self) -> Peer {
        self.accept_for(PATIENCE)
    }

    /// The next connection, waiting so long for it.
    pub(crate) fn accept_for(&self, patience: Duration) -> Peer {
        let begin = Instant::now();
        loop {
            if let Some(stream) = self.listener.accept().expect("the listener works") {
                return Peer { stream, assembler: Assembler::default(), part: vec![0; PART_MAX] };
            }
            assert!(begin.elapsed() < patience, "no control core connects");
            wait_readable(&[self.listener.as_fd()], PATIENCE);
        }
    }

    /// The next connection, greeted with what is in force.
    pub(crate) fn greet(&self, epoch: u64, plan: &Plan) -> Peer {
        let mut peer = self.accept();
        match peer.receive() {
            Some(ToDataPath::Hello { version: VERSION, .. }) => {}
            other => panic!("not a greeting: {other:?}"),
        }
        peer.send(&snapshot(VERSION, epoch, plan));
        peer
    }

    /// The next connection, which sends its whole plan and gets it acknowledged.
    pub(crate) fn settle(&self) -> (Peer, Plan) {
        let mut peer = self.greet(0, &Plan::default());
        let (epoch, steps) = peer.apply();
        let mut plan = Plan::default();
        steps.into_iter().for_each(|step| plan.apply(step));
        peer.send(&ToControl::Ack { epoch });
        (peer, plan)
    }
}

impl Peer {
    /// The next message but those of health, which come at any time; `None` when the control core has closed
    /// the connection.
    pub(crate) fn receive(&mut self) -> Option<ToDataPath> {
        self.receive_for(PATIENCE)
    }

    /// The conditions that control sends next which fit; other messages of health before them are passed over.
    pub(crate) fn conditions(&mut self, fit: impl Fn(&Conditions) -> bool) -> Conditions {
        loop {
            match self.any(PATIENCE) {
                Some(ToDataPath::Conditions(conditions)) if fit(&conditions) => return *conditions,
                Some(ToDataPath::Inject { .. } | ToDataPath::Conditions(_)) => {}
                other => panic!("not of health: {other:?}"),
            }
        }
    }

    /// The next message, waiting so long for it.
    pub(crate) fn receive_for(&mut self, patience: Duration) -> Option<ToDataPath> {
        loop {
            match self.any(patience) {
                Some(ToDataPath::Inject { .. } | ToDataPath::Conditions(_)) => {}
                message => return message,
            }
        }
    }

    /// The next message of any kind.
    fn any(&mut self, patience: Duration) -> Option<ToDataPath> {
        let begin = Instant::now();
        loop {
            match self.stream.recv(&mut self.part) {
                Ok(0) => return None,
                Ok(length) => {
                    let message = self.assembler.push(&self.part[..length]).expect("control sends messages");
                    if message.is_some() {
                        return message;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(begin.elapsed() < patience, "the control core says nothing");
                    wait_readable(&[self.stream.as_fd()], PATIENCE);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The plan's change that the control core now sends.
    pub(crate) fn apply(&mut self) -> (u64, Vec<Step>) {
        match self.receive() {
            Some(ToDataPath::Apply { epoch, steps }) => (epoch, steps),
            other => panic!("not a plan: {other:?}"),
        }
    }

    pub(crate) fn send(&self, message: &ToControl) {
        assert!(parts(message).iter().all(|part| self.send_part(part)), "the control core listens");
    }

    /// Sends one part; `false` when the control core has closed the connection.
    pub(crate) fn send_part(&self, part: &[u8]) -> bool {
        let begin = Instant::now();
        loop {
            match self.stream.send(part) {
                Ok(()) => return true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    assert!(begin.elapsed() < PATIENCE, "the control core does not listen");
                    std::thread::yield_now();
                }
                Err(_) => return false,
            }
        }
    }
}

pub(crate) fn snapshot(version: u16, epoch: u64, plan: &Plan) -> ToControl {
    let report = Box::new(report(plan, 0));
    ToControl::Snapshot {
        version,
        boot_id: 1,
        epoch,
        plan: Box::new(plan.clone()),
        conditions: Box::default(),
        report,
    }
}

/// A report in which every server is up and has had `flows` flows.
pub(crate) fn report(plan: &Plan, flows: u64) -> Report {
    let target = |target: &dataplane_message::TargetPlan| TargetReport {
        id: target.id,
        up: true,
        counts: TargetCounts { flows_new: flows, flows_open: flows, ..TargetCounts::default() },
        ..TargetReport::default()
    };
    Report { uptime_ms: 1000, targets: plan.targets.iter().map(target).collect(), ..Report::default() }
}
