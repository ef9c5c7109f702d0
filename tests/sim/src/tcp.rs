//! A small TCP for both ends: one window, go-back-N, no options. Enough for a switch to look at.

use crate::packet::{ACK, FIN, RST, SYN, Segment};
use crate::queue::MS;
use core::net::Ipv4Addr;

/// Bytes of data in a segment.
const SEGMENT: usize = 1400;
/// Bytes under way.
const WINDOW: usize = 4 * SEGMENT;
/// Segments that are kept until their turn comes.
const EARLY: usize = 8;
/// First time-out of a SYN (RFC 6298).
const SYN_RTO: u64 = 1_000 * MS;
/// First time-out of data (Linux's least).
const DATA_RTO: u64 = 250 * MS;
/// Repetitions of a SYN before it is given up (Linux).
const SYN_TRIES: u32 = 6;

/// A segment to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Out {
    /// Flags.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Data.
    pub data: Vec<u8>,
}

/// What an endpoint tells its application.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// The connection is there.
    Open,
    /// There is data to take.
    Data,
    /// The other side sends no more.
    PeerClosed,
    /// It is over in good order.
    Closed,
    /// The other side refused it.
    Refused,
    /// The other side broke it.
    Reset,
    /// Nobody answers.
    TimedOut,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    SynSent,
    SynReceived,
    Open,
    Gone,
}

/// One end of a connection.
#[derive(Clone, Debug)]
pub struct Tcp {
    /// This end.
    pub local: (Ipv4Addr, u16),
    /// The other one.
    pub peer: (Ipv4Addr, u16),
    state: State,
    una: u32,
    nxt: u32,
    rcv: u32,
    /// Data from `una` on that is not acknowledged.
    outgoing: Vec<u8>,
    /// Data that the application has not taken.
    pub incoming: Vec<u8>,
    /// The application sends no more.
    closing: bool,
    fin_sent: bool,
    peer_closed: bool,
    /// Segments that came before their turn.
    early: Vec<(u32, Vec<u8>, bool)>,
    rto: u64,
    /// When to repeat.
    pub deadline: Option<u64>,
    tries: u32,
    tries_max: u32,
    /// Segments to be sent.
    pub out: Vec<Out>,
    /// What the application should know.
    pub told: Vec<Told>,
}

