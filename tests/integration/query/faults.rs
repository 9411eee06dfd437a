//! `query`: failed queries, retries and lost connections.

use crate::support::query::{sum, workplace_with_people};
use crate::support::workplace::Workplace;

/// Two workloads lock the same two rows in opposite order, and hold the first while they sleep: whenever one of each
/// is in flight, the server has to abort one of them.
#[tokio::test]
async fn a_deadlock_is_retried_if_retries_are_allowed() {
    let workplace = Workplace::with_sql("CREATE TABLE counters (id int PRIMARY KEY, n int NOT NULL)").await;
    // The default of one second before the server checks for deadlocks would make the test slow.
    let name: String = workplace.value("SELECT current_database()::text").await;
    workplace.execute(&format!("ALTER DATABASE {name} SET deadlock_timeout = '10ms'")).await;
    let workload = |name: &str, first: i32, second: i32| {
        let add = |id: i32| format!("{{ sql = \"UPDATE counters SET n = n + 1 WHERE id = {id}\" }}");
        let sleep = "{ sql = \"SELECT pg_sleep(0.02)\" }";
        format!("[query.{name}]\ntransaction = [{}, {sleep}, {}]\n", add(first), add(second))
    };
    workplace.write("config.toml", workload("up", 1, 2) + &workload("down", 2, 1));
    for depth in ["1", "3"] {
        for retries in ["1000", "0"] {
            workplace.execute("TRUNCATE counters; INSERT INTO counters VALUES (1, 0), (2, 0)").await;
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
            // Each transaction reported as successful took effect once, and the aborted ones not at all.
            let counted = workplace.values::<String>("SELECT n::text FROM counters").await;
            assert_eq!(counted, [answered.to_string(), answered.to_string()], "depth {depth}");
        }
    }
}

#[tokio::test]
async fn a_serialization_failure_is_retried_if_retries_are_allowed() {
    let workplace = Workplace::with_sql("CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)")
        .await
        .config(
            r#"[query.count]
           isolation = "repeatable read"
           transaction = [{ sql = "SELECT n, pg_sleep(0.002) FROM counter" }, { sql = "UPDATE counter SET n = n + 1" }]"#,
        );
    let name: String = workplace.value("SELECT current_database()::text").await;
    let count = ["query", "count", "-n", "60", "-c", "4", "-d", "1", "--json"];
    let ran = workplace.run(&count);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    let failed = report["errors_by_sqlstate"]["40001"]["count"].as_i64().unwrap();
    assert_eq!(report["errors"], failed);
    assert_eq!(workplace.value::<i64>("SELECT n::bigint FROM counter").await, 60 - failed);
    // In a pipeline, retries queue after the queries in flight, whether transactions or single statements.
    workplace.write(
        "config.toml",
        workplace.read("config.toml")
            + "\n[query.single]\nsql = \"UPDATE counter SET n = n + 1 FROM pg_sleep(0.002)\"\n",
    );
    for (workload, depth) in [("count", "1"), ("count", "4"), ("single", "4")] {
        workplace.execute("UPDATE counter SET n = 0").await;
        let serially = format!("ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'");
        workplace.execute(&serially).await;
        let args = ["query", workload, "-n", "60", "-c", "4", "-d", depth, "--retries", "1000", "--json"];
        let report = workplace.succeed(&args).json();
        assert_eq!((&report["errors"], &report["queries"]), (&0.into(), &60.into()));
        assert!(report["retries"].as_u64().unwrap() > 0, "{report:#}");
        assert_eq!(workplace.value::<i64>("SELECT n::bigint FROM counter").await, 60);
    }
}

#[tokio::test]
async fn no_query_is_retried_when_the_time_is_up() {
    let fail = "CREATE FUNCTION fail() RETURNS int LANGUAGE plpgsql AS
                $$ BEGIN RAISE 'no' USING ERRCODE = '40001'; END $$";
    let workplace = Workplace::with_sql(fail).await;
    let query = ["query", "--sql", "SELECT fail()", "--retries", "1000000000", "--duration", "300ms"];
    let more = ["--max-errors", "1000", "--sync-every", "1", "-c", "2", "-d", "1", "--json"];
    let report = workplace.succeed(&[&query[..], &more].concat()).json();
    assert_eq!((&report["queries"], &report["errors"]), (&2.into(), &2.into()), "{report:#}");
    assert!(report["retries"].as_u64().unwrap() > 2, "{report:#}");
}

