//! Connections as servers see them: every SYN that comes to a server's interface, with its time, whether
//! or not the server is there to take it.

use crate::frame;
use crate::lab::{Lab, VIP};
use crate::raw::Tap;
use anyhow::Result;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A client's SYN at a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syn {
    /// When it came, by the kernel's stamp; time since 1970.
    pub at: Duration,
    /// The server, by its place in the lab.
    pub server: usize,
    /// The client.
    pub from: SocketAddr,
    /// No server has had it before.
    pub first: bool,
}

/// A watch over all servers' interfaces. Dropping it ends it.
pub struct Syns {
    seen: Arc<Mutex<Vec<Syn>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Syns {
    /// Begins.
    ///
    /// # Errors
    ///
    /// When a server has no interface.
    pub fn watch(lab: &Lab) -> Result<Self> {
        let taps = lab.servers.iter().map(|host| lab.tap(host)).collect::<Result<Vec<_>>>()?;
        let (seen, end) = (Arc::<Mutex<Vec<Syn>>>::default(), Arc::<AtomicBool>::default());
        let (seen_of, end_of) = (Arc::clone(&seen), Arc::clone(&end));
        let thread = std::thread::spawn(move || run(&taps, &seen_of, &end_of));
        Ok(Self { seen, end, thread: Some(thread) })
    }

    /// What has come to a server at `from` or later.
    pub fn since(&self, server: usize, from: Duration) -> Vec<Syn> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|s| s.server == server && s.at >= from).copied().collect()
    }

    /// When the last new connection came to a server since `from`; `from` itself when none did.
    pub fn last_new(&self, server: usize, from: Duration) -> Duration {
        self.since(server, from).iter().filter(|s| s.first).map(|s| s.at).max().unwrap_or(from)
    }

    /// New connections to a server since `from`.
    pub fn count_new(&self, server: usize, from: Duration) -> usize {
        self.since(server, from).iter().filter(|s| s.first).count()
    }

    /// The servers that had a client's SYN opened at `at` or up to `span` later, in the order of time.
    pub fn servers_of(&self, from: SocketAddr, at: Duration, span: Duration) -> Vec<usize> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter()
            .filter(|s| s.from == from && s.at + Duration::from_millis(5) >= at && s.at <= at + span)
            .map(|s| s.server)
            .collect()
    }
}

impl Drop for Syns {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(taps: &[Tap], seen: &Mutex<Vec<Syn>>, end: &AtomicBool) {
    let mut known = HashSet::new();
    while !end.load(Ordering::Relaxed) {
        let mut new = Vec::new();
        for (server, tap) in taps.iter().enumerate() {
            while let Some((at, frame)) = tap.take_stamped() {
                new.extend(syn(&frame).map(|(from, seq)| (at, server, from, seq)));
            }
        }
        new.sort_unstable();
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, server, from, seq) in new {
            seen.push(Syn { at, server, from, first: known.insert((from, seq)) });
        }
        drop(seen);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A client's SYN to the VIP: who it is, and its sequence number.
fn syn(bytes: &[u8]) -> Option<(SocketAddr, u32)> {
    let packet = tcp(bytes)?;
    let outside = match packet.from.ip() {
        IpAddr::V4(v4) => v4.octets()[..2] == [10, 2],
        IpAddr::V6(v6) => v6.segments()[..2] == [0xfd00, 2],
    };
    let flags = packet.flags & (frame::flag::SYN | frame::flag::ACK);
    (outside && VIP.both().contains(&packet.to.ip()) && flags == frame::flag::SYN)
        .then_some((packet.from, packet.seq))
}

/// A TCP packet taken apart.
#[derive(Clone, Copy, Debug)]
pub struct Tcp {
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement.
    pub ack: u32,
    /// Flags.
    pub flags: u8,
    /// Bytes of payload.
    pub payload: u32,
}

/// Takes a frame's TCP packet apart; no IP options, no extension headers.
pub fn tcp(bytes: &[u8]) -> Option<Tcp> {
    let p = frame::parts(bytes)?.payload;
    let (from, to, t, length): (IpAddr, IpAddr, &[u8], usize) = match *p.first()? >> 4 {
        4 if *p.get(9)? == frame::protocol::TCP => {
            let v4 = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(p.get(at..at + 4)?).ok()?));
            let total = usize::from(u16::from_be_bytes([*p.get(2)?, *p.get(3)?]));
            (v4(12)?.into(), v4(16)?.into(), p.get(20..)?, total.checked_sub(20)?)
        }
        6 if *p.get(6)? == frame::protocol::TCP => {
            let v6 = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(p.get(at..at + 16)?).ok()?));
            (
                v6(8)?.into(),
                v6(24)?.into(),
                p.get(40..)?,
                usize::from(u16::from_be_bytes([*p.get(4)?, *p.get(5)?])),
            )
        }
        _ => return None,
    };
    let half = |at: usize| Some(u16::from_be_bytes(t.get(at..at + 2)?.try_into().ok()?));
    let word = |at: usize| Some(u32::from_be_bytes(t.get(at..at + 4)?.try_into().ok()?));
    let head = usize::from(*t.get(12)? >> 4) * 4;
    Some(Tcp {
        from: (from, half(0)?).into(),
        to: (to, half(2)?).into(),
        seq: word(4)?,
        ack: word(8)?,
        flags: *t.get(13)?,
        payload: u32::try_from(length.checked_sub(head)?).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_syn_is_one_and_a_probes_is_none() {
        let to: SocketAddr = (VIP.v4, 80).into();
        let frame = |from: [u8; 4], flags| {
            let packet = frame::tcp((from, 4711).into(), to, flags, 9, 0, &[]);
            frame::ethernet([2; 6], [4; 6], frame::IPV4, &packet)
        };
        let client: SocketAddr = ([10, 2, 64, 1], 4711).into();
        assert_eq!(syn(&frame([10, 2, 64, 1], frame::flag::SYN)), Some((client, 9)));
        assert_eq!(syn(&frame([10, 2, 64, 1], frame::flag::SYN | frame::flag::ACK)), None);
        assert_eq!(syn(&frame([10, 80, 0, 254], frame::flag::SYN)), None);
    }
}
