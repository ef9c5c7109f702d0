//! Row p, and the other half of it: what a dead process of ours costs.

use crate::echo::Echo;
use crate::http::Connection;
use crate::lab::{CLIENT, Lab, Topology, VIP};
use crate::nginx::SLOW;
use crate::process::alive;
use crate::runner::Scenario;
use crate::wait;
use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::Builder;
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        row: "p",
        name: "the data path dies under 1,000 connections, half of them waiting for the client (FS-7a)",
        needs: &[],
        topology: Topology::default,
        story: |lab| data_path_dies(lab, 1),
    },
    Scenario {
        row: "p",
        name: "the same with two workers (FS-7a)",
        needs: &[],
        topology: Topology::default,
        story: |lab| data_path_dies(lab, 2),
    },
    Scenario {
        row: "control",
        name: "the control core dies under traffic: nothing is lost, it comes back and adopts",
        needs: &[],
        topology: Topology::default,
        story: control_dies,
    },
];

fn data_path_dies(lab: &Lab, workers: u8) -> Result<String> {
    const CONNECTIONS: usize = 1_000;
    // In turn, so that the hash alone would find the wrong server for two flows of three.
    lab.start(&lab.config().chooser("round-robin").workers(workers))?;
    let before = lab.switch().data_path()?;
    let to: SocketAddr = (VIP.v4, 80).into();
    let (busy, restarted) = (AtomicU32::new(0), Barrier::new(CONNECTIONS + 1));
    let outage = lab.client.enter(|| {
        std::thread::scope(|scope| -> Result<(Duration, Duration)> {
            let threads: Vec<_> = (0..CONNECTIONS)
                .map(|n| {
                    let (busy, restarted) = (&busy, &restarted);
                    let story = move || -> Result<()> {
                        let opened = open(to, n % 2 == 0);
                        busy.fetch_add(1, Ordering::Relaxed);
                        restarted.wait();
                        let (mut connection, server) = opened?;
                        if n % 2 == 0 {
                            // The server is sending: its own packets bring the entry back.
                            connection.body(SLOW - 1).context("a download after the restart")?;
                        }
                        // The server is waiting: the client's packet has to find it.
                        let now = connection.get("/").context("a request after the restart")?.server;
                        ensure!(now == server, "a flow moved from {server} to {now}");
                        Ok(())
                    };
                    Ok(Builder::new().stack_size(128 << 10).spawn_scoped(scope, story)?)
                })
                .collect::<Result<_>>()?;
            let all = u32::try_from(CONNECTIONS)?;
            let opened = wait::until("1,000 connections", Duration::from_secs(30), || {
                (busy.load(Ordering::Relaxed) == all).then_some(())
            });
            let start = Instant::now();
            let killed = kill(Pid::from_raw(before), Signal::SIGKILL);
            let back = wait::until("a new data path", Duration::from_secs(20), || {
                let now = lab.switch().data_path().ok()?;
                (now != before && alive(now) && lab.switch().flowctl(&["show", "servers"]).is_ok())
                    .then_some(())
            });
            let outage = start.elapsed();
            restarted.wait();
            opened?;
            killed?;
            let mut broken = 0;
            let mut first = None;
            for thread in threads {
                if let Err(error) = thread.join().unwrap_or_else(|p| std::panic::resume_unwind(p)) {
                    broken += 1;
                    first.get_or_insert(error);
                }
            }
            if let Some(error) = first {
                return Err(error.context(format!("{broken} of {CONNECTIONS} connections broke")));
            }
            back?;
            Ok((outage, start.elapsed()))
        })
    })?;
    let withheld = lab.switch().drops("reset-withheld")?;
    Ok(format!(
        "{CONNECTIONS} finished, {withheld} resets withheld, data path back after {:.1} s, all done after {:.1} s",
        outage.0.as_secs_f64(),
        outage.1.as_secs_f64()
    ))
}

/// A connection to a server; where `busy`, in the midst of a download.
fn open(to: SocketAddr, busy: bool) -> Result<(Connection, String)> {
    let mut connection = Connection::open(None, to)?;
    let mut server = connection.get("/")?.server;
    if busy {
        connection.ask("/slow")?;
        server = connection.head()?.0;
        connection.body(1)?;
    }
    Ok((connection, server))
}

fn control_dies(lab: &Lab) -> Result<String> {
    const DATAGRAMS: u32 = 8_000;
    lab.start(&lab.config())?;
    let _echoes: Vec<Echo> = lab
        .servers
        .iter()
        .map(|server| Echo::start(&server.ns, (VIP.v4, 7).into(), &server.name))
        .collect::<Result<_>>()?;
    let mut idle = lab.client.enter(|| Connection::open(None, (VIP.v4, 80).into()))?;
    let server = idle.get("/")?.server;
    let (data_path, before) = (lab.switch().data_path()?, lab.switch().control()?);
    let socket = lab.client.enter(|| UdpSocket::bind((CLIENT.v4, 9_000)))?;
    socket.connect((VIP.v4, 7))?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    // Long before and long after: 2,000 a second for 4 s.
    let received = std::thread::scope(|scope| -> Result<u32> {
        let receiver = scope.spawn(|| {
            let mut bytes = [0; 64];
            (0..DATAGRAMS).take_while(|_| socket.recv(&mut bytes).is_ok()).count()
        });
        wait::paced(DATAGRAMS, Duration::from_secs(4), |n| {
            if n == DATAGRAMS / 4 {
                kill(Pid::from_raw(before), Signal::SIGKILL)?;
            }
            socket.send(&n.to_be_bytes())?;
            Ok(())
        })?;
        Ok(u32::try_from(receiver.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))?)
    })?;
    ensure!(received == DATAGRAMS, "{} of {DATAGRAMS} datagrams lost", DATAGRAMS - received);
    wait::until("a new control core", Duration::from_secs(10), || {
        let now = lab.switch().control().ok()?;
        (now != before && alive(now) && lab.switch().in_force()).then_some(())
    })?;
    ensure!(lab.switch().data_path()? == data_path, "the data path was started anew");
    ensure!(idle.get("/")?.server == server, "an idle flow moved");
    lab.switch().reload(&lab.config().weights(&[2, 1, 1])).context("a change by the new control core")?;
    ensure!(idle.get("/")?.server == server, "an idle flow moved after the change");
    lab.stop()?;
    Ok(format!("0 of {DATAGRAMS} datagrams lost"))
}
