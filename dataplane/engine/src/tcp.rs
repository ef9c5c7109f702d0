//! What a TCP segment means for its flow's entry.
//!
//! Read first: RFC 9293 §3.3.2; RFC 5382 for the time-outs that hang on the states.
//!
//! The table is strict where an attacker would gain from a lenient one: only a client that
//! acknowledges exactly the server's SYN+ACK has an established flow (E1, E3), and one FIN or RST
//! unmaps nothing (part 1 of the hazards, 10).

use dataplane_flow::{Entry, State};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;

/// What becomes of the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// Nothing but the time.
    None,
    /// It is replaced, in the part that it is in.
    Set(Entry),
    /// It becomes an established flow.
    Promote(Entry),
    /// It is replaced by the handshake's next state; what is to be acknowledged is remembered.
    Await(Entry),
    /// It is forgotten.
    Forget,
    /// The segment opens a new flow on a closed one's key (FS-7).
    Anew,
}

/// A segment from the client's side (from outside). `acknowledges`: its ACK is exactly what the
/// handshake waits for.
pub(crate) fn from_client(entry: Entry, flags: u8, acknowledges: bool) -> Change {
    let server_opened = entry.flags() & Entry::FROM_SERVER != 0;
    match entry.state() {
        State::SynSent if server_opened => {
            if flags & RST != 0 && acknowledges {
                Change::Forget
            } else if flags & (SYN | ACK) == SYN | ACK && acknowledges {
                Change::Promote(entry.in_state(State::Established))
            } else {
                Change::None
            }
        }
        State::SynSent if flags & (SYN | RST | ACK) == ACK => {
            // No SYN+ACK passed here: the return path is another. The entry waits longer, but is not
            // taken for established, or pairs of SYN and ACK would be.
            Change::Set(entry.in_state(State::MidFlow))
        }
        State::SynSent => Change::None,
        State::SynAck if acknowledges && flags & (SYN | RST | ACK) == ACK => {
            let done = entry.in_state(State::Established);
            Change::Promote(if flags & FIN == 0 { done } else { closing(done, Entry::FIN_CLIENT) })
        }
        State::SynAck if acknowledges && flags & RST != 0 => Change::Forget,
        State::SynAck | State::MidFlow => Change::None,
        State::Closed if flags & (SYN | ACK) == SYN => Change::Anew,
        State::Established | State::HalfClosed => closing_change(entry, flags, Entry::FIN_CLIENT),
        _ => Change::None,
    }
}

/// A segment from the server's side that is not a RST to a mid-flow segment. `data`: it carries some.
///
/// A handshake's server sends a bare ACK to any segment outside of its window, so that proves nothing
/// (E1); data or FIN come only after the client's acknowledgement, or with TCP Fast Open.
pub(crate) fn from_server(entry: Entry, flags: u8, data: bool) -> Change {
    let server_opened = entry.flags() & Entry::FROM_SERVER != 0;
    match entry.state() {
        State::SynSent if server_opened => {
            if flags & RST != 0 {
                Change::Forget
            } else if flags & SYN != 0 {
                Change::Await(entry)
            } else {
                Change::None
            }
        }
        State::SynSent | State::SynAck if flags & RST != 0 => Change::Forget,
        State::SynSent | State::SynAck | State::MidFlow if flags & (SYN | ACK) == SYN | ACK => {
            Change::Await(entry.in_state(State::SynAck))
        }
        State::SynAck if !data && flags & FIN == 0 => Change::None,
        State::SynSent | State::SynAck | State::MidFlow if flags & (SYN | ACK | RST) == ACK => {
            let known = entry.in_state(State::Established);
            Change::Promote(if flags & FIN == 0 { known } else { closing(known, Entry::FIN_SERVER) })
        }
        State::MidFlow | State::Closed if flags & (SYN | ACK) == SYN => Change::Anew,
        // Closed by a reset that the server did not believe: it goes on.
        State::Closed if flags & (SYN | FIN | RST) == 0 && entry.flags() & Entry::FIN_SERVER == 0 => {
            Change::Set(entry.in_state(State::Established))
        }
        State::Established | State::HalfClosed => closing_change(entry, flags, Entry::FIN_SERVER),
        _ => Change::None,
    }
}

fn closing_change(entry: Entry, flags: u8, side: u8) -> Change {
    if flags & RST != 0 {
        Change::Set(entry.in_state(State::Closed))
    } else if flags & FIN != 0 && entry.flags() & side == 0 {
        Change::Set(closing(entry, side))
    } else {
        Change::None
    }
}

fn closing(entry: Entry, side: u8) -> Entry {
    const BOTH: u8 = Entry::FIN_CLIENT | Entry::FIN_SERVER;
    let entry = entry.with_flags(side);
    entry.in_state(if entry.flags() & BOTH == BOTH { State::Closed } else { State::HalfClosed })
}

#[cfg(test)]
mod tests;
