//! The list of apps at a given width: a wide, medium or narrow table, or cards.
//!
//! Columns are chosen here, so that the table never has to break a word. Pure.

use std::fmt::Write as _;

use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, Row as TableRow, Table, Width, presets,
};

use super::rows::{Health, Row};
use super::style::{self, paint};
use crate::quantity::{show_duration, show_size, show_size_short};

/// From this width on, a table has every column.
const WIDE: u16 = 110;
/// From this width on, a table has most columns.
const MEDIUM: u16 = 60;
/// From this width on, it is a table at all.
const NARROW: u16 = 36;
/// Longest name that is shown whole.
const MAX_NAME: u16 = 40;
/// Shortest that a long name is cut to.
const MIN_NAME: u16 = 8;

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Columns of the output.
    pub(crate) width: u16,
    /// Whether characters beyond ASCII may be used.
    pub(crate) utf8: bool,
}

struct Column {
    title: &'static str,
    right: bool,
    cell: fn(&Row, Look) -> Cell,
}

const ID: Column = Column { title: "ID", right: false, cell: |row, _| Cell::new(&row.id) };
const NAME: Column = Column {
    title: "NAME",
    right: false,
    cell: |row, _| Cell::new(&row.name).add_attribute(Attribute::Bold),
};
const INST: Column = Column { title: "INST", right: false, cell: |row, _| Cell::new(&row.instances) };
const STATUS: Column = Column {
    title: "STATUS",
    right: false,
    cell: |row, look| Cell::new(format!("{} {}", glyph(row.health, look), row.status)).fg(colour(row.health)),
};
const STATUS_WORD: Column =
    Column { title: "STATUS", right: false, cell: |row, _| Cell::new(&row.status).fg(colour(row.health)) };
const UPTIME: Column = Column {
    title: "UPTIME",
    right: false,
    cell: |row, look| Cell::new(row.uptime.map_or_else(|| none(look).to_owned(), show_duration)),
};
const RESTARTS: Column = Column { title: "RESTARTS", right: true, cell: |row, _| Cell::new(row.restarts) };
const CPU: Column = Column {
    title: "CPU",
    right: true,
    cell: |row, look| {
        Cell::new(row.usage.map_or_else(|| none(look).to_owned(), |usage| format!("{:.1}%", usage.cpu)))
    },
};
const CPU_SHORT: Column = Column {
    cell: |row, look| {
        Cell::new(row.usage.map_or_else(|| none(look).to_owned(), |usage| format!("{:.0}%", usage.cpu)))
    },
    ..CPU
};
const MEM: Column = Column {
    title: "MEM",
    right: true,
    cell: |row, look| {
        Cell::new(row.usage.map_or_else(|| none(look).to_owned(), |usage| show_size(usage.memory)))
    },
};
const MEM_SHORT: Column = Column {
    cell: |row, look| {
        Cell::new(row.usage.map_or_else(|| none(look).to_owned(), |usage| show_size_short(usage.memory)))
    },
    ..MEM
};
const PORTS: Column = Column { title: "PORTS", right: false, cell: |row, look| or_none(&row.ports, look) };
const VERSION: Column =
    Column { title: "VERSION", right: false, cell: |row, look| or_none(&row.version, look) };
const NAMESPACE: Column =
    Column { title: "NAMESPACE", right: false, cell: |row, look| or_none(&row.namespace, look) };
const MODE: Column = Column { title: "MODE", right: false, cell: |row, _| Cell::new(row.mode) };
const USER: Column = Column { title: "USER", right: false, cell: |row, look| or_none(&row.user, look) };
const NOTE: Column = Column { title: "NOTE", right: false, cell: |row, _| Cell::new(&row.note) };

const fn none(look: Look) -> &'static str {
    if look.utf8 { "–" } else { "-" }
}

fn or_none(text: &str, look: Look) -> Cell {
    Cell::new(if text.is_empty() { none(look) } else { text })
}

/// A sign for the eye; the word beside it says the same.
pub(crate) const fn glyph(health: Health, look: Look) -> &'static str {
    match (health, look.utf8) {
        (Health::Online, true) => "●",
        (Health::Online, false) => "+",
        (Health::Scheduled, true) => "◷",
        (Health::Scheduled, false) => "@",
        (Health::Moving, true) => "◐",
        (Health::Moving, false) => "~",
        (Health::Stopped, true) => "○",
        (Health::Stopped, false) => "-",
        (Health::Waiting, true) => "◷",
        (Health::Waiting, false) => "?",
        (Health::Errored, true) => "✗",
        (Health::Errored, false) => "x",
    }
}

const fn colour(health: Health) -> Color {
    match health {
        Health::Online => Color::Green,
        Health::Moving | Health::Scheduled => Color::Cyan,
        Health::Stopped => Color::DarkGrey,
        Health::Waiting => Color::Yellow,
        Health::Errored => Color::Red,
    }
}

