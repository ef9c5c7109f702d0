//! The conversation with the control core, as packets.

use dataplane_message::{Assembler, PART_MAX, ToControl, ToDataPath, parts};
use ffi_linux::{SeqPacketListener, SeqPacketStream};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Parts that wait for a slow reader. Beyond, reports are left out (the next one says it all), and at
/// twice that the connection is given up: who connects again is told everything.
const WAITING_MAX: usize = 1024;

/// Parts taken in one round, so that a talkative peer does not keep the publisher from its clock.
const TAKEN_MAX: usize = 64;

/// The socket, and at most one peer on it: a newer connection replaces an older one.
#[derive(Debug)]
pub(crate) struct Connections {
    listener: SeqPacketListener,
    peer: Option<Peer>,
    bytes: Box<[u8]>,
}

#[derive(Debug)]
struct Peer {
    stream: SeqPacketStream,
    assembler: Assembler,
    waiting: VecDeque<Vec<u8>>,
}

/// What came.
#[derive(Debug)]
pub(crate) enum Heard {
    Message(Box<ToDataPath>),
    Disconnected,
}

impl Connections {
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let listener = SeqPacketListener::bind(path)?;
        Ok(Self { listener, peer: None, bytes: vec![0; PART_MAX].into() })
    }

    /// What to wait on.
    pub(crate) fn sources(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        core::iter::once(self.listener.as_fd()).chain(self.peer.iter().map(|peer| peer.stream.as_fd()))
    }

    /// Takes what has come, in order.
    pub(crate) fn hear(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        while let Ok(Some(stream)) = self.listener.accept() {
            if self.peer.is_some() {
                heard.push(Heard::Disconnected);
            }
            self.peer = Some(Peer { stream, assembler: Assembler::default(), waiting: VecDeque::new() });
        }
        let Some(peer) = &mut self.peer else { return heard };
        for _ in 0..TAKEN_MAX {
            match peer.take(&mut self.bytes) {
                Ok(Some(message)) => heard.push(Heard::Message(message)),
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    if error.kind() != io::ErrorKind::UnexpectedEof {
                        eprintln!("flowswitch-dp: the connection is closed: {error}");
                    }
                    self.peer = None;
                    heard.push(Heard::Disconnected);
                    break;
                }
            }
        }
        heard
    }

    /// Says something to the peer, if there is one, now or as soon as it listens. `false` when the
    /// connection had to be given up.
    #[must_use]
    pub(crate) fn say(&mut self, message: &ToControl) -> bool {
        let Some(peer) = &mut self.peer else { return true };
        let behind = peer.waiting.len();
        if behind >= WAITING_MAX && matches!(message, ToControl::Report(_) | ToControl::Punt { .. }) {
            return true;
        }
        peer.waiting.extend(parts(message));
        self.flush()
    }

    /// Sends what waits. `false` when the connection had to be given up.
    #[must_use]
    pub(crate) fn flush(&mut self) -> bool {
        let Some(peer) = &mut self.peer else { return true };
        let kept = peer.send().is_ok() && peer.waiting.len() < 2 * WAITING_MAX;
        if !kept {
            self.peer = None;
        }
        kept
    }
}

impl Peer {
    fn take(&mut self, bytes: &mut [u8]) -> io::Result<Option<Box<ToDataPath>>> {
        match self.stream.recv(bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            len => self
                .assembler
                .push(&bytes[..len])
                .map(|message| message.map(Box::new))
                .map_err(io::Error::other),
        }
    }

    fn send(&mut self) -> io::Result<()> {
        while let Some(part) = self.waiting.front() {
            match self.stream.send(part) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(sender: u64) -> ToDataPath {
        ToDataPath::Hello { version: 1, sender }
    }

    fn send(stream: &SeqPacketStream, message: &ToDataPath) {
        parts(message).iter().for_each(|part| stream.send(part).unwrap());
    }

    #[test]
    fn the_newer_connection_counts() {
        let path = std::env::temp_dir().join(format!("fs-ffi-conn-{}", std::process::id()));
        let mut connections = Connections::bind(&path).unwrap();
        assert!(connections.say(&ToControl::Ack { epoch: 1 }), "nobody hears it, and that is no fault");
        let first = SeqPacketStream::connect(&path).unwrap();
        send(&first, &hello(1));
        assert!(matches!(&connections.hear()[..], [Heard::Message(message)] if **message == hello(1)));
        let second = SeqPacketStream::connect(&path).unwrap();
        send(&second, &hello(2));
        assert!(matches!(&connections.hear()[..], [Heard::Disconnected, Heard::Message(_)]));
        assert_eq!(first.recv(&mut [0; 8]).unwrap(), 0);
        assert!(connections.say(&ToControl::Ack { epoch: 7 }));
        let mut bytes = [0; 100];
        let len = second.recv(&mut bytes).unwrap();
        let said = Assembler::default().push(&bytes[..len]).unwrap();
        assert_eq!(said, Some(ToControl::Ack { epoch: 7 }));
        send(&second, &hello(3));
        drop(second);
        let heard = connections.hear();
        assert!(matches!(&heard[..], [Heard::Message(_), Heard::Disconnected]), "{heard:?}");
        assert!(connections.hear().is_empty());
    }

    #[test]
    fn who_does_not_read_is_given_up() {
        let path = std::env::temp_dir().join(format!("fs-ffi-slow-{}", std::process::id()));
        let mut connections = Connections::bind(&path).unwrap();
        let slow = SeqPacketStream::connect(&path).unwrap();
        connections.hear();
        let report = ToControl::Report(Box::default());
        assert!((0..20_000).all(|_| connections.say(&report)), "reports are left out");
        let mut said = (0..20_000).map(|epoch| connections.say(&ToControl::Ack { epoch }));
        assert!(said.any(|kept| !kept));
        drop(slow);
    }
}
