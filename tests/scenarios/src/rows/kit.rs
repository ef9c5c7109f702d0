//! What several rows do.

use crate::frame::{self, BROADCAST, Mac};
use crate::http::Connection;
use crate::lab::{Host, Lab};
use crate::raw::Tap;
use anyhow::{Context, Result, ensure};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Long enough for any answer on this machine, short enough to wait for one that must not come.
pub(super) const SOON: Duration = Duration::from_secs(2);
/// How long to look whether something comes that must not.
pub(super) const QUIET: Duration = Duration::from_millis(300);

/// The MAC address that a host's question for `address` is answered with; in a VLAN if given.
pub(super) fn ask_mac(tap: &Tap, asker: &Host, address: IpAddr, vlan: Option<u16>) -> Result<Mac> {
    let own = asker.addresses[0];
    let question = match address {
        IpAddr::V4(v4) => frame::arp((BROADCAST, asker.mac), 1, (asker.mac, own.v4), ([0; 6], v4)),
        IpAddr::V6(v6) => frame::neighbour_solicitation(None, (asker.mac, own.v6), v6),
    };
    let question = vlan.map_or(question.clone(), |v| frame::tagged(question, v));
    tap.drain();
    tap.send(&question)?;
    let mut mac = None;
    tap.find(&format!("an answer to the question for {address}"), SOON, |f| {
        mac = answer_for(f, address);
        mac.is_some()
    })?;
    mac.context("no MAC in the answer")
}

/// The MAC address that an ARP or ND answer gives for `address`.
pub(super) fn answer_for(frame: &[u8], address: IpAddr) -> Option<Mac> {
    match address {
        IpAddr::V4(v4) => {
            frame::parse_arp(frame).and_then(|(op, mac, sender, ..)| (op == 2 && sender == v4).then_some(mac))
        }
        IpAddr::V6(v6) => frame::parse_discovery(frame)
            .and_then(|d| (d.kind == 136 && d.target == v6).then_some(d.link).flatten()),
    }
}

/// The servers' interfaces, watched together.
pub(super) struct Servers<'a> {
    taps: Vec<(&'a Host, Tap)>,
    /// How often each frame has come, by the hash of its bytes from 6 on.
    seen: RefCell<HashMap<u64, u32>>,
}

impl<'a> Servers<'a> {
    pub(super) fn watch(lab: &'a Lab) -> Result<Self> {
        let taps = lab.servers.iter().map(|host| Ok((host, lab.tap(host)?))).collect::<Result<_>>()?;
        Ok(Self { taps, seen: RefCell::default() })
    }

    /// Every frame that has come to any of them so far.
    pub(super) fn pending(&self, mut wanted: impl FnMut(&[u8]) -> bool) -> Vec<(&'a Host, Vec<u8>)> {
        let mut seen = self.seen.borrow_mut();
        let mut count = |frame: &[u8]| {
            *seen.entry(hash(frame)).or_default() += 1;
            wanted(frame)
        };
        self.taps
            .iter()
            .flat_map(|(host, tap)| tap.pending(&mut count).into_iter().map(|f| (*host, f)))
            .collect()
    }

    /// How often a frame has come to any of them, whatever its destination MAC.
    pub(super) fn copies(&self, frame: &[u8]) -> u32 {
        self.seen.borrow().get(&hash(frame)).copied().unwrap_or_default()
    }

    /// Every frame that comes to any of them within `span`.
    pub(super) fn gather(
        &self,
        span: Duration,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Vec<(&'a Host, Vec<u8>)> {
        let end = Instant::now() + span;
        let mut frames = Vec::new();
        loop {
            frames.extend(self.pending(&mut wanted));
            if Instant::now() >= end {
                return frames;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The first frame that comes to one of them and is `wanted`.
    pub(super) fn first(
        &self,
        what: &str,
        mut wanted: impl FnMut(&[u8]) -> bool,
    ) -> Result<(&'a Host, Vec<u8>)> {
        let end = Instant::now() + SOON;
        while Instant::now() < end {
            if let Some(found) = self.pending(&mut wanted).pop() {
                return Ok(found);
            }
            std::thread::yield_now();
        }
        anyhow::bail!("at no server: {what}")
    }

    /// The tap of one server.
    pub(super) fn tap(&self, name: &str) -> &Tap {
        &self.taps.iter().find(|(host, _)| host.name == name).expect("a server of the lab").1
    }
}

fn hash(frame: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    frame.get(6..).hash(&mut hasher);
    hasher.finish()
}

/// Who answers a host that asks for a page.
pub(super) fn fetch_in(host: &Host, to: SocketAddr, path: &str) -> Result<String> {
    let reply = host
        .ns
        .enter(|| Connection::open(None, to)?.get(path))
        .with_context(|| format!("from {}", host.name))?;
    Ok(reply.server)
}

/// Starts the same command on several hosts at once and returns what each printed.
pub(super) fn on_all<'a>(
    hosts: impl IntoIterator<Item = &'a Host>,
    command: impl Fn(&Host) -> Command,
) -> Result<Vec<(&'a Host, std::process::Output)>> {
    let running: Vec<_> = hosts
        .into_iter()
        .map(|host| Ok((host, command(host).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)))
        .collect::<Result<_>>()?;
    running.into_iter().map(|(host, child)| Ok((host, child.wait_with_output()?))).collect()
}

/// A command in a host's namespace.
pub(super) fn command(host: &Host, program: &str, arguments: &[&str]) -> Command {
    let mut command = host.ns.command(program);
    command.args(arguments);
    command
}

/// Waits until a drop reason's counter is at least `count`: counters are told once a second.
pub(super) fn await_drops(lab: &Lab, reason: &str, count: u64) -> Result<u64> {
    let mut last = 0;
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        last = lab.switch().drops(reason)?;
        if last >= count {
            return Ok(last);
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    ensure!(last >= count, "{last} frames dropped as {reason}, expected {count} or more");
    Ok(last)
}

/// Does `job` with every item on several threads of the client.
pub(super) fn in_parts<A: Send, B: Send>(
    lab: &Lab,
    items: Vec<A>,
    job: impl Fn(A) -> Result<B> + Sync,
) -> Result<Vec<B>> {
    const THREADS: usize = 4;
    let part = items.len().div_ceil(THREADS);
    let mut items = items.into_iter();
    let parts: Vec<Vec<A>> = (0..THREADS).map(|_| items.by_ref().take(part).collect()).collect();
    let job = &job;
    lab.client.enter(|| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = parts
                .into_iter()
                .map(|p| scope.spawn(move || p.into_iter().map(job).collect::<Result<Vec<B>>>()))
                .collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p))?);
            }
            Ok(all)
        })
    })
}
