//! What came of a probe.

use serde::{Deserialize, Serialize};

/// The result of one probe, and how long it took.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Whether the check was met, or what stood against it.
    pub result: Result<(), Failure>,
    /// Microseconds from the first frame to the result.
    pub took_us: u32,
}

impl Outcome {
    /// Whether the check was met.
    pub fn is_ok(&self) -> bool {
        self.result.is_ok()
    }
}

/// Why a probe failed, in words for operators.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Failure {
    /// A question for the MAC was not answered.
    #[error("no answer to ARP or neighbour solicitation: it is off, unplugged or in another VLAN")]
    NoNeighbour,
    /// Nothing came.
    #[error("no answer before the time-out")]
    Timeout,
    /// The kernel has accepted the connection, and the program says nothing or not enough.
    #[error(
        "the connection was made, but no whole answer came before the time-out: the program hangs or is slow"
    )]
    Stalled,
    /// A reset, or ICMP "port unreachable".
    #[error("refused: nothing listens on the port")]
    Refused,
    /// The connection was closed or reset in the middle.
    #[error("the connection was closed before the answer was whole")]
    Closed,
    /// ICMP "destination unreachable" with another code than "port".
    #[error("ICMP destination unreachable, code {0}: a packet filter or a missing route")]
    Unreachable(u8),
    /// Another HTTP status than is good.
    #[error("HTTP status {0}")]
    Status(u16),
    /// The body's first 64 KiB do not hold the text.
    #[error("the body does not hold the expected text")]
    Body,
    /// The handshake failed.
    #[error("the TLS handshake failed: no TLS on the port, or no version or cipher in common")]
    Tls,
    /// The server ended the handshake with that alert (RFC 8446 §6).
    #[error("the server ended TLS with alert {0}")]
    TlsAlert(u8),
    /// Head, chunk or records beyond what is read.
    #[error("the answer is longer than is read")]
    TooLong,
    /// Not the protocol.
    #[error("the answer is not of that protocol")]
    Malformed,
    /// A datagram that begins with something else than is expected.
    #[error("the answer does not begin with what is expected")]
    Unexpected,
    /// A DNS answer with an error.
    #[error("DNS answer with code {0}")]
    Rcode(u8),
    /// The check's own text cannot be sent: a host, path or name with characters it may not have, or too long.
    #[error("the check cannot be asked; correct its path, host, name or payload")]
    NotAskable,
}
