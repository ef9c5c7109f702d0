//! Ports on rings in memory: a cable to another thread, without locks.

use dataplane_port::{
    BURST, EMIT_MAX, Frames, Head, Look, PortId, Ports, Refused, TagEdit, Verdict, Verdicts, Whole, WorkerId,
};
use rtrb::{Consumer, Producer, RingBuffer};

/// A frame on the cable, and when it was put there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flying {
    /// Nanoseconds, by the tester's clock.
    pub(crate) sent_ns: u64,
    pub(crate) port: PortId,
    pub(crate) len: u16,
    pub(crate) bytes: [u8; 64],
}

impl Flying {
    const NONE: Self = Self { sent_ns: 0, port: PortId(0), len: 0, bytes: [0; 64] };
}

/// One worker's queues: one ring in, one ring out, as if all ports were on one cable.
#[derive(Debug)]
pub(crate) struct RingPorts {
    receive: Consumer<Flying>,
    transmit: Producer<Flying>,
    burst: Box<[Flying; BURST]>,
    received: usize,
}

/// The tester's ends.
#[derive(Debug)]
pub(crate) struct Tester {
    pub(crate) send: Producer<Flying>,
    pub(crate) receive: Consumer<Flying>,
}

/// Ports and the tester at their other end; `room` frames each way, as a card's queues have.
pub(crate) fn cable(room: usize) -> (RingPorts, Tester) {
    let (send, receive) = RingBuffer::new(room);
    let (transmit, back) = RingBuffer::new(room);
    let burst = Box::new([Flying::NONE; BURST]);
    (RingPorts { receive, transmit, burst, received: 0 }, Tester { send, receive: back })
}

impl Flying {
    #[inline]
    fn head(&mut self) -> Head<'_> {
        let len = usize::from(self.len);
        Head {
            data: &mut self.bytes[..len],
            len: u32::from(self.len),
            port: self.port,
            handed: false,
            checksum_good: true,
        }
    }
}

impl RingPorts {
    fn transmit(&mut self, frame: usize, to: PortId, refused: &mut Refused) {
        let flying = Flying { port: to, ..self.burst[frame] };
        if self.transmit.push(flying).is_err() {
            refused.at(to, 1);
        }
    }

    /// What a worker without an engine does: everything back as it came.
    pub(crate) fn echo(&mut self) -> usize {
        let received = self.receive(PortId(0));
        for frame in 0..received {
            self.transmit(frame, PortId(1), &mut Refused::default());
        }
        self.received = 0;
        received
    }
}

impl Frames for RingPorts {
    fn count(&self) -> usize {
        self.received
    }

    fn bytes_admitted(&self) -> u64 {
        self.burst[..self.received].iter().map(|flying| u64::from(flying.len)).sum()
    }

    fn origin(&self) -> Option<PortId> {
        Some(self.burst[0].port)
    }

    #[inline]
    fn whole<'a, const N: usize>(&'a mut self, whole: &mut Whole<'a, N>, each: impl FnMut(&[u8; N])) -> bool {
        whole.take_all(self.burst[..self.received].iter_mut().map(Flying::head), each)
    }

    #[inline]
    fn admit(&mut self, i: usize) -> Look<'_> {
        self.look(i)
    }

    #[inline]
    fn look(&mut self, i: usize) -> Look<'_> {
        let Head { data, len, checksum_good, .. } = self.head(i);
        Look { data, len, checksum_good }
    }

    #[inline]
    fn head(&mut self, i: usize) -> Head<'_> {
        self.burst[i].head()
    }
}

impl Ports for RingPorts {
    type Buffer = ();

    fn receive(&mut self, from: PortId) -> usize {
        self.received = 0;
        // All frames come in by the first port.
        if from.0 == 0 {
            while self.received < BURST
                && let Ok(flying) = self.receive.pop()
            {
                self.burst[self.received] = flying;
                self.received += 1;
            }
        }
        self.received
    }

    fn receive_handed(&mut self) -> usize {
        self.received = 0;
        0
    }

    fn heads<'a>(&'a mut self, heads: &mut [Head<'a>; BURST]) -> usize {
        for (head, flying) in heads.iter_mut().zip(&mut self.burst[..self.received]) {
            *head = flying.head();
        }
        self.received
    }

    fn keep(&mut self, _frame: usize) -> Option<()> {
        None
    }

    fn dispatch(&mut self, verdicts: &Verdicts, refused: &mut Refused) {
        for (frame, verdict) in verdicts.iter().enumerate().take(self.received) {
            if let Verdict::Forward(to) | Verdict::Reply(to) = verdict {
                self.transmit(frame, to, refused);
            }
        }
        self.received = 0;
    }

    fn bytes<'b>(&self, _buffer: &'b mut ()) -> &'b mut [u8] {
        &mut []
    }

    fn send(&mut self, _to: PortId, _edit: TagEdit, _buffer: ()) -> bool {
        false
    }

    fn hand(&mut self, _to: WorkerId, _buffer: ()) -> bool {
        false
    }

    /// Announcements go nowhere: nobody here is told anything.
    fn emit(&mut self, _to: PortId, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        let mut bytes = [0; EMIT_MAX];
        bytes.get_mut(..len).map(fill).is_some()
    }

    fn flush(&mut self, _refused: &mut Refused) {}
}
