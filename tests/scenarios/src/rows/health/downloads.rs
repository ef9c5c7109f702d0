//! Downloads at 20 Mbit/s that go on all the while.

use crate::http::Connection;
use crate::lab::{Lab, VIP};
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Running downloads; the topology has `download`.
pub(super) struct Downloads {
    end: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    threads: Vec<JoinHandle<Result<Duration>>>,
}

impl Downloads {
    /// Starts `count` of them, and waits until each has had some of its bytes.
    pub(super) fn start(lab: &Lab, count: usize) -> Result<Self> {
        let (end, bytes) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut threads = Vec::new();
        for _ in 0..count {
            let mut first = lab.client.enter(begin)?;
            let (end, bytes) = (Arc::clone(&end), Arc::clone(&bytes));
            threads.push(lab.client.spawn(move || {
                let (mut longest, mut last) = (Duration::ZERO, Instant::now());
                let (server, mut rest) = (first.1.clone(), first.2);
                while !end.load(Ordering::Relaxed) {
                    if rest < PIECE {
                        first = begin().context("a download after the first")?;
                        rest = first.2;
                    }
                    first.0.body(PIECE).with_context(|| format!("a download of {server}"))?;
                    rest -= PIECE;
                    bytes.fetch_add(PIECE as u64, Ordering::Relaxed);
                    longest = longest.max(last.elapsed());
                    last = Instant::now();
                }
                Ok(longest)
            })?);
        }
        Ok(Self { end, bytes, threads })
    }

    /// Ends them: (bytes had, longest time without any). A broken one is an error.
    pub(super) fn stop(self) -> Result<(u64, Duration)> {
        self.end.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for thread in self.threads {
            longest = longest.max(thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?);
        }
        Ok((self.bytes.load(Ordering::Relaxed), longest))
    }
}

const PIECE: usize = 16 << 10;

/// A new download: the connection, its server, its bytes.
fn begin() -> Result<(Connection, String, usize)> {
    let mut connection = Connection::open(None, (VIP.v4, 80).into())?;
    connection.ask("/steady")?;
    let (server, length) = connection.head()?;
    Ok((connection, server, length))
}
