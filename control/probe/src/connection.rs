//! One TCP connection to a server and what is said over it, on a stack of its own in memory.
//!
//! Read first: RFC 9293 §3.10.7.3 (SYN-SENT), RFC 5961 §4 (challenge ACK), RFC 6191 (TIME-WAIT).
//!
//! All servers answer from one address and each has one source port, so a probe uses the four-tuple of the
//! last one. It ends by a reset, which leaves nothing at the server; one that only asks whether a port is open
//! by a reset in place of the handshake's last segment. Should that be lost, or the control core
//! have been killed in between, the server answers the next SYN with an ACK of the old connection; the stack
//! resets that, and the same SYN is sent once more at once.

use crate::http::{self, Reader};
use crate::question::Repeat;
use crate::tls::Tls;
use crate::{Failure, Http};
use dataplane_flow::Instant;
use dataplane_wire::{AddressPair, Layers, ethernet, protocol, tcp};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant as StackInstant;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr, IpListenEndpoint};
use std::net::IpAddr;

/// The largest packet: what every IPv6 link carries, so that tags and tunnels on the way need no room.
const MTU: usize = 1280;

/// The window, in bytes. It is emptied at every segment.
const RECEIVE_ROOM: usize = 8 * 1024;

/// Room for what is said: a request or a TLS flight.
const SEND_ROOM: usize = 4 * 1024;

/// The most bytes that are taken from a server: head and body, with what TLS adds.
const RECEIVED_MAX: usize = 128 * 1024;

/// The most frames that are kept for being sent again.
const UNANSWERED_MAX: usize = 8;

/// The most frames that the stack may have ready: more are withheld from it until they are taken out.
const OUTBOUND_MAX: usize = 32;

/// How often an old connection at the server is reset within one probe.
const RESTARTS_MAX: u8 = 3;

/// A connection: some 1 KiB while it lasts, and 12 KiB of buffers if anything is said.
pub(crate) struct Connection {
    link: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    talk: Talk,
    /// What is to be said and had no room yet.
    pending: Vec<u8>,
    received: usize,
    /// Whether the server has accepted.
    accepted: bool,
    /// Frames that the server has not acknowledged.
    unanswered: Vec<Vec<u8>>,
    repeat: Repeat,
    restarts: u8,
    /// When the stack wants to be called.
    wake: Option<Instant>,
}

/// What is said.
enum Talk {
    /// Nothing: that the server would accept is all. The handshake is not completed, so that its program never
    /// hears of it (nor logs it), and no queue fills while the program hangs.
    Nothing,
    Http(Reader),
    Https(Box<Tls>, Reader),
}

