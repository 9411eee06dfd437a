//! What `load` and `check` take.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum, ValueHint};
use postgres_etl::csv::{BlankLines, StrayQuotes};
use postgres_etl::load::{AddedValue, Connections, DateStyle, OnConflict, RejectLimit};

use crate::cli::args::Connect;
use crate::cli::args::numbers::{count, parse_time};

/// Load CSV files into a table
///
/// Everything runs in one transaction, unless --autocommit or several connections are used: after an error the table is
/// unchanged.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl load                           the configured file, by binary COPY
  zcat x.csv.Z | postgres-etl load - -t t     standard input into table t
  postgres-etl load people.csv --append       add to the rows in the table
  postgres-etl load orders.csv --table sales.orders --on-conflict update
  postgres-etl load new.csv --table new --create --add-column loaded_at=now()
                                              create a table for the file, with a column for the time
  postgres-etl load dirty.csv --max-rejects 1%
                                              write bad rows to rejects.csv, load the others
  postgres-etl load 'data/*.csv.gz'           several files as one, decompressed
  postgres-etl load --mode rows               one prepared INSERT per row, pipelined, in one transaction
  postgres-etl load --mode rows --autocommit --connections 20
                                              one transaction per row, as many programs do
  postgres-etl load big.csv --append --connections auto
                                              two concurrent COPYs, where that is faster
  postgres-etl load big.csv -t events --import-id events-2026-11
                                              in chunks; the same command again continues it")]
