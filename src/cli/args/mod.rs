//! The command line as it is typed; what it means together with the other sources is settled in `config`.

mod bench;
mod connect;
mod load;
mod numbers;
mod query;

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

pub(crate) use bench::Bench;
pub(crate) use connect::Connect;
pub(crate) use load::{Check, Format, Header, Input, Load};
pub(crate) use query::Query;

use numbers::count;

/// Load CSV into PostgreSQL exactly, and measure honestly how fast a PostgreSQL server answers.
#[derive(Debug, Parser)]
#[command(
    name = "postgres-etl",
    version,
    long_version = concat!(
        env!("CARGO_PKG_VERSION"),
        "\nPlaces of made-up people: GeoNames (https://www.geonames.org/), CC BY 4.0, changed"
    ),
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  postgres-etl load --mode copy       load data/persons.csv, generated if missing, into persons
  postgres-etl query -n 100000        run the default workload 100,000 times and report the rate
  postgres-etl check                  check the server, the table and the statements

-h shows help; the server's host is --host HOST.

Which server: --database-url, else DATABASE_URL, else PGHOST, PGHOSTADDR or PGSERVICE with the
other PG* variables, else [database] url in config.toml, else the embedded server, started when needed.
Variables that are not set are looked up in .env in the current directory.

Exit codes: 0 done; 1 bad data, a file or server error; 2 wrong flags or configuration;
3 loaded, but some rows were rejected; 4 no connection, or no embedded server; 5 loaded, but
ANALYZE, the receipt, the page or the report failed; 6 whether rows were committed is not known;
7 another run is working on the import; 130 interrupted; 143 terminated."
)]
pub(crate) struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// The subcommand.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for every command")]
pub(crate) struct Global {
    /// Configuration file [default: ./postgres-etl.toml, else ./config.toml if it is this program's]
    #[arg(long, global = true, value_name = "FILE", env = "POSTGRES_ETL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Server to use: `postgresql://user@host:5432/database` or "host=… dbname=…"
    // DATABASE_URL is read in `config`: a password must not appear in --help as a current value.
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Ignore .env in the current directory, which otherwise supplies variables that name the server
    #[arg(long, global = true)]
    pub no_env_file: bool,
    /// When to use named prepared statements: auto (unless there is a connection pooler), always or never [default: auto]
    #[arg(long, global = true, value_name = "WHEN")]
    pub prepare: Option<Prepare>,
    /// Print the result as one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing on success, except with --json; warnings, errors, and the report of a command that did not fully
    /// succeed are still printed
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say what is done and why; -vv prints the SQL, too
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// When to use colour: auto (on a terminal, unless `NO_COLOR` is set), always or never [default: auto]
    // What it says is known before the rest is parsed: see `color`.
    #[arg(long, global = true, value_name = "WHEN", hide_possible_values = true)]
    pub color: Option<Color>,
}

/// When to use colour. Descriptions here would double the length of every help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// The value of `--color` among `arguments`, which may not be valid otherwise: the complaint about that has to be in the
/// wanted colours.
pub(crate) fn color(arguments: impl Iterator<Item = String>) -> Color {
    let mut arguments = arguments.skip(1).take_while(|argument| argument != "--");
    let mut color = Color::Auto;
    while let Some(argument) = arguments.next() {
        let value = match argument.strip_prefix("--color") {
            Some("") => arguments.next(),
            Some(joined) => joined.strip_prefix('=').map(str::to_owned),
            None => None,
        };
        color = value.and_then(|value| Color::from_str(&value, false).ok()).unwrap_or(color);
    }
    color
}

