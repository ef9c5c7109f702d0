//! A prober, a server of another stack, and the wire between them, in virtual time.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "shared by several tests; each uses a part")]

use control_probe::{Failure, Kind, Local, Outcome, Peer, Prober};
use dataplane_flow::Instant;
use dataplane_port::PortId;
use dataplane_wire::{
    AddressPair, Layers, MacAddr, Network, arp, ethernet, icmp, icmpv6, ipv4, ipv6, nd, tcp,
};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::wire::{HardwareAddress, IpCidr};
use std::collections::VecDeque;
use std::net::IpAddr;

pub(crate) const SERVER: MacAddr = MacAddr([2, 0, 0, 0, 0, 0x11]);
pub(crate) const VMAC: MacAddr = MacAddr([2, 0, 0x5e, 0, 0, 1]);
pub(crate) const ID: u16 = 61_447;

/// One way over the wire, in nanoseconds.
const LATENCY: u64 = 100_000;

/// One of the settings in which every probe must work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) v6: bool,
    pub(crate) tci: Option<u16>,
}

pub(crate) const SETTINGS: [Setting; 4] = [
    Setting { v6: false, tci: None },
    Setting { v6: false, tci: Some(0x6007) },
    Setting { v6: true, tci: None },
    Setting { v6: true, tci: Some(42) },
];

impl Setting {
    pub(crate) fn vip(self) -> IpAddr {
        if self.v6 { "2001:db8::80".parse().unwrap() } else { "203.0.113.80".parse().unwrap() }
    }

    pub(crate) fn probe(self) -> IpAddr {
        if self.v6 { "fe80::5:1".parse().unwrap() } else { "203.0.113.1".parse().unwrap() }
    }

    pub(crate) fn peer(self) -> Peer {
        Peer { mac: SERVER, address: self.vip(), tci: self.tci, port: PortId(3) }
    }

    pub(crate) fn local(self) -> Local {
        Local { mac: VMAC, address: self.probe(), id: ID }
    }

    pub(crate) fn prober(self) -> Prober {
        Prober::new(self.peer(), self.local()).unwrap()
    }
}

/// What a program does with a connection: told what has come, says what it sends and whether it closes.
pub(crate) trait Program {
    /// Called as long as the connection is there. `received` grows.
    fn talk(&mut self, received: &[u8], send: &mut Vec<u8>) -> bool;
}

impl<F: FnMut(&[u8], &mut Vec<u8>) -> bool> Program for F {
    fn talk(&mut self, received: &[u8], send: &mut Vec<u8>) -> bool {
        self(received, send)
    }
}

struct Listener {
    handle: SocketHandle,
    port: u16,
    program: Box<dyn Program>,
    received: Vec<u8>,
    to_send: Vec<u8>,
}

/// What the server does with UDP: the answer, if any.
type UdpProgram = Box<dyn FnMut(&[u8]) -> Option<Vec<u8>>>;

/// What the server remembers of a connection whose reset was lost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// The sequence number it has sent last.
    pub(crate) sent: u32,
    /// The one it expects: only a reset with exactly that ends it.
    pub(crate) expected: u32,
    /// It is in TIME-WAIT, and a SYN with a later sequence number replaces it.
    pub(crate) is_time_wait: bool,
}

pub(crate) struct Server {
    setting: Setting,
    device: Link,
    interface: Interface,
    sockets: SocketSet<'static>,
    listeners: Vec<Listener>,
    pub(crate) udp: Option<UdpProgram>,
    /// Answers nothing at all.
    pub(crate) is_dead: bool,
    /// A connection of an earlier probe, of which only the server knows.
    pub(crate) left: Option<Left>,
    /// The SYN that was answered last, and how.
    syn_ack: Option<(u32, Vec<u8>)>,
    /// Connections seen to be made.
    pub(crate) accepted: usize,
    out: Vec<Vec<u8>>,
}

impl Server {
    pub(crate) fn new(setting: Setting) -> Self {
        let mut device = Link::default();
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = 77;
        let mut interface = Interface::new(config, &mut device, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|list| list.push(IpCidr::new(setting.vip().into(), 0)).unwrap());
        Self {
            setting,
            device,
            interface,
            sockets: SocketSet::new(Vec::new()),
            listeners: Vec::new(),
            udp: None,
            is_dead: false,
            left: None,
            syn_ack: None,
            accepted: 0,
            out: Vec::new(),
        }
    }

