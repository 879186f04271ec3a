//! The two streams: data to stdout, talk to stderr, colours as the user wants them.
//!
//! Invariant: a reader that goes away ends the command quietly.

use std::io::{self, IsTerminal, Write};

use crate::failure::Failure;

/// When colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// On a terminal that can, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Decides on colours for both streams.
pub(crate) fn choose_colour(when: When) {
    let choice = match when {
        When::Auto => return,
        When::Always => anstream::ColorChoice::Always,
        When::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Writes data to stdout, as it is but for colours that are not wanted.
pub(crate) fn data(text: &str) -> Result<(), Failure> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// Writes a line of data to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    data(&format!("{text}\n"))
}

/// Has a line written without colours, as it is: a long one is neither searched for escapes nor copied.
pub(crate) fn long_line(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    write(&mut stdout)?;
    stdout.write_all(b"\n")?;
    stdout.flush()?;
    Ok(())
}

/// Writes JSON to stdout: indented for people, in one line for programs.
pub(crate) fn json(value: &serde_json::Value) -> Result<(), Failure> {
    let text =
        if stdout_is_terminal() { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(io::Error::from)?;
    // Bytes of apps' names must not drive the terminal.
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}")?;
    stdout.flush()?;
    Ok(())
}

/// Says something on stderr. Who cannot be told is not told.
pub(crate) fn say(text: &str) {
    let _unheard = writeln!(anstream::stderr().lock(), "{text}");
}

/// Whether stdout is a terminal.
pub(crate) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Whether stderr is a terminal that can be drawn on.
pub(crate) fn stderr_is_terminal() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns of the output: of the terminal, else `COLUMNS`, else unlimited (none).
pub(crate) fn width() -> Option<u16> {
    let columns = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    if stdout_is_terminal() {
        rustix::termios::tcgetwinsize(io::stdout())
            .ok()
            .map(|size| size.ws_col)
            .filter(|c| *c > 0)
            .or_else(columns)
    } else {
        columns()
    }
}

/// Whether characters beyond ASCII may be printed: unless the locale says that they may not.
pub(crate) fn is_utf8() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    is_utf8_locale(set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).as_deref())
}

fn is_utf8_locale(locale: Option<&str>) -> bool {
    locale.is_none_or(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_locale_that_says_otherwise_is_not_utf8() {
        assert!(
            is_utf8_locale(None) && is_utf8_locale(Some("de_DE.UTF-8")) && is_utf8_locale(Some("C.utf8"))
        );
        assert!(!is_utf8_locale(Some("C")) && !is_utf8_locale(Some("POSIX")));
    }
}
