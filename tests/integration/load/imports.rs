//! `load --import-id`: killed anywhere and run again, every row is loaded once, and every bad one rejected once.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::import_runs::is_record;
use crate::support::import::{Expected, IMPORT, KEYS, dirty_csv, first_lines, import_into_t};
use crate::support::load::{MODES, counts, wait_for_no_session, wait_until};
use crate::support::pgbouncer::{self, PgBouncer, PoolMode};
use crate::support::proxy::{Fate, Plan, Proxy, is_query};
use crate::support::workplace::{ProgramOutput, Workplace};
use crate::support::{self, TestDb};

/// The exit code of a load with rejected rows.
pub(super) const WITH_REJECTS: i32 = 3;

/// A proxy that does `fate` to the connection of the COMMIT after `passing` others, of which the first begins the import.
pub(super) fn at_commit(passing: usize, fate: Fate) -> Plan {
    Plan { trigger: |message| is_query(message, "COMMIT"), passing, fate, then_closes: false }
}

/// As [`at_commit`], for messages that carry rows or statements.
pub(super) fn at_message(passing: usize, fate: Fate) -> Plan {
    Plan { trigger: |message| matches!(message[0], b'd' | b'B'), passing, fate, then_closes: false }
}

/// A workplace behind a proxy that carries out `plan`, with the table `t` and the file of [`dirty_csv`].
pub(super) async fn behind(plan: Plan) -> (TestDb, Proxy, Workplace) {
    let database = support::database().await;
    database.connect().await.batch_execute(KEYS).await.unwrap();
    let proxy = Proxy::start(&database, plan);
    let workplace = proxy.workplace(&database).await.csv("data.csv", dirty_csv());
    (database, proxy, workplace)
}

