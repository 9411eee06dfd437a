//! `load --receipt` and `--dry-run`: what is written besides the rows, and what is not.

use crate::support::load::{MODES, csv_of, workplace};

#[tokio::test]
async fn a_failed_load_leaves_a_receipt_too() {
    let (workplace, _) = workplace("CREATE TABLE t (id int)", "id\n1\nx\n").await;
    let error = workplace.fail(&["load", "data.csv", "-t", "t", "--receipt", "receipt.json"], 1);
    let receipt = std::fs::read_to_string(workplace.path("receipt.json")).unwrap();
    let receipt: serde_json::Value = serde_json::from_str(&receipt).unwrap();
    assert_eq!(receipt["command"], "load");
    assert!(error.contains(receipt["error"]["message"].as_str().unwrap()), "{receipt} {error}");
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
