//! A first-hop router: an address, a neighbour cache, and the way to the clients.

use crate::neighbours::Neighbours;
use crate::packet::{self, Arp, Content};
use crate::topology::THROUGH;
use core::net::Ipv4Addr;
use tests_model::Mac;

/// A router.
#[derive(Debug)]
pub struct Router {
    /// Its MAC.
    pub mac: Mac,
    /// Its address.
    pub address: Ipv4Addr,
    /// It is alive.
    pub alive: bool,
    /// Its way to the clients works.
    pub uplink: bool,
    /// Its neighbour cache.
    pub neighbours: Neighbours,
    id: u16,
    /// Packets that it took for itself.
    pub own: u64,
    /// Answers by UDP over IPv6 that it forwarded.
    pub told6: u64,
    /// Packets and bytes of servers that it forwarded.
    pub forwarded: (u64, u64),
}

/// What a router wants sent.
#[derive(Debug, Default)]
pub struct Sends {
    /// Frames to its port.
    pub frames: Vec<Vec<u8>>,
    /// IP packets to clients.
    pub packets: Vec<Vec<u8>>,
}

impl Router {
    /// A router that works.
    pub fn new(mac: Mac, address: Ipv4Addr) -> Self {
        Self {
            mac,
            address,
            alive: true,
            uplink: true,
            neighbours: Neighbours::new((mac, address)),
            id: 0,
            own: 0,
            told6: 0,
            forwarded: (0, 0),
        }
    }

    /// A packet from the clients' side.
    pub fn forward(&mut self, packet: Vec<u8>, now: u64, sends: &mut Sends) {
        if !self.alive || !self.uplink {
            return;
        }
        let Some((_, to)) = packet::ip(&packet).and_then(|content| content.addresses()) else { return };
        self.neighbours.send(to, packet, now, &mut sends.frames);
    }

    /// A host beyond answers echo requests.
    fn beyond(&mut self, packet: &[u8], now: u64, sends: &mut Sends) {
        let Some(Content::Icmp(src, dst, message)) = packet::ip(packet) else { return };
        if self.uplink && message.first() == Some(&8) {
            let answer = packet::echo_reply(message);
            self.id = self.id.wrapping_add(1);
            let packet = tests_model::frames::v4(dst, src, 1, self.id, 0, &answer);
            self.neighbours.send(src, packet, now, &mut sends.frames);
        }
    }

    /// A frame has arrived.
    pub fn handle(&mut self, bytes: &[u8], now: u64, sends: &mut Sends) {
        if !self.alive {
            return;
        }
        let Some(frame) = packet::read(bytes) else { return };
        if frame.dst != self.mac && frame.dst[0] & 1 == 0 {
            return;
        }
        match frame.content {
            Content::Arp(arp) => {
                self.neighbours.learn(&arp, now, &mut sends.frames);
                if arp.op == 1 && arp.target.1 == self.address {
                    let answer = Arp { op: 2, sender: (self.mac, self.address), target: arp.sender };
                    sends.frames.push(packet::arp_frame(arp.sender.0, &answer));
                }
            }
            Content::Icmp(src, dst, message) if dst == self.address => {
                self.own += 1;
                if message.first() == Some(&8) {
                    let answer = packet::echo_reply(message);
                    self.id = self.id.wrapping_add(1);
                    let packet = tests_model::frames::v4(self.address, src, 1, self.id, 0, &answer);
                    self.neighbours.send(src, packet, now, &mut sends.frames);
                }
            }
            Content::Six(six) => {
                let told =
                    frame.dst == self.mac && self.uplink && six.udp().is_some_and(|(from, _)| from == 53);
                self.told6 += u64::from(told);
            }
            content if frame.dst == self.mac => {
                let Some((_, to)) = content.addresses() else { return };
                if to == self.address {
                    self.own += 1;
                } else if to == THROUGH {
                    self.beyond(frame.packet, now, sends);
                } else if self.uplink {
                    self.forwarded.0 += 1;
                    self.forwarded.1 += bytes.len() as u64;
                    sends.packets.push(frame.packet.to_vec());
                }
            }
            _ => {}
        }
    }
}
