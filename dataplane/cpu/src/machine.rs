//! Work for newer machines.

use crate::{CacheLine, find4};

/// Whether the machine has the instructions of x86-64-v3 (AVX2, BMI: since 2013 and 2017) besides those that the
/// program is built for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    is_v3: bool,
}

/// What is done by a [`Machine`]'s own instructions: compiled for either.
///
/// `run` has to be `#[inline(always)]`, and what it calls as well, or that is compiled for the older one alone.
pub trait Work {
    /// What comes of it.
    type Done;

    /// Does it.
    fn run(self, instructions: impl Instructions) -> Self::Done;
}

/// What a machine has: whoever holds one may use them.
pub trait Instructions: Copy {
    /// Which of a line's first four words is `sought`: the first of them, if there are several.
    fn find4(self, line: &CacheLine, sought: &u64) -> Option<usize>;
}

/// Those that the program is built for.
#[derive(Clone, Copy, Debug)]
pub struct Oldest;

impl Instructions for Oldest {
    #[inline(always)]
    fn find4(self, line: &CacheLine, sought: &u64) -> Option<usize> {
        find4(line, sought)
    }
}

/// Those of x86-64-v3. Nobody but [`Machine::run`] makes one.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
struct V3(());

#[cfg(target_arch = "x86_64")]
impl Instructions for V3 {
    #[inline(always)]
    fn find4(self, line: &CacheLine, sought: &u64) -> Option<usize> {
        use core::arch::x86_64::{
            _mm256_cmpeq_epi64, _mm256_load_si256, _mm256_movemask_epi8, _mm256_set1_epi64x, _tzcnt_u32,
        };
        // SAFETY: AVX2 is there, which `self` proves. A line is aligned, and nobody changes it meanwhile: a cell is
        // its thread's alone.
        let found = unsafe {
            let words = _mm256_load_si256(line.as_ptr().cast());
            let equal = _mm256_cmpeq_epi64(words, _mm256_set1_epi64x(sought.cast_signed()));
            _mm256_movemask_epi8(equal).cast_unsigned()
        };
        if found == 0 {
            return None;
        }
        // SAFETY: BMI1 is there. Eight bits are set for a word that is equal: the first of them says how many bytes on that
        // is, with which the caller goes on, without a shift.
        unsafe {
            let at = _tzcnt_u32(found) as usize;
            core::hint::assert_unchecked(at < 32 && at.is_multiple_of(8));
            Some(at / 8)
        }
    }
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        #[cfg(target_arch = "x86_64")]
        let is_v3 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("movbe");
        #[cfg(not(target_arch = "x86_64"))]
        let is_v3 = false;
        Self { is_v3 }
    }

    /// One that has no more than what the program is built for.
    pub const fn oldest() -> Self {
        Self { is_v3: false }
    }

    /// Does the work: two calls, the nearer of them always the same one.
    #[inline(always)]
    pub fn run<W: Work>(self, work: W) -> W::Done {
        if self.is_v3 {
            // SAFETY: the machine has these instructions: `this` alone says so.
            #[cfg(target_arch = "x86_64")]
            return unsafe { run_v3(work) };
        }
        run_oldest(work)
    }
}

#[inline(never)]
fn run_oldest<W: Work>(work: W) -> W::Done {
    work.run(Oldest)
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe")]
fn run_v3<W: Work>(work: W) -> W::Done {
    work.run(V3(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::Cell;

    struct Sum<'a>(&'a [u32]);

    impl Work for Sum<'_> {
        type Done = u32;

        #[inline(always)]
        fn run(self, _: impl Instructions) -> u32 {
            self.0.iter().fold(0, |sum, n| sum.wrapping_add(*n))
        }
    }

    #[test]
    fn either_machine_does_the_same_work() {
        let numbers: Vec<u32> = (0..1000).map(|n: u32| n.wrapping_mul(0x9e37_79b9)).collect();
        let slow = numbers.iter().copied().reduce(u32::wrapping_add);
        assert_eq!(Some(Machine::oldest().run(Sum(&numbers))), slow);
        assert_eq!(Some(Machine::this().run(Sum(&numbers))), slow);
    }

    struct Find<'a>(&'a CacheLine, u64);

    impl Work for Find<'_> {
        type Done = Option<usize>;

        #[inline(always)]
        fn run(self, instructions: impl Instructions) -> Option<usize> {
            instructions.find4(self.0, &self.1)
        }
    }

    #[test]
    fn either_machine_finds_the_first_of_four() {
        let line = |words: [u64; 8]| CacheLine(words.map(Cell::new));
        // What stands behind is not looked at.
        let words = line([7, u64::MAX, 1 << 63, 7 << 32, 8, 8, 8, 8]);
        for machine in [Machine::this(), Machine::oldest()] {
            for (i, word) in words[..4].iter().enumerate() {
                assert_eq!(machine.run(Find(&words, word.get())), Some(i));
            }
            // Half of a word is none.
            for other in [0, 8, 7 << 32 | 7, 1, u64::MAX >> 1, 1 << 31] {
                assert_eq!(machine.run(Find(&words, other)), None, "{other:x}");
            }
            assert_eq!(machine.run(Find(&line([3, 7, 7, 7, 7, 7, 7, 7]), 7)), Some(1));
        }
    }
}
