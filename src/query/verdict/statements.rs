//! What the server's `pg_stat_statements` counted during a run.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio_postgres::{Client, Row};

use crate::query::verdict::timeout::soon;

/// The statistics of one statement in `pg_stat_statements`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ServerStatement {
    /// The text of the statement, as the server keeps it.
    pub query: String,
    /// How many times it was executed.
    pub calls: i64,
    /// The mean execution time, in microseconds, without planning.
    pub mean_us: f64,
    /// The mean number of rows that an execution returned or changed.
    pub rows: f64,
}

/// The text, calls, milliseconds and rows of each statement, by its query ID and user OID.
pub(crate) type Statements = BTreeMap<(i64, u32), (String, i64, f64, i64)>;

/// The query that reads what the server counted; `None` where `pg_stat_statements` is not installed.
pub(crate) async fn counting_query(client: &Client) -> Option<String> {
    let sql = "SELECT pg_catalog.quote_ident(nspname) AS pg_stat_schema FROM pg_catalog.pg_extension AS e
               JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace WHERE extname = 'pg_stat_statements'";
    let schema: String = client.query_opt(sql, &[]).await.ok()??.get(0);
    // Executions inside functions are counted apart from those at top level.
    Some(format!(
        "SELECT queryid, userid, min(query), sum(calls)::bigint, sum(total_exec_time), sum(rows)::bigint
         FROM {schema}.pg_stat_statements
         WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
           AND queryid IS NOT NULL AND query NOT LIKE '%pg_stat_%' AND query NOT LIKE '%pg_backend_pid()%'
           AND query NOT LIKE 'SET default_transaction_read_only%'
         GROUP BY queryid, userid"
    ))
}

/// What the server has counted by now; `None` without a query, or where it may not be read.
pub(crate) async fn statements(client: &Client, counting_query: Option<&str>) -> Option<Statements> {
    let rows = soon(client.query(counting_query?, &[])).await?.ok()?;
    let read = |row: &Row| ((row.get(0), row.get(1)), (row.get(2), row.get(3), row.get(4), row.get(5)));
    Some(rows.iter().map(read).collect())
}

/// What was counted between `before` and `after`: the statements with the longest total time, longest first.
pub(crate) fn difference(before: &Statements, after: Statements) -> Vec<ServerStatement> {
    /// A longer list would not be read.
    const MOST: usize = 10;
    let mut counted = Vec::new();
    for (key, (query, calls, ms, rows)) in after {
        let (earlier_calls, earlier_ms, earlier_rows) =
            before.get(&key).map_or((0, 0.0, 0), |(_, calls, ms, rows)| (*calls, *ms, *rows));
        let calls = calls - earlier_calls;
        if calls > 0 {
            let mean_us = (ms - earlier_ms) * 1e3 / calls as f64;
            counted.push(ServerStatement {
                query,
                calls,
                mean_us,
                rows: (rows - earlier_rows) as f64 / calls as f64,
            });
        }
    }
    counted.sort_by(|a, b| (b.mean_us * b.calls as f64).total_cmp(&(a.mean_us * a.calls as f64)));
    counted.truncate(MOST);
    counted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_statements_did_during_the_run_counts() {
        let statement = |calls, ms| ("a".to_owned(), calls, ms, calls * 2);
        let before = Statements::from([((1, 10), statement(5, 50.0)), ((2, 10), statement(1, 1.0))]);
        let after = Statements::from([
            ((1, 10), statement(15, 70.0)),
            ((2, 10), statement(1, 1.0)),
            ((3, 10), statement(2, 100.0)),
        ]);
        let counted: Vec<_> =
            difference(&before, after).into_iter().map(|s| (s.calls, s.mean_us, s.rows)).collect();
        assert_eq!(counted, [(2, 50_000.0, 2.0), (10, 2000.0, 2.0)]);
    }
}
