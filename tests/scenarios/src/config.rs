//! The configuration of the switch under test, as a value that rows change before it is written.

use std::fmt::Write;
use std::net::IpAddr;

/// A configuration file in the making.
#[derive(Clone, Debug)]
pub struct SwitchConfig {
    /// Workers.
    pub workers: u8,
    /// Most flows.
    pub flows_max: u32,
    /// The driver of every port.
    pub driver: &'static str,
    /// The ports.
    pub ports: Vec<Port>,
    /// The routers.
    pub routers: Vec<Router>,
    /// The router pools.
    pub pools: Vec<Pool>,
    /// The servers.
    pub servers: Vec<Server>,
    /// The clusters.
    pub clusters: Vec<Cluster>,
}

/// A port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Its name, that of the host behind it.
    pub name: String,
    /// The interface in the switch's namespace.
    pub interface: String,
    /// `outside` or `server`.
    pub role: &'static str,
    /// The VLAN of untagged frames.
    pub untagged: Option<u16>,
    /// VLANs that pass with their tag.
    pub tagged: Vec<u16>,
    /// Largest packet.
    pub mtu: u16,
    /// Further lines of TOML.
    pub more: Vec<String>,
}

/// A router.
#[derive(Clone, Debug)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: String,
    /// Its VLAN.
    pub vlan: u16,
    /// Its address.
    pub address: IpAddr,
    /// Further lines of TOML.
    pub more: Vec<String>,
}

/// A router pool.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// The address that servers have for their default router.
    pub address: IpAddr,
    /// Its routers' names.
    pub routers: Vec<String>,
    /// Further lines of TOML.
    pub more: Vec<String>,
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: String,
    /// Its MAC address, or `learn`.
    pub mac: String,
    /// `enabled`, `drain` or `disabled`.
    pub admin: &'static str,
    /// Further lines of TOML.
    pub more: Vec<String>,
}

/// A cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Its address.
    pub vip: IpAddr,
    /// Its VLAN.
    pub vlan: u16,
    /// How servers are chosen.
    pub chooser: &'static str,
    /// Its servers with their weights.
    pub servers: Vec<(String, u16)>,
    /// Further lines of TOML in its table.
    pub more: Vec<String>,
    /// Checks, each as lines of TOML.
    pub checks: Vec<String>,
    /// Services, each as lines of TOML.
    pub services: Vec<String>,
}

impl SwitchConfig {
    /// Sets the chooser of every cluster.
    #[must_use]
    pub fn chooser(mut self, chooser: &'static str) -> Self {
        self.clusters.iter_mut().for_each(|c| c.chooser = chooser);
        self
    }

    /// Sets the weights of every cluster's servers, in their order.
    #[must_use]
    pub fn weights(mut self, weights: &[u16]) -> Self {
        for cluster in &mut self.clusters {
            cluster.servers.iter_mut().zip(weights).for_each(|(server, weight)| server.1 = *weight);
        }
        self
    }

    /// Sets the number of workers.
    #[must_use]
    pub fn workers(mut self, workers: u8) -> Self {
        self.workers = workers;
        self
    }

    /// Sets the driver of every port.
    #[must_use]
    pub fn driver(mut self, driver: &'static str) -> Self {
        self.driver = driver;
        self
    }

    /// Adds a line of TOML to every cluster.
    #[must_use]
    pub fn in_clusters(mut self, line: &str) -> Self {
        self.clusters.iter_mut().for_each(|c| c.more.push(line.to_owned()));
        self
    }

    /// Adds a service of TCP ports to every cluster whose servers are chosen by `chooser`.
    #[must_use]
    pub fn service(mut self, name: &str, protocol: &str, ports: &str, chooser: &str) -> Self {
        let lines = format!(
            "name = \"{name}\"\nprotocol = \"{protocol}\"\nports = \"{ports}\"\nchooser = \"{chooser}\"\n"
        );
        self.clusters.iter_mut().for_each(|c| c.services.push(lines.clone()));
        self
    }

