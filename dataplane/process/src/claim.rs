//! One data path to an interface.
//!
//! A second AF_XDP program on an interface cuts the first one off for good, even where it fails to
//! start. The runtime directory's lock does not see that: another directory is another lock. An
//! abstract socket's name belongs to the network namespace, as the interface does, and is gone with the
//! process, however that ends.

use anyhow::{Context, Result, bail};
use dataplane_message::Boot;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

/// The interfaces that this process has for itself while this lives.
#[derive(Debug)]
pub(crate) struct Claims {
    _sockets: Vec<UnixListener>,
}

impl Claims {
    /// Claims every kernel interface of `boot`.
    pub(crate) fn take(boot: &Boot) -> Result<Self> {
        let interfaces = boot.ports.iter().filter_map(|port| Some((&port.name, port.device.interface()?)));
        let sockets = interfaces.map(|(port, interface)| claim(port, interface)).collect::<Result<_>>()?;
        Ok(Self { _sockets: sockets })
    }
}

fn claim(port: &str, interface: &str) -> Result<UnixListener> {
    let address = SocketAddr::from_abstract_name(format!("flowswitch-dp/{interface}"))
        .with_context(|| format!("ports.{port}: `{interface}` cannot be the name of an interface"))?;
    match UnixListener::bind_addr(&address) {
        Ok(socket) => Ok(socket),
        Err(error) if error.kind() == ErrorKind::AddrInUse => bail!(
            "ports.{port}: another flowswitch-dp has interface {interface}; stop it first (two would cut each other off)"
        ),
        Err(error) => Err(error).with_context(|| format!("ports.{port}: cannot claim {interface}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_is_claimed_once_and_free_again_afterwards() {
        let name = format!("t{}", std::process::id());
        let first = claim("up1", &name).expect("nobody has it");
        let second = claim("up1", &name).expect_err("it is taken");
        assert!(second.to_string().contains("another flowswitch-dp has interface"), "{second}");
        drop(first);
        claim("up1", &name).expect("it is free again");
    }
}
