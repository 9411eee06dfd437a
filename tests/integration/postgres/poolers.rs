//! Behind PgBouncer, whose server connections strangers share.

use std::process::Child;

use tokio_postgres::SimpleQueryMessage;

use crate::support::load::MODES;
use crate::support::pgbouncer::{self, PgBouncer, PoolMode};
use crate::support::workplace::{ProgramOutput, Workplace};
use crate::support::{self, TestDb};

const BOTH: [PoolMode; 2] = [PoolMode::Session, PoolMode::Transaction];

/// `rows` rows whose only value is `value`, with their header.
fn csv(value: &str, rows: usize) -> String {
    format!("v\n{}", format!("{value}\n").repeat(rows))
}

/// A database with the tables `ta` and `tb`, and a workplace behind a pooler in front of it with the files `a.csv` and
/// `b.csv`.
async fn two_tables(mode: PoolMode, size: usize) -> (TestDb, PgBouncer, Workplace) {
    let database = support::database().await;
    let sql =
        "CREATE TABLE ta (v text, n serial PRIMARY KEY); CREATE TABLE tb (v text, n serial PRIMARY KEY)";
    database.connect().await.batch_execute(sql).await.unwrap();
    let pooler = PgBouncer::start(&database, mode, size);
    let workplace = pooler.workplace().await.csv("a.csv", csv("a", 200)).csv("b.csv", csv("b", 200));
    (database, pooler, workplace)
}

/// The least number of server connections that a pooler needs for a run with one connection.
fn sessions(mode: PoolMode) -> usize {
    match mode {
        // The test's, the run's, and those that compare results and read plans.
        PoolMode::Session => 4,
        PoolMode::Transaction | PoolMode::Statement => 1,
    }
}

/// What the sessions of a pooler with one server connection have that they did not begin with.
async fn leftovers(pooler: &PgBouncer) -> Vec<String> {
    let client = pooler.database().connect().await;
    let left = "SELECT 'statement ' || name FROM pg_prepared_statements UNION ALL
                SELECT name FROM pg_settings WHERE source = 'session' AND name LIKE '%read_only%'";
    let messages = client.simple_query(left).await.unwrap();
    let name = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.iter().filter_map(name).collect()
}

#[tokio::test]
async fn every_load_puts_its_rows_into_its_own_table() {
    if pgbouncer::is_missing() {
        return;
    }
    for mode in BOTH {
        // Enough for all loads at once: they wait for each other forever when each holds some and lacks others.
        let (database, _pooler, workplace) = two_tables(mode, 4 * 3).await;
        let ways: [&[&str]; 5] = [
            &["--mode", "rows", "--autocommit", "--connections", "3"],
            &["--mode", "rows"],
            &["--mode", "batch"],
            &["--mode", "copy"],
            &["--mode", "rows", "--on-conflict", "skip"],
        ];
        for way in ways {
            let load =
                |file, table| workplace.start(&[&["load", file, "-t", table, "--append"], way].concat());
            let loads: Vec<Child> = (0..2).flat_map(|_| [load("a.csv", "ta"), load("b.csv", "tb")]).collect();
            for load in loads {
                let load = ProgramOutput::from_child(load);
                assert!(load.status.success(), "{mode:?} {way:?}: {load:#?}");
            }
        }
        let client = database.connect().await;
        for (table, value) in [("ta", "a"), ("tb", "b")] {
            let count = format!("SELECT count(*) FROM {table} WHERE v = '{value}'");
            assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 2000, "{mode:?}");
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(client.query_one(&count, &[]).await.unwrap().get::<_, i64>(0), 2000, "{mode:?}");
        }
    }
}

