//! What lies between a worker and the publisher: rings with one writer and one reader each.

use dataplane_engine::{Engine, Event, OwnTables};
use dataplane_flow::{Entry, FlowKey};
use dataplane_message::FlowFilter;
use dataplane_port::PortId;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;

/// The longest frame that is punted or injected, in bytes.
pub const FRAME_MAX: usize = 2048;

const TABLES: usize = 8;
const EVENTS: usize = 1024;
const FRAMES: usize = 32;
/// Probes and their answers: what a second of checks may come to within one turn of the other side.
const PROBES: usize = 512;
const ROWS: usize = 1024;
const COMMANDS: usize = 8;

/// A frame between the packet path and the control core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossing {
    pub(crate) port: PortId,
    len: u16,
    bytes: [u8; FRAME_MAX],
}

impl Crossing {
    /// Copies the frame; what is longer than [`FRAME_MAX`] is cut.
    pub(crate) fn new(port: PortId, frame: &[u8]) -> Self {
        let len = frame.len().min(FRAME_MAX);
        let mut bytes = [0; FRAME_MAX];
        bytes[..len].copy_from_slice(&frame[..len]);
        Self { port, len: len as u16, bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// A line of a flow listing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Row {
    Flow { query: u32, key: FlowKey, entry: Entry, idle_s: u32, age_s: u32 },
    End { query: u32 },
}

/// What the publisher asks of a worker.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// List flows. A newer question replaces an older one.
    List { query: u32, filter: FlowFilter },
}

/// A worker's ends of the rings, and its engine.
#[derive(Debug)]
pub struct WorkerSeat {
    pub(crate) engine: Engine,
    pub(crate) ports: u8,
    pub(crate) tables_in: Consumer<Arc<OwnTables>>,
    pub(crate) tables_back: Producer<Arc<OwnTables>>,
    pub(crate) events: Producer<Event>,
    pub(crate) punts: Producer<Crossing>,
    /// Answers to probes: nothing else that is punted stands in their way (A5, C7).
    pub(crate) answers: Producer<Crossing>,
    pub(crate) injected: Consumer<Crossing>,
    pub(crate) rows: Producer<Row>,
    pub(crate) commands: Consumer<Command>,
}

/// The publisher's ends.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) tables_out: Producer<Arc<OwnTables>>,
    pub(crate) tables_back: Consumer<Arc<OwnTables>>,
    pub(crate) events: Consumer<Event>,
    pub(crate) punts: Consumer<Crossing>,
    pub(crate) answers: Consumer<Crossing>,
    pub(crate) inject: Producer<Crossing>,
    pub(crate) rows: Consumer<Row>,
    pub(crate) commands: Producer<Command>,
    /// Tables handed out, and given back.
    pub(crate) out: u64,
    pub(crate) back: u64,
}

pub(crate) fn join(engine: Engine, ports: u8) -> (WorkerSeat, Desk) {
    let (tables_out, tables_in) = RingBuffer::new(TABLES);
    let (back_in, tables_back) = RingBuffer::new(TABLES * 2);
    let (events_in, events) = RingBuffer::new(EVENTS);
    let (punts_in, punts) = RingBuffer::new(FRAMES);
    let (answers_in, answers) = RingBuffer::new(PROBES);
    let (inject, injected) = RingBuffer::new(PROBES);
    let (rows_in, rows) = RingBuffer::new(ROWS);
    let (commands, commands_out) = RingBuffer::new(COMMANDS);
    let seat = WorkerSeat {
        engine,
        ports,
        tables_in,
        tables_back: back_in,
        events: events_in,
        punts: punts_in,
        answers: answers_in,
        injected,
        rows: rows_in,
        commands: commands_out,
    };
    let desk =
        Desk { tables_out, tables_back, events, punts, answers, inject, rows, commands, out: 0, back: 0 };
    (seat, desk)
}
