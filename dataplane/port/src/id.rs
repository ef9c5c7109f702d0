//! Small numbers that must not be swapped.

use serde::{Deserialize, Serialize};

/// The most ports a switch has: DPDK's `RTE_MAX_ETHPORTS` as Debian builds it.
pub const PORTS_MAX: usize = 32;

/// The most workers a switch has.
pub const WORKERS_MAX: usize = 32;

/// A port of the switch, in the order of the configuration: `0..PORTS_MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct PortId(pub u8);

impl PortId {
    /// The port as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A worker: `0..WORKERS_MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// The worker as an index.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A VLAN identifier, `1..=4094`; 0 stands for "no VLAN" on a switch that uses none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct VlanId(pub u16);

/// A set of ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct PortSet(pub u32);

impl PortSet {
    /// No port.
    pub const EMPTY: Self = Self(0);

    /// The set with `port` in it.
    #[must_use]
    pub fn with(self, port: PortId) -> Self {
        Self(self.0 | 1 << (port.0 & 31))
    }

    /// The set without `port`.
    #[must_use]
    pub fn without(self, port: PortId) -> Self {
        Self(self.0 & !(1 << (port.0 & 31)))
    }

    /// The ports that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The ports that are here and not in `other`.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The ports that are in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `port` is in the set.
    pub fn contains(self, port: PortId) -> bool {
        self.0 & (1 << (port.0 & 31)) != 0
    }

    /// Whether no port is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many ports are in the set.
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The ports, in rising order.
    pub fn iter(self) -> impl Iterator<Item = PortId> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            let next = left.trailing_zeros() as u8;
            left &= left - 1;
            Some(PortId(next))
        })
    }
}

impl FromIterator<PortId> for PortSet {
    fn from_iter<T: IntoIterator<Item = PortId>>(ports: T) -> Self {
        ports.into_iter().fold(Self::EMPTY, Self::with)
    }
}
