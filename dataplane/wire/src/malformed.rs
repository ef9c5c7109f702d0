//! The one error of a view.

use core::fmt;

/// The bytes are not what the view needs: too short, cut off, or with lengths that contradict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("malformed")
    }
}

impl core::error::Error for Malformed {}

/// `Ok` when `good`: for checks in a row.
#[inline]
pub(crate) fn require(good: bool) -> Result<(), Malformed> {
    if good { Ok(()) } else { Err(Malformed) }
}
