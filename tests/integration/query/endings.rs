//! `query`: what ends a run, and what is reported and saved of a run that ends early.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support;
use crate::support::query::{ASK, backend_asked, wait_until_asked};
use crate::support::workplace::{ProgramOutput, Workplace};

#[tokio::test]
async fn a_run_ends_after_a_time_or_a_number_of_queries() {
    let workplace = Workplace::with_sql("CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY)").await;
    let insert = ["query", "--json", "--sql", "INSERT INTO asked DEFAULT VALUES"];
    let report = workplace.succeed(&[&insert[..], &["--duration", "300ms"]].concat()).json();
    assert!(report["seconds"].as_f64().unwrap() >= 0.3, "{report:#}");
    assert_eq!(report["queries"], workplace.count("asked").await);
    let report = workplace.succeed(&[&insert[..], &["--duration", "1h", "-n", "7"]].concat()).json();
    assert_eq!(report["queries"], 7);

    workplace.execute("TRUNCATE asked").await;
    let warmed = workplace.succeed(&[&insert[..], &["--warm-up", "200ms", "-n", "30"]].concat()).json();
    assert_eq!((&warmed["queries"], &warmed["load"]["warm_up_seconds"]), (&30.into(), &0.2.into()));
    let counted: u64 =
        warmed["series"].as_array().unwrap().iter().map(|s| s["answered"].as_u64().unwrap()).sum();
    assert_eq!(counted, 30);
    assert!(workplace.count("asked").await > 30, "the warm-up sends queries, which do not count");
}

