//! Routers and their pools: who stands in for whom, and which of them each server is told (FS-12, FS-13).

use super::build::Inputs;
use super::{TargetTable, address_words};
use core::net::IpAddr;
use dataplane_flow::{PoolId, ROUTERS_MAX, RouterId, TargetId, fold};
use dataplane_message::{Plan, PoolPlan, PortRole, Redirect, RouterPlan, Spread};
use dataplane_port::{PortId, PortSet, VlanId};
use dataplane_wire::MacAddr;
use std::collections::{HashMap, HashSet};

/// A router, by one of its addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouterTable {
    /// It exists.
    pub exists: bool,
    /// It forwards, as far as is known: its condition is up (absent: up), its port is up, its MAC is known.
    pub alive: bool,
    /// Nothing says that it is gone; its MAC may still be unknown.
    presumed: bool,
    /// The port it is behind.
    pub port: PortId,
    /// Its VLAN.
    pub vlan: VlanId,
    /// Its MAC as a number; 0 while unknown.
    pub mac: u64,
    /// What becomes of packets that servers send to its MAC: IPv4, IPv6.
    pub(crate) hops: [Hop; 2],
    /// All addresses of the device that has its MAC, as (IPv6, words).
    own: Box<[(bool, [u64; 2])]>,
}

/// What becomes of a server's packet that is sent to a router's MAC.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hop {
    /// The device's router of this family, which is counted.
    pub(crate) router: RouterId,
    pub(crate) way: HopWay,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HopWay {
    /// It goes there.
    Straight,
    /// The router is down: to another one.
    Other(RouterId, Redirect),
    /// To the router of its flow, in the pool with this place.
    ByFlow(u16),
}

impl RouterTable {
    fn missing() -> Self {
        let hop = Hop { router: RouterId(0), way: HopWay::Straight };
        Self {
            exists: false,
            alive: false,
            presumed: false,
            port: PortId(0),
            vlan: VlanId(0),
            mac: 0,
            hops: [hop; 2],
            own: Box::default(),
        }
    }

    /// Whether the packet's destination is the router itself.
    pub(crate) fn owns(&self, v6: bool, destination: [u64; 2]) -> bool {
        self.own.contains(&(v6, destination))
    }
}

/// A pool.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PoolTable {
    /// Those whose MAC is known, in the configured order.
    routers: Box<[RouterId]>,
    live: Box<[RouterId]>,
    pub(crate) redirect: Redirect,
    /// Nothing says of any of its routers that it is there.
    gone: bool,
    /// The MAC that each server is told; 0: none.
    told: Box<[u64]>,
    /// The ports of the servers that are told this MAC.
    ports: Box<[(u64, PortSet)]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Gateway {
    Pool(u16),
    Router(RouterId),
}

/// What a server that asks for a router's or a pool's address gets to hear.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// This MAC.
    Mac(u64),
    /// Ours: no router can answer, and nobody's MAC is known (FS-30).
    Ours,
    /// Nothing from us: the router answers itself.
    Nothing,
}

/// All routers and pools.
#[derive(PartialEq, Eq, Debug)]
pub struct Pools {
    routers: Box<[RouterTable]>,
    pools: Box<[PoolTable]>,
    /// In order, so that they are found by halving.
    gateways: Box<[((VlanId, IpAddr), Gateway)]>,
    /// Per VLAN and family, a live router for what servers send to our MAC, which they were told while
    /// there was none.
    strays: Box<[((VlanId, bool), RouterId)]>,
}

