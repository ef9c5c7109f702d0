//! What a back end could not do.

use crate::PORTS_MAX;

/// Frames (or copies of frames) that the back end had to free instead of sending, since the last
/// time the worker looked.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Per port: the transmit queue was full.
    pub transmit: [u32; PORTS_MAX],
    /// The ring to the owning worker was full.
    pub hand: u32,
    /// No buffer for a copy (flood) or an own frame.
    pub no_buffer: u32,
    /// The port is detached or does not exist.
    pub no_port: u32,
}

impl Default for Refused {
    fn default() -> Self {
        Self { transmit: [0; PORTS_MAX], hand: 0, no_buffer: 0, no_port: 0 }
    }
}

impl Refused {
    /// Whether everything was sent.
    #[inline]
    pub fn is_nothing(&self) -> bool {
        let ports = self.transmit.iter().fold(0, |all, n| all | n);
        ports | self.hand | self.no_buffer | self.no_port == 0
    }
}
