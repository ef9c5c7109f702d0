//! What a worker counts.
//!
//! One writer: the worker, with a relaxed load and store (one plain `add`, no lock prefix). Anybody
//! may read. Counters only rise, but for the gauges, which are stored.

use crate::member_counters::{MEMBERS_MAX, MemberCounters};
use crate::tables::ServiceTable;
use core::sync::atomic::{AtomicU64, Ordering};
use dataplane_flow::{CLUSTERS_MAX, ClusterId, ROUTERS_MAX, RouterId, TARGETS_MAX, TargetId};
use dataplane_port::DropReason;
use dataplane_wire::protocol;

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `by`.
    #[inline(always)]
    pub fn add(&self, by: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }

    /// Replaces the number (gauges).
    pub fn put(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The number.
    #[inline]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one server: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct TargetCounters {
    /// Frames to it.
    pub in_frames: Counter,
    /// Bytes to it.
    pub in_bytes: Counter,
    /// Frames from it.
    pub out_frames: Counter,
    /// Bytes from it.
    pub out_bytes: Counter,
    /// Flows that were bound to it.
    pub flows_new: Counter,
    /// Gauge: open flows.
    pub flows_open: Counter,
    /// Frames from it that are no load but show that it lives: ARP, ND, answers to probes, whatever it sends in
    /// another name than its VIP's (FS-10).
    pub heard: Counter,
    /// Resets sent to its clients while it was dead (FS-10).
    pub resets: Counter,
}

/// Services of a cluster that are counted on their own; further ones count with the last.
pub const SERVICES_COUNTED: usize = 8;

/// Counters of one cluster.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ClusterCounters {
    /// New flows from outside.
    pub flows_new: Counter,
    /// Flows its servers opened.
    pub flows_server: Counter,
    /// Packets placed by hash alone.
    pub hashed: Counter,
    /// Questions for the VIP answered.
    pub answered: Counter,
    /// New flows by service.
    pub services: [Counter; SERVICES_COUNTED],
}

/// Counters of one router: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RouterCounters {
    /// Frames to VIPs that came from its MAC.
    pub in_frames: Counter,
    /// Their bytes.
    pub in_bytes: Counter,
    /// IP frames of servers that left for it, also where they were for another one.
    pub out_frames: Counter,
    /// Their bytes.
    pub out_bytes: Counter,
    /// Frames that were for it while it was down, and left for another one.
    pub redirected: Counter,
}

/// All counters of one worker. Sized at start; 4 MiB, of which members are 3.5.
#[derive(Debug)]
#[repr(align(64))]
pub struct Counters {
    /// Drops, by [`DropReason`].
    drops: Box<[Counter]>,
    targets: Box<[TargetCounters; TARGETS_MAX]>,
    clusters: Box<[ClusterCounters]>,
    /// One more, and then up to a power of two: who comes from no router is counted there, and never shown.
    routers: Box<[RouterCounters; 2 * ROUTERS_MAX]>,
    members: Box<[MemberCounters]>,
    /// Frames taken.
    pub frames: Counter,
    /// Bursts with at least one frame.
    pub bursts: Counter,
    /// Turns without any.
    pub idle: Counter,
    /// Frames handed to other workers.
    pub handed: Counter,
    /// Frames sent, copies included, own ones not.
    pub sent: Counter,
    /// Frames of our own that were sent.
    pub emitted: Counter,
    /// Frames taken in or answered.
    pub consumed: Counter,
    /// Frames punted.
    pub punted: Counter,
    /// Gauge: flow entries in use.
    pub flows: Counter,
    /// Gauge: flow entries there is room for.
    pub flows_max: Counter,
    /// Gauge: entries that made room for others.
    pub evicted: Counter,
    /// Gauge: fragments held.
    pub held: Counter,
    /// Gauge: the plan the worker goes by.
    pub epoch: Counter,
}

