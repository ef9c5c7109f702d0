//! The oracle of the test plan: what must hold for every frame, whatever it is.
//!
//! (a) is that the caller is still alive. The others:
//!
//! (b) a frame in is a frame out, a counted drop, held, taken in or punted, and only one of these;
//! (c) a frame to a VIP leaves once, elsewhere, with only its destination address changed;
//! (d) one flow, one server, and one server for all fragments of a datagram;
//! (e) what servers send leaves as it is;
//! (f) a frame that is dropped leaves no flow behind;
//! (g) the buffer pool comes back to its count.
//!
//! (h), live downloads, is for the lab.

use crate::expect::{Expected, Outcome, expect};
use crate::parse::{Ip, Link, link, network};
use crate::table::{Mac, Role, Table};
use core::fmt;
use core::net::IpAddr;
use std::collections::{HashMap, HashSet};

/// A frame that left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Out of which port.
    pub port: usize,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// By how much the counters rose, and what the pool holds.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Drops by name, those that are not 0.
    pub drops: Vec<(&'static str, u64)>,
    /// Frames taken in or answered.
    pub consumed: u64,
    /// Frames taken to the control core.
    pub punted: u64,
    /// Flows that were begun.
    pub flows_new: u64,
    /// Frames that are held now.
    pub held: usize,
    /// Buffers that are neither on a wire nor free now.
    pub buffers_in_use: usize,
}

/// What became of one frame.
#[derive(Clone, Copy, Debug)]
pub struct Observation<'a> {
    /// Where it was received.
    pub port: usize,
    /// The frame.
    pub frame: &'a [u8],
    /// All that left since the last observation.
    pub out: &'a [Sent],
    /// The counters since the last observation.
    pub counts: &'a Counts,
}

/// What is wrong, with the frame that shows it.
#[derive(Clone, Debug)]
pub struct Violation(pub String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Violation {}

/// What flows and datagrams are told apart by: VLAN, VIP, client, protocol, and two numbers.
type Key = (u16, IpAddr, IpAddr, u8, u32, u32);

/// IPsec of one client is one thing (FS-22).
const IPSEC: u8 = 50;

/// Watches a sequence of frames. The table must stand while it does.
#[derive(Debug)]
pub struct Oracle {
    table: Table,
    flows: HashMap<Key, usize>,
    datagrams: HashMap<Key, usize>,
    /// Flows that servers had a word in.
    loose: HashSet<Key>,
    held: Vec<Held>,
}

#[derive(Debug)]
struct Held {
    frame: Vec<u8>,
    tagged: bool,
    vlan: u16,
    servers: Vec<usize>,
    datagram: Option<Key>,
}

/// A frame taken apart for one check.
struct Case<'a> {
    seen: &'a Observation<'a>,
    head: Option<Link<'a>>,
    tagged: bool,
    expected: Expected,
}

impl Oracle {
    /// An oracle for a switch with this table, at its start.
    pub fn new(table: Table) -> Self {
        Self {
            table,
            flows: HashMap::new(),
            datagrams: HashMap::new(),
            loose: HashSet::new(),
            held: Vec::new(),
        }
    }

    /// The table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Forgets all flows, as a switch does in time.
    pub fn forget(&mut self) {
        self.flows.clear();
        self.datagrams.clear();
        self.loose.clear();
    }

    /// Forgets what was held: so much time has passed without a frame that nothing is any more.
    pub fn release(&mut self) {
        self.held.clear();
    }

    /// Judges what became of a frame.
    ///
    /// # Errors
    ///
    /// What is wrong, in words.
    pub fn check(&mut self, seen: &Observation<'_>) -> Result<(), Violation> {
        let head = link(seen.frame).ok();
        let tagged = head.as_ref().is_some_and(|head| head.vid != 0);
        let expected = expect(&self.table, seen.port, seen.frame);
        let case = Case { seen, head, tagged, expected };
        self.judge(&case).map_err(|what| {
            Violation(format!(
                "{what}\n  in   port {} {}\n  wants {:?}\n  out  {}\n  with {:?}",
                seen.port,
                hex(seen.frame),
                case.expected,
                seen.out.iter().map(|s| format!("port {} {}", s.port, hex(&s.bytes))).collect::<String>(),
                seen.counts,
            ))
        })
    }

