//! Huge pages: taken if there are too few and we may, and given back at the end.

use std::fs;

/// The kernel's count of huge pages of the default size.
pub(crate) const FILE: &str = "/proc/sys/vm/nr_hugepages";

/// Pages of 2 MiB that all rows together need: `rte_hash` with 32 million places is the largest.
const NEEDED: u64 = 1024;

/// Below this many nothing can be measured.
const FREE_MIN: u64 = 256;

/// Pages that were reserved here; they go when this goes.
#[derive(Debug)]
pub(crate) struct HugePages {
    before: Option<u64>,
}

impl HugePages {
    /// Sees to it that there are enough. Without root it leaves things as they are.
    pub(crate) fn reserve() -> Self {
        if free().is_none_or(|free| free >= FREE_MIN) {
            return Self { before: None };
        }
        let before: Option<u64> = fs::read_to_string(FILE).ok().and_then(|text| text.trim().parse().ok());
        let Some(before) = before else { return Self { before: None } };
        let wanted = before + NEEDED;
        let written = fs::write(FILE, wanted.to_string()).is_ok();
        eprintln!(
            "  {}",
            if written {
                "huge pages: reserved until the end"
            } else {
                "huge pages: too few, and no right to reserve some"
            }
        );
        Self { before: written.then_some(before) }
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // In use until the process ends; the kernel takes back the free ones, and these as they fall free.
            let _ = fs::write(FILE, before.to_string());
        }
    }
}

fn free() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("HugePages_Free:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
