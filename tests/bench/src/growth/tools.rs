//! What all parts use.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use std::time::{Duration, Instant};
use tests_bench::{Limits, Ratio, Row, Verdict};

/// How it was called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context {
    pub(crate) quick: bool,
}

impl Context {
    /// One of two, by how it was called.
    pub(crate) fn pick<T>(&self, quick: T, full: T) -> T {
        if self.quick { quick } else { full }
    }

    pub(crate) fn say(&self, text: &str) {
        eprintln!("{text}");
    }

    /// The row for whoever watches.
    pub(crate) fn tell(&self, row: &Row) {
        let ours = row.ours.map_or("-".into(), |ours| format!("{ours:.4}"));
        let verdict = match row.verdict {
            Verdict::Goal => "goal",
            Verdict::Must => "must",
            Verdict::Miss => "MISS",
            Verdict::NotMeasured => "not measured",
        };
        let Row { row, what, unit, must, goal, note, .. } = row;
        eprintln!("  {row:<8} {what}: {ours} {unit}  [must {must}, goal {goal}: {verdict}]  {note}");
    }
}

/// A figure without bounds.
pub(crate) fn figure(row: &str, what: impl Into<String>, value: f64, unit: &str) -> Row {
    let any = Limits::at_most(f64::INFINITY, f64::INFINITY, "");
    let mut row = Row::new(row, what, unit, &any).measured(value, &any);
    (row.must, row.goal) = ("none".into(), "none".into());
    row
}

/// Where a figure's spread belongs that has no peer.
pub(crate) fn spread(mut row: Row, values: &[f64]) -> Row {
    row.ratio = Ratio::of(values);
    row
}

/// How long it takes, and what comes of it.
pub(crate) fn timed<T>(job: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let done = job();
    (start.elapsed(), done)
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value that `share` of the sorted values do not exceed.
pub(crate) fn percentile(sorted: &[u64], share: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

/// Ticks of the time-stamp counter in a nanosecond, by the kernel's own calibration; 0: not known.
pub(crate) fn ticks_per_ns() -> f64 {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let bogomips = info.lines().find_map(|line| line.strip_prefix("bogomips")?.split(": ").nth(1));
    // Twice the counter's rate in MHz, on x86 since the kernel calibrates by it.
    bogomips.and_then(|text| text.trim().parse::<f64>().ok()).unwrap_or_default() / 2000.0
}

/// What the system could give now, in bytes.
pub(crate) fn available() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() << 10
}

/// A part of a table's memory in huge pages: of this process, in bytes.
pub(crate) fn huge_bytes() -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = maps.lines().find_map(|line| line.strip_prefix("AnonHugePages:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() << 10
}

/// Faults of this thread for pages that had to be laid.
pub(crate) fn faults() -> i64 {
    use nix::sys::resource::{UsageWho, getrusage};
    getrusage(UsageWho::RUSAGE_THREAD).map_or(0, |usage| usage.minor_page_faults())
}

/// Processor time of this thread: what others take of the core does not count.
pub(crate) fn cpu_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Into::into)
}

/// 1024: `1k`, 2^20: `1M`.
pub(crate) fn short(count: usize) -> String {
    match count {
        n if n >= 1 << 20 && n % (1 << 20) == 0 => format!("{}M", n >> 20),
        n if n >= 1 << 10 && n % (1 << 10) == 0 => format!("{}k", n >> 10),
        n => n.to_string(),
    }
}

/// Keeps this thread to a core, where that is allowed; the cores it could run on before. Two threads that wait for
/// each other by polling are not to share one.
pub(crate) fn pin(core: usize) -> Option<CpuSet> {
    let before = sched_getaffinity(Pid::from_raw(0)).ok();
    let mut set = CpuSet::new();
    if set.set(core).is_ok() {
        let _ = sched_setaffinity(Pid::from_raw(0), &set);
    }
    before
}

/// Lets it run where it could before.
pub(crate) fn unpin(before: Option<CpuSet>) {
    if let Some(before) = before {
        let _ = sched_setaffinity(Pid::from_raw(0), &before);
    }
}
