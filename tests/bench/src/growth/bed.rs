//! One worker's engine over frames in memory, with any number of established flows.

use crate::site::{
    ACK, FRAME_LEN, Frame, OUTSIDE, ROUTER, SYN, Site, VLAN, stamp_inbound, stamp_outbound, template,
};
use crate::tools::cpu_time;
use anyhow::{Context, Result, ensure};
use dataplane_engine::{Counters, Engine, Inputs, NO_MEMBER, Settings, Tables};
use dataplane_flow::Instant;
use dataplane_message::Conditions;
use dataplane_port::{BURST, Head, PortId, PortSet, Verdict, WorkerId};
use std::hint::black_box;
use std::sync::Arc;

/// Where and whose a frame of a flow is: the port, and the low bytes of its server's MAC.
type Home = (PortId, [u8; 2]);

pub(crate) struct Bed {
    pub(crate) engine: Engine,
    frames: Box<[Frame; BURST]>,
    verdicts: Box<[Verdict; BURST]>,
    homes: [Home; BURST],
    pub(crate) now: Instant,
    clusters: u16,
    server_ports: u8,
    /// Each flow's server, where [`Bed::learn_homes`] was called.
    all_homes: Vec<[u8; 2]>,
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
        engine.swap(tables, now);
        Ok(Self {
            engine,
            frames: Box::new([[0; 64]; BURST]),
            verdicts: Box::new([Verdict::Consumed; BURST]),
            homes: [(OUTSIDE, [0; 2]); BURST],
            now,
            clusters: site.clusters,
            server_ports: site.server_ports,
            all_homes: Vec::new(),
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
                self.frames.fill(template(inbound, flags, data));
                for (i, flow) in flows.iter().enumerate() {
                    let cluster = self.cluster_of(*flow);
                    if inbound {
                        stamp_inbound(&mut self.frames[i], *flow, cluster);
                    } else {
                        stamp_outbound(&mut self.frames[i], *flow, cluster, self.homes[i].1);
                    }
                }
                let forwarded = self.process(flows.len(), inbound, true);
                ensure!(forwarded == flows.len(), "a flow could not be made: {:?}", self.verdicts[0]);
                if flags == SYN {
                    for i in 0..flows.len() {
                        let Verdict::Forward(port) = self.verdicts[i] else { continue };
                        self.homes[i] = (port, [self.frames[i][4], self.frames[i][5]]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Remembers each flow's server, so that frames can come from it.
    pub(crate) fn learn_homes(&mut self, flows: u32) {
        self.all_homes = vec![[0; 2]; flows as usize];
        for first in (0..flows).step_by(BURST) {
            let count = BURST.min((flows - first) as usize);
            self.frames.fill(template(true, ACK, false));
            for i in 0..count {
                let flow = first + i as u32;
                let cluster = self.cluster_of(flow);
                stamp_inbound(&mut self.frames[i], flow, cluster);
            }
            self.process(count, true, true);
            for i in 0..count {
                self.all_homes[first as usize + i] = [self.frames[i][4], self.frames[i][5]];
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
            for i in 0..BURST {
                let at = self.counter.wrapping_mul(2_654_435_761) >> 3;
                let flow = match kind {
                    Kind::New => flows + (self.counter as u32 & 0x0fff_ffff),
                    _ => at as u32 & (flows - 1),
                };
                self.counter += 1;
                let cluster = self.cluster_of(flow);
                if kind == Kind::Outbound {
                    let home = self.all_homes[flow as usize];
                    let number = u16::from_be_bytes(home);
                    let port = PortId(1 + (number % u16::from(self.server_ports)) as u8);
                    self.homes[i] = (port, home);
                    stamp_outbound(&mut self.frames[i], flow, cluster, home);
                } else {
                    stamp_inbound(&mut self.frames[i], flow, cluster);
                }
            }
            if process {
                forwarded += self.process(BURST, kind != Kind::Outbound, false);
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

    fn process(&mut self, count: usize, inbound: bool, tick: bool) -> usize {
        let Self { engine, frames, verdicts, homes, now, .. } = self;
        let mut frames = frames.iter_mut().zip(homes.iter());
        let mut heads: [Head<'_>; BURST] = core::array::from_fn(|_| {
            let (data, home) = frames.next().expect("as many frames as a burst has");
            let port = if inbound { OUTSIDE } else { home.0 };
            Head { data, len: FRAME_LEN, port, handed: false, checksum_good: true }
        });
        engine.process(*now, &mut heads[..count], verdicts);
        if tick {
            self.tick();
        }
        self.verdicts[..count].iter().filter(|v| matches!(v, Verdict::Forward(_))).count()
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
        previous: None,
    })
}
