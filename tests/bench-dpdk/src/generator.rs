//! Ports that bring frames: a thin wrapper around the real ones.
//!
//! `net_null` brings frames and never touches their bytes. The wrapper delegates every call to
//! [`DpdkPorts`]; in between, in `receive`, a [`Script`] writes the bytes of each frame that a device brought.
//! What that costs is measured alone and subtracted.

use dataplane_port::{
    BURST, Frames, Head, Look, PortId, Ports, Refused, TagEdit, Verdict, Verdicts, Whole, WorkerId,
};
use ffi_dpdk::{DpdkPorts, HeldFrame};

/// What comes in.
pub(crate) trait Script: Send {
    /// Whether the port brings anything now. Asked once for each turn and port.
    fn brings(&mut self, port: PortId) -> bool;

    /// Writes the frames of a burst that this port brought.
    fn stamp(&mut self, port: PortId, frames: &mut [&mut [u8]]);

    /// The same of the burst that `ports` have received, where it can be done for less.
    fn stamp_burst(&mut self, port: PortId, ports: &mut DpdkPorts) {
        let received = ports.count();
        self.stamp(port, &mut gathered(ports.bytes_of_burst())[..received]);
    }

    /// Whether it wants to see what becomes of bursts.
    fn watches(&self) -> bool {
        false
    }

    /// What has become of the burst.
    fn watch(&mut self, _port: PortId, _frames: &[&mut [u8]], _verdicts: &[Verdict]) {}
}

/// Brings nothing.
#[derive(Debug)]
pub(crate) struct Silence;

impl Script for Silence {
    fn brings(&mut self, _: PortId) -> bool {
        false
    }

    fn stamp(&mut self, _: PortId, _: &mut [&mut [u8]]) {}
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
        let mut verdicts = Verdicts::default();
        verdicts.send_all_to(to);
        self.ports.dispatch(&verdicts, refused);
        n
    }
}

/// The frames of a burst, at hand all at once.
#[inline(always)]
pub(crate) fn gathered<'a>(frames: impl Iterator<Item = &'a mut [u8]>) -> [&'a mut [u8]; BURST] {
    let mut all: [&mut [u8]; BURST] = Default::default();
    all.iter_mut().zip(frames).for_each(|(place, frame)| *place = frame);
    all
}

impl Frames for Generator {
    #[inline(always)]
    fn count(&self) -> usize {
        self.ports.count()
    }

    #[inline(always)]
    fn bytes_admitted(&self) -> u64 {
        self.ports.bytes_admitted()
    }

    #[inline(always)]
    fn origin(&self) -> Option<PortId> {
        self.ports.origin()
    }

    #[inline(always)]
    fn whole<'a, const N: usize>(&'a mut self, whole: &mut Whole<'a, N>, each: impl FnMut(&[u8; N])) -> bool {
        self.ports.whole(whole, each)
    }

    #[inline(always)]
    fn admit(&mut self, i: usize) -> Look<'_> {
        self.ports.admit(i)
    }

    #[inline(always)]
    fn look(&mut self, i: usize) -> Look<'_> {
        self.ports.look(i)
    }

    #[inline(always)]
    fn head(&mut self, i: usize) -> Head<'_> {
        self.ports.head(i)
    }
}

impl Ports for Generator {
    type Buffer = HeldFrame;

    #[inline]
    fn receive(&mut self, from: PortId) -> usize {
        self.port = Some(from);
        if !self.script.brings(from) {
            return 0;
        }
        let received = self.ports.receive(from);
        self.script.stamp_burst(from, &mut self.ports);
        received
    }

    #[inline]
    fn receive_handed(&mut self) -> usize {
        self.port = None;
        self.ports.receive_handed()
    }

    #[inline]
    fn heads<'a>(&'a mut self, heads: &mut [Head<'a>; BURST]) -> usize {
        self.ports.heads(heads)
    }

    fn keep(&mut self, frame: usize) -> Option<HeldFrame> {
        self.ports.keep(frame)
    }

    #[inline]
    fn dispatch(&mut self, verdicts: &Verdicts, refused: &mut Refused) {
        if let Some(port) = self.port
            && self.script.watches()
        {
            // The frames are still the burst's.
            let n = self.ports.count();
            let frames = gathered(self.ports.bytes_of_burst());
            let verdicts: [Verdict; BURST] = core::array::from_fn(|i| verdicts.of(i));
            self.script.watch(port, &frames[..n], &verdicts[..n]);
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
