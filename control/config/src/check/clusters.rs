//! Clusters and their services.

use super::checks::{Checks, DEAD_AFTER_MS};
use super::{Facts, VLAN};
use crate::config::{Affinity, Cluster, Group, Member, Service};
use crate::mistake::{Caution, Mistake};
use crate::raw::{AffinityFields, RawAffinity, RawCluster, RawMember, RawService};
use crate::reader::{Element, Field, Findings};
use control_probe::Check;
use core::ops::RangeInclusive;
use dataplane_flow::CLUSTERS_MAX;
use dataplane_message::{Chooser, ClusterMode, DeadFlows, Fail, UdpMode, vmac};
use dataplane_port::VlanId;

/// Seconds between announcements of a VIP (FS-2).
const ANNOUNCE_INTERVAL_S: u16 = 60;

/// The name of the service that the others leave over.
const DEFAULT: &str = "default";

/// All ports, and protocols without ports.
const ALL_PORTS: RangeInclusive<u16> = 0..=u16::MAX;

/// The protocols that have ports.
const WITH_PORTS: [u8; 3] = [6, UDP, 132];
const UDP: u8 = 17;

/// The most services of a cluster.
const SERVICES_MAX: usize = 256;

pub(super) fn check(
    raw: Vec<(String, Option<RawCluster>)>,
    facts: &mut Facts,
    findings: &mut Findings,
) -> Option<Vec<Option<Cluster>>> {
    if raw.len() > CLUSTERS_MAX {
        let mistake = Mistake::TooMany { things: "clusters", count: raw.len(), most: CLUSTERS_MAX };
        findings.error("clusters", mistake);
        return None;
    }
    Some(raw.into_iter().map(|(name, raw)| cluster(name, raw?, facts, findings)).collect())
}

fn cluster(name: String, raw: RawCluster, facts: &mut Facts, findings: &mut Findings) -> Option<Cluster> {
    let path = format!("clusters.{name}");
    let mode = raw.mode.clone().or(ClusterMode::default());
    if mode == Some(ClusterMode::Availability) {
        roles_decide(&path, &raw, findings);
    }
    let vip = raw.vip.given().copied();
    let vlan = raw.vlan.or(VLAN).map(VlanId);
    let derived = raw.vmac.is_missing();
    let vmac = match raw.vmac {
        Field::Missing => vip.zip(vlan).map(|(vip, vlan)| vmac(vlan, vip)),
        Field::Broken => None,
        Field::Given(mac) => Some(mac),
    };
    let mut alone = true;
    if let (Some(vip), Some(vlan)) = (vip, vlan) {
        let taken = facts.take_address(vlan, vip, format!("cluster {name}"));
        alone = findings.expect(&format!("{path}.vip"), taken);
    }
    // Where two clusters have one VIP, equal derived VMACs are no second mistake.
    if let Some(vmac) = vmac
        && (alone || !derived)
    {
        let taken = facts.take_mac(vmac, format!("cluster {name} as its VMAC"));
        findings.expect(&format!("{path}.vmac"), taken);
    }
    let members = servers(&path, &name, &raw.servers, vlan, facts, findings);
    if let Some(members) = &members {
        backups(&path, members, &raw.quorum, findings);
    }
    let dead_after_ms = raw.dead_after_ms.clone().or(DEAD_AFTER_MS);
    let mut checks = Checks::new(dead_after_ms);
    let own_checks = checks.cluster(&path, &raw.checks, findings);
    let affinity = affinity(&raw.affinity, None);
    let chooser = raw.chooser.or(Chooser::default());
    let mut services: Vec<Option<Service>> = Vec::new();
    if raw.services.len() > SERVICES_MAX {
        let mistake = Mistake::TooMany { things: "services", count: raw.services.len(), most: SERVICES_MAX };
        findings.error(format!("{path}.services"), mistake);
    }
    let whole_cluster = Outer {
        name: &name,
        members: members.as_deref(),
        chooser,
        affinity: affinity.as_ref().map(Option::as_ref),
        passive: raw.passive.clone().or(true),
        quorum: raw.quorum.clone().or(0),
        facts,
    };
    let mut names: Vec<String> = Vec::new();
    for element in raw.services {
        if let Some(name) = element.value.name.given() {
            if name == DEFAULT || names.contains(name) {
                let mistake = Mistake::ServiceName { name: name.clone() };
                findings.error(format!("{}.name", element.path), mistake);
            }
            names.push(name.clone());
        }
        let Element { path, value } = element;
        let service = service(&path, value, &whole_cluster, &mut checks, findings);
        if let Some(service) = &service {
            overlaps(&path, service, services.iter().flatten(), findings);
            group(&path, service, services.iter().flatten(), findings);
        }
        services.push(service);
    }
    let default = whole_cluster.default();
    if let Some(default) = &default {
        group(&path, default, services.iter().flatten(), findings);
        weights(&format!("{path}.servers"), &default.members, findings);
    }
    services.push(default);
    Some(Cluster {
        name: name.clone(),
        vlan: vlan?,
        vip: vip?,
        vmac: vmac?,
        mode: mode?,
        fail: raw.fail.or(Fail::default())?,
        withdraw: raw.withdraw.or(false)?,
        timeouts: raw.timeouts,
        udp: raw.udp.or(UdpMode::default())?,
        announce_interval_s: raw.announce_interval_s.or(ANNOUNCE_INTERVAL_S)?,
        dead_after_ms: dead_after_ms?,
        dead_tcp: raw.dead_tcp.or(DeadFlows::Reset)?,
        dead_other: raw.dead_other.or(DeadFlows::Move)?,
        slow_start_ms: u32::from(raw.slow_start_s.or(0)?) * 1000,
        probe_address: match raw.probe_address {
            Field::Missing => None,
            Field::Broken => return None,
            Field::Given(address) => Some(address),
        },
        checks: own_checks?,
        servers: members?.into_iter().map(|member| member.server).collect(),
        services: super::whole(services)?,
    })
}

