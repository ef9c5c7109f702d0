//! Frames as typed views, and the one parser.
//!
//! A view (`arp::Packet`, `tcp::Segment` ...) lends names to the bytes of a buffer; it knows offsets
//! and nothing else. `new_checked` looks at lengths once; no getter or setter panics afterwards,
//! whatever the bytes are. A frame of our own is made by a type that says what it means
//! (`arp::Repr`, `nd::Advertisement`, `tcp::Reset` ...) and writes it with `emit_frame` into a buffer
//! of `frame_len` bytes.
//!
//! Every protocol's file has the same parts in the same order: field ranges, `new_checked`, getters,
//! setters, Display, what is emitted, tests on real bytes.

mod address_pair;
pub mod arp;
mod bytes;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmpv6;
pub mod ipv4;
pub mod ipv6;
mod layers;
pub mod lldp;
mod mac;
mod malformed;
pub mod mld;
pub mod multicast;
pub mod nd;
mod plain;
pub mod quic;
pub mod sctp;
pub mod tcp;
pub mod udp;
pub mod vlan;

pub use address_pair::AddressPair;
pub use layers::{Flaw, Layers, Network, Part, protocol};
pub use mac::{MacAddr, NotAMac};
pub use malformed::Malformed;
pub use plain::{CHECKSUM_GOOD_BELOW, Outline, Plain, PlainTcp, Tagged, TcpLengths, UntaggedV4, UntaggedV6};
