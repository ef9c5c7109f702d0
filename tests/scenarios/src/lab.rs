//! The lab: namespaces, links, addresses, servers.

use crate::cleanup;
use crate::config::{Cluster, Pool, Port, Router, Server, SwitchConfig};
use crate::frame::{Mac, mac_text};
use crate::netns::Namespace;
use crate::nginx;
use crate::process::Process;
use crate::raw::{Memory, Tap};
use crate::switch::Switch;
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The address that servers share.
pub const VIP: Vip = Vip { v4: Ipv4Addr::new(10, 80, 0, 100), v6: v6(0x100) };
/// The address of a second cluster.
pub const VIP_B: Vip = Vip { v4: Ipv4Addr::new(10, 80, 0, 101), v6: v6(0x101) };
/// The servers' default router where the lab has one that nobody owns.
pub const GATEWAY: Vip = Vip { v4: Ipv4Addr::new(10, 80, 0, 254), v6: v6(0xfe) };
/// The client's own addresses; it answers for all of 10.2.0.0/16 and fd00:2::/64.
pub const CLIENT: Vip =
    Vip { v4: Ipv4Addr::new(10, 2, 0, 1), v6: Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1) };

const fn v6(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x80, 0, 0, 0, 0, 0, host)
}

/// An address of each family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vip {
    /// The IPv4 one.
    pub v4: Ipv4Addr,
    /// The IPv6 one.
    pub v6: Ipv6Addr,
}

impl Vip {
    /// Both, IPv4 first.
    pub fn both(self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

/// What a lab is to look like.
#[derive(Clone, Debug)]
pub struct Topology {
    /// The addresses of each server; their number is that of the servers.
    pub servers: Vec<Vec<Vip>>,
    /// Hosts on the servers' own segment, `n1`, `n2` and so on.
    pub neighbours: usize,
    /// A Linux bridge between the switch and the routers, with a bystander `w` on it.
    pub bridge: bool,
    /// Servers check their IPv6 addresses for duplicates before they use them.
    pub address_check: bool,
    /// Servers have no addresses until [`Lab::address_server`].
    pub boot_later: bool,
    /// nginx on every server.
    pub http: bool,
    /// A file of 200 MB on every server.
    pub download: bool,
    /// The servers' default router is [`GATEWAY`], a pool of both routers (FS-12); else one of them.
    pub gateway: bool,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            servers: vec![vec![VIP]; 3],
            neighbours: 0,
            bridge: false,
            address_check: false,
            boot_later: false,
            http: true,
            download: false,
            gateway: false,
        }
    }
}

/// A host with one interface toward the switch, `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub ns: Namespace,
    /// The MAC address of `eth0`.
    pub mac: Mac,
    /// Its own addresses; a server's are its VIPs.
    pub addresses: Vec<Vip>,
}

/// Everything around the switch, and the switch.
pub struct Lab {
    /// Where its files are.
    pub folder: PathBuf,
    /// The client.
    pub client: Namespace,
    /// `r1` and `r2`.
    pub routers: Vec<Host>,
    /// `s1`, `s2` and so on.
    pub servers: Vec<Host>,
    /// `n1` and so on.
    pub neighbours: Vec<Host>,
    /// The bystander behind the bridge.
    pub bystander: Option<Host>,
    /// Where the switch runs.
    pub switch_ns: Namespace,
    /// Long forms are wanted.
    pub full: bool,
    /// nginx of each server, by the server's name.
    pub(crate) https: Mutex<BTreeMap<String, Process>>,
    gateway: bool,
    bridge: Option<Namespace>,
    switch: Mutex<Option<Arc<Switch>>>,
    programs: Mutex<Vec<Process>>,
    memories: Mutex<Vec<Memory>>,
}

