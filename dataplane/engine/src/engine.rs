//! The engine of one worker.

use crate::announce::Announcer;
use crate::bridge::Learner;
use crate::burst::{Left, bits};
use crate::classify::{Meta, Way, classify, sides};
use crate::dead::Walk;
use crate::fragment::Held;
use crate::limit::{Bucket, SenderLimit};
use crate::neighbour::Askers;
use crate::read::Lanes;
use crate::tcp;
use crate::trail::Trails;
use crate::{Counters, Outbox, OwnTables, Tables};
use dataplane_cpu::{Machine, NoMemory};
use dataplane_flow::{ClusterId, Fragments, HashKey, Instant, ROUTERS_MAX, Shard, Slot, TargetId};
use dataplane_message::{FlowFilter, PortRole};
use dataplane_port::{BURST, DropReason, Frames, Head, PORTS_MAX, PortId, Verdict, Verdicts, WorkerId};
use dataplane_wire::protocol;
use std::sync::Arc;

/// What an engine is started with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Its worker.
    pub worker: WorkerId,
    /// How many workers there are.
    pub workers: u8,
    /// Flows of this worker's shard.
    pub flows_max: usize,
    /// Datagrams whose fragments are under way.
    pub datagrams_max: usize,
    /// Random: keys the hashes of tables, so nobody outside knows what collides.
    pub table_seed: [u64; 2],
}

/// Questions for VIPs that are answered on one port: 10,000 a second (A1).
const ANSWERS_PPS: u32 = 10_000;
/// ... and for one sender: 1,000 a second (A1).
const ANSWERS_SENDER_PPS: u16 = 1_000;
/// Resets and unreachables for flows that have no server: 1,000 a second (FS-10a), over all workers.
const REFUSALS_PPS: u32 = 1_000;
/// ICMP errors that one source may send to VIPs: 1,000 a second (F17).
const ICMP_SENDER_PPS: u16 = 1_000;
/// What is due without a frame is looked for this often, and at once with tables that treat frames otherwise.
const TICK_NS: u64 = 20_000;
/// Round robin cursors; more services than that share.
const CURSORS: usize = 4096;

/// The packet path of one worker: its flows, and what it needs to decide about a burst.
#[derive(Debug)]
pub struct Engine {
    pub(crate) worker: WorkerId,
    pub(crate) workers: u8,
    pub(crate) table_key: HashKey,
    pub(crate) tables: Arc<OwnTables>,
    pub(crate) shard: Shard,
    pub(crate) fragments: Fragments,
    pub(crate) held: Held,
    pub(crate) askers: Askers,
    pub(crate) announcer: Announcer,
    pub(crate) learner: Learner,
    pub(crate) trails: Trails,
    pub(crate) cursors: Box<[u32]>,
    pub(crate) counters: Arc<[Counters]>,
    pub(crate) outbox: Outbox,
    pub(crate) storm: Box<[Bucket; PORTS_MAX]>,
    pub(crate) answers: Box<[Bucket; PORTS_MAX]>,
    pub(crate) answer_senders: SenderLimit,
    pub(crate) icmp_senders: SenderLimit,
    pub(crate) refusals: Bucket,
    pub(crate) walk: Walk,
    /// Lent out while a burst is decided about; `None` then, and after a fault.
    metas: Option<Box<[Meta; BURST]>>,
    pub(crate) lanes: Box<Lanes>,
    pub(crate) machine: Machine,
    gauges_at: Instant,
    /// When what is due was last looked for; `None`: it is looked for at the next tick.
    pub(crate) ticked_at: Option<Instant>,
    /// The second in which each router went down, for flows that are older (FS-13).
    pub(crate) routers_down: Box<[u32; ROUTERS_MAX]>,
}

