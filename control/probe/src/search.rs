//! Text in a stream, in one pass and without keeping the stream.
//!
//! Read first: Knuth, Morris, Pratt, "Fast pattern matching in strings" (1977): time grows with the stream
//! only, so that no body makes it slow (C18).

/// A search for one text. Memory: five bytes for each of the text's.
#[derive(Debug)]
pub(crate) struct Search {
    text: Box<[u8]>,
    /// Of each place: how much of the text's beginning ends there.
    borders: Box<[u32]>,
    matched: usize,
}

impl Search {
    pub(crate) fn new(text: &[u8]) -> Self {
        let mut borders = vec![0_u32; text.len()];
        let mut matched = 0_usize;
        for at in 1..text.len() {
            while matched > 0 && text[at] != text[matched] {
                matched = borders[matched - 1] as usize;
            }
            matched += usize::from(text[at] == text[matched]);
            borders[at] = matched as u32;
        }
        Self { text: text.into(), borders: borders.into(), matched: 0 }
    }

    /// Whether the text has been found, in `bytes` or before.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.is_found() {
                break;
            }
            while self.matched > 0 && *byte != self.text[self.matched] {
                self.matched = self.borders[self.matched - 1] as usize;
            }
            self.matched += usize::from(*byte == self.text[self.matched]);
        }
        self.is_found()
    }

    /// Whether the text has been found. The empty text always is.
    pub(crate) fn is_found(&self) -> bool {
        self.matched == self.text.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_windows_find(
            text in "[ab]{0,6}",
            pieces in prop::collection::vec("[ab]{0,9}", 0..9),
        ) {
            let whole = pieces.concat();
            let mut search = Search::new(text.as_bytes());
            let found = pieces.iter().fold(search.is_found(), |_, piece| search.feed(piece.as_bytes()));
            prop_assert_eq!(found, whole.contains(&text));
        }
    }
}