impl Pools {
    pub(super) fn build(inputs: &Inputs<'_>, targets: &[TargetTable]) -> Self {
        let plan = inputs.plan;
        let mut routers = routers(inputs);
        let served = Served::of(inputs);
        let pools: Box<[PoolTable]> =
            plan.pools.iter().map(|pool| PoolTable::build(pool, &routers, targets, &served)).collect();
        let hops: Vec<[Hop; 2]> = (0..routers.len() as u16)
            .map(|id| [false, true].map(|v6| hop(plan, &routers, &pools, RouterId(id), v6)))
            .collect();
        for (router, hops) in routers.iter_mut().zip(hops) {
            router.hops = hops;
        }
        let mut gateways: Vec<((VlanId, IpAddr), Gateway)> = Vec::new();
        for (place, pool) in plan.pools.iter().enumerate() {
            gateways.push(((pool.vlan, pool.address), Gateway::Pool(place as u16)));
        }
        for router in plan.routers.iter().filter(|r| usize::from(r.id.0) < ROUTERS_MAX) {
            gateways.push(((router.vlan, router.address), Gateway::Router(router.id)));
        }
        // Stable: a router whose own address is the pool's is found as the pool.
        gateways.sort_by_key(|(key, _)| *key);
        gateways.dedup_by_key(|(key, _)| *key);
        let mut strays: Vec<((VlanId, bool), RouterId)> = Vec::new();
        for (plan, pool) in plan.pools.iter().zip(&pools) {
            let key = (plan.vlan, plan.address.is_ipv6());
            if let Some(live) = pool.live.first().filter(|_| !strays.iter().any(|(k, _)| *k == key)) {
                strays.push((key, *live));
            }
        }
        // Without a pool the switch answered for a router that nobody had seen, and here it is.
        for router in &plan.routers {
            let key = (router.vlan, router.address.is_ipv6());
            let alive = routers.get(usize::from(router.id.0)).is_some_and(|r| r.alive);
            if alive && !strays.iter().any(|(k, _)| *k == key) {
                strays.push((key, router.id));
            }
        }
        Self { routers, pools, gateways: gateways.into(), strays: strays.into() }
    }

    /// A router that exists.
    #[inline(always)]
    pub fn router(&self, id: RouterId) -> Option<&RouterTable> {
        self.routers.get(usize::from(id.0)).filter(|r| r.exists)
    }

    /// All places; those of missing numbers do not exist.
    pub fn routers(&self) -> impl Iterator<Item = (RouterId, &RouterTable)> {
        (0..).map(RouterId).zip(self.routers.iter()).filter(|(_, r)| r.exists)
    }

    /// Whether this is the address of a router, or of a pool: only routers may claim it (A3).
    pub(crate) fn is_gateway(&self, vlan: VlanId, address: IpAddr) -> bool {
        self.gateway(vlan, address).is_some()
    }

    fn gateway(&self, vlan: VlanId, address: IpAddr) -> Option<Gateway> {
        let place = self.gateways.binary_search_by_key(&(vlan, address), |(key, _)| *key).ok()?;
        self.gateways.get(place).map(|(_, gateway)| *gateway)
    }

    /// What a server that asks for this address is told; `None` when it is neither a router's nor a pool's.
    pub(crate) fn told(&self, vlan: VlanId, address: IpAddr, server: TargetId) -> Option<Told> {
        Some(match self.gateway(vlan, address)? {
            Gateway::Pool(place) => {
                let pool = self.pools.get(usize::from(place))?;
                match pool.told.get(server.index()).copied().unwrap_or(0) {
                    0 if pool.gone => Told::Ours,
                    0 => Told::Nothing,
                    mac => Told::Mac(mac),
                }
            }
            Gateway::Router(id) => {
                let router = self.router(id)?;
                let stands_in = match router.hops[usize::from(address.is_ipv6())].way {
                    HopWay::Other(other, _) => self.router(other).map_or(0, |r| r.mac),
                    HopWay::ByFlow(pool) => {
                        let pool = self.pools.get(usize::from(pool));
                        let live = pool.and_then(|p| p.live.first()).and_then(|id| self.router(*id));
                        live.map_or(0, |r| r.mac)
                    }
                    HopWay::Straight => 0,
                };
                match (stands_in, router.mac) {
                    // It is there, or may be: at start nothing is known yet.
                    _ if router.alive || router.presumed && router.mac == 0 => Told::Nothing,
                    (0, 0) => Told::Ours,
                    (0, mac) | (mac, _) => Told::Mac(mac),
                }
            }
        })
    }

    /// The ports of servers that are told another MAC for this pool's address than `mac`.
    pub(crate) fn kept_from(&self, vlan: VlanId, address: IpAddr, mac: u64) -> PortSet {
        let Some(Gateway::Pool(place)) = self.gateway(vlan, address) else { return PortSet::EMPTY };
        let ports = self.pools.get(usize::from(place)).map_or(&[][..], |pool| &pool.ports);
        ports.iter().filter(|(told, _)| *told != mac).fold(PortSet::EMPTY, |all, (_, of)| all.or(*of))
    }

    /// Whether that server is told another MAC for this pool's address than `mac`.
    pub(crate) fn keeps(&self, vlan: VlanId, address: IpAddr, mac: u64, server: TargetId) -> bool {
        let Some(Gateway::Pool(place)) = self.gateway(vlan, address) else { return false };
        let told = self.pools.get(usize::from(place)).and_then(|pool| pool.told.get(server.index()));
        told.is_some_and(|told| *told != 0 && *told != mac)
    }

