//! Which prober asks whom, and whose answer a frame is.

use control_probe::{
    Failure, Kind, Local, Outcome, Peer, Prober, Router, RouterKind, RouterProber, classify,
};
use core::net::IpAddr;
use dataplane_flow::{ClusterId, Instant, RouterId, TargetId};
use dataplane_port::PortId;
use dataplane_wire::MacAddr;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Who is asked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Who {
    Server(TargetId, ClusterId),
    Router(RouterId),
}

/// A check's number for life: never given again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct WatchId(pub(crate) u32);

/// What is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Server(Kind),
    Router(RouterKind),
}

/// A probe to make.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ask {
    pub(crate) watch: WatchId,
    pub(crate) who: Who,
    pub(crate) what: What,
    pub(crate) timeout_ms: u32,
    pub(crate) random: u64,
}

/// Where somebody is, and in whose name he is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seat {
    Server(Peer, Local),
    Router(Router, Local),
}

enum Asker {
    Server(Box<Prober>),
    Router(Box<RouterProber>),
}

/// The probers of all servers and routers, one for each server and cluster.
#[derive(Default)]
pub(crate) struct Probing {
    askers: HashMap<Who, (Seat, Asker)>,
    /// Whose answer it is that comes from that MAC in that VLAN (0: without a tag) for that address, which
    /// other VLANs may have too.
    servers: HashMap<(u64, u16, IpAddr), Who>,
    asked: HashMap<(Who, u16), WatchId>,
    routers_asked: HashMap<(RouterId, RouterKind), WatchId>,
    timers: BTreeSet<(Instant, Who)>,
    due: HashMap<Who, Instant>,
    frames: VecDeque<(PortId, Vec<u8>)>,
    outcomes: VecDeque<(WatchId, Outcome, Option<MacAddr>)>,
}

/// The most frames that wait to be taken; what is beyond is lost, as on any line.
const FRAMES_MAX: usize = 16_384;

impl Probing {
    /// Makes the probe. `seat` is where he is now; one that has moved is asked anew. Its outcome comes by
    /// [`Self::poll_outcome`], unless he moves or leaves before.
    pub(crate) fn start(&mut self, ask: &Ask, seat: Seat, now: Instant) {
        let who = ask.who;
        if self.askers.get(&who).is_some_and(|(at, _)| !is_same(at, &seat)) {
            self.leave(who);
        }
        if !self.askers.contains_key(&who) {
            let asker = match seat {
                Seat::Server(peer, local) => Prober::new(peer, local).map(|p| Asker::Server(Box::new(p))),
                Seat::Router(router, local) => {
                    RouterProber::new(router, local).map(|p| Asker::Router(Box::new(p)))
                }
            };
            let Ok(asker) = asker else {
                let outcome = Outcome { result: Err(Failure::NotAskable), took_us: 0 };
                self.outcomes.push_back((ask.watch, outcome, None));
                return;
            };
            if let Seat::Server(peer, _) = seat {
                self.servers.insert(place(&peer), who);
            }
            self.askers.insert(who, (seat, asker));
        }
        let Some((at, asker)) = self.askers.get_mut(&who) else { return };
        *at = seat;
        match (asker, &ask.what) {
            (Asker::Server(prober), What::Server(kind)) => {
                let number = (ask.watch.0 & 0xffff) as u16;
                if prober.start(number, kind, ask.timeout_ms, ask.random, now) {
                    self.asked.insert((who, number), ask.watch);
                }
            }
            (Asker::Router(prober), What::Router(kind)) => {
                if let (Seat::Router(router, _), Who::Router(id)) = (seat, who) {
                    prober.set_mac(router.mac);
                    if prober.start(*kind, ask.timeout_ms, ask.random, now) {
                        self.routers_asked.insert((id, *kind), ask.watch);
                    }
                }
            }
            _ => {}
        }
        self.gather(who);
    }

    /// A frame came in; it is some prober's, or nobody's. Whose it was.
    pub(crate) fn handle_frame(&mut self, port: PortId, frame: &[u8], now: Instant) -> Option<Who> {
        let answer = classify(frame)?;
        let server = self.servers.get(&(answer.source_mac.to_u64(), answer.vid, answer.source)).copied();
        let server = server.filter(|who| match self.askers.get(who) {
            Some((Seat::Server(peer, local), _)) => peer.port == port && local.address == answer.destination,
            _ => false,
        });
        if let Some(who) = server {
            if let Some((_, Asker::Server(prober))) = self.askers.get_mut(&who) {
                prober.handle_frame(frame, now);
            }
            self.gather(who);
            return Some(who);
        }
        let who = self.askers.iter().find_map(|(who, (seat, _))| match seat {
            Seat::Router(router, local) => (local.address == answer.destination
                && answer.kind.id().map_or(answer.source == router.address, |id| id == local.id))
            .then_some(*who),
            Seat::Server(..) => None,
        })?;
        if let Some((_, Asker::Router(prober))) = self.askers.get_mut(&who) {
            prober.handle_frame(frame, now);
        }
        self.gather(who);
        Some(who)
    }

