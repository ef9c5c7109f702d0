//! A UDP service that answers with its server's name and what it was sent.

use crate::netns::Namespace;
use anyhow::Result;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A running service; ends when dropped.
pub struct Echo {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts it in `ns` on `address`. Each answer is `name`, a blank, and the question.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub fn start(ns: &Namespace, address: SocketAddr, name: &str) -> Result<Self> {
        let socket = ns.enter(|| UdpSocket::bind(address))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let end = Arc::new(AtomicBool::new(false));
        let (over, prefix) = (Arc::clone(&end), format!("{name} ").into_bytes());
        let thread = std::thread::spawn(move || {
            let mut question = vec![0; 65_536];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut question) else { continue };
                let answer = [&prefix, &question[..length]].concat();
                // An answer that the kernel refuses is one that the client misses, and says so.
                let _ = socket.send_to(&answer, from);
            }
        });
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
