//! What has happened: a sum over all of it, and the last of it in words.

use crate::packet::describe;
use std::collections::VecDeque;

/// Events that are kept for a violation's report.
const LAST: usize = 40;

/// Bytes of a frame that are kept: all headers.
const HEAD: usize = 74;

/// Frames in and out, and everything that was done to the world.
#[derive(Debug)]
pub struct Trace {
    sum: u64,
    events: u64,
    last: VecDeque<(u64, Line)>,
    /// Every line is printed as it comes.
    pub loud: bool,
}

#[derive(Debug)]
enum Line {
    Frame { inward: bool, port: usize, head: Vec<u8>, len: usize },
    Words(String),
}

impl Line {
    fn text(&self) -> String {
        match self {
            Self::Frame { inward, port, head, len } => {
                let mut bytes = head.clone();
                bytes.resize(*len, 0);
                format!("{} p{port} {}", if *inward { "->" } else { "<-" }, describe(&bytes))
            }
            Self::Words(words) => format!("-- {words}"),
        }
    }
}

impl Trace {
    /// An empty one.
    pub fn new(loud: bool) -> Self {
        Self { sum: 0x9e37_79b9_7f4a_7c15, events: 0, last: VecDeque::with_capacity(LAST), loud }
    }

    fn mix(&mut self, word: u64) {
        self.sum = (self.sum ^ word).wrapping_mul(0x9fb2_1c65_1e98_df25).rotate_left(23);
    }

    /// A frame goes into the switch, or comes out.
    pub fn frame(&mut self, now: u64, inward: bool, port: usize, bytes: &[u8]) {
        self.mix(now << 6 | (port as u64) << 1 | u64::from(inward));
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        for byte in rest {
            self.mix(u64::from(*byte));
        }
        let head = bytes[..bytes.len().min(HEAD)].to_vec();
        self.keep(now, Line::Frame { inward, port, head, len: bytes.len() });
    }

    /// Something else.
    pub fn note(&mut self, now: u64, words: String) {
        self.mix(now);
        for byte in words.bytes() {
            self.mix(byte.into());
        }
        self.keep(now, Line::Words(words));
    }

    fn keep(&mut self, now: u64, line: Line) {
        self.events += 1;
        if self.loud {
            println!("{} {}", seconds(now), line.text());
        }
        if self.last.len() == LAST {
            self.last.pop_front();
        }
        self.last.push_back((now, line));
    }

    /// The sum over everything: equal for equal runs.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// How much has happened.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The last events, a line each.
    pub fn last(&self) -> Vec<String> {
        self.last.iter().map(|(at, line)| format!("{} {}", seconds(*at), line.text())).collect()
    }
}

/// Virtual time as it is printed.
pub fn seconds(now: u64) -> String {
    format!("{:12.6}", now as f64 / 1e9)
}
