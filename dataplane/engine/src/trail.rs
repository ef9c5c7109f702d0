//! What all frames of a kind have in common, found out once.
//!
//! Frames that come in by one port, in one VLAN, from one station to one other, and to (of a server: from)
//! one VIP share all that [`crate::classify`] finds out about them but their flow. The first one *lays* a
//! trail, the others go along it. Where frames go is not in it, but for a server's, which go to their router
//! or a station; that is the tables' business, and the flow's.
//!
//! Trails are a memory of a fixed size, with two places for each, keyed at random, so nobody can aim at
//! another's. They are all forgotten with new tables, and when stations are told anew.

use crate::Engine;
use crate::bridge::{Learner, NO_ROUTER};
use crate::classify::{Meta, Way};
use crate::tables::{HopWay, Station, Tables};
use dataplane_flow::{ClusterId, FlowKey, KeyKind, RouterId, TargetId};
use dataplane_message::PortRole;
use dataplane_port::{Head, PortId, PortSet, VlanId};
use dataplane_wire::{MacAddr, Plain, PlainTcp, protocol};

/// Trails at a time, a power of two: a thousand servers send to a router each, or two.
pub(crate) const TRAILS: usize = 4096;

/// Where a port's number, its frames' VLAN and the like stand in a key's second word, above the last four
/// bytes of the stations' addresses: port 5 bits, handed over 1, VLAN 12, IPv6 1, generation 13.
const ORIGIN_AT: u32 = 32;
const VID_AT: u32 = ORIGIN_AT + 6;
const V6_AT: u32 = VID_AT + 12;
const GENERATION_AT: u32 = V6_AT + 1;
const GENERATIONS: u64 = 1 << (64 - GENERATION_AT);

/// What is the same for all frames of a kind.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct Trail {
    /// Both stations, port, VLAN, VIP; see [`key`]. Zero: no trail.
    key: Key,
    /// The first half of an IPv6 VIP.
    network: u64,
    /// The flow key's last word, without protocol and ports.
    pub(crate) flow: u64,
    /// Ports that a frame can leave by in the form it has, a bit each.
    pub(crate) exits: u64,
    /// The VLAN.
    pub(crate) vlan: VlanId,
    /// The router that it comes from or goes to, or [`NO_ROUTER`].
    pub(crate) router: RouterId,
    /// A server's frames: the server.
    pub(crate) sender: TargetId,
    /// A server's frames: where they leave.
    pub(crate) exit: PortId,
    /// UDP has to be read more closely (QUIC).
    pub(crate) reads_udp: bool,
    /// A flow that is seen for the first time in a second is stamped, and that is all: no client's binding
    /// hangs on it.
    pub(crate) stamps: bool,
}

type Key = [u64; 3];

const NONE: Trail = Trail {
    key: [0; 3],
    network: 0,
    flow: 0,
    exits: 0,
    vlan: VlanId(0),
    router: NO_ROUTER,
    sender: TargetId::NONE,
    exit: PortId(0),
    reads_udp: true,
    stamps: false,
};

/// The trails of one worker.
#[derive(Debug)]
pub(crate) struct Trails {
    places: Box<[Trail; TRAILS]>,
    factors: [u64; 2],
    /// Those of another generation are forgotten.
    generation: u64,
}

impl Trails {
    /// None yet; `seed` is random.
    pub(crate) fn new(seed: [u64; 2]) -> Self {
        let factors = seed.map(|f| (f ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9) | 1);
        let places: Box<[Trail]> = vec![NONE; TRAILS].into_boxed_slice();
        Self { places: places.try_into().expect("as many as were made"), factors, generation: 1 }
    }

    /// Forgets all.
    pub(crate) fn forget(&mut self) {
        self.generation += 1;
        if self.generation == GENERATIONS {
            self.generation = 1;
            self.places.fill(NONE);
        }
    }

    /// What the keys of untagged IPv4 packets have in common that come from there ([`Head::origin`]).
    pub(crate) fn origin(&self, origin: u16) -> u64 {
        let [port, handed] = origin.to_le_bytes();
        (u64::from(port & 31) | u64::from(handed) << 5) << ORIGIN_AT | self.generation << GENERATION_AT
    }

    /// The trail's first place; the other one is beside it.
    #[inline(always)]
    pub(crate) fn place(&self, key: &Key) -> u16 {
        let [a, b] = self.factors;
        let rest = key[1] ^ key[2].rotate_left(31);
        (key[0].wrapping_mul(a).wrapping_add(rest.wrapping_mul(b)) >> (64 - TRAILS.trailing_zeros())) as u16
    }

