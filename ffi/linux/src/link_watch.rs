//! What becomes of a set of kernel interfaces.

use crate::{Interfaces, LinkState};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Watches interfaces by name.
///
/// A routing socket says *that* something has changed; *what* is then asked by name. So a message
/// that is lost under load costs nothing, and [`LinkWatch::changes`] may as well be called by the
/// clock.
#[derive(Debug)]
pub struct LinkWatch {
    netlink: OwnedFd,
    interfaces: Interfaces,
    known: Vec<(String, Option<LinkState>)>,
}

/// One interface's change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkChange {
    /// Its name.
    pub name: String,
    /// What was known of it; `None`: it was not there, or not yet asked for.
    pub before: Option<LinkState>,
    /// What it is; `None`: it is not there.
    pub now: Option<LinkState>,
}

impl LinkChange {
    /// The interface that was known is gone, though another one may have its name.
    pub fn vanished(&self) -> bool {
        self.before.is_some_and(|before| self.now.is_none_or(|now| now.index != before.index))
    }
}

impl LinkWatch {
    /// Begins to watch. The first [`LinkWatch::changes`] tells of every interface that is there.
    ///
    /// # Errors
    ///
    /// When no routing socket can be had.
    pub fn new(names: impl IntoIterator<Item = String>) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let netlink = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        let groups = libc::RTMGRP_LINK.cast_unsigned();
        bind(netlink.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        let known = names.into_iter().map(|name| (name, None)).collect();
        Ok(Self { netlink, interfaces: Interfaces::new()?, known })
    }

    /// Whether the kernel has said something about links since the last call.
    pub fn stirred(&self) -> bool {
        self.drain()
    }

    /// Whether some interface has lost or found its carrier, though the kernel has not said so yet. One
    /// system call for each; cheap enough for every few milliseconds.
    pub fn carrier_differs(&self) -> bool {
        self.known.iter().any(|(name, known)| {
            known.is_some_and(|state| {
                state.up && self.interfaces.carrier(name).is_some_and(|carrier| carrier != state.running)
            })
        })
    }

    /// What has changed since the last call. An interface about which the kernel does not answer
    /// counts as unchanged.
    pub fn changes(&mut self) -> Vec<LinkChange> {
        self.drain();
        let mut changes = Vec::new();
        for (name, before) in &mut self.known {
            let Ok(now) = self.interfaces.read(name) else { continue };
            if now != *before {
                changes.push(LinkChange { name: name.clone(), before: *before, now });
                *before = now;
            }
        }
        changes
    }

    /// Access to the interfaces themselves.
    pub fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Reads what the socket has, unseen. `ENOBUFS`, messages lost, is a wake-up like any other.
    fn drain(&self) -> bool {
        let mut bytes = [0; 8192];
        let mut something = false;
        loop {
            match recv(self.netlink.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                Ok(1..) | Err(Errno::ENOBUFS | Errno::EINTR) => something = true,
                Ok(0) | Err(_) => return something,
            }
        }
    }
}

impl AsFd for LinkWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.netlink.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_look_tells_what_is_there() {
        let mut watch = LinkWatch::new(["lo".to_owned(), "no-such-if".to_owned()]).unwrap();
        let changes = watch.changes();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].name, "lo");
        assert!(!changes[0].vanished());
        assert_eq!(watch.changes(), []);
    }

    #[test]
    fn an_interface_of_the_same_name_is_another_one() {
        let state = |index| Some(LinkState { index, up: true, running: true, mac: [2; 6], mtu: 1500 });
        let change = |before, now| LinkChange { name: "p0".into(), before, now };
        assert!(change(state(3), state(4)).vanished());
        assert!(change(state(3), None).vanished());
        assert!(!change(None, state(3)).vanished());
        assert!(!change(state(3), state(3)).vanished());
    }
}