    fn judge(&mut self, case: &Case<'_>) -> Result<(), String> {
        let mut out: Vec<&Sent> = case.seen.out.iter().collect();
        let steered = self.take_steered(case, &mut out)?;
        let released = self.take_released(&mut out)?;
        let copies = self.take_copies(case, &mut out)?;
        for own in &out {
            self.check_own(case, own)?;
        }
        let answered = self.is_answered(case, &out);
        self.account(case, steered, released, copies, answered)?;
        self.check_pool(case)?;
        if case.seen.counts.held > self.held.len() {
            self.hold(case);
        }
        Ok(())
    }

    /// (c), (d): the frame to a VIP.
    fn take_steered(&mut self, case: &Case<'_>, out: &mut Vec<&Sent>) -> Result<bool, String> {
        let Outcome::Steer { vlan, servers, .. } = &case.expected.outcome else { return Ok(false) };
        let Some(to) = self.take_one(out, case.seen.frame, case.tagged, *vlan, servers) else {
            return Ok(false);
        };
        // A client that shares a server's port reaches that server only through us; from outside there
        // is no way back out.
        let port = self.table.servers[to].port;
        if port == case.seen.port && self.table.ports[port].role == Role::Outside {
            return Err("(c) back out of the port that it came from".into());
        }
        if self.take_one(out, case.seen.frame, case.tagged, *vlan, servers).is_some() {
            return Err("(c) more than one copy".into());
        }
        if let Some(ip) = case.ip() {
            self.bind(*vlan, &ip, to)?;
        }
        self.loosen(*vlan, case);
        Ok(true)
    }

    /// Finds the copy of `frame` that one of `servers` gets, all but its destination unchanged.
    fn take_one(
        &self,
        out: &mut Vec<&Sent>,
        frame: &[u8],
        tagged: bool,
        vlan: u16,
        servers: &[usize],
    ) -> Option<usize> {
        let (at, to) = out.iter().enumerate().find_map(|(at, sent)| {
            let to = servers.iter().copied().find(|s| {
                let server = &self.table.servers[*s];
                let wanted = self.table.as_sent(frame, tagged, vlan, server.port);
                sent.port == server.port
                    && sent.bytes.get(..6) == Some(&server.mac[..])
                    && sent.bytes.get(6..) == wanted.get(6..)
            })?;
            Some((at, to))
        })?;
        out.remove(at);
        Some(to)
    }

    /// (d): remembers who got it, and compares with who got its like before.
    fn bind(&mut self, vlan: u16, ip: &Ip<'_>, to: usize) -> Result<(), String> {
        if let Some(key) = datagram_key(vlan, ip)
            && *self.datagrams.entry(key).or_insert(to) != to
        {
            return Err(format!("(d) fragments of one datagram to two servers, now {to}"));
        }
        if let Some(key) = flow_key(vlan, ip)
            && !self.loose.contains(&key)
            && *self.flows.entry(key).or_insert(to) != to
        {
            return Err(format!("(d) one flow to two servers, {} and now {to}", self.flows[&key]));
        }
        Ok(())
    }

    /// Frames that were held and are now let go.
    fn take_released(&mut self, out: &mut Vec<&Sent>) -> Result<usize, String> {
        let mut released = 0;
        let mut at = 0;
        while at < self.held.len() {
            let held = &self.held[at];
            match self.take_one(out, &held.frame, held.tagged, held.vlan, &held.servers) {
                None => at += 1,
                Some(to) => {
                    let held = self.held.remove(at);
                    released += 1;
                    if let Some(key) = held.datagram
                        && *self.datagrams.entry(key).or_insert(to) != to
                    {
                        return Err(format!("(d) a held fragment to another server, {to}"));
                    }
                }
            }
        }
        Ok(released)
    }

