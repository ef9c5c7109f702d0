//! The newest alarms: repeated ones are counted, not listed again.

use core::net::IpAddr;
use dataplane_message::{Alarm, AlarmKind};
use dataplane_port::{PortId, VlanId};
use dataplane_wire::MacAddr;
use std::collections::VecDeque;

const KEPT: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Alarms {
    newest: VecDeque<Alarm>,
}

impl Alarms {
    pub(crate) fn raise(
        &mut self,
        kind: AlarmKind,
        port: PortId,
        vlan: VlanId,
        mac: MacAddr,
        address: Option<IpAddr>,
        at_ns: u64,
    ) {
        let at_ms = at_ns / 1_000_000;
        let same = |a: &Alarm| (a.kind, a.port, a.vlan, a.mac, a.address) == (kind, port, vlan, mac, address);
        if let Some(place) = self.newest.iter().position(same) {
            let mut alarm = self.newest.remove(place).expect("the position was found just now");
            alarm.at_ms = at_ms;
            alarm.count += 1;
            self.newest.push_back(alarm);
            return;
        }
        if self.newest.len() == KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(Alarm { at_ms, count: 1, kind, port, vlan, mac, address });
    }

    pub(crate) fn list(&self) -> Vec<Alarm> {
        self.newest.iter().cloned().collect()
    }
}
