//! Messages as datagrams of bounded size.
//!
//! A message is encoded with `postcard`, then cut into parts of at most [`PART_MAX`] bytes; each part
//! begins with one byte, 1 if more follow and 0 for the last.

use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;

/// The largest part on the socket.
pub const PART_MAX: usize = 64 * 1024;

/// The largest message: 2,000 servers in 256 clusters fit several times.
const MESSAGE_MAX: usize = 16 * 1024 * 1024;

/// Why a message could not be read.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CodecError {
    /// The bytes are no message of this version.
    #[error("malformed message; do both programs have the same version?")]
    Malformed,
    /// More parts than any message has.
    #[error("message larger than {MESSAGE_MAX} bytes")]
    TooLarge,
}

/// The parts of a message, in the order in which they must be sent.
pub fn parts<T: Serialize>(message: &T) -> Vec<Vec<u8>> {
    let bytes = postcard::to_stdvec(message).expect("messages hold no type that postcard cannot encode");
    let chunks: Vec<&[u8]> = bytes.chunks(PART_MAX - 1).collect();
    let last = chunks.len().saturating_sub(1);
    chunks
        .iter()
        .enumerate()
        .map(|(i, chunk)| {
            let mut part = Vec::with_capacity(chunk.len() + 1);
            part.push(u8::from(i != last));
            part.extend_from_slice(chunk);
            part
        })
        .collect()
}

/// Puts the parts of one peer's messages together again.
#[derive(Debug, Default)]
pub struct Assembler {
    bytes: Vec<u8>,
}

impl Assembler {
    /// Takes one part; a message when it was the last one.
    ///
    /// # Errors
    ///
    /// [`CodecError`]; what had been gathered is forgotten.
    pub fn push<T: DeserializeOwned>(&mut self, part: &[u8]) -> Result<Option<T>, CodecError> {
        let Some((more, body)) = part.split_first() else {
            return Err(CodecError::Malformed);
        };
        if self.bytes.len() + body.len() > MESSAGE_MAX {
            self.bytes.clear();
            return Err(CodecError::TooLarge);
        }
        self.bytes.extend_from_slice(body);
        if *more != 0 {
            return Ok(None);
        }
        let message = postcard::from_bytes(&self.bytes).map_err(|_| CodecError::Malformed);
        self.bytes.clear();
        message.map(Some)
    }
}
