//! When backups are taken (FS-34).

use dataplane_flow::Instant;

/// How long the others must have been enough before backups are left again.
const ENOUGH_NS: u64 = 10_000_000_000;

/// Whether a service's backups take flows.
///
/// ```text
///          fewer than the quorum                         enough
///   Shut ─────────────────────────▶ Open ─────────────────────────────▶ Closing(since)
///     ▲                               ▲        fewer than the quorum        │ │
///     │                               └─────────────────────────────────────┘ │
///     └────────────────────────── enough for 10 s ────────────────────────────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Quorum {
    #[default]
    Shut,
    Open,
    Closing(Instant),
}

impl Quorum {
    /// So many of the others are up; `quorum` 0 stands for 1. Whether backups are taken or left by it.
    pub(crate) fn handle(&mut self, up: usize, quorum: u16, now: Instant) -> Option<bool> {
        let is_enough = up >= usize::from(quorum.max(1));
        let was = self.is_open();
        *self = match (*self, is_enough) {
            (_, false) => Self::Open,
            (Self::Shut, true) => Self::Shut,
            (Self::Open, true) => Self::Closing(now),
            (Self::Closing(since), true) if now.since(since) >= ENOUGH_NS => Self::Shut,
            (closing, true) => closing,
        };
        (self.is_open() != was).then(|| self.is_open())
    }

    pub(crate) fn is_open(self) -> bool {
        self != Self::Shut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fs34_whole_table() {
        let now = Instant::from_secs(100);
        let young = Quorum::Closing(Instant::from_secs(91));
        let ripe = Quorum::Closing(Instant::from_secs(90));
        let table = [
            (Quorum::Shut, 1, Quorum::Open, Some(true)),
            (Quorum::Shut, 2, Quorum::Shut, None),
            (Quorum::Open, 1, Quorum::Open, None),
            (Quorum::Open, 2, Quorum::Closing(now), None),
            (young, 1, Quorum::Open, None),
            (young, 2, young, None),
            (ripe, 1, Quorum::Open, None),
            (ripe, 2, Quorum::Shut, Some(false)),
        ];
        for (before, up, after, said) in table {
            let mut quorum = before;
            assert_eq!(quorum.handle(up, 2, now), said, "{before:?} {up}");
            assert_eq!(quorum, after, "{before:?} {up}");
        }
        assert_eq!(Quorum::Shut.handle(0, 0, now), Some(true), "no quorum: when none is up");
        assert_eq!(Quorum::Shut.handle(1, 0, now), None);
    }
}
