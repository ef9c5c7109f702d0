//! The first pass over a burst: what plain packets are looked up by.
//!
//! TCP in untagged IPv4 is read in line, all else that is plain by a call; both come to the same lanes.

use crate::classify::IKE;
use crate::trail::{Course, Last, Sides, Trail, TrailsFrom};
use dataplane_cpu::{Machine, equal32_words};
use dataplane_flow::{FlowKey, Fragments, HashKey, KeyKind, Line, Lines, Shard, Slot};
use dataplane_port::{BURST, Look};
use dataplane_wire::{Outline, Plain, PlainTcp, protocol};

/// The hash of no flow: they are odd, and 0 is an empty place of the table.
pub(crate) const NO_FLOW: u64 = 2;

/// What the first pass leaves to the second, an element for each frame.
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Of the flow, odd; or [`NO_FLOW`].
    pub(crate) hash: [u64; BURST],
    /// Of the datagram that it is a later fragment of; or of the flow whose beginning or end it is.
    pub(crate) apart: [u64; BURST],
    /// What its trail says of a server's frame.
    pub(crate) course: [Course; BURST],
    /// A server's frame: its bytes.
    pub(crate) len: [u32; BURST],
    /// A server's data: the sequence number behind it.
    pub(crate) next: [u32; BURST],
    /// Of what opens a flow: what the choice of a server hangs on.
    pub(crate) choice: [u64; BURST],
    /// Its trail's place.
    pub(crate) trail: [u16; BURST],
    /// A server's data: its flow's place.
    pub(crate) slot: [Slot; BURST],
    /// A server's segment: bytes of data. If there are any, how far it has come is remembered (FS-10).
    pub(crate) data_len: [u16; BURST],
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            hash: [NO_FLOW; BURST],
            apart: [0; BURST],
            course: [Course::default(); BURST],
            len: [0; BURST],
            next: [0; BURST],
            choice: [0; BURST],
            trail: [0; BURST],
            slot: [Slot::default(); BURST],
            data_len: [0; BURST],
        }
    }
}

impl Lanes {
    /// The hash of a TCP packet's flow, whatever is to be done with it.
    #[inline(always)]
    pub(crate) fn hash_of(&self, i: usize) -> u64 {
        let i = i & (BURST - 1);
        if self.hash[i] == NO_FLOW { self.apart[i] } else { self.hash[i] }
    }

    /// The first of the frames in `set`, which is not empty, and all that go along its trail: the trail's place, and a bit
    /// for each.
    #[inline(always)]
    pub(crate) fn along_one(&self, set: u32) -> (u16, u32) {
        let place = self.trail[set.trailing_zeros() as usize & (BURST - 1)];
        (place, set & equal32_words(&self.trail, place))
    }

    /// Frame `i` goes along this trail, which is at `place`.
    #[inline(always)]
    fn go_along(&mut self, i: usize, place: u16, trail: &Trail) {
        self.trail[i] = place;
        self.course[i] = trail.course;
    }
}

/// The line of the flow table that each frame's flow is looked for in first.
pub(crate) type Firsts<'a> = [Line<'a>; BURST];

/// What the first pass makes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    /// Its lanes are filled, by its flow.
    Flow,
    /// Its lanes are filled, by its datagram: a later fragment.
    Fragment,
    /// It is plain, and of a kind that has no trail.
    Untrodden,
    /// It is not plain.
    Peculiar,
}

/// What the first pass found that is out of the ordinary, a bit for each frame.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Found {
    /// Not TCP in untagged IPv4 along a trail.
    pub(crate) peculiar: u32,
    pub(crate) fragments: u32,
    pub(crate) untrodden: u32,
    /// What flow they are of is not known, or they begin or end it: nothing to be settled by a flow's entry.
    pub(crate) apart: u32,
    /// Of another origin.
    pub(crate) others: u32,
}

/// The first pass over a frame: what it is looked up by. `SERVES`: servers are behind the port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a, const SERVES: bool> {
    pub(crate) trails: TrailsFrom<'a>,
    pub(crate) table_key: HashKey,
    pub(crate) shard: &'a Shard,
    pub(crate) fragments: &'a Fragments,
    pub(crate) lines: Lines<'a>,
    pub(crate) machine: Machine,
}

