//! A switch in the words of the specification.

use core::net::IpAddr;

/// An Ethernet address.
pub type Mac = [u8; 6];

/// What the switch is told.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Ports by number.
    pub ports: Vec<Port>,
    /// Servers by number.
    pub servers: Vec<Server>,
    /// Clusters by number.
    pub clusters: Vec<Cluster>,
    /// Routers: VLAN and address (A3).
    pub routers: Vec<(u16, IpAddr)>,
}

/// What is behind a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Role {
    /// Routers, clients, other switches.
    #[default]
    Outside,
    /// Servers.
    Server,
}

/// A port.
#[derive(Clone, Debug, Default)]
pub struct Port {
    /// What is behind it.
    pub role: Role,
    /// VLAN of frames without a tag.
    pub untagged: Option<u16>,
    /// VLANs of frames with a tag.
    pub tagged: Vec<u16>,
    /// BPDUs are dropped.
    pub drops_bpdus: bool,
}

/// A server.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The port it is behind.
    pub port: usize,
    /// Its Ethernet address.
    pub mac: Mac,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its VLAN; 0 on a switch without.
    pub vlan: u16,
    /// Its address.
    pub vip: IpAddr,
    /// Its virtual MAC.
    pub vmac: Mac,
    /// Its servers.
    pub servers: Vec<usize>,
}

impl Table {
    /// The cluster whose VIP this is in that VLAN.
    pub fn vip(&self, vlan: u16, address: IpAddr) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.vlan == vlan && c.vip == address)
    }

    /// The cluster whose VMAC this is in that VLAN.
    pub fn vmac(&self, vlan: u16, mac: Mac) -> Option<&Cluster> {
        self.clusters.iter().find(|c| c.vlan == vlan && c.vmac == mac)
    }

    /// The server behind `port` with that MAC.
    pub fn server_at(&self, port: usize, mac: Mac) -> Option<usize> {
        self.servers.iter().position(|s| s.port == port && s.mac == mac)
    }

    /// The ports with servers that carry the cluster's VIP.
    pub fn carriers(&self, cluster: &Cluster) -> Vec<usize> {
        cluster.servers.iter().map(|s| self.servers[*s].port).collect()
    }

    /// The ports of a VLAN.
    pub fn members(&self, vlan: u16) -> impl Iterator<Item = usize> {
        (0..self.ports.len()).filter(move |p| self.ports[*p].carries(vlan))
    }

    /// `frame` as it leaves `port`, when it came in with its VLAN's tag (`tagged`) or without.
    pub fn as_sent(&self, frame: &[u8], tagged: bool, vlan: u16, port: usize) -> Vec<u8> {
        let mut out = frame.to_vec();
        match (tagged, self.ports[port].tagged.contains(&vlan)) {
            (false, true) => {
                let [high, low] = vlan.to_be_bytes();
                out.splice(12..12, [0x81, 0x00, high, low]);
            }
            (true, false) => drop(out.drain(12..16)),
            _ => {}
        }
        out
    }
}

impl Port {
    /// Whether the port is a member of the VLAN.
    pub fn carries(&self, vlan: u16) -> bool {
        self.untagged == Some(vlan) || self.tagged.contains(&vlan)
    }
}