impl Lab {
    /// Builds it.
    ///
    /// # Errors
    ///
    /// When a command fails; with what it said.
    pub fn build(topology: &Topology) -> Result<Self> {
        let prefix = cleanup::unique_prefix();
        let folder = cleanup::folder_base().join(&prefix);
        cleanup::add_folder(folder.clone());
        std::fs::create_dir_all(&folder)?;

        let ns = |name: &str| Namespace::create(&format!("{prefix}-{name}"));
        let host = |kind: char, number: u8, group: u8, addresses: Vec<Vip>| -> Result<Host> {
            let name = format!("{kind}{number}");
            Ok(Host { ns: ns(&name)?, name, mac: [2, 0, 0, 0, group, number], addresses })
        };
        let count = |n: usize| 1..=u8::try_from(n).unwrap_or(u8::MAX);
        let lab = Self {
            client: ns("c")?,
            routers: count(2)
                .map(|n| host('r', n, 1, vec![segment(250 + u16::from(n))]))
                .collect::<Result<_>>()?,
            servers: count(topology.servers.len())
                .zip(&topology.servers)
                .map(|(n, vips)| host('s', n, 2, vips.clone()))
                .collect::<Result<_>>()?,
            neighbours: count(topology.neighbours)
                .map(|n| host('n', n, 3, vec![segment(50 + u16::from(n))]))
                .collect::<Result<_>>()?,
            bystander: topology.bridge.then(|| host('w', 1, 4, vec![segment(70)])).transpose()?,
            switch_ns: ns("sw")?,
            bridge: topology.bridge.then(|| ns("br")).transpose()?,
            full: false,
            https: Mutex::default(),
            gateway: topology.gateway,
            switch: Mutex::default(),
            programs: Mutex::default(),
            memories: Mutex::default(),
            folder,
        };
        lab.switch_ns
            .sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])?;
        quiet(&lab.client, false)?;
        for host in lab.routers.iter().chain(&lab.neighbours).chain(&lab.bystander) {
            quiet(&host.ns, false)?;
        }
        lab.servers.iter().try_for_each(|server| quiet(&server.ns, topology.address_check))?;
        lab.link()?;
        lab.address_routers()?;
        for server in lab.servers.iter().filter(|_| !topology.boot_later) {
            lab.address_server(server, topology.address_check)?;
        }
        for host in lab.neighbours.iter().chain(&lab.bystander) {
            host.ns.ip(&format!("{}{}", addresses(host, "nodad"), ROUTES))?;
        }
        if topology.http {
            lab.serve_http(topology.download)?;
        }
        Ok(lab)
    }

    /// The configuration that fits the lab: one cluster per address, Maglev, weights 1, one worker.
    pub fn config(&self) -> SwitchConfig {
        let port = |host: &Host, role| Port {
            name: host.name.clone(),
            interface: interface(&host.name),
            role,
            untagged: Some(1),
            tagged: Vec::new(),
            mtu: 1500,
            more: Vec::new(),
        };
        let mut ports: Vec<Port> = Vec::new();
        if self.bridge.is_some() {
            let up =
                Port { name: "up".into(), interface: interface("up"), ..port(&self.routers[0], "outside") };
            ports.push(up);
        } else {
            ports.extend(self.routers.iter().map(|h| port(h, "outside")));
        }
        ports.extend(self.neighbours.iter().map(|h| port(h, "outside")));
        ports.extend(self.servers.iter().map(|h| port(h, "server")));
        let routers = self
            .routers
            .iter()
            .map(|h| Router {
                name: h.name.clone(),
                port: if self.bridge.is_some() { "up".into() } else { h.name.clone() },
                vlan: 1,
                address: h.addresses[0].v4.into(),
                more: Vec::new(),
            })
            .collect();
        // The servers' probes come from the pool's address, which a route of every server leads to.
        let pools = GATEWAY.both().into_iter().filter(|a| self.gateway && a.is_ipv4()).map(|address| Pool {
            name: "gw".into(),
            address,
            routers: self.routers.iter().map(|h| h.name.clone()).collect(),
            more: Vec::new(),
        });
        let servers = self
            .servers
            .iter()
            .map(|h| Server {
                name: h.name.clone(),
                port: h.name.clone(),
                mac: mac_text(h.mac),
                admin: "enabled",
                more: Vec::new(),
            })
            .collect();
        let mut clusters = Vec::new();
        for (vip, name) in [(VIP, "web"), (VIP_B, "shop")] {
            let members: Vec<(String, u16)> = self
                .servers
                .iter()
                .filter(|s| s.addresses.contains(&vip))
                .map(|s| (s.name.clone(), 1))
                .collect();
            if members.is_empty() {
                continue;
            }
            clusters.extend(vip.both().into_iter().map(|address| Cluster {
                name: if address.is_ipv4() { name.into() } else { format!("{name}6") },
                vip: address,
                vlan: 1,
                chooser: "maglev",
                servers: members.clone(),
                more: Vec::new(),
                checks: Vec::new(),
                services: Vec::new(),
            }));
        }
        SwitchConfig {
            workers: 1,
            flows_max: 65_536,
            driver: "af_xdp",
            ports,
            routers,
            pools: pools.collect(),
            servers,
            clusters,
        }
    }

    /// Starts the switch and waits until its plan is in force.
    ///
    /// # Errors
    ///
    /// When it does not get that far; with what it said.
    pub fn start(&self, config: &SwitchConfig) -> Result<()> {
        let switch = Switch::start(&self.switch_ns, &self.folder, config)?;
        *self.lock_switch() = Some(Arc::new(switch));
        Ok(())
    }

    /// The running switch.
    ///
    /// # Panics
    ///
    /// When none was started.
    pub fn switch(&self) -> Arc<Switch> {
        Arc::clone(self.lock_switch().as_ref().expect("the switch was started"))
    }

    /// Ends the switch as an operator does.
    ///
    /// # Errors
    ///
    /// When it does not end by itself, or leaves a process behind.
    pub fn stop(&self) -> Result<()> {
        self.stop_by(Signal::SIGTERM)
    }

    /// Ends the switch by a signal.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`].
    pub fn stop_by(&self, signal: Signal) -> Result<()> {
        self.lock_switch().take().map_or(Ok(()), |switch| switch.stop(signal))
    }

    /// Opens a host's interface for whole frames.
    ///
    /// # Errors
    ///
    /// When there is no such interface.
    pub fn tap(&self, host: &Host) -> Result<Tap> {
        let tap = Tap::open(&host.ns, "eth0")?;
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).push(tap.memory());
        Ok(tap)
    }

    /// Keeps a program running until the lab goes.
    pub fn keep(&self, program: Process) {
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).push(program);
    }

    /// Prints what helps to understand a failure, and keeps what was captured in `capture`.
    pub fn explain_failure(&self, capture: &Path) {
        if let Some(switch) = &*self.lock_switch() {
            switch.explain();
        }
        let memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        match crate::raw::write_capture(capture, &memories) {
            Ok(0) => {}
            Ok(frames) => eprintln!("  {frames} frames kept in {}", capture.display()),
            Err(error) => eprintln!("  no capture kept: {error:#}"),
        }
    }

    /// The interface in the switch's namespace that leads to a host.
    pub fn switch_interface(&self, host: &Host) -> String {
        interface(&host.name)
    }

    /// Gives a server its interface's addresses and default route, as after its boot.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn address_server(&self, server: &Host, check: bool) -> Result<()> {
        let dad = if check { "" } else { "nodad" };
        let router = self.gateway_of(server);
        server.ns.ip(&format!(
            "{}route add default via {}\nroute add default via {}\n",
            addresses(server, dad),
            router.v4,
            router.v6
        ))
    }

    /// A server's default router.
    pub fn gateway_of(&self, server: &Host) -> Vip {
        if self.gateway { GATEWAY } else { self.routers[usize::from(server.mac[5] % 2)].addresses[0] }
    }

    /// Joins two interfaces by a virtual cable, one end in the switch's namespace.
    ///
    /// # Errors
    ///
    /// When `ip` refuses.
    pub fn plug(&self, host: &Host) -> Result<()> {
        cable(&self.switch_ns, &interface(&host.name), &host.ns, "eth0", host.mac)?;
        self.switch_ns.ip(&format!("link set {} up promisc on", interface(&host.name)))?;
        no_offload(&host.ns, "eth0")
    }

    fn lock_switch(&self) -> MutexGuard<'_, Option<Arc<Switch>>> {
        self.switch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All cables.
    fn link(&self) -> Result<()> {
        if let Some(bridge) = &self.bridge {
            bridge.sysctl(&[("ipv6/conf/all/disable_ipv6", "1"), ("ipv6/conf/default/disable_ipv6", "1")])?;
            // 10 s of ageing, in hundredths.
            bridge.ip("link add br0 type bridge ageing_time 1000 mcast_snooping 0\nlink set br0 up\n")?;
            cable(&self.switch_ns, &interface("up"), bridge, "uplink", [2, 0, 0, 0, 5, 1])?;
            self.switch_ns.ip(&format!("link set {} up promisc on", interface("up")))?;
            bridge.ip("link set uplink master br0 up\n")?;
            no_offload(bridge, "uplink")?;
            for host in self.routers.iter().chain(&self.bystander) {
                cable(bridge, &host.name, &host.ns, "eth0", host.mac)?;
                bridge.ip(&format!("link set {} master br0 up\n", host.name))?;
                no_offload(&host.ns, "eth0")?;
            }
        } else {
            self.routers.iter().try_for_each(|h| self.plug(h))?;
        }
        self.neighbours.iter().chain(&self.servers).try_for_each(|h| self.plug(h))?;
        for (n, router) in (1..).zip(&self.routers) {
            let name = format!("eth{n}");
            cable(&self.client, &name, &router.ns, "eth1", [2, 0, 0, 0, 6, n])?;
        }
        Ok(())
    }

    /// The client with a route over both routers, and the routers between.
    fn address_routers(&self) -> Result<()> {
        self.client.sysctl(&[
            ("ipv4/fib_multipath_hash_policy", "1"),
            ("ipv6/fib_multipath_hash_policy", "1"),
            ("ipv4/ip_local_port_range", "1024 65535"),
            ("ipv6/ip_nonlocal_bind", "1"),
        ])?;
        let mut hops = [String::new(), String::new()];
        for (n, router) in (1..).zip(&self.routers) {
            router.ns.sysctl(&[
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/default/send_redirects", "0"),
                ("ipv4/conf/eth0/send_redirects", "0"),
            ])?;
            router.ns.ip(&format!(
                "{}addr add 10.1.{n}.1/24 dev eth1\naddr add fd00:1:{n}::1/64 dev eth1 nodad\nlink set eth1 up\n\
                 route add 10.2.0.0/16 via 10.1.{n}.2\nroute add fd00:2::/64 via fd00:1:{n}::2\n",
                addresses(router, "nodad")
            ))?;
            self.client.ip(&format!(
                "addr add 10.1.{n}.2/24 dev eth{n}\naddr add fd00:1:{n}::2/64 dev eth{n} nodad\nlink set eth{n} up\n"
            ))?;
            hops[0] += &format!(" nexthop via 10.1.{n}.1");
            hops[1] += &format!(" nexthop via fd00:1:{n}::1");
        }
        self.client.ip(&format!(
            "addr add {}/32 dev lo\naddr add {}/128 dev lo nodad\n\
             route add local 10.2.0.0/16 dev lo\nroute add local fd00:2::/64 dev lo\n\
             route add 10.80.0.0/24 src {}{}\nroute add fd00:80::/64 src {}{}\n",
            CLIENT.v4, CLIENT.v6, CLIENT.v4, hops[0], CLIENT.v6, hops[1]
        ))
    }

    fn serve_http(&self, download: bool) -> Result<()> {
        let files = self.folder.join("files");
        nginx::make_files(&files, download)?;
        for server in &self.servers {
            let program = nginx::start(&server.ns, &self.folder, &server.name, &files)?;
            self.https.lock().unwrap_or_else(PoisonError::into_inner).insert(server.name.clone(), program);
        }
        for server in &self.servers {
            nginx::wait_open(&server.ns)?;
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.lock_switch().take();
        self.https.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.programs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        cleanup::remove_folder(&self.folder);
    }
}

