//! Flows that find no server (FS-10a), and connections that another server has (FS-25).

use crate::Engine;
use crate::classify::Meta;
use crate::observe::segment;
use crate::outbox::OWN_FRAME_MAX;
use crate::tables::ClusterTable;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use dataplane_flow::Instant;
use dataplane_port::{DropReason, Head, Verdict};
use dataplane_wire::{AddressPair, MacAddr, Network, ethernet, icmp, icmpv6, protocol, tcp};

/// Bytes of the refused packet that are quoted: its headers, and what RFC 792 asks for.
const QUOTE: usize = 64;

impl Engine {
    /// No server takes the flow, for this reason. TCP is answered by a reset, everything else by "unreachable", at most
    /// 1,000 a second in all.
    #[cold]
    pub(crate) fn refuse(
        &mut self,
        head: &Head<'_>,
        meta: &Meta,
        cluster: &ClusterTable,
        reason: DropReason,
        now: Instant,
    ) -> Verdict {
        if !meta.layers.is_icmp_error() && self.refusals.take(now) {
            if meta.layers.protocol == protocol::TCP {
                self.reset(head, meta, cluster.vmac());
            } else {
                self.unreachable(head, meta, cluster);
            }
        }
        Verdict::Drop(reason)
    }

    /// Refuses a server's second opening of a connection that another server has, so that the
    /// application takes another port.
    pub(crate) fn reset_sender(&mut self, head: &Head<'_>, meta: &Meta) {
        let to = MacAddr::from_u64(meta.to);
        self.reset(head, meta, to);
    }

    /// Answers the segment by a reset, which seems to come from `src`; `false` when it has none or there is
    /// no room.
    pub(crate) fn reset(&mut self, head: &Head<'_>, meta: &Meta, src: MacAddr) -> bool {
        let layers = &meta.layers;
        let len = usize::from(layers.end.saturating_sub(layers.l4));
        let reset = segment(head.data, meta)
            .zip(pair(head.data, meta))
            .and_then(|(segment, pair)| tcp::Reset::answering(pair, &segment, len));
        reset.is_some_and(|reset| {
            let link = back(meta, src);
            self.outbox.frame(head.port, reset.frame_len(&link), |frame| reset.emit_frame(&link, frame))
        })
    }

    fn unreachable(&mut self, head: &Head<'_>, meta: &Meta, cluster: &ClusterTable) {
        let l3 = usize::from(meta.layers.l3);
        let end = usize::from(meta.layers.end).min(l3 + QUOTE).min(head.data.len());
        let (Some(packet), Some(pair)) = (head.data.get(l3..end), pair(head.data, meta)) else { return };
        let link = back(meta, cluster.vmac());
        match pair {
            AddressPair::V4 { src, dst } => {
                let answer = icmp::Unreachable { src: dst, dst: src, code: 1, packet };
                let len = answer.frame_len(&link);
                self.outbox.frame(head.port, len, |frame| answer.emit_frame(&link, frame));
            }
            AddressPair::V6 { src, dst } => {
                let answer = icmpv6::Unreachable { src: dst, dst: src, code: 3, packet };
                let len = answer.frame_len(&link);
                debug_assert!(len <= OWN_FRAME_MAX, "the quote is cut to fit");
                self.outbox.frame(head.port, len, |frame| answer.emit_frame(&link, frame));
            }
        }
    }
}

/// The head of a frame that goes back to where this one came from.
pub(crate) fn back(meta: &Meta, src: MacAddr) -> ethernet::Repr {
    let tci = meta.tagged.then_some(meta.layers.tci);
    ethernet::Repr { src, dst: MacAddr::from_u64(meta.from), tci }
}

/// The packet's addresses.
pub(crate) fn pair(data: &[u8], meta: &Meta) -> Option<AddressPair> {
    let l3 = usize::from(meta.layers.l3);
    let (src, dst) = match meta.layers.network {
        Network::V4 => {
            let at = |i: usize| Some(Ipv4Addr::from(*data.get(l3 + i..)?.first_chunk::<4>()?));
            (IpAddr::V4(at(12)?), IpAddr::V4(at(16)?))
        }
        Network::V6 => {
            let at = |i: usize| Some(Ipv6Addr::from(*data.get(l3 + i..)?.first_chunk::<16>()?));
            (IpAddr::V6(at(8)?), IpAddr::V6(at(24)?))
        }
        _ => return None,
    };
    AddressPair::new(src, dst)
}
