//! The cases that rows, and the command line, name.

use crate::rig::Size;
use crate::script::Stream;
use crate::traffic::{ACK, From, Kind, Order, SYN};
use clap::ValueEnum;

/// What the packets are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Case {
    /// TCP over IPv4 from clients, established flows.
    Inbound,
    /// The same flows, from servers.
    Outbound,
    /// SYNs of flows that are not in the table.
    Syn,
    /// UDP from clients.
    Udp,
    /// IPsec from clients.
    Esp,
    /// Later fragments from clients.
    Fragment,
    /// As `inbound`, in a VLAN.
    Vlan,
    /// As `inbound`, over IPv6.
    Ipv6,
}

impl Case {
    /// What makes the flows.
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Inbound | Self::Outbound | Self::Syn => Kind::Tcp(ACK),
            Self::Udp => Kind::Udp,
            Self::Esp => Kind::Esp,
            Self::Fragment => Kind::LaterFragment,
            Self::Vlan => Kind::Vlan,
            Self::Ipv6 => Kind::Ipv6,
        }
    }

    /// The packets.
    pub(crate) fn stream(self, flows: u32) -> Box<Stream> {
        match self {
            Self::Syn => Stream::new(Kind::Tcp(SYN), From::Client, Order::rising(flows)),
            Self::Outbound => Stream::new(self.kind(), From::Server, Order::uniform(flows)),
            _ => Stream::new(self.kind(), From::Client, Order::uniform(flows)),
        }
    }

    /// A rig for it.
    pub(crate) fn size(self, flows: u32) -> Size {
        let size = Size::of(flows.max(1024));
        if self == Self::Ipv6 { size.long() } else { size }
    }

    /// Its name on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}
