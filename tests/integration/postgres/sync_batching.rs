//! Sync batching against a real server: random requests get the responses that they get without it.

use std::io;
use std::num::NonZero;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use futures::{SinkExt as _, TryStreamExt as _};
use postgres_etl::postgres::conninfo::resolve;
use postgres_etl::postgres::{Pipeline, Prepare, SessionOptions, Timeouts, pool};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error as PgError, NoTls, SimpleQueryMessage, Statement};
use tokio_postgres_sync_batching::{Lane, SyncBatching, is_skipped};

use crate::postgres::lane;
use crate::support::{self, TestDb};

/// Far longer than anything here takes.
const HANG: Duration = Duration::from_secs(60);

/// Refuses a divisor of zero.
const INSERT_QUOTIENT: &str = "INSERT INTO t VALUES ($1::int / $2::int)";

/// A client of which up to `every` executions share a Sync; the unchanged driver if `every` is 1.
async fn client(db: &TestDb, every: usize) -> deadpool_postgres::Object {
    client_that(db, every, Prepare::Auto).await
}

/// As [`client`], with statements prepared under names, or not.
async fn client_that(db: &TestDb, every: usize, prepare: Prepare) -> deadpool_postgres::Object {
    let conninfo = resolve(Some((db.url(), "test")), &|_| None).unwrap().unwrap();
    let sync_every = NonZero::new(every).unwrap();
    let session = SessionOptions { sync_every, prepare, ..SessionOptions::default() };
    pool(&conninfo, 1, Timeouts::default(), session).unwrap().get().await.unwrap()
}

/// A request that changes no data.
#[derive(Debug, Clone, Copy)]
enum Op {
    Rows(i32),
    Wide(i32),
    Empty,
    DivideBy(i32),
    BadArgument,
    CopyOut,
    // The following are not batched.
    Prepare,
    BadPrepare,
    Simple,
    BadSimple,
}

impl Op {
    fn is_batched(self) -> bool {
        !matches!(self, Op::Prepare | Op::BadPrepare | Op::Simple | Op::BadSimple)
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..20).prop_map(Op::Rows),
        2 => (0..40_000).prop_map(Op::Wide),
        1 => Just(Op::Empty),
        2 => (0..4).prop_map(Op::DivideBy),
        1 => Just(Op::BadArgument),
        1 => Just(Op::CopyOut),
        1 => Just(Op::Prepare),
        1 => Just(Op::BadPrepare),
        1 => Just(Op::Simple),
        1 => Just(Op::BadSimple),
    ]
}

/// The prepared statements of the batched requests.
struct Statements {
    rows: Statement,
    wide: Statement,
    empty: Statement,
    divide: Statement,
    cast: Statement,
    copy: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Statements, PgError> {
        Ok(Statements {
            rows: client.prepare("SELECT g, 'row ' || g FROM generate_series(1, $1::int) g").await?,
            wide: client.prepare("SELECT repeat('x', $1::int)").await?,
            empty: client.prepare("").await?,
            divide: client.prepare("SELECT 12 / $1::int").await?,
            cast: client.prepare("SELECT $1::text::int").await?,
            copy: client.prepare("COPY (SELECT generate_series(1, 100)) TO STDOUT").await?,
        })
    }
}