impl Engine {
    /// An engine with empty tables: it drops what comes until [`Self::swap`] gives it others.
    /// `counters` are those of all workers; it writes its own.
    ///
    /// # Errors
    ///
    /// [`NoMemory`] for the flow table.
    pub fn new(settings: &Settings, counters: Arc<[Counters]>) -> Result<Self, NoMemory> {
        Ok(Self {
            worker: settings.worker,
            workers: settings.workers.max(1),
            table_key: HashKey::new(settings.table_seed),
            tables: OwnTables::new(Arc::new(Tables::empty())),
            shard: Shard::new(settings.flows_max)?,
            fragments: Fragments::new(settings.datagrams_max),
            held: Held::default(),
            askers: Askers::default(),
            announcer: Announcer::default(),
            learner: Learner::default(),
            trails: Trails::new(settings.table_seed),
            cursors: vec![0; CURSORS].into_boxed_slice(),
            counters,
            outbox: Outbox::default(),
            storm: Box::new([Bucket::new(0, 1); PORTS_MAX]),
            answers: Box::new([Bucket::new(ANSWERS_PPS, ANSWERS_PPS / 10); PORTS_MAX]),
            answer_senders: SenderLimit::new(ANSWERS_SENDER_PPS),
            icmp_senders: SenderLimit::new(ICMP_SENDER_PPS),
            refusals: {
                let share = (REFUSALS_PPS / u32::from(settings.workers.max(1))).max(1);
                Bucket::new(share, share / 10)
            },
            walk: Walk::new(settings.workers),
            metas: Some(Box::new([Meta::default(); BURST])),
            lanes: Box::default(),
            machine: Machine::this(),
            gauges_at: Instant(0),
            ticked_at: None,
            routers_down: Box::new([0; ROUTERS_MAX]),
        })
    }

    /// Works by this machine's instructions from here on. By default it is the one that it runs on; what comes of a
    /// burst is the same on any, which is what tests compare.
    pub fn work_on(&mut self, machine: Machine) {
        self.machine = machine;
    }

    /// Takes new tables and gives the old ones back, to be freed by whoever made them. Flows stay.
    pub fn swap(&mut self, tables: Arc<OwnTables>, now: Instant) -> Arc<OwnTables> {
        if !Arc::ptr_eq(&self.tables.ports, &tables.ports) {
            let both = tables.ports.iter().zip(self.tables.ports.iter());
            for (bucket, (new, old)) in self.storm.iter_mut().zip(both) {
                if new.storm_pps != old.storm_pps {
                    *bucket = Bucket::new(new.storm_pps, new.storm_pps.max(64));
                }
            }
        }
        if self.worker == WorkerId(0) {
            self.announcer.tables_changed(&self.tables, &tables);
        }
        if !Arc::ptr_eq(&self.tables.stations, &tables.stations) {
            self.learner.forget();
        }
        if !self.tables.treat_alike(&tables) {
            self.trails.forget();
            self.ticked_at = None;
        }
        if !Arc::ptr_eq(&self.tables.pools, &tables.pools) {
            self.note_routers(&tables, now);
        }
        self.counters().epoch.put(tables.epoch);
        core::mem::replace(&mut self.tables, tables)
    }

    /// What the engine wants done; to be carried out and emptied after every call of
    /// [`Self::process`] and [`Self::tick`].
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Whether servers are behind the port: what comes from there is somebody's whom the plan names.
    pub fn is_server_port(&self, port: PortId) -> bool {
        self.tables.ports[port.index() & 31].role == PortRole::Server
    }

    /// This worker's counters.
    #[inline(always)]
    pub fn counters(&self) -> &Counters {
        &self.counters[self.worker.index()]
    }

    /// Decides about a burst: `frames` that were not looked at before. Inbound frames that are steered
    /// have their destination address overwritten, server frames are left alone but for the
    /// exceptions of FS-11. Cost per frame is bounded whatever it holds. Returns the frames, a bit for each,
    /// whose verdict may be another than [`Verdict::Forward`].
    #[inline]
    pub fn process<F: Frames + ?Sized>(
        &mut self,
        now: Instant,
        frames: &mut F,
        verdicts: &mut Verdicts,
    ) -> u32 {
        self.shard.set_now(now);
        self.held.carried_out();
        if self.learner.set_now(now) {
            self.trails.forget();
        }
        let left = self.settle(now, frames, verdicts);
        if left.frames != 0 {
            self.decide_all(now, frames, verdicts.of_each(), left);
        }
        left.frames
    }

