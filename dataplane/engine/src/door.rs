//! What a frame to a server needs.

use dataplane_flow::{TARGETS_MAX, TargetId};
use dataplane_port::PortId;
use dataplane_wire::MacAddr;

/// A server's port, and above it (16 bits) its MAC as it lies in a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Door(u64);

impl Door {
    /// Of one that flows do not go to. No server has this port, so no trail leads there.
    pub(crate) const NONE: Self = Self(63);

    pub(crate) fn new(mac: MacAddr, port: PortId) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        Self(u64::from_le_bytes([port.0 & 31, 0, a, b, c, d, e, f]))
    }

    /// The port, if frames can leave by it: `exits` has a bit for each.
    #[inline(always)]
    pub(crate) fn leads_out(self, exits: u64) -> Option<PortId> {
        (exits >> (self.0 & 63) & 1 != 0).then_some(PortId(self.0 as u8))
    }

    /// Writes the MAC over a frame's destination: six bytes.
    #[inline(always)]
    pub(crate) fn write_to(self, frame: &mut [u8]) -> Option<()> {
        let [_, _, mac @ ..] = self.0.to_le_bytes();
        *frame.first_chunk_mut()? = mac;
        Some(())
    }

    /// The same in one store. What stands behind those six bytes is known: `source`, above 48 bits of zeros.
    #[inline(always)]
    pub(crate) fn write_before(self, source: u64, frame: &mut [u8; 8]) {
        *frame = (self.0 >> 16 | source).to_le_bytes();
    }

    /// Port and MAC, as above.
    #[inline(always)]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }
}

/// All servers' doors.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Doors([Door; TARGETS_MAX]);

impl Doors {
    /// These, by server; the others have none.
    pub(crate) fn new(doors: impl Iterator<Item = Door>) -> Box<Self> {
        let mut all = Box::new(Self([Door::NONE; TARGETS_MAX]));
        all.0.iter_mut().zip(doors).for_each(|(door, given)| *door = given);
        all
    }

    /// A server's.
    #[inline(always)]
    pub(crate) fn of(&self, server: TargetId) -> Door {
        self.0[server.index() & (TARGETS_MAX - 1)]
    }
}