    /// The trail, and its place. `network`: the first half of an IPv6 VIP.
    pub(crate) fn find(&self, key: &Key, network: u64) -> Option<(u16, &Trail)> {
        let place = self.place(key);
        let found = [place, place ^ 1].into_iter().find_map(|place| Some((place, self.at(place, key)?)));
        found.filter(|(_, trail)| trail.network == network)
    }

    /// The trail at this place, if it is this one; of an IPv6 VIP only half of it is looked at.
    #[inline(always)]
    pub(crate) fn at(&self, place: u16, key: &Key) -> Option<&Trail> {
        let trail = &self.places[usize::from(place) & (TRAILS - 1)];
        let [a, b, c] = trail.key;
        (a == key[0] && b == key[1] && c == key[2]).then_some(trail)
    }

    /// Into its first place, if that is free or its own, else into the other one.
    fn lay(&mut self, trail: Trail) {
        let place = self.place(&trail.key);
        let there = self.places[usize::from(place)];
        let taken = there.key[1] >> GENERATION_AT == self.generation && there.key != trail.key;
        self.places[usize::from(place ^ u16::from(taken))] = trail;
    }

    /// All places.
    #[inline(always)]
    pub(crate) fn all(&self) -> &[Trail; TRAILS] {
        &self.places
    }
}

/// The key of an untagged IPv4 packet's trail: both stations, where it came from ([`Trails::origin`]), and
/// the VIP's address as it lies in the frame.
#[inline(always)]
pub(crate) fn key_v4(stations: (u64, u32), origin: u64, vip: u32) -> Key {
    [stations.0, u64::from(stations.1) | origin, u64::from(vip)]
}

/// The same of any plain packet. Of an IPv6 VIP the second half is in it.
#[inline(always)]
pub(crate) fn key(ends: &[u8; 12], plain: &Plain, origin: u64, vip: u64) -> Key {
    let [first, second, _] = key_v4(split(ends), origin, 0);
    let vip = if plain.v6 { vip } else { u64::from((vip as u32).swap_bytes()) };
    [first, second | u64::from(plain.vid) << VID_AT | u64::from(plain.v6) << V6_AT, vip]
}

/// Both stations' addresses as [`PlainTcp::stations`] has them.
#[inline(always)]
fn split(ends: &[u8; 12]) -> (u64, u32) {
    let [a @ .., _, _, _, _] = *ends;
    let [.., w, x, y, z] = *ends;
    (u64::from_le_bytes(a), u32::from_le_bytes([w, x, y, z]))
}

impl Engine {
    /// Lays a trail for the frames that are like this one, if they are all to be treated alike.
    pub(crate) fn lay_trail(&mut self, head: &Head<'_>, meta: &Meta) {
        let serves = self.tables.server_ports.contains(head.port);
        let trail = match meta.way {
            Way::Inbound | Way::InboundFragment if !serves => {
                inbound(&self.tables, &self.learner, head, meta)
            }
            Way::Outbound if serves => outbound(&self.tables, head, meta),
            _ => None,
        };
        // As they came: the destination may be another one by now.
        let mut ends = [0; 12];
        ends[..6].copy_from_slice(&MacAddr::from_u64(meta.to).0);
        ends[6..].copy_from_slice(&MacAddr::from_u64(meta.from).0);
        let origin = self.trails.origin(head.origin());
        if let Some(trail) = trail
            && let Some((key, network)) = key_of(head, serves, &ends, origin)
        {
            let stamps = self.tables.cluster(meta.cluster).is_some_and(|c| !c.by_client && !c.quic);
            self.trails.lay(Trail { key, network, vlan: meta.vlan, stamps, ..trail });
        }
    }
}

/// The key of a frame, and the first half of an IPv6 VIP; `None` for what is not plain.
fn key_of(head: &Head<'_>, serves: bool, ends: &[u8; 12], origin: u64) -> Option<(Key, u64)> {
    if let Some(tcp) = PlainTcp::read(head.data, head.len, head.checksum_good) {
        let vip = if serves { tcp.source() } else { tcp.destination() };
        return Some((key_v4(split(ends), origin, vip), 0));
    }
    let plain = Plain::read(head.data, head.len, head.checksum_good)?;
    let [network, vip] = Sides::read(head.data, &plain, serves)?.vip;
    Some((key(ends, &plain, origin, vip), network))
}

