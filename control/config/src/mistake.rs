//! What can be wrong with a file, and what to do about it.

mod caution;

pub use caution::Caution;

use core::fmt;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A mistake: the file is not used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// Where: `clusters.web.servers[2]`; empty where the line alone says it.
    pub path: String,
    /// The line in the file, from 1; 0: the file as a whole.
    pub line: u32,
    /// What.
    pub mistake: Mistake,
}

/// Something that works and that the operator should know. The file is used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigWarning {
    /// Where.
    pub path: String,
    /// The line in the file, from 1; 0: the file as a whole.
    pub line: u32,
    /// What.
    pub caution: Caution,
}

/// Every mistake of a file, in the order of its lines. Never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigErrors {
    /// The mistakes.
    pub errors: Vec<ConfigError>,
    /// What else the operator should know.
    pub warnings: Vec<ConfigWarning>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}; {}", Place(&self.path), self.mistake, self.mistake.remedy())
    }
}

/// A path before what is said about it.
struct Place<'a>(&'a str);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.caution)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl core::error::Error for ConfigError {}
impl core::error::Error for ConfigErrors {}

/// A finding as a program reads it (`check --output json`, the answer to `reload`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// Where; empty where the line alone says it.
    pub path: String,
    /// The line in the file, from 1; 0: the file as a whole.
    pub line: u32,
    /// What is wrong.
    pub problem: String,
    /// What to do; absent in a warning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Place(&self.path), self.problem)?;
        self.remedy.iter().try_for_each(|remedy| write!(f, "; {remedy}"))
    }
}

impl From<&ConfigError> for Finding {
    fn from(error: &ConfigError) -> Self {
        Self {
            path: error.path.clone(),
            line: error.line,
            problem: error.mistake.to_string(),
            remedy: Some(error.mistake.remedy()),
        }
    }
}

impl From<&ConfigWarning> for Finding {
    fn from(warning: &ConfigWarning) -> Self {
        Self {
            path: warning.path.clone(),
            line: warning.line,
            problem: warning.caution.to_string(),
            remedy: None,
        }
    }
}