/// The advisory locks in the database.
pub(super) const ADVISORY: &str = "FROM pg_locks WHERE locktype = 'advisory' AND database =
    (SELECT oid FROM pg_database WHERE datname = current_database())";

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Each plan in one mode; the long rounds take 50 points in each.
#[tokio::test]
async fn a_load_that_was_killed_continues_where_it_was() {
    let plans = [
        at_commit(0, Fate::Hold),
        at_commit(1, Fate::CutBefore),
        at_commit(3, Fate::Hold),
        at_message(40, Fate::Hold),
    ];
    let expected = Expected::in_mode("copy").await;
    for (plan, mode) in plans.into_iter().zip(MODES.into_iter().cycle()) {
        let (database, proxy, workplace) = behind(plan.clone()).await;
        let mut load = workplace.start(&import_into_t("data.csv", mode));
        proxy.wait_for_strike();
        load.kill().unwrap();
        load.wait().unwrap();
        let workplace = workplace.at(database.url());
        let ran = workplace.run(&import_into_t("data.csv", mode));
        assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{mode} {plan:?}: {ran:#?}");
        expected.check(&workplace, &format!("{mode} {plan:?}")).await;
    }
}

/// As [`a_load_that_was_killed_continues_where_it_was`].
#[tokio::test]
async fn a_lost_connection_is_replaced_and_a_lost_answer_is_found_in_the_ledger() {
    let plans = [
        at_commit(0, Fate::Cut),
        at_commit(2, Fate::Cut),
        at_commit(3, Fate::CutBefore),
        at_commit(2, Fate::Reset),
        at_message(50, Fate::CutBefore),
    ];
    let expected = Expected::in_mode("copy").await;
    for (plan, mode) in plans.into_iter().zip(MODES.into_iter().cycle()) {
        let (_database, _proxy, workplace) = behind(plan.clone()).await;
        let ran = workplace.run(&[&import_into_t("data.csv", mode)[..], &["--json"]].concat());
        assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{mode} {plan:?}: {ran:#?}");
        assert!(ran.stderr.contains("trying again"), "{mode} {plan:?}: {ran:#?}");
        expected.check(&workplace, &format!("{mode} {plan:?}")).await;
        let report = ran.json();
        let import = counts(&report["import"], ["chunks", "chunks_loaded", "rows_read", "retries"]);
        assert_eq!(import, [7, 7, 2000, 1], "{report:#}");
        assert_eq!(counts(&report, ["rows_read", "rows_rejected"]), [2000, expected.rejected], "{report:#}");
    }
}

#[tokio::test]
async fn without_retries_a_lost_connection_ends_the_run_and_the_next_one_continues() {
    let expected = Expected::in_mode("copy").await;
    let in_second_chunk = Plan { trigger: is_record, ..at_commit(1, Fate::CutBefore) };
    for (plan, code) in [(at_commit(2, Fate::CutBefore), 6), (in_second_chunk, 4)] {
        let (database, _proxy, workplace) = behind(plan).await;
        let ran = workplace.run(&[&import_into_t("data.csv", "copy")[..], &["--retries", "0"]].concat());
        assert_eq!(ran.status.code(), Some(code), "{ran:#?}");
        assert_eq!(ran.stderr.contains("the next run finds it in the ledger"), code == 6, "{ran:#?}");
        assert!(
            ran.stderr.contains(" of import nightly, with 300 records, is committed and stays"),
            "{ran:#?}"
        );
        assert!(ran.stderr.contains("run the same command again"), "{ran:#?}");
        let workplace = workplace.at(database.url());
        wait_for_no_session(workplace.client()).await;
        let recorded = "SELECT sum(rows_inserted)::bigint FROM postgres_etl.ledger";
        assert_eq!(workplace.count("t").await, workplace.value::<i64>(recorded).await);
        workplace.run(&import_into_t("data.csv", "copy"));
        expected.check(&workplace, &format!("no retries, exit code {code}")).await;
    }
}

#[tokio::test]
async fn deadlocks_and_serialization_failures_are_retried() {
    for code in ["40001", "40P01"] {
        let workplace = Workplace::with_sql(&format!(
            "{KEYS}; CREATE SEQUENCE tries;
             CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF nextval('tries') IN (2, 3) THEN RAISE EXCEPTION 'unlucky' USING ERRCODE = '{code}'; END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER fails AFTER INSERT ON t EXECUTE FUNCTION fail()"
        ))
        .await
        .csv("data.csv", "id,v\n1,a\n2,b\n3,c\n4,d\n");
        for (retries, code) in [("1", 1), ("2", 0)] {
            workplace.execute("ALTER SEQUENCE tries RESTART; TRUNCATE t").await;
            let id = format!("with {retries} retries");
            let load = [
                "load",
                "data.csv",
                "-t",
                "t",
                "--import-id",
                &id,
                "--chunk-rows",
                "2",
                "--retries",
                retries,
            ];
            let ran = workplace.run(&load);
            assert_eq!(ran.status.code(), Some(code), "{retries}: {ran:#?}");
            assert!(ran.stderr.contains("trying again"), "{retries}: {ran:#?}");
            assert_eq!(workplace.count("t").await, if code == 0 { 4 } else { 2 });
        }
    }
}

#[tokio::test]
async fn signals_end_a_run_after_the_last_whole_chunk() {
    for (kind, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let workplace = Workplace::with_sql(KEYS).await;
        let csv = dirty_csv();
        let load = import_into_t("-", "copy");
        let mut command = workplace.command(&load);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(first_lines(&csv, 1000).as_bytes()).unwrap();
        wait_for_chunks(&workplace, 3).await;
        signal(&child, kind);
        let ran = ProgramOutput::from_child(child);
        drop(stdin);
        assert_eq!(ran.status.code(), Some(code), "{ran:#?}");
        assert!(
            ran.stderr.contains("3 chunks of import nightly, with 900 records, are committed"),
            "{ran:#?}"
        );
        assert!(ran.stderr.contains("run the same command again"), "{ran:#?}");
        // Standard input is given again from its beginning.
        let ran = workplace.run_with_input(&load, &csv);
        assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{ran:#?}");
        assert!(ran.stdout.contains("nightly, 7 chunks, 3 of them by other runs"), "{ran:#?}");
        Expected::in_mode("copy").await.check(&workplace, "after a signal").await;
    }
}

/// Wait until `chunks` chunks are committed.
pub(super) async fn wait_for_chunks(workplace: &Workplace, chunks: i64) {
    let exists = "SELECT to_regclass('postgres_etl.ledger') IS NOT NULL";
    let are_committed = async || {
        workplace.value::<bool>(exists).await && workplace.count("postgres_etl.ledger").await >= chunks
    };
    wait_until(&format!("that {chunks} chunks are committed"), are_committed).await;
}

/// Between two chunks the table is not locked.
#[tokio::test]
async fn a_table_that_is_altered_between_two_chunks_ends_the_run() {
    for (alteration, says, can_continue) in [
        ("ALTER TABLE t ALTER n TYPE real", "column n of t was integer and is real now", true),
        ("ALTER TABLE t DROP n", "column n of t was dropped or renamed", false),
        ("ALTER TABLE t RENAME TO u", "t was dropped or renamed", false),
        ("DROP TABLE t; CREATE TABLE t (id int, n int)", "t was dropped", false),
    ] {
        for mode in MODES {
            let workplace = Workplace::with_sql("CREATE TABLE t (id int, n int)").await;
            let load = ["load", "-", "-t", "t", "--import-id", "i", "--chunk-rows", "2", "--mode", mode];
            let mut child =
                workplace.command(&load).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(b"id,n\n1,1\n2,2\n").unwrap();
            wait_for_chunks(&workplace, 1).await;
            workplace.execute(alteration).await;
            stdin.write_all(b"3,3\n4,4\n").unwrap();
            drop(stdin);
            let ran = ProgramOutput::from_child(child);
            assert_eq!(ran.status.code(), Some(1), "{mode}, {alteration}: {ran:#?}");
            let says = format!("the table was altered while it was loaded: {says}");
            assert!(ran.stderr.contains(&says), "{mode}, {alteration}: {ran:#?}");
            assert!(ran.stderr.contains("1 chunk of import i, with 2 records, is committed"), "{ran:#?}");
            if can_continue {
                assert_eq!(workplace.count("t").await, 2, "{mode}");
                let ran = workplace.run_with_input(&load, "id,n\n1,1\n2,2\n3,3\n4,4\n");
                assert_eq!(ran.status.code(), Some(0), "{mode}, {alteration}: {ran:#?}");
                assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, "1,1\n2,2\n3,3\n4,4\n");
            }
        }
    }
}

/// A role that may write the table may not be allowed to create a ledger.
#[tokio::test]
async fn a_ledger_that_may_not_be_created_is_said_before_anything_is_written() {
    let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", "id,v\n1,a\n");
    let role = workplace.value::<String>("SELECT current_database()::text").await;
    let create =
        format!("CREATE ROLE {role}; GRANT INSERT ON t TO {role}; CREATE SCHEMA theirs AUTHORIZATION {role}");
    workplace.execute(&create).await;
    let load = ["load", "data.csv", "-t", "t", "--import-id", "i"];
    let as_role = |flags: &[&str]| {
        let mut command = workplace.command(&[&load[..], flags].concat());
        command.env("PGOPTIONS", format!("-c role={role}"));
        ProgramOutput::from_command(command)
    };
    let ran = as_role(&[]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("permission denied") && ran.stderr.contains("--ledger"), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 0);
    let ran = as_role(&["--ledger", "theirs.ledger"]);
    assert_eq!(ran.status.code(), Some(0), "{ran:#?}");
    assert_eq!(workplace.count("t").await, 1);
    workplace.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_finished_import_loads_nothing_and_a_changed_one_is_refused() {
    let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", "id,v\n1,a\n2,b\n3,c\n");
    let load = ["load", "data.csv", "-t", "t", "--import-id", "one", "--chunk-rows", "2"];
    workplace.succeed(&load);
    let again = workplace.succeed(&load);
    assert!(again.stderr.contains("import one was finished at"), "{again:#?}");
    assert!(again.stdout.contains("loaded 0 rows into t"), "{again:#?}");
    assert!(again.stdout.contains("finished before: nothing was left to load"), "{again:#?}");
    assert_eq!(workplace.count("t").await, 3);

    for (changed, says) in [
        ("id,v\n1,a\n2,B\n3,c\n", "lines 2 to 3 of data.csv differ from what was loaded"),
        ("id,v\n1,a\n2,b\n3,c\n4,d\n", "lines 4 to 5 of data.csv differ"),
        ("id,v\n1,a\n2,b\n", "it ends before what was loaded as lines 4 to 4 of data.csv"),
        ("id,v\n", "it ends before what was loaded as lines 2 to 3"),
    ] {
        workplace.write("data.csv", changed);
        let error = workplace.fail(&load, 1);
        assert!(error.contains("the input of import one has changed") && error.contains(says), "{error}");
        assert!(error.contains("imports --forget one"), "{error}");
    }
    workplace.write("data.csv", "id,v\n1,a\n2,b\n3,c\n");
    for (flags, says) in [
        (&["--null", "-"][..], "null was [\"\"] and is [\"-\"] now"),
        (&["--trim"], "trim was false and is true now"),
        (&["--decimal", ";"], "decimal was \".\" and is \";\" now"),
        (&["--thousands", "_"], "thousands was null and is \"_\" now"),
        (&["--true", "si"], "true was [] and is [\"si\"] now"),
        (&["--false", "non"], "false was [] and is [\"non\"] now"),
        (&["--quote", "'"], "quote was \"\\\"\" and is \"'\" now"),
        (&["--stray-quotes", "keep"], "stray-quotes was \"postgres\" and is \"keep\" now"),
        (&["--blank-lines", "skip"], "blank-lines was null and is \"skip\" now"),
        (&["--encoding", "latin1"], "encoding was \"UTF-8\" and is \"windows-1252\" now"),
        (&["--skip-rows", "1"], "skip-rows was 0 and is 1 now"),
        (&["--limit", "1"], "limit was null and is 1 now"),
        (&["--pad"], "pad was false and is true now"),
        (&["--union-by-name"], "union-by-name was false and is true now"),
        (&["--date-style", "dmy"], "DateStyle was \"ISO, MDY\" and is \"ISO, DMY\" now"),
        (&["--select", "id"], "columns was [\"1 id\",\"2 v\"] and is [\"1 id\"] now"),
        (&["--select", "id", "--add-column", "v=@file"], "@file was null and is [\"data.csv\"] now"),
        (&["--create", "--type", "v=text"], "type was null and is [\"v text\"] now"),
        (&["--on-conflict", "skip"], "on-conflict was null and is \"skip\" now"),
        (&["--columns", "v,id"], "columns was [\"1 id\",\"2 v\"] and is [\"1 v\",\"2 id\"] now"),
        (&["--truncate"], "truncate was false and is true now"),
    ] {
        let error = workplace.fail(&[&load[..], flags].concat(), 2);
        assert!(error.contains("import one began with other options") && error.contains(says), "{error}");
    }
    workplace.execute("DROP TABLE t; CREATE TABLE t (id int, v text)").await;
    let error = workplace.fail(&load, 2);
    assert!(error.contains("it was dropped and created again"), "{error}");
    assert_eq!(workplace.count("t").await, 0);
    workplace.succeed(&["imports", "--forget", "one"]);
    // Whatever cuts the chunks, and however the rows are sent, the rows are the same.
    workplace.succeed(&[&load[..6], &["--mode", "rows"]].concat());
    workplace.succeed(&[&load[..], &["--mode", "batch"]].concat());
    assert_eq!(workplace.count("t").await, 3);
}

/// What is not committed yet may be corrected.
#[tokio::test]
async fn a_bad_record_ends_the_run_and_its_correction_continues_it() {
    for mode in MODES {
        let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", "id,v\n1,a\n2,b\n3,c\n2,d\n5,e\n");
        let load = ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "2", "--mode", mode];
        let error = workplace.fail(&load, 1);
        // A duplicate of an earlier chunk, which the server names.
        assert!(error.contains("data.csv, line 5"), "{mode}: {error}");
        assert!(
            error.contains("1 chunk of import i, with 2 records, is committed and stays"),
            "{mode}: {error}"
        );
        workplace.write("data.csv", "id,v\n1,a\n2,b\n3,c\n4x,d\n5,e\n");
        let error = workplace.fail(&load, 1);
        assert!(error.contains("data.csv, line 5, column 1 (id)"), "{mode}: {error}");
        assert_eq!(workplace.count("t").await, 2);
        workplace.write("data.csv", "id,v\n1,a\n2,b\n3,c\n4,d\n5,e\n");
        workplace.succeed(&load);
        assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, "1,a\n2,b\n3,c\n4,d\n5,e\n");
    }
}

#[tokio::test]
async fn the_limit_of_rejects_holds_for_all_chunks_together() {
    let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", "id,v\n1,a\nx,b\n3,c\ny,d\nz,e\n6,f\n");
    let load = ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "2", "--max-rejects"];
    let error = workplace.fail(&[&load[..], &["1"]].concat(), 1);
    assert!(error.contains("2 rows were rejected, and --max-rejects allows 1"), "{error}");
    // Those of committed chunks are in the file.
    assert_eq!(workplace.read("rejects.csv"), "id,v\nx,b\n");
    let error = workplace.fail(&[&load[..], &["1%"]].concat(), 1);
    assert!(error.contains("3 of 6 rows were rejected, and --max-rejects allows 1%"), "{error}");
    let ran = workplace.run(&[&load[..], &["3"]].concat());
    assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{ran:#?}");
    assert_eq!(workplace.read("rejects.csv"), "id,v\nx,b\ny,d\nz,e\n");
    assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, "1,a\n3,c\n6,f\n");
}

