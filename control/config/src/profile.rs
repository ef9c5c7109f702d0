//! What a machine is: the defaults that `mode` chooses (`board/profiles`).

use crate::raw::Driver;
use crate::reader::{Fields, Findings, boolean, number};
use dataplane_message::Mode;
use toml::de::DeTable;

/// A machine profile.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Profile {
    /// Workers where the file names neither workers nor cores.
    pub workers: u8,
    /// Workers need cores of their own.
    pub pinned: bool,
    /// Most flows in all shards together.
    pub flows_max: u32,
    /// DPDK memory in MiB; 0: computed from ports and workers.
    pub memory_mib: u32,
    /// Use huge pages.
    pub hugepages: bool,
}

impl Profile {
    /// The profile of a mode.
    pub fn of(mode: Mode) -> Self {
        let text = match mode {
            Mode::Trial => include_str!("../../../board/profiles/trial.toml"),
            Mode::Appliance => include_str!("../../../board/profiles/appliance.toml"),
        };
        Self::read(text).expect("the profiles are part of the program, and a test reads them")
    }

    fn read(text: &str) -> Option<Self> {
        let table = DeTable::parse(text).ok()?;
        let mut findings = Findings::new(text);
        let mut fields = Fields::root(&mut findings, table.get_ref());
        let workers = fields.field("workers", number(1, 32));
        let pinned = fields.field("pinned", boolean);
        let flows_max = fields.field("flows_max", number(1024, 64 << 20));
        let memory_mib = fields.field("memory_mib", number(0, 1 << 20));
        let hugepages = fields.field("hugepages", boolean);
        fields.close();
        let profile = Self {
            workers: *workers.given()?,
            pinned: *pinned.given()?,
            flows_max: *flows_max.given()?,
            memory_mib: *memory_mib.given()?,
            hugepages: *hugepages.given()?,
        };
        findings.errors.is_empty().then_some(profile)
    }
}

/// The driver of a kernel interface where none is named.
pub(crate) const DRIVER: Driver = Driver::AfXdp;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_are_complete() {
        let trial = Profile::of(Mode::Trial);
        assert_eq!((trial.workers, trial.pinned, trial.hugepages), (1, false, false));
        assert_eq!(trial.flows_max, 65_536);
        let appliance = Profile::of(Mode::Appliance);
        assert!(appliance.pinned && appliance.hugepages);
    }
}
