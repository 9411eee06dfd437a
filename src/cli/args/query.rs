//! What `query` takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};
use postgres_etl::count::parse_count;
use postgres_etl::postgres;
use postgres_etl::query::{self, ArgSpec, Axis, RATES, Ramp, Threshold};

use crate::cli::args::Connect;
use crate::cli::args::numbers::{count, parse_time};

/// Measure how many queries per second the server answers, and how long each takes
///
/// Runs workloads of config.toml, or the statement of --sql, over several connections, with seeded random arguments,
/// and reports the rate, the latency, the errors, and what bounded the run.
#[derive(Debug, Default, PartialEq, Args)]
#[command(after_help = "\
Examples:
  postgres-etl query -n 1000                 the default workload, older-than, 1,000 times
  postgres-etl query by-id summary           a mix of two workloads of config.toml
  postgres-etl query by-id --rate 2000 --duration 30s --warm-up 5s
  postgres-etl query --sql 'SELECT * FROM persons WHERE city = $1' --arg column:persons.city
  postgres-etl query by-id --sweep connections=1,4,16 pipeline-depth=1,8,64
  postgres-etl query by-id --find-max --p99 5ms
  postgres-etl query by-id --duration 1s --runs 10 --save before.json
  postgres-etl query by-id --duration 1s --runs 10 --baseline before.json
  postgres-etl query by-id --duration 1s --against-sql 'SELECT * FROM persons_new WHERE id = $1'
  postgres-etl query --init tpcb --scale 10  create the tables of pgbench
  postgres-etl query tpcb -c 10 --duration 60s

Closed loop: every connection keeps up to --pipeline-depth queries in flight, and sends the next one when \
a result arrives. A deeper pipeline raises the rate and, because queries queue, the latency too: use \
--pipeline-depth 1 for the latency of a single query. Open loop (--rate): queries fall due at that rate \
regardless of earlier ones; a response time counts from when its query was due, not from when it was sent.

Arguments:
  uniform      every value from LOW to HIGH is equally likely
  gaussian     integers around the middle; LOW and HIGH are each SPREAD standard deviations from it
  exponential  integers, LOW most often; the probability falls by a factor of e^RATE towards HIGH
  zipfian      integers, LOW most often; the n-th value is n^EXPONENT times rarer than LOW
  sequence     integers from LOW to HIGH, then from LOW again

pgbench's workloads: tpcb (pgbench -b tpcb-like), tpcb-simple (-b simple-update) and select-only (-b select-only) run on the tables of --init, or of pgbench -i, unless [query.NAME] in config.toml defines another of that name. A query is then a transaction. Each statement waits for the result of the one before it, and --pipeline-depth is 1 by default, as in pgbench -M prepared -n, so that the figures compare; a deeper pipeline sends whole transactions at once. The scale is the number of rows of pgbench_branches.

Queries in flight share a Sync message, up to --sync-every of them: the server ends one transaction and flushes \
one reply for the whole group. Only statements that begin with SELECT, VALUES or TABLE, and WITH statements that do \
not write, share one; they run in read-only transactions, in which writes fail. With --sync-every 1 each query has its own \
Sync, and so its own transaction, and may write.

Comparing: runs differ from one another by more than the queries within a run do, so change is told from noise by the \
differences between runs, and a single run tells nothing. --against and --against-sql compare most precisely: what \
slows the machine for a while slows both runs of a pair. The 95 % intervals are so wide that those of all seven figures \
hold together.")]
pub(crate) struct Query {
    /// Workloads to run, each defined by [query.NAME] in config.toml, or tpcb, tpcb-simple or select-only; several are
    /// mixed by weight [default: older-than]
    #[arg(value_name = "NAME", conflicts_with = "statement")]
    pub names: Vec<String>,
    /// Run this statement instead
    #[arg(long, value_name = "SQL", group = "statement", allow_hyphen_values = true)]
    pub sql: Option<String>,
    /// Run the statement in this file instead
    #[arg(short, long, value_name = "FILE", group = "statement")]
    pub file: Option<PathBuf>,
    /// Argument of --sql or --file, one for each of $1, $2 …: a constant, uniform:LOW:HIGH, gaussian:LOW:HIGH:SPREAD,
    /// exponential:LOW:HIGH:RATE, zipfian:LOW:HIGH:EXPONENT, sequence:LOW:HIGH, choice:A,B, column:TABLE.COLUMN,
    /// csv:FILE:COLUMN, or text:CONSTANT; HIGH may be `rows`, the number of rows in the configured table, or
    /// `rows(TABLE)`
    #[arg(long = "arg", value_name = "ARG", requires = "statement", allow_hyphen_values = true)]
    pub args: Vec<ArgSpec>,
    /// Number of queries, or of transactions for workloads with a transaction [default: 100000]
    #[arg(short = 'n', long, value_name = "N", value_parser = count::<u64>)]
    pub queries: Option<u64>,
    /// How long to run: 500ms, 30s, 5m, or a number of seconds; with -n, whichever ends first. Afterwards, it waits for
    /// outstanding results for the same time, but at least 10 s and at most 60 s
    #[arg(short = 'T', long, value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<Duration>,
    /// How long to run before measuring
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub warm_up: Option<Duration>,
    /// Seed of the arguments: the same seed sends the same queries [default: 1]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,

