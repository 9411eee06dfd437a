//! `query`: deadlocks, refused queries among answered ones, and runs that are not worth keeping.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::cli::Ran;
use crate::support::query::{ASK, number, texts, wait_until_asked, workplace};

fn sum(values: &Value, key: &str) -> u64 {
    values.as_array().unwrap().iter().map(|value| value[key].as_u64().unwrap()).sum()
}

/// Two workloads lock the same two rows in opposite order, and hold the first while they sleep: whenever one of each
/// is on the way at the same time, the server has to end one of them.
#[tokio::test]
async fn a_deadlock_is_tried_again_if_that_is_asked_for() {
    let (workplace, client) = workplace("CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL)").await;
    // The server looks for a deadlock after a second, which would make the test long.
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    client.batch_execute(&format!("ALTER DATABASE {name} SET deadlock_timeout = '10ms'")).await.unwrap();
    let workload = |name: &str, first: i32, second: i32| {
        let add = |id: i32| format!("{{ sql = \"UPDATE counters SET n = n + 1 WHERE id = {id}\" }}");
        let sleep = "{ sql = \"SELECT pg_sleep(0.02)\" }";
        format!("[query.{name}]\ntransaction = [{}, {sleep}, {}]\n", add(first), add(second))
    };
    workplace.write("config.toml", workload("up", 1, 2) + &workload("down", 2, 1));
    for depth in ["1", "3"] {
        for retries in ["1000", "0"] {
            client
                .batch_execute("TRUNCATE counters; INSERT INTO counters VALUES (1, 0), (2, 0)")
                .await
                .unwrap();
            let args = ["query", "up", "down", "-n", "40", "-c", "4", "-d", depth, "--retries", retries];
            let ran = workplace.run(&[&args[..], &["--json"]].concat());
            let report = ran.json();
            let (errors, retried) = (report["errors"].as_u64().unwrap(), report["retries"].as_u64().unwrap());
            let by_sqlstate = report["errors_by_sqlstate"].as_object().unwrap();
            if retries == "0" {
                assert_eq!((ran.status.code(), retried), (Some(1), 0), "depth {depth}: {report:#}");
                assert_eq!(by_sqlstate.keys().collect::<Vec<_>>(), ["40P01"], "depth {depth}: {report:#}");
                assert_eq!(by_sqlstate["40P01"]["count"], errors, "depth {depth}: {report:#}");
                assert!((1..40).contains(&errors), "depth {depth}: {report:#}");
            } else {
                assert_eq!((ran.status.code(), errors), (Some(0), 0), "depth {depth}: {ran:#?}");
                assert!(retried > 0 && by_sqlstate.is_empty(), "depth {depth}: {report:#}");
            }
            assert_eq!(report["queries"], 40, "depth {depth}: {report:#}");
            let answered = sum(&report["workloads"], "answered");
            assert_eq!((answered, sum(&report["workloads"], "errors")), (40 - errors, errors));
            // Whoever is told that it succeeded did, once, and what was ended left nothing behind.
            let counted = texts(&client, "SELECT n::text FROM counters").await;
            assert_eq!(counted, [answered.to_string(), answered.to_string()], "depth {depth}");
        }
    }
}

/// Nine of ten queries are refused at once; the tenth takes its time. If refused ones were timed too, most times would
/// be short, and if they were counted as answered, there would be more of them.
#[tokio::test]
async fn only_what_is_answered_is_timed() {
    let (workplace, _) = workplace("").await;
    workplace.write(
        "config.toml",
        "[query.seldom]\nsql = \"SELECT pg_sleep(0.05 / ($1::int / 10))\"\nargs = [{ sequence = [1, 10] }]\nweight = 2\n
         [query.always]\nsql = \"SELECT pg_sleep(0.05)\"\n",
    );
    for (names, expected) in
        [(&["seldom"][..], &[(10, 90)][..]), (&["seldom", "always"], &[(10, 90), (50, 0)])]
    {
        let number = expected.iter().map(|(answered, errors)| answered + errors).sum::<u64>();
        let count = number.to_string();
        let args = ["-n", &count, "-c", "4", "-d", "1", "--save", "kept.json", "--per-connection", "--json"];
        let ran = workplace.run(&[&["query"], names, &args[..]].concat());
        assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
        let report = ran.json();
        let found: Vec<(u64, u64)> = (report["workloads"].as_array().unwrap().iter())
            .map(|one| (one["answered"].as_u64().unwrap(), one["errors"].as_u64().unwrap()))
            .collect();
        assert_eq!(found, expected);
        let answered: u64 = expected.iter().map(|(answered, _)| answered).sum();
        let errors = number - answered;
        assert_eq!((&report["queries"], &report["errors"]), (&number.into(), &errors.into()));
        assert_eq!(report["errors_by_sqlstate"]["22012"]["count"], errors, "{report:#}");
        for parts in ["series", "connections", "workloads"] {
            let sums = (sum(&report[parts], "answered"), sum(&report[parts], "errors"));
            assert_eq!(sums, (answered, errors), "{parts}: {report:#}");
        }
        let rate = report["queries_per_second"].as_f64().unwrap() * report["seconds"].as_f64().unwrap();
        assert!((rate - answered as f64).abs() < 1e-6, "{report:#}");

        let latencies = report["workloads"].as_array().unwrap().iter().map(|one| &one["response_us"]);
        for latency in latencies.chain([&report["response_us"]]) {
            assert!(latency["p50"].as_f64().unwrap() > 49_000.0, "{report:#}");
            assert!(latency["mean"].as_f64().unwrap() > 49_000.0, "{report:#}");
        }
        let kept: Value =
            serde_json::from_slice(&std::fs::read(workplace.path("kept.json")).unwrap()).unwrap();
        let samples = kept["samples"]["response_ns"].as_array().unwrap();
        let timed: u64 = samples.iter().map(|time| time[1].as_u64().unwrap()).sum();
        assert_eq!(timed, answered, "{kept:#}");
    }
}

