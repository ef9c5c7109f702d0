//! What is asked of one router.

use crate::classify::{self, AnswerKind, NoAnswer};
use crate::question::{self, Meaning, Question, Repeat};
use crate::{Failure, Ignored, Local, NotUsable, Outcome, Router, peer};
use dataplane_flow::Instant;
use dataplane_wire::{AddressPair, MacAddr};
use std::collections::VecDeque;
use std::net::IpAddr;

/// What is asked of a router (FS-13).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RouterKind {
    /// Where it is: ARP or ND, of its MAC alone, or of all while that is not known.
    Neighbour,
    /// An echo request to its own address.
    Echo,
    /// An echo request through it, to an address beyond: a router with a dead uplink is down.
    Through(IpAddr),
}

/// What came of a question to a router.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouterAnswer {
    /// What was asked.
    pub kind: RouterKind,
    /// What came of it.
    pub outcome: Outcome,
    /// Of a good answer to [`RouterKind::Neighbour`]: the MAC that it tells.
    pub mac: Option<MacAddr>,
}

/// Asks one router, in the name of one VIP (FS-13): ARP or ND, echo, and echo through it.
///
/// Driven like [`crate::Prober`]. A MAC that it learns is an answer's, and the owner's to believe:
/// [`Self::set_mac`] makes it the one that is asked. Each kind is asked once at a time. Echoes are taken from
/// any MAC: the way back may lead through another router, and one with a virtual MAC answers from its own.
///
/// Holds less than 600 bytes, and 60 more for each question.
pub struct RouterProber {
    router: Router,
    local: Local,
    addresses: AddressPair,
    running: Vec<Running>,
    frames: VecDeque<Vec<u8>>,
    answers: VecDeque<RouterAnswer>,
    ignored: Ignored,
}

struct Running {
    kind: RouterKind,
    started: Instant,
    deadline: Instant,
    question: Question,
}

impl RouterProber {
    /// A prober with nothing to do. `local` is the VIP, the VMAC and 61,440 + the router's number.
    pub fn new(router: Router, local: Local) -> Result<Self, NotUsable> {
        Ok(Self {
            addresses: peer::addresses(&local, router.address)?,
            router,
            local,
            running: Vec::new(),
            frames: VecDeque::new(),
            answers: VecDeque::new(),
            ignored: Ignored::default(),
        })
    }

    /// Who is asked.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Frames that were no answers.
    pub fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Its MAC from now on; `None` to ask all for it again.
    pub fn set_mac(&mut self, mac: Option<MacAddr>) {
        self.router.mac = mac;
    }

    /// Asks, and gives it `timeout_ms` (at least 1). `random` must be fresh at every start. `false`: that is
    /// still being asked. An echo while the MAC is not known fails at once.
    pub fn start(&mut self, kind: RouterKind, timeout_ms: u32, random: u64, now: Instant) -> bool {
        if self.running.iter().any(|running| running.kind == kind) {
            return false;
        }
        let deadline = now.plus_millis(u64::from(timeout_ms.max(1)));
        let repeat = Repeat::new(now, deadline.since(now));
        match self.question(kind, random, repeat) {
            Ok(question) => {
                self.frames.push_back(question.frame.clone());
                self.running.push(Running { kind, started: now, deadline, question });
            }
            Err(failure) => self.answers.push_back(RouterAnswer {
                kind,
                outcome: Outcome { result: Err(failure), took_us: 0 },
                mac: None,
            }),
        }
        true
    }

