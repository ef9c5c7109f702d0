//! The file as it stands: types and ranges are right, what the parts say to each other is not checked.

mod health;

pub(crate) use health::{RawCheck, RawKind, RawPool, RawRouterCheck, RouterWatch};

use crate::mistake::Mistake;
use crate::reader::{Element, Field, Fields, Findings, boolean, described, is_name, number, text, word};
use core::net::IpAddr;
use core::ops::RangeInclusive;
use dataplane_message::{
    Admin, Chooser, ClusterMode, DeadFlows, Fail, MacPlan, Mode, PortRole, Stp, Timeouts, UdpMode,
};
use dataplane_wire::MacAddr;
use toml::de::{DeTable, DeValue};

/// A file. A table that is no table is `None` under its name, so that references to it hold.
#[derive(Default)]
pub(crate) struct Raw {
    pub(crate) switch: RawSwitch,
    pub(crate) bridge: RawBridge,
    pub(crate) ports: Vec<(String, Option<RawPort>)>,
    pub(crate) routers: Vec<(String, Option<RawRouter>)>,
    pub(crate) pools: Vec<(String, Option<RawPool>)>,
    pub(crate) servers: Vec<(String, Option<RawServer>)>,
    pub(crate) clusters: Vec<(String, Option<RawCluster>)>,
}

/// `[switch]`.
#[derive(Default)]
pub(crate) struct RawSwitch {
    pub(crate) name: Field<String>,
    pub(crate) mode: Field<Mode>,
    pub(crate) workers: Field<u8>,
    pub(crate) worker_cores: Field<Vec<Element<u16>>>,
    pub(crate) flows_max: Field<u32>,
    pub(crate) memory_mib: Field<u32>,
    pub(crate) hugepages: Field<bool>,
    pub(crate) choice_key: Field<[u64; 2]>,
}

/// `[bridge]`.
#[derive(Default)]
pub(crate) struct RawBridge {
    pub(crate) addresses_max: Field<u32>,
    pub(crate) addresses_port_max: Field<u32>,
    pub(crate) ageing_s: Field<u16>,
    pub(crate) guard: Field<bool>,
}

/// `[ports.NAME]`.
pub(crate) struct RawPort {
    pub(crate) interface: Field<String>,
    pub(crate) pci: Field<String>,
    pub(crate) vdev: Field<String>,
    pub(crate) driver: Field<Driver>,
    pub(crate) role: Field<PortRole>,
    pub(crate) untagged: Field<u16>,
    pub(crate) tagged: Field<Vec<Element<u16>>>,
    pub(crate) shared: Field<bool>,
    pub(crate) stp: Field<Stp>,
    pub(crate) storm_pps: Field<u32>,
    pub(crate) mtu: Field<u16>,
}

/// How a kernel interface is driven.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Driver {
    AfXdp,
    AfPacket,
    Pcap,
    Tap,
}

/// `[routers.NAME]`.
pub(crate) struct RawRouter {
    pub(crate) port: Field<String>,
    pub(crate) vlan: Field<u16>,
    pub(crate) address: Field<IpAddr>,
    pub(crate) mac: Field<MacAddr>,
    pub(crate) check: Field<RouterWatch>,
}

/// `[servers.NAME]`.
pub(crate) struct RawServer {
    pub(crate) port: Field<String>,
    pub(crate) mac: Field<MacPlan>,
    pub(crate) admin: Field<Admin>,
    pub(crate) connections_max: Field<u32>,
}

/// `[clusters.NAME]`.
pub(crate) struct RawCluster {
    pub(crate) vip: Field<IpAddr>,
    pub(crate) vlan: Field<u16>,
    pub(crate) vmac: Field<MacAddr>,
    pub(crate) mode: Field<ClusterMode>,
    pub(crate) chooser: Field<Chooser>,
    pub(crate) fail: Field<Fail>,
    pub(crate) withdraw: Field<bool>,
    pub(crate) udp: Field<UdpMode>,
    pub(crate) announce_interval_s: Field<u16>,
    pub(crate) dead_after_ms: Field<u32>,
    pub(crate) dead_tcp: Field<DeadFlows>,
    pub(crate) dead_other: Field<DeadFlows>,
    pub(crate) slow_start_s: Field<u16>,
    pub(crate) probe_address: Field<IpAddr>,
    pub(crate) passive: Field<bool>,
    pub(crate) quorum: Field<u16>,
    pub(crate) checks: Field<Vec<Element<RawCheck>>>,
    pub(crate) servers: Field<Vec<Element<RawMember>>>,
    pub(crate) timeouts: Timeouts,
    pub(crate) affinity: Field<RawAffinity>,
    pub(crate) services: Vec<Element<RawService>>,
}