pub(crate) struct Load {
    /// The files, and the table they are for.
    #[command(flatten)]
    pub input: Input,
    /// Add to the rows in the table (the default with --table)
    #[arg(long, conflicts_with = "truncate")]
    pub append: bool,
    /// Empty the table first, in the same transaction [default for the table of config.toml: [load] truncate; for others: off]
    #[arg(long)]
    pub truncate: bool,
    /// Drop the table's indexes and rebuild them after loading, in the same transaction [default: auto]
    #[arg(long, value_name = "WHEN")]
    pub defer_indexes: Option<DeferIndexes>,
    /// How rows reach the partitions of a partitioned table [default: root]
    #[arg(long, value_name = "HOW")]
    pub partitions: Option<PartitionRouting>,
    /// Skip the ANALYZE that follows a load of more than a tenth of the table
    #[arg(long)]
    pub no_analyze: bool,
    /// Rows per INSERT in mode batch [default: 1000]
    #[arg(long, value_name = "ROWS", value_parser = count::<usize>)]
    pub batch_size: Option<usize>,
    /// Statements in flight on each connection: one per row in mode rows, one per batch (at most 4) in mode batch
    /// [default: 1024; 1 with --autocommit]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub pipeline_depth: Option<usize>,
    /// What to do with a row whose key is already in the table: skip it, or update the table's row; the key is the
    /// primary key unless columns are named, as in update:id,day
    #[arg(long, value_name = "skip|update[:COLUMNS]", value_hint = ValueHint::Other)]
    pub on_conflict: Option<OnConflict>,
    /// Reject up to N bad rows, or N% of all rows, and load the others
    #[arg(long, value_name = "N|N%", default_value = "0", hide_default_value = true)]
    pub max_rejects: RejectLimit,
    /// File for the rejected rows, byte for byte; replaces an earlier one. The reasons go to a file of the same name,
    /// ending in .log.jsonl [default: rejects.csv; rejects.ndjson for NDJSON]
    #[arg(long, value_name = "FILE")]
    pub rejects: Option<PathBuf>,
    /// Do everything, then roll it back
    #[arg(long)]
    pub dry_run: bool,
    /// After the commit, wait until every standby that is connected to the server has replayed the load, and report how long
    /// each took. If one has not after TIME, the exit code is 5 [default for TIME: 1m]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1m",
        value_parser = parse_time
    )]
    pub wait_for_replicas: Option<Duration>,
    /// How to read dates such as 08.10.2026: by day, month, year (dmy), by month, day, year (mdy), by year, month, day (ymd),
    /// or not at all (iso) [default: as the server is set, with a warning]
    #[arg(
        long,
        value_name = "iso|dmy|mdy|ymd",
        ignore_case = true,
        hide_possible_values = true,
        value_parser = PossibleValuesParser::new(["iso", "dmy", "mdy", "ymd"]).try_map(|text| parse_date_style(&text))
    )]
    pub date_style: Option<DateStyle>,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub receipt: Option<PathBuf>,
    /// Write the report to this file, as a page with charts, if the load succeeds
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Create the table if it does not exist, with types that fit all of the file's values, and without a key
    #[arg(long, help_heading = "Columns and tables")]
    pub create: bool,
    /// With --create: how types are inferred from values [default: natural]
    #[arg(long, value_name = "HOW", help_heading = "Columns and tables")]
    pub infer: Option<Infer>,
    /// With --create: the type of COLUMN, in SQL, instead of the one inferred; can be repeated
    #[arg(long = "type", value_name = "COLUMN=SQLTYPE", value_parser = parse_type, help_heading = "Columns and tables")]
    pub types: Vec<(String, String)>,
    /// With --create: infer the types from the first N records only [default: all]
    #[arg(long, value_name = "N", value_parser = count::<u64>, help_heading = "Columns and tables")]
    pub infer_rows: Option<u64>,
    /// With --create: replace an ordinary table; its indexes and privileges are dropped with it
    #[arg(long, requires = "create", conflicts_with_all = ["append", "truncate"], help_heading = "Columns and tables")]
    pub replace: bool,
    /// Print the CREATE TABLE statement that --create would run, and stop
    #[arg(long, help_heading = "Columns and tables")]
    pub ddl_only: bool,
    /// If the load creates the table: let Citus distribute it by this column
    #[arg(long, value_name = "COLUMN", help_heading = "Columns and tables")]
    pub distribute_by: Option<String>,
    /// With --distribute-by: the number of shards [default: Citus's own, `citus.shard_count`]
    #[arg(
        long,
        value_name = "N",
        value_parser = count::<u32>,
        requires = "distribute_by",
        conflicts_with = "colocate_with",
        help_heading = "Columns and tables"
    )]
    pub shards: Option<u32>,
    /// With --distribute-by: keep rows with the same value on the same node as those of TABLE
    #[arg(long, value_name = "TABLE", requires = "distribute_by", help_heading = "Columns and tables")]
    pub colocate_with: Option<String>,
    /// If the load creates the table: let Citus keep all rows on every node
    #[arg(long, conflicts_with = "distribute_by", help_heading = "Columns and tables")]
    pub reference: bool,
    /// INSERTs that share a Sync message, in mode rows without --autocommit; 1 for one Sync per INSERT [default: 256]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub sync_every: Option<usize>,
    /// Commit every row separately (mode rows); after an error the committed rows stay
    #[arg(long)]
    pub autocommit: bool,
    /// Commit in chunks, each together with its row in a ledger: killed anywhere and run again with this ID, the load
    /// continues, and every row is loaded exactly once
    #[arg(long, value_name = "ID", help_heading = "Loads that can be continued")]
    pub import_id: Option<String>,
    /// Rows in each chunk [default: as many as make 32 MiB]; a rerun keeps the chunks of the first run
    #[arg(long, value_name = "N", requires = "import_id", help_heading = "Loads that can be continued")]
    pub chunk_rows: Option<u64>,
    /// Divide the chunks among all processes that run this import with --share, on machines that see the same files
    #[arg(long, requires = "import_id", help_heading = "Loads that can be continued")]
    pub share: bool,
    /// Table of the committed chunks, created with two others beside it if it does not exist [default: `postgres_etl.ledger`]
    #[arg(long, value_name = "TABLE", requires = "import_id", help_heading = "Loads that can be continued")]
    pub ledger: Option<String>,
    /// Retries in a row, with growing pauses, while the server cannot be reached, and of a chunk after a lost connection, a
    /// deadlock or a serialization failure [default: 10]
    #[arg(long, value_name = "N", requires = "import_id", help_heading = "Loads that can be continued")]
    pub retries: Option<u32>,
    /// Connections to write over; more than one needs --autocommit, or --mode copy --append: each connection then has its
    /// own transaction, and all commit at the end; auto uses two where that is faster [default: 1]
    #[arg(long, value_name = "N|auto")]
    pub connections: Option<Connections>,
    /// Threads that encode CSV, besides one that reads; more than one where encoding is what bounds the load: for several
    /// connections, or many cores [default: 1]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub threads: Option<usize>,
    /// The server, part by part.
    #[command(flatten)]
    pub connect: Connect,
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
    /// The server, part by part.
    #[command(flatten)]
    pub connect: Connect,
    /// How the files are written.
    #[command(flatten)]
    pub format: Format,
}