/// What an availability cluster has no use for (FS-14).
fn roles_decide(path: &str, raw: &RawCluster, findings: &mut Findings) {
    let mut warn = |path: String, written: bool| {
        if written {
            findings.warning(path, Caution::RolesDecide);
        }
    };
    let mut level = |path: &str, chooser: bool, quorum: bool, servers: &Field<Vec<Element<RawMember>>>| {
        warn(format!("{path}.chooser"), chooser);
        warn(format!("{path}.quorum"), quorum);
        for Element { path, value } in servers.given().into_iter().flatten() {
            warn(format!("{path}.weight"), !value.weight.is_missing());
            warn(format!("{path}.backup"), value.backup == Field::Given(true));
        }
    };
    level(path, !raw.chooser.is_missing(), !raw.quorum.is_missing(), &raw.servers);
    for Element { path, value } in &raw.services {
        level(path, !value.chooser.is_missing(), !value.quorum.is_missing(), &value.servers);
    }
}

/// Backups and the quorum that calls for them (FS-34).
fn backups(path: &str, members: &[Member], quorum: &Field<u16>, findings: &mut Findings) {
    let regular = members.iter().filter(|member| !member.backup).count();
    if regular == 0 {
        findings.error(format!("{path}.servers"), Mistake::AllBackups);
        return;
    }
    let Some(quorum) = quorum.given().copied().filter(|quorum| *quorum > 0) else { return };
    if usize::from(quorum) > regular {
        findings.error(format!("{path}.quorum"), Mistake::QuorumTooLarge { quorum, servers: regular });
    } else if regular == members.len() {
        findings.warning(format!("{path}.quorum"), Caution::NoBackups);
    }
}

/// What a service takes from its cluster.
struct Outer<'a> {
    name: &'a str,
    members: Option<&'a [Member]>,
    chooser: Option<Chooser>,
    affinity: Option<Option<&'a AffinityFields>>,
    passive: Option<bool>,
    quorum: Option<u16>,
    facts: &'a Facts,
}

impl Outer<'_> {
    fn default(&self) -> Option<Service> {
        Some(Service {
            name: DEFAULT.to_owned(),
            protocol: None,
            ports: ALL_PORTS,
            chooser: self.chooser?,
            affinity: bound(self.affinity?, DEFAULT),
            quic: false,
            members: self.members?.to_vec(),
            passive: self.passive?,
            quorum: self.quorum?,
            checks: Vec::new(),
        })
    }
}