    pub(crate) fn listen(&mut self, port: u16, program: impl Program + 'static) {
        let room = || SocketBuffer::new(vec![0; 100_000]);
        let mut socket = Socket::new(room(), room());
        socket.listen(port).unwrap();
        let handle = self.sockets.add(socket);
        let program = Box::new(program);
        self.listeners.push(Listener { handle, port, program, received: Vec::new(), to_send: Vec::new() });
    }

    /// The state of the connection, or of the listening socket.
    pub(crate) fn state(&self, port: u16) -> smoltcp::socket::tcp::State {
        let listener = self.listeners.iter().find(|l| l.port == port).unwrap();
        self.sockets.get::<Socket<'_>>(listener.handle).state()
    }

    pub(crate) fn handle(&mut self, frame: &[u8], now: Instant) {
        if self.is_dead {
            return;
        }
        let layers = Layers::parse(frame, frame.len() as u32, false);
        assert_eq!(layers.flaw, None);
        let head = ethernet::Frame::new_checked(frame).unwrap();
        assert_eq!((head.dst_addr(), head.src_addr()), (SERVER, VMAC));
        assert_eq!(layers.tci, self.setting.tci.unwrap_or(0));
        let l3 = usize::from(layers.l3);
        match layers.network {
            Network::Arp => {
                let request = arp::Repr::parse(&arp::Packet::new_checked(&frame[l3..]).unwrap());
                assert_eq!(request.operation, arp::Operation::Request);
                assert_eq!(
                    IpAddr::V4(request.sender_ip),
                    self.setting.probe(),
                    "FS-30: never nobody or the VIP"
                );
                let mut answer = vec![0; arp::FRAME_LEN];
                request.answer(SERVER).emit_frame(&self.link(), &mut answer);
                self.out.push(answer);
            }
            Network::V4 | Network::V6 => match (layers.protocol, layers.flags) {
                (58, 135) => {
                    let ip = ipv6::Packet::new_checked(&frame[l3..]).unwrap();
                    let message =
                        nd::Message::new_checked(&frame[layers.l4.into()..layers.end.into()]).unwrap();
                    assert!(message.is_valid(ip.src_addr(), ip.dst_addr(), ip.hop_limit()));
                    assert_eq!(message.source_link_layer(), Some(VMAC));
                    let target = message.target().unwrap();
                    let answer = nd::Advertisement::answering(ip.src_addr(), target, SERVER);
                    let mut bytes = vec![0; answer.frame_len(&self.link())];
                    answer.emit_frame(&self.link(), &mut bytes);
                    self.out.push(bytes);
                }
                (1, 8) | (58, 128) => self.out.push(echo_reply(frame, &layers)),
                (17, _) => {
                    let payload = frame[usize::from(layers.l4) + 8..usize::from(layers.end)].to_vec();
                    if let Some(answer) = self.udp.as_mut().and_then(|program| program(&payload)) {
                        self.out.push(datagram(frame, &layers, &answer));
                    } else if self.udp.is_none() {
                        self.out.push(port_unreachable(frame, &layers));
                    }
                }
                _ => {
                    if !self.is_answered_as_linux_does(frame, &layers) {
                        self.device.inbound.push_back(frame[l3..usize::from(layers.end)].to_vec());
                    }
                }
            },
            Network::Other => panic!("neither ARP nor IP"),
        }
        self.poll(now);
    }

    /// What Linux answers and this stack does not: a SYN for a connection that is there (RFC 5961 §4.2), one
    /// in TIME-WAIT (RFC 6191), and a SYN that comes again.
    fn is_answered_as_linux_does(&mut self, frame: &[u8], layers: &Layers) -> bool {
        let upper = &frame[usize::from(layers.l4)..usize::from(layers.end)];
        let segment = tcp::Segment::new_checked(upper).unwrap();
        let flags = segment.flags();
        if let Some(left) = self.left {
            if flags.contains(tcp::Flags::RST) && segment.seq() == left.expected {
                self.left = None;
            } else if flags.is_opening() {
                let is_later = (segment.seq().wrapping_sub(left.expected) as i32) > 0;
                if left.is_time_wait && is_later {
                    self.left = None;
                    return false;
                }
                let pair = addresses(frame, layers).reversed();
                let (from, to) = (segment.dst_port(), segment.src_port());
                self.out.push(bare_ack(&self.link(), pair, (from, to), left.sent, left.expected));
            }
            return true;
        }
        match &self.syn_ack {
            Some((seq, answer)) if flags.is_opening() && *seq == segment.seq() => {
                self.out.push(answer.clone());
                true
            }
            _ => {
                if flags.is_opening() {
                    self.syn_ack = Some((segment.seq(), Vec::new()));
                }
                false
            }
        }
    }

