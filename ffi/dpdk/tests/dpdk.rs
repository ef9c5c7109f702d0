//! Everything that runs on DPDK without root, on its in-memory and file devices.
//!
//! One test, because a process starts DPDK once and the harness runs tests as threads of one
//! process. Its parts are functions that leave the pool as they found it; a failure names the part
//! by its line. `net_ring` devices are loops: what is sent on a queue is received on it.
#![allow(clippy::unwrap_used, reason = "a test says what went wrong by failing")]

use dataplane_port::{
    BURST, Flood, Frames, Head, PortId, PortSet, Ports, Refused, SlotId, TagEdit, Verdict, Verdicts, WorkerId,
};
use ffi_dpdk::{
    BufferNeeds, DeviceName, DpdkPorts, Eal, EthPort, Mempool, OpenError, PortBuffers, PortControl,
    PortSettings, switchboard,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

const RING: [PortId; 3] = [PortId(0), PortId(1), PortId(2)];
/// Belongs to worker 1, sends into a file, takes jumbo frames.
const FILE: PortId = PortId(3);
/// Brings frames of a file in segments.
const JUMBO: PortId = PortId(5);
/// The same, in segments of 64 bytes.
const CRUMBS: PortId = PortId(7);

#[test]
fn dpdk() {
    let folder = Folder::new();
    let eal = start();
    let pool = Arc::new(Mempool::shared(&eal, "test", 4095, 2176).expect("memory for 4,095 buffers"));
    launches(&eal);
    {
        let mut lab = Lab::new(&eal, &pool, &folder.0);
        forwards(&mut lab);
        floods_copies(&mut lab);
        changes_tags(&mut lab);
        emits(&mut lab);
        keeps(&mut lab);
        hands_over(&mut lab);
        refuses_when_full(&mut lab);
        sends_bursts_as_one(&mut lab);
        frees_what_was_not_dispatched(&mut lab);
        carries_chains(&mut lab);
        gathers_short_heads(&mut lab);
        relays_to_the_owner(&mut lab, &folder.0);
        detaches_and_attaches(&mut lab, &eal);
    }
    assert_eq!(pool.available(), pool.count(), "every buffer has come back");
    refuses_what_cannot_be(&eal, &pool);
    counts_buffers();
    drop(pool);
    eal.shutdown().expect("nothing holds DPDK any more");
}

fn start() -> Eal {
    let prefix = format!("--file-prefix=fs-test-{}", std::process::id());
    let arguments =
        ["--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", "--lcores", "0@0,1@0"]
            .map(str::to_owned);
    let arguments: Vec<String> =
        arguments.into_iter().chain([prefix, "--log-level=error".to_owned()]).collect();
    let eal = Eal::init("dpdk-test", &arguments).expect("DPDK starts without root and huge pages");
    assert_eq!(Eal::init("again", &[]).unwrap_err().errno, 114, "once in a process");
    assert_eq!(eal.workers(), [1]);
    eal
}

fn launches(eal: &Eal) {
    let seen = Arc::new(AtomicU32::new(0));
    let task = eal.launch(1, {
        let seen = Arc::clone(&seen);
        move || seen.store(7, Ordering::SeqCst)
    });
    assert!(task.unwrap().join());
    assert_eq!(seen.load(Ordering::SeqCst), 7);
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let task = eal.launch(1, || panic!("on an lcore"));
    assert!(!task.unwrap().join(), "a panic is told, and goes no further");
    std::panic::set_hook(quiet);
    assert!(eal.launch(99, || {}).is_err());
}

fn forwards(lab: &mut Lab) {
    lab.send_into(RING[0], &[frame(1, 60), frame(2, 1514), frame(3, 300)]);
    let worker = &mut lab.workers[0];
    assert_eq!(worker.receive(RING[0]), 3);
    let mut heads: [Head<'_>; BURST] = Default::default();
    assert_eq!(worker.heads(&mut heads), 3);
    assert!(heads.iter().take(3).all(|head| head.port == RING[0] && !head.handed));
    assert_eq!(heads[1].len, 1514);
    heads[1].data[0] = 0xee;
    let refused = lab.dispatch(0, &[Verdict::Forward(RING[1]), Verdict::Reply(RING[0]), Verdict::Consumed]);
    assert_eq!(sum(&refused), 0);
    let mut changed = frame(2, 1514);
    changed[0] = 0xee;
    assert_eq!(lab.take(0, RING[1]), [frame(1, 60)]);
    assert_eq!(lab.take(0, RING[0]), [changed]);
    let totals = lab.control.totals(RING[1]);
    assert_eq!((totals.tx_frames, totals.tx_bytes, totals.rx_frames), (1, 60, 1));
    lab.check();
}

fn floods_copies(lab: &mut Lab) {
    lab.send_into(RING[0], &[frame(4, 100)]);
    lab.workers[0].receive(RING[0]);
    let flood = Flood { plain: RING.into_iter().collect(), edited: PortSet::EMPTY, edit: TagEdit::None };
    assert_eq!(sum(&lab.dispatch(0, &[Verdict::Flood(flood)])), 0);
    for port in RING {
        assert_eq!(lab.take(0, port), [frame(4, 100)]);
    }
    // To nobody.
    lab.send_into(RING[0], &[frame(4, 100)]);
    lab.workers[0].receive(RING[0]);
    let nobody = Flood { plain: PortSet::EMPTY, edited: PortSet::EMPTY, edit: TagEdit::None };
    assert_eq!(sum(&lab.dispatch(0, &[Verdict::Flood(nobody)])), 0);
    lab.check();
}

fn changes_tags(lab: &mut Lab) {
    let plain = frame(5, 80);
    let mut tagged = plain[..12].to_vec();
    tagged.extend_from_slice(&[0x81, 0x00, 0x60, 0x64]);
    tagged.extend_from_slice(&plain[12..]);
    lab.send_into(RING[0], &[plain.clone(), tagged.clone()]);
    assert_eq!(lab.workers[0].receive(RING[0]), 2);
    let edited = |edit| {
        let plain = PortSet::EMPTY.with(RING[1]);
        Verdict::Flood(Flood { plain, edited: PortSet::EMPTY.with(RING[2]), edit })
    };
    assert_eq!(sum(&lab.dispatch(0, &[edited(TagEdit::Push(0x6064)), edited(TagEdit::Pop)])), 0);
    assert_eq!(lab.take(0, RING[1]), [plain.clone(), tagged.clone()]);
    assert_eq!(lab.take(0, RING[2]), [tagged, plain]);
    lab.check();
}

fn emits(lab: &mut Lab) {
    let worker = &mut lab.workers[0];
    let all_zero = worker.emit(RING[1], 64, |bytes| {
        assert!(bytes.len() == 64 && bytes.iter().all(|byte| *byte == 0));
        bytes[0] = 9;
    });
    assert!(all_zero);
    assert!(!worker.emit(RING[1], 1515, |_| {}), "longer than a frame of ours may be");
    assert!(!worker.emit(PortId(30), 64, |_| {}), "no such port");
    lab.flush();
    let sent = lab.take(0, RING[1]);
    assert_eq!((sent.len(), sent[0].len(), sent[0][0]), (1, 64, 9));
    lab.check();
}

fn keeps(lab: &mut Lab) {
    lab.send_into(RING[0], &[frame(6, 90), frame(7, 91), frame(8, 92)]);
    let worker = &mut lab.workers[0];
    worker.receive(RING[0]);
    let mut kept = worker.keep(1).expect("there is a frame");
    assert!(worker.keep(1).is_none(), "it is gone");
    let dropped = worker.keep(2).expect("there is a frame");
    lab.dispatch(0, &[Verdict::Hold(SlotId(0)), Verdict::Hold(SlotId(1)), Verdict::Hold(SlotId(2))]);
    drop(dropped);
    let worker = &mut lab.workers[0];
    worker.bytes(&mut kept)[5] = 0x77;
    assert!(worker.send(RING[1], TagEdit::Push(5), kept));
    lab.flush();
    let sent = lab.take(0, RING[1]);
    assert_eq!((sent.len(), sent[0].len(), sent[0][5]), (1, 95, 0x77));
    assert_eq!(sent[0][12..16], [0x81, 0, 0, 5]);
    lab.check();
}

fn hands_over(lab: &mut Lab) {
    lab.send_into(RING[0], &[frame(9, 70), frame(10, 71)]);
    lab.workers[0].receive(RING[0]);
    let kept = lab.workers[0].keep(0).expect("there is a frame");
    assert!(lab.workers[0].hand(WorkerId(1), kept));
    let refused = lab.dispatch(0, &[Verdict::Hold(SlotId(0)), Verdict::Hand(WorkerId(1))]);
    assert_eq!(sum(&refused), 0);
    assert_eq!(lab.workers[1].receive_handed(), 2);
    let mut heads: [Head<'_>; BURST] = Default::default();
    lab.workers[1].heads(&mut heads);
    assert!(heads[..2].iter().all(|head| head.handed && head.port == RING[0]));
    assert_eq!(heads[1].data, frame(10, 71));
    lab.dispatch(1, &[Verdict::Forward(RING[2]); 2]);
    assert_eq!(lab.workers[1].receive_handed(), 0);
    assert_eq!(lab.take(1, RING[2]).len(), 2);
    lab.check();
}

fn refuses_when_full(lab: &mut Lab) {
    // 2,048 frames for a ring of 1,024; the devices' rings hold 1,023.
    let mut refused = Refused::default();
    for _ in 0..64 {
        lab.send_into(RING[0], &vec![frame(11, 64); BURST]);
        lab.workers[0].receive(RING[0]);
        lab.workers[0].dispatch(&[Verdict::Hand(WorkerId(1)); BURST].into(), &mut refused);
    }
    assert_eq!(refused.hand, 1024);
    while lab.workers[1].receive_handed() > 0 {
        lab.workers[1].dispatch(&[Verdict::Forward(RING[2]); BURST].into(), &mut refused);
    }
    assert!(refused.of(RING[2]) > 0, "the device's ring is full");
    assert!(lab.take(1, RING[2]).len() > 900);
    // Nowhere.
    lab.send_into(RING[0], &[frame(12, 64)]);
    lab.workers[0].receive(RING[0]);
    assert_eq!(lab.dispatch(0, &[Verdict::Forward(PortId(31))]).no_port, 1);
    lab.send_into(RING[0], &[frame(12, 64)]);
    lab.workers[0].receive(RING[0]);
    assert_eq!(lab.dispatch(0, &[Verdict::Hand(WorkerId(5))]).hand, 1);
    lab.check();
}

fn sends_bursts_as_one(lab: &mut Lab) {
    let before = lab.control.totals(RING[1]);
    lab.send_into(RING[0], &[frame(30, 60), frame(31, 1514), frame(32, 300)]);
    assert_eq!(sum(&lab.send_all(0, RING[1])), 0);
    let after = lab.control.totals(RING[1]);
    assert_eq!((after.tx_frames - before.tx_frames, after.tx_bytes - before.tx_bytes), (3, 60 + 1514 + 300));
    // Behind what was gathered before.
    assert!(lab.workers[0].emit(RING[0], 64, |bytes| bytes.copy_from_slice(&frame(33, 64))));
    lab.flush();
    assert!(lab.workers[0].emit(RING[1], 64, |bytes| bytes.copy_from_slice(&frame(34, 64))));
    assert_eq!(sum(&lab.send_all(0, RING[1])), 0);
    let sent = lab.take(0, RING[1]);
    assert_eq!(sent, [frame(30, 60), frame(31, 1514), frame(32, 300), frame(34, 64), frame(33, 64)]);
    // More than the ring takes: some of a burst are sent, the rest is counted and freed.
    let mut refused = Refused::default();
    for _ in 0..33 {
        lab.send_into(RING[0], &vec![frame(35, 64); BURST - 1]);
        let of_burst = lab.send_all(0, RING[2]);
        refused.add(&of_burst);
        assert_eq!(sum(&of_burst), of_burst.of(RING[2]));
    }
    assert_eq!(refused.of(RING[2]), 0);
    lab.send_into(RING[0], &vec![frame(35, 64); BURST]);
    // 33 bursts of 31 are a ring's 1,023.
    assert_eq!(lab.send_all(0, RING[2]).of(RING[2]), BURST as u32);
    for _ in 0..2 {
        lab.workers[0].receive(RING[2]);
        lab.dispatch(0, &[]);
        lab.send_into(RING[0], &vec![frame(36, 64); BURST]);
        assert_eq!(sum(&lab.send_all(0, RING[2])), 0);
    }
    lab.workers[0].receive(RING[2]);
    lab.dispatch(0, &[]);
    lab.send_into(RING[0], &vec![frame(36, 64); BURST - 2]);
    assert_eq!(sum(&lab.send_all(0, RING[2])), 0);
    lab.send_into(RING[0], &vec![frame(37, 64); 5]);
    assert_eq!(lab.send_all(0, RING[2]).of(RING[2]), 3, "there was room for two");
    assert_eq!(lab.take(0, RING[2]).len(), 1023);
    // Nowhere.
    lab.send_into(RING[0], &vec![frame(38, 64); 7]);
    assert_eq!(lab.send_all(0, PortId(31)).no_port, 7);
    lab.check();
}

fn frees_what_was_not_dispatched(lab: &mut Lab) {
    lab.send_into(RING[0], &[frame(13, 64), frame(14, 64)]);
    assert_eq!(lab.workers[0].receive(RING[0]), 2);
    assert_eq!(lab.workers[0].receive(RING[0]), 0, "the next burst frees what a panic left of the last");
    lab.send_into(RING[0], &[frame(13, 64), frame(14, 64)]);
    lab.workers[0].receive(RING[0]);
    assert_eq!(lab.workers[0].abandon(), 2);
    assert_eq!(lab.workers[0].abandon(), 0);
    lab.check();
}

fn carries_chains(lab: &mut Lab) {
    // Worker 1 owns both ports.
    assert_eq!(lab.workers[0].receive(JUMBO), 0, "only the owner polls a device with one queue");
    assert_eq!(lab.workers[1].receive(JUMBO), 3);
    let mut heads: [Head<'_>; BURST] = Default::default();
    lab.workers[1].heads(&mut heads);
    assert_eq!((heads[0].len, heads[0].data.len()), (4000, 2048));
    let pushed = Verdict::Flood(Flood {
        plain: PortSet::EMPTY,
        edited: PortSet::EMPTY.with(FILE),
        edit: TagEdit::Push(7),
    });
    let refused = lab.dispatch(1, &[Verdict::Forward(FILE), pushed, Verdict::Forward(RING[0])]);
    assert_eq!(refused.of(RING[0]), 1, "longer than the port's MTU");
    assert_eq!(sum(&refused), 1);
    lab.check();
}

fn gathers_short_heads(lab: &mut Lab) {
    assert_eq!(lab.workers[1].receive(CRUMBS), 3);
    let mut heads: [Head<'_>; BURST] = Default::default();
    lab.workers[1].heads(&mut heads);
    assert_eq!((heads[0].len, heads[0].data.len()), (4000, 128));
    assert_eq!(heads[0].data, &frame(20, 4000)[..128]);
    let pushed = Verdict::Flood(Flood {
        plain: PortSet::EMPTY,
        edited: PortSet::EMPTY.with(FILE),
        edit: TagEdit::Push(8),
    });
    assert_eq!(sum(&lab.dispatch(1, &[pushed, Verdict::Forward(FILE), Verdict::Consumed])), 0);
    lab.check();
    assert_eq!(lab.crumbs.available(), lab.crumbs.count());
}

fn relays_to_the_owner(lab: &mut Lab, folder: &Path) {
    lab.send_into(RING[0], &[frame(15, 66)]);
    assert_eq!(sum(&lab.send_all(0, FILE)), 0);
    assert!(lab.workers[0].emit(FILE, 60, |bytes| bytes[0] = 16));
    assert_eq!(lab.workers[1].take_relayed(), 0);
    lab.flush();
    assert_eq!(lab.workers[1].take_relayed(), 2);
    assert_eq!(lab.control.totals(FILE).tx_frames, 6);
    // The file is complete once its device is closed.
    lab.detach(FILE);
    let written = read_pcap(&folder.join("out.pcap"));
    let tagged = |tci: u8, plain: &[u8]| [&plain[..12], &[0x81, 0, 0, tci], &plain[12..]].concat();
    assert_eq!(written[0], frame(20, 4000));
    assert_eq!(written[1], tagged(7, &frame(21, 4000)));
    assert_eq!(written[2], tagged(8, &frame(20, 4000)));
    assert_eq!(written[3], frame(21, 4000));
    assert_eq!(written[4], frame(15, 66));
    assert_eq!((written[5].len(), written[5][0], written.len()), (60, 16, 6));
    lab.check();
}

fn detaches_and_attaches(lab: &mut Lab, eal: &Eal) {
    assert!(lab.workers[0].emit(RING[1], 60, |_| {}), "gathered, and lost with the device");
    lab.control.detach(RING[1]);
    let busy = lab.control.attach(RING[1], ring(eal, 8, &lab.pool)).unwrap_err();
    assert!(lab.control.take_detached().is_none(), "no worker has given it back");
    let mut refused = Refused::default();
    lab.workers[0].flush(&mut refused);
    assert_eq!(refused.no_port, 1);
    assert!(lab.control.take_detached().is_none(), "one worker has not given it back");
    assert!(!lab.workers[0].emit(RING[1], 60, |_| {}));
    assert_eq!(lab.workers[0].receive(RING[1]), 0);
    lab.workers[1].flush(&mut refused);
    let (port, device) = lab.control.take_detached().expect("both have");
    assert_eq!((port, device.driver()), (RING[1], "net_ring"));
    drop(device);
    lab.control.attach(RING[1], busy).expect("the port is free now");
    lab.flush();
    assert!(lab.workers[0].emit(RING[1], 60, |_| {}));
    lab.flush();
    assert_eq!(lab.take(0, RING[1]).len(), 1);
    lab.check();
    // Many times over: names are new, numbers are used again.
    for turn in 0..50 {
        lab.detach(RING[1]);
        lab.control.attach(RING[1], ring(eal, 100 + turn, &lab.pool)).expect("the port is free");
        lab.flush();
    }
    assert!(lab.workers[1].emit(RING[1], 60, |_| {}));
    lab.flush();
    assert_eq!(lab.take(1, RING[1]).len(), 1);
    lab.check();
}

fn refuses_what_cannot_be(eal: &Eal, pool: &Arc<Mempool>) {
    let missing = DeviceName::Virtual { name: "net_pcap77".into(), arguments: "rx_pcap=/nonexistent".into() };
    assert!(matches!(EthPort::open(eal, missing, &settings(pool, 1500)), Err(OpenError::Attach(_))));
    let absent = DeviceName::Pci { address: "0000:7f:00.0".into() };
    assert!(matches!(EthPort::open(eal, absent, &settings(pool, 1500)), Err(OpenError::Find(_))));
    let private = Arc::new(Mempool::private(eal, "private", 511).unwrap());
    let first = ring(eal, 30, &private);
    let name = DeviceName::Virtual { name: "net_ring31".into(), arguments: String::new() };
    let second = EthPort::open(eal, name, &settings(&private, 1500));
    assert_eq!(second.unwrap_err(), OpenError::PoolTaken);
    drop(first);
    assert_eq!(private.available(), 511);
    let short = Mempool::shared(eal, "short", 4_000_000, 2176).unwrap_err();
    assert!(short.to_string().contains("Cannot allocate memory"), "{short}");
}

fn counts_buffers() {
    let port = PortBuffers { queues: 2, descriptors: 2048 };
    let needs = BufferNeeds { workers: 2, ports: vec![port; 4] };
    assert!(needs.shared() > 4 * 2 * 2048 && needs.shared() < 4 * 2 * 2048 + 10_000);
    assert!(BufferNeeds::bytes(1000, 2176) == 4_096_000);
}

struct Lab {
    workers: Vec<DpdkPorts>,
    control: PortControl,
    pool: Arc<Mempool>,
    crumbs: Arc<Mempool>,
}

impl Lab {
    fn new(eal: &Eal, pool: &Arc<Mempool>, folder: &Path) -> Self {
        let (workers, mut control) = switchboard(eal, pool, 2);
        for port in RING {
            control.attach(port, ring(eal, port.0, pool)).expect("the port is free");
        }
        write_pcap(&folder.join("in.pcap"), &[frame(20, 4000), frame(21, 4000), frame(22, 4000)]);
        let tx = format!("tx_pcap={}", folder.join("out.pcap").display());
        let rx = format!("rx_pcap={}", folder.join("in.pcap").display());
        let nowhere = format!("tx_pcap={}", folder.join("nowhere.pcap").display());
        let nothing = format!("rx_pcap={}", folder.join("nothing.pcap").display());
        write_pcap(&folder.join("nothing.pcap"), &[]);
        let crumbs = Arc::new(Mempool::shared(eal, "crumbs", 1023, 192).expect("memory for crumbs"));
        for (port, name, arguments, pool) in [
            (FILE, "net_pcap3", format!("{nothing},{tx}"), pool),
            (JUMBO, "net_pcap5", format!("{rx},{nowhere}"), pool),
            (CRUMBS, "net_pcap7", format!("{rx},{nowhere}"), &crumbs),
        ] {
            let name = DeviceName::Virtual { name: name.into(), arguments };
            let device = EthPort::open(eal, name, &settings(pool, 9000)).expect("a file can be a device");
            assert_eq!((device.driver(), device.queues()), ("net_pcap", 1));
            control.attach(port, device).expect("the port is free");
        }
        let mut lab = Self { workers, control, pool: Arc::clone(pool), crumbs };
        lab.flush();
        assert_eq!(lab.control.device(RING[0]).expect("attached").queues(), 2);
        lab
    }

    /// Puts frames where worker 0 will receive them.
    fn send_into(&mut self, port: PortId, frames: &[Vec<u8>]) {
        for frame in frames {
            assert!(self.workers[0].emit(port, frame.len(), |bytes| bytes.copy_from_slice(frame)));
        }
        self.flush();
    }

    fn flush(&mut self) {
        let mut refused = Refused::default();
        for worker in &mut self.workers {
            worker.flush(&mut refused);
        }
        assert_eq!(sum(&refused), 0);
    }

    fn dispatch(&mut self, worker: usize, first: &[Verdict]) -> Refused {
        let mut verdicts = [Verdict::Consumed; BURST];
        verdicts[..first.len()].copy_from_slice(first);
        let mut refused = Refused::default();
        self.workers[worker].dispatch(&verdicts.into(), &mut refused);
        refused
    }

    /// Has a worker send all of a burst that it finds in the first ring.
    fn send_all(&mut self, worker: usize, to: PortId) -> Refused {
        let worker = &mut self.workers[worker];
        let n = worker.receive(RING[0]);
        for i in 0..n {
            worker.admit(i);
        }
        let (mut verdicts, mut refused) = (Verdicts::default(), Refused::default());
        verdicts.send_all_to(to);
        worker.dispatch(&verdicts, &mut refused);
        refused
    }

    /// Receives and frees all that a loop has.
    fn take(&mut self, worker: usize, port: PortId) -> Vec<Vec<u8>> {
        let mut taken = Vec::new();
        while self.workers[worker].receive(port) > 0 {
            let mut heads: [Head<'_>; BURST] = Default::default();
            let n = self.workers[worker].heads(&mut heads);
            taken.extend(heads[..n].iter().map(|head| head.data.to_vec()));
            self.dispatch(worker, &[]);
        }
        taken
    }

    fn detach(&mut self, port: PortId) {
        self.control.detach(port);
        self.flush();
        drop(self.control.take_detached().expect("all workers have given it back"));
    }

    fn check(&self) {
        assert_eq!(self.pool.available(), self.pool.count(), "every buffer has come back");
    }
}

fn settings(pool: &Arc<Mempool>, mtu: u16) -> PortSettings {
    PortSettings { workers: 2, mtu, descriptors: 512, seed: 1, pool: Arc::clone(pool) }
}

fn ring(eal: &Eal, number: u8, pool: &Arc<Mempool>) -> EthPort {
    let name = DeviceName::Virtual { name: format!("net_ring{number}"), arguments: String::new() };
    EthPort::open(eal, name, &settings(pool, 1500)).expect("rings need nothing but memory")
}

fn frame(seed: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u8).wrapping_mul(31) ^ seed).collect()
}

fn sum(refused: &Refused) -> u32 {
    refused.transmit() + refused.hand + refused.no_buffer + refused.no_port
}

fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 1_u32] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for frame in frames {
        for word in [0, 0, frame.len() as u32, frame.len() as u32] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(frame);
    }
    fs::write(path, bytes).unwrap();
}

fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    let mut frames = Vec::new();
    let mut rest = &bytes[24..];
    while let Some((header, behind)) = rest.split_first_chunk::<16>() {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        frames.push(behind[..len].to_vec());
        rest = &behind[len..];
    }
    frames
}

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fs-ffi-dpdk-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
