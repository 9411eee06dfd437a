//! Tables, as the data of charts and by themselves.

use std::fmt::Write as _;

use crate::cli::page::svg::escape;

/// What stands for a value that is not there.
pub(super) const NOTHING: &str = "–";

/// Longer texts are folded.
const LONGEST_SHORT: usize = 32;

/// A table; the first cell of each row names the row.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
    /// Whether its cells are folded so that all columns are seen at once in a wide window.
    is_text: bool,
}

impl Table {
    /// A table with these column heads.
    pub(super) fn new<const N: usize>(caption: impl Into<String>, head: [&str; N]) -> Table {
        Table {
            caption: caption.into(),
            head: head.map(str::to_owned).into(),
            rows: Vec::new(),
            is_text: false,
        }
    }

    /// The same table, as one of texts.
    pub(super) fn of_text(self) -> Table {
        Table { is_text: true, ..self }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// In a container of its own, which scrolls where the window is narrower.
    pub(super) fn html(&self) -> String {
        let caption = escape(&self.caption);
        let kind = if self.is_text { r#" class="text""# } else { "" };
        let mut html = format!(
            r#"<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table{kind}><caption>{caption}</caption><thead><tr>"#
        );
        let classes: Vec<&str> = (0..self.head.len()).map(|index| self.class_of(index)).collect();
        for (head, class) in self.head.iter().zip(&classes) {
            let _ = write!(html, r#"<th scope="col"{class}>{}</th>"#, escape(head));
        }
        html += "</tr></thead><tbody>";
        for row in &self.rows {
            html += "<tr>";
            for (index, (cell, class)) in row.iter().zip(&classes).enumerate() {
                let text = escape(cell);
                let _ = match index {
                    0 => write!(html, r#"<th scope="row">{text}</th>"#),
                    _ => write!(html, "<td{class}>{text}</td>"),
                };
            }
            html += "</tr>";
        }
        html + "</tbody></table></div>"
    }

    /// Columns of numbers are aligned on the right, those of long texts are folded.
    fn class_of(&self, column: usize) -> &'static str {
        let cells = || self.rows.iter().filter_map(|row| row.get(column)).filter(|cell| !cell.is_empty());
        if column > 0 && cells().next().is_some() && cells().all(|cell| is_number(cell)) {
            r#" class="number""#
        } else if !self.is_text && cells().any(|cell| cell.len() > LONGEST_SHORT) {
            r#" class="long""#
        } else {
            ""
        }
    }
}

/// Whether `cell` is a number, with its unit, or stands for one that is not there.
fn is_number(cell: &str) -> bool {
    let letters = cell.chars().filter(|c| c.is_alphabetic()).count();
    let begins = cell.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '−' | '+' | '<'));
    cell == NOTHING || (begins && letters <= "bytes".len())
}
