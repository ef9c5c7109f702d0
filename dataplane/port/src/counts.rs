//! What a back end could not do.

use crate::{PORTS_MAX, PortId};

/// Frames (or copies of frames) that the back end had to free instead of sending, since the last
/// time the worker looked.
#[derive(Clone, Default, Debug)]
pub struct Refused {
    transmit: [u32; PORTS_MAX],
    /// Over all ports.
    transmit_all: u32,
    /// The ring to the owning worker was full.
    pub hand: u32,
    /// No buffer for a copy (flood) or an own frame.
    pub no_buffer: u32,
    /// The port is detached or does not exist.
    pub no_port: u32,
}

impl Refused {
    /// Whether everything was sent.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        self.transmit_all | self.hand | self.no_buffer | self.no_port == 0
    }

    /// The transmit queue of this port was full for so many frames.
    pub fn at(&mut self, port: PortId, frames: u32) {
        self.transmit[port.index() & (PORTS_MAX - 1)] += frames;
        self.transmit_all += frames;
    }

    /// Frames that the transmit queue of this port was full for.
    pub fn of(&self, port: PortId) -> u32 {
        self.transmit[port.index() & (PORTS_MAX - 1)]
    }

    /// The same, of all ports.
    pub fn transmit(&self) -> u32 {
        self.transmit_all
    }

    /// Counts what the other has counted as well.
    pub fn add(&mut self, other: &Self) {
        self.transmit.iter_mut().zip(other.transmit).for_each(|(to, from)| *to += from);
        self.transmit_all += other.transmit_all;
        self.hand += other.hand;
        self.no_buffer += other.no_buffer;
        self.no_port += other.no_port;
    }
}
