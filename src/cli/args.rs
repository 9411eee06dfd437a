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
  postgres-etl load --mode copy       load data/persons.csv, generated if missing, into persons
  postgres-etl query -n 100000        run the default workload 100,000 times and report the rate
  postgres-etl check                  check the server, the table and the statements

Which server: --database-url, else DATABASE_URL, else PGHOST, PGSERVICE and the other PG*
variables, else [database] url in config.toml, else the embedded server, started when needed.

Exit codes: 0 done; 1 bad data, a file or server error; 2 wrong flags or configuration;
3 loaded, but some rows were set aside; 4 no connection, or no embedded server; 130 interrupted."
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
    /// Configuration file [default: ./config.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "POSTGRES_ETL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Server to use: `postgresql://user@host:5432/database` or "host=… dbname=…"
    // DATABASE_URL is read in `config`: a password must not appear in --help as a current value.
    #[arg(long, global = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Print the result as one JSON document on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Print nothing but the result and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Log more details; -vv logs even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
}

/// The subcommands.
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
/// on every machine, and a shorter file is a prefix of a longer one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl generate                          100,000 people into data/persons.csv
  postgres-etl generate -n 1000000 -o big.csv    a million of them
  postgres-etl generate -n 5 -o -                five of them on standard output")]
pub(crate) struct Generate {
    /// Number of people [default: 100000]
    #[arg(short = 'n', long, value_name = "N")]
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

/// Load CSV files into the table
///
/// Everything runs in one transaction: after an error the table is unchanged.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl load                           the configured file, by binary COPY
  zcat x.csv.Z | postgres-etl load - -t t     standard input into table t
  postgres-etl load people.csv --append       add to the rows in the table
  postgres-etl load orders.csv --table sales.orders --on-conflict update
  postgres-etl load new.csv --table new --create
                                              create a table for the file
  postgres-etl load dirty.csv --max-rejects 1%
                                              set bad rows aside in rejects.csv
  postgres-etl load 'data/*.csv.gz'           several files as one, decompressed
  postgres-etl load --mode rows               one prepared INSERT per row, pipelined, in one transaction
  postgres-etl load --mode rows --autocommit --connections 20
                                              one transaction per row, as many programs do
  postgres-etl load big.csv --append --connections auto
                                              two concurrent COPYs, where that is faster")]
pub(crate) struct Load {
    /// The files, and the table they are for.
    #[command(flatten)]
    pub input: Input,
    /// Add to the rows in the table (the default with --table)
    #[arg(long, conflicts_with = "truncate")]
    pub append: bool,
    /// Empty the table first, in the same transaction [default: [load] truncate in config.toml, for its own table]
    #[arg(long)]
    pub truncate: bool,
    /// Drop the table's indexes and rebuild them after loading, in the same transaction [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub defer_indexes: Option<DeferIndexes>,
    /// Skip the ANALYZE that follows a load of more than a tenth of the table
    #[arg(long)]
    pub no_analyze: bool,
    /// Rows per INSERT in mode batch [default: 1000]
    #[arg(long, value_name = "ROWS")]
    pub batch_size: Option<usize>,
    /// Statements in flight on each connection: one per row in mode rows, one per batch (at most 4) in mode batch
    /// [default: 256; 1 with --autocommit]
    #[arg(long, value_name = "N")]
    pub pipeline_depth: Option<usize>,
    /// What to do with a row whose key is already in the table: skip it, or update the table's row; the key is the
    /// primary key unless columns are named, as in update:id,day
    #[arg(long, value_name = "skip|update[:COLUMNS]")]
    pub on_conflict: Option<OnConflict>,
    /// Set aside up to N bad rows, or N% of all rows, and load the others
    #[arg(long, value_name = "N|N%", default_value = "0", hide_default_value = true)]
    pub max_rejects: RejectLimit,
    /// File for bad rows, byte for byte, replacing that of an earlier load; the reasons go to the same name with
    /// .log.jsonl [default: rejects.csv]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Do everything, then roll it back
    #[arg(long)]
    pub dry_run: bool,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Create the table if it does not exist, with types that fit all of the file's values, and without a key
    #[arg(long, help_heading = "Columns and tables")]
    pub create: bool,
    /// With --create: infer the types from the first N records only [default: all]
    #[arg(long, value_name = "N", help_heading = "Columns and tables")]
    pub infer_rows: Option<u64>,
    /// With --create: replace an existing table; its indexes and privileges are dropped with it
    #[arg(long, requires = "create", conflicts_with_all = ["append", "truncate"], help_heading = "Columns and tables")]
    pub replace: bool,
    /// Print the CREATE TABLE statement that --create would run, and stop
    #[arg(long, help_heading = "Columns and tables")]
    pub ddl_only: bool,
    /// INSERTs that share a Sync message, in mode rows without --autocommit; 1 for one Sync per INSERT [default: 256]
    #[arg(long, value_name = "N")]
    pub sync_every: Option<usize>,
    /// Commit every row separately (mode rows); after an error the committed rows stay
    #[arg(long)]
    pub autocommit: bool,
    /// Connections to write over; more than one needs --autocommit, or --mode copy --append, where each has its own
    /// transaction and all commit at the end; auto uses two where that is faster [default: 1]
    #[arg(long, value_name = "N|auto")]
    pub connections: Option<Connections>,
    // Last, because its help heading would extend to the flags after it.
    /// How the files are written.
    #[command(flatten)]
    pub format: Format,
}

/// Check whether a load and the queries would work, without touching any data
///
/// Checks the configuration, the server, the table, the header and the first record of each file, and has
/// the server prepare every statement. Reports every problem, and writes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl check                             the configured file, table and statements
  postgres-etl check orders.csv --table orders   which field would go into which column")]
pub(crate) struct Check {
    /// The files, and the table they are for.
    #[command(flatten)]
    pub input: Input,
    /// How the files are written.
    #[command(flatten)]
    pub format: Format,
}

/// CSV files, and the table they are for
#[derive(Debug, Default, Args)]
pub(crate) struct Input {
    /// CSV files, plain or compressed with gzip or zstd; glob patterns; - for standard input [default:
    /// data/persons.csv]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Table to fill, `name` or `schema.name` [default: [table] name in config.toml, persons]
    #[arg(short, long, value_name = "TABLE")]
    pub table: Option<String>,
    /// How to write the rows [default: copy]
    #[arg(short, long, env = "POSTGRES_ETL_MODE")]
    pub mode: Option<Mode>,
    /// The table's columns in the order of the fields, whatever the header says
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', help_heading = "Columns and tables")]
    pub columns: Option<Vec<String>>,
    /// Load the field that the header calls NAME into COLUMN; can be repeated
    #[arg(long, value_name = "NAME=COLUMN", value_parser = parse_map, help_heading = "Columns and tables")]
    pub map: Vec<(String, String)>,
    /// Skip fields whose name in the header is not a column of the table
    #[arg(long, help_heading = "Columns and tables")]
    pub ignore_extra: bool,
}

/// `name=column`.
fn parse_map(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, column)) if !name.is_empty() && !column.is_empty() => Ok((name.into(), column.into())),
        _ => Err("expected NAME=COLUMN, a name in the header and a column".into()),
    }
}