    /// Decides about the frames of the burst that are left, and lays trails where there is none.
    #[inline(never)]
    fn decide_all<F: Frames + ?Sized>(
        &mut self,
        now: Instant,
        frames: &mut F,
        verdicts: &mut [Verdict; BURST],
        left: Left,
    ) {
        let mut metas = self.metas.take().unwrap_or_else(|| Box::new([Meta::default(); BURST]));
        for i in bits(left.frames) {
            let Some(meta) = metas.get_mut(i) else { continue };
            let head = frames.head(i);
            if left.known >> i & 1 == 0 || !self.meta_of_lane(i, &head, meta) {
                self.classify(&head, meta);
            }
        }
        // Not before: what says where the vacancy is must have come.
        for i in bits(left.frames) {
            let Some(meta) = metas.get(i) else { continue };
            if matches!(meta.way, Way::Inbound | Way::Outbound) {
                let opens = meta.way == Way::Inbound && meta.layers.flags & tcp::SYN != 0;
                self.shard.prefetch_rest(meta.hash, opens);
            }
        }
        // Borrowed beside the rest of the engine by whoever chooses for a new flow.
        let tables = Arc::clone(&self.tables);
        for i in bits(left.frames) {
            let (Some(meta), Some(verdict)) = (metas.get(i), verdicts.get_mut(i)) else { continue };
            *verdict = self.decide_one(&tables, &mut frames.head(i), meta, left.untrodden >> i & 1 != 0, now);
        }
        self.metas = Some(metas);
    }

    fn classify(&self, head: &Head<'_>, meta: &mut Meta) {
        classify(head, &self.tables, &self.table_key, meta);
        if matches!(meta.way, Way::Inbound | Way::Outbound) {
            self.shard.prefetch_firsts(meta.hash);
        }
    }

    fn decide_one(
        &mut self,
        tables: &Tables,
        head: &mut Head<'_>,
        meta: &Meta,
        untrodden: bool,
        now: Instant,
    ) -> Verdict {
        let slot = match meta.way {
            Way::Inbound | Way::Outbound => self.shard.find(meta.hash),
            _ => None,
        };
        let verdict = self.decide(tables, head, meta, slot, now);
        if let Verdict::Drop(reason) = verdict {
            self.counters().drop(reason, 1);
        } else if untrodden && matches!(meta.way, Way::Inbound | Way::Outbound | Way::InboundFragment) {
            self.lay_trail(head, meta);
        }
        verdict
    }

    /// The whole of a frame's way; every frame could go it.
    fn decide(
        &mut self,
        tables: &Tables,
        head: &mut Head<'_>,
        meta: &Meta,
        slot: Option<Slot>,
        now: Instant,
    ) -> Verdict {
        let learns = !matches!(meta.way, Way::Drop(_) | Way::PuntUnlearned(_));
        if !head.handed
            && learns
            && meta.sender == TargetId::NONE
            && let Some(reason) = self.learn(head, meta)
        {
            return Verdict::Drop(reason);
        }
        if self.workers > 1
            && !head.handed
            && let Some(owner) = self.owner(meta).filter(|owner| *owner != self.worker)
        {
            return Verdict::Hand(owner);
        }
        match meta.way {
            Way::Inbound => self.steer(tables, head, meta, slot, now),
            Way::Outbound => {
                self.observe(head, meta, slot, now).unwrap_or_else(|| self.bridge(head, meta, now))
            }
            Way::Between => self.between(head, meta, now),
            Way::InboundFragment => self.fragment(head, meta, now),
            Way::Neighbour => {
                self.hear(head.port, meta.from);
                self.neighbour(head, meta, now)
            }
            Way::Bridge => {
                self.hear(head.port, meta.from);
                self.bridge(head, meta, now)
            }
            Way::Punt(reason) | Way::PuntUnlearned(reason) => Verdict::Punt(reason),
            Way::Drop(reason) => Verdict::Drop(reason),
        }
    }

    /// ARP, ND, or a frame in another name than its VIP's from a server: it lives (FS-10).
    fn hear(&self, port: PortId, from: u64) {
        if let Some(server) = self.tables.ports[port.index() & 31].server(from) {
            self.counters().target(server).heard.add(1);
        }
    }

    /// From one VIP to another: what its sender opens, and what its receiver is sent (FS-4).
    pub(crate) fn between(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        if meta.cluster == meta.sender_cluster {
            return Verdict::Drop(DropReason::Martian); // F11: before it leaves an entry.
        }
        let mut out = *meta;
        out.cluster = meta.sender_cluster;
        out.key = self.sender_key(head.data, meta);
        out.hash = out.key.hash(&self.table_key);
        match self.observe(head, &out, self.shard.find(out.hash), now) {
            Some(verdict) => verdict,
            None => self.steer(&Arc::clone(&self.tables), head, meta, self.shard.find(meta.hash), now),
        }
    }