#[tokio::test]
async fn a_query_through_a_pooler_fails_in_nothing_and_leaves_nothing_behind() {
    if pgbouncer::is_missing() {
        return;
    }
    for mode in BOTH {
        let (_database, pooler, workplace) = two_tables(mode, sessions(mode)).await;
        workplace.execute("INSERT INTO ta SELECT generate_series(1, 100)").await;
        let ways: [&[&str]; 5] = [
            &["--protocol", "prepared"],
            &["--protocol", "prepared", "--sync-every", "1", "--pipeline-depth", "1"],
            &["--protocol", "unnamed"],
            &["--protocol", "simple"],
            &["--explain", "--verify"],
        ];
        for way in ways {
            let look_up = ["--sql", "SELECT v FROM ta WHERE v = $1::int::text", "--arg", "uniform:1:100"];
            let query =
                [&["query", "-n", "2000", "--connections", "1", "--json"], &look_up[..], way].concat();
            let report = workplace.succeed(&query).json();
            assert_eq!(report["errors"], 0, "{mode:?} {way:?}: {report:#}");
            assert_eq!(report["queries"], 2000, "{mode:?} {way:?}");
            assert_eq!(leftovers(&pooler).await, [""; 0], "{mode:?} {way:?}");
        }
    }
}

#[tokio::test]
async fn several_connections_share_fewer_of_a_pooler() {
    if pgbouncer::is_missing() {
        return;
    }
    let (_database, _pooler, workplace) = two_tables(PoolMode::Transaction, 2).await;
    workplace.execute("INSERT INTO ta SELECT generate_series(1, 100)").await;
    let look_up = ["--sql", "SELECT v FROM ta WHERE v = $1::int::text", "--arg", "uniform:1:100"];
    let query = [&["query", "-n", "5000", "--connections", "5", "--json"], &look_up[..]].concat();
    let report = workplace.succeed(&query).json();
    assert_eq!((&report["errors"], &report["queries"]), (&0.into(), &5000.into()), "{report:#}");
}

#[tokio::test]
async fn a_query_that_writes_is_refused_behind_a_pooler_and_writes_nothing() {
    if pgbouncer::is_missing() {
        return;
    }
    for mode in BOTH {
        let (_database, pooler, workplace) = two_tables(mode, 2 + sessions(mode)).await;
        workplace
            .execute(
                "CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'INSERT INTO ta VALUES (1) RETURNING 1'",
            )
            .await;
        let query = ["query", "--sql", "SELECT w()", "-n", "500", "--connections", "3"];
        let error = workplace.fail(&query, 1);
        assert!(error.contains("25006"), "{mode:?}: {error}");
        assert_eq!(workplace.count("ta").await, 0, "{mode:?}");
        // The sessions are as writable as before for everyone else.
        for _ in 0..3 {
            pooler.database().connect().await.batch_execute("INSERT INTO tb VALUES (1)").await.unwrap();
        }
    }
}

/// The driver counts its names up from s0 in every process; with names of its own, no process executes a statement of
/// another.
#[tokio::test]
async fn statements_that_a_pooler_mixes_up_are_never_taken_for_strangers() {
    if pgbouncer::is_missing() {
        return;
    }
    let (database, pooler, workplace) = two_tables(PoolMode::Transaction, 1).await;
    // Another program, whose statements stay in the only session.
    let names = (0..20).map(|number| format!("PREPARE s{number} AS SELECT 1")).collect::<Vec<_>>().join(";");
    pooler.database().connect().await.batch_execute(&names).await.unwrap();
    let always = ["--mode", "rows", "--prepare", "always", "--append"];
    workplace.succeed(&[&["load", "a.csv", "-t", "ta"], &always[..]].concat());
    // Not by way of the pooler: this process counts its names from s0 too.
    let direct = database.connect().await;
    let count = |condition| format!("SELECT count(*) FROM ta WHERE {condition}");
    assert_eq!(direct.query_one(&count("v = 'a'"), &[]).await.unwrap().get::<_, i64>(0), 200);

    // A pooler that gives the next transaction another session: the statement is missing there.
    let stranger = pooler.database().connect().await;
    let forget = tokio::spawn(async move { while stranger.batch_execute("DEALLOCATE ALL").await.is_ok() {} });
    workplace.write("long.csv", csv("a", 100_000));
    let load = ["load", "long.csv", "-t", "ta", "--autocommit"];
    let loading = workplace.start(&[&load[..], &always].concat());
    let ran = tokio::task::spawn_blocking(move || ProgramOutput::from_child(loading)).await.unwrap();
    forget.abort();
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("SQLSTATE 26000"), "{ran:#?}");
    assert!(ran.stderr.contains("help: connections go through a pooler such as PgBouncer"), "{ran:#?}");
    assert!(ran.stderr.contains("--prepare never"), "{ran:#?}");
    assert_eq!(direct.query_one(&count("v <> 'a'"), &[]).await.unwrap().get::<_, i64>(0), 0);
}

