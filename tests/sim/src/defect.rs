//! Faults put between the switch and the world on purpose: each shows that a checker can fail.

use crate::checks::{Known, Passage, Passing};
use crate::packet::{self, ACK, Arp, BROADCAST, Content, RST, SYN, arp_frame};
use crate::queue::S;
use dataplane_flow::TargetId;
use dataplane_message::{Admin, Health as Judged, TargetCondition, ToDataPath};

/// A rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defect {
    /// What is for one server reaches two.
    TwoServers,
    /// A frame leaves by the port it came in by.
    BackOut,
    /// A byte of what is steered is changed.
    InboundByte,
    /// A byte of what servers send is changed.
    OutboundByte,
    /// A server sees the VIP's announcement.
    Announcement,
    /// A frame is lost, and not counted.
    Lost,
    /// Segments of a flow go to another server.
    Moved,
    /// Some datagrams of a flow go to another server.
    Datagrams,
    /// A server gets new flows though it is down.
    Down,
    /// A server gets new flows though it is drained.
    Drained,
    /// The first server gets nothing.
    Forgotten,
    /// Control's decisions do not arrive.
    Conditions,
    /// Control takes a server out that is well.
    Alarm,
    /// Some new flows go to another server than the primary.
    Secondary,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::TwoServers,
        Self::BackOut,
        Self::InboundByte,
        Self::OutboundByte,
        Self::Announcement,
        Self::Lost,
        Self::Moved,
        Self::Datagrams,
        Self::Down,
        Self::Drained,
        Self::Forgotten,
        Self::Conditions,
        Self::Alarm,
        Self::Secondary,
    ];

    /// Spoils a message to the data path; whether it is lost.
    pub(crate) fn swallows(self, message: &mut ToDataPath, now: u64) -> bool {
        let ToDataPath::Conditions(conditions) = message else { return false };
        if self == Self::Alarm && now > 3 * S {
            let id = TargetId(0);
            conditions.targets.retain(|t| t.id != id);
            conditions.targets.push(TargetCondition { id, health: Judged::Down, admin: None, gentle: false });
        }
        self == Self::Conditions
    }

    /// Breaks the rule in what has come out.
    pub(crate) fn spoil(self, passage: &mut Passage, known: &Known) {
        match self {
            Self::Announcement if !passage.ins.is_empty() => {
                let sender = (known.vmac, known.vip);
                let claim = Arp { op: 1, sender, target: ([0; 6], known.vip) };
                passage.outs.push(Passing {
                    port: known.servers[0].port,
                    bytes: arp_frame(BROADCAST, &claim),
                    of: None,
                });
            }
            Self::Lost => drop(passage.outs.pop()),
            _ => {
                for at in 0..passage.outs.len() {
                    self.spoil_one(passage, at, known);
                }
            }
        }
    }

    fn spoil_one(self, passage: &mut Passage, at: usize, known: &Known) {
        let out = &passage.outs[at];
        let Some(frame) = packet::read(&out.bytes) else { return };
        let another = (0..known.servers.len()).find(|n| known.servers[*n].port != out.port);
        if let (Self::Datagrams, Content::Udp(client, to, _), Some(another)) = (self, frame.content, another)
            && to.0 == known.vip
            && (client.1 + u16::from(out.bytes[19])) % 8 == 0
        {
            let out = &mut passage.outs[at];
            out.port = known.servers[another].port;
            out.bytes[..6].copy_from_slice(&known.servers[another].mac);
            return;
        }
        let Content::Tcp(segment) = frame.content else { return };
        let begins = segment.flags & (SYN | ACK | RST) == SYN;
        let inward = segment.dst.0 == known.vip;
        let to = |passage: &mut Passage, server: usize| {
            let out = &mut passage.outs[at];
            out.port = known.servers[server].port;
            out.bytes[..6].copy_from_slice(&known.servers[server].mac);
        };
        match self {
            Self::TwoServers if inward => {
                if let Some(another) = another {
                    let copy = out.clone();
                    passage.outs.push(copy);
                    to(passage, another);
                }
            }
            Self::BackOut => {
                if let Some(of) = out.of {
                    passage.outs[at].port = passage.ins[of].port;
                }
            }
            Self::InboundByte if inward => {
                passage.outs[at].bytes[48] ^= 1;
                passage.outs[at].of = None;
            }
            Self::OutboundByte if !inward => {
                passage.outs[at].bytes[48] ^= 1;
                passage.outs[at].of = None;
            }
            Self::Moved if inward && !begins && segment.data.is_empty() => {
                if let Some(another) = another {
                    to(passage, another);
                }
            }
            Self::Down if inward && begins => {
                if let Some(down) = (0..known.servers.len()).find(|n| known.judged(*n) != Judged::Up) {
                    to(passage, down);
                }
            }
            Self::Drained if inward && begins => {
                if let Some(drained) = (0..known.servers.len()).find(|n| known.admin(*n) == Admin::Drain) {
                    to(passage, drained);
                }
            }
            Self::Secondary if inward && begins && segment.src.1.is_multiple_of(16) => {
                if let Some(another) = another {
                    to(passage, another);
                }
            }
            Self::Forgotten if inward && out.port == known.servers[0].port => to(passage, 1),
            _ => {}
        }
    }
}
