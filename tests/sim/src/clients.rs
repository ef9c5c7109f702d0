//! All clients: they open connections by chance, ask, and note what becomes of it.

use crate::packet::{self, Content, RST, Segment};
use crate::queue::{MS, S};
use crate::random::Random;
use crate::tcp::{Tcp, Told};
use core::net::Ipv4Addr;
use std::collections::{BTreeMap, HashMap};

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// One request, then it ends.
    Request,
    /// A request now and then; it stays.
    KeepAlive {
        /// Nanoseconds between two requests.
        every: u64,
    },
    /// One answer after another, as fast as it goes.
    Download,
    /// A request that is never answered.
    Waiting,
}

/// What became of connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Opened by a SYN.
    pub opened: u64,
    /// Established.
    pub established: u64,
    /// Refused before they were established.
    pub refused: u64,
    /// Reset after that.
    pub reset: u64,
    /// Given up.
    pub timed_out: u64,
    /// Ended in good order.
    pub closed: u64,
    /// Answers received whole.
    pub answers: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Questions by UDP.
    pub asked: u64,
    /// ... that were answered.
    pub told: u64,
    /// Resets that a client did not believe, since their number was not the one it expects.
    pub wrong_resets: u64,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// The client's side.
    pub client: (Ipv4Addr, u16),
    /// How.
    pub how: Told,
    /// What it was for.
    pub kind: Kind,
}

#[derive(Debug)]
struct Connection {
    tcp: Tcp,
    kind: Kind,
    router: usize,
    began: u64,
    asked: Option<u64>,
    /// Bytes of the answer that are missing; `None`: its head has not come.
    missing: Option<usize>,
    next_request: Option<u64>,
    /// It asks no more, and closes after the answer.
    last: bool,
}

/// A packet to be sent through a router.
#[derive(Debug)]
pub struct Send {
    /// Which.
    pub router: usize,
    /// The packet.
    pub packet: Vec<u8>,
}

/// The clients.
#[derive(Debug)]
pub struct Clients {
    vip: Ipv4Addr,
    routers: usize,
    /// Routers that the network behind them takes for alive.
    pub usable: Vec<bool>,
    connections: BTreeMap<(Ipv4Addr, u16), Connection>,
    /// When connections want to be called.
    next_client: u64,
    random: Random,
    id: u16,
    /// What became of them.
    pub counts: Counts,
    /// Connections that ended since this was last emptied.
    pub ended: Vec<Ended>,
    /// Nanoseconds from SYN to the whole answer, of single requests.
    pub response_ns: Vec<(u64, u64, (Ipv4Addr, u16))>,
    /// Packets to send.
    pub sends: Vec<Send>,
    /// Connections whose deadline may have moved.
    pub touched: Vec<((Ipv4Addr, u16), u64)>,
    /// Bytes of an answer to a single request.
    pub answer_bytes: usize,
    scheduled: HashMap<(Ipv4Addr, u16), u64>,
}

impl Clients {
    /// Nobody yet.
    pub fn new(vip: Ipv4Addr, routers: usize, random: Random) -> Self {
        Self {
            vip,
            routers,
            usable: vec![true; routers],
            connections: BTreeMap::new(),
            next_client: 0,
            random,
            id: 0,
            counts: Counts::default(),
            ended: Vec::new(),
            response_ns: Vec::new(),
            sends: Vec::new(),
            touched: Vec::new(),
            answer_bytes: 600,
            scheduled: HashMap::new(),
        }
    }

    /// Connections there are.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Established connections of a kind, by what `wanted` says of it.
    pub fn established(&self, wanted: impl Fn(Kind) -> bool) -> impl Iterator<Item = (Ipv4Addr, u16)> {
        self.connections.iter().filter(move |(_, c)| c.tcp.is_open() && wanted(c.kind)).map(|(key, _)| *key)
    }

    /// The next byte that a connection's client expects.
    pub fn expects(&self, client: (Ipv4Addr, u16)) -> Option<u32> {
        self.connections.get(&client).map(|c| c.tcp.expects())
    }

