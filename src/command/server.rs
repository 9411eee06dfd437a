//! `server`: our own server, by hand.

use serde::Serialize;

use super::Context;
use crate::Result;
use crate::cli::ServerAction;
use crate::postgres::database::blocking;
use crate::postgres::embedded::{self, Options};

/// The exit code of `server status` when it does not run, as that of `pg_ctl status`.
const NOT_RUNNING: u8 = 3;

/// What happened to it, or what it is doing.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum ServerReport {
    Started { url: String, version: String, origin: embedded::Origin, log: String },
    Stopped { was_running: bool },
    Status(embedded::Status),
    Url { url: String },
}

/// Run the command.
///
/// # Errors
/// When the server cannot be started, stopped or looked at.
pub async fn run(context: &Context<'_>, action: ServerAction) -> Result<u8> {
    // What is started by hand stays until it is stopped by hand.
    let options = Options { keep: true, ..context.config.embedded(&|name| std::env::var(name).ok()) };
    let quiet = context.flags.quiet;
    let mut say = move |line: &str| {
        if !quiet {
            super::say(line);
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
            ServerAction::Stop => {
                ServerReport::Stopped { was_running: embedded::stop(&options)? == embedded::Stopped::Stopped }
            }
            ServerAction::Status => ServerReport::Status(embedded::status(&options)?),
            ServerAction::Url => ServerReport::Url { url: embedded::start(&options, &mut say)?.url() },
        })
    })
    .await?;
    context.print(&report)?;
    Ok(match report {
        ServerReport::Status(embedded::Status { running: false, .. }) => NOT_RUNNING,
        _ => 0,
    })
}
