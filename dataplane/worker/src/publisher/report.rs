//! What is told to control every second.

use super::Publisher;
use dataplane_engine::{Counters, RouterCounters, SERVICES_COUNTED};
use dataplane_flow::{Instant, RouterId, TargetId};
use dataplane_message::{
    BridgeRow, ClusterCounts, MacPlan, PortReport, Report, RouterReport, ServiceCounts, TargetCounts,
    TargetPlan, TargetReport, WorkerReport,
};
use dataplane_port::{DropReason, PortId};
use dataplane_wire::MacAddr;

const BRIDGE_ROWS: usize = 1024;

impl Publisher {
    pub(super) fn report(&self, now: Instant) -> Report {
        let sum = |of: &dyn Fn(&Counters) -> u64| self.counters.iter().map(of).sum::<u64>();
        Report {
            uptime_ms: now.since(self.started) / 1_000_000,
            ports: (0..self.ports.len() as u8).map(PortId).map(|id| self.port(id)).collect(),
            targets: self.plan.targets.iter().map(|target| self.target(target)).collect(),
            clusters: self
                .plan
                .clusters
                .iter()
                .map(|cluster| ClusterCounts {
                    id: cluster.id,
                    flows_new: sum(&|c| c.cluster(cluster.id).flows_new.read()),
                    flows_server: sum(&|c| c.cluster(cluster.id).flows_server.read()),
                    hashed: sum(&|c| c.cluster(cluster.id).hashed.read()),
                    answered: sum(&|c| c.cluster(cluster.id).answered.read()),
                    services: (0..cluster.services.len().min(SERVICES_COUNTED))
                        .map(|i| ServiceCounts {
                            flows_new: sum(&|c| c.cluster(cluster.id).services[i].read()),
                        })
                        .collect(),
                })
                .collect(),
            members: self.member_reports(),
            serial: self.conditions.serial,
            orders: self.conditions.orders.clone(),
            routers: self.plan.routers.iter().map(|router| self.router(router.id)).collect(),
            workers: self.counters.iter().enumerate().map(|(id, c)| worker(id as u8, c)).collect(),
            drops: DropReason::ALL
                .iter()
                .map(|reason| (reason.name().to_owned(), sum(&|c| c.dropped(*reason))))
                .chain([("inject-full".to_owned(), self.inject_lost)])
                .filter(|(_, frames)| *frames > 0)
                .collect(),
            alarms: self.alarms.list(),
            bridge: self.bridge_rows(),
        }
    }

    fn port(&self, id: PortId) -> PortReport {
        let port = &self.ports[id.index()];
        PortReport {
            id,
            up: port.state.attached && port.state.up,
            attached: port.state.attached,
            device: port.state.device.clone(),
            note: port.state.note.clone(),
            mac: port.state.mac,
            counts: port.counts,
            neighbour: port.neighbour.clone(),
        }
    }

    fn target(&self, plan: &TargetPlan) -> TargetReport {
        let sum = |of: &dyn Fn(&Counters) -> u64| self.counters.iter().map(of).sum::<u64>();
        let id = plan.id;
        TargetReport {
            id,
            mac: match plan.mac {
                MacPlan::Fixed(mac) => Some(mac),
                MacPlan::Learn => self.server_macs.get(&id).copied(),
            },
            contender: self.contenders.get(&id).copied(),
            up: self.tables.target(id).is_some_and(|t| t.alive),
            counts: TargetCounts {
                in_frames: sum(&|c| c.target(id).in_frames.read()),
                in_bytes: sum(&|c| c.target(id).in_bytes.read()),
                out_frames: sum(&|c| c.target(id).out_frames.read()),
                out_bytes: sum(&|c| c.target(id).out_bytes.read()),
                flows_new: sum(&|c| c.target(id).flows_new.read()),
                flows_open: sum(&|c| c.target(id).flows_open.read()),
                resets: sum(&|c| c.target(id).resets.read()),
            },
        }
    }

    fn router(&self, id: RouterId) -> RouterReport {
        let sum = |of: &dyn Fn(&RouterCounters) -> u64| {
            self.counters.iter().map(|counters| of(counters.router(id))).sum::<u64>()
        };
        let table = self.tables.pools.router(id);
        RouterReport {
            id,
            mac: table.filter(|r| r.mac != 0).map(|r| MacAddr::from_u64(r.mac)),
            up: table.is_some_and(|r| r.alive),
            in_frames: sum(&|c| c.in_frames.read()),
            in_bytes: sum(&|c| c.in_bytes.read()),
            out_frames: sum(&|c| c.out_frames.read()),
            out_bytes: sum(&|c| c.out_bytes.read()),
            redirected: sum(&|c| c.redirected.read()),
        }
    }

    /// What is pinned, then what is learned.
    fn bridge_rows(&self) -> Vec<BridgeRow> {
        let mut rows: Vec<BridgeRow> = Vec::new();
        for cluster in &self.plan.clusters {
            for target in cluster
                .servers
                .iter()
                .filter_map(|id: &TargetId| self.plan.targets.iter().find(|t| t.id == *id))
            {
                if let Some(mac) = self.target(target).mac {
                    let row = BridgeRow { vlan: cluster.vlan, mac, port: target.port, pinned: true };
                    if !rows.contains(&row) {
                        rows.push(row);
                    }
                }
            }
        }
        for (_, router) in self.tables.pools.routers().filter(|(_, r)| r.mac != 0) {
            let mac = MacAddr::from_u64(router.mac);
            let row = BridgeRow { vlan: router.vlan, mac, port: router.port, pinned: true };
            if !rows.contains(&row) {
                rows.push(row);
            }
        }
        // A router is followed within the outside, and seen for that.
        let learned = self.bridge.rows(BRIDGE_ROWS);
        let pinned = rows.len();
        for row in learned.into_iter().take(BRIDGE_ROWS.saturating_sub(pinned)) {
            if !rows[..pinned].iter().any(|p| (p.vlan, p.mac) == (row.vlan, row.mac)) {
                rows.push(row);
            }
        }
        rows
    }
}

fn worker(id: u8, counters: &Counters) -> WorkerReport {
    WorkerReport {
        id,
        frames: counters.frames.read(),
        bursts: counters.bursts.read(),
        idle: counters.idle.read(),
        handed: counters.handed.read(),
        flows: counters.flows.read(),
        flows_max: counters.flows_max.read(),
        evicted: counters.evicted.read(),
        held: counters.held.read(),
        epoch: counters.epoch.read(),
    }
}
