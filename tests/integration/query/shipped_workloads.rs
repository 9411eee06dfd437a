//! `query`: the workloads that come with the program, on the table that it loads.

use crate::support::query::workplace_with_people;
use crate::support::workplace::Workplace;

#[tokio::test]
async fn every_query_is_sent_and_answered() {
    let workplace = workplace_with_people(500).await;
    workplace.execute("CREATE TABLE asked (age int)").await;
    // Each query inserts a row, so that the queries can be counted on the server.
    workplace.write(
        "config.toml",
        "[query.trace]\nsql = \"INSERT INTO asked VALUES ($1) RETURNING age\"\nargs = [{ uniform = [22, 65] }]\n",
    );
    for (connections, depth) in [("1", "1"), ("1", "64"), ("7", "3"), ("20", "8")] {
        let shape = ["--connections", connections, "--pipeline-depth", depth];
        // Each insert is its own transaction, whatever the default of --sync-every.
        let report =
            workplace.succeed(&[&["query", "trace", "-n", "1000", "--json"], &shape[..]].concat()).json();
        assert_eq!((&report["queries"], &report["errors"]), (&1000.into(), &0.into()), "{shape:?}");
        let sql = "WITH gone AS (DELETE FROM asked RETURNING age)
                   SELECT count(*), sum(age), min(age), max(age) FROM gone";
        let row = workplace.client().query_one(sql, &[]).await.unwrap();
        let found: (i64, i64, i32, i32) = (row.get(0), row.get(1), row.get(2), row.get(3));
        // The same seed draws the same ages, however many connections send them at whatever depth.
        assert_eq!(found, (1000, 43_074, 22, 65), "{shape:?}");
    }
}

#[tokio::test]
async fn the_shipped_workloads_run() {
    let workplace = workplace_with_people(300).await;
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
async fn for_a_missing_or_empty_table_the_command_that_loads_it_is_named() {
    let workplace = Workplace::new().await;
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
