//! The loop of one worker.

use crate::listing::Listing;
use crate::seat::{Command, Crossing, WorkerSeat};
use dataplane_engine::{Bucket, Engine, Release};
use dataplane_flow::Instant;
use dataplane_port::{
    BURST, DropReason, EMIT_MAX, Head, PORTS_MAX, PortId, Ports, PuntReason, Refused, SlotId, Verdict,
    Verdicts,
};
use rtrb::Producer;

/// Frames a second that one worker punts, and at once (A5).
const PUNT_PPS: u32 = 1_000;
const PUNT_BURST: u32 = 200;

/// The same for answers to probes, which have a ring of their own, from one port with servers behind it: so
/// many that 4,096 servers on one trunk are heard, so few that one port leaves the others room in the ring
/// (C7).
const ANSWER_PPS: u32 = 20_000;
const ANSWER_BURST: u32 = 256;

/// What is let through to control. Answers to probes by where they come from: nobody's flood costs anybody
/// else's answers (A5, C7).
#[derive(Debug)]
struct PuntLimits {
    other: Bucket,
    servers: [Bucket; PORTS_MAX],
    /// ARP and ND of routers.
    outside: [Bucket; PORTS_MAX],
    /// Echo replies: anybody on the Internet can send some.
    echo: Bucket,
}

impl PuntLimits {
    fn new() -> Self {
        Self {
            other: Bucket::new(PUNT_PPS, PUNT_BURST),
            servers: [Bucket::new(ANSWER_PPS, ANSWER_BURST); PORTS_MAX],
            outside: [Bucket::new(PUNT_PPS, PUNT_BURST); PORTS_MAX],
            echo: Bucket::new(PUNT_PPS, PUNT_BURST),
        }
    }

    fn answers(&mut self, port: PortId, serves: bool) -> &mut Bucket {
        let ports = if serves { &mut self.servers } else { &mut self.outside };
        &mut ports[port.index() & (PORTS_MAX - 1)]
    }
}

/// What became of the frames of a burst that were not just forwarded.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    /// Frames and copies given to queues.
    sent: u64,
    consumed: u64,
    handed: u64,
    punted: u64,
    /// Frames to be held, a bit for each.
    held: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Given {
    sent: u64,
    handed: u64,
}

/// A worker: an engine, its queues, and the frames it holds.
#[derive(Debug)]
pub struct Worker<P: Ports> {
    seat: WorkerSeat,
    ports: P,
    verdicts: Box<Verdicts>,
    held: Box<[Option<P::Buffer>]>,
    refused: Refused,
    /// Frames of this turn that were given to queues and rings; which of them those refused is known at
    /// its end.
    given: Given,
    punt_limits: Box<PuntLimits>,
    listing: Option<Listing>,
}

impl<P: Ports> Worker<P> {
    /// A worker with its queues. It takes its first tables in its first turn.
    pub fn new(seat: WorkerSeat, ports: P) -> Self {
        Self {
            seat,
            ports,
            verdicts: Box::default(),
            held: core::iter::repeat_with(|| None).take(Engine::HELD_MAX).collect(),
            refused: Refused::default(),
            given: Given::default(),
            punt_limits: Box::new(PuntLimits::new()),
            listing: None,
        }
    }

    /// The queues, for what the process does between turns (attach, detach).
    pub fn ports_mut(&mut self) -> &mut P {
        &mut self.ports
    }

    /// The engine's counters and tables are its own; this is for tests and tools.
    pub fn engine(&self) -> &Engine {
        &self.seat.engine
    }

    /// One turn: new tables if there are any, a burst from every port, what other workers handed
    /// over, what is due without a frame. The number of frames taken.
    pub fn turn(&mut self, now: Instant) -> usize {
        self.take_tables(now);
        let mut frames = 0;
        for port in 0..self.seat.ports {
            if self.ports.receive(PortId(port)) != 0 {
                frames += self.burst(now);
            }
        }
        if self.ports.receive_handed() != 0 {
            frames += self.burst(now);
        }
        self.seat.engine.tick(now);
        self.carry_out();
        self.answer_questions();
        self.send_injected();
        self.ports.flush(&mut self.refused);
        self.count_refused();
        let counters = self.seat.engine.counters();
        if frames == 0 {
            counters.idle.add(1);
        }
        frames
    }