    /// A live router for a packet that was sent to our own MAC.
    pub(crate) fn stray(&self, vlan: VlanId, v6: bool) -> Option<&RouterTable> {
        let (_, id) = self.strays.iter().find(|(key, _)| *key == (vlan, v6))?;
        self.router(*id)
    }

    /// The router of a flow: the one its hash falls on; while that is down, another hash falls on the live
    /// ones, so that only its flows move. (the flow's, the one that takes its place now)
    pub(crate) fn by_flow(&self, place: u16, hash: u64) -> Option<(RouterId, RouterId)> {
        let pool = self.pools.get(usize::from(place))?;
        let pick = |of: &[RouterId], salt: u64| {
            let high = fold(hash ^ salt, 0x9e37_79b9_7f4a_7c15) >> 32;
            of.get(((high * of.len() as u64) >> 32) as usize).copied()
        };
        let own = pick(&pool.routers, 0x5851_f42d_4c95_7f2d)?;
        if self.router(own).is_some_and(|r| r.alive) {
            return Some((own, own));
        }
        Some((own, pick(&pool.live, 0x1405_7b7e_f767_814f).unwrap_or(own)))
    }

    /// What a pool redirects.
    pub(crate) fn redirects(&self, place: u16) -> Redirect {
        self.pools.get(usize::from(place)).map_or(Redirect::All, |pool| pool.redirect)
    }
}

fn routers(inputs: &Inputs<'_>) -> Box<[RouterTable]> {
    let plan = inputs.plan;
    let known = plan.routers.iter().filter(|r| usize::from(r.id.0) < ROUTERS_MAX);
    let conditions: HashMap<RouterId, _> = inputs.conditions.routers.iter().map(|c| (c.id, c)).collect();
    let condition = |id: RouterId| conditions.get(&id);
    let macs: HashMap<RouterId, u64> = known
        .clone()
        .map(|r| (r.id, r.mac.or_else(|| condition(r.id)?.mac).map_or(0, MacAddr::to_u64)))
        .collect();
    let mac_of = |id: RouterId| macs.get(&id).copied().unwrap_or(0);
    // FS-5: a router is pinned to the outside as a whole; within it, it is where it was seen last.
    let outside: PortSet = plan.ports.iter().filter(|p| p.role == PortRole::Outside).map(|p| p.id).collect();
    let mut seen: HashMap<(VlanId, u64), Option<PortId>> =
        known.clone().map(|r| ((r.vlan, mac_of(r.id)), None)).collect();
    for (vlan, mac, port) in inputs.learned {
        if let Some(place) = seen.get_mut(&(*vlan, mac.to_u64())).filter(|_| outside.contains(*port)) {
            *place = Some(*port);
        }
    }
    let count = known.clone().map(|r| usize::from(r.id.0) + 1).max().unwrap_or(0);
    let mut tables = vec![RouterTable::missing(); count];
    for router in known.clone() {
        let mac = mac_of(router.id);
        let port = seen.get(&(router.vlan, mac)).copied().flatten().unwrap_or(router.port);
        let presumed = condition(router.id).is_none_or(|c| c.up) && inputs.up.contains(port);
        let same = |other: &&RouterPlan| {
            other.id == router.id || mac != 0 && other.vlan == router.vlan && mac_of(other.id) == mac
        };
        tables[usize::from(router.id.0)] = RouterTable {
            exists: true,
            alive: presumed && mac != 0,
            presumed,
            port,
            vlan: router.vlan,
            mac,
            own: known
                .clone()
                .filter(same)
                .map(|r| (r.address.is_ipv6(), address_words(r.address)))
                .collect(),
            ..RouterTable::missing()
        };
    }
    tables.into()
}

/// Who is told something.
struct Served {
    /// The servers of each VLAN in the plan's order, and their ports.
    servers: HashMap<VlanId, Vec<(TargetId, PortId)>>,
    assigned: HashMap<(PoolId, TargetId), RouterId>,
}

impl Served {
    fn of(inputs: &Inputs<'_>) -> Self {
        let plan = inputs.plan;
        let serves: HashSet<(VlanId, TargetId)> =
            plan.clusters.iter().flat_map(|c| c.servers.iter().map(|id| (c.vlan, *id))).collect();
        let vlans: HashSet<VlanId> = plan.pools.iter().map(|pool| pool.vlan).collect();
        let servers = |vlan: VlanId| {
            let served = plan.targets.iter().filter(|t| serves.contains(&(vlan, t.id)));
            (vlan, served.map(|t| (t.id, t.port)).collect())
        };
        let assigned = inputs.conditions.assignments.iter().map(|a| ((a.pool, a.target), a.router)).collect();
        Self { servers: vlans.into_iter().map(servers).collect(), assigned }
    }
}

