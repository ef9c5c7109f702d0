//! VIPs, looked up by (VLAN, address).

use dataplane_flow::{ClusterId, fold};
use dataplane_port::VlanId;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    words: [u64; 2],
    /// VLAN, family and "there is one" in one number; 0 is empty.
    tag: u32,
    cluster: ClusterId,
}

/// An exact map, at most a quarter full: most look-ups, hit or miss, touch one place.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Vips {
    places: Box<[Place]>,
}

#[inline(always)]
fn tag(vlan: VlanId, v6: bool) -> u32 {
    1 << 31 | u32::from(v6) << 16 | u32::from(vlan.0)
}

impl Vips {
    /// The map of these VIPs: (VLAN, address words, IPv6, cluster).
    pub(crate) fn new(vips: &[(VlanId, [u64; 2], bool, ClusterId)]) -> Self {
        let len = (vips.len() * 4).next_power_of_two().max(16);
        let empty = Place { words: [0; 2], tag: 0, cluster: ClusterId(0) };
        let mut map = Self { places: vec![empty; len].into_boxed_slice() };
        for (vlan, words, v6, cluster) in vips {
            let mut at = map.place(*vlan, *words);
            while map.places[at].tag != 0 {
                at = (at + 1) & (len - 1);
            }
            map.places[at] = Place { words: *words, tag: tag(*vlan, *v6), cluster: *cluster };
        }
        map
    }

    #[inline(always)]
    fn place(&self, vlan: VlanId, words: [u64; 2]) -> usize {
        fold(words[1] ^ u64::from(vlan.0) << 40 ^ 0x5851_f42d_4c95_7f2d, words[0] | 0x9e37_79b9_7f4a_7c15)
            as usize
            & (self.places.len() - 1)
    }

    /// The cluster whose VIP this is.
    #[inline(always)]
    pub(crate) fn find(&self, vlan: VlanId, words: [u64; 2], v6: bool) -> Option<ClusterId> {
        let wanted = tag(vlan, v6);
        let mut at = self.place(vlan, words);
        loop {
            let place = &self.places[at];
            if place.tag == wanted && place.words == words {
                return Some(place.cluster);
            }
            // Three quarters are empty, so this ends.
            if place.tag == 0 {
                return None;
            }
            at = (at + 1) & (self.places.len() - 1);
        }
    }
}
