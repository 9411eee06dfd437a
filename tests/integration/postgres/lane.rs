//! The lane beside the driver, against a real server: the same answers as through the driver, batched or not.

use std::num::NonZero;
use std::time::Duration;

use futures::future::join_all;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use tokio::net::UnixStream;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls, Row, Statement};
use tokio_postgres_sync_batching::{Lane, LaneStatement, Pipeline, SyncBatching, is_skipped};

use crate::support::{self, TestDb};

/// Far longer than anything here takes.
const HANG: Duration = Duration::from_secs(60);

/// A client whose connection is driven, and its lane.
pub(super) async fn client(db: &TestDb) -> (Client, Lane) {
    client_that(db, 64).await
}

/// As [`client`]; up to `every` statements of the driver share a Sync.
async fn client_that(db: &TestDb, every: usize) -> (Client, Lane) {
    let config: Config = db.url().parse().unwrap();
    let Host::Unix(directory) = &config.get_hosts()[0] else { panic!("the tests use a Unix socket") };
    let socket =
        UnixStream::connect(directory.join(format!(".s.PGSQL.{}", config.get_ports()[0]))).await.unwrap();
    let stream = SyncBatching::new(socket, NonZero::new(every).unwrap());
    let lane = Lane::of(&stream.control());
    let (client, connection) = config.connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    (client, lane)
}

const STATEMENTS: [&str; 4] = [
    "SELECT g, 'row ' || g FROM generate_series(1, $1::int) g",
    "SELECT repeat('x', $1::int)",
    "SELECT 12 / $1::int",
    "SELECT NULL::text, now() IS NULL WHERE $1::int > 3",
];

/// The answer to an execution: the bytes of each value of each row, or SQLSTATE and message.
type Answer = Result<Rows, String>;

type Rows = Vec<Vec<Option<Vec<u8>>>>;

struct Raw(Vec<u8>);

impl<'a> tokio_postgres::types::FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Raw(raw.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn error_text(error: &tokio_postgres::Error) -> String {
    let db = error.as_db_error().unwrap_or_else(|| panic!("the connection is gone: {error:?}"));
    format!("{} {}", db.code().code(), db.message())
}

async fn through_driver(client: &Client, statement: &Statement, value: i32) -> Result<Rows, Error> {
    let values =
        |row: &Row| (0..row.len()).map(|column| row.get::<_, Option<Raw>>(column).map(|raw| raw.0)).collect();
    Ok(client.query(statement, &[&value]).await?.iter().map(values).collect())
}

async fn prepare_in_driver(client: &Client) -> Vec<Statement> {
    let mut statements = Vec::new();
    for sql in STATEMENTS {
        statements.push(client.prepare(sql).await.unwrap());
    }
    statements
}

async fn prepare(pipeline: &mut Pipeline) -> Vec<LaneStatement> {
    let mut statements = Vec::new();
    for sql in STATEMENTS {
        statements.push(pipeline.prepare(sql, &[Type::INT4]).await.unwrap());
    }
    statements
}

/// The answers to `script`, a list of statements and their arguments, over the lane.
async fn over_lane(lane: &Lane, every: usize, script: &[(usize, i32)]) -> Vec<Result<Rows, Error>> {
    let mut pipeline = lane.pipeline(NonZero::new(every).unwrap()).await.unwrap();
    let statements = prepare(&mut pipeline).await;
    for (statement, value) in script {
        pipeline.execute(&statements[*statement], [value]).unwrap();
    }
    let mut answers = Vec::new();
    loop {
        let mut rows = Rows::new();
        let row = |row: tokio_postgres_sync_batching::Row<'_>| {
            rows.push(row.values().map(|value| value.map(<[u8]>::to_vec)).collect());
        };
        let Some(answer) = pipeline.next(row).await else { return answers };
        answers.push(answer.map(|count| {
            assert_eq!(count, rows.len() as u64);
            rows
        }));
    }
}

/// As [`over_lane`], through the driver: all are sent before an answer is awaited.
async fn batched(client: &Client, script: &[(usize, i32)]) -> Vec<Result<Rows, Error>> {
    let statements = prepare_in_driver(client).await;
    let sent = script.iter().map(|&(statement, value)| through_driver(client, &statements[statement], value));
    join_all(sent).await
}

