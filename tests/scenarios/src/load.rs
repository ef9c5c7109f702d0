//! Requests at a steady rate, each on a connection of its own, with a line of record for each: when it was
//! opened, when it was over, who answered or how it failed. One thread, so that the load is the same
//! however many of them wait.

use crate::fault::wall;
use crate::netns::Namespace;
use anyhow::Result;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What is asked, and how often.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Of whom.
    pub to: SocketAddr,
    /// Requests a second.
    pub rate: u32,
    /// For what.
    pub path: &'static str,
    /// From how many addresses in turn, at most 16,000.
    pub clients: u32,
    /// How long a request may take, its connection included.
    pub patience: Duration,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// Answered in full by this server.
    Answered(String),
    /// Its connection was refused.
    Refused,
    /// Its connection was reset.
    Reset,
    /// The connection ended before the answer did.
    Early,
    /// It had not been answered in time.
    TimedOut,
    /// No socket, or no more waiting ones allowed.
    NoRoom,
}

/// A request. Times are those of [`wall`].
#[derive(Clone, Debug)]
pub struct Request {
    /// Its own address and port.
    pub from: SocketAddr,
    /// When its SYN was sent.
    pub opened: Duration,
    /// When the server's SYN+ACK was seen, if it was.
    pub connected: Option<Duration>,
    /// When it was over.
    pub ended: Duration,
    /// How.
    pub end: End,
}

impl Request {
    /// From its SYN to its end.
    pub fn took(&self) -> Duration {
        self.ended.saturating_sub(self.opened)
    }

    /// Who answered it.
    pub fn server(&self) -> Option<&str> {
        if let End::Answered(server) = &self.end { Some(server) } else { None }
    }
}

/// A running load. Dropping it ends it.
pub struct Load {
    record: Arc<Mutex<Vec<Request>>>,
    end: Arc<AtomicBool>,
    cut: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Requests that may wait at a time.
const WAITING_MAX: usize = 4_096;

impl Load {
    /// Starts it.
    ///
    /// # Errors
    ///
    /// When the namespace is gone.
    pub fn start(ns: &Namespace, spec: Spec) -> Result<Self> {
        let (record, end) = (Arc::<Mutex<Vec<Request>>>::default(), Arc::<AtomicBool>::default());
        let cut = Arc::<AtomicBool>::default();
        let (record_of, end_of, cut_of) = (Arc::clone(&record), Arc::clone(&end), Arc::clone(&cut));
        let thread = ns.spawn(move || run(&spec, &record_of, &end_of, &cut_of))?;
        Ok(Self { record, end, cut, thread: Some(thread) })
    }

    /// The requests that are over and were opened at or after `from`.
    pub fn since(&self, from: Duration) -> Vec<Request> {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.iter().filter(|r| r.opened >= from).cloned().collect()
    }

