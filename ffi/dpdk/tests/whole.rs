//! Bursts that are lent as a whole. A process of its own: in `dpdk.rs` there are buffers too small for it.

use dataplane_port::{BURST, Frames, PortId, Ports, Refused, TagEdit, Verdict, Whole};
use ffi_dpdk::{DeviceName, DpdkPorts, Eal, EthPort, Mempool, PortSettings, switchboard};
use std::sync::Arc;

const RING: PortId = PortId(0);

fn frame(n: u8, len: usize) -> Vec<u8> {
    (0..len).map(|i| n ^ i as u8).collect()
}

fn receive(ports: &mut DpdkPorts, frames: &[Vec<u8>]) {
    for frame in frames {
        assert!(ports.emit(RING, frame.len(), |bytes| bytes.copy_from_slice(frame)));
    }
    ports.flush(&mut Refused::default());
    assert_eq!(ports.receive(RING), frames.len());
}

/// What the burst is lent as, if it is.
fn lend(ports: &mut DpdkPorts) -> Option<Vec<(Vec<u8>, u16)>> {
    let (mut whole, mut seen) = (Whole::<'_, 54>::default(), Vec::new());
    let lent = ports.whole(&mut whole, |start| seen.push(start.to_vec()));
    let starts: Vec<_> = whole.starts.iter().map(|start| start.to_vec()).collect();
    assert!(whole.lens[starts.len()..].iter().all(|len| *len == Whole::<'_, 54>::NONE));
    lent.then(|| {
        assert_eq!(seen, starts, "each is shown as it is lent");
        starts.into_iter().zip(whole.lens).collect()
    })
}

fn send_all(ports: &mut DpdkPorts) {
    let mut refused = Refused::default();
    ports.dispatch(&[Verdict::Forward(RING); BURST].into(), &mut refused);
    ports.flush(&mut refused);
    assert!(refused.is_nothing());
}

#[test]
fn a_burst_is_lent_as_a_whole_or_frame_by_frame() {
    let prefix = format!("--file-prefix=fs-whole-{}", std::process::id());
    let words = [
        "--no-pci",
        "--no-huge",
        "-m",
        "64",
        "--no-shconf",
        "--no-telemetry",
        "--lcores=0@0",
        "--log-level=error",
    ];
    let words: Vec<String> = words.into_iter().map(str::to_owned).chain([prefix]).collect();
    let eal = Eal::init("whole-test", &words).expect("DPDK starts without root and huge pages");
    {
        let pool = Arc::new(Mempool::shared(&eal, "whole", 1023, 2176).expect("memory for 1,023 buffers"));
        let (mut workers, mut control) = switchboard(&eal, &pool, 1);
        let name = DeviceName::Virtual { name: "net_ring0".into(), arguments: String::new() };
        let settings =
            PortSettings { workers: 1, mtu: 1500, descriptors: 512, seed: 1, pool: Arc::clone(&pool) };
        let device = EthPort::open(&eal, name, &settings).expect("a ring is a device");
        control.attach(RING, device).expect("the port is free");
        let ports = &mut workers[0];
        ports.flush(&mut Refused::default());

        // Full bursts and short ones; what is shorter than what is lent is lent with its length.
        for count in [1, 7, BURST] {
            let frames: Vec<_> = (0..count).map(|i| frame(i as u8, 40 + 45 * i)).collect();
            receive(ports, &frames);
            let lent = lend(ports).expect("nothing is out of the ordinary");
            assert_eq!(lent.len(), count);
            for ((start, len), frame) in lent.iter().zip(&frames) {
                assert_eq!(usize::from(*len), frame.len());
                let there = frame.len().min(54);
                assert_eq!(start[..there], frame[..there]);
            }
            assert_eq!(ports.bytes_admitted(), frames.iter().map(|frame| frame.len() as u64).sum::<u64>());
            assert_eq!(lend(ports), None, "once");
            assert_eq!(ports.look(count - 1).data, frames[count - 1]);
            send_all(ports);
            assert_eq!(ports.receive(RING), count, "all went out of the port, and came in by it again");
            send_all(ports);
            ports.receive(RING);
            ports.abandon();
        }

        // Not with a frame missing.
        receive(ports, &[frame(1, 60), frame(2, 60)]);
        let kept = ports.keep(1);
        assert_eq!(lend(ports), None);
        ports.abandon();

        // One begins elsewhere in its buffer than the others.
        assert!(ports.send(RING, TagEdit::Pop, kept.expect("it was there")));
        assert!(ports.emit(RING, 60, |bytes| bytes.copy_from_slice(&frame(3, 60))));
        ports.flush(&mut Refused::default());
        assert_eq!(ports.receive(RING), 2);
        assert_eq!(lend(ports), None);
        for (i, len) in [(0, 56), (1, 60)] {
            assert_eq!(ports.admit(i).data.len(), len);
        }
        ports.abandon();
    }
    eal.shutdown().expect("nothing holds DPDK any more");
}
