//! A place within a text, shown as a compiler shows it.
//!
//! Invariant: the span lies within the text and on boundaries of its characters.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Columns that an excerpt may take.
const WIDTH: usize = 120;

/// A place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot {
    shown: String,
    text: String,
    span: Range<usize>,
}

impl Spot {
    /// The span of a text that is known by the name `shown`.
    pub(crate) fn new(shown: &str, text: &str, span: Range<usize>) -> Self {
        let end = text.floor_char_boundary(span.end.min(text.len()));
        let start = text.floor_char_boundary(span.start.min(end));
        Self { shown: shown.to_owned(), text: text.to_owned(), span: start..end }
    }

    /// Line and column, counted from 1.
    pub(crate) fn position(&self) -> (usize, usize) {
        let before = &self.text[..self.span.start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// The whole report.
    pub(super) fn render(&self, code: &str, message: &str, helps: &[String]) -> String {
        let snippet = Snippet::source(&self.text)
            .path(&self.shown)
            .annotation(AnnotationKind::Primary.span(self.span.clone()));
        let mut group = Level::ERROR.primary_title(message).id(code).element(snippet);
        for help in helps {
            group = group.element(Level::HELP.message(help));
        }
        Renderer::styled().term_width(WIDTH).render(&[group])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_shown_as_a_compiler_shows_it() {
        let spot = Spot::new("wpm.toml", "[[apps]]\nmax_memory = \"300Q\"\n", 22..28);
        assert_eq!(spot.position(), (2, 14));
        let shown = spot.render("E021", "invalid value", &["M means MiB".to_owned()]);
        assert_eq!(
            anstream::adapter::strip_str(&shown).to_string(),
            "error[E021]: invalid value\n --> wpm.toml:2:14\n  |\n2 | max_memory = \"300Q\"\n  |              ^^^^^^\n  |\n  \
             = help: M means MiB"
        );
    }

    #[test]
    fn a_span_that_is_none_becomes_one() {
        assert_eq!(Spot::new("f", "é", 1..9).span, 0..2);
        assert_eq!(Spot::new("f", "", 3..9).position(), (1, 1));
    }
}
