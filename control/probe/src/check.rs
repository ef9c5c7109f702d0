//! What is asked of a server.

use serde::{Deserialize, Serialize};

/// An active check (FS-30).
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Check {
    /// What is asked.
    pub kind: Kind,
    /// Milliseconds from one probe to the next, `10..=600_000`; each is moved by up to a tenth, so that
    /// servers are not asked all at once.
    pub interval_ms: u32,
    /// Milliseconds until a probe without answer has failed, `10..=interval_ms`.
    pub timeout_ms: u32,
    /// Successes in a row after which a server that was down is up, `1..=100`.
    pub rise: u16,
    /// Failures in a row after which it is down, `1..=100`.
    pub fall: u16,
}

/// What is asked.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A unicast ARP request or neighbour solicitation for the VIP.
    Neighbour,
    /// An ICMP echo request.
    Echo,
    /// An ICMP echo request whose packet has so many bytes: what the servers' MTU lets through (the doctor's).
    LargeEcho {
        /// Bytes of the IP packet, at most 1,500.
        mtu: u16,
    },
    /// A TCP connection.
    Tcp {
        /// The port.
        port: u16,
    },
    /// GET by HTTP/1.1, over TLS or not.
    Http(Http),
    /// A datagram, and any answer.
    Udp {
        /// The port.
        port: u16,
        /// Its payload, at most 512 bytes.
        send: Vec<u8>,
        /// What the answer must begin with; empty: anything.
        expect: Vec<u8>,
    },
    /// A DNS query over UDP.
    Dns(Dns),
}

/// An HTTP check.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Http {
    /// The port.
    pub port: u16,
    /// Over TLS; the certificate is not verified, since it names the service and not the server.
    pub tls: bool,
    /// The path, which begins with `/`; at most 1,024 bytes.
    pub path: String,
    /// The `Host` header, and the TLS server name; `None`: the VIP.
    pub host: Option<String>,
    /// Status codes that are good.
    pub status: StatusRange,
    /// Text that the first 64 KiB of the body must hold; `None`: any body.
    pub body: Option<String>,
}

/// Status codes that are good: first and last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct StatusRange {
    /// The first, `100..=599`.
    pub first: u16,
    /// The last, `first..=599`.
    pub last: u16,
}

/// A DNS check.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Dns {
    /// The port.
    pub port: u16,
    /// The name that is asked for, as an A (or, over IPv6, AAAA) record; any answer without error is good.
    pub name: String,
}
