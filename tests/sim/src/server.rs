//! A server: a kernel with an address, a neighbour cache and TCP, and a process that works off requests.

use crate::neighbours::Neighbours;
use crate::packet::{self, ACK, Arp, BROADCAST, Content, FIN, Frame, RST, SYN, Segment, Six};
use crate::queue::{MS, S};
use crate::random::Random;
use crate::tcp::{Out, Tcp, Told};
use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tests_model::Mac;

/// Connections that the kernel takes on while the process does not (Linux's `somaxconn` is larger).
const BACKLOG: usize = 128;
/// How long a closed connection is remembered.
const TIME_WAIT: u64 = 10 * S;

/// What is wrong with a server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// Nothing.
    Well,
    /// The process is gone: the kernel refuses.
    Killed,
    /// The whole machine is gone, with its connections; carrier stays.
    Gone,
    /// The whole machine stands still, and goes on later where it was.
    Paused,
    /// The process stands still: the kernel takes connections, nobody answers.
    Frozen,
}

/// What is set up wrong at a server, though nothing about it has failed (row k).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mistake {
    /// It carries another address than the VIP, and is busy with that.
    NotBound,
    /// It answers ARP with another MAC than its own.
    OtherMac,
    /// What it sends to clients leaves by a second interface.
    SecondWayOut,
    /// What it sends to its default router does, too.
    NoWayBack,
    /// It takes nothing from whom it would answer by another interface (a strict reverse-path filter).
    StrictFilter,
    /// Nothing listens.
    NotListening,
    /// It takes no packets of more than 1,000 bytes.
    SmallMtu,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::NotBound,
        Self::OtherMac,
        Self::SecondWayOut,
        Self::NoWayBack,
        Self::StrictFilter,
        Self::NotListening,
        Self::SmallMtu,
    ];
}

/// A connection's name: the client's side, and the server's port.
type Key = ((Ipv4Addr, u16), u16);

#[derive(Debug)]
struct Connection {
    tcp: Tcp,
    until: Option<u64>,
    /// Its place in the server's schedule.
    due: Option<u64>,
}

#[derive(Debug)]
struct Job {
    key: Key,
    bytes: usize,
    close: bool,
}

/// What a server wants sent.
#[derive(Debug, Default)]
pub struct Sends {
    /// Frames to its port.
    pub frames: Vec<Vec<u8>>,
    /// IP packets that leave by a second interface, past the switch.
    pub past: Vec<Vec<u8>>,
}

/// A server.
#[derive(Debug)]
pub struct Server {
    /// Its MAC.
    pub mac: Mac,
    /// The VIP.
    pub vip: Ipv4Addr,
    /// A VIP of IPv6, if it carries one. What is sent there is answered the way it came.
    pub vip6: Option<Ipv6Addr>,
    /// Its default router.
    pub gateway: Ipv4Addr,
    /// What is wrong with it.
    pub health: Health,
    /// Its packets leave by a second interface.
    pub past: bool,
    /// What is set up wrong.
    pub mistake: Option<Mistake>,
    /// Ports that its process listens on.
    pub listens: Vec<u16>,
    /// Nanoseconds of work for a request.
    pub work: u64,
    /// Its neighbour cache.
    pub neighbours: Neighbours,
    connections: BTreeMap<Key, Connection>,
    /// When connections want to be called: thousands wait in TIME_WAIT, and every frame asks for the first.
    schedule: BTreeSet<(u64, Key)>,
    jobs: VecDeque<Job>,
    busy_until: Option<u64>,
    id: u16,
    random: Random,
    /// Requests answered.
    pub answered: u64,
}

impl Server {
    /// A server in good health.
    pub fn new(mac: Mac, vip: Ipv4Addr, gateway: Ipv4Addr, work: u64, random: Random) -> Self {
        Self {
            mac,
            vip,
            vip6: None,
            gateway,
            health: Health::Well,
            past: false,
            mistake: None,
            listens: vec![80, 443],
            work,
            neighbours: Neighbours::new((mac, vip)),
            connections: BTreeMap::new(),
            schedule: BTreeSet::new(),
            jobs: VecDeque::new(),
            busy_until: None,
            id: 0,
            random,
            answered: 0,
        }
    }

    /// Connections that are established.
    pub fn open(&self) -> usize {
        self.connections.values().filter(|c| c.tcp.is_open()).count()
    }

    /// It is set up wrongly from the start.
    pub fn mistake(&mut self, mistake: Mistake) {
        self.mistake = Some(mistake);
        match mistake {
            Mistake::NotBound => {
                self.vip = Ipv4Addr::from(u32::from(self.vip) - 39);
                self.neighbours = Neighbours::new((self.mac, self.vip));
            }
            Mistake::SecondWayOut | Mistake::NoWayBack => self.past = true,
            Mistake::NotListening => self.listens.clear(),
            Mistake::OtherMac | Mistake::StrictFilter | Mistake::SmallMtu => {}
        }
    }

