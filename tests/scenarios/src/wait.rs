//! Waiting for a condition, with a deadline. Nothing here waits for a time to pass and hopes.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const STEP: Duration = Duration::from_millis(5);

/// Waits until `condition` gives a value.
///
/// # Errors
///
/// When it has not by `limit`; `what` says what was waited for.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if Instant::now() >= end {
            bail!("waited {:.1} s in vain for: {what}", limit.as_secs_f64());
        }
        std::thread::sleep(STEP);
    }
}

/// Calls `tick` with the number of each turn, `count` times, spread evenly over `span`.
pub fn paced(count: u32, span: Duration, mut tick: impl FnMut(u32) -> Result<()>) -> Result<()> {
    let start = Instant::now();
    for turn in 0..count {
        let due = span.mul_f64(f64::from(turn) / f64::from(count.max(1)));
        if let Some(rest) = due.checked_sub(start.elapsed()) {
            std::thread::sleep(rest);
        }
        tick(turn)?;
    }
    Ok(())
}
