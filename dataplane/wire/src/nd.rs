//! Neighbour Discovery: solicitations, advertisements, redirects.
//!
//! Read first: RFC 4861 §4 (formats), §6.1, §7.1, §8.1 (what a receiver must check), RFC 4862 §5.4
//! (DAD), RFC 3971 §5.3.2 and RFC 7527 (the nonce).

use crate::bytes::{Field, array, put, u16_in};
use crate::icmpv6::{self, kind};
use crate::malformed::require;
use crate::{AddressPair, MacAddr, Malformed, checksum, ethernet, ipv6, multicast, protocol};
use core::fmt;
use core::net::Ipv6Addr;

/// The hop limit of every message: who is further away cannot send one.
pub const HOP_LIMIT: u8 = 255;

/// Length of a nonce in bytes, in the form that RFC 7527 uses.
pub const NONCE_LEN: usize = 6;

mod field {
    use crate::bytes::Field;

    pub(super) const TYPE: usize = 0;
    pub(super) const CODE: usize = 1;
    pub(super) const CHECKSUM: Field = 2..4;
    pub(super) const FLAGS: Field = 4..6;
    pub(super) const ROUTER_LIFETIME: Field = 6..8;
    pub(super) const TARGET: Field = 8..24;
    pub(super) const REDIRECTED: Field = 24..40;
}

/// Options.
mod option {
    pub(super) const SOURCE_LINK_LAYER: u8 = 1;
    pub(super) const TARGET_LINK_LAYER: u8 = 2;
    pub(super) const NONCE: u8 = 14;
}

/// Which message it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// RS: a host asks for routers.
    RouterSolicitation,
    /// RA: a router announces itself.
    RouterAdvertisement,
    /// NS: somebody asks for an address, checks that it is still there, or wants to take it.
    NeighbourSolicitation,
    /// NA: the answer, or an announcement.
    NeighbourAdvertisement,
    /// A router knows a better way.
    Redirect,
}

impl Kind {
    fn of(kind: u8) -> Option<Self> {
        Some(match kind {
            kind::ROUTER_SOLICITATION => Self::RouterSolicitation,
            kind::ROUTER_ADVERTISEMENT => Self::RouterAdvertisement,
            kind::NEIGHBOUR_SOLICITATION => Self::NeighbourSolicitation,
            kind::NEIGHBOUR_ADVERTISEMENT => Self::NeighbourAdvertisement,
            kind::REDIRECT => Self::Redirect,
            _ => return None,
        })
    }

    /// Bytes in front of the options.
    const fn options_at(self) -> usize {
        match self {
            Self::RouterSolicitation => 8,
            Self::RouterAdvertisement => 16,
            Self::NeighbourSolicitation | Self::NeighbourAdvertisement => 24,
            Self::Redirect => 40,
        }
    }

    const fn has_target(self) -> bool {
        matches!(self, Self::NeighbourSolicitation | Self::NeighbourAdvertisement | Self::Redirect)
    }
}

/// The flags of a neighbour advertisement.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// The sender is a router.
    pub const ROUTER: Self = Self(0x80);
    /// It answers a solicitation.
    pub const SOLICITED: Self = Self(0x40);
    /// It replaces what the receiver knows.
    pub const OVERRIDE: Self = Self(0x20);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// A message: the ICMPv6 payload of an IPv6 packet, whole and no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<T> {
    buffer: T,
    kind: Kind,
}

impl<T: AsRef<[u8]>> Message<T> {
    /// A view of `buffer`, which must hold a message of one of the five kinds, code 0, and options
    /// that are whole and not empty. No getter or setter panics afterwards.
    ///
    /// A message may be believed only if [`Self::is_valid`] too.
    pub fn new_checked(buffer: T) -> Result<Self, Malformed> {
        let bytes = buffer.as_ref();
        let kind = bytes.first().copied().and_then(Kind::of).ok_or(Malformed)?;
        let options = bytes.get(kind.options_at()..).ok_or(Malformed)?;
        require(bytes[field::CODE] == 0)?;
        let mut iter = Options { rest: options };
        iter.by_ref().for_each(drop);
        require(iter.rest.is_empty())?;
        Ok(Self { buffer, kind })
    }

