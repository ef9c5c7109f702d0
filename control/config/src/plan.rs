//! `Config` → `Plan`: names become numbers.

use crate::config::{Affinity, Cluster, Config, Group, Service};
use crate::raw::PROTOCOLS;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use dataplane_flow::{
    CLUSTERS_MAX, ClusterId, POOLS_MAX, PoolId, ROUTERS_MAX, RouterId, TARGETS_MAX, TargetId,
};
use dataplane_message::{
    Affinity as AffinityPlan, ClusterMode, ClusterPlan, Member, Plan, PoolPlan, RouterPlan, ServicePlan,
    TargetPlan,
};
use std::collections::{HashMap, HashSet};

impl Config {
    /// The plan. A cluster, server, router or pool that `previous` has under the same name keeps its number, so flows
    /// follow their server through reloads (FS-7). A new one gets a number that `previous` does not use:
    /// the one after its highest, and from the beginning again when there is none left. So a number that
    /// has become free is not given away in the same step, when flows could still be bound to it.
    pub fn plan(&self, previous: Option<&Plan>) -> Plan {
        let targets = numbers(
            TARGETS_MAX,
            self.servers.iter().map(|server| server.name.as_str()),
            previous.into_iter().flat_map(|plan| &plan.targets).map(|t| (t.name.as_str(), t.id.0)),
        );
        let clusters = numbers(
            CLUSTERS_MAX,
            self.clusters.iter().map(|cluster| cluster.name.as_str()),
            previous.into_iter().flat_map(|plan| &plan.clusters).map(|c| (c.name.as_str(), c.id.0)),
        );
        let routers = numbers(
            ROUTERS_MAX,
            self.routers.iter().map(|router| router.name.as_str()),
            previous.into_iter().flat_map(|plan| &plan.routers).map(|r| (r.name.as_str(), r.id.0)),
        );
        let pools = numbers(
            POOLS_MAX,
            self.pools.iter().map(|pool| pool.name.as_str()),
            previous.into_iter().flat_map(|plan| &plan.pools).map(|p| (p.name.as_str(), p.id.0)),
        );
        let mut plan = Plan {
            choice_key: self.switch.choice_key,
            bridge: self.bridge,
            ports: self.ports.iter().map(|port| port.plan.clone()).collect(),
            targets: self
                .servers
                .iter()
                .zip(&targets)
                .map(|(server, number)| TargetPlan {
                    id: TargetId(*number),
                    name: server.name.clone(),
                    port: server.port,
                    mac: server.mac,
                    admin: server.admin,
                    connections_max: server.connections_max,
                })
                .collect(),
            routers: self
                .routers
                .iter()
                .zip(&routers)
                .map(|(router, number)| RouterPlan {
                    id: RouterId(*number),
                    name: router.name.clone(),
                    port: router.port,
                    vlan: router.vlan,
                    address: router.address,
                    mac: router.mac,
                })
                .collect(),
            pools: self
                .pools
                .iter()
                .zip(&pools)
                .map(|(pool, number)| PoolPlan {
                    id: PoolId(*number),
                    name: pool.name.clone(),
                    vlan: pool.vlan,
                    address: pool.address,
                    routers: pool.routers.iter().map(|router| RouterId(routers[*router])).collect(),
                    spread: pool.spread,
                    redirect: pool.redirect,
                })
                .collect(),
            clusters: Vec::new(),
        };
        let mut groups = Groups::default();
        for (cluster, number) in self.clusters.iter().zip(&clusters) {
            let probe = self.probe_source(cluster);
            plan.clusters.push(cluster_plan(cluster, ClusterId(*number), probe, &targets, &mut groups));
        }
        plan.targets.sort_by_key(|target| target.id);
        plan.clusters.sort_by_key(|cluster| cluster.id);
        plan
    }

    /// The default router of a cluster's servers: its VLAN's pool, else the first router there.
    pub(crate) fn gateway(&self, cluster: &Cluster) -> Option<IpAddr> {
        let near = |vlan, address: IpAddr| vlan == cluster.vlan && address.is_ipv6() == cluster.vip.is_ipv6();
        let pools = self.pools.iter().map(|pool| (pool.vlan, pool.address));
        let routers = self.routers.iter().map(|router| (router.vlan, router.address));
        pools.chain(routers).find(|(vlan, address)| near(*vlan, *address)).map(|(_, address)| address)
    }

