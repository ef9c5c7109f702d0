//! Where the fragments of a datagram go (FS-20, F13, F14).
//!
//! The first fragment has the ports and is steered like a whole packet; what it found is kept for two
//! seconds for the others. Nothing is reassembled.

use crate::{Instant, TargetId};
use dataplane_cpu::prefetch;
use dataplane_port::WorkerId;

/// How long the first fragment's way is remembered.
const LIFETIME_NS: u64 = 2_000_000_000;

/// Datagrams of one source (of sources with the same hash) that may be under way.
const SOURCE_MAX: u16 = 256;

const WAYS: usize = 8;
const SOURCES: usize = 4096;

/// Rows looked at in one call of [`Fragments::age`].
const AGED_MAX: u64 = 2048;

/// Where a datagram's fragments go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// To the server of the flow.
    Target(TargetId),
    /// To the worker that owns the flow.
    Worker(WorkerId),
}

#[derive(Clone, Copy, Debug)]
struct Row {
    hash: u64,
    expires: Instant,
    source: u16,
    known: Known,
}

/// The datagrams under way whose first fragment was seen. A fixed number of rows; the oldest of a
/// bucket of eight makes room. 32 bytes a row.
#[derive(Debug)]
pub struct Fragments {
    rows: Box<[Row]>,
    sources: Box<[u16]>,
    swept: usize,
    swept_at: Instant,
}

const EMPTY: Row = Row { hash: 0, expires: Instant(0), source: 0, known: Known::Target(TargetId::NONE) };

impl Fragments {
    /// Room for `datagrams` (at least 64), rounded up to a power of two.
    pub fn new(datagrams: usize) -> Self {
        let rows = datagrams.max(64).next_power_of_two();
        Self {
            rows: vec![EMPTY; rows].into_boxed_slice(),
            sources: vec![0; SOURCES].into_boxed_slice(),
            swept: 0,
            swept_at: Instant(0),
        }
    }

    fn bucket(&self, hash: u64) -> usize {
        (hash as usize & (self.rows.len() - 1)) & !(WAYS - 1)
    }

    /// Asks for the rows that [`Self::find`] looks at first.
    #[inline(always)]
    pub fn prefetch(&self, hash: u64) {
        let bucket = self.bucket(hash);
        prefetch(&self.rows[bucket]);
        prefetch(&self.rows[bucket + WAYS / 2]);
    }

    /// Where the datagram's fragments go, if its first one was seen.
    pub fn find(&self, hash: u64, now: Instant) -> Option<Known> {
        let bucket = self.bucket(hash);
        self.rows[bucket..bucket + WAYS]
            .iter()
            .find(|row| row.hash == hash && row.expires > now)
            .map(|row| row.known)
    }

    /// Remembers where the datagram's fragments go; `source` is a hash of its source address. `false`
    /// when that source has 256 datagrams under way already.
    pub fn note(&mut self, hash: u64, source: u64, known: Known, now: Instant) -> bool {
        let source = (source as usize & (SOURCES - 1)) as u16;
        let bucket = self.bucket(hash);
        let rows = bucket..bucket + WAYS;
        let index = match rows.clone().find(|&i| self.rows[i].hash == hash) {
            Some(index) => index,
            None => rows.min_by_key(|&i| self.rows[i].expires).expect("a bucket has eight rows"),
        };
        // Asked before a row is cleared: a source beyond its share must not take others' rows.
        let replaces_own = self.rows[index].hash != 0 && self.rows[index].source == source;
        if self.sources[usize::from(source)] >= SOURCE_MAX && !replaces_own {
            return false;
        }
        self.clear(index);
        self.sources[usize::from(source)] += 1;
        self.rows[index] = Row { hash, expires: Instant(now.0 + LIFETIME_NS), source, known };
        true
    }

    fn clear(&mut self, index: usize) {
        let row = core::mem::replace(&mut self.rows[index], EMPTY);
        if row.hash != 0 {
            self.sources[usize::from(row.source)] -= 1;
        }
    }

    /// Forgets rows that have expired: looks at every row once in the time that one lives, however long
    /// the pauses between calls, but at most 2,048 rows a call. Else a quiet worker would count what is
    /// long past against its source.
    pub fn age(&mut self, now: Instant) {
        let row_ns = (LIFETIME_NS / self.rows.len() as u64).max(1);
        let due = now.since(self.swept_at) / row_ns;
        let done = due.min(AGED_MAX);
        self.swept_at = if due > done { now } else { Instant(self.swept_at.0 + done * row_ns) };
        for _ in 0..done {
            let index = self.swept;
            self.swept = (index + 1) & (self.rows.len() - 1);
            if self.rows[index].hash != 0 && self.rows[index].expires <= now {
                self.clear(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant::from_secs(1);
    const HERE: Known = Known::Target(TargetId(3));

    #[test]
    fn a_way_is_remembered_for_two_seconds() {
        let mut fragments = Fragments::new(64);
        assert!(fragments.note(77, 1, HERE, NOW));
        assert_eq!(fragments.find(77, NOW.plus_millis(1999)), Some(HERE));
        assert_eq!(fragments.find(77, NOW.plus_millis(2000)), None);
        assert_eq!(fragments.find(78, NOW), None);
    }

    #[test]
    fn f14_one_source_has_256_datagrams_under_way_and_ageing_frees_them() {
        let mut fragments = Fragments::new(4096);
        let taken = (1..=1000).filter(|i| fragments.note(i * 8, 9, HERE, NOW)).count();
        assert_eq!(taken, 256);
        assert!(fragments.note(8, 10, HERE, NOW), "another source has its own share");
        let later = NOW.plus_millis(2001);
        for _ in 0..2 {
            fragments.age(later);
            fragments.age(later.plus_millis(1100));
        }
        assert!(fragments.note(5, 9, HERE, later));
    }

    #[test]
    fn f14_a_source_beyond_its_share_takes_no_row_of_another() {
        let mut fragments = Fragments::new(4096);
        // Another's rows fill the buckets that the flood will fall on.
        assert!((0..200).all(|i| fragments.note(4096 * (i % 8 + 1) + i / 8 * 8, 10, HERE, NOW)));
        (1..=256).for_each(|i| assert!(fragments.note(2048 + i * 4, 9, HERE, NOW.plus_millis(1))));
        for i in 0..10_000 {
            fragments.note(4096 * (i + 20) + i % 25 * 8, 9, HERE, NOW.plus_millis(2));
        }
        let kept = (0..200).filter(|i| fragments.find(4096 * (i % 8 + 1) + i / 8 * 8, NOW).is_some());
        assert_eq!(kept.count(), 200);
    }

    #[test]
    fn f13_a_steady_source_on_a_quiet_worker_is_never_beyond_its_share() {
        let mut fragments = Fragments::new(65_536);
        let mut now = NOW;
        for i in 0..3000_u64 {
            // Twenty datagrams a second; an idle worker turns every 10 ms.
            for _ in 0..5 {
                now = now.plus_millis(10);
                fragments.age(now);
            }
            assert!(fragments.note(crate::fold(i + 1, 0x9e37_79b9_7f4a_7c15), 9, HERE, now), "datagram {i}");
        }
    }

    #[test]
    fn a_full_bucket_gives_up_its_oldest() {
        let mut fragments = Fragments::new(64);
        for i in 0..9_u64 {
            assert!(fragments.note(64 * (i + 1), i, HERE, NOW.plus_millis(i)));
        }
        assert_eq!(fragments.find(64, NOW), None);
        assert!((1..9).all(|i| fragments.find(64 * (i + 1), NOW).is_some()));
    }
}
