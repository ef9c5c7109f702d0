//! One worker's engine over frames in memory, with any number of established flows.

use crate::site::{
    ACK, FRAME_LEN, Frame, OUTSIDE, ROUTER, SYN, Site, VLAN, stamp_inbound, stamp_outbound, template,
};
use crate::tools::cpu_time;
use anyhow::{Context, Result, ensure};
use dataplane_engine::{Counters, Engine, Inputs, NO_MEMBER, OwnTables, Settings, Tables};
use dataplane_flow::Instant;
use dataplane_message::Conditions;
use dataplane_port::{BURST, Head, PortId, PortSet, Verdict, Verdicts, WorkerId};
use std::hint::black_box;
use std::sync::Arc;

/// Where and whose a frame of a flow is: the port, and the low bytes of its server's MAC.
type Home = (PortId, [u8; 2]);

pub(crate) struct Bed {
    pub(crate) engine: Engine,
    frames: Box<[Frame; BURST]>,
    verdicts: Box<Verdicts>,
    homes: [Home; BURST],
    pub(crate) now: Instant,
    clusters: u16,
    server_ports: u8,
    /// The flows of the servers behind each port, with their servers, where [`Bed::learn_homes`] was called.
    behind: Vec<Vec<(u32, [u8; 2])>>,
    counter: u64,
}

/// Which frames are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Segments of established flows, from clients.
    Inbound,
    /// From servers.
    Outbound,
    /// SYNs of flows that are not there.
    New,
}

impl Bed {
    /// An engine with a table for `flows_max` flows, and none in it.
    pub(crate) fn new(site: &Site, flows_max: usize) -> Result<Self> {
        let counters: Arc<[Counters]> = Arc::from(vec![Counters::default()]);
        Self::with(site, flows_max, (WorkerId(0), 1), counters, Arc::new(tables(site)))
    }

    /// The engine of one worker of several.
    pub(crate) fn with(
        site: &Site,
        flows_max: usize,
        (worker, workers): (WorkerId, u8),
        counters: Arc<[Counters]>,
        tables: Arc<Tables>,
    ) -> Result<Self> {
        let settings = Settings { worker, workers, flows_max, datagrams_max: 4096, table_seed: [1, 2] };
        let mut engine = Engine::new(&settings, counters).context("a flow table")?;
        let now = Instant::from_secs(1);
        engine.swap(OwnTables::new(tables), now);
        Ok(Self {
            engine,
            frames: Box::new([[0; 64]; BURST]),
            verdicts: Box::default(),
            homes: [(OUTSIDE, [0; 2]); BURST],
            now,
            clusters: site.clusters,
            server_ports: site.server_ports,
            behind: Vec::new(),
            counter: 0,
        })
    }

    fn cluster_of(&self, flow: u32) -> u16 {
        if self.clusters == 1 { 0 } else { (flow % u32::from(self.clusters)) as u16 }
    }

    /// Makes flows `from..to` established ones: SYN, SYN+ACK, ACK, a request, an answer, a burst of each.
    /// The clock stands.
    pub(crate) fn fill(&mut self, from: u32, to: u32) -> Result<()> {
        for first in (from..to).step_by(BURST) {
            let flows: Vec<u32> = (first..to.min(first + BURST as u32)).collect();
            for (inbound, flags, data) in [
                (true, SYN, false),
                (false, SYN | ACK, false),
                (true, ACK, false),
                (true, ACK, true),
                (false, ACK, true),
            ] {
                if inbound {
                    self.frames.fill(template(inbound, flags, data));
                    for (i, flow) in flows.iter().enumerate() {
                        let cluster = self.cluster_of(*flow);
                        stamp_inbound(&mut self.frames[i], *flow, cluster);
                    }
                    let forwarded = self.process(flows.len(), OUTSIDE, true);
                    ensure!(forwarded == flows.len(), "a flow could not be made: {:?}", self.verdicts.of(0));
                } else {
                    self.answer(&flows, template(inbound, flags, data))?;
                }
                if flags == SYN {
                    for i in 0..flows.len() {
                        let Verdict::Forward(port) = self.verdicts.of(i) else { continue };
                        self.homes[i] = (port, [self.frames[i][4], self.frames[i][5]]);
                    }
                }
            }
        }
        Ok(())
    }

    /// A frame of each flow from its server: a burst for each port, as a worker has them.
    fn answer(&mut self, flows: &[u32], template: Frame) -> Result<()> {
        let homes = self.homes;
        for port in (1..=self.server_ports).map(PortId) {
            let mut count = 0;
            for (flow, home) in flows.iter().zip(homes).filter(|(_, home)| home.0 == port) {
                let cluster = self.cluster_of(*flow);
                self.frames[count] = template;
                stamp_outbound(&mut self.frames[count], *flow, cluster, home.1);
                count += 1;
            }
            if count > 0 {
                let forwarded = self.process(count, port, true);
                ensure!(forwarded == count, "a server could not answer: {:?}", self.verdicts.of(0));
            }
        }
        Ok(())
    }

