//! The command line as it is typed; what it means together with the other sources is settled in `config`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use postgres_etl::load::{Connections, OnConflict, RejectLimit};
use postgres_etl::query::{self, ArgSpec, Axis, RATES, Ramp, Threshold};

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
  postgres-etl load --mode copy       load data/persons.csv, made first as [generate] says, into persons
  postgres-etl query -n 100000        ask the default workload 100,000 times and report the rate
  postgres-etl check                  see whether server, table and statements are in order

Which server: --database-url, else DATABASE_URL, else PGHOST, PGSERVICE and the other PG*
variables, else [database] url in config.toml, else one of our own, started when it is needed.

Exit codes: 0 done; 1 the data, a file or the server refused; 2 wrong flags or configuration;
3 loaded, but some rows were set aside; 4 no connection, or our server did not start; 130 interrupted."
)]
pub(crate) struct Cli {
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
pub(crate) struct Global {
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
pub(crate) enum Command {
    Generate(Generate),
    Load(Box<Load>),
    Query(Box<Query>),
    Check(Box<Check>),
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
pub(crate) struct Generate {
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

/// Load CSV files into the table
///
/// Everything runs in one transaction: after an error the table is as it was before.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl load                           the configured file, by binary COPY
  zcat x.csv.Z | postgres-etl load - -t t     standard input into table t
  postgres-etl load people.csv --append       add to what is there
  postgres-etl load orders.csv --table sales.orders --on-conflict update
  postgres-etl load new.csv --table new --create
                                              a table made for the file
  postgres-etl load dirty.csv --max-rejects 1%
                                              set bad rows aside in rejects.csv
  postgres-etl load 'data/*.csv.gz'           several files as one, unpacked on the way
  postgres-etl load --mode rows               a prepared INSERT a row, pipelined, in one transaction
  postgres-etl load --mode rows --autocommit --connections 20
                                              a transaction a row, as many programs do
  postgres-etl load big.csv --append --connections auto
                                              two COPYs at once, where that is faster")]
pub(crate) struct Load {
    /// The files, and the table that they are for.
    #[command(flatten)]
    pub input: Input,
    /// Add to the rows that are in the table, which is the default with --table
    #[arg(long, conflicts_with = "truncate")]
    pub append: bool,
    /// Empty the table first, in the same transaction [default: as [load] truncate of config.toml says of its own
    /// table]
    #[arg(long)]
    pub truncate: bool,
    /// Drop the table's indexes, and build them again behind the rows, in the same transaction [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub defer_indexes: Option<DeferIndexes>,
    /// Leave out the ANALYZE that follows a load of more than a tenth of the table
    #[arg(long)]
    pub no_analyze: bool,
    /// Rows in each INSERT of mode batch [default: 1000]
    #[arg(long, value_name = "ROWS")]
    pub batch_size: Option<usize>,
    /// Statements on the way at once on each connection: INSERTs of a row in mode rows, of a batch (up to 4)
    /// in mode batch [default: 256, with --autocommit 1]
    #[arg(long, value_name = "N")]
    pub pipeline_depth: Option<usize>,
    /// What to do with a row whose key is in the table: skip it, or update the table's row; the key is the
    /// primary one unless columns are named, as in update:id,day
    #[arg(long, value_name = "skip|update[:COLUMNS]")]
    pub on_conflict: Option<OnConflict>,
    /// Set aside up to N bad rows, or N% of all, and load the others
    #[arg(long, value_name = "N|N%", default_value = "0", hide_default_value = true)]
    pub max_rejects: RejectLimit,
    /// Where bad rows go, as they were, in place of what an earlier load left there; why is said in the same name
    /// with .log.jsonl [default: rejects.csv]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Do everything, and roll it back at the end
    #[arg(long)]
    pub dry_run: bool,
    /// Keep the report, as JSON
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// If the table is not there, create it with the types that all of the file's values have, and no key
    #[arg(long, help_heading = "Columns and tables")]
    pub create: bool,
    /// With --create: look at the first N records only [default: all]
    #[arg(long, value_name = "N", help_heading = "Columns and tables")]
    pub infer_rows: Option<u64>,
    /// With --create: put the new table into the place of the old one, whose indexes and privileges go with it
    #[arg(long, requires = "create", conflicts_with_all = ["append", "truncate"], help_heading = "Columns and tables")]
    pub replace: bool,
    /// Print the statement that --create would run, and stop
    #[arg(long, help_heading = "Columns and tables")]
    pub ddl_only: bool,
    /// INSERTs that share a Sync, in mode rows without --autocommit; 1 for a Sync each [default: 256]
    #[arg(long, value_name = "N")]
    pub sync_every: Option<usize>,
    /// Commit every row by itself (mode rows); after an error the rows that were committed stay
    #[arg(long)]
    pub autocommit: bool,
    /// Connections to write over; more than one needs --autocommit, or --mode copy --append, where each has a
    /// transaction and they commit together; auto takes two where that is faster [default: 1]
    #[arg(long, value_name = "N|auto")]
    pub connections: Option<Connections>,
    // Its heading would go on to the flags behind it.
    /// How the files are written.
    #[command(flatten)]
    pub format: Format,
}

/// See whether a load would begin and the queries would run, without touching any data
///
/// Looks at the configuration, the server, the table, the header and the first record of each file, and has
/// the server prepare every statement. All that is wrong is reported, and nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl check                             the configured file, table and statements
  postgres-etl check orders.csv --table orders   which field would go to which column")]
pub(crate) struct Check {
    /// The files, and the table that they are for.
    #[command(flatten)]
    pub input: Input,
    /// How the files are written.
    #[command(flatten)]
    pub format: Format,
}

/// CSV files, and the table that they are for
#[derive(Debug, Default, Args)]
pub(crate) struct Input {
    /// CSV files to read, packed with gzip or zstd or not; patterns; - for standard input [default:
    /// data/persons.csv]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Table to fill, `name` or `schema.name` [default: that of config.toml, persons]
    #[arg(short, long, value_name = "TABLE")]
    pub table: Option<String>,
    /// How to write [default: copy]
    #[arg(short, long, env = "POSTGRES_ETL_MODE")]
    pub mode: Option<Mode>,
    /// The columns of the fields, in their order, whatever the header says
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', help_heading = "Columns and tables")]
    pub columns: Option<Vec<String>>,
    /// A name in the header, and the column that it means; may be given more than once
    #[arg(long, value_name = "NAME=COLUMN", value_parser = parse_map, help_heading = "Columns and tables")]
    pub map: Vec<(String, String)>,
    /// Leave out names in the header that the table does not have
    #[arg(long, help_heading = "Columns and tables")]
    pub ignore_extra: bool,
}

/// `name=column`.
fn parse_map(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, column)) if !name.is_empty() && !column.is_empty() => Ok((name.into(), column.into())),
        _ => Err("expected a name in the header, = and a column".into()),
    }
}

/// How CSV files are written
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "How the files are written")]
pub(crate) struct Format {
    /// Between fields: one character, or `tab` [default: ,]
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<String>,
    /// Around fields that hold special characters [default: "]
    #[arg(long, value_name = "CHARACTER")]
    pub quote: Option<String>,
    /// Before a quote inside a quoted field [default: the quote itself]
    #[arg(long, value_name = "CHARACTER")]
    pub escape: Option<String>,
    /// A field that is this text, without quotes, is NULL [default: nothing]
    #[arg(long, value_name = "TEXT")]
    pub null: Option<String>,
    /// The first record is data: fields are the table's columns in their order
    #[arg(long)]
    pub no_header: bool,
    /// Pass over records that begin with this character [default: none]
    #[arg(long, value_name = "CHARACTER")]
    pub comment: Option<String>,
    /// What the bytes mean: utf-16le, windows-1252, big5 …, as the WHATWG Encoding Standard has it: latin1 is
    /// windows-1252 [default: utf-8]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,
    /// Find out how the first file is written, and print the flags that say so
    #[arg(long, conflicts_with_all = ["delimiter", "quote", "escape", "no_header", "comment", "encoding"])]
    pub sniff: bool,
    /// Refuse a record that is longer; a quote may be open [default: 67108864, 64 MiB]
    #[arg(long, value_name = "BYTES")]
    pub max_record_bytes: Option<usize>,
}

