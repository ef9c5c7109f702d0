//! Row l, the part through DPDK: frames as the field has them, malformed ones among them.

use super::kit::{QUIET, Servers, ask_mac};
use crate::frame::{self, IPV4, Mac};
use crate::http::Connection;
use crate::lab::{Lab, Topology, VIP};
use crate::nginx::BIG;
use crate::raw::Tap;
use crate::runner::{Scenario, Skip};
use crate::stats::Random;
use anyhow::{Context, Result, ensure};
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    row: "l",
    name: "a sample of the captures, as they are and retargeted to the VIP, through DPDK (F1-F18)",
    needs: &[],
    topology: || Topology { download: true, ..Topology::default() },
    story: sample,
}];

/// Frames that fit an interface of MTU 1500, with or without a tag.
const FITS: std::ops::RangeInclusive<usize> = 14..=1514;

fn sample(lab: &Lab) -> Result<String> {
    let folder =
        captures().ok_or_else(|| Skip("no captures here (FLOWSWITCH_CAPTURES names their folder)".into()))?;
    let mut frames = Vec::new();
    read_folder(&folder, &mut frames)?;
    ensure!(!frames.is_empty(), "no capture of Ethernet in {}", folder.display());
    let wanted = if lab.full { 20_000 } else { 3_000 };
    let mut random = Random::new(42);
    let mut own: Vec<Mac> =
        lab.routers.iter().chain(&lab.servers).chain(&lab.neighbours).map(|h| h.mac).collect();

    lab.start(&lab.config())?;
    let data_path = lab.switch().data_path()?;
    let (router, server) = (&lab.routers[0], &lab.servers[0]);
    let (outside, servers) = (lab.tap(router)?, Servers::watch(lab)?);
    let vmac = ask_mac(&outside, router, VIP.v4.into(), None)?;
    // The switch asks servers, too (FS-30); nobody else may send from a VMAC.
    own.extend([vmac, ask_mac(&outside, router, VIP.v6.into(), None)?]);

    let download = std::thread::scope(|scope| -> Result<_> {
        let live = scope.spawn(|| {
            lab.client.enter(|| {
                let mut connection = Connection::open(None, (VIP.v4, 80).into())?;
                connection.get("/big").context("a live download among the captured frames")
            })
        });
        let mut sent: HashMap<Vec<u8>, u32> = HashMap::new();
        for n in 0..wanted {
            let frame = &frames[usize::try_from(random.below(frames.len() as u64))?];
            if frame::parts(frame).is_none_or(|p| own.contains(&p.source)) {
                continue;
            }
            let retargeted = retarget(frame, vmac);
            for frame in [Some(frame), retargeted.as_ref()].into_iter().flatten() {
                // Once on each of the two ports.
                *sent.entry(frame[6..].to_vec()).or_default() += 2;
                outside.send(frame)?;
                servers.tap(&server.name).send(frame)?;
            }
            if n % 32 == 0 {
                check(&servers, &own, &mut sent)?;
                settle(&outside);
            }
        }
        std::thread::sleep(QUIET);
        check(&servers, &own, &mut sent)?;
        live.join().unwrap_or_else(|p| std::panic::resume_unwind(p))
    })?;
    ensure!(download.length == BIG, "the download is short");
    ensure!(lab.switch().data_path()? == data_path, "the data path was started anew");
    ensure!(lab.switch().drops("fault")? == 0, "a fault in the program");
    let again = lab.client.enter(|| Connection::open(None, (VIP.v4, 80).into())?.get("/"))?;
    ensure!(!again.server.is_empty(), "it does not forward any more");
    lab.stop()?;
    Ok(format!("{wanted} of {} frames on two ports, each as it is and retargeted", frames.len()))
}

/// Nothing came to a server that was not sent, but for its first six bytes; and no VIP frame came to two.
fn check(servers: &Servers<'_>, own: &[Mac], sent: &mut HashMap<Vec<u8>, u32>) -> Result<()> {
    let unicast = |f: &[u8]| f.first().is_some_and(|b| b & 1 == 0);
    for (host, frame) in servers.pending(unicast) {
        let parts = frame::parts(&frame).context("shorter than a frame")?;
        // Live traffic of the lab's own hosts goes by.
        if own.contains(&parts.source) || parts.destination != host.mac {
            continue;
        }
        let known = sent
            .get_mut(&frame[6..])
            .with_context(|| format!("{} got what nobody sent: {}", host.name, frame::hex(&frame)))?;
        *known = known.checked_sub(1).with_context(|| {
            format!("delivered more often than sent, last to {}: {}", host.name, frame::hex(&frame))
        })?;
    }
    Ok(())
}

/// Lets the switch keep up: what waits in a full ring would be lost by the test, not by it.
fn settle(tap: &Tap) {
    tap.gather(Duration::from_millis(5), |_| false);
}

/// The frame with the VMAC as destination and, where it is an IPv4 packet, the VIP as its destination.
fn retarget(frame: &[u8], vmac: Mac) -> Option<Vec<u8>> {
    let parts = frame::parts(frame).filter(|p| p.ethertype == IPV4 && p.payload.len() >= 20)?;
    let at = frame.len() - parts.payload.len();
    let mut new = frame.to_vec();
    new[..6].copy_from_slice(&vmac);
    new[at + 16..at + 20].copy_from_slice(&VIP.v4.octets());
    let end = at + usize::from(new[at] & 15) * 4;
    if let Some(header) = new.get(at..end).filter(|h| h.len() >= 20) {
        let mut header = header.to_vec();
        header[10..12].fill(0);
        let sum = frame::checksum(&header, 0);
        new[at + 10..at + 12].copy_from_slice(&sum.to_be_bytes());
    }
    Some(new)
}

/// `FLOWSWITCH_CAPTURES`, or `shared/captures` beside the checkout.
fn captures() -> Option<PathBuf> {
    let beside =
        || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3).map(|p| p.join("shared/captures"));
    std::env::var_os("FLOWSWITCH_CAPTURES").map(PathBuf::from).or_else(beside).filter(|p| p.is_dir())
}

/// Every frame of every capture of Ethernet below `folder`, in the order of the files' names.
fn read_folder(folder: &Path, frames: &mut Vec<Vec<u8>>) -> Result<()> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)?.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            read_folder(&path, frames)?;
        } else if let Ok(mut reader) = PcapReader::new(File::open(&path)?)
            && reader.header().datalink == DataLink::ETHERNET
        {
            // Captures of crash inputs end in the midst of a frame; what is before it counts.
            let until = Instant::now() + Duration::from_secs(5);
            while let Some(Ok(packet)) = reader.next_packet()
                && Instant::now() < until
            {
                if FITS.contains(&packet.data.len()) {
                    frames.push(packet.data.into_owned());
                }
            }
        }
    }
    Ok(())
}
