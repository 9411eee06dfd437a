//! `query --rate`: the open loop, and the latencies it measures when the server falls behind its schedule.

use std::time::Duration;

use rustix::process::{Signal, kill_process};

use crate::support::query::{ASK, backend_asked};
use crate::support::workplace::{ProgramOutput, Workplace};

#[tokio::test]
async fn an_open_loop_sends_every_query_that_is_due() {
    let workplace = Workplace::with_sql("CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY)").await;
    let insert = "INSERT INTO asked DEFAULT VALUES";
    for (arrivals, due) in [("constant", Some(150)), ("poisson", None)] {
        let args = ["--rate", "300", "--duration", "500ms", "--arrivals", arrivals, "-c", "3", "--json"];
        let report = workplace.succeed(&[&["query", "--sql", insert], &args[..]].concat()).json();
        let offered = &report["offered"];
        if let Some(due) = due {
            assert_eq!(offered["due"], due);
        }
        let (due, unsent) = (offered["due"].as_u64().unwrap(), offered["unsent"].as_u64().unwrap());
        let asked = workplace
            .value::<i64>("WITH gone AS (DELETE FROM asked RETURNING n) SELECT count(*) FROM gone")
            .await;
        assert_eq!((report["queries"].as_u64(), asked as u64), (Some(due - unsent), due - unsent));
        assert_eq!(
            (&report["load"]["arrivals"], &report["load"]["pipeline_depth"]),
            (&arrivals.into(), &1.into())
        );
        for latency in ["response_us", "service_us", "waiting_us", "server_us"] {
            assert!(report[latency]["p99"].is_number(), "{latency}: {report:#}");
        }
    }
    // With -n, all queries are sent, however late.
    let args = ["--rate", "100000", "-n", "500", "-c", "2", "--json"];
    let report = workplace.succeed(&[&["query", "--sql", insert], &args[..]].concat()).json();
    assert_eq!((&report["queries"], &report["offered"]["unsent"]), (&500.into(), &0.into()));
}

#[tokio::test]
async fn queries_not_sent_in_time_are_reported() {
    let workplace = Workplace::new().await;
    let args =
        ["query", "--sql", "SELECT pg_sleep(0.05)", "--rate", "1000", "--duration", "300ms", "-c", "1"];
    let ran = workplace.succeed(&args);
    assert!(ran.stdout.contains("QUERIES COULD NOT BE SENT IN TIME"), "{ran:#?}");
    let args = ["query", "--sql", "SELECT pg_sleep(0.05)", "--rate", "1000", "-n", "200", "-c", "10"];
    let ran = workplace.succeed(&args);
    assert!(ran.stdout.contains("NOT KEPT: all 200 were sent, but too late"), "{ran:#?}");
    // The run ends on time at any rate; to schedule these queries one by one would take minutes.
    let args =
        ["query", "--sql", "SELECT 1", "--rate", "100000000", "--duration", "100ms", "-c", "1", "--json"];
    let report = workplace.succeed(&args).json();
    assert_eq!(report["offered"]["kept"], false);
    assert!(report["offered"]["due"].as_u64().unwrap() > 5_000_000, "{report:#}");
}

/// A backend is frozen for a second. Measured from when they are sent, a single query is slow; measured from when
/// they were due, all queries of that second are (coordinated omission).
#[tokio::test]
async fn a_frozen_server_shows_in_the_response_times() {
    let workplace = Workplace::with_sql("CREATE SEQUENCE asked").await;
    let mut child = workplace.start(&[
        "query",
        "--sql",
        ASK,
        "--sync-every",
        "1",
        "--rate",
        "500",
        "--arrivals",
        "constant",
        "--duration",
        "11s",
        "-c",
        "1",
        "--json",
    ]);
    let backend = backend_asked(&workplace, 100).await;
    kill_process(backend, Signal::STOP).unwrap();
    let thawed = tokio::task::spawn_blocking(move || {
        // The duration of the freeze is what the test is about.
        std::thread::sleep(Duration::from_secs(1));
        kill_process(backend, Signal::CONT)
    });
    thawed.await.unwrap().unwrap();
    child.stdin.take();
    let ran = ProgramOutput::from_child(child);
    assert!(ran.status.success(), "{ran:#?}");
    let report = ran.json();
    let p99 = |latency: &str| report[latency]["p99"].as_f64().unwrap() / 1e6;
    assert!(p99("response_us") > 0.6, "{report:#}");
    assert!(p99("service_us") < 0.5, "{report:#}");
    assert!(report["service_us"]["max"].as_f64().unwrap() > 0.9e6, "{report:#}");
    // The run takes more than ten seconds, and standard error is no terminal: progress in lines, without control
    // sequences.
    assert!(ran.stderr.starts_with("--sql: 10 s, ") && !ran.stderr.contains('\x1b'), "{:?}", ran.stderr);
    assert!(ran.stderr.lines().all(|line| line.starts_with("--sql: ")), "{:?}", ran.stderr);
    let seconds = report["series"].as_array().unwrap();
    let answered: u64 = seconds.iter().map(|second| second["answered"].as_u64().unwrap()).sum();
    assert_eq!(report["queries"], answered);
    assert!(seconds.len() >= 11, "{report:#}");
}

/// The queries still waiting when the time is up are the slowest: leaving them out would flatter the server.
#[tokio::test]
async fn queries_late_at_the_end_are_measured_too() {
    let workplace = Workplace::new().await;
    let pause = |query: u32| if query == 294 { "0.3" } else { "0" };
    let pauses: Vec<_> = (0..300).map(pause).collect();
    workplace.write("pauses.csv", format!("pause\n{}\n", pauses.join("\n")));
    let sleep =
        ["query", "--sql", "SELECT pg_sleep($1)", "--arg", "csv:pauses.csv:pause", "-c", "1", "--json"];
    // At most 2 % may be left at the end, or none of them is sent. That is 100 ms of this run, more than a busy machine
    // keeps a query from being sent.
    let load = ["--rate", "60", "--arrivals", "constant", "--duration", "5s", "--sync-every", "1"];
    let report = workplace.succeed(&[&sleep[..], &load].concat()).json();
    assert_eq!((&report["queries"], &report["offered"]["unsent"]), (&300.into(), &0.into()), "{report:#}");
    assert!(report["response_us"]["p99"].as_f64().unwrap() > 0.2e6, "{report:#}");
    assert!(report["offered"]["late_max_us"].as_f64().unwrap() > 0.2e6, "{report:#}");
}