/// `"web-1"` or `{ name = "web-1", weight = 3, backup = true }`.
pub(crate) struct RawMember {
    pub(crate) name: String,
    pub(crate) weight: Field<u16>,
    pub(crate) backup: Field<bool>,
}

/// `[clusters.NAME.affinity]`, or a service's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum RawAffinity {
    /// `affinity = false` in a service whose cluster has it.
    Off,
    /// A table.
    On(AffinityFields),
}

/// What an affinity table says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct AffinityFields {
    pub(crate) prefix_v4: u8,
    pub(crate) prefix_v6: u8,
    pub(crate) idle_s: u16,
    pub(crate) group: Option<String>,
}

/// `[[clusters.NAME.services]]`.
pub(crate) struct RawService {
    pub(crate) name: Field<String>,
    pub(crate) protocol: Field<u8>,
    pub(crate) ports: Field<RangeInclusive<u16>>,
    pub(crate) chooser: Field<Chooser>,
    pub(crate) affinity: Field<RawAffinity>,
    pub(crate) quic: Field<bool>,
    pub(crate) servers: Field<Vec<Element<RawMember>>>,
    pub(crate) passive: Field<bool>,
    pub(crate) quorum: Field<u16>,
    pub(crate) checks: Field<Vec<Element<RawCheck>>>,
}

impl Raw {
    /// Reads a file; what is wrong with it is in `findings`.
    pub(crate) fn read(findings: &mut Findings, table: &DeTable<'_>) -> Self {
        let mut root = Fields::root(findings, table);
        let raw = Self {
            switch: table_of(&mut root, "switch", switch).unwrap_or_default(),
            bridge: table_of(&mut root, "bridge", bridge).unwrap_or_default(),
            ports: root.tables("ports", port),
            routers: root.tables("routers", router),
            pools: root.tables("pools", health::pool),
            servers: root.tables("servers", server),
            clusters: root.tables("clusters", cluster),
        };
        root.close();
        raw
    }
}

fn table_of<'t, T>(
    outer: &mut Fields<'_, 't>,
    key: &'static str,
    read: impl FnOnce(Fields<'_, 't>) -> T,
) -> Option<T> {
    let value = outer.value(key)?;
    let path = outer.path_of(key);
    Fields::open(outer.findings, path, value).map(read)
}

fn switch(mut fields: Fields<'_, '_>) -> RawSwitch {
    let switch = RawSwitch {
        name: fields.field("name", name),
        mode: fields.field("mode", word(MODES)),
        workers: fields.field("workers", number(1, 32)),
        worker_cores: fields.list(
            "worker_cores",
            "a list of numbers, as in [2, 3]",
            element(number(0, 1023)),
        ),
        flows_max: fields.field("flows_max", number(1024, 64 << 20)),
        memory_mib: fields.field("memory_mib", number(0, 1 << 20)),
        hugepages: fields.field("hugepages", boolean),
        choice_key: fields.field("choice_key", choice_key),
    };
    fields.close();
    switch
}

fn bridge(mut fields: Fields<'_, '_>) -> RawBridge {
    let bridge = RawBridge {
        addresses_max: fields.field("addresses_max", number(64, 1 << 20)),
        addresses_port_max: fields.field("addresses_port_max", number(1, 1 << 20)),
        ageing_s: fields.field("ageing_s", number(1, 65_535)),
        guard: fields.field("guard", boolean),
    };
    fields.close();
    bridge
}

fn port(mut fields: Fields<'_, '_>) -> RawPort {
    let port = RawPort {
        interface: fields.field("interface", interface),
        pci: fields.field("pci", pci),
        vdev: fields.field("vdev", vdev),
        driver: fields.field("driver", word(DRIVERS)),
        role: fields.field("role", word(ROLES)),
        untagged: fields.field("untagged", number(1, 4094)),
        tagged: fields.list("tagged", "a list of VLANs, as in [10, 20]", element(number(1, 4094))),
        shared: fields.field("shared", boolean),
        stp: fields.field("stp", word(STPS)),
        storm_pps: fields.field("storm_pps", number(0, u32::MAX.into())),
        mtu: fields.field("mtu", number(576, 9216)),
    };
    fields.close();
    port
}

