//! What all frames of a kind have in common, found out once.
//!
//! Frames that come in by one port, in one VLAN, from one station to one other, and to (of a server: from)
//! one VIP share all that [`crate::classify`] finds out about them but their flow. The first one *lays* a
//! trail, the others go along it. Where frames go is not in it, but for a server's, which go to their router
//! or a station; that is the tables' business, and the flow's.
//!
//! Trails are a memory of a fixed size, with four places for each, keyed at random, so nobody can aim at
//! another's. They are all forgotten with new tables, and when stations are told anew.

use crate::Engine;
use crate::bridge::{Learner, NO_ROUTER};
use crate::classify::{Meta, Way};
use crate::tables::{HopWay, Station, Tables};
use dataplane_cpu::{Differences, agrees};
use dataplane_flow::{ClusterId, FlowKey, HalfHash, HashKey, KeyKind, RouterId, TargetId};
use dataplane_message::PortRole;
use dataplane_port::{Head, PortId, PortSet, VlanId};
use dataplane_wire::{MacAddr, Plain, PlainTcp, protocol};

/// Trails at a time, a power of two: a thousand servers send to a router each, or two.
pub(crate) const TRAILS: usize = 4096;

/// Where the generation stands in an origin, above the port (8 bits) and whether it was handed over.
const GENERATION_AT: u32 = 9;
const GENERATIONS: u32 = 1 << (32 - GENERATION_AT);

/// What is the same for all frames of a kind: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Trail {
    key: Key,
    /// TCP in untagged IPv4: the flows' hash, but for clients and ports.
    half: HalfHash,
    /// Ports that a frame can leave by in the form it has, a bit each.
    pub(crate) exits: u64,
    /// The flow key's last word, without protocol and ports.
    pub(crate) flow: u32,
    /// Where its frames come in, and in which generation of trails. Zero: no trail.
    origin: u32,
    pub(crate) course: Course,
}

const _: () = assert!(size_of::<Trail>() == 64);

/// What a trail says of where its frames come from and go to, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Course(u64);

impl Course {
    const NONE: Self = Self::new(TargetId::NONE, NO_ROUTER, PortId(0), VlanId(0));
    const READS_UDP: u64 = 1 << 40;
    const STAMPS: u64 = 1 << 41;

    const fn new(sender: TargetId, router: RouterId, exit: PortId, vlan: VlanId) -> Self {
        let [sender, router, vlan] = [sender.0 as u64, router.0 as u64, vlan.0 as u64];
        Self(sender | router << 16 | (exit.0 as u64) << 32 | vlan << 48)
    }

    /// A server's frames: the server.
    #[inline(always)]
    pub(crate) fn sender(self) -> TargetId {
        TargetId(self.0 as u16)
    }

    /// The router that they come from or go to, or [`NO_ROUTER`].
    #[inline(always)]
    pub(crate) fn router(self) -> RouterId {
        RouterId((self.0 >> 16) as u16)
    }

    /// A server's frames: where they leave.
    #[inline(always)]
    pub(crate) fn exit(self) -> PortId {
        PortId((self.0 >> 32) as u8)
    }

    /// UDP has to be read more closely (QUIC).
    pub(crate) fn reads_udp(self) -> bool {
        self.0 & Self::READS_UDP != 0
    }

    /// A flow hangs on nothing but itself: no service of its cluster binds clients, chooses by them, or is QUIC. So
    /// one that is due is stamped, and that is all; and its owner and its server go by its hash.
    pub(crate) fn stamps(self) -> bool {
        self.0 & Self::STAMPS != 0
    }

    /// The VLAN.
    pub(crate) fn vlan(self) -> VlanId {
        VlanId((self.0 >> 48) as u16)
    }
}

impl Default for Course {
    fn default() -> Self {
        Self::NONE
    }
}

/// What tells the kinds of one origin apart. TCP in untagged IPv4: the frame's bytes 0 to 15 and 18 to 33
/// themselves, as far as [`of_tcp`] asks for them. All others: both stations, the VLAN, the IP version and
/// [`OTHER`], then the VIP.
type Key = [u128; 2];