    /// Remembers each flow's server, so that frames can come from it.
    pub(crate) fn learn_homes(&mut self, flows: u32) {
        self.behind = vec![Vec::new(); usize::from(self.server_ports)];
        for first in (0..flows).step_by(BURST) {
            let count = BURST.min((flows - first) as usize);
            self.frames.fill(template(true, ACK, false));
            for i in 0..count {
                let flow = first + i as u32;
                let cluster = self.cluster_of(flow);
                stamp_inbound(&mut self.frames[i], flow, cluster);
            }
            self.process(count, OUTSIDE, true);
            for i in 0..count {
                if let Verdict::Forward(port) = self.verdicts.of(i) {
                    let home = [self.frames[i][4], self.frames[i][5]];
                    self.behind[port.index() - 1].push((first + i as u32, home));
                }
            }
        }
    }

    /// Nanoseconds a packet, of `packets` packets of `flows` flows (a power of two), which are visited evenly and
    /// out of order. `real`: by the real clock; else it stands, and every flow was seen in this second.
    pub(crate) fn measure(&mut self, kind: Kind, flows: u32, packets: u64, real: bool) -> f64 {
        let stamping = self.pass(kind, flows, packets / 4, false, false) / (packets / 4) as f64;
        let whole = self.pass(kind, flows, packets, true, real) / packets as f64;
        (whole - stamping).max(0.0)
    }

    /// Nanoseconds of processor time of the whole pass: what others take of the core does not count.
    fn pass(&mut self, kind: Kind, flows: u32, packets: u64, process: bool, real: bool) -> f64 {
        self.frames.fill(match kind {
            Kind::Inbound => template(true, ACK, false),
            Kind::New => template(true, SYN, false),
            Kind::Outbound => template(false, ACK, false),
        });
        let (start, base, spent) = (std::time::Instant::now(), self.now, cpu_time());
        let mut forwarded = 0;
        let bursts = packets / BURST as u64;
        for burst in 0..bursts {
            let port = if kind == Kind::Outbound { self.stamp_answers(burst) } else { OUTSIDE };
            for i in 0..if port == OUTSIDE { BURST } else { 0 } {
                let at = self.counter.wrapping_mul(2_654_435_761) >> 3;
                let flow = match kind {
                    Kind::New => flows + (self.counter as u32 & 0x0fff_ffff),
                    _ => at as u32 & (flows - 1),
                };
                self.counter += 1;
                let cluster = self.cluster_of(flow);
                stamp_inbound(&mut self.frames[i], flow, cluster);
            }
            if process {
                forwarded += self.process(BURST, port, false);
                if real {
                    self.now = Instant(base.0 + start.elapsed().as_nanos() as u64);
                    self.tick();
                } else if burst % 64 == 0 {
                    self.tick();
                }
            } else {
                black_box(&mut self.frames);
            }
        }
        if process {
            assert_eq!(forwarded as u64, bursts * BURST as u64, "every packet of a flow goes on");
        }
        (cpu_time() - spent).as_nanos() as f64
    }

    /// Makes the burst one of the servers behind a port; the ports take turns.
    fn stamp_answers(&mut self, burst: u64) -> PortId {
        let ports = self.behind.len();
        let place = (0..ports).map(|i| (burst as usize + i) % ports).find(|i| !self.behind[*i].is_empty());
        let place = place.expect("learn_homes was called, with flows");
        for i in 0..BURST {
            let at = (self.counter.wrapping_mul(2_654_435_761) >> 3) as usize % self.behind[place].len();
            let (flow, home) = self.behind[place][at];
            self.counter += 1;
            let cluster = self.cluster_of(flow);
            stamp_outbound(&mut self.frames[i], flow, cluster, home);
        }
        PortId(place as u8 + 1)
    }

    fn process(&mut self, count: usize, port: PortId, tick: bool) -> usize {
        let Self { engine, frames, verdicts, now, .. } = self;
        let mut frames = frames.iter_mut();
        let mut heads: [Head<'_>; BURST] = core::array::from_fn(|_| {
            let frame = frames.next().expect("as many frames as a burst has");
            let data = &mut frame[..FRAME_LEN as usize];
            Head { data, len: FRAME_LEN, port, handed: false, checksum_good: true }
        });
        engine.process(*now, &mut heads[..count], verdicts);
        if tick {
            self.tick();
        }
        self.verdicts.iter().take(count).filter(|v| matches!(v, Verdict::Forward(_))).count()
    }

    fn tick(&mut self) {
        self.engine.tick(self.now);
        let outbox = self.engine.outbox();
        outbox.frames.clear();
        outbox.events.clear();
        outbox.releases.clear();
    }
}

/// The tables of a site whose links are all up.
pub(crate) fn tables(site: &Site) -> Tables {
    let plan = site.plan();
    Tables::build(&Inputs {
        plan: &plan,
        epoch: 1,
        members: &|_, _, _| NO_MEMBER,
        conditions: &Conditions::default(),
        up: plan.ports.iter().map(|p| p.id).collect::<PortSet>(),
        server_macs: &|_| None,
        port_macs: &[],
        learned: &[(VLAN, ROUTER, OUTSIDE)],
        moved: false,
        previous: None,
    })
}
