//! What the rows about health have in common.

use crate::SwitchConfig;
use crate::fault::wall;
use crate::http::Connection;
use crate::lab::{Lab, Topology, VIP};
use crate::load::{Load, Request, Spec};
use crate::rows::kit::in_parts;
use crate::stats::Sample;
use crate::wait;
use crate::watch::Syns;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::time::Duration;

/// Requests a second.
pub(super) const RATE: u32 = 200;

/// Three servers whose default router is a pool's address.
pub(super) fn topology() -> Topology {
    Topology { gateway: true, ..Topology::default() }
}

/// Checked ten times a second; a server that comes back has its full share at once.
pub(super) fn config(lab: &Lab) -> SwitchConfig {
    base(lab).checked(100, 2)
}

/// Checked less eagerly, where what counts is that nobody is taken out: a machine that is busy with
/// everything else at once may well be a tenth of a second late.
pub(super) fn patient(lab: &Lab) -> SwitchConfig {
    base(lab).checked(300, 3)
}

fn base(lab: &Lab) -> SwitchConfig {
    lab.config().only_v4().chooser("round-robin").in_clusters("slow_start_s = 0")
}

/// How often something is tried: 30 times in the long form.
pub(super) fn trials(lab: &Lab, short: usize) -> usize {
    if lab.full { 30 } else { short }
}

/// A switch under a steady load, watched at the servers.
pub(super) struct Bench<'a> {
    pub(super) lab: &'a Lab,
    pub(super) load: Load,
    pub(super) syns: Syns,
    /// When its load began.
    pub(super) began: Duration,
}

impl<'a> Bench<'a> {
    /// Starts switch and load, and waits until every server has its part of it.
    pub(super) fn start(lab: &'a Lab, config: &SwitchConfig, patience: Duration) -> Result<Self> {
        lab.start(config)?;
        settled(lab)?;
        let bench = Self::on(lab, patience)?;
        let from = bench.began;
        (0..lab.servers.len()).try_for_each(|server| bench.await_new(server, from))?;
        Ok(bench)
    }

    /// Starts the load on a switch that runs.
    pub(super) fn on(lab: &'a Lab, patience: Duration) -> Result<Self> {
        let syns = Syns::watch(lab)?;
        let spec = Spec { to: (VIP.v4, 80).into(), rate: RATE, path: "/", patience, clients: 16_000 };
        let began = wall();
        Ok(Self { lab, load: Load::start(&lab.client, spec)?, syns, began })
    }

    /// Waits until a server gets new connections: it is in service.
    pub(super) fn await_new(&self, server: usize, from: Duration) -> Result<()> {
        wait::until("new connections to a server", Duration::from_secs(8), || {
            (self.syns.count_new(server, from) >= 10).then_some(())
        })
        .with_context(|| self.lab.servers[server].name.clone())
    }

    /// Waits until a server that was healed is in service. It has fallen before, and would have to stay good
    /// for longer each time; the operator vouches for it.
    pub(super) fn await_back(&self, server: usize, healed: Duration) -> Result<()> {
        self.lab.switch().flowctl(&["enable", &self.lab.servers[server].name])?;
        self.await_new(server, healed)
    }

    /// How long after `at` the last new connection came to a server, looked at for `span`; none may come
    /// in the last third of that.
    pub(super) fn last_new(&self, server: usize, at: Duration, span: Duration) -> Result<Duration> {
        std::thread::sleep((at + span).saturating_sub(wall()));
        let last = self.syns.last_new(server, at).saturating_sub(at);
        ensure!(
            last < span * 2 / 3,
            "{} still gets new connections {:.0} ms after it failed",
            self.lab.servers[server].name,
            last.as_secs_f64() * 1e3
        );
        Ok(last)
    }

    /// Connections to any server, each used once.
    pub(super) fn hold(&self, count: usize) -> Result<Vec<Held>> {
        hold(self.lab, (0..count).map(|_| None).collect())
    }

    /// Where a request's SYN went first.
    pub(super) fn went_to(&self, request: &Request) -> Option<usize> {
        let servers = self.syns.servers_of(request.from, request.opened, request.took());
        servers.first().copied()
    }
}

/// Waits until all servers and routers have been up for half a second: a machine that has just started
/// everything is late for the first probes.
pub(super) fn settled(lab: &Lab) -> Result<()> {
    let mut since = None;
    wait::until("servers and routers that are up", Duration::from_secs(15), || {
        let up = |what: &str| {
            let rows = lab.switch().rows(what)?;
            Ok::<_, anyhow::Error>(rows.iter().all(|row| row["state"] == "up" && !row["mac"].is_null()))
        };
        let well = up("servers").ok()? && up("routers").ok()?;
        let start = *since.get_or_insert_with(wall);
        if !well {
            since = None;
        }
        (well && wall() > start + Duration::from_millis(500)).then_some(())
    })
}

/// Connections from these addresses, or any, to any server, each used once.
pub(super) fn hold(lab: &Lab, from: Vec<Option<SocketAddr>>) -> Result<Vec<Held>> {
    in_parts(lab, from, |from| {
        let mut connection = Connection::open(from, (VIP.v4, 80).into())?;
        let server = connection.get("/")?.server;
        Ok(Held { connection, server })
    })
}

/// A connection that is held open.
pub(super) struct Held {
    connection: Connection,
    server: String,
}

impl Held {
    /// Its server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// Its server, or somebody for it, has ended it.
    pub(super) fn is_over(&self) -> bool {
        self.connection.is_over()
    }

    /// It is used again and answered by the same server.
    pub(super) fn still_works(&mut self) -> Result<()> {
        let now = self.connection.get("/").with_context(|| format!("a flow of {}", self.server))?.server;
        ensure!(now == self.server, "a flow moved from {} to {now}", self.server);
        Ok(())
    }
}

/// What a sample must keep to. The long form is held to what is promised, the short one, whose few trials
/// share two cores with everything else, to `slack` times that: still well below what a detection by
/// time-outs alone would take.
pub(super) fn keeps(lab: &Lab, what: &str, is: Duration, promised: Duration, slack: u32) -> Result<()> {
    let bound = if lab.full { promised } else { promised * slack };
    ensure!(
        is <= bound,
        "{what}: {:.0} ms, more than {:.0} ms",
        is.as_secs_f64() * 1e3,
        bound.as_secs_f64() * 1e3
    );
    Ok(())
}

/// The figure of a sample, with what came beside it.
pub(super) fn figure(sample: &Sample, beside: &str) -> String {
    format!("{sample}; {beside}")
}