/// Where a TCP packet's key has the type of service, which is not asked for.
const OTHER: u8 = 0xff;

/// Which bits of the frame are asked for where TCP goes to a VIP, and where it comes `from` one.
const fn of_tcp(from: bool) -> Key {
    let [first, second] = PlainTcp::SHAPE_MASK;
    let stations =
        u128::from_ne_bytes([255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]);
    let source = u128::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0]);
    let destination = u128::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    [first | stations, second | if from { source } else { destination }]
}
const TO_VIP: Key = of_tcp(false);
const FROM_VIP: Key = of_tcp(true);

/// The bits of [`FROM_VIP`] but for the server's own address.
const FROM_ANY: Key = {
    let [first, second] = FROM_VIP;
    let server = u128::from_ne_bytes([0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]);
    [first & !server, second]
};

const NONE: Trail =
    Trail { key: [0; 2], half: HalfHash::NONE, flow: 0, origin: 0, exits: 0, course: Course::NONE };

/// The trail at a place.
#[inline(always)]
pub(crate) fn at(places: &[Trail; TRAILS], place: u16) -> &Trail {
    &places[usize::from(place) & (TRAILS - 1)]
}

/// The places that a trail can lie in whose first one this is.
#[inline(always)]
fn places(first: u16) -> [u16; 4] {
    [first, first ^ 1, first ^ 2, first ^ 3]
}

/// The trails of frames that came in by one way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrailsFrom<'a> {
    places: &'a [Trail; TRAILS],
    factor: u64,
    /// What their trails say of where they came in.
    origin: u32,
    /// What that adds to the choice of a place.
    salt: u64,
}

/// The trails of one worker.
#[derive(Debug)]
pub(crate) struct Trails {
    places: Box<[Trail; TRAILS]>,
    factors: [u64; 2],
    /// Those of another generation are forgotten.
    generation: u32,
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

    /// Those of frames from there ([`Head::origin`]).
    pub(crate) fn from(&self, origin: u16) -> TrailsFrom<'_> {
        let [factor, salt] = self.factors;
        let origin = u32::from(origin) | self.generation << GENERATION_AT;
        TrailsFrom { places: &self.places, factor, origin, salt: u64::from(origin).wrapping_mul(salt) }
    }

    /// Into the first of its places that is free or its own, else into the last one. `from`: of [`Head::origin`].
    fn lay(&mut self, kind: &Kind, from: u16, trail: Trail) {
        let from = self.from(from);
        let trail = Trail { key: kind.key, origin: from.origin, ..trail };
        let (places, generation) = (places(from.place(kind.stations(), kind.vip)), self.generation);
        let is_for_it = |place: &u16| {
            let there = from.at(*place);
            there.origin >> GENERATION_AT != generation
                || there.key == trail.key && there.origin == trail.origin
        };
        let place = places.into_iter().find(is_for_it).unwrap_or(places[places.len() - 1]);
        self.places[usize::from(place)] = trail;
    }

    /// The one at this place.
    #[inline(always)]
    pub(crate) fn at(&self, place: u16) -> &Trail {
        at(&self.places, place)
    }

    /// All places.
    #[inline(always)]
    pub(crate) fn all(&self) -> &[Trail; TRAILS] {
        &self.places
    }
}

