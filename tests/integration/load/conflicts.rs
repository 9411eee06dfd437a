//! `load --on-conflict`: rows whose key already exists.

use crate::support::load::{MODES, counts};
use crate::support::workplace::Workplace;

#[tokio::test]
async fn rows_whose_key_exists_are_skipped_or_updated() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, n int, other text DEFAULT 'kept')")
            .await
            .csv("data.csv", "id,n\n1,10\n2,20\n3,30\n3,31\n");
    for mode in MODES {
        workplace.execute("TRUNCATE t; INSERT INTO t VALUES (2, 0, 'old')").await;
        let report = |action: &str| {
            let flags = ["load", "data.csv", "-t", "t", "--mode", mode, "--json", "--on-conflict", action];
            let report = workplace.succeed(&flags).json();
            counts(&report, ["rows_read", "rows_inserted", "rows_updated", "rows_skipped"])
        };
        assert_eq!(report("skip"), [4, 2, 0, 2], "{mode}");
        assert_eq!(
            workplace.csv_of("SELECT * FROM t ORDER BY id").await,
            "1,10,kept\n2,0,old\n3,30,kept\n",
            "{mode}"
        );
        workplace.execute("DELETE FROM t WHERE id <> 2").await;
        assert_eq!(report("update:id"), [4, 2, 2, 0], "{mode}");
        assert_eq!(
            workplace.csv_of("SELECT * FROM t ORDER BY id").await,
            "1,10,kept\n2,20,old\n3,31,kept\n",
            "{mode}"
        );
    }
    let message = workplace.fail(&["load", "data.csv", "-t", "t", "--on-conflict", "update:other"], 2);
    assert!(message.contains("the file has no column other"), "{message}");
}

/// A trigger that returns NULL fails a load; with `--on-conflict skip`, which hides the difference, the report names
/// it.
#[tokio::test]
async fn rows_dropped_by_a_trigger_are_reported() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int PRIMARY KEY);
         CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN IF NEW.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END';
         CREATE TRIGGER swallow BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION nothing()",
    )
    .await
    .csv("data.csv", "id\n1\n2\n3\n");
    for mode in MODES {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode], 1);
        assert!(error.contains("the server inserted 2 of 3 rows into t"), "{mode}: {error}");
        let ran =
            workplace.succeed(&["load", "data.csv", "-t", "t", "--mode", mode, "--on-conflict", "skip"]);
        assert!(
            ran.stdout.contains("a trigger dropped the row (BEFORE INSERT: swallow)"),
            "{mode}: {ran:#?}"
        );
        workplace.execute("DELETE FROM t").await;
    }
}

/// All rows of a key that occurs repeatedly in the file are written, and so checked, in their order.
#[tokio::test]
async fn a_bad_row_is_not_hidden_by_a_later_row_with_its_key() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, v int NOT NULL CHECK (v > 0))")
        .await
        .csv("data.csv", "id,v\n1,-5\n1,\n1,7\n2,3\n1,8\n");
    for mode in MODES {
        let flags = ["load", "data.csv", "-t", "t", "--on-conflict", "update", "--mode", mode];
        let error = workplace.fail(&flags, 1);
        assert!(error.contains("t_v_check"), "{mode}: {error}");
        assert_eq!(workplace.count("t").await, 0, "{mode}");
        let report = workplace.run(&[&flags[..], &["--max-rejects", "2", "--json"]].concat()).json();
        let counts = counts(&report, ["rows_inserted", "rows_updated", "rows_rejected"]);
        assert_eq!(counts, [2, 1, 2], "{mode}");
        assert_eq!(workplace.csv_of("SELECT * FROM t ORDER BY id").await, "1,8\n2,3\n", "{mode}");
        workplace.execute("TRUNCATE t").await;
    }
}

/// Without a unique index no row can conflict, so `skip` would load every duplicate and report that it skipped none.
#[tokio::test]
async fn skipping_needs_a_unique_index() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", "id\n1\n1\n");
    let load = ["load", "data.csv", "-t", "t", "--on-conflict", "skip"];
    let error = workplace.fail(&load, 2);
    assert!(error.contains("t has no primary key or unique index"), "{error}");
    workplace.execute("CREATE UNIQUE INDEX ON t ((id % 10))").await;
    workplace.succeed(&load);
    assert_eq!(workplace.count("t").await, 1);
}

/// A statement cannot update a row twice, so the load is repeated row by row, and says so.
#[tokio::test]
async fn a_second_attempt_is_reported() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY, v text)")
        .await
        .csv("data.csv", "id,v\n1,first\n2,other\n1,second\n");
    let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--on-conflict", "update"]);
    assert!(ran.stderr.contains("second attempt, in mode rows"), "{ran:#?}");
    assert!(ran.stdout.contains("mode    rows"), "{ran:#?}");
    assert_eq!(workplace.csv_of("TABLE t ORDER BY id").await, "1,second\n2,other\n");
}

/// The server looks for the index when it plans a statement, which is before anything is emptied.
#[tokio::test]
async fn a_key_without_an_index_is_refused_before_the_table_is_emptied() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, k int); INSERT INTO t VALUES (7, 7)";
    let workplace = Workplace::with_sql(table).await.csv("data.csv", "id,k\n1,1\n");
    for flags in [&["--mode", "rows", "--autocommit"][..], &["--mode", "batch"], &["--mode", "copy"]] {
        for clause in ["skip:k", "update:k"] {
            let load = ["load", "data.csv", "-t", "t", "--truncate", "--on-conflict", clause];
            let error = workplace.fail(&[&load[..], flags].concat(), 1);
            assert!(error.contains("SQLSTATE 42P10") && !error.contains("line "), "{flags:?}: {error}");
            assert_eq!(workplace.csv_of("TABLE t").await, "7,7\n", "{flags:?}");
        }
    }
}