/// Draws rows; every line ends with a newline.
pub(crate) fn draw(rows: &[Row], look: Look) -> String {
    if look.width < NARROW {
        return rows.iter().map(|row| card(row, look)).collect();
    }
    let noted = rows.iter().any(|row| !row.note.is_empty());
    let mut columns = if look.width >= WIDE {
        vec![ID, NAME, INST, STATUS, UPTIME, RESTARTS, CPU, MEM, MODE, USER, VERSION, NAMESPACE]
    } else if look.width >= MEDIUM {
        vec![ID, NAME, INST, STATUS, UPTIME, RESTARTS, CPU_SHORT, MEM_SHORT]
    } else {
        vec![NAME, INST, STATUS_WORD, CPU_SHORT, MEM_SHORT]
    };
    if look.width >= MEDIUM && rows.iter().any(|row| !row.ports.is_empty()) {
        // Before what seldom changes.
        let at = columns.iter().position(|column| column.title == "MODE").unwrap_or(columns.len());
        columns.insert(at, PORTS);
    }
    if noted && look.width >= MEDIUM {
        columns.push(NOTE);
        // In a window of common width, a note that must be cut stands below its row instead.
        if look.width < WIDE && table(rows, &columns, u16::MAX, look).is_none() {
            columns.pop();
        }
    }
    let below = noted && columns.last().is_none_or(|column| column.title != "NOTE");
    // A note is worth more than what never changes; it gets the room where there is too little.
    for (title, least_note) in [
        ("", 34),
        ("USER", 34),
        ("MODE", 34),
        ("VERSION", 34),
        ("NAMESPACE", 12),
        ("PORTS", 12),
        ("UPTIME", 12),
        ("ID", 12),
        ("MEM", 12),
    ] {
        columns.retain(|column| column.title != title);
        if let Some(table) = table(rows, &columns, least_note, look) {
            return with_notes(&table, rows, below, look);
        }
    }
    rows.iter().map(|row| card(row, look)).collect()
}

/// The lines of the table, each note below its row where it has no column.
fn with_notes(table: &Table, rows: &[Row], below: bool, look: Look) -> String {
    let notes = std::iter::once("").chain(rows.iter().map(|row| row.note.as_str()));
    let mut text = String::new();
    for (line, note) in table.lines().zip(notes) {
        text.push_str(line.trim_end());
        text.push('\n');
        if below && !note.is_empty() {
            let note: String = note.chars().take(usize::from(look.width) - 4).collect();
            let _ = writeln!(text, "   {}", paint(style::DIM, &note));
        }
    }
    text
}

/// The table, if it fits once names and notes are cut.
fn table(rows: &[Row], columns: &[Column], least_note: u16, look: Look) -> Option<Table> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).force_no_tty().enforce_styling().style_text_only();
    let heading = |column: &Column| {
        let title =
            if column.title == "RESTARTS" && look.width < WIDE { restarts_sign(look) } else { column.title };
        Cell::new(title).add_attribute(Attribute::Dim)
    };
    let mut header = TableRow::from(columns.iter().map(heading).collect::<Vec<Cell>>());
    header.max_height(1);
    table.set_header(header);
    for row in rows {
        let mut cells =
            TableRow::from(columns.iter().map(|column| (column.cell)(row, look)).collect::<Vec<Cell>>());
        cells.max_height(1);
        table.add_row(cells);
    }
    let mut widths = table.column_max_content_widths();
    for (width, column) in widths.iter_mut().zip(columns) {
        if matches!(column.title, "NAME" | "PORTS") {
            *width = (*width).min(MAX_NAME);
        }
    }
    // One column of padding between neighbours and before the first.
    let total = |widths: &[u16]| widths.iter().map(|width| u32::from(*width) + 2).sum::<u32>();
    for title in ["NOTE", "NAME"] {
        let excess = total(&widths).saturating_sub(u32::from(look.width));
        if let Some(at) = columns.iter().position(|column| column.title == title) {
            let least = if title == "NOTE" { least_note } else { MIN_NAME };
            let least = least.min(widths[at]);
            widths[at] = widths[at].saturating_sub(u16::try_from(excess).unwrap_or(u16::MAX)).max(least);
        }
    }
    if total(&widths) > u32::from(look.width) {
        return None;
    }
    for ((column, width), settings) in columns.iter().zip(&widths).zip(table.column_iter_mut()) {
        settings.set_padding((1, 1));
        settings.set_constraint(ColumnConstraint::Absolute(Width::Fixed(*width + 2)));
        if column.right {
            settings.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.set_width(look.width);
    if !look.utf8 {
        table.set_truncation_indicator(".");
    }
    Some(table)
}

const fn restarts_sign(look: Look) -> &'static str {
    if look.utf8 { "↺" } else { "RST" }
}

/// A few lines for one row, for a window that is too narrow for a table.
fn card(row: &Row, look: Look) -> String {
    let width = usize::from(look.width);
    let status = paint(card_style(row.health), &row.status);
    let mut card = format!("{} {} {status}\n", paint(style::BOLD, &row.name), row.instances);
    let mut facts = Vec::new();
    if let Some(usage) = row.usage {
        facts.push(format!("{:.0}%", usage.cpu));
        facts.push(show_size_short(usage.memory));
    }
    facts.extend(row.uptime.map(show_duration));
    if row.restarts > 0 {
        facts.push(format!("{}{}", if look.utf8 { "↺" } else { "restarts " }, row.restarts));
    }
    for text in [facts.join(" "), row.note.clone()] {
        if !text.is_empty() {
            let text: String = text.chars().take(width.saturating_sub(2).max(8)).collect();
            let _ = writeln!(card, "  {text}");
        }
    }
    card
}

const fn card_style(health: Health) -> anstyle::Style {
    match health {
        Health::Online => style::GOOD,
        Health::Errored => style::ERROR,
        Health::Waiting => style::WARNING,
        Health::Moving | Health::Scheduled => style::HELP,
        Health::Stopped => style::DIM,
    }
}

#[cfg(test)]
mod tests;