/// A part of a run must not take the place of a whole one, nor look like one to those who compare with it.
#[tokio::test]
async fn an_interrupted_run_is_reported_but_not_kept() {
    let (workplace, client) = workplace("CREATE SEQUENCE asked").await;
    let ask = ["query", "--sql", ASK, "--sync-every", "1", "-c", "1", "-d", "1", "--json"];
    workplace.write("runs/before.json", "a whole run");
    for name in ["runs/before.json", "runs/new.json"] {
        client.batch_execute("ALTER SEQUENCE asked RESTART").await.unwrap();
        let child = workplace.start(&[&ask[..], &["--duration", "2m", "--save", name]].concat());
        wait_until_asked(&client, 100).await;
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
        let report = ran.json();
        assert_eq!((&report["interrupted"], &report["errors"]), (&true.into(), &0.into()), "{report:#}");
        assert!(report["queries"].as_u64().unwrap() >= 99, "{report:#}");
        let said: Vec<&str> = ran.stderr.lines().collect();
        assert_eq!(
            said,
            [
                "the run is not kept, because it did not come to its end, or had no answer",
                "interrupted: the report is of what was answered until then"
            ]
        );
    }
    // The file that was there is as it was, and none has come, not even one for the time of the run.
    let names: Vec<_> = std::fs::read_dir(workplace.path("runs"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["before.json"]);
    assert_eq!(std::fs::read_to_string(workplace.path("runs/before.json")).unwrap(), "a whole run");
}

/// The report is the one document on standard output, and what else was wrong with the run is said as well.
#[tokio::test]
async fn a_run_that_cannot_be_kept_is_reported_all_the_same() {
    let (workplace, client) =
        workplace("CREATE SEQUENCE asked; CREATE TABLE divisor (n int); INSERT INTO divisor VALUES (1)")
            .await;
    workplace.write("runs/before.json", "a whole run");
    let sql = "SELECT nextval('asked') / n FROM divisor";
    let limits = ["-c", "1", "-d", "1", "--sync-every", "1", "--duration", "2m", "--max-errors", "5"];
    let save = ["--save", "runs/before.json", "--json"];
    let child = workplace.start(&[&["query", "--sql", sql], &limits[..], &save].concat());
    wait_until_asked(&client, 10).await;
    std::fs::remove_dir_all(workplace.path("runs")).unwrap();
    // That ends it.
    client.batch_execute("UPDATE divisor SET n = 0").await.unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert_eq!(ran.json()["errors"], 6, "{ran:#?}");
    let said: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(said.len(), 2, "{ran:#?}");
    assert_eq!(said[0], "error: 6 queries failed, more than --max-errors 5 allows");
    let (what, _) = said[1].split_once("/before.json: ").unwrap();
    assert!(what.starts_with("error: failed to write the saved run "), "{ran:#?}");
}

/// Whoever does not wait for the plans has the figures, and the run that was to be kept.
#[tokio::test]
async fn an_interruption_of_explain_costs_the_plans_only() {
    let (workplace, client) = workplace("").await;
    let sleep = ["query", "--sql", "SELECT pg_sleep(1)", "-n", "1", "-c", "1", "--explain", "--json"];
    let child = workplace.start(&[&sleep[..], &["--save", "kept.json"]].concat());
    let explained = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND state = 'active' AND query LIKE 'EXPLAIN%'";
    let deadline = Instant::now() + Duration::from_secs(60);
    while number(&client, explained).await == 0 {
        assert!(Instant::now() < deadline, "nothing is explained");
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    assert_eq!((&ran.json()["queries"], &ran.json()["interrupted"]), (&1.into(), &false.into()));
    assert!(ran.stderr.contains("the run is whole, its plans are not"), "{ran:#?}");
    assert!(workplace.path("kept.json").exists());
}
