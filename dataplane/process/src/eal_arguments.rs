//! What DPDK is started with.

use crate::memory::Memory;
use dataplane_message::{Boot, Device};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

/// The arguments of `rte_eal_init`. `folder` is the process's own, `cores` are those it may run on.
pub(crate) fn arguments(boot: &Boot, memory: &Memory, folder: &Path, cores: &[usize]) -> Vec<String> {
    let mut words = vec![
        format!("--file-prefix={}", prefix(&boot.name, folder)),
        "--no-telemetry".to_owned(),
        "--log-level=error".to_owned(),
        // Complains five times of each tap that kernels without some queueing disciplines give it.
        "--log-level=pmd.net.tap:critical".to_owned(),
        format!("--lcores={}", lcores(boot, cores)),
        "--main-lcore=0".to_owned(),
        "-m".to_owned(),
        memory.given(boot).to_string(),
    ];
    // DPDK 22.11 refuses --in-memory together with --no-huge.
    if boot.hugepages {
        words.push("--in-memory".to_owned());
    } else {
        words.extend(["--no-huge", "--no-shconf"].map(str::to_owned));
    }
    let cards = boot.ports.iter().filter_map(|port| match &port.device {
        Device::Pci { address } => Some(address),
        _ => None,
    });
    let cards: Vec<String> = cards.map(|address| format!("--allow={address}")).collect();
    if cards.is_empty() {
        words.push("--no-pci".to_owned());
    }
    words.extend(cards);
    words
}

/// Lcore 0 is the publisher, 1 and up are the workers. Workers without cores of their own float over
/// all, so that a loop that naps and what it waits for do not sit on each other's core.
fn lcores(boot: &Boot, cores: &[usize]) -> String {
    let own: Vec<usize> = boot.worker_cores.iter().map(|core| usize::from(*core)).collect();
    let mut rest: Vec<usize> = cores.iter().copied().filter(|core| !own.contains(core)).collect();
    if rest.is_empty() {
        rest = cores.to_vec();
    }
    let all = list(&rest);
    let worker = |index: u8| match own.get(usize::from(index)) {
        Some(core) => format!("{}@{core}", index + 1),
        None => format!("{}@{all}", index + 1),
    };
    core::iter::once(format!("0@{all}")).chain((0..boot.workers).map(worker)).collect::<Vec<_>>().join(",")
}

fn list(cores: &[usize]) -> String {
    let cores: Vec<String> = cores.iter().map(usize::to_string).collect();
    format!("({})", cores.join(","))
}

/// What DPDK's own folder is called. Parallel instances keep apart by it; one that is killed leaves it
/// behind, and its successor in the same place takes it up again.
fn prefix(name: &str, folder: &Path) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(plain).take(32).collect();
    let mut hasher = DefaultHasher::new();
    folder.hash(&mut hasher);
    format!("flowswitch-{name}-{:08x}", hasher.finish() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::tests::{af_xdp, boot};

    #[test]
    fn workers_float_or_have_cores() {
        let mut boot = boot([af_xdp("p0")]);
        assert_eq!(lcores(&boot, &[0, 1]), "0@(0,1),1@(0,1),2@(0,1)");
        boot.worker_cores = vec![2, 3];
        assert_eq!(lcores(&boot, &[0, 1, 2, 3]), "0@(0,1),1@2,2@3");
        assert_eq!(lcores(&boot, &[2, 3]), "0@(2,3),1@2,2@3");
    }

    #[test]
    fn memory_and_cards() {
        let mut boot = boot([af_xdp("p0")]);
        boot.name = "a b/c".into();
        let words = arguments(&boot, &Memory::of(&boot), Path::new("/run/x"), &[0]).join(" ");
        assert!(words.contains("--no-huge --no-shconf --no-pci"), "{words}");
        assert!(words.contains("--file-prefix=flowswitch-a-b-c-"), "{words}");
        boot.hugepages = true;
        boot.ports[0].device = Device::Pci { address: "0000:01:00.0".into() };
        let words = arguments(&boot, &Memory::of(&boot), Path::new("/run/x"), &[0]).join(" ");
        assert!(words.ends_with("--in-memory --allow=0000:01:00.0"), "{words}");
    }
}
