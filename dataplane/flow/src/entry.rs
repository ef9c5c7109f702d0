//! What the table knows of a flow in eight bytes.

use crate::{ClusterId, TargetId};

/// How many states there are, with room to index by.
pub const STATES: usize = 16;

/// What has been seen of a flow, in both directions.
///
/// ```text
///            client SYN          server SYN+ACK      client ACK of exactly it
/// (none) ──────────────▶ SynSent ─────────────▶ SynAck ─────────▶ Established
/// (none) ── server packet (FS-7a) ─────────────────────────────▶ Established
/// (none) ── client mid-flow segment ──▶ MidFlow ── server packet but RST ──▶ Established
/// Established ── FIN of one side ──▶ HalfClosed ── FIN of the other, RST ──▶ Closed
/// ```
///
/// `SynSent`, `SynAck` and `MidFlow` live in the shard's provisional part: a flood of them never
/// displaces a flow that has carried traffic both ways (E1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// No state.
    None = 0,
    /// A SYN was seen.
    SynSent = 1,
    /// The SYN+ACK was seen; its sequence number is in the entry's cold half.
    SynAck = 2,
    /// A mid-flow segment was placed by hash; no server has answered it yet.
    MidFlow = 3,
    /// TCP that has carried traffic both ways.
    Established = 4,
    /// One side has closed.
    HalfClosed = 5,
    /// Both sides have closed, or one has reset.
    Closed = 6,
    /// UDP, seen from the opener only.
    UdpOneWay = 7,
    /// UDP, both ways.
    UdpBothWays = 8,
    /// ICMP echo.
    Icmp = 9,
    /// Any other protocol, seen from the opener only.
    OtherOneWay = 10,
    /// Any other protocol, both ways.
    OtherBothWays = 11,
    /// IPsec of one client.
    Ipsec = 12,
    /// A client's binding.
    Affinity = 13,
    /// A server's QUIC connection ID.
    Quic = 14,
}

impl State {
    pub(crate) const ALL: [Self; STATES] = [
        Self::None,
        Self::SynSent,
        Self::SynAck,
        Self::MidFlow,
        Self::Established,
        Self::HalfClosed,
        Self::Closed,
        Self::UdpOneWay,
        Self::UdpBothWays,
        Self::Icmp,
        Self::OtherOneWay,
        Self::OtherBothWays,
        Self::Ipsec,
        Self::Affinity,
        Self::Quic,
        Self::None,
    ];

    /// Whether it belongs into the provisional part.
    pub fn is_provisional(self) -> bool {
        matches!(self, Self::SynSent | Self::SynAck | Self::MidFlow)
    }

    /// Whether it counts as an open flow of its server (FS-33: flows not closed).
    #[inline]
    pub fn is_open(self) -> bool {
        !matches!(self, Self::None | Self::MidFlow | Self::Closed | Self::Affinity | Self::Quic)
    }

    /// What an entry in this state is worth when room is short; a lower one makes room.
    #[inline(always)]
    pub fn worth(self) -> u8 {
        // Four bits for each state: asked of every candidate when a table is full.
        const WORTHS: u64 = {
            let mut worths = 0;
            let mut state = 0;
            while state < STATES {
                worths |= State::ALL[state].worth_of() << (4 * state);
                state += 1;
            }
            worths
        };
        (WORTHS >> (4 * self as u32)) as u8 & 15
    }

    const fn worth_of(self) -> u64 {
        match self {
            Self::None | Self::Closed | Self::MidFlow => 0,
            Self::SynSent | Self::UdpOneWay | Self::OtherOneWay | Self::Icmp => 1,
            Self::SynAck | Self::Affinity | Self::Quic | Self::HalfClosed => 2,
            Self::UdpBothWays | Self::OtherBothWays => 3,
            Self::Established | Self::Ipsec => 4,
        }
    }

    /// The word for operators.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SynSent | Self::SynAck => "handshake",
            Self::MidFlow => "mid-flow",
            Self::Established => "established",
            Self::HalfClosed => "half-closed",
            Self::Closed => "closed",
            Self::UdpOneWay | Self::OtherOneWay => "one-way",
            Self::UdpBothWays | Self::OtherBothWays => "both-ways",
            Self::Icmp => "echo",
            Self::Ipsec => "ipsec",
            Self::Affinity => "affinity",
            Self::Quic => "quic",
        }
    }
}

/// A flow whose packets change nothing is stamped once in so many seconds, a power of two; so it may be kept for
/// `STAMP_S - 1` seconds longer than its time-out. Among many millions of flows each packet would else be its
/// flow's first in its second, and leave a cache line to be written back.
pub const STAMP_S: u16 = 4;

/// A flow's hot half: target, cluster, state, flags and the second it was last stamped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry(pub(crate) u64);

/// What [`Entry::rests_at`] looks for.
#[derive(Clone, Copy, Debug)]
pub struct Resting {
    mask: u64,
    word: u64,
}

impl Resting {
    /// For packets of servers: `outbound`. Whenever the flow was stamped.
    #[inline(always)]
    pub fn ever(outbound: bool) -> Self {
        let Self { mask, word } = Self::new(0, outbound);
        let rests = mask & word;
        Self { mask: rests, word: rests }
    }

    /// For packets in second `tick`, of servers: `outbound`.
    #[inline(always)]
    pub fn new(tick: u16, outbound: bool) -> Self {
        let rests = u64::from(if outbound { Entry::RESTS_OUTBOUND } else { Entry::RESTS_INBOUND }) << 56;
        let mask = u64::from(!(STAMP_S - 1)) << 16;
        Self { mask: rests | mask, word: rests | u64::from(tick) << 16 & mask }
    }
}

