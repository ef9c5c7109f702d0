//! Established traffic, new connections and a flood in the same bursts.

use crate::generator::Script;
use crate::handshake::server;
use crate::plan::{OUTSIDE, SERVER_COUNT};
use crate::traffic::{ACK, From, Kind, Order, SYN, Template};
use dataplane_port::{BURST, PortId, Verdict};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What floods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Storm {
    /// Nothing: established traffic in its place.
    None,
    /// SYNs of clients that do not exist.
    Syn,
    /// The same, each answered by the server that it reaches.
    Answered,
    /// Segments of flows that do not exist.
    Ack,
}

/// New connections at a time.
const NEW: usize = 4;
/// Frames of the flood in a burst from outside.
const STORM: usize = BURST / 2;
/// Batches of connections after which one sends data.
const LATER: usize = 2_000;

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Connections that went to one server from SYN to data.
    pub(crate) made: AtomicU64,
    /// Others.
    pub(crate) failed: AtomicU64,
    /// Packets of established flows that went where they should.
    pub(crate) kept: AtomicU64,
    /// Others.
    pub(crate) lost: AtomicU64,
}

/// The next step of a batch of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Syn,
    Ack,
    Data,
}

/// A batch: its first flow's number, and the servers reached; `None`: none, or several.
type Batch = (u32, [Option<u8>; NEW]);

/// A burst from outside is new connections, flood, established flows; the servers answer with the first
/// two's SYN+ACKs, and established flows.
pub(crate) struct Flood {
    storm: Storm,
    step: Step,
    batch: Batch,
    made: VecDeque<Batch>,
    flows: Order,
    storms: Order,
    back: Order,
    /// The numbers of the burst's established flows, and of the flood's SYNs with the servers reached.
    known: [u32; BURST],
    answers: [(u32, Option<u8>); STORM],
    templates: Templates,
    outcome: Arc<Outcome>,
}

struct Templates {
    syn: Template,
    syn_ack: Template,
    ack: Template,
    back: Template,
    storm: Template,
    storm_answer: Template,
}

impl Flood {
    /// Beside `flows` established ones; connections have numbers from `first` on.
    pub(crate) fn new(storm: Storm, flows: u32, first: u32) -> (Box<Self>, Arc<Outcome>) {
        let outcome = Arc::<Outcome>::default();
        let flags = if storm == Storm::Ack { ACK } else { SYN };
        let script = Self {
            storm,
            step: Step::Syn,
            batch: (first, [None; NEW]),
            made: VecDeque::with_capacity(LATER + 1),
            flows: Order::uniform(flows),
            storms: Order::random(u64::from(first)),
            back: Order::uniform(flows),
            known: [0; BURST],
            answers: [(0, None); STORM],
            templates: Templates {
                syn: Template::new(Kind::Tcp(SYN), From::Client),
                syn_ack: Template::new(Kind::Tcp(SYN | ACK), From::Server),
                ack: Template::new(Kind::Tcp(ACK), From::Client),
                back: Template::new(Kind::Tcp(ACK), From::Server),
                storm: Template::new(Kind::Tcp(flags), From::Client).elsewhere(),
                storm_answer: Template::new(Kind::Tcp(SYN | ACK), From::Server).elsewhere(),
            },
            outcome: Arc::clone(&outcome),
        };
        (Box::new(script), outcome)
    }

    /// Which frames of a burst from outside are flood.
    fn storm(&self) -> core::ops::Range<usize> {
        if self.storm == Storm::None { NEW..NEW } else { NEW..NEW + STORM }
    }

    fn stamp_outside(&mut self, burst: &mut [&mut [u8]]) {
        let storm = self.storm();
        let (new, rest) = burst.split_at_mut(NEW);
        let (flood, known) = rest.split_at_mut(storm.len());
        let mut order = Order::rising(self.batch.0);
        let template = if self.step == Step::Syn { &self.templates.syn } else { &self.templates.ack };
        template.stamp(&mut order, frames(new));
        let mut numbers = self.storms.clone();
        self.templates.storm.stamp(&mut self.storms, frames(flood));
        for (answer, _) in self.answers.iter_mut().zip(flood) {
            *answer = (numbers.next(), None);
        }
        let mut numbers = self.flows.clone();
        self.templates.ack.stamp(&mut self.flows, frames(known));
        for (number, _) in self.known.iter_mut().zip(known) {
            *number = numbers.next();
        }
    }

