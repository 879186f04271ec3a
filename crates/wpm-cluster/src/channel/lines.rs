//! Cuts a byte stream into lines.
//!
//! Knows nothing of what a line says. Invariant: the same bytes give the same lines however they
//! were split on the way, and no more than the cap is ever kept of an unfinished line.

/// Buffers above this many bytes are given back once they are empty.
const KEEP: usize = 64 * 1024;

/// What [`Lines::next`] found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// A line, without its newline.
    Whole(&'a [u8]),
    /// A line above the cap; its bytes are gone.
    TooLong,
}

/// The unfinished end of a stream.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: Vec<u8>,
    /// First byte that has not been given out.
    start: usize,
    /// First byte that has not been searched for a newline.
    searched: usize,
    cap: usize,
    /// Inside a line that was reported as too long.
    skipping: bool,
}

impl Lines {
    /// No bytes yet; lines above `cap` bytes are skipped.
    pub(crate) const fn new(cap: usize) -> Self {
        Self { buffer: Vec::new(), start: 0, searched: 0, cap, skipping: false }
    }

    /// Appends bytes.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether every byte was given out.
    pub(crate) const fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// The next line that is complete, or was just found to be too long.
    pub(crate) fn next(&mut self) -> Option<Line<'_>> {
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(at) = unsearched.iter().position(|b| *b == b'\n') else {
                return self.unfinished();
            };
            let line = self.start..self.searched + at;
            self.start = line.end + 1;
            self.searched = self.start;
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            if line.len() > self.cap {
                return Some(Line::TooLong);
            }
            return self.buffer.get(line).map(Line::Whole);
        }
    }

    fn unfinished(&mut self) -> Option<Line<'_>> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let too_long = self.buffer.len() > self.cap;
        if too_long || self.skipping || self.buffer.is_empty() {
            self.buffer.clear();
            self.buffer.shrink_to(KEEP);
        }
        self.searched = self.buffer.len();
        if too_long && !self.skipping {
            self.skipping = true;
            return Some(Line::TooLong);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines, into: &mut Vec<Option<Vec<u8>>>) {
        while let Some(line) = lines.next() {
            into.push(match line {
                Line::Whole(line) => Some(line.to_vec()),
                Line::TooLong => None,
            });
        }
    }

    proptest! {
        #[test]
        fn splits_change_nothing(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..200),
                                 cuts in proptest::collection::vec(1usize..20, 0..60)) {
            let mut whole = Vec::new();
            let mut lines = Lines::new(12);
            lines.push(&bytes);
            all(&mut lines, &mut whole);
            let mut pieces = Vec::new();
            let mut lines = Lines::new(12);
            let mut rest = &bytes[..];
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                lines.push(piece);
                all(&mut lines, &mut pieces);
                prop_assert!(lines.buffer.len() <= 12, "no more than the cap is kept");
                rest = after;
            }
            prop_assert_eq!(whole, pieces);
        }
    }
}
