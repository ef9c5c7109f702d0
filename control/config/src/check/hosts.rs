//! Servers and routers.

use super::{Facts, ServerFacts, VLAN, whole};
use crate::config::Server;
use crate::mistake::Mistake;
use crate::raw::{RawRouter, RawServer};
use crate::reader::{Field, Findings};
use dataplane_flow::RouterId;
use dataplane_flow::TARGETS_MAX;
use dataplane_message::{Admin, MacPlan, PortRole, RouterPlan};
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
    Some(Server { name: name.to_owned(), port: PortId(port? as u8), mac: mac?, admin: admin? })
}

pub(super) fn routers(
    raw: Vec<(String, Option<RawRouter>)>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Vec<RouterPlan>> {
    let routers = raw.into_iter().map(|(name, raw)| router(name, raw?, facts, findings)).collect();
    whole(routers)
}

fn router(name: String, raw: RawRouter, facts: &mut Facts, findings: &mut Findings) -> Option<RouterPlan> {
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
    // Numbered where the plan is made.
    Some(RouterPlan {
        id: RouterId(0),
        name,
        port: PortId(port? as u8),
        vlan: vlan?,
        address: address?,
        mac: mac?,
    })
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
