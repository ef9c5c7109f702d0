//! What the engine wants done beside its verdicts. Fixed room: full is counted, never waited for.

use core::net::IpAddr;
use dataplane_flow::TargetId;
use dataplane_message::AlarmKind;
use dataplane_port::{DropReason, PortId, SlotId, TagEdit, VlanId, WorkerId};
use dataplane_wire::MacAddr;

/// The longest frame of the engine's own: an ICMP error that quotes a packet is longest.
pub const OWN_FRAME_MAX: usize = 160;

/// Frames of our own in one turn.
const FRAMES_MAX: usize = 128;
const EVENTS_MAX: usize = 128;
const RELEASES_MAX: usize = 512;

/// A frame of our own.
#[derive(Clone, Copy, Debug)]
pub struct OwnFrame {
    /// Where it goes.
    pub port: PortId,
    len: u16,
    bytes: [u8; OWN_FRAME_MAX],
}

impl OwnFrame {
    /// The frame.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What becomes of a held frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    /// Its destination is overwritten and it is sent.
    Send(SlotId, PortId, TagEdit, MacAddr),
    /// It is handed to the flow's owner.
    Hand(SlotId, WorkerId),
    /// It is dropped.
    Drop(SlotId, DropReason),
}

/// What the publisher should know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A source address was seen on a port.
    Seen {
        /// Its VLAN.
        vlan: VlanId,
        /// The address.
        mac: MacAddr,
        /// The port.
        port: PortId,
    },
    /// A server showed its MAC address (`mac = "learn"`).
    ServerMac {
        /// The server.
        target: TargetId,
        /// The address.
        mac: MacAddr,
    },
    /// The operator should look.
    Alarm {
        /// What.
        kind: AlarmKind,
        /// Where.
        port: PortId,
        /// In which VLAN.
        vlan: VlanId,
        /// By whom.
        mac: MacAddr,
        /// About which address.
        address: Option<IpAddr>,
    },
}

/// The engine's wishes of one turn; the worker carries them out and empties it.
#[derive(Debug)]
pub struct Outbox {
    /// Frames to send.
    pub frames: Vec<OwnFrame>,
    /// Events to report.
    pub events: Vec<Event>,
    /// Held frames to let go.
    pub releases: Vec<Release>,
    /// Frames there was no room for.
    pub refused: u32,
}

impl Default for Outbox {
    fn default() -> Self {
        Self {
            frames: Vec::with_capacity(FRAMES_MAX),
            events: Vec::with_capacity(EVENTS_MAX),
            releases: Vec::with_capacity(RELEASES_MAX),
            refused: 0,
        }
    }
}

impl Outbox {
    /// Adds a frame of `len` bytes (at most [`OWN_FRAME_MAX`]) that `fill` writes over zeros.
    pub fn frame(&mut self, port: PortId, len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        if self.frames.len() == FRAMES_MAX || len > OWN_FRAME_MAX {
            self.refused += 1;
            return false;
        }
        let mut own = OwnFrame { port, len: len as u16, bytes: [0; OWN_FRAME_MAX] };
        fill(&mut own.bytes[..len]);
        self.frames.push(own);
        true
    }

    /// For how many more frames there is room in this turn.
    pub(crate) fn room(&self) -> usize {
        FRAMES_MAX - self.frames.len()
    }

    /// Adds an event; `false` when there is no room, and it is then lost (it comes again).
    pub fn event(&mut self, event: Event) -> bool {
        let room = self.events.len() < EVENTS_MAX;
        if room {
            self.events.push(event);
        }
        room
    }

    /// Lets a held frame go. There is always room: fewer can be held.
    pub fn release(&mut self, release: Release) {
        debug_assert!(self.releases.len() < RELEASES_MAX, "more releases than slots");
        self.releases.push(release);
    }

    /// Whether nothing is wanted.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.events.is_empty() && self.releases.is_empty()
    }
}
