//! What the traffic itself shows of servers (FS-31): counted where a flow's state changes, so a flow
//! whose first answer was seen costs nothing more.
//!
//! Of TCP flows that clients opened. A flow that the table learned of from the server's own packets
//! (FS-7a) began where nobody looked: nothing of it is counted.

use crate::classify::Meta;
use crate::observe::segment;
use crate::tcp::{self, Change};
use crate::{Engine, MemberCounters};
use dataplane_flow::{ClusterId, Entry, FlowKey, Instant, Slot, State, TargetId};
use dataplane_wire::protocol;

/// What a segment shows of its server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sign {
    /// It has answered the SYN.
    Accepted,
    /// ... and the client that.
    Completed,
    /// It has refused the SYN.
    Refused,
    /// It has not answered the SYN yet: here it is again.
    Repeated,
    /// Its answer to the SYN has not passed here.
    Bypassed,
    /// It has reset an established flow.
    Reset,
}

/// What a client's segment shows, which does `change` to `entry`.
pub(crate) fn from_client(entry: Entry, flags: u8, change: Change) -> Option<Sign> {
    if began_unseen(entry) {
        return None;
    }
    match (entry.state(), change) {
        (State::SynSent, Change::None) if flags & (tcp::SYN | tcp::ACK | tcp::RST) == tcp::SYN => {
            Some(Sign::Repeated)
        }
        (State::SynSent, Change::Set(to)) if to.state() == State::MidFlow => Some(Sign::Bypassed),
        (State::SynAck, Change::Promote(_)) => Some(Sign::Completed),
        _ => None,
    }
}

/// What a server's segment shows, which does `change` to `entry`.
pub(crate) fn from_server(entry: Entry, flags: u8, change: Change) -> Option<Sign> {
    if began_unseen(entry) {
        return None;
    }
    match (entry.state(), change) {
        (State::SynSent, Change::Await(_)) => Some(Sign::Accepted),
        // Its data come only after the client's acknowledgement (E1), which went another way.
        (State::SynAck, Change::Promote(_)) => Some(Sign::Completed),
        (State::SynSent | State::SynAck, Change::Forget) => Some(Sign::Refused),
        (State::Established, Change::Set(to)) if flags & tcp::RST != 0 && to.state() == State::Closed => {
            Some(Sign::Reset)
        }
        _ => None,
    }
}

/// Whether a server opened the flow, or its SYN is not known.
fn began_unseen(entry: Entry) -> bool {
    let handshake = matches!(entry.state(), State::SynSent | State::SynAck);
    entry.flags() & Entry::FROM_SERVER != 0 || handshake && entry.flags() & Entry::RESPONDED != 0
}

/// Microseconds as stamps have them.
pub(crate) fn micros(now: Instant) -> u32 {
    (now.0 / 1000) as u32
}

impl Engine {
    /// The counters of a flow's server in the flow's service.
    pub(crate) fn member(
        &self,
        cluster: ClusterId,
        key: &FlowKey,
        target: TargetId,
    ) -> Option<&MemberCounters> {
        let (_, service) = self.tables.cluster(cluster)?.service(key.protocol(), key.vip_port());
        self.counters().member(service.member(target)?.counter)
    }

    /// Counts a sign of the flow that is at `slot` now, and was `entry` before.
    #[cold]
    pub(crate) fn sign(&self, meta: &Meta, slot: Option<Slot>, entry: Entry, sign: Sign, now: Instant) {
        if let Some(member) = self.member(meta.cluster, &meta.key, entry.target()) {
            self.sign_of(member, slot, sign, now);
        }
    }

    /// The same where its server's counters are at hand.
    #[inline]
    pub(crate) fn sign_of(&self, member: &MemberCounters, slot: Option<Slot>, sign: Sign, now: Instant) {
        // Where the main part is full a handshake stays unfinished, and would be counted again.
        if sign == Sign::Completed && slot.is_some_and(|slot| self.shard.is_provisional(slot)) {
            return;
        }
        match sign {
            Sign::Accepted => {
                member.accepted.add(1);
                if let Some(slot) = slot {
                    member.connected_in(micros(now).wrapping_sub(self.shard.stamp(slot)));
                }
            }
            Sign::Completed => member.completed.add(1),
            Sign::Refused => member.refused.add(1),
            Sign::Repeated => member.repeated.add(1),
            Sign::Bypassed => member.bypassed.add(1),
            Sign::Reset => member.resets.add(1),
        }
    }

