//! Whether a server is alive (FS-10).

use crate::event::Reason;
use dataplane_flow::Instant;

/// Whether a server is alive: never dead while it shows any sign of life.
///
/// ```text
///            no carrier                  no carrier
///   Alive ───────────────▶ Unplugged ◀─────────────── Silent
///     │ ▲                      │ carrier                ▲ │
///     │ └── a sign of life ────┼────────────────────────┼─┘
///     │                        └────────────────────────┤
///     └── no sign for dead_after ───────────────────────┘
/// ```
///
/// Signs of life are a good answer to any probe, ARP or ND above all, and frames from it (`out_frames` has
/// risen). Both `Unplugged` and `Silent` are *dead*. When the data path has not been heard, silence says nothing.
#[derive(Clone, Debug)]
pub(crate) struct Monitor {
    life: Life,
    last_sign: Instant,
    /// When it was last silent with the data path there.
    changed: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    Alive,
    Unplugged,
    Silent,
}

/// What a monitor sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// Its port has no carrier.
    NoCarrier,
    /// Its port has carrier.
    Carrier,
    /// It has answered, or sent something.
    Sign,
    /// Time passes; it is dead after that many milliseconds without a sign.
    Time { dead_after_ms: u32 },
}

impl Monitor {
    pub(crate) fn new(life: Life, now: Instant) -> Self {
        Self { life, last_sign: now, changed: now }
    }

    /// Something is seen; whether its life has changed by it.
    pub(crate) fn handle(&mut self, seen: Seen, now: Instant) -> bool {
        let next = match (self.life, seen) {
            (_, Seen::NoCarrier) => Life::Unplugged,
            (Life::Unplugged, Seen::Carrier) => Life::Silent,
            (Life::Silent, Seen::Sign) => Life::Alive,
            (Life::Alive, Seen::Time { dead_after_ms })
                if now.since(self.last_sign) >= u64::from(dead_after_ms) * 1_000_000 =>
            {
                Life::Silent
            }
            (life, _) => life,
        };
        if seen == Seen::Sign && self.life != Life::Unplugged {
            self.last_sign = now;
        }
        let has_changed = next != self.life;
        if has_changed {
            self.changed = now;
        }
        self.life = next;
        has_changed
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.life != Life::Alive
    }

    pub(crate) fn life(&self) -> Life {
        self.life
    }

    /// Why it is dead, and the last that was seen of it.
    pub(crate) fn reason(&self) -> Option<(Reason, Instant)> {
        match self.life {
            Life::Alive => None,
            Life::Unplugged => Some((Reason::LinkDown, self.changed)),
            Life::Silent => Some((Reason::Silent, self.last_sign)),
        }
    }

    /// Milliseconds without a sign do not count up to now: the data path was not there.
    pub(crate) fn excuse(&mut self, now: Instant) {
        self.last_sign = self.last_sign.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_table() {
        use Life::{Alive, Silent, Unplugged};
        let soon = Seen::Time { dead_after_ms: 3001 };
        let late = Seen::Time { dead_after_ms: 3000 };
        let table = [
            (Alive, Seen::NoCarrier, Unplugged),
            (Alive, Seen::Carrier, Alive),
            (Alive, Seen::Sign, Alive),
            (Alive, soon, Alive),
            (Alive, late, Silent),
            (Unplugged, Seen::NoCarrier, Unplugged),
            (Unplugged, Seen::Carrier, Silent),
            (Unplugged, Seen::Sign, Unplugged),
            (Unplugged, soon, Unplugged),
            (Unplugged, late, Unplugged),
            (Silent, Seen::NoCarrier, Unplugged),
            (Silent, Seen::Carrier, Silent),
            (Silent, Seen::Sign, Alive),
            (Silent, soon, Silent),
            (Silent, late, Silent),
        ];
        for (before, seen, after) in table {
            let mut monitor = Monitor::new(before, Instant::default());
            let changed = monitor.handle(seen, Instant::from_secs(3));
            assert_eq!(monitor.life(), after, "{before:?} {seen:?}");
            assert_eq!(changed, before != after, "{before:?} {seen:?}");
            assert_eq!(monitor.is_dead(), after != Alive);
        }
    }

    #[test]
    fn a_sign_of_life_puts_death_off() {
        let mut monitor = Monitor::new(Life::Alive, Instant::default());
        let time = Seen::Time { dead_after_ms: 3000 };
        monitor.handle(Seen::Sign, Instant::from_millis(2999));
        assert!(!monitor.handle(time, Instant::from_millis(5998)));
        assert!(monitor.handle(time, Instant::from_millis(5999)));
    }
}
