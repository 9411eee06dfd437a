//! `load --connections`: one file through several connections.

use crate::support;
use crate::support::load::wait_until;
use crate::support::workplace::{ProgramOutput, Workplace};

/// Each connection has its own transaction, and none commits before all of them have sent their rows.
#[tokio::test]
async fn several_connections_copy_as_one() {
    let mut csv = "id,day\n".to_owned();
    for id in 0..60_000 {
        // From here on, the server parses the days of the connections that take the remaining chunks.
        let day = if id == 30_000 { "12/31/2021" } else { "2021-01-02" };
        csv += &format!("{id},{day}\n");
    }
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, day date)").await.csv("data.csv", &csv);
    let load = |flags: &[&str]| {
        workplace.run(&[&["load", "data.csv", "-t", "t", "--connections", "3"], flags].concat())
    };
    let count = "SELECT count(*), count(DISTINCT id), min(day), max(day) FROM t";
    let ran = load(&["--dry-run"]);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(workplace.csv_of(count).await, "0,0,,\n");
    let ran = load(&[]);
    assert!(ran.stdout.contains("copy, one transaction each, committed together, 3 connections"), "{ran:#?}");
    assert_eq!(workplace.csv_of(count).await, "60000,60000,2021-01-02,2021-12-31\n");
    // A key that already exists.
    assert!(load(&[]).stderr.contains("already exists"));
    assert_eq!(workplace.csv_of(count).await, "60000,60000,2021-01-02,2021-12-31\n");
    // A key that occurs twice in the file, so far apart that two transactions insert it: one waits for the other.
    workplace.execute("TRUNCATE t").await;
    csv += "5,2021-01-02\n";
    workplace.write("data.csv", &csv);
    let ran = load(&[]);
    assert!(ran.stderr.contains("Key (id)=(5) already exists"), "{ran:#?}");
    assert!(ran.stderr.contains("data.csv, line 60002"), "{ran:#?}");
    assert_eq!(workplace.csv_of(count).await, "0,0,,\n");
    for (flags, why) in [
        (&["--truncate"][..], "needs --append"),
        (&["--mode", "batch"], "needs --mode copy, or --mode rows --autocommit"),
        (&["--max-rejects", "1"], "cannot be combined with --max-rejects"),
        (&["--on-conflict", "skip"], "cannot be combined with --on-conflict"),
    ] {
        let ran = load(flags);
        assert_eq!(ran.status.code(), Some(2), "{ran:#?}");
        assert!(ran.stderr.contains(why), "{ran:#?}");
    }
    workplace.write("people.csv", "id\n1\n");
    let absent = workplace.fail(&["load", "people.csv", "--append", "--connections", "3"], 2);
    assert!(absent.contains("--connections 3 needs an existing table"), "{absent}");
}

/// `--connections auto` takes two connections for many rows appended to others, and one where that is faster or the
/// only possibility.
#[tokio::test]
async fn auto_takes_two_connections_where_that_is_faster() {
    let long = "x".repeat(9_000);
    let file = |first: u32| {
        let rows = (first..first + 1_000).map(|id| format!("{id},{long}"));
        std::iter::once("id,name".to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
    };
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, name text)")
        .await
        .csv("data.csv", file(1))
        .csv("small.csv", "id,name\n0,x\n")
        .csv("more.csv", file(2_001));
    let connections = |file: &str, flags: &[&str]| {
        let load = ["load", file, "-t", "t", "--connections", "auto", "--json"];
        workplace.succeed(&[&load, flags].concat()).json()["connections"].as_u64().unwrap()
    };
    assert_eq!(connections("data.csv", &["--dry-run"]), 1, "the table is empty, and its key deferred");
    assert_eq!(connections("data.csv", &["--dry-run", "--defer-indexes", "never"]), 2);
    assert_eq!(connections("data.csv", &[]), 1);
    assert_eq!(connections("small.csv", &[]), 1, "it is small");
    assert_eq!(connections("more.csv", &["--dry-run", "--max-rejects", "1"]), 1, "it needs one transaction");
    assert_eq!(connections("more.csv", &["--dry-run", "--mode", "batch"]), 1);
    assert_eq!(connections("more.csv", &[]), 2);
    assert_eq!(workplace.csv_of("SELECT count(*), max(id) FROM t").await, "2001,3000\n");
    let wrong = workplace.fail(&["load", "more.csv", "-t", "t", "--connections", "many"], 2);
    assert!(wrong.contains("expected a number, or auto"), "{wrong}");
}