    /// It asks its router something of its own.
    pub fn speak(&mut self, now: u64, sends: &mut Sends) {
        let echo = tests_model::frames::echo(false, 7);
        let packet = tests_model::frames::v4(self.vip, self.gateway, 1, self.next_id(), 0, &echo);
        self.route(self.gateway, packet, now, sends);
    }

    fn is_near(&self, address: Ipv4Addr) -> bool {
        address.octets()[..3] == self.vip.octets()[..3]
    }

    /// Its kernel drops it before anybody sees it.
    fn is_filtered(&self, frame: &Frame<'_>) -> bool {
        match self.mistake {
            Some(Mistake::SmallMtu) => frame.packet.len() > 1000,
            Some(Mistake::StrictFilter) => {
                frame.content.addresses().is_some_and(|(from, _)| !self.is_near(from))
            }
            _ => false,
        }
    }

    fn is_silent(&self) -> bool {
        matches!(self.health, Health::Gone | Health::Paused)
    }

    /// Something happens to it.
    pub fn become_(&mut self, health: Health, now: u64, sends: &mut Sends) {
        let before = core::mem::replace(&mut self.health, health);
        match health {
            Health::Killed => {
                // The kernel closes what the process had.
                let keys: Vec<Key> = self.connections.keys().copied().collect();
                for key in keys {
                    if let Some(connection) = self.connections.get_mut(&key) {
                        connection.tcp.abort();
                    }
                    self.settle(key, now, sends);
                }
                self.jobs.clear();
                self.busy_until = None;
            }
            Health::Gone => {
                self.connections.clear();
                self.schedule.clear();
                self.jobs.clear();
                self.busy_until = None;
                self.neighbours.clear();
            }
            Health::Well if before == Health::Gone => self.announce(now, sends),
            Health::Well => {
                if self.busy_until.is_some() {
                    self.busy_until = Some(now + self.work);
                }
                self.start_next(now);
                let keys: Vec<Key> = self.connections.keys().copied().collect();
                for key in keys {
                    self.close_after_peer(key, now);
                    self.settle(key, now, sends);
                }
            }
            Health::Paused | Health::Frozen => {}
        }
    }

    /// What a machine says when it starts: a probe, an announcement, a question for its router.
    fn announce(&mut self, now: u64, sends: &mut Sends) {
        let nobody = ([0; 6], Ipv4Addr::UNSPECIFIED);
        let probe = Arp { op: 1, sender: (self.mac, nobody.1), target: ([0; 6], self.vip) };
        let claim = Arp { op: 1, sender: (self.mac, self.vip), target: ([0; 6], self.vip) };
        for arp in [probe, claim] {
            sends.frames.push(packet::arp_frame(BROADCAST, &arp));
        }
        self.speak(now, sends);
    }

    fn next_id(&mut self) -> u16 {
        self.id = self.id.wrapping_add(1);
        self.id
    }

    /// A frame has arrived.
    pub fn handle(&mut self, bytes: &[u8], now: u64, sends: &mut Sends) {
        if self.is_silent() {
            return;
        }
        let Some(frame) = packet::read(bytes) else { return };
        if frame.dst != self.mac && frame.dst[0] & 1 == 0 || self.is_filtered(&frame) {
            return;
        }
        match frame.content {
            Content::Arp(arp) => self.arp(&arp, now, sends),
            Content::Tcp(segment) if segment.dst.0 == self.vip => self.tcp(&segment, now, sends),
            Content::Icmp(src, dst, message) if dst == self.vip && message.first() == Some(&8) => {
                let answer = packet::echo_reply(message);
                let packet = tests_model::frames::v4(self.vip, src, 1, self.next_id(), 0, &answer);
                self.route(src, packet, now, sends);
            }
            Content::Six(six) => self.six(&frame, &six, sends),
            Content::Udp(client, to, data) if to == (self.vip, 53) && self.health == Health::Well => {
                let packet = packet::udp_packet(to, client, data, self.next_id());
                self.route(client.0, packet, now, sends);
            }
            _ => {}
        }
    }

