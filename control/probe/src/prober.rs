//! What is asked of one server.

use crate::classify::{self, Answer, AnswerKind, NoAnswer};
use crate::connection::Connection;
use crate::question::{self, Meaning, Question, Repeat};
use crate::{Failure, Ignored, Kind, Local, NotUsable, Outcome, Peer, dns, packet, peer};
use dataplane_flow::Instant;
use dataplane_wire::{AddressPair, Layers, ethernet, protocol, tcp};
use std::collections::VecDeque;

/// The longest time-out that a probe over TCP is given, in milliseconds, whatever its check says (C18).
pub const TIMEOUT_MAX_MS: u32 = 3_000;

/// The largest payload of a datagram, in bytes.
const DATAGRAM_MAX: usize = 512;

/// The most frames that wait to be taken out; what is beyond is lost, as on any line.
const FRAMES_MAX: usize = 64;

/// Asks one server, in one cluster, what its checks say (FS-30): to its MAC, in its VLAN, from an address and
/// a port by which its answers are known.
///
/// The order of calls: [`Self::start`] once per check and interval, with the number of the check and fresh
/// randomness; [`Self::handle_frame`] with each punted frame that [`crate::classify`] finds to be this
/// server's; [`Self::handle_deadline`] when [`Self::next_deadline`] is reached. After each of them
/// [`Self::poll_transmit`] until it is empty (each frame goes to [`Peer::port`]), then
/// [`Self::poll_outcome`] until it is empty: exactly one outcome for each start.
///
/// Probes run beside one another, but for those to one and the same port (and any two of ARP and ND, or echo):
/// the later one waits until the earlier one is done, and its time-out begins then.
///
/// It is no state machine of health: it does not count, repeat by interval, or know what is up. Where a server
/// has another MAC, port or VLAN, its owner makes another prober, and what was asked is forgotten.
///
/// Idle it holds less than 400 bytes and no stack; a probe of TCP has some 2 KiB while it runs, HTTP 14 KiB and
/// at most 16 KiB of the answer, HTTPS at most 128 KiB more.
pub struct Prober {
    peer: Peer,
    local: Local,
    addresses: AddressPair,
    running: Vec<Running>,
    waiting: VecDeque<Waiting>,
    frames: VecDeque<Vec<u8>>,
    outcomes: VecDeque<(u16, Outcome)>,
    ignored: Ignored,
}

struct Running {
    check: u16,
    channel: Channel,
    started: Instant,
    deadline: Instant,
    work: Work,
}

enum Work {
    Question(Question),
    Connection(Box<Connection>),
}

struct Waiting {
    check: u16,
    kind: Kind,
    timeout_ms: u32,
    random: u64,
}

/// What two probes of one server cannot share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Channel {
    Neighbour,
    Echo,
    Tcp(u16),
    Udp(u16),
}

impl Channel {
    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Neighbour => Self::Neighbour,
            Kind::Echo | Kind::LargeEcho { .. } => Self::Echo,
            Kind::Tcp { port } => Self::Tcp(*port),
            Kind::Http(http) => Self::Tcp(http.port),
            Kind::Udp { port, .. } => Self::Udp(*port),
            Kind::Dns(dns) => Self::Udp(dns.port),
        }
    }
}

impl Prober {
    /// A prober with nothing to do.
    pub fn new(peer: Peer, local: Local) -> Result<Self, NotUsable> {
        Ok(Self {
            addresses: peer::addresses(&local, peer.address)?,
            peer,
            local,
            running: Vec::new(),
            waiting: VecDeque::new(),
            frames: VecDeque::new(),
            outcomes: VecDeque::new(),
            ignored: Ignored::default(),
        })
    }

    /// Who is asked.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// In whose name.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// Frames that were no answers.
    pub fn ignored(&self) -> Ignored {
        self.ignored
    }

