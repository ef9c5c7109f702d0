//! Checks and router pools as they stand in the file.

use super::address;
use crate::mistake::Mistake;
use crate::reader::{Element, Field, Fields, Findings, boolean, described, number, text, word};
use control_probe::StatusRange;
use core::net::IpAddr;
use dataplane_message::{Redirect, Spread};
use toml::Spanned;
use toml::de::DeValue;

/// `[[clusters.NAME.checks]]`, or a service's. Which keys a kind has is not checked here.
pub(crate) struct RawCheck {
    pub(crate) kind: Field<RawKind>,
    pub(crate) port: Field<u16>,
    pub(crate) path: Field<String>,
    pub(crate) host: Field<String>,
    pub(crate) status: Field<StatusRange>,
    pub(crate) body: Field<String>,
    pub(crate) send: Field<Vec<u8>>,
    pub(crate) expect: Field<Vec<u8>>,
    pub(crate) name: Field<String>,
    pub(crate) interval_ms: Field<u32>,
    pub(crate) timeout_ms: Field<u32>,
    pub(crate) rise: Field<u16>,
    pub(crate) fall: Field<u16>,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RawKind {
    Arp,
    Ping,
    Tcp,
    Http,
    Https,
    Udp,
    Dns,
}

impl RawKind {
    /// The kind's word in the file.
    pub(crate) fn word(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| *word)
    }
}

/// `check = false` or `check = { .. }` of a router.
pub(crate) enum RouterWatch {
    /// Only its link is watched.
    Off,
    /// It is asked.
    On(RawRouterCheck),
}

/// How a router is asked.
#[derive(Default)]
pub(crate) struct RawRouterCheck {
    pub(crate) interval_ms: Field<u32>,
    pub(crate) timeout_ms: Field<u32>,
    pub(crate) rise: Field<u16>,
    pub(crate) fall: Field<u16>,
    pub(crate) through: Field<IpAddr>,
}

/// `[pools.NAME]`.
pub(crate) struct RawPool {
    pub(crate) address: Field<IpAddr>,
    pub(crate) vlan: Field<u16>,
    pub(crate) routers: Field<Vec<Element<String>>>,
    /// By measured load; else in turn.
    pub(crate) by_load: Field<bool>,
    pub(crate) spread: Field<Spread>,
    pub(crate) redirect: Field<Redirect>,
}

pub(super) fn check<'t>(
    findings: &mut Findings,
    path: &str,
    value: &'t Spanned<DeValue<'t>>,
) -> Option<RawCheck> {
    let mut fields = Fields::open(findings, path.to_owned(), value)?;
    let check = RawCheck {
        kind: fields.required("kind", "kind = \"tcp\"", word(KINDS)),
        port: fields.field("port", number(1, 65_535)),
        path: fields.field("path", http_path),
        host: fields.field("host", host),
        status: fields.field("status", status),
        body: fields.field("body", limited(BODY_MAX)),
        send: fields.field("send", payload),
        expect: fields.field("expect", payload),
        name: fields.field("name", host),
        interval_ms: fields.field("interval_ms", milliseconds()),
        timeout_ms: fields.field("timeout_ms", milliseconds()),
        rise: fields.field("rise", number(1, 100)),
        fall: fields.field("fall", number(1, 100)),
    };
    fields.close();
    Some(check)
}

pub(super) fn router_watch(outer: &mut Fields<'_, '_>) -> Field<RouterWatch> {
    let Some(value) = outer.value("check") else { return Field::Missing };
    match boolean(value.get_ref()) {
        Ok(false) => return Field::Given(RouterWatch::Off),
        Ok(true) => return Field::Missing,
        Err(_) => {}
    }
    let path = outer.path_of("check");
    let Some(mut fields) = Fields::open(outer.findings, path, value) else { return Field::Broken };
    let check = RawRouterCheck {
        interval_ms: fields.field("interval_ms", milliseconds()),
        timeout_ms: fields.field("timeout_ms", milliseconds()),
        rise: fields.field("rise", number(1, 100)),
        fall: fields.field("fall", number(1, 100)),
        through: fields.field("through", address),
    };
    fields.close();
    Field::Given(RouterWatch::On(check))
}

