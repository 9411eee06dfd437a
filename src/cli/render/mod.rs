//! Reports as text for people and as JSON for programs.

mod bench;
mod columns;
mod comparison;
mod load;
mod merged;
mod query;
mod runs;
pub(crate) mod units;

pub(crate) use crate::cli::render::bench::{cells, heads, markdown, too_slow, unfinished};
pub(super) use crate::cli::render::query::measured_point;
use postgres_etl::document::JsonDocument;
use postgres_etl::{Error, ErrorKind};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::exit;

pub(crate) use load::ambiguous_dates;

/// A result that can be printed.
pub(super) trait Report: Serialize {
    /// For a person: lines without a final newline.
    fn text(&self) -> String;

    /// The column at which the values of its lines begin, below which folded lines go on.
    fn value_column(&self) -> usize {
        units::INDENT.len()
    }

    /// For a machine: one JSON document, without a final newline.
    fn json(&self) -> String {
        serde_json::to_string_pretty(&JsonDocument::new(self))
            .expect("a report has only string keys and finite numbers")
    }
}

/// A failure as a JSON document.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Failure<'a> {
    /// The command that failed.
    pub command: &'a str,
    /// The error.
    pub error: FailureDetail<'a>,
}

/// An error.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FailureDetail<'a> {
    /// The error's kind, in one word.
    pub kind: &'static str,
    /// The message.
    pub message: String,
    /// What to do about it.
    pub help: Option<&'a str>,
    /// The code that the process exits with.
    pub exit_code: u8,
}

impl<'a> Failure<'a> {
    /// `error`, which ended `command`.
    pub(super) fn new(command: &'a str, error: &'a Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Usage => "usage",
            ErrorKind::Config => "config",
            ErrorKind::Input => "input",
            ErrorKind::Output => "output",
            ErrorKind::Connect => "connect",
            ErrorKind::Launch => "launch",
            ErrorKind::Database => "database",
            ErrorKind::Interrupted => "interrupted",
            ErrorKind::OutcomeUnknown => "outcome_unknown",
            ErrorKind::InUse => "in_use",
            _ => "other",
        };
        let exit_code = exit::code(error.kind());
        Failure {
            command,
            error: FailureDetail { kind, message: error.to_string(), help: error.help(), exit_code },
        }
    }
}

impl Report for Failure<'_> {
    fn text(&self) -> String {
        let FailureDetail { message, help, .. } = &self.error;
        match help {
            Some(help) => format!("error: {message}\n  help: {help}"),
            None => format!("error: {message}"),
        }
    }
}
