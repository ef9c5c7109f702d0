//! QUIC connections whose client's address changes (FS-24).
//!
//! Read first: RFC 8999 §5, RFC 9000 §5.1 and §9.
//!
//! In its handshake a server tells which connection ID it wants to be addressed by, in the clear, and
//! its packets pass here. So nothing needs to be agreed with servers: the ID is remembered, and a packet
//! from an address that is not known goes where its ID was given out. IDs that a server issues later are
//! encrypted and not seen; a client that changes its network *and* its ID at once is placed anew.

use crate::Engine;
use crate::classify::Meta;
use crate::tables::ServiceTable;
use dataplane_flow::{ClusterId, Entry, FlowKey, KeyKind, State, TargetId};
use dataplane_wire::quic::Packet;
use dataplane_wire::{Part, protocol, udp};

fn packet<'a>(data: &'a [u8], meta: &Meta) -> Option<Packet<'a>> {
    if meta.layers.protocol != protocol::UDP || meta.layers.part != Part::Whole {
        return None;
    }
    let (l4, end) = (usize::from(meta.layers.l4), usize::from(meta.layers.end));
    let datagram = data.get(l4..end.min(data.len()))?;
    Packet::parse(datagram.get(udp::HEADER_LEN..)?).ok()
}

fn key(cluster: ClusterId, id: u64) -> FlowKey {
    FlowKey::new(KeyKind::Quic, cluster, protocol::UDP, false, [0, id], 0, 0)
}

impl Engine {
    /// Remembers the connection ID that a server gives out.
    #[cold]
    pub(crate) fn note_connection_id(&mut self, data: &[u8], meta: &Meta) {
        let Some(id) = packet(data, meta).and_then(|packet| packet.source()) else { return };
        let key = key(meta.cluster, id);
        let hash = key.hash(&self.table_key);
        let entry = Entry::new(meta.sender, meta.cluster, State::Quic, 0, 0);
        match self.shard.find(hash) {
            Some(slot) => self.shard.set(slot, entry),
            None => {
                // Without room the connection is known by its addresses alone.
                let _ = self.shard.insert(hash, &key, entry, &self.tables.timeouts, false);
            }
        }
    }

    /// The server that gave out the connection ID that the packet is for; its time begins anew.
    pub(crate) fn by_connection_id(
        &mut self,
        data: &[u8],
        meta: &Meta,
        service: &ServiceTable,
    ) -> Option<TargetId> {
        if !service.quic {
            return None;
        }
        let id = packet(data, meta)?.destination()?;
        let slot = self.shard.find(key(meta.cluster, id).hash(&self.table_key))?;
        let entry = self.shard.entry(slot);
        let holds = !self.shard.is_expired(entry, &self.tables.timeouts)
            && self.tables.target(entry.target()).is_some_and(|t| t.alive);
        holds.then(|| {
            self.shard.touch(slot, entry);
            entry.target()
        })
    }
}
