//! Kernel interfaces by name, asked and set through ioctl: that needs neither /sys nor netlink's
//! grammar, and sees the network namespace that the process is in.

use core::ffi::{c_int, c_short};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// An interface as the kernel has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkState {
    /// Its number; a new one when an interface of the same name was made anew.
    pub index: u32,
    /// It is switched on.
    pub up: bool,
    /// It is switched on and has carrier.
    pub running: bool,
    /// Its address.
    pub mac: [u8; 6],
    /// Its largest layer-3 size in bytes.
    pub mtu: u32,
}

/// Access to the interfaces of the process's network namespace.
#[derive(Debug)]
pub struct Interfaces {
    socket: OwnedFd,
}

impl Interfaces {
    /// # Errors
    ///
    /// When no socket can be made.
    pub fn new() -> io::Result<Self> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        Ok(Self { socket })
    }

    /// An interface's state; `None` when there is none of that name.
    ///
    /// # Errors
    ///
    /// What the kernel says, except that there is no such interface.
    pub fn read(&self, name: &str) -> io::Result<Option<LinkState>> {
        match self.read_all(name) {
            Ok(state) => Ok(Some(state)),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Switches an interface on and makes it take in every frame. Its IPv6 is switched off where that
    /// can be done, so that the machine's own stack does not talk through a port of the switch.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_NET_ADMIN`, `ENODEV` when there is no such interface.
    pub fn take_up(&self, name: &str) -> io::Result<()> {
        // A kernel without IPv6 has no such file.
        drop(fs::write(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6"), "1"));
        let mut request = request(name)?;
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has written the flags.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        let wanted = flags | (libc::IFF_UP | libc::IFF_PROMISC) as c_short;
        if wanted != flags {
            request.ifr_ifru.ifru_flags = wanted;
            self.ioctl(libc::SIOCSIFFLAGS, &mut request)?;
        }
        Ok(())
    }

    /// Whether the interface has carrier now; `None` when it does not say. The flags that [`Self::read`] goes by
    /// follow it by up to a second when links change often, or when a virtual interface has its peer's number
    /// (the kernel's link watch gathers such changes); this question brings them up to date.
    pub fn carrier(&self, name: &str) -> Option<bool> {
        let mut request = request(name).ok()?;
        let mut value = EthtoolValue { command: ETHTOOL_GLINK, data: 0 };
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        // The kernel writes through the pointer, which `value` outlives.
        self.ioctl(libc::SIOCETHTOOL, &mut request).ok()?;
        Some(value.data != 0)
    }

    fn read_all(&self, name: &str) -> io::Result<LinkState> {
        let mut request = request(name)?;
        self.ioctl(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: the kernel has written the index.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        let carrier = self.carrier(name);
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel has written the flags.
        let flags = c_int::from(unsafe { request.ifr_ifru.ifru_flags });
        self.ioctl(libc::SIOCGIFMTU, &mut request)?;
        // SAFETY: the kernel has written the size.
        let mtu = unsafe { request.ifr_ifru.ifru_mtu };
        self.ioctl(libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: the kernel has written the address.
        let bytes = unsafe { request.ifr_ifru.ifru_hwaddr }.sa_data;
        let up = flags & libc::IFF_UP != 0;
        Ok(LinkState {
            index: index.cast_unsigned(),
            up,
            running: up && carrier.unwrap_or(flags & libc::IFF_RUNNING != 0),
            mac: core::array::from_fn(|i| bytes[i].cast_unsigned()),
            mtu: mtu.cast_unsigned(),
        })
    }

    fn ioctl(&self, what: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: each of the requests above reads and writes one `ifreq`, and nothing behind it but for
        // SIOCETHTOOL, whose pointer leads to an `EthtoolValue` of the caller.
        let code = unsafe { libc::ioctl(self.socket.as_raw_fd(), what, &raw mut *request) };
        if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct EthtoolValue {
    command: u32,
    data: u32,
}

/// "Has it carrier?", linux/ethtool.h.
const ETHTOOL_GLINK: u32 = 0x0a;

/// Whether an error says that there is no such interface.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO))
}

/// A request about `name`, all else zero.
fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: the structure is numbers and unions of numbers; zeroes are valid.
    let mut request: libc::ifreq = unsafe { core::mem::zeroed() };
    // The last byte stays 0.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains(['/', '\0']) {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there_and_nothing_else_is_invented() {
        let interfaces = Interfaces::new().unwrap();
        let lo = interfaces.read("lo").unwrap().expect("every namespace has one");
        assert_eq!((lo.index, lo.mac), (1, [0; 6]));
        assert!(lo.mtu >= 1500);
        assert_eq!(interfaces.carrier("lo"), Some(true));
        assert_eq!(interfaces.carrier("no-such-if"), None);
        for missing in ["no-such-if", "", "a-name-that-is-too-long", "../lo"] {
            assert_eq!(interfaces.read(missing).unwrap(), None);
            assert!(interfaces.take_up(missing).is_err());
        }
    }
}