    /// The bytes.
    pub fn into_inner(self) -> T {
        self.buffer
    }

    /// Which message it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The address it is about; of a redirect, the better next hop.
    pub fn target(&self) -> Option<Ipv6Addr> {
        self.kind.has_target().then(|| array::<16>(self.buffer.as_ref(), field::TARGET).into())
    }

    /// Of a redirect: whose packets should take the better way.
    pub fn redirected(&self) -> Option<Ipv6Addr> {
        (self.kind == Kind::Redirect).then(|| array::<16>(self.buffer.as_ref(), field::REDIRECTED).into())
    }

    /// R, S and O of a neighbour advertisement; none of other messages.
    pub fn flags(&self) -> Flags {
        match self.kind {
            Kind::NeighbourAdvertisement => Flags(self.buffer.as_ref()[field::FLAGS.start] & 0xe0),
            _ => Flags::default(),
        }
    }

    /// Of a router advertisement: seconds for which it is a default router; 0 if it is none.
    pub fn router_lifetime_s(&self) -> Option<u16> {
        (self.kind == Kind::RouterAdvertisement).then(|| u16_in(self.buffer.as_ref(), field::ROUTER_LIFETIME))
    }

    /// The options, in their order.
    pub fn options(&self) -> Options<'_> {
        Options { rest: &self.buffer.as_ref()[self.kind.options_at()..] }
    }

    /// The sender's Ethernet address as it tells it (NS, RS, RA).
    pub fn source_link_layer(&self) -> Option<MacAddr> {
        self.link_layer(option::SOURCE_LINK_LAYER)
    }

    /// The target's Ethernet address (NA, redirect).
    pub fn target_link_layer(&self) -> Option<MacAddr> {
        self.link_layer(option::TARGET_LINK_LAYER)
    }

    /// The nonce, by which a node knows its own probes when they come back.
    pub fn nonce(&self) -> Option<&[u8]> {
        self.options().find(|option| option.kind == option::NONCE).map(|option| option.data)
    }

    /// Whether this is duplicate address detection: a solicitation by one that has no address yet.
    pub fn is_probe(&self, src: Ipv6Addr) -> bool {
        self.kind == Kind::NeighbourSolicitation && src.is_unspecified()
    }

    /// Whether the checksum is good.
    pub fn has_good_checksum(&self, src: Ipv6Addr, dst: Ipv6Addr) -> bool {
        let bytes = self.buffer.as_ref();
        checksum::is_good(pseudo(src, dst, bytes.len()), bytes)
    }

    /// Whether a receiver may believe it, given what its IPv6 header says: hop limit, checksum, and
    /// the rules for addresses and options in RFC 4861 §6.1.1, §6.1.2, §7.1.1, §7.1.2 and §8.1.
    pub fn is_valid(&self, src: Ipv6Addr, dst: Ipv6Addr, hop_limit: u8) -> bool {
        let target = self.target().unwrap_or(Ipv6Addr::LOCALHOST);
        let tells_source = self.options().any(|option| option.kind == option::SOURCE_LINK_LAYER);
        let by_kind = match self.kind {
            Kind::RouterSolicitation => !(src.is_unspecified() && tells_source),
            Kind::RouterAdvertisement | Kind::Redirect => src.is_unicast_link_local(),
            Kind::NeighbourSolicitation => {
                !src.is_unspecified() || multicast::is_solicited_node(dst) && !tells_source
            }
            Kind::NeighbourAdvertisement => !(dst.is_multicast() && self.flags().contains(Flags::SOLICITED)),
        };
        let target_fits = self.kind == Kind::Redirect || !target.is_multicast();
        hop_limit == HOP_LIMIT
            && by_kind
            && target_fits
            && !src.is_multicast()
            && self.has_good_checksum(src, dst)
    }

    fn link_layer(&self, kind: u8) -> Option<MacAddr> {
        let data = self.options().find(|option| option.kind == kind)?.data;
        data.try_into().ok().map(MacAddr)
    }

    /// Where in the message the Ethernet address of the first such option is.
    fn link_layer_place(&self, kind: u8) -> Option<Field> {
        let bytes = self.buffer.as_ref();
        let mut options = self.options();
        loop {
            let at = bytes.len() - options.rest.len();
            let option = options.next()?;
            if option.kind == kind {
                return (option.data.len() == 6).then_some(at + 2..at + 8);
            }
        }
    }
}