#[test]
fn answers_are_those_of_the_stock_driver_unless_an_earlier_statement_of_the_group_failed() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let db = runtime.block_on(support::database());
    let stock = runtime.block_on(db.connect());
    let stock_statements = runtime.block_on(prepare_in_driver(&stock));
    let config = ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() };
    let value = prop_oneof![4 => 1..20_i32, 1 => Just(0), 1 => Just(200_000)];
    let script = (vec((0..STATEMENTS.len(), value), 0..60), 1..12_usize, any::<bool>(), any::<bool>());
    let outcome = TestRunner::new(config).run(&script, |(script, every, in_transaction, takes_lane)| {
        runtime.block_on(async {
            let script: Vec<(usize, i32)> =
                script.into_iter().map(|(s, v)| (s, if s == 0 || s == 3 { v % 50 } else { v })).collect();
            let mut expected: Vec<Answer> = Vec::new();
            for &(statement, value) in &script {
                let answer = through_driver(&stock, &stock_statements[statement], value).await;
                expected.push(answer.map_err(|error| error_text(&error)));
            }
            let (client, lane) = client_that(&db, every).await;
            if in_transaction {
                client.batch_execute("BEGIN").await.unwrap();
            }
            let got = async {
                if takes_lane {
                    over_lane(&lane, every, &script).await
                } else {
                    batched(&client, &script).await
                }
            };
            let got = tokio::time::timeout(HANG, got).await.unwrap();
            prop_assert_eq!(got.len(), expected.len());
            let mut failed = None;
            for (index, (got, expected)) in got.into_iter().zip(expected).enumerate() {
                match got {
                    Err(error) if is_skipped(&error) => {
                        let failed: usize = failed.expect("one is skipped only after one that failed");
                        // The driver's groups begin with what it prepares.
                        let is_of_group =
                            index - failed < every && (!takes_lane || failed / every == index / every);
                        prop_assert!(in_transaction || is_of_group);
                    }
                    Err(error) if in_transaction && failed.is_some() => {
                        prop_assert_eq!(error.code(), Some(&SqlState::IN_FAILED_SQL_TRANSACTION));
                    }
                    got => {
                        failed = if got.is_err() { Some(index) } else { failed };
                        let got = got.map_err(|error| error_text(&error));
                        prop_assert_eq!(got, expected, "at {}", index);
                    }
                }
            }
            client.batch_execute("ROLLBACK").await.unwrap();
            prop_assert_eq!(client.query_one("SELECT 7", &[]).await.unwrap().get::<_, i32>(0), 7);
            Ok(())
        })
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

#[tokio::test]
async fn the_driver_and_the_lane_take_turns_in_a_transaction() {
    let db = support::database().await;
    let (client, lane) = client(&db).await;
    client.batch_execute("CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)").await.unwrap();
    let every = NonZero::new(10).unwrap();
    let mut pipeline = lane.pipeline(every).await.unwrap();
    let insert = pipeline.prepare("INSERT INTO t VALUES ($1)", &[Type::INT4]).await.unwrap();
    drop(pipeline);
    for round in 0..20 {
        client.batch_execute("BEGIN").await.unwrap();
        // The driver's request waits for the end of the pipeline.
        let (inserted, counted) = tokio::join!(
            async {
                let mut pipeline = lane.pipeline(every).await.unwrap();
                for number in 0..25_i32 {
                    pipeline.execute(&insert, [round * 25 + number]).unwrap();
                }
                let mut inserted = 0;
                while let Some(answer) = pipeline.next(|_| ()).await {
                    inserted += answer.unwrap();
                }
                inserted
            },
            client.query_one("SELECT count(*) FROM t", &[]),
        );
        assert_eq!(inserted, 25);
        assert_eq!(counted.unwrap().get::<_, i64>(0) % 25, 0, "none of the pipeline, or all of it");
        client.batch_execute(if round % 2 == 0 { "COMMIT" } else { "ROLLBACK" }).await.unwrap();
    }
    assert_eq!(client.query_one("SELECT count(*) FROM t", &[]).await.unwrap().get::<_, i64>(0), 250);
    // The end of a group's transaction may fail: the last statement tells, and nothing of the group remains.
    let mut pipeline = lane.pipeline(every).await.unwrap();
    for number in [1000_i32, 0] {
        pipeline.execute(&insert, [number]).unwrap();
    }
    assert_eq!(pipeline.next(|_| ()).await.unwrap().unwrap(), 1);
    let refused = pipeline.next(|_| ()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::UNIQUE_VIOLATION));
    assert!(pipeline.next(|_| ()).await.is_none());
    pipeline.close(insert).await.unwrap();
    drop(pipeline);
    let left =
        client.query_one("SELECT count(*), count(*) FILTER (WHERE id = 1000) FROM t", &[]).await.unwrap();
    assert_eq!((left.get::<_, i64>(0), left.get::<_, i64>(1)), (250, 0));
    let names = "SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'lane%'";
    assert_eq!(client.query_one(names, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn much_in_both_directions_does_not_block() {
    let db = support::database().await;
    let (_client, lane) = client(&db).await;
    let mut pipeline = lane.pipeline(NonZero::new(50).unwrap()).await.unwrap();
    let echo = pipeline.prepare("SELECT $1, repeat('y', 100000)", &[Type::TEXT]).await.unwrap();
    let long = "x".repeat(200_000);
    for _ in 0..100 {
        pipeline.execute(&echo, [long.as_str()]).unwrap();
    }
    let (mut answers, mut bytes) = (0, 0);
    let row =
        |row: tokio_postgres_sync_batching::Row<'_>| row.values().flatten().map(<[u8]>::len).sum::<usize>();
    let all = async {
        while let Some(answer) = pipeline.next(|found| bytes += row(found)).await {
            answers += answer.unwrap();
        }
    };
    tokio::time::timeout(HANG, all).await.unwrap();
    assert_eq!((answers, bytes), (100, 100 * 300_000));
}

#[tokio::test]
async fn a_terminated_session_and_a_dropped_pipeline_are_closed_connections() {
    let db = support::database().await;
    let every = NonZero::new(10).unwrap();
    let (client_one, lane) = client(&db).await;
    let mut pipeline = lane.pipeline(every).await.unwrap();
    let end = pipeline.prepare("SELECT pg_terminate_backend(pg_backend_pid())", &[]).await.unwrap();
    for _ in 0..3 {
        pipeline.execute::<&str>(&end, []).unwrap();
    }
    let first = pipeline.next(|_| ()).await.unwrap().unwrap_err();
    assert_eq!(first.code(), Some(&SqlState::ADMIN_SHUTDOWN), "{first:?}");
    assert!(pipeline.next(|_| ()).await.unwrap().is_err() && pipeline.next(|_| ()).await.unwrap().is_err());
    assert!(pipeline.next(|_| ()).await.is_none() && pipeline.is_broken());
    drop(pipeline);
    assert!(client_one.query_one("SELECT 1", &[]).await.unwrap_err().is_closed());

    let (client_two, lane) = client(&db).await;
    let mut pipeline = lane.pipeline(every).await.unwrap();
    let sleep = pipeline.prepare("SELECT pg_sleep(3600)", &[]).await.unwrap();
    pipeline.execute::<&str>(&sleep, []).unwrap();
    {
        // Dropping the future loses nothing.
        let next = pipeline.next(|_| ());
        assert!(tokio::time::timeout(Duration::from_millis(1), next).await.is_err());
    }
    assert_eq!(pipeline.len(), 1);
    drop(pipeline);
    assert!(client_two.query_one("SELECT 1", &[]).await.unwrap_err().is_closed());
}

#[tokio::test]
async fn notices_and_parameters_reach_the_driver() {
    let db = support::database().await;
    let config: Config = db.url().parse().unwrap();
    let Host::Unix(directory) = &config.get_hosts()[0] else { panic!("the tests use a Unix socket") };
    let socket =
        UnixStream::connect(directory.join(format!(".s.PGSQL.{}", config.get_ports()[0]))).await.unwrap();
    let stream = SyncBatching::new(socket, NonZero::<usize>::MIN);
    let lane = Lane::of(&stream.control());
    let (client, mut connection) = config.connect_raw(stream, NoTls).await.unwrap();
    let (heard, mut hearing) = tokio::sync::mpsc::unbounded_channel();
    let driving = tokio::spawn(async move {
        while let Some(message) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            if let tokio_postgres::AsyncMessage::Notice(notice) = message.unwrap() {
                heard.send(notice.message().to_owned()).unwrap();
            }
        }
        connection.parameter("application_name").map(str::to_owned)
    });
    let mut pipeline = lane.pipeline(NonZero::new(4).unwrap()).await.unwrap();
    let raise = pipeline.prepare("DO $$ BEGIN RAISE NOTICE 'heard'; END $$", &[]).await.unwrap();
    let set = pipeline.prepare("SET application_name = 'beside'", &[]).await.unwrap();
    for statement in [&raise, &set, &raise] {
        pipeline.execute::<&str>(statement, []).unwrap();
    }
    while let Some(answer) = pipeline.next(|_| ()).await {
        answer.unwrap();
    }
    // While the pipeline still has the stream.
    assert_eq!(hearing.recv().await.as_deref(), Some("heard"));
    assert_eq!(hearing.recv().await.as_deref(), Some("heard"));
    drop(pipeline);
    drop(client);
    assert_eq!(driving.await.unwrap().as_deref(), Some("beside"));
}
