//! One file per subcommand: resolves the options, calls the library, and prints the report.

mod bench;
mod check;
mod documentation;
mod generate;
mod imports;
mod load;
mod query;
mod report;
mod schema;
mod server;

mod interrupt;
mod misuse;

pub(crate) use misuse::misused;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use postgres_etl::escape::escape_path;
use postgres_etl::postgres::{Database, DatabaseOptions};
use postgres_etl::{Error, ErrorKind, Progress, Result};

use crate::cli::args::{Cli, Command, Connect, Global};
use crate::cli::commands::interrupt::Interrupt;
use crate::cli::config::{Config, EnvFile};
use crate::cli::render::{Failure, Report};
use crate::cli::terminal::Display;
use crate::cli::terminal::messages::{self, say};
use crate::cli::terminal::screen::beside_drawing;

/// What every subcommand needs.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The flags that every command takes.
    pub flags: &'a Global,
    /// The parts of the connection settings that are given one by one.
    connect: &'a Connect,
    /// The configuration file.
    pub config: Config,
    /// What to stop on Ctrl-C.
    interrupt: &'a Interrupt,
}

/// Check that no two of `outputs`, each a flag and its file, are the same file.
///
/// # Errors
/// [`ErrorKind::Usage`](postgres_etl::ErrorKind::Usage) for the first that is.
fn check_outputs(outputs: &[(&str, &Option<PathBuf>)]) -> Result<()> {
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (flag, path) in outputs.iter().filter_map(|(flag, path)| Some((*flag, path.as_ref()?))) {
        // A file that is not there yet is known by its directory and name.
        let directory =
            path.parent().map(|parent| if parent.as_os_str().is_empty() { Path::new(".") } else { parent });
        let resolved = path.canonicalize().or_else(|_| {
            let directory = directory.unwrap_or(Path::new("/")).canonicalize()?;
            Ok::<_, std::io::Error>(directory.join(path.file_name().unwrap_or_default()))
        });
        let resolved = resolved.unwrap_or_else(|_| path.clone());
        if let Some((other, _)) = taken.iter().find(|(_, known)| *known == resolved) {
            let message = format!("{flag}: {} is the file of {other} too", escape_path(path));
            return Err(Error::usage(message).with_help(format!("name another file with {flag}")));
        }
        taken.push((flag, resolved));
    }
    Ok(())
}

/// Run the subcommand, print its result, and return the exit code.
pub(crate) async fn run(cli: &Cli) -> u8 {
    let interrupt = Interrupt::default();
    let outcome = match Config::read(&cli.global) {
        Ok(config) => {
            let no_parts = Connect::default();
            let connect = cli.command.connect().unwrap_or(&no_parts);
            let context = Context { flags: &cli.global, connect, config, interrupt: &interrupt };
            if let Some(note) = context.config.note() {
                context.note(&note);
            }
            interrupt.or_done(dispatch(&context, &cli.command)).await
        }
        Err(error) => {
            if let Command::Load(flags) = &cli.command {
                load::replace_receipt(flags.receipt.as_deref(), &error);
            }
            Err(error)
        }
    };
    match outcome {
        Ok(exit_code) => exit_code,
        Err(error) => {
            let mut failure = Failure::new(cli.command.name(), &error);
            if error.kind() == ErrorKind::Interrupted {
                failure.error.exit_code = interrupt.exit_code();
            }
            if cli.global.json {
                // The error itself is reported on standard error as well, below.
                let _ = print(&failure.json());
            }
            say(&failure.text());
            failure.error.exit_code
        }
    }
}

