//! Frames, read slowly. Every fault is collected, under the name that its drop has.

use crate::table::Mac;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A frame's head.
#[derive(Clone, Debug)]
pub struct Link<'a> {
    /// Destination address.
    pub dst: Mac,
    /// Source address.
    pub src: Mac,
    /// VID of the outer tag; 0 when there is none or it is a priority tag (F4).
    pub vid: u16,
    /// There is a VLAN within the VLAN, so nobody looks further.
    pub nested: bool,
    /// Type behind the tags.
    pub ethertype: u16,
    /// What follows it.
    pub payload: &'a [u8],
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Reads addresses and tags; the drop's name if that cannot be done.
pub fn link(frame: &[u8]) -> Result<Link<'_>, &'static str> {
    if frame.len() < 14 {
        return Err("runt");
    }
    let mut mac = [0; 12];
    mac.copy_from_slice(&frame[..12]);
    let [a, b, c, d, e, f, src @ ..] = mac;
    let mut at = 12;
    let mut vids = Vec::new();
    loop {
        let ethertype = be16(frame, at).ok_or("tag-depth")?;
        if !matches!(ethertype, 0x8100 | 0x88a8) {
            // F4: VID 0 names no VLAN; a VLAN behind a priority tag is one that somebody hides.
            let nested = vids.len() == 2 && vids[1] != 0;
            let vid = vids.first().copied().unwrap_or(0);
            if nested && vid == 0 {
                return Err("tag-depth");
            }
            return Ok(Link {
                dst: [a, b, c, d, e, f],
                src,
                vid,
                nested,
                ethertype,
                payload: &frame[at + 2..],
            });
        }
        if vids.len() == 2 {
            return Err("tag-depth");
        }
        vids.push(be16(frame, at + 2).ok_or("tag-depth")? & 0x0fff);
        at += 4;
    }
}

/// An IP packet.
#[derive(Clone, Debug)]
pub struct Ip<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Protocol behind all extension headers.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// The fragment it is.
    pub fragment: Option<Fragment>,
    /// What is behind the headers, padding cut off.
    pub payload: &'a [u8],
    /// What is wrong with IP itself.
    pub flaws: Vec<&'static str>,
}

/// A fragment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fragment {
    /// Identification.
    pub id: u32,
    /// Offset in bytes.
    pub offset: usize,
    /// More follow.
    pub more: bool,
}

/// Reads an IP packet. `None`: it is so short that it has no addresses.
pub fn network(ethertype: u16, packet: &[u8]) -> Option<Ip<'_>> {
    match ethertype {
        0x0800 => v4(packet),
        0x86dd => v6(packet),
        _ => None,
    }
}

fn v4(packet: &[u8]) -> Option<Ip<'_>> {
    let header: &[u8; 20] = packet.get(..20)?.try_into().ok()?;
    let mut flaws = Vec::new();
    let header_len = usize::from(header[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    if header[0] >> 4 != 4 || header_len < 20 || total < header_len || total > packet.len() {
        flaws.push("ip-header"); // F7, F9
    }
    match packet.get(..header_len.max(20)) {
        None => flaws.push("ip-header"),
        Some(whole) => {
            let sum: u32 =
                whole.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
            if (sum & 0xffff) + (sum >> 16) != 0xffff {
                flaws.push("ip-checksum"); // F7
            }
            flaws.extend(v4_options(&whole[20..]));
        }
    }
    let end = total.clamp(20, packet.len());
    let payload = packet.get(header_len.max(20)..end).unwrap_or(&[]);
    let place = u16::from_be_bytes([header[6], header[7]]);
    let fragment = (place & 0x3fff != 0).then(|| Fragment {
        id: u32::from(u16::from_be_bytes([header[4], header[5]])),
        offset: usize::from(place & 0x1fff) * 8,
        more: place & 0x2000 != 0,
    });
    let address =
        |at: usize| IpAddr::V4(Ipv4Addr::new(header[at], header[at + 1], header[at + 2], header[at + 3]));
    let (src, dst) = (address(12), address(16));
    Some(Ip { src, dst, protocol: header[9], hops: header[8], fragment, payload, flaws })
}

/// F8, and options that run over the header.
fn v4_options(options: &[u8]) -> Option<&'static str> {
    let mut at = 0;
    while at < options.len() {
        match options[at] {
            0 => return None,
            1 => at += 1,
            131 | 137 => return Some("source-route"),
            _ => {
                let len = usize::from(*options.get(at + 1).unwrap_or(&0));
                if len < 2 || at + len > options.len() {
                    return Some("ip-header");
                }
                at += len;
            }
        }
    }
    None
}

