//! The frames: a template for each kind of packet, and a flow's client stamped into it.
//!
//! A flow is a number: its low 16 bits are the client's host part (198.18.0.0/16), the bits above them go
//! into its port. The identification field is the complement of the low bits, so that the IPv4
//! header's checksum is the template's, whatever the flow: devices without checksum offload, such as
//! `net_null`, leave it to the switch to verify.

use crate::plan::{ROUTER, SERVER_COUNT, VIP, VIP_TAGGED, VIP6, VMAC, VMAC_TAGGED, VMAC6, server_mac};
use dataplane_wire::{MacAddr, checksum};

/// The longest frame: an IPv6 header and a TCP header are 74 bytes.
pub(crate) const FRAME_MAX: usize = 80;

/// The common one, without FCS.
pub(crate) const FRAME: usize = 64;

/// What kind of packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// A segment of TCP over IPv4, without data and with these flags.
    Tcp(u8),
    /// A datagram of UDP.
    Udp,
    /// IPsec.
    Esp,
    /// The first fragment of a datagram of UDP.
    FirstFragment,
    /// One in the middle.
    LaterFragment,
    /// TCP in a VLAN, with its tag.
    Vlan,
    /// TCP over IPv6.
    Ipv6,
}

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// Who sends it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// A client, by the router.
    Client,
    /// The flow's server: number `flow % 8`, see [`Order`].
    Server,
}

/// What the server's SYN+ACK begins with; the client acknowledges one more.
pub(crate) const SERVER_SEQUENCE: u32 = 1000;

/// Every frame of this kind, without its flow.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    kind: Kind,
    from: From,
    bytes: [u8; FRAME_MAX],
}

impl Template {
    pub(crate) fn new(kind: Kind, from: From) -> Self {
        let bytes = match kind {
            Kind::Ipv6 => ipv6(from),
            _ => ipv4(kind, from),
        };
        Self { kind, from, bytes }
    }

    /// The same from clients of 198.19.0.0/16, which are nobody else's. For IPv4 without a tag.
    pub(crate) fn elsewhere(mut self) -> Self {
        let client = if self.from == From::Client { 26 } else { 30 };
        self.bytes[client + 1] = 19;
        self.bytes[24..26].fill(0);
        let sum = checksum::of(0, &self.bytes[14..34]);
        self.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        self
    }

    /// The first 64 bytes.
    pub(crate) fn short(&self) -> [u8; FRAME] {
        *self.bytes.first_chunk().expect("80 bytes have 64")
    }

    /// Writes the frames of the burst, flow by flow as `order` says.
    #[inline(always)]
    pub(crate) fn stamp<'f>(&self, order: &mut Order, frames: impl Iterator<Item = &'f mut [u8]>) {
        // Constant offsets: what a generator costs is subtracted, and little is best.
        match (self.kind, self.from) {
            (Kind::Tcp(_) | Kind::Udp | Kind::FirstFragment, From::Client) => {
                self.each::<FRAME, 18, 28, 34, false>(order, frames);
            }
            (Kind::Tcp(_) | Kind::Udp | Kind::FirstFragment, From::Server) => {
                self.each::<FRAME, 18, 32, 36, true>(order, frames);
            }
            (Kind::Esp | Kind::LaterFragment, From::Client) => {
                self.each::<FRAME, 18, 28, NONE, false>(order, frames);
            }
            (Kind::Esp | Kind::LaterFragment, From::Server) => {
                self.each::<FRAME, 18, 32, NONE, true>(order, frames);
            }
            (Kind::Vlan, From::Client) => self.each::<FRAME, 22, 32, 38, false>(order, frames),
            (Kind::Vlan, From::Server) => self.each::<FRAME, 22, 36, 40, true>(order, frames),
            (Kind::Ipv6, From::Client) => self.each::<FRAME_MAX, NONE, 36, 54, false>(order, frames),
            (Kind::Ipv6, From::Server) => self.each::<FRAME_MAX, NONE, 52, 56, true>(order, frames),
        }
    }

    #[inline(always)]
    fn each<
        'f,
        const LEN: usize,
        const IDENT: usize,
        const HOST: usize,
        const PORT: usize,
        const SERVER: bool,
    >(
        &self,
        order: &mut Order,
        frames: impl Iterator<Item = &'f mut [u8]>,
    ) {
        let template: &[u8; LEN] = self.bytes.first_chunk().expect("a template has 80 bytes");
        // A copy, which no frame can be taken for a part of.
        let mut run = order.run;
        for data in frames {
            let place = run.next();
            let id = order.list.as_ref().map_or(place, |list| list[place as usize]);
            let Some(frame) = data.first_chunk_mut::<LEN>() else { continue };
            stamp::<LEN, IDENT, HOST, PORT, SERVER>(frame, template, id);
        }
        order.run = run;
    }
}

