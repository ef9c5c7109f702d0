//! Loops of two in a turn.

/// Does `$each` for each `$i` below `$count`, two in a turn of the loop: of a short loop's instructions one in eight is
/// the loop's own. A closure, called for either, would be a function.
///
/// ```
/// let mut all = Vec::new();
/// dataplane_cpu::by_twos!(i in 5, {
///     all.push(i);
/// });
/// assert_eq!(all, [0, 1, 2, 3, 4]);
/// ```
#[macro_export]
macro_rules! by_twos {
    ($i:ident in $count:expr, $each:block) => {
        let mut twos = $crate::Twos::below($count);
        while let Some([first, second]) = twos.both() {
            {
                let $i = first;
                $each
            }
            {
                let $i = second;
                $each
            }
        }
        if let Some($i) = twos.last() {
            $each
        }
    };
}

/// The numbers below some count, two by two ([`by_twos`](crate::by_twos)).
#[derive(Debug)]
pub struct Twos {
    next: usize,
    /// `count`, if that is even; else one less.
    even: usize,
    count: usize,
}

impl Twos {
    /// Those below `count`.
    #[inline(always)]
    pub fn below(count: usize) -> Self {
        Self { next: 0, even: count & !1, count }
    }

    /// The next two.
    #[inline(always)]
    pub fn both(&mut self) -> Option<[usize; 2]> {
        let first = self.next;
        if first == self.even {
            return None;
        }
        self.next += 2;
        // SAFETY: `next` rises by two from zero to `even`, which is even and not above `count`. So whoever indexes what is
        // as long as `count` by these is not asked again.
        unsafe { core::hint::assert_unchecked(first < self.count && first + 1 < self.count) };
        Some([first, first + 1])
    }

    /// The last one of an odd count, behind all the others.
    #[inline(always)]
    pub fn last(self) -> Option<usize> {
        (self.even < self.count).then_some(self.even)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn each_below_the_count_comes_once_and_in_order() {
        for count in 0..40 {
            let mut seen = Vec::new();
            by_twos!(i in count, {
                seen.push(i);
            });
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