    /// A client opens a connection; its address and port are new.
    pub fn open(&mut self, kind: Kind, now: u64) {
        let number = self.next_client;
        self.next_client += 1;
        // 198.18.0.0/15 (RFC 2544): 131,072 addresses, each with a port that moves on.
        let host = (number % 120_000) as u32 + 1;
        let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 0)) + host);
        let port = 1024 + (number / 120_000 * 7 + self.random.below(50_000)) as u16;
        self.open_from((address, port), kind, now);
    }

    /// The same from a given address and port.
    pub fn open_from(&mut self, local: (Ipv4Addr, u16), kind: Kind, now: u64) {
        let tcp = Tcp::connect(local, (self.vip, 80), self.random.next() as u32, now);
        let router = self.random.below(self.routers as u64) as usize;
        let connection = Connection {
            tcp,
            kind,
            router,
            began: now,
            asked: None,
            missing: None,
            next_request: None,
            last: matches!(kind, Kind::Request),
        };
        self.connections.insert(local, connection);
        self.counts.opened += 1;
        self.settle(local, now);
    }

    /// Sends a SYN that nobody stands behind (a scan, a flood).
    pub fn bare_syn(&mut self, source: (Ipv4Addr, u16), port: u16) {
        let seq = self.random.next() as u32;
        let segment =
            Segment { src: source, dst: (self.vip, port), flags: packet::SYN, seq, ack: 0, data: &[] };
        self.id = self.id.wrapping_add(1);
        let packet = packet::tcp_packet(&segment, self.id);
        let router = self.random.below(self.routers as u64) as usize;
        self.sends.push(Send { router: self.way(router), packet });
    }

    /// Asks by a datagram to port 53.
    pub fn question(&mut self, client: (Ipv4Addr, u16)) {
        self.counts.asked += 1;
        self.id = self.id.wrapping_add(1);
        let packet = packet::udp_packet(client, (self.vip, 53), b"who is there", self.id);
        // A client's way is its address's, as a network's routes are.
        let router = self.way(usize::from(client.0.octets()[3]) % self.routers);
        self.sends.push(Send { router, packet });
    }

    /// Ends all long connections, in good order.
    pub fn close_all(&mut self, now: u64) {
        let keys: Vec<_> = self.connections.keys().copied().collect();
        for key in keys {
            self.close_one(key, now);
        }
    }

    /// Ends one, in good order.
    pub fn close_one(&mut self, key: (Ipv4Addr, u16), now: u64) {
        if let Some(connection) = self.connections.get_mut(&key) {
            connection.last = true;
            connection.next_request = None;
            connection.tcp.close(now);
            self.settle(key, now);
        }
    }

    /// A client asks so many times more often from its next request on.
    pub fn hasten(&mut self, key: (Ipv4Addr, u16), times: u64) {
        if let Some(Kind::KeepAlive { every }) = self.connections.get_mut(&key).map(|c| &mut c.kind) {
            *every /= times.max(1);
        }
    }

    /// A packet has come.
    pub fn handle(&mut self, packet: &[u8], now: u64) {
        let content = packet::ip(packet);
        if let Some(Content::Udp(from, ..)) = content {
            self.counts.told += u64::from(from == (self.vip, 53));
        }
        let Some(Content::Tcp(segment)) = content else { return };
        if segment.src.0 != self.vip {
            return;
        }
        let Some(connection) = self.connections.get_mut(&segment.dst) else { return };
        if segment.flags & RST != 0 && connection.tcp.is_open() && segment.seq != connection.tcp.expects() {
            self.counts.wrong_resets += 1;
        }
        connection.tcp.handle(&segment, now);
        self.settle(segment.dst, now);
    }

    /// A connection's time has come.
    pub fn handle_deadline(&mut self, key: (Ipv4Addr, u16), now: u64) {
        if self.scheduled.get(&key).is_some_and(|at| *at <= now) {
            self.scheduled.remove(&key);
        }
        let Some(connection) = self.connections.get_mut(&key) else { return };
        connection.tcp.handle_deadline(now);
        if connection.next_request.is_some_and(|at| at <= now) {
            connection.next_request = None;
            self.ask(key, now);
        }
        self.settle(key, now);
    }

    fn ask(&mut self, key: (Ipv4Addr, u16), now: u64) {
        let bytes = self.answer_bytes;
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let path = match connection.kind {
            Kind::Waiting => "/wait".to_owned(),
            Kind::Download => format!("/bytes/{}", 16 * 1024),
            Kind::Request | Kind::KeepAlive { .. } => format!("/bytes/{bytes}"),
        };
        let close = if connection.last { "Connection: close\r\n" } else { "" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: vip\r\n{close}\r\n");
        connection.asked = Some(now);
        connection.missing = None;
        connection.tcp.send(request.as_bytes(), now);
    }

    /// Does what a connection has to do now.
    fn settle(&mut self, key: (Ipv4Addr, u16), now: u64) {
        for _ in 0..4 {
            let Some(connection) = self.connections.get_mut(&key) else { return };
            let told = core::mem::take(&mut connection.tcp.told);
            self.transmit(key);
            if told.is_empty() {
                break;
            }
            for told in told {
                self.told(key, told, now);
            }
        }
        self.transmit(key);
        let Some(connection) = self.connections.get(&key) else { return };
        let due = [connection.tcp.deadline, connection.next_request].into_iter().flatten().min();
        if let Some(at) = due
            && self.scheduled.get(&key).is_none_or(|known| *known > at)
        {
            self.scheduled.insert(key, at);
            self.touched.push((key, at));
        }
    }

    fn told(&mut self, key: (Ipv4Addr, u16), told: Told, now: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        match told {
            Told::Open => {
                self.counts.established += 1;
                self.ask(key, now);
            }
            Told::Data => self.read(key, now),
            Told::PeerClosed => connection.tcp.close(now),
            Told::Closed | Told::Refused | Told::Reset | Told::TimedOut => {
                let count = match told {
                    Told::Closed => &mut self.counts.closed,
                    Told::Refused => &mut self.counts.refused,
                    Told::Reset => &mut self.counts.reset,
                    _ => &mut self.counts.timed_out,
                };
                *count += 1;
                self.ended.push(Ended { client: key, how: told, kind: connection.kind });
                self.transmit(key);
                self.connections.remove(&key);
                self.scheduled.remove(&key);
            }
        }
    }

    fn read(&mut self, key: (Ipv4Addr, u16), now: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        loop {
            let incoming = &mut connection.tcp.incoming;
            match &mut connection.missing {
                None => {
                    let Some(end) = incoming.windows(4).position(|w| w == b"\r\n\r\n") else { return };
                    let head: Vec<u8> = incoming.drain(..end + 4).collect();
                    let text = String::from_utf8_lossy(&head);
                    let length = text.split("Content-Length: ").nth(1).and_then(|t| t.split('\r').next());
                    connection.missing = Some(length.and_then(|n| n.parse().ok()).unwrap_or(0));
                }
                Some(missing) => {
                    let taken = incoming.len().min(*missing);
                    incoming.drain(..taken);
                    self.counts.bytes += taken as u64;
                    *missing -= taken;
                    if *missing > 0 {
                        return;
                    }
                    connection.missing = None;
                    self.counts.answers += 1;
                    if let Some(asked) = connection.asked.take() {
                        let since = if connection.last { connection.began } else { asked };
                        self.response_ns.push((now, now - since, key));
                    }
                    match connection.kind {
                        _ if connection.last => connection.tcp.close(now),
                        Kind::KeepAlive { every } => {
                            let wait = self.random.waiting(every as f64) as u64;
                            connection.next_request = Some(now + wait.clamp(MS, 10 * every.max(S)));
                        }
                        Kind::Download => connection.next_request = Some(now + 50 * MS),
                        Kind::Request | Kind::Waiting => {}
                    }
                    return;
                }
            }
        }
    }

    fn transmit(&mut self, key: (Ipv4Addr, u16)) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let router = connection.router;
        let out = core::mem::take(&mut connection.tcp.out);
        if out.is_empty() {
            return;
        }
        let peer = connection.tcp.peer;
        let router = self.way(router);
        for out in out {
            self.id = self.id.wrapping_add(1);
            let segment = Segment {
                src: key,
                dst: peer,
                flags: out.flags,
                seq: out.seq,
                ack: out.ack,
                data: &out.data,
            };
            self.sends.push(Send { router, packet: packet::tcp_packet(&segment, self.id) });
        }
    }

    /// The router of a connection, or one that is alive.
    fn way(&self, router: usize) -> usize {
        if self.usable[router] { router } else { self.usable.iter().position(|u| *u).unwrap_or(router) }
    }
}
