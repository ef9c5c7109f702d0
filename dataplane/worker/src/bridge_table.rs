//! The bridge's learned addresses (FS-5, A6, A7): kept by the publisher, told by the workers.

use dataplane_engine::LearnedStation;
use dataplane_flow::Instant;
use dataplane_message::{BridgePlan, BridgeRow};
use dataplane_port::{PORTS_MAX, PortId, VlanId};
use dataplane_wire::MacAddr;
use std::collections::HashMap;

/// Moves a second that are believed (A6).
const MOVES_PER_S: u32 = 5;
/// How long an address that moves more often stays where it is.
const FROZEN_NS: u64 = 10_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Place {
    port: PortId,
    seen: Instant,
    moves: u32,
    moves_since: Instant,
    frozen_until: Instant,
}

/// What came of a sighting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sighting {
    /// Nothing new.
    Known,
    /// New, or moved: tables are to be made anew.
    Changed,
    /// It moves too often: frozen.
    Flapping,
    /// No room.
    Full,
}

#[derive(Debug, Default)]
pub(crate) struct BridgeTable {
    places: HashMap<(VlanId, MacAddr), Place>,
    per_port: [u32; PORTS_MAX],
    aged: Instant,
}

impl BridgeTable {
    pub(crate) fn see(
        &mut self,
        vlan: VlanId,
        mac: MacAddr,
        port: PortId,
        limits: &BridgePlan,
        now: Instant,
    ) -> Sighting {
        let index = port.index() % PORTS_MAX;
        if let Some(place) = self.places.get_mut(&(vlan, mac)) {
            place.seen = now;
            if place.port == port || place.frozen_until > now {
                return Sighting::Known;
            }
            if now.since(place.moves_since) >= 1_000_000_000 {
                (place.moves, place.moves_since) = (0, now);
            }
            place.moves += 1;
            if place.moves > MOVES_PER_S {
                place.frozen_until = Instant(now.0 + FROZEN_NS);
                return Sighting::Flapping;
            }
            self.per_port[place.port.index() % PORTS_MAX] -= 1;
            self.per_port[index] += 1;
            place.port = port;
            return Sighting::Changed;
        }
        if self.places.len() as u32 >= limits.addresses_max
            || self.per_port[index] >= limits.addresses_port_max
        {
            return Sighting::Full;
        }
        self.per_port[index] += 1;
        let place = Place { port, seen: now, moves: 0, moves_since: now, frozen_until: Instant(0) };
        self.places.insert((vlan, mac), place);
        Sighting::Changed
    }

    /// Forgets what was not seen for `ageing_s`; looks once a second. Whether anything went.
    pub(crate) fn age(&mut self, limits: &BridgePlan, now: Instant) -> bool {
        if now.since(self.aged) < 1_000_000_000 {
            return false;
        }
        self.aged = now;
        let before = self.places.len();
        let per_port = &mut self.per_port;
        self.places.retain(|_, place| {
            let keep = now.since(place.seen) <= u64::from(limits.ageing_s) * 1_000_000_000;
            if !keep {
                per_port[place.port.index() % PORTS_MAX] -= 1;
            }
            keep
        });
        self.places.len() != before
    }

    /// Forgets what is behind a port whose link went down.
    pub(crate) fn forget_port(&mut self, port: PortId) -> bool {
        let before = self.places.len();
        self.places.retain(|_, place| place.port != port);
        self.per_port[port.index() % PORTS_MAX] = 0;
        self.places.len() != before
    }

    pub(crate) fn stations(&self) -> Vec<LearnedStation> {
        self.places.iter().map(|((vlan, mac), place)| (*vlan, *mac, place.port)).collect()
    }

    /// At most `most` rows, in the order of VLAN and address.
    pub(crate) fn rows(&self, most: usize) -> Vec<BridgeRow> {
        let mut rows: Vec<BridgeRow> = self
            .places
            .iter()
            .map(|((vlan, mac), place)| BridgeRow { vlan: *vlan, mac: *mac, port: place.port, pinned: false })
            .collect();
        rows.sort_by_key(|row| (row.vlan, row.mac));
        rows.truncate(most);
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VLAN: VlanId = VlanId(1);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);

    fn limits() -> BridgePlan {
        BridgePlan { addresses_max: 100, addresses_port_max: 60, ageing_s: 10, guard: true }
    }

    #[test]
    fn a7_a_flood_of_addresses_fills_its_own_ports_share_only() {
        let mut table = BridgeTable::default();
        let now = Instant::from_secs(1);
        let mac = |n: u32| MacAddr([2, 1, (n >> 16) as u8, (n >> 8) as u8, n as u8, 0]);
        let taken = (0..1_000_000)
            .filter(|n| table.see(VLAN, mac(*n), PortId(0), &limits(), now) == Sighting::Changed);
        assert_eq!(taken.count(), 60);
        assert_eq!(table.see(VLAN, MAC, PortId(1), &limits(), now), Sighting::Changed);
        assert!(table.age(&limits(), Instant::from_secs(20)));
        assert_eq!(table.stations().len(), 0);
        assert_eq!(table.see(VLAN, mac(1_000_001), PortId(0), &limits(), now), Sighting::Changed);
    }

    #[test]
    fn a6_an_address_that_flaps_is_frozen_for_ten_seconds() {
        let mut table = BridgeTable::default();
        let at = |ms: u64| Instant::from_millis(1000 + ms);
        table.see(VLAN, MAC, PortId(0), &limits(), at(0));
        let seen: Vec<Sighting> =
            (1..=6).map(|i| table.see(VLAN, MAC, PortId(i as u8 % 2), &limits(), at(i))).collect();
        assert_eq!(seen[..5], [Sighting::Changed; 5]);
        assert_eq!(seen[5], Sighting::Flapping);
        assert_eq!(table.see(VLAN, MAC, PortId(0), &limits(), at(9_000)), Sighting::Known);
        assert_eq!(table.stations()[0].2, PortId(1));
        assert_eq!(table.see(VLAN, MAC, PortId(0), &limits(), at(11_000)), Sighting::Changed);
    }
}
