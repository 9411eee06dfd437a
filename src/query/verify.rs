//! What the answers should be, found out before the run.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::postgres::pipeline::Pipeline;
use crate::query::drive::schedule::Limits;
use crate::query::drive::sender::{self, Connection, Protocol, Query, QuerySender};
use crate::query::drive::worker::{self, Answers, Expected, is_lost};
use crate::query::measure::timeline::CurrentSecond;
use crate::query::meter::OpenMeter;
use crate::query::options::MeterSettings;
use crate::query::workload::{self, values};
use crate::{Error, Result};
use tokio_postgres_sync_batching::is_skipped;

impl OpenMeter<'_> {
    /// What answers will be compared with: for `--verify` what a quiet connection is told now.
    pub(crate) async fn expect(&self) -> Result<Option<Expected>> {
        let MeterSettings { verify, expect_rows, expect_value, limits, .. } = self.settings;
        let sender = self.sender(1);
        if *verify {
            let connection = worker::connect(&self.pool, &sender).await?;
            let queries = limits.queries.expect("the settings see to it");
            let answers = self.answers(&sender, &connection, queries).await?;
            connection.close();
            return Ok(Some(Expected::Answers(Arc::new(answers))));
        }
        let value = match expect_value {
            None => None,
            Some(value) => {
                let connection = worker::connect(&self.pool, &sender).await?;
                let hash = expected_value(&sender, &connection, value).await?;
                connection.close();
                Some((hash, value.clone()))
            }
        };
        let is_given = value.is_some() || expect_rows.is_some();
        Ok(is_given.then_some(Expected::Given { rows: *expect_rows, value }))
    }

    /// The answers to `queries` queries, of those that read only.
    async fn answers(&self, sender: &QuerySender, connection: &Connection, queries: u64) -> Result<Answers> {
        const DEPTH: usize = 32;
        let workloads = &sender.mix.workloads;
        let reads: Vec<bool> = workloads.iter().map(workload::Workload::only_reads).collect();
        if !reads.contains(&true) {
            return Err(Error::usage("--verify has nothing to compare: no workload is a SELECT")
                .with_help("leave --verify out, or add one that reads"));
        }
        let timeline = Arc::default();
        let limits = Limits { queries: None, duration: None };
        let _visible = self.monitor.begin("running each query once, for --verify".into(), &timeline, limits);
        let (start, mut now) = (Instant::now(), CurrentSecond::default());
        // The statements of a transaction are sent one by one here, and nothing may come in between.
        let has_transactions = workloads.iter().any(|workload| workload.begin.is_some());
        let mut window = Pipeline::new(if has_transactions { 1 } else { DEPTH });
        let (mut answers, mut keys, mut index) = (HashMap::new(), VecDeque::new(), 0);
        let ask = |workload, time| {
            let now = Instant::now();
            sender.ask(
                connection,
                Query {
                    workload,
                    time,
                    due: now,
                    sent: now,
                    tried: now,
                    retries: 0,
                    earlier_tries: Duration::ZERO,
                },
            )
        };
        loop {
            while index < queries && !window.is_full() {
                let (workload, time) = sender.mix.at(index);
                index += 1;
                // Where they are all alike there is nothing to wait for, and a signal would not be heard.
                if index.is_multiple_of(1024) {
                    tokio::task::yield_now().await;
                    if self.progress.is_cancelled() {
                        return Err(Error::interrupted());
                    }
                }
                let key = (workload, sender.mix.key(workload, time));
                if reads[workload] && !answers.contains_key(&key) {
                    answers.insert(key.clone(), None);
                    keys.push_back(key);
                    window.push(ask(workload, time)).await;
                }
            }
            if self.progress.is_cancelled() {
                return Err(Error::interrupted());
            }
            let Some(done) = window.pop().await else { return Ok(answers) };
            let key = keys.pop_front().expect("one for each");
            now.record(start.elapsed(), Some(done.done - done.query.sent), &timeline);
            match done.answer {
                Ok(answer) => {
                    answers.insert(key, Some(answer));
                }
                // It shares its Sync with one that was refused.
                Err(error) if is_skipped(&error) => {
                    keys.push_back(key);
                    window.push(ask(done.query.workload, done.query.time)).await;
                }
                // That is its answer, and the run will count it among its errors.
                Err(error) if error.code().is_some() && !is_lost(&error) => {}
                Err(error) => {
                    let what = sender.mix.describe(done.query.workload, done.query.time);
                    return Err(Error::database(&format!("ask {what} for --verify"), &error));
                }
            }
        }
    }
}

/// The hash of `value` as the server sends it in the first column of the statement; `None` is NULL.
async fn expected_value(sender: &QuerySender, connection: &Connection, value: &str) -> Result<Option<u64>> {
    let statement = connection.prepared[0].last().expect("a workload has a statement");
    let Some(column) = statement.columns().first() else {
        return Err(Error::usage("--expect-value is for a statement that returns something")
            .with_help("leave it out, or add RETURNING"));
    };
    if sender.protocol == Protocol::Simple {
        return Ok(Some(sender::hash(value.as_bytes())));
    }
    let literal = workload::literal(values::Argument::Text(value), column.type_());
    let row = connection.client.query_one(&format!("SELECT {literal}"), &[]).await.map_err(|error| {
        Error::database(&format!("read --expect-value {value} as {}", column.type_()), &error)
    })?;
    Ok(row.get::<_, Option<sender::Bytes<'_>>>(0).map(|bytes| sender::hash(bytes.0)))
}