    /// Where probes to a cluster's servers seem to come from (FS-30): what the file says, else their default
    /// router, which every route and reverse-path filter of theirs accepts; without one 192.0.0.8
    /// (RFC 7600 section 10). For IPv6 a link-local address of the VMAC (RFC 4291, appendix A).
    fn probe_source(&self, cluster: &Cluster) -> IpAddr {
        if let Some(address) = cluster.probe_address {
            return address;
        }
        if cluster.vip.is_ipv6() {
            let [a, b, c, d, e, f] = cluster.vmac.0;
            let id = [a ^ 2, b, c, 0xff, 0xfe, d, e, f];
            return Ipv6Addr::from_bits(0xfe80 << 112 | u128::from(u64::from_be_bytes(id))).into();
        }
        // Its MAC has to be known: servers that are asked by ARP take it from the probe.
        let is_found = |address: &IpAddr| {
            let pool = self.pools.iter().find(|pool| pool.vlan == cluster.vlan && pool.address == *address);
            self.routers.iter().enumerate().any(|(place, router)| {
                let is_it = router.vlan == cluster.vlan && router.address == *address;
                let asked = router.mac.is_some() || router.check.is_some();
                asked && (is_it || pool.is_some_and(|pool| pool.routers.contains(&place)))
            })
        };
        self.gateway(cluster).filter(is_found).unwrap_or(Ipv4Addr::new(192, 0, 0, 8).into())
    }
}

fn cluster_plan(
    cluster: &Cluster,
    id: ClusterId,
    probe: IpAddr,
    targets: &[u16],
    groups: &mut Groups,
) -> ClusterPlan {
    ClusterPlan {
        id,
        name: cluster.name.clone(),
        vlan: cluster.vlan,
        vip: cluster.vip,
        vmac: cluster.vmac,
        mode: cluster.mode,
        dead_tcp: cluster.dead_tcp,
        dead_other: cluster.dead_other,
        probe,
        fail: cluster.fail,
        withdraw: cluster.withdraw,
        timeouts: cluster.timeouts,
        udp: cluster.udp,
        announce_interval_s: cluster.announce_interval_s,
        servers: cluster.servers.iter().map(|server| TargetId(targets[*server])).collect(),
        services: cluster
            .services
            .iter()
            .map(|service| service_plan(service, cluster, targets, groups))
            .collect(),
    }
}

fn service_plan(service: &Service, cluster: &Cluster, targets: &[u16], groups: &mut Groups) -> ServicePlan {
    ServicePlan {
        name: service.name.clone(),
        protocol: service.protocol,
        ports: service.ports.clone(),
        chooser: service.chooser,
        affinity: service.affinity.as_ref().map(|affinity| {
            let Affinity { prefix_v4, prefix_v6, idle_s, group } = affinity.clone();
            AffinityPlan { prefix_v4, prefix_v6, idle_s, group: groups.number(&cluster.name, group) }
        }),
        quic: service.quic,
        members: service
            .members
            .iter()
            .map(|member| Member {
                target: TargetId(targets[member.server]),
                weight: member.weight,
                // Roles decide there (FS-14).
                backup: member.backup && cluster.mode == ClusterMode::LoadSharing,
            })
            .collect(),
    }
}

/// A number below `limit` for each of `names`, in their order.
fn numbers<'a>(
    limit: usize,
    names: impl Iterator<Item = &'a str>,
    previous: impl Iterator<Item = (&'a str, u16)>,
) -> Vec<u16> {
    let previous: HashMap<&str, u16> = previous.collect();
    let names: Vec<&str> = names.collect();
    let kept: HashSet<u16> = names.iter().filter_map(|name| previous.get(name)).copied().collect();
    let mut taken: HashSet<u16> = previous.values().copied().collect();
    let mut next = previous.values().max().map_or(0, |highest| usize::from(*highest) + 1);
    let mut fresh = || {
        if taken.len() >= limit {
            // None left but those that become free in this very step.
            taken.retain(|number| kept.contains(number));
        }
        loop {
            let number = (next % limit) as u16;
            next += 1;
            if taken.insert(number) {
                return number;
            }
        }
    };
    names.iter().map(|name| previous.get(name).copied().unwrap_or_else(&mut fresh)).collect()
}

/// Numbers of affinity groups. They follow from the names, so that bindings outlive a reload.
#[derive(Default)]
struct Groups {
    numbers: HashMap<(String, Group), u16>,
    taken: HashSet<u16>,
}

impl Groups {
    fn number(&mut self, cluster: &str, group: Group) -> u16 {
        let key = (cluster.to_owned(), group);
        if let Some(number) = self.numbers.get(&key) {
            return *number;
        }
        let (kind, name) = match &key.1 {
            Group::Named(name) => ("group", name),
            Group::Service(name) => ("service", name),
        };
        let mut number = fold(&[cluster, kind, name]);
        // Names that fall on one number are moved on; there are far fewer groups than numbers.
        while self.taken.len() < usize::from(u16::MAX) && !self.taken.insert(number) {
            number = number.wrapping_add(1);
        }
        self.numbers.insert(key, number);
        number
    }
}

/// FNV-1a of the words, folded to 16 bits.
fn fold(words: &[&str]) -> u16 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in words.iter().flat_map(|word| word.bytes().chain([0])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    (hash ^ hash >> 16 ^ hash >> 32 ^ hash >> 48) as u16
}

/// The name of a protocol where it has one.
pub fn protocol_name(protocol: u8) -> Option<&'static str> {
    PROTOCOLS.iter().find(|(_, number)| *number == protocol).map(|(name, _)| *name)
}
