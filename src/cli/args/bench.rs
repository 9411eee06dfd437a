//! What `bench` and `report` take.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueHint};

use crate::cli::args::Connect;
use crate::cli::args::numbers::{count, parse_time};

/// Compare this program with others at loading and querying
///
/// Every contender does the same work on the same server, in turn and in random order; what it leaves in the table, or
/// answers, is checked before its time counts. Peers that are not installed are listed as missing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  postgres-etl bench                             a first impression, in less than a minute
  postgres-etl bench --install-peers             install the Python and Rust peers, then compare
  postgres-etl bench --full --save result.json   everything, in about a quarter of an hour
  postgres-etl bench --only copy,psql-copy --rows 1000000 --runs 11
  postgres-etl bench --list                      who takes part, and on what terms

bench creates the schema postgres_etl_bench in the database, and drops it at the end. Other programs on \
the machine distort the figures: leave the machine idle.")]
pub(crate) struct Bench {
    /// Compare everything: 7 runs, 1,000 to 1,000,000 rows, and queries at several connections and depths
    #[arg(long, conflicts_with = "quick")]
    pub full: bool,
    /// A first impression: 3 runs, or as many as there is time for in a minute, 10,000 rows (the default)
    #[arg(long)]
    pub quick: bool,
    /// Sizes of the file to load [default: 10000; with --full 1000,100000,1000000]
    #[arg(long, value_name = "ROWS,…", value_delimiter = ',', value_parser = count::<u64>)]
    pub rows: Vec<u64>,
    /// Measured runs of each contender, after a warm-up [default: 3; with --full 7]
    #[arg(long, value_name = "N", value_parser = count::<usize>)]
    pub runs: Option<usize>,
    /// Names of the contenders that take part, as --list gives them; one that is missing makes the exit code 1
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_hint = ValueHint::Other)]
    pub only: Vec<String>,
    /// Contender to which the others are compared; it has to take part [default: psql-copy, pgbench]
    #[arg(long, value_name = "NAME", value_hint = ValueHint::Other)]
    pub baseline: Option<String>,
    /// Start no run after this time; report the runs made until then
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub time_limit: Option<Duration>,
    /// End a run that takes longer, and report its contender as failed [default: 10 times as long as the longest run of
    /// another contender, at least 5 minutes and 1 ms a row]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub run_limit: Option<Duration>,
    /// Seed of the order of the runs [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// First install the available peers into a private directory
    #[arg(long)]
    pub install_peers: bool,
    /// List the contenders and their terms, and stop
    #[arg(long)]
    pub list: bool,
    /// Save the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Write a page with charts and the tables behind them to this file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write every run to this file, as CSV
    #[arg(long, value_name = "FILE")]
    pub csv: Option<PathBuf>,
    /// The server, part by part.
    #[command(flatten)]
    pub connect: Connect,
}