impl<'a, const SERVES: bool> Reader<'a, SERVES> {
    /// Fills the lanes of the plainest of all, in line: TCP in untagged IPv4 along a trail.
    /// `false`: it is none.
    #[inline(always)]
    pub(crate) fn read(
        &self,
        frame: &Look<'_>,
        (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
        i: usize,
        found: &mut Found,
    ) -> bool {
        let Some(bytes) = frame.data.first_chunk() else { return false };
        let Some((place, trail)) = self.trails.find_tcp::<SERVES>(bytes) else { return false };
        let Some(tcp) = PlainTcp::read_shaped(bytes, frame.len) else { return false };
        lanes.go_along(i, place, trail);
        self.fill(&tcp, trail, frame.len, (lanes, firsts), i, found);
        true
    }

    /// The trail that frame `i` goes along is found, for one of a burst that was read as if all were alike.
    #[inline(never)]
    pub(crate) fn retrace(&self, frame: &Look<'_>, lanes: &mut Lanes, i: usize, found: &mut Found) {
        let i = i & (BURST - 1);
        match frame.data.first_chunk().and_then(|bytes| self.trails.find_tcp_anywhere::<SERVES>(bytes)) {
            Some((place, trail)) => lanes.go_along(i, place, trail),
            None => self.set_untrodden(lanes, i, found),
        }
    }

    /// Fills the lanes of a TCP packet in untagged IPv4, of `len` bytes, but for the trail that it goes along.
    #[inline(always)]
    fn fill(
        &self,
        tcp: &PlainTcp<'_>,
        trail: &Trail,
        len: u32,
        (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
        i: usize,
        found: &mut Found,
    ) {
        if SERVES && !cfg!(flowswitch_unobserved) {
            lanes.len[i] = len;
            lanes.data_len[i] = tcp.data_len() as u16;
            lanes.next[i] = tcp.next_sequence();
        }
        self.look_for(trail.hash::<SERVES>(tcp, &self.table_key), (lanes, firsts), i);
        if tcp.is_control() {
            self.set_apart(lanes, i, found);
        }
    }

    /// Frame `i` is of the flow of this hash, whose first line is asked for.
    #[inline(always)]
    fn look_for(&self, hash: u64, (lanes, firsts): (&mut Lanes, &mut Firsts<'a>), i: usize) {
        lanes.hash[i] = hash;
        firsts[i] = self.lines.first(hash);
        firsts[i].prefetch();
    }

    /// Frame `i` is of a kind that has no trail yet.
    fn set_untrodden(&self, lanes: &mut Lanes, i: usize, found: &mut Found) {
        lanes.hash[i] = NO_FLOW;
        found.peculiar |= 1 << i;
        found.untrodden |= 1 << i;
        found.apart |= 1 << i;
    }

    /// Frame `i` begins or ends a connection: nothing to be settled.
    #[inline(never)]
    pub(crate) fn set_apart(&self, lanes: &mut Lanes, i: usize, found: &mut Found) {
        let i = i & (BURST - 1);
        found.apart |= 1 << i;
        // Its line of the main part is asked for already.
        self.shard.prefetch_provisional_l2(lanes.hash[i]);
        lanes.apart[i] = core::mem::replace(&mut lanes.hash[i], NO_FLOW);
    }

    /// Fills the lanes of other plain packets of an outline, in line, which are marked as such. `false`: it is none, or TCP
    /// in untagged IPv4.
    #[inline(always)]
    pub(crate) fn read_other<O: Outline>(
        &self,
        frame: &Look<'_>,
        (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
        i: usize,
        found: &mut Found,
        last: &mut Last<'a>,
    ) -> bool {
        let Some(plain) = O::read(frame.data, frame.len, frame.checksum_good) else { return false };
        if plain.protocol == protocol::TCP && (plain.v6, plain.l3, plain.later) == (false, 14, false) {
            return false;
        }
        self.read_plain((&plain, &O::BEGINNING), frame, (lanes, firsts), i, found, last);
        true
    }

    /// Whatever it is; it is marked as what it is. A call, so that it is out of the way.
    #[inline(never)]
    pub(crate) fn read_on(
        &self,
        frame: Look<'_>,
        (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
        i: usize,
        found: &mut Found,
        last: &mut Last<'a>,
    ) {
        let i = i & (BURST - 1);
        lanes.hash[i] = NO_FLOW;
        if let Some(tcp) = PlainTcp::read(frame.data, frame.len)
            && let Some(bytes) = frame.data.first_chunk()
        {
            let Some((place, trail)) = self.trails.find_tcp_anywhere::<SERVES>(bytes) else {
                return self.set_untrodden(lanes, i, found);
            };
            lanes.go_along(i, place, trail);
            found.peculiar &= !(1 << i);
            return self.fill(&tcp, trail, frame.len, (lanes, firsts), i, found);
        }
        found.peculiar |= 1 << i;
        match Plain::read(frame.data, frame.len, frame.checksum_good) {
            Some(plain) => self.read_plain((&plain, &u128::MAX), &frame, (lanes, firsts), i, found, last),
            None => found.apart |= 1 << i,
        }
    }

    /// Fills the lanes of a plain packet that is none of the plainest, and is marked as such. `begins`: see [`Outline::BEGINNING`].
    #[inline(always)]
    fn read_plain(
        &self,
        (plain, begins): (&Plain, &u128),
        frame: &Look<'_>,
        (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
        i: usize,
        found: &mut Found,
        last: &mut Last<'a>,
    ) {
        let i = i & (BURST - 1);
        let read = self.fill_other((plain, begins), frame, (lanes, firsts), i, last);
        match read {
            Read::Flow => return,
            Read::Peculiar => {}
            Read::Fragment => found.fragments |= 1 << i,
            Read::Untrodden => found.untrodden |= 1 << i,
        }
        lanes.hash[i] = NO_FLOW;
        found.apart |= 1 << i;
    }

    /// Fills its lanes along its trail.
    #[inline(always)]
    fn fill_other(
        &self,
        (plain, begins): (&Plain, &u128),
        frame: &Look<'_>,
        (lanes, firsts): (&mut Lanes, &mut Firsts<'a>),
        i: usize,
        last: &mut Last<'a>,
    ) -> Read {
        let data: &[u8] = frame.data;
        let (Some(start), Some(sides)) = (data.first_chunk(), Sides::read(data, plain, SERVES)) else {
            return Read::Peculiar;
        };
        let found = self.trails.find_again((start, begins), plain, sides.vip, last);
        let Some((place, trail)) = found else { return Read::Untrodden };
        let [a, b] = sides.client;
        lanes.go_along(i, place, trail);
        if SERVES {
            lanes.len[i] = frame.len;
            lanes.data_len[i] = 0;
        }
        if plain.later {
            // A server's is bridged.
            let what =
                u64::from(plain.id) << 32 | u64::from(trail.flow & 0xffff_0000) | u64::from(plain.protocol);
            lanes.apart[i] = self.table_key.hash3([a, b, what]).max(1);
            self.fragments.prefetch(lanes.apart[i]);
            return if SERVES { Read::Peculiar } else { Read::Fragment };
        }
        let ports = client_first::<SERVES>(plain.ports);
        let mut word = u64::from(trail.flow) | u64::from(plain.protocol) << 8 | u64::from(ports) << 32;
        match plain.protocol {
            protocol::UDP if trail.course.reads_udp() || IKE.contains(&(ports as u16)) => {
                return Read::Peculiar;
            }
            // One key for all IPsec of a client (FS-22).
            protocol::ESP | protocol::AH => {
                word = u64::from(trail.flow) | u64::from(protocol::ESP) << 8 | KeyKind::Ipsec as u64;
            }
            protocol::TCP if SERVES && plain.data_len != 0 => {
                let at = plain.l3 + if plain.v6 { 44 } else { 24 };
                let Some(sequence) = data.get(at..).and_then(|rest| rest.first_chunk()) else {
                    return Read::Peculiar;
                };
                lanes.next[i] = u32::from_be_bytes(*sequence).wrapping_add(plain.data_len);
                lanes.data_len[i] = plain.data_len as u16;
            }
            _ => {}
        }
        self.look_for(FlowKey::from_words([a, b, word]).hash(&self.table_key), (lanes, firsts), i);
        Read::Flow
    }
}

/// The client's port in the high half, whoever sends.
#[inline(always)]
fn client_first<const SERVES: bool>(ports: u32) -> u32 {
    if SERVES { ports.rotate_left(16) } else { ports }
}
