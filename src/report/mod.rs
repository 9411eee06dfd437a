//! What a command found out, for people or for machines; knows results only, no database.

mod query;
mod text;

use std::path::Path;

use serde::Serialize;
use tempfile::NamedTempFile;

use crate::Error;
use crate::error::Kind;

/// A file that will take the name `path`, in the same directory, with the permissions of any new file.
///
/// # Errors
/// When the directory cannot be written to.
pub fn temporary_beside(path: &Path) -> std::io::Result<NamedTempFile> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    tempfile::Builder::new().permissions(permissions).tempfile_in(dir)
}

/// A result that can be printed.
pub trait Report: Serialize {
    /// For a person: lines without a final newline.
    fn text(&self) -> String;

    /// For a machine: one JSON document, without a final newline.
    fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report has only string keys and finite numbers")
    }
}

/// A failure as a JSON document.
#[derive(Debug, Serialize)]
pub struct Failure<'a> {
    /// The command that failed.
    pub command: &'a str,
    /// Why.
    pub error: FailureDetail<'a>,
}

/// The inside of a [`Failure`].
#[derive(Debug, Serialize)]
pub struct FailureDetail<'a> {
    /// What it is about, in one word.
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
    pub fn new(command: &'a str, error: &'a Error) -> Self {
        let kind = match error.kind() {
            Kind::Usage => "usage",
            Kind::Config => "config",
            Kind::Input => "input",
            Kind::Output => "output",
            Kind::Connect => "connect",
            Kind::Launch => "launch",
            Kind::Database => "database",
            Kind::Interrupted => "interrupted",
        };
        let exit_code = error.kind().exit_code();
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
