//! Ethernet addresses and where they are: the bridge's look-up.

use dataplane_flow::{ClusterId, RouterId, TargetId, fold};
use dataplane_port::{PortId, VlanId};

/// What an address is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Station {
    /// A cluster's VMAC: ourselves.
    Vmac(ClusterId),
    /// A server, pinned to its port.
    Server(TargetId, PortId),
    /// A router whose address is known, pinned to the outside ports.
    Router(RouterId, PortId),
    /// A learned address.
    Learned(PortId),
}

impl Station {
    /// The port it is behind.
    pub fn port(self) -> Option<PortId> {
        match self {
            Self::Vmac(_) => None,
            Self::Server(_, port) | Self::Router(_, port) | Self::Learned(port) => Some(port),
        }
    }
}

/// An exact map from (VLAN, address): open addressing, at most half full, so a look-up touches a
/// line or two; at most [`PROBES_MAX`] places are looked at.
#[derive(PartialEq, Eq, Debug)]
pub struct Stations {
    places: Box<[(u64, Option<Station>)]>,
    len: usize,
}

const PROBES_MAX: usize = 32;
const EMPTY: u64 = u64::MAX;

#[inline(always)]
fn key(vlan: VlanId, mac: u64) -> u64 {
    u64::from(vlan.0) << 48 | mac
}

impl Stations {
    /// A map with room for `max` addresses.
    pub fn new(max: usize) -> Self {
        let places = (max.max(8) * 2).next_power_of_two();
        Self { places: vec![(EMPTY, None); places].into_boxed_slice(), len: 0 }
    }

    #[inline(always)]
    fn place(&self, key: u64) -> usize {
        // Addresses are not under one sender's control to the point of choosing 32 that collide
        // here: an address that finds no place is not learned, and is flooded.
        fold(key ^ 0x5851_f42d_4c95_7f2d, 0x9e37_79b9_7f4a_7c15) as usize & (self.places.len() - 1)
    }

    /// Where and what the address is.
    #[inline(always)]
    pub fn find(&self, vlan: VlanId, mac: u64) -> Option<Station> {
        let key = key(vlan, mac);
        let start = self.place(key);
        for i in 0..PROBES_MAX {
            let (there, station) = self.places[(start + i) & (self.places.len() - 1)];
            if there == key {
                return station;
            }
            if there == EMPTY {
                return None;
            }
        }
        None
    }

    /// Adds an address unless it is there already; `false` when it is, or has no place.
    pub fn insert(&mut self, vlan: VlanId, mac: u64, station: Station) -> bool {
        let key = key(vlan, mac);
        let start = self.place(key);
        if self.len * 2 >= self.places.len() {
            return false;
        }
        for i in 0..PROBES_MAX {
            let at = (start + i) & (self.places.len() - 1);
            let (there, _) = self.places[at];
            if there == key {
                return false;
            }
            if there == EMPTY {
                self.places[at] = (key, Some(station));
                self.len += 1;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_vlan_only_and_the_first_pin_stays() {
        let mut stations = Stations::new(1000);
        for n in 0..1000_u64 {
            assert!(stations.insert(VlanId(1), n * 3, Station::Learned(PortId(n as u8 % 8))));
        }
        assert!(!stations.insert(VlanId(1), 3, Station::Router(RouterId(0), PortId(9))));
        assert_eq!(stations.find(VlanId(1), 3), Some(Station::Learned(PortId(1))));
        assert_eq!(stations.find(VlanId(2), 3), None);
        assert!((0..1000_u64).all(|n| stations.find(VlanId(1), n * 3).is_some()));
    }

    #[test]
    fn a_full_map_refuses() {
        let mut stations = Stations::new(8);
        let taken = (0..100).filter(|n| stations.insert(VlanId(1), *n, Station::Learned(PortId(0)))).count();
        assert_eq!(taken, 8);
    }
}
