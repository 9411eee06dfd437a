//! The document: one HTML file that needs nothing else.

use std::fmt::Write as _;

use crate::cli::page::charts::Chart;
use crate::cli::page::svg::{NARROW, WIDE, escape};

/// A page in the making.
#[derive(Debug)]
pub(super) struct Page {
    title: String,
    body: String,
    figures: usize,
}

/// A table; the first cell of each row names the row.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub caption: String,
    pub head: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    pub(super) fn new<const N: usize>(caption: impl Into<String>, head: [&str; N]) -> Table {
        Table { caption: caption.into(), head: head.map(str::to_owned).into(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// In a container of its own, which scrolls where the window is narrower.
    fn html(&self) -> String {
        let caption = escape(&self.caption);
        let mut html = format!(
            r#"<div class="scroll" role="region" tabindex="0" aria-label="{caption}"><table><caption>{caption}</caption><thead><tr>"#
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
        } else if cells().any(|cell| cell.len() > LONGEST_SHORT) {
            r#" class="long""#
        } else {
            ""
        }
    }
}

/// Longer texts are folded.
const LONGEST_SHORT: usize = 32;

/// What stands for a value that is not there.
pub(super) const NOTHING: &str = "–";

/// Whether `cell` is a number, with its unit, or stands for one that is not there.
fn is_number(cell: &str) -> bool {
    let letters = cell.chars().filter(|c| c.is_alphabetic()).count();
    let begins = cell.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '−' | '+' | '<'));
    cell == NOTHING || (begins && letters <= "bytes".len())
}

impl Page {
    pub(super) fn new(title: &str) -> Page {
        Page { title: title.to_owned(), body: String::new(), figures: 0 }
    }

    /// The number of charts so far.
    pub(super) fn figures(&self) -> usize {
        self.figures
    }

    pub(super) fn heading(&mut self, text: &str) {
        let _ = write!(self.body, "<h2>{}</h2>", escape(text));
    }

    pub(super) fn subheading(&mut self, text: &str) {
        let _ = write!(self.body, "<h3>{}</h3>", escape(text));
    }

    /// What the reader must not overlook.
    pub(super) fn notice(&mut self, text: &str) {
        let _ = write!(self.body, r#"<p class="notice">{}</p>"#, escape(text));
    }

    /// Names and values; those without a value are left out.
    pub(super) fn facts(&mut self, facts: &[(&str, String)]) {
        self.body += "<dl>";
        for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
            let _ = write!(self.body, "<div><dt>{}</dt><dd>{}</dd></div>", escape(name), escape(value));
        }
        self.body += "</dl>";
    }

    /// A table, folded up where there is a `summary` of it.
    pub(super) fn table(&mut self, table: &Table, summary: Option<&str>) {
        let html = table.html();
        let _ = match summary {
            Some(summary) => {
                write!(self.body, "<details><summary>{}</summary>{html}</details>", escape(summary))
            }
            None => write!(self.body, "{html}"),
        };
    }

    /// A chart, under the sentence that says what it shows, and the table of its data.
    pub(super) fn figure(&mut self, chart: &dyn Chart) {
        self.figures += 1;
        let number = self.figures;
        let (title, verdict, description) = (chart.title(), chart.verdict(), chart.description());
        let svg = |class, width| {
            let id = format!("f{number}{class}-");
            chart.draw(width).finish(class, &id, &title, &description)
        };
        let _ = write!(
            self.body,
            r#"<figure id="figure-{number}"><figcaption><h3>{}</h3><p class="verdict">{}</p></figcaption>{}{}<details><summary>The figures behind this chart</summary>{}</details></figure>"#,
            escape(&title),
            escape(&verdict),
            svg("wide", WIDE),
            svg("narrow", NARROW),
            chart.table().html()
        );
    }

    /// The whole file. The policy forbids it to load or run anything, whatever a document may contain.
    pub(super) fn finish(self, footer: &str) -> String {
        let Page { title, body, .. } = self;
        let (title, footer, style) = (escape(&title), escape(footer), include_str!("style.css"));
        format!(
            r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{title}</title>
<style>
{style}</style></head>
<body><main><h1>{title}</h1>{body}</main><footer>{footer}</footer></body></html>
"#
        )
    }
}