async fn dispatch(context: &Context<'_>, command: &Command) -> Result<u8> {
    match command {
        Command::Generate(flags) => generate::run(context, flags).await,
        Command::Load(flags) => load::run(context, flags).await,
        Command::Query(flags) => query::run(context, flags).await,
        Command::Check(flags) => check::run(context, flags).await,
        Command::Imports(flags) => imports::run(context, flags).await,
        Command::Bench(flags) => bench::run(context, flags).await,
        Command::Report(flags) => report::run(context, flags),
        Command::Server(flags) => server::run(context, flags.action).await,
        Command::Completions { shell, install } => documentation::completions(context, *shell, *install),
        Command::Man { directory } => documentation::man(directory.as_deref()),
        Command::Schema { document } => schema::run(*document),
    }
}

impl Command {
    /// The parts of the connection settings that it takes one by one.
    fn connect(&self) -> Option<&Connect> {
        match self {
            Command::Load(flags) => Some(&flags.connect),
            Command::Query(flags) => Some(&flags.connect),
            Command::Check(flags) => Some(&flags.connect),
            Command::Bench(flags) => Some(&flags.connect),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Command::Generate(_) => "generate",
            Command::Load(_) => "load",
            Command::Query(_) => "query",
            Command::Check(_) => "check",
            Command::Imports(_) => "imports",
            Command::Bench(_) => "bench",
            Command::Report(_) => "report",
            Command::Server(_) => "server",
            Command::Completions { .. } => "completions",
            Command::Man { .. } => "man",
            Command::Schema { .. } => "schema",
        }
    }
}

impl Context<'_> {
    /// The server to work on.
    async fn database(&self) -> Result<Database> {
        let options = self.config.database(self.flags, self.connect, &self.variables()?)?;
        self.open(options).await
    }

    /// The server at `url`, the value of `--against`.
    async fn other_database(&self, url: &str) -> Result<Database> {
        let options = self.config.other_database(url, self.flags, &self.variables()?)?;
        self.open(options).await
    }

    /// The environment, with what `.env` adds to it.
    fn variables(&self) -> Result<EnvFile> {
        if self.flags.no_env_file { Ok(EnvFile::default()) } else { EnvFile::read(Path::new("")) }
    }

    async fn open(&self, options: DatabaseOptions) -> Result<Database> {
        let quiet = self.flags.quiet;
        Database::open(options, move |line| {
            if !quiet {
                say(line);
            }
        })
        .await
    }

    /// The URL by which a flag or a variable names the whole server; `None` if it is named otherwise.
    fn database_url(&self) -> Result<Option<String>> {
        if !self.connect.parameters().is_empty() {
            return Ok(None);
        }
        let variables =
            if self.flags.no_env_file { EnvFile::default() } else { EnvFile::read(Path::new(""))? };
        let typed = self.connect.url().map(str::to_owned).or_else(|| self.flags.database_url.clone());
        let named = typed.or_else(|| variables.get("DATABASE_URL"));
        Ok(named.filter(|url| !url.is_empty()))
    }

    /// What counts, notes and cancels a command's work.
    fn progress(&self) -> Progress {
        let quiet = self.flags.quiet;
        Progress::with_notes(move |line| {
            if !quiet {
                say(line);
            }
        })
    }

    /// Print a note for the user, which is not part of the result.
    fn note(&self, line: &str) {
        if !self.flags.quiet {
            say(line);
        }
    }

    /// How to show what is done.
    fn display(&self) -> Display {
        Display::new(self.flags.quiet)
    }

    /// Print the result: as JSON if that is asked for, else as text unless everything `is_good` and nobody wants to know.
    fn print(&self, report: &impl Report, is_good: bool) -> Result<()> {
        let printed = match (self.flags.json, self.flags.quiet && is_good) {
            (true, _) => print(&report.json()),
            (false, true) => Ok(()),
            (false, false) => written(messages::print_report(&report.text(), report.value_column())),
        };
        printed.map_err(|error| error.with_help("the work was done; only its report is lost"))
    }
}

/// Write `text` and a newline to standard output; a reader that left early is no error.
fn print(text: &str) -> Result<()> {
    written(beside_drawing(|| {
        let mut out = std::io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush())
    }))
}

/// What became of writing to standard output.
fn written(outcome: std::io::Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::output(format!("failed to write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
