//! The Internet checksum.
//!
//! Read first: RFC 1071 (the sum), RFC 1624 §3 (changing a field without summing again), RFC 8200
//! §8.1 (the pseudo-header of IPv6).
//!
//! A *sum* here is the one's complement sum of 16-bit words, folded; a *checksum* is its complement.

use core::net::{Ipv4Addr, Ipv6Addr};

/// The sum of two sums.
#[inline]
pub const fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + carry as u16
}

/// The sum of `data`; an odd last byte counts as if a zero followed.
#[inline]
pub fn sum(data: &[u8]) -> u16 {
    let mut total = 0_u64;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0; 4];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    total += u64::from(u32::from_be_bytes(last));
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// The checksum of `data` whose checksum field is zero, behind a pseudo-header with the sum `pseudo`.
#[inline]
pub fn of(pseudo: u16, data: &[u8]) -> u16 {
    !add(pseudo, sum(data))
}

/// Whether `data`, its checksum field included, sums up behind a pseudo-header with the sum `pseudo`.
#[inline]
pub fn is_good(pseudo: u16, data: &[u8]) -> bool {
    add(pseudo, sum(data)) == 0xffff
}

/// The sum of the pseudo-header of TCP and UDP over IPv4 (RFC 9293 §3.1); `len` in bytes.
#[inline]
pub fn pseudo_v4(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, len: u16) -> u16 {
    let addresses = add(sum(&src.octets()), sum(&dst.octets()));
    add(addresses, add(u16::from(protocol), len))
}

/// The sum of the pseudo-header of upper layers over IPv6 (RFC 8200 §8.1); `len` in bytes.
#[inline]
pub fn pseudo_v6(src: Ipv6Addr, dst: Ipv6Addr, next_header: u8, len: u32) -> u16 {
    let addresses = add(sum(&src.octets()), sum(&dst.octets()));
    add(addresses, add(u16::from(next_header), sum(&len.to_be_bytes())))
}

/// The checksum after `old` has been replaced by `new` (RFC 1624, equation 3).
///
/// Both are whole words at an even place of what the checksum covers, and equally long. A UDP
/// checksum of 0 means that there is none: do not update it.
#[inline]
pub fn update(checksum: u16, old: &[u8], new: &[u8]) -> u16 {
    debug_assert!(old.len().is_multiple_of(2) && old.len() == new.len());
    !add(add(!checksum, !sum(old)), sum(new))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bytes::hex;
    use proptest::prelude::*;

    #[test]
    fn rfc_1071_example() {
        assert_eq!(sum(&hex("0001 f203 f4f5 f6f7")), 0xddf2);
        assert_eq!(sum(&hex("0001 f203 f4f5 f6")), add(0xddf2, !0x00f7));
        assert_eq!(sum(&[]), 0);
        assert_eq!(sum(&[0x12]), 0x1200);
    }

    #[test]
    fn rfc_1624_example() {
        // Section 4: the case that equation 2 gets wrong.
        assert_eq!(update(0xdd2f, &hex("5555"), &hex("3285")), 0x0000);
    }

    #[test]
    fn long_data_does_not_overflow() {
        assert_eq!(sum(&[0xff; 65_536]), 0xffff);
    }

    fn naive(data: &[u8]) -> u16 {
        data.chunks(2).fold(0, |total, pair| {
            add(total, u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]))
        })
    }

    proptest! {
        #[test]
        fn sum_is_the_sum_of_words(data: Vec<u8>) {
            prop_assert_eq!(sum(&data), naive(&data));
        }

        #[test]
        fn incremental_equals_full(
            mut data in prop::collection::vec(any::<u8>(), 8..200),
            at in 0_usize..64,
            new in prop::collection::vec(any::<u16>(), 1..4),
        ) {
            let new: Vec<u8> = new.iter().flat_map(|word| word.to_be_bytes()).collect();
            data[0] |= 1; // Never all zero: a header never is, and 0 has two forms there.
            let at = 2 + 2 * at.min((data.len() - 2) / 2);
            prop_assume!(at + new.len() <= data.len());
            let before = of(0, &data);
            let old = data[at..at + new.len()].to_vec();
            data[at..at + new.len()].copy_from_slice(&new);
            prop_assert_eq!(update(before, &old, &new), of(0, &data));
        }

        #[test]
        fn what_was_filled_is_good(mut data in prop::collection::vec(any::<u8>(), 4..200), pseudo: u16) {
            data[2..4].fill(0);
            let checksum = of(pseudo, &data);
            data[2..4].copy_from_slice(&checksum.to_be_bytes());
            prop_assert!(is_good(pseudo, &data));
        }
    }
}