/// How CSV files are written
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "How the files are written")]
pub(crate) struct Format {
    /// Character between fields, or `tab` [default: ,]
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<String>,
    /// Character around fields that contain special characters [default: "]
    #[arg(long, value_name = "CHARACTER")]
    pub quote: Option<String>,
    /// Character before a quote inside a quoted field [default: the quote itself]
    #[arg(long, value_name = "CHARACTER")]
    pub escape: Option<String>,
    /// An unquoted field with this text is NULL [default: the empty field]
    #[arg(long, value_name = "TEXT")]
    pub null: Option<String>,
    /// The first record is data; the fields are the table's columns in their order
    #[arg(long)]
    pub no_header: bool,
    /// Skip records that begin with this character [default: none]
    #[arg(long, value_name = "CHARACTER")]
    pub comment: Option<String>,
    /// Character encoding: utf-16le, windows-1252, big5 …, as named by the WHATWG Encoding Standard, in which latin1
    /// is windows-1252 [default: utf-8]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,
    /// Detect how the first file is written, and print the matching flags
    #[arg(long, conflicts_with_all = ["delimiter", "quote", "escape", "no_header", "comment", "encoding"])]
    pub sniff: bool,
    /// Reject longer records (usually an unclosed quote) [default: 67108864, 64 MiB]
    #[arg(long, value_name = "BYTES")]
    pub max_record_bytes: Option<usize>,
}