/// All of a kind, without a detour over the stack.
fn boxed<T: Default + core::fmt::Debug, const N: usize>() -> Box<[T; N]> {
    let all: Box<[T]> = core::iter::repeat_with(T::default).take(N).collect();
    all.try_into().expect("as many as were made")
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: core::iter::repeat_with(Counter::default).take(DropReason::COUNT).collect(),
            targets: boxed(),
            clusters: core::iter::repeat_with(ClusterCounters::default).take(CLUSTERS_MAX).collect(),
            routers: boxed(),
            members: core::iter::repeat_with(MemberCounters::default).take(MEMBERS_MAX).collect(),
            frames: Counter::default(),
            bursts: Counter::default(),
            idle: Counter::default(),
            handed: Counter::default(),
            sent: Counter::default(),
            emitted: Counter::default(),
            consumed: Counter::default(),
            punted: Counter::default(),
            flows: Counter::default(),
            flows_max: Counter::default(),
            evicted: Counter::default(),
            held: Counter::default(),
            epoch: Counter::default(),
        }
    }
}

/// The counters of a packet that is only sent on, each at hand.
#[derive(Clone, Copy)]
pub(crate) struct Counting<'a> {
    targets: &'a [TargetCounters; TARGETS_MAX],
    routers: &'a [RouterCounters; 2 * ROUTERS_MAX],
}

impl Counting<'_> {
    /// A frame of `len` bytes to this server.
    #[inline(always)]
    pub(crate) fn server_in(&self, target: TargetId, len: u32) {
        let server = &self.targets[target.index() & (TARGETS_MAX - 1)];
        server.in_frames.add(1);
        server.in_bytes.add(u64::from(len));
    }

    /// Frames to servers that came by this router.
    #[inline(always)]
    pub(crate) fn router_in(&self, router: RouterId, frames: u64, bytes: u64) {
        let router = &self.routers[usize::from(router.0) & (2 * ROUTERS_MAX - 1)];
        router.in_frames.add(frames);
        router.in_bytes.add(bytes);
    }

    /// A frame of `len` bytes of this server.
    #[inline(always)]
    pub(crate) fn server_out(&self, target: TargetId, len: u32) {
        let server = &self.targets[target.index() & (TARGETS_MAX - 1)];
        server.out_frames.add(1);
        server.out_bytes.add(u64::from(len));
    }

    /// Frames of servers that leave for this router.
    #[inline(always)]
    pub(crate) fn router_out(&self, router: RouterId, frames: u64, bytes: u64) {
        let router = &self.routers[usize::from(router.0) & (2 * ROUTERS_MAX - 1)];
        router.out_frames.add(frames);
        router.out_bytes.add(bytes);
    }
}

impl Counters {
    #[inline(always)]
    pub(crate) fn counting(&self) -> Counting<'_> {
        Counting { targets: &self.targets, routers: &self.routers }
    }

    /// Counts dropped frames.
    #[inline]
    pub fn drop(&self, reason: DropReason, frames: u64) {
        self.drops[reason as usize].add(frames);
    }

    /// Frames dropped for a reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].read()
    }

    /// A server's counters.
    #[inline(always)]
    pub fn target(&self, id: TargetId) -> &TargetCounters {
        &self.targets[id.index() & (TARGETS_MAX - 1)]
    }

    /// A member's counters, by its place; `None` for one that has none.
    pub fn member(&self, place: u16) -> Option<&MemberCounters> {
        self.members.get(usize::from(place))
    }

    /// A cluster's counters.
    #[inline(always)]
    pub fn cluster(&self, id: ClusterId) -> &ClusterCounters {
        &self.clusters[usize::from(id.0) & (CLUSTERS_MAX - 1)]
    }

    /// A flow of this protocol was opened from outside, in a service (which has this place in its cluster), and
    /// bound to a server.
    #[inline(always)]
    pub(crate) fn opened(
        &self,
        cluster: ClusterId,
        (place, service): (usize, &ServiceTable),
        target: TargetId,
        protocol: u8,
    ) {
        let counters = self.cluster(cluster);
        counters.flows_new.add(1);
        counters.services[place.min(SERVICES_COUNTED - 1)].add(1);
        self.target(target).flows_new.add(1);
        if protocol == protocol::TCP
            && let Some(member) = service.member(target).and_then(|member| self.member(member.counter))
        {
            member.opened.add(1);
        }
    }

    /// A router's counters.
    #[inline(always)]
    pub fn router(&self, id: RouterId) -> &RouterCounters {
        &self.routers[usize::from(id.0) & (2 * ROUTERS_MAX - 1)]
    }
}
