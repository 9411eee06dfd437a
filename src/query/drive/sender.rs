//! Sending one query, or one transaction, and taking the whole answer.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::pin;
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use futures::TryStreamExt as _;
use futures::future::join_all;
use postgres_types::{FromSql, Type};
use serde::{Deserialize, Serialize};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error as PgError, RowStream, SimpleQueryMessage, Statement};

use crate::Result;
use crate::query::workload::Mix;
use crate::query::workload::template::Template;

/// How statements are given to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// parsed once on each connection, then bound and run
    Prepared,
    /// parsed, bound and run every time, with parameters
    Unnamed,
    /// as text, with the arguments written into it
    Simple,
}

/// A connection and the statements that are prepared on it, by workload.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The connection.
    pub client: Object,
    /// The statements of every workload.
    pub prepared: Vec<Vec<Statement>>,
    /// The server's process.
    pub pid: i32,
}

impl Connection {
    /// Let it go for good, instead of back to the pool, where another thread might get it.
    pub(crate) fn close(self) {
        drop(Object::take(self.client));
    }
}

/// One run of a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    /// Which workload.
    pub workload: usize,
    /// For which time.
    pub time: u64,
    /// When it should be sent.
    pub due: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// When it was sent last.
    pub tried: Instant,
    /// How often it was sent again since, for a serialization failure or a deadlock.
    pub retries: u64,
    /// What the server took for it before.
    pub earlier_tries: Duration,
}

/// What was answered, as far as it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResultDigest {
    /// How many rows.
    pub rows: u64,
    /// A sum over the rows' hashes, because their order may be any.
    pub digest: u64,
    /// The hash of the first row's first value.
    pub first: Option<u64>,
}

/// A query with its answer.
#[derive(Debug)]
pub(crate) struct Completion {
    /// The query.
    pub query: Query,
    /// When the whole answer was there.
    pub done: Instant,
    /// Of a transaction: what BEGIN, each statement and COMMIT took.
    pub statements: Vec<Duration>,
    /// The answer, or the refusal.
    pub answer: Result<ResultDigest, PgError>,
}

/// How to ask.
#[derive(Debug)]
pub(crate) struct QuerySender {
    /// What is asked.
    pub mix: Mix,
    /// How it is sent.
    pub protocol: Protocol,
    /// Whether only one statement is on the way at a time, so that a transaction's are sent one by one.
    pub one_by_one: bool,
    /// Whether queries share Syncs, so that the answers to a transaction's statements may come together.
    pub batches: bool,
    /// Whether answers are looked at.
    pub looks: bool,
    /// The statements for [`Protocol::Simple`].
    pub templates: Vec<Vec<Template>>,
}

impl QuerySender {
    /// Whether [`QuerySender::ask_plainly`] does for everything.
    pub(crate) fn is_plain(&self) -> bool {
        self.protocol == Protocol::Prepared
            && !self.looks
            && self.mix.workloads.iter().all(|workload| workload.begin.is_none())
    }

    /// Ask a single prepared statement, once, and look at nothing: a small future for the most frequent case.
    pub(crate) async fn ask_plainly(&self, connection: &Connection, query: Query) -> Completion {
        let answer = async {
            let statement = &connection.prepared[query.workload][0];
            let arguments = self.mix.arguments(query.workload, 0, query.time);
            let mut rows = pin!(connection.client.query_raw(statement, arguments).await?);
            while rows.try_next().await?.is_some() {}
            Ok(ResultDigest::default())
        };
        let answer = answer.await;
        Completion { query, done: Instant::now(), statements: Vec::new(), answer }
    }

    /// Ask whatever it is.
    pub(crate) async fn ask(&self, connection: &Connection, query: Query) -> Completion {
        let mut statements = Vec::new();
        let answer = match &self.mix.workloads[query.workload].begin {
            None => self.statement(connection, query, 0).await,
            Some(begin) => self.transaction(connection, query, begin, &mut statements).await,
        };
        Completion { query, done: Instant::now(), statements, answer }
    }