/// Measure how many queries per second the server answers, and how fast
///
/// Runs workloads of config.toml, or the statement of --sql, over several connections, with seeded random arguments,
/// and reports the rate, the latency, the errors, and what bounded the run.
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

Closed loop: every connection keeps up to --pipeline-depth queries in flight, and sends the next one when \
a result arrives. A deeper pipeline raises the rate and, because queries queue, the latency too: use \
--pipeline-depth 1 for the latency of a single query. Open loop (--rate): queries are due at that rate \
whatever happened to earlier ones, and response times are measured from then, not from when they could be sent.

Arguments: uniform draws every value from LOW to HIGH with equal probability. The others draw integers: gaussian \
around the middle, with LOW and HIGH SPREAD standard deviations away; exponential most often near LOW, with a \
probability that falls by a factor of e^RATE towards HIGH; zipfian most often LOW, and the n-th value n^EXPONENT times \
less often; sequence counts from LOW to HIGH and starts again.

Queries in flight share a Sync message, up to --sync-every of them: the server ends one transaction and flushes \
one reply for the whole group. This applies to statements that begin with SELECT, VALUES or TABLE, or with WITH \
and do not write; they run in read-only sessions, in which writes fail. With --sync-every 1 each query has its own \
Sync, and so its own transaction, and may write.")]
pub(crate) struct Query {
    /// Workloads to run, each defined by [query.NAME] in config.toml; several are mixed by weight [default:
    /// older-than]
    #[arg(value_name = "NAME", conflicts_with = "sql")]
    pub names: Vec<String>,
    /// Run this statement instead
    #[arg(long, value_name = "SQL", allow_hyphen_values = true)]
    pub sql: Option<String>,
    /// Argument of --sql, one for each of $1, $2 …: a constant, uniform:LOW:HIGH, gaussian:LOW:HIGH:SPREAD,
    /// exponential:LOW:HIGH:RATE, zipfian:LOW:HIGH:EXPONENT, sequence:LOW:HIGH, choice:A,B, column:TABLE.COLUMN,
    /// csv:FILE:COLUMN, or text:CONSTANT; HIGH may be `rows`, the number of rows in the configured table
    #[arg(long = "arg", value_name = "ARG", requires = "sql", allow_hyphen_values = true)]
    pub args: Vec<ArgSpec>,
    /// Number of queries, or of transactions for workloads with a transaction [default: 100000]
    #[arg(short = 'n', long, value_name = "N")]
    pub queries: Option<u64>,
    /// How long to run: 500ms, 30s, 5m; with -n, whichever ends first
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// How long to run before measuring
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub warm_up: Option<Duration>,
    /// Seed of the arguments: the same seed sends the same queries [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Number of connections [default: 20]
    #[arg(short, long, value_name = "N", help_heading = "Load")]
    pub connections: Option<usize>,
    /// Queries, or transactions, in flight on each connection [default: 8; 1 in an open loop]
    #[arg(short = 'd', long, value_name = "N", help_heading = "Load")]
    pub pipeline_depth: Option<usize>,
    /// Queries that share a Sync message and so a transaction, which may only read; 1 for one Sync per query [default:
    /// 256 for statements that only read, else 1; 1 with --explain]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub sync_every: Option<usize>,
    /// How statements are sent to the server [default: prepared]
    #[arg(long, help_heading = "Load")]
    pub protocol: Option<Protocol>,
    /// Open loop: send RATE queries per second over all connections, whether or not earlier ones were answered; response
    /// times are measured from when each query was due
    #[arg(long, value_name = "RATE", value_parser = parse_rate, help_heading = "Load")]
    pub rate: Option<f64>,
    /// How the queries of an open loop are spread over time [default: poisson]
    #[arg(long, help_heading = "Load")]
    pub arrivals: Option<Arrivals>,

