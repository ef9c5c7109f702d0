//! Datagrams at a steady rate, each of which tells by its absence when something did not work: inward,
//! each a new flow, seen at the servers' interfaces; outward, from a server to the client by its router.

use crate::fault::wall;
use crate::frame::{self, Mac};
use crate::lab::{CLIENT, Host, Lab, VIP};
use crate::raw::Tap;
use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The port that beats go to.
const PORT: u16 = 9;
/// How a beat's payload begins.
const MARK: &[u8] = b"beat";

/// A beat: when it was sent, and when and where it came, if it did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Beat {
    /// Time since 1970.
    pub sent: Duration,
    /// Time since 1970, and the place of the server it came to (0 for the client).
    pub came: Option<(Duration, usize)>,
}

/// Beats under way. Dropping them ends them.
pub struct Beats {
    record: Arc<Mutex<Vec<Beat>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _held: Vec<UdpSocket>,
}

impl Beats {
    /// `rate` new flows a second from the first router to the VIP.
    ///
    /// # Errors
    ///
    /// When an interface is missing.
    pub fn inward(lab: &Lab, vmac: Mac, rate: u32) -> Result<Self> {
        let sockets: Vec<UdpSocket> = lab
            .servers
            .iter()
            .map(|s| Ok(s.ns.enter(|| UdpSocket::bind((VIP.v4, PORT)))?))
            .collect::<Result<_>>()?;
        let router = &lab.routers[0];
        let (mac, tap) = (router.mac, lab.tap(router)?);
        let taps = lab.servers.iter().map(|host| lab.tap(host)).collect::<Result<Vec<_>>>()?;
        let send = move |n: u32| {
            let [.., high, low] = (n / 60_000).to_be_bytes();
            let port = 2_000 + u16::try_from(n % 60_000).unwrap_or_default();
            let from: SocketAddr = (Ipv4Addr::new(10, 2, 200 + high % 50, low), port).into();
            let packet = frame::udp(from, (VIP.v4, PORT).into(), &payload(n));
            let _ = tap.send(&frame::ethernet(vmac, mac, frame::IPV4, &packet));
        };
        let receive = move |note: &mut dyn FnMut(Duration, usize, u32)| {
            for (place, tap) in taps.iter().enumerate() {
                drain(tap, |at, n| note(at, place, n));
            }
        };
        let record = Arc::default();
        let (record_of, end) = (Arc::clone(&record), Arc::<AtomicBool>::default());
        let end_of = Arc::clone(&end);
        let thread = std::thread::spawn(move || run(rate, send, receive, &record_of, &end_of));
        Ok(Self { record, end, thread: Some(thread), _held: sockets })
    }

    /// `rate` datagrams a second of one flow from a server to the client, in the VIP's name.
    ///
    /// # Errors
    ///
    /// When the port is taken.
    pub fn outward(lab: &Lab, server: &Host, port: u16, rate: u32) -> Result<Self> {
        let source = server.ns.enter(|| UdpSocket::bind((VIP.v4, port)))?;
        source.connect((CLIENT.v4, port))?;
        let sink = lab.client.enter(|| UdpSocket::bind((CLIENT.v4, port)))?;
        sink.set_nonblocking(true)?;
        let send = move |n: u32| {
            // A refusal by the peer's kernel belongs to an earlier one.
            let _ = source.send(&payload(n));
        };
        let receive = move |note: &mut dyn FnMut(Duration, usize, u32)| {
            let mut bytes = [0; 64];
            while let Ok(length) = sink.recv(&mut bytes) {
                if let Some(n) = number(&bytes[..length]) {
                    note(wall(), 0, n);
                }
            }
        };
        let record = Arc::default();
        let (record_of, end) = (Arc::clone(&record), Arc::<AtomicBool>::default());
        let end_of = Arc::clone(&end);
        let thread = std::thread::spawn(move || run(rate, send, receive, &record_of, &end_of));
        Ok(Self { record, end, thread: Some(thread), _held: Vec::new() })
    }

    /// All beats sent at `from` or later and up to `to`.
    pub fn between(&self, from: Duration, to: Duration) -> Vec<Beat> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.iter().filter(|b| b.sent >= from && b.sent <= to).copied().collect()
    }

    /// How long after `from` the last beat was sent that did not come, of those sent up to `to`; zero when
    /// all came.
    pub fn outage(&self, from: Duration, to: Duration) -> Duration {
        let lost = self.between(from, to).into_iter().filter(|b| b.came.is_none()).map(|b| b.sent).max();
        lost.map_or(Duration::ZERO, |last| last.saturating_sub(from))
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    rate: u32,
    send: impl Fn(u32),
    receive: impl Fn(&mut dyn FnMut(Duration, usize, u32)),
    record: &Mutex<Vec<Beat>>,
    end: &AtomicBool,
) {
    let start = Instant::now();
    let mut next = 0_u32;
    while !end.load(Ordering::Relaxed) {
        while start.elapsed() >= Duration::from_secs(1) * next / rate {
            record.lock().unwrap_or_else(PoisonError::into_inner).push(Beat { sent: wall(), came: None });
            send(next);
            next += 1;
        }
        let mut came = Vec::new();
        receive(&mut |at, place, n| came.push((at, place, n)));
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        for (at, place, n) in came {
            if let Some(beat) = usize::try_from(n).ok().and_then(|n| record.get_mut(n)) {
                beat.came = Some((at, place));
            }
        }
        drop(record);
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn payload(n: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(MARK);
    bytes[4..].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn number(payload: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(payload.strip_prefix(MARK)?.try_into().ok()?))
}

fn drain(tap: &Tap, mut note: impl FnMut(Duration, u32)) {
    while let Some((at, frame)) = tap.take_stamped() {
        // 14 of Ethernet, 20 of IPv4, 8 of UDP; short frames may be padded.
        if let Some(n) = frame.get(42..50).and_then(number) {
            note(at, n);
        }
    }
}
