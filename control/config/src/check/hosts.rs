//! Servers and routers.

use super::checks::{FALL, RISE, pace};
use super::{Facts, ServerFacts, VLAN, whole};
use crate::config::{Router, Server};
use crate::mistake::Mistake;
use crate::raw::{RawRouter, RawRouterCheck, RawServer, RouterWatch};
use crate::reader::{Field, Findings};
use control_health::RouterCheck;
use core::net::IpAddr;
use dataplane_flow::{ROUTERS_MAX, TARGETS_MAX};
use dataplane_message::{Admin, MacPlan, PortRole};
use dataplane_port::{PortId, VlanId};
use std::collections::HashMap;

pub(super) fn servers(
    raw: Vec<(String, Option<RawServer>)>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Vec<Server>> {
    if raw.len() > TARGETS_MAX {
        let mistake = Mistake::TooMany { things: "servers", count: raw.len(), most: TARGETS_MAX };
        findings.error("servers", mistake);
        return None;
    }
    let mut learning = HashMap::new();
    let mut servers = Vec::new();
    for (name, raw) in raw {
        let Some(raw) = raw else {
            facts.servers.push(&name, ServerFacts { port: None, enabled: true });
            servers.push(None);
            continue;
        };
        servers.push(server(&name, raw, &mut learning, facts, findings));
    }
    whole(servers)
}

fn server(
    name: &str,
    raw: RawServer,
    learning: &mut HashMap<usize, String>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Server> {
    let path = format!("servers.{name}");
    let port = port_of(&path, &raw.port, facts, findings);
    if let Some(port) = port
        && facts.ports.facts(port).role == Some(PortRole::Outside)
    {
        let mistake = Mistake::ServerOutside { port: facts.ports.name(port).to_owned() };
        findings.error(format!("{path}.port"), mistake);
    }
    let mac = raw.mac.or(MacPlan::Learn);
    match (mac, port) {
        (Some(MacPlan::Fixed(mac)), _) => {
            let taken = facts.take_mac(mac, format!("server {name}"));
            findings.expect(&format!("{path}.mac"), taken);
        }
        (Some(MacPlan::Learn), Some(port)) => match learning.get(&port) {
            Some(other) => {
                let port = facts.ports.name(port).to_owned();
                let mistake = Mistake::TwoLearning { port, other: other.clone() };
                findings.error(format!("{path}.mac"), mistake);
            }
            None => {
                learning.insert(port, name.to_owned());
            }
        },
        _ => {}
    }
    let admin = raw.admin.or(Admin::default());
    let enabled = admin.is_none_or(|admin| admin == Admin::Enabled);
    facts.servers.push(name, ServerFacts { port, enabled });
    Some(Server {
        name: name.to_owned(),
        port: PortId(port? as u8),
        mac: mac?,
        admin: admin?,
        connections_max: raw.connections_max.or(0)?,
    })
}

pub(super) fn routers(
    raw: Vec<(String, Option<RawRouter>)>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Vec<Router>> {
    if raw.len() > ROUTERS_MAX {
        let mistake = Mistake::TooMany { things: "routers", count: raw.len(), most: ROUTERS_MAX };
        findings.error("routers", mistake);
        return None;
    }
    for (name, _) in &raw {
        facts.routers.push(name, ());
    }
    let routers = raw.into_iter().map(|(name, raw)| router(name, raw?, facts, findings)).collect();
    whole(routers)
}

fn router(name: String, raw: RawRouter, facts: &mut Facts, findings: &mut Findings) -> Option<Router> {
    let path = format!("routers.{name}");
    let port = port_of(&path, &raw.port, facts, findings);
    let vlan = raw.vlan.or(VLAN).map(VlanId);
    if let Some(port) = port {
        if facts.ports.facts(port).role == Some(PortRole::Server) {
            let mistake = Mistake::RouterInside { port: facts.ports.name(port).to_owned() };
            findings.error(format!("{path}.port"), mistake);
        }
        if let Some(vlan) = vlan {
            let carried = facts.in_vlan(port, vlan);
            findings.expect(&format!("{path}.vlan"), carried);
        }
    }
    let address = raw.address.given().copied();
    if let (Some(address), Some(vlan)) = (address, vlan) {
        let taken = facts.take_address(vlan, address, format!("router {name}"));
        findings.expect(&format!("{path}.address"), taken);
    }
    let mac = match raw.mac {
        Field::Missing => Some(None),
        Field::Broken => None,
        Field::Given(mac) => {
            // One router may have several addresses, each an entry here with the same MAC.
            let owner = facts.macs.get(&mac).filter(|owner| !owner.starts_with("router "));
            if let Some(owner) = owner {
                let mistake = Mistake::MacTaken { mac: mac.to_string(), owner: owner.clone() };
                findings.error(format!("{path}.mac"), mistake);
            } else {
                facts.macs.entry(mac).or_insert_with(|| format!("router {name}"));
            }
            Some(Some(mac))
        }
    };
    let check = match raw.check {
        Field::Broken => None,
        Field::Missing => router_check(&path, RawRouterCheck::default(), address, findings).map(Some),
        Field::Given(RouterWatch::Off) => Some(None),
        Field::Given(RouterWatch::On(raw)) => router_check(&path, raw, address, findings).map(Some),
    };
    Some(Router { name, port: PortId(port? as u8), vlan: vlan?, address: address?, mac: mac?, check: check? })
}

/// How a router is watched (FS-13): asked by ARP or ND each second unless the file says otherwise.
fn router_check(
    path: &str,
    raw: RawRouterCheck,
    address: Option<IpAddr>,
    findings: &mut Findings,
) -> Option<RouterCheck> {
    let through = match raw.through {
        Field::Missing => None,
        Field::Broken => return None,
        Field::Given(through) => Some(through),
    };
    if let (Some(through), Some(address)) = (through, address)
        && through.is_ipv6() != address.is_ipv6()
    {
        let name = |address: IpAddr| if address.is_ipv6() { "IPv6" } else { "IPv4" };
        let mistake = Mistake::OtherFamily {
            address: through.to_string(),
            is: name(through),
            what: format!("the router's {address}"),
            other: name(address),
        };
        findings.error(format!("{path}.check.through"), mistake);
    }
    let (interval_ms, timeout_ms) =
        pace(&format!("{path}.check"), &raw.interval_ms, &raw.timeout_ms, findings)?;
    Some(RouterCheck { interval_ms, timeout_ms, rise: raw.rise.or(RISE)?, fall: raw.fall.or(FALL)?, through })
}

/// The place of the port that a host names.
fn port_of(path: &str, port: &Field<String>, facts: &Facts, findings: &mut Findings) -> Option<usize> {
    match facts.port(port.given()?) {
        Ok(port) => Some(port),
        Err(mistake) => {
            findings.error(format!("{path}.port"), mistake);
            None
        }
    }
}