#[tokio::test]
async fn too_many_errors_end_the_run() {
    let workplace = Workplace::new().await;
    let divide =
        ["query", "--sql", "SELECT 1 / ($1::int % 2)", "--arg", "sequence:1:10", "-c", "1", "-d", "1"];
    let ran = workplace.run(&[&divide[..], &["-n", "1000", "--max-errors", "3", "--json"]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert_eq!((&ran.json()["errors"], &ran.json()["queries"]), (&4.into(), &8.into()), "{ran:#?}");
    assert!(ran.stderr.contains("4 queries failed, more than --max-errors 3 allows"), "{ran:#?}");
    // Queries skipped after a failed one never ran, and are not counted as errors.
    let deep = ["query", "--sql", divide[2], "--arg", "sequence:1:10", "-c", "1", "-d", "64", "-n", "5000"];
    let ran = workplace.run(&[&deep[..], &["--max-errors", "3", "--json"]].concat());
    let errors = ran.json()["errors_by_sqlstate"].clone();
    assert_eq!(errors.as_object().unwrap().keys().collect::<Vec<_>>(), ["22012"], "{errors:#}");
    let some = workplace.run(&[&divide[..], &["-n", "6", "--max-errors", "3"]].concat());
    assert!(some.status.success() && some.stdout.contains("  22012    3 times"), "{some:#?}");
}

/// A statement that turns out to write may not share its Sync: the run ends, with the answers until then in its
/// report.
#[tokio::test]
async fn a_write_among_queries_that_share_a_sync_ends_the_run_with_its_report() {
    let workplace = Workplace::with_sql("CREATE SEQUENCE asked").await;
    let sql = "SELECT CASE WHEN $1::int = 900 THEN nextval('asked') END";
    let query = ["query", "--sql", sql, "--arg", "sequence:1:1000", "-n", "1000", "-c", "1", "-d", "8"];
    let ran = workplace.run(&[&query[..], &["--json"]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert!((899..1000).contains(&report["queries"].as_u64().unwrap()), "{report:#}");
    assert!(report["ended_by"].as_str().unwrap().contains("read-only"), "{report:#}");
    assert!(ran.stderr.contains("--sync-every 1 gives each its own"), "{ran:#?}");
}

#[tokio::test]
async fn a_run_ended_by_the_loss_of_the_server_is_reported() {
    let workplace = Workplace::with_embedded_server("");
    let url = workplace.succeed(&["server", "url", "-q"]).stdout;
    let client = support::connect(url.trim()).await;
    client.batch_execute("CREATE SEQUENCE asked").await.unwrap();
    let child = workplace.start(&[
        "query",
        "--sql",
        ASK,
        "--sync-every",
        "1",
        "--duration",
        "1h",
        "-c",
        "2",
        "--json",
    ]);
    wait_until_asked(&client, 100).await;
    workplace.succeed(&["server", "stop"]);
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(4), "{ran:#?}");
    let report = ran.json();
    assert!(report["queries"].as_u64().unwrap() >= 99, "{report:#}");
    assert!(report["ended_by"].as_str().unwrap().starts_with("a connection was lost: "), "{report:#}");
    assert!(ran.stderr.contains("the server went away during the run"), "{ran:#?}");
    assert_eq!(report["bound"]["by"], "unknown", "{report:#}");
    // Not the time in which the program tried to replace the connections.
    let last = report["series"].as_array().unwrap().last().unwrap()["second"].as_f64().unwrap();
    assert!(report["seconds"].as_f64().unwrap() < last + 2.0, "{report:#}");
}

#[tokio::test]
async fn an_interrupted_run_is_reported() {
    let workplace = Workplace::with_sql("CREATE SEQUENCE asked").await;
    let child = workplace.start(&[
        "query",
        "--sql",
        ASK,
        "--sync-every",
        "1",
        "-n",
        "100000000",
        "-c",
        "1",
        "-d",
        "1",
        "--json",
    ]);
    backend_asked(&workplace, 100).await;
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(143), "{ran:#?}");
    let report = ran.json();
    assert_eq!((&report["interrupted"], &report["errors"]), (&true.into(), &0.into()), "{report:#}");
}

/// A signal while the server does not respond still gets the report of what it had answered.
#[tokio::test]
async fn a_run_interrupted_while_the_server_is_frozen_is_reported() {
    let workplace = Workplace::with_sql("CREATE SEQUENCE asked").await;
    let query = ["query", "--sql", ASK, "--sync-every", "1", "--duration", "1h", "-c", "1", "--json"];
    let child = workplace.start(&query);
    let backend = backend_asked(&workplace, 100).await;
    kill_process(backend, Signal::STOP).unwrap();
    // As `timeout` does, which sends its signal to the process and to its group.
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(child);
    kill_process(backend, Signal::CONT).unwrap();
    // Of two signals that are pending, the kernel may deliver either first.
    assert!(matches!(ran.status.code(), Some(130 | 143)), "{ran:#?}");
    let report = ran.json();
    assert_eq!((&report["interrupted"], &report["errors"]), (&true.into(), &0.into()));
    assert!(report["queries"].as_u64().unwrap() >= 99, "{report:#}");
}

/// A partial run must neither overwrite a complete one nor serve as a baseline.
#[tokio::test]
async fn an_interrupted_run_is_not_saved() {
    let workplace = Workplace::with_sql("CREATE SEQUENCE asked").await;
    let ask = ["query", "--sql", ASK, "--sync-every", "1", "-c", "1", "-d", "1", "--json"];
    workplace.write("runs/before.json", "a whole run");
    for name in ["runs/before.json", "runs/new.json"] {
        workplace.execute("ALTER SEQUENCE asked RESTART").await;
        let child = workplace.start(&[&ask[..], &["--duration", "2m", "--save", name]].concat());
        wait_until_asked(workplace.client(), 100).await;
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = ProgramOutput::from_child(child);
        assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
        let report = ran.json();
        assert_eq!((&report["interrupted"], &report["errors"]), (&true.into(), &0.into()), "{report:#}");
        assert!(report["queries"].as_u64().unwrap() >= 99, "{report:#}");
        let said: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(
            said,
            [
                "the run is not saved: it ended early, or had no results",
                "interrupted: the report covers the results until then"
            ]
        );
    }
    // The existing file is unchanged, and there is no new one, not even a temporary one.
    let names: Vec<_> = std::fs::read_dir(workplace.path("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["before.json"]);
    assert_eq!(workplace.read("runs/before.json"), "a whole run");
}

/// The report is the only document on standard output, and standard error has the other errors of the run as well.
#[tokio::test]
async fn a_run_that_cannot_be_saved_is_reported_nonetheless() {
    let workplace = Workplace::with_sql(
        "CREATE SEQUENCE asked; CREATE TABLE divisor (n int); INSERT INTO divisor VALUES (1)",
    )
    .await;
    workplace.write("runs/before.json", "a whole run");
    let sql = "SELECT nextval('asked') / n FROM divisor";
    let limits = ["-c", "1", "-d", "1", "--sync-every", "1", "--duration", "2m", "--max-errors", "5"];
    let save = ["--save", "runs/before.json", "--json"];
    let child = workplace.start(&[&["query", "--sql", sql], &limits[..], &save].concat());
    wait_until_asked(workplace.client(), 10).await;
    std::fs::remove_dir_all(workplace.path("runs")).unwrap();
    // Now queries fail, which ends the run.
    workplace.execute("UPDATE divisor SET n = 0").await;
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert_eq!(ran.json()["errors"], 6, "{ran:#?}");
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(said.len(), 2, "{ran:#?}");
    assert_eq!(said[0], "error: 6 queries failed, more than --max-errors 5 allows");
    let (what, _) = said[1].split_once("/before.json: ").unwrap();
    assert!(what.starts_with("error: failed to write the saved run "), "{ran:#?}");
}

/// Ctrl-C during EXPLAIN loses the plans, but neither the figures nor the saved run.
#[tokio::test]
async fn an_interrupted_explain_loses_only_the_plans() {
    let workplace = Workplace::with_sql("CREATE SEQUENCE asked").await;
    // The query of the run is fast, and EXPLAIN, which runs it once more, takes until it is interrupted.
    let sql = "SELECT pg_sleep(CASE nextval('asked') WHEN 1 THEN 0 ELSE 3600 END)";
    let sleep = ["query", "--sql", sql, "--sync-every", "1", "-n", "1", "-c", "1", "--explain", "--json"];
    let child = workplace.start(&[&sleep[..], &["--save", "saved.json"]].concat());
    let explained = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND state = 'active' AND query LIKE 'EXPLAIN%'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while workplace.value::<i64>(explained).await == 0 {
        assert!(Instant::now() < deadline, "no EXPLAIN is running");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    assert_eq!((&ran.json()["queries"], &ran.json()["interrupted"]), (&1.into(), &false.into()));
    assert!(ran.stderr.contains("the run is complete, its plans are not"), "{ran:#?}");
    assert!(workplace.path("saved.json").exists());
}
