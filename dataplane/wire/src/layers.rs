//! The one pass over a frame's headers that every frame goes through.
//!
//! Read first: IEEE 802.1Q clause 9 (tags), RFC 791 §3.1, RFC 8200 §4, RFC 9293 §3.1.
//!
//! The pass finds offsets and small values, and the first thing that is wrong. It decides nothing:
//! whether a malformed packet is dropped or bridged depends on where it goes (F7 holds on the VIP
//! path only). Views of the single protocols are in the other files; this file is what makes one
//! parser of them for all decisions alike (F4: one frame, one reading).

/// What the frame carries.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Network {
    /// Anything that is not looked into: other EtherTypes, 802.3 with LLC or SNAP, a second VLAN.
    #[default]
    Other,
    /// ARP.
    Arp,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Which part of a datagram the packet is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Part {
    /// The whole datagram (an IPv6 atomic fragment included).
    #[default]
    Whole,
    /// The first fragment: it has the ports.
    First,
    /// A later fragment.
    Later,
}

/// What is wrong with the headers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Flaw {
    /// Shorter than an Ethernet header and one byte.
    Runt,
    /// More than two tags, a tag that is cut off, or a VLAN behind a priority tag (F4).
    TagDepth,
    /// Version, header length or total length impossible, or cut off (F7, F9).
    IpHeader,
    /// IPv4 header checksum (F7).
    IpChecksum,
    /// Loose or strict source route option (F8).
    SourceRoute,
    /// More than 8 extension headers or 256 bytes of them, or cut off (F15).
    ExtensionHeaders,
    /// The transport header is cut off or its data offset impossible (F12).
    L4Header,
    /// A first fragment without ports, one that overwrites them, or an end beyond 64 KiB (F14).
    BadFragment,
}

/// IP protocol numbers that the switch knows by name.
pub mod protocol {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ESP.
    pub const ESP: u8 = 50;
    /// AH.
    pub const AH: u8 = 51;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// What the pass found. Offsets count from the frame's first byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Layers {
    /// What the frame carries.
    pub network: Network,
    /// Which part of a datagram it is.
    pub part: Part,
    /// IP protocol number behind all extension headers; 0 for what is not IP.
    pub protocol: u8,
    /// TCP: the flags byte. ICMP and ICMPv6: the type. Else 0.
    pub flags: u8,
    /// ICMP and ICMPv6: the code. Else 0.
    pub code: u8,
    /// How many tags the frame has, 0..=2.
    pub tags: u8,
    /// Offset of the network header.
    pub l3: u8,
    /// The VLAN that the tags name; 0 if there is none or only priority tags (VID 0).
    pub vid: u16,
    /// TCI of the outer tag.
    pub tci: u16,
    /// The EtherType behind the tags that were read.
    pub ethertype: u16,
    /// Offset of the transport header; 0 if none was read.
    pub l4: u16,
    /// End of the IP packet; what follows is padding (F9).
    pub end: u16,
    /// Source port, or the identifier of an ICMP echo; 0 where there is none.
    pub source: u16,
    /// Destination port; 0 where there is none.
    pub destination: u16,
    /// Fragment identification.
    pub id: u32,
    /// The first thing that is wrong, if anything is.
    pub flaw: Option<Flaw>,
}

