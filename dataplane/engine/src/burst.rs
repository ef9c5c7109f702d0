//! The frames that change nothing but their destination: nearly all.
//!
//! A plain packet (no beginning and no end of anything) of a kind that is known (a trail), in a flow that has
//! been seen in this second already, is settled here: two passes over the burst, straight on, one cache line
//! of the table for a packet. Everything else is left, a bit for each frame, to [`Engine::decide`], which
//! needs nothing of this file: it comes to the same verdict for every frame that is settled here.
//!
//! TCP in untagged IPv4 is read in line, all else that is plain by a call; both come to the same lane.

use crate::Engine;
use crate::counters::Counters;
use crate::engine::worker_of;
use crate::tables::Tables;
use crate::trail::{self, Sides, Trail, Trails};
use dataplane_flow::{Entry, HashKey, Instant, KeyKind, Known, Slot, TargetId};
use dataplane_port::{BURST, Head, PortId, Verdict};
use dataplane_wire::{Plain, PlainTcp, protocol};

/// UDP ports of IPsec (FS-22).
const IKE: [u16; 2] = [500, 4500];

/// No server has this port, so no trail leads there.
pub(crate) const NO_DOOR: u64 = 63 << 48;

/// What the first pass leaves to the second of one frame.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    /// Of the flow, or of the datagram.
    hash: u64,
    /// A server's data: the sequence number behind it.
    next: u32,
    /// Its trail's place.
    trail: u8,
    /// A server's segment with data: how far it has come is remembered (FS-10).
    data: bool,
}

/// What the first pass makes of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    /// Its lane is filled, by its flow.
    Flow,
    /// Its lane is filled, by its datagram: a later fragment.
    Fragment,
    /// It is plain, and of a kind that has no trail.
    Untrodden,
    /// It is not plain.
    Peculiar,
}

/// The first pass over a frame: what it is looked up by. `SERVES`: servers are behind the port.
#[derive(Clone, Copy, Debug)]
struct Reader<'a, const SERVES: bool> {
    trails: &'a Trails,
    table_key: &'a HashKey,
}

impl<const SERVES: bool> Reader<'_, SERVES> {
    #[inline(always)]
    fn read(&self, head: &Head<'_>, origin: u16, lane: &mut Lane) -> Read {
        let Some(tcp) = PlainTcp::read(head.data, head.len, head.checksum_good) else {
            return self.read_other(head, lane);
        };
        let (client, vip) =
            if SERVES { (tcp.destination(), tcp.source()) } else { (tcp.source(), tcp.destination()) };
        let key = trail::key_v4(tcp.stations(), u64::from(origin), vip);
        let place = self.trails.place(&key);
        let Some(trail) = self.trails.find_v4(place, &key) else { return Read::Untrodden };
        let ports = client_first::<SERVES>(tcp.ports());
        let word = trail.flow | u64::from(protocol::TCP) << 8 | u64::from(ports) << 32;
        lane.hash = self.table_key.hash3([0, u64::from(u32::from_be(client)), word]) | 1;
        lane.trail = place;
        if SERVES {
            lane.data = tcp.data_len != 0;
            lane.next = tcp.next_sequence();
        }
        Read::Flow
    }

    /// Whatever else is plain.
    #[inline(never)]
    fn read_other(&self, head: &Head<'_>, lane: &mut Lane) -> Read {
        let data: &[u8] = head.data;
        let Some(plain) = Plain::read(data, head.len, head.checksum_good) else { return Read::Peculiar };
        let (Some(ends), Some(sides)) = (data.first_chunk(), Sides::read(data, &plain, SERVES)) else {
            return Read::Peculiar;
        };
        let key = trail::key(ends, &plain, head, sides.vip[1]);
        let place = self.trails.place(&key);
        let network = if plain.v6 { sides.vip[0] } else { 0 };
        let Some(trail) = self.trails.find(place, &key, network) else { return Read::Untrodden };
        let [a, b] = sides.client;
        *lane = Lane { hash: 0, next: 0, trail: place, data: false };
        if plain.later {
            // A server's is bridged.
            let what = u64::from(plain.id) << 32 | trail.flow & 0xffff_0000 | u64::from(plain.protocol);
            lane.hash = self.table_key.hash3([a, b, what]).max(1);
            return if SERVES { Read::Peculiar } else { Read::Fragment };
        }
        let ports = client_first::<SERVES>(plain.ports);
        let mut word = trail.flow | u64::from(plain.protocol) << 8 | u64::from(ports) << 32;
        match plain.protocol {
            protocol::UDP if trail.reads_udp || IKE.contains(&(ports as u16)) => return Read::Peculiar,
            // One key for all IPsec of a client (FS-22).
            protocol::ESP | protocol::AH => {
                word = trail.flow | u64::from(protocol::ESP) << 8 | KeyKind::Ipsec as u64;
            }
            protocol::TCP if SERVES && plain.data_len != 0 => {
                let at = plain.l3 + if plain.v6 { 44 } else { 24 };
                let Some(sequence) = data.get(at..).and_then(|rest| rest.first_chunk()) else {
                    return Read::Peculiar;
                };
                lane.next = u32::from_be_bytes(*sequence).wrapping_add(plain.data_len);
                lane.data = true;
            }
            _ => {}
        }
        lane.hash = self.table_key.hash3([a, b, word]) | 1;
        Read::Flow
    }
}