/// In place of an offset: there is no such field.
const NONE: usize = usize::MAX;

#[inline(always)]
fn stamp<const LEN: usize, const IDENT: usize, const HOST: usize, const PORT: usize, const SERVER: bool>(
    frame: &mut [u8; LEN],
    template: &[u8; LEN],
    id: u32,
) {
    *frame = *template;
    let host = id as u16;
    if IDENT < LEN {
        put(frame, IDENT, !host);
    }
    put(frame, HOST, host);
    if PORT < LEN {
        put(frame, PORT, (id >> 16) as u16 | 1024);
    }
    if SERVER {
        frame[11] = (id as u16 % SERVER_COUNT) as u8;
    }
}

#[inline(always)]
fn put<const LEN: usize>(frame: &mut [u8; LEN], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// In which order flows are visited.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    run: Run,
    /// In place of the number itself: the number of this place.
    list: Option<Box<[u32]>>,
}

/// Numbers without a list.
#[derive(Clone, Copy, Debug)]
struct Run {
    product: u64,
    factor: u64,
    shift: u32,
    mask: u32,
}

impl Run {
    #[inline(always)]
    fn next(&mut self) -> u32 {
        let place = (self.product >> self.shift) as u32 & self.mask;
        self.product = self.product.wrapping_add(self.factor);
        place
    }
}

impl Order {
    /// Uniformly over `flows`, a power of two: the worst case for caches.
    pub(crate) fn uniform(flows: u32) -> Self {
        assert!(flows.is_power_of_two(), "flows are visited by a mask");
        Self { run: Run { product: 0, factor: 2_654_435_761, shift: 3, mask: flows - 1 }, list: None }
    }

    /// One after the other, from `first` on.
    pub(crate) fn rising(first: u32) -> Self {
        Self { run: Run { product: u64::from(first), factor: 1, shift: 0, mask: u32::MAX }, list: None }
    }

    /// At random among 2^31: hardly ever the same twice.
    pub(crate) fn random(seed: u64) -> Self {
        let factor = 0x9e37_79b9_7f4a_7c15;
        Self {
            run: Run { product: seed.wrapping_mul(factor), factor, shift: 29, mask: u32::MAX },
            list: None,
        }
    }

    /// Uniformly over these, as many as a power of two.
    pub(crate) fn among(list: Vec<u32>) -> Self {
        let list_len = list.len() as u32;
        Self { list: Some(list.into_boxed_slice()), ..Self::uniform(list_len) }
    }

    #[inline(always)]
    pub(crate) fn next(&mut self) -> u32 {
        let place = self.run.next();
        self.list.as_ref().map_or(place, |list| list[place as usize])
    }
}

fn macs(from: From, vmac: MacAddr) -> [u8; 12] {
    let (to, from) = match from {
        From::Client => (vmac, ROUTER),
        From::Server => (ROUTER, server_mac(0)),
    };
    let mut bytes = [0; 12];
    bytes[..6].copy_from_slice(&to.0);
    bytes[6..].copy_from_slice(&from.0);
    bytes
}

