//! What is set up wrong, from all that is known.

use super::{Core, MemberKey, Subject, is_routed};
use crate::doctor::{Finding, FindingKind};
use crate::event::Reason;
use crate::probing::What;
use control_probe::{Failure, Kind};
use dataplane_flow::{ClusterId, TargetId};
use dataplane_message::AlarmKind;
use std::net::IpAddr;

/// So many SYNs in a row, for so long, without an answer to any: nobody gets through.
const CLOSED_SYNS: u64 = 20;
const CLOSED_NS: u64 = 3_000_000_000;

impl Core {
    /// Every finding, by server, then by router, pool and cluster, then alarms.
    pub(super) fn examine(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for target in &self.plan.targets {
            self.examine_server(target.id, &mut findings);
        }
        self.examine_routers(&mut findings);
        self.examine_alarms(&mut findings);
        findings
    }

    fn examine_server(&self, id: TargetId, findings: &mut Vec<Finding>) {
        let Some(server) = self.servers.get(&id) else { return };
        let name = &server.plan.name;
        let clusters = self.plan.clusters.iter().filter(|c| c.servers.contains(&id));
        if server.bypassed.is_some() {
            findings.push(Finding {
                target: Some(id),
                ..Finding::new(
                    FindingKind::Bypassed,
                    format!("clients complete connections to {name} whose answers never passed this switch"),
                    format!(
                        "let {name} answer by the interface on port {}: remove its default route by any other interface (ip route), or give it the gateway behind this switch",
                        self.port_name(server.plan.port)
                    ),
                )
            });
        }
        for cluster in clusters {
            let vip = cluster.vip;
            let neighbour = self.is_neighbour(id);
            let silent = self
                .watches_at(id)
                .filter(|slot| matches!(slot.what, What::Server(Kind::Neighbour)))
                .all(|slot| !slot.watch.is_good());
            let sends = !server.monitor.is_dead();
            // It answers, and from another MAC: that is named below.
            let wrong = self.doctor.alarms().iter().any(|alarm| {
                matches!(alarm.kind, AlarmKind::ServerWrongMac | AlarmKind::ServerMacChanged)
                    && alarm.port == server.plan.port
            });
            if silent && wrong {
                continue;
            }
            if silent && sends && server.mac.is_some() && !neighbour {
                let interface = if vip.is_ipv6() { "sysctl net.ipv6.conf" } else { "arp_ignore, arp_filter" };
                findings.push(Finding {
                    target: Some(id),
                    cluster: Some(cluster.id),
                    ..Finding::new(
                        FindingKind::VipNotBound,
                        format!("{name} sends frames and does not answer for {vip}: it does not carry the VIP on this interface"),
                        format!("on {name}: ip address add {vip}/{} dev <interface>; and let it answer for it there ({interface})", if vip.is_ipv6() { 128 } else { 32 }),
                    )
                });
                continue;
            }
            self.examine_size(id, cluster.id, findings);
            let key_of = |service: usize| (cluster.id, service as u16, id);
            let mut named = false;
            for place in 0..cluster.services.len() {
                let key: MemberKey = key_of(place);
                let Some(member) = self.members.get(&key) else { continue };
                let routed: Vec<_> = self.watches_of(key).filter(|s| is_routed(&s.what)).collect();
                let never = !routed.is_empty()
                    && routed.iter().all(|s| {
                        !s.watch.was_ever_good()
                            && matches!(s.watch.failure(), Some(Failure::Timeout | Failure::Unreachable(_)))
                    });
                let gone = self.routers_are_gone(cluster.id, None);
                let served = server.served.is_some_and(|at| self.now.since(at) < 60_000_000_000);
                if !named
                    && neighbour
                    && never
                    && !gone
                    && (!served || member.reason == Some(Reason::NoReturn))
                {
                    named = true;
                    findings.push(Finding {
                        target: Some(id),
                        cluster: Some(cluster.id),
                        ..Finding::new(
                            FindingKind::NoReturn,
                            format!("{name} answers for {vip} and no probe from {} comes back: its replies do not come back through this switch", cluster.probe),
                            format!("on {name}: ip route get {} must name the interface of {vip}; remove a default route by a second interface, or set probe_address to an address that it reaches here", cluster.probe),
                        )
                    });
                }
                if !named && neighbour && never && !gone && served {
                    named = true;
                    findings.push(Finding {
                        target: Some(id),
                        cluster: Some(cluster.id),
                        ..Finding::new(
                            FindingKind::ReversePathFilter,
                            format!("{name} serves its clients and answers no probe from {}: a reverse-path filter seems to drop them", cluster.probe),
                            format!("on {name}: sysctl net.ipv4.conf.<interface>.rp_filter=2, or set probe_address to an address of the VIP's subnet"),
                        )
                    });
                }
                if !named && !gone && self.is_closed_to_clients(id, cluster.id, place as u16) {
                    named = true;
                    let filter = if vip.is_ipv6() {
                        "ip6tables rpfilter"
                    } else {
                        "sysctl net.ipv4.conf.<interface>.rp_filter=2"
                    };
                    findings.push(Finding {
                        target: Some(id),
                        cluster: Some(cluster.id),
                        ..Finding::new(
                            FindingKind::ReversePathFilter,
                            format!("{name} answers what asks it from {} and no client: a reverse-path filter or a firewall seems to drop what comes from farther away", cluster.probe),
                            format!("on {name}: ip route get to a client must name the interface of {vip}: mend its default route, or {filter}; and let its firewall accept clients"),
                        )
                    });
                }
                for slot in routed.iter().filter(|s| s.watch.failure() == Some(&Failure::Refused)) {
                    let check = super::judge::name(&slot.what);
                    findings.push(Finding {
                        target: Some(id),
                        cluster: Some(cluster.id),
                        ..Finding::new(
                            FindingKind::NotListening,
                            format!("{name} refuses {check} at {vip}: nothing listens there"),
                            format!("start the program on {name}, and let it listen on {vip} or on all addresses (ss -lnt)"),
                        )
                    });
                    if cluster.services.len() > 1 && place > 0 {
                        break;
                    }
                }
            }
        }
        findings.dedup();
    }

