//! What stands where, and the configuration file that says so.

use crate::server::Mistake;
use core::fmt::Write;
use core::net::Ipv4Addr;
use tests_model::Mac;

/// The VIP.
pub const VIP: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 100);

/// The default router of all servers, where there is a pool: nobody's own.
pub const POOL: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// A host beyond the routers.
pub const THROUGH: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// A switch's surroundings.
#[derive(Clone, Debug)]
pub struct Topology {
    /// Routers; their ports come first.
    pub routers: usize,
    /// Servers, each with a port of its own.
    pub servers: usize,
    /// The chooser's name in the file.
    pub chooser: &'static str,
    /// Weights; what is missing is 1.
    pub weights: Vec<u16>,
    /// Servers by the operator's will: `drain`, `disabled`; what is missing is enabled.
    pub admin: Vec<&'static str>,
    /// Servers that are not in the file now.
    pub absent: Vec<usize>,
    /// Nanoseconds of work for a request; what is missing is a millisecond.
    pub work: Vec<u64>,
    /// What is set up wrong at servers; what is missing is well.
    pub mistakes: Vec<Option<Mistake>>,
    /// More lines for the cluster's table.
    pub cluster: String,
    /// More lines at the end of the file.
    pub more: String,
    /// A pool of all routers, with these lines in its table; without one the first router is the default.
    pub pool: Option<&'static str>,
    /// How routers are watched.
    pub router_check: &'static str,
    /// Workers.
    pub workers: u8,
    /// Flows of the table.
    pub flows_max: u32,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            routers: 2,
            servers: 4,
            chooser: "maglev",
            weights: Vec::new(),
            admin: Vec::new(),
            absent: Vec::new(),
            work: Vec::new(),
            mistakes: Vec::new(),
            cluster: String::new(),
            more: String::new(),
            pool: Some(""),
            router_check: "check = { interval_ms = 100, timeout_ms = 80, rise = 3, fall = 3, through = \"192.0.2.1\" }",
            workers: 1,
            flows_max: 16_384,
        }
    }
}

impl Topology {
    /// All ports.
    pub fn ports(&self) -> usize {
        self.routers + self.servers
    }

    /// The port of a server.
    pub fn server_port(&self, server: usize) -> usize {
        self.routers + server
    }

    /// The server behind a port.
    pub fn server_at(&self, port: usize) -> Option<usize> {
        port.checked_sub(self.routers).filter(|server| *server < self.servers)
    }

    /// A server's MAC.
    pub fn server_mac(server: usize) -> Mac {
        [2, 0, 0, 0, 1, server as u8 + 1]
    }

    /// A router's MAC.
    pub fn router_mac(router: usize) -> Mac {
        [2, 0, 0, 0, 0, 0xa1 + router as u8]
    }

    /// A router's address.
    pub fn router_address(router: usize) -> Ipv4Addr {
        Ipv4Addr::new(10, 9, 0, 2 + router as u8)
    }

    /// The default router that servers are configured with.
    pub fn gateway(&self) -> Ipv4Addr {
        if self.pool.is_some() { POOL } else { Self::router_address(0) }
    }

    /// A server's name.
    pub fn server_name(server: usize) -> String {
        format!("s{}", server + 1)
    }

    /// The configuration file.
    pub fn file(&self) -> String {
        let mut text =
            format!("[switch]\nname = \"sim\"\nworkers = {}\nflows_max = {}\n", self.workers, self.flows_max);
        for port in 0..self.ports() {
            let server = self.server_at(port);
            let role = if server.is_some() { "role = \"server\"\n" } else { "" };
            let _ = write!(text, "[ports.p{port}]\nvdev = \"net_null{port}\"\n{role}");
        }
        for router in 0..self.routers {
            let _ = write!(
                text,
                "[routers.r{}]\nport = \"p{router}\"\naddress = \"{}\"\nmac = \"{}\"\n{}\n",
                router + 1,
                Self::router_address(router),
                mac(Self::router_mac(router)),
                self.router_check,
            );
        }
        if let Some(lines) = self.pool {
            let names: Vec<String> = (1..=self.routers).map(|n| format!("\"r{n}\"")).collect();
            let _ = write!(
                text,
                "[pools.out]\naddress = \"{POOL}\"\nrouters = [{}]\n{lines}\n",
                names.join(", ")
            );
        }
        let mut members = Vec::new();
        for server in (0..self.servers).filter(|s| !self.absent.contains(s)) {
            let name = Self::server_name(server);
            let admin = self.admin.get(server).copied().unwrap_or("enabled");
            let _ = write!(
                text,
                "[servers.{name}]\nport = \"p{}\"\nmac = \"{}\"\nadmin = \"{admin}\"\n",
                self.server_port(server),
                mac(Self::server_mac(server)),
            );
            let weight = self.weights.get(server).copied().unwrap_or(1);
            members.push(format!("{{ name = \"{name}\", weight = {weight} }}"));
        }
        let _ = write!(
            text,
            "[clusters.web]\nvip = \"{VIP}\"\nchooser = \"{}\"\nservers = [{}]\n{}\n{}",
            self.chooser,
            members.join(", "),
            self.cluster,
            self.more,
        );
        text
    }
}

fn mac(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