    async fn transaction(
        &self,
        connection: &Connection,
        query: Query,
        begin: &str,
        took: &mut Vec<Duration>,
    ) -> Result<ResultDigest, PgError> {
        let client = &connection.client;
        let count = self.mix.workloads[query.workload].statements.len();
        let mut answer = ResultDigest::default();
        if self.one_by_one {
            let mut last = Instant::now();
            let mut lap = |last: &mut Instant| {
                let now = Instant::now();
                took.push(now - std::mem::replace(last, now));
            };
            client.batch_execute(begin).await?;
            lap(&mut last);
            for number in 0..count {
                match self.statement(connection, query, number).await {
                    Ok(part) => answer = answer.and(part),
                    Err(error) => {
                        // What it fails with is of no interest beside the error.
                        let _ = client.batch_execute("ROLLBACK").await;
                        return Err(error);
                    }
                }
                lap(&mut last);
            }
            client.batch_execute("COMMIT").await?;
            lap(&mut last);
            return Ok(answer);
        }
        // All of it is sent at the first poll, one behind the other, so nothing of another query comes in between.
        let polled = Instant::now();
        let statements =
            join_all((0..count).map(|number| async move {
                (self.statement(connection, query, number).await, Instant::now())
            }));
        let stamped = |result: Result<(), PgError>| (result, Instant::now());
        let ((opened, at), parts, (committed, end)) =
            futures::join!(async { stamped(client.batch_execute(begin).await) }, statements, async {
                stamped(client.batch_execute("COMMIT").await)
            });
        opened?;
        let mut times = vec![polled, at];
        for (part, at) in parts {
            answer = answer.and(part?);
            times.push(at);
        }
        times.push(end);
        committed?;
        // Where they share a Sync the first would seem to take as long as all.
        if !self.batches {
            took.extend(times.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])));
        }
        Ok(answer)
    }

    async fn statement(
        &self,
        connection: &Connection,
        query: Query,
        number: usize,
    ) -> Result<ResultDigest, PgError> {
        let client = &connection.client;
        let prepared = &connection.prepared[query.workload][number];
        let arguments = self.mix.arguments(query.workload, number, query.time);
        match self.protocol {
            Protocol::Prepared => self.read(client.query_raw(prepared, arguments).await?).await,
            Protocol::Unnamed => {
                let sql = &self.mix.workloads[query.workload].statements[number].sql;
                let typed = arguments.zip(prepared.params().iter().cloned());
                self.read(client.query_typed_raw(sql, typed).await?).await
            }
            Protocol::Simple => {
                let sql = self.templates[query.workload][number].with(arguments, prepared.params());
                let mut messages = pin!(client.simple_query_raw(&sql).await?);
                let mut answer = ResultDigest::default();
                while let Some(message) = messages.try_next().await? {
                    if let SimpleQueryMessage::Row(row) = message
                        && self.looks
                    {
                        answer.take((0..row.len()).map(|column| row.get(column).map(str::as_bytes)));
                    }
                }
                Ok(answer)
            }
        }
    }

    async fn read(&self, rows: RowStream) -> Result<ResultDigest, PgError> {
        let (mut rows, mut answer) = (pin!(rows), ResultDigest::default());
        while let Some(row) = rows.try_next().await? {
            if self.looks {
                answer
                    .take((0..row.len()).map(|column| row.get::<_, Option<Bytes<'_>>>(column).map(|b| b.0)));
            }
        }
        Ok(answer)
    }
}

impl ResultDigest {
    fn take<'a>(&mut self, mut values: impl Iterator<Item = Option<&'a [u8]>>) {
        let mut row = DefaultHasher::new();
        let first = values.next().flatten();
        if self.rows == 0 {
            self.first = first.map(hash);
        }
        first.hash(&mut row);
        values.for_each(|value| value.hash(&mut row));
        self.rows += 1;
        self.digest = self.digest.wrapping_add(row.finish());
    }

    /// Whether it has the same rows, in whatever order.
    pub(crate) fn is_same(&self, other: &ResultDigest) -> bool {
        (self.rows, self.digest) == (other.rows, other.digest)
    }

    /// The answers to two statements of a transaction.
    fn and(self, other: ResultDigest) -> ResultDigest {
        let mut both = DefaultHasher::new();
        (self.digest, self.rows, other.digest, other.rows).hash(&mut both);
        ResultDigest {
            rows: self.rows + other.rows,
            digest: both.finish(),
            first: self.first.or(other.first),
        }
    }
}

/// The hash that [`ResultDigest::first`] has of `value`.
pub(crate) fn hash(value: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A value of any type, as the server sent it.
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Bytes(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A serialization failure or a deadlock: the same transaction may succeed when it is tried again.
pub(crate) fn is_worth_another_try(error: &PgError) -> bool {
    [SqlState::T_R_SERIALIZATION_FAILURE, SqlState::T_R_DEADLOCK_DETECTED]
        .iter()
        .any(|state| error.code() == Some(state))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[[Option<&str>; 2]]) -> ResultDigest {
        let mut answer = ResultDigest::default();
        for row in rows {
            answer.take(row.iter().map(|value| value.map(str::as_bytes)));
        }
        answer
    }

    #[test]
    fn answers_differ_by_any_value_but_not_by_the_order_of_rows() {
        let rows = [[Some("1"), Some("a")], [Some("2"), None]];
        let [first, second] = rows;
        assert!(answer(&rows).is_same(&answer(&[second, first])));
        assert_ne!(answer(&rows).digest, answer(&[first, [Some("2"), Some("")]]).digest);
        assert_ne!(answer(&rows).digest, answer(&[first]).digest);
        assert_eq!(answer(&rows).first, Some(hash(b"1")));
    }
}
