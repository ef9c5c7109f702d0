//! Routers and their pools (FS-12, FS-13).

use super::Core;
use crate::event::{CareEvent, Reason};
use crate::pool::Candidate;
use dataplane_flow::{ClusterId, Instant, PoolId, RouterId, TargetId};
use dataplane_message::{ClusterPlan, PoolPlan};
use dataplane_wire::{MacAddr, arp, ethernet, nd};
use std::net::IpAddr;

impl Core {
    pub(super) fn judge_router(&mut self, id: RouterId, now: Instant) {
        let Some(plan) = self.plan.routers.iter().find(|r| r.id == id) else { return };
        let Some(state) = self.routers.get(&id) else { return };
        let unplugged = self.up.is_some_and(|up| !up.contains(plan.port));
        let failing =
            state.watches.iter().filter_map(|id| self.watches.get(id)).find(|slot| !slot.watch.is_good());
        let evidence = if unplugged {
            Some((Reason::LinkDown, now))
        } else {
            failing.map(|slot| {
                let failure = slot
                    .watch
                    .failure()
                    .map_or_else(|| "it has not risen yet".to_owned(), ToString::to_string);
                (Reason::Check { check: super::judge::name(&slot.what), failure }, slot.watch.row_began())
            })
        };
        // One that rises has been good for `rise` probes already; only relapses are held longer.
        let base = failing.map_or(0, |slot| {
            u64::from(slot.watch.timing().rise) * u64::from(slot.watch.timing().interval_ms)
        });
        let urgent = !self.routers.iter().any(|(other, state)| *other != id && state.up);
        let Some(state) = self.routers.get_mut(&id) else { return };
        if state.damper.is_open() && evidence.is_some() {
            state.damper.set_base(base.clamp(200, 2000));
        }
        let turn = state.damper.handle(evidence.is_none(), urgent, now);
        state.reason = match &evidence {
            Some((reason, _)) => Some(reason.clone()),
            None if state.damper.is_held() => Some(Reason::HeldDown { ms: state.damper.left_ms(now) }),
            None => None,
        };
        let Some(up) = turn else { return };
        let were_gone: Vec<ClusterId> =
            self.clusters.keys().copied().filter(|id| self.routers_are_gone(*id, None)).collect();
        let Some(state) = self.routers.get_mut(&id) else { return };
        state.up = up;
        state.since = now;
        self.changed = true;
        let took_us = evidence.map_or(0, |(_, at)| now.since(at) / 1000);
        let reason = state.reason.clone().filter(|_| !up);
        self.events.push_back(CareEvent::Router { router: id, up, reason, took_us });
        for cluster in were_gone {
            if !self.routers_are_gone(cluster, None) {
                self.forgive_routed(cluster, now);
            }
        }
        self.judge_suspension();
        self.assign(now);
    }

    /// Looks at all pools; pushes what has changed (FS-12).
    pub(super) fn assign(&mut self, now: Instant) {
        for at in 0..self.plan.pools.len() {
            let pool = &self.plan.pools[at];
            let servers = self.pool_servers(pool);
            let routers: Vec<Candidate> = pool
                .routers
                .iter()
                .map(|id| Candidate { id: *id, up: self.routers.get(id).is_some_and(|r| r.up) })
                .collect();
            let by_load = self.settings.pools.iter().any(|p| p.id == pool.id && p.by_load);
            let id = pool.id;
            let Some(state) = self.pools.get_mut(&id) else { continue };
            for target in &servers {
                let load = self.servers.get(target).map_or(0.0, |s| s.out_rate);
                state.handle_load(*target, load);
            }
            let before: Vec<_> = state.iter().collect();
            let told = state.handle(&servers, &routers, by_load, now);
            self.changed |= !state.iter().eq(before);
            for (target, router) in told {
                self.push(id, target, router);
                self.events.push_back(CareEvent::Push { pool: id, target, router });
            }
        }
    }

    /// Servers in the pool's VLAN with an address of its family, in order.
    fn pool_servers(&self, pool: &PoolPlan) -> Vec<TargetId> {
        let mut servers: Vec<TargetId> = self
            .plan
            .clusters
            .iter()
            .filter(|c| c.vlan == pool.vlan && c.vip.is_ipv6() == pool.address.is_ipv6())
            .flat_map(|c| c.servers.iter().copied())
            .collect();
        servers.sort_unstable();
        servers.dedup();
        servers
    }

