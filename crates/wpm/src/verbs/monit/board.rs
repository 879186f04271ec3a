//! What is selected, filtered and asked on the dashboard, and what a key makes of it.
//!
//! Pure: rows and keys go in, wishes come out. Invariant: what is selected is in the list, and nothing is
//! deleted without a yes to a question that names it.

use super::keys::Key;
use crate::render::rows::Row;

/// What the user wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// End the dashboard.
    Leave,
    /// Of this app.
    Restart(String),
    /// Of this app.
    Reload(String),
    /// Of this app.
    Stop(String),
    /// Of this app.
    Delete(String),
}

/// What the keys mean.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Mode {
    /// Commands.
    #[default]
    List,
    /// Text of the filter.
    Filter,
    /// The answer whether this app is to be deleted.
    Delete(String),
}

/// Rows that a page key moves by.
const PAGE: usize = 10;

/// The state of the dashboard.
#[derive(Debug, Default)]
pub(super) struct Board {
    /// Names that pass the filter, in the order of the list.
    names: Vec<String>,
    all: Vec<String>,
    at: usize,
    /// Text that names contain.
    pub(super) filter: String,
    /// What the keys mean.
    pub(super) mode: Mode,
    /// What came of the last command, or that it is under way.
    pub(super) said: String,
}

impl Board {
    /// Takes the list as it is now; what is selected stays so while it is there.
    pub(super) fn see(&mut self, rows: &[Row]) {
        self.all = rows.iter().map(|row| row.name.clone()).collect();
        self.sift();
    }

    /// The app that is selected.
    pub(super) fn selected(&self) -> Option<&str> {
        self.names.get(self.at).map(String::as_str)
    }

    /// Place of the selected one among those that pass.
    pub(super) const fn place(&self) -> usize {
        self.at
    }

    /// Whether an app passes the filter.
    pub(super) fn passes(&self, name: &str) -> bool {
        name.to_lowercase().contains(&self.filter.to_lowercase())
    }

    fn sift(&mut self) {
        let before = self.selected().map(str::to_owned);
        self.names = self.all.iter().filter(|name| self.passes(name)).cloned().collect();
        let same = before.and_then(|before| self.names.iter().position(|name| *name == before));
        self.at = same.unwrap_or(self.at).min(self.names.len().saturating_sub(1));
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: Key) -> Option<Wish> {
        self.said.clear();
        match (&self.mode, key) {
            (_, Key::Interrupt) => return Some(Wish::Leave),
            (Mode::Delete(name), key) => {
                let wish = matches!(key, Key::Char('y' | 'Y')).then(|| Wish::Delete(name.clone()));
                self.mode = Mode::List;
                return wish;
            }
            (Mode::Filter, Key::Enter) => self.mode = Mode::List,
            (Mode::Filter, Key::Escape) => {
                self.filter.clear();
                self.mode = Mode::List;
                self.sift();
            }
            (Mode::Filter, Key::Backspace) => {
                self.filter.pop();
                self.sift();
            }
            (Mode::Filter, Key::Char(c)) => {
                self.filter.push(c);
                self.sift();
            }
            (_, Key::Up | Key::Char('k')) => self.go(self.at.saturating_sub(1)),
            (_, Key::Down | Key::Char('j')) => self.go(self.at + 1),
            (_, Key::PageUp) => self.go(self.at.saturating_sub(PAGE)),
            (_, Key::PageDown) => self.go(self.at + PAGE),
            (_, Key::Home | Key::Char('g')) => self.go(0),
            (_, Key::End | Key::Char('G')) => self.go(usize::MAX),
            (Mode::List, Key::Escape) if !self.filter.is_empty() => {
                self.filter.clear();
                self.sift();
            }
            (Mode::List, Key::Char('q') | Key::Escape) => return Some(Wish::Leave),
            (Mode::List, Key::Char('/')) => self.mode = Mode::Filter,
            (Mode::List, Key::Char(c)) => return self.command(c),
            (_, Key::Enter | Key::Backspace) => {}
        }
        None
    }

    fn command(&mut self, c: char) -> Option<Wish> {
        let name = self.selected()?.to_owned();
        match c {
            'r' => Some(Wish::Restart(name)),
            'R' => Some(Wish::Reload(name)),
            's' => Some(Wish::Stop(name)),
            'd' => {
                self.mode = Mode::Delete(name);
                None
            }
            _ => None,
        }
    }

    fn go(&mut self, to: usize) {
        self.at = to.min(self.names.len().saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board(names: &[&str]) -> Board {
        let all = names.iter().map(|name| (*name).to_owned()).collect();
        let mut board = Board { all, ..Board::default() };
        board.sift();
        board
    }

    fn press(board: &mut Board, text: &str) -> Option<Wish> {
        text.chars().map(|c| board.press(Key::Char(c))).last().flatten()
    }

    #[test]
    fn what_is_selected_stays_so_while_others_come_and_go() {
        let mut board = board(&["api", "web", "worker"]);
        assert_eq!(board.press(Key::Down), None);
        assert_eq!(board.selected(), Some("web"));
        board.all.remove(0);
        board.sift();
        assert_eq!((board.selected(), board.place()), (Some("web"), 0));
        board.all.remove(0);
        board.sift();
        assert_eq!(board.selected(), Some("worker"));
        board.all.clear();
        board.sift();
        assert_eq!(board.selected(), None);
        assert_eq!(press(&mut board, "r"), None);
    }

    #[test]
    fn commands_are_about_the_selected_one_and_a_delete_is_asked_for() {
        let mut board = board(&["api", "web"]);
        assert_eq!(press(&mut board, "r"), Some(Wish::Restart("api".into())));
        assert_eq!(press(&mut board, "jR"), Some(Wish::Reload("web".into())));
        assert_eq!(press(&mut board, "s"), Some(Wish::Stop("web".into())));
        assert_eq!(press(&mut board, "dn"), None);
        assert_eq!(press(&mut board, "dy"), Some(Wish::Delete("web".into())));
        assert_eq!(board.mode, Mode::List);
        assert_eq!(press(&mut board, "q"), Some(Wish::Leave));
        assert_eq!(board.press(Key::Interrupt), Some(Wish::Leave));
    }

    #[test]
    fn a_filter_takes_text_and_escape_takes_it_away() {
        let mut board = board(&["api", "web", "worker"]);
        assert_eq!(press(&mut board, "/WO"), None);
        assert_eq!((board.selected(), board.names.len()), (Some("worker"), 1));
        assert_eq!(board.press(Key::Enter), None);
        assert_eq!(press(&mut board, "r"), Some(Wish::Restart("worker".into())));
        assert_eq!(board.press(Key::Escape), None);
        assert_eq!((board.names.len(), board.selected()), (3, Some("worker")));
        assert_eq!(press(&mut board, "/x"), None);
        assert_eq!(board.selected(), None);
        assert_eq!(board.press(Key::Backspace), None);
        assert_eq!(board.press(Key::Escape), None);
        assert_eq!(board.press(Key::Escape), Some(Wish::Leave));
    }
}