    fn link(&self) -> ethernet::Repr {
        ethernet::Repr { src: SERVER, dst: VMAC, tci: self.setting.tci }
    }

    pub(crate) fn poll(&mut self, now: Instant) {
        let time = smoltcp::time::Instant::from_micros((now.0 / 1000) as i64);
        for _ in 0..6 {
            self.interface.poll(time, &mut self.device, &mut self.sockets);
            for listener in &mut self.listeners {
                let socket = self.sockets.get_mut::<Socket<'_>>(listener.handle);
                if !socket.is_open() {
                    // Closed, reset: listens again, as a program with its listening socket does.
                    self.accepted += 1;
                    listener.received.clear();
                    listener.to_send.clear();
                    socket.listen(listener.port).unwrap();
                } else if socket.may_send() {
                    while socket.can_recv() {
                        socket
                            .recv(|bytes| (bytes.len(), listener.received.extend_from_slice(bytes)))
                            .unwrap();
                    }
                    let close = listener.program.talk(&listener.received, &mut listener.to_send);
                    let sent = socket.send_slice(&listener.to_send).unwrap();
                    listener.to_send.drain(..sent);
                    if close && listener.to_send.is_empty() {
                        socket.close();
                    }
                }
            }
        }
        let link = self.link();
        for packet in self.device.outbound.drain(..) {
            let mut frame = vec![0; link.frame_len(packet.len())];
            let ethertype =
                if self.setting.v6 { ethernet::EtherType::IPV6 } else { ethernet::EtherType::IPV4 };
            link.emit(ethertype, &mut frame)[..packet.len()].copy_from_slice(&packet);
            if let (Some((_, answer)), "SA") = (&mut self.syn_ack, flags(&frame).as_str()) {
                answer.clone_from(&frame);
            }
            self.out.push(frame);
        }
    }

    fn next(&mut self, now: Instant) -> Option<Instant> {
        let time = smoltcp::time::Instant::from_micros((now.0 / 1000) as i64);
        self.interface
            .poll_at(time, &self.sockets)
            .map(|at| Instant((at.total_micros().max(0) as u64 + 1) * 1000))
    }
}

/// Swaps the directions of a frame.
fn turn(frame: &[u8], layers: &Layers) -> Vec<u8> {
    let mut answer = frame.to_vec();
    answer[..6].copy_from_slice(&frame[6..12]);
    answer[6..12].copy_from_slice(&frame[..6]);
    let l3 = usize::from(layers.l3);
    let (at, len) = if layers.network == Network::V4 { (l3 + 12, 4) } else { (l3 + 8, 16) };
    answer[at..at + len].copy_from_slice(&frame[at + len..at + 2 * len]);
    answer[at + len..at + 2 * len].copy_from_slice(&frame[at..at + len]);
    answer
}

pub(crate) fn echo_reply(frame: &[u8], layers: &Layers) -> Vec<u8> {
    let mut answer = turn(frame, layers);
    let (l3, l4, end) = (usize::from(layers.l3), usize::from(layers.l4), usize::from(layers.end));
    if layers.network == Network::V4 {
        let mut echo = icmp::Packet::new_checked(&mut answer[l4..end]).unwrap();
        echo.set_kind(icmp::kind::ECHO_REPLY);
        echo.fill_checksum();
    } else {
        let (src, dst) = {
            let ip = ipv6::Packet::new_checked(&answer[l3..]).unwrap();
            (ip.src_addr(), ip.dst_addr())
        };
        let mut echo = icmpv6::Packet::new_checked(&mut answer[l4..end]).unwrap();
        echo.set_kind(icmpv6::kind::ECHO_REPLY);
        echo.fill_checksum(src, dst);
    }
    answer
}