/// The commands whose `-h` is shorter than their `--help`, and the arguments that it shows.
const MOST_USED: [(&str, &[&str]); 4] = [
    (
        "load",
        &[
            "files",
            "table",
            "mode",
            "append",
            "truncate",
            "max_rejects",
            "dry_run",
            "create",
            "delimiter",
            "null",
            "no_header",
            "encoding",
            "sniff",
        ],
    ),
    (
        "query",
        &[
            "names",
            "sql",
            "file",
            "args",
            "queries",
            "duration",
            "connections",
            "pipeline_depth",
            "rate",
            "find_max",
            "p99",
            "runs",
            "save",
            "baseline",
            "init",
            "scale",
        ],
    ),
    ("check", &["files", "table", "mode", "delimiter", "null", "no_header", "encoding", "sniff"]),
    (
        "bench",
        &["full", "quick", "rows", "runs", "only", "baseline", "install_peers", "list", "save", "html"],
    ),
];

/// What `-h` always shows: what names the server, and the flags of every command that are used most.
const SHOWN: [&str; 8] = ["host", "port", "username", "dbname", "database_url", "json", "quiet", "verbose"];

/// The command line with everything that can be typed.
pub(crate) fn command() -> clap::Command {
    let command = with_full_help();
    let for_all: Vec<clap::Arg> =
        command.get_arguments().filter(|flag| flag.is_global_set()).cloned().collect();
    MOST_USED.into_iter().fold(command, |command, (name, most_used)| {
        command.mut_subcommand(name, |command| with_short_help(command.args(&for_all), most_used))
    })
}

/// The command line, every flag of which has a description in any form of help, as in manual pages.
pub(crate) fn with_full_help() -> clap::Command {
    let with_short = |command: clap::Command| command.mut_arg("dbname", |dbname| dbname.short('d'));
    // In query, -d is --pipeline-depth.
    let with_short = |command: clap::Command, name| command.mut_subcommand(name, with_short);
    ["load", "check", "bench"].into_iter().fold(Cli::command(), with_short)
}

/// `command` with a help for `-h` that shows only the arguments that are `most_used`, and how the others are found. People
/// who know psql type `-h` for the host.
fn with_short_help(command: clap::Command, most_used: &[&str]) -> clap::Command {
    let full = format!("postgres-etl {} --help describes all options, with examples.", command.get_name());
    let end = command.get_after_help().cloned().unwrap_or_default();
    let command = command.mut_args(|argument| {
        let id = argument.get_id().as_str();
        let is_shown = most_used.contains(&id) || SHOWN.contains(&id);
        argument.hide_short_help(!is_shown)
    });
    command.after_long_help(end).after_help(format!("{full}\n{HOST}"))
}

/// What psql's users need to know who type -h.
const HOST: &str = "-h shows help; the server's host is --host HOST.";

/// Parse the arguments of this process.
///
/// # Errors
/// When they are not valid, and when help or the version is asked for.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(std::env::args_os())?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// [`postgres_etl::postgres::Prepare`] on the command line. Descriptions here would double the length of every help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Prepare {
    Auto,
    Always,
    Never,
}