fn router(mut fields: Fields<'_, '_>) -> RawRouter {
    let router = RawRouter {
        port: fields.required("port", "port = \"up1\"", text),
        vlan: fields.field("vlan", number(1, 4094)),
        address: fields.required("address", "address = \"10.9.0.1\"", address),
        mac: fields.field("mac", mac),
        check: health::router_watch(&mut fields),
    };
    fields.close();
    router
}

fn server(mut fields: Fields<'_, '_>) -> RawServer {
    let server = RawServer {
        port: fields.required("port", "port = \"s1\"", text),
        mac: fields.field("mac", |value| match value {
            DeValue::String(text) if text.as_ref() == "learn" => Ok(MacPlan::Learn),
            value => mac(value).map(MacPlan::Fixed),
        }),
        admin: fields.field("admin", word(ADMINS)),
        connections_max: fields.field("connections_max", number(0, 64 << 20)),
    };
    fields.close();
    server
}

fn cluster(mut fields: Fields<'_, '_>) -> RawCluster {
    let cluster = RawCluster {
        vip: fields.required("vip", "vip = \"10.9.0.100\"", address),
        vlan: fields.field("vlan", number(1, 4094)),
        vmac: fields.field("vmac", mac),
        mode: fields.field("mode", word(CLUSTER_MODES)),
        chooser: fields.field("chooser", word(CHOOSERS)),
        fail: fields.field("fail", word(FAILS)),
        withdraw: fields.field("withdraw", boolean),
        udp: fields.field("udp", word(UDPS)),
        announce_interval_s: fields.field("announce_interval_s", number(1, 3600)),
        dead_after_ms: fields.field("dead_after_ms", number(500, 600_000)),
        dead_tcp: fields.field("dead_tcp", word(DEAD_TCPS)),
        dead_other: fields.field("dead_other", word(DEAD_OTHERS)),
        slow_start_s: fields.field("slow_start_s", number(0, 3600)),
        probe_address: fields.field("probe_address", address),
        passive: fields.field("passive", boolean),
        quorum: fields.field("quorum", number(0, 4096)),
        checks: fields.list("checks", "a list of tables, [[clusters.NAME.checks]]", health::check),
        servers: fields.list("servers", SERVERS, member),
        timeouts: table_of(&mut fields, "timeouts", timeouts).unwrap_or_default(),
        affinity: affinity(&mut fields),
        services: match fields.list("services", "a list of tables, [[clusters.NAME.services]]", service) {
            Field::Given(services) => services,
            Field::Missing | Field::Broken => Vec::new(),
        },
    };
    fields.close();
    cluster
}

fn timeouts(mut fields: Fields<'_, '_>) -> Timeouts {
    let default = Timeouts::default();
    let mut seconds = |key, default| fields.field(key, number(1, 65_535)).or(default).unwrap_or(default);
    let timeouts = Timeouts {
        handshake_s: seconds("handshake_s", default.handshake_s),
        established_s: seconds("established_s", default.established_s),
        half_closed_s: seconds("half_closed_s", default.half_closed_s),
        closed_s: seconds("closed_s", default.closed_s),
        udp_s: seconds("udp_s", default.udp_s),
        icmp_s: seconds("icmp_s", default.icmp_s),
        other_s: seconds("other_s", default.other_s),
        ipsec_s: seconds("ipsec_s", default.ipsec_s),
    };
    fields.close();
    timeouts
}

fn affinity(outer: &mut Fields<'_, '_>) -> Field<RawAffinity> {
    const DEFAULT: AffinityFields =
        AffinityFields { prefix_v4: 32, prefix_v6: 128, idle_s: 300, group: None };
    let Some(value) = outer.value("affinity") else { return Field::Missing };
    match value.get_ref() {
        DeValue::Boolean(false) => return Field::Given(RawAffinity::Off),
        DeValue::Boolean(true) => return Field::Given(RawAffinity::On(DEFAULT)),
        _ => {}
    }
    let path = outer.path_of("affinity");
    let Some(mut fields) = Fields::open(outer.findings, path, value) else { return Field::Broken };
    let affinity = (|| {
        let prefix_v4 = fields.field("prefix_v4", number(1, 32)).or(DEFAULT.prefix_v4);
        let prefix_v6 = fields.field("prefix_v6", number(1, 128)).or(DEFAULT.prefix_v6);
        let idle_s = fields.field("idle_s", number(1, 65_535)).or(DEFAULT.idle_s);
        let group = fields.field("group", |value| name(value).map(Some)).or(None);
        Some(AffinityFields { prefix_v4: prefix_v4?, prefix_v6: prefix_v6?, idle_s: idle_s?, group: group? })
    })();
    fields.close();
    affinity.map_or(Field::Broken, |fields| Field::Given(RawAffinity::On(fields)))
}

