//! Work for newer machines.

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
    fn run(self) -> Self::Done;
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
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[inline(never)]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,movbe")]
fn run_v3<W: Work>(work: W) -> W::Done {
    work.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sum<'a>(&'a [u32]);

    impl Work for Sum<'_> {
        type Done = u32;

        #[inline(always)]
        fn run(self) -> u32 {
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
}