/// What is wrong. Its text is the problem, [`Mistake::remedy`] what to do about it.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Mistake {
    /// The file is not TOML here.
    #[error("{message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// A key that means nothing.
    #[error("unknown key `{key}`")]
    UnknownKey {
        /// The key.
        key: String,
        /// The known key that it resembles.
        nearest: Option<String>,
        /// All known keys.
        known: Vec<&'static str>,
    },
    /// A value of another type.
    #[error("this is {found}")]
    WrongType {
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A number out of its range.
    #[error("{value} is out of range")]
    OutOfRange {
        /// The number as written.
        value: String,
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A word that is none of the known ones.
    #[error("`{value}` is not known here")]
    NotOneOf {
        /// The word.
        value: String,
        /// The known ones.
        choices: Vec<&'static str>,
    },
    /// A key that must be there.
    #[error("`{key}` is missing")]
    Missing {
        /// The key.
        key: &'static str,
        /// A line to add.
        example: &'static str,
    },
    /// A name that is not usable.
    #[error("the name `{name}` cannot be used")]
    BadName {
        /// The name.
        name: String,
    },
    /// Not a MAC address.
    #[error("`{text}` is not a MAC address")]
    BadMac {
        /// As written.
        text: String,
    },
    /// A MAC address that no station may have.
    #[error("{text} is a multicast or zero address, which no station may have")]
    MacNotUnicast {
        /// As written.
        text: String,
    },
    /// Not an IP address.
    #[error("`{text}` is not an IP address")]
    BadAddress {
        /// As written.
        text: String,
    },
    /// An IP address that no station may have.
    #[error("{text} is {kind}, which no station may have")]
    AddressNotUnicast {
        /// As written.
        text: String,
        /// What it is.
        kind: &'static str,
    },
    /// Not a key for choices.
    #[error("the key is not 32 hexadecimal digits")]
    BadChoiceKey,
    /// Not a port number, nor a range of them.
    #[error("`{text}` is neither a port nor a range of ports")]
    BadPorts {
        /// As written.
        text: String,
    },
    /// Ports where the protocol has none.
    #[error("ports are given, but the protocol has none")]
    PortsWithoutProtocol,
    /// QUIC over something else than UDP.
    #[error("QUIC is UDP, and the service is not")]
    QuicWithoutUdp,
    /// Not the name of a kernel interface.
    #[error("`{text}` cannot be the name of an interface")]
    BadInterface {
        /// As written.
        text: String,
    },
    /// Not a PCI address.
    #[error("`{text}` is not a PCI address")]
    BadPci {
        /// As written.
        text: String,
    },
    /// Not a DPDK virtual device.
    #[error("`{text}` does not name a virtual device of DPDK")]
    BadVdev {
        /// As written.
        text: String,
    },
    /// A port without a device.
    #[error("the port has no device")]
    NoDevice,
    /// A port with several devices.
    #[error("the port has more than one device")]
    ManyDevices,
    /// A driver where none is chosen.
    #[error("`driver` has a meaning only beside `interface`")]
    DriverWithoutInterface,
    /// A network card without huge pages.
    #[error("a network card needs huge pages, and `hugepages` is false")]
    PciWithoutHugepages,
    /// The device carries another port already.
    #[error("{device} already carries port {other}")]
    DeviceTaken {
        /// The device.
        device: String,
        /// The port that has it.
        other: String,
    },
    /// No port at all.
    #[error("there is no port")]
    NoPorts,
    /// Too many of a kind.
    #[error("there are {count} {things}")]
    TooMany {
        /// Of what.
        things: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        most: usize,
    },
    /// A VLAN with and without tag on one port.
    #[error("VLAN {vlan} is both the untagged and a tagged one of this port")]
    TaggedAndUntagged {
        /// The VLAN.
        vlan: u16,
    },
    /// The same value twice in a list.
    #[error("{value} is listed twice")]
    Twice {
        /// The value.
        value: String,
    },
    /// A name that nothing has.
    #[error("there is no {kind} {name}")]
    Unknown {
        /// Of which kind: port, server.
        kind: &'static str,
        /// The name.
        name: String,
        /// The name that it resembles.
        nearest: Option<String>,
        /// The table where it would be.
        table: &'static str,
    },
    /// Cores of another number than workers.
    #[error("{workers} workers and {cores} cores")]
    WorkersAndCores {
        /// How many workers.
        workers: u8,
        /// How many cores.
        cores: usize,
    },
    /// An appliance needs cores of its own.
    #[error("mode \"appliance\" needs cores of its own for the workers")]
    NoCores,
    /// A server behind a port of the outside.
    #[error("port {port} is an outside port and cannot carry a server")]
    ServerOutside {
        /// The port.
        port: String,
    },
    /// A router behind a server port.
    #[error("port {port} is a server port and cannot carry a router")]
    RouterInside {
        /// The port.
        port: String,
    },
    /// The port is not in the VLAN.
    #[error("port {port} is not in VLAN {vlan}")]
    PortNotInVlan {
        /// The port.
        port: String,
        /// The VLAN.
        vlan: u16,
    },
    /// A MAC address that something else has.
    #[error("{mac} already belongs to {owner}")]
    MacTaken {
        /// The address.
        mac: String,
        /// Whose it is.
        owner: String,
    },
    /// Two servers to learn on one port.
    #[error(
        "server {other} on port {port} is to be learned too, and the first answer cannot tell them apart"
    )]
    TwoLearning {
        /// The port.
        port: String,
        /// The other server.
        other: String,
    },
    /// Two servers of a cluster on one port (FS-3).
    #[error("port {port} already carries a server of this cluster")]
    TwoOnPort {
        /// The port.
        port: String,
    },
    /// An address that something else in the VLAN has.
    #[error("{address} in VLAN {vlan} already belongs to {owner}")]
    AddressTaken {
        /// The address.
        address: String,
        /// The VLAN.
        vlan: u16,
        /// Whose it is.
        owner: String,
    },
    /// A cluster or service without servers.
    #[error("there are no servers")]
    NoServers,
    /// A service's server that is not one of its cluster.
    #[error("server {name} is not one of cluster {cluster}")]
    NotInCluster {
        /// The server.
        name: String,
        /// The cluster.
        cluster: String,
    },
    /// A name that another service has, or that is reserved.
    #[error("the name `{name}` is taken")]
    ServiceName {
        /// The name.
        name: String,
    },
    /// Services share bindings, but not how they are made.
    #[error(
        "service {other} of affinity group `{group}` has other prefixes, another idle time or other servers"
    )]
    GroupDiffers {
        /// The group.
        group: String,
        /// The service that was there first.
        other: String,
    },
    /// Not a path of HTTP.
    #[error("`{text}` is not a path")]
    BadPath {
        /// As written.
        text: String,
    },
    /// Not a host's name.
    #[error("`{text}` is not a name")]
    BadHost {
        /// As written.
        text: String,
    },
    /// Not a status of HTTP, nor a range of them.
    #[error("`{text}` is neither a status nor a range of them")]
    BadStatus {
        /// As written.
        text: String,
    },
    /// Not bytes in hexadecimal digits.
    #[error("`{text}` is not a row of bytes")]
    BadBytes {
        /// As written.
        text: String,
    },
    /// Too long a text.
    #[error("this has {bytes} bytes")]
    TooLong {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
    /// A key that this kind of check has no use for.
    #[error("a check of kind \"{kind}\" has no `{key}`")]
    NotOfThisKind {
        /// The kind.
        kind: &'static str,
        /// The key.
        key: &'static str,
        /// The kinds that have it.
        kinds: &'static str,
    },
    /// A check whose time-out is longer than its interval.
    #[error("a probe may take {timeout_ms} ms, but the next one goes after {interval_ms} ms")]
    TimeoutOverInterval {
        /// The time-out.
        timeout_ms: u32,
        /// The interval.
        interval_ms: u32,
    },
    /// Two checks whose answers could not be told apart.
    #[error("{other} asks {place} too, and answers to the two could not be told apart")]
    SameProbe {
        /// The other check's path.
        other: String,
        /// What both ask: `TCP port 80`.
        place: String,
    },
    /// A server would be dead before it is down.
    #[error("this check takes {detection_ms} ms to notice, but a server is dead after {dead_after_ms} ms")]
    SlowerThanDead {
        /// How long until the check has failed.
        detection_ms: u64,
        /// `dead_after_ms`.
        dead_after_ms: u32,
    },
    /// No server that is not a backup.
    #[error("all servers are backups")]
    AllBackups,
    /// A quorum that cannot be.
    #[error("a quorum of {quorum} can never be up; servers that are no backups: {servers}")]
    QuorumTooLarge {
        /// The quorum.
        quorum: u16,
        /// How many servers are no backups.
        servers: usize,
    },
    /// An address of the other family.
    #[error("{address} is {is}, and {what} is {other}")]
    OtherFamily {
        /// The address.
        address: String,
        /// Its family.
        is: &'static str,
        /// What it belongs to.
        what: String,
        /// The family of that.
        other: &'static str,
    },
    /// Probes would seem to come from somebody whose answers go elsewhere.
    #[error("{address} belongs to {owner}, so answers to probes would go there")]
    ProbeTaken {
        /// The address.
        address: String,
        /// Whose it is.
        owner: String,
    },
    /// A pool without routers.
    #[error("there are no routers")]
    NoRouters,
    /// A pool's router in another VLAN.
    #[error("router {router} is in VLAN {theirs}, the pool in VLAN {vlan}")]
    RouterElsewhere {
        /// The router.
        router: String,
        /// Its VLAN.
        theirs: u16,
        /// The pool's.
        vlan: u16,
    },
    /// Two pools of one VLAN and family.
    #[error(
        "pool {other} is in VLAN {vlan} for {family} too, so a server's default router would be ambiguous"
    )]
    TwoPools {
        /// The other one.
        other: String,
        /// The VLAN.
        vlan: u16,
        /// The address family.
        family: &'static str,
    },
    /// More for one port than for the whole bridge.
    #[error("one port may have {port} addresses, but the whole bridge only {all}")]
    BridgePortMax {
        /// Of one port.
        port: u32,
        /// Of the bridge.
        all: u32,
    },
}