/// Routes of a host on the segment to the client: by the first router.
const ROUTES: &str = "route add 10.2.0.0/16 via 10.80.0.251\nroute add fd00:2::/64 via fd00:80::251\n";

/// An address on the servers' segment: 251 stands for 10.80.0.251 and fd00:80::251.
fn segment(host: u16) -> Vip {
    let [_, low] = host.to_be_bytes();
    let digits = ((host / 100) << 8) | ((host / 10 % 10) << 4) | (host % 10);
    Vip { v4: Ipv4Addr::new(10, 80, 0, low), v6: v6(digits) }
}

/// The name of the switch's end of a host's cable.
fn interface(host: &str) -> String {
    format!("p-{host}")
}

/// Lines for `ip` that give `eth0` its addresses and bring it up.
fn addresses(host: &Host, dad: &str) -> String {
    let mut lines = String::new();
    for a in &host.addresses {
        lines += &format!("addr add {}/24 dev eth0\naddr add {}/64 dev eth0 {dad}\n", a.v4, a.v6);
    }
    lines + "link set eth0 up\n"
}

/// No frames that nobody asked for; IPv6 addresses that are good at once, unless they are to be
/// checked; long queues of connections. Interfaces that come later take it on.
fn quiet(ns: &Namespace, address_check: bool) -> Result<()> {
    let check = if address_check { "1" } else { "0" };
    ns.sysctl(&[
        ("ipv6/conf/all/accept_dad", check),
        ("ipv6/conf/default/accept_dad", check),
        ("ipv6/conf/all/accept_ra", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
        ("ipv6/conf/default/router_solicitations", "0"),
        ("core/somaxconn", "8192"),
        ("ipv4/tcp_max_syn_backlog", "8192"),
    ])
}

/// One cable of one queue; `mac` is that of the far end.
fn cable(near: &Namespace, near_name: &str, far: &Namespace, far_name: &str, mac: Mac) -> Result<()> {
    near.ip(&format!(
        "link add {near_name} mtu 1500 numtxqueues 1 numrxqueues 1 type veth \
         peer name {far_name} address {} mtu 1500 numtxqueues 1 numrxqueues 1 netns {}\n",
        mac_text(mac),
        far.name()
    ))
}

/// The kernel finishes its checksums itself: what a cable carries is then what a wire would.
fn no_offload(ns: &Namespace, interface: &str) -> Result<()> {
    ns.run("ethtool", &["-K", interface, "tx", "off"]).map(drop).context("switch transmit offload off")
}
