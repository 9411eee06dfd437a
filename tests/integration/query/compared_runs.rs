//! `query --runs`, `--against-sql` and `--against`: several runs, alone and interleaved with others.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::query::{ASK, wait_until_asked};
use crate::support::workplace::{ProgramOutput, Workplace};

/// The figures that are compared.
const FIGURES: [&str; 7] = ["rate", "mean", "p50", "p90", "p95", "p99", "p99.9"];

fn names(figures: &Value) -> Vec<&str> {
    figures.as_array().unwrap().iter().map(|figure| figure["figure"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn each_run_has_connections_of_its_own_and_its_own_figures() {
    let workplace = Workplace::with_sql("CREATE TABLE seen (pid int, n int)").await;
    let note = "INSERT INTO seen VALUES (pg_backend_pid(), $1)";
    let query = ["query", "--sql", note, "--arg", "uniform:1:1000000", "-n", "20", "-c", "2", "--runs", "3"];
    let report = workplace.succeed(&[&query[..], &["--json"]].concat()).json();
    assert_eq!(workplace.count("seen").await, 60);
    assert_eq!(workplace.value::<i64>("SELECT count(DISTINCT pid) FROM seen").await, 6);
    // Every run sends the same arguments.
    assert_eq!(workplace.values::<i64>("SELECT DISTINCT count(*) FROM seen GROUP BY n").await, [3]);

    assert_eq!(names(&report["figures"]), FIGURES);
    let runs = report["runs"].as_array().unwrap();
    assert_eq!((runs.len(), &report["requested_runs"]), (3, &3.into()));
    let rates: Vec<f64> = runs.iter().map(|run| run["queries_per_second"].as_f64().unwrap()).collect();
    let summary = &report["figures"][0];
    assert_eq!(summary["values"], serde_json::json!(rates));
    let mut sorted = rates;
    sorted.sort_by(f64::total_cmp);
    for (key, value) in ["min", "median", "max"].into_iter().zip(sorted) {
        assert_eq!(summary[key], value, "{summary:#}");
    }
    assert!(report["against"].is_null() && report["comparison"].is_null(), "{report:#}");

    let text = workplace.succeed(&query).stdout;
    assert!(text.starts_with("3 runs: median "), "{text}");
    for line in ["  run            rate ", "  1 ", "  3 ", "  median ", "new connections for each run"] {
        assert!(text.contains(line), "{line}: {text}");
    }
}

/// 100 ms against 20 ms is slower on any machine, and a stall is short compared with either run.
#[tokio::test]
async fn interleaved_statements_are_compared_pair_by_pair() {
    let workplace = Workplace::with_sql("CREATE TABLE seen (side text, at serial, n int)").await;
    let insert = |side: &str, seconds: f64| {
        format!("INSERT INTO seen SELECT '{side}', nextval('seen_at_seq'), $1 FROM pg_sleep({seconds})")
    };
    let (slow, fast) = (insert("slow", 0.1), insert("fast", 0.02));
    let base = ["query", "--sql", &slow, "--arg", "uniform:1:1000000", "-c", "1", "-d", "1"];
    let against = ["--runs", "6", "--against-sql", &fast, "--fail-if", "slower:5%"];
    let ran = workplace.run(&[&base[..], &["-n", "10"], &against, &["--json"]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.starts_with("error: rate is ") && ran.stderr.lines().count() == 1, "{ran:#?}");
    let report = ran.json();
    let comparison = &report["comparison"];
    assert_eq!((&comparison["basis"], &comparison["baseline"]), (&"pairs".into(), &fast.as_str().into()));
    assert_eq!((&comparison["runs"], &comparison["note"]), (&6.into(), &Value::Null), "{comparison:#}");
    assert_eq!(names(&comparison["ratios"]), FIGURES);
    for ratio in &comparison["ratios"].as_array().unwrap()[..3] {
        let is_rate = ratio["figure"] == "rate";
        assert_eq!(ratio["ratio"].as_f64().unwrap() < 1.0, is_rate, "{ratio:#}");
        assert_eq!(ratio["now"].as_f64() < ratio["baseline"].as_f64(), is_rate, "{ratio:#}");
    }
    assert_eq!(comparison["ratios"][0]["significant"], true, "{comparison:#}");

    // Both sides ran equally often with the same arguments, and either came first in half of the pairs.
    let sent = "SELECT string_agg(n::text, ',' ORDER BY n) FROM seen GROUP BY side";
    let sent: Vec<String> = workplace.values(sent).await;
    assert!(sent.len() == 2 && sent[0] == sent[1], "{sent:#?}");
    let order = "SELECT side = 'fast' FROM seen ORDER BY at";
    let order: Vec<bool> = workplace.values(order).await;
    let came_first: Vec<bool> = order.chunks(20).map(|pair| pair[0]).collect();
    assert_eq!(report["against"]["was_first"], serde_json::json!(came_first));
    assert_eq!(came_first.iter().filter(|first| **first).count(), 3);

    let text =
        workplace.run(&[&base[..], &["-n", "1", "--runs", "2", "--against-sql", &fast]].concat()).stdout;
    assert!(text.starts_with("2 pairs of runs: median "), "{text}");
    assert!(text.contains("  against        rate ") && text.contains(", 2 pairs of runs\n"), "{text}");
}

#[tokio::test]
async fn a_workloads_arguments_are_those_of_the_other_statement() {
    let workplace = crate::support::query::workplace_with_people(50).await;
    let query = ["query", "by-id", "-n", "20", "-c", "1", "--runs", "2", "--json"];
    let other = "SELECT name FROM persons WHERE id = $1";
    let report = workplace.succeed(&[&query[..], &["--against-sql", other]].concat()).json();
    let [one, two] = [&report["runs"][0], &report["against"]["runs"][0]]
        .map(|run| run["workloads"][0]["statements"][0]["args"].clone());
    assert_eq!(one, two);
    let different = &report["comparison"]["different_settings"];
    assert_eq!(different, &serde_json::json!([]), "the statements differ on purpose");
}

#[tokio::test]
async fn another_server_is_compared_pair_by_pair() {
    let [here, there] = [
        Workplace::with_sql("CREATE TABLE t AS SELECT 1 AS n").await,
        Workplace::with_sql("CREATE TABLE t (n int)").await,
    ];
    let url = there.database_url();
    let query = ["query", "--sql", "SELECT n FROM t", "-n", "10", "-c", "1", "--runs", "2", "--json"];
    let report = here.succeed(&[&query[..], &["--against", url]].concat()).json();
    let databases = [&report["runs"][0], &report["against"]["runs"][0]].map(|run| &run["server"]["database"]);
    assert_ne!(databases[0], databases[1]);
    assert_eq!(report["comparison"]["runs"], 2, "{report:#}");
    let different = report["comparison"]["different_settings"][0].as_str().unwrap();
    assert!(different.starts_with("database "), "{different}");

    // Wrong answers are found on either side.
    let checked = ["--expect-rows", "1", "--against", url];
    let ran = here.run(&[&query[..], &checked].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("20 of 40 results were not as expected"), "{ran:#?}");
    // So are failed queries.
    there.execute("DROP TABLE t; CREATE VIEW t AS SELECT 1/0 AS n").await;
    let ran = here.run(&[&query[..], &["--against", url]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert!(ran.stderr.contains("20 of 40 queries failed in all runs together"), "{ran:#?}");
    assert_eq!(ran.json()["comparison"]["ratios"], serde_json::json!([]));
}

/// The complete runs are kept, but not saved as if they were all.
#[tokio::test]
async fn interrupted_runs_are_reported_without_the_last() {
    let workplace = Workplace::with_sql("CREATE SEQUENCE asked").await;
    let query = ["query", "--sql", ASK, "--sync-every", "1", "-c", "1", "-d", "1", "-n", "50"];
    let child = workplace.start(&[&query[..], &["--runs", "1000", "--save", "x.json", "--json"]].concat());
    wait_until_asked(workplace.client(), 120).await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = ProgramOutput::from_child(child);
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    let report = ran.json();
    assert_eq!((&report["interrupted"], &report["ended_by"]), (&true.into(), &Value::Null), "{report:#}");
    let runs = report["runs"].as_array().unwrap();
    assert!((2..1000).contains(&runs.len()), "{}", runs.len());
    assert!(runs.iter().all(|run| run["queries"] == 50 && run["errors"] == 0), "{report:#}");
    assert_eq!(
        ran.stderr.lines().collect::<Vec<_>>(),
        [
            "the run is not saved: it ended early, or had no results",
            "interrupted: the report covers the runs that were complete"
        ]
    );
    assert!(!workplace.path("x.json").exists());
}

/// The function renames itself in the first run, so the second cannot prepare the statement.
#[tokio::test]
async fn a_series_that_cannot_go_on_reports_what_it_has() {
    let workplace = Workplace::with_sql(
        "CREATE FUNCTION gone() RETURNS void LANGUAGE sql AS 'ALTER FUNCTION gone() RENAME TO went'",
    )
    .await;
    let query = ["query", "--sql", "SELECT gone()", "--sync-every", "1", "-n", "1", "-c", "1", "--json"];
    let ran = workplace.run(&[&query[..], &["--runs", "3", "--save", "x.json"]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert_eq!((report["runs"].as_array().unwrap().len(), &report["requested_runs"]), (1, &3.into()));
    assert!(report["ended_by"].as_str().unwrap().contains("function gone() does not exist"), "{report:#}");
    assert!(ran.stderr.contains("function gone() does not exist"), "{ran:#?}");
    assert!(ran.stderr.contains("the run is not saved"), "{ran:#?}");
    // Without any complete run the error is all there is.
    let ran = workplace.run(&[&query[..], &["--runs", "3"]].concat());
    assert!(ran.json()["error"]["message"].as_str().unwrap().contains("gone()"), "{ran:#?}");
}