#[tokio::test]
async fn the_table_is_created_or_emptied_once() {
    let workplace = Workplace::new().await.csv("data.csv", "id,v\n1,a\n2,b\n3,c\n");
    let create = ["load", "data.csv", "-t", "made", "--create", "--import-id", "c", "--chunk-rows", "2"];
    workplace.succeed(&create);
    workplace.succeed(&create);
    assert_eq!(workplace.count("made").await, 3);
    let truncate = ["load", "data.csv", "-t", "made", "--truncate", "--import-id", "d", "--chunk-rows", "2"];
    workplace.succeed(&truncate);
    workplace.execute("INSERT INTO made VALUES (4, 'later')").await;
    workplace.succeed(&truncate);
    assert_eq!(workplace.count("made").await, 4);
}

#[tokio::test]
async fn conflicts_are_resolved_in_the_order_of_the_file() {
    for mode in MODES {
        for (action, expected) in [("skip", "1,a\n2,b\n3,d\n"), ("update", "1,e\n2,b\n3,d\n")] {
            let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", "id,v\n1,a\n2,b\n3,d\n1,e\n");
            let load =
                ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "2", "--mode", mode];
            let report =
                workplace.succeed(&[&load[..], &["--on-conflict", action, "--json"]].concat()).json();
            assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, expected, "{mode} {action}");
            let skipped = u64::from(action == "skip");
            assert_eq!(counts(&report["import"], ["rows_loaded", "rows_skipped"]), [4 - skipped, skipped]);
        }
    }
}