    fn stamp_servers(&mut self, burst: &mut [&mut [u8]]) {
        let new = if self.step == Step::Syn { NEW } else { 0 };
        let (new, rest) = burst.split_at_mut(new);
        let mut order = Order::rising(self.batch.0);
        self.templates.syn_ack.stamp(&mut order, frames(new));
        for (frame, server) in new.iter_mut().zip(&self.batch.1) {
            frame[11] = server.unwrap_or(0);
        }
        let answers = if self.storm == Storm::Answered { STORM } else { 0 };
        let (answered, known) = rest.split_at_mut(answers);
        for (frame, (number, server)) in answered.iter_mut().zip(&self.answers) {
            let mut order = Order::rising(*number);
            self.templates.storm_answer.stamp(&mut order, core::iter::once(&mut **frame));
            frame[11] = server.unwrap_or(0);
        }
        self.templates.back.stamp(&mut self.back, frames(known));
    }

    fn watch_outside(&mut self, burst: &[&mut [u8]], verdicts: &[Verdict]) {
        let mut places = [None; BURST];
        for ((place, frame), verdict) in places.iter_mut().zip(burst).zip(verdicts) {
            *place = server(frame, *verdict);
        }
        let reached = &places[..burst.len()];
        let storm = self.storm();
        for (answer, reached) in self.answers.iter_mut().zip(&reached[storm.clone()]) {
            answer.1 = *reached;
        }
        let home = |number: &u32| Some((*number as u16 % SERVER_COUNT) as u8);
        let known = reached[storm.end..].iter().zip(&self.known);
        let kept = known.filter(|(reached, number)| **reached == home(number)).count();
        self.outcome.kept.fetch_add(kept as u64, Ordering::Relaxed);
        self.outcome.lost.fetch_add((reached.len() - storm.end - kept) as u64, Ordering::Relaxed);
        if self.step == Step::Syn {
            self.batch.1.copy_from_slice(&reached[..NEW]);
            return;
        }
        for (server, reached) in self.batch.1.iter_mut().zip(reached) {
            *server = server.filter(|server| Some(*server) == *reached);
        }
        if self.step == Step::Data {
            let made = self.batch.1.iter().flatten().count() as u64;
            self.outcome.made.fetch_add(made, Ordering::Relaxed);
            self.outcome.failed.fetch_add(NEW as u64 - made, Ordering::Relaxed);
        }
    }

    /// Goes on to the next turn.
    fn advance(&mut self) {
        match self.step {
            Step::Syn => self.step = Step::Ack,
            Step::Ack => {
                let next = self.batch.0 + NEW as u32;
                self.made.push_back(self.batch);
                if self.made.len() > LATER {
                    self.batch = self.made.pop_front().unwrap_or(self.batch);
                    self.step = Step::Data;
                } else {
                    self.batch = (next, [None; NEW]);
                    self.step = Step::Syn;
                }
            }
            Step::Data => {
                let newest = self.made.back().map_or(self.batch.0, |batch| batch.0);
                self.batch = (newest + NEW as u32, [None; NEW]);
                self.step = Step::Syn;
            }
        }
    }
}

fn frames<'h>(burst: &'h mut [&mut [u8]]) -> impl Iterator<Item = &'h mut [u8]> {
    burst.iter_mut().map(|frame| &mut **frame)
}

impl Script for Flood {
    fn brings(&mut self, _: PortId) -> bool {
        true
    }

    fn stamp(&mut self, port: PortId, burst: &mut [&mut [u8]]) {
        debug_assert_eq!(burst.len(), BURST, "net_null brings whole bursts");
        if port == OUTSIDE { self.stamp_outside(burst) } else { self.stamp_servers(burst) }
    }

    fn watches(&self) -> bool {
        true
    }

    fn watch(&mut self, port: PortId, burst: &[&mut [u8]], verdicts: &[Verdict]) {
        if port == OUTSIDE { self.watch_outside(burst, verdicts) } else { self.advance() }
    }
}