    /// Number of connections [default: 20]
    #[arg(short, long, value_name = "N", value_parser = count::<usize>, help_heading = "Load")]
    pub connections: Option<usize>,
    /// Queries, or transactions, in flight on each connection [default: 8; 1 in an open loop]
    #[arg(short = 'd', long, value_name = "N", value_parser = count::<usize>, help_heading = "Load")]
    pub pipeline_depth: Option<usize>,
    /// Number of queries that share a Sync, and so one read-only transaction; 1 gives each query its own transaction and
    /// allows writes [default: 256 if all statements only read; otherwise, or with --explain or another --protocol, 1]
    #[arg(long, value_name = "N", value_parser = count::<usize>, help_heading = "Load")]
    pub sync_every: Option<usize>,
    /// How statements are sent to the server [default: prepared]
    #[arg(short = 'M', long, help_heading = "Load")]
    pub protocol: Option<Protocol>,
    /// Open loop: send RATE queries per second over all connections, whether or not earlier ones were answered; response
    /// times are measured from when each query was due
    #[arg(short = 'R', long, value_name = "RATE", value_parser = parse_rate, help_heading = "Load")]
    pub rate: Option<f64>,
    /// How the queries of an open loop are spread over time [default: poisson]
    #[arg(long, help_heading = "Load")]
    pub arrivals: Option<Arrivals>,

    /// Hosts of the URL to send queries to, spread evenly over the connections: the report has the figures, the lag and the
    /// bottleneck of each [default: one host; all that fit with `load_balance_hosts=random`, or with
    /// `target_session_attrs` standby or prefer-standby]
    #[arg(long, value_name = "HOSTS", help_heading = "Replicas and nodes")]
    pub read_from: Option<ReadFrom>,
    /// Spread the connections over the nodes of a Citus cluster, of which the URL names one, and report the figures of each:
    /// auto takes the nodes that hold shards, by their names in `pg_dist_node` and with the login of the URL
    #[arg(long, value_name = "NODES", conflicts_with = "read_from", help_heading = "Replicas and nodes")]
    pub nodes: Option<Nodes>,
    /// Before anything else, wait until every host has replayed the write-ahead log up to LSN, such as the `lsn` in the
    /// report of a load
    #[arg(long, value_name = "LSN", help_heading = "Replicas and nodes")]
    pub wait_for_lsn: Option<String>,
    /// How long to wait for that [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "wait_for_lsn", help_heading = "Replicas and nodes")]
    pub wait_timeout: Option<Duration>,

