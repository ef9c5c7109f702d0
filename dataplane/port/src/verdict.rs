//! What can become of a frame.

use crate::{BURST, PortId, PortSet, WorkerId};
use serde::{Deserialize, Serialize};

/// What becomes of one frame of a burst. There is nothing else that can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Sent out of one port as it now is.
    Forward(PortId),
    /// Sent out of several ports, or with its tag changed.
    Flood(Flood),
    /// Sent back out of the port it came from, turned into an answer.
    Reply(PortId),
    /// Kept by the worker until its datagram's first fragment has come (FS-20).
    Hold(SlotId),
    /// Handed to the worker that owns its flow.
    Hand(WorkerId),
    /// Answered by a frame of our own, or taken in; freed.
    Consumed,
    /// Taken to the control core, and freed here.
    Punt(PuntReason),
    /// Dropped and counted.
    Drop(DropReason),
}

/// What becomes of the frames of a burst, of each or of all.
#[derive(Clone, Debug)]
pub struct Verdicts {
    each: [Verdict; BURST],
    /// What it says of all frames, it says in place of `each`.
    all_to: Option<PortId>,
}

impl Verdicts {
    /// One for each frame, to be written by their places in the burst.
    #[inline(always)]
    pub fn of_each(&mut self) -> &mut [Verdict; BURST] {
        self.all_to = None;
        &mut self.each
    }

    /// Sends all frames out of one port as they now are: what most bursts come to where two ports are in
    /// line, and what a back end does with fewer looks at each of them.
    #[inline(always)]
    pub fn send_all_to(&mut self, port: PortId) {
        self.all_to = Some(port);
    }

    /// The port that all frames are sent out of, if it was said of all at once.
    #[inline(always)]
    pub fn all_to(&self) -> Option<PortId> {
        self.all_to
    }

    /// The verdict on frame `i` of the burst.
    ///
    /// # Panics
    ///
    /// When `i` is not less than [`BURST`].
    #[inline(always)]
    pub fn of(&self, i: usize) -> Verdict {
        self.all_to.map_or(self.each[i], Verdict::Forward)
    }

    /// The verdicts, in the order of the frames.
    pub fn iter(&self) -> impl Iterator<Item = Verdict> {
        (0..BURST).map(|i| self.of(i))
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        [Verdict::Consumed; BURST].into()
    }
}

impl From<[Verdict; BURST]> for Verdicts {
    fn from(each: [Verdict; BURST]) -> Self {
        Self { each, all_to: None }
    }
}

/// The ports a frame is copied to, and what is done to its outer tag on the way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flood {
    /// Ports that get the frame as it is.
    pub plain: PortSet,
    /// Ports that get it with `edit` applied.
    pub edited: PortSet,
    /// The edit for those.
    pub edit: TagEdit,
}

/// A change of the outer 802.1Q tag between ports that carry a VLAN in different forms (FS-5).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TagEdit {
    /// As it is.
    #[default]
    None,
    /// Insert a tag with this TCI (PCP, DEI, VID) after the source address.
    Push(u16),
    /// Remove the outer tag.
    Pop,
}

/// A place in the worker's hold buffer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SlotId(pub u16);

