//! `load --receipt` and `--dry-run`: what a load writes besides the rows, and what it does not write.

use crate::support::load::{MODES, counts};
use crate::support::workplace::Workplace;

/// The receipt tells how far the load got, and that nothing of it was committed.
#[tokio::test]
async fn a_failed_load_writes_a_receipt_too() {
    let mut csv = "id\n".to_owned();
    for id in 0..30 {
        csv += if id % 3 == 0 { "-1\n" } else { "1\n" };
    }
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int CHECK (id > 0))").await.csv("data.csv", csv + "x\n");
    let fail_into = |table: &str, flags: &[&str], exit_code: i32| {
        // The receipt of an earlier load, which must not be mistaken for that of this one.
        workplace.write("receipt.json", "{}");
        let flags = [&["load", "-t", table, "--receipt", "receipt.json"], flags].concat();
        let error = workplace.fail(&flags, exit_code);
        let receipt = workplace.read_json("receipt.json");
        assert_eq!((&receipt["command"], &receipt["table"]), (&"load".into(), &table.into()), "{receipt}");
        assert_eq!(receipt["error"]["exit_code"], exit_code, "{receipt}");
        assert!(error.contains(receipt["error"]["message"].as_str().unwrap()), "{receipt} {error}");
        let counts = counts(&receipt, ["rows_read", "rows_loaded", "rows_rejected"]);
        (counts, receipt["path"].as_str().unwrap().to_owned())
    };
    let fail = |flags: &[&str], exit_code: i32| fail_into("t", flags, exit_code);
    let data = "data.csv".to_owned();
    for mode in MODES {
        // The program refuses the last row before the server has received any of the others.
        assert_eq!(fail(&["data.csv", "--mode", mode], 1), ([31, 0, 0], data.clone()));
        let flags = ["data.csv", "--mode", mode, "--max-rejects", "10"];
        assert_eq!(fail(&flags, 1), ([31, 0, 11], data.clone()));
    }
    workplace.write("good.csv", "id\n1\n-1\n1\n");
    let flags = ["good.csv", "--mode", "rows", "--autocommit", "--pipeline-depth", "1"];
    assert_eq!(fail(&flags, 1), ([3, 1, 0], "good.csv".to_owned()));
    // These fail before anything is read.
    assert_eq!(fail(&["good.csv", "absent.csv"], 1), ([0, 0, 0], "good.csv, absent.csv".to_owned()));
    assert_eq!(fail_into("absent", &["good.csv"], 1).0, [0, 0, 0]);
    let nowhere = "postgresql://127.0.0.1:1/nowhere";
    assert_eq!(fail(&["good.csv", "--database-url", nowhere], 4).0, [0, 0, 0]);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_a_load_writes_its_receipt() {
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int PRIMARY KEY)").await.csv("data.csv", "id\n1\n2\n");
    for mode in MODES {
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--mode", mode, "--dry-run"]);
        assert!(ran.stdout.starts_with("dry run: would load 2 rows into t"), "{ran:#?}");
        assert_eq!(workplace.count("t").await, 0);
    }
    workplace.succeed(&["load", "data.csv", "-t", "t", "--receipt", "receipt.json"]);
    let receipt = workplace.read_json("receipt.json");
    assert_eq!(receipt["rows_loaded"], 2);
    // `printf 'id\n1\n2\n' | sha256sum`
    assert_eq!(
        receipt["files"][0]["sha256"],
        "1d1c91d15ace6e21ea5f551e16e717f326992bdf800f6696628859be29b906bf"
    );
    workplace.fail(&["load", "data.csv", "-t", "t", "--receipt", "no/such/place.json"], 1);
}

/// Users correct the rejects of one load in place, and load the file to which the next load would write its own.
#[tokio::test]
async fn input_files_are_never_overwritten() {
    let csv = "id\n1\nx\n";
    let workplace =
        Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", csv).csv("rejects.csv", csv);
    for flags in [
        &["rejects.csv", "--max-rejects", "5"][..],
        &["./rejects.csv", "--max-rejects", "5"],
        &["data.csv", "--max-rejects", "5", "--rejects", "data.csv"],
        &["data.csv", "--max-rejects", "5", "--rejects", "out.x", "--receipt", "out.x"],
        &["data.csv", "--receipt", "data.csv"],
        &["absent.csv", "data.*", "--receipt", "./data.csv"],
        &["data.csv", "--receipt", "/dev/null"],
    ] {
        let message = workplace.fail(&[&["load", "-t", "t"], flags].concat(), 2);
        assert!(message.contains("name another file with --re"), "{flags:?}: {message}");
        assert_eq!(workplace.read("data.csv"), csv);
        assert_eq!(workplace.read("rejects.csv"), csv);
    }
    // A load without rejects keeps the file of an earlier one.
    workplace.write("clean.csv", "id\n1\n");
    workplace.succeed(&["load", "clean.csv", "-t", "t", "--max-rejects", "5"]);
    assert!(workplace.path("rejects.csv").exists());
    assert_eq!(workplace.count("t").await, 1);
}

