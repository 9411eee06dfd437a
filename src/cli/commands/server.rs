//! `server`: starts, stops and shows the embedded server.

use postgres_etl::postgres::embedded::{self, Options};
use postgres_etl::{Result, blocking};
use serde::Serialize;

use crate::cli::args::ServerAction;
use crate::cli::commands::Context;
use crate::cli::exit;
use crate::cli::render::Report;

/// What happened to it, or what it is doing.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub(super) enum ServerReport {
    Started { url: String, version: String, origin: embedded::Origin, log: String },
    Stopped { was_running: bool },
    Status(embedded::Status),
    Url { url: String },
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
    let report = blocking(move || {
        Ok(match action {
            ServerAction::Start => {
                let server = embedded::start(&options, &mut say)?;
                let log = embedded::status(&options)?.log.display().to_string();
                ServerReport::Started {
                    url: server.url(),
                    version: server.version,
                    origin: server.origin,
                    log,
                }
            }
            ServerAction::Stop => ServerReport::Stopped {
                was_running: embedded::stop(&options)? == embedded::StopOutcome::Stopped,
            },
            ServerAction::Status => ServerReport::Status(embedded::status(&options)?),
            ServerAction::Url => ServerReport::Url { url: embedded::start(&options, &mut say)?.url() },
        })
    })
    .await?;
    context.print(&report)?;
    Ok(match report {
        ServerReport::Status(embedded::Status { running: false, .. }) => exit::NOT_RUNNING,
        _ => 0,
    })
}

impl Report for ServerReport {
    fn text(&self) -> String {
        match self {
            ServerReport::Started { url, log, .. } => format!("running at {url}\n  log  {log}"),
            ServerReport::Stopped { was_running: true } => "stopped".into(),
            ServerReport::Stopped { was_running: false } => "it was not running".into(),
            ServerReport::Status(status) => {
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
            ServerReport::Url { url } => url.clone(),
        }
    }
}
