//! Router pools (FS-12), and where probes seem to come from (FS-30).

use super::{Facts, VLAN, whole};
use crate::config::{Cluster, Pool, Router};
use crate::mistake::{Caution, Mistake};
use crate::raw::RawPool;
use crate::reader::{Element, Field, Findings};
use core::net::IpAddr;
use dataplane_flow::POOLS_MAX;
use dataplane_message::{Redirect, Spread};
use dataplane_port::VlanId;

pub(super) fn check(
    raw: Vec<(String, Option<RawPool>)>,
    routers: Option<&[Router]>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Vec<Pool>> {
    if raw.len() > POOLS_MAX {
        let mistake = Mistake::TooMany { things: "pools", count: raw.len(), most: POOLS_MAX };
        findings.error("pools", mistake);
        return None;
    }
    let pools: Vec<Option<Pool>> =
        raw.into_iter().map(|(name, raw)| pool(name, raw?, routers, facts, findings)).collect();
    for (place, pool) in pools.iter().enumerate() {
        let Some(pool) = pool else { continue };
        let same =
            |other: &&Pool| other.vlan == pool.vlan && other.address.is_ipv6() == pool.address.is_ipv6();
        if let Some(other) = pools[..place].iter().flatten().find(same) {
            let mistake = Mistake::TwoPools {
                other: other.name.clone(),
                vlan: pool.vlan.0,
                family: family(pool.address),
            };
            findings.error(format!("pools.{}", pool.name), mistake);
        }
    }
    whole(pools)
}

fn pool(
    name: String,
    raw: RawPool,
    routers: Option<&[Router]>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Pool> {
    let path = format!("pools.{name}");
    let before = findings.errors.len();
    let vlan = raw.vlan.or(VLAN).map(VlanId);
    let address = raw.address.given().copied();
    let list = match raw.routers {
        Field::Broken => None,
        Field::Missing => Some(Vec::new()),
        Field::Given(list) => Some(list),
    };
    if list.as_ref().is_some_and(Vec::is_empty) {
        findings.error(format!("{path}.routers"), Mistake::NoRouters);
    }
    let mut places = Vec::new();
    for Element { path, value } in list.iter().flatten() {
        let place = match facts.routers.find(value, "router", "routers") {
            Ok(place) => place,
            Err(mistake) => {
                findings.error(path.as_str(), mistake);
                continue;
            }
        };
        if places.contains(&place) {
            findings.error(path.as_str(), Mistake::Twice { value: format!("router {value}") });
            continue;
        }
        places.push(place);
        // A router that is itself wrong is known by its name alone.
        let Some(router) = routers.and_then(|routers| routers.get(place)) else { continue };
        if vlan.is_some_and(|vlan| vlan != router.vlan) {
            let mistake = Mistake::RouterElsewhere {
                router: value.clone(),
                theirs: router.vlan.0,
                vlan: vlan.map_or(0, |vlan| vlan.0),
            };
            findings.error(path.as_str(), mistake);
        } else if let Some(address) = address
            && address.is_ipv6() != router.address.is_ipv6()
        {
            let mistake = Mistake::OtherFamily {
                address: router.address.to_string(),
                is: family(router.address),
                what: format!("the pool's {address}"),
                other: family(address),
            };
            findings.error(path.as_str(), mistake);
        }
    }
    if findings.errors.len() == before && places.len() == 1 {
        findings.warning(format!("{path}.routers"), Caution::OneRouter);
    }
    if let (Some(address), Some(vlan)) = (address, vlan) {
        // The pool's address may be that of one of its routers.
        let own = routers.is_some_and(|routers| {
            let mine = |place: &&usize| routers.get(**place).is_some_and(|router| router.address == address);
            places.iter().find(mine).is_some()
        });
        if !own {
            let taken = facts.take_address(vlan, address, format!("pool {name}"));
            findings.expect(&format!("{path}.address"), taken);
        }
    }
    let (vlan, address, _) = (vlan?, address?, routers?);
    Some(Pool {
        name,
        vlan,
        address,
        routers: places,
        by_load: raw.by_load.or(true)?,
        spread: raw.spread.or(Spread::default())?,
        redirect: raw.redirect.or(Redirect::default())?,
    })
}

/// The source of probes, where it is given: of the VIP's family, and nobody's but the servers' router's.
pub(super) fn probe_addresses(
    clusters: &[Option<Cluster>],
    routers: Option<&[Router]>,
    pools: Option<&[Pool]>,
    facts: &Facts,
    findings: &mut Findings,
) {
    for cluster in clusters.iter().flatten() {
        let Some(probe) = cluster.probe_address else { continue };
        let path = format!("clusters.{}.probe_address", cluster.name);
        if probe.is_ipv6() != cluster.vip.is_ipv6() {
            let mistake = Mistake::OtherFamily {
                address: probe.to_string(),
                is: family(probe),
                what: format!("the VIP {}", cluster.vip),
                other: family(cluster.vip),
            };
            findings.error(path, mistake);
            continue;
        }
        let Some(owner) = facts.addresses.get(&(cluster.vlan, probe)) else { continue };
        let pool = pools
            .into_iter()
            .flatten()
            .find(|pool| pool.vlan == cluster.vlan && pool.address.is_ipv6() == probe.is_ipv6());
        // Without a pool nothing says which router it is.
        let gateway = match pool {
            Some(pool) => pool.address == probe,
            None => routers
                .into_iter()
                .flatten()
                .any(|router| router.vlan == cluster.vlan && router.address == probe),
        };
        if !gateway {
            let mistake = Mistake::ProbeTaken { address: probe.to_string(), owner: owner.clone() };
            findings.error(path, mistake);
        }
    }
}

/// The family's name.
fn family(address: IpAddr) -> &'static str {
    if address.is_ipv6() { "IPv6" } else { "IPv4" }
}