#[tokio::test]
async fn a_dry_run_checks_deferred_constraints_and_an_empty_file_truncates_nothing() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (7)",
    )
    .await
    .csv("data.csv", "id\n1\n1\n");
    for mode in MODES {
        let message = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode, "--dry-run"], 1);
        assert!(message.contains("SQLSTATE 23505"), "{message}");
        workplace.write("empty.csv", "");
        workplace.succeed(&["load", "empty.csv", "-t", "t", "--mode", mode, "--truncate"]);
        assert_eq!(workplace.csv_of("SELECT * FROM t").await, "7\n", "{mode}");
    }
}

#[tokio::test]
async fn an_earlier_receipt_does_not_outlast_a_load_that_was_refused_before_it_began() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", "id\n1\n");
    let load = ["load", "data.csv", "-t", "t", "--receipt", "receipt.json"];
    workplace.succeed(&load);
    assert_eq!(workplace.read_json("receipt.json")["outcome"], "committed");
    workplace.fail(&[&load[..], &["--connections", "2", "--on-conflict", "skip"]].concat(), 2);
    let receipt = workplace.read_json("receipt.json");
    assert_eq!((&receipt["outcome"], &receipt["error"]["exit_code"]), (&"rolled back".into(), &2.into()));
    // Nor one that the command line refuses by itself.
    workplace.succeed(&load);
    workplace.fail(&[&load[..], &["--batch-size", "many"]].concat(), 2);
    let receipt = workplace.read_json("receipt.json");
    assert_eq!((&receipt["outcome"], &receipt["error"]["exit_code"]), (&"rolled back".into(), &2.into()));
    for content in ["[load]\nmode = 7\n", "[load\n"] {
        workplace.succeed(&load);
        workplace.write("bad.toml", content);
        workplace.fail(&[&load[..], &["--config", "bad.toml"]].concat(), 2);
        assert_eq!(workplace.read_json("receipt.json")["outcome"], "rolled back", "{content}");
    }
    // What is not a receipt may be an input.
    let refused = ["load", "data.csv", "-t", "t", "--receipt", "data.csv", "--on-conflict", "nonsense"];
    workplace.fail(&refused, 2);
    workplace.fail(&["load", "data.csv", "-t", "t", "--receipt", "data.csv"], 2);
    assert_eq!(workplace.read("data.csv"), "id\n1\n");
}

/// The TRUNCATE of a load with a commit for each row is committed too.
#[tokio::test]
async fn a_table_that_was_emptied_is_not_called_rolled_back() {
    let table = "CREATE TABLE t (id int CHECK (id < 5)); INSERT INTO t VALUES (1)";
    let workplace = Workplace::with_sql(table).await.csv("data.csv", "id\n7\n");
    let load = [
        "load",
        "data.csv",
        "-t",
        "t",
        "--mode",
        "rows",
        "--autocommit",
        "--truncate",
        "--receipt",
        "r.json",
    ];
    let error = workplace.fail(&load, 1);
    assert!(error.contains("the table was emptied first, and no row was committed"), "{error}");
    assert_eq!(workplace.read_json("r.json")["outcome"], "partly committed");
    assert_eq!(workplace.count("t").await, 0);
}

/// Reading a pipe to see whether it is an earlier receipt would never end.
#[tokio::test]
async fn a_receipt_is_a_regular_file() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", "id\n1\n");
    let pipe = workplace.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
        .unwrap();
    for path in ["pipe", "/dev/full", "/dev/zero"] {
        let error = workplace.fail(&["load", "data.csv", "-t", "t", "--receipt", path], 2);
        assert!(error.contains("is not a regular file"), "{error}");
    }
    assert_eq!(workplace.count("t").await, 0);
}