/// PgBouncer ends the session at a BEGIN, and says why.
#[tokio::test]
async fn a_pooler_of_statements_is_named() {
    if pgbouncer::is_missing() {
        return;
    }
    let (_database, _pooler, workplace) = two_tables(PoolMode::Statement, 4).await;
    for mode in MODES {
        let error = workplace.fail(&["load", "a.csv", "-t", "ta", "--append", "--mode", mode], 1);
        assert!(error.contains("statement pooling mode"), "{mode}: {error}");
        assert!(error.contains("use a pool with pool_mode transaction or session"), "{mode}: {error}");
    }
    let check = workplace.run(&["check", "a.csv", "-t", "ta"]);
    assert_eq!(check.status.code(), Some(1), "{check:#?}");
    assert!(check.stdout.contains("statement pooling mode"), "{check:#?}");
}

#[tokio::test]
async fn a_plain_server_is_not_taken_for_a_pooler() {
    if pgbouncer::is_missing() {
        return;
    }
    let database = support::database().await;
    let workplace = Workplace::on(&database).await.csv("a.csv", csv("a", 3));
    workplace.execute("CREATE TABLE ta (v text)").await;
    let pooler = PgBouncer::start(&database, PoolMode::Session, 1);
    let behind_pooler = pooler.workplace().await.csv("a.csv", csv("a", 3));
    for mode in ["rows", "batch"] {
        let load = ["load", "a.csv", "-t", "ta", "--json", "--append", "--mode", mode];
        for (prepare, is_named) in [("auto", true), ("always", true), ("never", false)] {
            let report = workplace.succeed(&[&load[..], &["--prepare", prepare]].concat()).json();
            assert_eq!(report["server"]["pooler"], false);
            assert_eq!(report["server"]["named_statements"], is_named, "{prepare}");
            let unnamed = (!is_named).then_some("statements have no names");
            assert_eq!(report["through_driver"].as_str(), unnamed, "{mode} {prepare}");
        }
        let report = behind_pooler.succeed(&load).json();
        assert_eq!(report["server"]["pooler"], true);
        assert_eq!(report["server"]["named_statements"], false);
        assert_eq!(report["through_driver"], "connections go through a pooler", "{mode}");
    }
}

#[tokio::test]
async fn a_report_tells_what_the_pooler_tells_of_itself() {
    if pgbouncer::is_missing() {
        return;
    }
    for mode in BOTH {
        let (_database, _pooler, workplace) = two_tables(mode, sessions(mode)).await;
        let mode = format!("{mode:?}").to_lowercase();
        let commands: [&[&str]; 3] = [
            &["check", "a.csv", "-t", "ta"],
            &["load", "a.csv", "-t", "ta", "--append"],
            &["query", "--sql", "SELECT 1", "-n", "10", "--connections", "1"],
        ];
        for command in commands {
            let server = workplace.succeed(&[command, &["--json"]].concat()).json()["server"].clone();
            assert_eq!(server["pool_mode"], *mode, "{command:?} {server:#}");
            let version = server["pooler_version"].as_str().unwrap();
            assert!(version.starts_with("PgBouncer 1."), "{version}");
        }
        let text = workplace.succeed(commands[1]).stdout;
        assert!(
            text.contains(" behind PgBouncer 1.") && text.contains(&format!(", pool mode {mode}")),
            "{text}"
        );
    }
    let (database, _pooler, _) = two_tables(PoolMode::Session, 1).await;
    let closed = PgBouncer::start_with_closed_console(&database, PoolMode::Session, 3);
    let workplace = closed.workplace().await.csv("a.csv", csv("a", 3));
    let load = ["load", "a.csv", "-t", "ta", "--append"];
    let server = workplace.succeed(&[&load[..], &["--json"]].concat()).json()["server"].clone();
    assert_eq!(server["pooler"], true);
    assert!(server["pooler_version"].is_null() && server["pool_mode"].is_null(), "{server:#}");
    let text = workplace.succeed(&load).stdout;
    assert!(text.contains("behind a connection pooler, which does not tell its version"), "{text}");
}