/// Measure how many queries a second the server answers, and how fast
///
/// Runs workloads of config.toml, or a statement given here, over several connections, with arguments drawn from the
/// seed, and reports rate, latency, errors, and what bounded the run.
#[derive(Debug, Default, Args)]
#[command(after_help = "\
Examples:
  postgres-etl query -n 1000                 the default workload, older-than, 1,000 times
  postgres-etl query by-id summary           a mix of two workloads of config.toml
  postgres-etl query by-id --rate 2000 --duration 30s --warm-up 5s
  postgres-etl query --sql 'SELECT * FROM persons WHERE city = $1' --arg column:persons.city
  postgres-etl query by-id --sweep connections=1,4,16 pipeline-depth=1,8,64
  postgres-etl query by-id --find-max --p99 5ms
  postgres-etl query by-id --save before.json; postgres-etl query by-id --baseline before.json

Closed loop: every connection keeps up to --pipeline-depth queries on the way, and sends the next one when \
an answer comes. Many on the way at once raise the rate and, since they queue, the latency too: use \
--pipeline-depth 1 to see the latency of a query by itself. Open loop (--rate): queries are due at that rate \
whatever became of those before, and their response times count from then, not from when they could be sent.

Arguments: uniform draws all values from LOW to HIGH equally often. The others draw whole numbers: gaussian \
around the middle, with LOW and HIGH SPREAD standard deviations away; exponential most often near LOW, falling by e \
to the power of RATE from there to HIGH; zipfian LOW most often, and the n-th value n to the power of EXPONENT less \
often; sequence one after the other, and from LOW again.

