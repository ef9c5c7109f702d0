//! What DPDK is started with.

/// Without huge pages and on one lcore, for valgrind and machines that have nothing.
pub(crate) fn small() -> Vec<String> {
    words(&["--no-huge", "-m", "256", "--no-shconf", "--lcores=0@0"])
}

/// With huge pages, memory taken as it is needed; lcore 0 stays with the main thread, which waits while
/// lcores 1 and 2 work on the cores given.
pub(crate) fn large(main: usize, workers: &[usize]) -> Vec<String> {
    let workers: String = (1..).zip(workers).map(|(lcore, core)| format!(",{lcore}@{core}")).collect();
    words(&["--in-memory", "--main-lcore=0", &format!("--lcores=0@{main}{workers}")])
}

fn words(own: &[&str]) -> Vec<String> {
    let prefix = format!("--file-prefix=fs-bench-{}", std::process::id());
    ["--no-pci", "--no-telemetry", "--log-level=error", &prefix]
        .iter()
        .chain(own)
        .map(|word| (*word).to_owned())
        .collect()
}