    /// Neighbour solicitations (RFC 4861), echo, and datagrams to port 53.
    fn six(&self, frame: &Frame<'_>, six: &Six<'_>, sends: &mut Sends) {
        let Some(vip) = self.vip6 else { return };
        let mut payload = six.payload.to_vec();
        let macs = (frame.src, self.mac);
        match (six.protocol, payload.first()) {
            (58, Some(135)) if payload.get(8..24) == Some(&vip.octets()) => {
                // Solicited, and it overrides; with its link-layer address.
                let mut answer = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
                answer.extend(vip.octets());
                answer.extend([2, 1]);
                answer.extend(self.mac);
                let answer = Six { src: vip, dst: six.src, protocol: 58, payload: &answer };
                sends.frames.push(packet::six_frame(macs, &answer, 255, 2));
            }
            (58, Some(128)) if six.dst == vip => {
                payload[0] = 129;
                let answer = Six { src: vip, dst: six.src, protocol: 58, payload: &payload };
                sends.frames.push(packet::six_frame(macs, &answer, 64, 2));
            }
            (17, _) if six.dst == vip && six.udp().is_some_and(|(_, to)| to == 53) => {
                let (from, to) = payload.split_at_mut(2);
                from.swap_with_slice(&mut to[..2]);
                if self.health == Health::Well {
                    let answer = Six { src: vip, dst: six.src, protocol: 17, payload: &payload };
                    sends.frames.push(packet::six_frame(macs, &answer, 64, 6));
                }
            }
            _ => {}
        }
    }

    fn arp(&mut self, arp: &Arp, now: u64, sends: &mut Sends) {
        if arp.target.1 == self.vip || arp.op == 2 {
            self.neighbours.learn(arp, now, &mut sends.frames);
        }
        if arp.op == 1 && arp.target.1 == self.vip {
            let mut sender = (self.mac, self.vip);
            if self.mistake == Some(Mistake::OtherMac) {
                sender.0[4] = 0x99;
            }
            let answer = Arp { op: 2, sender, target: arp.sender };
            sends.frames.push(packet::arp_frame(arp.sender.0, &answer));
        }
    }

    fn tcp(&mut self, segment: &Segment<'_>, now: u64, sends: &mut Sends) {
        let key = (segment.src, segment.dst.1);
        let ended = self.connections.get(&key).is_some_and(|c| c.tcp.is_gone());
        let begins = segment.flags & (SYN | ACK | RST) == SYN;
        if ended && begins {
            self.forget(key);
        }
        if let Some(connection) = self.connections.get_mut(&key) {
            if connection.tcp.is_gone() {
                // TIME_WAIT: a repeated FIN is acknowledged again.
                if segment.flags & FIN != 0 {
                    let ack = segment.seq.wrapping_add(segment.data.len() as u32 + 1);
                    let out = Out { flags: ACK, seq: segment.ack, ack, data: Vec::new() };
                    self.transmit(key, &out, now, sends);
                }
                return;
            }
            connection.tcp.handle(segment, now);
            self.settle(key, now, sends);
            return;
        }
        if segment.flags & RST != 0 {
            return;
        }
        let listening = self.listens.contains(&key.1) && self.health != Health::Killed;
        if begins && listening {
            if self.health == Health::Frozen && self.connections.len() > self.jobs.len() + BACKLOG {
                return; // The backlog is full.
            }
            let tcp = Tcp::accept(segment, self.random.next() as u32, now);
            self.connections.insert(key, Connection { tcp, until: None, due: None });
            self.settle(key, now, sends);
            return;
        }
        // Nobody listens, or nobody knows the connection.
        let out = if segment.flags & ACK != 0 {
            Out { flags: RST, seq: segment.ack, ack: 0, data: Vec::new() }
        } else {
            let ack = segment.seq.wrapping_add(segment.data.len() as u32 + u32::from(begins));
            Out { flags: RST | ACK, seq: 0, ack, data: Vec::new() }
        };
        self.transmit(key, &out, now, sends);
    }

    fn forget(&mut self, key: Key) {
        if let Some(due) = self.connections.remove(&key).and_then(|connection| connection.due) {
            self.schedule.remove(&(due, key));
        }
    }

    /// Sends what a connection has to send, lets the process read, and notes when it is due.
    fn settle(&mut self, key: Key, now: u64, sends: &mut Sends) {
        self.serve(key, now, sends);
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let due = connection.until.or(connection.tcp.deadline);
        let before = core::mem::replace(&mut connection.due, due);
        if before != due {
            if let Some(at) = before {
                self.schedule.remove(&(at, key));
            }
            if let Some(at) = due {
                self.schedule.insert((at, key));
            }
        }
    }

    fn serve(&mut self, key: Key, now: u64, sends: &mut Sends) {
        for _ in 0..4 {
            let Some(connection) = self.connections.get_mut(&key) else { return };
            let out = core::mem::take(&mut connection.tcp.out);
            let told = core::mem::take(&mut connection.tcp.told);
            if out.is_empty() && told.is_empty() {
                break;
            }
            for out in out {
                self.transmit(key, &out, now, sends);
            }
            for told in told {
                match told {
                    Told::Data => self.read(key, now),
                    // Nothing more will be asked: whatever is being worked on is sent, then it ends.
                    Told::PeerClosed => self.close_after_peer(key, now),
                    Told::Closed => {
                        if let Some(connection) = self.connections.get_mut(&key) {
                            connection.until = Some(now + TIME_WAIT);
                        }
                    }
                    Told::Reset | Told::TimedOut | Told::Refused => self.forget(key),
                    Told::Open => {}
                }
            }
        }
        if self.connections.get(&key).is_some_and(|c| c.tcp.is_gone() && c.until.is_none()) {
            self.forget(key);
        }
    }