/// CSV files, and the table they are for
#[derive(Debug, Default, Args)]
pub(crate) struct Input {
    /// CSV or NDJSON files, plain or compressed with gzip, zstd, bzip2 or xz; glob patterns; - for standard input
    /// [default: data/persons.csv]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Table to fill, `name` or `schema.name` [default: [table] name in config.toml, persons]
    #[arg(short, long, value_name = "TABLE")]
    pub table: Option<String>,
    /// How to write the rows [default: copy]
    #[arg(short, long, env = "POSTGRES_ETL_MODE")]
    pub mode: Option<Mode>,
    /// Columns that the fields go to, in the order of the fields; overrides the header
    #[arg(long, value_name = "COLUMNS", value_delimiter = ',', help_heading = "Columns and tables")]
    pub columns: Option<Vec<String>>,
    /// Load the field that the header calls NAME into COLUMN; can be repeated
    #[arg(long, value_name = "NAME=COLUMN", value_parser = parse_map, help_heading = "Columns and tables")]
    pub map: Vec<(String, String)>,
    /// Skip fields whose name in the header is not a column of the table
    #[arg(long, help_heading = "Columns and tables")]
    pub ignore_extra: bool,
    /// Load only these fields, by their names in the header
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Columns and tables")]
    pub select: Option<Vec<String>>,
    /// How names in the header become names of columns [default: as-is]
    #[arg(long, value_name = "STYLE", help_heading = "Columns and tables")]
    pub names: Option<NameStyle>,
    /// Give COLUMN, which is not in the files, the time of the load (`now()`), the name of the row's file (@file), its
    /// line (@line), or a constant (write @@ for a leading @); can be repeated
    #[arg(long = "add-column", value_name = "COLUMN=VALUE", value_parser = parse_added, help_heading = "Columns and tables")]
    pub added: Vec<(String, AddedValue)>,
}

/// `column=sqltype`.
fn parse_type(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, sql_type)) if !name.trim().is_empty() && !sql_type.trim().is_empty() => {
            Ok((name.into(), sql_type.trim().into()))
        }
        _ => Err("expected COLUMN=SQLTYPE, such as price=numeric(10,2)".into()),
    }
}

/// `column=value`.
fn parse_added(text: &str) -> Result<(String, AddedValue), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.into(), value.parse()?)),
        _ => Err("expected COLUMN=VALUE, such as loaded_at=now()".into()),
    }
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
    /// Format of the files [default: auto]
    #[arg(long = "format", value_name = "FORMAT")]
    pub syntax: Option<Syntax>,
    /// Character between fields, or `tab` [default: ,]
    #[arg(long, value_name = "CHARACTER")]
    pub delimiter: Option<String>,
    /// Character around fields that contain special characters; `none` if every character is a part of its value
    /// [default: "]
    #[arg(long, value_name = "CHARACTER")]
    pub quote: Option<String>,
    /// Character before a quote inside a quoted field [default: the quote itself]
    #[arg(long, value_name = "CHARACTER")]
    pub escape: Option<String>,
    /// An unquoted field with this text is NULL; can be repeated [default: the empty field]
    #[arg(long, value_name = "TEXT")]
    pub null: Vec<String>,
    /// Remove blanks around fields, but not those inside quotes
    #[arg(long)]
    pub trim: bool,
    /// Character before the fraction of a number [default: .]
    #[arg(long, value_name = "CHARACTER")]
    pub decimal: Option<char>,
    /// Character between groups of three digits of a number [default: none]
    #[arg(long, value_name = "CHARACTER")]
    pub thousands: Option<char>,
    /// Another word for true, in upper or lower case; takes precedence over the words that PostgreSQL reads; can be
    /// repeated
    #[arg(long = "true", value_name = "WORD")]
    pub true_words: Vec<String>,
    /// Another word for false, likewise; can be repeated
    #[arg(long = "false", value_name = "WORD")]
    pub false_words: Vec<String>,
    /// Skip the first N records of all files together
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    pub skip_rows: Option<u64>,
    /// Read at most N records of all files together
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    pub limit: Option<u64>,
    /// What to do with a quote inside an unquoted field, as in 37'37.8"N: remove it, as COPY does, keep the field as it
    /// is written, or reject the row [default: postgres]
    #[arg(long, value_name = "postgres|keep|reject", value_parser = parse_stray_quotes)]
    pub stray_quotes: Option<StrayQuotes>,
    /// Whether the first record names the columns; without a header, the fields go to the table's columns in order.
    /// auto decides by the names of the table's columns and by the records [default: yes; with --sniff: auto]
    #[arg(long, value_name = "WHEN", conflicts_with = "no_header")]
    pub header: Option<Header>,
    /// The first record is data, not names: the same as --header no
    #[arg(long)]
    pub no_header: bool,
    /// Skip the first N lines of each file, whatever they contain [default: 0]
    #[arg(long, value_name = "N", value_parser = count::<u64>)]
    pub skip_lines: Option<u64>,
    /// What to do with blank lines: read each as a row with one empty field, as COPY does (--pad then fills the row),
    /// skip them, or reject them [default: row, but --pad does not fill it; for NDJSON: skip]
    #[arg(long, value_name = "row|skip|error", value_parser = parse_blank_lines)]
    pub blank_lines: Option<BlankLines>,
    /// Load NULL into the last columns of rows that have too few fields
    #[arg(long)]
    pub pad: bool,
    /// Load columns that only some of the files have; in the rows of the others they are NULL, whatever their default is
    #[arg(long)]
    pub union_by_name: bool,
    /// Skip records that begin with this character [default: none]
    #[arg(long, value_name = "CHARACTER")]
    pub comment: Option<String>,
    /// Character encoding: utf-16le, windows-1252, big5 …, as named by the WHATWG Encoding Standard, in which latin1
    /// is windows-1252 [default: utf-8]
    #[arg(long, value_name = "NAME")]
    pub encoding: Option<String>,
    /// Detect how the first file is written, except for what other flags say; print the matching flags, and load with
    /// them; refuse an ambiguous file
    #[arg(long)]
    pub sniff: bool,
    /// Reject longer records (usually an unclosed quote) [default: 67108864, 64 MiB]
    #[arg(long, value_name = "BYTES", value_parser = count::<usize>)]
    pub max_record_bytes: Option<usize>,
}