    fn take_tables(&mut self, now: Instant) {
        // One acquire load when there is nothing new. The old tables go back: whoever made them
        // frees them, and having them back is the publisher's ACK.
        while !self.seat.tables_in.is_empty() && self.seat.tables_back.slots() > 0 {
            let Ok(tables) = self.seat.tables_in.pop() else { return };
            let old = self.seat.engine.swap(tables, now);
            // The slot was there, and this is its only producer.
            let _ = self.seat.tables_back.push(old);
        }
    }

    fn burst(&mut self, now: Instant) -> usize {
        let count = self.ports.count().min(BURST);
        let others = self.seat.engine.process(now, &mut self.ports, &mut self.verdicts);
        let mut kinds = Kinds::default();
        let mut rest = others;
        while rest != 0 {
            let i = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if let Some(verdict) = self.verdicts.of_each().get_mut(i) {
                let head = self.ports.head(i);
                weigh(&mut self.seat, &mut self.punt_limits, &head, verdict, &mut kinds, i, now);
            }
        }
        let mut held = kinds.held;
        while held != 0 {
            let i = held.trailing_zeros() as usize;
            held &= held - 1;
            if let Verdict::Hold(slot) = self.verdicts.of(i) {
                self.keep(i, slot);
            }
        }
        self.ports.dispatch(&self.verdicts, &mut self.refused);
        let counters = self.seat.engine.counters();
        counters.bursts.add(1);
        counters.frames.add(count as u64);
        self.given.sent += kinds.sent + count as u64 - u64::from(others.count_ones());
        self.given.handed += kinds.handed;
        counters.consumed.add(kinds.consumed);
        counters.punted.add(kinds.punted);
        self.carry_out();
        count
    }

    fn keep(&mut self, frame: usize, slot: SlotId) {
        let buffer = self.ports.keep(frame);
        if buffer.is_none() {
            self.seat.engine.not_held(slot);
            self.seat.engine.counters().drop(DropReason::NoBuffer, 1);
        }
        self.held[usize::from(slot.0)] = buffer;
    }

    /// Does what the engine wants done.
    #[inline(always)]
    fn carry_out(&mut self) {
        let outbox = self.seat.engine.outbox();
        if !outbox.is_empty() || outbox.refused != 0 {
            self.carry_out_all();
        }
    }

    #[inline(never)]
    fn carry_out_all(&mut self) {
        let Self { seat, ports, held, .. } = self;
        let (mut emitted, mut failed, mut sent, mut full) = (0, 0, 0, 0);
        let (mut handed, mut hand_full) = (0, 0);
        let outbox = seat.engine.outbox();
        for own in &outbox.frames {
            let bytes = own.bytes();
            let done = ports.emit(own.port, bytes.len(), |frame| frame.copy_from_slice(bytes));
            *(if done { &mut emitted } else { &mut failed }) += 1;
        }
        outbox.frames.clear();
        let outbox_full = u64::from(core::mem::take(&mut outbox.refused));
        let mut late = [0_u64; 2];
        for release in &outbox.releases {
            match *release {
                Release::Send(slot, port, edit, mac) => {
                    let Some(mut buffer) = held[usize::from(slot.0)].take() else { continue };
                    if let Some(destination) = ports.bytes(&mut buffer).first_chunk_mut::<6>() {
                        *destination = mac.0;
                    }
                    *(if ports.send(port, edit, buffer) { &mut sent } else { &mut full }) += 1;
                }
                Release::Hand(slot, worker) => {
                    let Some(buffer) = held[usize::from(slot.0)].take() else { continue };
                    *(if ports.hand(worker, buffer) { &mut handed } else { &mut hand_full }) += 1;
                }
                Release::Drop(slot, reason) => {
                    if held[usize::from(slot.0)].take().is_some() {
                        late[usize::from(reason == DropReason::PortDown)] += 1;
                    }
                }
            }
        }
        outbox.releases.clear();
        for event in outbox.events.drain(..) {
            // A full ring loses the event; what it tells of will be seen again.
            let _ = seat.events.push(event);
        }
        let counters = seat.engine.counters();
        counters.emitted.add(emitted);
        counters.sent.add(sent);
        counters.handed.add(handed);
        counters.drop(DropReason::NoBuffer, failed);
        counters.drop(DropReason::OutboxFull, outbox_full);
        counters.drop(DropReason::FragmentLost, late[0]);
        counters.drop(DropReason::PortDown, late[1]);
        counters.drop(DropReason::TransmitFull, full);
        counters.drop(DropReason::HandFull, hand_full);
    }

