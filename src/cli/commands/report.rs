//! `report`: a page from reports, or one report from several.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use postgres_etl::escape::escape_path;
use postgres_etl::output_file::AtomicFile;
use postgres_etl::query::{MergedReport, SavedRuns};
use postgres_etl::{Error, Result};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::args;
use crate::cli::commands::Context;
use crate::cli::exit;
use crate::cli::page::{self, Document};
use crate::cli::render::{self, Report};

/// What was written.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct PageReport {
    /// `report`.
    command: &'static str,
    /// The page; `None` if none was asked for.
    path: Option<String>,
    /// The file with the tables; `None` if none was asked for.
    markdown: Option<String>,
    /// Reports that it shows.
    reports: usize,
    /// The charts of the page.
    charts: Option<usize>,
}

/// Run the command.
///
/// # Errors
/// When a file is not a report, or the page cannot be written.
pub(super) fn run(context: &Context<'_>, flags: &args::Report) -> Result<u8> {
    if flags.merge {
        return merge(context, &flags.files);
    }
    let documents = Document::read_all(&flags.files)?;
    let identity = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    super::check_outputs(&[("--html", &flags.html), ("--markdown", &flags.markdown)])?;
    for (flag, written) in [("--html", &flags.html), ("--markdown", &flags.markdown)] {
        let Some(written) = written else { continue };
        let replaced = identity(written);
        if replaced.is_some() && flags.files.iter().any(|path| identity(path) == replaced) {
            let message = format!("{flag}: {} is one of the reports", escape_path(written));
            return Err(Error::usage(message).with_help(format!("name another file with {flag}")));
        }
    }
    if let Some(path) = &flags.markdown {
        write_markdown(path, &documents)?;
    }
    let charts = flags.html.as_deref().map(|path| page::write(path, &documents)).transpose()?;
    let shown = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let (path, markdown) = (shown(&flags.html), shown(&flags.markdown));
    let report = PageReport { command: "report", path, markdown, reports: documents.len(), charts };
    context.print(&report, true)?;
    Ok(exit::DONE)
}

/// Print the runs saved in `files` as one.
fn merge(context: &Context<'_>, files: &[PathBuf]) -> Result<u8> {
    let mut runs = Vec::new();
    for path in files {
        let name = escape_path(path);
        let saved = SavedRuns::read(path)?;
        let [run] = saved.runs() else {
            let count = saved.runs().len();
            let message = format!("{name} has {count} runs, and --merge takes one of each machine");
            return Err(Error::usage(message).with_help("save them without --runs"));
        };
        runs.push((name, run.clone()));
    }
    context.print(&MergedReport::new(&runs)?, true)?;
    Ok(exit::DONE)
}

/// Write the tables of the comparisons among `documents`.
fn write_markdown(path: &Path, documents: &[Document]) -> Result<()> {
    let tables: Vec<String> =
        documents.iter().filter_map(Document::comparison).map(render::markdown).collect();
    if tables.is_empty() {
        return Err(Error::usage("--markdown: none of the reports is a comparison")
            .with_help("name a file that `bench --save` wrote, or use --html"));
    }
    let mut file = AtomicFile::create("tables", path)?;
    file.write_all(tables.join("\n").as_bytes()).map_err(|error| file.failed(error))?;
    file.finish()
}

impl Report for PageReport {
    fn text(&self) -> String {
        let plural = |number: usize, what: &str| match number {
            1 => format!("1 {what}"),
            _ => format!("{number} {what}s"),
        };
        let reports = plural(self.reports, "report");
        let page = self.path.as_ref().map(|path| {
            let charts = plural(self.charts.unwrap_or_default(), "chart");
            format!("wrote {}: {charts} from {reports}", escape_path(Path::new(path)))
        });
        let tables = self.markdown.as_ref();
        let tables = tables.map(|path| format!("wrote {}: tables", escape_path(Path::new(path))));
        page.into_iter().chain(tables).collect::<Vec<_>>().join("\n")
    }
}
