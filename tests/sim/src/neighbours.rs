//! A host's neighbour cache, as Linux keeps it (RFC 826, RFC 4861 §7.3.2).

use crate::packet::{Arp, BROADCAST, arp_frame};
use crate::queue::{MS, S};
use core::net::Ipv4Addr;
use std::collections::BTreeMap;
use tests_model::Mac;

/// How long an entry counts as confirmed (Linux: 15 to 45 s by chance).
const REACHABLE: u64 = 30 * S;
/// Between two questions.
const AGAIN: u64 = S;
/// Questions to the known address, then to all.
const TRIES: u32 = 3;
/// Packets that wait for an answer.
const WAITING: usize = 64;

#[derive(Clone, Debug, Default)]
struct Entry {
    mac: Option<Mac>,
    confirmed: u64,
    /// (when to ask next, questions asked).
    asking: Option<(u64, u32)>,
    waiting: Vec<Vec<u8>>,
}

/// A neighbour cache.
#[derive(Clone, Debug)]
pub struct Neighbours {
    own: (Mac, Ipv4Addr),
    entries: BTreeMap<Ipv4Addr, Entry>,
}

impl Neighbours {
    /// An empty cache.
    pub fn new(own: (Mac, Ipv4Addr)) -> Self {
        Self { own, entries: BTreeMap::new() }
    }

    /// What it holds for an address.
    pub fn find(&self, address: Ipv4Addr) -> Option<Mac> {
        self.entries.get(&address)?.mac
    }

    /// Every entry that has an address.
    pub fn all(&self) -> impl Iterator<Item = (Ipv4Addr, Mac)> {
        self.entries.iter().filter_map(|(ip, entry)| Some((*ip, entry.mac?)))
    }

    /// The host was started anew.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Sends a packet to a neighbour: frames to send now.
    pub fn send(&mut self, to: Ipv4Addr, packet: Vec<u8>, now: u64, out: &mut Vec<Vec<u8>>) {
        let own = self.own;
        let entry = self.entries.entry(to).or_default();
        match entry.mac {
            Some(mac) => {
                if now > entry.confirmed + REACHABLE && entry.asking.is_none() {
                    // Stale: it is used all the same, and asked for.
                    entry.asking = Some((now + 5 * AGAIN, 0));
                }
                out.push(crate::packet::framed(mac, own.0, &packet));
            }
            None => {
                if entry.waiting.len() < WAITING {
                    entry.waiting.push(packet);
                }
                if entry.asking.is_none() {
                    entry.asking = Some((now + AGAIN, 1));
                    out.push(question(own, to, BROADCAST));
                }
            }
        }
    }

    /// An answer, or a question from a neighbour, has arrived; whatever waited for it goes.
    pub fn learn(&mut self, arp: &Arp, now: u64, out: &mut Vec<Vec<u8>>) {
        let (mac, ip) = arp.sender;
        let answer = arp.op == 2;
        let Some(entry) = self.entries.get_mut(&ip) else { return };
        if !answer && entry.mac.is_some() {
            return;
        }
        entry.mac = Some(mac);
        if answer {
            entry.confirmed = now;
            entry.asking = None;
        }
        for packet in entry.waiting.drain(..) {
            out.push(crate::packet::framed(mac, self.own.0, &packet));
        }
    }

    /// When [`Neighbours::handle_deadline`] is due.
    pub fn next_deadline(&self) -> Option<u64> {
        self.entries.values().filter_map(|entry| Some(entry.asking?.0)).min()
    }

    /// Asks again, or gives up.
    pub fn handle_deadline(&mut self, now: u64, out: &mut Vec<Vec<u8>>) {
        let own = self.own;
        for (ip, entry) in &mut self.entries {
            let Some((at, asked)) = entry.asking.filter(|(at, _)| *at <= now) else { continue };
            let limit = if entry.mac.is_some() { 2 * TRIES } else { TRIES };
            if asked >= limit {
                *entry = Entry::default();
                continue;
            }
            let to = entry.mac.filter(|_| asked < TRIES).unwrap_or(BROADCAST);
            entry.asking = Some((at + AGAIN.max(MS), asked + 1));
            out.push(question(own, *ip, to));
        }
    }
}

fn question(own: (Mac, Ipv4Addr), ip: Ipv4Addr, to: Mac) -> Vec<u8> {
    arp_frame(to, &Arp { op: 1, sender: own, target: ([0; 6], ip) })
}
