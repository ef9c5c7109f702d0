//! Routers as servers see them: pools' addresses, routers that are gone, the address of probes (FS-12,
//! FS-13, FS-30).

use super::Answer;
use crate::Engine;
use crate::classify::Meta;
use crate::tables::{Station, Told};
use core::net::IpAddr;
use dataplane_flow::{Instant, TargetId};
use dataplane_port::{DropReason, PortId, PortSet, Verdict, VlanId};
use dataplane_wire::MacAddr;

impl Engine {
    /// What the switch answers when this server asks for that address; `None`: it is not the switch's to
    /// answer, or the router answers itself.
    pub(super) fn told_to(&self, vlan: VlanId, server: TargetId, about: IpAddr) -> Option<Answer> {
        let tables = &self.tables;
        let clusters = &tables.target(server)?.clusters;
        let mut clusters = clusters.iter().filter_map(|id| tables.cluster(*id)).filter(|c| c.vlan == vlan);
        let (mac, router) = match tables.pools.told(vlan, about, server) {
            Some(Told::Nothing) => return None,
            Some(Told::Mac(mac)) => (MacAddr::from_u64(mac), true),
            Some(Told::Ours) => (clusters.next()?.vmac(), true),
            None => (clusters.find(|c| c.probe == about)?.vmac(), false),
        };
        Some(Answer { mac, router, alone: true })
    }

    /// The ports of servers that what `sender` says, being at `mac`, is kept from: it is a pool's address,
    /// and they are told another MAC for it.
    pub(super) fn kept_from(&self, from: PortId, meta: &Meta, sender: Option<IpAddr>, mac: u64) -> PortSet {
        match sender {
            Some(sender) => self.tables.pools.kept_from(meta.vlan, sender, mac).without(from),
            None => PortSet::EMPTY,
        }
    }

    /// Bridges the frame, but to none of the ports `apart`, for which it is counted as dropped.
    pub(super) fn bridge_apart(
        &mut self,
        from: PortId,
        meta: &Meta,
        apart: PortSet,
        now: Instant,
    ) -> Verdict {
        if !apart.is_empty() && !meta.is_group() {
            let station = self.tables.stations.find(meta.vlan, meta.to).and_then(Station::port);
            if station.is_some_and(|port| apart.contains(port)) {
                return Verdict::Drop(DropReason::PoolSender);
            }
        }
        let verdict = self.bridge_to(from, meta, apart, now);
        match verdict {
            Verdict::Drop(DropReason::NoEgress) if !apart.is_empty() => Verdict::Drop(DropReason::PoolSender),
            Verdict::Drop(_) => verdict,
            _ => {
                if meta.is_group() {
                    let kept = self.tables.vlan(meta.vlan).ports().and(apart).len();
                    self.counters().drop(DropReason::PoolSender, kept as u64);
                }
                verdict
            }
        }
    }
}
