//! ICMP and ICMPv6 errors toward a VIP (FS-21, F17, F18).
//!
//! Read first: RFC 792, RFC 4443 §2.4 and §3, RFC 5927.

use crate::classify::{Meta, Way, addresses, flow_key};
use crate::tables::ClusterTable;
use dataplane_flow::HashKey;
use dataplane_port::DropReason;
use dataplane_wire::{Layers, Network, protocol};

/// Keys an ICMP error by the packet it quotes, which the VIP must have sent. An error changes no
/// table: it only goes where the flow goes.
pub(crate) fn quoted_key(data: &[u8], table_key: &HashKey, cluster: &ClusterTable, meta: &mut Meta) {
    let layers = &meta.layers;
    let redirect = layers.protocol == protocol::ICMP && layers.flags == 5;
    if redirect {
        meta.way = Way::Drop(DropReason::IcmpRedirect);
        return;
    }
    let quote = usize::from(layers.l4) + 8;
    match quoted(data, quote, usize::from(layers.end), layers.network) {
        Some(quoted) if quoted.source == cluster.vip_words => {
            // The quoted packet went from the VIP to the client, so its source port is the VIP's.
            let icmp = matches!(quoted.protocol, protocol::ICMP | protocol::ICMPV6);
            let (client_port, vip_port) = if icmp {
                (quoted.source_port, quoted.destination_port)
            } else {
                (quoted.destination_port, quoted.source_port)
            };
            meta.key = flow_key(
                cluster.id,
                quoted.protocol,
                layers.network == Network::V6,
                quoted.destination,
                client_port,
                vip_port,
            );
            meta.hash = meta.key.hash(table_key);
        }
        _ => meta.way = Way::Drop(DropReason::IcmpQuote),
    }
}

/// Whether the error quotes a probe from this address and port.
pub(crate) fn quotes_probe(data: &[u8], layers: &Layers, probe: [u64; 2], port: u16) -> bool {
    let at = usize::from(layers.l4) + 8;
    quoted(data, at, usize::from(layers.end), layers.network)
        .is_some_and(|quoted| quoted.source == probe && quoted.source_port == port)
}

struct Quoted {
    protocol: u8,
    source: [u64; 2],
    destination: [u64; 2],
    source_port: u16,
    destination_port: u16,
}

/// Reads the quoted packet at `at`; of its transport header only the first four bytes (eight for an
/// echo) need to be there. Quoted lengths and checksums are not looked at: routers change them.
fn quoted(data: &[u8], at: usize, end: usize, network: Network) -> Option<Quoted> {
    let data = data.get(..end.min(data.len()))?;
    let ip = addresses(data, network, at)?;
    let (protocol, l4, later) = match network {
        Network::V4 => {
            let first = *data.get(at)?;
            let header = usize::from(first & 15) * 4;
            let fragment = u16::from_be_bytes([*data.get(at + 6)?, *data.get(at + 7)?]);
            if first >> 4 != 4 || header < 20 {
                return None;
            }
            (*data.get(at + 9)?, at + header, fragment & 0x1fff != 0)
        }
        _ => v6_transport(data, at)?,
    };
    let mut quoted = Quoted {
        protocol,
        source: ip.source,
        destination: ip.destination,
        source_port: 0,
        destination_port: 0,
    };
    if later {
        // A later fragment has no ports: by the addresses, which only hashing uses.
        return Some(quoted);
    }
    let word = |at: usize| Some(u16::from_be_bytes([*data.get(at)?, *data.get(at + 1)?]));
    match protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => {
            quoted.source_port = word(l4)?;
            quoted.destination_port = word(l4 + 2)?;
        }
        protocol::ICMP if matches!(*data.get(l4)?, 0 | 8) => quoted.source_port = word(l4 + 4)?,
        protocol::ICMPV6 if matches!(*data.get(l4)?, 128 | 129) => quoted.source_port = word(l4 + 4)?,
        _ => {}
    }
    Some(quoted)
}

/// (protocol, offset of the transport header, it is a later fragment) of a quoted IPv6 packet.
fn v6_transport(data: &[u8], at: usize) -> Option<(u8, usize, bool)> {
    if *data.get(at)? >> 4 != 6 {
        return None;
    }
    let mut protocol = *data.get(at + 6)?;
    let mut l4 = at + 40;
    for _ in 0..8 {
        match protocol {
            0 | 43 | 60 | 135 | 139 | 140 => {
                protocol = *data.get(l4)?;
                l4 += 8 + 8 * usize::from(*data.get(l4 + 1)?);
            }
            44 => {
                let field = u16::from_be_bytes([*data.get(l4 + 2)?, *data.get(l4 + 3)?]);
                protocol = *data.get(l4)?;
                l4 += 8;
                if field & 0xfff8 != 0 {
                    return Some((protocol, l4, true));
                }
            }
            _ => return Some((protocol, l4, false)),
        }
    }
    None
}
