//! The command line as it is typed; what it means together with the other sources is settled in `config`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Mode;

/// Load CSV into PostgreSQL exactly, and measure honestly how fast a PostgreSQL server answers.
#[derive(Debug, Parser)]
#[command(
    name = "postgres-etl",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true,
    after_help = "\
Examples:
  postgres-etl load --mode copy       load data/persons.csv (made first if missing) into persons
  postgres-etl query -n 100000        ask the default workload 100,000 times and report the rate
  postgres-etl check                  see whether server, table and statements are in order

Which server: --database-url, else DATABASE_URL, else PGHOST, PGSERVICE and the other PG*
variables, else [database] url in config.toml, else one of our own, started when it is needed.

Exit codes: 0 done; 1 the data, a file or the server refused; 2 wrong flags or configuration;
4 no connection, or our server did not start; 130 interrupted."
)]
pub struct Cli {
    /// Flags that every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags that every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options for every command")]
pub struct Global {
    /// Configuration file; without it ./config.toml is read if it is there
    #[arg(long, global = true, value_name = "FILE", env = "POSTGRES_ETL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Server to use, as `postgresql://user@host:5432/database` or "host=… dbname=…"
    // DATABASE_URL is read in `config`: a password must not appear in --help as a current value.
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Print the result as one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but the result and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more about what happens; -vv says even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a CSV of made-up people
    Generate(Generate),
    /// Load a CSV file into the table
    Load(Load),
    /// Measure how many queries a second the server answers
    Query(Query),
    /// See whether the server answers, the table is there and the statements prepare
    Check,
    /// Start, stop or look at the server that we run ourselves
    Server(Server),
    /// Print a completion script for a shell
    Completions {
        /// Shell to print it for
        shell: clap_complete::Shell,
    },
    /// Print the manual page
    Man,
}

/// Write a CSV of made-up people
///
/// The columns are id, name, age, isMarried, city, state and country. The same seed gives the same bytes
/// on every machine, and a shorter file is the beginning of a longer one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl generate                          100,000 people into data/persons.csv
  postgres-etl generate -n 1000000 -o big.csv    a million of them
  postgres-etl generate -n 5 -o -                five of them on standard output")]
pub struct Generate {
    /// How many people [default: 100000]
    #[arg(short = 'n', long, value_name = "N")]
    pub rows: Option<u64>,
    /// Where the random numbers start [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// File to write; - for standard output [default: data/persons.csv]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Keep place names as they are written where they are: São Paulo, not Sao Paulo
    #[arg(long)]
    pub unicode: bool,
}

/// Load a CSV file into the table
///
/// Everything runs in one transaction: after an error the table is as it was before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl load                           the configured file, by binary COPY
  postgres-etl load people.csv --append       add to what is there
  postgres-etl load --mode rows               a prepared INSERT a row, pipelined, in one transaction
  postgres-etl load --mode rows --autocommit --connections 20
                                              a transaction a row, as many programs do")]
pub struct Load {
    /// CSV file to read [default: data/persons.csv]
    pub file: Option<PathBuf>,
    /// How to write [default: copy]
    #[arg(short, long, env = "POSTGRES_ETL_MODE")]
    pub mode: Option<Mode>,
    /// Add to the rows that are in the table
    #[arg(long, conflicts_with = "truncate")]
    pub append: bool,
    /// Empty the table first, in the same transaction
    #[arg(long)]
    pub truncate: bool,
    /// Rows in each INSERT of mode batch [default: 1000]
    #[arg(long, value_name = "ROWS")]
    pub batch_size: Option<usize>,
    /// Statements on the way at once on each connection, in modes rows and batch [default: 256]
    #[arg(long, value_name = "N")]
    pub pipeline_depth: Option<usize>,
    /// INSERTs that share a Sync, in mode rows without --autocommit; 1 for a Sync each [default: 256]
    #[arg(long, value_name = "N")]
    pub sync_every: Option<usize>,
    /// Commit every row by itself (mode rows); after an error the rows before it stay
    #[arg(long)]
    pub autocommit: bool,
    /// Connections to write over; more than one needs --autocommit [default: 1]
    #[arg(long, value_name = "N")]
    pub connections: Option<usize>,
}

/// Measure how many queries a second the server answers
///
/// Counts the table's rows, then runs one prepared statement N times over the pool, pipelined, with
/// arguments drawn from the seed. Latency is from sending a query to having its whole answer.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl query -n 1000                 the default workload, older-than, 1,000 times
  postgres-etl query by-id -n 100000         another workload of config.toml
  postgres-etl query by-id --connections 4 --pipeline-depth 256

Every [query.NAME] of config.toml is a workload. Many queries on the way at once raise the rate and,
since they queue, the latency too: use --pipeline-depth 1 to see the latency of a query by itself.

Queries on the way together share a Sync, up to --sync-every of them: the server then ends a transaction
and sends a reply for all at once. That is done for statements that begin with SELECT, VALUES or TABLE,
and in read-only sessions: a statement that writes nevertheless is refused. --sync-every 1 gives each
query a Sync, and so a transaction, of its own, and lets it write.")]
pub struct Query {
    /// Workload to run, a [query.NAME] of config.toml [default: older-than]
    pub name: Option<String>,
    /// How many queries [default: 100000]
    #[arg(short = 'n', long, value_name = "N")]
    pub queries: Option<u64>,
    /// Connections to ask over [default: 20]
    #[arg(short, long, value_name = "N")]
    pub connections: Option<usize>,
    /// Queries on the way at once on each connection [default: 8]
    #[arg(short = 'd', long, value_name = "N")]
    pub pipeline_depth: Option<usize>,
    /// Queries that share a Sync, read-only; 1 for a Sync each [default: 256 for a SELECT, else 1]
    #[arg(long, value_name = "N")]
    pub sync_every: Option<usize>,
    /// Where the arguments start [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
}

/// Start, stop or look at the server that we run ourselves
///
/// It is used when no flag, variable or configuration names another. It listens on a unix socket only,
/// keeps its data between commands, and is as durable as PostgreSQL is by default.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl server status
  psql \"$(postgres-etl server url)\"    look into it with psql
  postgres-etl server stop")]
pub struct Server {
    /// What to do with it.
    #[command(subcommand)]
    pub action: ServerAction,
}

/// What to do with our server.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum ServerAction {
    /// Start it, or say that it runs
    Start,
    /// Stop it; its data stay
    Stop,
    /// Say whether it runs, and where its data and log are
    Status,
    /// Start it if need be and print its URL
    Url,
}
