//! `query`: what bounded a run, judged by the wait events of the server's backends.

use serde_json::Value;

use crate::support::workplace::Workplace;

/// What the verdict on the run with `args` names as its bound, and the figures behind the verdict.
///
/// `None` if other programs, such as other tests, left the run no CPU. The figures must bear that out; they still
/// tell what the server waited for. Locks, sleep and a rate that is kept bound a run all the same.
fn bound(workplace: &Workplace, args: &[&str]) -> (Option<String>, Value) {
    // Several times as long as three samples take, the fewest that give a verdict.
    let shape = ["-d", "1", "--duration", "2s", "--json"];
    let report = workplace.succeed(&[&["query"], args, &shape[..]].concat()).json();
    let (bound, by) = (&report["bound"], report["bound"]["by"].as_str().unwrap());
    if by != "others" {
        return (Some(by.to_owned()), bound.clone());
    }
    let figure = |name: &str| bound[name].as_f64().unwrap();
    let others = figure("busy_cores") - figure("client_cores") - figure("server_cores");
    assert!(others >= 0.4 * figure("cores") && figure("busy_cores") >= 0.9 * figure("cores"), "{bound:#}");
    assert!(bound["sentence"].as_str().unwrap().starts_with("OTHER PROGRAMS: "), "{bound:#}");
    (None, bound.clone())
}

/// Check that the run with `args`, over 8 connections, is judged bound `by` waiting, mostly for one of `events`, and
/// that the sentence begins with `what`.
#[track_caller]
fn check_waiting(workplace: &Workplace, args: &[&str], by: &str, what: &str, events: &[&str]) {
    let (found, bound) = bound(workplace, &[args, &["-c", "8"]].concat());
    let waiting = bound["waiting"].as_array().unwrap();
    let event = waiting[0][0].as_str().unwrap();
    assert!(events.contains(&event), "{bound:#}");
    let waited: f64 = waiting.iter().map(|event| event[1].as_f64().unwrap()).sum();
    assert!(waited >= 0.25 * 8.0 && waited >= bound["running"].as_f64().unwrap(), "{bound:#}");
    assert!(found.is_some() || by == "wal", "{bound:#}");
    if let Some(found) = found {
        let sentence = format!("{what}: {waited:.1} of 8 backends were waiting, mostly for {event}; ");
        assert!(found == by && bound["sentence"].as_str().unwrap().starts_with(&sentence), "{bound:#}");
    }
}

/// All but one backend wait to change the row: the first of them for the transaction that changed it, the others for
/// the row.
#[tokio::test]
async fn a_row_that_all_queries_update_bounds_a_run_by_locks() {
    let workplace =
        Workplace::with_sql("CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)").await.config(
            r#"[query.count]
           transaction = [{ sql = "UPDATE counter SET n = n + 1" }, { sql = "SELECT pg_sleep(0.01)" }]"#,
        );
    check_waiting(&workplace, &["count"], "lock", "locks", &["Lock:transactionid", "Lock:tuple"]);
}

#[tokio::test]
async fn advisory_locks_are_locks() {
    let workplace = Workplace::new().await;
    let args = ["--sql", "SELECT pg_advisory_xact_lock(1), pg_sleep(0.01)", "--sync-every", "1"];
    check_waiting(&workplace, &args, "lock", "locks", &["Lock:advisory"]);
}

/// The server itself delays every flush, which is slow on any disk: the first to commit waits for others to join its
/// flush, and these wait for the flush.
#[tokio::test]
async fn commits_that_wait_for_the_flush_bound_a_run_by_the_wal() {
    let workplace = Workplace::with_sql("CREATE TABLE asked (n int)").await;
    let name: String = workplace.value("SELECT current_database()::text").await;
    for setting in ["commit_delay = 5000", "commit_siblings = 1", "synchronous_commit = on"] {
        workplace.execute(&format!("ALTER DATABASE {name} SET {setting}")).await;
    }
    let events = ["LWLock:WALWrite", "IO:WALSync", "IO:WalSync", "IO:WALWrite", "IO:WalWrite"];
    check_waiting(
        &workplace,
        &["--sql", "INSERT INTO asked VALUES (1)"],
        "wal",
        "the write-ahead log",
        &events,
    );
}

/// No resource of the server bounds such a run, and the verdict does not invent one.
#[tokio::test]
async fn queries_that_sleep_are_reported_as_waiting() {
    let workplace = Workplace::new().await;
    // So long that the time to get a core on a busy machine is short compared with it.
    check_waiting(
        &workplace,
        &["--sql", "SELECT pg_sleep(0.1)"],
        "sleep",
        "pg_sleep in the queries",
        &["Timeout:PgSleep"],
    );
}

/// The rows counted never leave the server, so that its backends are always runnable, with a CPU of their own or
/// waiting for one.
#[tokio::test]
async fn queries_that_compute_bound_a_run_by_the_server() {
    let workplace = Workplace::new().await;
    let sql = "SELECT count(*) FROM (SELECT generate_series(1, 1000000)) AS numbers";
    for (connections, backends) in [("1", 1.0), ("4", 4.0)] {
        let (by, bound) = bound(&workplace, &["--sql", sql, "-c", connections]);
        assert!(bound["running"].as_f64().unwrap() >= 0.7 * backends, "{bound:#}");
        if let Some(by) = by {
            let sentence = bound["sentence"].as_str().unwrap();
            assert!(by == "server" && sentence.starts_with("server CPU: "), "{bound:#}");
        }
    }
}

/// A server that keeps up with the rate is not slow.
#[tokio::test]
async fn a_rate_that_is_kept_bounds_a_run() {
    let workplace = Workplace::new().await;
    // The last query is due 200 ms before the end, so that a busy machine does not keep it from being sent.
    let rate = ["--rate", "5", "--arrivals", "constant"];
    let (by, bound) = bound(&workplace, &[&["--sql", "SELECT 1", "-c", "8"], &rate[..]].concat());
    assert_eq!(bound["rate_was_kept"], true, "{bound:#}");
    assert_eq!(by.as_deref(), Some("rate"), "{bound:#}");
    assert!(bound["sentence"].as_str().unwrap().starts_with("the requested rate: "), "{bound:#}");
}