    /// (e), FS-3, FS-5: copies of a frame that is bridged, relayed or delivered.
    fn take_copies(&mut self, case: &Case<'_>, out: &mut Vec<&Sent>) -> Result<usize, String> {
        let before = out.len();
        let mut ports = Vec::new();
        match &case.expected.outcome {
            Outcome::Bridge { vlan, except } => {
                out.retain(|sent| {
                    let same = self.table.ports[sent.port].carries(*vlan)
                        && sent.bytes == self.table.as_sent(case.seen.frame, case.tagged, *vlan, sent.port);
                    if same {
                        ports.push(sent.port);
                    }
                    !same
                });
                if let Some(port) = ports.iter().find(|port| except.contains(port)) {
                    return Err(format!("FS-3: reached a carrier of the VIP on port {port}"));
                }
                self.loosen(*vlan, case);
            }
            Outcome::Relay { cluster } => {
                let vmac = self.table.clusters[*cluster].vmac;
                let carriers = self.table.carriers(&self.table.clusters[*cluster]);
                out.retain(|sent| {
                    let relayed =
                        sent.bytes.get(6..12) == Some(&vmac[..]) && !contains(&sent.bytes, case.src());
                    if relayed {
                        ports.push(sent.port);
                    }
                    !relayed
                });
                if let Some(port) = ports.iter().find(|port| carriers.contains(port)) {
                    return Err(format!("FS-3: reached a carrier of the VIP on port {port}"));
                }
            }
            Outcome::Deliver { cluster } => {
                let servers = &self.table.clusters[*cluster].servers;
                out.retain(|sent| {
                    let delivered = servers.iter().map(|s| &self.table.servers[*s]).any(|server| {
                        sent.port == server.port && sent.bytes.get(..6) == Some(&server.mac[..])
                    });
                    !delivered
                });
                return Ok(before - out.len());
            }
            _ => {}
        }
        if ports.contains(&case.seen.port) {
            return Err("back out of the port that it came from".into());
        }
        ports.sort_unstable();
        if ports.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("twice out of one port".into());
        }
        Ok(before - out.len())
    }

    /// A server's packet may begin a flow of its own, or take one over (FS-7a, FS-25), for as long as
    /// the entry lives: which server the flow has from now on is not for the oracle to say.
    fn loosen(&mut self, vlan: u16, case: &Case<'_>) {
        let Some(ip) = case.ip().filter(|_| self.table.server_at(case.seen.port, case.src()).is_some())
        else {
            return;
        };
        self.loose.extend(outbound_key(vlan, &ip));
        self.loose.insert((vlan, ip.src, ip.dst, IPSEC, 0, 0));
    }

    /// What left and is none of the frames that came in: the switch's own words.
    fn check_own(&self, case: &Case<'_>, sent: &Sent) -> Result<(), String> {
        let own = link(&sent.bytes).map_err(|flaw| format!("sent a frame that is {flaw}"))?;
        let lldp = own.ethertype == 0x88cc && own.dst == [1, 0x80, 0xc2, 0, 0, 0xe];
        if lldp {
            return Ok(());
        }
        let vlan = match own.vid {
            0 => self.table.ports[sent.port].untagged,
            vid => Some(vid),
        };
        let vlan = vlan
            .filter(|vlan| self.table.ports[sent.port].carries(*vlan))
            .ok_or("sent a frame in a VLAN that the port does not carry")?;
        let refuses = network(own.ethertype, own.payload).is_some_and(|ip| match ip.protocol {
            6 => ip.transport().flags & 4 != 0,
            1 => ip.payload.first() == Some(&3),
            58 => ip.payload.first() == Some(&1),
            _ => false,
        });
        if refuses && sent.port == case.seen.port && own.dst == case.src() {
            return Ok(()); // FS-10a, FS-25
        }
        if self.table.vmac(vlan, own.src).is_none() {
            return Err(format!("sent what nobody asked for, port {} {}", sent.port, hex(&sent.bytes)));
        }
        // FS-3: the switch included.
        for cluster in self.table.clusters.iter().filter(|c| c.vlan == vlan && c.vmac == own.src) {
            let is_carrier = self.table.carriers(cluster).contains(&sent.port);
            if is_carrier && names(&own, cluster.vip) && !self.may_see(sent, cluster.vip) {
                return Err(format!("FS-3: told a carrier on port {} about its own VIP", sent.port));
            }
        }
        Ok(())
    }

    /// A carrier's port may be shared with a station that asks for the VIP; what is said to that
    /// station alone does not reach the carrier.
    fn may_see(&self, sent: &Sent, vip: IpAddr) -> bool {
        let to = sent.bytes.get(..6).unwrap_or(&[]);
        let carries =
            |server: usize| self.table.clusters.iter().any(|c| c.vip == vip && c.servers.contains(&server));
        to.first().is_some_and(|first| first & 1 == 0)
            && !self.table.servers.iter().enumerate().any(|(s, server)| server.mac == to && carries(s))
    }

    /// FS-2.
    fn is_answered(&self, case: &Case<'_>, own: &[&Sent]) -> bool {
        let Outcome::Answer { cluster } = case.expected.outcome else { return false };
        let cluster = &self.table.clusters[cluster];
        own.iter().any(|sent| {
            link(&sent.bytes).is_ok_and(|answer| {
                sent.port == case.seen.port
                    && answer.src == cluster.vmac
                    && (answer.dst == case.src() || answer.dst == [0x33, 0x33, 0, 0, 0, 1])
                    && answers(&answer, cluster.vip, cluster.vmac)
            })
        })
    }

    /// (b), (f).
    fn account(
        &mut self,
        case: &Case<'_>,
        steered: bool,
        released: usize,
        copies: usize,
        answered: bool,
    ) -> Result<(), String> {
        let counts = case.seen.counts;
        let dropped: u64 = counts.drops.iter().map(|(_, n)| n).sum();
        // Held frames whose time is over are dropped with this frame's turn.
        let over = (self.held.len() as u64)
            .min(counts.drops.iter().find(|(name, _)| *name == "fragment-lost").map_or(0, |(_, n)| *n));
        let _ = released;
        let held_before = self.held.len();
        let kept = counts.held > held_before - (over as usize).min(held_before);
        let reasons: Vec<&str> = counts.drops.iter().map(|(name, _)| *name).collect();
        let allowed =
            |name: &&str| case.expected.or_drop.contains(name) || over > 0 && *name == "fragment-lost";
        if let Some(reason) = reasons.iter().find(|name| !allowed(name)) {
            return Err(format!("dropped as {reason}"));
        }
        let is_out = steered || copies > 0;
        let ends = u64::from(is_out) + dropped.saturating_sub(over) + counts.punted + u64::from(kept);
        let right = match &case.expected.outcome {
            Outcome::Drop => ends == 1 && !is_out && counts.consumed == 0,
            Outcome::Punt => ends == 1 && !is_out,
            Outcome::Answer { .. } => !is_out && (answered && ends == 0 || !answered && ends == 1),
            Outcome::Steer { may_wait, .. } => {
                ends == 1 && counts.consumed == 0 && (*may_wait || !kept)
                    || *may_wait && over > 0 && !is_out && !kept
            }
            Outcome::Bridge { .. } => ends == 1 && counts.consumed == 0,
            Outcome::Relay { .. } | Outcome::Deliver { .. } => ends == 1 || ends == 0 && counts.consumed == 1,
        };
        if !right {
            return Err(format!("(b) {ends} ends of one frame, or not the right one"));
        }
        let malformed = case.expected.outcome == Outcome::Drop;
        if malformed && counts.flows_new > 0 {
            return Err("(f) a frame that was dropped made a flow".into());
        }
        let gone = (over as usize).min(self.held.len());
        self.held.drain(..gone);
        Ok(())
    }

    /// (g).
    fn check_pool(&self, case: &Case<'_>) -> Result<(), String> {
        let counts = case.seen.counts;
        if counts.buffers_in_use == counts.held {
            return Ok(());
        }
        Err(format!("(g) {} buffers in use, {} frames held", counts.buffers_in_use, counts.held))
    }

    fn hold(&mut self, case: &Case<'_>) {
        let Outcome::Steer { vlan, servers, .. } = &case.expected.outcome else { return };
        self.held.push(Held {
            frame: case.seen.frame.to_vec(),
            tagged: case.tagged,
            vlan: *vlan,
            servers: servers.clone(),
            datagram: case.ip().and_then(|ip| datagram_key(*vlan, &ip)),
        });
    }
}