impl Tcp {
    fn new(local: (Ipv4Addr, u16), peer: (Ipv4Addr, u16), state: State, iss: u32, rcv: u32) -> Self {
        Self {
            local,
            peer,
            state,
            una: iss,
            nxt: iss,
            rcv,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            closing: false,
            fin_sent: false,
            peer_closed: false,
            early: Vec::new(),
            rto: SYN_RTO,
            deadline: None,
            tries: 0,
            tries_max: 8,
            out: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Opens a connection.
    pub fn connect(local: (Ipv4Addr, u16), peer: (Ipv4Addr, u16), iss: u32, now: u64) -> Self {
        let mut tcp = Self::new(local, peer, State::SynSent, iss, 0);
        tcp.send_syn();
        tcp.arm(SYN_RTO, now);
        tcp
    }

    /// Takes a SYN.
    pub fn accept(segment: &Segment<'_>, iss: u32, now: u64) -> Self {
        let mut tcp =
            Self::new(segment.dst, segment.src, State::SynReceived, iss, segment.seq.wrapping_add(1));
        tcp.send_syn();
        tcp.arm(SYN_RTO, now);
        tcp
    }

    /// The connection is established at this end.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// It is over.
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }

    /// It is over but for acknowledgements of the other side's last words.
    pub fn is_done(&self) -> bool {
        self.is_gone() || self.fin_sent && self.peer_closed && self.una == self.nxt
    }

    /// The other side sends no more.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// The next byte that is expected: where a reset has to be (RFC 5961).
    pub fn expects(&self) -> u32 {
        self.rcv
    }

    /// Sends data.
    pub fn send(&mut self, data: &[u8], now: u64) {
        self.outgoing.extend_from_slice(data);
        self.flush(now);
    }

    /// Sends no more after what was sent.
    pub fn close(&mut self, now: u64) {
        self.closing = true;
        self.flush(now);
    }

    /// Breaks it.
    pub fn abort(&mut self) {
        if matches!(self.state, State::Open | State::SynReceived) {
            self.push(RST | ACK, self.nxt, Vec::new());
        }
        self.end();
    }

    fn end(&mut self) {
        self.state = State::Gone;
        self.deadline = None;
    }

    fn send_syn(&mut self) {
        let flags = if self.state == State::SynSent { SYN } else { SYN | ACK };
        self.push(flags, self.una, Vec::new());
        self.nxt = self.una.wrapping_add(1);
    }

    fn push(&mut self, flags: u8, seq: u32, data: Vec<u8>) {
        let ack = if flags & ACK != 0 { self.rcv } else { 0 };
        self.out.push(Out { flags, seq, ack, data });
    }

    fn arm(&mut self, rto: u64, now: u64) {
        self.rto = rto;
        self.tries = 0;
        self.deadline = Some(now + rto);
    }

    /// Bytes after `una` that were sent, the FIN not counted.
    fn under_way(&self) -> usize {
        (self.nxt.wrapping_sub(self.una) as usize).min(self.outgoing.len())
    }

    fn flush(&mut self, now: u64) {
        if self.state != State::Open {
            return;
        }
        let mut at = self.under_way();
        let idle = self.nxt == self.una;
        while at < self.outgoing.len() && at < WINDOW && !self.fin_sent {
            let end = (at + SEGMENT).min(self.outgoing.len());
            let data = self.outgoing[at..end].to_vec();
            self.push(ACK, self.una.wrapping_add(at as u32), data);
            at = end;
            self.nxt = self.una.wrapping_add(at as u32);
        }
        if self.closing && !self.fin_sent && at == self.outgoing.len() {
            self.push(FIN | ACK, self.nxt, Vec::new());
            self.nxt = self.nxt.wrapping_add(1);
            self.fin_sent = true;
        }
        if idle && self.nxt != self.una {
            self.arm(DATA_RTO, now);
        }
    }

    /// A segment of this connection has arrived.
    pub fn handle(&mut self, segment: &Segment<'_>, now: u64) {
        match self.state {
            State::Gone => {}
            State::SynSent => self.in_syn_sent(segment, now),
            State::SynReceived | State::Open => self.in_open(segment, now),
        }
    }

    fn in_syn_sent(&mut self, segment: &Segment<'_>, now: u64) {
        let acknowledges = segment.flags & ACK != 0 && segment.ack == self.nxt;
        if segment.flags & RST != 0 {
            if acknowledges {
                self.end();
                self.told.push(Told::Refused);
            }
        } else if segment.flags & (SYN | ACK) == SYN | ACK && acknowledges {
            self.rcv = segment.seq.wrapping_add(1);
            self.opened();
            self.push(ACK, self.nxt, Vec::new());
            self.flush(now);
        } else if segment.flags & ACK != 0 && !acknowledges {
            self.out.push(Out { flags: RST, seq: segment.ack, ack: 0, data: Vec::new() });
        }
    }

    fn opened(&mut self) {
        self.state = State::Open;
        self.una = self.nxt;
        self.deadline = None;
        self.told.push(Told::Open);
    }

    fn in_open(&mut self, segment: &Segment<'_>, now: u64) {
        if segment.flags & RST != 0 {
            // RFC 5961: only the exact number ends it.
            if segment.seq == self.rcv {
                self.end();
                self.told.push(Told::Reset);
            } else {
                self.push(ACK, self.nxt, Vec::new());
            }
            return;
        }
        if segment.flags & SYN != 0 {
            match self.state {
                State::SynReceived => self.push(SYN | ACK, self.una, Vec::new()),
                _ => self.push(ACK, self.nxt, Vec::new()),
            }
            return;
        }
        if segment.flags & ACK == 0 {
            return;
        }
        if self.state == State::SynReceived {
            if segment.ack != self.nxt {
                self.out.push(Out { flags: RST, seq: segment.ack, ack: 0, data: Vec::new() });
                return;
            }
            self.opened();
        }
        self.acknowledged(segment.ack, now);
        self.take(segment);
        self.flush(now);
        if self.is_done() {
            self.end();
            self.told.push(Told::Closed);
        }
    }

    fn acknowledged(&mut self, ack: u32, now: u64) {
        let advance = ack.wrapping_sub(self.una);
        if advance == 0 || advance > self.nxt.wrapping_sub(self.una) {
            return;
        }
        let data = (advance as usize).min(self.outgoing.len());
        self.outgoing.drain(..data);
        self.una = ack;
        if self.una == self.nxt {
            self.deadline = None;
            self.tries = 0;
        } else {
            self.arm(DATA_RTO, now);
        }
    }

    fn take(&mut self, segment: &Segment<'_>) {
        let fin = segment.flags & FIN != 0;
        if segment.data.is_empty() && !fin {
            return;
        }
        let ahead = segment.seq.wrapping_sub(self.rcv);
        if (1..0x1_0000).contains(&ahead) && self.early.len() < EARLY {
            self.early.push((segment.seq, segment.data.to_vec(), fin));
        } else if ahead == 0 {
            self.take_next(segment.data, fin);
            while let Some(at) = self.early.iter().position(|(seq, ..)| *seq == self.rcv) {
                let (_, data, fin) = self.early.swap_remove(at);
                self.take_next(&data, fin);
            }
        }
        self.push(ACK, self.nxt, Vec::new());
    }

    fn take_next(&mut self, data: &[u8], fin: bool) {
        if self.peer_closed {
            return;
        }
        if !data.is_empty() {
            self.incoming.extend_from_slice(data);
            self.rcv = self.rcv.wrapping_add(data.len() as u32);
            self.told.push(Told::Data);
        }
        if fin {
            self.rcv = self.rcv.wrapping_add(1);
            self.peer_closed = true;
            self.early.clear();
            self.told.push(Told::PeerClosed);
        }
    }

    /// Time has passed.
    pub fn handle_deadline(&mut self, now: u64) {
        if self.deadline.is_none_or(|at| at > now) {
            return;
        }
        self.tries += 1;
        let most = if self.state == State::Open { self.tries_max } else { SYN_TRIES };
        if self.tries > most {
            self.end();
            self.told.push(Told::TimedOut);
            return;
        }
        self.rto = (self.rto * 2).min(8_000 * MS);
        self.deadline = Some(now + self.rto);
        match self.state {
            State::SynSent | State::SynReceived => self.send_syn(),
            State::Open => {
                // From the first unacknowledged byte on.
                let end = self.under_way();
                for at in (0..end).step_by(SEGMENT) {
                    let data = self.outgoing[at..(at + SEGMENT).min(end)].to_vec();
                    self.push(ACK, self.una.wrapping_add(at as u32), data);
                }
                if self.fin_sent {
                    self.push(FIN | ACK, self.una.wrapping_add(end as u32), Vec::new());
                }
            }
            State::Gone => {}
        }
    }
}
