//! Everything that is not for a VIP (FS-5).

use crate::Engine;
use crate::classify::{Meta, addresses};
use crate::outbox::Event;
use crate::tables::Station;
use dataplane_flow::{Instant, TargetId, fold};
use dataplane_message::{AlarmKind, PortRole};
use dataplane_port::{DropReason, Flood, Head, PortId, PortSet, TagEdit, Verdict};
use dataplane_wire::{MacAddr, Network, protocol};

/// What this worker has told the publisher of lately: one place per hash of (VLAN, address).
#[derive(Debug)]
pub(crate) struct Learner {
    seen: Box<[(u64, u32)]>,
    /// The current stretch of [`AGAIN_S`] seconds, shifted to make room for a port.
    stamp: u32,
}

impl Learner {
    /// Sets the time that sightings are stamped with. Once per burst.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.stamp = ((now.0 / (AGAIN_S * 1_000_000_000)) as u32 + 1) << 5;
    }

    /// (place, what stands there if nothing is new).
    #[inline(always)]
    fn sighting(&self, port: PortId, meta: &Meta) -> (usize, (u64, u32)) {
        let key = u64::from(meta.vlan.0) << 48 | meta.from;
        let place = fold(key, 0x9e37_79b9_7f4a_7c15) as usize & (SEEN - 1);
        (place, (key, self.stamp | u32::from(port.0)))
    }

    /// Whether the publisher knows that the source is on this port.
    #[inline(always)]
    pub(crate) fn knows(&self, port: PortId, meta: &Meta) -> bool {
        let (place, seen) = self.sighting(port, meta);
        self.seen[place] == seen
    }
}

const SEEN: usize = 4096;

/// A station that goes on sending is told again every 8 s, so that it does not age.
const AGAIN_S: u64 = 8;

impl Default for Learner {
    fn default() -> Self {
        Self { seen: vec![(u64::MAX, 0); SEEN].into_boxed_slice(), stamp: 0 }
    }
}

impl Learner {
    /// Tells everything anew: the publisher may have forgotten a station since (its link was down), or
    /// another worker may have seen it elsewhere.
    pub(crate) fn forget(&mut self) {
        self.seen.fill((u64::MAX, 0));
    }
}

impl Engine {
    /// Learns where the source is; a reason if the frame must not be taken (F6, FS-1).
    #[inline]
    pub(crate) fn learn(&mut self, port: PortId, meta: &Meta) -> Option<DropReason> {
        let (place, seen) = self.learner.sighting(port, meta);
        if self.learner.seen[place] == seen {
            return None;
        }
        self.learn_anew(port, meta, place, seen)
    }

    #[cold]
    fn learn_anew(
        &mut self,
        port: PortId,
        meta: &Meta,
        place: usize,
        seen: (u64, u32),
    ) -> Option<DropReason> {
        let mac = MacAddr::from_u64(meta.from);
        let told = match self.tables.stations.find(meta.vlan, meta.from) {
            Some(Station::Vmac(_)) => {
                let kind = AlarmKind::ForeignVmac;
                self.outbox.event(Event::Alarm { kind, port, vlan: meta.vlan, mac, address: None });
                return Some(DropReason::ForeignVmac);
            }
            Some(Station::Server(..) | Station::Router(_)) => true,
            // One of our own ports' addresses comes in: a cable loop, or a liar (F6).
            _ if self.tables.own_macs.contains(&meta.from) => return Some(DropReason::SourceMac),
            Some(Station::Learned(_)) | None => self.outbox.event(Event::Seen { vlan: meta.vlan, mac, port }),
        };
        if told {
            self.learner.seen[place] = seen;
        }
        None
    }

    /// Bridges the frame within its VLAN.
    pub(crate) fn bridge(&mut self, head: &Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        match self.forbidden(head, meta) {
            Some(reason) => Verdict::Drop(reason),
            None => self.bridge_to(head.port, meta, self.isolated(meta), now),
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
        if !meta.is_group() {
            match self.tables.stations.find(meta.vlan, meta.to) {
                Some(Station::Vmac(_)) => return Verdict::Drop(DropReason::VmacNotVip),
                Some(station) => {
                    let port = station.port().unwrap_or(from);
                    if port == from {
                        return Verdict::Drop(DropReason::NoEgress);
                    }
                    return self.exit(port, meta);
                }
                None => {}
            }
        }
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