Queries on the way together share a Sync, up to --sync-every of them: the server then ends a transaction and \
sends a reply for all at once. That is done for statements that begin with SELECT, VALUES or TABLE, or with \
WITH and do not write, in read-only sessions: what writes nevertheless is refused. --sync-every 1 gives each query a Sync, and so a transaction, of its own, and lets it write.")]
pub(crate) struct Query {
    /// Workloads to run, each a [query.NAME] of config.toml; several are mixed by their weights [default:
    /// older-than]
    #[arg(value_name = "NAME", conflicts_with = "sql")]
    pub names: Vec<String>,
    /// Run this statement instead
    #[arg(long, value_name = "SQL", allow_hyphen_values = true)]
    pub sql: Option<String>,
    /// An argument of --sql, one for each of $1, $2 …: a constant, uniform:LOW:HIGH, gaussian:LOW:HIGH:SPREAD,
    /// exponential:LOW:HIGH:RATE, zipfian:LOW:HIGH:EXPONENT, sequence:LOW:HIGH, choice:A,B, column:TABLE.COLUMN,
    /// csv:FILE:COLUMN, or text:CONSTANT; HIGH may be `rows`, as many as the configured table has
    #[arg(long = "arg", value_name = "ARG", requires = "sql", allow_hyphen_values = true)]
    pub args: Vec<ArgSpec>,
    /// How many queries; of workloads with a transaction, how many transactions [default: 100000]
    #[arg(short = 'n', long, value_name = "N")]
    pub queries: Option<u64>,
    /// How long: 500ms, 30s, 5m; with -n, whichever is first
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// Ask for so long before anything is measured
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub warm_up: Option<Duration>,
    /// Where the arguments start: the same seed asks the same questions [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Connections to ask over [default: 20]
    #[arg(short, long, value_name = "N", help_heading = "Load")]
    pub connections: Option<usize>,
    /// Queries, or transactions, on the way at once on each connection [default: 8; 1 in an open loop]
    #[arg(short = 'd', long, value_name = "N", help_heading = "Load")]
    pub pipeline_depth: Option<usize>,
    /// Queries that share a Sync, after which the server ends their transaction and replies: they may only read;
    /// 1 for a Sync each [default: 256 for a SELECT, else 1; with --explain 1]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub sync_every: Option<usize>,
    /// How statements are given to the server [default: prepared]
    #[arg(long, help_heading = "Load")]
    pub protocol: Option<Protocol>,
    /// Open loop: send so many queries a second, over all connections, whatever becomes of them; response times count
    /// from when each was due
    #[arg(long, value_name = "RATE", value_parser = parse_rate, help_heading = "Load")]
    pub rate: Option<f64>,
    /// How the queries of an open loop are spread over time [default: poisson]
    #[arg(long, help_heading = "Load")]
    pub arrivals: Option<Arrivals>,

