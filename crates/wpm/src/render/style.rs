//! The few styles that output has. Colour is never the only carrier of a meaning.

use anstyle::{AnsiColor, Color, Style};

const fn coloured(color: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(color)))
}

/// Something failed.
pub(crate) const ERROR: Style = coloured(AnsiColor::Red).bold();
/// Something may surprise.
pub(crate) const WARNING: Style = coloured(AnsiColor::Yellow).bold();
/// Something went well.
pub(crate) const GOOD: Style = coloured(AnsiColor::Green);
/// Something goes away.
pub(crate) const BAD: Style = coloured(AnsiColor::Red);
/// What helps.
pub(crate) const HELP: Style = coloured(AnsiColor::Cyan);
/// A command to type.
pub(crate) const COMMAND: Style = coloured(AnsiColor::Green);
/// Of less importance.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Headings and names.
pub(crate) const BOLD: Style = Style::new().bold();

/// Text in a style; whether the escapes reach the terminal is decided by the stream.
pub(crate) fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}
