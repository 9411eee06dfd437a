//! `Loader` as a program uses it: errors with their place and cause, readers, cancellation.

use std::error::Error as _;
use std::sync::Arc;

use postgres_etl::load::{Connections, ImportOptions, ImportState, Ledger, LoadOptions, Loader, Mode};
use postgres_etl::postgres::{Database, DatabaseOptions, ServerChoice, conninfo};
use postgres_etl::{Error, ErrorKind, Progress, Result};
use tokio_postgres::Client;

use crate::support::{self, TestDb};

const TABLE: &str = "CREATE TABLE t (id int PRIMARY KEY, age smallint)";

async fn open(db: &TestDb) -> (Database, Client) {
    let conninfo = conninfo::resolve(Some((db.url(), "test")), &|_| None).unwrap().unwrap();
    let options = DatabaseOptions::new(ServerChoice::Named(Box::new(conninfo)));
    let client = db.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    (Database::open(options, |_| ()).await.unwrap(), client)
}

fn from_text(text: &'static str) -> LoadOptions {
    LoadOptions::from_reader(text.as_bytes(), "numbers", "t").unwrap()
}

async fn load(database: &Database, options: &LoadOptions) -> Result<u64> {
    let loader = Loader::new(options)?;
    Ok(loader.run(database, &Arc::new(Progress::default())).await?.rows_loaded)
}

fn place(error: &Error) -> (&str, Option<u64>, Option<usize>) {
    let location = error.location().expect("the error has a place");
    (&location.file, location.line, location.column)
}

#[tokio::test]
async fn a_reader_is_loaded_in_every_mode_and_only_once() {
    let (database, client) = open(&support::database().await).await;
    for mode in [Mode::Rows, Mode::Batch, Mode::Copy] {
        let options = from_text("id,age\n1,20\n2,\n").mode(mode).truncate();
        assert_eq!(load(&database, &options).await.unwrap(), 2, "{mode}");
        let again = load(&database, &options).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::Usage, "{mode}: {again}");
    }
    let sum = client.query_one("SELECT sum(id), count(age) FROM t", &[]).await.unwrap();
    assert_eq!((sum.get(0), sum.get(1)), (3_i64, 1_i64));
}

/// One run of an import lets the next one begin, in the same process.
#[tokio::test]
async fn an_import_of_a_program_continues_and_is_listed() {
    let (database, client) = open(&support::database().await).await;
    let import = || ImportOptions::new("numbers").chunk_rows(1);
    let error = load(&database, &from_text("id,age\n1,20\n2,old\n").import(import())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input, "{error}");
    let text = "id,age\n1,20\n2,30\n3,\n";
    assert_eq!(load(&database, &from_text(text).import(import())).await.unwrap(), 2);
    assert_eq!(load(&database, &from_text(text).import(import())).await.unwrap(), 0);
    let sum = client.query_one("SELECT sum(id), count(age) FROM t", &[]).await.unwrap();
    assert_eq!((sum.get(0), sum.get(1)), (6_i64, 2_i64));
    let (ledger, progress) = (Ledger::default(), Progress::default());
    let imports = ledger.imports(&database).await.unwrap();
    assert_eq!((imports.len(), imports[0].state, imports[0].rows_loaded), (1, ImportState::Finished, 3));
    ledger.forget(&database, "numbers", &progress).await.unwrap();
    assert_eq!(ledger.forget(&database, "numbers", &progress).await.unwrap_err().kind(), ErrorKind::Usage);
}

#[tokio::test]
async fn errors_tell_the_place_as_fields() {
    let (database, _client) = open(&support::database().await).await;
    let bad_value = load(&database, &from_text("id,age\n1,20\n2,old\n")).await.unwrap_err();
    assert_eq!(place(&bad_value), ("numbers", Some(3), Some(2)), "{bad_value}");
    let unclosed = load(&database, &from_text("id,age\n1,20\n2,\"3\n")).await.unwrap_err();
    assert_eq!(place(&unclosed), ("numbers", Some(3), None), "{unclosed}");
    let no_name = load(&database, &from_text("id,\n1,20\n")).await.unwrap_err();
    assert_eq!(place(&no_name), ("numbers", Some(1), Some(2)), "{no_name}");
    let missing = load(&database, &LoadOptions::new(["nowhere.csv"], "t").unwrap()).await.unwrap_err();
    assert_eq!(place(&missing), ("nowhere.csv", None, None), "{missing}");
    assert!(missing.source().is_some_and(<dyn std::error::Error>::is::<std::io::Error>));
}

#[tokio::test]
async fn refusals_keep_the_servers_code_and_error() {
    let (database, _client) = open(&support::database().await).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("twice.csv");
    std::fs::write(&file, "id,age\n1,20\n2,30\n1,40\n").unwrap();
    for mode in [Mode::Rows, Mode::Batch, Mode::Copy] {
        let twice = load(&database, &LoadOptions::new([&file], "t").unwrap().mode(mode)).await.unwrap_err();
        assert_eq!(twice.sqlstate(), Some("23505"), "{mode}: {twice}");
        assert_eq!(place(&twice).1, Some(4), "{mode}: {twice}");
        assert!(twice.source().is_some_and(<dyn std::error::Error>::is::<tokio_postgres::Error>), "{mode}");
    }
}

#[tokio::test]
async fn a_cancelled_load_leaves_the_table_alone() {
    let (database, client) = open(&support::database().await).await;
    // Nothing more comes, so only the cancellation can end it.
    let (mut writer, reader) = tokio::io::duplex(64);
    tokio::io::AsyncWriteExt::write_all(&mut writer, b"id,age\n1,20\n").await.unwrap();
    let loader = Loader::new(&LoadOptions::from_reader(reader, "a pipe", "t").unwrap()).unwrap();
    let progress = Arc::new(Progress::default());
    let open = loader.open().await.unwrap();
    progress.cancel();
    let cancelled = open.run(&database, &progress).await.unwrap_err();
    assert_eq!(cancelled.kind(), ErrorKind::Interrupted, "{cancelled}");
    drop(writer);
    let count = client.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 0);
}

#[test]
fn contradictions_are_found_before_anything_is_opened() {
    let options = from_text("").mode(Mode::Copy).autocommit();
    let error = options.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert_eq!(error.to_string(), "--autocommit commits row by row, which mode copy cannot");
    let options = from_text("").connections(Connections::Exactly(0));
    assert_eq!(Loader::new(&options).unwrap_err().kind(), ErrorKind::Usage);
    assert_eq!(LoadOptions::new(["a.csv"], "a.b.c").unwrap_err().kind(), ErrorKind::Usage);
}