#[tokio::test]
async fn imports_are_listed_and_forgotten() {
    let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", "id,v\n1,a\n2,b\nx,c\n");
    assert_eq!(workplace.succeed(&["imports"]).stdout, "no imports\n");
    let error = workplace.fail(&["imports", "--forget", "i"], 2);
    assert!(error.contains("there is no import i in postgres_etl.ledger"), "{error}");
    let load =
        ["load", "data.csv", "-t", "t", "--import-id", "i", "--chunk-rows", "1", "--ledger", "public.log"];
    workplace.fail(&load, 1);
    let list = |flags: &[&str]| workplace.succeed(&[&["imports", "--ledger", "log"], flags].concat());
    let document = list(&["--json"]).json();
    let import = &document["imports"][0];
    assert_eq!(
        (&import["id"], &import["table"], &import["state"]),
        (&"i".into(), &"t".into(), &"unfinished".into())
    );
    assert_eq!(counts(import, ["chunks", "rows_read", "rows_loaded"]), [2, 2, 2]);
    assert!(
        import["rows_per_second"].as_f64() > Some(0.0) && import["finished"] == Value::Null,
        "{document:#}"
    );
    let text = list(&[]).stdout;
    assert!(text.starts_with("i into t: unfinished, "), "{text}");
    assert!(text.contains("2 read = 2 loaded + 0 skipped + 0 rejected, in 2 chunks"), "{text}");
    assert_eq!(list(&["--forget", "i"]).stdout, "forgot import i; the rows that it loaded stay\n");
    assert_eq!(list(&[]).stdout, "no imports\n");
    assert_eq!(workplace.count("t").await, 2);
}