    /// A client's segment in a flow whose first answer has not been seen: if it carries data, it is the
    /// request.
    #[cold]
    pub(crate) fn await_answer(&mut self, data: &[u8], meta: &Meta, slot: Slot, now: Instant) {
        let entry = self.shard.entry(slot);
        let waits = entry.flags() & Entry::REQUESTED == 0 && is_open(entry);
        if !waits || meta.layers.protocol != protocol::TCP || !carries_data(data, meta) {
            return;
        }
        self.shard.set_stamp(slot, micros(now));
        self.shard.set(slot, entry.with_flags(Entry::REQUESTED));
        if let Some(member) = self.member(meta.cluster, &meta.key, entry.target()) {
            member.requests.add(1);
        }
    }

    /// A server's segment in such a flow: if it carries data, it is the answer; or the server speaks
    /// first, and there is none.
    #[cold]
    pub(crate) fn await_no_more(&mut self, data: &[u8], meta: &Meta, slot: Slot, now: Instant) {
        let entry = self.shard.entry(slot);
        if entry.flags() & Entry::RESPONDED != 0 || !is_open(entry) || !carries_data(data, meta) {
            return;
        }
        self.shard.set(slot, entry.with_flags(Entry::ANSWERED));
        if entry.flags() & Entry::REQUESTED == 0 {
            return;
        }
        let stamp = self.shard.stamp(slot);
        if let Some(member) = self.member(meta.cluster, &meta.key, entry.target()) {
            member.responses.add(1);
            member.answered_in(micros(now).wrapping_sub(stamp));
        }
    }
}

fn is_open(entry: Entry) -> bool {
    matches!(entry.state(), State::Established | State::HalfClosed)
}

/// Whether the frame's segment carries data.
pub(crate) fn carries_data(data: &[u8], meta: &Meta) -> bool {
    segment(data, meta).is_some_and(|s| usize::from(meta.layers.l4) + s.header_len() < meta.layers.end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fs_31_the_signs_of_every_state() {
        use Sign::{Accepted, Bypassed, Completed, Refused, Repeated, Reset};
        use State::{Closed, Established, HalfClosed, MidFlow, SynAck, SynSent};
        let entry = |state, flags| Entry::new(TargetId(1), ClusterId(0), state, flags, 0);
        const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
        // State, flags, whether the ACK is the one awaited; sign.
        let client: [(State, u8, bool, Option<Sign>); 10] = [
            (SynSent, tcp::SYN, false, Some(Repeated)),
            (SynSent, tcp::ACK, false, Some(Bypassed)),
            (SynSent, tcp::RST, false, None),
            (SynAck, tcp::SYN, false, None),
            (SynAck, tcp::ACK, false, None),
            (SynAck, tcp::ACK, true, Some(Completed)),
            (SynAck, tcp::RST | tcp::ACK, true, None),
            (Established, tcp::RST, true, None),
            (Established, tcp::FIN | tcp::ACK, true, None),
            (MidFlow, tcp::ACK, true, None),
        ];
        for (state, flags, acknowledges, expected) in client {
            for opener in [0, Entry::FROM_SERVER] {
                let entry = entry(state, opener);
                let change = tcp::from_client(entry, flags, acknowledges);
                let expected = expected.filter(|_| opener == 0);
                assert_eq!(from_client(entry, flags, change), expected, "{state:?} {flags}");
            }
        }
        // State, flags, data; sign.
        let server: [(State, u8, bool, Option<Sign>); 12] = [
            (SynSent, SYN_ACK, false, Some(Accepted)),
            (SynSent, tcp::RST | tcp::ACK, false, Some(Refused)),
            (SynAck, SYN_ACK, false, None),
            (SynAck, tcp::RST, false, Some(Refused)),
            (SynAck, tcp::ACK, true, Some(Completed)),
            (SynAck, tcp::ACK, false, None),
            (Established, tcp::RST, false, Some(Reset)),
            (Established, tcp::FIN | tcp::ACK, false, None),
            (HalfClosed, tcp::RST, false, None),
            (Closed, tcp::RST, false, None),
            (MidFlow, SYN_ACK, false, None),
            (MidFlow, tcp::ACK, true, None),
        ];
        for (state, flags, data, expected) in server {
            for opener in [0, Entry::FROM_SERVER] {
                let entry = entry(state, opener);
                let change = tcp::from_server(entry, flags, data);
                let expected = expected.filter(|_| opener == 0);
                assert_eq!(from_server(entry, flags, change), expected, "{state:?} {flags}");
            }
        }
    }
}