/// The client's port in the high half, whoever sends.
#[inline(always)]
fn client_first<const SERVES: bool>(ports: u32) -> u32 {
    if SERVES { ports.rotate_left(16) } else { ports }
}

/// The second pass: where a frame goes whose flow has this entry.
struct Settler<'a> {
    tables: &'a Tables,
    trails: &'a Trails,
    counters: &'a Counters,
    tick: u16,
}

impl Settler<'_> {
    /// Sends the frame where its entry leads, if nothing else is to be done.
    #[inline(always)]
    fn settle<const SERVES: bool>(&self, lane: &Lane, entry: Entry, head: &mut Head<'_>) -> Option<Verdict> {
        let trail = self.trails.at(lane.trail);
        if !entry.rests_at(self.tick, SERVES) {
            return None;
        }
        if !SERVES {
            return self.send(trail, entry.target(), head);
        }
        if entry.target() != trail.sender {
            return None;
        }
        let len = u64::from(head.len);
        let sender = self.counters.target(trail.sender);
        sender.out_frames.add(1);
        sender.out_bytes.add(len);
        let router = self.counters.router(trail.router);
        router.out_frames.add(1);
        router.out_bytes.add(len);
        Some(Verdict::Forward(trail.exit))
    }

    /// To a server: six bytes.
    #[inline(always)]
    fn send(&self, trail: &Trail, target: TargetId, head: &mut Head<'_>) -> Option<Verdict> {
        let door = self.tables.doors.of(target);
        let port = (door >> 48) as u8;
        if trail.exits >> (port & 63) & 1 == 0 {
            return None;
        }
        let [mac @ .., _, _] = door.to_le_bytes();
        *head.data.first_chunk_mut::<6>()? = mac;
        let len = u64::from(head.len);
        let server = self.counters.target(target);
        server.in_frames.add(1);
        server.in_bytes.add(len);
        let router = self.counters.router(trail.router);
        router.in_frames.add(1);
        router.in_bytes.add(len);
        Some(Verdict::Forward(PortId(port)))
    }
}

/// The numbers of the bits that are set.
#[inline(always)]
pub(crate) fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let bit = set.trailing_zeros();
        (set != 0).then(|| {
            set &= set - 1;
            bit as usize
        })
    })
}

/// The frames of a burst, a bit for each.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Left {
    /// Whose verdict is still to be found.
    pub(crate) frames: u32,
    /// Those among them whose kind has no trail yet.
    pub(crate) untrodden: u32,
}

