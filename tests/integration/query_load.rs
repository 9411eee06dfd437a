//! `query`: the shapes of the load, and what goes wrong under it.

use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support;
use crate::support::cli::Ran;
use crate::support::query::{ASK, asked, number, wait_until_asked, workplace, workplace_with_server};

#[tokio::test]
async fn an_open_loop_sends_what_is_due() {
    let (workplace, client) = workplace("CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY)").await;
    let insert = "INSERT INTO asked DEFAULT VALUES";
    for (arrivals, due) in [("constant", Some(150)), ("poisson", None)] {
        let args = ["--rate", "300", "--duration", "500ms", "--arrivals", arrivals, "-c", "3", "--json"];
        let report = workplace.succeed(&[&["query", "--sql", insert], &args[..]].concat()).json();
        let offered = &report["offered"];
        if let Some(due) = due {
            assert_eq!(offered["due"], due);
        }
        let (due, unsent) = (offered["due"].as_u64().unwrap(), offered["unsent"].as_u64().unwrap());
        let asked =
            number(&client, "WITH gone AS (DELETE FROM asked RETURNING n) SELECT count(*) FROM gone").await;
        assert_eq!((report["queries"].as_u64(), asked as u64), (Some(due - unsent), due - unsent));
        assert_eq!(
            (&report["load"]["arrivals"], &report["load"]["pipeline_depth"]),
            (&arrivals.into(), &1.into())
        );
        for latency in ["response_us", "service_us", "waiting_us", "server_us"] {
            assert!(report[latency]["p99"].is_number(), "{latency}: {report:#}");
        }
    }
    // With -n all of them are sent, however late.
    let args = ["--rate", "100000", "-n", "500", "-c", "2", "--json"];
    let report = workplace.succeed(&[&["query", "--sql", insert], &args[..]].concat()).json();
    assert_eq!((&report["queries"], &report["offered"]["unsent"]), (&500.into(), &0.into()));
}

#[tokio::test]
async fn what_could_not_be_sent_in_time_is_said() {
    let (workplace, _) = workplace("").await;
    let args =
        ["query", "--sql", "SELECT pg_sleep(0.05)", "--rate", "1000", "--duration", "300ms", "-c", "1"];
    let ran = workplace.succeed(&args);
    assert!(ran.stdout.contains("THAT WERE DUE COULD NOT BE SENT IN TIME"), "{ran:#?}");
    let args = ["query", "--sql", "SELECT pg_sleep(0.05)", "--rate", "1000", "-n", "200", "-c", "10"];
    let ran = workplace.succeed(&args);
    assert!(ran.stdout.contains("NOT KEPT: all 200 were sent, but later than they were due"), "{ran:#?}");
    // However hopeless the rate, the run ends when it should; so many a second would take minutes to count.
    let args =
        ["query", "--sql", "SELECT 1", "--rate", "100000000", "--duration", "100ms", "-c", "1", "--json"];
    let report = workplace.succeed(&args).json();
    assert_eq!(report["offered"]["kept"], false);
    assert!(report["offered"]["due"].as_u64().unwrap() > 5_000_000, "{report:#}");
}

/// Freeze a connection's process for a second: whoever counts from sending a query sees one slow query, while every
/// query that was due in that second had to wait.
#[tokio::test]
async fn a_frozen_server_shows_in_the_response_times() {
    let (workplace, client) = workplace("CREATE SEQUENCE asked").await;
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
    let backend = asked(&client, 100).await;
    kill_process(backend, Signal::STOP).unwrap();
    let thawed = tokio::task::spawn_blocking(move || {
        // How long it is frozen is what is tested.
        std::thread::sleep(Duration::from_secs(1));
        kill_process(backend, Signal::CONT)
    });
    thawed.await.unwrap().unwrap();
    child.stdin.take();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert!(ran.status.success(), "{ran:#?}");
    let report = ran.json();
    let p99 = |latency: &str| report[latency]["p99"].as_f64().unwrap() / 1e6;
    assert!(p99("response_us") > 0.6, "{report:#}");
    assert!(p99("service_us") < 0.5, "{report:#}");
    assert!(report["service_us"]["max"].as_f64().unwrap() > 0.9e6, "{report:#}");
    // It took more than ten seconds, and standard error is no terminal: one line, and nothing that moves the cursor.
    assert!(ran.stderr.starts_with("--sql: 10 s, ") && !ran.stderr.contains('\x1b'), "{:?}", ran.stderr);
    assert!(ran.stderr.lines().all(|line| line.starts_with("--sql: ")), "{:?}", ran.stderr);
    let seconds = report["series"].as_array().unwrap();
    let answered: u64 = seconds.iter().map(|second| second["answered"].as_u64().unwrap()).sum();
    assert_eq!(report["queries"], answered);
    assert!(seconds.len() >= 11, "{report:#}");
}