impl Case<'_> {
    fn src(&self) -> Mac {
        self.head.as_ref().map_or([0; 6], |head| head.src)
    }

    fn ip(&self) -> Option<Ip<'_>> {
        let head = self.head.as_ref().filter(|head| !head.nested)?;
        network(head.ethertype, head.payload).filter(|ip| ip.flaws.is_empty())
    }
}

/// FS-20.
fn datagram_key(vlan: u16, ip: &Ip<'_>) -> Option<Key> {
    ip.fragment.map(|fragment| (vlan, ip.dst, ip.src, ip.protocol, fragment.id, 0))
}

/// FS-7, FS-22, FS-23, for a packet to a VIP. `None`: it has no key of its own.
fn flow_key(vlan: u16, ip: &Ip<'_>) -> Option<Key> {
    if ip.is_later_fragment() {
        return None;
    }
    let transport = ip.transport();
    let ipsec = matches!(ip.protocol, 50 | 51) || ip.protocol == 17 && matches!(transport.dst, 500 | 4500);
    if ipsec {
        return Some((vlan, ip.dst, ip.src, IPSEC, 0, 0));
    }
    if matches!(ip.protocol, 1 | 58)
        && !matches!((ip.protocol, transport.flags), (1, 0 | 8) | (58, 128 | 129))
    {
        return None; // By what it quotes.
    }
    Some((vlan, ip.dst, ip.src, ip.protocol, u32::from(transport.src), u32::from(transport.dst)))
}

