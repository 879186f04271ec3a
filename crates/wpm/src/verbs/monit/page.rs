//! The dashboard as lines of text.
//!
//! Pure. Invariant: no more lines than the window has, and the row that is selected is among them.

use super::board::{Board, Mode};
use crate::output;
use crate::render::list::{Look, draw};
use crate::render::rows::Row;
use crate::render::style::{self, paint};

/// What the keys do.
const HELP: &str = "up/down select  r restart  R reload  s stop  d delete  / filter  q quit";
/// Windows below this have no table.
const LEAST_COLUMNS: usize = 40;

/// The page in a window of so many rows and columns.
pub(super) fn page(
    rows: &[Row],
    board: &Board,
    log: &[String],
    (height, width): (usize, usize),
) -> Vec<String> {
    let shown: Vec<Row> = rows
        .iter()
        .filter(|row| board.passes(&row.name))
        .map(|row| Row { note: String::new(), ..row.clone() })
        .collect();
    let mut lines = table(&shown, width);
    // Half of the window, but for the heading; the rest is the log's.
    let room = (height / 2).saturating_sub(1).clamp(1, lines.len().saturating_sub(1).max(1));
    let first = (board.place() + 1).saturating_sub(room).min(lines.len().saturating_sub(1 + room));
    for (place, line) in lines.iter_mut().skip(1).enumerate() {
        let selected = place == board.place();
        *line = format!("{}{line}", if selected { paint(style::BOLD, ">") } else { " ".to_owned() });
    }
    let heading = lines.first().map_or_else(String::new, |heading| format!(" {heading}"));
    let mut page = vec![heading];
    page.extend(lines.into_iter().skip(1 + first).take(room));
    if shown.is_empty() {
        page.push(empty(board));
    }
    page.push(rule(rows, board, width));
    let below = height.saturating_sub(page.len() + 1);
    let skipped = log.len().saturating_sub(below);
    page.extend(log.iter().skip(skipped).cloned());
    page.resize(height.saturating_sub(1), String::new());
    page.push(foot(board));
    page
}

/// Heading and one line for each row, whatever the width is.
fn table(rows: &[Row], width: usize) -> Vec<String> {
    if width < LEAST_COLUMNS {
        let short = rows.iter().map(|row| format!("{} {} {}", row.name, row.instances, row.status));
        return std::iter::once("NAME INST STATUS".to_owned()).chain(short).collect();
    }
    let width = u16::try_from(width.saturating_sub(1)).unwrap_or(u16::MAX);
    draw(rows, Look { width, utf8: output::is_utf8() }).lines().map(str::to_owned).collect()
}

fn empty(board: &Board) -> String {
    let text = if board.filter.is_empty() {
        "no apps yet: wpm start FILE".to_owned()
    } else {
        format!("no app has `{}` in its name", board.filter)
    };
    format!("  {}", paint(style::DIM, &text))
}

/// The line between list and log, with the name of the app and why it is not well.
fn rule(rows: &[Row], board: &Board, width: usize) -> String {
    let line = if output::is_utf8() { "─" } else { "-" };
    let Some(row) = board.selected().and_then(|name| rows.iter().find(|row| row.name == name)) else {
        return paint(style::DIM, &line.repeat(width));
    };
    let note = if row.note.is_empty() { String::new() } else { format!(" {line} {}", row.note) };
    let text = format!("{}{note} ", row.name);
    let rest = width.saturating_sub(text.chars().count() + 3);
    let (start, rest) = (line.repeat(2), line.repeat(rest));
    format!("{} {}{}", paint(style::DIM, &start), paint(style::BOLD, &text), paint(style::DIM, &rest))
}

/// The last line: what is asked, what was said, or what the keys do.
fn foot(board: &Board) -> String {
    match &board.mode {
        Mode::Delete(name) => {
            paint(style::WARNING, &format!("stop {name} and remove it from the list? y or n"))
        }
        Mode::Filter => format!("/{}_   Enter keeps it, Esc takes it away", board.filter),
        Mode::List if board.said.is_empty() && board.filter.is_empty() => paint(style::DIM, HELP),
        Mode::List if board.said.is_empty() => paint(style::DIM, &format!("/{}  {HELP}", board.filter)),
        Mode::List => board.said.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::*;
    use serde_json::json;
    use wpm_proto::view::AppView;

    fn rows(count: usize) -> Vec<Row> {
        let apps: Vec<AppView> = (0..count)
            .map(|number| {
                serde_json::from_value(json!({
                    "name": format!("app{number:02}"), "namespace": "default", "version": null, "cluster": false,
                    "wanted": 1, "username": "root", "stamped": false, "instances": []
                }))
                .expect("a view")
            })
            .collect();
        crate::render::rows::rows(&apps, &crate::render::rows::Usages::new(), 0, false)
    }

    fn plain(page: &[String]) -> Vec<String> {
        page.iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn the_selected_row_is_shown_and_the_window_is_kept() {
        let rows = rows(30);
        let mut board = Board::default();
        board.see(&rows);
        let log: Vec<String> = (0..100).map(|number| format!("line {number}")).collect();
        for (place, size) in [(0, (24, 80)), (29, (24, 80)), (12, (10, 120)), (5, (4, 20))] {
            board.press(Key::Home);
            (0..place).for_each(|_| drop(board.press(Key::Down)));
            let page = plain(&page(&rows, &board, &log, size));
            assert!(page.len() == size.0, "{page:#?}");
            let name = format!("app{place:02}");
            let is_selected = |line: &String| line.starts_with('>') && line.contains(&name);
            assert!(page.iter().any(is_selected), "{page:#?}");
        }
        assert_eq!(page(&rows, &board, &log, (1, 1)).len(), 1);
        let page = plain(&page(&rows, &board, &log, (24, 80)));
        assert_eq!(page[22], "line 99", "the last line of the log is above the foot");
        assert!(page[23].contains("q quit"));
    }

    #[test]
    fn a_delete_is_asked_for_and_nothing_is_told() {
        let rows = rows(1);
        let mut board = Board::default();
        board.see(&rows);
        board.press(Key::Char('d'));
        assert!(plain(&page(&rows, &board, &[], (10, 80)))[9].contains("app00"));
        board.press(Key::Char('n'));
        board.press(Key::Char('/'));
        board.press(Key::Char('x'));
        let page = plain(&page(&rows, &board, &[], (10, 80)));
        assert!(page[1].contains("no app has `x`") && page[9].starts_with("/x"), "{page:#?}");
    }
}