/// Whoever stops waiting for a server that says nothing gets the report of what it said.
#[tokio::test]
async fn an_interruption_has_its_report_though_the_server_is_frozen() {
    let (workplace, client) = workplace("CREATE SEQUENCE asked").await;
    let query = ["query", "--sql", ASK, "--sync-every", "1", "--duration", "1h", "-c", "1", "--json"];
    let child = workplace.start(&query);
    let backend = asked(&client, 100).await;
    kill_process(backend, Signal::STOP).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    kill_process(backend, Signal::CONT).unwrap();
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    let report = ran.json();
    assert_eq!((&report["interrupted"], &report["errors"]), (&true.into(), &0.into()));
    assert!(report["queries"].as_u64().unwrap() >= 99, "{report:#}");
}

/// Queries that share a Sync are answered together, and share the server's time; the rest is waiting for each other.
#[tokio::test]
async fn waiting_is_told_from_the_server_where_queries_share_a_sync() {
    let (workplace, _) = workplace("").await;
    let sleep = ["query", "--sql", "SELECT pg_sleep(0.01)", "-c", "1", "--sync-every", "2", "--json"];
    let report = workplace.succeed(&[&sleep[..], &["-n", "80", "--pipeline-depth", "4"]].concat()).json();
    let of = |latency: &str, figure: &str| report[latency][figure].as_f64().unwrap() / 1e3;
    assert!(of("server_us", "p50") >= 9.9, "{report:#}");
    // Three others are on the way.
    assert!(of("waiting_us", "p50") >= 1.5 * of("server_us", "p50"), "{report:#}");
    let sum = of("server_us", "mean") + of("waiting_us", "mean");
    assert!((sum / of("response_us", "mean") - 1.0).abs() < 0.01, "{report:#}");
    let report = workplace.succeed(&[&sleep[..], &["-n", "4", "--pipeline-depth", "1"]].concat()).json();
    assert!(report["waiting_us"].is_null(), "nothing is ever behind another: {report:#}");
}

/// What is late when the time is up has waited longest: without it the latencies would be those of a better server.
#[tokio::test]
async fn what_is_late_at_the_end_is_measured_too() {
    let (workplace, _) = workplace("").await;
    let pause = |query: u32| if query == 294 { "0.3" } else { "0" };
    let pauses: Vec<_> = (0..300).map(pause).collect();
    workplace.write("pauses.csv", format!("pause\n{}\n", pauses.join("\n")));
    let sleep =
        ["query", "--sql", "SELECT pg_sleep($1)", "--arg", "csv:pauses.csv:pause", "-c", "1", "--json"];
    let load = ["--rate", "300", "--arrivals", "constant", "--duration", "1s", "--sync-every", "1"];
    let report = workplace.succeed(&[&sleep[..], &load].concat()).json();
    assert_eq!((&report["queries"], &report["offered"]["unsent"]), (&300.into(), &0.into()), "{report:#}");
    assert!(report["response_us"]["p99"].as_f64().unwrap() > 0.2e6, "{report:#}");
    assert!(report["offered"]["late_max_us"].as_f64().unwrap() > 0.2e6, "{report:#}");
}

#[tokio::test]
async fn no_query_is_sent_again_when_the_time_is_up() {
    let fail = "CREATE FUNCTION fail() RETURNS int LANGUAGE plpgsql AS
                $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$";
    let (workplace, _) = workplace(fail).await;
    let query = ["query", "--sql", "SELECT fail()", "--retries", "1000000000", "--duration", "300ms"];
    let more = ["--max-errors", "1000", "--sync-every", "1", "-c", "2", "-d", "1", "--json"];
    let report = workplace.succeed(&[&query[..], &more].concat()).json();
    assert_eq!((&report["queries"], &report["errors"]), (&2.into(), &2.into()), "{report:#}");
    assert!(report["retries"].as_u64().unwrap() > 2, "{report:#}");
}

