//! Everything that is not for a VIP (FS-5).

use crate::Engine;
use crate::classify::{Meta, Way, addresses};
use crate::outbox::Event;
use crate::tables::Station;
use dataplane_flow::{Instant, RouterId, TargetId, fold};
use dataplane_message::{AlarmKind, PortRole};
use dataplane_port::{DropReason, Flood, Head, PortId, PortSet, TagEdit, Verdict};
use dataplane_wire::{MacAddr, Network, protocol};

/// What this worker has told the publisher of lately: one place per hash of (VLAN, address).
#[derive(Debug)]
pub(crate) struct Learner {
    seen: Box<[Sighting]>,
    /// The current stretch of [`AGAIN_S`] seconds, shifted to make room for a port.
    stamp: u32,
}

/// A source address, where it was seen and when; and which routers it is, by family, so that what comes
/// from a router is counted without a look-up of its own.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    key: u64,
    stamp: u32,
    routers: [RouterId; 2],
}

pub(crate) const NO_ROUTER: RouterId = RouterId(u16::MAX);
const NOTHING: Sighting = Sighting { key: u64::MAX, stamp: 0, routers: [NO_ROUTER; 2] };

impl Learner {
    /// Sets the time that sightings are stamped with; whether all are to be told anew. Once per burst.
    pub(crate) fn set_now(&mut self, now: Instant) -> bool {
        let stamp = ((now.0 / (AGAIN_S * 1_000_000_000)) as u32 + 1) << 5;
        core::mem::replace(&mut self.stamp, stamp) != stamp
    }

    /// (place, key and stamp that stand there if nothing is new).
    #[inline(always)]
    fn sighting(&self, port: PortId, meta: &Meta) -> (usize, (u64, u32)) {
        let key = u64::from(meta.vlan.0) << 48 | meta.from;
        let place = fold(key, 0x9e37_79b9_7f4a_7c15) as usize & (SEEN - 1);
        (place, (key, self.stamp | u32::from(port.0)))
    }

    /// The routers that the source is, if the publisher knows that it is on this port.
    #[inline(always)]
    pub(crate) fn known(&self, port: PortId, meta: &Meta) -> Option<[RouterId; 2]> {
        let (place, seen) = self.sighting(port, meta);
        let there = &self.seen[place];
        ((there.key, there.stamp) == seen).then_some(there.routers)
    }
}

const SEEN: usize = 4096;

/// A station that goes on sending is told again every 8 s, so that it does not age.
const AGAIN_S: u64 = 8;

impl Default for Learner {
    fn default() -> Self {
        Self { seen: vec![NOTHING; SEEN].into_boxed_slice(), stamp: 0 }
    }
}

impl Learner {
    /// Tells everything anew: the publisher may have forgotten a station since (its link was down), or
    /// another worker may have seen it elsewhere.
    pub(crate) fn forget(&mut self) {
        self.seen.fill(NOTHING);
    }
}

impl Engine {
    /// Learns where the source is; a reason if the frame must not be taken (F6, FS-1).
    #[inline]
    pub(crate) fn learn(&mut self, head: &Head<'_>, meta: &Meta) -> Option<DropReason> {
        let routers =
            match meta.known.map(|router| [router; 2]).or_else(|| self.learner.known(head.port, meta)) {
                Some(routers) => routers,
                None => match self.learn_anew(head.port, meta) {
                    Ok(routers) => routers,
                    Err(reason) => return Some(reason),
                },
            };
        if matches!(meta.way, Way::Inbound | Way::InboundFragment) {
            self.count_router(routers, head, meta);
        }
        None
    }

    /// What comes to VIPs from a router's MAC, once, by the worker that received it; whether it finds a
    /// server or not.
    #[inline(always)]
    pub(crate) fn count_router(&self, routers: [RouterId; 2], head: &Head<'_>, meta: &Meta) {
        let router = routers[usize::from(meta.layers.network == Network::V6)];
        if router != NO_ROUTER && !head.handed {
            let counters = self.counters().router(router);
            counters.in_frames.add(1);
            counters.in_bytes.add(u64::from(head.len));
        }
    }

    #[cold]
    fn learn_anew(&mut self, port: PortId, meta: &Meta) -> Result<[RouterId; 2], DropReason> {
        let mac = MacAddr::from_u64(meta.from);
        let seen = Event::Seen { vlan: meta.vlan, mac, port };
        let mut routers = [NO_ROUTER; 2];
        let told = match self.tables.stations.find(meta.vlan, meta.from) {
            Some(Station::Vmac(_)) => {
                let kind = AlarmKind::ForeignVmac;
                self.outbox.event(Event::Alarm { kind, port, vlan: meta.vlan, mac, address: None });
                return Err(DropReason::ForeignVmac);
            }
            Some(Station::Server(..)) => true,
            // FS-5: pinned to the outside; within it, it is followed.
            Some(Station::Router(id, _)) => {
                let outside = self.tables.ports[port.index() & 31].role == PortRole::Outside;
                if let Some(router) = self.tables.pools.router(id).filter(|_| outside) {
                    routers = router.hops.map(|hop| hop.router);
                }
                !outside || self.outbox.event(seen)
            }
            // One of our own ports' addresses comes in: a cable loop, or a liar (F6).
            _ if self.tables.own_macs.contains(&meta.from) => return Err(DropReason::SourceMac),
            Some(Station::Learned(_)) | None => self.outbox.event(seen),
        };
        if told {
            let (place, (key, stamp)) = self.learner.sighting(port, meta);
            self.learner.seen[place] = Sighting { key, stamp, routers };
        }
        Ok(routers)
    }