/// The rows of the response as text, or the error.
async fn answer(client: &Client, statements: &Statements, op: Op) -> Result<String, PgError> {
    let rows = match op {
        Op::Rows(n) => client.query(&statements.rows, &[&n]).await?,
        Op::Wide(n) => client.query(&statements.wide, &[&n]).await?,
        Op::Empty => client.query(&statements.empty, &[]).await?,
        Op::DivideBy(n) => client.query(&statements.divide, &[&n]).await?,
        Op::BadArgument => client.query(&statements.cast, &[&"x"]).await?,
        Op::CopyOut => {
            let parts: Vec<Bytes> = client.copy_out(&statements.copy).await?.try_collect().await?;
            return Ok(format!("{parts:?}"));
        }
        Op::Prepare => {
            let statement = client.prepare("SELECT 1::text, 2").await?;
            return Ok(format!("{:?}", statement.columns()));
        }
        Op::BadPrepare => return client.prepare("SELEC").await.map(|_| String::new()),
        Op::Simple => return client.simple_query("SELECT 1; SELECT 2").await.map(|all| format!("{all:?}")),
        Op::BadSimple => {
            return client.simple_query("SELECT 1; SELECT 1/0").await.map(|all| format!("{all:?}"));
        }
    };
    let cells = rows.iter().map(|row| {
        let text = |index| row.try_get::<_, &str>(index).map(str::to_owned);
        let number = |index| row.try_get::<_, i32>(index).map(|number| number.to_string());
        (0..row.len()).map(|index| text(index).or_else(|_| number(index)).unwrap()).collect::<Vec<_>>()
    });
    Ok(format!("{:?}", cells.collect::<Vec<_>>()))
}

/// The responses to a script all of whose requests are sent before any response is awaited.
async fn answers(client: &Client, statements: &Statements, script: &[Op]) -> Vec<Result<String, PgError>> {
    let mut window = Pipeline::new(script.len());
    for &op in script {
        window.push(answer(client, statements, op)).await;
    }
    let mut answers = Vec::new();
    while let Some(answer) = window.pop().await {
        answers.push(answer);
    }
    answers
}

/// The response without the parts that differ between connections.
fn shown(answer: &Result<String, PgError>) -> String {
    match answer {
        Ok(rows) => rows.clone(),
        Err(error) => {
            let db = error.as_db_error().unwrap_or_else(|| panic!("the connection is gone: {error}"));
            format!("{} {}", db.code().code(), db.message())
        }
    }
}

fn cases(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() })
}

