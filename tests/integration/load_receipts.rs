//! `load --receipt` and `--dry-run`: what is written besides the rows, and what is not.

use crate::support::load::{MODES, csv_of, workplace};

/// It says how far the load came, and that nothing of it stays.
#[tokio::test]
async fn a_failed_load_leaves_a_receipt_too() {
    let mut csv = "id\n".to_owned();
    for id in 0..30 {
        csv += if id % 3 == 0 { "-1\n" } else { "1\n" };
    }
    let (workplace, _) = workplace("CREATE TABLE t (id int CHECK (id > 0))", csv + "x\n").await;
    let fail_into = |table: &str, flags: &[&str], exit_code: i32| {
        // One of an earlier load, which must not be taken for this one's.
        workplace.write("receipt.json", "{}");
        let flags = [&["load", "-t", table, "--receipt", "receipt.json"], flags].concat();
        let error = workplace.fail(&flags, exit_code);
        let receipt = std::fs::read_to_string(workplace.path("receipt.json")).unwrap();
        let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
        assert_eq!((&receipt["command"], &receipt["table"]), (&"load".into(), &table.into()), "{receipt}");
        assert_eq!(receipt["error"]["exit_code"], exit_code, "{receipt}");
        assert!(error.contains(receipt["error"]["message"].as_str().unwrap()), "{receipt} {error}");
        let counts = ["rows_read", "rows_loaded", "rows_rejected"].map(|key| receipt[key].as_u64().unwrap());
        (counts, receipt["path"].as_str().unwrap().to_owned())
    };
    let fail = |flags: &[&str], exit_code: i32| fail_into("t", flags, exit_code);
    let data = "data.csv".to_owned();
    for mode in MODES {
        // We refuse the last row before the server has seen any other.
        assert_eq!(fail(&["data.csv", "--mode", mode], 1), ([31, 0, 0], data.clone()));
        let flags = ["data.csv", "--mode", mode, "--max-rejects", "10"];
        assert_eq!(fail(&flags, 1), ([31, 0, 11], data.clone()));
    }
    workplace.write("good.csv", "id\n1\n-1\n1\n");
    let flags = ["good.csv", "--mode", "rows", "--autocommit", "--pipeline-depth", "1"];
    assert_eq!(fail(&flags, 1), ([3, 1, 0], "good.csv".to_owned()));
    // Before anything is read.
    assert_eq!(fail(&["good.csv", "absent.csv"], 1), ([0, 0, 0], "good.csv, absent.csv".to_owned()));
    assert_eq!(fail_into("absent", &["good.csv"], 1).0, [0, 0, 0]);
    let nowhere = "postgresql://127.0.0.1:1/nowhere";
    assert_eq!(fail(&["good.csv", "--database-url", nowhere], 4).0, [0, 0, 0]);
}

#[tokio::test]
async fn a_dry_run_changes_nothing_and_a_receipt_is_kept() {
    let (workplace, client) = workplace("CREATE TABLE t (id int PRIMARY KEY)", "id\n1\n2\n").await;
    for mode in MODES {
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--mode", mode, "--dry-run"]);
        assert!(ran.stdout.starts_with("could load 2 rows into t"), "{ran:#?}");
        assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "0\n");
    }
    workplace.succeed(&["load", "data.csv", "-t", "t", "--receipt", "receipt.json"]);
    let receipt: serde_json::Value =
        serde_json::from_slice(&std::fs::read(workplace.path("receipt.json")).unwrap()).unwrap();
    assert_eq!(receipt["rows_loaded"], 2);
    // `printf 'id\n1\n2\n' | sha256sum`
    assert_eq!(
        receipt["files"][0]["sha256"],
        "1d1c91d15ace6e21ea5f551e16e717f326992bdf800f6696628859be29b906bf"
    );
    workplace.fail(&["load", "data.csv", "-t", "t", "--receipt", "no/such/place.json"], 1);
}

/// The rejects of one load are corrected and loaded again from the file that the next one would write to.
#[tokio::test]
async fn what_is_read_is_never_written_over() {
    let csv = "id\n1\nx\n";
    let (workplace, client) = workplace("CREATE TABLE t (id int)", csv).await;
    workplace.write("rejects.csv", csv);
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
        assert_eq!(std::fs::read_to_string(workplace.path("data.csv")).unwrap(), csv);
        assert_eq!(std::fs::read_to_string(workplace.path("rejects.csv")).unwrap(), csv);
    }
    // A clean load leaves the rejects of an earlier one where they are.
    workplace.write("clean.csv", "id\n1\n");
    workplace.succeed(&["load", "clean.csv", "-t", "t", "--max-rejects", "5"]);
    assert!(workplace.path("rejects.csv").exists());
    assert_eq!(csv_of(&client, "SELECT count(*) FROM t").await, "1\n");
}

#[tokio::test]
async fn a_dry_run_checks_deferred_constraints_and_an_empty_file_empties_nothing() {
    let (workplace, client) = workplace(
        "CREATE TABLE t (id int UNIQUE DEFERRABLE INITIALLY DEFERRED); INSERT INTO t VALUES (7)",
        "id\n1\n1\n",
    )
    .await;
    for mode in MODES {
        let message = workplace.fail(&["load", "data.csv", "-t", "t", "--mode", mode, "--dry-run"], 1);
        assert!(message.contains("SQLSTATE 23505"), "{message}");
        workplace.write("empty.csv", "");
        workplace.succeed(&["load", "empty.csv", "-t", "t", "--mode", mode, "--truncate"]);
        assert_eq!(csv_of(&client, "SELECT * FROM t").await, "7\n", "{mode}");
    }
}
