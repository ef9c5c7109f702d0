//! Checks of servers (FS-30).

use crate::mistake::{Caution, Mistake};
use crate::raw::{RawCheck, RawKind};
use crate::reader::{Element, Field, Findings};
use control_probe::{Check, Dns, Http, Kind, StatusRange};

/// Milliseconds without a sign of life after which a server is dead (FS-10).
pub(super) const DEAD_AFTER_MS: u32 = 3_000;

pub(super) const INTERVAL_MS: u32 = 1_000;
pub(super) const TIMEOUT_MS: u32 = 500;
pub(super) const RISE: u16 = 2;
pub(super) const FALL: u16 = 3;

/// The most checks that a cluster or a service may name.
const CHECKS_MAX: usize = 16;

/// The checks of one cluster, its services' included, as they are read.
pub(super) struct Checks {
    dead_after_ms: Option<u32>,
    /// What is asked already, and by which check.
    asked: Vec<(String, String)>,
}

impl Checks {
    pub(super) fn new(dead_after_ms: Option<u32>) -> Self {
        Self { dead_after_ms, asked: Vec::new() }
    }

    /// The cluster's own. Every server answers ARP or ND for the VIP and it costs a frame of 60 bytes each way,
    /// so that check is there unless the list is written and empty; its pace follows `dead_after_ms`, so
    /// that a server is down before it is dead.
    pub(super) fn cluster(
        &mut self,
        path: &str,
        list: &Field<Vec<Element<RawCheck>>>,
        findings: &mut Findings,
    ) -> Option<Vec<Check>> {
        let mut checks = self.list(path, list, None, findings)?;
        let none_wanted = list.given().is_some_and(Vec::is_empty);
        if !none_wanted && !checks.iter().any(|check| check.kind == Kind::Neighbour) {
            let dead_after_ms = self.dead_after_ms.unwrap_or(DEAD_AFTER_MS);
            let interval_ms = INTERVAL_MS.min(dead_after_ms / 3);
            let timeout_ms = TIMEOUT_MS.min(interval_ms / 2);
            checks
                .insert(0, Check { kind: Kind::Neighbour, interval_ms, timeout_ms, rise: RISE, fall: FALL });
        }
        Some(checks)
    }

    /// A list of checks; `port` is what a check without one asks.
    pub(super) fn list(
        &mut self,
        path: &str,
        list: &Field<Vec<Element<RawCheck>>>,
        port: Option<u16>,
        findings: &mut Findings,
    ) -> Option<Vec<Check>> {
        let list = match list {
            Field::Missing => return Some(Vec::new()),
            Field::Broken => return None,
            Field::Given(list) => list,
        };
        if list.len() > CHECKS_MAX {
            let mistake = Mistake::TooMany { things: "checks", count: list.len(), most: CHECKS_MAX };
            findings.error(format!("{path}.checks"), mistake);
            return None;
        }
        let checks: Vec<_> = list.iter().map(|element| self.check(element, port, findings)).collect();
        super::whole(checks)
    }

    fn check(
        &mut self,
        Element { path, value: raw }: &Element<RawCheck>,
        port: Option<u16>,
        findings: &mut Findings,
    ) -> Option<Check> {
        let before = findings.errors.len();
        let wanted = *raw.kind.given()?;
        superfluous(path, wanted, raw, findings);
        let kind = kind(path, wanted, raw, port, findings);
        let paced = pace(path, &raw.interval_ms, &raw.timeout_ms, findings);
        let (rise, fall) = (raw.rise.clone().or(RISE), raw.fall.clone().or(FALL));
        let (interval_ms, timeout_ms) = paced?;
        let check = Check { kind: kind?, interval_ms, timeout_ms, rise: rise?, fall: fall? };
        self.alone(path, &check, findings);
        self.before_dead(path, &check, findings);
        (findings.errors.len() == before).then_some(check)
    }

    /// All servers answer from one address and each has one probe port, so two connections of one server to
    /// one port would be one.
    fn alone(&mut self, path: &str, check: &Check, findings: &mut Findings) {
        let place = match &check.kind {
            Kind::Neighbour => "ARP or ND".to_owned(),
            Kind::Echo | Kind::LargeEcho { .. } => "ICMP echo".to_owned(),
            Kind::Tcp { port } | Kind::Http(Http { port, .. }) => format!("TCP port {port}"),
            Kind::Udp { port, .. } | Kind::Dns(Dns { port, .. }) => format!("UDP port {port}"),
        };
        match self.asked.iter().find(|(asked, _)| *asked == place) {
            Some((_, other)) => {
                let other = other.clone();
                findings.error(path, Mistake::SameProbe { other, place });
            }
            None => self.asked.push((place, path.to_owned())),
        }
    }