impl<'a> TrailsFrom<'a> {
    #[inline(always)]
    fn at(self, place: u16) -> &'a Trail {
        at(self.places, place)
    }

    /// The trail's first place; the others are beside it ([`places`]). `stations`: the last two bytes of the one, and
    /// the other.
    #[inline(always)]
    fn place(self, stations: u64, vip: u32) -> u16 {
        let what = stations ^ u64::from(vip) ^ self.salt;
        (what.wrapping_mul(self.factor) >> (64 - TRAILS.trailing_zeros())) as u16
    }

    /// The trail of a TCP packet in untagged IPv4, and its place, which is its first one. `FROM`: it comes
    /// from the VIP. What the packet is besides is not looked at, but that it has the shape
    /// ([`PlainTcp::SHAPE`]) is certain then.
    #[inline(always)]
    pub(crate) fn find_tcp<const FROM: bool>(self, frame: &[u8; 54]) -> Option<(u16, &'a Trail)> {
        let place = self.place_of_tcp::<FROM>(frame)?;
        self.tcp_at::<FROM>(place, frame).map(|trail| (place, trail))
    }

    /// The same in any of its places.
    pub(crate) fn find_tcp_anywhere<const FROM: bool>(self, frame: &[u8; 54]) -> Option<(u16, &'a Trail)> {
        let place = self.place_of_tcp::<FROM>(frame)?;
        places(place).into_iter().find_map(|place| Some((place, self.tcp_at::<FROM>(place, frame)?)))
    }

    #[inline(always)]
    fn place_of_tcp<const FROM: bool>(self, frame: &[u8; 54]) -> Option<u16> {
        let vip = u32::from_le_bytes(*frame[if FROM { 26 } else { 30 }..].first_chunk()?);
        let stations = u64::from_le_bytes(*frame[4..].first_chunk()?);
        Some(self.place(stations, vip))
    }

    #[inline(always)]
    fn tcp_at<const FROM: bool>(self, place: u16, frame: &[u8; 54]) -> Option<&'a Trail> {
        let (first, second) = (frame.first_chunk()?, frame[PlainTcp::SECOND..].first_chunk()?);
        let mask = if FROM { &FROM_VIP } else { &TO_VIP };
        let trail = self.at(place);
        let is_it = trail.origin == self.origin
            && agrees(first, &trail.key[0], &mask[0])
            && agrees(second, &trail.key[1], &mask[1]);
        is_it.then_some(trail)
    }

    /// The trail of any other plain packet, and its place. The packet before has mostly gone along the same one: then it
    /// begins in the same way, as far as `mask` says ([`dataplane_wire::Outline::BEGINNING`]), and has the same `vip`.
    #[inline(always)]
    pub(crate) fn find_again(
        &self,
        (begins, mask): (&[u8; 16], &u128),
        plain: &Plain,
        vip: [u64; 2],
        last: &mut Last<'a>,
    ) -> Option<(u16, &'a Trail)> {
        // Not the arrays: they would be written to memory first, to be read again at once.
        let of_other = last.vip[0] ^ vip[0] | last.vip[1] ^ vip[1] | u64::from(last.v6 != plain.v6);
        if of_other != 0 || !agrees(begins, &last.begins, mask) {
            *last = self.find(begins, (plain.vid, plain.v6), vip);
        }
        last.found
    }

    #[cold]
    #[inline(never)]
    fn find(&self, begins: &[u8; 16], (vid, v6): (u16, bool), vip: [u64; 2]) -> Last<'a> {
        let [ends @ .., _, _, _, _] = begins;
        let kind = Kind::other(ends, (vid, v6), vip);
        let place = self.place(kind.stations(), kind.vip);
        let found = places(place).into_iter().find_map(|place| {
            let trail = self.at(place);
            (trail.origin == self.origin && trail.key == kind.key).then_some((place, trail))
        });
        Last { begins: u128::from_ne_bytes(*begins), vip, v6, found }
    }
}

/// The packet that a trail was asked for last, and its trail. A plain packet never begins with zeros alone, as none did.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Last<'a> {
    begins: u128,
    vip: [u64; 2],
    v6: bool,
    found: Option<(u16, &'a Trail)>,
}

/// What a trail is found by, besides its origin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    key: Key,
    vip: u32,
}

impl Kind {
    /// Of TCP in untagged IPv4, with the stations' addresses as they were when it came in.
    fn of_tcp(ends: &[u8; 12], vip: u32, from: bool) -> Self {
        let [mut first, mut second] = PlainTcp::SHAPE.map(u128::to_ne_bytes);
        first[..12].copy_from_slice(ends);
        second[if from { 8..12 } else { 12..16 }].copy_from_slice(&vip.to_le_bytes());
        Self { key: [first, second].map(u128::from_ne_bytes), vip }
    }

