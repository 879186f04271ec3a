//! The terminal while the dashboard has it: keys come one by one, and what stood there before comes back.
//!
//! Invariant: however the command ends but by SIGKILL, the terminal is as it was.

use std::io::{IsTerminal as _, Read as _, Write as _};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};

use super::keys::{Key, keys};
use crate::failure::Failure;
use crate::output;

/// Another page, without a cursor, lines cut at the edge.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
/// The same, undone.
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// How the terminal was, while it is not: for whoever has to put it back.
static BEFORE: Mutex<Option<Before>> = Mutex::new(None);

/// How it was; without keys, its input was left alone.
struct Before(Option<Termios>);

/// Whether stdout can be drawn on.
pub(super) fn is_possible() -> bool {
    output::stdout_is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The terminal.
pub(super) struct Screen {
    keys: bool,
}

impl Screen {
    /// Takes the terminal; keys are read where stdin is one.
    pub(super) fn enter() -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        let mut before = None;
        if stdin.is_terminal() {
            let was = tcgetattr(&stdin).map_err(std::io::Error::from)?;
            let mut raw = was.clone();
            raw.make_raw();
            tcsetattr(&stdin, OptionalActions::Flush, &raw).map_err(std::io::Error::from)?;
            before = Some(was);
        }
        let keys = before.is_some();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(Before(before));
        // From here on, dropping it puts everything back.
        let screen = Self { keys };
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                // What is said of it must not go down with the page.
                restore();
                earlier(panic);
            }));
        });
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(ENTER.as_bytes())?;
        stdout.flush()?;
        Ok(screen)
    }

    /// Whether there are keys to read.
    pub(super) const fn has_keys(&self) -> bool {
        self.keys
    }

    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        let size = tcgetwinsize(std::io::stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
        size.map_or((24, 80), |size| (usize::from(size.ws_row), usize::from(size.ws_col)))
    }

    /// The keys that were pressed. A terminal that has gone is the end.
    pub(super) fn keys(&self) -> Result<Vec<Key>, Failure> {
        let mut bytes = [0; 256];
        match std::io::stdin().lock().read(&mut bytes) {
            Ok(0) => Ok(vec![Key::Interrupt]),
            Ok(count) => Ok(keys(&bytes[..count])),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => Ok(Vec::new()),
            Err(_) => Ok(vec![Key::Interrupt]),
        }
    }

    /// Overwrites the page line by line: clearing first would flicker.
    pub(super) fn draw(&self, lines: &[String]) -> Result<(), Failure> {
        let mut text = String::from("\x1b[H");
        let rows = self.size().0;
        for (number, line) in lines.iter().take(rows).enumerate() {
            if number > 0 {
                text.push_str("\r\n");
            }
            text.push_str(line);
            text.push_str("\x1b[0m\x1b[K");
        }
        text.push_str("\x1b[J");
        // What moves the cursor must get through where colours are not wanted.
        let text = if anstream::stdout().current_choice() == anstream::ColorChoice::Never {
            without_colours(&text)
        } else {
            text
        };
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()?;
        Ok(())
    }

    /// Puts everything back.
    pub(super) fn leave(&self) {
        restore();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back, once.
fn restore() {
    let before = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Before(was)) = before else { return };
    // A terminal that has gone needs nothing.
    let _gone = std::io::stdout().lock().write_all(LEAVE.as_bytes());
    let _gone = std::io::stdout().lock().flush();
    if let Some(was) = was {
        let _gone = tcsetattr(std::io::stdin(), OptionalActions::Flush, &was);
    }
}

/// Takes the sequences that choose colours out, and leaves the others.
fn without_colours(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    for (number, part) in text.split("\x1b[").enumerate() {
        let length = part.find(|c: char| c.is_ascii_alphabetic());
        match length {
            Some(at) if number > 0 && part[at..].starts_with('m') => kept.push_str(&part[at + 1..]),
            _ if number > 0 => {
                kept.push_str("\x1b[");
                kept.push_str(part);
            }
            _ => kept.push_str(part),
        }
    }
    kept
}

/// The signals that matter here, each as a pipe that can be waited for.
pub(super) struct Signals(Vec<(i32, std::io::PipeReader)>);

impl Signals {
    /// Takes them over.
    pub(super) fn take() -> Result<Self, Failure> {
        let mut all = Vec::new();
        for signal in [SIGWINCH, SIGTERM, SIGHUP, SIGINT] {
            let (reader, writer) = std::io::pipe()?;
            signal_hook::low_level::pipe::register(signal, writer)?;
            all.push((signal, reader));
        }
        Ok(Self(all))
    }

    /// What is to be waited for.
    pub(super) fn all(&self) -> impl Iterator<Item = &std::io::PipeReader> {
        self.0.iter().map(|(_, reader)| reader)
    }

    /// Takes the signal with this place; gives one that asks for the end.
    pub(super) fn read(&mut self, place: u64) -> Option<i32> {
        let (signal, reader) = self.0.get_mut(usize::try_from(place).ok()?)?;
        let mut bytes = [0; 64];
        // Every signal of a kind at once: they say the same.
        let _count = reader.read(&mut bytes).ok()?;
        Some(*signal).filter(|signal| *signal != SIGWINCH)
    }
}

/// Ends this process by a signal, as if it had not been taken over.
pub(super) fn end_by(signal: i32) -> ! {
    let _default = signal_hook::low_level::emulate_default_handler(signal);
    #[expect(clippy::exit, reason = "a signal that does not end a process by default is not asked for")]
    std::process::exit(128 + signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_the_cursor_stays() {
        assert_eq!(without_colours("\x1b[H\x1b[1mweb\x1b[0m\x1b[K\r\na"), "\x1b[Hweb\x1b[K\r\na");
    }
}
