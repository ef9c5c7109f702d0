//! What servers send to routers: to the one that takes it (FS-12, FS-13).
//!
//! Nothing here concerns a frame that is not sent to a router's MAC. ARP and ND never come here.

use crate::classify::{Meta, Way, addresses};
use crate::tables::{Hop, HopWay};
use crate::{Engine, Tables};
use dataplane_flow::{Entry, Instant, ROUTERS_MAX, RouterId, Slot, State, TargetId};
use dataplane_message::{PROBE_PORT_FIRST, PortRole, Redirect};
use dataplane_port::{DropReason, Head, PortId, PuntReason, Verdict};
use dataplane_wire::{MacAddr, Network, Part, icmp, icmpv6, protocol};

impl Engine {
    /// A frame to the MAC of the router `id`, which is behind `port`, another one than the frame's own.
    #[inline]
    pub(crate) fn forward_to_router(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        id: RouterId,
        port: PortId,
    ) -> Verdict {
        let ip = matches!(meta.layers.network, Network::V4 | Network::V6);
        if ip && self.tables.ports[head.port.index() & 31].role == PortRole::Server {
            return self.forward_from_server(head, meta, id, port);
        }
        self.exit(port, meta)
    }

    /// The same of a server's IP packet.
    #[inline(always)]
    pub(crate) fn forward_from_server(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        id: RouterId,
        port: PortId,
    ) -> Verdict {
        let v6 = usize::from(meta.layers.network == Network::V6);
        let Some(&Hop { router, way }) = self.tables.pools.router(id).map(|r| &r.hops[v6]) else {
            return self.exit(port, meta);
        };
        let (router, port) = match way {
            HopWay::Straight => (router, port),
            way => self.elsewhere(head, meta, id, router, way).unwrap_or((router, port)),
        };
        self.count_out(router, head);
        self.exit(port, meta)
    }

    #[inline(always)]
    fn count_out(&self, router: RouterId, head: &Head<'_>) {
        let counters = self.counters().router(router);
        counters.out_frames.add(1);
        counters.out_bytes.add(u64::from(head.len));
    }

    /// The router that takes the packet in place of `router`, with its MAC written; `None`: it goes where it
    /// was sent.
    #[cold]
    fn elsewhere(
        &mut self,
        head: &mut Head<'_>,
        meta: &Meta,
        id: RouterId,
        router: RouterId,
        way: HopWay,
    ) -> Option<(RouterId, PortId)> {
        let pools = &self.tables.pools;
        let ip = addresses(head.data, meta.layers.network, usize::from(meta.layers.l3))?;
        if pools.router(id)?.owns(ip.v6, ip.destination) {
            return None;
        }
        let (own, other, redirect) = match way {
            HopWay::Straight => return None,
            HopWay::Other(other, redirect) => (router, other, redirect),
            HopWay::ByFlow(pool) => {
                // Fragments have no ports: all of a datagram by its addresses.
                let hash = if meta.way == Way::Outbound && meta.layers.part == Part::Whole {
                    meta.hash
                } else {
                    let [a, b] = ip.source;
                    let [c, d] = ip.destination;
                    self.table_key.hash3([a ^ c, b ^ d.rotate_left(32), u64::from(meta.layers.protocol)])
                };
                let (own, other) = pools.by_flow(pool, hash)?;
                (own, other, pools.redirects(pool))
            }
        };
        let stays = own != other && redirect == Redirect::NoEstablished && self.is_older(meta, own);
        let takes = if stays { own } else { other };
        let to = pools.router(takes)?;
        if to.mac == 0 || to.mac == meta.to || to.port == head.port {
            return None;
        }
        if !pools.router(router).is_some_and(|r| r.alive) {
            self.counters().router(router).redirected.add(1);
        }
        if let Some(destination) = head.data.first_chunk_mut::<6>() {
            *destination = MacAddr::from_u64(to.mac).0;
        }
        Some((takes, to.port))
    }

    /// Whether the packet's flow is a TCP one that was made before the router went down: that router may
    /// keep state for it, which no other has (FS-13, `no-established`). To the second.
    fn is_older(&self, meta: &Meta, router: RouterId) -> bool {
        if meta.way != Way::Outbound || meta.layers.protocol != protocol::TCP {
            return false;
        }
        let Some(slot) = self.shard.find(meta.hash) else { return false };
        let handshake = matches!(self.shard.entry(slot).state(), State::SynSent | State::SynAck);
        let down = self.routers_down[usize::from(router.0) & (ROUTERS_MAX - 1)];
        !handshake && self.shard.made_at_s(slot) < down
    }

    /// A server's packet to our own MAC that is for no VIP: it was told this MAC for its router while there
    /// was none (FS-30). With a live router it goes there.
    #[cold]
    pub(crate) fn forward_stray(&mut self, head: &mut Head<'_>, meta: &Meta) -> Verdict {
        let v6 = meta.layers.network == Network::V6;
        let stray = self.tables.pools.stray(meta.vlan, v6).filter(|_| meta.sender != TargetId::NONE);
        let stray = stray.map(|r| (r.hops[usize::from(v6)].router, r.mac, r.port));
        let Some((router, mac, port)) = stray.filter(|(.., port)| *port != head.port) else {
            return Verdict::Drop(DropReason::VmacNotVip);
        };
        if let Some(destination) = head.data.first_chunk_mut::<6>() {
            *destination = MacAddr::from_u64(mac).0;
        }
        self.count_out(router, head);
        self.exit(port, meta)
    }

    /// Whether it is the echo reply to a probe of a router, or through one (FS-13): from outside, to a VIP,
    /// with the identifier of a router that exists.
    pub(crate) fn answers_router_probe(&self, meta: &Meta, port: PortId) -> bool {
        let layers = &meta.layers;
        let reply = match layers.protocol {
            protocol::ICMP => layers.flags == icmp::kind::ECHO_REPLY,
            protocol::ICMPV6 => layers.flags == icmpv6::kind::ECHO_REPLY,
            _ => false,
        };
        let outside = self.tables.ports[port.index() & 31].role == PortRole::Outside;
        let number = layers.source.checked_sub(PROBE_PORT_FIRST).filter(|_| reply && outside);
        meta.way == Way::Inbound
            && number.is_some_and(|number| self.tables.pools.router(RouterId(number)).is_some())
    }

    /// An echo reply with a router's identifier goes to control, whether a server pings with the same one or
    /// not: or one that pings the same address would hide what control asks for. That server has a copy.
    #[cold]
    pub(crate) fn take_router_answer(
        &mut self,
        head: &Head<'_>,
        meta: &Meta,
        slot: Option<Slot>,
        now: Instant,
    ) -> Verdict {
        if let Err(reason) = self.examine(head, meta, now) {
            return Verdict::Drop(reason);
        }
        if let Some(slot) = slot {
            let entry = self.shard.entry(slot);
            if entry.flags() & Entry::FROM_SERVER != 0 {
                self.copy_to(head.data, meta, entry.target());
            }
        }
        Verdict::Punt(PuntReason::RouterEcho)
    }

    /// New tables: which routers go down with them.
    pub(crate) fn note_routers(&mut self, new: &Tables, now: Instant) {
        for (id, _) in new.pools.routers().filter(|(_, r)| !r.alive) {
            if self.tables.pools.router(id).is_none_or(|old| old.alive) {
                self.routers_down[usize::from(id.0) & (ROUTERS_MAX - 1)] = (now.0 / 1_000_000_000) as u32;
            }
        }
    }
}
