//! Buffers counted, and compared with what there is, before DPDK is started.

use crate::device;
use anyhow::{Result, ensure};
use dataplane_message::{Boot, PortBoot};
use ffi_dpdk::{BufferNeeds, Mempool};
use std::fs;

/// DPDK's own needs: devices, rings, tables.
const DPDK_BYTES: u64 = 48 << 20;

const MIB: u64 = 1 << 20;

/// What the flow tables take for each flow: 1.25 places of 80 bytes, and an eighth of that for handshakes. It is all
/// written to at the start.
const FLOW_BYTES: u64 = 113;

/// How large the pools must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Memory {
    /// Buffers of the pool that all share.
    pub(crate) shared: u32,
    /// Their size.
    pub(crate) data_room: u16,
    /// Per port: buffers of its own pool, if it has one.
    pub(crate) private: Vec<Option<u32>>,
    /// All together, with what DPDK itself needs.
    pub(crate) mib: u32,
}

impl Memory {
    /// Counts.
    pub(crate) fn of(boot: &Boot) -> Self {
        let owns = |port: &&PortBoot| device::traits(&port.device).private_pool;
        let rings = |port: &PortBoot| device::buffers(&port.device, boot.workers);
        let needs = BufferNeeds {
            workers: boot.workers,
            ports: boot.ports.iter().filter(|port| !owns(port)).map(rings).collect(),
        };
        let shared = needs.shared();
        // Copies of any port's frames come out of the shared pool.
        let data_room = boot.ports.iter().map(device::data_room).max().unwrap_or_default();
        let own = |port| needs.private(rings(port));
        let private: Vec<_> = boot.ports.iter().map(|port| owns(&port).then(|| own(port))).collect();
        let owned: u32 = private.iter().flatten().sum();
        let bytes =
            BufferNeeds::bytes(shared, data_room) + BufferNeeds::bytes(owned, Mempool::PRIVATE_DATA_ROOM);
        Self { shared, data_room, private, mib: (bytes + DPDK_BYTES).div_ceil(MIB) as u32 }
    }

    /// Refuses to start when memory is short.
    pub(crate) fn check(&self, boot: &Boot) -> Result<()> {
        let needed = self.mib;
        let what = format!(
            "{} buffers for {} ports and {} workers take {needed} MiB",
            self.buffers(),
            boot.ports.len(),
            boot.workers
        );
        let given = boot.memory_mib;
        ensure!(given == 0 || given >= needed, "memory_mib = {given} is too short: {what}");
        let info = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let tables = (u64::from(boot.flows_max) * FLOW_BYTES).div_ceil(MIB);
        let available = field(&info, "MemAvailable:") / 1024;
        // Where the system does not say what it has, it is not asked.
        ensure!(
            available == 0 || available >= tables,
            "memory is short: flows_max = {} takes {tables} MiB, {available} MiB are available",
            boot.flows_max
        );
        if boot.hugepages {
            let free = field(&info, "HugePages_Free:") * field(&info, "Hugepagesize:") / 1024;
            ensure!(
                free >= u64::from(self.given(boot)),
                "huge pages are short: {what}, {free} MiB are free; raise vm.nr_hugepages"
            );
        } else {
            let needed = u64::from(needed) + tables;
            ensure!(
                available >= needed,
                "memory is short: {what}, flows_max = {} takes {tables} MiB, {available} MiB are available",
                boot.flows_max
            );
        }
        Ok(())
    }

    /// What DPDK is started with, in MiB.
    pub(crate) fn given(&self, boot: &Boot) -> u32 {
        boot.memory_mib.max(self.mib)
    }

    fn buffers(&self) -> u32 {
        self.shared + self.private.iter().flatten().sum::<u32>()
    }
}

/// A number of /proc/meminfo, in its unit; 0 where it is not there.
fn field(info: &str, name: &str) -> u64 {
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::{af_xdp, boot};
    use dataplane_message::Device;

    #[test]
    fn two_ports_take_some_tens_of_mebibytes() {
        let memory = Memory::of(&boot([af_xdp("p0"), af_xdp("p1")]));
        assert_eq!(memory.private.iter().flatten().count(), 2);
        assert!((80..200).contains(&memory.mib), "{memory:?}");
        let packet = |name: &str| Device::AfPacket { interface: name.into() };
        let memory = Memory::of(&boot([packet("p0"), packet("p1")]));
        assert_eq!(memory.private, [None, None]);
    }

    #[test]
    fn too_little_is_refused_with_the_figure() {
        let mut boot = boot([af_xdp("p0")]);
        boot.memory_mib = 10;
        let memory = Memory::of(&boot);
        let error = memory.check(&boot).unwrap_err().to_string();
        assert!(error.starts_with("memory_mib = 10 is too short: "), "{error}");
        assert!(error.contains(&format!("take {} MiB", memory.mib)), "{error}");
        (boot.memory_mib, boot.flows_max) = (0, u32::MAX);
        let error = memory.check(&boot).map_or_else(|error| error.to_string(), |()| String::new());
        // 450 GiB: where there is as much, it is not refused.
        let available = field(&fs::read_to_string("/proc/meminfo").unwrap(), "MemAvailable:") / 1024;
        assert!(available > 460_000 || error.contains("flows_max = 4294967295 takes 462848 MiB"), "{error}");
        assert_eq!(field("A: 1 kB\nMemAvailable:   24 kB\n", "MemAvailable:"), 24);
    }
}