impl<T: AsRef<[u8]> + AsMut<[u8]>> Message<T> {
    /// Writes the Ethernet address in the source option, and the checksum for it (FS-2a); `false` if
    /// there is no such option.
    pub fn set_source_link_layer(&mut self, addr: MacAddr) -> bool {
        self.set_link_layer(option::SOURCE_LINK_LAYER, addr)
    }

    /// Writes the Ethernet address in the target option, and the checksum for it (FS-2a); `false` if
    /// there is no such option.
    pub fn set_target_link_layer(&mut self, addr: MacAddr) -> bool {
        self.set_link_layer(option::TARGET_LINK_LAYER, addr)
    }

    /// Writes R, S and O of a neighbour advertisement, and the checksum for them; other messages stay
    /// as they are.
    pub fn set_flags(&mut self, flags: Flags) {
        if self.kind == Kind::NeighbourAdvertisement {
            let [old, reserved] = array::<2>(self.buffer.as_ref(), field::FLAGS);
            self.replace(field::FLAGS, [old & 0x1f | flags.0 & 0xe0, reserved]);
        }
    }

    fn set_link_layer(&mut self, kind: u8, addr: MacAddr) -> bool {
        match self.link_layer_place(kind) {
            Some(place) => {
                self.replace(place, addr.0);
                true
            }
            None => false,
        }
    }

    fn replace<const N: usize>(&mut self, place: Field, new: [u8; N]) {
        let old = array::<N>(self.buffer.as_ref(), place.clone());
        let sum = checksum::update(u16_in(self.buffer.as_ref(), field::CHECKSUM), &old, &new);
        put(self.buffer.as_mut(), place, new);
        put(self.buffer.as_mut(), field::CHECKSUM, sum.to_be_bytes());
    }
}

impl<T: AsRef<[u8]>> fmt::Display for Message<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::RouterSolicitation => "nd router solicitation",
            Kind::RouterAdvertisement => "nd router advertisement",
            Kind::NeighbourSolicitation => "nd who has",
            Kind::NeighbourAdvertisement => "nd advertisement",
            Kind::Redirect => "nd redirect to",
        })?;
        if let Some(target) = self.target() {
            write!(f, " {target}")?;
        }
        if let Some(mac) = self.source_link_layer() {
            write!(f, " from {mac}")?;
        }
        if let Some(mac) = self.target_link_layer() {
            write!(f, " at {mac}")?;
        }
        Ok(())
    }
}

/// An option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NdOption<'a> {
    /// Type.
    pub kind: u8,
    /// What follows type and length: 6, 14, 22 ... bytes.
    pub data: &'a [u8],
}

/// The options of a message. Ends at the first that is cut off or has the length 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = NdOption<'a>;

    fn next(&mut self) -> Option<NdOption<'a>> {
        let [kind, octets, ..] = *self.rest else { return None };
        let len = usize::from(octets) * 8;
        if len == 0 || len > self.rest.len() {
            return None;
        }
        let (option, rest) = self.rest.split_at(len);
        self.rest = rest;
        Some(NdOption { kind, data: &option[2..] })
    }
}

/// A neighbour solicitation of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Solicitation {
    /// Source address; `::` makes it a probe, which carries no source option.
    pub src: Ipv6Addr,
    /// Destination address: the target, or its solicited-node group.
    pub dst: Ipv6Addr,
    /// Who is asked for.
    pub target: Ipv6Addr,
    /// The sender's Ethernet address.
    pub source_link_layer: Option<MacAddr>,
    /// A nonce (RFC 7527).
    pub nonce: Option<[u8; NONCE_LEN]>,
}

impl Solicitation {
    /// Length of the frame in bytes.
    pub fn frame_len(&self, link: &ethernet::Repr) -> usize {
        link.frame_len(ipv6::HEADER_LEN + self.message_len())
    }

    fn message_len(&self) -> usize {
        24 + 8 * usize::from(self.source_link_layer.is_some()) + 8 * usize::from(self.nonce.is_some())
    }