    fn sender_key(&self, data: &[u8], meta: &Meta) -> dataplane_flow::FlowKey {
        let layers = &meta.layers;
        let ip = crate::classify::addresses(data, layers.network, usize::from(layers.l3));
        let (v6, peer) = ip.map_or((false, [0; 2]), |ip| (ip.v6, ip.destination));
        let (port, vip_port) = sides(layers, true);
        crate::classify::flow_key(meta.sender_cluster, layers.protocol, v6, peer, port, vip_port)
    }

    /// The worker that the frame's state hangs on; `None` for frames that any worker may take.
    /// Evenly by hash: by the flow, or by the client where clients are bound to servers.
    fn owner(&self, meta: &Meta) -> Option<WorkerId> {
        match meta.way {
            Way::Inbound | Way::Outbound => Some(self.flow_owner(meta.cluster, &meta.key, meta.hash)),
            Way::InboundFragment => Some(self.worker_of(meta.datagram)),
            // Two keys hang on such a frame, and answers for servers reach worker 0 alone.
            Way::Between => Some(WorkerId(0)),
            Way::Neighbour => Some(WorkerId(0)),
            Way::Bridge | Way::Punt(_) | Way::PuntUnlearned(_) | Way::Drop(_) => None,
        }
    }

    pub(crate) fn flow_owner(
        &self,
        cluster: ClusterId,
        key: &dataplane_flow::FlowKey,
        hash: u64,
    ) -> WorkerId {
        match self.tables.cluster(cluster) {
            Some(table) if table.quic && (table.by_client || key.protocol() == protocol::UDP) => {
                self.worker_of(self.table_key.hash3([0, 0, u64::from(cluster.0)]))
            }
            Some(table) if table.by_client => {
                let [a, b] = key.client_words();
                let [x, y] = table.client_mask;
                self.worker_of(self.table_key.hash3([a & x, b & y, u64::from(cluster.0)]))
            }
            _ => self.worker_of(hash),
        }
    }

    pub(crate) fn worker_of(&self, hash: u64) -> WorkerId {
        worker_of(hash, self.workers)
    }

    /// What is due without a frame: ageing, resets for clients of dead servers, fragments that waited too
    /// long, announcements. Once per
    /// turn of the worker's loop, empty turns included; at least every 10 ms. Most calls find nothing due.
    pub fn tick(&mut self, now: Instant) {
        if self.ticked_at.is_some_and(|at| now >= at && now.since(at) < TICK_NS) {
            return;
        }
        self.ticked_at = Some(now);
        self.shard.set_now(now);
        self.shard.age(now, &self.tables.timeouts);
        self.reset_waiting(now);
        self.fragments.age(now);
        self.release_late(now);
        if self.worker == WorkerId(0) {
            self.announcer.tick(&self.tables, &mut self.outbox, now);
        }
        if now.since(self.gauges_at) >= 10_000_000 {
            self.gauges_at = now;
            self.put_gauges();
        }
    }

    fn put_gauges(&self) {
        let tables = &self.tables;
        let counters = self.counters();
        counters.flows.put(self.shard.used() as u64);
        counters.flows_max.put(self.shard.capacity() as u64);
        counters.evicted.put(self.shard.evicted());
        counters.held.put(u64::from(self.held.len()));
        for id in 0..tables.targets.len() as u16 {
            let id = TargetId(id);
            counters.target(id).flows_open.put(u64::from(self.shard.open(id)));
        }
    }

    /// Rows of flows from line `from`, at most `lines` lines of the table; where to go on.
    pub fn list(
        &self,
        from: usize,
        lines: usize,
        filter: &FlowFilter,
        mut row: impl FnMut(dataplane_flow::FlowKey, dataplane_flow::Entry, u32, u32),
    ) -> Option<usize> {
        self.shard.walk(from, lines, |key, entry, idle, age| {
            let wanted = filter.cluster.is_none_or(|c| c == key.cluster())
                && filter.target.is_none_or(|t| t == entry.target())
                && filter.client.is_none_or(|c| c == key.client());
            if wanted {
                row(key, entry, idle, age);
            }
        })
    }
}

/// The owner of a hash among `workers`.
pub(crate) fn worker_of(hash: u64, workers: u8) -> WorkerId {
    WorkerId((((hash >> 48) * u64::from(workers)) >> 16) as u8)
}