    /// Bridges the frame within its VLAN.
    pub(crate) fn bridge(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        match self.forbidden(head, meta) {
            Some(reason) => Verdict::Drop(reason),
            None => self.bridge_on(head, meta, now),
        }
    }

    /// Bridges the frame; what a server sends to a router goes to the router that takes it (FS-13).
    fn bridge_on(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        let apart = self.isolated(meta);
        if meta.is_group() {
            return self.flood(head.port, meta, apart, now);
        }
        match self.tables.stations.find(meta.vlan, meta.to) {
            Some(Station::Router(id, port)) if port != head.port => {
                self.forward_to_router(head, meta, id, port)
            }
            Some(Station::Vmac(_)) => self.forward_stray(head, meta),
            Some(station) => self.to_station(head.port, meta, station),
            None => self.flood(head.port, meta, apart, now),
        }
    }

    /// FS-3: the ports that no frame of this sender's VIP may be flooded to.
    pub(crate) fn isolated(&self, meta: &Meta) -> PortSet {
        if meta.sender == TargetId::NONE {
            return PortSet::EMPTY;
        }
        self.tables.cluster(meta.sender_cluster).map_or(PortSet::EMPTY, |cluster| cluster.carriers)
    }

    fn forbidden(&self, head: &Head<'_>, meta: &Meta) -> Option<DropReason> {
        let layers = &meta.layers;
        let is_server = self.tables.ports[head.port.index() & 31].role == PortRole::Server;
        if is_server && self.tables.guard && layers.protocol == protocol::UDP && layers.flaw.is_none() {
            let dhcp_server = match layers.network {
                Network::V4 => layers.source == 67 && layers.destination == 68,
                _ => layers.source == 547 && layers.destination == 546,
            };
            if dhcp_server {
                return Some(DropReason::Guard);
            }
        }
        if meta.is_group() && meta.sender == TargetId::NONE {
            let ip = addresses(head.data, layers.network, usize::from(layers.l3))?;
            if self.tables.vips.find(meta.vlan, ip.source, ip.v6).is_some() {
                return Some(DropReason::Martian);
            }
        }
        None
    }

    /// To the station that has the destination address, or to all but `apart`.
    pub(crate) fn bridge_to(&mut self, from: PortId, meta: &Meta, apart: PortSet, now: Instant) -> Verdict {
        if !meta.is_group()
            && let Some(station) = self.tables.stations.find(meta.vlan, meta.to)
        {
            return self.to_station(from, meta, station);
        }
        self.flood(from, meta, apart, now)
    }

    #[inline(always)]
    fn to_station(&self, from: PortId, meta: &Meta, station: Station) -> Verdict {
        match station.port() {
            None => Verdict::Drop(DropReason::VmacNotVip),
            Some(port) if port == from => Verdict::Drop(DropReason::NoEgress),
            Some(port) => self.exit(port, meta),
        }
    }

    fn flood(&mut self, from: PortId, meta: &Meta, apart: PortSet, now: Instant) -> Verdict {
        if !self.storm[from.index() & 31].take(now) {
            return Verdict::Drop(DropReason::Storm);
        }
        let ports = self.tables.vlan(meta.vlan).ports().without(from).minus(apart);
        self.out_of(ports, meta)
    }

    /// Out of one port, with the VLAN's tag in the form that the port has it.
    #[inline]
    pub(crate) fn exit(&self, port: PortId, meta: &Meta) -> Verdict {
        if !self.tables.ports[port.index() & 31].up {
            return Verdict::Drop(DropReason::PortDown);
        }
        let vlan = self.tables.vlan(meta.vlan);
        // A station may have been learned when its port still was a member (F5).
        let same_form = if meta.tagged { vlan.tagged } else { vlan.untagged };
        if same_form.contains(port) {
            return Verdict::Forward(port);
        }
        self.out_of(PortSet::EMPTY.with(port), meta)
    }

    /// Out of `ports`, with the VLAN's tag in the form that each of them has it.
    pub(crate) fn out_of(&self, ports: PortSet, meta: &Meta) -> Verdict {
        let vlan = self.tables.vlan(meta.vlan);
        let ports: PortSet = ports.iter().filter(|port| self.tables.ports[port.index() & 31].up).collect();
        let (plain, mut edited) = if meta.tagged {
            (ports.and(vlan.tagged), ports.and(vlan.untagged))
        } else {
            (ports.and(vlan.untagged), ports.and(vlan.tagged))
        };
        // A VLAN inside the VLAN must not come to light where the outer tag is taken off (F5).
        if meta.layers.tags == 2 && meta.tagged {
            edited = PortSet::EMPTY;
        }
        if plain.is_empty() && edited.is_empty() {
            return Verdict::Drop(DropReason::NoEgress);
        }
        if edited.is_empty() && plain.len() == 1 {
            return Verdict::Forward(PortId(plain.0.trailing_zeros() as u8));
        }
        let edit = if meta.tagged { TagEdit::Pop } else { TagEdit::Push(meta.vlan.0) };
        Verdict::Flood(Flood { plain, edited, edit })
    }
}
