//! What a comparison consists of.

use std::time::Duration;

use postgres_etl::{Error, Result};

use crate::cli::bench::contender::{QueryLoad, cores};
use crate::cli::bench::server::QUERIED;
use crate::cli::render::units::counted;

/// What is to be compared, and how often.
#[derive(Debug, Clone)]
pub(crate) struct BenchOptions {
    /// Sizes of the file to load, in rows.
    pub(crate) rows: Vec<u64>,
    /// Measured runs of each contender, after one that does not count.
    pub(crate) runs: usize,
    /// Whether to query with every combination of several connections and depths.
    pub(crate) grid: bool,
    /// Names of the contenders that take part; all if it is empty.
    pub(crate) only: Vec<String>,
    /// The contender to which the others are compared; by default psql for loads and pgbench for queries.
    pub(crate) baseline: Option<String>,
    /// When to begin no further run; `None` for no limit.
    pub(crate) time_limit: Option<Duration>,
    /// When to end a run that does not end by itself; `None` for a time that the other contenders' runs suggest.
    pub(crate) run_limit: Option<Duration>,
    /// Seed of the order of runs, and of the questions.
    pub(crate) seed: u64,
}

/// Rows of the table that is queried.
pub(super) const QUERIED_ROWS: u64 = 100_000;

/// How long each run of queries takes, in seconds.
pub(super) const QUERY_SECONDS: u64 = 1;

/// What one section compares.
#[derive(Debug, Clone, Copy)]
pub(super) enum Work {
    /// Loading a file of this number of rows.
    Load(u64),
    /// Executing a statement.
    Query(&'static Question, QueryLoad),
}

/// A statement, and the numbers that it is asked about.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: &'static str,
    /// What is selected; see [`Question::sql`].
    selected: &'static str,
    condition: &'static str,
    pub(super) numbers: (u64, u64),
}

/// The tutorial's statement.
const OLDER_THAN: Question =
    Question { name: "older-than", selected: "COUNT(*)", condition: "age > $1", numbers: (22, 65) };

/// A look-up by key.
const BY_ID: Question =
    Question { name: "by-id", selected: "name", condition: "id = $1", numbers: (1, QUERIED_ROWS) };

impl Question {
    pub(super) fn sql(&self) -> String {
        format!("SELECT {} FROM {QUERIED} WHERE {}", self.selected, self.condition)
    }
}

impl BenchOptions {
    /// Check that there is something to do.
    ///
    /// # Errors
    /// When a number is out of range.
    pub(crate) fn check(&self) -> Result<()> {
        if self.runs == 0 || self.runs > 1000 {
            return Err(
                Error::usage(format!("--runs {} is out of range", self.runs)).with_help("use 1 to 1000")
            );
        }
        if let Some(rows) = self.rows.iter().find(|rows| !(1..=100_000_000).contains(*rows)) {
            return Err(
                Error::usage(format!("--rows {rows} is out of range")).with_help("use 1 to 100000000")
            );
        }
        Ok(())
    }

    /// Whether the contender `name` is to take part.
    pub(super) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// The sections, in the order of the report.
    pub(super) fn works(&self) -> Vec<Work> {
        let shape = |connections, depth| QueryLoad::Shape { connections, depth };
        let loads = self.rows.iter().map(|rows| Work::Load(*rows));
        let mut works: Vec<Work> = loads.chain([Work::Query(&OLDER_THAN, shape(cores(), 1))]).collect();
        if self.grid {
            for connections in [1, 4, 16] {
                works.extend([1, 8, 64].map(|depth| Work::Query(&BY_ID, shape(connections, depth))));
            }
        }
        works.push(Work::Query(&BY_ID, QueryLoad::Fastest));
        works
    }
}

impl Work {
    /// What is done, for people.
    pub(super) fn title(&self) -> String {
        match self {
            Work::Load(rows) => format!("load {}", counted(*rows, "row")),
            Work::Query(question, QueryLoad::Fastest) => format!("{}, each as fast as it can", question.name),
            Work::Query(
                question,
                QueryLoad::Shape { connections, depth } | QueryLoad::Setting { connections, depth },
            ) => {
                let connections = counted(*connections as u64, "connection");
                match depth {
                    1 => format!("{}, {connections}, one at a time", question.name),
                    depth => format!("{}, {connections}, {depth} in flight on each", question.name),
                }
            }
        }
    }

    /// The contender to which the others are compared unless the user names one.
    pub(super) fn baseline(&self) -> &'static str {
        match self {
            Work::Load(_) => "psql-copy",
            Work::Query(_, QueryLoad::Shape { depth: 1, .. } | QueryLoad::Fastest) => "pgbench",
            Work::Query(..) => "pgbench-pipeline",
        }
    }
}