    /// Of any other plain packet; `vip` as words of a flow key.
    fn other(ends: &[u8; 12], (vid, v6): (u16, bool), vip: [u64; 2]) -> Self {
        let [a, b, c, d, e, f, g, h, last @ ..] = *ends;
        let version: u8 = if v6 { 6 } else { 4 };
        let rest = u32::from(vid) | u32::from(version) << 16 | u32::from(OTHER) << 24;
        let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let second = u64::from(u32::from_le_bytes(last)) | u64::from(rest) << 32;
        let wide = |high: u64, low: u64| u128::from(high) << 64 | u128::from(low);
        let salted = vip[1] as u32 ^ u32::from(vid) << 8 ^ u32::from(version);
        Self { key: [wide(second, first), wide(vip[0], vip[1])], vip: salted }
    }

    /// See [`TrailsFrom::place`].
    #[inline(always)]
    fn stations(&self) -> u64 {
        (self.key[0] >> 32) as u64
    }
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
        if let Some(mut trail) = trail
            && let Some(kind) = kind_of(head, serves, &ends)
        {
            let like = FlowKey::new(KeyKind::Flow, meta.cluster, protocol::TCP, false, [0; 2], 0, 0);
            trail.half = HalfHash::new(&like, if serves { 0 } else { kind.vip }, &self.table_key);
            if self.tables.cluster(meta.cluster).is_some_and(|c| !c.by_client && !c.quic) {
                trail.course.0 |= Course::STAMPS;
            }
            self.trails.lay(&kind, head.origin(), trail);
        }
    }
}

/// The kind of a frame that came between these stations; `None` for what is not plain.
fn kind_of(head: &Head<'_>, serves: bool, ends: &[u8; 12]) -> Option<Kind> {
    if let Some(tcp) = PlainTcp::read(head.data, head.len) {
        let vip = if serves { tcp.source() } else { tcp.destination() };
        return Some(Kind::of_tcp(ends, vip, serves));
    }
    let plain = Plain::read(head.data, head.len, head.checksum_good)?;
    Some(Kind::other(ends, (plain.vid, plain.v6), Sides::read(head.data, &plain, serves)?.vip))
}

impl Trail {
    /// Notes where a frame differs from those of this trail, which are TCP.
    #[inline(always)]
    pub(crate) fn compare(&self, frame: &[u8; PlainTcp::LEN], differences: &mut [Differences; 2]) {
        let [first, second] = differences;
        if let (Some(a), Some(b)) = (frame.first_chunk(), frame[PlainTcp::SECOND..].first_chunk()) {
            first.note(a, &self.key[0]);
            second.note(b, &self.key[1]);
        }
    }

    /// Whether none of the frames that were [compared](Self::compare) is of another kind, but that (`FROM`) another
    /// server may have sent it.
    #[inline(always)]
    pub(crate) fn are_like<const FROM: bool>(differences: [Differences; 2]) -> bool {
        let mask = if FROM { &FROM_ANY } else { &TO_VIP };
        !differences[0].any(&mask[0]) && !differences[1].any(&mask[1])
    }

    /// The hash of a TCP packet's flow; of this trail's, in untagged IPv4. `FROM`: it comes from the VIP.
    #[inline(always)]
    pub(crate) fn hash<const FROM: bool>(&self, tcp: &PlainTcp<'_>, key: &HashKey) -> u64 {
        if FROM {
            let ports = tcp.raw_ports().rotate_left(16);
            self.half.complete(tcp.destination(), u64::from(ports) << 32, key)
        } else {
            self.half.complete(tcp.source(), tcp.destination_and_ports(), key)
        }
    }

    /// Whose flows go along it.
    pub(crate) fn cluster(&self) -> ClusterId {
        ClusterId((self.flow >> 16) as u16)
    }