impl From<Prepare> for postgres_etl::postgres::Prepare {
    fn from(prepare: Prepare) -> Self {
        match prepare {
            Prepare::Auto => Self::Auto,
            Prepare::Always => Self::Always,
            Prepare::Never => Self::Never,
        }
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Generate(Generate),
    Load(Box<Load>),
    Query(Box<Query>),
    Check(Box<Check>),
    Imports(Imports),
    Bench(Box<Bench>),
    Report(Report),
    Server(Server),
    /// Print a completion script for a shell, or install it
    Completions {
        /// Shell to print it for
        shell: clap_complete::Shell,
        /// Write the script where the shell looks for it, instead of printing it (bash, fish and zsh)
        #[arg(long)]
        install: bool,
    },
    /// Print the manual page, or write one page for each command
    Man {
        /// Write a page for each command into this directory, instead of printing all as one
        #[arg(long, value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
    /// Print the JSON Schema of a document, or list the documents
    Schema {
        /// Document to print it for
        document: Option<SchemaName>,
    },
}

/// The JSON documents that this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SchemaName {
    /// what `load --json` prints
    Load,
    /// what `load --receipt` writes, also for a load that failed
    Receipt,
    /// a line of the log of rejected rows
    Reject,
    /// what `query --json` prints for one run
    Query,
    /// what `query --json` prints with --runs, --against or --against-sql
    Runs,
    /// what `query --json` prints with --sweep, --ramp or --find-max
    Search,
    /// what `query --json` prints with --init
    Init,
    /// what `query --save` writes
    Saved,
    /// what `bench --json` prints, and `bench --save` writes
    Bench,
    /// what `bench --list --json` prints
    Contenders,
    /// what `check --json` prints
    Check,
    /// what `imports --json` prints
    Imports,
    /// what `generate --json` prints
    Generate,
    /// what `report --json` prints
    Report,
    /// what `report --merge --json` prints
    Merged,
    /// what `server --json` prints
    Server,
    /// what any command prints with --json when it fails
    Error,
}

/// Write a CSV of made-up people
///
/// The columns are id, name, age, isMarried, city, state and country. The same seed gives the same bytes
/// on every machine, and a shorter file is a prefix of a longer one. The places are from GeoNames
/// (geonames.org), under CC BY 4.0.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl generate                          100,000 people into data/persons.csv
  postgres-etl generate -n 1000000 -o big.csv    a million of them
  postgres-etl generate -n 5 -o -                five of them on standard output")]
pub(crate) struct Generate {
    /// Number of people [default: 100000]
    #[arg(short = 'n', long, value_name = "N", value_parser = count::<u64>)]
    pub rows: Option<u64>,
    /// Seed of the random numbers [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// File to write; - for standard output [default: data/persons.csv]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Keep accents and other non-ASCII letters in place names: São Paulo, not Sao Paulo
    #[arg(long)]
    pub unicode: bool,
}

/// Make a page with charts from reports
///
/// The page is one HTML file that needs nothing else: no network, no script. Under each chart is the table of its data.
/// Each report is recognised by its content.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl report bench.json --html bench.html
  postgres-etl report before.json after.json --html both.html    saved runs, compared")]
pub(crate) struct Report {
    /// JSON documents: what bench, load and query print with --json, receipts, and saved runs
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// File to write the page to
    #[arg(long, value_name = "FILE", required_unless_present_any = ["markdown", "merge"])]
    pub html: Option<PathBuf>,
    /// File to write the tables of comparisons to, in Markdown
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Print the saved runs of several machines, which measured at the same time, as one run
    ///
    /// Histograms, counts and errors are added up; the rate is that of the time in which all of them ran. Runs whose
    /// statements or settings differ are refused.
    #[arg(long, conflicts_with_all = ["html", "markdown"])]
    pub merge: bool,
}

/// List the loads with --import-id, or forget one
///
/// Each with its state, its rows, how far it is, and the sessions that work on it. They are in a ledger in the database
/// that they load.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl imports                     all imports, the latest first
  postgres-etl imports --forget nightly    the rows it loaded stay; its ID is free again")]
pub(crate) struct Imports {
    /// Forget this import: its rows stay, and a load with this ID begins anew
    #[arg(long, value_name = "ID")]
    pub forget: Option<String>,
    /// Table of the committed chunks [default: `postgres_etl.ledger`]
    #[arg(long, value_name = "TABLE")]
    pub ledger: Option<String>,
}

/// Start, stop or inspect the embedded server
///
/// It is used when no flag, variable or configuration names another server. It listens on a Unix socket only,
/// keeps its data between commands, and is as durable as a default PostgreSQL.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl server status
  psql \"$(postgres-etl server url)\"    open it in psql
  postgres-etl server stop")]
pub(crate) struct Server {
    /// What to do with it.
    #[command(subcommand)]
    pub action: ServerAction,
}

/// What to do with the embedded server.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ServerAction {
    /// Start the embedded server, unless it is running
    Start,
    /// Stop the embedded server; its data is kept
    Stop,
    /// Report whether the embedded server is running, and where its data and log are; exit code 3 if it is not
    Status,
    /// Start the embedded server if necessary, and print its URL
    Url,
}