/// The same for a packet of a server.
fn outbound_key(vlan: u16, ip: &Ip<'_>) -> Option<Key> {
    let answer = Ip { src: ip.dst, dst: ip.src, ..ip.clone() };
    let (vlan, vip, client, protocol, a, b) = flow_key(vlan, &answer)?;
    let swapped = !matches!(protocol, 1 | 58); // An echo has one identifier for both sides.
    Some(if swapped { (vlan, vip, client, protocol, b, a) } else { (vlan, vip, client, protocol, a, b) })
}

/// Whether an ARP or ND frame is about the address.
fn names(own: &Link<'_>, vip: IpAddr) -> bool {
    match vip {
        IpAddr::V4(v4) => {
            let at = |at: usize| own.payload.get(at..at + 4) == Some(&v4.octets()[..]);
            own.ethertype == 0x0806 && (at(14) || at(24))
        }
        IpAddr::V6(v6) => {
            let is_nd = own.ethertype == 0x86dd
                && own.payload.get(6) == Some(&58)
                && matches!(own.payload.get(40), Some(135 | 136));
            is_nd && own.payload.get(48..64) == Some(&v6.octets()[..])
        }
    }
}

/// Whether a frame says that the VIP is at the VMAC, in answer to somebody.
fn answers(own: &Link<'_>, vip: IpAddr, vmac: Mac) -> bool {
    let kind = match vip {
        IpAddr::V4(_) => own.payload.get(7) == Some(&2),
        IpAddr::V6(_) => own.payload.get(40) == Some(&136),
    };
    let told = match vip {
        IpAddr::V4(_) => own.payload.get(8..14),
        IpAddr::V6(_) => own.payload.get(66..72),
    };
    kind && names(own, vip) && told == Some(&vmac[..])
}

fn contains(frame: &[u8], mac: Mac) -> bool {
    frame.windows(6).any(|bytes| bytes == mac)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