    /// Compare the rows of every result, in any order, with those of the same query run once beforehand; differences
    /// fail the run
    #[arg(long, conflicts_with_all = ["expect_rows", "expect_value"], help_heading = "Answers and errors")]
    pub verify: bool,
    /// Fail unless every result has exactly N rows
    #[arg(long, value_name = "N", value_parser = count::<u64>, requires = "statement", help_heading = "Answers and errors")]
    pub expect_rows: Option<u64>,
    /// Fail unless the first value of every result is VALUE
    #[arg(
        long,
        value_name = "VALUE",
        requires = "statement",
        allow_hyphen_values = true,
        help_heading = "Answers and errors"
    )]
    pub expect_value: Option<String>,
    /// Retry a query or transaction up to N times after a serialization failure or a deadlock; its latency counts from
    /// the first attempt [default: 0]
    #[arg(long, value_name = "N", value_parser = count::<u64>, help_heading = "Answers and errors")]
    pub retries: Option<u64>,
    /// Stop once more than N queries have failed; up to N failures are accepted [default: never stop, but accept none]
    #[arg(long, value_name = "N", value_parser = count::<u64>, help_heading = "Answers and errors")]
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
    /// Write the report to this file too, as a page with charts
    #[arg(long, value_name = "FILE", help_heading = "What is reported")]
    pub html: Option<PathBuf>,
    /// Write counters, the rate and latency quantiles to this file, in Prometheus's text format: every 10 s while the run
    /// goes on, and at its end
    #[arg(long, value_name = "FILE", help_heading = "What is reported")]
    pub metrics_file: Option<PathBuf>,

    /// Run every combination of one or two settings, and draw a map: connections=1,2,4 pipeline-depth=1,8
    /// rate=100,200; workload names must come before it
    #[arg(long, value_name = "SETTING=VALUES", num_args = 1.., value_hint = ValueHint::Other, conflicts_with_all = ["ramp", "find_max"], help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
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
    /// The limit that --find-max keeps the 99th percentile within, such as 5ms
    #[arg(long, value_name = "TIME", value_parser = parse_time, requires = "find_max", help_heading = "Several runs, of 5 s each unless -n or --duration is given")]
    pub p99: Option<Duration>,

    /// Make N runs, one after another, each on new connections [default: 1; 10 pairs with --against or --against-sql]
    #[arg(long, value_name = "N", value_parser = count::<usize>, help_heading = "Comparing runs")]
    pub runs: Option<usize>,
    /// Save the run, or all of --runs, to this file
    #[arg(long, value_name = "FILE", help_heading = "Comparing runs")]
    pub save: Option<PathBuf>,
    /// Compare with the runs of the same statements saved in this file, figure by figure; without --runs on both sides,
    /// no difference counts as significant
    #[arg(long, value_name = "FILE", help_heading = "Comparing runs")]
    pub baseline: Option<PathBuf>,
    /// Interleave the runs with those of another statement, with the same arguments, in an order shuffled by --seed, and
    /// compare the two pair by pair
    #[arg(
        long,
        value_name = "SQL",
        allow_hyphen_values = true,
        conflicts_with = "baseline",
        help_heading = "Comparing runs"
    )]
    pub against_sql: Option<String>,
    /// Interleave the runs with those of the same workloads on another server, or, with --against-sql, with those of the
    /// other statement on that server
    #[arg(long, value_name = "URL", conflicts_with = "baseline", help_heading = "Comparing runs")]
    pub against: Option<String>,
    /// Fail if the runs are significantly worse than the other side by more than PERCENT, or if there is not enough data
    /// to tell: slower:5% (lower rate; with --rate, longer mean response time) or p99:10%; can be repeated; needs 5 runs
    /// or more on both sides. The report has the outcome of each: passed, failed, not shown (the interval includes more
    /// than PERCENT, but the runs are not significantly that much worse; fails nothing) or not enough data
    #[arg(long, value_name = "FIGURE:PERCENT", help_heading = "Comparing runs")]
    pub fail_if: Vec<Threshold>,

    /// Create the tables of pgbench instead of running queries; those that pgbench -i or an earlier --init created are
    /// replaced
    #[arg(long, value_name = "TABLES", help_heading = "Creating pgbench's tables")]
    pub init: Option<Init>,
    /// Number of branches, each with 10 tellers and 100,000 accounts, about 15 MB [default: 1]
    #[arg(long, value_name = "N", value_parser = count::<u32>, requires = "init", help_heading = "Creating pgbench's tables")]
    pub scale: Option<u32>,
    /// Also replace tables of these names that are not pgbench's
    #[arg(long, requires = "init", help_heading = "Creating pgbench's tables")]
    pub replace: bool,

    /// The server, part by part.
    #[command(flatten)]
    pub connect: Connect,
}

/// [`postgres::ReadFrom`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReadFrom {
    /// the primary
    Primary,
    /// all standbys
    Replicas,
    /// all hosts
    All,
}

impl From<ReadFrom> for postgres::ReadFrom {
    fn from(hosts: ReadFrom) -> Self {
        match hosts {
            ReadFrom::Primary => Self::Primary,
            ReadFrom::Replicas => Self::Replicas,
            ReadFrom::All => Self::All,
        }
    }
}

/// Which nodes of a Citus cluster the connections are spread over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Nodes {
    /// those that hold shards
    Auto,
}

impl From<Nodes> for postgres::ReadFrom {
    fn from(nodes: Nodes) -> Self {
        match nodes {
            Nodes::Auto => Self::Nodes,
        }
    }
}

/// What --init creates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Init {
    /// `pgbench_accounts`, `pgbench_branches`, `pgbench_tellers` and `pgbench_history`
    Tpcb,
}

/// Parse a rate in queries per second.
fn parse_rate(text: &str) -> Result<f64, String> {
    let count = || parse_count(text).ok().map(|count| count as f64);
    match text.parse().ok().or_else(count) {
        Some(rate) if RATES.contains(&rate) => Ok(rate),
        _ => Err("expected queries per second, from 0.001 to 100000000".into()),
    }
}

/// [`query::Protocol`] on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// parsed once on each connection, then bound and executed
    Prepared,
    /// parsed, bound and executed every time, with parameters
    #[value(alias = "extended")]
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
