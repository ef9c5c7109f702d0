//! ARP.

use super::{Says, What};
use crate::Engine;
use crate::classify::Meta;
use crate::refuse::back;
use core::net::IpAddr;
use dataplane_flow::Instant;
use dataplane_message::AlarmKind;
use dataplane_port::{DropReason, Head, Verdict};
use dataplane_wire::MacAddr;
use dataplane_wire::arp::{Operation, Packet, Repr};

impl Engine {
    pub(super) fn arp(&mut self, head: &mut Head<'_>, meta: &Meta, now: Instant) -> Verdict {
        let l3 = usize::from(meta.layers.l3);
        let Some(packet) = head.data.get(l3..).and_then(|bytes| Packet::new_checked(bytes).ok()) else {
            return Verdict::Drop(DropReason::ArpMalformed);
        };
        let repr = Repr::parse(&packet);
        if repr.sender_mac.to_u64() != meta.from && self.sending_server(head, meta).is_some() {
            let vip = self.tables.vip(meta.vlan, IpAddr::V4(repr.sender_ip)).map(|c| c.vip);
            self.tell(head, meta, AlarmKind::ServerWrongMac, vip);
        }
        if repr.sender_mac.to_u64() != meta.from
            || repr.sender_ip.is_broadcast()
            || repr.sender_ip.is_multicast()
        {
            return Verdict::Drop(DropReason::ArpMalformed);
        }
        let sender = (!repr.sender_ip.is_unspecified()).then_some(IpAddr::V4(repr.sender_ip));
        let target = IpAddr::V4(repr.target_ip);
        let (about, what) = match repr.operation {
            // An announcement is a claim in the form of a question, or of an answer to oneself.
            _ if sender == Some(target) => (target, What::Claims),
            Operation::Request => (target, What::Asks),
            Operation::Reply => (target, What::Answers),
        };
        let rewrite = move |data: &mut [u8], mac: MacAddr| {
            if let Some(Ok(mut packet)) = data.get_mut(l3..).map(Packet::new_checked) {
                match what {
                    What::Answers => packet.set_target_mac(mac),
                    _ => packet.set_sender_mac(mac),
                }
            }
        };
        let to = (what == What::Answers).then_some(target);
        let says = Says { sender, about, what, at: meta.from, to };
        self.judge(head, meta, says, now, rewrite, |engine, head, with| {
            let answer = repr.answer(with.mac);
            let link = back(meta, with.mac);
            engine.outbox.frame(head.port, link.frame_len(46), |frame| answer.emit_frame(&link, frame));
        })
    }
}