fn v6(packet: &[u8]) -> Option<Ip<'_>> {
    let header = packet.get(..40)?;
    let mut flaws = Vec::new();
    let total = 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    if header[0] >> 4 != 6 || total > packet.len() {
        flaws.push("ip-header");
    }
    let address = |at: usize| {
        let octets: [u8; 16] = header[at..at + 16].try_into().unwrap_or_default();
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let mut ip = Ip {
        src: address(8),
        dst: address(24),
        protocol: header[6],
        hops: header[7],
        fragment: None,
        payload: &packet[40..total.min(packet.len())],
        flaws,
    };
    if let Err(flaw) = v6_extensions(&mut ip) {
        ip.flaws.push(flaw);
        ip.payload = &[];
    }
    Some(ip)
}

/// F15: at most 8 headers and 256 bytes. AH and ESP are protocols (FS-22).
fn v6_extensions(ip: &mut Ip<'_>) -> Result<(), &'static str> {
    let whole = ip.payload.len();
    for _ in 0..9 {
        let len = match ip.protocol {
            0 | 43 | 60 | 135 | 139 | 140 => {
                8 + 8 * usize::from(*ip.payload.get(1).ok_or("extension-headers")?)
            }
            44 => {
                let header = ip.payload.get(..8).ok_or("extension-headers")?;
                let place = usize::from(u16::from_be_bytes([header[2], header[3]]));
                let id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                let fragment = Fragment { id, offset: place & 0xfff8, more: place & 1 != 0 };
                // An atomic fragment is a whole datagram (RFC 6946).
                ip.fragment = Some(fragment).filter(|f| f.more || f.offset != 0);
                8
            }
            _ => return Ok(()),
        };
        ip.protocol = *ip.payload.first().ok_or("extension-headers")?;
        ip.payload = ip.payload.get(len..).ok_or("extension-headers")?;
        if whole - ip.payload.len() > 256 {
            return Err("extension-headers");
        }
        if ip.fragment.is_some() {
            // A later fragment has data here. What a first one has here, nobody has to look at.
            return Ok(());
        }
    }
    Err("extension-headers")
}

/// What a flow key needs of the transport header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// Source port, or identifier of an echo.
    pub src: u16,
    /// Destination port.
    pub dst: u16,
    /// TCP's flags, or ICMP's type.
    pub flags: u8,
    /// What must be dropped on the way to a VIP.
    pub flaws: Vec<&'static str>,
    /// What may be dropped there.
    pub doubts: Vec<&'static str>,
}

impl Ip<'_> {
    /// Whether this is a fragment that is not the first.
    pub fn is_later_fragment(&self) -> bool {
        self.fragment.is_some_and(|f| f.offset != 0)
    }

    /// Reads the transport header.
    pub fn transport(&self) -> Transport {
        let mut found = Transport::default();
        if let Some(fragment) = self.fragment {
            // F14. What lies on an earlier fragment is known only by memory.
            found.doubts.extend(["bad-fragment", "fragment-lost"]);
            if fragment.offset + self.payload.len() > 65_535 || fragment.offset == 8 && self.protocol == 6 {
                found.flaws.push("bad-fragment");
            }
            if fragment.offset != 0 {
                return found;
            }
        }
        let cut_off = if self.fragment.is_some() { "bad-fragment" } else { "l4-header" };
        let ports_end = match self.protocol {
            6 => 20,
            132 => 12,
            1 | 17 | 58 => 8,
            _ => return found,
        };
        let Some(header) = self.payload.get(..ports_end) else {
            found.flaws.push(cut_off);
            return found;
        };
        let (first, second) =
            (u16::from_be_bytes([header[0], header[1]]), u16::from_be_bytes([header[2], header[3]]));
        match self.protocol {
            1 | 58 => {
                found.flags = header[0];
                if matches!((self.protocol, header[0]), (1, 0 | 8) | (58, 128 | 129)) {
                    found.src = u16::from_be_bytes([header[4], header[5]]);
                }
            }
            _ => {
                (found.src, found.dst) = (first, second);
                if first == 0 || second == 0 {
                    // F12 names TCP; of UDP a source port of 0 is lawful.
                    let list = if self.protocol == 6 { &mut found.flaws } else { &mut found.doubts };
                    list.push("l4-header");
                }
            }
        }
        if self.protocol == 6 {
            let offset = usize::from(header[12] >> 4) * 4;
            if offset < 20 || offset > self.payload.len() && self.fragment.is_none() {
                found.flaws.push(cut_off);
            }
            found.flags = header[13];
            let [fin, syn, rst, ack] = [1, 2, 4, 16].map(|bit| header[13] & bit != 0);
            if header[13] & 0x3f == 0 || syn && (fin || rst) || header[13] & 0x39 == 0x29 {
                found.flaws.push("l4-header"); // F12: null, SYN+FIN, SYN+RST, Christmas tree
            } else if !(fin || syn || rst || ack) {
                found.doubts.push("l4-header");
            }
        }
        if self.protocol == 17 {
            let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
            if len < 8 || len > self.payload.len() && self.fragment.is_none() {
                found.doubts.push("l4-header");
            }
        }
        found
    }
}