    /// Takes a whole frame that came from a router's port; what answers nothing is counted.
    pub fn handle_frame(&mut self, frame: &[u8], now: Instant) {
        let (answer, layers) = match classify::read(frame) {
            Ok(read) => read,
            Err(NoAnswer::Damaged) => return self.ignored.damaged += 1,
            Err(NoAnswer::Other) => return self.ignored.not_ours += 1,
        };
        let from_router = answer.source == self.router.address;
        let kind = match answer.kind {
            AnswerKind::Neighbour => from_router.then_some(RouterKind::Neighbour),
            AnswerKind::Echo { id } | AnswerKind::Unreachable { id, .. } if id == self.local.id => {
                Some(if from_router { RouterKind::Echo } else { RouterKind::Through(answer.source) })
            }
            _ => None,
        };
        let fits = answer.destination == self.local.address && answer.vid == peer::vid(self.router.tci);
        let Some(kind) = kind.filter(|_| fits) else {
            self.ignored.not_ours += 1;
            return;
        };
        let Some(at) = self.running.iter().position(|running| running.kind == kind) else {
            self.ignored.unexpected += 1;
            return;
        };
        let meaning = match answer.kind {
            AnswerKind::Unreachable { code, protocol, .. } => {
                self.unreachable(code, protocol, &layers, frame)
            }
            _ => self.running[at].question.read(&answer, &layers, frame),
        };
        match meaning {
            Meaning::Good(mac) => {
                self.finish(at, Ok(()), (kind == RouterKind::Neighbour).then_some(mac), now);
            }
            Meaning::Bad(failure) => self.finish(at, Err(failure), None, now),
            Meaning::Damaged => self.ignored.damaged += 1,
            Meaning::Unexpected => self.ignored.unexpected += 1,
        }
    }

    /// Does what is due: asks again, or gives up.
    pub fn handle_deadline(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(running) = self.running.get_mut(at) {
            if running.deadline <= now {
                let failure = running.question.silence();
                self.finish(at, Err(failure), None, now);
                continue;
            }
            if running.question.repeat.take(now) {
                self.frames.push_back(running.question.frame.clone());
            }
            at += 1;
        }
    }

    /// When [`Self::handle_deadline`] is to be called; `None` while nothing is asked.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.running
            .iter()
            .map(|running| {
                running.question.repeat.at().map_or(running.deadline, |at| at.min(running.deadline))
            })
            .min()
    }

    /// The next frame to send to [`Router::port`].
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// The next answer: exactly one for each start.
    pub fn poll_answer(&mut self) -> Option<RouterAnswer> {
        self.answers.pop_front()
    }

    fn question(&self, kind: RouterKind, random: u64, repeat: Repeat) -> Result<Question, Failure> {
        let mac = self.router.mac;
        let link = peer::link(&self.local, mac.unwrap_or_default(), self.router.tci);
        let addresses = match kind {
            RouterKind::Neighbour => return Ok(Question::neighbour(&link, self.addresses, mac, repeat)),
            RouterKind::Echo => self.addresses,
            RouterKind::Through(address) => {
                peer::addresses(&self.local, address).map_err(|_| Failure::NotAskable)?
            }
        };
        mac.ok_or(Failure::NoNeighbour)?;
        Ok(Question::echo(&link, addresses, self.local.id, random, repeat))
    }

    fn unreachable(&self, code: u8, quoted: u8, layers: &dataplane_wire::Layers, frame: &[u8]) -> Meaning {
        let upper = &frame[usize::from(layers.l4)..usize::from(layers.end)];
        let Some(addresses) = question::packet_addresses(layers, frame) else { return Meaning::Damaged };
        let v6 = matches!(addresses, AddressPair::V6 { .. });
        match question::unreachable(v6, code) {
            _ if !question::error_is_whole(addresses, upper) => Meaning::Damaged,
            Some(failure) if quoted == question::icmp_of(addresses) => Meaning::Bad(failure),
            _ => Meaning::Unexpected,
        }
    }

    fn finish(&mut self, at: usize, result: Result<(), Failure>, mac: Option<MacAddr>, now: Instant) {
        let running = self.running.swap_remove(at);
        let took_us = u32::try_from(now.since(running.started) / 1000).unwrap_or(u32::MAX);
        let outcome = Outcome { result, took_us };
        self.answers.push_back(RouterAnswer { kind: running.kind, outcome, mac });
    }
}