macro_rules! reasons {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every reason, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// The reason's name in counters, `flowctl` and statistics.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

reasons! {
    /// Why a frame goes to the control core.
    PuntReason {
        /// A link-layer neighbour announces itself (LLDP).
        Lldp => "lldp",
        /// An answer to a probe of the control core, from the machine that was asked (FS-13, FS-30).
        Probe => "probe",
        /// An echo reply that may answer a probe through a router (FS-13), from anywhere.
        RouterEcho => "router-echo",
    }
}

reasons! {
    /// Why a frame was dropped. A variant here is a counter, a line of `flowctl show drops`, and a
    /// row of the statistics; there is no other list.
    DropReason {
        /// Shorter than an Ethernet header, or than its own headers say (F1).
        Runt => "runt",
        /// More than two VLAN tags, or a tag that is cut off (F4).
        TagDepth => "tag-depth",
        /// The tag's VLAN is not a member of the port, or an untagged frame where none is allowed (F5).
        VlanNotMember => "vlan-not-member",
        /// Source address multicast, broadcast or zero (F6).
        SourceMac => "source-mac",
        /// Source address is a VMAC: somebody else uses our address (FS-1).
        ForeignVmac => "foreign-vmac",
        /// PAUSE, LACP, 802.1X and the other addresses no bridge forwards (FS-5).
        LinkLocal => "link-local",
        /// A BPDU on a port with `stp = "drop"` (FS-5).
        Bpdu => "bpdu",
        /// To a VMAC, and not an IP packet to its VIP (FS-6).
        VmacNotVip => "vmac-not-vip",
        /// An IP packet to a VIP in a broadcast or multicast frame (FS-6).
        VipNotUnicast => "vip-not-unicast",
        /// IPv4 or IPv6 header malformed (F7).
        IpHeader => "ip-header",
        /// IPv4 header checksum wrong (F7).
        IpChecksum => "ip-checksum",
        /// Loose or strict source route (F8).
        SourceRoute => "source-route",
        /// Source address that no packet may have, or a VIP as source from outside (F11).
        Martian => "martian",
        /// TCP, UDP or SCTP header cut off or malformed, port 0, impossible flags (F12).
        L4Header => "l4-header",
        /// First fragment too short for its ports, an overlap, or an end beyond 64 KiB (F14).
        BadFragment => "bad-fragment",
        /// The fragment's first one did not come within 10 ms, or there was no room to wait (FS-20).
        FragmentLost => "fragment-lost",
        /// More than 8 extension headers or 256 bytes of them (F15).
        ExtensionHeaders => "extension-headers",
        /// ICMP error whose quoted packet is not one of ours (F17).
        IcmpQuote => "icmp-quote",
        /// ICMP redirect (FS-21).
        IcmpRedirect => "icmp-redirect",
        /// More ICMP errors from one source than 1,000 a second (F17).
        IcmpRate => "icmp-rate",
        /// No server for the flow, and `fail = "closed"` (FS-10a).
        NoServer => "no-server",
        /// Every server that could take the flow has as many as it may (FS-34).
        ConnectionLimit => "connection-limit",
        /// The flow's server is dead; the client is answered by a reset (FS-10).
        ServerDead => "server-dead",
        /// Every server of the cluster carries the source address itself (FS-4).
        NoOtherServer => "no-other-server",
        /// A server's reset for a flow it does not know, withheld; the next segment tries another (FS-7a).
        ResetWithheld => "reset-withheld",
        /// A second server opened the same connection as one that lives; refused to it (FS-25).
        PortTaken => "port-taken",
        /// ARP that is malformed, or whose sender is not the frame's (A4).
        ArpMalformed => "arp-malformed",
        /// ND that is malformed, or with a hop limit other than 255.
        NdMalformed => "nd-malformed",
        /// ARP or ND from outside that claims a VIP (A2).
        VipClaimed => "vip-claimed",
        /// A server's own announcement, probe or answer for its VIP, swallowed (FS-2a, FS-3).
        ServerAnnounce => "server-announce",
        /// ARP or ND answer to a VIP that nobody asked for (FS-2a).
        Unasked => "unasked",
        /// ARP or ND answers beyond 10,000 a second on the port, or 1,000 a sender (A1).
        AnswerRate => "answer-rate",
        /// ARP claiming a router's address from a server's port (A3).
        RouterClaimed => "router-claimed",
        /// ARP or ND in the name of a pool's address, kept from servers that are told another router's MAC;
        /// counted for each port that it is kept from (FS-12).
        PoolSender => "pool-sender",
        /// DHCP server or router advertisement from a server's port (FS-5).
        Guard => "guard",
        /// Broadcast, multicast and unknown unicast beyond the port's limit (FS-5).
        Storm => "storm",
        /// The destination is on the port that it came from, or nowhere else to go.
        NoEgress => "no-egress",
        /// The target's port is down.
        PortDown => "port-down",
        /// The transmit queue was full.
        TransmitFull => "transmit-full",
        /// The ring to the owning worker was full.
        HandFull => "hand-full",
        /// The buffer pool was empty.
        NoBuffer => "no-buffer",
        /// More frames of our own in one burst than there is room for.
        OutboxFull => "outbox-full",
        /// More frames for the control core than the limit of their class (A5).
        PuntRate => "punt-rate",
        /// A fault in the program: the burst was freed (`show faults`).
        Fault => "fault",
    }
}