    /// Has every server asked by ARP and by HTTP each `interval_ms`, which is the time-out too.
    #[must_use]
    pub fn checked(self, interval_ms: u32, fall: u32) -> Self {
        let timing =
            format!("interval_ms = {interval_ms}\ntimeout_ms = {interval_ms}\nrise = 2\nfall = {fall}\n");
        self.check(&format!("kind = \"http\"\nport = 80\npath = \"/\"\n{timing}"))
            .check(&format!("kind = \"arp\"\n{timing}"))
    }

    /// Adds a check, as lines of TOML, to every cluster.
    #[must_use]
    pub fn check(mut self, lines: &str) -> Self {
        self.clusters.iter_mut().for_each(|c| c.checks.push(lines.to_owned()));
        self
    }

    /// Has every router asked ten times a second.
    #[must_use]
    pub fn routers_checked(mut self) -> Self {
        let line = "check = { interval_ms = 100, timeout_ms = 100, rise = 2, fall = 3 }";
        self.routers.iter_mut().for_each(|r| r.more.push(line.into()));
        self
    }

    /// Only the clusters with IPv4 addresses.
    #[must_use]
    pub fn only_v4(mut self) -> Self {
        self.clusters.retain(|c| c.vip.is_ipv4());
        self
    }

    /// Sets the will of the operator for one server.
    #[must_use]
    pub fn admin(mut self, server: &str, admin: &'static str) -> Self {
        self.servers.iter_mut().filter(|s| s.name == server).for_each(|s| s.admin = admin);
        self
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut t = String::new();
        self.write(&mut t).expect("a String takes everything");
        t
    }

    fn write(&self, t: &mut String) -> std::fmt::Result {
        writeln!(t, "[switch]\nname = \"lab\"\nmode = \"trial\"")?;
        writeln!(t, "workers = {}\nflows_max = {}", self.workers, self.flows_max)?;
        for port in &self.ports {
            writeln!(t, "\n[ports.{}]\ninterface = \"{}\"", port.name, port.interface)?;
            writeln!(t, "driver = \"{}\"\nrole = \"{}\"\nmtu = {}", self.driver, port.role, port.mtu)?;
            if let Some(vlan) = port.untagged {
                writeln!(t, "untagged = {vlan}")?;
            }
            if !port.tagged.is_empty() {
                writeln!(t, "tagged = {:?}", port.tagged)?;
            }
            port.more.iter().try_for_each(|line| writeln!(t, "{line}"))?;
        }
        for router in &self.routers {
            writeln!(t, "\n[routers.{}]\nport = \"{}\"", router.name, router.port)?;
            writeln!(t, "vlan = {}\naddress = \"{}\"", router.vlan, router.address)?;
            router.more.iter().try_for_each(|line| writeln!(t, "{line}"))?;
        }
        for pool in &self.pools {
            writeln!(t, "\n[pools.{}]\naddress = \"{}\"", pool.name, pool.address)?;
            writeln!(t, "routers = {:?}", pool.routers)?;
            pool.more.iter().try_for_each(|line| writeln!(t, "{line}"))?;
        }
        for server in &self.servers {
            writeln!(t, "\n[servers.{}]\nport = \"{}\"", server.name, server.port)?;
            writeln!(t, "mac = \"{}\"\nadmin = \"{}\"", server.mac, server.admin)?;
            server.more.iter().try_for_each(|line| writeln!(t, "{line}"))?;
        }
        for cluster in &self.clusters {
            writeln!(t, "\n[clusters.{}]\nvip = \"{}\"", cluster.name, cluster.vip)?;
            writeln!(t, "vlan = {}\nchooser = \"{}\"", cluster.vlan, cluster.chooser)?;
            let servers: Vec<String> =
                cluster.servers.iter().map(|(n, w)| format!("{{ name = \"{n}\", weight = {w} }}")).collect();
            writeln!(t, "servers = [{}]", servers.join(", "))?;
            cluster.more.iter().try_for_each(|line| writeln!(t, "{line}"))?;
            for check in &cluster.checks {
                write!(t, "\n[[clusters.{}.checks]]\n{check}", cluster.name)?;
            }
            for service in &cluster.services {
                write!(t, "\n[[clusters.{}.services]]\n{service}", cluster.name)?;
            }
        }
        Ok(())
    }
}