    /// Compare the rows of every answer, in any order, with what a quiet connection was told before; differences fail
    /// the run
    #[arg(long, conflicts_with_all = ["expect_rows", "expect_value"], help_heading = "Answers and errors")]
    pub verify: bool,
    /// Every answer has so many rows, or the run fails
    #[arg(long, value_name = "N", requires = "sql", help_heading = "Answers and errors")]
    pub expect_rows: Option<u64>,
    /// The first value of every answer is this, or the run fails
    #[arg(
        long,
        value_name = "VALUE",
        requires = "sql",
        allow_hyphen_values = true,
        help_heading = "Answers and errors"
    )]
    pub expect_value: Option<String>,
    /// Send a query or transaction again, up to so often, when it fails to serialize or is in a deadlock; its
    /// latency counts from the first time [default: 0]
    #[arg(long, value_name = "N", help_heading = "Answers and errors")]
    pub retries: Option<u64>,
    /// Stop when more than N queries are refused or lost; up to N do not fail the run; without it none stops a run, and
    /// one fails it
    #[arg(long, value_name = "N", help_heading = "Answers and errors")]
    pub max_errors: Option<u64>,

    /// Show each connection's figures too
    #[arg(long, help_heading = "What is reported")]
    pub per_connection: bool,
    /// Show the plan, by EXPLAIN (ANALYZE, BUFFERS), of the slowest arguments of each statement
    #[arg(long, help_heading = "What is reported")]
    pub explain: bool,
    /// Count answers only: take no times, to see what that costs
    #[arg(long, help_heading = "What is reported")]
    pub no_latency: bool,

    /// Make a run for every combination of one or two settings, and draw the map: connections=1,2,4
    /// pipeline-depth=1,8 rate=100,200; names of workloads come before it
    #[arg(long, value_name = "SETTING=VALUES", num_args = 1.., conflicts_with_all = ["ramp", "find_max"], help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
    pub sweep: Vec<Axis>,
    /// Make a run, as with --rate, for each rate from FROM to TO queries a second, STEP apart
    #[arg(long, value_name = "FROM:TO:STEP", conflicts_with_all = ["rate", "find_max"], help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
    pub ramp: Option<Ramp>,
    /// Search the highest rate at which 99 of 100 response times keep within --p99
    #[arg(
        long,
        conflicts_with = "rate",
        help_heading = "Several runs, of 5 s each unless -n or --duration is given"
    )]
    pub find_max: bool,
    /// The bound of --find-max, such as 5ms
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "find_max", help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
    pub p99: Option<Duration>,

    /// Keep the run in this file
    #[arg(long, value_name = "FILE", help_heading = "Comparing runs")]
    pub save: Option<PathBuf>,
    /// Compare with the run that is kept in this file, figure by figure
    #[arg(long, value_name = "FILE", help_heading = "Comparing runs")]
    pub baseline: Option<PathBuf>,
    /// Fail if the run is worse than the baseline by more than so much and the difference is significant, or if too
    /// little was measured to tell: slower:5% (of the rate; with --rate of the mean response time) or p99:10%; may be
    /// given more than once
    #[arg(long, value_name = "FIGURE:PERCENT", help_heading = "Comparing runs")]
    pub fail_if: Vec<Threshold>,
}

/// No run takes longer.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A time with its unit.
fn parse_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= LONGEST => Ok(time),
        Ok(_) => Err("expected more than no time, and a year at most".into()),
        Err(error) => Err(format!("{error}; write 500ms, 30s or 5m")),
    }
}

/// Queries a second.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err("expected queries a second, from 0.001 to 100000000".into()),
    }
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
pub(crate) struct Server {
    /// What to do with it.
    #[command(subcommand)]
    pub action: ServerAction,
}

/// What to do with our server.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum ServerAction {
    /// Start it, or say that it runs
    Start,
    /// Stop it; its data stay
    Stop,
    /// Say whether it runs, and where its data and log are; exit code 3 if it does not
    Status,
    /// Start it if need be and print its URL
    Url,
}

/// [`postgres_etl::load::Mode`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// one prepared INSERT per row, pipelined
    Rows,
    /// one INSERT … SELECT FROM unnest(…) per batch of rows, pipelined
    Batch,
    /// one binary COPY FROM STDIN
    Copy,
    /// read and encode for the table of config.toml, without a server
    Null,
}

impl From<Mode> for postgres_etl::load::Mode {
    fn from(mode: Mode) -> Self {
        match mode {
            Mode::Rows => Self::Rows,
            Mode::Batch => Self::Batch,
            Mode::Copy => Self::Copy,
            Mode::Null => Self::Null,
        }
    }
}

/// [`postgres_etl::load::DeferIndexes`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeferIndexes {
    /// when the table is empty, or emptied by this load, and they can be restored exactly
    Auto,
    /// also when the table has rows; an error if they cannot be restored exactly
    Always,
    /// leave the indexes in place
    Never,
}

impl From<DeferIndexes> for postgres_etl::load::DeferIndexes {
    fn from(when: DeferIndexes) -> Self {
        match when {
            DeferIndexes::Auto => Self::Auto,
            DeferIndexes::Always => Self::Always,
            DeferIndexes::Never => Self::Never,
        }
    }
}

/// [`query::Protocol`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// parsed once on each connection, then bound and executed
    Prepared,
    /// parsed, bound and executed every time, with parameters
    Unnamed,
    /// sent as text, with the arguments written into it
    Simple,
}

impl From<Protocol> for query::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Prepared => Self::Prepared,
            Protocol::Unnamed => Self::Unnamed,
            Protocol::Simple => Self::Simple,
        }
    }
}

/// [`query::Arrivals`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Arrivals {
    /// independent of each other, like those of many users: the gaps are exponentially distributed
    Poisson,
    /// evenly spaced
    Constant,
}

impl From<Arrivals> for query::Arrivals {
    fn from(arrivals: Arrivals) -> Self {
        match arrivals {
            Arrivals::Poisson => Self::Poisson,
            Arrivals::Constant => Self::Constant,
        }
    }
}
