//! `server`: starts, stops and shows the embedded server.

use postgres_etl::postgres::embedded::{self, Options};
use postgres_etl::{Result, blocking};
use schemars::JsonSchema;
use serde::Serialize;

use crate::cli::args::ServerAction;
use crate::cli::commands::Context;
use crate::cli::exit;
use crate::cli::render::Report;

/// What happened to it, or what it is doing.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct ServerReport {
    /// `server`.
    command: &'static str,
    /// What was asked for, and the answer.
    #[serde(flatten)]
    answer: ServerAnswer,
}

/// The answer to each action.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "action", rename_all = "lowercase")]
enum ServerAnswer {
    /// `server start`
    Started {
        /// The connection URL.
        url: String,
        /// The server's version.
        version: String,
        /// What had to be done to get it running.
        origin: embedded::Origin,
        /// The server's log file.
        log: String,
    },
    /// `server stop`
    Stopped {
        /// Whether it was running.
        was_running: bool,
    },
    /// `server status`
    Status(embedded::Status),
    /// `server url`
    Url {
        /// The connection URL.
        url: String,
    },
}

/// Run the command.
///
/// # Errors
/// When the server cannot be started, stopped or inspected.
pub(super) async fn run(context: &Context<'_>, action: ServerAction) -> Result<u8> {
    // What is started by hand stays until it is stopped by hand.
    let options = Options { keep: true, ..context.config.embedded(&|name| std::env::var(name).ok()) };
    let quiet = context.flags.quiet;
    let mut say = move |line: &str| {
        if !quiet {
            crate::cli::commands::say(line);
        }
    };
    let answer = blocking(move || {
        Ok(match action {
            ServerAction::Start => {
                let server = embedded::start(&options, &mut say)?;
                let log = embedded::status(&options)?.log.display().to_string();
                ServerAnswer::Started {
                    url: server.url(),
                    version: server.version,
                    origin: server.origin,
                    log,
                }
            }
            ServerAction::Stop => ServerAnswer::Stopped {
                was_running: embedded::stop(&options)? == embedded::StopOutcome::Stopped,
            },
            ServerAction::Status => ServerAnswer::Status(embedded::status(&options)?),
            ServerAction::Url => ServerAnswer::Url { url: embedded::start(&options, &mut say)?.url() },
        })
    })
    .await?;
    let exit_code = match &answer {
        ServerAnswer::Status(embedded::Status { running: false, .. }) => exit::NOT_RUNNING,
        _ => exit::DONE,
    };
    // What was asked for is the answer, not a report of something done.
    let is_answer = matches!(answer, ServerAnswer::Status(_) | ServerAnswer::Url { .. });
    context.print(&ServerReport { command: "server", answer }, !is_answer)?;
    Ok(exit_code)
}

impl Report for ServerReport {
    fn text(&self) -> String {
        match &self.answer {
            ServerAnswer::Started { url, log, .. } => format!("running at {url}\n  log  {log}"),
            ServerAnswer::Stopped { was_running: true } => "stopped".into(),
            ServerAnswer::Stopped { was_running: false } => "it was not running".into(),
            ServerAnswer::Status(status) => {
                let mut lines = vec![match &status.note {
                    _ if status.running => "running".to_owned(),
                    Some(note) => format!("not reached: {note}"),
                    None => "not running".to_owned(),
                }];
                let mut line = |name: &str, value: Option<String>| {
                    lines.extend(value.map(|value| format!("  {name:<8} {value}")));
                };
                line("version", status.version.clone());
                line("pid", status.pid.map(|pid| pid.to_string()));
                line("url", Some(status.url.clone()));
                line("data", Some(status.data_directory.display().to_string()));
                line("log", Some(status.log.display().to_string()));
                lines.join("\n")
            }
            ServerAnswer::Url { url } => url.clone(),
        }
    }
}