fn addresses(frame: &[u8], layers: &Layers) -> AddressPair {
    let packet = &frame[usize::from(layers.l3)..];
    if layers.network == Network::V4 {
        let ip = ipv4::Packet::new_checked(packet).unwrap();
        AddressPair::V4 { src: ip.src_addr(), dst: ip.dst_addr() }
    } else {
        let ip = ipv6::Packet::new_checked(packet).unwrap();
        AddressPair::V6 { src: ip.src_addr(), dst: ip.dst_addr() }
    }
}

fn tci(layers: &Layers) -> Option<u16> {
    (layers.tags > 0).then_some(layers.tci)
}

fn datagram(question: &[u8], layers: &Layers, payload: &[u8]) -> Vec<u8> {
    let pair = addresses(question, layers).reversed();
    let link = ethernet::Repr { src: SERVER, dst: VMAC, tci: tci(layers) };
    let len = 8 + payload.len();
    let mut frame = vec![0; link.frame_len(pair.header_len() + len)];
    let rest = pair.emit(17, 64, len as u16, link.emit(pair.ethertype(), &mut frame));
    let datagram = &mut rest[..len];
    datagram[..2].copy_from_slice(&layers.destination.to_be_bytes());
    datagram[2..4].copy_from_slice(&layers.source.to_be_bytes());
    datagram[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    datagram[8..].copy_from_slice(payload);
    let sum = dataplane_wire::checksum::of(pair.pseudo_sum(17, len as u16), datagram);
    datagram[6..8].copy_from_slice(&sum.to_be_bytes());
    frame
}

fn bare_ack(link: &ethernet::Repr, pair: AddressPair, ports: (u16, u16), seq: u32, ack: u32) -> Vec<u8> {
    let reset = tcp::Reset { addresses: pair, src_port: ports.0, dst_port: ports.1, seq, ack: Some(ack) };
    let mut frame = vec![0; reset.frame_len(link)];
    reset.emit_frame(link, &mut frame);
    let l4 = link.header_len() + pair.header_len();
    let segment = &mut frame[l4..l4 + 20];
    segment[13] = tcp::Flags::ACK.0;
    segment[14] = 0x20;
    segment[16..18].fill(0);
    let sum = dataplane_wire::checksum::of(pair.pseudo_sum(6, 20), segment);
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
    frame
}

pub(crate) fn port_unreachable(question: &[u8], layers: &Layers) -> Vec<u8> {
    unreachable(question, layers, if layers.network == Network::V4 { 3 } else { 4 })
}

pub(crate) fn unreachable(question: &[u8], layers: &Layers, code: u8) -> Vec<u8> {
    let packet = &question[usize::from(layers.l3)..usize::from(layers.end)];
    let link = ethernet::Repr { src: SERVER, dst: VMAC, tci: tci(layers) };
    match addresses(question, layers) {
        AddressPair::V4 { src, dst } => {
            let error = icmp::Unreachable { src: dst, dst: src, code, packet };
            let mut frame = vec![0; error.frame_len(&link)];
            error.emit_frame(&link, &mut frame);
            frame
        }
        AddressPair::V6 { src, dst } => {
            let error = icmpv6::Unreachable { src: dst, dst: src, code, packet };
            let mut frame = vec![0; error.frame_len(&link)];
            error.emit_frame(&link, &mut frame);
            frame
        }
    }
}

/// Which frames the wire loses: told whether it goes to the server, and how many went that way before.
pub(crate) type Loss = Box<dyn FnMut(bool, usize, &[u8]) -> bool>;

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) prober: Prober,
    pub(crate) server: Server,
    pub(crate) loss: Loss,
    /// Frames that the prober has sent.
    pub(crate) sent: Vec<Vec<u8>>,
    /// Frames that the server has sent.
    pub(crate) answered: Vec<Vec<u8>>,
    pub(crate) outcomes: Vec<(u16, Outcome)>,
    wire: VecDeque<(Instant, bool, Vec<u8>)>,
    random: u64,
}

