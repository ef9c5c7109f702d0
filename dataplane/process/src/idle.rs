//! What a worker does when there is nothing to do.
//!
//! An appliance's worker never rests. In trial mode it rests until a frame comes, where all its devices have
//! sockets that can be waited on, and naps where they have not: an idle switch is to take less than 2 % of a
//! core, and a packet that wakes it is not to wait for the end of a nap.

use core::time::Duration;
use dataplane_flow::pause_max;
use dataplane_message::{Device, Mode, PortBoot};
use ffi_linux::Woken;

/// Empty turns before the first rest: the time in which an answer to what was just sent comes.
const TURNS: u32 = 64;

/// Naps, in µs, and how many of each: a pause between two packets of a conversation is slept through in small
/// pieces, for a second or so. The last one is for good: waking up costs some 20 µs of a virtual machine, so it
/// decides what an idle switch takes of a core.
const NAPS: [(u64, u32); 5] = [(20, 50), (50, 100), (200, 2500), (500, 3000), (2000, u32::MAX)];

/// Rests that ended by a frame that was not there, one after the other, before the worker naps instead: the
/// frames are another worker's, or a socket is not what it seemed.
const VAIN_MAX: u32 = 64;

/// Naps before it rests again.
const VAIN_NAPS: u32 = 200;

/// What comes after a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pause {
    /// The next one.
    None,
    /// A nap.
    Nap(Duration),
    /// Rest until a frame comes.
    Rest(Duration),
}

/// Counts empty turns.
#[derive(Debug)]
pub(crate) struct Idle {
    naps: bool,
    /// There is something to wait on.
    rests: bool,
    rest: Duration,
    empty: u32,
    vain: u32,
}

impl Idle {
    /// `flows_max`: those of the worker's shard.
    pub(crate) fn new(mode: Mode, ports: &[PortBoot], flows_max: u32) -> Self {
        let naps = mode == Mode::Trial;
        Self {
            naps,
            rests: naps && !ports.is_empty() && ports.iter().all(|port| has_socket(&port.device)),
            rest: pause_max(flows_max),
            empty: 0,
            vain: 0,
        }
    }

    /// The next turn may be the last one before a rest.
    pub(crate) fn is_drowsy(&self) -> bool {
        self.rests && self.empty + 1 >= TURNS
    }

    /// What follows a turn that handled `frames`.
    pub(crate) fn after(&mut self, frames: usize) -> Pause {
        if frames > 0 {
            (self.empty, self.vain) = (0, 0);
            return Pause::None;
        }
        if !self.naps {
            return Pause::None;
        }
        self.empty = self.empty.saturating_add(1).min(u32::MAX - 1);
        let Some(mut past) = self.empty.checked_sub(TURNS) else { return Pause::None };
        if self.rests && self.vain < VAIN_MAX {
            return Pause::Rest(self.rest);
        }
        if self.rests {
            self.vain += 1;
            if self.vain >= VAIN_MAX + VAIN_NAPS {
                self.vain = 0;
            }
            past = past.min(150);
        }
        let nap = NAPS.iter().find_map(|(micros, times)| {
            if past < *times {
                return Some(Duration::from_micros(*micros).min(self.rest));
            }
            past -= times;
            None
        });
        nap.map_or(Pause::None, Pause::Nap)
    }

    /// How a rest ended.
    pub(crate) fn woken(&mut self, by: Woken) {
        self.vain = if by == Woken::ByFrame { self.vain + 1 } else { 0 };
    }
}

/// Frames come by a socket of the kernel's.
fn has_socket(device: &Device) -> bool {
    matches!(
        device,
        Device::AfXdp { .. } | Device::AfPacket { .. } | Device::Pcap { .. } | Device::Tap { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::{af_xdp, boot};

    fn idle(mode: Mode, devices: &[Device]) -> Idle {
        Idle::new(mode, &boot(devices.iter().cloned()).ports, 65_536)
    }

    fn null() -> Device {
        Device::Vdev { arguments: "net_null0".into() }
    }

    #[test]
    fn the_longer_nothing_comes_the_longer_the_naps() {
        let mut idle = idle(Mode::Trial, &[af_xdp("p0"), null()]);
        let pauses: Vec<_> = (0..9000).map(|_| idle.after(0)).collect();
        assert!(pauses[..63].iter().all(|pause| *pause == Pause::None));
        let at = [63, 163, 999, 4999, 8999].map(|turn: usize| pauses[turn]);
        assert_eq!(at, [20, 50, 200, 500, 2000].map(|us| Pause::Nap(Duration::from_micros(us))));
        assert_eq!(idle.after(1), Pause::None);
        assert_eq!(idle.after(0), Pause::None);
        idle.empty = u32::MAX - 1;
        assert_eq!(idle.after(0), Pause::Nap(Duration::from_millis(2)));
        assert!(!idle.is_drowsy());
    }

    #[test]
    fn where_all_devices_have_sockets_it_rests_until_a_frame_comes() {
        let mut idle = idle(Mode::Trial, &[af_xdp("p0"), af_xdp("p1")]);
        let pauses: Vec<_> = (0..63).map(|_| idle.after(0)).collect();
        assert!(pauses.iter().all(|pause| *pause == Pause::None));
        assert!(idle.is_drowsy());
        assert_eq!(idle.after(0), Pause::Rest(pause_max(1)));
        assert_eq!(idle.after(0), Pause::Rest(pause_max(1)), "it has looked once more");
        assert_eq!(idle.after(3), Pause::None);
        assert!(!idle.is_drowsy());
    }

    #[test]
    fn who_is_woken_in_vain_naps_for_a_while() {
        let mut idle = idle(Mode::Trial, &[af_xdp("p0")]);
        (0..100).for_each(|_| drop_pause(idle.after(0)));
        (0..VAIN_MAX).for_each(|_| idle.woken(Woken::ByFrame));
        let naps = (0..1000).take_while(|_| matches!(idle.after(0), Pause::Nap(_))).count();
        assert_eq!(naps, VAIN_NAPS as usize);
        (0..VAIN_MAX - 1).for_each(|_| idle.woken(Woken::ByFrame));
        idle.woken(Woken::ByTime);
        assert_eq!(idle.after(0), Pause::Rest(pause_max(1)));
    }

    fn drop_pause(_: Pause) {}

    #[test]
    fn a_large_table_is_swept_in_time_all_the_same() {
        let ports = boot([af_xdp("p0")]).ports;
        for (flows_max, rest_us) in [(65_536, 8000), (1 << 20, 4882), (1 << 24, 500)] {
            assert_eq!(Idle::new(Mode::Trial, &ports, flows_max).rest.as_micros(), rest_us);
        }
    }

    #[test]
    fn an_appliance_never_rests() {
        let mut idle = idle(Mode::Appliance, &[af_xdp("p0")]);
        assert!((0..1000).all(|_| idle.after(0) == Pause::None));
        assert!(!idle.is_drowsy());
    }
}
