//! A DNS query, and whether a datagram answers it.
//!
//! Read first: RFC 1035 §4.1 (format), RFC 5452 §9 (what makes an answer believable).

use crate::Failure;

const HEADER_LEN: usize = 12;
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;

const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

/// A query for one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query {
    /// Header and question: 17 to 271 bytes.
    message: Vec<u8>,
}

/// What a datagram is to a query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reply {
    /// Its answer, without error.
    Good,
    /// Its answer, with one, or no answer that could be read.
    Bad(Failure),
    /// The answer to another query.
    Foreign,
}

impl Query {
    /// Asks for the A record of `name`, or over IPv6 the AAAA record; `None` when that is no name.
    pub(crate) fn new(name: &str, v6: bool, id: u16) -> Option<Self> {
        let mut message = Vec::with_capacity(HEADER_LEN + name.len() + 6);
        message.extend(id.to_be_bytes());
        // Recursion desired, one question.
        message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
        let name = name.strip_suffix('.').unwrap_or(name);
        if !name.is_empty() {
            for label in name.split('.') {
                let good =
                    (1..=LABEL_MAX).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_graphic());
                if !good {
                    return None;
                }
                message.push(label.len() as u8);
                message.extend(label.bytes());
            }
        }
        message.push(0);
        if message.len() - HEADER_LEN > NAME_MAX {
            return None;
        }
        message.extend(if v6 { TYPE_AAAA } else { TYPE_A }.to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        Some(Self { message })
    }

    /// The message.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.message
    }

    /// What `payload` is to this query. Only header and question are read: the question is the first name of
    /// the message and has nothing to point to, so no compression is ever followed.
    pub(crate) fn read(&self, payload: &[u8]) -> Reply {
        let [id_high, id_low, flags, code, rest @ ..] = payload else {
            return Reply::Bad(Failure::Malformed);
        };
        if [*id_high, *id_low] != self.message[..2] {
            return Reply::Foreign;
        }
        let rcode = code & 0x0f;
        let is_answer = flags & 0x80 != 0 && flags & 0x78 == 0;
        let Some(questions) = rest.get(..2) else { return Reply::Bad(Failure::Malformed) };
        if !is_answer {
            return Reply::Bad(Failure::Malformed);
        }
        // A server that does not understand repeats no question (RFC 1035 §4.1.1, FORMERR).
        if rcode != 0 {
            return Reply::Bad(Failure::Rcode(rcode));
        }
        let question = &self.message[HEADER_LEN..];
        let same = payload
            .get(HEADER_LEN..HEADER_LEN + question.len())
            .is_some_and(|bytes| bytes.eq_ignore_ascii_case(question));
        if questions == [0, 1] && same { Reply::Good } else { Reply::Bad(Failure::Malformed) }
    }
}