/// The cluster's servers; `None` when one of them is wrong.
fn servers(
    path: &str,
    name: &str,
    list: &Field<Vec<Element<RawMember>>>,
    vlan: Option<VlanId>,
    facts: &Facts,
    findings: &mut Findings,
) -> Option<Vec<Member>> {
    let list = match list {
        Field::Broken => return None,
        Field::Missing => &Vec::new(),
        Field::Given(list) => list,
    };
    if list.is_empty() {
        findings.error(format!("{path}.servers"), Mistake::NoServers);
        return None;
    }
    let before = findings.errors.len();
    let mut members: Vec<Member> = Vec::new();
    for Element { path, value } in list {
        let server = match facts.servers.find(&value.name, "server", "servers") {
            Ok(server) => server,
            Err(mistake) => {
                findings.error(path.as_str(), mistake);
                continue;
            }
        };
        if members.iter().any(|other| other.server == server) {
            findings.error(path.as_str(), Mistake::Twice { value: format!("server {}", value.name) });
            continue;
        }
        if let Some(port) = facts.servers.facts(server).port {
            place(path, server, port, &members, facts, findings);
            if let Some(vlan) = vlan {
                let carried = facts.in_vlan(port, vlan);
                findings.expect(path, carried);
            }
        }
        let weight = value.weight.clone().or(1).unwrap_or(1);
        members.push(Member { server, weight, backup: value.backup.given().copied().unwrap_or(false) });
    }
    let enabled = members.iter().any(|member| facts.servers.facts(member.server).enabled);
    if findings.errors.len() == before && !enabled {
        findings.warning(format!("clusters.{name}"), Caution::NoneEnabled);
    }
    (findings.errors.len() == before).then_some(members)
}

/// FS-3: one server of a cluster on a port, or a shared port and a warning.
fn place(path: &str, server: usize, port: usize, members: &[Member], facts: &Facts, findings: &mut Findings) {
    let other = members
        .iter()
        .map(|other| other.server)
        .find(|other| *other != server && facts.servers.facts(*other).port == Some(port));
    let Some(other) = other else { return };
    let name = facts.ports.name(port).to_owned();
    match facts.ports.facts(port).shared {
        Some(true) => {
            let other = facts.servers.name(other).to_owned();
            findings.warning(path, Caution::SharedPort { port: name, other });
        }
        Some(false) => findings.error(path, Mistake::TwoOnPort { port: name }),
        None => {}
    }
}

fn service(
    path: &str,
    raw: RawService,
    cluster: &Outer<'_>,
    checks: &mut Checks,
    findings: &mut Findings,
) -> Option<Service> {
    // A check asks the service's port where that is one.
    let one = |ports: &RangeInclusive<u16>| (ports.start() == ports.end()).then_some(*ports.start());
    let port = raw.ports.given().and_then(one);
    let checks: Option<Vec<Check>> = checks.list(path, &raw.checks, port, findings);
    let with_ports = raw.protocol.given().is_some_and(|protocol| WITH_PORTS.contains(protocol));
    if raw.ports.given().is_some() && !with_ports && raw.protocol != Field::Broken {
        findings.error(format!("{path}.ports"), Mistake::PortsWithoutProtocol);
    }
    let quic_elsewhere =
        raw.quic == Field::Given(true) && raw.protocol != Field::Broken && raw.protocol.given() != Some(&UDP);
    if quic_elsewhere {
        findings.error(format!("{path}.quic"), Mistake::QuicWithoutUdp);
    }
    let protocol = match raw.protocol {
        Field::Missing => Some(None),
        Field::Broken => None,
        Field::Given(protocol) => Some(Some(protocol)),
    };
    let members = members(path, &raw.servers, cluster, findings);
    if let Some(members) = &members
        && raw.servers.given().is_some()
    {
        weights(&format!("{path}.servers"), members, findings);
        backups(path, members, &raw.quorum, findings);
    } else if let Some(members) = &members
        && !raw.quorum.is_missing()
    {
        backups(path, members, &raw.quorum, findings);
    }
    let own = affinity(&raw.affinity, cluster.affinity.flatten());
    let name = raw.name.given()?.clone();
    Some(Service {
        protocol: protocol?,
        ports: raw.ports.or(ALL_PORTS)?,
        chooser: raw.chooser.or(cluster.chooser?)?,
        affinity: bound(own?.as_ref(), &name),
        quic: raw.quic.or(false)?,
        passive: raw.passive.or(cluster.passive?)?,
        quorum: raw.quorum.or(cluster.quorum?)?,
        checks: checks?,
        members: members?,
        name,
    })
}