#[tokio::test]
async fn what_an_import_cannot_do_is_said_before_anything_is_written() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE UNLOGGED TABLE u (id int, v text);
         CREATE TABLE tree (id int PRIMARY KEY, v int REFERENCES tree)",
    )
    .await
    .csv("data.csv", "id,v\n1,2\n");
    for (flags, code, says) in [
        (
            &["-t", "t", "--mode", "rows", "--autocommit"][..],
            2,
            "--autocommit cannot be combined with --import-id",
        ),
        (&["-t", "t", "--dry-run"], 2, "--dry-run cannot be combined with --import-id"),
        (&["-t", "t", "--create", "--replace"], 2, "--replace cannot be combined with --import-id"),
        (&["-t", "t", "--connections", "2"], 2, "several processes with --share"),
        (
            &["-t", "t", "--defer-indexes", "always", "--on-conflict", "skip"],
            2,
            "--on-conflict cannot be combined with --defer-indexes always",
        ),
        (&["-t", "t", "--chunk-rows", "0"], 2, "--chunk-rows 0"),
        (
            &["-t", "t", "--share", "--on-conflict", "skip"],
            2,
            "--on-conflict cannot be combined with --share",
        ),
        (&["-t", "t", "--share", "-"], 2, "standard input cannot be combined with --share"),
        (&["-t", "u"], 1, "u or a partition of it is unlogged or temporary"),
        (&["-t", "tree"], 1, "tree references itself"),
    ] {
        let error = workplace.fail(&[&["load", "data.csv", "--import-id", "i"], flags].concat(), code);
        assert!(error.contains(says) && error.contains("help: "), "{flags:?}: {error}");
    }
    let error = workplace.fail(&["load", "data.csv", "-t", "t", "--import-id", ""], 2);
    assert!(error.contains("--import-id is empty"), "{error}");
    assert_eq!(workplace.count("t").await, 0);
    let ledgers = "SELECT count(*) FROM pg_class WHERE relname LIKE 'ledger%'";
    assert_eq!(workplace.value::<i64>(ledgers).await, 0);
}

