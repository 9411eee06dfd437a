//! `query`.

use crate::support;
use crate::support::cli::Workplace;

/// A workplace on a database of its own with `rows` people in it.
async fn people(rows: u32) -> (Workplace, tokio_postgres::Client) {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    workplace.succeed(&["generate", "-n", &rows.to_string(), "-o", "people.csv"]);
    workplace.succeed(&["load", "people.csv"]);
    (workplace, database.connect().await)
}

#[tokio::test]
async fn every_query_is_asked_and_answered() {
    let (workplace, client) = people(500).await;
    client.batch_execute("CREATE TABLE asked (age int)").await.unwrap();
    // A workload that leaves a trace of every query, so that they can be counted on the server.
    workplace.write(
        "config.toml",
        "[query.trace]\nsql = \"INSERT INTO asked VALUES ($1) RETURNING age\"\nargs = [{ uniform = [22, 65] }]\n",
    );
    for (connections, depth) in [("1", "1"), ("1", "64"), ("7", "3"), ("20", "8")] {
        let shape = ["--connections", connections, "--pipeline-depth", depth];
        // Every insert is a transaction by itself, whatever the default.
        let report =
            workplace.succeed(&[&["query", "trace", "-n", "1000", "--json"], &shape[..]].concat()).json();
        assert_eq!((&report["queries"], &report["errors"]), (&1000.into(), &0.into()), "{shape:?}");
        let row = client
            .query_one("WITH gone AS (DELETE FROM asked RETURNING age) SELECT count(*), sum(age), min(age), max(age) FROM gone", &[])
            .await
            .unwrap();
        let found: (i64, i64, i32, i32) = (row.get(0), row.get(1), row.get(2), row.get(3));
        // The same seed draws the same ages whatever the shape.
        assert_eq!(found, (1000, 43_074, 22, 65), "{shape:?}");
    }
}

#[tokio::test]
async fn the_shipped_workloads_run() {
    let (workplace, _) = people(300).await;
    for name in ["summary", "older-than", "by-id", "set-age"] {
        let report = workplace.succeed(&["query", name, "-n", "200", "--connections", "3", "--json"]).json();
        assert_eq!((&report["queries"], &report["table"]["rows"]), (&200.into(), &300.into()));
        let latency = &report["response_us"];
        let percentiles =
            ["p50", "p90", "p95", "p99", "p999", "max"].map(|name| latency[name].as_f64().unwrap());
        assert!(percentiles[0] > 0.0 && percentiles.is_sorted(), "{report:#}");
    }
    let text = workplace.succeed(&["query", "-n", "20"]).stdout;
    assert!(text.starts_with("20 queries in "), "{text}");
    assert!(text.contains("older-than: SELECT COUNT(*) FROM persons WHERE age > $1"), "{text}");
}

#[tokio::test]
async fn a_missing_or_empty_table_says_which_command_loads_it() {
    let database = support::database().await;
    let workplace = Workplace::on(&database);
    insta::assert_snapshot!(workplace.fail(&["query", "-n", "5"], 1), @r"
    error: table persons does not exist
      help: load it first: postgres-etl load
    ");
    workplace.write("people.csv", "id\n");
    workplace.succeed(&["load", "people.csv"]);
    insta::assert_snapshot!(workplace.fail(&["query", "-n", "5"], 1), @r"
    error: table persons is empty
      help: load it first: postgres-etl load
    ");
}

#[tokio::test]
async fn what_cannot_be_asked_is_said_before_anything_is_measured() {
    let (workplace, _) = people(10).await;
    insta::assert_snapshot!(workplace.fail(&["query", "by-di", "-n", "5"], 2), @r"
    error: there is no workload `by-di`
      help: did you mean `by-id`? There are: by-id, older-than, set-age, summary
    ");
    insta::assert_snapshot!(workplace.fail(&["query", "-n", "0"], 2), @r"
    error: -n 0 asks for no queries
      help: give a number from 1 up
    ");
    workplace.write(
        "config.toml",
        "[query.syntax]\nsql = \"SELEC 1\"\n
         [query.lines]\nsql = \"\"\"\nSELECT 'Größe',\n\tname\nFROM persons\n\tWHERE idd = $1\n\"\"\"\nargs = [1]\n
         [query.arguments]\nsql = \"SELECT $1::int + $2::int\"\nargs = [1]\n
         [query.range]\nsql = \"SELECT $1::int\"\nargs = [{ uniform = [5, 1] }]\n",
    );
    insta::assert_snapshot!(workplace.fail(&["query", "syntax", "-n", "5"], 1), @r#"
    error: [query.syntax] does not prepare: syntax error at or near "SELEC" (SQLSTATE 42601)
      |
    1 | SELEC 1
      | ^
      help: correct the statement of [query.syntax] in config.toml
    "#);
    insta::assert_snapshot!(workplace.fail(&["query", "lines", "-n", "5"], 1), @r#"
    error: [query.lines] does not prepare: column "idd" does not exist (SQLSTATE 42703)
      |
    4 | 	WHERE idd = $1
      | 	      ^
      help: Perhaps you meant to reference the column "persons.id".
    "#);
    insta::assert_snapshot!(workplace.fail(&["query", "arguments", "-n", "5"], 2), @r"
    error: query arguments has 2 parameters but 1 argument: SELECT $1::int + $2::int
      help: give [query.arguments] one entry of args for each of $1, $2 …
    ");
    insta::assert_snapshot!(workplace.fail(&["query", "range", "-n", "5"], 2), @r"
    error: [query.range]: argument 1 is uniform from 5 to 1, an empty range
      help: put the lower bound first
    ");
}

#[tokio::test]
async fn refused_queries_are_counted_and_fail_the_run() {
    let (workplace, _) = people(10).await;
    workplace.write(
        "config.toml",
        "[query.divide]\nsql = \"SELECT 1 / ($1::int % 2)\"\nargs = [{ uniform = [0, 1000] }]\n",
    );
    let ran = workplace.run(&["query", "divide", "-n", "400", "--json"]);
    assert_eq!(ran.status.code(), Some(1), "{ran:#?}");
    let report = ran.json();
    assert_eq!(report["queries"], 400);
    let errors = report["errors"].as_u64().unwrap();
    assert!((100..300).contains(&errors), "{errors} of 400 were refused");
    assert_eq!(report["errors_by_sqlstate"]["22012"]["count"], errors, "{report:#}");
}

#[tokio::test]
async fn a_statement_that_a_function_runs_is_shown_too() {
    let (workplace, client) = people(10).await;
    client
        .batch_execute(
            "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELEC 1'; RETURN 1; END $$",
        )
        .await
        .unwrap();
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
