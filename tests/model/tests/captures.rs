//! Every frame of every capture, on every port, as it is and made worse: the oracle holds (bar 6).

mod common;

use common::{Switch, Verdicts, table};
use dataplane_message::Chooser;
use tests_model::captures::{folder, load};
use tests_model::mutate::{Random, flip, resource, retag, retarget, truncate};
use tests_model::{Oracle, Table};

fn frames() -> Option<Vec<Vec<u8>>> {
    let Some(folder) = folder() else {
        println!("skipped: no captures; set FLOWSWITCH_CAPTURES");
        return None;
    };
    let captures = load(&folder);
    println!(
        "{} frames from {} files ({} of other link layers, {} not readable to their end)",
        captures.frames.len(),
        captures.files,
        captures.other_links,
        captures.unreadable
    );
    Some(captures.frames)
}

/// The frame as a client would send it to each VIP, and as each server would send it in a VIP's
/// name, tagged as the port wants it.
fn aimed(table: &Table, port: usize, frame: &[u8]) -> Vec<Vec<u8>> {
    let mut aimed = Vec::new();
    for cluster in &table.clusters {
        let vid = if table.ports[port].untagged == Some(cluster.vlan) { 0 } else { cluster.vlan };
        aimed.extend(retarget(frame, cluster.vmac, cluster.vip).and_then(|f| retag(&f, vid)));
        for server in cluster.servers.iter().map(|s| &table.servers[*s]).filter(|s| s.port == port) {
            aimed.extend(resource(frame, server.mac, cluster.vip).and_then(|f| retag(&f, vid)));
        }
    }
    aimed
}

struct Bench {
    switch: Switch,
    oracle: Oracle,
    verdicts: Verdicts,
}

impl Bench {
    fn new(workers: usize) -> Self {
        let table = table();
        Self {
            switch: Switch::start(&table, workers, Chooser::Maglev),
            oracle: Oracle::new(table),
            verdicts: Verdicts::default(),
        }
    }

    fn put(&mut self, port: usize, frame: &[u8]) {
        let verdict = self.switch.judge(&mut self.oracle, port, frame);
        self.verdicts.note(verdict);
        if self.verdicts.frames.is_multiple_of(64) {
            // The publisher learns stations meanwhile, as it does beside running workers.
            self.switch.publisher.handle_deadline(self.switch.now);
            while self.switch.publisher.poll_message().is_some() {}
        }
    }

    fn finish(mut self) {
        self.switch.pass(20);
        assert_eq!(self.switch.wire.buffers_in_use(), 0, "(g) the pool returns to its count");
        self.verdicts.assert_none();
    }
}

#[test]
fn every_frame_as_it_is() {
    let Some(frames) = frames() else { return };
    let mut bench = Bench::new(1);
    for frame in &frames {
        for port in 0..bench.oracle.table().ports.len() {
            bench.put(port, frame);
        }
    }
    bench.finish();
}

#[test]
fn every_frame_aimed_at_the_vips_and_sent_in_their_name() {
    // FS-6, FS-11: else they miss the VIP path.
    let Some(frames) = frames() else { return };
    for workers in [1, 3] {
        let mut bench = Bench::new(workers);
        for frame in &frames {
            for port in 0..bench.oracle.table().ports.len() {
                for frame in aimed(bench.oracle.table(), port, frame) {
                    bench.put(port, &frame);
                }
            }
        }
        bench.finish();
    }
}

#[test]
fn frames_cut_off_at_every_byte() {
    let Some(frames) = frames() else { return };
    let mut bench = Bench::new(1);
    for frame in frames.iter().step_by(97) {
        for frame in aimed(bench.oracle.table(), 0, frame) {
            for len in 0..frame.len().min(200) {
                bench.put(0, &truncate(&frame, len));
            }
        }
    }
    bench.finish();
}

#[test]
fn frames_with_flipped_bits() {
    let Some(frames) = frames() else { return };
    let mut bench = Bench::new(2);
    let mut random = Random::new(0x5eed);
    for frame in &frames {
        let ports = bench.oracle.table().ports.len();
        let port = random.below(ports);
        for frame in aimed(bench.oracle.table(), port, frame) {
            let frame = flip(&frame, &mut random);
            bench.put(port, &frame);
        }
    }
    bench.finish();
}

#[test]
fn frames_with_heads_cut_off_by_segments() {
    // A NIC shows 128 bytes of a frame at least; what follows makes no difference.
    let Some(frames) = frames() else { return };
    let mut bench = Bench::new(1);
    bench.switch.wire.segment(128);
    for frame in frames.iter().filter(|frame| frame.len() > 128) {
        for frame in aimed(bench.oracle.table(), 0, frame) {
            bench.put(0, &frame);
        }
    }
    bench.finish();
}
