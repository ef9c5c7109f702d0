//! A flow listing under way in a worker: a few lines of the table per turn.

use crate::seat::Row;
use dataplane_engine::Engine;
use dataplane_message::FlowFilter;
use rtrb::Producer;

/// Lines of the table per turn: at most this many times four rows.
const LINES: usize = 64;

#[derive(Debug)]
pub(crate) struct Listing {
    query: u32,
    filter: FlowFilter,
    from: Option<usize>,
    left: u32,
}

impl Listing {
    pub(crate) fn new(query: u32, filter: FlowFilter) -> Self {
        let left = filter.limit;
        Self { query, filter, from: Some(0), left }
    }

    /// Goes on where there is room for rows; `true` when it has come to its end.
    pub(crate) fn go_on(&mut self, engine: &Engine, rows: &mut Producer<Row>) -> bool {
        if rows.slots() < LINES * 4 + 1 {
            return false;
        }
        let query = self.query;
        if let Some(from) = self.from.filter(|_| self.left > 0) {
            let left = &mut self.left;
            self.from = engine.list(from, LINES, &self.filter, |key, entry, idle_s, age_s| {
                if *left > 0 && rows.push(Row::Flow { query, key, entry, idle_s, age_s }).is_ok() {
                    *left -= 1;
                }
            });
            return false;
        }
        rows.push(Row::End { query }).is_ok()
    }
}
