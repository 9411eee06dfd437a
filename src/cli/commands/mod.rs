//! One file per subcommand: resolves the options, calls the library, and prints the report.

mod bench;
mod check;
mod documentation;
mod generate;
mod load;
mod query;
mod report;
mod schema;
mod server;

mod interrupt;

use std::io::{IsTerminal, Write};
use std::path::Path;

use clap::CommandFactory as _;
use postgres_etl::escape::escape_lines;
use postgres_etl::postgres::{Database, DatabaseOptions};
use postgres_etl::{Error, Progress, Result};

use crate::cli::args::{Cli, Command, Global};
use crate::cli::commands::interrupt::Interrupt;
use crate::cli::config::{Config, EnvFile};
use crate::cli::exit;
use crate::cli::render::{Failure, Report};

/// What every subcommand needs.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The flags that every command takes.
    pub flags: &'a Global,
    /// The configuration file.
    pub config: Config,
    /// What to stop on Ctrl-C.
    interrupt: &'a Interrupt,
}

/// Run the subcommand, print its result, and return the exit code.
pub(crate) async fn run(cli: &Cli) -> u8 {
    let interrupt = Interrupt::default();
    let outcome = match Config::read(&cli.global) {
        Ok(config) => {
            let context = Context { flags: &cli.global, config, interrupt: &interrupt };
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
            let failure = Failure::new(cli.command.name(), &error);
            if cli.global.json {
                // The error itself is reported on standard error as well, below.
                let _ = print(&failure.json());
            }
            say(&failure.text());
            exit::code(error.kind())
        }
    }
}

/// Print what is wrong with the command line, or the requested help or version; returns the exit code.
pub(crate) fn misused(error: &clap::Error) -> u8 {
    let given = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let given: Vec<String> = given.take_while(|argument| argument != "--").collect();
    if error.use_stderr() {
        let cli = Cli::command();
        let command = given.iter().find(|argument| cli.find_subcommand(argument).is_some());
        let text = error.render().to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
        let tip = text.lines().find_map(|line| line.trim().strip_prefix("tip: "));
        let help = command.map_or_else(
            || "postgres-etl --help lists the commands".to_owned(),
            |command| format!("postgres-etl {command} --help lists what it takes"),
        );
        let error = Error::usage(lines.join(" ").trim_start_matches("error: "))
            .with_help(tip.map_or(help, str::to_owned));
        if command.is_some_and(|command| command == "load") {
            load::replace_named_receipt(&given, &error);
        }
        if given.iter().any(|argument| argument == "--json") {
            // It is printed to standard error as well, below.
            let _ = print(&Failure::new(command.map_or("postgres-etl", String::as_str), &error).json());
        }
    }
    // A closed standard error does not change the exit code.
    let _ = error.print();
    u8::try_from(error.exit_code()).unwrap_or(exit::MISUSED)
}

/// Write a line to standard error; if that is closed or full, nothing can be done.
fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", escape_lines(line));
}

async fn dispatch(context: &Context<'_>, command: &Command) -> Result<u8> {
    match command {
        Command::Generate(flags) => generate::run(context, flags).await,
        Command::Load(flags) => load::run(context, flags).await,
        Command::Query(flags) => query::run(context, flags).await,
        Command::Check(flags) => check::run(context, flags).await,
        Command::Bench(flags) => bench::run(context, flags).await,
        Command::Report(flags) => report::run(context, flags),
        Command::Server(flags) => server::run(context, flags.action).await,
        Command::Completions { shell, install } => documentation::completions(context, *shell, *install),
        Command::Man { directory } => documentation::man(directory.as_deref()),
        Command::Schema { document } => schema::run(*document),
    }
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Command::Generate(_) => "generate",
            Command::Load(_) => "load",
            Command::Query(_) => "query",
            Command::Check(_) => "check",
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
        let options = self.config.database(self.flags, &self.variables()?)?;
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

    /// The URL by which a flag or a variable names the server; `None` if it is named otherwise.
    fn database_url(&self) -> Result<Option<String>> {
        let variables =
            if self.flags.no_env_file { EnvFile::default() } else { EnvFile::read(Path::new(""))? };
        let named = self.flags.database_url.clone().or_else(|| variables.get("DATABASE_URL"));
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

    /// Whether to draw progress on standard error.
    fn draws(&self) -> bool {
        !self.flags.quiet && std::io::stderr().is_terminal()
    }

    /// Print the result.
    fn print(&self, report: &impl Report) -> Result<()> {
        print(&if self.flags.json { report.json() } else { escape_lines(&report.text()).into_owned() })
            .map_err(|error| error.with_help("the work was done; only its report is lost"))
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