    /// Writes a whole frame: head, IPv6 header, message with its checksum.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::frame_len`].
    pub fn emit_frame(&self, link: &ethernet::Repr, frame: &mut [u8]) {
        emit(link, self.src, self.dst, self.message_len(), frame, |message| {
            message[field::TYPE] = kind::NEIGHBOUR_SOLICITATION;
            put(message, field::TARGET, self.target.octets());
            let mut at = 24;
            if let Some(mac) = self.source_link_layer {
                at = put_option(message, at, option::SOURCE_LINK_LAYER, mac.0);
            }
            if let Some(nonce) = self.nonce {
                put_option(message, at, option::NONCE, nonce);
            }
        });
    }
}

/// A neighbour advertisement of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// Source address.
    pub src: Ipv6Addr,
    /// Destination address: who asked, or all nodes.
    pub dst: Ipv6Addr,
    /// Which address is where.
    pub target: Ipv6Addr,
    /// R, S and O.
    pub flags: Flags,
    /// Its Ethernet address.
    pub target_link_layer: MacAddr,
}

impl Advertisement {
    /// The announcement to all nodes that `address` is at `mac` (FS-2). Its frame goes to
    /// `multicast::mac_v6(multicast::ALL_NODES)`.
    pub fn unsolicited(address: Ipv6Addr, mac: MacAddr) -> Self {
        Self {
            src: address,
            dst: multicast::ALL_NODES,
            target: address,
            flags: Flags::OVERRIDE,
            target_link_layer: mac,
        }
    }

    /// The answer to a solicitation that came from `asker` (FS-2): R=0, O=1, and S=1 when `asker` is a
    /// unicast address. One that has no address yet is answered through all nodes.
    pub fn answering(asker: Ipv6Addr, address: Ipv6Addr, mac: MacAddr) -> Self {
        if asker.is_unspecified() || asker.is_multicast() {
            return Self::unsolicited(address, mac);
        }
        let flags = Flags::SOLICITED.with(Flags::OVERRIDE);
        Self { src: address, dst: asker, target: address, flags, target_link_layer: mac }
    }

    /// Length of the frame in bytes.
    pub fn frame_len(&self, link: &ethernet::Repr) -> usize {
        link.frame_len(ipv6::HEADER_LEN + 32)
    }

    /// Writes a whole frame: head, IPv6 header, message with its checksum.
    ///
    /// # Panics
    ///
    /// When `frame` is shorter than [`Self::frame_len`].
    pub fn emit_frame(&self, link: &ethernet::Repr, frame: &mut [u8]) {
        emit(link, self.src, self.dst, 32, frame, |message| {
            message[field::TYPE] = kind::NEIGHBOUR_ADVERTISEMENT;
            message[field::FLAGS.start] = self.flags.0 & 0xe0;
            put(message, field::TARGET, self.target.octets());
            put_option(message, 24, option::TARGET_LINK_LAYER, self.target_link_layer.0);
        });
    }
}

/// Writes a frame whose message of `len` bytes `fill` writes over zeros.
fn emit(
    link: &ethernet::Repr,
    src: Ipv6Addr,
    dst: Ipv6Addr,
    len: usize,
    frame: &mut [u8],
    fill: impl FnOnce(&mut [u8]),
) {
    let addresses = AddressPair::V6 { src, dst };
    let packet = link.emit(ethernet::EtherType::IPV6, frame);
    let rest = addresses.emit(protocol::ICMPV6, HOP_LIMIT, len as u16, packet);
    let (message, padding) = rest.split_at_mut(len);
    message.fill(0);
    fill(message);
    icmpv6::fill_checksum(addresses, message);
    padding.fill(0);
}

/// Writes an option of 8 bytes; the place behind it.
fn put_option(message: &mut [u8], at: usize, kind: u8, data: [u8; 6]) -> usize {
    message[at] = kind;
    message[at + 1] = 1;
    put(message, at + 2..at + 8, data);
    at + 8
}

fn pseudo(src: Ipv6Addr, dst: Ipv6Addr, len: usize) -> u16 {
    checksum::pseudo_v6(src, dst, protocol::ICMPV6, len as u32)
}

#[cfg(test)]
mod tests;