    /// What [`crate::classify::classify`] finds out about a packet of this kind that has this hash.
    pub(crate) fn meta(&self, tcp: &PlainTcp<'_>, hash: u64, meta: &mut Meta) {
        let sender = self.course.sender();
        let serves = sender != TargetId::NONE;
        let (client, ports) = if serves {
            (tcp.destination(), tcp.ports().rotate_left(16))
        } else {
            (tcp.source(), tcp.ports())
        };
        let cluster = self.cluster();
        meta.way = if serves { Way::Outbound } else { Way::Inbound };
        meta.vlan = self.course.vlan();
        meta.tagged = false;
        meta.known = Some(self.course.router());
        meta.layers = tcp.layers();
        meta.to = tcp.to();
        meta.from = tcp.from();
        meta.cluster = cluster;
        meta.sender = sender;
        meta.sender_cluster = cluster;
        meta.key = self.key(client, ports);
        meta.hash = hash;
    }

    /// The key of a TCP packet's flow. `client`: its address as it lies in the packet; `ports`: its port (high half)
    /// and the VIP's, as numbers.
    #[inline(always)]
    pub(crate) fn key(&self, client: u32, ports: u32) -> FlowKey {
        let last = u64::from(self.flow) | u64::from(protocol::TCP) << 8 | u64::from(ports) << 32;
        FlowKey::from_words([0, u64::from(u32::from_be(client)), last])
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
    let course = Course::new(TargetId::NONE, router, PortId(0), meta.vlan);
    Some(Trail { flow: flow_word(meta.cluster, v6), exits: exits(tables, meta), course, ..NONE })
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
    let mut course = Course::new(meta.sender, router, exit, meta.vlan);
    if quic {
        course.0 |= Course::READS_UDP;
    }
    leaves.then_some(Trail { flow: flow_word(meta.cluster, v6), exits, course, ..NONE })
}

/// See [`FlowKey::new`].
fn flow_word(cluster: ClusterId, v6: bool) -> u32 {
    FlowKey::new(KeyKind::Flow, cluster, 0, v6, [0; 2], 0, 0).words()[2] as u32
}

/// Ports that are up and carry the frame's VLAN in the frame's form.
fn exits(tables: &Tables, meta: &Meta) -> u64 {
    let vlan = tables.vlan(meta.vlan);
    let same_form = if meta.tagged { vlan.tagged } else { vlan.untagged };
    let up: PortSet = same_form.iter().filter(|port| tables.ports[port.index() & 31].up).collect();
    u64::from(up.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_port::origin;

    /// How many of `count` servers' trails are found again, of all that were laid.
    fn found(seed: [u64; 2], count: u16) -> usize {
        let mut trails = Trails::new(seed);
        let from = origin(PortId(3), false);
        let kinds: Vec<Kind> = (0..count)
            .map(|n| {
                let [high, low] = n.to_be_bytes();
                Kind::of_tcp(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, high, low], 0x0a00_0009, true)
            })
            .collect();
        kinds.iter().for_each(|kind| trails.lay(kind, from, NONE));
        let of_port = trails.from(from);
        let is_there = |kind: &&Kind| {
            let places = places(of_port.place(kind.stations(), kind.vip));
            places.iter().any(|place| trails.at(*place).key == kind.key)
        };
        kinds.iter().filter(is_there).count()
    }

    #[test]
    fn the_trails_of_a_thousand_servers_have_room() {
        for seed in 0..50 {
            assert!(found([seed, !seed], 1000) > 980, "{} with seed {seed}", found([seed, !seed], 1000));
        }
    }

    #[test]
    fn a_trail_is_laid_over_itself_and_is_gone_with_its_generation() {
        let (mut trails, from) = (Trails::new([1, 2]), origin(PortId(3), false));
        let kind = Kind::of_tcp(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 7], 0x0a00_0009, true);
        let laid = |trails: &Trails| {
            let origin = trails.from(from).origin;
            trails.all().iter().filter(|trail| trail.key == kind.key && trail.origin == origin).count()
        };
        (0..10).for_each(|_| trails.lay(&kind, from, NONE));
        assert_eq!(laid(&trails), 1);
        trails.forget();
        assert_eq!(laid(&trails), 0);
        trails.lay(&kind, from, NONE);
        assert_eq!(laid(&trails), 1);
    }
}