    /// Compare the rows of every result, in any order, with those of the same query run once beforehand; differences
    /// fail the run
    #[arg(long, conflicts_with_all = ["expect_rows", "expect_value"], help_heading = "Answers and errors")]
    pub verify: bool,
    /// Fail unless every result has exactly N rows
    #[arg(long, value_name = "N", requires = "sql", help_heading = "Answers and errors")]
    pub expect_rows: Option<u64>,
    /// Fail unless the first value of every result is VALUE
    #[arg(
        long,
        value_name = "VALUE",
        requires = "sql",
        allow_hyphen_values = true,
        help_heading = "Answers and errors"
    )]
    pub expect_value: Option<String>,
    /// Retry a query or transaction up to N times after a serialization failure or a deadlock; its latency counts from
    /// the first attempt [default: 0]
    #[arg(long, value_name = "N", help_heading = "Answers and errors")]
    pub retries: Option<u64>,
    /// Stop, and fail, when more than N queries fail [default: never stop; one failed query fails the run]
    #[arg(long, value_name = "N", help_heading = "Answers and errors")]
    pub max_errors: Option<u64>,

    /// Report each connection separately, too
    #[arg(long, help_heading = "What is reported")]
    pub per_connection: bool,
    /// Show the plan of each statement for its slowest arguments, by EXPLAIN (ANALYZE, BUFFERS)
    #[arg(long, help_heading = "What is reported")]
    pub explain: bool,
    /// Measure the rate only, no latencies, to see what measuring them costs
    #[arg(long, help_heading = "What is reported")]
    pub no_latency: bool,

    /// Run every combination of one or two settings, and draw a map: connections=1,2,4 pipeline-depth=1,8
    /// rate=100,200; put the names of workloads before it
    #[arg(long, value_name = "SETTING=VALUES", num_args = 1.., conflicts_with_all = ["ramp", "find_max"], help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
    pub sweep: Vec<Axis>,
    /// Run at each rate from FROM to TO queries per second, STEP apart, as with --rate
    #[arg(long, value_name = "FROM:TO:STEP", conflicts_with_all = ["rate", "find_max"], help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
    pub ramp: Option<Ramp>,
    /// Find the highest rate at which the 99th percentile of the response time stays within --p99
    #[arg(
        long,
        conflicts_with = "rate",
        help_heading = "Several runs, of 5 s each unless -n or --duration is given"
    )]
    pub find_max: bool,
    /// The bound of --find-max, such as 5ms
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "find_max", help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
    pub p99: Option<Duration>,

    /// Save the run to this file
    #[arg(long, value_name = "FILE", help_heading = "Comparing runs")]
    pub save: Option<PathBuf>,
    /// Compare with the run saved in this file, figure by figure
    #[arg(long, value_name = "FILE", help_heading = "Comparing runs")]
    pub baseline: Option<PathBuf>,
    /// Fail if the run is significantly worse than the baseline by more than this, or if there is not enough data to
    /// tell: slower:5% (lower rate; with --rate, longer mean response time) or p99:10%; can be repeated
    #[arg(long, value_name = "FIGURE:PERCENT", help_heading = "Comparing runs")]
    pub fail_if: Vec<Threshold>,
}

/// The longest run.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A time with its unit.
fn parse_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if !time.is_zero() && time <= LONGEST => Ok(time),
        Ok(_) => Err("expected a time above 0 and at most a year".into()),
        Err(error) => Err(format!("{error}; write 500ms, 30s or 5m")),
    }
}

/// Parse a rate in queries per second.
fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err("expected queries per second, from 0.001 to 100000000".into()),
    }
}

/// Start, stop or inspect the embedded server
///
/// It is used when no flag, variable or configuration names another server. It listens on a unix socket only,
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
    /// Start it, unless it is running
    Start,
    /// Stop it; its data is kept
    Stop,
    /// Report whether it is running, and where its data and log are; exit code 3 if it is not
    Status,
    /// Start it if necessary, and print its URL
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