impl Connection {
    /// A SYN to `port`, and GET behind it if `http` says so.
    pub(crate) fn new(
        header: ethernet::Repr,
        addresses: AddressPair,
        (source, port): (u16, u16),
        http: Option<&Http>,
        random: u64,
        repeat: Repeat,
        now: Instant,
    ) -> Result<Self, Failure> {
        let (local, vip): (IpAddr, IpAddr) = match addresses {
            AddressPair::V4 { src, dst } => (src.into(), dst.into()),
            AddressPair::V6 { src, dst } => (src.into(), dst.into()),
        };
        let (talk, pending) = match http {
            None => (Talk::Nothing, Vec::new()),
            Some(check) => {
                let request = http::request(check, vip).ok_or(Failure::NotAskable)?;
                let reader = Reader::new(check);
                if check.tls {
                    let mut tls = Box::new(Tls::new(check, vip, &request).ok_or(Failure::NotAskable)?);
                    let hello = tls.take_out();
                    (Talk::Https(tls, reader), hello)
                } else {
                    (Talk::Http(reader), request)
                }
            }
        };
        let mut link = Link { header, addresses, inbound: None, outbound: Vec::new() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = random;
        let mut interface = Interface::new(config, &mut link, stack_time(now));
        // Everything is on the link: the MAC is ours to write, and no neighbour is ever looked up.
        interface.update_ip_addrs(|list| {
            let _ = list.push(IpCidr::new(IpAddress::from(local), 0));
        });
        let room = |len| SocketBuffer::new(vec![0; len]);
        let mut socket = match talk {
            // Some window must be offered, or nobody takes us for a client.
            Talk::Nothing => Socket::new(room(1024), room(16)),
            _ => Socket::new(room(RECEIVE_ROOM), room(SEND_ROOM)),
        };
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let from = IpListenEndpoint { addr: Some(local.into()), port: source };
        socket
            .connect(interface.context(), (IpAddress::from(vip), port), from)
            .map_err(|_| Failure::NotAskable)?;
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Ok(Self {
            link,
            interface,
            sockets,
            handle,
            talk,
            pending,
            received: 0,
            accepted: false,
            unanswered: Vec::new(),
            repeat,
            restarts: RESTARTS_MAX,
            wake: None,
        })
    }

    /// Takes a segment whose addresses, ports and checksum have been looked at.
    pub(crate) fn handle_packet(&mut self, packet: &[u8]) {
        self.link.inbound = Some(packet.to_vec());
    }

    /// Brings the connection on; frames to send go to `out`. `Some`: the probe is done, and so is the
    /// connection.
    pub(crate) fn drive(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) -> Option<Result<(), Failure>> {
        let result = self.advance(now, out);
        if result.is_none() && self.repeat.take(now) {
            out.extend(self.unanswered.iter().cloned());
        }
        if result.is_some() {
            self.abort(now, out);
        }
        // Rounded up: the stack counts microseconds and would not be due yet.
        let wake = self.interface.poll_at(stack_time(now), &self.sockets);
        self.wake = wake.map(|at| Instant((at.total_micros().max(0) as u64 + 1).saturating_mul(1000)));
        result
    }

    /// Ends the connection by a reset.
    pub(crate) fn abort(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        self.sockets.get_mut::<Socket<'_>>(self.handle).abort();
        self.poll(now);
        out.append(&mut self.link.outbound);
    }

    /// What has failed when time is up.
    pub(crate) fn silence(&self) -> Failure {
        if self.accepted { Failure::Stalled } else { Failure::Timeout }
    }

    /// When it is to be driven next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.wake, self.repeat.at()].into_iter().flatten().min()
    }

    fn poll(&mut self, now: Instant) {
        self.interface.poll(stack_time(now), &mut self.link, &mut self.sockets);
    }

    /// A few rounds, since what is read may bring about what is written: two for plain text, three for TLS.
    fn advance(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) -> Option<Result<(), Failure>> {
        self.interface.poll_ingress_single(stack_time(now), &mut self.link, &mut self.sockets);
        let state = self.sockets.get::<Socket<'_>>(self.handle).state();
        if matches!(self.talk, Talk::Nothing) && state == State::Established {
            return Some(Ok(())); // Before the stack has acknowledged it.
        }
        for _ in 0..4 {
            self.poll(now);
            self.note_sent(out);
            if let Some(result) = self.talk() {
                return Some(result);
            }
            let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
            if self.pending.is_empty() || !socket.can_send() {
                break;
            }
            let sent = socket.send_slice(&self.pending).unwrap_or(0);
            self.pending.drain(..sent);
        }
        self.poll(now);
        self.note_sent(out);
        None
    }

    /// Keeps a copy of what the server must acknowledge.
    fn note_sent(&mut self, out: &mut Vec<Vec<u8>>) {
        let socket = self.sockets.get::<Socket<'_>>(self.handle);
        let asking = socket.state() == State::SynSent;
        if !asking && socket.send_queue() == 0 {
            self.unanswered.clear();
        }
        let mut was_reset = false;
        for frame in self.link.outbound.drain(..) {
            let (flags, carries) = segment_of(&frame);
            was_reset |= flags.contains(tcp::Flags::RST);
            if (carries || flags.contains(tcp::Flags::SYN)) && self.unanswered.len() < UNANSWERED_MAX {
                self.unanswered.push(frame.clone());
            }
            out.push(frame);
        }
        // An old connection at the server has just been reset: it takes the SYN now.
        if asking && was_reset && self.restarts > 0 {
            self.restarts -= 1;
            out.extend(self.unanswered.iter().cloned());
        }
    }

