//! Frames made of frames: retargeted, truncated, with flipped bits. All from a seed.

use crate::table::Mac;
use core::net::IpAddr;

/// A generator of numbers (SplitMix64): the same seed, the same numbers.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A generator.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end as u64) as usize
    }
}

/// Where the network header is, behind at most two tags, and its EtherType.
fn network_at(frame: &[u8]) -> Option<(usize, u16)> {
    let mut at = 12;
    for _ in 0..3 {
        let ethertype = u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]);
        at += 2;
        if !matches!(ethertype, 0x8100 | 0x88a8) {
            return Some((at, ethertype));
        }
        at += 2;
    }
    None
}

/// The frame, sent to a VIP: destination MAC and destination address rewritten, the IPv4 header
/// checksum made good if it was. `None` where there is no such address to rewrite.
pub fn retarget(frame: &[u8], vmac: Mac, vip: IpAddr) -> Option<Vec<u8>> {
    readdress(frame, 0, vmac, 16, 24, vip)
}

/// The frame, sent by somebody else: source MAC and source address rewritten, the IPv4 header
/// checksum made good if it was. `None` where there is no such address to rewrite.
pub fn resource(frame: &[u8], mac: Mac, address: IpAddr) -> Option<Vec<u8>> {
    readdress(frame, 6, mac, 12, 8, address)
}

fn readdress(frame: &[u8], mac_at: usize, mac: Mac, v4: usize, v6: usize, to: IpAddr) -> Option<Vec<u8>> {
    let (at, ethertype) = network_at(frame)?;
    let mut out = frame.to_vec();
    out.get_mut(mac_at..mac_at + 6)?.copy_from_slice(&mac);
    match (ethertype, to) {
        (0x0800, IpAddr::V4(to)) => {
            let was_good = sums_up(out.get(at..)?);
            out.get_mut(at + v4..at + v4 + 4)?.copy_from_slice(&to.octets());
            if was_good {
                fix_v4_checksum(&mut out[at..]);
            }
        }
        (0x86dd, IpAddr::V6(to)) => {
            out.get_mut(at + v6..at + v6 + 16)?.copy_from_slice(&to.octets());
        }
        _ => return None,
    }
    Some(out)
}

/// The frame in a VLAN: its tags replaced by one, or by none for VLAN 0.
pub fn retag(frame: &[u8], vid: u16) -> Option<Vec<u8>> {
    let (at, _) = network_at(frame)?;
    let mut out = frame.get(..12)?.to_vec();
    if vid != 0 {
        out.extend([0x81, 0x00]);
        out.extend(vid.to_be_bytes());
    }
    out.extend(&frame[at - 2..]);
    Some(out)
}

fn header_len(packet: &[u8]) -> Option<usize> {
    packet.first().map(|first| usize::from(first & 15) * 4).filter(|len| (20..=packet.len()).contains(len))
}

fn words(header: &[u8]) -> u32 {
    header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum()
}

fn sums_up(packet: &[u8]) -> bool {
    header_len(packet).is_some_and(|len| {
        let sum = words(&packet[..len]);
        (sum & 0xffff) + (sum >> 16) == 0xffff
    })
}

/// Makes the header checksum of an IPv4 packet good, if it has a header.
pub fn fix_v4_checksum(packet: &mut [u8]) {
    if let Some(len) = header_len(packet) {
        packet[10..12].fill(0);
        let mut sum = words(&packet[..len]);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    }
}

/// The frame, cut off after `len` bytes.
pub fn truncate(frame: &[u8], len: usize) -> Vec<u8> {
    frame[..len.min(frame.len())].to_vec()
}

/// The frame with one to eight bits flipped, most of them among the first 80 bytes.
pub fn flip(frame: &[u8], random: &mut Random) -> Vec<u8> {
    let mut out = frame.to_vec();
    if out.is_empty() {
        return out;
    }
    for _ in 0..=random.below(8) {
        let end = if random.below(4) == 0 { out.len() } else { out.len().min(80) };
        let at = random.below(end);
        out[at] ^= 1 << random.below(8);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;

    const A: Mac = [2, 0, 0, 0, 0, 1];
    const B: Mac = [2, 0, 0, 0, 0, 2];

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn retargeting_keeps_a_good_checksum_good_and_a_bad_one_bad() {
        let packet = frames::ip(ip("10.0.0.1"), ip("10.0.0.2"), 17, &frames::udp(1, 2, &[]));
        let frame = frames::ethernet(A, B, Some(5), 0x0800, &packet);
        let moved = retarget(&frame, [4; 6], ip("192.0.2.1")).expect("IPv4");
        assert_eq!((&moved[..6], &moved[34..38]), (&[4; 6][..], &[192, 0, 2, 1][..]));
        assert!(sums_up(&moved[18..]));
        let mut bad = frame.clone();
        bad[22] ^= 1;
        assert!(!sums_up(&retarget(&bad, [4; 6], ip("192.0.2.1")).expect("IPv4")[18..]));
        assert_eq!(retarget(&frame, [4; 6], ip("::1")), None);
        assert_eq!(retarget(&frame[..30], [4; 6], ip("192.0.2.1")), None);
        let back = resource(&moved, B, ip("192.0.2.9")).expect("IPv4");
        assert_eq!((&back[6..12], &back[30..34]), (&B[..], &[192, 0, 2, 9][..]));
        assert!(sums_up(&back[18..]));
    }

    #[test]
    fn tags_are_replaced() {
        let frame = frames::ethernet(A, B, Some(5), 0x0800, &[7; 50]);
        let untagged = frames::ethernet(A, B, None, 0x0800, &[7; 50]);
        assert_eq!(retag(&frame, 0), Some(untagged.clone()));
        assert_eq!(retag(&untagged, 5), Some(frame));
    }

    #[test]
    fn the_same_seed_gives_the_same_frames() {
        let frame = vec![0; 100];
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        for _ in 0..100 {
            let flipped = flip(&frame, &mut a);
            assert_eq!(flipped, flip(&frame, &mut b));
            assert_eq!(flipped.len(), frame.len());
        }
        assert_eq!(truncate(&frame, 7).len(), 7);
        assert_eq!(truncate(&frame, 700).len(), 100);
    }
}
