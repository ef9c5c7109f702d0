//! P9: the kernel doing the same.

use super::{Session, fewer};
use crate::case::Case;
use crate::kernel::Kernel;
use crate::native;
use crate::plan::{ROUTER, VMAC};
use crate::traffic::Template;
use anyhow::{Context, Result, ensure};
use tests_bench::{Limits, Row};

const LIMITS: Limits = Limits::at_least(25.0, 40.0, "x fewer");
const FLOWS: u32 = 1024;
/// Flows of a round, and frames of each in a row: a call takes some 30 ms beside what its frames take.
const KERNEL_FLOWS: u16 = 4;
const FRAMES: u32 = 1 << 16;

pub(crate) fn rows(session: &mut Session) {
    if !session.wants("P9") {
        return;
    }
    session.say("P9: nft in the kernel");
    let row = Row::new("P9", "net_null, inbound hit, 1k flows", "cycles/packet (TSC)", &LIMITS);
    let row = match session.beside(Case::Inbound, FLOWS, session.long, peer) {
        Err(error) => row.not_measured(format!("{error:#}")),
        Ok(windows) => fewer(row, &windows.ours(), &windows.peer, "nft netdev in a namespace, same run", &LIMITS).note(
            "the ratio is the kernel's by ours; the kernel's between veth interfaces, without making the frames, by \
             BPF_PROG_TEST_RUN, 4 flows; ours without the generator, with the devices",
        ),
    };
    session.tell(&row);
}

/// A window of the kernel's, on the same core.
fn peer(session: &mut Session) -> Result<f64> {
    // A thread of its own, which is in the namespace.
    let thread = || std::thread::spawn(round).join();
    session.ground()?.on_lcore(0, thread)?.ok().context("a thread panicked")?
}

/// TSC cycles a packet, without the floor.
fn round() -> Result<f64> {
    let kernel = Kernel::new()?;
    let timed = |bring: &dyn Fn(&[u8]) -> Result<()>| -> Result<f64> {
        let start = native::tsc();
        for flow in 0..KERNEL_FLOWS {
            bring(&frame(flow))?;
        }
        Ok((native::tsc() - start) as f64 / f64::from(KERNEL_FLOWS) / f64::from(FRAMES))
    };
    let before = kernel.left()?;
    let all = timed(&|frame| kernel.steer(frame, FRAMES))?;
    let left = kernel.left()? - before;
    let expected = u64::from(KERNEL_FLOWS) * u64::from(FRAMES);
    ensure!(left >= expected, "nft forwarded {left} of {expected} frames");
    Ok(all - timed(&|frame| kernel.floor(frame, FRAMES))?)
}

/// A segment to the service.
fn frame(flow: u16) -> Vec<u8> {
    let mut frame = Template::new(Case::Inbound.kind(), crate::traffic::From::Client).short().to_vec();
    frame[..6].copy_from_slice(&VMAC.0);
    frame[6..12].copy_from_slice(&ROUTER.0);
    frame[30..34].copy_from_slice(&[10, 200, 1, 1]);
    frame[28..30].copy_from_slice(&flow.to_be_bytes());
    frame[24..26].fill(0);
    let mut sum: u32 = frame[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    frame[24..26].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    frame
}