impl Entry {
    /// Flag: a server opened the flow (FS-25).
    pub const FROM_SERVER: u8 = 1;
    /// Flag: the client side has sent FIN.
    pub const FIN_CLIENT: u8 = 2;
    /// Flag: the server side has sent FIN.
    pub const FIN_SERVER: u8 = 4;
    /// Flag: the client has sent a request, its first data, or none is waited for (FS-31).
    pub const REQUESTED: u8 = 8;
    /// Flag: the server has sent data after it, or none is waited for (FS-31).
    pub const RESPONDED: u8 = 16;
    /// Flags of a flow whose first answer is not waited for.
    pub const ANSWERED: u8 = Self::REQUESTED | Self::RESPONDED;

    /// The flags above. The bits beyond are derived from them and the state, and nobody else's business:
    /// a packet of the client that neither opens nor closes anything changes nothing but the stamp.
    const FLAGS: u8 = 0x1f;
    /// Not the entry's: the table's, where the entry lies.
    pub(crate) const SPARE: u64 = 1 << 61;
    const RESTS_INBOUND: u8 = 64;
    /// The same of a server's packet.
    const RESTS_OUTBOUND: u8 = 128;

    /// A new entry; `tick` is the second, modulo 2^16.
    #[inline]
    pub fn new(target: TargetId, cluster: ClusterId, state: State, flags: u8, tick: u16) -> Self {
        let entry = u64::from(target.0) | u64::from(tick) << 16 | u64::from(cluster.0) << 32;
        Self(entry | (state as u64) << 48 | u64::from(flags & Self::FLAGS) << 56).derived()
    }

    /// With the bits that say at one glance what most packets need to know.
    #[inline]
    fn derived(self) -> Self {
        let server = self.flags() & Self::FROM_SERVER != 0;
        let rests = match self.state() {
            State::Established if self.flags() & Self::ANSWERED == Self::ANSWERED => {
                Self::RESTS_INBOUND | Self::RESTS_OUTBOUND
            }
            State::UdpBothWays | State::OtherBothWays | State::Ipsec => {
                Self::RESTS_INBOUND | Self::RESTS_OUTBOUND
            }
            // The first answer is yet to come, from the other side.
            State::UdpOneWay | State::OtherOneWay if server => Self::RESTS_OUTBOUND,
            State::UdpOneWay | State::OtherOneWay => Self::RESTS_INBOUND,
            _ => 0,
        };
        Self(self.0 & !(u64::from(!Self::FLAGS) << 56) | u64::from(rests) << 56)
    }

    /// Whether a packet in second `tick` (of a server: `outbound`) that neither opens nor closes a connection
    /// changes nothing in it: it rests, and was stamped in the same [`STAMP_S`] seconds.
    #[inline(always)]
    pub fn rests_at(self, tick: u16, outbound: bool) -> bool {
        self.is_at(Resting::new(tick, outbound))
    }

    /// The same of packets for which what to look for was made ready.
    #[inline(always)]
    pub fn is_at(self, resting: Resting) -> bool {
        self.0 & resting.mask == resting.word
    }

    /// The same whenever it was seen last.
    #[inline]
    pub fn rests(self, outbound: bool) -> bool {
        self.rests_at(self.tick(), outbound)
    }

    /// Whether a packet in second `tick` stamps it.
    #[inline]
    pub fn is_due(self, tick: u16, outbound: bool) -> bool {
        self.tick() != tick && !self.rests_at(tick, outbound)
    }

    /// Seconds that it has certainly not been seen for. What may have been seen after its stamp is its due: what
    /// rests, and the bindings that are stamped with a flow that does.
    #[inline]
    pub fn idle(self, tick: u16) -> u16 {
        let rests = self.0 >> 56 & u64::from(Self::RESTS_INBOUND | Self::RESTS_OUTBOUND) != 0;
        let may_be_seen = rests || matches!(self.state(), State::Affinity | State::Quic);
        let unseen = tick.wrapping_sub(self.tick());
        if may_be_seen { unseen.saturating_sub(STAMP_S - 1) } else { unseen }
    }

    /// The target.
    #[inline(always)]
    pub fn target(self) -> TargetId {
        TargetId(self.0 as u16)
    }

    /// The second it was last stamped, modulo 2^16.
    #[inline(always)]
    pub fn tick(self) -> u16 {
        (self.0 >> 16) as u16
    }

    /// The cluster.
    #[inline(always)]
    pub fn cluster(self) -> ClusterId {
        ClusterId((self.0 >> 32) as u16)
    }

    /// The state.
    #[inline(always)]
    pub fn state(self) -> State {
        State::ALL[(self.0 >> 48) as usize & (STATES - 1)]
    }

    /// The flags.
    #[inline(always)]
    pub fn flags(self) -> u8 {
        (self.0 >> 56) as u8 & Self::FLAGS
    }

    /// The same with another second.
    #[inline(always)]
    #[must_use]
    pub fn at(self, tick: u16) -> Self {
        Self(self.0 & !(0xffff << 16) | u64::from(tick) << 16)
    }

    /// The same in another state.
    #[inline]
    #[must_use]
    pub fn in_state(self, state: State) -> Self {
        Self(self.0 & !(0xff << 48) | (state as u64) << 48).derived()
    }

    /// The same with more flags.
    #[inline]
    #[must_use]
    pub fn with_flags(self, flags: u8) -> Self {
        Self(self.0 | u64::from(flags & Self::FLAGS) << 56).derived()
    }

    /// The same bound to another target.
    #[inline]
    #[must_use]
    pub fn to(self, target: TargetId) -> Self {
        Self(self.0 & !0xffff | u64::from(target.0))
    }
}