    fn count_refused(&mut self) {
        let counters = self.seat.engine.counters();
        let refused = &mut self.refused;
        let Given { sent, handed } = core::mem::take(&mut self.given);
        if refused.is_nothing() {
            counters.sent.add(sent);
            counters.handed.add(handed);
            return;
        }
        // A frame that was refused counts as dropped and as nothing else.
        let transmit = u64::from(refused.transmit());
        let unsent = transmit + u64::from(refused.no_buffer) + u64::from(refused.no_port);
        counters.sent.add(sent.saturating_sub(unsent));
        counters.handed.add(handed.saturating_sub(refused.hand.into()));
        counters.drop(DropReason::TransmitFull, transmit);
        counters.drop(DropReason::HandFull, u64::from(refused.hand));
        counters.drop(DropReason::NoBuffer, u64::from(refused.no_buffer));
        counters.drop(DropReason::PortDown, u64::from(refused.no_port));
        *refused = Refused::default();
    }

    fn answer_questions(&mut self) {
        while let Ok(Command::List { query, filter }) = self.seat.commands.pop() {
            self.listing = Some(Listing::new(query, filter));
        }
        if let Some(listing) = &mut self.listing
            && listing.go_on(&self.seat.engine, &mut self.seat.rows)
        {
            self.listing = None;
        }
    }

    fn send_injected(&mut self) {
        while let Ok(crossing) = self.seat.injected.pop() {
            let bytes = crossing.bytes();
            if bytes.len() <= EMIT_MAX
                && self.ports.emit(crossing.port, bytes.len(), |frame| frame.copy_from_slice(bytes))
            {
                self.seat.engine.counters().emitted.add(1);
            } else {
                self.seat.engine.counters().drop(DropReason::NoBuffer, 1);
            }
        }
    }
}

/// Counts what becomes of frame `i`, and punts it if that is its verdict.
fn weigh(
    seat: &mut WorkerSeat,
    limits: &mut PuntLimits,
    head: &Head<'_>,
    verdict: &mut Verdict,
    kinds: &mut Kinds,
    i: usize,
    now: Instant,
) {
    match verdict {
        Verdict::Forward(_) | Verdict::Reply(_) => kinds.sent += 1,
        Verdict::Flood(flood) => kinds.sent += (flood.plain.len() + flood.edited.len()) as u64,
        Verdict::Consumed => kinds.consumed += 1,
        Verdict::Hand(_) => kinds.handed += 1,
        Verdict::Hold(_) => kinds.held |= 1 << i,
        Verdict::Punt(reason) => {
            let serves = seat.engine.is_server_port(head.port);
            let (ring, limit) = match reason {
                PuntReason::Probe => (&mut seat.answers, limits.answers(head.port, serves)),
                PuntReason::RouterEcho => (&mut seat.answers, &mut limits.echo),
                PuntReason::Lldp => (&mut seat.punts, &mut limits.other),
            };
            if punt(ring, limit, head, now) {
                kinds.punted += 1;
            } else {
                *verdict = Verdict::Drop(DropReason::PuntRate);
                seat.engine.counters().drop(DropReason::PuntRate, 1);
            }
        }
        Verdict::Drop(_) => {}
    }
}

/// Puts the frame on the ring to the publisher; policed before it.
#[cold]
fn punt(ring: &mut Producer<Crossing>, limit: &mut Bucket, head: &Head<'_>, now: Instant) -> bool {
    limit.take(now) && ring.push(Crossing::new(head.port, head.data)).is_ok()
}