#[inline(always)]
fn be16(data: &[u8], at: usize) -> Option<u16> {
    data.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

impl Layers {
    /// Reads the headers of a frame of `len` bytes of which `data` is the first segment.
    ///
    /// With a [`Flaw`], the fields behind the place of the flaw are zero. `network` is set as soon
    /// as the EtherType is known, so that a caller can still tell where the frame was going.
    #[inline]
    pub fn parse(data: &[u8], len: u32, checksum_good: bool) -> Self {
        let mut layers = Self::default();
        layers.parse_over(data, len, checksum_good);
        layers
    }

    /// What [`Self::parse`] does, in place.
    #[inline(always)]
    pub fn parse_over(&mut self, data: &[u8], len: u32, checksum_good: bool) {
        *self = Self::default();
        self.flaw = self.read(data, len as usize, checksum_good).err();
    }

    #[inline(always)]
    fn read(&mut self, data: &[u8], len: usize, checksum_good: bool) -> Result<(), Flaw> {
        let mut ethertype = be16(data, 12).ok_or(Flaw::Runt)?;
        let mut l3 = 14;
        if ethertype == 0x8100 || ethertype == 0x88a8 {
            (ethertype, l3) = self.read_tags(data, ethertype)?;
        }
        self.l3 = l3 as u8;
        self.ethertype = ethertype;
        match ethertype {
            0x0800 => {
                self.network = Network::V4;
                self.read_v4(data, len, l3, checksum_good)
            }
            0x86dd => {
                self.network = Network::V6;
                self.read_v6(data, len, l3)
            }
            0x0806 => {
                self.network = Network::Arp;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// At most two tags. VID 0 names no VLAN, for every decision alike. A second VLAN inside the
    /// first is another network: it is not looked into.
    #[cold]
    fn read_tags(&mut self, data: &[u8], first: u16) -> Result<(u16, usize), Flaw> {
        let mut ethertype = first;
        let mut at = 14;
        while ethertype == 0x8100 || ethertype == 0x88a8 {
            if self.tags == 2 {
                return Err(Flaw::TagDepth);
            }
            let tci = be16(data, at).ok_or(Flaw::TagDepth)?;
            ethertype = be16(data, at + 2).ok_or(Flaw::TagDepth)?;
            if self.tags == 0 {
                self.tci = tci;
            }
            self.tags += 1;
            at += 4;
            let vid = tci & 0x0fff;
            if self.tags == 1 {
                self.vid = vid;
            } else if self.vid == 0 && vid != 0 {
                // A VLAN hidden behind a priority tag: nothing honest sends it, and a port that takes
                // the outer tag off would let it through (VU#855201).
                return Err(Flaw::TagDepth);
            } else if vid != 0 {
                // Still refuse a third tag, then leave the inner VLAN alone.
                if ethertype == 0x8100 || ethertype == 0x88a8 {
                    return Err(Flaw::TagDepth);
                }
                return Ok((0x8100, at));
            }
        }
        Ok((ethertype, at))
    }

    #[inline(always)]
    fn read_v4(&mut self, data: &[u8], len: usize, l3: usize, checksum_good: bool) -> Result<(), Flaw> {
        let header: &[u8; 20] =
            data.get(l3..l3 + 20).and_then(|h| h.try_into().ok()).ok_or(Flaw::IpHeader)?;
        let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let header_len = if header[0] == 0x45 {
            if !checksum_good && !sums_to_zero(header) {
                return Err(Flaw::IpChecksum);
            }
            20
        } else {
            v4_options(data, l3, checksum_good)?
        };
        if total < header_len || l3 + total > len {
            return Err(Flaw::IpHeader);
        }
        let l4 = l3 + header_len;
        let end = l3 + total;
        self.protocol = header[9];
        self.end = end.min(usize::from(u16::MAX)) as u16;
        let fragment = u16::from_be_bytes([header[6], header[7]]);
        if fragment & 0x3fff != 0 {
            self.id = u32::from(u16::from_be_bytes([header[4], header[5]]));
            let offset = usize::from(fragment & 0x1fff) * 8;
            return self.read_fragment(data, l4, end, offset, fragment & 0x2000 != 0);
        }
        self.read_l4(data, l4, end)
    }

    #[inline]
    fn read_v6(&mut self, data: &[u8], len: usize, l3: usize) -> Result<(), Flaw> {
        let header: &[u8; 40] =
            data.get(l3..l3 + 40).and_then(|h| h.try_into().ok()).ok_or(Flaw::IpHeader)?;
        let end = l3 + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if header[0] >> 4 != 6 || end > len {
            return Err(Flaw::IpHeader);
        }
        self.end = end.min(usize::from(u16::MAX)) as u16;
        self.protocol = header[6];
        let l4 = l3 + 40;
        match self.protocol {
            protocol::TCP | protocol::UDP | protocol::ICMPV6 => self.read_l4(data, l4, end),
            _ => self.read_v6_extensions(data, l4, end),
        }
    }

    /// RFC 8200 §4: hop-by-hop 0, routing 43, fragment 44, destination options 60, mobility 135,
    /// HIP 139, shim6 140. ESP and AH are protocols of their own here (FS-22).
    fn read_v6_extensions(&mut self, data: &[u8], mut at: usize, end: usize) -> Result<(), Flaw> {
        let start = at;
        for _ in 0..9 {
            match self.protocol {
                0 | 43 | 60 | 135 | 139 | 140 => {
                    let next = *data.get(at).ok_or(Flaw::ExtensionHeaders)?;
                    let words = *data.get(at + 1).ok_or(Flaw::ExtensionHeaders)?;
                    at += 8 + 8 * usize::from(words);
                    self.protocol = next;
                }
                44 => {
                    let header = data.get(at..at + 8).ok_or(Flaw::ExtensionHeaders)?;
                    self.protocol = header[0];
                    let field = u16::from_be_bytes([header[2], header[3]]);
                    at += 8;
                    // An atomic fragment (RFC 6946) is a whole datagram.
                    if field & 0xfff9 != 0 && at <= end {
                        self.id = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
                        let offset = usize::from(field & 0xfff8);
                        return self.read_fragment(data, at, end, offset, field & 1 != 0);
                    }
                }
                _ => return self.read_l4(data, at, end),
            }
            if at > end || at - start > 256 {
                return Err(Flaw::ExtensionHeaders);
            }
        }
        Err(Flaw::ExtensionHeaders)
    }

    /// F14. `offset` in bytes; `more` fragments follow.
    fn read_fragment(
        &mut self,
        data: &[u8],
        l4: usize,
        end: usize,
        offset: usize,
        more: bool,
    ) -> Result<(), Flaw> {
        let payload = end.checked_sub(l4).ok_or(Flaw::IpHeader)?;
        if offset + payload > 65_535 || (more && payload == 0) {
            return Err(Flaw::BadFragment);
        }
        if offset == 0 {
            self.part = Part::First;
            // The first fragment of an IPv6 datagram may have more extension headers behind it;
            // then the ports are not known, and it is keyed by its addresses.
            return self.read_l4(data, l4, end).map_err(|_| Flaw::BadFragment);
        }
        self.part = Part::Later;
        // RFC 3128: a fragment at offset 8 overwrites TCP's flags.
        if offset == 8 && self.protocol == protocol::TCP {
            return Err(Flaw::BadFragment);
        }
        Ok(())
    }

    /// `l4..end` is the transport packet; `data` may end before it.
    #[inline(always)]
    fn read_l4(&mut self, data: &[u8], l4: usize, end: usize) -> Result<(), Flaw> {
        self.l4 = l4 as u16;
        let there = data.get(l4..end.min(data.len())).ok_or(Flaw::L4Header)?;
        match self.protocol {
            protocol::TCP => {
                let header: &[u8; 20] =
                    there.get(..20).and_then(|h| h.try_into().ok()).ok_or(Flaw::L4Header)?;
                let offset = usize::from(header[12] >> 4) * 4;
                // A first fragment need not hold all options.
                if offset < 20 || (offset > end - l4 && self.part == Part::Whole) {
                    return Err(Flaw::L4Header);
                }
                self.source = u16::from_be_bytes([header[0], header[1]]);
                self.destination = u16::from_be_bytes([header[2], header[3]]);
                self.flags = header[13];
            }
            protocol::UDP => {
                let header: &[u8; 8] =
                    there.get(..8).and_then(|h| h.try_into().ok()).ok_or(Flaw::L4Header)?;
                self.source = u16::from_be_bytes([header[0], header[1]]);
                self.destination = u16::from_be_bytes([header[2], header[3]]);
            }
            protocol::SCTP => {
                let header: &[u8; 12] =
                    there.get(..12).and_then(|h| h.try_into().ok()).ok_or(Flaw::L4Header)?;
                self.source = u16::from_be_bytes([header[0], header[1]]);
                self.destination = u16::from_be_bytes([header[2], header[3]]);
            }
            protocol::ICMP | protocol::ICMPV6 => {
                let header: &[u8; 8] =
                    there.get(..8).and_then(|h| h.try_into().ok()).ok_or(Flaw::L4Header)?;
                self.flags = header[0];
                self.code = header[1];
                let echo = match self.protocol {
                    protocol::ICMP => matches!(header[0], 0 | 8),
                    _ => matches!(header[0], 128 | 129),
                };
                if echo {
                    self.source = u16::from_be_bytes([header[4], header[5]]);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the frame is an ICMP or ICMPv6 error, which quotes a packet (FS-21). A later fragment
    /// has no type, and 0 would be an error of ICMPv6.
    #[inline]
    pub fn is_icmp_error(&self) -> bool {
        match self.protocol {
            _ if self.part == Part::Later => false,
            protocol::ICMP => matches!(self.flags, 3 | 4 | 5 | 11 | 12),
            protocol::ICMPV6 => self.flags < 128,
            _ => false,
        }
    }
}

/// Header length of a packet whose first byte is not 0x45.
#[cold]
fn v4_options(data: &[u8], l3: usize, checksum_good: bool) -> Result<usize, Flaw> {
    let first = data[l3];
    let header_len = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header_len < 20 {
        return Err(Flaw::IpHeader);
    }
    let header = data.get(l3..l3 + header_len).ok_or(Flaw::IpHeader)?;
    if !checksum_good && !sums_to_zero(header) {
        return Err(Flaw::IpChecksum);
    }
    let mut options = &header[20..];
    while let [kind, rest @ ..] = options {
        match kind {
            0 => break,
            1 => options = rest,
            131 | 137 => return Err(Flaw::SourceRoute),
            _ => {
                let len = usize::from(*rest.first().ok_or(Flaw::IpHeader)?);
                if len < 2 {
                    return Err(Flaw::IpHeader);
                }
                options = options.get(len..).ok_or(Flaw::IpHeader)?;
            }
        }
    }
    Ok(header_len)
}

/// RFC 1071: whether the one's complement sum, checksum included, is all ones. `header` is a
/// multiple of 4 bytes long, and not all zero.
#[inline(always)]
pub(crate) fn sums_to_zero(header: &[u8]) -> bool {
    // Byte order does not matter for the comparison, so words are read as they lie in memory. All ones is
    // 0 modulo 2^16 - 1.
    let words = header.chunks_exact(4);
    let sum = words.map(|w| u64::from(u32::from_ne_bytes([w[0], w[1], w[2], w[3]]))).sum::<u64>();
    sum % 0xffff == 0
}

#[cfg(test)]
mod tests;