/// What was answered until a statement wrote, and so showed that it may not share its Sync, is reported.
#[tokio::test]
async fn a_write_among_queries_that_share_a_sync_ends_the_run_with_its_report() {
    let (workplace, _) = workplace("CREATE SEQUENCE asked").await;
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
async fn a_run_ends_by_time_or_by_number() {
    let (workplace, client) = workplace("CREATE TABLE asked (n bigint GENERATED ALWAYS AS IDENTITY)").await;
    let insert = ["query", "--json", "--sql", "INSERT INTO asked DEFAULT VALUES"];
    let report = workplace.succeed(&[&insert[..], &["--duration", "300ms"]].concat()).json();
    assert!(report["seconds"].as_f64().unwrap() >= 0.3, "{report:#}");
    assert_eq!(report["queries"], number(&client, "SELECT count(*) FROM asked").await);
    let report = workplace.succeed(&[&insert[..], &["--duration", "1h", "-n", "7"]].concat()).json();
    assert_eq!(report["queries"], 7);

    client.batch_execute("TRUNCATE asked").await.unwrap();
    let warmed = workplace.succeed(&[&insert[..], &["--warm-up", "200ms", "-n", "30"]].concat()).json();
    assert_eq!((&warmed["queries"], &warmed["load"]["warm_up_seconds"]), (&30.into(), &0.2.into()));
    let counted: u64 =
        warmed["series"].as_array().unwrap().iter().map(|s| s["answered"].as_u64().unwrap()).sum();
    assert_eq!(counted, 30);
    assert!(number(&client, "SELECT count(*) FROM asked").await > 30, "the warm-up asks, and does not count");
}

#[tokio::test]
async fn a_failure_to_serialize_is_tried_again() {
    let (workplace, client) = workplace("CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)").await;
    workplace.write(
        "config.toml",
        r#"[query.count]
           isolation = "repeatable read"
           transaction = [{ sql = "SELECT n, pg_sleep(0.002) FROM counter" }, { sql = "UPDATE counter SET n = n + 1" }]"#,
    );
    let name: String = client.query_one("SELECT current_database()::text", &[]).await.unwrap().get(0);
    let count = ["query", "count", "-n", "60", "-c", "4", "-d", "1", "--json"];
    let ran = workplace.run(&count);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    let failed = report["errors_by_sqlstate"]["40001"]["count"].as_i64().unwrap();
    assert_eq!(report["errors"], failed);
    assert_eq!(number(&client, "SELECT n::bigint FROM counter").await, 60 - failed);
    // Deeper, what is tried again comes behind what is on the way, for a transaction as for a statement.
    workplace.write(
        "config.toml",
        std::fs::read_to_string(workplace.path("config.toml")).unwrap()
            + "\n[query.single]\nsql = \"UPDATE counter SET n = n + 1 FROM pg_sleep(0.002)\"\n",
    );
    for (workload, depth) in [("count", "1"), ("count", "4"), ("single", "4")] {
        client.batch_execute("UPDATE counter SET n = 0").await.unwrap();
        let serially = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'");
        client.batch_execute(&serially).await.unwrap();
        let args = ["query", workload, "-n", "60", "-c", "4", "-d", depth, "--retries", "1000", "--json"];
        let report = workplace.succeed(&args).json();
        assert_eq!((&report["errors"], &report["queries"]), (&0.into(), &60.into()));
        assert!(report["retries"].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!(number(&client, "SELECT n::bigint FROM counter").await, 60);
    }
}

#[tokio::test]
async fn a_lost_connection_is_replaced() {
    let (workplace, _) = workplace("").await;
    let sql = "SELECT CASE WHEN $1::int = 7 THEN pg_terminate_backend(pg_backend_pid()) END";
    let args = ["query", "--sql", sql, "--arg", "sequence:1:10", "-n", "100", "-c", "2", "-d", "1", "--json"];
    let ran = workplace.run(&args);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert_eq!((&report["queries"], &report["reconnections"]), (&100.into(), &10.into()), "{report:#}");
    assert_eq!(
        (&report["errors"], &report["errors_by_sqlstate"]["57P01"]["count"]),
        (&10.into(), &10.into())
    );
    assert_eq!(workplace.run(&[&args[..], &["--max-errors", "10"]].concat()).status.code(), Some(0));
}

#[tokio::test]
async fn too_many_errors_end_the_run() {
    let (workplace, _) = workplace("").await;
    let divide =
        ["query", "--sql", "SELECT 1 / ($1::int % 2)", "--arg", "sequence:1:10", "-c", "1", "-d", "1"];
    let ran = workplace.run(&[&divide[..], &["-n", "1000", "--max-errors", "3", "--json"]].concat());
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    assert_eq!((&ran.json()["errors"], &ran.json()["queries"]), (&4.into(), &8.into()), "{ran:#?}");
    assert!(ran.stderr.contains("4 queries failed, more than --max-errors 3 allows"), "{ran:#?}");
    // What is skipped behind a query that is refused never ran, and is none of them.
    let deep = ["query", "--sql", divide[2], "--arg", "sequence:1:10", "-c", "1", "-d", "64", "-n", "5000"];
    let ran = workplace.run(&[&deep[..], &["--max-errors", "3", "--json"]].concat());
    let errors = ran.json()["errors_by_sqlstate"].clone();
    assert_eq!(errors.as_object().unwrap().keys().collect::<Vec<_>>(), ["22012"], "{errors:#}");
    let some = workplace.run(&[&divide[..], &["-n", "6", "--max-errors", "3"]].concat());
    assert!(some.status.success() && some.stdout.contains("  22012    3 times"), "{some:#?}");
}

#[tokio::test]
async fn what_was_measured_until_an_interruption_is_reported() {
    let (workplace, client) = workplace("CREATE SEQUENCE asked").await;
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
    asked(&client, 100).await;
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status.code(), Some(130), "{ran:#?}");
    let report = ran.json();
    assert_eq!((&report["interrupted"], &report["errors"]), (&true.into(), &0.into()), "{report:#}");
}

#[tokio::test]
async fn each_connection_is_reported_if_asked_for() {
    let (workplace, _) = workplace("").await;
    let select = ["query", "--sql", "SELECT 1", "-n", "100", "-c", "3"];
    let report = workplace.succeed(&[&select[..], &["--per-connection", "--json"]].concat()).json();
    let connections = report["connections"].as_array().unwrap();
    let answered: u64 = connections.iter().map(|one| one["answered"].as_u64().unwrap()).sum();
    assert_eq!((connections.len(), answered), (3, 100));
    let text = workplace.succeed(&[&select[..], &["--per-connection"]].concat()).stdout;
    assert!(text.contains("  conn 3"), "{text}");
}

#[tokio::test]
async fn times_need_not_be_taken() {
    let (workplace, _) = workplace("").await;
    let args = ["query", "--sql", "SELECT 1", "-n", "100", "--no-latency", "--json"];
    let sweep = [&args[..], &["--sweep", "connections=1,2"]].concat();
    assert!(workplace.run(&sweep).stderr.contains("--no-latency measures no latencies"));
    let report = workplace.succeed(&args).json();
    assert_eq!((&report["queries"], &report["response_us"]), (&100.into(), &serde_json::Value::Null));
    let counted: u64 =
        report["series"].as_array().unwrap().iter().map(|s| s["answered"].as_u64().unwrap()).sum();
    assert_eq!(counted, 100);
}

#[tokio::test]
async fn what_the_server_counts_of_each_statement_is_shown() {
    let database = support::database().await;
    let extension = "SELECT count(*) FROM pg_available_extensions WHERE name = 'pg_stat_statements'";
    if number(&database.connect().await, extension).await == 0 {
        eprintln!("this server's programs come without pg_stat_statements");
        return;
    }
    let workplace = workplace_with_server(
        "keep = false\n[server.settings]\nshared_preload_libraries = 'pg_stat_statements'",
    );
    workplace.succeed(&["query", "--sql", "CREATE EXTENSION pg_stat_statements", "-n", "1", "-c", "1"]);
    let sql = "SELECT generate_series(1, 3), 'counted'";
    let report = workplace.succeed(&["query", "--sql", sql, "-n", "50", "--json"]).json();
    let statements = report["bound"]["statements"].as_array().unwrap();
    let counted =
        statements.iter().find(|one| one["query"].as_str().unwrap().contains("generate_series")).unwrap();
    assert_eq!((&counted["calls"], &counted["rows"]), (&50.into(), &3.0.into()), "{report:#}");
    assert!(counted["mean_us"].as_f64().unwrap() > 0.0, "{report:#}");
}

#[tokio::test]
async fn what_was_measured_until_the_server_went_is_reported() {
    let workplace = workplace_with_server("");
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
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status.code(), Some(4), "{ran:#?}");
    let report = ran.json();
    assert!(report["queries"].as_u64().unwrap() >= 99, "{report:#}");
    assert!(report["ended_by"].as_str().unwrap().starts_with("a connection was lost: "), "{report:#}");
    assert!(ran.stderr.contains("the server went away during the run"), "{ran:#?}");
}