pub(super) fn pool(mut fields: Fields<'_, '_>) -> RawPool {
    let pool = RawPool {
        address: fields.required("address", "address = \"10.9.0.1\"", address),
        vlan: fields.field("vlan", number(1, 4094)),
        routers: fields.list("routers", "a list of routers, as in [\"r1\", \"r2\"]", super::element(text)),
        by_load: fields.field("balance", word(BALANCES)),
        spread: fields.field("spread", word(SPREADS)),
        redirect: fields.field("redirect", word(REDIRECTS)),
    };
    fields.close();
    pool
}

/// Printable, without space, and from `/` on: it stands in the first line of a request.
fn http_path(value: &DeValue<'_>) -> Result<String, Mistake> {
    let text = limited(PATH_MAX)(value)?;
    let fits = text.starts_with('/') && text.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(text) } else { Err(Mistake::BadPath { text }) }
}

/// A name of DNS, or an address.
fn host(value: &DeValue<'_>) -> Result<String, Mistake> {
    let text = text(value)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let name = text.strip_suffix('.').unwrap_or(&text);
    let fits = (name.len() <= 253 && name.split('.').all(label)) || text.parse::<IpAddr>().is_ok();
    if fits { Ok(text) } else { Err(Mistake::BadHost { text }) }
}

/// 200, or "200-299".
fn status(value: &DeValue<'_>) -> Result<StatusRange, Mistake> {
    let written = match value {
        DeValue::Integer(integer) => integer.as_str().to_owned(),
        DeValue::String(text) => text.to_string(),
        other => {
            let found = described(other);
            return Err(Mistake::WrongType { found, expected: "a status, or a range as in \"200-299\"" });
        }
    };
    let (first, last) = written.split_once('-').unwrap_or((&written, &written));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if 100 <= first && first <= last && last <= 599 => {
            Ok(StatusRange { first, last })
        }
        _ => Err(Mistake::BadStatus { text: written }),
    }
}

/// A text of at most so many bytes.
fn limited(most: usize) -> impl Fn(&DeValue<'_>) -> Result<String, Mistake> {
    move |value| {
        let text = text(value)?;
        if text.len() <= most { Ok(text) } else { Err(Mistake::TooLong { bytes: text.len(), most }) }
    }
}

/// A text, or bytes as in "0x00ff".
fn payload(value: &DeValue<'_>) -> Result<Vec<u8>, Mistake> {
    let text = text(value)?;
    let bytes = match text.strip_prefix("0x") {
        None => text.into_bytes(),
        Some(digits) if digits.len() % 2 == 0 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap_or_default();
            (0..digits.len()).step_by(2).map(byte).collect()
        }
        Some(_) => return Err(Mistake::BadBytes { text }),
    };
    if bytes.len() <= PAYLOAD_MAX {
        Ok(bytes)
    } else {
        Err(Mistake::TooLong { bytes: bytes.len(), most: PAYLOAD_MAX })
    }
}

/// A reader of milliseconds.
fn milliseconds() -> impl Fn(&DeValue<'_>) -> Result<u32, Mistake> {
    number(10, 600_000)
}

/// The longest path of an HTTP check, in bytes.
const PATH_MAX: usize = 1024;

/// The longest text that an HTTP check looks for, in bytes.
const BODY_MAX: usize = 256;

/// The longest payload of a UDP check, in bytes.
const PAYLOAD_MAX: usize = 512;

const KINDS: &[(&str, RawKind)] = &[
    ("arp", RawKind::Arp),
    ("ping", RawKind::Ping),
    ("tcp", RawKind::Tcp),
    ("http", RawKind::Http),
    ("https", RawKind::Https),
    ("udp", RawKind::Udp),
    ("dns", RawKind::Dns),
];

const BALANCES: &[(&str, bool)] = &[("load", true), ("round-robin", false)];

const SPREADS: &[(&str, Spread)] = &[("server", Spread::Server), ("flow", Spread::Flow)];

const REDIRECTS: &[(&str, Redirect)] = &[("all", Redirect::All), ("no-established", Redirect::NoEstablished)];
