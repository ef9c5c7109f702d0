//! What a flow is looked up by.

use crate::{ClusterId, HashKey};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What kind of state hangs on a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum KeyKind {
    /// A flow: addresses, protocol, ports or echo identifier (FS-7), or none (FS-23).
    Flow = 0,
    /// All IPsec of one client: IKE, ESP, AH (FS-22).
    Ipsec = 1,
    /// A client's binding to a server; the group number stands in place of the ports (FS-24).
    Affinity = 2,
    /// A server's QUIC connection ID: its first eight bytes stand in place of the address (FS-24).
    Quic = 3,
}

const V6: u64 = 0x80;

/// The hash of keys over IPv4 that have all but the client's address and the ports in common, as far as it
/// can be known beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HalfHash(u64);

impl HalfHash {
    /// Of no key.
    pub const NONE: Self = Self(0);

    /// Of keys that are like `like`, whatever its client and its ports. `beside`: what is going to be given
    /// to [`Self::complete`] in place of the word's low half.
    pub fn new(like: &FlowKey, beside: u32, key: &HashKey) -> Self {
        Self(key.half(like.words[2] & 0xffff_ffff ^ u64::from(beside)))
    }

    /// [`FlowKey::hash`] of the key of this client and these ports. `client`: its address as it lies in the
    /// packet. `last`: in its high half the client's port and then the VIP's as they lie in a packet to the
    /// VIP, in its low half what was said.
    #[inline(always)]
    pub fn complete(self, client: u32, last: u64, key: &HashKey) -> u64 {
        key.join(u64::from(client), self.0 ^ last) | 1
    }
}

/// A flow's key. It names client side and VIP side, not source and destination, so both directions
/// are one key. The VIP itself stands in it by its cluster's number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct FlowKey {
    words: [u64; 3],
}

impl FlowKey {
    /// A key; `client` as two words, the second holding an IPv4 address (see [`address_words`]).
    #[inline(always)]
    pub fn new(
        kind: KeyKind,
        cluster: ClusterId,
        protocol: u8,
        v6: bool,
        client: [u64; 2],
        client_port: u16,
        vip_port: u16,
    ) -> Self {
        let last = u64::from(client_port) << 48
            | u64::from(vip_port) << 32
            | u64::from(cluster.0) << 16
            | u64::from(protocol) << 8
            | u64::from(v6) << 7
            | kind as u64;
        Self { words: [client[0], client[1], last] }
    }

    /// The key from its stored words.
    pub fn from_words(words: [u64; 3]) -> Self {
        Self { words }
    }

    /// The words, to be stored.
    pub fn words(&self) -> [u64; 3] {
        self.words
    }

    /// The table hash; odd, so never 0. Its low 32 bits choose the first line, its high 16 bits the owner.
    ///
    /// Addresses and ports go into it in the order of a packet's bytes, so that [`HalfHash`] finds them so.
    #[inline(always)]
    pub fn hash(&self, key: &HashKey) -> u64 {
        let [network, client, last] = self.words;
        let client = client.swap_bytes().rotate_left(32);
        let ports = ((last >> 32) as u32).swap_bytes();
        let last = last & 0xffff_ffff | u64::from(ports) << 32;
        key.join(key.one([network, client]), key.half(last)) | 1
    }

    /// The hash that choices are made by: equal in every switch with the same choice key, so the
    /// cluster's number, which differs with history, is left out.
    #[inline]
    pub fn choice(&self, key: &HashKey) -> u64 {
        key.hash3([self.words[0], self.words[1], self.words[2] & !(0xffff << 16 | 0xff)])
    }

    /// What [`Self::choice`] is when only the client's address counts.
    #[inline]
    pub fn choice_by_client(&self, key: &HashKey) -> u64 {
        key.hash3([self.words[0], self.words[1], 0])
    }

    /// The cluster.
    pub fn cluster(&self) -> ClusterId {
        ClusterId((self.words[2] >> 16) as u16)
    }

    /// IP protocol number.
    pub fn protocol(&self) -> u8 {
        (self.words[2] >> 8) as u8
    }

    /// What kind of state hangs on it.
    pub fn kind(&self) -> KeyKind {
        match self.words[2] & 0x7f {
            1 => KeyKind::Ipsec,
            2 => KeyKind::Affinity,
            3 => KeyKind::Quic,
            _ => KeyKind::Flow,
        }
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        if self.words[2] & V6 == 0 {
            IpAddr::V4(Ipv4Addr::from_bits(self.words[1] as u32))
        } else {
            IpAddr::V6(Ipv6Addr::from_bits(u128::from(self.words[0]) << 64 | u128::from(self.words[1])))
        }
    }

    /// The client's address as words.
    pub fn client_words(&self) -> [u64; 2] {
        [self.words[0], self.words[1]]
    }

    /// The client's port or the echo identifier.
    pub fn client_port(&self) -> u16 {
        (self.words[2] >> 48) as u16
    }

    /// The VIP's port.
    pub fn vip_port(&self) -> u16 {
        (self.words[2] >> 32) as u16
    }

    /// Whether the client has an IPv6 address.
    pub fn is_v6(&self) -> bool {
        self.words[2] & V6 != 0
    }
}