    fn close_after_peer(&mut self, key: Key, now: u64) {
        let busy = self.health == Health::Frozen || self.jobs.iter().any(|job| job.key == key);
        if let Some(connection) = self.connections.get_mut(&key)
            && !busy
            && connection.tcp.peer_closed()
        {
            connection.tcp.close(now);
        }
    }

    /// The process reads requests: `GET /bytes/N HTTP/1.1`, or `GET /wait`, which is never answered.
    fn read(&mut self, key: Key, now: u64) {
        let Some(connection) = self.connections.get_mut(&key) else { return };
        let incoming = &mut connection.tcp.incoming;
        while let Some(end) = incoming.windows(4).position(|w| w == b"\r\n\r\n") {
            let request: Vec<u8> = incoming.drain(..end + 4).collect();
            let text = String::from_utf8_lossy(&request);
            let path = text.split(' ').nth(1).unwrap_or("/");
            if path == "/wait" {
                continue;
            }
            let bytes = path.strip_prefix("/bytes/").and_then(|n| n.parse().ok()).unwrap_or(2);
            let close = text.to_ascii_lowercase().contains("connection: close");
            self.jobs.push_back(Job { key, bytes, close });
        }
        self.start_next(now);
    }

    fn start_next(&mut self, now: u64) {
        if self.health == Health::Well && self.busy_until.is_none() && !self.jobs.is_empty() {
            let work = self.random.waiting(self.work as f64) as u64;
            self.busy_until = Some(now + work.min(10 * self.work));
        }
    }

    /// When [`Server::handle_deadline`] is due.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.is_silent() {
            return None;
        }
        let work = self.busy_until.filter(|_| self.health == Health::Well);
        let tcp = self.schedule.first().map(|(at, _)| *at);
        [work, tcp, self.neighbours.next_deadline()].into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn handle_deadline(&mut self, now: u64, sends: &mut Sends) {
        if self.is_silent() {
            return;
        }
        if self.health == Health::Well && self.busy_until.is_some_and(|at| at <= now) {
            self.busy_until = None;
            if let Some(job) = self.jobs.pop_front() {
                self.finish(&job, now, sends);
            }
            self.start_next(now);
        }
        let due = self.schedule.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key);
        // In the order of their names, whenever they were due.
        for key in due.collect::<BTreeSet<Key>>() {
            let Some(connection) = self.connections.get_mut(&key) else { continue };
            if connection.until.is_some() {
                self.forget(key);
                continue;
            }
            connection.tcp.handle_deadline(now);
            self.settle(key, now, sends);
        }
        self.neighbours.handle_deadline(now, &mut sends.frames);
    }

    fn finish(&mut self, job: &Job, now: u64, sends: &mut Sends) {
        let Some(connection) = self.connections.get_mut(&job.key) else { return };
        let close = if job.close { "Connection: close\r\n" } else { "" };
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{close}\r\n", job.bytes).into_bytes();
        answer.resize(answer.len() + job.bytes, b'.');
        connection.tcp.send(&answer, now);
        if job.close {
            connection.tcp.close(now);
        }
        self.answered += 1;
        self.close_after_peer(job.key, now);
        self.settle(job.key, now, sends);
    }

    fn transmit(&mut self, key: Key, out: &Out, now: u64, sends: &mut Sends) {
        let id = self.next_id();
        let segment = Segment {
            src: (self.vip, key.1),
            dst: key.0,
            flags: out.flags,
            seq: out.seq,
            ack: out.ack,
            data: &out.data,
        };
        self.route(key.0.0, packet::tcp_packet(&segment, id), now, sends);
    }

    /// On the same /24, or by the router.
    fn route(&mut self, to: Ipv4Addr, packet: Vec<u8>, now: u64, sends: &mut Sends) {
        let near = self.is_near(to);
        if self.past && (!near || self.mistake == Some(Mistake::NoWayBack)) {
            sends.past.push(packet);
            return;
        }
        self.neighbours.send(if near { to } else { self.gateway }, packet, now, &mut sends.frames);
    }

    /// A millisecond's worth of work, for those who ask how busy it is.
    pub fn queue_ms(&self) -> u64 {
        self.jobs.len() as u64 * self.work / MS
    }
}