    /// None of its clients has been answered for a while, and whoever asks it from its own subnet is.
    fn is_closed_to_clients(&self, id: TargetId, cluster: ClusterId, place: u16) -> bool {
        let Some(member) = self.members.get(&(cluster, place, id)) else { return false };
        let Some((unanswered, first)) = member.passive.unanswered() else { return false };
        let has_waited = self.now.since(first) >= CLOSED_NS;
        // One that has served just now has failed: the traffic takes it out.
        let server = &self.servers[&id];
        let served =
            server.bypassed.is_some() || server.served.is_some_and(|at| self.now.since(at) < 60_000_000_000);
        let routed = || self.watches_at(id).filter(|slot| is_routed(&slot.what));
        let reached = routed().any(|slot| slot.watch.is_good() && slot.watch.was_ever_good());
        let failed = self.watches_of((cluster, place, id)).any(|slot| slot.watch.is_failing());
        unanswered >= CLOSED_SYNS && has_waited && !served && member.out.is_none() && reached && !failed
    }

    /// Small packets are answered and large ones are not.
    fn examine_size(&self, id: TargetId, cluster: ClusterId, findings: &mut Vec<Finding>) {
        let of_size = self.watches_at(id).filter(|slot| slot.subject == Subject::Size(id, cluster));
        let (mut small, mut large) = (false, None);
        for slot in of_size {
            match &slot.what {
                What::Server(Kind::LargeEcho { mtu }) if !slot.watch.is_good() => large = Some(*mtu),
                What::Server(Kind::Echo) => small = slot.watch.is_good() && slot.watch.was_ever_good(),
                _ => {}
            }
        }
        let Some(mtu) = large.filter(|_| small) else { return };
        let name = self.server_name(id);
        findings.push(Finding {
            target: Some(id),
            cluster: Some(cluster),
            ..Finding::new(
                FindingKind::Mtu,
                format!("{name} answers small packets and none of {mtu} bytes: its MTU, or that of something between, is too small"),
                format!("on {name}: ip link set <interface> mtu {mtu}; or lower the mtu of port {}", self.port_name(self.servers[&id].plan.port)),
            )
        });
    }

