//! The keyed hash of tables and choices: a folded multiply.
//!
//! Some 12 instructions for three words, 5 for a flow key over IPv4. Not cryptographic, but without the key
//! nobody can aim: a product's both halves depend on both keyed factors, unlike CRC32C, which is linear (pairs that
//! collide under one key collide under all).

/// Multiplies to 128 bits and folds the halves together.
#[inline(always)]
pub fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The key of a hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HashKey([u64; 4]);

impl HashKey {
    /// A key from random numbers, or from the configuration's. The bits are spread, so that a key
    /// of few bits still gives four good factors (splitmix64).
    pub fn new(seed: [u64; 2]) -> Self {
        let mut state = seed[0] ^ seed[1].rotate_left(32);
        let mut next = |salt: u64| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(salt);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        Self([next(seed[0]), next(seed[1]), next(seed[0]), next(seed[1]) | 1])
    }

    /// What [`Self::join`] takes of a flow key's last word, which may have been put together long before.
    #[inline(always)]
    pub(crate) fn half(&self, last: u64) -> u64 {
        last ^ self.0[1]
    }

    /// The hash of a flow key: of its client, and of the rest ([`Self::half`]). One folded multiplication:
    /// both factors are keyed. The ports are in both, or a client's ports in a row would go up in steps, and
    /// with a step near a fraction of all lines lie in few of them.
    #[inline(always)]
    pub(crate) fn join(&self, client: u64, half: u64) -> u64 {
        fold(client ^ self.0[0] ^ half, half)
    }

    /// One word of two, of which the first is 0 where the second is all there is.
    #[inline(always)]
    pub(crate) fn one(&self, words: [u64; 2]) -> u64 {
        fold(words[0], self.0[3]) ^ words[1]
    }

    /// The hash of three words.
    #[inline(always)]
    pub fn hash3(&self, words: [u64; 3]) -> u64 {
        let [k0, k1, k2, k3] = self.0;
        let first = fold(words[0] ^ k0, words[2] ^ k1);
        fold(first ^ words[1] ^ k2, k3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_words_spread_over_all_bits() {
        let key = HashKey::new([1, 2]);
        let mut ones = [0_u32; 64];
        for i in 0..4096_u64 {
            let hash = key.hash3([0, 0xc633_6407, i << 48]);
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += (hash >> bit & 1) as u32;
            }
        }
        // 4096 draws: standard deviation 32; six of them.
        assert!(ones.iter().all(|n| (2048 - 192..2048 + 192).contains(n)), "{ones:?}");
    }

    #[test]
    fn another_key_is_another_hash() {
        let words = [0, 7, 9];
        assert_ne!(HashKey::new([1, 2]).hash3(words), HashKey::new([1, 3]).hash3(words));
    }
}