    /// Ends it, waits for what is open, and returns all requests in the order of their ends.
    pub fn stop(mut self) -> Vec<Request> {
        self.join();
        std::mem::take(&mut self.record.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn join(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.cut.store(true, Ordering::Relaxed);
        self.join();
    }
}

/// A request under way.
struct Open {
    socket: Socket,
    from: SocketAddr,
    opened: Duration,
    connected: Option<Duration>,
    deadline: Instant,
    answer: Vec<u8>,
}

fn run(spec: &Spec, record: &Mutex<Vec<Request>>, end: &AtomicBool, cut: &AtomicBool) {
    let start = Instant::now();
    let mut sent = 0_u32;
    let mut open: Vec<Open> = Vec::new();
    let note = |request: Request| record.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    let question = format!("GET {} HTTP/1.1\r\nHost: lab\r\n\r\n", spec.path);
    loop {
        let over = end.load(Ordering::Relaxed);
        if over && (open.is_empty() || cut.load(Ordering::Relaxed)) {
            return;
        }
        let due = Duration::from_secs(1) * sent / spec.rate.max(1);
        if !over && start.elapsed() >= due {
            let from = client(spec.to.ip(), sent % spec.clients.max(1));
            let (opened, room) = (wall(), open.len() < WAITING_MAX);
            match room.then(|| begin(from, spec.to)).transpose() {
                Ok(Some((socket, from))) => open.push(Open {
                    socket,
                    from,
                    opened,
                    connected: None,
                    deadline: Instant::now() + spec.patience,
                    answer: Vec::new(),
                }),
                _ => {
                    note(Request {
                        from: (from, 0).into(),
                        opened,
                        connected: None,
                        ended: wall(),
                        end: End::NoRoom,
                    });
                }
            }
            sent += 1;
            continue;
        }
        let rest = due.saturating_sub(start.elapsed()).min(Duration::from_millis(20));
        wait(&open, rest);
        let now = Instant::now();
        let mut n = 0;
        while n < open.len() {
            if let Some(end) = go_on(&mut open[n], question.as_bytes(), now) {
                let over = open.swap_remove(n);
                let ended = wall();
                note(Request { from: over.from, opened: over.opened, connected: over.connected, ended, end });
            } else {
                n += 1;
            }
        }
    }
}

/// The address of client number `n`.
pub fn client(to: IpAddr, n: u32) -> IpAddr {
    let [.., high, low] = (n % 16_000).to_be_bytes();
    match to {
        IpAddr::V4(_) => Ipv4Addr::new(10, 2, 64 + high, low).into(),
        IpAddr::V6(_) => Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0x64, u16::from_be_bytes([high, low])).into(),
    }
}

fn begin(from: IpAddr, to: SocketAddr) -> std::io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::from(SocketAddr::new(from, 0)))?;
    match socket.connect(&SockAddr::from(to)) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        _ => {}
    }
    let own = socket.local_addr()?.as_socket().unwrap_or(SocketAddr::new(from, 0));
    Ok((socket, own))
}

fn wait(open: &[Open], limit: Duration) {
    let mut watched: Vec<PollFd> = open
        .iter()
        .map(|o| {
            let what = if o.connected.is_some() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
            PollFd::new(o.socket.as_fd(), what)
        })
        .collect();
    // In whole milliseconds, rounded up: a request that is a little late does no harm.
    let limit = PollTimeout::try_from(limit + Duration::from_micros(900)).unwrap_or(PollTimeout::ZERO);
    let _ = poll(&mut watched, limit);
}

/// Brings a request on as far as it goes without waiting.
fn go_on(open: &mut Open, question: &[u8], now: Instant) -> Option<End> {
    if open.connected.is_none() {
        if let Some(error) = open.socket.take_error().ok().flatten() {
            return Some(end_of(&error));
        }
        if open.socket.peer_addr().is_err() {
            return (now >= open.deadline).then_some(End::TimedOut);
        }
        open.connected = Some(wall());
        if let Err(error) = open.socket.write_all(question) {
            return Some(end_of(&error));
        }
    }
    let mut bytes = [0; 16 * 1024];
    loop {
        match open.socket.read(&mut bytes) {
            Ok(0) => return Some(End::Early),
            Ok(length) => {
                open.answer.extend_from_slice(&bytes[..length]);
                if let Some(server) = complete(&open.answer) {
                    return Some(End::Answered(server));
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return (now >= open.deadline).then_some(End::TimedOut);
            }
            Err(error) => return Some(end_of(&error)),
        }
    }
}

fn end_of(error: &std::io::Error) -> End {
    match error.kind() {
        ErrorKind::ConnectionRefused => End::Refused,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => End::Reset,
        _ => End::TimedOut,
    }
}

/// The server's name once an answer is complete.
fn complete(answer: &[u8]) -> Option<String> {
    let head = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let text = String::from_utf8_lossy(&answer[..head]);
    let field = |name: &str| {
        text.lines()
            .filter_map(|l| l.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|f| f.1)
    };
    let length: usize = field("content-length")?.parse().ok()?;
    (answer.len() >= head + 4 + length).then(|| field("x-server").unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Server: s2\r\n\r\ns2\n";
        assert_eq!(complete(answer), Some("s2".into()));
        assert_eq!(complete(&answer[..answer.len() - 1]), None);
    }
}
