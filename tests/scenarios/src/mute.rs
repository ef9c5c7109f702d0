//! A service that greets and then says nothing more: whoever asks it something waits.

use crate::netns::Namespace;
use anyhow::Result;
use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What it says to each.
pub const GREETING: &[u8] = b"hello\n";

/// A running service; ends when dropped.
pub struct Mute {
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Mute {
    /// Starts it in `ns` on `address`.
    ///
    /// # Errors
    ///
    /// When the address is taken.
    pub fn start(ns: &Namespace, address: SocketAddr) -> Result<Self> {
        let listener = ns.enter(|| {
            let socket = socket2::Socket::new(
                socket2::Domain::for_address(address),
                socket2::Type::STREAM,
                Some(socket2::Protocol::TCP),
            )?;
            socket.set_reuse_address(true)?;
            socket.bind(&address.into())?;
            socket.listen(4_096)?;
            socket.set_nonblocking(true)?;
            Ok::<TcpListener, std::io::Error>(socket.into())
        })?;
        let end = Arc::<AtomicBool>::default();
        let over = Arc::clone(&end);
        let thread = std::thread::spawn(move || {
            let mut held = Vec::new();
            while !over.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((mut stream, _)) => {
                        // Six bytes always fit; a client that is gone already is held all the same.
                        let _ = stream.write_all(GREETING);
                        held.push(stream);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    Err(_) => {}
                }
            }
        });
        Ok(Self { end, thread: Some(thread) })
    }
}

impl Drop for Mute {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
