//! The examples, run as their users run them.

use std::path::PathBuf;
use std::process::Command;

use crate::support::{TestDb, database};

/// Run the example `name` against `db`; returns what it prints.
fn run(db: &TestDb, name: &str, arguments: &[&str]) -> String {
    // Cargo builds the examples with the tests, in the directory beside theirs.
    let tests = std::env::current_exe().unwrap();
    let example: PathBuf = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    let ran = Command::new(&example)
        .args(arguments)
        .env("DATABASE_URL", db.url())
        .current_dir(std::env::temp_dir())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; `cargo build --examples` makes it", example.display()));
    assert!(ran.status.success(), "{name}: {ran:#?}");
    String::from_utf8(ran.stdout).unwrap()
}

#[tokio::test]
async fn load_csv_creates_the_table_and_loads_the_file() {
    let db = database().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("people.csv");
    std::fs::write(&file, "id,name\n1,Ada\n2,Grace\n").unwrap();
    let printed = run(&db, "load_csv", &["people", file.to_str().unwrap()]);
    assert!(printed.starts_with("2 rows into people: 0 rejected"), "{printed}");
    let rows = db.connect().await.query("SELECT name FROM people ORDER BY id", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["Ada", "Grace"]);
}

#[tokio::test]
async fn load_from_reader_loads_what_a_program_writes() {
    let db = database().await;
    let printed = run(&db, "load_from_reader", &[]);
    assert_eq!(printed, "10000 rows from the sensors in one transaction\n");
    let sum = "SELECT count(*), sum(celsius)::text FROM measurements";
    let row = db.connect().await.query_one(sum, &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (10_000_i64, "199500.00"));
}

#[tokio::test]
async fn measure_reports_rate_and_latency() {
    let db = database().await;
    let printed = run(&db, "measure", &["SELECT $1::int + 1", "uniform:1:1000"]);
    assert!(printed.starts_with("10000 queries, 0 failed: "), "{printed}");
    assert!(printed.contains("response time: p50 "), "{printed}");
}

#[tokio::test]
async fn encode_field_prints_the_binary_format() {
    let db = database().await;
    assert_eq!(run(&db, "encode_field", &["23", "42"]), "[00, 00, 00, 2a]\n");
    assert!(run(&db, "encode_field", &["23", "4x"]).starts_with("invalid: "));
}

#[tokio::test]
async fn sync_batching_answers_as_the_stock_driver_does() {
    let db = database().await;
    let printed = run(&db, "pipeline", &[db.url(), "500"]);
    assert!(printed.starts_with("500 look-ups, 512 in flight on one connection"), "{printed}");
}
