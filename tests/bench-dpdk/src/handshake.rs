//! New connections, whole: SYN, SYN+ACK, ACK, each answering what became of the one before.

use crate::generator::Script;
use crate::plan::{OUTSIDE, SERVER_COUNT, SERVERS};
use crate::traffic::{ACK, From, Kind, Order, SYN, Template};
use dataplane_port::{BURST, PortId, Verdict};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What became of connections.
#[derive(Debug, Default)]
pub(crate) struct Made {
    /// Handshakes of which every packet went where it should.
    pub(crate) good: AtomicU64,
    /// Those of which some did not.
    pub(crate) bad: AtomicU64,
}

/// A burst of connections at a time, in two turns: SYNs in and SYN+ACKs out, then ACKs in.
#[derive(Debug)]
pub(crate) struct Handshakes {
    next: u32,
    syn: Template,
    syn_ack: Template,
    ack: Template,
    /// The next burst from outside is one of ACKs.
    acknowledging: bool,
    /// This turn began with SYNs, so servers answer in it.
    answering: bool,
    /// The servers that the burst's SYNs were sent to; `None`: to none.
    servers: [Option<u8>; BURST],
    made: Arc<Made>,
}

impl Handshakes {
    /// Of flows from `first` on.
    pub(crate) fn new(first: u32) -> (Box<Self>, Arc<Made>) {
        let made = Arc::<Made>::default();
        let script = Self {
            next: first,
            syn: Template::new(Kind::Tcp(SYN), From::Client),
            syn_ack: Template::new(Kind::Tcp(SYN | ACK), From::Server),
            ack: Template::new(Kind::Tcp(ACK), From::Client),
            acknowledging: false,
            answering: false,
            servers: [None; BURST],
            made: Arc::clone(&made),
        };
        (Box::new(script), made)
    }
}

impl Script for Handshakes {
    fn brings(&mut self, port: PortId) -> bool {
        // In a turn the outside port comes first.
        if port == OUTSIDE {
            self.answering = !self.acknowledging;
        }
        port == OUTSIDE || port == SERVERS && self.answering
    }

    fn stamp(&mut self, port: PortId, burst: &mut [&mut [u8]]) {
        let mut order = Order::rising(self.next);
        let frames = burst.iter_mut().map(|frame| &mut **frame);
        if port == SERVERS {
            self.syn_ack.stamp(&mut order, frames);
            for (frame, server) in burst.iter_mut().zip(&self.servers) {
                frame[11] = server.unwrap_or(0);
            }
        } else if self.acknowledging {
            self.ack.stamp(&mut order, frames);
        } else {
            self.syn.stamp(&mut order, frames);
        }
    }

    fn watches(&self) -> bool {
        true
    }

    fn watch(&mut self, port: PortId, frames: &[&mut [u8]], verdicts: &[Verdict]) {
        if port == SERVERS {
            for (server, verdict) in self.servers.iter_mut().zip(verdicts) {
                *server = server.filter(|_| *verdict == Verdict::Forward(OUTSIDE));
            }
            self.acknowledging = true;
            return;
        }
        let reached = frames.iter().zip(verdicts).map(|(frame, verdict)| server(frame, *verdict));
        if !self.acknowledging {
            for (server, reached) in self.servers.iter_mut().zip(reached) {
                *server = reached;
            }
            return;
        }
        let good =
            self.servers.iter().zip(reached).filter(|(s, reached)| s.is_some() && *s == reached).count();
        self.made.good.fetch_add(good as u64, Ordering::Relaxed);
        self.made.bad.fetch_add((BURST - good) as u64, Ordering::Relaxed);
        self.next += BURST as u32;
        self.acknowledging = false;
    }
}

/// The server that a frame goes to.
pub(crate) fn server(frame: &[u8], verdict: Verdict) -> Option<u8> {
    let last = *frame.get(5)?;
    (verdict == Verdict::Forward(SERVERS) && u16::from(last) < SERVER_COUNT).then_some(last)
}