/// Nine of ten queries fail at once; the tenth is slow. If failed ones were timed too, most latencies would be short,
/// and if they were counted as answered, there would be more of those.
#[tokio::test]
async fn only_answered_queries_are_timed() {
    let workplace = Workplace::new()
        .await
        .config(
            "[query.seldom]\nsql = \"SELECT pg_sleep(0.05 / ($1::int / 10))\"\nargs = [{ sequence = [1, 10] }]\nweight = 2\n
         [query.always]\nsql = \"SELECT pg_sleep(0.05)\"\n",
        );
    for (names, expected) in
        [(&["seldom"][..], &[(10, 90)][..]), (&["seldom", "always"], &[(10, 90), (50, 0)])]
    {
        let number = expected.iter().map(|(answered, errors)| answered + errors).sum::<u64>();
        let count = number.to_string();
        let args = ["-n", &count, "-c", "4", "-d", "1", "--save", "saved.json", "--per-connection", "--json"];
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
        let answers_by_rate =
            report["queries_per_second"].as_f64().unwrap() * report["seconds"].as_f64().unwrap();
        assert!((answers_by_rate - answered as f64).abs() < 1e-6, "{report:#}");

        let latencies = report["workloads"].as_array().unwrap().iter().map(|one| &one["response_us"]);
        for latency in latencies.chain([&report["response_us"]]) {
            assert!(latency["p50"].as_f64().unwrap() > 49_000.0, "{report:#}");
            assert!(latency["mean"].as_f64().unwrap() > 49_000.0, "{report:#}");
        }
        let saved = workplace.read_json("saved.json");
        let samples = saved["samples"]["response_ns"].as_array().unwrap();
        let timed: u64 = samples.iter().map(|time| time[1].as_u64().unwrap()).sum();
        assert_eq!(timed, answered, "{saved:#}");
    }
}

#[tokio::test]
async fn failed_queries_are_counted_and_fail_the_run() {
    let workplace = workplace_with_people(10)
        .await
        .config("[query.divide]\nsql = \"SELECT 1 / ($1::int % 2)\"\nargs = [{ uniform = [0, 1000] }]\n");
    let ran = workplace.run(&["query", "divide", "-n", "400", "--json"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["queries"], 400);
    let errors = report["errors"].as_u64().unwrap();
    assert!((100..300).contains(&errors), "{errors} of 400 were refused");
    assert_eq!(report["errors_by_sqlstate"]["22012"]["count"], errors, "{report:#}");
}

#[tokio::test]
async fn the_statement_that_fails_inside_a_function_is_shown() {
    let workplace = workplace_with_people(10).await;
    workplace
        .execute(
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS
                 $$ BEGIN EXECUTE 'SELEC 1'; RETURN 1; END $$",
        )
        .await;
    workplace.write("config.toml", "[query.f]\nsql = \"SELECT f()\"\n");
    let ran = workplace.run(&["query", "f", "-n", "3"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let (_, first) = ran.stdout.split_once("  42601    ").unwrap();
    let first = first.split_once("\n  latency").map_or(first, |(first, _)| first);
    let first: Vec<&str> = first.lines().take(4).collect();
    insta::assert_snapshot!(first.join("\n"), @r#"
    3 times; the first: failed to run query f: syntax error at or near "SELEC" (SQLSTATE 42601)
                 |
               1 | SELEC 1
                 | ^
    "#);
}

#[tokio::test]
async fn a_lost_connection_is_replaced() {
    let workplace = Workplace::new().await;
    let sql = "SELECT CASE WHEN $1::int = 7 THEN pg_terminate_backend(pg_backend_pid()) END";
    let args = ["query", "--sql", sql, "--arg", "sequence:1:10", "-n", "100", "-c", "2", "-d", "1", "--json"];
    let ran = workplace.run(&args);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["queries"], 100, "{report:#}");
    // The last one need not be replaced if the other connection has sent all that was left.
    assert!(matches!(report["reconnections"].as_u64(), Some(9 | 10)), "{report:#}");
    assert_eq!(
        (&report["errors"], &report["errors_by_sqlstate"]["57P01"]["count"]),
        (&10.into(), &10.into())
    );
    assert_eq!(workplace.run(&[&args[..], &["--max-errors", "10"]].concat()).status.code(), Some(0));
}