#[tokio::test]
async fn an_import_through_a_pooler_continues_and_leaves_nothing_behind() {
    if pgbouncer::is_missing() {
        return;
    }
    let database = support::database().await;
    database.connect().await.batch_execute(KEYS).await.unwrap();
    for (pooling, mode) in [
        (PoolMode::Transaction, MODES[0]),
        (PoolMode::Transaction, MODES[1]),
        (PoolMode::Transaction, MODES[2]),
        (PoolMode::Session, MODES[2]),
    ] {
        let pooler = PgBouncer::start(&database, pooling, 1);
        // The test's own connection is a direct one: the import keeps the only session while it waits for input.
        let workplace = Workplace::on(&database).await.at(pooler.database().url());
        workplace.execute("TRUNCATE t; DROP SCHEMA IF EXISTS postgres_etl CASCADE").await;
        let load = import_into_t("-", mode);
        let mut command = workplace.command(&load);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(first_lines(&dirty_csv(), 1000).as_bytes()).unwrap();
        wait_for_chunks(&workplace, 2).await;
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdin);
        let ran = workplace.run_with_input(&load, dirty_csv());
        assert_eq!(ran.status.code(), Some(WITH_REJECTS), "{mode}: {ran:#?}");
        Expected::in_mode(mode).await.check(&workplace, mode).await;
        assert_eq!(workplace.value::<i64>(&format!("SELECT count(*) {ADVISORY}")).await, 0, "{mode}");
    }
}

/// The path of the rejects file may not be writable, and the rows are not to wait for that.
#[tokio::test]
async fn a_rejects_file_that_cannot_be_written_stops_an_import_at_once() {
    let workplace = Workplace::with_sql(KEYS).await.csv("data.csv", dirty_csv());
    let load = [&IMPORT[..], &["data.csv", "--rejects", "nowhere/bad.csv"]].concat();
    let error = workplace.fail(&load, 1);
    assert!(error.contains("failed to create the rejects file nowhere/bad.csv"), "{error}");
    assert_eq!(workplace.count("t").await, 0);
    assert!(fs::read_dir(workplace.path("")).unwrap().count() == 1);
}
