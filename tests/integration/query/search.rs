//! `query --sweep`, `--ramp` and `--find-max`: several runs in one command.

use crate::support::workplace::Workplace;

#[tokio::test]
async fn a_sweep_makes_a_run_for_every_combination() {
    let workplace = Workplace::new().await;
    let sweep =
        ["query", "--sql", "SELECT 1", "-n", "50", "--sweep", "connections=1,3", "pipeline-depth=1,8,64"];
    let report = workplace.succeed(&[&["--json"], &sweep[..]].concat()).json();
    let points = report["points"].as_array().unwrap();
    let shapes: Vec<_> = points
        .iter()
        .map(|point| (point["connections"].as_u64().unwrap(), point["pipeline_depth"].as_u64().unwrap()))
        .collect();
    assert_eq!(shapes, [(1, 1), (1, 8), (1, 64), (3, 1), (3, 8), (3, 64)]);
    assert!(points.iter().all(|point| point["queries_per_second"].as_f64().unwrap() > 0.0), "{report:#}");
    let text = workplace.succeed(&sweep).stdout;
    assert!(text.contains("queries/s, by connections (down) and pipeline-depth (across)"), "{text}");
    assert!(text.contains("\nhighest rate: "), "{text}");
    let one =
        workplace.succeed(&["query", "--sql", "SELECT 1", "--duration", "50ms", "--sweep", "rate=100,200"]);
    assert!(one.stdout.contains("            rate    queries/s"), "{}", one.stdout);
}

#[tokio::test]
async fn a_ramp_makes_a_run_for_every_rate() {
    let workplace = Workplace::new().await;
    let ramp = ["query", "--sql", "SELECT 1", "--ramp", "100:300:100", "--duration", "200ms", "--json"];
    let report = workplace.succeed(&ramp).json();
    let rates: Vec<f64> =
        report["points"].as_array().unwrap().iter().map(|point| point["rate"].as_f64().unwrap()).collect();
    assert_eq!((rates, &report["search"]), (vec![100.0, 200.0, 300.0], &"ramp".into()));
}

#[tokio::test]
async fn the_highest_rate_within_a_bound_is_found() {
    let workplace = Workplace::new().await;
    let find = [
        "query",
        "--sql",
        "SELECT pg_sleep(0.002)",
        "-c",
        "2",
        "--find-max",
        "--duration",
        "200ms",
        "--json",
    ];
    let report = workplace.succeed(&[&find[..], &["--p99", "10s"]].concat()).json();
    let highest = report["highest_rate"].as_f64().unwrap();
    // Two connections that take 2 ms per query cannot answer more than 1,000 queries/s.
    assert!((10.0..1100.0).contains(&highest), "{report:#}");
    let points = report["points"].as_array().unwrap();
    assert!(points.iter().any(|point| point["held"] == false), "{report:#}");
    assert!(points.is_sorted_by(|a, b| a["rate"].as_f64() <= b["rate"].as_f64()), "the curve is in order");
    let hopeless = workplace.succeed(&[&find[..find.len() - 1], &["--p99", "1ms"]].concat()).stdout;
    assert!(
        hopeless.contains("p99 exceeded 1.00 ms at every rate tried; the lowest was 1.0/s"),
        "{hopeless}"
    );
}

/// A rate at which no query was answered has no percentiles, and so keeps within no bound.
#[tokio::test]
async fn a_rate_without_answers_keeps_within_no_bound() {
    let workplace = Workplace::new().await;
    let find =
        ["query", "--sql", "SELECT pg_sleep(0.3)", "--find-max", "--p99", "5ms", "--duration", "100ms"];
    let report = workplace.succeed(&[&find[..], &["-c", "1", "--json"]].concat()).json();
    assert!(report["highest_rate"].is_null(), "{report:#}");
    let points = report["points"].as_array().unwrap();
    assert!(points[0]["rate"].is_null() && points.len() > 2, "the closed loop, and rates: {report:#}");
    assert!(points.iter().all(|point| point["held"] != true), "{report:#}");
    let text = workplace.succeed(&[&find[..], &["-c", "1"]].concat()).stdout;
    assert!(
        text.contains("closed loop") && text.contains("at every rate tried; the lowest was 1.0/s"),
        "{text}"
    );
}