/// A session waits for one connection of a load and makes another one wait. The server sees no deadlock, because the first
/// one waits in the program, for the second one.
#[tokio::test]
async fn a_deadlock_by_way_of_a_stranger_ends_a_load() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, name text);
               CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN IF NEW.id = 9 THEN PERFORM pg_advisory_xact_lock(1); END IF; RETURN NEW; END $$;
               CREATE TRIGGER pauses BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION pause()";
    let long = "x".repeat(100);
    let csv = (0..60_000).fold("id,name\n".to_owned(), |csv, id| csv + &format!("{id},{long}\n"));
    let database = support::database().await;
    let workplace = Workplace::on(&database).await.csv("data.csv", csv);
    workplace.execute(sql).await;
    let (stranger, holder) = (database.connect().await, database.connect().await);
    holder.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    stranger.batch_execute("SET deadlock_timeout = '1h'; BEGIN; INSERT INTO t VALUES (59999)").await.unwrap();
    let load = workplace.start(&["load", "data.csv", "-t", "t", "--append", "--connections", "2"]);
    let ended = tokio::task::spawn_blocking(|| ProgramOutput::from_child(load));
    // The connection with row 0 stops at row 9, and the other one takes the rows up to that of the stranger.
    let waiting = "SELECT count(DISTINCT locktype) FROM pg_locks
                   WHERE NOT granted AND locktype IN ('advisory', 'transactionid')
                     AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())";
    wait_until("that both connections wait", async || workplace.value::<i64>(waiting).await == 2).await;
    holder.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
    stranger.batch_execute("INSERT INTO t VALUES (0)").await.unwrap();
    let ran = ended.await.unwrap();
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("deadlock: one connection of the load waits for the session"), "{ran:#?}");
    assert!(ran.stderr.contains("nothing was loaded"), "{ran:#?}");
    stranger.batch_execute("COMMIT").await.unwrap();
    assert_eq!(workplace.count("t").await, 2);
}

/// A session that locks the table behind one connection of a load, which would wait for the others, is let through.
#[tokio::test]
async fn who_waits_for_the_table_goes_before_a_load() {
    let database = support::database().await;
    let workplace = Workplace::on(&database).await.csv("data.csv", "id\n1\n");
    workplace.execute("CREATE TABLE t (id int)").await;
    let (holder, stranger) = (database.connect().await, database.connect().await);
    holder.batch_execute("BEGIN; LOCK TABLE t").await.unwrap();
    let load = workplace.start(&["load", "data.csv", "-t", "t", "--append", "--connections", "2"]);
    let waiting = |mode: &str| {
        format!(
            "SELECT count(*) FROM pg_locks WHERE relation = 't'::regclass AND NOT granted AND mode = '{mode}'"
        )
    };
    let is_awaited = async |mode| workplace.value::<i64>(&waiting(mode)).await > 0;
    wait_until("that the load waits", async || is_awaited("RowExclusiveLock").await).await;
    let locking = tokio::spawn(async move { stranger.batch_execute("BEGIN; LOCK TABLE t; COMMIT").await });
    wait_until("that the other session waits", async || is_awaited("AccessExclusiveLock").await).await;
    holder.batch_execute("ROLLBACK").await.unwrap();
    locking.await.unwrap().unwrap();
    let ran = ProgramOutput::from_child(load);
    assert!(ran.status.success(), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 1);
}