impl Mistake {
    /// What to do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Syntax { .. } => "correct the TOML on this line".into(),
            Self::UnknownKey { nearest: Some(nearest), .. } => format!("did you mean `{nearest}`?"),
            Self::UnknownKey { known, .. } => format!("remove it; known here: {}", known.join(", ")),
            Self::WrongType { expected, .. } => format!("write {expected}"),
            Self::OutOfRange { min, max, .. } => format!("write a number from {min} to {max}"),
            Self::NotOneOf { choices, .. } => format!("write one of {}", quoted(choices)),
            Self::Missing { example, .. } => format!("add a line like `{example}`"),
            Self::BadName { .. } => "use 1 to 32 letters, digits, `-` and `_`".into(),
            Self::BadMac { .. } => "write six hexadecimal bytes, as in \"02:00:5e:10:00:01\"".into(),
            Self::MacNotUnicast { .. } => "use the station's own address, whose first byte is even".into(),
            Self::BadAddress { .. } => {
                "write an address without prefix length, as in \"10.9.0.100\" or \"2001:db8::100\"".into()
            }
            Self::AddressNotUnicast { .. } => {
                "use an ordinary unicast address of the servers' network".into()
            }
            Self::BadChoiceKey => {
                "write 32 hexadecimal digits, or remove the line to use the published key".into()
            }
            Self::BadPorts { .. } => "write 443, or \"8000-8100\", within 1 to 65535".into(),
            Self::PortsWithoutProtocol => {
                "set protocol to \"tcp\", \"udp\" or \"sctp\", or remove `ports`".into()
            }
            Self::QuicWithoutUdp => "set protocol to \"udp\", or remove `quic`".into(),
            Self::BadInterface { .. } => {
                "use the name that `ip link` shows: up to 15 characters, no `/`, `,` or space".into()
            }
            Self::BadPci { .. } => "write domain, bus, device and function, as in \"0000:01:00.0\"".into(),
            Self::BadVdev { .. } => "write it as DPDK does, as in \"net_null0,size=64\"".into(),
            Self::NoDevice => "add `interface = \"eth0\"`, or `pci = ..`, or `vdev = ..`".into(),
            Self::ManyDevices => "keep one of `interface`, `pci` and `vdev`".into(),
            Self::DriverWithoutInterface => "remove `driver`, or name the port's kernel `interface`".into(),
            Self::PciWithoutHugepages => {
                "add `hugepages = true` to [switch], or use mode = \"appliance\"".into()
            }
            Self::DeviceTaken { .. } => "give each port a device of its own".into(),
            Self::NoPorts => "add a table such as `[ports.up1]` with `interface = \"eth0\"`".into(),
            Self::TooMany { things, most, .. } => format!("keep at most {most} {things}"),
            Self::TaggedAndUntagged { .. } => "remove it from `tagged`, or change `untagged`".into(),
            Self::Twice { .. } => "keep one of the two".into(),
            Self::Unknown { nearest: Some(nearest), .. } => format!("did you mean \"{nearest}\"?"),
            Self::Unknown { table, name, .. } => format!("add a table [{table}.{name}], or correct the name"),
            Self::WorkersAndCores { .. } => "list one core for each worker, or remove `workers`".into(),
            Self::NoCores => "add a line like `worker_cores = [2, 3]`, or use mode = \"trial\"".into(),
            Self::ServerOutside { port } => format!("add `role = \"server\"` to [ports.{port}]"),
            Self::RouterInside { port } => {
                format!("move the router, or set `role = \"outside\"` in [ports.{port}]")
            }
            Self::PortNotInVlan { port, vlan } => {
                format!("add {vlan} to `tagged` (or set `untagged = {vlan}`) in [ports.{port}]")
            }
            Self::MacTaken { .. } => "give each its own address".into(),
            Self::TwoLearning { .. } => "configure the MAC of at least one of them".into(),
            Self::TwoOnPort { .. } => "mark the port shared (FS-3)".into(),
            Self::AddressTaken { .. } => "give each its own address in this VLAN".into(),
            Self::NoServers => "add a line like `servers = [\"web-1\", \"web-2\"]`".into(),
            Self::NotInCluster { name, .. } => format!("add \"{name}\" to the cluster's `servers`"),
            Self::ServiceName { .. } => {
                "choose another one (`default` is what the other services leave over)".into()
            }
            Self::GroupDiffers { .. } => "make them equal, or give the service a group of its own".into(),
            Self::BadPath { .. } => "write it from the `/` on, as in \"/health\", without spaces".into(),
            Self::BadHost { .. } => "write a name as in \"www.example.org\", or an address".into(),
            Self::BadStatus { .. } => "write 200, or \"200-299\", within 100 to 599".into(),
            Self::BadBytes { .. } => "write two hexadecimal digits for each byte, as in \"0x00ff\"".into(),
            Self::TooLong { most, .. } => format!("keep at most {most} bytes"),
            Self::NotOfThisKind { kinds, .. } => format!("remove it, or set `kind` to {kinds}"),
            Self::TimeoutOverInterval { .. } => "lower `timeout_ms`, or raise `interval_ms`".into(),
            Self::SameProbe { other, .. } => {
                format!("remove one; if several services need it, write it once under the cluster ({other})")
            }
            Self::SlowerThanDead { detection_ms, .. } => format!(
                "raise `dead_after_ms` to {detection_ms} or more, or lower `interval_ms`, `timeout_ms` or `fall`"
            ),
            Self::AllBackups => "remove `backup = true` from one of them".into(),
            Self::QuorumTooLarge { servers, .. } => format!("write at most {servers}"),
            Self::OtherFamily { other, .. } => format!("write an {other} address"),
            Self::ProbeTaken { .. } => {
                "use the servers' default router, or an address that nobody has; or remove the line".into()
            }
            Self::NoRouters => "add a line like `routers = [\"r1\", \"r2\"]`".into(),
            Self::RouterElsewhere { .. } => "use routers of the pool's VLAN, or correct `vlan`".into(),
            Self::TwoPools { other, .. } => {
                format!("put these routers into pool {other}, or use another VLAN")
            }
            Self::BridgePortMax { .. } => "lower `addresses_port_max`, or raise `addresses_max`".into(),
        }
    }

    /// Whether a table that the parser had to leave out could be the only cause.
    pub(crate) fn may_follow_from_syntax(&self) -> bool {
        matches!(
            self,
            Self::Unknown { .. }
                | Self::Missing { .. }
                | Self::NoPorts
                | Self::NoDevice
                | Self::NoServers
                | Self::NoRouters
                | Self::NoCores
                | Self::NotInCluster { .. }
        )
    }
}

/// The known words as in a file.
fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