    /// Whether nothing is asked, waits, or is to be taken out.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty()
            && self.waiting.is_empty()
            && self.frames.is_empty()
            && self.outcomes.is_empty()
    }

    /// Asks `kind` for the check of number `check`, and gives it `timeout_ms` (at least 1; over TCP at most
    /// [`TIMEOUT_MAX_MS`]). `random` makes sequence numbers, identifiers and payloads; it must be fresh at
    /// every start. `false`: that check is still being asked, and this start is as if it had not been.
    pub fn start(&mut self, check: u16, kind: &Kind, timeout_ms: u32, random: u64, now: Instant) -> bool {
        let asked = self.running.iter().any(|running| running.check == check)
            || self.waiting.iter().any(|waiting| waiting.check == check);
        if asked {
            return false;
        }
        let channel = Channel::of(kind);
        let busy = self.running.iter().any(|running| running.channel == channel)
            || self.waiting.iter().any(|waiting| Channel::of(&waiting.kind) == channel);
        if busy {
            self.waiting.push_back(Waiting { check, kind: kind.clone(), timeout_ms, random });
        } else {
            self.begin(check, kind, timeout_ms, random, now);
        }
        true
    }

    /// Forgets what is asked for that check, as when it leaves the configuration: no outcome will come. A
    /// connection is reset.
    pub fn cancel(&mut self, check: u16, now: Instant) {
        self.waiting.retain(|waiting| waiting.check != check);
        if let Some(at) = self.running.iter().position(|running| running.check == check) {
            let mut running = self.running.swap_remove(at);
            if let Work::Connection(connection) = &mut running.work {
                let mut out = Vec::new();
                connection.abort(now, &mut out);
                self.send(out);
            }
            self.begin_waiting(running.channel, now);
        }
    }

    /// Takes a whole frame that came from the server's port; what answers nothing is counted.
    pub fn handle_frame(&mut self, frame: &[u8], now: Instant) {
        let (answer, layers) = match classify::read(frame) {
            Ok(read) => read,
            Err(NoAnswer::Damaged) => return self.ignored.damaged += 1,
            Err(NoAnswer::Other) => return self.ignored.not_ours += 1,
        };
        let ours = answer.source_mac == self.peer.mac
            && answer.vid == peer::vid(self.peer.tci)
            && answer.source == self.peer.address
            && answer.destination == self.local.address
            && answer.kind.id().is_none_or(|id| id == self.local.id);
        if !ours {
            self.ignored.not_ours += 1;
            return;
        }
        match answer.kind {
            AnswerKind::Neighbour => self.answer(Channel::Neighbour, &answer, &layers, frame, now),
            AnswerKind::Echo { .. } => self.answer(Channel::Echo, &answer, &layers, frame, now),
            AnswerKind::Udp { from, .. } => self.answer(Channel::Udp(from), &answer, &layers, frame, now),
            AnswerKind::Tcp { from, .. } => self.segment(from, &layers, frame, now),
            AnswerKind::Unreachable { code, protocol, from, .. } => {
                let channel = match protocol {
                    protocol::TCP => Channel::Tcp(from),
                    protocol::UDP => Channel::Udp(from),
                    _ => Channel::Echo,
                };
                self.unreachable(channel, code, &layers, frame, now);
            }
        }
    }

    /// Does what is due: sends again, or gives up.
    pub fn handle_deadline(&mut self, now: Instant) {
        let mut at = 0;
        while let Some(running) = self.running.get_mut(at) {
            let late = running.deadline <= now;
            let mut out = Vec::new();
            let result = match &mut running.work {
                Work::Question(question) if late => Some(Err(question.silence())),
                Work::Question(question) => {
                    if question.repeat.take(now) {
                        out.push(question.frame.clone());
                    }
                    None
                }
                Work::Connection(connection) => connection.drive(now, &mut out).or_else(|| {
                    late.then(|| {
                        connection.abort(now, &mut out);
                        Err(connection.silence())
                    })
                }),
            };
            self.send(out);
            match result {
                Some(result) => self.finish(at, result, now),
                None => at += 1,
            }
        }
    }

    /// When [`Self::handle_deadline`] is to be called; `None` while nothing is asked.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.running
            .iter()
            .map(|running| {
                let work = match &running.work {
                    Work::Question(question) => question.repeat.at(),
                    Work::Connection(connection) => connection.next_deadline(),
                };
                work.map_or(running.deadline, |at| at.min(running.deadline))
            })
            .min()
    }

    /// The next frame to send to [`Peer::port`].
    pub fn poll_transmit(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// The next outcome: the number of the check, and what came of it.
    pub fn poll_outcome(&mut self) -> Option<(u16, Outcome)> {
        self.outcomes.pop_front()
    }

    fn begin(&mut self, check: u16, kind: &Kind, timeout_ms: u32, random: u64, now: Instant) {
        let channel = Channel::of(kind);
        let timeout_ms = match channel {
            Channel::Tcp(_) => timeout_ms.min(TIMEOUT_MAX_MS),
            _ => timeout_ms,
        }
        .max(1);
        let deadline = now.plus_millis(u64::from(timeout_ms));
        let repeat = Repeat::new(now, deadline.since(now));
        match self.work(kind, random, repeat, now) {
            Err(failure) => {
                self.outcomes.push_back((check, Outcome { result: Err(failure), took_us: 0 }));
            }
            Ok(mut work) => {
                let mut out = Vec::new();
                match &mut work {
                    Work::Question(question) => out.push(question.frame.clone()),
                    // It cannot be done before the server has said anything.
                    Work::Connection(connection) => drop(connection.drive(now, &mut out)),
                }
                self.running.push(Running { check, channel, started: now, deadline, work });
                self.send(out);
            }
        }
    }

    fn work(&self, kind: &Kind, random: u64, repeat: Repeat, now: Instant) -> Result<Work, Failure> {
        let (addresses, id) = (self.addresses, self.local.id);
        let link = peer::link(&self.local, self.peer.mac, self.peer.tci);
        let connect = |port, http| {
            Connection::new(link, addresses, (id, port), http, random, repeat, now)
                .map(|connection| Work::Connection(Box::new(connection)))
        };
        match kind {
            Kind::Neighbour => {
                Ok(Work::Question(Question::neighbour(&link, addresses, Some(self.peer.mac), repeat)))
            }
            Kind::Echo => Ok(Work::Question(Question::echo(&link, addresses, id, random, repeat))),
            Kind::LargeEcho { mtu } => {
                Ok(Work::Question(Question::large_echo(&link, addresses, id, random, *mtu, repeat)))
            }
            Kind::Tcp { port } => connect(*port, None),
            Kind::Http(http) => connect(http.port, Some(http)),
            Kind::Udp { port, send, expect } => {
                if send.len() > DATAGRAM_MAX {
                    return Err(Failure::NotAskable);
                }
                let frame = packet::datagram(&link, addresses, id, *port, send);
                Ok(Work::Question(Question::datagram(frame, expect, repeat)))
            }
            Kind::Dns(check) => {
                let v6 = matches!(addresses, AddressPair::V6 { .. });
                let query =
                    dns::Query::new(&check.name, v6, (random >> 32) as u16).ok_or(Failure::NotAskable)?;
                let frame = packet::datagram(&link, addresses, id, check.port, query.bytes());
                Ok(Work::Question(Question::dns(frame, query, repeat)))
            }
        }
    }

    fn find(&self, channel: Channel) -> Option<usize> {
        self.running.iter().position(|running| running.channel == channel)
    }

    fn answer(&mut self, channel: Channel, answer: &Answer, layers: &Layers, frame: &[u8], now: Instant) {
        let found = self.find(channel);
        let meaning = found.map(|at| match &self.running[at].work {
            Work::Question(question) => question.read(answer, layers, frame),
            Work::Connection(_) => Meaning::Unexpected,
        });
        match (found, meaning) {
            (Some(at), Some(Meaning::Good(_))) => self.finish(at, Ok(()), now),
            (Some(at), Some(Meaning::Bad(failure))) => self.finish(at, Err(failure), now),
            (_, Some(Meaning::Damaged)) => self.ignored.damaged += 1,
            _ => self.ignored.unexpected += 1,
        }
    }

    fn segment(&mut self, from: u16, layers: &Layers, frame: &[u8], now: Instant) {
        let packet = &frame[usize::from(layers.l3)..usize::from(layers.end)];
        let upper = &frame[usize::from(layers.l4)..usize::from(layers.end)];
        let addresses = self.addresses.reversed();
        let Some(segment) = tcp::Segment::new_checked(upper).ok().filter(|s| s.has_good_checksum(addresses))
        else {
            self.ignored.damaged += 1;
            return;
        };
        let Some(at) = self.find(Channel::Tcp(from)) else {
            // What is left of an earlier probe whose reset was lost: one reset for each segment, none for a
            // reset.
            self.ignored.unexpected += 1;
            if let Some(reset) = tcp::Reset::answering(addresses, &segment, upper.len()) {
                let link: ethernet::Repr = peer::link(&self.local, self.peer.mac, self.peer.tci);
                let mut answer = vec![0; reset.frame_len(&link)];
                reset.emit_frame(&link, &mut answer);
                self.send(vec![answer]);
            }
            return;
        };
        let Work::Connection(connection) = &mut self.running[at].work else { return };
        let mut out = Vec::new();
        connection.handle_packet(packet);
        let result = connection.drive(now, &mut out);
        self.send(out);
        if let Some(result) = result {
            self.finish(at, result, now);
        }
    }

    fn unreachable(&mut self, channel: Channel, code: u8, layers: &Layers, frame: &[u8], now: Instant) {
        let upper = &frame[usize::from(layers.l4)..usize::from(layers.end)];
        let whole = question::packet_addresses(layers, frame)
            .is_some_and(|addresses| question::error_is_whole(addresses, upper));
        let v6 = matches!(self.addresses, AddressPair::V6 { .. });
        match (self.find(channel), question::unreachable(v6, code)) {
            _ if !whole => self.ignored.damaged += 1,
            (Some(at), Some(failure)) => self.finish(at, Err(failure), now),
            _ => self.ignored.unexpected += 1,
        }
    }

    fn finish(&mut self, at: usize, result: Result<(), Failure>, now: Instant) {
        let running = self.running.swap_remove(at);
        let took_us = u32::try_from(now.since(running.started) / 1000).unwrap_or(u32::MAX);
        self.outcomes.push_back((running.check, Outcome { result, took_us }));
        self.begin_waiting(running.channel, now);
    }

    /// Begins what waits for that channel, if anything does.
    fn begin_waiting(&mut self, channel: Channel, now: Instant) {
        // What cannot be asked is done at once, and the one behind it has its turn.
        while self.find(channel).is_none() {
            let Some(at) = self.waiting.iter().position(|waiting| Channel::of(&waiting.kind) == channel)
            else {
                break;
            };
            if let Some(Waiting { check, kind, timeout_ms, random }) = self.waiting.remove(at) {
                self.begin(check, &kind, timeout_ms, random, now);
            }
        }
    }

    fn send(&mut self, frames: Vec<Vec<u8>>) {
        let room = FRAMES_MAX.saturating_sub(self.frames.len());
        self.frames.extend(frames.into_iter().take(room));
    }
}
