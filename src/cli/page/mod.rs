//! Pages: reports as one self-contained HTML file, with charts in SVG and the tables behind them.
//!
//! A page needs no script and loads nothing. `document` reads what commands print; `bench`, `query`, `search` and `load`
//! say what is shown of it, `verdicts` and `terms` for `bench`; `charts` draw, on `scale` and `svg`; `html` puts the file together.

mod bench;
mod charts;
mod document;
mod html;
mod load;
mod query;
mod scale;
mod search;
mod svg;
mod table;
mod terms;
mod units;
mod verdicts;

use std::io::Write as _;
use std::path::Path;
use std::time::SystemTime;

use postgres_etl::Result;
use postgres_etl::output_file::{AtomicFile, check_regular};

use crate::cli::page::document::Content;
use crate::cli::page::html::Page;

pub(crate) use crate::cli::page::document::Document;

/// The file in which a page will be written; it keeps its old content until the whole page is.
#[derive(Debug)]
pub(crate) struct PageFile(AtomicFile);

impl PageFile {
    /// Check that `path` can be written, before the work that the page is to show.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](postgres_etl::ErrorKind::Usage) when it is not a regular file,
    /// [`ErrorKind::Output`](postgres_etl::ErrorKind::Output) when it cannot be written.
    pub(crate) fn open(path: &Path) -> Result<PageFile> {
        check_regular("--html", path)?;
        AtomicFile::create("page", path).map(PageFile)
    }

    /// Write the page of `documents`, and return the number of its charts.
    ///
    /// # Errors
    /// [`ErrorKind::Output`](postgres_etl::ErrorKind::Output) when it cannot be written.
    pub(crate) fn write(self, documents: &[Document]) -> Result<usize> {
        let PageFile(mut file) = self;
        let (html, figures) = render(documents);
        file.write_all(html.as_bytes()).map_err(|error| file.failed(error))?;
        file.finish()?;
        Ok(figures)
    }
}

/// Write the page of `documents` to the file `path`, and return the number of its charts.
///
/// # Errors
/// As those of [`PageFile`].
pub(crate) fn write(path: &Path, documents: &[Document]) -> Result<usize> {
    PageFile::open(path)?.write(documents)
}

/// The page of `documents`, and the number of its charts.
fn render(documents: &[Document]) -> (String, usize) {
    let mut page = Page::new(&title(documents));
    query::compare(&mut page, documents);
    load::compare(&mut page, documents);
    for document in documents {
        if documents.len() > 1 {
            page.heading(&document.name);
        }
        match &document.content {
            Content::Bench(report) => bench::add(&mut page, report),
            Content::Query(run) => query::add(&mut page, run),
            Content::Search(search) => search::add(&mut page, search),
            Content::Load(load) => load::add(&mut page, load),
        }
    }
    let now = humantime::format_rfc3339_seconds(SystemTime::now());
    let figures = page.figures();
    (page.finish(&format!("Made by postgres-etl {} at {now}.", env!("CARGO_PKG_VERSION"))), figures)
}

/// What the whole page is about.
fn title(documents: &[Document]) -> String {
    match documents {
        [Document { content: Content::Bench(_), .. }] => {
            "Ways to load and query PostgreSQL, compared".to_owned()
        }
        [Document { content: Content::Query(run), .. }] => format!("Measured: {}", run.named()),
        [Document { content: Content::Search(search), .. }] => {
            format!("Searched: {}", search.workloads.join(", "))
        }
        [Document { content: Content::Load(load), .. }] => format!("Loaded: {}", load.table),
        _ => format!("{} reports", documents.len()),
    }
}

#[cfg(test)]
mod tests;
