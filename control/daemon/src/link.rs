//! The socket to the data path.

use dataplane_message::{Assembler, CodecError, PART_MAX, ToControl, ToDataPath, parts};
use ffi_linux::SeqPacketStream;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use thiserror::Error;

/// The socket's name in the runtime directory.
pub(crate) const SOCKET: &str = "dp.sock";

/// A connection to the data path that never waits.
#[derive(Debug)]
pub(crate) struct Link {
    socket: SeqPacketStream,
    assembler: Assembler,
    /// Parts that the socket would not take yet.
    outgoing: VecDeque<Vec<u8>>,
    part: Box<[u8]>,
}

/// Why a connection is of no more use.
#[derive(Debug, Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the data path closed the connection")]
    Closed,
    #[error("{0}")]
    Codec(#[from] CodecError),
}

impl Link {
    pub(crate) fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self {
            socket: SeqPacketStream::connect(path)?,
            assembler: Assembler::default(),
            outgoing: VecDeque::new(),
            part: vec![0; PART_MAX].into(),
        })
    }

    /// Sends a message, or as much of it as goes now.
    pub(crate) fn send(&mut self, message: &ToDataPath) -> Result<(), LinkError> {
        self.outgoing.extend(parts(message));
        self.flush()
    }

    /// Sends what was left over.
    pub(crate) fn flush(&mut self) -> Result<(), LinkError> {
        while let Some(part) = self.outgoing.front() {
            match self.socket.send(part) {
                Ok(()) => drop(self.outgoing.pop_front()),
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether something is left over.
    pub(crate) fn is_congested(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The next message that has arrived whole.
    pub(crate) fn receive(&mut self) -> Result<Option<ToControl>, LinkError> {
        loop {
            let length = match self.socket.recv(&mut self.part) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(length) => length,
                Err(error) if would_block(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            if let Some(message) = self.assembler.push(&self.part[..length])? {
                return Ok(Some(message));
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a call only says "later".
pub(crate) fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
