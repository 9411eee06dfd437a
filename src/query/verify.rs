//! What the results of a run should be, determined before it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres_sync_batching::is_skipped;

use crate::postgres::pipeline::Pipeline;
use crate::query::drive::connection::{Connection, is_lost};
use crate::query::drive::digest::{Bytes, hash};
use crate::query::drive::expected::{Expected, KnownResults};
use crate::query::drive::schedule::Limits;
use crate::query::drive::sender::{PendingQuery, Protocol, QuerySender};
use crate::query::measure::timeline::{CurrentSecond, Timeline};
use crate::query::meter::OpenMeter;
use crate::query::monitor::RunInProgress;
use crate::query::options::MeterSettings;
use crate::query::workload::Workload;
use crate::query::workload::literal::literal;
use crate::query::workload::values::Argument;
use crate::{Error, Result};

impl OpenMeter<'_> {
    /// What results are to be compared with: for `--verify`, the results of the same queries run now, over a single
    /// connection to the first host. `None` if they are not compared.
    pub(super) async fn expect(&self) -> Result<Option<Expected>> {
        let MeterSettings { workloads, verify, expect_rows, expect_value, limits, .. } = self.settings;
        let sender = self.sender(1);
        if *verify {
            let connection =
                limits.in_time(Connection::open((self.hosts.pool(), 0), workloads, false)).await?;
            let queries = limits.queries.expect("the options are checked to have it");
            let results = self.known_results(&sender, &connection, queries).await?;
            connection.close();
            return Ok(Some(Expected::Known(Arc::new(results))));
        }
        let value = match expect_value {
            None => None,
            Some(value) => {
                let connection =
                    limits.in_time(Connection::open((self.hosts.pool(), 0), workloads, false)).await?;
                let hash = expected_value(&sender, &connection, value).await?;
                connection.close();
                Some((hash, value.clone()))
            }
        };
        let is_fixed = value.is_some() || expect_rows.is_some();
        Ok(is_fixed.then_some(Expected::Fixed { rows: *expect_rows, value }))
    }

    /// Run those of the first `queries` queries that only read, each distinct one once, and return their results.
    async fn known_results(
        &self,
        sender: &QuerySender,
        connection: &Connection,
        queries: u64,
    ) -> Result<KnownResults> {
        const DEPTH: usize = 32;
        let workloads = &sender.mix.workloads;
        let only_reads: Vec<bool> = workloads.iter().map(Workload::only_reads).collect();
        if !only_reads.contains(&true) {
            return Err(Error::usage("--verify has nothing to compare: no workload is a SELECT")
                .with_help("leave --verify out, or add a workload that only reads"));
        }
        let timeline: Arc<Timeline> = Arc::default();
        let _visible = self.monitor.begin(RunInProgress {
            name: "running each query once for --verify".to_owned(),
            is_measured: false,
            counts_transactions: false,
            started: Instant::now(),
            limits: Limits { queries: None, duration: None },
            timeline: Arc::clone(&timeline),
        });
        let (start, mut second) = (Instant::now(), CurrentSecond::default());
        // The statements of a transaction are sent one by one here, and no other query may come in between.
        let has_transactions = workloads.iter().any(|workload| workload.begin.is_some());
        let mut pipeline = Pipeline::new(if has_transactions { 1 } else { DEPTH });
        let (mut results, mut keys, mut index) = (HashMap::new(), VecDeque::new(), 0);
        let send = |workload, iteration| sender.send(connection, new_query(workload, iteration));
        loop {
            while index < queries && !pipeline.is_full() {
                let (workload, iteration) = sender.mix.at(index);
                index += 1;
                // If all are the same, nothing below waits, and a cancellation would go unnoticed.
                if index.is_multiple_of(1024) {
                    tokio::task::yield_now().await;
                    if self.progress.is_cancelled() {
                        return Err(Error::interrupted());
                    }
                }
                let key = (workload, sender.mix.key(workload, iteration));
                if only_reads[workload] && !results.contains_key(&key) {
                    results.insert(key.clone(), None);
                    keys.push_back(key);
                    pipeline.push(send(workload, iteration)).await;
                }
            }
            if self.progress.is_cancelled() {
                return Err(Error::interrupted());
            }
            let Some(completion) = pipeline.pop().await else { return Ok(results) };
            let key = keys.pop_front().expect("one for each query in flight");
            let query = completion.query;
            second.record_n(start.elapsed(), completion.done - query.sent, 1, &timeline);
            match completion.result {
                Ok(digest) => {
                    results.insert(key, Some(digest));
                }
                // It shares a Sync with a query that failed, and has to be sent again.
                Err(error) if is_skipped(&error) => {
                    keys.push_back(key);
                    pipeline.push(send(query.workload, query.iteration)).await;
                }
                // The failure is its result, and the run will count it among its errors.
                Err(error) if error.code().is_some() && !is_lost(&error) => {}
                Err(error) => {
                    let what = sender.mix.describe(query.workload, query.iteration);
                    return Err(Error::database(&format!("run {what} for --verify"), error));
                }
            }
        }
    }
}

/// A query that is due now.
fn new_query(workload: usize, iteration: u64) -> PendingQuery {
    let now = Instant::now();
    PendingQuery {
        workload,
        iteration,
        due: now,
        sent: now,
        tried: now,
        retries: 0,
        earlier_tries: Duration::ZERO,
    }
}

/// The hash of `value` as the server sends it in the first column of the statement; `None` for NULL.
async fn expected_value(sender: &QuerySender, connection: &Connection, value: &str) -> Result<Option<u64>> {
    let statement = connection.prepared[0].last().expect("a workload has a statement");
    let Some(column) = statement.columns().first() else {
        return Err(Error::usage("--expect-value is for a statement that returns rows")
            .with_help("leave it out, or add RETURNING"));
    };
    if sender.protocol == Protocol::Simple {
        return Ok(Some(hash(value.as_bytes())));
    }
    let literal = literal(Argument::Text(value), column.type_());
    let row = connection.client.query_one(&format!("SELECT {literal}"), &[]).await.map_err(|error| {
        Error::database(&format!("read --expect-value {value} as {}", column.type_()), error)
    })?;
    Ok(row.get::<_, Option<Bytes<'_>>>(0).map(|bytes| hash(bytes.0)))
}