    pub(crate) fn handle_deadline(&mut self, now: Instant) {
        while let Some((at, who)) = self.timers.first().copied()
            && at <= now
        {
            self.timers.remove(&(at, who));
            self.due.remove(&who);
            match self.askers.get_mut(&who) {
                Some((_, Asker::Server(prober))) => prober.handle_deadline(now),
                Some((_, Asker::Router(prober))) => prober.handle_deadline(now),
                None => {}
            }
            self.gather(who);
            // A deadline that does not move on must not hold the loop.
            if self.due.get(&who).is_some_and(|due| *due <= now) {
                self.schedule(who, Some(Instant(now.0 + 1_000_000)));
            }
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn poll_transmit(&mut self) -> Option<(PortId, Vec<u8>)> {
        self.frames.pop_front()
    }

    /// What came of a probe, and the MAC that a router has told.
    pub(crate) fn poll_outcome(&mut self) -> Option<(WatchId, Outcome, Option<MacAddr>)> {
        self.outcomes.pop_front()
    }

    /// Nobody else than those is asked any more.
    pub(crate) fn retain(&mut self, stays: impl Fn(Who) -> bool) {
        let gone: Vec<Who> = self.askers.keys().copied().filter(|who| !stays(*who)).collect();
        for who in gone {
            self.leave(who);
        }
    }

    /// The data path has gone: what is asked is forgotten.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn leave(&mut self, who: Who) {
        if let Some((Seat::Server(peer, _), _)) = self.askers.remove(&who) {
            self.servers.remove(&place(&peer));
        }
        self.asked.retain(|(asked, _), _| *asked != who);
        self.routers_asked.retain(|(asked, _), _| Who::Router(*asked) != who);
        self.schedule(who, None);
    }

    fn gather(&mut self, who: Who) {
        let Some((seat, asker)) = self.askers.get_mut(&who) else { return };
        let due = match (asker, seat) {
            (Asker::Server(prober), Seat::Server(peer, _)) => {
                while let Some(frame) = prober.poll_transmit() {
                    if self.frames.len() < FRAMES_MAX {
                        self.frames.push_back((peer.port, frame));
                    }
                }
                while let Some((number, outcome)) = prober.poll_outcome() {
                    if let Some(watch) = self.asked.remove(&(who, number)) {
                        self.outcomes.push_back((watch, outcome, None));
                    }
                }
                prober.next_deadline()
            }
            (Asker::Router(prober), Seat::Router(router, _)) => {
                while let Some(frame) = prober.poll_transmit() {
                    if self.frames.len() < FRAMES_MAX {
                        self.frames.push_back((router.port, frame));
                    }
                }
                while let Some(answer) = prober.poll_answer() {
                    let Who::Router(id) = who else { continue };
                    if let Some(watch) = self.routers_asked.remove(&(id, answer.kind)) {
                        self.outcomes.push_back((watch, answer.outcome, answer.mac));
                    }
                }
                prober.next_deadline()
            }
            _ => None,
        };
        self.schedule(who, due);
    }

    fn schedule(&mut self, who: Who, due: Option<Instant>) {
        if let Some(before) = self.due.remove(&who) {
            self.timers.remove(&(before, who));
        }
        if let Some(due) = due {
            self.due.insert(who, due);
            self.timers.insert((due, who));
        }
    }
}

/// What a server's answers come from.
fn place(peer: &Peer) -> (u64, u16, IpAddr) {
    (peer.mac.to_u64(), peer.tci.unwrap_or(0) & 0xfff, peer.address)
}

/// A router whose MAC has become known is the same one still.
fn is_same(a: &Seat, b: &Seat) -> bool {
    match (a, b) {
        (Seat::Router(a, local), Seat::Router(b, other)) => {
            local == other && Router { mac: None, ..*a } == Router { mac: None, ..*b }
        }
        _ => a == b,
    }
}

impl core::fmt::Debug for Probing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Probing").field("asked", &self.askers.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane_wire::{arp, ethernet};

    #[test]
    fn fs30_one_vip_in_two_vlans_of_a_trunk_is_two_servers() {
        let (mac, vip, gateway) = (MacAddr([2, 0, 0, 0, 1, 1]), [10, 9, 0, 100], [10, 9, 0, 1]);
        let vmac = MacAddr([2, 0, 0x5e, 0, 0, 1]);
        let mut probing = Probing::default();
        let who = |cluster| Who::Server(TargetId(0), ClusterId(cluster));
        for (cluster, vlan) in [(0, 11), (1, 12)] {
            let peer = Peer { mac, address: vip.into(), tci: Some(vlan), port: PortId(3) };
            let local = Local { mac: vmac, address: gateway.into(), id: 61_440 };
            let what = What::Server(Kind::Neighbour);
            let ask =
                Ask { watch: WatchId(vlan.into()), who: who(cluster), what, timeout_ms: 100, random: 1 };
            probing.start(&ask, Seat::Server(peer, local), Instant(0));
        }
        for (cluster, vlan) in [(0, 11), (1, 12)] {
            let link = ethernet::Repr { src: mac, dst: vmac, tci: Some(vlan) };
            let mut frame = vec![0; link.frame_len(arp::PACKET_LEN)];
            let reply = arp::Repr {
                operation: arp::Operation::Reply,
                sender_mac: mac,
                sender_ip: vip.into(),
                target_mac: vmac,
                target_ip: gateway.into(),
            };
            reply.emit_frame(&link, &mut frame);
            assert_eq!(probing.handle_frame(PortId(3), &frame, Instant(1)), Some(who(cluster)));
            let outcome = probing.poll_outcome().expect("it has answered");
            assert_eq!((outcome.0, outcome.1.result), (WatchId(vlan.into()), Ok(())));
        }
    }
}
