//! `query`: the latencies in the report, and how they are broken down.

use crate::support::workplace::Workplace;

/// Queries that share a Sync are answered together and share the server's time; the rest of their latency is spent
/// waiting for each other.
#[tokio::test]
async fn waiting_is_separated_from_server_time_where_queries_share_a_sync() {
    let workplace = Workplace::new().await;
    let sleep = ["query", "--sql", "SELECT pg_sleep(0.01)", "-c", "1", "--sync-every", "2", "--json"];
    let report = workplace.succeed(&[&sleep[..], &["-n", "80", "--pipeline-depth", "4"]].concat()).json();
    let of = |latency: &str, figure: &str| report[latency][figure].as_f64().unwrap() / 1e3;
    assert!(of("server_us", "p50") >= 9.9, "{report:#}");
    // Three other queries are in flight.
    assert!(of("waiting_us", "p50") >= 1.5 * of("server_us", "p50"), "{report:#}");
    let sum = of("server_us", "mean") + of("waiting_us", "mean");
    assert!((sum / of("response_us", "mean") - 1.0).abs() < 0.01, "{report:#}");
    let report = workplace.succeed(&[&sleep[..], &["-n", "4", "--pipeline-depth", "1"]].concat()).json();
    assert!(report["waiting_us"].is_null(), "no query ever waits for another: {report:#}");
}

#[tokio::test]
async fn each_connection_is_reported_with_per_connection() {
    let workplace = Workplace::new().await;
    let select = ["query", "--sql", "SELECT 1", "-n", "100", "-c", "3"];
    let report = workplace.succeed(&[&select[..], &["--per-connection", "--json"]].concat()).json();
    let connections = report["connections"].as_array().unwrap();
    let answered: u64 = connections.iter().map(|one| one["answered"].as_u64().unwrap()).sum();
    assert_eq!((connections.len(), answered), (3, 100));
    let text = workplace.succeed(&[&select[..], &["--per-connection"]].concat()).stdout;
    assert!(text.contains("  conn 3"), "{text}");
}

#[tokio::test]
async fn latencies_need_not_be_measured() {
    let workplace = Workplace::new().await;
    let args = ["query", "--sql", "SELECT 1", "-n", "100", "--no-latency", "--json"];
    let sweep = [&args[..], &["--sweep", "connections=1,2"]].concat();
    assert!(workplace.run(&sweep).stderr.contains("--no-latency measures no latencies"));
    let report = workplace.succeed(&args).json();
    assert_eq!((&report["queries"], &report["response_us"]), (&100.into(), &serde_json::Value::Null));
    let counted: u64 =
        report["series"].as_array().unwrap().iter().map(|s| s["answered"].as_u64().unwrap()).sum();
    assert_eq!(counted, 100);
}