impl World {
    pub(crate) fn new(setting: Setting) -> Self {
        Self {
            now: Instant::from_secs(10),
            prober: setting.prober(),
            server: Server::new(setting),
            loss: Box::new(|_, _, _| false),
            sent: Vec::new(),
            answered: Vec::new(),
            outcomes: Vec::new(),
            wire: VecDeque::new(),
            random: 0x1234_5678_9abc_def1,
        }
    }

    pub(crate) fn start(&mut self, check: u16, kind: &Kind, timeout_ms: u32) -> bool {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.start_with(check, kind, timeout_ms, self.random)
    }

    pub(crate) fn start_with(&mut self, check: u16, kind: &Kind, timeout_ms: u32, random: u64) -> bool {
        let started = self.prober.start(check, kind, timeout_ms, random, self.now);
        self.move_frames();
        started
    }

    /// What the server has ready to send.
    pub(crate) fn server_frames(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.server.out)
    }

    /// Asks, runs until the answer, and a little longer.
    pub(crate) fn ask(&mut self, kind: &Kind, timeout_ms: u32) -> Outcome {
        let begun = self.now;
        assert!(self.start(1, kind, timeout_ms));
        while self.outcomes.is_empty() {
            assert!(self.now <= begun.plus_millis(u64::from(timeout_ms)), "no outcome by the time-out");
            self.step();
        }
        let (check, outcome) = self.outcomes.remove(0);
        assert_eq!((check, self.outcomes.len()), (1, 0));
        self.run_ms(2);
        assert!(self.prober.is_idle());
        assert_eq!(self.prober.next_deadline(), None);
        outcome
    }

    pub(crate) fn result(&mut self, kind: &Kind, timeout_ms: u32) -> Result<(), Failure> {
        self.ask(kind, timeout_ms).result
    }

    pub(crate) fn run_ms(&mut self, millis: u64) {
        let end = self.now.plus_millis(millis);
        while self.now < end {
            self.step();
        }
    }

    /// To the next event, at most a millisecond on.
    fn step(&mut self) {
        let mut next = self.now.plus_millis(1);
        for at in
            [self.wire.front().map(|(at, ..)| *at), self.prober.next_deadline(), self.server.next(self.now)]
        {
            next = at.map_or(next, |at| at.min(next));
        }
        self.now = Instant(next.0.max(self.now.0 + 1000));
        while self.wire.front().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, to_server, frame) = self.wire.pop_front().unwrap();
            if to_server {
                self.server.handle(&frame, self.now);
            } else {
                self.prober.handle_frame(&frame, self.now);
            }
            self.move_frames();
        }
        if self.prober.next_deadline().is_some_and(|at| at <= self.now) {
            self.prober.handle_deadline(self.now);
        }
        if !self.server.is_dead {
            self.server.poll(self.now);
        }
        self.move_frames();
    }

    fn move_frames(&mut self) {
        let at = Instant(self.now.0 + LATENCY);
        while let Some(frame) = self.prober.poll_transmit() {
            assert!(frame.len() >= 60);
            if !(self.loss)(true, self.sent.len(), &frame) {
                self.wire.push_back((at, true, frame.clone()));
            }
            self.sent.push(frame);
        }
        for frame in self.server.out.drain(..) {
            if !(self.loss)(false, self.answered.len(), &frame) {
                self.wire.push_back((at, false, frame.clone()));
            }
            self.answered.push(frame);
        }
        while let Some(outcome) = self.prober.poll_outcome() {
            self.outcomes.push(outcome);
        }
    }
}

/// The flags of a frame's segment, as letters.
pub(crate) fn flags(frame: &[u8]) -> String {
    tcp::Flags(Layers::parse(frame, frame.len() as u32, false).flags).to_string()
}

#[derive(Default)]
struct Link {
    inbound: VecDeque<Vec<u8>>,
    outbound: Vec<Vec<u8>>,
}

struct Inbound(Vec<u8>);

struct Outbound<'a>(&'a mut Link);

impl Device for Link {
    type RxToken<'a> = Inbound;
    type TxToken<'a> = Outbound<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Inbound, Outbound<'_>)> {
        let packet = self.inbound.pop_front()?;
        Some((Inbound(packet), Outbound(self)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outbound<'_>> {
        Some(Outbound(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 1500;
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
        let mut packet = vec![0; len];
        let result = f(&mut packet);
        self.0.outbound.push(packet);
        result
    }
}
