//! What the server says unasked: warnings, and why it ended a session.

use std::io::Write as _;
use std::process::Stdio;

use crate::support;
use crate::support::load::{MODES, wait_until};
use crate::support::proxy::{Fate, Plan, Proxy};
use crate::support::workplace::{ProgramOutput, Workplace};

#[tokio::test]
async fn a_session_that_ends_while_the_input_is_silent_is_noticed_with_its_reason() {
    for mode in MODES {
        let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await;
        let mut command = workplace.command(&["load", "-", "-t", "t", "--append", "--mode", mode]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut load = command.spawn().unwrap();
        // It stays open until the program has ended.
        let mut input = load.stdin.take().unwrap();
        input.write_all(format!("id\n{}", "1\n".repeat(100_000)).as_bytes()).unwrap();
        // COPY and the INSERTs hold this lock; then they wait for more.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid)
            WHERE relation = 't'::regclass AND mode = 'RowExclusiveLock' AND wait_event = 'ClientRead'";
        let is_ended = async || !workplace.client().query(end, &[]).await.unwrap().is_empty();
        wait_until("that the load waits for input", is_ended).await;
        let ran = ProgramOutput::from_child(load);
        drop(input);
        assert!(matches!(ran.status.code(), Some(1 | 4)), "{mode}: {ran:#?}");
        assert!(
            ran.stderr.contains("terminating connection due to administrator command"),
            "{mode}: {ran:#?}"
        );
        assert!(ran.stderr.contains("SQLSTATE 57P01"), "{mode}: {ran:#?}");
    }
}

#[tokio::test]
async fn the_servers_warnings_are_shown_counted_and_reported() {
    let workplace = Workplace::with_sql(
        "CREATE TABLE t (id int);
         CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN RAISE WARNING 'row %', new.id USING HINT = 'mind it'; RETURN new; END $$;
         CREATE TRIGGER warn BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION warn()",
    )
    .await
    .csv("data.csv", "id\n1\n2\n");
    for mode in MODES {
        let ran = workplace.succeed(&["load", "data.csv", "-t", "t", "--mode", mode, "--receipt", "r.json"]);
        for text in [&ran.stdout, &ran.stderr] {
            assert!(text.contains("row 2 (SQLSTATE 01000); mind it"), "{mode}: {ran:#?}");
        }
        let warnings = &workplace.read_json("r.json")["warnings"];
        assert_eq!(warnings["count"], 2);
        assert_eq!(warnings["messages"][0], "row 1 (SQLSTATE 01000); mind it");
    }
    workplace
        .execute(
            "CREATE FUNCTION w() RETURNS int LANGUAGE plpgsql AS
        $$ BEGIN RAISE WARNING 'asked'; RETURN 1; END $$",
        )
        .await;
    let ran = workplace.succeed(&["query", "--sql", "SELECT w()", "-n", "150", "--json"]);
    assert_eq!(ran.stderr.matches("warning from the server: asked").count(), 100, "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["warnings"]["count"], 150);
    assert_eq!(report["warnings"]["messages"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn a_table_that_analyze_skipped_is_not_called_analyzed() {
    let workplace = Workplace::with_sql("CREATE TABLE t (id int)").await.csv("data.csv", "id\n1\n2\n");
    let load = ["load", "data.csv", "-t", "t", "--append"];
    assert!(workplace.succeed(&load).stdout.contains("added to, analyzed afterwards"));
    workplace.execute("BEGIN; LOCK TABLE t IN SHARE UPDATE EXCLUSIVE MODE").await;
    let ran = workplace.succeed(&load);
    assert!(!ran.stdout.contains("analyzed"), "{ran:#?}");
    assert!(ran.stdout.contains("skipping analyze of \"t\""), "{ran:#?}");
}

#[tokio::test]
async fn a_run_whose_server_falls_silent_ends_and_counts_what_is_outstanding() {
    let database = support::database().await;
    // A Bind of the run's own statement: if the connection that samples the server fell silent, the run would not notice.
    let trigger = |message: &[u8]| message[0] == b'B' && message[5..].starts_with(b"\0lane");
    let plan = Plan { trigger, passing: 200, fate: Fate::Hold, then_closes: false };
    let proxy = Proxy::start(&database, plan);
    let workplace = proxy.workplace(&database).await;
    let query = ["query", "--sql", "SELECT 1", "--connections", "1", "--duration", "1s", "--json"];
    let ran = workplace.run(&query);
    assert_eq!(ran.status.code(), Some(4), "{ran:#?}");
    assert!(ran.stderr.contains("queries had no result 10 s after the end of the run"), "{ran:#?}");
    let silent = &ran.json()["errors_by_sqlstate"]["silent"];
    assert!(silent["count"].as_u64().unwrap() > 0, "{ran:#?}");
}

#[tokio::test]
async fn a_session_that_ends_between_two_queries_is_counted_by_its_reason() {
    let workplace = Workplace::new().await;
    let version: i32 = workplace.value("SELECT current_setting('server_version_num')::int").await;
    if version < 140_000 {
        eprintln!("skipped: idle_session_timeout came with PostgreSQL 14");
        return;
    }
    // Only the sessions of the run have the timeout: the others may well be idle for so long while the run is prepared.
    let sql = "SELECT set_config('idle_session_timeout', '50ms', false)";
    let query = ["query", "--sql", sql, "--connections", "1", "--rate", "5", "-n", "5", "--json"];
    let ran = workplace.run(&query);
    let errors = ran.json()["errors_by_sqlstate"].clone();
    assert!(errors["57P05"]["count"].as_u64().unwrap() > 0, "{ran:#?}");
    let first = errors["57P05"]["first"].as_str().unwrap().to_owned();
    assert!(first.contains("idle-session timeout"), "{first}");
    assert_eq!(errors.as_object().unwrap().len(), 1, "{errors:#}");
}