#[test]
fn responses_are_those_without_batching_unless_an_earlier_request_of_the_group_failed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = runtime.block_on(support::database());
    let stock = runtime.block_on(client(&db, 1));
    let stock_statements = runtime.block_on(Statements::prepare(&stock)).unwrap();
    let prepare = select(vec![Prepare::Always, Prepare::Never]);
    let script = (vec(op(), 1..60), 1..12_usize, any::<bool>(), prepare);
    let outcome = cases(80).run(&script, |(script, every, in_transaction, prepare)| {
        runtime.block_on(async {
            let batching = client_that(&db, every, prepare).await;
            let statements = Statements::prepare(&batching).await.unwrap();
            if in_transaction {
                stock.batch_execute("BEGIN").await.unwrap();
                batching.batch_execute("BEGIN").await.unwrap();
            }
            let expected = answers(&stock, &stock_statements, &script).await;
            let got = tokio::time::timeout(HANG, answers(&batching, &statements, &script)).await.unwrap();
            let mut failed = None;
            for (index, (got, expected)) in got.iter().zip(&expected).enumerate() {
                if in_transaction && failed.is_some() {
                    let code = |answer: &Result<String, PgError>| {
                        answer.as_ref().err().and_then(|e| e.code().cloned())
                    };
                    prop_assert_eq!(code(got), code(expected), "at {}", index);
                } else if let Err(error) = got
                    && is_skipped(error)
                {
                    let failed = failed.expect("a request is skipped only after one that failed");
                    prop_assert!(index - failed < every);
                    prop_assert!(script[failed..=index].iter().all(|op| op.is_batched()));
                } else {
                    prop_assert_eq!(shown(got), shown(expected), "at {}", index);
                    failed = if got.is_err() { Some(index) } else { failed };
                }
            }
            // Both connections are usable, and in the same state.
            for client in [&stock, &batching] {
                client.batch_execute("ROLLBACK").await.unwrap();
                prop_assert_eq!(client.query_one("SELECT 7", &[]).await.unwrap().get::<_, i32>(0), 7);
            }
            if prepare == Prepare::Never {
                let names =
                    batching.simple_query("SELECT FROM pg_prepared_statements WHERE name <> ''").await;
                let is_row = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
                prop_assert!(!names.unwrap().iter().any(is_row));
            }
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// What the server says of the INSERTs of a script, of which `false` ones fail.
async fn inserted_by_driver(db: &TestDb, every: usize, script: &[bool]) -> Vec<Result<u64, PgError>> {
    let batching = client(db, every).await;
    let insert = batching.prepare(INSERT_QUOTIENT).await.unwrap();
    let mut window = Pipeline::new(script.len());
    for (index, &good) in (0_i32..).zip(script) {
        let (client, insert) = (&batching, &insert);
        window.push(async move { client.execute(insert, &[&index, &i32::from(good)]).await }).await;
    }
    let mut answers = Vec::new();
    while let Some(answer) = window.pop().await {
        answers.push(answer);
    }
    answers
}

/// As [`inserted_by_driver`], over the lane.
async fn inserted_over_lane(db: &TestDb, every: usize, script: &[bool]) -> Vec<Result<u64, PgError>> {
    let (_client, lane) = lane::client(db).await;
    let mut pipeline = lane.pipeline(NonZero::new(every).unwrap()).await.unwrap();
    let insert = pipeline.prepare(INSERT_QUOTIENT, &[Type::INT4, Type::INT4]).await.unwrap();
    for (index, &good) in (0_i32..).zip(script) {
        pipeline.execute(&insert, [index, i32::from(good)]).unwrap();
    }
    let mut answers = Vec::new();
    while let Some(answer) = pipeline.next(|_| ()).await {
        answers.push(answer);
    }
    answers
}

#[test]
fn a_failed_request_rolls_back_what_the_documentation_says() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = runtime.block_on(support::database());
    let check = runtime.block_on(db.connect());
    runtime.block_on(check.batch_execute("CREATE TABLE t (id int PRIMARY KEY)")).unwrap();
    // A script is a list of rows, of which `false` ones fail, sent by the driver or over the lane.
    let script = (vec(prop::bool::weighted(0.95), 1..120), 2..20_usize, any::<bool>());
    let outcome = cases(80).run(&script, |(script, every, takes_lane)| {
        runtime.block_on(async {
            check.batch_execute("TRUNCATE t").await.unwrap();
            let inserted = async {
                if takes_lane {
                    inserted_over_lane(&db, every, &script).await
                } else {
                    inserted_by_driver(&db, every, &script).await
                }
            };
            let answers = tokio::time::timeout(HANG, inserted).await.unwrap();
            prop_assert_eq!(answers.len(), script.len());
            let ids = check.query("SELECT id FROM t", &[]).await.unwrap();
            let ids: Vec<i32> = ids.iter().map(|row| row.get(0)).collect();
            for (index, answer) in answers.iter().enumerate() {
                let is_there = ids.contains(&(index as i32));
                match answer {
                    Ok(rows) => {
                        prop_assert_eq!(*rows, 1);
                        let group = &script[index..(index + every).min(script.len())];
                        prop_assert!(is_there || group.contains(&false), "{} is lost", index);
                    }
                    Err(error) if is_skipped(error) => prop_assert!(script[index] || !is_there),
                    Err(error) => {
                        prop_assert_eq!(error.code(), Some(&SqlState::DIVISION_BY_ZERO));
                        prop_assert!(!script[index]);
                    }
                }
                prop_assert!(answer.is_ok() || !is_there);
            }
            prop_assert!(!script.iter().all(|&good| good) || ids.len() == script.len());
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn several_tasks_share_a_client() {
    let db = support::database().await;
    let client = Arc::new(client(&db, 16).await);
    let sum = client.prepare("SELECT $1::int + 1").await.unwrap();
    let refused = Arc::new(AtomicUsize::new(0));
    let tasks = (0..8).map(|task| {
        let (client, sum, refused) = (Arc::clone(&client), sum.clone(), Arc::clone(&refused));
        tokio::spawn(async move {
            for round in 0..40 {
                let asked = (0..10).map(|n| {
                    // A few of the sums overflow.
                    let argument =
                        if (task, round % 10, n) == (0, 5, 5) { i32::MAX } else { task * 1000 + n };
                    let (client, sum) = (&client, &sum);
                    async move { (argument, client.query_one(sum, &[&argument]).await) }
                });
                for (argument, answer) in join_all(asked).await {
                    match answer {
                        Ok(row) => assert_eq!(row.get::<_, i32>(0), argument + 1),
                        Err(error) if is_skipped(&error) => {}
                        Err(error) => {
                            assert_eq!(error.code(), Some(&SqlState::NUMERIC_VALUE_OUT_OF_RANGE));
                            refused.fetch_add(1, Relaxed);
                        }
                    }
                }
                if task == 1 {
                    client.batch_execute("SELECT 1").await.unwrap();
                }
            }
        })
    });
    for task in tokio::time::timeout(HANG, join_all(tasks)).await.unwrap() {
        task.unwrap();
    }
    // The overflow is skipped instead if an earlier request of its group failed.
    assert!((1..=4).contains(&refused.load(Relaxed)));
}

#[tokio::test]
async fn copy_works_and_a_refused_one_leaves_the_connection_usable() {
    let db = support::database().await;
    let client = client(&db, 16).await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); CREATE VIEW v AS SELECT 1 AS id")
        .await
        .unwrap();
    let select = client.prepare("SELECT 5").await.unwrap();
    for round in 0..3 {
        // Both are refused on execution: COPY into a view after the server has asked for data, and a COPY that the
        // read-only transaction forbids before that.
        let (one, refused, other) = tokio::join!(
            client.query_one(&select, &[]),
            async {
                let sink = client.copy_in("COPY v FROM STDIN").await?;
                let mut sink = std::pin::pin!(sink);
                sink.send(Bytes::from("1\n")).await?;
                sink.finish().await
            },
            client.query_one(&select, &[]),
        );
        assert_eq!(one.unwrap().get::<_, i32>(0), 5);
        let refused = refused.unwrap_err();
        assert_eq!(refused.code(), Some(&SqlState::WRONG_OBJECT_TYPE), "{refused}");
        assert_eq!(other.unwrap().get::<_, i32>(0), 5);
        client.batch_execute("SET default_transaction_read_only = on").await.unwrap();
        let refused = client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.err().unwrap();
        assert_eq!(refused.code(), Some(&SqlState::READ_ONLY_SQL_TRANSACTION));
        client.batch_execute("SET default_transaction_read_only = off").await.unwrap();

        let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(format!("{}\n{}\n", round * 2, round * 2 + 1))).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);

        let sink = client.copy_in("COPY t FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from("0\n")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap_err().code(), Some(&SqlState::UNIQUE_VIOLATION));
        // Abandoned.
        drop(client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
    }
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 6);
}

#[tokio::test]
async fn a_deferred_constraint_fails_the_last_request_of_its_group() {
    let db = support::database().await;
    let client = client(&db, 16).await;
    client.batch_execute("CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)").await.unwrap();
    let insert = client.prepare("INSERT INTO t VALUES (1)").await.unwrap();
    let (first, last) = tokio::join!(client.execute(&insert, &[]), client.execute(&insert, &[]));
    assert_eq!(first.unwrap(), 1);
    assert_eq!(last.unwrap_err().code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// A stream that is cut after a number of bytes in either direction.
struct Cut {
    stream: UnixStream,
    /// The bytes that may still be read, and written.
    left: [usize; 2],
    is_closed: bool,
    /// The bytes that have been read, and written.
    passed: Arc<[AtomicUsize; 2]>,
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left[0] == 0 || self.is_closed {
            return Poll::Ready(Ok(()));
        }
        let mut space = vec![0; buf.remaining().min(self.left[0])];
        let mut part = ReadBuf::new(&mut space);
        let polled = Pin::new(&mut self.stream).poll_read(cx, &mut part);
        buf.put_slice(part.filled());
        self.left[0] -= part.filled().len();
        self.passed[0].fetch_add(part.filled().len(), Relaxed);
        polled
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let part = &buf[..buf.len().min(self.left[1])];
        if part.is_empty() {
            // A peer that has closed the connection sends nothing more either.
            self.is_closed = true;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let polled = Pin::new(&mut self.stream).poll_write(cx, part);
        if let Poll::Ready(Ok(written)) = polled {
            self.left[1] -= written;
            self.passed[1].fetch_add(written, Relaxed);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Log in over a stream that may be cut, and run a few requests, statements over the lane, and a COPY.
async fn session_over(db: &TestDb, left: [usize; 2], passed: Arc<[AtomicUsize; 2]>) -> Result<(), PgError> {
    let config: tokio_postgres::Config = db.url().parse().unwrap();
    let Host::Unix(directory) = &config.get_hosts()[0] else {
        panic!("the test server listens on a Unix socket")
    };
    let path = directory.join(format!(".s.PGSQL.{}", config.get_ports()[0]));
    let cut = Cut { stream: UnixStream::connect(path).await.unwrap(), left, is_closed: false, passed };
    let stream = SyncBatching::new(cut, NonZero::new(4).unwrap());
    let lane = Lane::of(&stream.control());
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    let driver = tokio::spawn(connection);
    let statements = Statements::prepare(&client).await?;
    let script = [
        Op::Rows(2),
        Op::Rows(1),
        Op::DivideBy(0),
        Op::Rows(3),
        Op::Rows(1),
        Op::Simple,
        Op::Empty,
        Op::Rows(2),
    ];
    for answer in answers(&client, &statements, &script).await {
        if let Err(error) = answer
            && error.as_db_error().is_none()
        {
            return Err(error);
        }
    }
    let mut pipeline = lane.pipeline(NonZero::new(4).unwrap()).await?;
    let divide = pipeline.prepare("SELECT 12 / $1", &[Type::INT4]).await?;
    for divisor in [3, 2, 0, 1, 4, 6] {
        pipeline.execute(&divide, [divisor])?;
    }
    while let Some(answer) = pipeline.next(|_| ()).await {
        if let Err(error) = answer
            && error.as_db_error().is_none()
        {
            return Err(error);
        }
    }
    drop(pipeline);
    let sink = client.copy_in("COPY t FROM STDIN").await?;
    let mut sink = std::pin::pin!(sink);
    sink.send(Bytes::from("1\n")).await?;
    sink.finish().await?;
    drop(client);
    driver.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_cut_at_any_byte_ends_in_an_error_and_never_hangs() {
    let db = support::database().await;
    let check = db.connect().await;
    check.batch_execute("CREATE TABLE t (id int)").await.unwrap();
    let passed = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    session_over(&db, [usize::MAX; 2], Arc::clone(&passed)).await.unwrap();
    for direction in 0..2 {
        let whole = passed[direction].load(Relaxed);
        assert!(whole > 300, "{whole}");
        for k in (0..whole).step_by(11) {
            let mut left = [usize::MAX; 2];
            left[direction] = k;
            let session = session_over(&db, left, Arc::default());
            let outcome = tokio::time::timeout(HANG, session).await;
            let outcome =
                outcome.unwrap_or_else(|_| panic!("hangs when cut at {k} of direction {direction}"));
            // The last bytes close statements, which no request waits for.
            assert!(
                outcome.is_err() || k + 200 > whole,
                "the cut at {k} of {whole} in direction {direction} went unnoticed"
            );
        }
    }
}