fn service<'t>(
    findings: &mut Findings,
    path: &str,
    value: &'t toml::Spanned<DeValue<'t>>,
) -> Option<RawService> {
    let mut fields = Fields::open(findings, path.to_owned(), value)?;
    let service = RawService {
        name: fields.required("name", "name = \"https\"", name),
        protocol: fields.field("protocol", protocol),
        ports: fields.field("ports", ports),
        chooser: fields.field("chooser", word(CHOOSERS)),
        affinity: affinity(&mut fields),
        quic: fields.field("quic", boolean),
        servers: fields.list("servers", SERVERS, member),
        passive: fields.field("passive", boolean),
        quorum: fields.field("quorum", number(0, 4096)),
        checks: fields.list("checks", "a list of tables, [[clusters.NAME.services.checks]]", health::check),
    };
    fields.close();
    Some(service)
}

fn member<'t>(
    findings: &mut Findings,
    path: &str,
    value: &'t toml::Spanned<DeValue<'t>>,
) -> Option<RawMember> {
    match value.get_ref() {
        DeValue::String(name) => {
            Some(RawMember { name: name.to_string(), weight: Field::Missing, backup: Field::Missing })
        }
        DeValue::Table(_) => {
            let mut fields = Fields::open(findings, path.to_owned(), value)?;
            let name = fields.required("name", "name = \"web-1\"", text);
            let weight = fields.field("weight", number(0, 1000));
            let backup = fields.field("backup", boolean);
            fields.close();
            Some(RawMember { name: name.given()?.clone(), weight, backup })
        }
        other => {
            let mistake =
                Mistake::WrongType { found: described(other), expected: "a server's name in quotes" };
            findings.error(path, mistake);
            None
        }
    }
}

/// Makes a reader of list elements from one of fields.
fn element<'t, T>(
    read: impl Fn(&'t DeValue<'t>) -> Result<T, Mistake>,
) -> impl FnMut(&mut Findings, &str, &'t toml::Spanned<DeValue<'t>>) -> Option<T> {
    move |findings, path, value| match read(value.get_ref()) {
        Ok(value) => Some(value),
        Err(mistake) => {
            findings.error(path, mistake);
            None
        }
    }
}

fn name(value: &DeValue<'_>) -> Result<String, Mistake> {
    let name = text(value)?;
    if is_name(&name) { Ok(name) } else { Err(Mistake::BadName { name }) }
}

fn mac(value: &DeValue<'_>) -> Result<MacAddr, Mistake> {
    let text = text(value)?;
    let mac: MacAddr = text.parse().map_err(|_| Mistake::BadMac { text: text.clone() })?;
    if mac.is_multicast() || mac == MacAddr::ZERO { Err(Mistake::MacNotUnicast { text }) } else { Ok(mac) }
}

/// An address that a station can have.
fn address(value: &DeValue<'_>) -> Result<IpAddr, Mistake> {
    let text = text(value)?;
    let address: IpAddr = text.parse().map_err(|_| Mistake::BadAddress { text: text.clone() })?;
    match not_unicast(address) {
        Some(kind) => Err(Mistake::AddressNotUnicast { text, kind }),
        None => Ok(address),
    }
}

/// Why an address can be no station's.
fn not_unicast(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => match v4.octets()[0] {
            0 => Some("an address of \"this network\""),
            127 => Some("a loopback address"),
            224..=239 => Some("a multicast address"),
            240..=254 => Some("a reserved address"),
            255 if v4.is_broadcast() => Some("the broadcast address"),
            255 => Some("a reserved address"),
            _ => None,
        },
        IpAddr::V6(v6) if v6.is_unspecified() => Some("the unspecified address"),
        IpAddr::V6(v6) if v6.is_loopback() => Some("the loopback address"),
        IpAddr::V6(v6) if v6.is_multicast() => Some("a multicast address"),
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Some("an IPv4 address in IPv6 form"),
        IpAddr::V6(_) => None,
    }
}

fn interface(value: &DeValue<'_>) -> Result<String, Mistake> {
    let text = text(value)?;
    let fits = (1..=15).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"/,:".contains(&byte));
    if fits { Ok(text) } else { Err(Mistake::BadInterface { text }) }
}