    fn examine_routers(&self, findings: &mut Vec<Finding>) {
        for plan in &self.plan.routers {
            let Some(state) = self.routers.get(&plan.id).filter(|s| !s.up) else { continue };
            let why = state.reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
            findings.push(Finding {
                router: Some(plan.id),
                ..Finding::new(
                    FindingKind::RouterDown,
                    format!("router {} at {} is down{why}", plan.name, plan.address),
                    format!("look at the router and at port {}", self.port_name(plan.port)),
                )
            });
        }
        for plan in &self.plan.pools {
            let up = plan.routers.iter().any(|id| self.routers.get(id).is_some_and(|r| r.up));
            if up || plan.routers.is_empty() {
                continue;
            }
            findings.push(Finding {
                pool: Some(plan.id),
                ..Finding::new(
                    FindingKind::PoolDown,
                    format!(
                        "no router of pool {} answers: what servers send to {} goes nowhere",
                        plan.name, plan.address
                    ),
                    "mend one of its routers, or add one that works to the pool".to_owned(),
                )
            });
        }
        for (id, _) in self.clusters.iter().filter(|(_, c)| c.suspended) {
            findings.push(Finding {
                cluster: Some(*id),
                ..Finding::new(
                    FindingKind::Suspended,
                    format!(
                        "routed checks of {} fail on all servers while no router is up; they do not count",
                        self.cluster_name(*id)
                    ),
                    "mend a router; the checks count again by themselves".to_owned(),
                )
            });
        }
    }

    fn examine_alarms(&self, findings: &mut Vec<Finding>) {
        for alarm in self.doctor.alarms() {
            let port = self.port_name(alarm.port);
            let mac = alarm.mac;
            let about = alarm.address.map_or_else(|| "an address".to_owned(), |address| address.to_string());
            let behind = self.servers.iter().find(|(_, s)| s.plan.port == alarm.port);
            let target = behind.map(|(id, _)| *id);
            let cluster = self
                .plan
                .clusters
                .iter()
                .find(|c| c.vlan == alarm.vlan && Some(c.vip) == alarm.address)
                .map(|c| c.id);
            let (kind, text, fix) = match alarm.kind {
                AlarmKind::ServerWrongMac | AlarmKind::ServerMacChanged => (
                    FindingKind::WrongMac,
                    format!("{mac} on port {port} answers for {about}, and the server there has another MAC"),
                    format!(
                        "set the server's mac to {mac} if that is its interface (flowctl accept); else take {about} off it, or set arp_ignore=1 on a server with two interfaces there"
                    ),
                ),
                AlarmKind::VipClaimed => (
                    FindingKind::VipClaimed,
                    format!("{mac} on port {port} claims {about}, which is a VIP"),
                    format!(
                        "take {about} off that machine, or make it a server of the cluster on its own port"
                    ),
                ),
                AlarmKind::PortTaken => {
                    let split = self.port_split(alarm.address);
                    (
                        FindingKind::PortTaken,
                        format!(
                            "two servers of one VIP opened the same connection to {about}; the second was refused"
                        ),
                        format!("give each server its own range of source ports: {split}"),
                    )
                }
                AlarmKind::ForeignVmac | AlarmKind::RouterClaimed | AlarmKind::Flapping => continue,
            };
            let finding = Finding { target, cluster, ..Finding::new(kind, text, fix) };
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
    }

    /// The port ranges that end collisions (FS-25): 32,768 to 61,000, which no probe uses, in equal parts.
    fn port_split(&self, _peer: Option<IpAddr>) -> String {
        let Some(cluster) = self.plan.clusters.iter().max_by_key(|c| c.servers.len()) else {
            return String::new();
        };
        let servers = cluster.servers.len().max(1) as u32;
        let part = (61_000 - 32_768) / servers;
        let ranges = cluster.servers.iter().take(16).enumerate().map(|(i, id)| {
            let first = 32_768 + i as u32 * part;
            format!(
                "on {}: sysctl net.ipv4.ip_local_port_range=\"{first} {}\"",
                self.server_name(*id),
                first + part - 1
            )
        });
        let mut text = ranges.collect::<Vec<_>>().join("; ");
        if servers > 16 {
            text.push_str(&format!("; and so on, {part} ports each"));
        }
        text
    }

    fn port_name(&self, id: dataplane_port::PortId) -> String {
        self.plan.ports.iter().find(|p| p.id == id).map_or_else(|| id.0.to_string(), |p| p.name.clone())
    }
}
