//! Flow listings: asked of all workers, gathered, sent on.

use super::Publisher;
use crate::seat::{Command, Row};
use dataplane_flow::{Entry, FlowKey, KeyKind};
use dataplane_message::{FlowFilter, FlowRow, ToControl};

/// Rows in one message.
const CHUNK: usize = 512;

/// Listings under way at once; the oldest makes room.
const QUESTIONS: usize = 8;

/// A listing under way.
#[derive(Debug)]
pub(crate) struct Question {
    query: u32,
    left: u32,
    workers_left: usize,
    rows: Vec<FlowRow>,
}

impl Publisher {
    pub(super) fn ask(&mut self, query: u32, filter: &FlowFilter) {
        if self.questions.len() == QUESTIONS {
            self.questions.remove(0);
        }
        // A worker goes on with its newest question only, so older ones end here.
        for old in self.questions.drain(..) {
            self.out.push_back(ToControl::Flows { query: old.query, rows: old.rows, last: true });
        }
        let mut workers_left = 0;
        for desk in &mut self.desks {
            let command = Command::List { query, filter: filter.clone() };
            workers_left += usize::from(desk.commands.push(command).is_ok());
        }
        self.questions.push(Question { query, left: filter.limit, workers_left, rows: Vec::new() });
    }

    pub(super) fn answer(&mut self) {
        for worker in 0..self.desks.len() {
            while let Ok(row) = self.desks[worker].rows.pop() {
                self.take_row(worker as u8, row);
            }
        }
        let out = &mut self.out;
        self.questions.retain_mut(|question| {
            let last = question.workers_left == 0;
            while question.rows.len() > CHUNK {
                let rows = question.rows.drain(..CHUNK).collect();
                out.push_back(ToControl::Flows { query: question.query, rows, last: false });
            }
            if last {
                let rows = core::mem::take(&mut question.rows);
                out.push_back(ToControl::Flows { query: question.query, rows, last });
            }
            !last
        });
    }

    fn take_row(&mut self, worker: u8, row: Row) {
        match row {
            Row::Flow { query, key, entry, idle_s, age_s } => {
                let question = self.questions.iter_mut().find(|q| q.query == query && q.left > 0);
                if let Some(question) = question {
                    question.left -= 1;
                    question.rows.push(flow_row(worker, &key, entry, idle_s, age_s));
                }
            }
            Row::End { query } => {
                if let Some(question) = self.questions.iter_mut().find(|q| q.query == query) {
                    question.workers_left = question.workers_left.saturating_sub(1);
                }
            }
        }
    }
}

fn flow_row(worker: u8, key: &FlowKey, entry: Entry, idle_s: u32, age_s: u32) -> FlowRow {
    FlowRow {
        cluster: key.cluster(),
        protocol: key.protocol(),
        kind: match key.kind() {
            KeyKind::Flow => "flow",
            KeyKind::Ipsec => "ipsec",
            KeyKind::Affinity => "affinity",
            KeyKind::Quic => "quic",
        }
        .into(),
        client: key.client(),
        client_port: key.client_port(),
        vip_port: key.vip_port(),
        target: entry.target(),
        state: entry.state().name().into(),
        from_server: entry.flags() & Entry::FROM_SERVER != 0,
        idle_s,
        age_s,
        worker,
    }
}