/// The service's servers: some of its cluster's, or all; what is not given of one is as in the cluster.
fn members(
    path: &str,
    list: &Field<Vec<Element<RawMember>>>,
    cluster: &Outer<'_>,
    findings: &mut Findings,
) -> Option<Vec<Member>> {
    let list = match list {
        Field::Broken => return None,
        Field::Missing => return cluster.members.map(<[_]>::to_vec),
        Field::Given(list) => list,
    };
    if list.is_empty() {
        findings.error(format!("{path}.servers"), Mistake::NoServers);
        return None;
    }
    let before = findings.errors.len();
    let mut members: Vec<Member> = Vec::new();
    for Element { path, value } in list {
        let server = match cluster.facts.servers.find(&value.name, "server", "servers") {
            Ok(server) => server,
            Err(mistake) => {
                findings.error(path.as_str(), mistake);
                continue;
            }
        };
        if members.iter().any(|other| other.server == server) {
            findings.error(path.as_str(), Mistake::Twice { value: format!("server {}", value.name) });
            continue;
        }
        let Some(all) = cluster.members else { continue };
        match all.iter().find(|other| other.server == server) {
            Some(outer) => members.push(Member {
                server,
                weight: value.weight.given().copied().unwrap_or(outer.weight),
                backup: value.backup.given().copied().unwrap_or(outer.backup),
            }),
            None => {
                let mistake =
                    Mistake::NotInCluster { name: value.name.clone(), cluster: cluster.name.to_owned() };
                findings.error(path.as_str(), mistake);
            }
        }
    }
    (findings.errors.len() == before && cluster.members.is_some()).then_some(members)
}

/// What an affinity field means: `None` where it is wrong, `Some(None)` where there is no affinity.
fn affinity(
    field: &Field<RawAffinity>,
    inherited: Option<&AffinityFields>,
) -> Option<Option<AffinityFields>> {
    match field {
        Field::Missing => Some(inherited.cloned()),
        Field::Broken => None,
        Field::Given(RawAffinity::Off) => Some(None),
        Field::Given(RawAffinity::On(fields)) => Some(Some(fields.clone())),
    }
}

/// The affinity of the service of that name.
fn bound(fields: Option<&AffinityFields>, service: &str) -> Option<Affinity> {
    let AffinityFields { prefix_v4, prefix_v6, idle_s, group } = fields?.clone();
    let group = group.map_or_else(|| Group::Service(service.to_owned()), Group::Named);
    Some(Affinity { prefix_v4, prefix_v6, idle_s, group })
}

/// Services of one group make their bindings in one way, to the same servers.
fn group<'a>(
    path: &str,
    service: &Service,
    before: impl Iterator<Item = &'a Service>,
    findings: &mut Findings,
) {
    let Some(affinity) = &service.affinity else { return };
    let Group::Named(group) = &affinity.group else { return };
    let set = |service: &Service| {
        let mut servers: Vec<usize> = service.members.iter().map(|member| member.server).collect();
        servers.sort_unstable();
        servers
    };
    for other in before {
        let Some(theirs) = &other.affinity else { continue };
        if theirs.group == affinity.group && (theirs != affinity || set(other) != set(service)) {
            let mistake = Mistake::GroupDiffers { group: group.clone(), other: other.name.clone() };
            findings.error(format!("{path}.affinity"), mistake);
            return;
        }
    }
}

/// The first service that matches counts; one that can never match is worth a word.
fn overlaps<'a>(
    path: &str,
    service: &Service,
    before: impl Iterator<Item = &'a Service>,
    findings: &mut Findings,
) {
    for other in before {
        let all_protocols = other.protocol.is_none();
        if !all_protocols && service.protocol.is_some() && other.protocol != service.protocol {
            continue;
        }
        let covers = (all_protocols || other.protocol == service.protocol)
            && other.ports.start() <= service.ports.start()
            && other.ports.end() >= service.ports.end();
        let meets = other.ports.start() <= service.ports.end() && other.ports.end() >= service.ports.start();
        let by = other.name.clone();
        // A narrower service before a wider one is how exceptions are written.
        let exception = (service.protocol.is_none() || other.protocol == service.protocol)
            && service.ports.start() <= other.ports.start()
            && service.ports.end() >= other.ports.end();
        if covers {
            findings.warning(path, Caution::Shadowed { by });
            return;
        }
        if meets && !exception {
            findings.warning(path, Caution::Overlaps { by });
            return;
        }
    }
}

fn weights(path: &str, members: &[Member], findings: &mut Findings) {
    if members.iter().all(|member| member.weight == 0) {
        findings.warning(path, Caution::AllWeightsZero);
    }
}
