//! What the results of a run should be.

use std::collections::HashMap;
use std::sync::Arc;

use crate::query::drive::digest::ResultDigest;
use crate::query::workload::mix::Mix;

/// Results from before the run, by workload and arguments; `None` where the query failed.
pub(crate) type KnownResults = HashMap<(usize, String), Option<ResultDigest>>;

/// What results are compared with.
#[derive(Debug, Clone)]
pub(crate) enum Expected {
    /// The results of the same queries, run once beforehand on a single connection.
    Known(Arc<KnownResults>),
    /// What the options demand of every result.
    Fixed {
        /// The number of rows; `None` for any.
        rows: Option<u64>,
        /// The hash of the first value of the first row (`None` for NULL or no row), and the value as it was written;
        /// `None` for any value.
        value: Option<(Option<u64>, String)>,
    },
}

/// How a result compares with what was expected.
#[derive(Debug)]
pub(crate) enum Compared {
    /// The query writes, so there is nothing to compare with.
    NotComparable,
    /// As expected.
    Same,
    /// Not as expected; the text says in what.
    Different(String),
}

impl Expected {
    /// Compare `result`, of the given iteration of `workload`.
    pub(crate) fn compare(
        &self,
        result: &ResultDigest,
        mix: &Mix,
        workload: usize,
        iteration: u64,
    ) -> Compared {
        match self {
            Expected::Known(results) => match results.get(&(workload, mix.key(workload, iteration))) {
                None => Compared::NotComparable,
                Some(None) => Compared::Different("succeeded, but failed before the run".to_owned()),
                Some(Some(expected)) if expected.is_same(result) => Compared::Same,
                Some(Some(expected)) if expected.rows != result.rows => {
                    Compared::Different(row_counts(result.rows, expected.rows))
                }
                Some(Some(_)) => Compared::Different("different values".to_owned()),
            },
            Expected::Fixed { rows: Some(rows), .. } if *rows != result.rows => {
                Compared::Different(row_counts(result.rows, *rows))
            }
            Expected::Fixed { value: Some((value, shown)), .. } if *value != result.first => {
                Compared::Different(format!("the first value is not {shown}"))
            }
            Expected::Fixed { .. } => Compared::Same,
        }
    }
}

fn row_counts(found: u64, expected: u64) -> String {
    format!("{found} rows instead of {expected}")
}
