//! Tells whoever started this process how it is, in the service manager's way (`NOTIFY_SOCKET`).

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
pub(crate) const VARIABLE: &str = "NOTIFY_SOCKET";

/// Says that the process is ready, with a line of status. Nobody listening is no fault.
pub(crate) fn ready(status: &str) {
    let Some(path) = std::env::var_os(VARIABLE) else { return };
    let sent = address(path.as_bytes()).and_then(|address| {
        UnixDatagram::unbound()?.send_to_addr(format!("READY=1\nSTATUS={status}").as_bytes(), &address)
    });
    if let Err(error) = sent {
        tracing::debug!(%error, "nobody takes the notification");
    }
}

fn address(name: &[u8]) -> io::Result<SocketAddr> {
    match name.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    }
}

/// The status of a notification that says ready.
pub(crate) fn parse(datagram: &[u8]) -> Option<String> {
    let text = core::str::from_utf8(datagram).ok()?;
    let ready = text.lines().any(|line| line == "READY=1");
    let status = text.lines().find_map(|line| line.strip_prefix("STATUS="));
    ready.then(|| status.unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_what_says_ready_counts() {
        assert_eq!(parse(b"READY=1\nSTATUS=plan 1"), Some("plan 1".into()));
        assert_eq!(parse(b"READY=1"), Some(String::new()));
        assert_eq!(parse(b"STATUS=x"), None);
        assert_eq!(parse(b"\xff"), None);
    }
}