    /// Reads what has come.
    fn talk(&mut self) -> Option<Result<(), Failure>> {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        match socket.state() {
            State::SynSent => return None,
            State::Closed if !self.accepted => return Some(Err(Failure::Refused)),
            State::SynReceived => return None,
            _ => self.accepted = true,
        }
        let mut verdict = None;
        while verdict.is_none() && socket.can_recv() {
            let (talk, received) = (&mut self.talk, &mut self.received);
            let read = socket.recv(|bytes| {
                *received += bytes.len();
                (bytes.len(), talk.take(bytes))
            });
            verdict = read.unwrap_or(Some(Err(Failure::Closed)));
            if verdict.is_none() && self.received > RECEIVED_MAX {
                verdict = Some(Err(Failure::TooLong));
            }
        }
        if let Talk::Https(tls, _) = &mut self.talk {
            self.pending.append(&mut tls.take_out());
        }
        if verdict.is_none() && !socket.may_recv() {
            let was_reset = socket.state() == State::Closed;
            verdict = Some(self.talk.end(was_reset));
        }
        verdict
    }
}

impl Talk {
    fn take(&mut self, bytes: &[u8]) -> Option<Result<(), Failure>> {
        match self {
            Self::Nothing => None,
            Self::Http(reader) => reader.take(bytes),
            Self::Https(tls, reader) => {
                let mut verdict = None;
                let taken = tls.take_in(bytes, |plain| {
                    if verdict.is_none() {
                        verdict = reader.take(plain);
                    }
                });
                // What was said before the connection broke counts.
                verdict.or(taken.err().map(Err))
            }
        }
    }

    /// What a close means here.
    fn end(&self, was_reset: bool) -> Result<(), Failure> {
        match self {
            _ if was_reset => Err(Failure::Closed),
            Self::Nothing => Ok(()),
            Self::Https(tls, _) if tls.is_handshaking() => Err(Failure::Closed),
            Self::Http(reader) | Self::Https(_, reader) => reader.end(),
        }
    }
}

/// The flags of a frame that the stack has made, and whether it carries data.
fn segment_of(frame: &[u8]) -> (tcp::Flags, bool) {
    let layers = Layers::parse(frame, frame.len() as u32, true);
    let upper = frame.get(usize::from(layers.l4)..usize::from(layers.end)).unwrap_or_default();
    let carries = tcp::Segment::new_checked(upper).is_ok_and(|segment| !segment.payload().is_empty());
    (tcp::Flags(layers.flags), carries)
}

fn stack_time(now: Instant) -> StackInstant {
    StackInstant::from_micros((now.0 / 1000) as i64)
}

/// What the stack takes for its device: puts our head in front of what it sends.
struct Link {
    header: ethernet::Repr,
    addresses: AddressPair,
    inbound: Option<Vec<u8>>,
    outbound: Vec<Vec<u8>>,
}

struct Inbound(Vec<u8>);

struct Outbound<'a>(&'a mut Link);

impl Device for Link {
    type RxToken<'a> = Inbound;
    type TxToken<'a> = Outbound<'a>;

    fn receive(&mut self, _: StackInstant) -> Option<(Inbound, Outbound<'_>)> {
        let packet = self.inbound.take()?;
        Some((Inbound(packet), Outbound(self)))
    }

    fn transmit(&mut self, _: StackInstant) -> Option<Outbound<'_>> {
        (self.outbound.len() < OUTBOUND_MAX).then_some(Outbound(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        capabilities
    }
}

impl phy::RxToken for Inbound {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Outbound<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let Self(link) = self;
        let mut frame = vec![0; link.header.frame_len(len)];
        let packet = link.header.emit(link.addresses.ethertype(), &mut frame);
        let result = f(&mut packet[..len]);
        // The stack answers errors and echoes too; a prober sends nothing but its own segments.
        if Layers::parse(&frame, frame.len() as u32, true).protocol == protocol::TCP {
            link.outbound.push(frame);
        }
        result
    }
}
