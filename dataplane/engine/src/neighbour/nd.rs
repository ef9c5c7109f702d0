//! Neighbour Discovery, and the membership that it needs (MLD).

use super::{Says, What};
use crate::Engine;
use crate::classify::Meta;
use crate::refuse::pair;
use core::net::{IpAddr, Ipv6Addr};
use dataplane_flow::Instant;
use dataplane_message::PortRole;
use dataplane_port::{DropReason, Head, PortSet, Verdict};
use dataplane_wire::nd::{Advertisement, Flags, Kind, Message};
use dataplane_wire::{AddressPair, MacAddr, ethernet, icmpv6, mld, multicast};

/// Whom a router solicitation asks: all routers (RFC 4861 §4.1).
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);

impl Engine {
    pub(super) fn nd(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        let malformed = Verdict::Drop(DropReason::NdMalformed);
        let (l3, l4, end) =
            (usize::from(meta.layers.l3), usize::from(meta.layers.l4), usize::from(meta.layers.end));
        let Some(AddressPair::V6 { src, dst }) = pair(head.data, meta) else { return malformed };
        if meta.layers.flags == icmpv6::kind::MLD_QUERY {
            return self.mld_query(head, meta, src, l4..end, now);
        }
        let hop_limit = head.data.get(l3 + 7).copied().unwrap_or(0);
        let Some(Ok(message)) = head.data.get(l4..end).map(Message::new_checked) else { return malformed };
        if !message.is_valid(src, dst, hop_limit) {
            return malformed;
        }
        let sender = (!src.is_unspecified()).then_some(IpAddr::V6(src));
        let at =
            message.source_link_layer().or(message.target_link_layer()).map_or(meta.from, MacAddr::to_u64);
        let asks = |about| Says { sender, about, what: What::Asks, at, to: None };
        let target = message.target().map(IpAddr::V6);
        let says = match message.kind() {
            Kind::NeighbourSolicitation => target.map(asks),
            Kind::NeighbourAdvertisement => target.map(|about| self.advertised(meta, about, dst, at)),
            Kind::RouterSolicitation => Some(asks(IpAddr::V6(ALL_ROUTERS))),
            Kind::RouterAdvertisement if self.is_guarded(head) => {
                return Verdict::Drop(DropReason::Guard);
            }
            // A router's unicast answer to a solicitation that was sent in the VIP's name.
            Kind::RouterAdvertisement if !dst.is_multicast() => Some(Says {
                sender: Some(IpAddr::V6(ALL_ROUTERS)),
                about: IpAddr::V6(dst),
                what: What::Answers,
                at,
                to: None,
            }),
            Kind::RouterAdvertisement => {
                // FS-12: of a pool's address, to those servers that are told this router's MAC.
                let apart = self.kept_from(head.port, meta, sender, at);
                return self.bridge_apart(head.port, meta, apart, now);
            }
            Kind::Redirect if self.tables.vip(meta.vlan, IpAddr::V6(dst)).is_some() => {
                return Verdict::Drop(DropReason::IcmpRedirect);
            }
            Kind::Redirect => None,
        };
        let Some(says) = says else {
            return self.bridge_to(head.port, meta, PortSet::EMPTY, now);
        };
        let question = says.what == What::Asks;
        let rewrite = move |data: &mut [u8], mac: MacAddr| {
            // An answer names its IP destination only; a question tells where to answer.
            if let Some(Ok(mut message)) =
                data.get_mut(l4..end).map(Message::new_checked).filter(|_| question)
            {
                message.set_source_link_layer(mac);
            }
        };
        self.judge(head, meta, says, now, rewrite, |engine, head, with| {
            let IpAddr::V6(about) = says.about else { return };
            let mut answer = Advertisement::answering(src, about, with.mac);
            if with.router {
                // Or a host takes it off its list of default routers (RFC 4861 §7.2.5).
                answer.flags = answer.flags.with(Flags::ROUTER);
            }
            // To the asker alone: RFC 6085 allows a group in a unicast frame.
            let to = if answer.dst.is_multicast() && !with.alone {
                multicast::mac_v6(answer.dst)
            } else {
                MacAddr::from_u64(meta.from)
            };
            let tci = meta.tagged.then_some(meta.layers.tci);
            let link = ethernet::Repr { src: with.mac, dst: to, tci };
            engine.outbox.frame(head.port, answer.frame_len(&link), |frame| answer.emit_frame(&link, frame));
        })
    }

    /// What an advertisement says: it claims its target, or answers the VIP that it is sent to.
    fn advertised(&self, meta: &Meta, target: IpAddr, dst: Ipv6Addr, at: u64) -> Says {
        let dst = IpAddr::V6(dst);
        let says = Says { sender: Some(target), about: target, what: What::Claims, at, to: Some(dst) };
        let claims = self.tables.vip(meta.vlan, target).is_some();
        if !claims && self.tables.vip(meta.vlan, dst).is_some() {
            return Says { about: dst, what: What::Answers, ..says };
        }
        says
    }

    fn is_guarded(&self, head: &Head<'_>) -> bool {
        self.tables.guard && self.tables.ports[head.port.index() & 31].role == PortRole::Server
    }

    /// A querier learns that the VIPs' solicited-node groups have members here, so that a switch with
    /// MLD snooping sends us what asks for them (FS-2).
    fn mld_query(
        &mut self,
        head: &Head<'_>,
        meta: &Meta,
        src: Ipv6Addr,
        message: core::ops::Range<usize>,
        now: Instant,
    ) -> Verdict {
        if let Some(Ok(query)) = head.data.get(message).map(mld::Query::new_checked) {
            let group = query.group();
            self.announcer.asked(head.port, meta.vlan, group, query.version(), now);
            self.ticked_at = None;
        }
        // FS-3: a server that asks in its VIP's name is not heard by the others.
        let apart = self.tables.vip(meta.vlan, IpAddr::V6(src)).map_or(PortSet::EMPTY, |c| c.carriers);
        self.bridge_to(head.port, meta, apart, now)
    }
}