/// `0000:01:00.0`, or without the domain.
fn pci(value: &DeValue<'_>) -> Result<String, Mistake> {
    let text = text(value)?;
    let parts: Vec<&str> = text.split([':', '.']).collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let hexadecimal = parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let dotted = text.rfind('.') == Some(text.len().saturating_sub(2)) && text.matches('.').count() == 1;
    match lengths.as_slice() {
        [4, 2, 2, 1] if hexadecimal && dotted => Ok(text.to_ascii_lowercase()),
        [2, 2, 1] if hexadecimal && dotted => Ok(format!("0000:{}", text.to_ascii_lowercase())),
        _ => Err(Mistake::BadPci { text }),
    }
}

/// A driver's name with a number, then its arguments.
fn vdev(value: &DeValue<'_>) -> Result<String, Mistake> {
    let text = text(value)?;
    let device = text.split(',').next().unwrap_or_default();
    let fits = text.len() <= 256
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && (device.starts_with("net_") || device.starts_with("virtio_user"))
        && device.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if fits { Ok(text) } else { Err(Mistake::BadVdev { text }) }
}

fn choice_key(value: &DeValue<'_>) -> Result<[u64; 2], Mistake> {
    let text = text(value)?;
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Mistake::BadChoiceKey);
    }
    let half = |at: usize| u64::from_str_radix(&text[at..at + 16], 16).map_err(|_| Mistake::BadChoiceKey);
    Ok([half(0)?, half(16)?])
}

fn protocol(value: &DeValue<'_>) -> Result<u8, Mistake> {
    if matches!(value, DeValue::String(_)) { word(PROTOCOLS)(value) } else { number(0, 255)(value) }
}

fn ports(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, Mistake> {
    let written = match value {
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::String(text) => text.to_string(),
        other => {
            let found = described(other);
            return Err(Mistake::WrongType { found, expected: "a port, or a range as in \"8000-8100\"" });
        }
    };
    let (from, to) = written.split_once('-').unwrap_or((&written, &written));
    match (from.trim().parse(), to.trim().parse()) {
        (Ok(from), Ok(to)) if from != 0 && from <= to => Ok(from..=to),
        _ => Err(Mistake::BadPorts { text: written }),
    }
}

const SERVERS: &str = "a list of servers, as in [\"web-1\", { name = \"web-2\", weight = 3 }]";

const MODES: &[(&str, Mode)] = &[("trial", Mode::Trial), ("appliance", Mode::Appliance)];

const DRIVERS: &[(&str, Driver)] = &[
    ("af_xdp", Driver::AfXdp),
    ("af_packet", Driver::AfPacket),
    ("pcap", Driver::Pcap),
    ("tap", Driver::Tap),
];

const ROLES: &[(&str, PortRole)] = &[("outside", PortRole::Outside), ("server", PortRole::Server)];

const STPS: &[(&str, Stp)] = &[("forward", Stp::Forward), ("drop", Stp::Drop)];

const ADMINS: &[(&str, Admin)] =
    &[("enabled", Admin::Enabled), ("drain", Admin::Drain), ("disabled", Admin::Disabled)];

const CHOOSERS: &[(&str, Chooser)] = &[
    ("round-robin", Chooser::RoundRobin),
    ("weighted-round-robin", Chooser::WeightedRoundRobin),
    ("least-connections", Chooser::LeastConnections),
    ("source-affinity", Chooser::SourceAffinity),
    ("maglev", Chooser::Maglev),
    ("dynamic", Chooser::Dynamic),
    ("two-choices", Chooser::TwoChoices),
];

const CLUSTER_MODES: &[(&str, ClusterMode)] =
    &[("load-sharing", ClusterMode::LoadSharing), ("availability", ClusterMode::Availability)];

const DEAD_TCPS: &[(&str, DeadFlows)] =
    &[("reset", DeadFlows::Reset), ("move", DeadFlows::Move), ("keep", DeadFlows::Keep)];

const DEAD_OTHERS: &[(&str, DeadFlows)] = &[("move", DeadFlows::Move), ("keep", DeadFlows::Keep)];

const FAILS: &[(&str, Fail)] = &[("closed", Fail::Closed), ("open", Fail::Open)];

const UDPS: &[(&str, UdpMode)] = &[("flow", UdpMode::Flow), ("packet", UdpMode::Packet)];

/// The protocols that have a name; every other one is written as its number.
pub(crate) const PROTOCOLS: &[(&str, u8)] = &[
    ("tcp", 6),
    ("udp", 17),
    ("sctp", 132),
    ("icmp", 1),
    ("icmpv6", 58),
    ("esp", 50),
    ("ah", 51),
    ("gre", 47),
    ("ipip", 4),
];
