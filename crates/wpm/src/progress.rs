//! Says how far a waiting command is, on a terminal only.
//!
//! Draws on stderr. Invariant: nothing of it remains when the command ends.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output;

/// Commands that are done sooner show no spinner.
const TICK: Duration = Duration::from_millis(100);

/// A spinner with a count.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    doing: &'static str,
    expected: Option<usize>,
    done: usize,
}

impl Progress {
    /// `doing` is a participle such as `starting`; `expected` is the number of instances where known.
    pub(crate) fn new(doing: &'static str, expected: Option<usize>, silent: bool) -> Self {
        let bar = (!silent && output::stderr_is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} · {elapsed}") {
                bar.set_style(if output::is_utf8() { style } else { style.tick_chars("-\\|/ ") });
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        let mut progress = Self { bar, doing, expected, done: 0 };
        progress.show();
        progress
    }

    /// One more instance has its outcome.
    pub(crate) fn advance(&mut self) {
        self.done += 1;
        self.show();
    }

    fn show(&mut self) {
        if let Some(bar) = &self.bar {
            bar.set_message(match self.expected {
                Some(expected) => format!("{} · {}/{expected}", self.doing, self.done),
                None if self.done > 0 => format!("{} · {} done", self.doing, self.done),
                None => self.doing.to_owned(),
            });
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
