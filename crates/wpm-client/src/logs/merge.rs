//! Puts the last lines of several files into one order.
//!
//! By the times that lines begin with; a file without them is placed at the time of its last change.
//! Invariant: the lines of one file keep their order, whatever their times say.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Line, stamp};

/// The lines of one source, oldest first, and when its file was last changed (milliseconds since 1970).
type Pile = (usize, Vec<Vec<u8>>, i64);

/// Merges the lines of several sources.
pub fn merge(piles: Vec<Pile>) -> Vec<Line> {
    let mut total = 0;
    let mut queues: Vec<_> = piles
        .into_iter()
        .map(|(source, lines, changed)| {
            total += lines.len();
            let keys = keys(&lines, changed);
            (source, keys.into_iter().zip(lines).peekable())
        })
        .collect();
    let mut heads: BinaryHeap<Reverse<(i64, usize)>> = queues
        .iter_mut()
        .enumerate()
        .filter_map(|(queue, (_, lines))| lines.peek().map(|(key, _)| Reverse((*key, queue))))
        .collect();
    let mut merged = Vec::with_capacity(total);
    while let Some(Reverse((_, queue))) = heads.pop() {
        let (source, lines) = &mut queues[queue];
        if let Some((_, bytes)) = lines.next() {
            merged.push(Line { source: *source, bytes });
        }
        if let Some((key, _)) = lines.peek() {
            heads.push(Reverse((*key, queue)));
        }
    }
    merged
}

/// Where each line stands in time: its own stamp, else that of the line before it, else that of the
/// next; never earlier than the line before.
fn keys(lines: &[Vec<u8>], changed: i64) -> Vec<i64> {
    let stamps: Vec<Option<i64>> = lines.iter().map(|line| stamp(line)).collect();
    let mut current = stamps.iter().flatten().next().copied().unwrap_or(changed);
    stamps
        .into_iter()
        .map(|stamp| {
            current = current.max(stamp.unwrap_or(current));
            current
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    fn order(piles: Vec<Pile>) -> Vec<String> {
        merge(piles).into_iter().map(|line| String::from_utf8_lossy(&line.bytes).into_owned()).collect()
    }

    #[test]
    fn stamped_lines_interleave_and_their_continuations_stay_with_them() {
        let a = lines(&["2026-01-31T10:00:00Z a1", "  a1 goes on", "2026-01-31T10:00:02Z a2"]);
        let b = lines(&["2026-01-31T10:00:01Z b1"]);
        let merged = order(vec![(0, a, 0), (1, b, 0)]);
        assert_eq!(
            merged,
            ["2026-01-31T10:00:00Z a1", "  a1 goes on", "2026-01-31T10:00:01Z b1", "2026-01-31T10:00:02Z a2"]
        );
    }

    #[test]
    fn files_without_times_follow_the_order_of_their_last_change() {
        assert_eq!(order(vec![(0, lines(&["n1", "n2"]), 20), (1, lines(&["o"]), 10)]), ["o", "n1", "n2"]);
    }

    #[test]
    fn a_clock_that_went_back_does_not_reorder_a_file() {
        let a = lines(&["2026-01-31T10:00:05Z x", "2026-01-31T10:00:01Z y"]);
        assert_eq!(order(vec![(0, a, 0)]), ["2026-01-31T10:00:05Z x", "2026-01-31T10:00:01Z y"]);
    }
}