impl PoolTable {
    fn build(plan: &PoolPlan, routers: &[RouterTable], targets: &[TargetTable], served: &Served) -> Self {
        let of = |id: &RouterId| routers.get(usize::from(id.0)).filter(|r| r.exists && r.vlan == plan.vlan);
        let members: Vec<RouterId> = plan.routers.iter().copied().filter(|id| of(id).is_some()).collect();
        let known: Vec<RouterId> =
            members.iter().copied().filter(|id| of(id).is_some_and(|r| r.mac != 0)).collect();
        let live: Vec<RouterId> =
            known.iter().copied().filter(|id| of(id).is_some_and(|r| r.alive)).collect();
        let mac = |id: RouterId| of(&id).map_or(0, |r| r.mac);
        let mut told = vec![0; targets.len()];
        let mut ports: Vec<(u64, PortSet)> = Vec::new();
        let servers = served.servers.get(&plan.vlan).map_or(&[][..], Vec::as_slice);
        // By place among the servers of this VLAN, not by number: evenly, whatever the numbers are.
        for (place, (server, port)) in servers.iter().enumerate() {
            let assigned = served.assigned.get(&(plan.id, *server)).copied();
            let assigned = assigned.filter(|router| members.contains(router));
            let turn = |of: &[RouterId]| of.get(place.checked_rem(of.len())?).copied();
            let Some(assigned) = assigned.or_else(|| turn(&live)).or_else(|| turn(&known)) else { continue };
            let alive = live.contains(&assigned);
            let now = if alive { assigned } else { next(&members, &live, assigned).unwrap_or(assigned) };
            let mac = match mac(now) {
                0 => known.first().map_or(0, |first| mac(*first)),
                mac => mac,
            };
            let Some(cell) = told.get_mut(server.index()).filter(|_| mac != 0) else { continue };
            *cell = mac;
            match ports.iter_mut().find(|(of, _)| *of == mac) {
                Some((_, ports)) => *ports = ports.with(*port),
                None => ports.push((mac, PortSet::EMPTY.with(*port))),
            }
        }
        Self {
            gone: members.iter().all(|id| of(id).is_none_or(|r| !r.presumed)),
            routers: known.into(),
            live: live.into(),
            redirect: plan.redirect,
            told: told.into(),
            ports: ports.into(),
        }
    }
}

/// The live one that comes next in the pool's order.
fn next(order: &[RouterId], live: &[RouterId], after: RouterId) -> Option<RouterId> {
    let at = order.iter().position(|id| *id == after)?;
    let (before, behind) = order.split_at(at);
    behind.iter().chain(before).copied().find(|id| *id != after && live.contains(id))
}

fn hop(plan: &Plan, routers: &[RouterTable], pools: &[PoolTable], id: RouterId, v6: bool) -> Hop {
    let straight = Hop { router: id, way: HopWay::Straight };
    let table = |id: RouterId| routers.get(usize::from(id.0)).filter(|r| r.exists);
    let Some(router) = table(id) else { return straight };
    // A device has a router for each of its addresses.
    let device = |other: RouterId| {
        let same = |r: &RouterTable| r.mac != 0 && r.mac == router.mac && r.vlan == router.vlan;
        other == id || table(other).is_some_and(same)
    };
    let of_family = plan.routers.iter().find(|r| r.address.is_ipv6() == v6 && device(r.id));
    let id = of_family.map_or(id, |r| r.id);
    let straight = Hop { router: id, way: HopWay::Straight };
    let fits = |pool: &PoolPlan| pool.vlan == router.vlan && pool.address.is_ipv6() == v6;
    let found = plan.pools.iter().zip(pools).enumerate().filter(|(_, (plan, _))| fits(plan)).find_map(
        |(place, (plan, pool))| {
            let member = plan.routers.iter().copied().find(|id| device(*id))?;
            Some((place, plan, pool, member))
        },
    );
    let Some((place, plan, pool, member)) = found else { return straight };
    let alive = table(id).is_some_and(|r| r.alive);
    let way = match plan.spread {
        Spread::Flow if !(pool.routers[..] == [member] && alive) => HopWay::ByFlow(place as u16),
        _ if alive => HopWay::Straight,
        _ => next(&plan.routers, &pool.live, member)
            .map_or(HopWay::Straight, |other| HopWay::Other(other, plan.redirect)),
    };
    Hop { router: id, way }
}
