//! Row m: clients that only wait learn that their server is gone for good.

use super::kit::{patient, topology};
use crate::fault::{await_state, wall};
use crate::frame::flag;
use crate::http::connect;
use crate::lab::{Lab, VIP};
use crate::mute::{GREETING, Mute};
use crate::raw::Tap;
use crate::rows::kit::in_parts;
use crate::runner::Scenario;
use crate::watch::{Tcp, tcp};
use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "health-m",
    name: "1,000 clients wait for a server that is gone for good: all are reset (FS-10)",
    needs: &["nft"],
    topology,
    story: waiting,
}];

const CLIENTS: usize = 1_000;
const PORT: u16 = 8_080;
/// After *dead*.
const LIMIT: Duration = Duration::from_secs(5);

fn waiting(lab: &Lab) -> Result<String> {
    let config = patient(lab).in_clusters("dead_after_ms = 3000");
    // All of them at one server.
    lab.start(&config.clone().weights(&[1, 0, 0]))?;
    let _services: Vec<Mute> =
        lab.servers.iter().map(|s| Mute::start(&s.ns, (VIP.v4, PORT).into())).collect::<Result<_>>()?;
    let taps = ["eth1", "eth2"]
        .iter()
        .map(|name| Ok(Tap::open(&lab.client, name)?.with_own()))
        .collect::<Result<Vec<_>>>()?;
    let mut clients = in_parts(lab, vec![(); CLIENTS], |()| ask()).context("open the connections")?;
    lab.switch().reload(&config)?;
    let mut trace = Trace::default();
    taps.iter().for_each(|tap| trace.read(tap));

    let at = lab.silence(&lab.servers[0])?;
    await_state(lab, "s1", "dead", Duration::from_secs(10)).or_else(|_| {
        // A view that has no word for it calls it down.
        await_state(lab, "s1", "down", Duration::from_millis(10))
    })?;
    let dead = wall();
    let mut last = Duration::ZERO;
    while !clients.is_empty() && wall() < dead + LIMIT + Duration::from_secs(2) {
        let reset = reset_ones(&mut clients)?;
        if reset > 0 {
            last = wall();
        }
    }
    taps.iter().for_each(|tap| trace.read(tap));
    ensure!(
        clients.is_empty(),
        "{} of {CLIENTS} clients still wait {:.1} s after dead",
        clients.len(),
        LIMIT.as_secs_f64()
    );
    let took = last.saturating_sub(dead);
    ensure!(took <= LIMIT, "the last client was reset {:.1} s after dead", took.as_secs_f64());
    let (resets, wrong) = trace.resets();
    ensure!(resets >= CLIENTS, "{resets} resets captured");
    ensure!(wrong == 0, "{wrong} of {resets} resets have another sequence number than the client's next");
    Ok(format!(
        "dead {:.1} s after its last frame; all {CLIENTS} reset within {:.2} s of that, {resets} resets captured, all SEQ exact",
        dead.saturating_sub(at).as_secs_f64(),
        took.as_secs_f64()
    ))
}

/// A connection whose question waits for its answer.
fn ask() -> Result<TcpStream> {
    let mut stream = connect(None, (VIP.v4, PORT).into(), Duration::from_secs(20))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut greeting = [0; GREETING.len()];
    stream.read_exact(&mut greeting)?;
    stream.write_all(b"what time is it?\n")?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Takes out the clients that were reset: how many.
fn reset_ones(clients: &mut Vec<TcpStream>) -> Result<usize> {
    let before = clients.len();
    let mut watched: Vec<PollFd> =
        clients.iter().map(|c| PollFd::new(c.as_fd(), PollFlags::POLLIN)).collect();
    poll(&mut watched, PollTimeout::from(50_u8))?;
    let ready: Vec<bool> = watched.iter().map(|w| w.revents().is_some_and(|r| !r.is_empty())).collect();
    drop(watched);
    for n in (0..before).rev().filter(|n| ready[*n]) {
        match clients[n].read(&mut [0; 16]) {
            Err(error) if error.kind() == ErrorKind::ConnectionReset => drop(clients.swap_remove(n)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => bail!("a waiting client saw {other:?} instead of a reset"),
        }
    }
    Ok(before - clients.len())
}

/// What the clients acknowledged last, and the resets that came.
#[derive(Default)]
struct Trace {
    acknowledged: HashMap<SocketAddr, u32>,
    resets: Vec<Tcp>,
}

impl Trace {
    fn read(&mut self, tap: &Tap) {
        while let Some((_, frame)) = tap.take_stamped() {
            let Some(packet) = tcp(&frame) else { continue };
            if packet.to == (VIP.v4, PORT).into() && packet.flags & flag::ACK != 0 {
                // An acknowledgement never goes back, whichever of the two interfaces is read first.
                let last = self.acknowledged.entry(packet.from).or_insert(packet.ack);
                if packet.ack.wrapping_sub(*last) < 1 << 31 {
                    *last = packet.ack;
                }
            } else if packet.from == (VIP.v4, PORT).into() && packet.flags & flag::RST != 0 {
                self.resets.push(packet);
            }
        }
    }

    /// How many there were, and how many of them do not have the sequence number that is due.
    fn resets(&self) -> (usize, usize) {
        let wrong = self.resets.iter().filter(|r| self.acknowledged.get(&r.to) != Some(&r.seq)).count();
        (self.resets.len(), wrong)
    }
}