    /// ARP and ND decide on death, so that check has to be quicker; another one may be slower, and then it
    /// has no say about a server that answers nothing.
    fn before_dead(&self, path: &str, check: &Check, findings: &mut Findings) {
        let Some(dead_after_ms) = self.dead_after_ms else { return };
        let (fall, timeout_ms) = (check.fall, check.timeout_ms);
        if check.kind == Kind::Neighbour {
            let detection_ms = u64::from(fall - 1) * u64::from(check.interval_ms) + u64::from(timeout_ms);
            if detection_ms > u64::from(dead_after_ms) {
                findings.error(path, Mistake::SlowerThanDead { detection_ms, dead_after_ms });
            }
        } else if u64::from(fall) * u64::from(timeout_ms) > u64::from(dead_after_ms) {
            findings.warning(path, Caution::DeadBefore { fall, timeout_ms, dead_after_ms });
        }
    }
}

/// Interval and time-out, which is shorter. A time-out that is not given follows the interval.
pub(super) fn pace(
    path: &str,
    interval: &Field<u32>,
    timeout: &Field<u32>,
    findings: &mut Findings,
) -> Option<(u32, u32)> {
    let interval_ms = interval.clone().or(INTERVAL_MS);
    let timeout_ms = timeout.clone().or(interval_ms.map_or(TIMEOUT_MS, |ms| TIMEOUT_MS.min(ms)));
    let (interval_ms, timeout_ms) = interval_ms.zip(timeout_ms)?;
    if timeout_ms > interval_ms {
        let mistake = Mistake::TimeoutOverInterval { timeout_ms, interval_ms };
        findings.error(format!("{path}.timeout_ms"), mistake);
        return None;
    }
    Some((interval_ms, timeout_ms))
}

/// Reports keys that the kind has no use for.
fn superfluous(path: &str, kind: RawKind, raw: &RawCheck, findings: &mut Findings) {
    use RawKind::{Arp, Dns, Http, Https, Ping, Udp};
    let web = matches!(kind, Http | Https);
    let keys = [
        ("port", raw.port.is_missing() || !matches!(kind, Arp | Ping), "one that has ports"),
        ("path", raw.path.is_missing() || web, WEB),
        ("host", raw.host.is_missing() || web, WEB),
        ("status", raw.status.is_missing() || web, WEB),
        ("body", raw.body.is_missing() || web, WEB),
        ("send", raw.send.is_missing() || kind == Udp, "\"udp\""),
        ("expect", raw.expect.is_missing() || kind == Udp, "\"udp\""),
        ("name", raw.name.is_missing() || kind == Dns, "\"dns\""),
    ];
    for (key, good, kinds) in keys {
        if !good {
            findings.error(format!("{path}.{key}"), Mistake::NotOfThisKind { kind: kind.word(), key, kinds });
        }
    }
}

const WEB: &str = "\"http\" or \"https\"";

fn kind(
    path: &str,
    kind: RawKind,
    raw: &RawCheck,
    service: Option<u16>,
    findings: &mut Findings,
) -> Option<Kind> {
    let mut port = |usual: Option<u16>| match &raw.port {
        Field::Given(port) => Some(*port),
        Field::Broken => None,
        Field::Missing => {
            let port = service.or(usual);
            if port.is_none() {
                findings.error(path, Mistake::Missing { key: "port", example: "port = 80" });
            }
            port
        }
    };
    Some(match kind {
        RawKind::Arp => Kind::Neighbour,
        RawKind::Ping => Kind::Echo,
        RawKind::Tcp => Kind::Tcp { port: port(None)? },
        RawKind::Http | RawKind::Https => {
            let tls = kind == RawKind::Https;
            Kind::Http(Http {
                port: port(Some(if tls { 443 } else { 80 }))?,
                tls,
                path: raw.path.clone().or("/".to_owned())?,
                host: optional(&raw.host)?,
                status: raw.status.clone().or(StatusRange { first: 200, last: 200 })?,
                body: optional(&raw.body)?,
            })
        }
        RawKind::Udp => Kind::Udp {
            port: port(None)?,
            send: raw.send.clone().or(Vec::new())?,
            expect: raw.expect.clone().or(Vec::new())?,
        },
        RawKind::Dns => {
            let port = port(Some(53))?;
            if raw.name.is_missing() {
                let example = "name = \"www.example.org\"";
                findings.error(path, Mistake::Missing { key: "name", example });
            }
            Kind::Dns(Dns { port, name: raw.name.given()?.clone() })
        }
    })
}

/// `None` where it is wrong, `Some(None)` where there is none.
fn optional<T: Clone>(field: &Field<T>) -> Option<Option<T>> {
    match field {
        Field::Missing => Some(None),
        Field::Broken => None,
        Field::Given(value) => Some(Some(value.clone())),
    }
}
