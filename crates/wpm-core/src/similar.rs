//! Did-you-mean: names that look like what was typed.
//!
//! Pure functions over strings. Invariant: at most five names, the likeliest first, each once.

use std::collections::BTreeSet;

/// Most names that are offered.
const MOST: usize = 5;
/// Greatest number of edits between what was typed and what may have been meant.
const FARTHEST: usize = 2;
/// Longest text that is compared letter by letter.
const LONGEST: usize = 256;

/// Names within a small edit distance of `typed`, or that one of the two begins, best first.
pub(crate) fn similar<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let typed = typed.to_lowercase();
    let mut ranked: BTreeSet<(usize, &str)> = BTreeSet::new();
    // A short text is near to nearly everything: half of it at most may be wrong.
    let farthest = FARTHEST.min((typed.chars().count() / 2).max(1));
    for name in names {
        let lower = name.to_lowercase();
        let edits = if typed.len() > LONGEST || lower.len() > LONGEST {
            usize::MAX
        } else {
            distance(&typed, &lower)
        };
        if edits <= farthest {
            ranked.insert((edits, name));
        } else if lower.starts_with(&typed) || (typed.starts_with(&lower) && lower.len() > 1) {
            ranked.insert((FARTHEST + 1, name));
        }
    }
    let mut seen = BTreeSet::new();
    ranked
        .into_iter()
        .filter(|(_, name)| seen.insert(*name))
        .take(MOST)
        .map(|(_, name)| name.to_owned())
        .collect()
}

/// Insertions, deletions, replacements and swaps of neighbours that lead from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let replaced = above[j] + usize::from(from != to);
            let mut best = replaced.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i - 1] == *to && *from == b[j - 1] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("abc", "acb", 1),
            ("web", "wob", 1),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn offers_the_best_first() {
        let names = ["web", "web-api", "worker", "db", "wep"];
        assert_eq!(similar("wbe", names.into_iter()), ["web"]);
        assert_eq!(similar("we", names.into_iter()), ["web", "wep", "web-api"]);
        assert_eq!(similar("WEB-APY", names.into_iter()), ["web-api", "web"]);
        assert_eq!(similar("zebra", names.into_iter()), Vec::<String>::new());
    }
}
