//! One file a subcommand: settles the settings, calls the library, and hands the result to a report.

pub mod check;
pub mod documentation;
pub mod generate;
pub mod load;
pub mod query;
pub mod server;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{Cli, Command, Global};
use crate::config::Config;
use crate::postgres::database::Database;
use crate::postgres::pool::Session;
use crate::progress::Counters;
use crate::report::{Failure, Report};
use crate::{Error, Result};

/// How long the server may take to roll back after Ctrl-C.
const ROLLBACK_PATIENCE: Duration = Duration::from_secs(5);

/// What every command needs.
#[derive(Debug)]
pub struct Context<'a> {
    /// The flags that every command takes.
    pub flags: &'a Global,
    /// The configuration file.
    pub config: Config,
}

/// Run what was asked for, print its result, and return the exit code.
pub async fn run(cli: &Cli) -> u8 {
    let outcome = match Config::read(&cli.global) {
        Ok(config) => dispatch(&Context { flags: &cli.global, config }, &cli.command).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(exit_code) => exit_code,
        Err(error) => {
            let failure = Failure::new(cli.command.name(), &error);
            if cli.global.json {
                // The error itself is reported below, wherever standard output leads.
                let _ = print(&failure.json());
            }
            eprintln!("{}", failure.text());
            error.kind().exit_code()
        }
    }
}

async fn dispatch(context: &Context<'_>, command: &Command) -> Result<u8> {
    match command {
        Command::Generate(flags) => generate::run(context, flags).await,
        Command::Load(flags) => load::run(context, flags).await,
        Command::Query(flags) => query::run(context, flags).await,
        Command::Check => check::run(context).await,
        Command::Server(flags) => server::run(context, flags.action).await,
        Command::Completions { shell } => documentation::completions(*shell),
        Command::Man => documentation::man(),
    }
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Generate(_) => "generate",
            Command::Load(_) => "load",
            Command::Query(_) => "query",
            Command::Check => "check",
            Command::Server(_) => "server",
            Command::Completions { .. } => "completions",
            Command::Man => "man",
        }
    }
}

impl Context<'_> {
    /// The server to work on, with connections for `session`.
    async fn database(&self, session: Session) -> Result<Database> {
        let settings = self.config.database(self.flags, &|name| std::env::var(name).ok())?;
        let quiet = self.flags.quiet;
        Database::open(settings, session, move |line| {
            if !quiet {
                eprintln!("{line}");
            }
        })
        .await
    }

    /// Tell a person something that is not the result.
    fn note(&self, line: &str) {
        if !self.flags.quiet {
            eprintln!("{line}");
        }
    }

    /// Whether to draw progress on standard error.
    fn draws(&self) -> bool {
        !self.flags.quiet && std::io::stderr().is_terminal()
    }

    /// Print the result.
    fn print(&self, report: &impl Report) -> Result<()> {
        print(&if self.flags.json { report.json() } else { report.text() })
    }
}

/// Write `text` and a newline to standard output; a reader that left early is no error.
fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::output(format!("failed to write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Await `work`; on Ctrl-C or a termination signal, have it stop and roll back.
async fn until_interrupted<T>(
    counters: &Arc<Counters>,
    database: Option<&Database>,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let (mut interrupt, mut terminate) =
        match (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) {
            (Ok(interrupt), Ok(terminate)) => (interrupt, terminate),
            (Err(error), _) | (_, Err(error)) => {
                return Err(Error::usage(format!("failed to watch for signals: {error}")));
            }
        };
    let mut work = std::pin::pin!(work);
    tokio::select! {
        result = &mut work => return result,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    counters.cancel();
    let stop = async {
        if let Some(database) = database {
            database.cancel().await;
        }
        work.await
    };
    match tokio::time::timeout(ROLLBACK_PATIENCE, stop).await {
        // It was done before it noticed.
        Ok(Ok(result)) => Ok(result),
        Ok(Err(error)) => Err(Error::interrupted().with_help(match error.kind() {
            crate::error::Kind::Interrupted => "nothing was kept",
            _ => error.help().unwrap_or("nothing was kept"),
        })),
        Err(_) => Err(Error::interrupted()
            .with_help("the server did not answer in time; it rolls back when it notices that we have gone")),
    }
}