fn ipv4(kind: Kind, from: From) -> [u8; FRAME_MAX] {
    let mut frame = [0; FRAME_MAX];
    let (vip, vmac, l3) = match kind {
        Kind::Vlan => (VIP_TAGGED, VMAC_TAGGED, 18),
        _ => (VIP, VMAC, 14),
    };
    frame[..12].copy_from_slice(&macs(from, vmac));
    if kind == Kind::Vlan {
        frame[12..16].copy_from_slice(&[0x81, 0, 0, 2]);
    }
    frame[l3 - 2..l3].copy_from_slice(&[8, 0]);
    let client = [198, 18, 0, 0];
    let (source, destination) = match from {
        From::Client => (client, vip.octets()),
        From::Server => (vip.octets(), client),
    };
    let (protocol, len, fragment): (u8, u16, u16) = match kind {
        Kind::Udp => (17, 46, 0),
        Kind::Esp => (50, 46, 0),
        Kind::FirstFragment => (17, 44, 0x2000),
        Kind::LaterFragment => (17, 44, 0x2000 | 3),
        _ => (6, 40, 0x4000),
    };
    let ip = &mut frame[l3..l3 + 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&len.to_be_bytes());
    ip[4..6].copy_from_slice(&[0xff, 0xff]);
    ip[6..8].copy_from_slice(&fragment.to_be_bytes());
    ip[8] = 64;
    ip[9] = protocol;
    ip[12..16].copy_from_slice(&source);
    ip[16..20].copy_from_slice(&destination);
    let sum = checksum::of(0, ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    transport(kind, from, &mut frame[l3 + 20..]);
    frame
}

fn ipv6(from: From) -> [u8; FRAME_MAX] {
    let mut frame = [0; FRAME_MAX];
    frame[..12].copy_from_slice(&macs(from, VMAC6));
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    let mut client = [0; 16];
    client[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    client[12..].copy_from_slice(&[0, 1, 0, 0]);
    let (source, destination) = match from {
        From::Client => (client, VIP6.octets()),
        From::Server => (VIP6.octets(), client),
    };
    let ip = &mut frame[14..54];
    ip[0] = 0x60;
    ip[4..6].copy_from_slice(&20_u16.to_be_bytes());
    ip[6] = 6;
    ip[7] = 64;
    ip[8..24].copy_from_slice(&source);
    ip[24..40].copy_from_slice(&destination);
    transport(Kind::Ipv6, from, &mut frame[54..]);
    frame
}

/// Ports and what stands behind them. The checksum of TCP and UDP is the servers' business: it is zero.
fn transport(kind: Kind, from: From, bytes: &mut [u8]) {
    let service = 80_u16.to_be_bytes();
    let side = if from == From::Client { 2 } else { 0 };
    match kind {
        Kind::Esp => bytes[..8].copy_from_slice(&[0, 0, 1, 1, 0, 0, 0, 1]),
        Kind::LaterFragment => {}
        Kind::Udp | Kind::FirstFragment => {
            bytes[side..side + 2].copy_from_slice(&service);
            let len: u16 = if kind == Kind::Udp { 26 } else { 800 };
            bytes[4..6].copy_from_slice(&len.to_be_bytes());
        }
        Kind::Tcp(_) | Kind::Vlan | Kind::Ipv6 => {
            let flags = if let Kind::Tcp(flags) = kind { flags } else { ACK };
            bytes[side..side + 2].copy_from_slice(&service);
            let (sequence, acknowledged) = match (from, flags & SYN != 0) {
                (From::Server, true) => (SERVER_SEQUENCE, 5001),
                (From::Server, false) => (SERVER_SEQUENCE + 1, 5001),
                (From::Client, true) => (5000, 0),
                (From::Client, false) => (5001, SERVER_SEQUENCE + 1),
            };
            bytes[4..8].copy_from_slice(&u32::to_be_bytes(sequence));
            bytes[8..12].copy_from_slice(&u32::to_be_bytes(acknowledged));
            bytes[12] = 0x50;
            bytes[13] = flags;
            bytes[14..16].copy_from_slice(&[0xff, 0xff]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_checksum_is_right_for_every_flow() {
        for kind in [Kind::Tcp(ACK), Kind::Udp, Kind::Esp, Kind::LaterFragment, Kind::Vlan] {
            for from in [From::Client, From::Server] {
                let l3 = if kind == Kind::Vlan { 18 } else { 14 };
                let template = Template::new(kind, from);
                let mut frames = [[0_u8; FRAME_MAX]; 500];
                let mut order = Order::random(7);
                template.stamp(&mut order, frames.iter_mut().map(|f| &mut f[..]));
                if l3 == 14 {
                    template.elsewhere().stamp(&mut order, frames.iter_mut().take(100).map(|f| &mut f[..]));
                }
                for frame in frames {
                    assert_eq!(checksum::of(0, &frame[l3..l3 + 20]), 0, "{kind:?} {from:?}");
                }
            }
        }
    }

    #[test]
    fn every_flow_is_visited() {
        let mut order = Order::uniform(1 << 12);
        let seen: HashSet<u32> = (0..8 << 12).map(|_| order.next()).collect();
        assert_eq!(seen.len(), 1 << 12);
    }

    #[test]
    fn flows_have_clients_of_their_own() {
        let template = Template::new(Kind::Tcp(ACK), From::Client);
        let mut frames = [[0_u8; FRAME]; 2];
        let mut order = Order::rising(0x0003_ffff);
        template.stamp(&mut order, frames.iter_mut().map(|f| &mut f[..]));
        assert_eq!(frames[0][26..30], [198, 18, 0xff, 0xff]);
        assert_eq!(frames[0][34..38], [4, 3, 0, 80]);
        assert_eq!((&frames[1][28..30], &frames[1][34..36]), (&[0, 0][..], &[4, 4][..]));
    }
}
