//! Ports that bring frames: a thin wrapper around the real ones.
//!
//! `net_null` brings frames and never touches their bytes. The wrapper delegates every call to
//! [`DpdkPorts`]; in between, in `heads`, a [`Script`] writes the bytes of each frame that a device brought.
//! What that costs is measured alone and subtracted.

use dataplane_port::{BURST, Head, PortId, Ports, Refused, TagEdit, Verdict, WorkerId};
use ffi_dpdk::{DpdkPorts, HeldFrame};

/// What comes in.
pub(crate) trait Script: Send {
    /// Whether the port brings anything now. Asked once for each turn and port.
    fn brings(&mut self, port: PortId) -> bool;

    /// Writes the frames of a burst that this port brought.
    fn stamp(&mut self, port: PortId, heads: &mut [Head<'_>]);

    /// Whether it wants to see what becomes of bursts.
    fn watches(&self) -> bool {
        false
    }

    /// What has become of the burst.
    fn watch(&mut self, _port: PortId, _heads: &[Head<'_>], _verdicts: &[Verdict]) {}
}

/// Brings nothing.
#[derive(Debug)]
pub(crate) struct Silence;

impl Script for Silence {
    fn brings(&mut self, _: PortId) -> bool {
        false
    }

    fn stamp(&mut self, _: PortId, _: &mut [Head<'_>]) {}
}

/// One worker's queues, with frames in them.
pub(crate) struct Generator {
    ports: DpdkPorts,
    script: Box<dyn Script>,
    /// Where the burst comes from; `None`: from other workers.
    port: Option<PortId>,
}

impl core::fmt::Debug for Generator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Generator").field("ports", &self.ports).finish_non_exhaustive()
    }
}

impl Generator {
    pub(crate) fn new(ports: DpdkPorts) -> Self {
        Self { ports, script: Box::new(Silence), port: None }
    }

    /// Plays another script; gives the old one back.
    pub(crate) fn play(&mut self, script: Box<dyn Script>) -> Box<dyn Script> {
        core::mem::replace(&mut self.script, script)
    }

    /// A burst from `from` to `to` with nothing in between but the generator.
    pub(crate) fn pass(&mut self, from: PortId, to: PortId, refused: &mut Refused) -> usize {
        let n = self.receive(from);
        let mut heads: [Head<'_>; BURST] = core::array::from_fn(|_| Head::default());
        self.heads(&mut heads);
        self.ports.dispatch(&[Verdict::Forward(to); BURST], refused);
        n
    }
}

impl Ports for Generator {
    type Buffer = HeldFrame;

    #[inline]
    fn receive(&mut self, from: PortId) -> usize {
        self.port = Some(from);
        if self.script.brings(from) { self.ports.receive(from) } else { 0 }
    }

    #[inline]
    fn receive_handed(&mut self) -> usize {
        self.port = None;
        self.ports.receive_handed()
    }

    #[inline]
    fn heads<'a>(&'a mut self, heads: &mut [Head<'a>; BURST]) -> usize {
        let Self { ports, script, port } = self;
        let n = ports.heads(heads);
        if let Some(port) = *port {
            script.stamp(port, &mut heads[..n]);
        }
        n
    }

    fn keep(&mut self, frame: usize) -> Option<HeldFrame> {
        self.ports.keep(frame)
    }

    #[inline]
    fn dispatch(&mut self, verdicts: &[Verdict; BURST], refused: &mut Refused) {
        if let Some(port) = self.port
            && self.script.watches()
        {
            // The frames are still the burst's: they are lent once more.
            let mut heads: [Head<'_>; BURST] = core::array::from_fn(|_| Head::default());
            let n = self.ports.heads(&mut heads);
            self.script.watch(port, &heads[..n], &verdicts[..n]);
        }
        self.ports.dispatch(verdicts, refused);
    }

    fn bytes<'b>(&self, buffer: &'b mut HeldFrame) -> &'b mut [u8] {
        self.ports.bytes(buffer)
    }

    fn send(&mut self, to: PortId, edit: TagEdit, buffer: HeldFrame) -> bool {
        self.ports.send(to, edit, buffer)
    }

    fn hand(&mut self, to: WorkerId, buffer: HeldFrame) -> bool {
        self.ports.hand(to, buffer)
    }

    fn emit(&mut self, to: PortId, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        self.ports.emit(to, len, fill)
    }

    #[inline]
    fn flush(&mut self, refused: &mut Refused) {
        self.ports.flush(refused);
    }
}
