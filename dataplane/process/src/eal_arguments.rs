//! What DPDK is started with.

use crate::memory::Memory;
use dataplane_message::{Boot, Device};

/// The arguments of `rte_eal_init`. `cores` are those that the process may run on.
pub(crate) fn arguments(boot: &Boot, memory: &Memory, cores: &[usize]) -> Vec<String> {
    let mut words = vec![
        // Parallel instances keep apart by the prefix; nobody else attaches to this process.
        format!("--file-prefix={}-{}", prefix(&boot.name), std::process::id()),
        "--no-telemetry".to_owned(),
        "--log-level=error".to_owned(),
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

fn prefix(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    format!("flowswitch-{}", name.chars().map(plain).take(32).collect::<String>())
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
        let words = arguments(&boot, &Memory::of(&boot), &[0]).join(" ");
        assert!(words.contains("--no-huge --no-shconf --no-pci"), "{words}");
        assert!(words.contains("--file-prefix=flowswitch-a-b-c-"), "{words}");
        boot.hugepages = true;
        boot.ports[0].device = Device::Pci { address: "0000:01:00.0".into() };
        let words = arguments(&boot, &Memory::of(&boot), &[0]).join(" ");
        assert!(words.ends_with("--in-memory --allow=0000:01:00.0"), "{words}");
    }
}
