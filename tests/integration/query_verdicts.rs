//! `query`: what bounded a run, by what the server's processes waited for.

use serde_json::Value;

use crate::support::cli::Workplace;
use crate::support::query::workplace;

/// What is said to have bounded the run with `args`, and what that follows from.
///
/// Other programs, such as other tests, may leave the run no processor. That is the verdict then, which the figures
/// have to bear out; what the server waited for they tell nevertheless.
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

/// See that the run with `args`, over 8 connections, is said to be bound `by` waiting, mostly for one of `events`, and
/// that the sentence begins with `what`.
#[track_caller]
fn check_waiting(workplace: &Workplace, args: &[&str], by: &str, what: &str, events: &[&str]) {
    let (found, bound) = bound(workplace, &[args, &["-c", "8"]].concat());
    let waiting = bound["waiting"].as_array().unwrap();
    let event = waiting[0][0].as_str().unwrap();
    assert!(events.contains(&event), "{bound:#}");
    let waited: f64 = waiting.iter().map(|event| event[1].as_f64().unwrap()).sum();
    assert!(waited >= 0.25 * 8.0 && waited >= bound["running"].as_f64().unwrap(), "{bound:#}");
    if let Some(found) = found {
        let sentence = format!("{what}: {waited:.1} of 8 backends were waiting, mostly for {event}; ");
        assert!(found == by && bound["sentence"].as_str().unwrap().starts_with(&sentence), "{bound:#}");
    }
}

/// All but one wait until they may change the row: the first of them for the transaction that did, those behind it for
/// the row.
#[tokio::test]
async fn a_row_that_all_change_bounds_a_run_by_locks() {
    let (workplace, _) = workplace("CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)").await;
    workplace.write(
        "config.toml",
        r#"[query.count]
           transaction = [{ sql = "UPDATE counter SET n = n + 1" }, { sql = "SELECT pg_sleep(0.01)" }]"#,
    );
    check_waiting(&workplace, &["count"], "lock", "locks", &["Lock:transactionid", "Lock:tuple"]);
}

#[tokio::test]
async fn advisory_locks_are_locks() {
    let (workplace, _) = workplace("").await;
    let args = ["--sql", "SELECT pg_advisory_xact_lock(1), pg_sleep(0.01)", "--sync-every", "1"];
    check_waiting(&workplace, &args, "lock", "locks", &["Lock:advisory"]);
}

/// Whoever commits first waits some time for others that could be flushed with it, and these wait for the flush: a
/// disk is slow for certain when the server itself delays it.
#[tokio::test]
async fn commits_that_wait_for_the_flush_bound_a_run_by_the_wal() {
    let (workplace, client) = workplace("CREATE TABLE asked (n int)").await;
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    for setting in ["commit_delay = 5000", "commit_siblings = 1", "synchronous_commit = on"] {
        client.batch_execute(&format!("ALTER DATABASE {name} SET {setting}")).await.unwrap();
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

/// Nothing of the server's bounds it, and no word is invented for that.
#[tokio::test]
async fn queries_that_sleep_are_said_to_wait() {
    let (workplace, _) = workplace("").await;
    check_waiting(
        &workplace,
        &["--sql", "SELECT pg_sleep(0.01)"],
        "unknown",
        "other waits",
        &["Timeout:PgSleep"],
    );
}

/// Rows are counted that never leave the server, so that its processes run all the time, on a processor of their own or
/// on one for which they wait.
#[tokio::test]
async fn queries_that_compute_bound_a_run_by_the_server() {
    let (workplace, _) = workplace("").await;
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

/// A server that does all it is asked is not slow.
#[tokio::test]
async fn a_rate_that_is_kept_is_what_bounds_a_run() {
    let (workplace, _) = workplace("").await;
    let (by, bound) = bound(&workplace, &["--sql", "SELECT 1", "--rate", "20", "-c", "8"]);
    assert_eq!(bound["rate_was_kept"], true, "{bound:#}");
    if let Some(by) = by {
        let sentence = bound["sentence"].as_str().unwrap();
        assert!(by == "rate" && sentence.starts_with("the requested rate: "), "{bound:#}");
    }
}
