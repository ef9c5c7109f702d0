//! Fields of known places. Whoever calls these has checked that the field is there.

use core::ops::Range;

/// A field's place in its header.
pub(crate) type Field = Range<usize>;

/// The `N` bytes of a field that is `N` long.
#[inline]
pub(crate) fn array<const N: usize>(data: &[u8], field: Field) -> [u8; N] {
    let mut value = [0; N];
    value.copy_from_slice(&data[field]);
    value
}

/// A field of two bytes.
#[inline]
pub(crate) fn u16_in(data: &[u8], field: Field) -> u16 {
    u16::from_be_bytes(array(data, field))
}

/// A field of four bytes.
#[inline]
pub(crate) fn u32_in(data: &[u8], field: Field) -> u32 {
    u32::from_be_bytes(array(data, field))
}

/// Writes a field.
#[inline]
pub(crate) fn put<const N: usize>(data: &mut [u8], field: Field, value: [u8; N]) {
    data[field].copy_from_slice(&value);
}

/// Bytes from hexadecimal text, as captures print them.
#[cfg(test)]
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).expect("hex") as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