/// Whether there is a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Header {
    Yes,
    No,
    Auto,
}

fn parse_stray_quotes(text: &str) -> Result<StrayQuotes, String> {
    match text {
        "postgres" => Ok(StrayQuotes::Postgres),
        "keep" => Ok(StrayQuotes::Keep),
        "reject" => Ok(StrayQuotes::Reject),
        _ => Err("expected postgres, keep or reject".into()),
    }
}

fn parse_blank_lines(text: &str) -> Result<BlankLines, String> {
    match text {
        "row" => Ok(BlankLines::Row),
        "skip" => Ok(BlankLines::Skip),
        "error" => Ok(BlankLines::Error),
        _ => Err("expected row, skip or error".into()),
    }
}

fn parse_date_style(text: &str) -> Result<DateStyle, String> {
    match text.to_ascii_lowercase().as_str() {
        "iso" => Ok(DateStyle::Iso),
        "dmy" => Ok(DateStyle::Dmy),
        "mdy" => Ok(DateStyle::Mdy),
        "ymd" => Ok(DateStyle::Ymd),
        _ => Err("expected iso, dmy, mdy or ymd".into()),
    }
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

/// [`postgres_etl::csv::Syntax`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Syntax {
    /// by the extension of the first file's name, or else by the file's first character
    Auto,
    /// CSV
    Csv,
    /// JSON objects, one on each line; their keys are the names of the fields
    Ndjson,
}

impl From<Syntax> for postgres_etl::csv::Syntax {
    fn from(syntax: Syntax) -> Self {
        match syntax {
            Syntax::Auto => Self::Auto,
            Syntax::Csv => Self::Csv,
            Syntax::Ndjson => Self::Ndjson,
        }
    }
}

/// [`postgres_etl::load::Infer`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Infer {
    /// by meaning, in any spelling; the report lists spellings that PostgreSQL prints differently
    Natural,
    /// only types that print every value as it is in the file, up to the spellings of ISO 8601
    Exact,
}

impl From<Infer> for postgres_etl::load::Infer {
    fn from(infer: Infer) -> Self {
        match infer {
            Infer::Natural => Self::Natural,
            Infer::Exact => Self::Exact,
        }
    }
}

/// [`postgres_etl::load::NameStyle`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NameStyle {
    /// as they are, but in lower case where SQL needs no quotes
    AsIs,
    /// in lower case, with an underscore between words
    #[value(name = "snake_case")]
    SnakeCase,
}

impl From<NameStyle> for postgres_etl::load::NameStyle {
    fn from(style: NameStyle) -> Self {
        match style {
            NameStyle::AsIs => Self::AsIs,
            NameStyle::SnakeCase => Self::SnakeCase,
        }
    }
}

/// [`postgres_etl::load::PartitionRouting`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartitionRouting {
    /// with several connections into a table partitioned by hash, send each row to its partition directly
    Auto,
    /// send all rows to the partitioned table; the server finds their partitions
    Root,
}

impl From<PartitionRouting> for postgres_etl::load::PartitionRouting {
    fn from(routing: PartitionRouting) -> Self {
        match routing {
            PartitionRouting::Auto => Self::Auto,
            PartitionRouting::Root => Self::Root,
        }
    }
}

/// [`postgres_etl::load::DeferIndexes`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DeferIndexes {
    /// when the table is empty, or emptied by this load, and the indexes can be restored exactly; not with --import-id
    Auto,
    /// also when the table has rows, or, with --import-id, until the import is finished; an error if the indexes cannot be
    /// restored exactly
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