impl Trail {
    /// What [`crate::classify::classify`] finds out about a packet of this kind that has this hash.
    pub(crate) fn meta(&self, tcp: &PlainTcp<'_>, hash: u64, meta: &mut Meta) {
        let serves = self.sender != TargetId::NONE;
        let (first, last) = tcp.stations();
        let (client, ports) = if serves {
            (tcp.destination(), tcp.ports().rotate_left(16))
        } else {
            (tcp.source(), tcp.ports())
        };
        let cluster = ClusterId((self.flow >> 16) as u16);
        meta.way = if serves { Way::Outbound } else { Way::Inbound };
        meta.vlan = self.vlan;
        meta.tagged = false;
        meta.layers = tcp.layers();
        meta.to = first.swap_bytes() >> 16;
        meta.from = (first.swap_bytes() & 0xffff) << 32 | u64::from(last.swap_bytes());
        meta.cluster = cluster;
        meta.sender = self.sender;
        meta.sender_cluster = cluster;
        let last = self.flow | u64::from(protocol::TCP) << 8 | u64::from(ports) << 32;
        meta.key = FlowKey::from_words([0, u64::from(u32::from_be(client)), last]);
        meta.hash = hash;
    }
}

/// A packet's two addresses, as words of a flow key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sides {
    /// The source; of a server's packet the destination.
    pub(crate) client: [u64; 2],
    /// The other one.
    pub(crate) vip: [u64; 2],
}

impl Sides {
    /// `serves`: servers are behind the frame's port.
    #[inline(always)]
    pub(crate) fn read(data: &[u8], plain: &Plain, serves: bool) -> Option<Self> {
        if !plain.v6 {
            let pair = plain.pair.rotate_left(if serves { 32 } else { 0 });
            return Some(Self { client: [0, pair >> 32], vip: [0, pair & 0xffff_ffff] });
        }
        let addresses: &[u8; 32] = data.get(plain.l3 + 8..)?.first_chunk()?;
        let word = |at: usize| u64::from_be_bytes(core::array::from_fn(|i| addresses[at + i]));
        let (source, destination) = ([word(0), word(8)], [word(16), word(24)]);
        let (client, vip) = if serves { (destination, source) } else { (source, destination) };
        Some(Self { client, vip })
    }
}

/// Of frames to a VIP from a station outside that is known.
fn inbound(tables: &Tables, learner: &Learner, head: &Head<'_>, meta: &Meta) -> Option<Trail> {
    if tables.ports[head.port.index() & 31].role != PortRole::Outside || meta.sender != TargetId::NONE {
        return None;
    }
    let v6 = meta.key.is_v6();
    let router = if head.handed { NO_ROUTER } else { learner.known(head.port, meta)?[usize::from(v6)] };
    Some(Trail {
        flow: flow_word(meta.cluster, v6),
        exits: exits(tables, meta),
        router,
        reads_udp: false,
        ..NONE
    })
}

/// Of a server's frames to a router, or to a station that was learned.
fn outbound(tables: &Tables, head: &Head<'_>, meta: &Meta) -> Option<Trail> {
    if meta.is_group() {
        return None;
    }
    let v6 = meta.key.is_v6();
    let (exit, router) = match tables.stations.find(meta.vlan, meta.to)? {
        Station::Router(id, port) => {
            let hop = tables.pools.router(id).map(|router| &router.hops[usize::from(v6)]);
            match hop {
                Some(hop) if hop.way == HopWay::Straight => (port, hop.router),
                Some(_) => return None,
                None => (port, NO_ROUTER),
            }
        }
        Station::Learned(port) => (port, NO_ROUTER),
        Station::Vmac(_) | Station::Server(..) => return None,
    };
    let exits = exits(tables, meta);
    let leaves = exit != head.port && exits >> (exit.0 & 63) & 1 != 0;
    let quic = tables.cluster(meta.cluster)?.quic;
    leaves.then_some(Trail {
        flow: flow_word(meta.cluster, v6),
        exits,
        router,
        sender: meta.sender,
        exit,
        reads_udp: quic,
        ..NONE
    })
}

/// See [`FlowKey::new`].
fn flow_word(cluster: ClusterId, v6: bool) -> u64 {
    FlowKey::new(KeyKind::Flow, cluster, 0, v6, [0; 2], 0, 0).words()[2]
}

/// Ports that are up and carry the frame's VLAN in the frame's form.
fn exits(tables: &Tables, meta: &Meta) -> u64 {
    let vlan = tables.vlan(meta.vlan);
    let same_form = if meta.tagged { vlan.tagged } else { vlan.untagged };
    let up: PortSet = same_form.iter().filter(|port| tables.ports[port.index() & 31].up).collect();
    u64::from(up.0)
}
