//! The document: one HTML file that needs nothing else.

use std::fmt::Write as _;

use crate::cli::page::charts::Chart;
use crate::cli::page::svg::{NARROW, WIDE, escape};
use crate::cli::page::table::Table;

/// A page in the making.
#[derive(Debug)]
pub(super) struct Page {
    title: String,
    body: String,
    figures: usize,
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
            // A number stays with its sign.
            escape(&verdict).replace(" %", "\u{a0}%"),
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