    /// Tells a server its router: a unicast ARP reply or neighbour advertisement.
    fn push(&mut self, pool: PoolId, target: TargetId, router: RouterId) {
        let Some(pool) = self.plan.pools.iter().find(|p| p.id == pool) else { return };
        let Some(server) = self.servers.get(&target) else { return };
        let Some(mac) = self.router_mac(router) else { return };
        let Some(server_mac) = server.mac else { return };
        let port = server.plan.port;
        let Some(tci) = self.tci(port, pool.vlan) else { return };
        let vip = self
            .plan
            .clusters
            .iter()
            .find(|c| {
                c.vlan == pool.vlan
                    && c.vip.is_ipv6() == pool.address.is_ipv6()
                    && c.servers.contains(&target)
            })
            .map(|c| c.vip);
        // From the router's own MAC: a switch between us and the server learns it where it is, behind us.
        let link = ethernet::Repr { src: mac, dst: server_mac, tci };
        let frame = match (pool.address, vip) {
            (IpAddr::V4(address), Some(IpAddr::V4(vip))) => {
                let reply = arp::Repr {
                    operation: arp::Operation::Reply,
                    sender_mac: mac,
                    sender_ip: address,
                    target_mac: server_mac,
                    target_ip: vip,
                };
                let mut frame = vec![0; link.frame_len(arp::PACKET_LEN)];
                reply.emit_frame(&link, &mut frame);
                frame
            }
            (IpAddr::V6(address), Some(IpAddr::V6(vip))) => {
                // R must be set: without it the server takes the address off its list of routers (RFC 4861 §7.2.5).
                let advertisement = nd::Advertisement {
                    src: address,
                    dst: vip,
                    target: address,
                    flags: nd::Flags::ROUTER.with(nd::Flags::OVERRIDE),
                    target_link_layer: mac,
                };
                let mut frame = vec![0; advertisement.frame_len(&link)];
                advertisement.emit_frame(&link, &mut frame);
                frame
            }
            _ => return,
        };
        self.frames.push_back((port, frame));
    }

    /// The MAC that probes to a server of that cluster come from (FS-30). Whoever is asked by ARP takes its asker's
    /// address and MAC into its cache: where probes come from the servers' router that must be the MAC that
    /// the server is told for it, or what it sends goes astray. `None`: that is not known yet.
    pub(super) fn probe_mac(&self, cluster: &ClusterPlan, target: TargetId) -> Option<MacAddr> {
        let is_probe = |vlan, address| vlan == cluster.vlan && address == cluster.probe;
        let pool = self.plan.pools.iter().find(|pool| is_probe(pool.vlan, pool.address));
        let router = self.plan.routers.iter().find(|router| is_probe(router.vlan, router.address));
        let routers: Vec<RouterId> = match (pool, router) {
            (Some(pool), _) => {
                // As the data path tells them: the assigned one, else the next ones in order.
                let assigned = self.pools.get(&pool.id).and_then(|p| p.iter().find(|(id, _)| *id == target));
                let at = pool.routers.iter().position(|id| Some(*id) == assigned.map(|(_, id)| id));
                let (before, behind) = pool.routers.split_at(at.unwrap_or(0));
                behind.iter().chain(before).copied().collect()
            }
            (None, Some(router)) => vec![router.id],
            (None, None) => return Some(cluster.vmac),
        };
        let is_up = |id: &RouterId| self.routers.get(id).is_some_and(|state| state.up);
        let mac = |id: RouterId| self.router_mac(id);
        let known = routers.iter().copied().filter(is_up).find_map(mac);
        if let Some(mac) = known.or_else(|| routers.iter().copied().find_map(mac)) {
            return Some(mac);
        }
        // The switch itself answers for routers that are gone; others will show their MAC when they are asked.
        let awaited = |id: &RouterId| self.routers.get(id).is_some_and(|r| r.up && !r.watches.is_empty());
        (!routers.iter().any(awaited)).then_some(cluster.vmac)
    }

    pub(super) fn router_mac(&self, id: RouterId) -> Option<MacAddr> {
        let plan = self.plan.routers.iter().find(|r| r.id == id)?;
        plan.mac.or_else(|| self.routers.get(&id)?.mac)
    }
}
