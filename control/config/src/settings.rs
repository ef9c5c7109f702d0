//! `Config` → `Settings`: what control knows beside the plan.

use crate::config::{Cluster, Config, Service};
use control_health::{ClusterCare, PoolCare, RouterCare, ServerCare, ServiceCare, Settings};
use dataplane_message::{ClusterMode, Plan};

impl Config {
    /// The settings that belong to `plan`, which this configuration made: its numbers, in its order.
    pub fn settings(&self, plan: &Plan) -> Settings {
        let cluster = |name: &str| self.clusters.iter().find(|cluster| cluster.name == name);
        Settings {
            clusters: plan
                .clusters
                .iter()
                .filter_map(|of| {
                    let cluster = cluster(&of.name)?;
                    Some(ClusterCare {
                        id: of.id,
                        dead_after_ms: cluster.dead_after_ms,
                        slow_start_ms: cluster.slow_start_ms,
                        checks: cluster.checks.clone(),
                        services: cluster.services.iter().map(|service| care(cluster, service)).collect(),
                    })
                })
                .collect(),
            servers: plan
                .targets
                .iter()
                .map(|target| {
                    // Of a server in several clusters, the first one's.
                    let gateway = plan
                        .clusters
                        .iter()
                        .filter(|of| of.servers.contains(&target.id))
                        .find_map(|of| Some((self.gateway(cluster(&of.name)?)?, of.probe)));
                    ServerCare {
                        id: target.id,
                        gateway: gateway
                            .filter(|(address, probe)| address != probe)
                            .map(|(address, _)| address),
                        mtu: self
                            .ports
                            .iter()
                            .find(|p| p.plan.id == target.port)
                            .map_or(1500, |p| p.boot.mtu),
                    }
                })
                .collect(),
            routers: plan
                .routers
                .iter()
                .map(|of| RouterCare {
                    id: of.id,
                    check: self
                        .routers
                        .iter()
                        .find(|router| router.name == of.name)
                        .and_then(|router| router.check.clone()),
                })
                .collect(),
            pools: plan
                .pools
                .iter()
                .map(|of| PoolCare {
                    id: of.id,
                    by_load: self.pools.iter().any(|pool| pool.name == of.name && pool.by_load),
                })
                .collect(),
        }
    }
}

fn care(cluster: &Cluster, service: &Service) -> ServiceCare {
    let regular = service.members.iter().filter(|member| !member.backup).count();
    let roles = cluster.mode == ClusterMode::Availability;
    ServiceCare {
        checks: service.checks.clone(),
        passive: service.passive,
        // A cluster's quorum may be more than one of its services has servers.
        quorum: if roles { 0 } else { service.quorum.min(u16::try_from(regular).unwrap_or(u16::MAX)) },
    }
}
