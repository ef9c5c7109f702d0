//! A small HTTP server that answers one request at a time, each after the same time: its rate is known.

use crate::netns::Namespace;
use anyhow::Result;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running server; ends when dropped.
pub struct Queue {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Starts it in `ns`; each request takes `each`.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub fn start(ns: &Namespace, address: SocketAddr, name: &str, each: Duration) -> Result<Self> {
        let listener = ns.enter(|| TcpListener::bind(address))?;
        listener.set_nonblocking(true)?;
        let end = Arc::<AtomicBool>::default();
        let (over, name) = (Arc::clone(&end), name.to_owned());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let Ok((mut stream, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_micros(500));
                    continue;
                };
                let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
                let mut question = [0; 1024];
                if !matches!(stream.read(&mut question), Ok(1..)) {
                    continue;
                }
                std::thread::sleep(each);
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nX-Server: {name}\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"
                );
                // A client that is gone has its own line of record.
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