impl Engine {
    /// Settles what can be; what is left.
    #[inline(always)]
    pub(crate) fn settle(
        &mut self,
        now: Instant,
        heads: &mut [Head<'_>],
        verdicts: &mut [Verdict; BURST],
    ) -> Left {
        let mut left = Left::default();
        let mut to_do = if heads.is_empty() { 0 } else { u32::MAX >> (BURST - heads.len().min(BURST)) };
        // One round, but for frames that other workers have handed over: one for each port there.
        while to_do != 0 {
            let Some(first) = heads.get(to_do.trailing_zeros() as usize) else { break };
            let origin = first.origin();
            to_do = if self.tables.server_ports.contains(first.port) {
                self.settle_from::<true>(origin, to_do, now, heads, verdicts, &mut left)
            } else {
                self.settle_from::<false>(origin, to_do, now, heads, verdicts, &mut left)
            };
        }
        left
    }

    /// The same for the frames of one origin; those of `to_do` that have another one.
    #[inline(never)]
    fn settle_from<const SERVES: bool>(
        &mut self,
        origin: u16,
        to_do: u32,
        now: Instant,
        heads: &mut [Head<'_>],
        verdicts: &mut [Verdict; BURST],
        left: &mut Left,
    ) -> u32 {
        let tables = &*self.tables;
        let lanes = &mut *self.lanes;
        let shard = &self.shard;
        let trails = &self.trails;
        let reader = Reader::<'_, SERVES> { trails, table_key: &self.table_key };
        let (mut flows, mut fragments, mut others, mut untrodden) = (0_u32, 0_u32, 0_u32, 0_u32);
        let mut bit = 1;
        for (head, lane) in heads.iter().zip(lanes.iter_mut()) {
            if head.origin() == origin {
                match reader.read(head, origin, lane) {
                    Read::Flow => {
                        shard.prefetch(lane.hash);
                        flows |= bit;
                    }
                    Read::Fragment => fragments |= bit,
                    Read::Untrodden => untrodden |= bit,
                    Read::Peculiar => {}
                }
            } else {
                others |= bit;
            }
            bit <<= 1;
        }
        let counters = &self.counters[self.worker.index()];
        let settler = Settler { tables, trails, counters, tick: shard.tick() };
        let (mut settled, mut late, mut data) = (0_u32, 0_u32, 0_u32);
        let mut slots = [Slot::default(); BURST];
        let mut bit = 1;
        for (((head, lane), verdict), at) in
            heads.iter_mut().zip(lanes.iter()).zip(verdicts.iter_mut()).zip(slots.iter_mut())
        {
            if flows & bit != 0 {
                match shard.look_first(lane.hash) {
                    None => {
                        shard.prefetch_second(lane.hash);
                        late |= bit;
                    }
                    Some((slot, entry)) => {
                        if let Some(found) = settler.settle::<SERVES>(lane, entry, head) {
                            *verdict = found;
                            settled |= bit;
                            if SERVES && lane.data {
                                shard.prefetch_cold(slot);
                                *at = slot;
                                data |= bit;
                            }
                        }
                    }
                }
            }
            bit <<= 1;
        }
        for i in bits(late) {
            let (Some(head), Some(lane), Some(verdict)) =
                (heads.get_mut(i), lanes.get(i), verdicts.get_mut(i))
            else {
                continue;
            };
            let found = shard.look_second(lane.hash);
            if let Some((slot, entry)) = found
                && let Some(found) = settler.settle::<SERVES>(lane, entry, head)
            {
                *verdict = found;
                settled |= 1 << i;
                if SERVES && lane.data {
                    shard.prefetch_cold(slot);
                    slots[i & (BURST - 1)] = slot;
                    data |= 1 << i;
                }
            }
        }
        for i in bits(fragments) {
            let (Some(head), Some(lane)) = (heads.get_mut(i), lanes.get(i)) else { continue };
            let mine = self.workers == 1 || head.handed || worker_of(lane.hash, self.workers) == self.worker;
            if mine
                && let Some(Known::Target(target)) = self.fragments.find(lane.hash, now)
                && let Some(found) = settler.send(trails.at(lane.trail), target, head)
            {
                verdicts[i & (BURST - 1)] = found;
                settled |= 1 << i;
            }
        }
        for i in bits(data) {
            self.shard.note_sequence(slots[i & (BURST - 1)], self.lanes[i & (BURST - 1)].next);
        }
        left.frames |= to_do & !others & !settled;
        left.untrodden |= to_do & untrodden;
        to_do & others
    }
}
