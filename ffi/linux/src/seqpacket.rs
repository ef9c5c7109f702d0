//! Messages with borders and an order, between processes of one machine.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, accept4, bind, connect, listen, recv,
    send, setsockopt, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a socket may hold that was not yet received, in bytes: some parts of 64 KiB.
const BUFFER: usize = 1024 * 1024;

/// Waits for connections on a path; only the owner may connect. The path goes when this does.
#[derive(Debug)]
pub struct SeqPacketListener {
    socket: OwnedFd,
    path: PathBuf,
}

impl SeqPacketListener {
    /// Listens on `path`. A socket of that name on which nobody listens any more is replaced.
    ///
    /// # Errors
    ///
    /// `AddrInUse` when somebody listens there, or something else lies there; what the file system says.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let address = UnixAddr::new(path)?;
        let socket = new_socket()?;
        // The file gets the mode that the socket has when it is bound: there is no moment at which
        // others could connect.
        fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR)?;
        match bind(socket.as_raw_fd(), &address) {
            Err(Errno::EADDRINUSE) if is_stale(&address)? => {
                fs::remove_file(path)?;
                bind(socket.as_raw_fd(), &address)?;
            }
            bound => bound?,
        }
        listen(&socket, Backlog::new(8)?)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// A connection that waits; `None` when none does.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub fn accept(&self) -> io::Result<Option<SeqPacketStream>> {
        match accept4(self.socket.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC) {
            Ok(raw) => {
                // SAFETY: a new descriptor that nobody else has.
                let socket = unsafe { OwnedFd::from_raw_fd(raw) };
                widen(&socket);
                Ok(Some(SeqPacketStream { socket }))
            }
            Err(Errno::EAGAIN | Errno::ECONNABORTED | Errno::EINTR) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for SeqPacketListener {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

impl AsFd for SeqPacketListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A connection. No call waits.
#[derive(Debug)]
pub struct SeqPacketStream {
    socket: OwnedFd,
}

impl SeqPacketStream {
    /// Connects to a listener.
    ///
    /// # Errors
    ///
    /// `NotFound` or `ConnectionRefused` when nobody listens there, `WouldBlock` when too many wait.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let socket = new_socket()?;
        connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
        Ok(Self { socket })
    }

    /// Sends one packet of at most 64 KiB, or nothing.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when the other side is behind, `BrokenPipe` or `ConnectionReset` when it is gone.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        send(self.socket.as_raw_fd(), packet, MsgFlags::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Receives one packet into the front of `packet`; its length, which is 0 when the other side has
    /// closed the connection (nobody sends empty packets).
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there is none, `InvalidData` when it was longer than `packet` (it is lost).
    pub fn recv(&self, packet: &mut [u8]) -> io::Result<usize> {
        let len = match recv(self.socket.as_raw_fd(), packet, MsgFlags::MSG_TRUNC) {
            // Closed, with packets from here unread.
            Err(Errno::ECONNRESET) => 0,
            received => received?,
        };
        if len > packet.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "packet longer than any may be"));
        }
        Ok(len)
    }
}

impl AsFd for SeqPacketStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    widen(&socket);
    Ok(socket)
}

/// Room for several of the largest packets; without privilege, as much as the system allows.
fn widen(socket: &OwnedFd) {
    if setsockopt(socket, sockopt::SndBufForce, &BUFFER).is_err() {
        let _ = setsockopt(socket, sockopt::SndBuf, &BUFFER);
    }
}

/// Whether nobody listens at an address that is taken.
fn is_stale(address: &UnixAddr) -> io::Result<bool> {
    let probe = new_socket()?;
    Ok(connect(probe.as_raw_fd(), address) == Err(Errno::ECONNREFUSED)
        && address.path().is_some_and(is_socket))
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use std::os::unix::fs::PermissionsExt;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("fs-ffi-{name}-{}", std::process::id()))
    }

    #[test]
    fn packets_keep_their_borders() {
        let path = path("packets");
        let listener = SeqPacketListener::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(listener.accept().unwrap().is_none());
        let client = SeqPacketStream::connect(&path).unwrap();
        let server = listener.accept().unwrap().expect("somebody waits");
        let mut bytes = vec![0; 64 * 1024];
        assert_eq!(server.recv(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
        client.send(&[1]).unwrap();
        client.send(&vec![2; 64 * 1024]).unwrap();
        client.send(&[3; 3]).unwrap();
        assert_eq!(server.recv(&mut bytes).unwrap(), 1);
        assert_eq!(server.recv(&mut bytes).unwrap(), 64 * 1024);
        assert_eq!(server.recv(&mut [0; 2]).unwrap_err().kind(), ErrorKind::InvalidData);
        let full = (0..10_000).find_map(|_| server.send(&vec![0; 64 * 1024]).err()).expect("an end");
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        drop(client);
        assert_eq!(server.recv(&mut bytes).unwrap(), 0);
        assert_eq!(server.send(&[0]).unwrap_err().kind(), ErrorKind::BrokenPipe);
        drop(listener);
        assert!(!path.exists());
        assert_eq!(SeqPacketStream::connect(&path).unwrap_err().kind(), ErrorKind::NotFound);
    }

    #[test]
    fn only_what_nobody_uses_is_replaced() {
        let path = path("stale");
        let first = SeqPacketListener::bind(&path).unwrap();
        assert_eq!(SeqPacketListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        // As after a crash: the file stays, the listener is gone.
        let SeqPacketListener { socket, .. } = &first;
        nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Both).unwrap();
        let second = SeqPacketListener::bind(&path).unwrap();
        core::mem::forget(first);
        drop(second);
        fs::write(&path, "not a socket").unwrap();
        assert_eq!(SeqPacketListener::bind(&path).unwrap_err().kind(), ErrorKind::AddrInUse);
        assert_eq!(fs::read(&path).unwrap(), b"not a socket");
        fs::remove_file(path).unwrap();
    }
}
